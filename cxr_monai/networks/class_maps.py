"""All findings' class activation maps from one forward pass, on the network's own grid or on a finer one.

    network = ClassMaps(trained, shape=(1, 224, 224), stride=16)
    logits, maps = network(images)              # [B, F], [B, F, h, w]

A network that ends in global average pooling and one linear layer computes, for each finding, the mean over the last
grid of the features times the finding's weights, plus a bias. What a place adds to that mean is its class activation
map (Zhou et al. 2016, arXiv 1512.04150): the finding's own map, without any gradient, and up to a factor MONAI's
GradCAM before its ReLU. That holds for any network whose output is that, which is tried on two synthetic images, not
read off a name. A head that couples the outputs (``cxr_monai.networks.heads``) gives the maps of its labels
by the chain rule: the outputs' maps, each times the label's slope in that output at this image, which again is GradCAM
up to a factor.

**Finer grids.** A step that halves the grid throws three places of four away. Without it, and with the convolutions
after it spread out by as much (the algorithme a trous of Holschneider et al. 1990; Chen et al. 2015, arXiv 1412.7062),
the network computes the same features for the places between, with the weights that it has. At the old places they are
what they were, which is tried too, so the logits stay the same.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from cxr_monai.errors import Code, SettingError
from cxr_monai.networks import heads
from cxr_monai.networks.ensemble import Ensemble
from cxr_monai.networks.fusion import fused
from cxr_monai.plurals import counted

_STEPS = (nn.Conv2d, nn.AvgPool2d, nn.MaxPool2d)
_CLOSE = 1e-4
_OTHERS = "integrated_gradients and occlusion work for any network, gradcam for a layer of any convolutional one"


@dataclass(frozen=True)
class ClassifierTail:
    """The end of a network: the names of its pooling and its linear layer, and the side of the pooled features."""

    pooling: str
    linear: str
    side: int


class ClassMaps(nn.Module):
    """Logits and class activation maps of all channels in one forward pass.

    The outputs of an ensemble are means of its members' outputs, and so are its maps.

    Args:
        network: in evaluation mode, float32; it is copied, never changed.
        shape: ``[C, H, W]`` of an image.
        stride: pixels of the input between two points of the map: that of the network (32 for DenseNet121) where None,
            or half, a quarter of it, ...
        fast: compute in bfloat16 on a CPU with convolutions fused (``cxr_monai.networks.fusion``).
        head: of the network; logits and maps are its labels'.

    Attributes:
        stride: as above.
        points: the place of a map's first point and the distance to the next, in shares of the image's side.

    Raises:
        SettingError: ``setting-invalid`` if the network does not end like that, or has no such stride.
    """

    stride: int
    points: tuple[float, float]

    def __init__(
        self,
        network: nn.Module,
        shape: Sequence[int],
        stride: int | None = None,
        fast: bool = False,
        head: heads.Head = heads.INDEPENDENT,
    ) -> None:
        super().__init__()
        self.head, self.members = head, nn.ModuleList()
        if isinstance(network, Ensemble):
            # without the head, which is applied after the mean
            members = [ClassMaps(member, shape, stride, fast) for member in network.members]
            self.members.extend(members)
            self.stride, self.points = members[0].stride, members[0].points
            return
        tail = find_classifier_tail(network, shape)
        own_stride = _stride(shape, tail.side)
        self.stride = own_stride if stride is None else stride
        self._side, self._first, self._every = tail.side, 0, 1
        self.points = grid_points(network, shape, tail.side)
        copied = copy.deepcopy(network).eval().requires_grad_(False)
        if self.stride != own_stride:
            _check_stride(self.stride, own_stride)
            self._every = own_stride // self.stride
            copied = _finer(copied, shape, self.stride)
            self._first = self._locate(network, copied, tail, shape)
            step = self.stride / shape[-1]
            self.points = (self.points[0] - self._first * step, step)  # the points of the coarse grid keep their places
        linear = network.get_submodule(tail.linear)
        self.weight = nn.Parameter(linear.weight.detach().float().clone(), requires_grad=False)  # type: ignore[operator]
        bias = linear.bias
        self.bias = None if bias is None else nn.Parameter(bias.detach().float().clone(), requires_grad=False)  # type: ignore[operator]
        prefix = "network." if fast else ""
        self.network = fused(copied) if fast else copied
        self._pooling = prefix + tail.pooling

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return float32 logits ``[B, F]`` and maps ``[B, F, h, w]``, which may be negative.

        On the network's own grid and with independent labels, a map's mean plus the finding's bias is its logit.
        """
        if len(self.members):
            each = [member(images) for member in self.members]
            outputs, maps = (torch.stack(parts).mean(0) for parts in zip(*each, strict=True))
            return self.head(outputs), self.head.maps(outputs, maps)
        features = features_before(self.network, self._pooling, images).float()
        with torch.autocast(images.device.type, enabled=False):
            maps = torch.einsum("kc,bchw->bkhw", self.weight, features)
            steps = slice(self._first, self._first + self._every * self._side, self._every)
            outputs = maps[..., steps, steps].mean((-2, -1))
            outputs = outputs if self.bias is None else outputs + self.bias
            return self.head(outputs), self.head.maps(outputs, maps)

    def _locate(self, network: nn.Module, dilated: nn.Module, tail: ClassifierTail, shape: Sequence[int]) -> int:
        """Return the index of the coarse grid's first point on the finer grid, by comparing their features."""
        images = _synthetic(shape).to(next(network.parameters()).device)
        with torch.inference_mode(), evaluating(network):
            new = old = features_before(network, tail.pooling, images)
            with suppress(RuntimeError):  # parts that no longer fit each other
                new = features_before(dilated, tail.pooling, images)
        scale = float(old.abs().max())
        for first in range(self._every):
            steps = slice(first, first + self._every * tail.side, self._every)
            subgrid = new[..., steps, steps]
            if (
                new is not old
                and subgrid.shape == old.shape
                and float((subgrid - old).abs().max()) <= _CLOSE * max(scale, 1.0)
            ):
                return first
        raise SettingError(
            Code.SETTING_INVALID,
            f"this network gives no maps every {counted(self.stride, 'pixel')}: "
            "spread out, it computes something else.",
            fix=f"Leave the stride at {self.stride * self._every}.",
        )


def find_classifier_tail(network: nn.Module, shape: Sequence[int]) -> ClassifierTail:
    """Find the global average pooling and the linear layer that a network ends in.

    Args:
        network: any.
        shape: ``[C, H, W]`` of an image.

    Raises:
        SettingError: ``setting-invalid`` if it does not end in them, saying what its maps can be made with.
    """
    calls: list[tuple[str, nn.Module, torch.Tensor, torch.Tensor]] = []
    names = [name for name, part in network.named_modules() if isinstance(part, nn.AdaptiveAvgPool2d | nn.Linear)]
    images = _synthetic(shape).to(next(network.parameters()).device)
    with torch.inference_mode(), evaluating(network), _watching(network, names, calls):
        logits = network(images)
    poolings = [(name, inputs) for name, part, inputs, _ in calls if isinstance(part, nn.AdaptiveAvgPool2d)]
    linears = [(name, part) for name, part, _, _ in calls if isinstance(part, nn.Linear)]
    if poolings and linears:
        (pooling, features), (linear, layer) = poolings[-1], linears[-1]
        if features.ndim == 4 and features.shape[1] == layer.in_features:
            expected = nn.functional.linear(features.mean((-2, -1)), layer.weight, layer.bias)
            if expected.shape == logits.shape and torch.allclose(expected, logits, rtol=_CLOSE, atol=_CLOSE):
                return ClassifierTail(pooling, linear, int(features.shape[-1]))
    raise SettingError(
        Code.SETTING_INVALID,
        f"{type(network).__name__} does not end in global average pooling and one linear layer: no class maps.",
        fix=f"Choose another method: {_OTHERS}.",
    )


def grid_points(network: nn.Module, shape: Sequence[int], side: int) -> tuple[float, float]:
    """Return where the points of a network's grid lie in its input: each in the middle of what it is computed from.

    Not in the middle of equal cells, as enlarging a map takes for granted: a convolution or pooling of size k with p
    rows of padding and steps of s moves the middle by (k - 1) / 2 - p rows of its input. DenseNet's last grid lies 1.5
    pixels higher and further left than equal cells, ResNet's 16.

    Args:
        network: any.
        shape: ``[C, H, W]`` of an image.
        side: of the grid.

    Returns:
        the place of the first point and the distance to the next, in shares of the image's side.
    """
    moved: dict[int, float] = {}
    for _, part, inputs, outputs in _run(network, shape):
        before, after = _stride(shape, inputs.shape[-1]), _stride(shape, outputs.shape[-1])
        if before < after <= _stride(shape, side) and not isinstance(part.padding, str):
            size, padding = (
                value if isinstance(value, int) else value[0] for value in (part.kernel_size, part.padding)
            )
            moved.setdefault(before, before * ((size - 1) / 2 - padding))
    return (sum(moved.values()) + 0.5) / shape[-1], _stride(shape, side) / shape[-1]


def features_before(network: nn.Module, pooling: str, images: torch.Tensor) -> torch.Tensor:
    """Return the features before a network's pooling, ``[B, C, h, w]``; later layers are not computed.

    Args:
        network: any.
        pooling: the name of its pooling layer.
        images: float32 ``[B, C, H, W]``.

    Raises:
        SettingError: ``setting-invalid`` if the network does not run that layer.
    """

    def stop(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        raise _Reached(inputs[0])

    handle = network.get_submodule(pooling).register_forward_pre_hook(stop)
    try:
        network(images)
    except _Reached as reached:
        return reached.features
    finally:
        handle.remove()
    raise SettingError(Code.SETTING_INVALID, f"the network does not run its layer {pooling!r}.")


class _Reached(Exception):
    def __init__(self, features: torch.Tensor) -> None:
        super().__init__()
        self.features = features


class _SpreadAverage(nn.Module):
    """The mean of 2x2 places that lie ``apart`` from each other, for every place; borders repeat.

    ``odd``: the grid had an odd side before, whose last row and column the pooling dropped: so they are here.
    """

    def __init__(self, apart: int, odd: bool) -> None:
        super().__init__()
        self.apart, self.dropped = apart, apart if odd else 0

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        rows, columns = (side - self.dropped for side in features.shape[-2:])
        features, around = features[..., :rows, :columns], max(self.apart // 2, 1)
        wide = nn.functional.pad(features, (around,) * 4, mode="replicate")
        pairs = (wide[..., : -self.apart, :] + wide[..., self.apart :, :]) / 2
        return (pairs[..., : -self.apart] + pairs[..., self.apart :]) / 2


def _finer(network: nn.Module, shape: Sequence[int], stride: int) -> nn.Module:
    """Return the network without the steps beyond a stride, the rest of it spread out; ``network`` changes."""
    for name, part, inputs, outputs in _run(network, shape):
        apart, reduces = _stride(shape, inputs.shape[-1]) // stride, _stride(shape, outputs.shape[-1]) > stride
        if apart <= 1 and not reduces:
            continue
        apart = max(apart, 1)
        replaced: nn.Module
        if isinstance(part, nn.Conv2d) and not isinstance(part.padding, str):
            replaced = copy.deepcopy(part)
            if reduces:
                replaced.stride = (1, 1)
            replaced.dilation = tuple(apart * value for value in part.dilation)
            replaced.padding = tuple(apart * value for value in part.padding)
        elif isinstance(part, nn.AvgPool2d) and part.kernel_size in (2, (2, 2)) and part.padding in (0, (0, 0)):
            replaced = _SpreadAverage(apart, odd=inputs.shape[-1] % 2 == 1)
        else:
            raise SettingError(
                Code.SETTING_INVALID,
                f"a finer map would need the network's layer {name!r} ({type(part).__name__}) spread out, "
                "which is done for convolutions and 2x2 average pooling.",
                fix="Leave the stride at the network's own.",
            )
        parent, _, last = name.rpartition(".")
        setattr(network.get_submodule(parent), last, replaced)
    return network


def _run(network: nn.Module, shape: Sequence[int]) -> list[Any]:
    """Return name, module, input and output of every convolution and pooling, in the order in which they run."""
    calls: list[Any] = []
    names = [name for name, part in network.named_modules() if isinstance(part, _STEPS)]
    images = _synthetic(shape).to(next(network.parameters()).device)
    with torch.inference_mode(), evaluating(network), _watching(network, names, calls):
        network(images)
    return calls


def _stride(shape: Sequence[int], side: int) -> int:
    """Return the power of two by which a grid of ``side`` is coarser than the image; borders may have been dropped."""
    return int(2 ** round(math.log2(shape[-1] / side)))


def _check_stride(stride: int, coarsest: int) -> None:
    allowed = [coarsest // 2**power for power in range(4) if coarsest // 2**power >= 1]
    if stride not in allowed:
        raise SettingError(
            Code.SETTING_INVALID,
            f"there is no map every {stride!r} pixels: this network's grid has one point every {coarsest}.",
            fix=f"Choose one of {', '.join(map(str, allowed))}.",
        )


def _synthetic(shape: Sequence[int]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(2, shape[0], 8, 8, generator=generator)
    return nn.functional.interpolate(coarse, tuple(shape[1:]), mode="bilinear")


@contextmanager
def _watching(network: nn.Module, names: Sequence[str], calls: list[Any]) -> Iterator[None]:
    """Record the inputs and outputs of layers, in the order in which they run."""

    def note(name: str, part: nn.Module, inputs: tuple[torch.Tensor, ...], outputs: torch.Tensor) -> None:
        calls.append((name, part, inputs[0], outputs))

    hook: Callable[..., None] = note
    handles = [network.get_submodule(name).register_forward_hook(partial(hook, name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode inside the block, and back afterwards."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
