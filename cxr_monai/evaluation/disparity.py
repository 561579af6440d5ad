"""Differences between a group and the rest of a sample, when a patient may have images in both.

    share_gap(0.9, 0.8, 50, 40)         # of 50 and of 40 independent trials: low, high and p of the difference
    area_gap(group, rest)               # the same of AUROCs, which are shares, too: of pairs in the right order

A side is a group or the rest: other images, so other positives. With few of them a share near 1 (an AUROC, a
sensitivity) varies less in replicates than among new patients, and the less, the higher it came out by chance: a plain
normal test then finds a gap in one of ten groups of 20 sick patients that have none. So the bootstrap of patients is
asked only how many independent trials each side is worth and how the sides move together; interval and test are those
of two shares of so many trials. (Two systems on the same images differ symmetrically:
`cxr_monai.evaluation.comparison.difference_test` does for them.)
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from cxr_monai.evaluation.bootstrap import ENOUGH
from cxr_monai.evaluation.proportions import wilson


def share_gap(
    share: np.ndarray | float,
    other: np.ndarray | float,
    trials: np.ndarray | float,
    other_trials: np.ndarray | float,
    correlation: np.ndarray | float = 0.0,
    level: float = 0.95,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return low, high and two-sided p of ``share - other``.

    The interval joins Wilson's two: Newcombe 1998,
    doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I; with a correlation: Zou and Donner 2008,
    doi:10.1002/sim.3095; of AUROCs: doi:10.1002/sim.8562. The p-value is the score test's, whose variance is that of
    the pooled share, as it is if there is no gap; so the two may disagree where p is near ``1 - level``.

    Args:
        share, other: in [0, 1]; NaN gives NaN.
        trials, other_trials: independent ones that each rests on; above 0 where there is a share, whole or not.
        correlation: of the two estimates, in [-1, 1].
        level: of the interval.
    """
    share, other = np.asarray(share, dtype=float), np.asarray(other, dtype=float)
    low, high = wilson(share * trials, trials, level)
    other_low, other_high = wilson(other * other_trials, other_trials, level)
    below, above, other_below, other_above = share - low, high - share, other - other_low, other_high - other
    gap = share - other
    down = below**2 - 2 * correlation * below * other_above + other_above**2
    up = above**2 - 2 * correlation * above * other_below + other_below**2
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = (share * trials + other * other_trials) / (np.asarray(trials) + other_trials)
        spread = 1 / np.asarray(trials) + 1 / np.asarray(other_trials)
        spread = spread - 2 * correlation / np.sqrt(np.asarray(trials) * other_trials)
        z = np.where(gap == 0, 0.0, np.abs(gap) / np.sqrt(pooled * (1 - pooled) * spread))
    p = np.where(np.isnan(down), np.nan, 2 * norm.sf(z))
    return gap - np.sqrt(np.maximum(down, 0)), gap + np.sqrt(np.maximum(up, 0)), p


@dataclass(frozen=True, eq=False)
class Areas:
    """One side's AUROCs of K findings.

    Attributes:
        values: float ``[K]``; NaN where undefined.
        replicates: float ``[R, K]``; NaN where a replicate has no value.
        effective: float ``[K]``, patients that the replicates' variance rests on (``Ranking.auroc_effective``).
        patients: float ``[K]``, of the scarcer kind, with the finding or without, by their images
            (``bootstrap.effective_patients``); at least 1.
    """

    values: np.ndarray
    replicates: np.ndarray
    effective: np.ndarray
    patients: np.ndarray

    def with_mean(self, findings: np.ndarray) -> "Areas":
        """Return the K areas and then the mean over some of them, bool ``[K]``; NaN if there are none.

        A replicate that lacks one of these findings has no mean.
        """
        if not findings.any():
            mean, means, effective, patients = np.nan, np.full(len(self.replicates), np.nan), np.zeros(()), 1.0
        else:
            draws = self.replicates[:, findings]
            mean, means = self.values[findings].mean(), draws.mean(axis=1)
            effective = welch(_variance(draws), self.effective[findings] - 1) + 1
            patients = self.patients[findings].min()
        return Areas(
            np.append(self.values, mean),
            np.column_stack([self.replicates, means]),
            np.append(self.effective, effective),
            np.append(self.patients, patients),
        )


def area_gap(side: Areas, other: Areas, level: float = 0.95) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return low, high and two-sided p ``[K]`` of the gaps ``side - other``.

    An AUROC with a variance is worth ``area (1 - area) / variance`` trials. The variance is that of the replicates,
    corrected for few patients (Korn and Graubard 1998, Survey Methodology 24:193-201): a bootstrap of k patients has a
    variance too small by (k - 1) / k, and Student's t stands for the normal quantile, with the degrees of freedom of
    the gap (Welch). It is never above ``area (1 - area)`` over the number of the scarcer kind, positives or negatives
    (Birnbaum and Klose 1957, Annals of Mathematical Statistics 28:933-945): no area is worth less than the scarcer
    kind's patients.

    Args:
        side, other: AUROCs of the same K findings with their replicates.
        level: of the intervals.

    Returns:
        NaN where an AUROC is, or where fewer than nine tenths of a side's replicates have a value.
    """
    sides = (side, other)
    variances = [_variance(areas.replicates) for areas in sides]
    degrees = [np.maximum(areas.effective - 1, 1) for areas in sides]
    quantile = t.ppf(0.975, welch(np.stack(variances), np.stack(degrees)))
    trials_by_side = []
    for areas, variance, freedom in zip(sides, variances, degrees, strict=True):
        varies = (variance > 1e-20) & (areas.values > 0) & (areas.values < 1)
        trials = np.divide(areas.values * (1 - areas.values), variance, out=np.zeros(variance.shape), where=varies)
        trials = np.maximum(trials * freedom / (freedom + 1) * (norm.ppf(0.975) / quantile) ** 2, areas.patients)
        enough = (~np.isnan(areas.replicates)).sum(axis=0) >= ENOUGH * len(areas.replicates)
        trials_by_side.append(np.where(enough, trials, np.nan))
    side_correlation = correlation(side.replicates, other.replicates)
    return share_gap(side.values, other.values, trials_by_side[0], trials_by_side[1], side_correlation, level)


def welch(variances: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Return the degrees of freedom of a sum or difference along the first axis (Welch and Satterthwaite).

    Args:
        variances, degrees: ``[K, ...]``; degrees below 1 count as 1.

    Returns:
        ``[...]``; the least of the degrees where nothing varies.

    >>> welch(np.array([[1.0], [1.0]]), np.array([[10.0], [10.0]]))
    array([20.])
    """
    degrees = np.maximum(degrees, 1)
    total = (variances**2 / degrees).sum(axis=0)
    sums = variances.sum(axis=0) ** 2
    return np.where(total > 0, np.divide(sums, total, out=np.ones(total.shape), where=total > 0), degrees.min(axis=0))


def correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the correlation of two figures over replicates; 0 where one of them does not vary.

    Args:
        first, second: float ``[R, ...]``; replicates with a NaN are left out.

    Returns:
        ``[...]`` in [-1, 1].
    """
    defined = ~np.isnan(first) & ~np.isnan(second)
    first, second = (_centred(np.where(defined, replicates, np.nan)) for replicates in (first, second))
    scale = np.sqrt((first**2).sum(axis=0) * (second**2).sum(axis=0))
    return np.divide((first * second).sum(axis=0), scale, out=np.zeros(scale.shape), where=scale > 1e-20)


def _centred(replicates: np.ndarray) -> np.ndarray:
    """Return the distances from the mean; 0 for NaN."""
    defined = ~np.isnan(replicates)
    mean = np.where(defined, replicates, 0).sum(axis=0) / np.maximum(defined.sum(axis=0), 1)
    return np.where(defined, replicates - mean, 0)


def _variance(replicates: np.ndarray) -> np.ndarray:
    count = (~np.isnan(replicates)).sum(axis=0)
    return (_centred(replicates) ** 2).sum(axis=0) / np.maximum(count - 1, 1)
