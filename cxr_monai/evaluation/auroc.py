"""The area under the ROC curve, with DeLong's variance, for one system or for two on the same images.

    delong(scores, labels)                  # Auroc(value=0.83, low=0.81, high=0.85, ...)
    delong_paired(first, second, labels)    # PairedAuroc(difference=0.02, low=0.01, high=0.03, p=0.0004, ...)

A positive's *placement* is the share of negatives that it outranks (a tie counts half), a negative's the share of
positives that outrank it. The area is the mean placement, and its variance follows from how the placements vary.
Placements come from two sorts, so everything here is O(n log n).

DeLong's interval takes every image for an independent one. Where patients have several images it is too narrow: use
`cxr_monai.evaluation.bootstrap` next to it.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.plurals import be, counted


@dataclass(frozen=True)
class Auroc:
    """One system's area with its interval.

    Attributes:
        value: in [0, 1]; NaN without a positive or without a negative.
        variance: DeLong's; NaN with fewer than two positives or two negatives.
        low, high: the interval, within [0, 1]; NaN where the variance is. A perfect or constant ranking has a
            variance of zero and so an interval without width, which says nothing about the next patient.
        images: number of known labels.
        positives: number of these that are 1 (present).
    """

    value: float
    variance: float
    low: float
    high: float
    images: int
    positives: int


@dataclass(frozen=True)
class PairedAuroc:
    """Two systems' areas on the same images and their difference, second minus first.

    Attributes:
        first, second, difference: NaN without a positive or without a negative.
        variance: of the difference; NaN with fewer than two positives or two negatives.
        low, high: the interval of the difference, within [-1, 1].
        z, p: the two-sided test of no difference. Where the variance is zero, p is 1 if the areas are equal (identical
            rankings) and NaN if not: such a sample shows no variation to judge the difference by.
    """

    first: float
    second: float
    difference: float
    variance: float
    low: float
    high: float
    z: float
    p: float


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the probability that a positive is scored above a negative, a tie counting half.

    Args:
        scores: float ``[N]``; higher = more likely; only their order matters.
        labels: float ``[N]``; 1 present, 0 absent, NaN unknown (left out).

    Returns:
        the area; NaN without a positive or without a negative.

    Raises:
        EvaluationError: shapes differ, a label is not 0, 1 or NaN, or a score is NaN.

    >>> auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
    0.75
    """
    scores, truth = known(scores, labels)
    return _area(*_placements(scores, truth))


def delong(scores: np.ndarray, labels: np.ndarray, level: float = 0.95) -> Auroc:
    """Return the area with DeLong's variance and the plain normal interval.

    Source: DeLong, DeLong, Clarke-Pearson 1988, doi:10.2307/2531595.

    Args:
        scores: float ``[N]``; higher = more likely.
        labels: float ``[N]``; 1 present, 0 absent, NaN unknown (left out).
        level: of the interval, in (0, 1).

    Raises:
        EvaluationError: as `auroc`; or the level is not in (0, 1).

    >>> area = delong(np.array([0.1, 0.4, 0.35, 0.8, 0.7, 0.2]), np.array([0, 0, 1, 1, 1, 0]))
    >>> round(area.value, 3), round(area.low, 3), round(area.high, 3)
    (0.889, 0.581, 1.0)
    """
    scores, truth = known(scores, labels)
    above, below = _placements(scores, truth)
    value, variance = _area(above, below), _variance(above, below)
    low, high = _normal_interval(value, variance, level, 0.0)
    return Auroc(value, variance, low, high, int(truth.size), int(truth.sum()))


def delong_paired(
    first_scores: np.ndarray, second_scores: np.ndarray, labels: np.ndarray, level: float = 0.95
) -> PairedAuroc:
    """Compare two systems on the same images; the difference is second minus first.

    Source: DeLong et al. 1988, doi:10.2307/2531595; the fast form: Sun and Xu 2014, doi:10.1109/LSP.2014.2337313.

    Args:
        first_scores, second_scores: float ``[N]``; each system on its own scale.
        labels: float ``[N]``; 1 present, 0 absent, NaN unknown (left out).
        level: of the interval, in (0, 1).

    Raises:
        EvaluationError: as `auroc`; or the level is not in (0, 1).
    """
    first, truth = known(first_scores, labels)
    second, _ = known(second_scores, labels)
    first_above, first_below = _placements(first, truth)
    second_above, second_below = _placements(second, truth)
    areas = _area(first_above, first_below), _area(second_above, second_below)
    difference = areas[1] - areas[0]
    # the variance of the difference is that of the differences of placements: the covariance is in it
    variance = _variance(second_above - first_above, second_below - first_below)
    low, high = _normal_interval(difference, variance, level, -1.0)
    if variance > 0:
        z = difference / np.sqrt(variance)
    else:
        z = 0.0 if variance == 0 and difference == 0 else np.nan
    return PairedAuroc(*areas, difference, variance, low, high, float(z), float(2 * norm.sf(abs(z))))


def known(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores and the labels as booleans where the label is known, after checking both.

    Args:
        scores: float ``[N]``.
        labels: ``[N]``; 1 present, 0 absent, NaN unknown.

    Raises:
        EvaluationError: shapes differ, a label is not 0, 1 or NaN, or a score of a known label is NaN.
    """
    scores, labels = np.asarray(scores, dtype=float), np.asarray(labels, dtype=float)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"scores of shape {scores.shape} and labels of shape {labels.shape} do not belong together.",
            fix="Pass two vectors of the same length.",
        )
    is_known = ~np.isnan(labels)
    scores, labels = scores[is_known], labels[is_known]
    truth = labels == 1
    if not np.all(truth | (labels == 0)):
        odd = labels[~truth & (labels != 0)][0]
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"a label is {odd:g}; it must be 1 (present), 0 (absent) or NaN (unknown).",
            fix="Map other values before the evaluation.",
        )
    if np.isnan(scores).any():
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"{counted(int(np.isnan(scores).sum()), 'score')} {be(int(np.isnan(scores).sum()))} NaN.",
            fix="Leave those images out, or predict them again.",
        )
    return scores, truth


def _placements(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each positive, the negatives that it outranks and, for each negative, the positives that outrank it.

    Counts in steps of 1/2, not shares: these are exact in floating point, so that equal placements have a variance of
    exactly zero.
    """
    positives, negatives = scores[truth], scores[~truth]
    sorted_positives, sorted_negatives = np.sort(positives), np.sort(negatives)
    lower, lower_or_tied = (np.searchsorted(sorted_negatives, positives, side) for side in ("left", "right"))
    above = (lower + lower_or_tied) / 2
    lower, lower_or_tied = (np.searchsorted(sorted_positives, negatives, side) for side in ("left", "right"))
    return above, positives.size - (lower + lower_or_tied) / 2


def _area(above: np.ndarray, below: np.ndarray) -> float:
    return float(above.sum() / (above.size * below.size)) if above.size and below.size else np.nan


def _variance(above: np.ndarray, below: np.ndarray) -> float:
    positives, negatives = above.size, below.size
    if min(positives, negatives) < 2:
        return np.nan
    return float(
        above.var(ddof=1) / (negatives**2 * positives) + below.var(ddof=1) / (positives**2 * negatives)  # counts
    )


def _normal_interval(value: float, variance: float, level: float, least: float) -> tuple[float, float]:
    check_level(level)
    half = norm.ppf((1 + level) / 2) * np.sqrt(variance)
    return float(np.clip(value - half, least, 1.0)), float(np.clip(value + half, least, 1.0))


def check_level(level: float) -> None:
    """Refuse a level of an interval that is not in (0, 1).

    Raises:
        EvaluationError: ``evaluation-invalid``.
    """
    if not 0 < level < 1:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"the level of the interval is {level}; it must lie between 0 and 1.",
            fix="A 95 % interval has level 0.95.",
        )
