"""A film and its mirror image, whose log-odds are averaged."""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import MapTransform


class WithMirrord(MapTransform):
    """The image and its mirror image: ``[C, H, W]`` to ``[2, C, H, W]``, whose logits the inferer averages.

    A mirrored film shows the heart on the other side; a network trained without flips has never seen that.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = torch.stack([result[key], result[key].flip(-1)])
        return result
