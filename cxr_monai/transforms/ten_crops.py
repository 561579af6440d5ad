"""Ten crops of a film, whose probabilities are averaged."""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from cxr_monai.errors import Code, SettingError
from cxr_monai.transforms.resize_shortest import check_pixel_count


class TenCropd(MapTransform):
    """Corners and centre, each also mirrored: ``[C, H, W]`` to ``[10, C, size, size]``, as zoogzog/chexnet evaluates.

    Mirrored crops show the heart on the other side; a network trained without flips has never seen that.

    Args:
        keys: what to crop.
        size: rows and columns of a crop; at most the smaller side of the image.
    """

    def __init__(self, keys: KeysCollection, size: int, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.size = check_pixel_count(size)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            image, size = result[key], self.size
            bottom, right = image.shape[-2] - size, image.shape[-1] - size
            if bottom < 0 or right < 0:
                raise SettingError(
                    Code.SETTING_INVALID, f"cannot take {size}x{size} crops of an image of {tuple(image.shape[-2:])}."
                )
            corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
            crops = torch.stack([image[..., top : top + size, left : left + size] for top, left in corners])
            result[key] = torch.cat([crops, crops.flip(-1)])
        return result
