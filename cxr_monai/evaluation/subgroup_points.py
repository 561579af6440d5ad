"""Sensitivity and specificity of subgroups at one threshold for all, and their gaps to the rest.

    table = subgroup_points(sample, bootstrap, {"Effusion": 0.31})
    table[table["sensitivity_p_holm"] < 0.05]       # groups in which more, or less, of the finding is missed

A threshold that serves all groups on average may miss more in one of them (underdiagnosis; Seyyed-Kalantari et al.
2021, doi:10.1038/s41591-021-01595-0), which AUROC within groups cannot show.

Intervals are Wilson's at the number of independent images that the patients are worth; gaps are those of
`cxr_monai.evaluation.disparity`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cxr_monai.evaluation.auroc import check_level
from cxr_monai.evaluation.bootstrap import PatientBootstrap
from cxr_monai.evaluation.comparison import MINIMUM_PATIENTS, patients_with
from cxr_monai.evaluation.disparity import correlation, share_gap
from cxr_monai.evaluation.groups import ATTRIBUTES, corrected, groups, judge, ordered
from cxr_monai.evaluation.proportions import by_patient, effective_trials, wilson
from cxr_monai.evaluation.sample import Sample

FIGURES = ("sensitivity", "specificity")
_PARTS = (
    "{}",
    "{}_patient_low",
    "{}_patient_high",
    "rest_{}",
    "{}_gap",
    "{}_gap_low",
    "{}_gap_high",
    "{}_p",
    "{}_p_holm",
)
_COLUMNS = [
    "attribute", "group", "finding", "threshold", *(part.format(figure) for figure in FIGURES for part in _PARTS),
]  # fmt: skip


def subgroup_points(
    sample: Sample,
    bootstrap: PatientBootstrap,
    points: Mapping[str, float],
    attributes: Sequence[str] = ATTRIBUTES,
    minimum_positives: int = MINIMUM_PATIENTS,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return sensitivity and specificity of each finding in each group, and their gaps to the rest.

    Args:
        sample: N images.
        bootstrap: made of ``sample.patients``.
        points: ``{finding: threshold}``; an image is called positive from the threshold on. Findings that are not in
            it, and thresholds that are NaN, give no rows.
        attributes: which of ``cxr_monai.evaluation.groups.ATTRIBUTES``.
        minimum_positives: how many patients with the finding (for specificity: without it) a group and the rest must
            have for a gap to be judged.
        level: of the intervals.

    Returns:
        one row for each ``attribute, group, finding`` with its ``threshold``; and for each figure f of `FIGURES`:

        - ``f, f_patient_low, f_patient_high``: the share, with Wilson's interval at the number of independent images
          that the patients are worth;
        - ``rest_f, f_gap`` (group minus the attribute's other known groups), ``f_gap_low, f_gap_high, f_p``
          (`share_gap`);
        - ``f_p_holm``: over all gaps of the attribute in this figure.

        A gap is NaN without enough patients on both sides.

    Raises:
        EvaluationError: ``evaluation-invalid`` for another attribute or a level outside (0, 1).
    """
    check_level(level)
    thresholds = np.array([points.get(finding, np.nan) for finding in sample.findings], dtype=float)
    columns = np.flatnonzero(~np.isnan(thresholds))
    findings = [sample.findings[column] for column in columns]
    called = sample.scores[:, columns] >= thresholds[columns]
    labels = sample.labels[:, columns]
    tables = []
    for attribute, names in groups(sample, attributes).items():
        group_names = ordered(attribute, names)
        if not group_names or not findings:
            continue
        member = np.column_stack([names == group for group in group_names])
        parts = [
            pd.DataFrame(
                {"attribute": attribute, "group": group, "finding": findings, "threshold": thresholds[columns]}
            )
            for group in group_names
        ]
        for figure, counted, right in zip(FIGURES, (labels == 1, labels == 0), (called, ~called), strict=True):
            _add_figure(parts, figure, counted, counted & right, member, bootstrap, minimum_positives, level)
        tables += parts
    return pd.concat(tables, ignore_index=True)[_COLUMNS] if tables else pd.DataFrame(columns=_COLUMNS)


def _add_figure(
    parts: list[pd.DataFrame],
    figure: str,
    counted: np.ndarray,
    hit: np.ndarray,
    member: np.ndarray,
    bootstrap: PatientBootstrap,
    minimum: int,
    level: float,
) -> None:
    """Add one figure's columns to the tables of G groups.

    Args:
        parts: G tables of F rows.
        figure: its name.
        counted: bool ``[N, F]``, the images that the figure is about.
        hit: bool ``[N, F]``, those of them that were called right.
        member: bool ``[N, G]``.
        bootstrap: of the N images.
        minimum: of patients.
        level: of the intervals.
    """
    sides = np.stack([member, member.any(axis=1, keepdims=True) & ~member], axis=1)  # [N, 2, G]: group and rest
    shape = (*sides.shape[1:], counted.shape[1])
    trials, hits = ((sides[..., None] & mask[:, None, None]).reshape(len(mask), -1) for mask in (counted, hit))
    draws = bootstrap.sums(np.hstack([hits, trials]))
    count = trials.sum(axis=0)
    with np.errstate(invalid="ignore"):  # none to count: NaN
        share = hits.sum(axis=0) / count
        share_draws = draws[:, : count.size] / draws[:, count.size :]
    effective = effective_trials(share, share_draws, by_patient(trials, bootstrap.patients), count)
    low, high = (ends.reshape(shape)[0] for ends in wilson(share * effective, effective, level))
    patients = patients_with(trials, bootstrap.patients).reshape(shape)
    share, effective, share_draws = share.reshape(shape), effective.reshape(shape), share_draws.reshape(-1, *shape)
    side_correlation = correlation(share_draws[:, 0], share_draws[:, 1])
    gap_low, gap_high, p = share_gap(share[0], share[1], effective[0], effective[1], side_correlation, level)
    for index, part in enumerate(parts):
        enough, _ = judge({"": patients[:, index].min(axis=0)}, minimum)
        part[figure], part[f"rest_{figure}"] = share[:, index]
        part[f"{figure}_patient_low"], part[f"{figure}_patient_high"] = low[index], high[index]
        gaps = {
            "gap": share[0, index] - share[1, index],
            "gap_low": gap_low[index],
            "gap_high": gap_high[index],
            "p": p[index],
        }
        for name, values in gaps.items():
            part[f"{figure}_{name}"] = np.where(enough, values, np.nan)
    for part, adjusted in zip(parts, corrected([part[f"{figure}_p"].to_numpy() for part in parts]), strict=True):
        part[f"{figure}_p_holm"] = adjusted
