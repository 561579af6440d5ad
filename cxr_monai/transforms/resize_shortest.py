"""Resampling without aliasing, to a length of the shorter side (docs/decisions/0005-resampling.md)."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from PIL import Image

from cxr_monai.errors import Code, SettingError


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resample one plane without aliasing: means of whole blocks of pixels, then Pillow's triangle filter for the rest.

    A reduction by a whole number is what PyTorch and MONAI call ``area``; see ``docs/decisions/0005-resampling.md``.

    Args:
        pixels: float32 ``[H, W]``.
        height: rows of the result.
        width: columns of the result.

    Returns:
        float32 ``[height, width]``, within the range of the input.
    """
    if pixels.shape == (height, width):
        return pixels
    image = Image.fromarray(pixels)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=1.0))


def check_pixel_count(size: int) -> int:
    """Check a number of pixels, and return it.

    Raises:
        SettingError: ``setting-invalid`` unless it is a whole number above 0.
    """
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise SettingError(Code.SETTING_INVALID, f"a size of {size!r} pixels: it must be a whole number above 0.")
    return size


class ResizeShortestd(MapTransform):
    """Resample so that the shorter side has ``size`` pixels, keeping the aspect ratio, without aliasing.

    Args:
        keys: what to resample, each a float32 tensor ``[1, H, W]``.
        size: pixels of the shorter side after resampling.
        margin: a factor on ``size`` that leaves room for a crop; 8/7 makes 256 of 224, as CheXNet's descendants do.
    """

    def __init__(self, keys: KeysCollection, size: int, margin: float = 1.0, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        check_pixel_count(size)
        if margin < 1:
            raise SettingError(
                Code.SETTING_INVALID, f"the margin is {margin!r}; below 1 it leaves no room for the crop."
            )
        self.size, self.margin = round(size * margin), margin

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            plane = np.asarray(result[key])[0]
            result[key] = torch.from_numpy(np.array(resize(plane, *self.shape_of(*plane.shape)))[None])
        return result

    def shape_of(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of the resampled image.

        Args:
            height, width: of the image, in pixels.
        """
        scale = self.size / min(height, width)
        return max(self.size, round(height * scale)), max(self.size, round(width * scale))
