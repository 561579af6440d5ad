"""Agreement beyond chance, with intervals over patients: Cohen's kappa of two sources, Fleiss' kappa of readers.

    cohen_kappa(first, second, bootstrap)       # Kappa(value=0.41, low=0.35, high=0.47)
    fleiss_kappa(votes, bootstrap)              # of K readers, of whom each read some of the images

Kappa is 1 where all agree, 0 where they agree as often as chance would make them, given how often each says yes. It
falls with a rare finding even where sensitivity and specificity stay: compare it between findings with care.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cxr_monai.evaluation.bootstrap import PatientBootstrap, bootstrap_interval, effective_patients


@dataclass(frozen=True)
class Kappa:
    """A kappa with its interval over patients.

    Attributes:
        value: up to 1; NaN where no image counts, or where one source, or all readers, always give one answer.
        low, high: ends of the interval; NaN where the value is, where too few replicates have one, or where no image
            is one that both call present: its replicates would all say so, too.
    """

    value: float
    low: float
    high: float


def cohen_kappa(first: np.ndarray, second: np.ndarray, bootstrap: PatientBootstrap, level: float = 0.95) -> Kappa:
    """Return Cohen's kappa of two sources of one label.

    Source: Cohen 1960, doi:10.1177/001316446002000104.

    Args:
        first, second: float ``[N]``: 1, 0, NaN unknown; an image counts where both are known.
        bootstrap: of the same N images.
        level: of the interval.
    """
    both_known = ~np.isnan(first) & ~np.isnan(second)
    yes, other = (first == 1) & both_known, (second == 1) & both_known
    parts = np.column_stack([both_known, yes, other, yes & other])

    def kappa(sums: np.ndarray) -> np.ndarray:
        images, firsts, seconds, both = sums.T
        observed = (images - firsts - seconds + 2 * both) / images
        chance = (firsts * seconds + (images - firsts) * (images - seconds)) / images**2
        constant = (firsts == 0) | (firsts == images) | (seconds == 0) | (seconds == images)
        return np.where(constant, np.nan, (observed - chance) / (1 - chance))

    return _with_interval(kappa, parts, (yes | other, both_known & ~(yes & other)), yes & other, bootstrap, level)


def fleiss_kappa(votes: np.ndarray, bootstrap: PatientBootstrap, level: float = 0.95) -> Kappa:
    """Return Fleiss' kappa of readers, of whom each may have read some of the images alone.

    An image with n readers weighs as one image: its agreement is the share of its pairs of readers that agree.
    Source: Fleiss 1971, doi:10.1037/h0031619, whose n is the same for all images.

    Args:
        votes: float ``[N, K]`` of K readers: 1, 0, NaN where a reader did not say; images that
            fewer than two read are left out.
        bootstrap: of the same N images.
        level: of the interval.
    """
    readers, yes = (~np.isnan(votes)).sum(1), (votes == 1).sum(1)
    counts = readers >= 2
    no = readers - yes
    agreeing = np.divide(
        yes * (yes - 1) + no * (no - 1), readers * (readers - 1), out=np.zeros(len(votes)), where=counts
    )
    parts = np.column_stack([counts, agreeing, counts * yes, counts * readers])

    def kappa(sums: np.ndarray) -> np.ndarray:
        images, agreed, present, answers = sums.T
        share = present / answers
        chance = share**2 + (1 - share) ** 2
        return (agreed / images - chance) / (1 - chance)

    return _with_interval(kappa, parts, (counts & (yes > 0), counts & (no > 0)), counts & (yes >= 2), bootstrap, level)


def _with_interval(
    kappa: Callable[[np.ndarray], np.ndarray],
    parts: np.ndarray,
    kinds: tuple[np.ndarray, np.ndarray],
    agreed_present: np.ndarray,
    bootstrap: PatientBootstrap,
    level: float,
) -> Kappa:
    """Return a function of sums over images ``[N, K]`` with its interval, resting on the scarcer kind of images."""
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(kappa(parts.sum(0, dtype=float)[None])[0])
        draws = kappa(bootstrap.sums(parts))
    rests_on = min(effective_patients(bootstrap.patients, images) for images in kinds)
    low, high = bootstrap_interval(np.where(np.isfinite(draws), draws, np.nan), level, value, effective=rests_on)
    return Kappa(value, float(low), float(high)) if agreed_present.any() else Kappa(value, math.nan, math.nan)
