"""Two sources of labels on the same images: how often they agree, and what one model is worth by each.

    sources = join_sources(nih, rsna)                                   # two manifests
    pairs = label_pairs(nih.findings, rsna.findings)                    # which labels can be compared, and by what rule
    agreement_of_labels(sources, pairs)                                 # sensitivity, PPV, specificity, kappa
    aurocs_by_source(sources, predictions, pairs)                       # one model's AUROC against each, paired

The first source is judged by the second, which is the reference: sensitivity is the share of the images that the second
calls present in which the first does, too. An image counts for a pair where both sources know the label.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from cxr_monai.composites import COMPOSITES, Composite
from cxr_monai.data.joining import join_on_image
from cxr_monai.data.manifest import Manifest
from cxr_monai.data.manifest_record import Patients
from cxr_monai.data.overlaps import patient_names
from cxr_monai.data.validation import RESERVED
from cxr_monai.errors import Code, EvaluationError, ManifestError
from cxr_monai.evaluation.auroc import auroc, check_level
from cxr_monai.evaluation.bootstrap import Intervals, PatientBootstrap, bootstrap_interval
from cxr_monai.evaluation.comparison import difference_test, holm
from cxr_monai.evaluation.composite_scores import score_composites
from cxr_monai.evaluation.kappa import cohen_kappa
from cxr_monai.evaluation.predictions import PredictionsFile, spelled_as
from cxr_monai.evaluation.proportions import patient_wilson
from cxr_monai.plurals import be, counted

SAME, UNION, MEMBER = "same finding", "union of the members", "one member of the union"
_INTERVALS = Intervals()


@dataclass(frozen=True)
class LabelPair:
    """A label of one source beside a label of another.

    Attributes:
        finding: what is asked: a finding, or a composite.
        first, second: the columns of each source; of several the union is taken.
        rule: one of `SAME`, `UNION`, `MEMBER`.
    """

    finding: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    rule: str


@dataclass(frozen=True, eq=False)
class LabelSources:
    """Two manifests' labels of the images that both have.

    Attributes:
        table: RangeIndex N; the first manifest's columns that are no findings.
        first, second: ``[N]`` rows, one float column a finding: 1, 0, NaN unknown.
        patients: int64 ``[N]``, codes.
        by_name: file names are identities, for further joins.
        roots: of the first manifest, for further joins.
        notes: a sentence for the images of one source alone.
    """

    table: pd.DataFrame
    first: pd.DataFrame
    second: pd.DataFrame
    patients: np.ndarray
    by_name: bool
    roots: Mapping[str, Path]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class LabelComparison:
    """The result of a comparison of two sources of labels.

    Attributes:
        names: of the sources, as tables and sentences call them.
        agreement: of `agreement_of_labels`.
        auroc: of `aurocs_by_source`; None without predictions.
        level: of the intervals over patients.
        book: what was compared: files, label versions, images.
        notes: a sentence each.
        readers: of each source with single readers, by its name: the tables of `cxr_monai.evaluation.readers`, the
            first one empty without predictions.
    """

    names: tuple[str, str]
    agreement: pd.DataFrame
    auroc: pd.DataFrame | None
    level: float
    book: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    readers: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]] = field(default_factory=dict)


def join_sources(first: Manifest, second: Manifest, match_names: bool = False) -> LabelSources:
    """Join two manifests on their images, by the rule of `cxr_monai.data.matching`.

    Args:
        first, second: of the same images; patients are those of the one that is surer of them, else the first's.
        match_names: a file name alone tells which image it is.

    Raises:
        ManifestError: ``manifest-invalid`` if they have no image in common on which both know a label,
            ``images-ambiguous``.
    """
    certainty = get_args(Patients).index
    by_second = certainty(second.patients) > certainty(first.patients)
    by_name = first.by_name or second.by_name or match_names
    labels = second.table[["image", *second.findings]].rename(
        columns={name: f"second {name}" for name in second.findings}
    )
    if by_second:
        labels = labels.assign(**{f"second {name}": second.table[name] for name in ("patient_id", "source")})
    joined = join_on_image(first.table, labels, by_name=by_name, root=first.roots)
    theirs = [f"second {name}" for name in second.findings]
    labelled = [joined.table[names].notna().any(axis=1) for names in (list(first.findings), theirs)]
    table = joined.table[labelled[0] & labelled[1]].reset_index(drop=True)
    if table.empty:
        raise ManifestError(
            Code.MANIFEST_INVALID,
            f"of the {counted(len(joined.table), 'image')} that both manifests have, none has a label in both.",
            fix="Compare two manifests that label the same images.",
        )
    notes = [*joined.notes("images of the second source", "the first"),
             *joined.unnamed_notes("images of the first source", "label by the second")]  # fmt: skip
    silent = len(joined.table) - len(table)
    if silent:
        notes.append(f"{counted(silent, 'image')} of both, on which one of them says nothing, {be(silent)} left out.")
    people = table[["patient_id", "source"]]
    if by_second:
        people = table[["second patient_id", "second source"]].set_axis(["patient_id", "source"], axis=1)
    if first.patients == second.patients == "unknown":
        notes.append(
            "Whose films these are is not known: intervals take each film for a patient, and may be too narrow."
        )
    return LabelSources(
        table[[name for name in table if name in RESERVED]],
        table[list(first.findings)],
        table[theirs].set_axis(list(second.findings), axis=1),
        pd.factorize(patient_names(people))[0].astype(np.int64),
        by_name,
        first.roots,
        tuple(notes),
    )


def compared_findings(manifest: Manifest, composites: Mapping[str, Composite] = COMPOSITES) -> list[str]:
    """Return a source's findings less those that it knows through a composite alone, which it can only call absent.

    Args:
        manifest: the source.
        composites: by name.
    """
    members = {member for name in manifest.findings if name in composites for member in composites[name].members}
    return [name for name in manifest.findings if name not in members or (manifest.table[name] == 1).any()]


def label_pairs(
    first: Sequence[str],
    second: Sequence[str],
    findings: Sequence[str] = (),
    composites: Mapping[str, Composite] = COMPOSITES,
) -> list[LabelPair]:
    """Return which labels of two sources can be compared.

    A finding that both have is compared with itself. A composite that one source alone has is compared with the union
    of its members in the other, where that has all of them, and with each single member there.

    Args:
        first, second: the sources' findings.
        findings: of these alone, a composite's name standing for all of its pairs; all where empty.
        composites: by name.

    Raises:
        EvaluationError: ``unknown-finding`` if one that is asked for is in no pair, or if there is no pair.

    >>> [(pair.first, pair.rule) for pair in label_pairs(["Mass", "Nodule"], ["Mass or Nodule"])][:2]
    [(('Mass', 'Nodule'), 'union of the members'), (('Mass',), 'one member of the union')]
    """
    pairs = [LabelPair(name, (name,), (name,), SAME) for name in first if name in second]
    for ours, theirs, is_first in ((first, second, True), (second, first, False)):
        for name in ours:
            if name in theirs or name not in composites:
                continue
            members = composites[name].members
            options = [(members, UNION)] if set(members) <= set(theirs) else []
            options += [((member,), MEMBER) for member in members if member in theirs]
            for option, rule in options:
                sides = ((name,), option) if is_first else (option, (name,))
                pairs.append(LabelPair(name, sides[0], sides[1], rule))
    available = list(dict.fromkeys(pair.finding for pair in pairs))
    missing = [name for name in findings if name not in available]
    if missing or not pairs:
        raise EvaluationError(
            Code.UNKNOWN_FINDING,
            f"the two sources have no label {', '.join(missing) or 'at all'} that can be compared; they have "
            f"{', '.join(available) or 'none'} (the first: {', '.join(first)}; the second: {', '.join(second)}).",
        )
    return [pair for pair in pairs if not findings or pair.finding in findings]


def union_label(labels: pd.DataFrame, members: Sequence[str]) -> np.ndarray:
    """Return float64 ``[N]``: 1 where any member is 1, 0 where all are 0, else NaN.

    Args:
        labels: ``[N]`` rows, one column a finding.
        members: of its columns.

    >>> union_label(pd.DataFrame({"Mass": [0, 0, None], "Nodule": [0, None, 1]}), ["Mass", "Nodule"]).tolist()
    [0.0, nan, 1.0]
    """
    values = labels[list(members)].to_numpy(dtype=float)
    return np.select([(values == 1).any(1), (values == 0).all(1)], [1.0, 0.0], np.nan)


def label_name(columns: Sequence[str]) -> str:
    """Return a pair's columns as one name: ``Mass or Nodule``.

    >>> label_name(("Mass", "Nodule"))
    'Mass or Nodule'
    """
    return " or ".join(columns)


def agreement_of_labels(
    sources: LabelSources, pairs: Sequence[LabelPair], intervals: Intervals = _INTERVALS
) -> pd.DataFrame:
    """Return how the first source's labels agree with the second's.

    Args:
        sources: of `join_sources`.
        pairs: of `label_pairs`.
        intervals: over patients.

    Returns:
        one row a pair: ``finding, first_label, second_label, rule, images, patients``; the counts ``both, first_only,
        second_only, neither``; ``sensitivity, ppv, specificity`` of the first judged by the second, and ``kappa``, each
        with ``_patient_low, _patient_high``; NaN where undefined. Shares have Wilson's interval for patients
        (`cxr_monai.evaluation.proportions`), kappa that of `cxr_monai.evaluation.kappa`.

    Raises:
        EvaluationError: ``evaluation-invalid`` for a level outside (0, 1).
    """
    check_level(intervals.level)
    bootstrap = PatientBootstrap(sources.patients, intervals.replicates, intervals.seed)
    rows = []
    for pair in pairs:
        first, second = union_label(sources.first, pair.first), union_label(sources.second, pair.second)
        both_known = ~np.isnan(first) & ~np.isnan(second)
        yes, truth = (first == 1) & both_known, (second == 1) & both_known
        row: dict[str, object] = {
            "finding": pair.finding, "first_label": label_name(pair.first), "second_label": label_name(pair.second),
            "rule": pair.rule, "images": both_known.sum(), "patients": np.unique(sources.patients[both_known]).size,
            "both": (yes & truth).sum(), "first_only": (yes & ~truth).sum(), "second_only": (truth & ~yes).sum(),
            "neither": (both_known & ~yes & ~truth).sum(),
        }  # fmt: skip
        shares = {
            "sensitivity": (yes & truth, truth),
            "ppv": (yes & truth, yes),
            "specificity": (both_known & ~yes & ~truth, both_known & ~truth),
        }
        hits, trials = (np.column_stack(side) for side in zip(*shares.values(), strict=True))
        low, high = patient_wilson(hits, trials, bootstrap, intervals.level)
        with np.errstate(invalid="ignore"):
            values = hits.sum(0) / trials.sum(0)
        for name, *figures in zip(shares, values, low, high, strict=True):
            row |= dict(zip((name, f"{name}_patient_low", f"{name}_patient_high"), figures, strict=True))
        kappa = cohen_kappa(first, second, bootstrap, intervals.level)
        row |= {"kappa": kappa.value, "kappa_patient_low": kappa.low, "kappa_patient_high": kappa.high}
        rows.append(row)
    return pd.DataFrame(rows)


def aurocs_by_source(
    sources: LabelSources,
    predictions: PredictionsFile,
    pairs: Sequence[LabelPair],
    intervals: Intervals = _INTERVALS,
    composites: Mapping[str, Composite] = COMPOSITES,
) -> tuple[pd.DataFrame, list[str]]:
    """Return one model's AUROC against the labels of each source, on the same images, and their paired difference.

    A pair of findings is scored by the output of that finding. A composite is scored by the union of its members
    (`cxr_monai.composites.union_score`) and, beside one member's label, by that member's output; where both sources
    have it, by the union and by each member's output.

    Args:
        sources: of `join_sources`.
        predictions: of any system.
        pairs: of `label_pairs`.
        intervals: over patients.
        composites: by name.

    Returns:
        one row a pair and a score: ``finding, score, first_label, second_label, rule, images, patients,
        first_positives, second_positives``; ``first_auroc, second_auroc`` with ``_patient_low, _patient_high``;
        ``difference`` (second minus first) with ``patient_low, patient_high, patient_p, patient_p_holm``, see
        `cxr_monai.evaluation.comparison.difference_test`; NaN where a source has labels of one kind alone. And a
        sentence for what was left out.

    Raises:
        ManifestError: ``manifest-invalid`` if the predictions have no image of the sources.
        EvaluationError: ``unknown-finding`` if they have no score for any pair.
    """
    labels_of_pairs = dict.fromkeys(name for pair in pairs for name in (pair.finding, *pair.first, *pair.second))
    scored = score_composites(
        spelled_as(predictions.table, list(labels_of_pairs)), [pair.finding for pair in pairs], composites
    )
    joined = join_on_image(sources.table[["image"]].assign(row=range(len(sources.table))), scored.table,
                           by_name=sources.by_name, path=predictions.path, root=sources.roots)  # fmt: skip
    place = joined.table["row"].to_numpy()
    notes = [*scored.notes, *joined.unnamed_notes("images of both sources", "prediction")]
    patients = pd.factorize(sources.patients[place])[0].astype(np.int64)
    bootstrap = PatientBootstrap(patients, intervals.replicates, intervals.seed)
    rows, draws = [], []
    for pair in pairs:
        sides = [union_label(labels, columns)[place]
                 for labels, columns in ((sources.first, pair.first), (sources.second, pair.second))]  # fmt: skip
        both_known = ~np.isnan(sides[0]) & ~np.isnan(sides[1])
        labels = np.column_stack([np.where(both_known, side, np.nan) for side in sides])
        for name in _scores_of(pair, scored.table, composites):
            scores = joined.table[name].to_numpy(float)
            ranking = bootstrap.rankings(np.column_stack([scores, scores]), labels)
            values = np.array([auroc(scores, column) for column in labels.T])
            low, high = bootstrap_interval(ranking.auroc, intervals.level, values, effective=ranking.auroc_effective)
            row: dict[str, object] = {
                "finding": pair.finding, "score": name, "first_label": label_name(pair.first),
                "second_label": label_name(pair.second), "rule": pair.rule, "images": both_known.sum(),
                "patients": np.unique(patients[both_known]).size,
            }  # fmt: skip
            for side, *figures in zip(("first", "second"), (labels == 1).sum(0), values, low, high, strict=True):
                names = ("positives", "auroc", "auroc_patient_low", "auroc_patient_high")
                row |= {f"{side}_{name}": figure for name, figure in zip(names, figures, strict=True)}
            rows.append(row | {"difference": values[1] - values[0]})
            draws.append(ranking.auroc[:, 1] - ranking.auroc[:, 0])
    if not rows:
        raise EvaluationError(
            Code.UNKNOWN_FINDING,
            f"the predictions score no label that both sources have; they have {', '.join(predictions.findings)}.",
            where=predictions.path,
        )
    table = pd.DataFrame(rows)
    low, high, p = difference_test(np.column_stack(draws), table["difference"].to_numpy(float), intervals.level)
    return table.assign(patient_low=low, patient_high=high, patient_p=p, patient_p_holm=holm(p)), notes


def _scores_of(pair: LabelPair, scores: pd.DataFrame, composites: Mapping[str, Composite]) -> list[str]:
    """Return the columns of the scores that a pair is judged by."""
    members = composites[pair.finding].members if pair.finding in composites else ()
    if pair.rule == MEMBER:
        single = pair.first if pair.second == (pair.finding,) else pair.second
        names: Sequence[str] = single
    else:
        names = (pair.finding, *members) if pair.rule == SAME else (pair.finding,)
    return [name for name in names if name in scores]
