"""Stages of fine-tuning: the classifier alone, then blocks of the network from the top, each with a smaller rate.

    stages = fine_tuning_stages(network, epochs=12)
    stages.plan     # {"features.denseblock4": 3, "features.norm5": 3, "features.denseblock3": 5, ...} epochs frozen
    stages.rates    # {"features.denseblock4": 0.3, "features.norm5": 0.3, "features.denseblock3": 0.09, ...}

Gradual unfreezing and discriminative rates of Howard and Ruder 2018, arXiv 1801.06146: layers near the image see what
any radiograph shows, those near the classifier what the parent was asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from cxr_monai.errors import Code, SettingError
from cxr_monai.networks.classifier import classifier_of

_CONTAINER = 0.75
_TINY = 0.1


@dataclass(frozen=True)
class Stages:
    """What trains when and how fast.

    Attributes:
        plan: epochs for which a module is frozen (``cxr_monai.training.freezing.GradualUnfreezing``).
        rates: factors of the learning rate (``cxr_monai.training.optimisers``).
    """

    plan: Mapping[str, int]
    rates: Mapping[str, float]


def fine_tuning_stages(
    network: nn.Module,
    epochs: int,
    head_epochs: int = 3,
    block_epochs: int = 2,
    blocks: int | None = None,
    block_rate: float = 0.3,
    unfreeze: Mapping[str, int] | None = None,
) -> Stages:
    """Return the stages of a training.

    Args:
        network: whose last linear layer is the classifier.
        epochs: of the training; a block that is never reached stays frozen.
        head_epochs: the classifier alone trains; 0 starts with the first block.
        block_epochs: between one block and the next; 0 lets them all go at once.
        blocks: how many are trained, from the top; 0 trains the classifier alone, None all.
        block_rate: each block's learning rate is this part of that above it, in (0, 1].
        unfreeze: epochs by name that are to stand instead of, or beside, these.

    Raises:
        SettingError: ``setting-invalid`` for a value out of range.
    """
    for name, value in (("head_epochs", head_epochs), ("block_epochs", block_epochs), ("blocks", blocks or 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise SettingError(Code.SETTING_INVALID, f"--{name} {value!r}: it must be a whole number of at least 0.")
    if not isinstance(block_rate, int | float) or not 0 < block_rate <= 1:
        raise SettingError(Code.SETTING_INVALID, f"--block_rate {block_rate!r}: it must be above 0 and at most 1.")
    plan: dict[str, int] = {}
    rates: dict[str, float] = {}
    for depth, names in enumerate(blocks_of(network)):
        trained = blocks is None or depth < blocks
        plan |= dict.fromkeys(names, head_epochs + depth * block_epochs if trained else epochs)
        rates |= dict.fromkeys(names, block_rate ** (depth + 1))
    return Stages(plan | dict(unfreeze or {}), rates)


def blocks_of(network: nn.Module) -> list[list[str]]:
    """Return the network's blocks, the top one first: the names of the modules and parameters in each.

    A block is a part at the level where the network branches: one that holds three quarters of all weights is opened.
    Parts with less than a tenth of the weights (a norm, a transition) go with the block before them, those before the
    first block with it.
    """
    network = getattr(network, "module", network)
    classifier = classifier_of(network)
    parts = [(name, size) for name, size in _parts(network, "") if name != classifier]
    total = sum(size for _, size in parts)
    opened = True
    while opened:
        opened = False
        for position, (name, size) in enumerate(parts):
            inside = [
                part
                for part in _parts(network.get_submodule(name) if _is_module(network, name) else None, f"{name}.")
                if part[0] != classifier
            ]
            # one that holds the classifier is opened too: the classifier is no part of a block
            if (size >= _CONTAINER * total and len(inside) > 1) or classifier.startswith(f"{name}."):
                parts[position : position + 1] = inside
                opened = True
                break
    blocks: list[list[str]] = []
    waiting: list[str] = []
    for name, size in parts:
        if size >= _TINY * total:
            blocks.append([*waiting, name])
            waiting = []
        elif blocks:
            blocks[-1].append(name)
        else:
            waiting.append(name)
    if waiting:
        blocks.append(waiting)
    return blocks[::-1]


def _is_module(network: nn.Module, name: str) -> bool:
    return name in dict(network.named_modules())


def _parts(module: nn.Module | None, prefix: str) -> list[tuple[str, int]]:
    """Return children, and parameters of the module's own, that have weights, with how many."""
    if module is None:
        return []
    parameters = [(name, parameter.numel()) for name, parameter in module.named_parameters(recurse=False)]
    children = [(name, sum(p.numel() for p in child.parameters())) for name, child in module.named_children()]
    return [(f"{prefix}{name}", size) for name, size in [*parameters, *children] if size]
