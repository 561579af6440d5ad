"""Several networks as one: the mean of their outputs.

    Ensemble(5, DenseNet121(2, 1, 14))      # weights ``members.0.features.conv0.weight``, ``members.1. ...``

As one module it is loaded, fused, run, exported and explained as any other network. The outputs are logits: their mean
belongs to the geometric mean of the members' odds. Networks that were trained apart and averaged: Lakshminarayanan et
al. 2017, arXiv 1612.01474.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from cxr_monai.errors import Code, SettingError

_PREFIX = re.compile(r"^members\.\d+\.")


class Ensemble(nn.Module):
    """The mean of several networks of one architecture.

    Args:
        members: how many.
        network: what each is a copy of. The copies are equal until weights are loaded: an ensemble is put together from
            trained networks (:func:`joined_states`), not trained.

    Raises:
        SettingError: ``setting-invalid`` if ``members`` is no whole number of at least 1.
    """

    def __init__(self, members: int, network: nn.Module) -> None:
        super().__init__()
        if not isinstance(members, int) or isinstance(members, bool) or members < 1:
            raise SettingError(
                Code.SETTING_INVALID, f"an ensemble of {members!r} networks: give a whole number of at least 1."
            )
        self.members = nn.ModuleList(copy.deepcopy(network) for _ in range(members))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return float32 ``[B, K]``, the mean over members, for images ``[B, C, H, W]``."""
        # in float32 also under autocast: the mean of rounded outputs is not rounded again
        return torch.stack([member(images) for member in self.members]).mean(0, dtype=torch.float32)


def ensemble_definition(members: int, network_def: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``network_def`` of an ensemble of networks that all have this one.

    Args:
        members: number of networks.
        network_def: the definition of each.
    """
    return {
        "_target_": "cxr_monai.components.Ensemble",
        "members": members,
        "network": dict(network_def),
    }


def joined_states(states: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the state dictionary of an ensemble from those of its members."""
    return {f"members.{index}.{name}": tensor for index, state in enumerate(states) for name, tensor in state.items()}


def within_member(name: str) -> str:
    """Return the name of a part within its ensemble member; names of other networks are returned unchanged."""
    return _PREFIX.sub("", name)
