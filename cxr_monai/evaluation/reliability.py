"""Reliability of probabilities: of the images given 20 %, do 20 % have the finding?

    calibration_figures(scores, labels)                # Brier score, log loss, ECE, slope, intercept, ...
    reliability(scores, labels, bins=10, how="mass")   # the points of a reliability diagram

Seen from ``cxr_monai.evaluation.calibration`` as well.
"""

from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import norm

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.auroc import check_level, known
from cxr_monai.evaluation.logistic import fit_intercept, fit_line, line_errors, log_loss, logit
from cxr_monai.evaluation.proportions import wilson
from cxr_monai.plurals import counted

Binning = Literal["width", "mass"]


def calibration_figures(
    scores: np.ndarray,
    labels: np.ndarray,
    bins: int = 15,
    patients: np.ndarray | None = None,
    level: float = 0.95,
) -> dict[str, float]:
    """Return Brier score, log loss, calibration errors, slope and intercept of probabilities.

    Args:
        scores: float ``[N]`` in [0, 1].
        labels: float ``[N]``; 1 present, 0 absent, NaN unknown (left out).
        bins: of both ECEs.
        patients: int ``[N]``; with them slope and intercept get an interval that holds for patients.
        level: of those intervals, in (0, 1).

    Returns:
        ``brier``: the mean squared error; ``brier_skill``: 1 less its ratio to that of giving everyone the prevalence;
        ``log_loss`` (p held between 1e-7 and 1 - 1e-7); ``ece_width, ece_mass``: the mean gap between mean score and
        observed share over bins of equal width or equally many images (Naeini et al. 2015; Guo et al. 2017,
        arXiv:1706.04599): never negative and so above 0 even for perfect probabilities, the more the fewer images;
        ``slope``: of a logistic regression on the logit, 1 where right, below 1 where scores are too extreme;
        ``intercept``: calibration in the large, that of such a regression with its slope held at 1, 0 where right,
        negative where scores are too high (Van Calster et al. 2019, doi:10.1186/s12916-019-1466-7); ``mean_score,
        prevalence``. With patients also ``slope_low, slope_high, intercept_low, intercept_high``.
        NaN where undefined: everything without a known label; skill, slope and intercept without a positive or a
        negative; the slope where scores separate the labels or are all equal.

    Raises:
        EvaluationError: a score outside [0, 1], a label other than 0, 1, NaN, or fewer than one bin.

    >>> figures = calibration_figures(np.array([0.2, 0.8] * 50), np.array([0, 1] * 50))
    >>> round(figures["brier"], 3)
    0.04
    """
    is_known = ~np.isnan(np.asarray(labels, dtype=float))
    scores, truth = _checked(scores, labels, bins)
    names = (
        "brier",
        "brier_skill",
        "log_loss",
        "ece_width",
        "ece_mass",
        "slope",
        "intercept",
        "mean_score",
        "prevalence",
    )
    figures = dict.fromkeys(names, np.nan)
    ends = dict.fromkeys(("slope_low", "slope_high", "intercept_low", "intercept_high"), np.nan)
    if truth.size:
        z, prevalence = logit(scores), float(truth.mean())
        brier = float(np.mean((scores - truth) ** 2))
        figures["brier"], figures["mean_score"], figures["prevalence"] = brier, float(scores.mean()), prevalence
        figures["log_loss"] = float(log_loss(z, truth).mean())
        figures["ece_width"], figures["ece_mass"] = (_ece(scores, truth, bins, how) for how in ("width", "mass"))
        if 0 < prevalence < 1:
            figures["brier_skill"] = 1 - brier / (prevalence * (1 - prevalence))
            figures["slope"], line = fit_line(z, truth.astype(float))
            figures["intercept"] = fit_intercept(z, truth)
            if patients is not None:
                check_level(level)
                groups, wide = np.asarray(patients)[is_known], norm.ppf((1 + level) / 2)
                errors = line_errors(z, truth, figures["slope"], line, groups)
                for name, error in zip(("slope", "intercept"), errors, strict=True):
                    ends[f"{name}_low"] = float(figures[name] - wide * error)
                    ends[f"{name}_high"] = float(figures[name] + wide * error)
    return figures if patients is None else figures | ends


def reliability(
    scores: np.ndarray, labels: np.ndarray, bins: int = 15, how: Binning = "mass", level: float = 0.95
) -> pd.DataFrame:
    """Return the points of a reliability diagram.

    Args:
        scores, labels: as in `calibration_figures`.
        bins: at most so many; those without an image are left out.
        how: ``width``: bins of equal width, closed on the right; ``mass``: of equally many images, as far as equal
            scores, which stay together, allow.
        level: of the intervals.

    Returns:
        ``bin`` (from 0), ``low, high`` (its ends), ``images, mean_score, observed`` (share of positives) and
        ``observed_low, observed_high``, Wilson's interval, which takes images for independent.

    Raises:
        EvaluationError: as `calibration_figures`, or another ``how``.
    """
    scores, truth = _checked(scores, labels, bins)
    edges, bin_of_image = _bins(scores, bins, how)
    images = np.bincount(bin_of_image, minlength=bins)
    used = images > 0
    hits, images = np.bincount(bin_of_image, weights=truth, minlength=bins)[used], images[used]
    low, high = wilson(hits, images, level)
    return pd.DataFrame({
        "bin": np.flatnonzero(used),
        "low": edges[:-1][used],
        "high": edges[1:][used],
        "images": images,
        "mean_score": np.bincount(bin_of_image, weights=scores, minlength=bins)[used] / images,
        "observed": hits / images,
        "observed_low": low,
        "observed_high": high,
    })  # fmt: skip


def _ece(scores: np.ndarray, truth: np.ndarray, bins: int, how: Binning) -> float:
    _, bin_of_image = _bins(scores, bins, how)
    return float(np.abs(np.bincount(bin_of_image, weights=scores - truth, minlength=bins)).sum() / truth.size)


def _bins(scores: np.ndarray, bins: int, how: Binning) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges ``[bins + 1]`` and each image's bin; a score on an edge is in the bin below it."""
    if how not in ("width", "mass"):
        raise EvaluationError(Code.EVALUATION_INVALID, f"bins by {how!r}: it must be 'width' or 'mass'.")
    places = np.linspace(0, 1, bins + 1)
    edges = np.quantile(scores, places) if how == "mass" and scores.size else places
    return edges, np.searchsorted(edges[1:-1], scores, side="left")


def _checked(scores: np.ndarray, labels: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    scores, truth = known(scores, labels)
    outside = scores[(scores < 0) | (scores > 1)]
    if outside.size or bins < 1:
        wrong = f"{outside[0]:g} is no probability" if outside.size else f"{counted(bins, 'bin')} cannot be made"
        raise EvaluationError(Code.EVALUATION_INVALID, f"{wrong}.", fix="Give values from 0 to 1 and at least one bin.")
    return scores, truth
