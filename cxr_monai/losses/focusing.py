"""Losses with less weight on labels that the network predicts well: the focal and the asymmetric loss.

Both scale down cross-entropy where the probability is right anyway. A label between 0 and 1 (smoothed, mixed) costs the
mean of a positive and a negative of these shares; MONAI's ``FocalLoss``, equal to this one on labels of 0 and 1, has
one factor for both, under which a smoothed label is best met by certainty.
"""

import math

import torch
from torch.nn.functional import logsigmoid

from cxr_monai.losses.masked import MaskedLoss, check_number


class FocalLoss(MaskedLoss):
    """``- alpha (1 - p)^gamma log p`` for a positive, ``- (1 - alpha) p^gamma log(1 - p)`` for a negative.

    Lin et al. 2017, arXiv 1708.02002. With gamma 0 it is cross-entropy weighted by alpha.

    Args:
        gamma: at least 0; the paper's 2.
        alpha: weight of positives, in [0, 1]; the paper's 0.25, which goes with a gamma of 2 (easy negatives are scaled
            down so far that positives need no help). None weighs both 1.
        label_smoothing: see :class:`MaskedLoss`.

    Raises:
        SettingError: ``setting-invalid`` for a value out of range.

    >>> import torch
    >>> labels = torch.tensor([[1.0, 0.0]])
    >>> easy = FocalLoss()(torch.tensor([[4.0, -4.0]]), labels)
    >>> hard = FocalLoss()(torch.tensor([[-1.0, 1.0]]), labels)
    >>> bool(easy < hard / 100)
    True
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = 0.25, label_smoothing: float = 0.0) -> None:
        super().__init__(label_smoothing)
        check_number("loss_function#gamma", gamma, 0)
        if alpha is not None:
            check_number("loss_function#alpha", alpha, 0, at_most=1)
        self.gamma, self.alpha = gamma, alpha

    def each(self, logits: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
        """Return the focal loss of each label from ``logits`` and targets ``aim``, all ``[B, F]``."""
        present, absent = (1.0, 1.0) if self.alpha is None else (self.alpha, 1 - self.alpha)
        log_p, log_q = logsigmoid(logits), logsigmoid(-logits)
        positive, negative = -(self.gamma * log_q).exp() * log_p, -(self.gamma * log_p).exp() * log_q
        return present * aim * positive + absent * (1 - aim) * negative


class AsymmetricLoss(MaskedLoss):
    """``- (1 - p)^gamma_positive log p`` for a positive, ``- p_m^gamma_negative log(1 - p_m)`` for a negative.

    ``p_m = max(p - margin, 0)``: negatives of a probability below the margin cost nothing and teach nothing.
    Ben-Baruch et al. 2020, arXiv 2009.14119. With both gammas 0 and no margin it is cross-entropy.

    Args:
        gamma_positive, gamma_negative: at least 0; the paper's 0 and 4.
        margin: in [0, 1); the paper's 0.05.
        label_smoothing: see :class:`MaskedLoss`.

    Raises:
        SettingError: ``setting-invalid`` for a value out of range.
    """

    def __init__(
        self,
        gamma_positive: float = 0.0,
        gamma_negative: float = 4.0,
        margin: float = 0.05,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(label_smoothing)
        check_number("loss_function#gamma_positive", gamma_positive, 0)
        check_number("loss_function#gamma_negative", gamma_negative, 0)
        check_number("loss_function#margin", margin, 0, below=1)
        self.gamma_positive, self.gamma_negative, self.margin = gamma_positive, gamma_negative, margin

    def each(self, logits: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
        """Return the asymmetric loss of each label from ``logits`` and targets ``aim``, all ``[B, F]``."""
        log_p, log_q = logsigmoid(logits), logsigmoid(-logits)
        positive = -(self.gamma_positive * log_q).exp() * log_p
        if not self.margin:
            return aim * positive - (1 - aim) * (self.gamma_negative * log_p).exp() * log_q
        over = log_p.exp() - self.margin
        counts = over > 0
        # 1 - p_m = (1 - p) + margin, in logarithms: never 0 for a probability of nearly 1
        log_q_m = torch.logaddexp(log_q, torch.full_like(log_q, math.log(self.margin)))
        # 1 under the margin before the power: the slope of a power below 1 has no end at 0
        negative = -over.where(counts, 1.0).pow(self.gamma_negative) * log_q_m
        return aim * positive + (1 - aim) * negative.where(counts, 0.0)
