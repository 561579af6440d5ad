"""Subgroup analysis: each group's AUROC, and the gap to the rest of the images.

    table, notes = subgroup_table(sample, PatientBootstrap(sample.patients))
    table[(table["finding"] == "mean") & (table["p_holm"] < 0.05)]         # gaps that are more than chance

A gap is the group's figure minus the rest's: the rest are the images of the attribute's other known groups. Both are
taken from the same resampled patients, so that a patient with images on both sides (an AP and a PA view) counts as one.
Interval and p-value are those of `cxr_monai.evaluation.disparity`, corrected by Holm over all gaps of one attribute.

A gap in AUROC says that the model ranks worse within a group. It does not say why: the group may be sicker, its images
harder, its labels noisier. Equal AUROCs do not mean equal treatment at one threshold: see
`cxr_monai.evaluation.subgroup_points`, whose columns join the table where thresholds are given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxr_monai.evaluation.auroc import Auroc, check_level, delong
from cxr_monai.evaluation.bootstrap import PatientBootstrap, bootstrap_interval, effective_patients
from cxr_monai.evaluation.comparison import (
    MINIMUM_PATIENTS,
    TOO_FEW,
    patients_with,
    patients_with_any,
)
from cxr_monai.evaluation.disparity import Areas, area_gap
from cxr_monai.evaluation.groups import ATTRIBUTES, corrected, groups, judge, notes_on, ordered
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.subgroup_points import subgroup_points
from cxr_monai.plurals import out_of

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

    groups_by_attribute = groups(sample, attributes)
    tables = []
    for attribute, names in groups_by_attribute.items():
        group_names = ordered(attribute, names)
        is_known = (names != "").to_numpy()
        parts = []
        for group in group_names:
            rows = (names == group).to_numpy()
            rest = side(is_known & ~rows) if len(group_names) > 1 else None
            part = _one_group(sample.findings, side(rows), rest, minimum_positives, level)
            parts.append(part.assign(attribute=attribute, group=group))
        if parts:
            adjusted = corrected([part["p"].to_numpy() for part in parts])
            tables += [part.assign(p_holm=p) for part, p in zip(parts, adjusted, strict=True)]
    table = pd.concat(tables, ignore_index=True)[_COLUMNS] if tables else pd.DataFrame(columns=_COLUMNS)
    if points:
        at_points = subgroup_points(sample, bootstrap, points, attributes, minimum_positives, level)
        table = table.merge(at_points, on=["attribute", "group", "finding"], how="left")
    return table, notes_on(groups_by_attribute)


@dataclass(frozen=True, eq=False)
class _Side:
    """Counts and AUROCs of F findings on one set of images.

    Attributes:
        rows, patients, any_patients: images, their patients, and those with any finding.
        counts: the table's counts, ``[F]`` each.
        without: patients with an image without the finding ``[F]``.
        delong: F.
        areas: of the F findings.
    """

    rows: int
    patients: int
    any_patients: int
    counts: dict[str, np.ndarray]
    without: np.ndarray
    delong: list[Auroc]
    areas: Areas

    @classmethod
    def of(cls, sample: Sample, bootstrap: PatientBootstrap, rows: np.ndarray, level: float) -> "_Side":
        ranking = bootstrap.rankings(sample.scores, sample.labels, rows=rows)
        scores, labels, patients = sample.scores[rows], sample.labels[rows], sample.patients[rows]
        present, absent = labels == 1, labels == 0
        counts = {
            "images": (present | absent).sum(axis=0),
            "patients": patients_with(present | absent, patients),
            "positives": present.sum(axis=0),
            "positive_patients": patients_with(present, patients),
        }
        columns = range(labels.shape[1])
        by_image = [delong(scores[:, c], labels[:, c], level) for c in columns]
        scarcer = [min(effective_patients(patients, kind[:, c]) for kind in (present, absent)) for c in columns]
        return cls(
            len(labels),
            len(np.unique(patients)),
            patients_with_any(present, patients),
            counts,
            patients_with(absent, patients),
            by_image,
            Areas(
                np.array([area.value for area in by_image]),
                ranking.auroc,
                np.nan_to_num(ranking.auroc_effective),
                np.maximum(scarcer, 1),
            ),
        )


def _one_group(findings: Sequence[str], side: _Side, rest: _Side | None, minimum: int, level: float) -> pd.DataFrame:
    """Return the rows of one group, its mean last; without attribute, group and p_holm."""
    needed = {}
    for place, patients_side in (("the group", side), ("the rest", rest)):
        if patients_side is not None:
            needed[f"with the finding in {place}"] = patients_side.counts["positive_patients"]
            needed[f"without it in {place}"] = patients_side.without
    enough, notes = judge(needed, minimum)
    notes.append(_mean_note(findings, enough))
    areas = side.areas.with_mean(enough)
    table = pd.DataFrame({name: [*values, 0] for name, values in side.counts.items()})
    table.loc[len(findings), list(side.counts)] = (
        side.rows, side.patients, int(side.counts["positives"].sum()), side.any_patients,
    )  # fmt: skip
    table["finding"] = [*findings, MEAN]
    table["auroc"] = areas.values
    table["auroc_low"] = [*(area.low for area in side.delong), np.nan]
    table["auroc_high"] = [*(area.high for area in side.delong), np.nan]
    ends = bootstrap_interval(areas.replicates, level, areas.values, effective=areas.effective)
    table["auroc_patient_low"], table["auroc_patient_high"] = ends
    if rest is None:
        notes = [f"{note}; {_ALONE}" if note else _ALONE for note in notes]
        return table.assign(rest_auroc=np.nan, gap=np.nan, gap_low=np.nan, gap_high=np.nan, p=np.nan, note=notes)
    others = rest.areas.with_mean(enough)
    low, high, p = area_gap(areas, others, level)
    gaps = {"gap": areas.values - others.values, "gap_low": low, "gap_high": high, "p": p}
    decidable = np.append(enough, True) & ~np.isnan(low)
    table["rest_auroc"] = others.values
    return table.assign(**{name: np.where(decidable, values, np.nan) for name, values in gaps.items()}, note=notes)


def _mean_note(findings: Sequence[str], enough: np.ndarray) -> str:
    if not enough.any():
        return f"{TOO_FEW}: no finding has enough patients"
    few = ", ".join(name for name, is_enough in zip(findings, enough, strict=True) if not is_enough)
    return f"mean of {out_of(enough.sum(), len(findings), 'finding')}, too few of {few}" if few else ""
