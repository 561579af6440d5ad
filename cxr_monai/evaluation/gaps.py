"""How far apart two sides of a sample are, when the same patients may stand on both.

    worth = area_worth(areas, replicates, degrees)                      # an AUROC is a share, too: of pairs in order
    low, high, p = share_gap(0.91, 0.83, worth[0], worth[1], correlation(replicates[0], replicates[1]))

A side is a group or the rest: other images, so other positives. With few of them a share near 1 (an AUROC, a
sensitivity) varies less in replicates than among new patients, and the less, the higher it came out by chance: a plain
normal test then finds gaps in one of eight groups of 20 sick patients that have none. So the bootstrap of patients is
asked only how many independent trials each side is worth and how the sides move together; interval and test are those
of two shares of so many trials. (Two systems on the same images differ symmetrically:
`cxr_monai.evaluation.comparison.difference_test` does for them.)
"""

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


def area_worth(areas: np.ndarray, replicates: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Return how many independent trials each AUROC is worth: ``area (1 - area) / variance``.

    The variance is that of the replicates, corrected for few patients as in
    `cxr_monai.evaluation.proportions.effective_trials` (Korn and Graubard 1998, Survey Methodology 24:193-201).

    Args:
        areas: float ``[K]``.
        replicates: float ``[R, K]``; NaN where a replicate has no value.
        degrees: float ``[K]``, of freedom, at least 1; see `effective_patients`.

    Returns:
        float ``[K]``, above 0; ``degrees + 1`` where nothing varies (each patient counts as one trial); NaN where the
        area is, or where fewer than nine tenths of the replicates have a value.
    """
    there = ~np.isnan(replicates)
    variance = _variance(replicates)
    shrink = (norm.ppf(0.975) / t.ppf(0.975, degrees)) ** 2 * degrees / (degrees + 1)
    varies = (variance > 1e-20) & (areas > 0) & (areas < 1)
    worth = np.divide(areas * (1 - areas), variance, out=np.ones(areas.shape), where=varies) * shrink
    enough = (there.sum(axis=0) >= ENOUGH * len(replicates)) & ~np.isnan(areas)
    return np.where(enough, np.where(varies, worth, degrees + 1), np.nan)


def effective_patients(images: np.ndarray) -> np.ndarray:
    """Return how many patients with equally many images these are worth: ``[P, K]`` images to ``[K]``; 0 of none.

    Kish's ``sum(n)**2 / sum(n**2)``: 20 patients with one image and one with 80 are worth 1.6.
    """
    images = np.asarray(images, dtype=float)
    squares = (images**2).sum(axis=0)
    return np.divide(images.sum(axis=0) ** 2, squares, out=np.zeros(squares.shape), where=squares > 0)


def mean_degrees(replicates: np.ndarray, degrees: np.ndarray) -> float:
    """Return the degrees of freedom of a mean of K figures: ``[R, K]`` and ``[K]`` (Welch and Satterthwaite)."""
    variance = _variance(replicates)
    total = (variance**2 / degrees).sum()
    return float(variance.sum() ** 2 / total) if total > 0 else float(degrees.min())


def correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the correlation of replicates ``[R, ...]`` along the first axis; 0 where one of them does not vary."""
    there = ~np.isnan(first) & ~np.isnan(second)
    first, second = (_centred(np.where(there, of, np.nan)) for of in (first, second))
    scale = np.sqrt((first**2).sum(axis=0) * (second**2).sum(axis=0))
    return np.divide((first * second).sum(axis=0), scale, out=np.zeros(scale.shape), where=scale > 1e-20)


def _centred(replicates: np.ndarray) -> np.ndarray:
    """Return the distances from the mean; 0 for NaN."""
    there = ~np.isnan(replicates)
    mean = np.where(there, replicates, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    return np.where(there, replicates - mean, 0)


def _variance(replicates: np.ndarray) -> np.ndarray:
    count = (~np.isnan(replicates)).sum(axis=0)
    return (_centred(replicates) ** 2).sum(axis=0) / np.maximum(count - 1, 1)
