"""Losses that leave unknown labels out instead of taking them for absent findings."""

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits


class MaskedBCEWithLogitsLoss(nn.Module):
    """Binary cross-entropy over the labels that are known.

    The mean runs over known labels alone, so an image with many unknown labels weighs as many labels as it has, and
    the result equals ``torch.nn.BCEWithLogitsLoss`` where every label is known.

    Args:
        pos_weight: weight of the positives of each finding, ``[F]``; None = 1.

    Shape:
        - input: logits ``[B, F]``, any real number.
        - target: ``[B, F]``, 0 absent, 1 present, NaN unknown.
        - output: a scalar; 0 (with zero gradients) where nothing is known.

    Example:
        >>> loss = MaskedBCEWithLogitsLoss()
        >>> loss(torch.zeros(1, 2), torch.tensor([[1.0, float("nan")]])).item()  # ln 2, from the known label alone
        0.6931471824645996
    """

    def __init__(self, pos_weight: torch.Tensor | None = None) -> None:
        super().__init__()
        self.pos_weight: torch.Tensor | None
        self.register_buffer("pos_weight", None if pos_weight is None else torch.as_tensor(pos_weight))

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        known = ~torch.isnan(target)
        # unknown targets become 0 before the arithmetic: NaN times a mask of 0 would still be NaN
        losses = binary_cross_entropy_with_logits(
            input, target.nan_to_num(0.0).to(input.dtype), pos_weight=self.pos_weight, reduction="none"
        )
        return torch.where(known, losses, 0.0).sum() / known.sum().clamp(min=1)
