"""Means over cases with intervals over patients.

    mean_table(cases, "finding", ["rank_correlation"], patients, Intervals())

Cases are images with a finding. Several of one patient are no independent evidence, so whole patients are drawn.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.attribution.localisation_tables import FEWEST_PATIENTS
from cxr_monai.evaluation.bootstrap import Intervals, PatientBootstrap, bootstrap_interval, effective_patients
from cxr_monai.evaluation.metrics_table import MEAN


def mean_table(
    cases: pd.DataFrame, by: str, measures: Sequence[str], patients: pd.Series, intervals: Intervals, mean: bool = False
) -> pd.DataFrame:
    """Return the mean of each measure in each group of cases.

    Args:
        cases: ``image``, the column ``by``, and the measures (NaN: left out); at least one row.
        by: what makes the groups, such as ``finding``.
        measures: columns.
        patients: of each image, indexed by image; cases of images that are not in it are left out.
        intervals: over patients.
        mean: add a row ``mean``: over the groups that have a value, all of the same weight.

    Returns:
        ``by, cases, patients`` (of the first measure) and of each measure X ``X, X_low, X_high``; no interval where
        fewer than `FEWEST_PATIENTS` patients have a value.
    """
    cases = cases[cases["image"].isin(patients.index)]
    groups, codes, member, bootstrap = _grouped(cases, by, patients, intervals)
    table = pd.DataFrame({by: [*groups, MEAN] if mean else groups})
    for name in measures:
        values = cases[name].to_numpy(float)[:, None]
        defined_cases = member * ~np.isnan(values)
        figures, draws = _ratios(np.where(defined_cases > 0, values, 0), defined_cases, bootstrap)
        weights = defined_cases
        if mean:
            defined = ~np.isnan(figures)
            # a replicate without a case of a rare group would be a mean of other groups: its own figure stands in
            filled = np.where(np.isnan(draws), figures, draws)[:, defined]
            draws = np.column_stack([draws, filled.mean(1) if defined.any() else np.full(len(draws), np.nan)])
            figures = np.append(figures, figures[defined].mean() if defined.any() else np.nan)
            weights = np.column_stack([defined_cases, (defined_cases / np.maximum(defined_cases.sum(0), 1)).sum(1)])
        if name == measures[0]:
            table["cases"] = (weights > 0).sum(0)
            table["patients"] = _patient_counts(codes, weights)
        table[name] = figures
        table[f"{name}_low"], table[f"{name}_high"] = _limits(figures, draws, weights, codes, intervals.level)
    return table


def share_table(
    cases: pd.DataFrame, by: str, numerator: str, denominator: str, patients: pd.Series, intervals: Intervals
) -> pd.DataFrame:
    """Return the sum of one column over the sum of another in each group, and in ``all`` cases.

    Args:
        cases: ``image``, the column ``by`` and the two, at least 0 and known; at least one row.
        by, patients, intervals: as for `mean_table`.

    Returns:
        ``by, cases, patients``, the means of both columns, and ``share, low, high``.
    """
    cases = cases[cases["image"].isin(patients.index)]
    groups, codes, member, bootstrap = _grouped(cases, by, patients, intervals)
    member = np.column_stack([member, np.ones(len(cases))])
    above, below = (member * cases[name].to_numpy(float)[:, None] for name in (numerator, denominator))
    figures, draws = _ratios(above, below, bootstrap)
    low, high = _limits(figures, draws, member, codes, intervals.level)
    count = member.sum(0)
    return pd.DataFrame(
        {
            by: [*groups, "all"],
            "cases": count.astype(int),
            "patients": _patient_counts(codes, member),
            numerator: above.sum(0) / count,
            denominator: below.sum(0) / count,
            "share": figures,
            "low": low,
            "high": high,
        }
    )


def _grouped(
    cases: pd.DataFrame, by: str, patients: pd.Series, intervals: Intervals
) -> tuple[list[Any], np.ndarray, np.ndarray, PatientBootstrap]:
    """Return the K groups, the patient number of each case ``[N]``, its membership ``[N, K]`` and draws of patients."""
    groups = list(dict.fromkeys(cases[by]))
    codes = pd.factorize(cases["image"].map(patients))[0]
    member = (cases[by].to_numpy()[:, None] == np.array(groups, dtype=object)).astype(float)
    return groups, codes, member, PatientBootstrap(codes, intervals.replicates, intervals.seed)


def _patient_counts(codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return how many patients have a weight above 0 in each column: ``[N], [N, K]`` to ``[K]``."""
    return np.array([np.unique(codes[column > 0]).size for column in weights.T])


def _ratios(above: np.ndarray, below: np.ndarray, bootstrap: PatientBootstrap) -> tuple[np.ndarray, np.ndarray]:
    """Return the ratios of two sums over cases ``[K]``, and in each replicate ``[R, K]``; NaN where the lower is 0."""
    sums = np.vstack([np.hstack([above, below]).sum(0), bootstrap.sums(np.hstack([above, below]))])
    tops, bottoms = np.split(sums, 2, axis=1)
    ratios = np.divide(tops, bottoms, out=np.full(tops.shape, np.nan), where=bottoms > 0)
    return ratios[0], ratios[1:]


def _limits(
    figures: np.ndarray, draws: np.ndarray, weights: np.ndarray, codes: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return low and high of each figure; NaN where it rests on fewer than `FEWEST_PATIENTS`."""
    effective = np.array([effective_patients(codes, column) for column in weights.T])
    low, high = bootstrap_interval(draws, level, figures, effective=effective)
    few = _patient_counts(codes, weights) < FEWEST_PATIENTS
    return np.where(few, np.nan, low), np.where(few, np.nan, high)


def few_note(patients: pd.Series) -> list[str]:
    """Return the sentence on figures without interval, if there are any.

    Args:
        patients: how many each figure rests on.
    """
    few = bool((patients < FEWEST_PATIENTS).any())
    return [f"Where a figure rests on fewer than {FEWEST_PATIENTS} patients, it has no interval."] if few else []
