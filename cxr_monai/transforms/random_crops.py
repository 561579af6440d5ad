"""Random views of a film: a small movement in one resampling, or a part as ImageNet's networks are trained on."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandAffined, Randomizable

from cxr_monai.errors import Code, SettingError
from cxr_monai.transforms.resize_shortest import check_pixel_count, resize


def random_affine_crop(keys: KeysCollection, size: int) -> RandAffined:
    """Return MONAI's ``RandAffined`` as a random resized crop with a small rotation, in one resampling.

    The view is ``size`` pixels wide and covers 90 to 110 % of ``size`` pixels of its input (each axis on its own, so
    the aspect ratio varies too), moved by up to a fourteenth of ``size`` (the room that a margin of 8/7 leaves) and
    turned by up to 5 degrees. What lies outside the image is black, as around a collimated film.

    Args:
        keys: what to view; several keys get the same view.
        size: rows and columns of the result.
    """
    return RandAffined(
        keys=keys,
        prob=1.0,
        spatial_size=(size, size),
        rotate_range=math.radians(5),
        scale_range=((-0.1, 0.1), (-0.1, 0.1)),
        translate_range=(size / 14, size / 14),
        padding_mode="zeros",
    )


class RandResizedCropd(Randomizable, MapTransform):
    """A random part of the image, resampled to a square without aliasing: what ImageNet's networks are trained on.

    The part has a share of the image's area and a ratio of its sides, both random, and lies anywhere in the image
    (Szegedy et al. 2015, arXiv 1409.4842, section 6; torchvision's ``RandomResizedCrop``, whose defaults these are).
    A part that does not fit is drawn again, ten times at the most; then it is the largest in the middle whose ratio is
    allowed. The smallest part is less than a third of the image wide and high, so a lung, or the heart, may be cut off
    with its finding: strong for radiographs.

    Args:
        keys: float32 tensors ``[1, H, W]`` of one size; all get the same part.
        size: rows and columns of the result.
        scale: the smallest and the largest share of the area, above 0 and at most 1.
        ratio: the smallest and the largest width / height; its logarithm is uniform.

    Raises:
        SettingError: ``setting-invalid`` for another range.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: int,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.size = check_pixel_count(size)
        self.scale, self.ratio = _range("scale", scale, 1.0), _range("ratio", ratio, math.inf)

    def randomize(self, data: torch.Tensor) -> None:
        """Draw the part: its first row and column, its rows and columns."""
        height, width = data.shape[-2:]
        low, high = map(math.log, self.ratio)
        for _ in range(10):
            area = height * width * self.R.uniform(*self.scale)
            ratio = math.exp(self.R.uniform(low, high))
            rows, columns = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < rows <= height and 0 < columns <= width:
                self.part = self.R.randint(height - rows + 1), self.R.randint(width - columns + 1), rows, columns
                return
        rows = min(height, round(width / self.ratio[0]))
        columns = min(width, round(height * self.ratio[1]))
        self.part = (height - rows) // 2, (width - columns) // 2, rows, columns

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        self.randomize(result[self.first_key(result)])
        top, left, rows, columns = self.part
        for key in self.key_iterator(result):
            part = np.ascontiguousarray(np.asarray(result[key])[0, top : top + rows, left : left + columns])
            result[key] = torch.from_numpy(np.array(resize(part, self.size, self.size))[None])
        return result


def _range(name: str, limits: Sequence[float], most: float) -> tuple[float, float]:
    numbers = [value for value in limits if isinstance(value, int | float)] if isinstance(limits, Sequence) else []
    if len(numbers) != 2 or len(limits) != 2 or not 0 < numbers[0] <= numbers[1] <= most or math.isinf(numbers[1]):
        limit = "" if math.isinf(most) else f" and at most {most:g}"
        raise SettingError(
            Code.SETTING_INVALID, f"{name} {limits!r}: it must be two rising numbers, each above 0{limit}."
        )
    return float(numbers[0]), float(numbers[1])
