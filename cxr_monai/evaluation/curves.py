"""ROC and precision-recall curves on a fixed grid, with bands from whole patients drawn with replacement.

The bands are pointwise: each point of the curve lies in its band with the stated confidence, not the whole curve.
"""

import numpy as np

from cxr_monai.evaluation.auroc import known
from cxr_monai.evaluation.bootstrap import PatientBootstrap

GRID = np.linspace(0, 1, 101)
_DRAWS = 200  # enough for a band that is looked at


def curves(
    scores: np.ndarray, labels: np.ndarray, bootstrap: PatientBootstrap, level: float = 0.95
) -> dict[str, np.ndarray] | None:
    """Return one finding's curves; None without a positive or without a negative.

    Args:
        scores: float ``[N]``.
        labels: float ``[N]``; NaN unknown.
        bootstrap: its first 200 replicates are used.
        level: of the bands.

    Returns:
        ``fpr, tpr, tpr_low, tpr_high`` and ``recall, precision, precision_low, precision_high``, each ``[101]``;
        precision at a recall is that of the highest threshold that reaches it.
    """
    is_known = ~np.isnan(labels)
    values, truth = known(scores, labels)
    if truth.all() or not truth.any():
        return None
    order = np.argsort(-values, kind="stable")
    truth, patients = truth[order], bootstrap.patients[is_known][order]
    last = np.append(np.diff(values[order]) != 0, True)  # the last of each group of equal scores
    estimate = _points(np.ones(truth.size), truth, last)
    draws = [_points(counts[patients].astype(float), truth, last) for counts in bootstrap.counts[:_DRAWS]]
    defined = [row for row in draws if row is not None]
    if estimate is None or len(defined) < len(draws) / 2:
        return None
    tail = (1 - level) / 2
    low, high = np.quantile(np.array(defined), [tail, 1 - tail], axis=0)
    return {
        "fpr": GRID, "tpr": estimate[0], "tpr_low": low[0], "tpr_high": high[0],
        "recall": GRID, "precision": estimate[1], "precision_low": low[1], "precision_high": high[1],
    }  # fmt: skip


def _points(weights: np.ndarray, truth: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the true positive rate and the precision on the grid for weighted images, highest score first."""
    positives, negatives = np.cumsum(weights * truth)[last], np.cumsum(weights * ~truth)[last]
    if not positives[-1] or not negatives[-1]:
        return None
    tpr = np.append(0, positives / positives[-1])
    rate = np.interp(GRID, np.append(0, negatives / negatives[-1]), tpr)
    reached = np.minimum(np.searchsorted(tpr[1:], GRID - 1e-12), positives.size - 1)
    reached = np.maximum(reached, int(np.argmax(positives + negatives > 0)))  # a replicate may lack the first images
    return rate, positives[reached] / (positives + negatives)[reached]
