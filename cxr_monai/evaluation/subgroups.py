"""Is the model as good for everyone: each group's figures, and the gap to the rest of the images.

    table, notes = subgroup_table(sample, PatientBootstrap(sample.patients))
    table[(table["finding"] == "mean") & (table["p_holm"] < 0.05)]         # gaps that are more than chance

A gap is the group's figure minus the rest's: the rest are the images of the attribute's other known groups. Both are
taken from the same resampled patients, so that a patient with images on both sides (an AP and a PA view) counts as one.
Interval and p-value are those of `comparison.difference_test`, corrected by Holm over all gaps of one attribute.

A gap in AUROC says that the model ranks worse within a group. It does not say why: the group may be sicker, its images
harder, its labels noisier. Equal AUROCs do not mean equal treatment at one threshold: see
`cxr_monai.evaluation.subgroup_points`, whose columns join the table where thresholds are given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxr_monai.evaluation.auroc import Auroc, check_level, delong
from cxr_monai.evaluation.bootstrap import PatientBootstrap, interval
from cxr_monai.evaluation.comparison import (
    MINIMUM_PATIENTS,
    TOO_FEW,
    difference_test,
    patients_with,
    patients_with_any,
)
from cxr_monai.evaluation.groups import ATTRIBUTES, corrected, groups, judge, notes_on, ordered
from cxr_monai.evaluation.metrics import MEAN
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.subgroup_points import subgroup_points

_ALONE = "no other group to compare with"
_COLUMNS = [
    "attribute", "group", "finding", "images", "patients", "positives", "positive_patients", "auroc", "auroc_low",
    "auroc_high", "auroc_patient_low", "auroc_patient_high", "rest_auroc", "gap", "gap_low", "gap_high", "p", "p_holm",
    "note",
]  # fmt: skip


def subgroup_table(
    sample: Sample,
    bootstrap: PatientBootstrap,
    attributes: Sequence[str] = ATTRIBUTES,
    minimum_positives: int = MINIMUM_PATIENTS,
    level: float = 0.95,
    points: Mapping[str, float] | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Return AUROC of each finding in each group with the gap to the rest, and sentences on what is unknown.

    Args:
        sample: N images.
        bootstrap: made of ``sample.patients``.
        attributes: which of `ATTRIBUTES`.
        minimum_positives: how many patients with the finding, and how many without it, a group and the rest must have
            (by their images there) for a gap to be judged.
        level: of the intervals.
        points: a threshold for some findings; adds the columns of `subgroup_points`.

    Returns:
        a table and the notes of `group_notes`. The table has one row for each attribute, group and finding, and a row
        ``mean`` for each group:

        - ``attribute, group, finding``;
        - ``images, patients`` with a known label; ``positives, positive_patients``. In the row ``mean``: the group's
          images and patients, the sum of positives, patients with any finding;
        - ``auroc, auroc_low, auroc_high`` (DeLong), ``auroc_patient_low, auroc_patient_high`` (bootstrap);
        - ``rest_auroc, gap`` (group minus rest), ``gap_low, gap_high, p`` (bootstrap);
        - ``p_holm``: over all gaps of the attribute, means included. Where there are two groups, each is the other's
          rest: a finding's two gaps are one test and count once;
        - ``note``: ``too few to say: ...`` where the minimum is not reached (gap, its interval and p are NaN, and AUROC
          is to be read with its interval), and which findings a mean leaves out.

        The mean, of the group and of the rest, is over the findings that reach the minimum in both, so that it compares
        like with like; without a rest, over those that reach it in the group.

    Raises:
        EvaluationError: ``evaluation-invalid`` for another attribute or a level outside (0, 1).
    """
    check_level(level)
    done: dict[bytes, _Side] = {}

    def side(rows: np.ndarray) -> _Side:
        # each set of images is scored once: with two groups, each is the other's rest
        key = rows.tobytes()
        if key not in done:
            done[key] = _Side.of(sample, bootstrap, rows, level)
        return done[key]

    found = groups(sample, attributes)
    tables = []
    for attribute, names in found.items():
        there = ordered(attribute, names)
        known = (names != "").to_numpy()
        parts = []
        for group in there:
            rows = (names == group).to_numpy()
            rest = side(known & ~rows) if len(there) > 1 else None
            part = _one_group(sample.findings, side(rows), rest, minimum_positives, level)
            parts.append(part.assign(attribute=attribute, group=group))
        if parts:
            adjusted = corrected([part["p"].to_numpy() for part in parts])
            tables += [part.assign(p_holm=p) for part, p in zip(parts, adjusted, strict=True)]
    table = pd.concat(tables, ignore_index=True)[_COLUMNS] if tables else pd.DataFrame(columns=_COLUMNS)
    if points:
        at_points = subgroup_points(sample, bootstrap, points, attributes, minimum_positives, level)
        table = table.merge(at_points, on=["attribute", "group", "finding"], how="left")
    return table, notes_on(found)


@dataclass(frozen=True, eq=False)
class _Side:
    """What is known of one set of images; arrays are ``[F]``, replicates ``[R, F]``."""

    rows: int
    patients: int
    any_patients: int
    counts: dict[str, np.ndarray]
    without: np.ndarray
    areas: list[Auroc]
    values: np.ndarray
    replicates: np.ndarray

    @classmethod
    def of(cls, sample: Sample, bootstrap: PatientBootstrap, rows: np.ndarray, level: float) -> "_Side":
        drawn = bootstrap.rankings(sample.scores, sample.labels, rows=rows).auroc
        scores, labels, patients = sample.scores[rows], sample.labels[rows], sample.patients[rows]
        present, absent = labels == 1, labels == 0
        areas = [delong(scores[:, c], labels[:, c], level) for c in range(labels.shape[1])]
        counts = {
            "images": (present | absent).sum(axis=0),
            "patients": patients_with(present | absent, patients),
            "positives": present.sum(axis=0),
            "positive_patients": patients_with(present, patients),
        }
        anything = patients_with_any(present, patients)
        values = np.array([area.value for area in areas])
        without = patients_with(absent, patients)
        return cls(len(labels), len(np.unique(patients)), anything, counts, without, areas, values, drawn)

    def means(self, findings: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the mean over some findings and its replicates ``[R]``; a replicate that lacks one has none."""
        if not findings.any():
            return np.nan, np.full(len(self.replicates), np.nan)
        return float(self.values[findings].mean()), self.replicates[:, findings].mean(axis=1)


def _one_group(findings: Sequence[str], side: _Side, rest: _Side | None, minimum: int, level: float) -> pd.DataFrame:
    """Return the rows of one group, its mean last; without attribute, group and p_holm."""
    needed = {}
    for place, one in (("the group", side), ("the rest", rest)):
        if one is not None:
            needed[f"with the finding in {place}"] = one.counts["positive_patients"]
            needed[f"without it in {place}"] = one.without
    enough, notes = judge(needed, minimum)
    mean, drawn = side.means(enough)
    replicates = np.column_stack([side.replicates, drawn])
    table = pd.DataFrame({name: [*of, 0] for name, of in side.counts.items()})
    table.loc[len(findings), list(side.counts)] = (
        side.rows, side.patients, int(side.counts["positives"].sum()), side.any_patients,
    )  # fmt: skip
    table["finding"] = [*findings, MEAN]
    table["auroc"] = [*side.values, mean]
    table["auroc_low"] = [*(area.low for area in side.areas), np.nan]
    table["auroc_high"] = [*(area.high for area in side.areas), np.nan]
    table["auroc_patient_low"], table["auroc_patient_high"] = interval(replicates, level, table["auroc"].to_numpy())
    notes.append(_mean_note(findings, enough))
    differences = np.full_like(replicates, np.nan)
    table["rest_auroc"] = np.nan
    if rest is None:
        notes = [f"{note}; {_ALONE}" if note else _ALONE for note in notes]
    else:
        rest_mean, rest_drawn = rest.means(enough)
        table["rest_auroc"] = [*rest.values, rest_mean]
        judged = np.append(enough, True)
        differences[:, judged] = (replicates - np.column_stack([rest.replicates, rest_drawn]))[:, judged]
    gap = table["auroc"].to_numpy() - table["rest_auroc"].to_numpy()
    low, high, p = difference_test(differences, gap, level)
    return table.assign(gap=np.where(np.isnan(low), np.nan, gap), gap_low=low, gap_high=high, p=p, note=notes)


def _mean_note(findings: Sequence[str], enough: np.ndarray) -> str:
    if not enough.any():
        return f"{TOO_FEW}: no finding has enough patients"
    few = ", ".join(name for name, kept in zip(findings, enough, strict=True) if not kept)
    return f"mean of {enough.sum()} of {len(findings)} findings, too few of {few}" if few else ""
