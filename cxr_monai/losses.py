"""Losses that leave unknown labels out instead of taking them for absent findings."""

import copy
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from cxr_monai.errors import Code, SettingError

T = TypeVar("T")


class MaskedBCEWithLogitsLoss(nn.Module):
    """Binary cross-entropy over the labels that are known.

    The mean runs over known labels alone, so an image with many unknown labels weighs as many labels as it has, and
    the result equals ``torch.nn.BCEWithLogitsLoss`` where every label is known.

    Args:
        pos_weight: weight of the positives of each finding, ``[F]``; None = 1.
        label_smoothing: s in [0, 1): a known target t counts as t (1 - s) + s / 2, so that the network need not be
            certain of labels that are sometimes wrong (Szegedy et al. 2016, arXiv 1512.00567, for two classes). For
            training alone: what is validated is :func:`unsmoothed`.

    Shape:
        - input: logits ``[B, F]``, any real number.
        - target: ``[B, F]``, 0 absent, 1 present, between them mixed (``training.mixup``), NaN unknown.
        - output: a scalar; 0 (with zero gradients) where nothing is known.

    Raises:
        SettingError: ``setting-invalid`` for a smoothing outside its range.

    Example:
        >>> loss = MaskedBCEWithLogitsLoss()
        >>> loss(torch.zeros(1, 2), torch.tensor([[1.0, float("nan")]])).item()  # ln 2, from the known label alone
        0.6931471824645996
    """

    def __init__(self, pos_weight: torch.Tensor | Sequence[float] | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not isinstance(label_smoothing, int | float) or not 0 <= label_smoothing < 1:
            raise SettingError(
                Code.SETTING_INVALID,
                f"--label_smoothing {label_smoothing!r}: it must be a number of at least 0 (none) and below 1.",
            )
        self.pos_weight: torch.Tensor | None
        self.register_buffer("pos_weight", None if pos_weight is None else torch.as_tensor(pos_weight))
        self.label_smoothing = label_smoothing

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        known = ~torch.isnan(target)
        # unknown targets become 0 before the arithmetic: NaN times a mask of 0 would still be NaN
        aim = target.nan_to_num(0.0).to(input.dtype)
        if self.label_smoothing:
            aim = aim * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = binary_cross_entropy_with_logits(input, aim, pos_weight=self.pos_weight, reduction="none")
        return torch.where(known, losses, 0.0).sum() / known.sum().clamp(min=1)

    def known_labels(self, target: torch.Tensor) -> torch.Tensor:
        """Return how many labels are known, a float32 scalar: what the mean over this part of a batch weighs.

        The loss of a batch is the mean of its parts' losses, each weighed so.
        """
        return (~torch.isnan(target)).sum().to(torch.float32)


def unsmoothed(loss: T) -> T:
    """Return the loss to validate with: the same without label smoothing; another kind of loss is returned as it is.

    Smoothed losses of trainings with different smoothing can't be compared, nor with an evaluation's.
    """
    if not getattr(loss, "label_smoothing", 0):
        return loss
    plain = copy.deepcopy(loss)
    plain.label_smoothing = 0.0  # type: ignore[attr-defined]
    return plain
