"""Pixels rounded to whole grey levels, as files and caches hold them."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform

from cxr_monai.data.formats.grey import grey_levels, grey_of_levels


class QuantiseRadiographd(MapTransform):
    """Round [0, 1] to whole grey levels: 256, or 65,536 where the file has more than 8 bits a pixel (``image_bits``).

    So what a training keeps as bytes and what is read from a file are the same numbers. After resampling an 8-bit image
    this moves a pixel by at most half a level, 0.002.
    """

    kept_until_here = True
    """For ``RadiographDataset``: this transform and those before it are computed once and cached as bytes."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            levels = grey_levels(np.asarray(result[key]), result.get(f"{key}_bits", 16))
            result[key] = torch.from_numpy(grey_of_levels(levels))
        return result
