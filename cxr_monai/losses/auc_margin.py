"""The AUC-margin loss: positives' scores over negatives' by a margin, and each side's scores close together.

Yuan et al. 2021, arXiv 2012.03173. The paper writes the squared-margin surrogate of 1 - AUC as a min-max problem: the
least over a and b, the greatest over alpha >= 0, of

    E[(s - a)^2 | present] + E[(s - b)^2 | absent] + 2 alpha (margin - E[s | present] + E[s | absent]) - alpha^2

and moves a, b and alpha slowly over many batches with an optimiser of its own (PESG). Here each batch has its own
optimum, which is known: a and b are the means and alpha is max(0, margin - a + b), which leaves

    var(s | present) + var(s | absent) + max(0, margin - a + b)^2

So any optimiser will do and nothing has to be stored, but the means are those of one batch: it wants batches with
several positives of most findings (``--sampling balanced`` helps), and doesn't have the paper's proof of convergence.
Like the paper's it is meant for a network that cross-entropy has trained already (``--init_weights``).
"""

import torch
from torch import nn

from cxr_monai.losses.masked import check_number


class AUCMarginLoss(nn.Module):
    """Mean over findings of the squared-margin surrogate of 1 - AUC, in the batch's known labels.

    Args:
        margin: by which positives' probabilities should lie above negatives', above 0 and at most 1; the paper's 1.

    Shape:
        - input: logits ``[B, F]``; their sigmoids are the scores, as in the paper.
        - target: ``[B, F]``, 0 absent, 1 present, NaN unknown.
        - output: a scalar in [0, 4.5]; the mean over findings with a positive and a negative in the batch, 0 (with zero
          gradients) where there is none.

    Raises:
        SettingError: ``setting-invalid`` for a margin out of range.
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        check_number("loss_function#margin", margin, 1e-6, at_most=1)
        self.margin = margin

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss of logits (``input``) against labels (``target``), both ``[B, F]``, as a scalar."""
        scores = input.float().sigmoid()
        (a, spread_a), (b, spread_b) = (_mean_and_variance(scores, target == side) for side in (1, 0))
        losses = spread_a + spread_b + (self.margin - a + b).clamp(min=0) ** 2
        both = (target == 1).any(0) & (target == 0).any(0)
        return torch.where(both, losses, 0.0).sum() / both.sum().clamp(min=1)


def _mean_and_variance(scores: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    count = mask.sum(0).clamp(min=1)
    mean = torch.where(mask, scores, 0.0).sum(0) / count
    return mean, torch.where(mask, (scores - mean) ** 2, 0.0).sum(0) / count
