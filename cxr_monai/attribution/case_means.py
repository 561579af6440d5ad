"""Means over cases with intervals over patients.

    mean_table(cases, "finding", ["rank_correlation"], patients)    # finding, cases, patients, X, X_low, X_high

Cases are images with a finding. Several of one patient are no independent evidence, so whole patients are drawn.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cxr_monai.attribution.localisation_tables import FEWEST
from cxr_monai.evaluation.bootstrap import PatientBootstrap, effective_patients, interval
from cxr_monai.evaluation.metrics_table import MEAN


def mean_table(
    cases: pd.DataFrame,
    by: str,
    measures: Sequence[str],
    patients: pd.Series,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    mean: bool = False,
) -> pd.DataFrame:
    """Return the mean of each measure in each group of cases.

    Args:
        cases: ``image``, the column ``by``, and the measures (NaN: left out); at least one row.
        by: what makes the groups, such as ``finding``.
        measures: columns.
        patients: of `patients_of`; cases of images that are not in it are left out.
        replicates, level, seed: of the bootstrap over patients.
        mean: add a row ``mean``: over the groups that have a value, all of the same weight.

    Returns:
        ``by, cases, patients`` (of the first measure) and of each measure X ``X, X_low, X_high``; no interval where
        fewer than `FEWEST` patients have a value.
    """
    cases = cases[cases["image"].isin(patients.index)]
    groups = list(dict.fromkeys(cases[by]))
    codes = pd.factorize(cases["image"].map(patients))[0]
    inside = (cases[by].to_numpy()[:, None] == np.array(groups, dtype=object)).astype(float)
    bootstrap = PatientBootstrap(codes, replicates, seed)
    table = pd.DataFrame({by: [*groups, MEAN] if mean else groups})
    for name in measures:
        values = cases[name].to_numpy(float)[:, None]
        known = inside * ~np.isnan(values)
        figure, draws = _ratios(np.where(known > 0, values, 0), known, bootstrap)
        weights = known
        if mean:
            defined = ~np.isnan(figure)
            # a replicate without a case of a rare group would be a mean of other groups: its own figure stands in
            filled = np.where(np.isnan(draws), figure, draws)[:, defined]
            draws = np.column_stack([draws, filled.mean(1) if defined.any() else np.full(len(draws), np.nan)])
            figure = np.append(figure, figure[defined].mean() if defined.any() else np.nan)
            weights = np.column_stack([known, (known / np.maximum(known.sum(0), 1)).sum(1)])
        if name == measures[0]:
            table["cases"] = (weights > 0).sum(0)
            table["patients"] = [np.unique(codes[column > 0]).size for column in weights.T]
        table[name], table[f"{name}_low"], table[f"{name}_high"] = _ends(figure, draws, weights, codes, level)
    return table


def share_table(
    cases: pd.DataFrame,
    by: str,
    numerator: str,
    denominator: str,
    patients: pd.Series,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the sum of one column over the sum of another in each group, and in ``all`` cases.

    Args:
        cases: ``image``, the column ``by`` and the two, at least 0 and known; at least one row.
        by, patients, replicates, level, seed: as for `mean_table`.

    Returns:
        ``by, cases, patients``, the means of both columns, and ``share, low, high``.
    """
    cases = cases[cases["image"].isin(patients.index)]
    groups = list(dict.fromkeys(cases[by]))
    codes = pd.factorize(cases["image"].map(patients))[0]
    inside = (cases[by].to_numpy()[:, None] == np.array(groups, dtype=object)).astype(float)
    inside = np.column_stack([inside, np.ones(len(cases))])
    above, below = (inside * cases[name].to_numpy(float)[:, None] for name in (numerator, denominator))
    figure, draws = _ratios(above, below, PatientBootstrap(codes, replicates, seed))
    low, high = _ends(figure, draws, inside, codes, level)[1:]
    count = inside.sum(0)
    return pd.DataFrame(
        {
            by: [*groups, "all"],
            "cases": count.astype(int),
            "patients": [np.unique(codes[column > 0]).size for column in inside.T],
            numerator: above.sum(0) / count,
            denominator: below.sum(0) / count,
            "share": figure,
            "low": low,
            "high": high,
        }
    )


def _ratios(above: np.ndarray, below: np.ndarray, bootstrap: PatientBootstrap) -> tuple[np.ndarray, np.ndarray]:
    """Return the ratios of two sums over cases ``[K]``, and in each replicate ``[R, K]``; NaN where the lower is 0."""
    sums = np.vstack([np.hstack([above, below]).sum(0), bootstrap.sums(np.hstack([above, below]))])
    tops, bottoms = np.split(sums, 2, axis=1)
    ratios = np.divide(tops, bottoms, out=np.full(tops.shape, np.nan), where=bottoms > 0)
    return ratios[0], ratios[1:]


def _ends(
    figure: np.ndarray, draws: np.ndarray, weights: np.ndarray, codes: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rests_on = np.array([effective_patients(codes, column) for column in weights.T])
    low, high = interval(draws, level, figure, effective=rests_on)
    few = np.array([np.unique(codes[column > 0]).size < FEWEST for column in weights.T])
    return figure, np.where(few, np.nan, low), np.where(few, np.nan, high)


def few_note(patients: pd.Series) -> list[str]:
    """Return the sentence on figures without interval, if there are any; ``patients`` of each figure."""
    few = bool((patients < FEWEST).any())
    return [f"Where a figure rests on fewer than {FEWEST} patients, it has no interval."] if few else []
