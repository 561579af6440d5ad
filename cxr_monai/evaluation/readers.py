"""Readers beside the model: single readers' labels as points on its ROC curve, and how the readers agree.

    readers = read_readers("M.csv")                          # M.readers.csv beside M.csv; None without
    table = compare_readers(sample, readers, Intervals())    # one row a finding and a reader
    agreement = reader_agreement(sample, readers, Intervals())

A reader who is no part of the truth is judged by the truth. Where every reader is, each is judged by the vote of the
others on the same image (unknown where they tie, or where there are none), and so is the model beside that reader: a
reader can't be judged by a vote of which theirs is a part. The model's operating point is the one with as many false
alarms as the reader has: its sensitivity at the reader's specificity, by linear interpolation of its ROC curve.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.data.manifest import readers_path
from cxr_monai.data.matching import match_images, require_clear
from cxr_monai.data.tables import read_cells
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.bootstrap import Intervals, PatientBootstrap, bootstrap_interval, effective_patients
from cxr_monai.evaluation.comparison import MINIMUM_PATIENTS, TOO_FEW, difference_test, holm
from cxr_monai.evaluation.kappa import fleiss_kappa
from cxr_monai.evaluation.proportions import patient_wilson
from cxr_monai.evaluation.sample import Sample

BY_TRUTH, BY_OTHERS = "truth", "the other readers"
MODEL_HIGHER, MODEL_LOWER, UNDECIDED = "higher", "lower", "not distinguishable"
_KEYS = ("image", "reader", "in_truth")
_INTERVALS = Intervals()


@dataclass(frozen=True, eq=False)
class Readers:
    """Single readers' labels.

    Attributes:
        table: ``image, reader`` (text), ``in_truth`` (bool: part of the manifest's labels), and one float column a
            finding: 1, 0, NaN where the reader did not say.
        path: the file.
    """

    table: pd.DataFrame
    path: Path | None = None

    @property
    def findings(self) -> tuple[str, ...]:
        """The findings, in the file's order."""
        return tuple(str(name) for name in self.table if name not in _KEYS)


def read_readers(manifest: str | Path) -> Readers | None:
    """Read ``M.readers.csv`` beside a manifest; None where there is none.

    Args:
        manifest: its file.

    Raises:
        EvaluationError: ``evaluation-invalid`` for a missing column, a reader twice on an image, or another label than
            1, 0 and empty.
    """
    path = readers_path(manifest)
    if not path.is_file():
        return None
    cells = read_cells(path, partial(EvaluationError, Code.EVALUATION_INVALID))
    findings = [name for name in cells if name not in _KEYS]
    missing = [name for name in _KEYS if name not in cells]
    if missing or not findings:
        raise _unreadable(path, f"it has no column {', '.join(missing) or 'of a finding'}")
    if cells.duplicated(["image", "reader"]).any():
        row = cells[cells.duplicated(["image", "reader"])].iloc[0]
        raise _unreadable(path, f"reader {row['reader']!r} stands twice for {row['image']!r}")
    labels = cells[findings].apply(pd.to_numeric, errors="coerce").astype(float)
    strange = ~(labels.isin([0, 1]) | (cells[findings] == ""))
    if strange.any(axis=None) or not cells["in_truth"].isin(["0", "1"]).all():
        raise _unreadable(path, "a label or 'in_truth' is neither 1 nor 0")
    table = cells[["image", "reader"]].assign(in_truth=cells["in_truth"] == "1")
    return Readers(pd.concat([table, labels], axis=1).reset_index(drop=True), path)


def compare_readers(sample: Sample, readers: Readers, by_name: bool, intervals: Intervals = _INTERVALS) -> pd.DataFrame:
    """Return each reader as a point beside the model's ROC curve.

    Args:
        sample: the model's scores and the truth.
        readers: of some of its images.
        by_name: file names are identities, as in the manifest.
        intervals: over patients.

    Returns:
        one row a finding and a reader with an image with and one without the finding: ``finding, reader, judged_by``
        (`BY_TRUTH` or `BY_OTHERS`), ``images, positives, positive_patients``; ``sensitivity, specificity`` of the
        reader and ``model_sensitivity`` at that specificity, each with ``_patient_low, _patient_high``;
        ``difference`` (model minus reader, in sensitivity) with ``patient_low, patient_high, patient_p,
        patient_p_holm`` (paired: same images, same resampled patients; corrected over all rows); ``verdict`` on the
        model: `MODEL_HIGHER`, `MODEL_LOWER`, `UNDECIDED` or too few to say (fewer than 20 patients with or without it).
    """
    votes, names, in_truth = _votes(sample, readers, by_name)
    bootstrap = PatientBootstrap(sample.patients, intervals.replicates, intervals.seed)
    by_others = bool(in_truth.all())
    rows: list[dict[str, object]] = []
    for column, finding in enumerate(readers.findings):
        if finding not in sample.findings:
            continue
        scores, truth = sample.column(finding)
        for reader, name in enumerate(names):
            if in_truth[reader] and not by_others:
                continue
            answers = votes[:, :, column]
            reference = vote_of_others(answers, reader) if by_others else truth
            row = _point(scores, answers[:, reader], reference, bootstrap, intervals.level)
            if row is not None:
                judged_by = BY_OTHERS if by_others else BY_TRUTH
                rows.append({"finding": finding, "reader": name, "judged_by": judged_by, **row})
    if not rows:
        return pd.DataFrame()
    table = pd.DataFrame(rows)
    table["patient_p_holm"] = holm(table["patient_p"].to_numpy(float))
    decided = table["patient_p_holm"] < 1 - intervals.level
    verdict = np.where(decided, np.where(table["difference"] > 0, MODEL_HIGHER, MODEL_LOWER), UNDECIDED)
    few = table["fewest_patients"].to_numpy() < MINIMUM_PATIENTS
    table["verdict"] = np.where(few | table["patient_p"].isna(), TOO_FEW, verdict)
    return table.drop(columns="fewest_patients")


def reader_agreement(
    sample: Sample, readers: Readers, by_name: bool, intervals: Intervals = _INTERVALS
) -> pd.DataFrame:
    """Return Fleiss' kappa of all readers, those of the truth included, on the sample's images.

    Args:
        sample, readers, by_name, intervals: as of `compare_readers`.

    Returns:
        one row a finding: ``finding, readers, images`` (read by two or more), ``kappa, kappa_patient_low,
        kappa_patient_high``; see `cxr_monai.evaluation.kappa`.
    """
    votes, names, _ = _votes(sample, readers, by_name)
    bootstrap = PatientBootstrap(sample.patients, intervals.replicates, intervals.seed)
    rows = []
    for column, finding in enumerate(readers.findings):
        answers = votes[:, :, column]
        kappa = fleiss_kappa(answers, bootstrap, intervals.level)
        images = int(((~np.isnan(answers)).sum(1) >= 2).sum())
        rows.append({"finding": finding, "readers": len(names), "images": images, "kappa": kappa.value,
                     "kappa_patient_low": kappa.low, "kappa_patient_high": kappa.high})  # fmt: skip
    return pd.DataFrame(rows)


def vote_of_others(votes: np.ndarray, reader: int) -> np.ndarray:
    """Return float64 ``[N]``: what most other readers of each image say; NaN where they tie or there are none.

    Args:
        votes: ``[N, K]``; 1, 0, NaN where a reader did not say.
        reader: whose own vote is left out.

    >>> vote_of_others(np.array([[0.0, 1.0, 1.0], [0.0, 1.0, 0.0], [1.0, np.nan, 0.0]]), 0).tolist()
    [1.0, nan, 0.0]
    """
    others = np.delete(votes, reader, axis=1)
    balance = (others == 1).sum(1) - (others == 0).sum(1)
    return np.select([balance > 0, balance < 0], [1.0, 0.0], np.nan)


def sensitivity_at(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray, false_alarms: float) -> float:
    """Return the height of a ROC curve of weighted images at a share of false alarms, between its points linearly.

    Args:
        scores: float ``[N]``, in descending order.
        truth: bool ``[N]``, in the same order.
        weights: float ``[N]``, how often each image counts.
        false_alarms: 1 less the specificity.

    Returns:
        the sensitivity; NaN without an image of each kind.
    """
    last = np.append(np.diff(scores) != 0, True)  # of each group of equal scores
    positives, negatives = np.cumsum(weights * truth)[last], np.cumsum(weights * ~truth)[last]
    if not positives[-1] or not negatives[-1]:
        return float("nan")
    height = np.append(0, positives / positives[-1])
    along = np.append(0, negatives / negatives[-1])
    # the last point not right of it, which is the top where the curve rises straight up
    place = int(np.searchsorted(along, false_alarms + 1e-12, side="right")) - 1
    after = min(place + 1, along.size - 1)
    step = (false_alarms - along[place]) / (along[after] - along[place]) if after > place else 0.0
    return float(height[place] + max(step, 0.0) * (height[after] - height[place]))


def _point(
    scores: np.ndarray, answers: np.ndarray, reference: np.ndarray, bootstrap: PatientBootstrap, level: float
) -> dict[str, object] | None:
    """Return one reader beside the model on the images that the reader read; None without both kinds of images."""
    judged = np.flatnonzero(~np.isnan(answers) & ~np.isnan(reference))
    truth, called = reference[judged] == 1, answers[judged] == 1
    if truth.all() or not truth.any():
        return None
    all_images = np.zeros((len(answers), 4))
    all_images[judged] = np.column_stack([truth & called, ~truth & ~called, truth, ~truth])
    hits, trials = all_images[:, :2], all_images[:, 2:]
    low, high = patient_wilson(hits, trials, bootstrap, level)
    sensitivity, specificity = hits.sum(0) / trials.sum(0)
    order = judged[np.argsort(-scores[judged], kind="stable")]
    ordered, ordered_truth, patients = scores[order], reference[order] == 1, bootstrap.patients[order]
    model = sensitivity_at(ordered, ordered_truth, np.ones(order.size), 1 - specificity)
    sums = bootstrap.sums(all_images)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = sums[:, :2] / sums[:, 2:]
    draws = np.array([
        sensitivity_at(ordered, ordered_truth, counts[patients].astype(float), 1 - share)
        for counts, share in zip(bootstrap.counts, shares[:, 1], strict=True)
    ])  # fmt: skip
    difference = np.array([model - sensitivity])
    ends = difference_test((draws - shares[:, 0])[:, None], difference, level)
    rests_on = effective_patients(bootstrap.patients, all_images[:, 2])
    model_low, model_high = bootstrap_interval(draws, level, model, effective=rests_on)
    with_it, without = (np.unique(bootstrap.patients[judged][side]).size for side in (truth, ~truth))
    return {
        "images": judged.size, "positives": int(truth.sum()), "positive_patients": with_it,
        "fewest_patients": min(with_it, without),
        "sensitivity": sensitivity, "sensitivity_patient_low": low[0], "sensitivity_patient_high": high[0],
        "specificity": specificity, "specificity_patient_low": low[1], "specificity_patient_high": high[1],
        "model_sensitivity": model, "model_sensitivity_patient_low": float(model_low),
        "model_sensitivity_patient_high": float(model_high), "difference": float(difference[0]),
        "patient_low": float(ends[0][0]), "patient_high": float(ends[1][0]), "patient_p": float(ends[2][0]),
    }  # fmt: skip


def _votes(sample: Sample, readers: Readers, by_name: bool) -> tuple[np.ndarray, Sequence[str], np.ndarray]:
    """Return votes ``[N, K, F]`` of the sample's images, the K readers' names, and whether each is in the truth.

    Raises:
        ManifestError: ``images-ambiguous``.
    """
    images = sample.table["image"].astype(str)
    matches = match_images(readers.table["image"], images, by_name=by_name, spare_names=True)
    require_clear(matches, Code.IMAGES_AMBIGUOUS, "the readers' images", readers.path)
    place = readers.table["image"].map(dict(zip(matches.names, matches.places, strict=True))).to_numpy()
    present = readers.table[place >= 0]
    codes, names = pd.factorize(present["reader"], sort=True)
    row_of = {image: row for row, image in enumerate(images)}
    rows = np.array([row_of[matches.images[at]] for at in place[place >= 0]], dtype=int)
    votes = np.full((len(sample), len(names), len(readers.findings)), np.nan)
    votes[rows, codes] = present[list(readers.findings)].to_numpy(float)
    in_truth = np.array([present["in_truth"].to_numpy()[codes == code].any() for code in range(len(names))], dtype=bool)
    return votes, [str(name) for name in names], in_truth


def _unreadable(path: Path, why: str) -> EvaluationError:
    return EvaluationError(
        Code.EVALUATION_INVALID,
        f"these are no single readers' labels: {why}.",
        fix="Restore what 'cxr-monai manifest' wrote, or delete it to judge without readers.",
        where=path,
    )
