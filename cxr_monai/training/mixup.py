"""Mixup: a network that is trained on blends of two radiographs, and asked for the same blend of their findings.

Zhang et al. 2018, arXiv 1710.09412.
"""

import math

import numpy as np
import torch

from cxr_monai.errors import Code, SettingError


def mixup(
    images: torch.Tensor, labels: torch.Tensor, alpha: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend each image of a batch with another of it, and their labels alike.

    One share is drawn for the batch, from Beta(alpha, alpha), and one permutation that says who is blended with whom;
    an image may meet itself, and does in a batch of one.

    Args:
        images: ``[B, C, H, W]``, any floating type; left as they are.
        labels: ``[B, F]``, 0 absent, 1 present, NaN unknown; left as they are.
        alpha: 0 blends nothing, 0.1 to 0.4 little, 1 any share alike.
        generator: of the processor; all that is drawn comes from it.

    Returns:
        Images, and labels in [0, 1]: ``share * own + (1 - share) * partner's``; NaN where either is.

    Raises:
        SettingError: ``setting-invalid`` for an alpha below 0 or without end.
    """
    if not isinstance(alpha, int | float) or not 0 <= alpha < math.inf:
        raise SettingError(Code.SETTING_INVALID, f"--mixup {alpha!r}: it must be a number of at least 0 (none).")
    if not alpha:
        return images, labels
    share, partners = draw_mixup(len(images), alpha, generator)
    partners = partners.to(images.device)
    # lerp, as it is exact where both are equal: two positives make a label of 1, not of 0.99999994
    return (
        torch.lerp(images, images[partners], 1 - share),
        torch.lerp(labels, labels[partners.to(labels.device)], 1 - share),
    )


def draw_mixup(count: int, alpha: float, generator: torch.Generator) -> tuple[float, torch.Tensor]:
    """Return the share that an image keeps, in [0, 1], and the index of each image's partner, ``[count]``.

    Args:
        count: of images.
        alpha: of the Beta distribution, above 0.
        generator: of the random numbers.
    """
    partners = torch.randperm(count, generator=generator)
    # PyTorch's own Beta takes no generator
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha)), partners
