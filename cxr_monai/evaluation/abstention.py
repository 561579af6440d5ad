"""Selective prediction: leave the least certain images to the reader, and measure how often the rest is called wrongly.

    risk_coverage(scores, labels, threshold)           # share answered against error rate: the curve
    risk_coverage_area(scores, labels, threshold)      # one number for it

Seen from ``cxr_monai.evaluation.conformal`` as well.
"""

import math

import numpy as np
import pandas as pd

from cxr_monai.evaluation.auroc import known
from cxr_monai.evaluation.logistic import logit


def risk_coverage(scores: np.ndarray, labels: np.ndarray, threshold: float, rows: int = 100) -> pd.DataFrame:
    """Return error rate, sensitivity and specificity when the least certain images are left to the reader.

    Certainty is the distance from the threshold on the logit scale (El-Yaniv and Wiener 2010, JMLR 11:1605; Geifman and
    El-Yaniv 2017, arXiv:1705.08500).

    Args:
        scores: float ``[N]`` in [0, 1].
        labels: float ``[N]``; 1 present, 0 absent, NaN unknown (left out).
        threshold: called positive where ``score >= threshold``.
        rows: of the table, at most, evenly spaced in the share answered; equally certain images are answered together.

    Returns:
        ``share_answered`` (rising, the last is 1), ``error_rate`` (share of wrong calls among them), ``sensitivity,
        specificity`` (among them; NaN without a positive or negative). Empty without a known label or a threshold.
    """
    wrong, called, sure = _calls(scores, labels, threshold)
    order = np.argsort(-sure, kind="stable")
    ends = _run_ends(sure[order])
    if len(ends) > rows:
        shares = np.linspace(0, 1, rows + 1)[1:] * len(order)
        ends = np.unique(ends[np.searchsorted(ends + 1, shares - 1e-9)])
    answered = ends + 1
    wrong, called = wrong[order], called[order]
    truth = called ^ wrong
    positives, errors = np.cumsum(truth)[ends], np.cumsum(wrong)[ends]
    true_positives, true_negatives = np.cumsum(called & truth)[ends], np.cumsum(~called & ~truth)[ends]
    with np.errstate(invalid="ignore"):
        return pd.DataFrame({
            "share_answered": answered / max(len(order), 1),
            "error_rate": errors / answered,
            "sensitivity": true_positives / positives,
            "specificity": true_negatives / (answered - positives),
        })  # fmt: skip


def risk_coverage_area(scores: np.ndarray, labels: np.ndarray, threshold: float) -> float:
    """Return the mean error rate over all shares answered (AURC; Geifman et al. 2019, arXiv:1805.08206).

    Equally certain images are taken in any order, on average. Lower is better; findings of different prevalence cannot
    be compared by it.

    Args:
        scores, labels, threshold: as in `risk_coverage`.

    Returns:
        in [0, 1]; NaN without a known label or a threshold.

    >>> round(risk_coverage_area(np.array([0.1, 0.9, 0.6]), np.array([0, 1, 0]), 0.5), 3)
    0.111
    """
    wrong, _, sure = _calls(scores, labels, threshold)
    if not wrong.size:
        return math.nan
    order = np.argsort(-sure, kind="stable")
    ends = _run_ends(sure[order])
    answered = np.arange(1, len(order) + 1)
    errors = np.interp(answered, np.append(0, ends + 1), np.append(0, np.cumsum(wrong[order])[ends]))
    return float(np.mean(errors / answered))


def _calls(scores: np.ndarray, labels: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return whether each call is wrong, the call (True: positive) and its certainty, of the known labels."""
    scores, truth = known(scores, labels)
    if math.isnan(threshold):
        scores, truth = scores[:0], truth[:0]
    called = scores >= threshold
    # rounded: 0.05 and 0.95 are equally far from 1/2
    return called != truth, called, np.abs(logit(scores) - logit(np.array(threshold))).round(9)


def _run_ends(ordered: np.ndarray) -> np.ndarray:
    """Return the last position of each run of equal values."""
    return np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1) if ordered.size else np.zeros(0, dtype=int)
