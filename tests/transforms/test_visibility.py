"""Which part of a film a pipeline shows the network, so that maps can be put back on it."""

import pytest
import torch
from monai.transforms import CenterSpatialCropd, Compose, Flipd, RandFlipd, Resized

from cxr_monai.errors import SettingError
from cxr_monai.transforms.mirror import WithMirrord
from cxr_monai.transforms.normalisation import NormaliseRadiographd
from cxr_monai.transforms.resize_shortest import ResizeShortestd
from cxr_monai.transforms.ten_crops import TenCropd
from cxr_monai.transforms.visibility import visible_part


@pytest.mark.parametrize(
    ("steps", "shape", "part"),
    [
        ([ResizeShortestd("image", 4)], (8, 12), (0, 0, 8, 12)),
        ([ResizeShortestd("image", 4), CenterSpatialCropd("image", (4, 4))], (8, 12), (0, 2, 8, 8)),
        ([Resized("image", (4, 8)), CenterSpatialCropd("image", (2, 8))], (40, 40), (10, 0, 20, 40)),
        ([CenterSpatialCropd("image", (100, 4)), CenterSpatialCropd("image", (2, 2))], (8, 8), (3, 3, 2, 2)),
        ([NormaliseRadiographd("image", "imagenet")], (3, 5), (0, 0, 3, 5)),
    ],
)
def test_visible_part_by_hand(steps: list, shape: tuple[int, int], part: tuple[float, ...]) -> None:
    assert visible_part(Compose(steps), *shape) == pytest.approx(part)


@pytest.mark.parametrize("shape", [(64, 64), (70, 101), (97, 66)])
def test_visible_part_is_where_the_pixels_come_from(shape: tuple[int, int]) -> None:
    """Pixels that are their own coordinates tell where the view lies."""
    steps = [ResizeShortestd("image", 32, 8 / 7), CenterSpatialCropd("image", (32, 32))]
    top, left, rows, columns = visible_part(Compose(steps), *shape)
    for axis, (start, extent) in enumerate(((top, rows), (left, columns))):
        ramp = (torch.arange(shape[axis]) + 0.5).reshape((-1, 1) if axis == 0 else (1, -1)).expand(shape)
        seen = torch.as_tensor(Compose(steps)({"image": ramp[None].float()})["image"])[0].mean(1 - axis)
        expected = start + (torch.arange(32) + 0.5) * extent / 32
        assert (seen - expected).abs().max() < 0.6  # of a stored pixel: blocks of pixels are averaged


@pytest.mark.parametrize("step", [TenCropd("image", 2), RandFlipd("image"), WithMirrord("image"), Flipd("image")])
def test_visible_part_refuses_what_moves_pixels_otherwise(step: object) -> None:
    with pytest.raises(SettingError, match=type(step).__name__):
        visible_part(Compose([step]), 8, 8)
