"""A network that computes the same number of images at a time, however many it is given.

Which kernel oneDNN takes, and how it divides the sums, depends on the shape of a batch. In bfloat16 another order of
additions can round a value to its neighbour, and layers above enlarge that: on a processor with AMX a film had
probabilities that differed by up to 7.7e-5 between a batch of 6 and one of 16. Here the last batch is filled up with
blank images, so a film's probabilities do not depend on how many films were asked for (docs/performance.md has
what each precision keeps).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

_PIXELS = 4 * 224 * 224
"""Pixels of a batch: four images of 224x224 take no longer each than sixteen."""
_MOST = 16
"""Images of a batch, where they are small."""


def fixed_batch_size(shape: Sequence[int]) -> int:
    """Return how many images of ``[C, H, W]`` are computed at a time: 4 of 224x224, 1 to 16 of others."""
    return max(1, min(_MOST, _PIXELS // (shape[-2] * shape[-1])))


def in_fixed_batches(network: Callable[[torch.Tensor], Any], images: torch.Tensor, size: int) -> Any:
    """Return a network's outputs for images ``[B, C, H, W]``, computed ``size`` at a time.

    Args:
        network: gives a tensor ``[B, ...]`` or a tuple of such; what it gives for an image must not depend on the
            others, as in evaluation mode.
        images: at least one.
        size: images that the network is given at every call.
    """
    parts = []
    for some in images.split(size):
        filled = some.new_zeros(size, *some.shape[1:]).contiguous(memory_format=torch.channels_last)
        filled[: len(some)] = some
        outputs = network(filled)
        whole = outputs if isinstance(outputs, tuple) else (outputs,)
        parts.append(tuple(output[: len(some)] for output in whole))
    joined = tuple(torch.cat(outputs) for outputs in zip(*parts, strict=True))
    return joined if isinstance(outputs, tuple) else joined[0]


def evenly(network: Callable[[torch.Tensor], Any], images: torch.Tensor) -> Any:
    """Return a network's outputs for images ``[B, C, H, W]``: in fixed batches on a CPU, at once elsewhere."""
    if images.device.type != "cpu":
        return network(images)
    return in_fixed_batches(network, images, fixed_batch_size(images.shape))


class FixedBatches(nn.Module):
    """A network behind :func:`in_fixed_batches`.

    Args:
        network: in evaluation mode.
        shape: ``[C, H, W]`` of an image.
    """

    def __init__(self, network: nn.Module, shape: Sequence[int]) -> None:
        super().__init__()
        self.network, self.size = network, fixed_batch_size(shape)
        self.train(network.training)

    def forward(self, images: torch.Tensor) -> Any:
        return in_fixed_batches(self.network, images, self.size)
