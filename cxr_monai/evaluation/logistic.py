"""Logistic regression on one number, the logit of a probability, for calibration.

    slope, intercept = fit_line(logit(p), labels)        # P(present) = expit(slope * logit(p) + intercept)
    intercept = fit_intercept(logit(p), labels)          # the same with a slope of 1

A slope of 1 and an intercept of 0 leave a probability as it is. Newton's method on convex functions, so there is one
answer; NaN where it would be infinite.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit
from scipy.special import logit as exact_logit

CLIP = 1e-7
"""Probabilities are held between CLIP and 1 - CLIP: single precision has no number between 1 - 6e-8 and 1, and one
image that a system is certain of must not outweigh all others."""


def logit(p: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)), for p held between `CLIP` and 1 - `CLIP`; NaN stays NaN.

    >>> logit(np.array([0.5, 0.9])).round(3)
    array([0.   , 2.197])
    """
    return exact_logit(np.clip(np.asarray(p, dtype=float), CLIP, 1 - CLIP))


def log_loss(z: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return each image's negative log likelihood ``[N]`` (natural logarithm).

    Args:
        z: float ``[N]``, logits.
        targets: ``[N]`` in [0, 1].
    """
    return np.logaddexp(0, z) - targets * z


def overlap(z: np.ndarray, truth: np.ndarray) -> bool:
    """Return whether positives and negatives overlap; where they do not, a fitted slope is infinite.

    Args:
        z: float ``[N]``, logits.
        truth: bool ``[N]``.
    """
    if not truth.any() or truth.all():
        return False
    return bool(z[truth].min() < z[~truth].max() and z[truth].max() > z[~truth].min())


def fit_intercept(z: np.ndarray, targets: np.ndarray) -> float:
    """Return the intercept for a slope of 1: the mean probability becomes the mean of the targets.

    Args:
        z: float ``[N]``, logits.
        targets: ``[N]`` in [0, 1].

    Returns:
        NaN where the targets are all 0 or all 1.
    """
    total = float(np.sum(targets))
    if not 0 < total < len(z):
        return np.nan
    rate = float(exact_logit(total / len(z)))
    # between these the mean probability passes the targets' mean
    low, high = rate - float(z.max()) - 1, rate - float(z.min()) + 1
    return float(brentq(lambda b: float(np.sum(expit(z + b))) - total, low, high, xtol=1e-13))


def fit_slope(z: np.ndarray, targets: np.ndarray) -> float:
    """Return the slope for an intercept of 0: 1 / temperature.

    Args:
        z: float ``[N]``, logits.
        targets: ``[N]`` in (0, 1), so that the answer is finite.

    Returns:
        NaN where it would not be above 0: the scores then speak against the labels.
    """

    def gradient(slope: float) -> float:
        return float(np.sum((expit(slope * z) - targets) * z))

    if not gradient(0.0) < 0:
        return np.nan
    high = 1.0
    while gradient(high) <= 0:
        high *= 2
        if high > 1e6:
            return np.nan
    return float(brentq(gradient, 0.0, high, xtol=1e-13))


def fit_line(z: np.ndarray, targets: np.ndarray, penalty: float = 0.0) -> tuple[float, float]:
    """Return slope and intercept of the maximum likelihood, less ``penalty / 2 * (slope - 1)**2``.

    Args:
        z: float ``[N]``, logits.
        targets: ``[N]`` in [0, 1]. If they are all 0 or 1 and do not overlap in z, the slope is infinite.
        penalty: draws the slope toward 1; 1 / variance of a normal prior.

    Returns:
        NaN where there is no finite answer, or all z are equal, so that the slope is undefined.
    """
    certain = bool(np.all((targets == 0) | (targets == 1)))
    mean = float(np.mean(targets)) if len(z) else 0.0
    if not 0 < mean < 1 or (not penalty and (np.ptp(z) == 0 or (certain and not overlap(z, targets == 1)))):
        return np.nan, np.nan
    centre = float(z.mean())
    design = np.column_stack([z - centre, np.ones(len(z))])
    line = np.array([1.0 if penalty else 0.0, float(exact_logit(mean))])
    pull = np.array([penalty, 0.0])

    def loss(parameters: np.ndarray) -> float:
        return float(log_loss(design @ parameters, targets).sum() + penalty / 2 * (parameters[0] - 1) ** 2)

    loss_now = loss(line)
    for _ in range(200):
        p = expit(design @ line)
        gradient = design.T @ (p - targets) + pull * (line - 1)
        curvature = design.T @ (design * (p * (1 - p))[:, None]) + np.diag(pull)
        step = np.linalg.solve(curvature + 1e-12 * np.trace(curvature) * np.eye(2), gradient)
        size = 1.0
        while (loss_after := loss(line - size * step)) > loss_now + 1e-12 * abs(loss_now) and size > 1e-10:
            size /= 2
        line, loss_now = line - size * step, loss_after
        if np.all(np.abs(step) <= 1e-11 * (1 + np.abs(line))):
            break
    return float(line[0]), float(line[1] - line[0] * centre)


def line_errors(
    z: np.ndarray, truth: np.ndarray, slope: float, intercept: float, patients: np.ndarray
) -> tuple[float, float]:
    """Return standard errors of a fitted slope, and of the intercept that is fitted for a slope of 1, over patients.

    The sandwich that takes a patient's images together (Liang and Zeger 1986, doi:10.1093/biomet/73.1.13), times
    m / (m - 1) for m patients; NaN for one patient.

    Args:
        z, truth: float and bool ``[N]``.
        slope, intercept: of `fit_line`.
        patients: int ``[N]``.
    """
    count = np.unique(patients).size
    if count < 2:
        return np.nan, np.nan
    small = count / (count - 1)
    p = expit(slope * z + intercept)
    weight = p * (1 - p)
    across = z - np.sum(weight * z) / np.sum(weight)
    slope_error = np.sqrt(small * _clustered(across * (truth - p), patients)) / np.sum(weight * across**2)
    p = expit(z + fit_intercept(z, truth))
    intercept_error = np.sqrt(small * _clustered(truth - p, patients)) / np.sum(p * (1 - p))
    return float(slope_error), float(intercept_error)


def _clustered(scores: np.ndarray, patients: np.ndarray) -> float:
    _, codes = np.unique(patients, return_inverse=True)
    return float(np.sum(np.bincount(codes, weights=scores) ** 2))
