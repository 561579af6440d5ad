"""Optimisers by name, with weight decay where it belongs: on the kernels, not on norms and biases."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from cxr_monai.errors import Code, SettingError

OPTIMISERS = ("adam", "adamw", "sgd")


def parameter_groups(
    network: nn.Module, weight_decay: float = 0.0, rates: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Return a network's parameters in two groups: kernels, which decay, then scales and biases, which don't.

    What has one dimension (or none) is a norm's scale or shift or a layer's bias; decay there takes away capacity and
    helps nothing (He et al. 2019, arXiv 1812.01187, section 3.1). A group without parameters is left out. Frozen
    parameters are in them too: they may be trained later.

    Args:
        network: any, also one that is wrapped for several processes.
        weight_decay: of the kernels, at least 0.
        rates: by the name of a module or parameter, the factor of the learning rate of all below it; of several names
            that fit, the longest decides, and what none fits has 1. There are two groups for each factor then, the
            highest first, which have it as ``factor``.
    """
    parameters = list(getattr(network, "module", network).named_parameters())
    factors = [factor_of(name, rates or {}) for name, _ in parameters]
    groups = []
    for factor in sorted(set(factors), reverse=True):
        subset = [parameter for (_, parameter), other in zip(parameters, factors, strict=True) if other == factor]
        more = {"factor": factor} if rates else {}
        groups += [
            {"params": [parameter for parameter in subset if parameter.ndim > 1], "weight_decay": weight_decay, **more},
            {"params": [parameter for parameter in subset if parameter.ndim <= 1], "weight_decay": 0.0, **more},
        ]
    return [group for group in groups if group["params"]]


def factor_of(name: str, rates: Mapping[str, float]) -> float:
    """Return the factor of a parameter's learning rate.

    Args:
        name: the parameter's.
        rates: factors by the name of a module or parameter; the longest name that contains the parameter decides.

    Returns:
        the factor; 1 where no name contains it.

    >>> factor_of("features.denseblock4.conv.weight", {"features.denseblock4": 0.1})
    0.1
    """
    matching = [part for part in rates if name == part or name.startswith(part + ".")]
    return rates[max(matching, key=len)] if matching else 1.0


def training_optimizer(
    network: nn.Module,
    learning_rate: float,
    weight_decay: float = 0.0,
    name: Literal["adam", "adamw", "sgd"] = "adamw",
    rates: Mapping[str, float] | None = None,
) -> torch.optim.Optimizer:
    """Return PyTorch's optimiser over :func:`parameter_groups`, all of a step in one kernel (``fused``).

    Args:
        network: what is trained; on its device already.
        learning_rate: above 0.
        weight_decay: at least 0.
        name: ``adamw`` shrinks weights apart from the gradient (Loshchilov and Hutter 2019, arXiv 1711.05101) and is
            ``adam`` where nothing decays. ``adam`` adds the decay to the gradient, where Adam's division by its size
            undoes most of it. ``sgd`` has Nesterov's momentum of 0.9.
        rates: factors of the learning rate by the names of modules, each above 0, as :func:`parameter_groups` takes
            them (discriminative rates: Howard and Ruder 2018, arXiv 1801.06146).

    Raises:
        SettingError: ``setting-invalid`` for another name or a value that a setting can't have.
    """
    if name not in OPTIMISERS:
        raise SettingError(
            Code.SETTING_INVALID, f"--optimizer#name {name!r}: it must be one of {', '.join(OPTIMISERS)}."
        )
    if not isinstance(learning_rate, int | float) or not 0 < learning_rate < math.inf:
        raise SettingError(Code.SETTING_INVALID, f"--learning_rate {learning_rate!r}: it must be a number above 0.")
    if not isinstance(weight_decay, int | float) or not 0 <= weight_decay < math.inf:
        raise SettingError(
            Code.SETTING_INVALID, f"--weight_decay {weight_decay!r}: it must be a number of at least 0 (none)."
        )
    for part, factor in (rates or {}).items():
        if not isinstance(factor, int | float) or not 0 < factor < math.inf:
            raise SettingError(
                Code.SETTING_INVALID, f"--optimizer#rates: {part!r} has {factor!r}; it must be a number above 0."
            )
    groups = parameter_groups(network, weight_decay, rates)
    for group in groups:
        group["lr"] = learning_rate * group.pop("factor", 1.0)
    if name == "sgd":
        return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9, nesterov=True, fused=True)
    kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    return kind(groups, lr=learning_rate, fused=True)
