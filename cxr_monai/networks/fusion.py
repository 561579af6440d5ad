"""A copy of a network for prediction in bfloat16 on a CPU: batch norms fused into convolutions, weights packed once.

:func:`fused` keeps the network's graph and rewrites what stands next to each other in its ``nn.Sequential`` parts
(a batch norm in evaluation mode is ``s * x + b`` with a scale and a shift a channel), where they run in their order:

- convolution, batch norm, ReLU: one convolution with weights ``s * w``, the ReLU in its own loop;
- batch norm, ReLU, convolution without padding (DenseNet's order): ``relu(s * x + b)`` is ``s * (max(x, t) - t)`` with
  ``t = -b / s`` (the minimum where ``s`` is negative): one comparison a value is left, and ``s`` goes into the weights;
- 1x1 convolution, average pooling: pooling first gives the same numbers from a quarter of the products;
- a ReLU that is left after a convolution or a batch norm works in place: nobody else reads what they made.

Weights are rounded to bfloat16 and brought into oneDNN's own order once instead of at every call; linear layers compute
in float32. What is not recognised stays as it is, and :func:`for_prediction` uses the copy only if it agrees.
"""

import copy
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from cxr_monai.networks.heads import INDEPENDENT, Head

logger = logging.getLogger(__name__)

TOLERANCE = 0.01
"""A probability of the copy may differ by this much from the network's own in float32; else the copy is not used."""


def for_prediction(network: nn.Module, shape: tuple[int, ...], head: Head = INDEPENDENT) -> nn.Module:
    """Return a fused copy of a network, or the network itself (the log says so) where it can't be fused or disagrees.

    Args:
        network: in evaluation mode, float32, on a CPU with bfloat16 instructions.
        shape: of one image, ``[C, H, W]``; two synthetic images of that shape are compared.
        head: whose probabilities are compared; it stays apart from the copy.

    Returns:
        a module that takes float32 ``[B, C, H, W]`` and gives what the network gives.
    """
    if _weights(network, nn.Linear) > _weights(network, nn.Conv2d):
        logger.info("predicting with the network as it is: its weights are in linear layers, which are not folded")
        return network
    try:
        copied = fused(network)
        difference = largest_difference(network, copied, shape, head)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        logger.info("predicting with the network as it is: it cannot be folded (%s)", error)
        return network
    if not difference <= TOLERANCE:  # NaN is refused too
        logger.info("predicting with the network as it is: folded, a probability differs by %.3g", difference)
        return network
    return copied


def _weights(network: nn.Module, kind: type[nn.Module]) -> int:
    layers = [layer for layer in network.modules() if isinstance(layer, kind)]
    return sum(weights.numel() for layer in layers for weights in layer.parameters())


@torch.inference_mode()
def largest_difference(
    network: Callable[[torch.Tensor], torch.Tensor],
    copied: Callable[[torch.Tensor], torch.Tensor],
    shape: tuple[int, ...],
    head: Head = INDEPENDENT,
) -> float:
    """Compare the probabilities that two networks give for two synthetic images.

    Args:
        network, copied: give outputs ``[2, K]`` for images ``[2, C, H, W]``.
        shape: ``[C, H, W]`` of an image.
        head: from outputs to log-odds.

    Returns:
        the largest absolute difference of a probability.
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(2, shape[0], 8, 8, generator=generator)
    images = nn.functional.interpolate(coarse, tuple(shape[1:]), mode="bilinear")
    return float((head(copied(images)).sigmoid() - head(network(images)).sigmoid()).abs().max())


def fused(network: nn.Module) -> nn.Module:
    """Return a copy of a network as this module's head tells: float32 images in, float32 logits out."""
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(copied.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Conv2d and not isinstance(child.padding, str) and child.padding_mode == "zeros":
                setattr(module, name, _Convolution(child))
            elif type(child) is nn.Linear:
                setattr(module, name, _InFloat32(child))
    for module in list(copied.modules()):
        if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
            _fuse(module)
    for module in copied.modules():
        if isinstance(module, _Convolution):
            module.finish()
    return _InBfloat16(copied).eval()


def _fuse(sequence: nn.Sequential) -> None:
    names = list(sequence._modules)
    for first in range(len(names)):
        parts: list[Any] = [sequence._modules[name] for name in names[first : first + 3]]
        kinds = [type(part) for part in parts]
        if kinds == [nn.BatchNorm2d, nn.ReLU, _Convolution] and parts[2].padding == (0, 0):
            replaced = [parts[2].take_norm_before(parts[0]), nn.Identity()]
        elif kinds[:2] == [_Convolution, nn.BatchNorm2d]:
            parts[0].take_norm_after(parts[1])
            parts[0].relu = kinds[2:] == [nn.ReLU]
            replaced = [parts[0], nn.Identity(), *([nn.Identity()] if parts[0].relu else [])]
        elif kinds[:2] == [_Convolution, nn.AvgPool2d] and _commute(*parts[:2]):
            replaced = [parts[1], parts[0]]
        elif kinds[:2] in ([_Convolution, nn.ReLU], [nn.BatchNorm2d, nn.ReLU]):
            # a copy: elsewhere the same ReLU module may follow another layer
            replaced = [parts[0], nn.ReLU(inplace=True)]
        else:
            continue
        for name, part in zip(names[first:], replaced, strict=False):
            sequence._modules[name] = part


def _commute(convolution: Any, pool: Any) -> bool:
    one = convolution.weight.shape[2:] == (1, 1) and convolution.stride == (1, 1) and convolution.padding == (0, 0)
    return one and not convolution.relu and pool.padding in (0, (0, 0)) and pool.divisor_override is None


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a batch norm without running statistics")
    scale = norm.weight.double() * torch.rsqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.double() - norm.running_mean.double() * scale


class _Convolution(nn.Module):
    """A convolution that takes in its neighbours; :meth:`finish` rounds it, the first call packs it."""

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__()
        self.stride, self.padding, self.dilation, self.groups = (
            plain.stride,
            plain.padding,
            plain.dilation,
            plain.groups,
        )
        self.weight = plain.weight.detach().double()
        self.bias: torch.Tensor = torch.zeros(len(self.weight)) if plain.bias is None else plain.bias.detach().double()
        self.origin: torch.Tensor | None = None  # subtracted from the input, one value a channel
        self.relu, self.packed = False, False

    def take_norm_after(self, norm: nn.BatchNorm2d) -> None:
        scale, shift = _scale_and_shift(norm)
        self.weight, self.bias = self.weight * scale.reshape(-1, 1, 1, 1), self.bias * scale + shift

    def take_norm_before(self, norm: nn.BatchNorm2d) -> "_Clamp":
        scale, shift = _scale_and_shift(norm)
        if self.groups != 1 or not scale.all():
            raise ValueError("a batch norm before grouped convolutions, or one that scales a channel by 0")
        self.weight = self.weight * scale.reshape(1, -1, 1, 1)
        limit = (-shift / scale).bfloat16()
        self.origin = limit.double()
        return _Clamp(limit, scale > 0)

    def finish(self) -> None:
        weight = self.weight.bfloat16()
        if self.origin is not None:
            # by the rounded weights: where the input is at its limit, the sum is the bias exactly
            self.bias = self.bias - weight.double().sum((2, 3)) @ self.origin
        self.weight, self.bias = weight.contiguous(memory_format=torch.channels_last), self.bias.bfloat16()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        geometry = (self.padding, self.stride, self.dilation, self.groups)
        if not self.packed:
            self.weight = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *geometry, list(images.shape))
            self.packed = True
        after = "relu" if self.relu else "none"
        return torch.ops.mkldnn._convolution_pointwise(images, self.weight, self.bias, *geometry, after, [], "")


class _Clamp(nn.Module):
    """``max(x, limit)`` for channels that a batch norm scales by more than 0, ``min(x, limit)`` for the others."""

    def __init__(self, limit: torch.Tensor, positive: torch.Tensor) -> None:
        super().__init__()
        limit, positive = limit.reshape(1, -1, 1, 1), positive.reshape(1, -1, 1, 1)
        self.low = torch.where(positive, limit, -torch.inf)
        self.high = None if bool(positive.all()) else torch.where(positive, torch.inf, limit)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.maximum(images, self.low) if self.high is None else torch.clamp(images, self.low, self.high)


class _InFloat32(nn.Module):
    """A linear layer of rounded features, itself not rounded."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight.detach(), None if linear.bias is None else linear.bias.detach()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            return nn.functional.linear(features.float(), self.weight, self.bias)


class _InBfloat16(nn.Module):
    """Images rounded on the way in, channels-last."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images.to(torch.bfloat16, memory_format=torch.channels_last)).float()
