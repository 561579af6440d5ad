"""Losses that are means over the known labels, such as binary cross-entropy."""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from cxr_monai.errors import Code, SettingError


def check_number(name: str, value: object, lowest: float, below: float = math.inf, at_most: float = math.inf) -> None:
    """Refuse a setting of a loss that is out of range.

    Args:
        name: of the setting.
        value: a number.
        lowest: the least allowed value.
        below: exclusive upper bound.
        at_most: inclusive upper bound.

    Raises:
        SettingError: ``setting-invalid``.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not (lowest <= value < below and value <= at_most):  # type: ignore[operator]
        limit = (
            f" and below {below:g}" if below < math.inf else f" and at most {at_most:g}" if at_most < math.inf else ""
        )
        raise SettingError(
            Code.SETTING_INVALID, f"--{name} {value!r}: it must be a number of at least {lowest:g}{limit}."
        )


class MaskedLoss(nn.Module):
    """Mean over known labels of a loss that a subclass defines (:meth:`each`).

    The mean runs over known labels alone, so an image with many unknown labels weighs as many labels as it has.

    Args:
        label_smoothing: s in [0, 1): a known target t counts as t (1 - s) + s / 2, so that the network need not be
            certain of labels that are sometimes wrong (Szegedy et al. 2016, arXiv 1512.00567, for two classes). For
            training alone.

    Shape:
        - input: logits ``[B, F]``, any real number.
        - target: ``[B, F]``, 0 absent, 1 present, between them mixed (``training.mixup``), NaN unknown.
        - output: a scalar; 0 (with zero gradients) where nothing is known.

    Raises:
        SettingError: ``setting-invalid`` for a smoothing outside its range.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        check_number("label_smoothing", label_smoothing, 0, below=1)
        self.label_smoothing = label_smoothing

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss of logits (``input``) against labels (``target``), both ``[B, F]``, as a scalar."""
        is_known = ~torch.isnan(target)
        # unknown targets become 0 before the arithmetic: NaN times a mask of 0 would still be NaN
        aim = target.nan_to_num(0.0).to(input.dtype)
        if self.label_smoothing:
            aim = aim * (1 - self.label_smoothing) + self.label_smoothing / 2
        return torch.where(is_known, self.each(input, aim), 0.0).sum() / is_known.sum().clamp(min=1)

    def each(self, logits: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
        """Return the loss of each label, ``[B, F]``.

        Args:
            logits: ``[B, F]``.
            aim: smoothed targets ``[B, F]``, in [0, 1]; 0 where the label is unknown.
        """
        raise NotImplementedError

    def known_labels(self, target: torch.Tensor) -> torch.Tensor:
        """Return how many labels are known, a float32 scalar: the weight of this part of a batch.

        The loss of a batch is the mean of its parts' losses, each weighed so.
        """
        return (~torch.isnan(target)).sum().to(torch.float32)


class MaskedBCEWithLogitsLoss(MaskedLoss):
    """Binary cross-entropy over the labels that are known: ``torch.nn.BCEWithLogitsLoss`` where every one is.

    Args:
        pos_weight: weight of the positives of each finding, ``[F]``; None = 1.
        label_smoothing: see :class:`MaskedLoss`.
        weight: weight of each finding, positives and negatives alike, ``[F]``; None = 1.

    Example:
        >>> loss = MaskedBCEWithLogitsLoss()
        >>> loss(torch.zeros(1, 2), torch.tensor([[1.0, float("nan")]])).item()  # ln 2, from the known label alone
        0.6931471824645996
    """

    def __init__(
        self,
        pos_weight: torch.Tensor | Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        weight: torch.Tensor | Sequence[float] | None = None,
    ) -> None:
        super().__init__(label_smoothing)
        self.pos_weight: torch.Tensor | None
        self.weight: torch.Tensor | None
        self.register_buffer("pos_weight", None if pos_weight is None else torch.as_tensor(pos_weight))
        self.register_buffer("weight", None if weight is None else torch.as_tensor(weight))

    def each(self, logits: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy of each label from ``logits`` and targets ``aim``, all ``[B, F]``."""
        return binary_cross_entropy_with_logits(
            logits, aim, weight=self.weight, pos_weight=self.pos_weight, reduction="none"
        )
