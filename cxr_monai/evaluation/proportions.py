"""Intervals of shares: Wilson's for independent images, and for patients with several images each.

    wilson(hits=9, trials=10)                                     # (0.596, 0.982)
    patient_wilson(hits, trials, bootstrap)                       # wider where a patient's images agree
    ratio_interval(0.9, 0.8, 0.95, 0.1, 0.05, 0.2)                # of 0.9 / 0.1, a likelihood ratio

Sensitivity, a predictive value or a coverage is a share: hits among trials. Percentiles of a bootstrap do badly for
shares near 0 or 1 of few patients: 5 of 5 gives the interval from 1 to 1. So the bootstrap of whole patients is asked
only for the variance. Set against the variance of independent images it says how many independent images the sample is
worth (the effective number of trials), and Wilson's interval is taken at that number.
"""

import numpy as np
from scipy.stats import norm, t

from cxr_monai.evaluation.auroc import check_level
from cxr_monai.evaluation.bootstrap import PatientBootstrap

Ends = tuple[np.ndarray, np.ndarray]
"""Low and high ends."""


def wilson(hits: np.ndarray | float, trials: np.ndarray | float, level: float = 0.95) -> Ends:
    """Return Wilson's score interval of ``hits / trials``; it takes the trials for independent.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953.

    Args:
        hits, trials: broadcast against each other; 0 <= hits <= trials, whole numbers or not.
        level: in (0, 1).

    Returns:
        low and high, within [0, 1]; NaN where there is no trial.

    >>> [round(float(end), 3) for end in wilson(8, 10)]
    [0.49, 0.943]
    """
    check_level(level)
    hits, trials = np.asarray(hits, dtype=float), np.asarray(trials, dtype=float)
    z = norm.ppf((1 + level) / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = hits / trials
        centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
        half = z / (1 + z**2 / trials) * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    # exact at the ends, where the two terms differ by rounding
    low = np.where(share == 0, 0.0, np.clip(centre - half, 0, 1))
    high = np.where(share == 1, 1.0, np.clip(centre + half, 0, 1))
    nothing = np.isnan(share)
    return np.where(nothing, np.nan, low), np.where(nothing, np.nan, high)


def patient_wilson(hits: np.ndarray, trials: np.ndarray, bootstrap: PatientBootstrap, level: float = 0.95) -> Ends:
    """Return intervals of K shares that hold for patients; see `effective_trials`.

    Args:
        hits, trials: ``[N, K]``, what each image adds; 0 or 1, or weights. A share is the sum of hits over the sum of
            trials.
        bootstrap: of the same N images.
        level: in (0, 1).

    Returns:
        low and high ``[K]``; NaN where there is no trial.
    """
    hits, trials = np.asarray(hits, dtype=float), np.asarray(trials, dtype=float)
    draws = bootstrap.sums(np.hstack([hits, trials]))
    size = trials.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = hits.sum(0) / trials.sum(0)
        shares = draws[:, :size] / draws[:, size:]
    effective = effective_trials(share, shares, by_patient(trials, bootstrap.patients), (trials > 0).sum(0))
    return wilson(share * effective, effective, level)


def effective_trials(share: np.ndarray, draws: np.ndarray, patients: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return how many independent trials the images are worth.

    ``share (1 - share) / variance``, the variance being that of the resampled shares, corrected for the number m of
    patients (m / (m - 1), and Student's t with m - 1 degrees of freedom for the normal quantile; Korn and Graubard
    1998, Survey Methodology 24:193-201). It is held between the number of images (as if all were independent) and
    Kish's number, the squared sum of the patients' trials over the sum of their squares (as if all images of a
    patient gave the same). Where the share is 0 or 1 no variance is seen, and Kish's number is taken.

    Args:
        share: ``[K]``, on the sample itself.
        draws: ``[R, K]``, in each replicate; NaN where a replicate has no trial.
        patients: ``[P, K]``, the patients' trials.
        images: ``[K]``, images with a trial.

    Returns:
        ``[K]``; 0 where there is no trial.
    """
    counted = ~np.isnan(draws)
    value_count = counted.sum(0)
    mean = np.where(counted, draws, 0).sum(0) / np.maximum(value_count, 1)
    variance = np.where(counted, (draws - mean) ** 2, 0).sum(0) / np.maximum(value_count - 1, 1)
    having = (patients > 0).sum(0)
    squares = (patients**2).sum(0)
    least = np.divide(patients.sum(0) ** 2, squares, out=np.zeros(squares.shape), where=squares > 0)
    several = having > 1
    degrees = np.where(several, having - 1, 1)
    shrink = (t.ppf(0.975, np.maximum(images - 1, 1)) / t.ppf(0.975, degrees)) ** 2 * degrees / (degrees + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        effective = np.where(variance > 0, share * (1 - share) / variance, np.inf) * shrink
    varies = several & (share > 0) & (share < 1)
    return np.where(varies, np.clip(effective, least, np.maximum(images, least)), least)


def by_patient(values: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Return each patient's sums: ``[N, K]`` to ``[P, K]``, in the order of the patients' codes that occur.

    Args:
        values: ``[N, K]``, of each image.
        patients: int ``[N]``, codes.

    >>> by_patient(np.array([[1.0], [2.0], [5.0]]), np.array([0, 0, 1]))
    array([[3.],
           [5.]])
    """
    order = np.argsort(patients, kind="stable")
    starts = np.flatnonzero(np.diff(patients[order], prepend=-1))
    return np.add.reduceat(np.asarray(values, dtype=float)[order], starts, axis=0)


def ratio_interval(
    above: np.ndarray | float,
    above_low: np.ndarray | float,
    above_high: np.ndarray | float,
    below: np.ndarray | float,
    below_low: np.ndarray | float,
    below_high: np.ndarray | float,
) -> Ends:
    """Return the interval of a ratio of two non-negative figures from theirs (MOVER-R), taking them for independent.

    It has a finite lower end where the lower figure is 0 and the ratio infinite. Source: Newcombe 2016,
    doi:10.1177/0962280213502144.

    Args:
        above, below: numerator and denominator, at least 0; all arguments broadcast against each other.
        above_low, above_high, below_low, below_high: the ends of their intervals.

    Returns:
        low and high; high is infinite where the lower figure may be 0; NaN where the ratio is.
    """
    a, b = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    product = a * b
    with np.errstate(invalid="ignore", divide="ignore"):
        upper = np.asarray(above_low) * (2 * a - above_low)
        lower = np.asarray(below_high) * (2 * b - below_high)
        root = product + np.sqrt(np.maximum(product**2 - upper * lower, 0))
        # the textbook's form multiplied out: no difference of near numbers, no division by zero at 2b = high
        low = np.where(upper == 0, 0.0, upper / root)
        upper = np.asarray(above_high) * (2 * a - above_high)
        lower = np.asarray(below_low) * (2 * b - below_low)
        root = product + np.sqrt(np.maximum(product**2 - upper * lower, 0))
        high = np.where(lower > 0, root / lower, np.inf)
    undefined = np.isnan(a) | np.isnan(b) | ((a == 0) & (b == 0))
    return np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)
