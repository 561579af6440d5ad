"""Randomisation test: does a map depend on what the network has learned? Adebayo et al. 2018, arXiv 1810.03292.

    for stage in cascade(network):
        copy = randomised(network, stage.parts, images, seed=0)     # explain with it, and compare the maps

Weights are drawn anew as before a training, first those of the last layer alone, then those of more and more parts,
down to the input. The last layer is what makes the findings differ, and all of them is all that was learned. A method
whose map stays as it was has shown the image and the architecture, not the network: it explains nothing (`SURVIVED`).
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cxr_monai.attribution.similarity import rank_correlation, similarity
from cxr_monai.data.loading import seed_of
from cxr_monai.errors import Code, SettingError
from cxr_monai.networks.ensemble import within_member

SURVIVED = 0.5
"""Mean rank correlation above which maps have survived, at any stage.

Set in a gap that was measured (DenseNet121, 224 pixels, 12 NIH radiographs of other patients, AUROC 0.70; three draws):
cam, of which this is known to hold, stayed at 0.16 or below at each of 11 stages. A generator that weighs the features
by the last normalisation's weights, and so gives every finding the same map, came to 1.0 with the head random and 0.77
with the last block too; guided_gradcam to 0.65, layercam to 0.75, gradcam++ to 0.70, which take no account of what
speaks against a finding and so show nearly the same places for any head. One draw of the head alone moves cam's mean by
0.4 (standard deviation), therefore several are averaged.
"""
_DRAWS = 5
_FEW_IMAGES = 16
"""Images that batch normalisation is fitted to anew."""


@dataclass(frozen=True)
class Stage:
    """The parts of a network with random weights: ``name`` is the last that was added, ``parts`` are all of them."""

    name: str
    parts: tuple[str, ...]


def cascade(network: nn.Module) -> list[Stage]:
    """Return the stages, the head alone first, everything last.

    A part is what shares the first two words of its name (``features.denseblock4``) and has weights of its own. Parts
    are taken from the last that was defined to the first, which for the networks here is from the output to the input.
    A part of an ensemble is that part of all its members.
    """
    parts = list(dict.fromkeys(_part(name) for name, _ in _owners(network)))[::-1]
    if not parts:
        raise SettingError(Code.SETTING_INVALID, f"{type(network).__name__} has no weights that could be drawn anew.")
    return [Stage(part, tuple(parts[: number + 1])) for number, part in enumerate(parts)]


def randomised(network: nn.Module, parts: Sequence[str], images: torch.Tensor, seed: int) -> nn.Module:
    """Return a copy in evaluation mode with some parts as before a training; the network itself stays as it is.

    Layers draw their weights in their own way (PyTorch's ``reset_parameters``); parameters of modules that have none
    come from a normal distribution of the parameter's own mean and deviation. The means and variances of batch
    normalisation in these parts are then taken from the images: old ones would fit no new weights, and signals would
    vanish or explode.

    Args:
        network: any.
        parts: names of `cascade`.
        images: float ``[B, C, H, W]``; the first `_FEW_IMAGES` are used, and their mirror images.
        seed: of the draws; the global random state is left alone.
    """
    copied = copy.deepcopy(network).eval()
    norms = []
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed_of(seed, len(parts)))  # the plain seed may be the one that training began with
        for name, owner in _owners(copied):
            if _part(name) not in parts:
                continue
            if callable(reset := getattr(owner, "reset_parameters", None)):
                reset()
            else:
                for parameter in owner.parameters(recurse=False):
                    deviation = float(parameter.std(unbiased=False))
                    parameter.normal_(float(parameter.mean()), deviation or 1.0)
            if isinstance(owner, _BatchNorm) and owner.track_running_stats:
                norms.append(owner)
        if norms:
            momenta = [norm.momentum for norm in norms]
            for norm in norms:
                norm.momentum = None  # the plain mean over all that it sees
                norm.train()
            shown = images[:_FEW_IMAGES]
            copied(torch.cat([shown, shown.flip(-1)]))  # two at least: one place of one image has no variance
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
                norm.eval()
    return copied


def some_stages(stages: Sequence[Stage], count: int) -> list[Stage]:
    """Return ``count`` of the stages at equal distances, the first and the last among them (the last alone for 1)."""
    places = np.linspace(0, len(stages) - 1, min(count, len(stages))) if count > 1 else [len(stages) - 1]
    return [stages[round(place)] for place in places]


def survival(
    explain: Callable[[nn.Module], Mapping[str, np.ndarray]],
    network: nn.Module,
    images: torch.Tensor,
    stages: Sequence[Stage],
    draws: int = _DRAWS,
    seed: int = 0,
) -> Iterator[pd.DataFrame]:
    """Compare maps of a network with those of copies whose weights were drawn anew, a copy at a time.

    Args:
        explain: a network to maps of N cases by each method, ``[N, h, w]``, at least 0.
        network: trained.
        images: float ``[B, C, H, W]`` of the kind that it was trained on.
        stages: of `cascade`.
        draws: of each stage's weights.
        seed: of the first draw.

    Yields:
        for each stage and draw one row a method and case, ``stage, random_parts, draw, method, case, rank_correlation,
        ssim``; NaN where the network's own map is 0 everywhere: there is nothing that could survive.
    """
    before = explain(network)
    for stage in stages:
        for draw in range(draws):
            after = explain(randomised(network, stage.parts, images, seed + draw))
            yield pd.concat(
                [_compared(method, before[method], maps) for method, maps in after.items()], ignore_index=True
            ).assign(stage=stage.name, random_parts=len(stage.parts), draw=draw)


def _compared(method: str, before: np.ndarray, maps: np.ndarray) -> pd.DataFrame:
    nothing, count = before.max((-2, -1)) <= 0, len(before)
    correlation = rank_correlation(before.reshape(count, -1), maps.reshape(count, -1))
    return pd.DataFrame(
        {
            "method": method,
            "case": np.arange(count),
            "rank_correlation": np.where(nothing, np.nan, correlation),
            "ssim": np.where(nothing, np.nan, similarity(before, maps)),
        }
    )


def _owners(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules that have parameters of their own, by name."""
    return [(name, owner) for name, owner in network.named_modules() if any(True for _ in owner.parameters(False))]


def _part(name: str) -> str:
    return ".".join(within_member(name).split(".")[:2]) or "network"
