"""Cross-entropy of a softmax over findings and Normal, with a target that is shared among an image's findings."""

import torch
from torch import nn
from torch.nn.functional import logsigmoid

from cxr_monai.losses.masked import check_number


class SoftTargetLoss(nn.Module):
    """Cross-entropy with soft targets: 1 / n for each of an image's n positive labels (Normal among the labels).

    For the head ``softmax``, whose log-odds are what it is given. The classes are the labels that are known: unknown
    ones have no part in the target, and the probability of the others is taken as their share of all known ones'. So

    - an image with unknown labels costs what it would if these classes did not exist;
    - an image without a known positive (as where none is present but some are unknown, so that Normal is unknown too)
      has no target, and neither has one of which a single label is known: it weighs 0.

    Args:
        label_smoothing: s in [0, 1): the target is mixed with an even one over the known classes, 1 - s to s (Szegedy
            et al. 2016, arXiv 1512.00567).

    Shape:
        - input: log-odds ``[B, F]`` of a softmax's probabilities.
        - target: ``[B, F]``, 0 absent, 1 present, NaN unknown.
        - output: a scalar, the mean over the images with a target; 0 (with zero gradients) where there is none.

    Raises:
        SettingError: ``setting-invalid`` for a smoothing outside its range.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        check_number("label_smoothing", label_smoothing, 0, below=1)
        self.label_smoothing = label_smoothing

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss of log-odds (``input``) against labels (``target``), both ``[B, F]``, as a scalar."""
        is_known, positive = ~torch.isnan(target), target == 1
        aim = positive.to(input.dtype) / positive.sum(1, keepdim=True).clamp(min=1)
        even = is_known.to(input.dtype) / is_known.sum(1, keepdim=True).clamp(min=1)
        aim = torch.lerp(aim, even, self.label_smoothing)
        log_p = logsigmoid(input)
        # a finite number for unknown ones: the logarithm of a sum over nothing has no gradient
        log_p = log_p - log_p.where(is_known, torch.finfo(log_p.dtype).min).logsumexp(1, keepdim=True)
        costs = -torch.where(is_known, aim * log_p, 0.0).sum(1)
        counted = has_target(target)
        return torch.where(counted, costs, 0.0).sum() / counted.sum().clamp(min=1)

    def known_labels(self, target: torch.Tensor) -> torch.Tensor:
        """Return how many images have a target, a float32 scalar: the weight of this part of a batch."""
        return has_target(target).sum().to(torch.float32)


def has_target(target: torch.Tensor) -> torch.Tensor:
    """Return which images have a target, bool ``[B]``: one positive label and another known one.

    Args:
        target: labels ``[B, F]``, 0 absent, 1 present, NaN unknown.

    >>> has_target(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    tensor([ True, False])
    """
    return (target == 1).any(1) & ((~torch.isnan(target)).sum(1) > 1)
