"""Cross-entropy whose positives and negatives weigh differently, by how many of each a training has."""

from collections.abc import Sequence

import numpy as np

from cxr_monai.losses.masked import MaskedBCEWithLogitsLoss, check_number

LabelCounts = Sequence[tuple[int, int]]
"""Of each finding, the images where it is known to be present and known to be absent."""


def weighted_bce(counts: LabelCounts, cap: float = 20.0, label_smoothing: float = 0.0) -> MaskedBCEWithLogitsLoss:
    """Return cross-entropy whose positives of a finding weigh absent / present, so that both sides weigh alike.

    The ratio of Rajpurkar et al. 2017, arXiv 1711.05225 (who scale both weights down, so that they add up to 1).

    Args:
        counts: of the training part. A finding without a positive, or without a negative, weighs 1.
        cap: the largest weight, at least 1: a few hundred images of one finding would otherwise decide every step.
        label_smoothing: see ``MaskedLoss``.

    Raises:
        SettingError: ``setting-invalid`` for a value out of range.
    """
    check_number("loss_function#cap", cap, 1)
    weights = [min(absent / present, cap) if present and absent else 1.0 for present, absent in counts]
    return MaskedBCEWithLogitsLoss(weights, label_smoothing)


def class_balanced(counts: LabelCounts, beta: float = 0.9999, label_smoothing: float = 0.0) -> MaskedBCEWithLogitsLoss:
    """Return cross-entropy weighted by the inverse of the effective numbers of positives and of negatives.

    Cui et al. 2019, arXiv 1901.05555: n images of one class are worth ``(1 - beta^n) / (1 - beta)``, since later ones
    resemble earlier ones. Here presence and absence are a finding's two classes, and their weights add up to 2 (the
    paper's to the number of classes). With beta 0 it is cross-entropy; as beta nears 1, weights go with 1 / n.

    Args:
        counts: of the training part. A class without an image counts as one image.
        beta: in [0, 1); the paper's largest, 0.9999. No effective number exceeds 1 / (1 - beta).
        label_smoothing: see ``MaskedLoss``.

    Raises:
        SettingError: ``setting-invalid`` for a value out of range.
    """
    check_number("loss_function#beta", beta, 0, below=1)
    images = np.asarray(counts, dtype=float).reshape(-1, 2).clip(min=1)
    # expm1 and log1p: 1 - beta^n keeps its digits where beta is nearly 1
    effective = -np.expm1(images * np.log1p(-(1 - beta))) / (1 - beta) if beta else np.ones_like(images)
    weights = 2 / effective / (1 / effective).sum(axis=1, keepdims=True)
    present, absent = weights.astype(np.float32).T
    return MaskedBCEWithLogitsLoss(present / absent, label_smoothing, weight=absent)
