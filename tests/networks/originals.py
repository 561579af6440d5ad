"""The architectures that foreign weights come from, written anew from the paper (Huang et al., arXiv 1608.06993).

No class of MONAI or torchvision takes part: a state dictionary with torchvision's names and plain functions of PyTorch.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch.nn import functional

State = Mapping[str, torch.Tensor]
SMALL, GROWTH, INITIAL = (2, 3, 2, 2), 4, 8


def state_dict(
    channels: int, outputs: int, blocks: Sequence[int] = SMALL, growth: int = GROWTH, initial: int = INITIAL
) -> dict[str, torch.Tensor]:
    """Return random weights of a DenseNet-BC under torchvision's names, running statistics included."""
    draw = torch.Generator().manual_seed(3)
    made: dict[str, torch.Tensor] = {}

    def convolution(name: str, out: int, into: int, size: int) -> None:
        made[f"{name}.weight"] = torch.randn(out, into, size, size, generator=draw) * (2 / (into * size**2)) ** 0.5

    def norm(name: str, width: int) -> None:
        made[f"{name}.weight"] = torch.rand(width, generator=draw) + 0.5
        made[f"{name}.bias"] = torch.randn(width, generator=draw) * 0.1
        made[f"{name}.running_mean"] = torch.randn(width, generator=draw) * 0.1
        made[f"{name}.running_var"] = torch.rand(width, generator=draw) + 0.5
        made[f"{name}.num_batches_tracked"] = torch.tensor(7)

    convolution("features.conv0", initial, channels, 7)
    norm("features.norm0", initial)
    width = initial
    for block, layers in enumerate(blocks, 1):
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            norm(f"{name}.norm1", width)
            convolution(f"{name}.conv1", 4 * growth, width, 1)
            norm(f"{name}.norm2", 4 * growth)
            convolution(f"{name}.conv2", growth, 4 * growth, 3)
            width += growth
        if block < len(blocks):
            norm(f"features.transition{block}.norm", width)
            convolution(f"features.transition{block}.conv", width // 2, width, 1)
            width //= 2
    norm("features.norm5", width)
    made["classifier.weight"] = torch.randn(outputs, width, generator=draw) * width**-0.5
    made["classifier.bias"] = torch.randn(outputs, generator=draw)
    return made


def forward(state: State, images: torch.Tensor) -> torch.Tensor:
    """Return the logits ``[B, F]`` of a DenseNet-BC in evaluation mode for ``[B, C, H, W]``."""

    def normed(name: str, x: torch.Tensor) -> torch.Tensor:
        parts = [state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return functional.batch_norm(x, *parts)

    def convolved(name: str, x: torch.Tensor, **geometry: int) -> torch.Tensor:
        return functional.conv2d(x, state[f"{name}.weight"], **geometry)

    x = functional.relu(normed("features.norm0", convolved("features.conv0", images, stride=2, padding=3)))
    x = functional.max_pool2d(x, 3, stride=2, padding=1)
    block = 1
    while f"features.denseblock{block}.denselayer1.conv1.weight" in state:
        layer = 1
        while f"features.denseblock{block}.denselayer{layer}.conv1.weight" in state:
            name = f"features.denseblock{block}.denselayer{layer}"
            narrow = convolved(f"{name}.conv1", functional.relu(normed(f"{name}.norm1", x)))
            new = convolved(f"{name}.conv2", functional.relu(normed(f"{name}.norm2", narrow)), padding=1)
            x, layer = torch.cat([x, new], dim=1), layer + 1
        transition = f"features.transition{block}"
        if f"{transition}.conv.weight" in state:
            x = convolved(f"{transition}.conv", functional.relu(normed(f"{transition}.norm", x)))
            x = functional.avg_pool2d(x, 2)
        block += 1
    pooled = functional.relu(normed("features.norm5", x)).mean((-2, -1))
    return functional.linear(pooled, state["classifier.weight"], state["classifier.bias"])


def torchvision_old(state: State) -> dict[str, torch.Tensor]:
    """Names until 2018: ``norm.1`` for ``norm1``, and no counters of batches."""
    renamed = {}
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        for part in ("norm1", "conv1", "norm2", "conv2"):
            name = name.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.")
        renamed[name] = tensor
    return renamed


def chexnet(state: State) -> dict[str, torch.Tensor]:
    """zoogzog/chexnet: wrapped in a module and in DataParallel, the classifier before a sigmoid in a Sequential."""
    return {
        f"module.densenet121.{name.replace('classifier.', 'classifier.0.')}": tensor for name, tensor in state.items()
    }


def chexnet_old(state: State) -> dict[str, torch.Tensor]:
    """The checkpoint that arnoweng/CheXNet gives away has these."""
    return chexnet(torchvision_old(state))


def torchxrayvision(state: State) -> dict[str, torch.Tensor]:
    """TorchXRayVision's, with the thresholds of a model that Hernia and Fracture were not trained for."""
    thresholds = torch.full((18,), 0.1)
    thresholds[[13, 15]] = torch.nan
    return {**state, "op_threshs": thresholds}


NAMINGS: dict[str, Callable[[State], dict[str, torch.Tensor]]] = {
    "torchvision": dict,
    "torchvision_old": torchvision_old,
    "chexnet": chexnet,
    "chexnet_old": chexnet_old,
    "torchxrayvision": torchxrayvision,
}
