"""How far does one get without the picture: AUROC of view, age, sex, source and image size alone.

    metadata_only(sample, Intervals())          # one row a finding and attribute, and one of all attributes together
    within_groups(sample, Intervals())          # the model's AUROC pooled, in each view, and within views

Bedside films are taken of the sickest. If the view alone ranks a finding with an AUROC of 0.71, as it does for the
opacities of RSNA's challenge, a model's pooled 0.83 may be in part the view; its AUROC within one view is not. (Zech et
al. 2018, doi:10.1371/journal.pmed.1002683: sorting by hospital alone reached 0.86 for pneumonia.)

A logistic regression on the attribute is fitted on four fifths of the patients and ranks the last fifth. The AUROC is
over pairs of images of the same fifth: predictions of different fits are not compared with one another, which would
push an uninformative attribute below 0.5 (Airola et al. 2011, doi:10.1016/j.csda.2010.11.018).
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.assessment import mean_of_findings
from cxr_monai.evaluation.auroc import auroc
from cxr_monai.evaluation.bootstrap import Intervals, PatientBootstrap, Ranking, bootstrap_interval
from cxr_monai.evaluation.calibration import FOLDS, deal_patients
from cxr_monai.evaluation.comparison import MINIMUM_PATIENTS, TOO_FEW
from cxr_monai.evaluation.groups import groups, ordered
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.two_sites import Figure
from cxr_monai.plurals import counted

METADATA_ATTRIBUTES = ("view", "age", "sex", "source")
ALL_TOGETHER = "all together"
ALL_IMAGES, WITHIN = "pooled", "within"
RARE = 20  # a text that fewer images have counts as 'other'
_COLUMNS = [
    "finding", "attribute", "images", "positives", "auroc", "auroc_low", "auroc_high", "in_sample", "note",
]  # fmt: skip


def metadata_only(
    sample: Sample,
    intervals: Intervals | None = None,
    more: Mapping[str, pd.Series] | None = None,
    attributes: Sequence[str] = METADATA_ATTRIBUTES,
) -> pd.DataFrame:
    """Return the AUROC of each attribute alone, and of all together, for each finding.

    Args:
        sample: N images; its scores are not used.
        intervals: of the bootstrap of patients.
        more: further attributes by name, N values each: numbers, or texts (``image_size``: ``1024x1024``).
        attributes: of the table's ``view``, ``age``, ``sex``, ``source``. An age enters as itself and its square, an
            unknown value as one of its own. Attributes that are the same for all images are left out.

    Returns:
        ``finding, attribute`` (last: `ALL_TOGETHER`); ``images, positives`` with a known label; ``auroc, auroc_low,
        auroc_high``: cross-validated by patient, interval of the patient bootstrap (the fits are not repeated in it);
        ``in_sample``: fitted and judged on the same images, which is what a table of two numbers shows; ``note``: ``too
        few to say`` with fewer than 20 patients with or without the finding (figures NaN).

    Raises:
        EvaluationError: ``evaluation-invalid`` for an attribute that the table does not have, or of another length.
    """
    intervals = intervals or Intervals()
    values = {name: _column(sample, name) for name in attributes} | dict(more or {})
    designs = {name: _design(name, column, len(sample)) for name, column in values.items()}
    designs = {name: design for name, design in designs.items() if design.shape[1]}
    if len(designs) > 1:
        designs[ALL_TOGETHER] = np.column_stack(list(designs.values()))
    bootstrap = PatientBootstrap(sample.patients, intervals.replicates, intervals.seed)
    rows = []
    for finding in sample.findings:
        labels = sample.column(finding)[1]
        is_known, present = ~np.isnan(labels), labels == 1
        note = _few(sample.patients, present, is_known & ~present)
        for name, design in designs.items():
            row = {"finding": finding, "attribute": name, "images": is_known.sum(), "positives": present.sum()}
            row |= {"auroc": np.nan, "auroc_low": np.nan, "auroc_high": np.nan, "in_sample": np.nan, "note": note}
            if not note:
                scores, fold, in_sample = _cross_validated(design, labels, sample.patients, intervals.seed)
                figure = _within_parts(bootstrap, scores, labels, fold)
                row |= _ends("auroc", figure, intervals.level) | {"in_sample": auroc(in_sample, labels)}
            rows.append(row)
    return pd.DataFrame(rows, columns=_COLUMNS)


def within_groups(sample: Sample, intervals: Intervals | None = None, attribute: str = "view") -> pd.DataFrame:
    """Return the model's AUROC pooled, in each group, and over pairs of images of the same group.

    Args:
        sample: N images.
        intervals: of the bootstrap of patients.
        attribute: ``view``, ``age``, ``sex`` or ``source``; see `groups.groups`.

    Returns:
        ``finding, group`` (`ALL_IMAGES` first, the groups, `WITHIN` last: each group's AUROC weighed by its pairs of a
        positive and a negative; images of unknown group only enter the pooled figure), ``images, positives`` with a
        known label, ``auroc, auroc_low, auroc_high`` (patient bootstrap; NaN without a positive or a negative).
    """
    intervals = intervals or Intervals()
    names = groups(sample, [attribute])[attribute]
    present = ordered(attribute, names)
    codes = pd.Index(present).get_indexer(pd.Index(names))
    bootstrap = PatientBootstrap(sample.patients, intervals.replicates, intervals.seed)
    rows = []
    for finding in sample.findings:
        scores, labels = sample.column(finding)
        parts = {ALL_IMAGES: np.zeros(len(sample), dtype=int)}
        parts |= {name: np.where(codes == code, 0, -1) for code, name in enumerate(present)} | {WITHIN: codes}
        for name, part in parts.items():
            known_labels = labels[(part >= 0) & ~np.isnan(labels)]
            figure = _within_parts(bootstrap, scores, labels, part)
            row = {"finding": finding, "group": name, "images": known_labels.size, "positives": known_labels.sum()}
            rows.append(row | _ends("auroc", figure, intervals.level))
    return pd.DataFrame(rows).astype({"images": int, "positives": int})


def attributes_from_features(
    features: np.ndarray,
    table: pd.DataFrame,
    patients: np.ndarray,
    intervals: Intervals | None = None,
    attributes: Sequence[str] = METADATA_ATTRIBUTES,
) -> pd.DataFrame:
    """Return how well a network's features tell view, age band, sex and source of the images.

    A logistic regression on the standardised features (ridge, C = 0.01, the same for every attribute), cross-validated
    by patient. That features hold an attribute does not show that a finding's output uses it; that they do not is a
    strong sign that it cannot (Gichoya et al. 2022, doi:10.1016/S2589-7500(22)00063-2; Glocker et al. 2023,
    doi:10.1016/j.ebiom.2023.104467).

    Args:
        features: float ``[N, D]``, pooled features of the images.
        table: N rows with ``view, age, sex, source``; see `Sample`.
        patients: int ``[N]``, from 0.
        intervals: of the bootstrap of patients.
        attributes: some of the four.

    Returns:
        one row an attribute: ``attribute, groups`` (`` | `` between; those with 20 patients or more), ``images,
        patients`` in them, ``auroc, auroc_low, auroc_high`` (one group against the rest, mean over the groups),
        ``accuracy``, ``majority`` (share of the largest group, the accuracy of a guess), ``note``: ``too few to say``
        where fewer than two groups have 20 patients.

    Raises:
        EvaluationError: ``evaluation-invalid`` for another number of rows.
    """
    intervals = intervals or Intervals()
    features, patients = np.asarray(features, dtype=float), np.asarray(patients)
    if not len(features) == len(table) == len(patients):
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"features of {len(features)}, a table of {len(table)} and patients of {len(patients)} do not fit.",
            fix="Give one row an image.",
        )
    nothing = np.zeros((len(table), 1))
    names_by_attribute = groups(
        Sample.of(table.assign(patient_id=patients.astype(str)), [ALL_TOGETHER], nothing, nothing), attributes
    )
    return pd.DataFrame(
        [_attribute_row(name, names.to_numpy(), features, patients, intervals)
         for name, names in names_by_attribute.items()]
    )  # fmt: skip


def _attribute_row(
    attribute: str, names: np.ndarray, features: np.ndarray, patients: np.ndarray, intervals: Intervals
) -> dict:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    sizes = {name: np.unique(patients[names == name]).size for name in ordered(attribute, pd.Series(names))}
    classes = [name for name, size in sizes.items() if size >= MINIMUM_PATIENTS]
    rows = np.isin(names, classes)
    names, features, codes = names[rows], features[rows], np.unique(patients[rows], return_inverse=True)[1]
    row = {
        "attribute": attribute, "groups": " | ".join(classes), "images": len(names), "patients": np.unique(codes).size,
        "auroc": np.nan, "auroc_low": np.nan, "auroc_high": np.nan, "accuracy": np.nan, "majority": np.nan, "note": "",
    }  # fmt: skip
    if len(classes) < 2:
        return row | {"note": f"{TOO_FEW}: {counted(len(classes), 'group')} with {MINIMUM_PATIENTS} patients or more"}
    fold = deal_patients(codes, names == min(classes, key=sizes.__getitem__), FOLDS, intervals.seed)
    probabilities = np.zeros((len(names), len(classes)))
    for part in range(FOLDS):
        inside = fold == part
        fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)).fit(
            features[~inside], names[~inside]
        )
        columns = [classes.index(name) for name in fitted.classes_]
        probabilities[np.ix_(inside, columns)] = fitted.predict_proba(features[inside])
    bootstrap = PatientBootstrap(codes, intervals.replicates, intervals.seed)
    used = range(1 if len(classes) == 2 else len(classes))  # of two, each is the other's mirror
    figures = [_within_parts(bootstrap, probabilities[:, k], (names == classes[k]).astype(float), fold) for k in used]
    mean = Figure(
        float(np.mean([figure.value for figure in figures])),
        np.mean([figure.replicates for figure in figures], axis=0),
        min(figure.effective for figure in figures),
    )
    right = np.array(classes)[probabilities.argmax(axis=1)] == names
    majority = max(np.mean(names == name) for name in classes)
    return row | _ends("auroc", mean, intervals.level) | {"accuracy": right.mean(), "majority": majority}


def _column(sample: Sample, name: str) -> pd.Series:
    if name not in sample.table:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"the table has no attribute {name!r}.",
            fix=f"Choose from {', '.join(METADATA_ATTRIBUTES)}, or give its values.",
        )
    return sample.table[name]


def _design(name: str, column: pd.Series, size: int) -> np.ndarray:
    """Return an attribute as numbers ``[N, K]``: indicators of texts; of numbers, themselves, squares and unknown."""
    if len(column) != size:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"{name} has {counted(len(column), 'value')} for {counted(size, 'image')}.",
            fix="Give one an image.",
        )
    column = pd.Series(np.asarray(column))
    if pd.api.types.is_numeric_dtype(column):
        numbers = column.to_numpy(dtype=float)
        unknown = np.isnan(numbers)
        spread = np.nanstd(numbers) if not unknown.all() else 0.0
        scaled = np.where(unknown, 0.0, (numbers - np.nanmean(numbers)) / spread) if spread > 0 else np.zeros(size)
        design = np.column_stack([scaled, np.where(unknown, 0.0, scaled**2), unknown])
    else:
        texts = column.astype("str").fillna("")
        count = texts.map(texts.value_counts())
        design = pd.get_dummies(texts.where(count >= RARE, "other")).to_numpy(dtype=float)
        design = design[:, 1:] if design.shape[1] == 2 else design
    return design[:, np.ptp(design, axis=0) > 0]


def _cross_validated(
    design: np.ndarray, labels: np.ndarray, patients: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the probabilities of images by fits on other patients, their folds, and those of one fit on all ``[N]``.

    Images of unknown label have fold -1 and a probability of 0. Equal rows are fitted as one with a weight.
    """
    from sklearn.linear_model import LogisticRegression

    is_known = ~np.isnan(labels)
    truth = labels[is_known] == 1
    codes = np.unique(patients[is_known], return_inverse=True)[1]
    fold = np.full(len(labels), -1)
    fold[is_known] = deal_patients(codes, truth, FOLDS, seed)
    rows, row_of = np.unique(design, axis=0, return_inverse=True)
    row_of = row_of.ravel()
    probabilities, in_sample = np.zeros(len(labels)), np.zeros(len(labels))
    for part in range(-1, FOLDS):
        training = is_known & (fold != part)
        counts = [np.bincount(row_of[training & (labels == value)], minlength=len(rows)) for value in (0, 1)]
        model = LogisticRegression(C=1.0, max_iter=1000).fit(
            np.vstack([rows, rows]), np.repeat([0, 1], len(rows)), sample_weight=np.concatenate(counts)
        )
        predicted = model.predict_proba(rows)[:, 1][row_of]
        if part < 0:
            in_sample = predicted
        probabilities[fold == part] = predicted[fold == part]
    return probabilities, fold, in_sample


def _within_parts(bootstrap: PatientBootstrap, scores: np.ndarray, labels: np.ndarray, parts: np.ndarray) -> Figure:
    """Return the AUROC over pairs of images of one part (int ``[N]``, -1 in none), with its replicates."""
    figures = []
    for rows in _parts(parts):
        known_labels = labels[rows & ~np.isnan(labels)]
        pairs = float(np.sum(known_labels == 1) * np.sum(known_labels == 0))
        if pairs:
            figures.append((pairs, auroc(scores[rows], labels[rows]), bootstrap.ranking(scores, labels, rows)))
    if not figures:
        return Figure(np.nan, np.full(bootstrap.replicates, np.nan), 0.0)
    values = np.array([area for _, area, _ in figures])
    drawn: list[Ranking] = [ranking for _, _, ranking in figures]
    areas = np.column_stack([ranking.auroc for ranking in drawn])
    rests_on = np.nan_to_num([ranking.auroc_effective for ranking in drawn])
    # a replicate without a positive in some part: the sample's own stands in
    value, replicates, effective = mean_of_findings(
        values, areas, rests_on, np.array([count for count, _, _ in figures])
    )
    return Figure(value, np.where(np.isnan(areas).all(axis=1), np.nan, replicates), effective)


def _parts(parts: np.ndarray) -> Iterator[np.ndarray]:
    for part in np.unique(parts[parts >= 0]):
        yield parts == part


def _ends(name: str, figure: Figure, level: float) -> dict[str, float]:
    low, high = bootstrap_interval(figure.replicates, level, figure.value, effective=figure.effective)
    return {name: figure.value, f"{name}_low": float(low), f"{name}_high": float(high)}


def _few(patients: np.ndarray, present: np.ndarray, absent: np.ndarray) -> str:
    counts = {"with the finding": np.unique(patients[present]).size, "without it": np.unique(patients[absent]).size}
    few = [f"{counted(count, 'patient')} {word}" for word, count in counts.items() if count < MINIMUM_PATIENTS]
    return f"{TOO_FEW}: {' and '.join(few)}; at least {MINIMUM_PATIENTS} are needed" if few else ""
