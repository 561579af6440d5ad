"""Ten crops of a film, whose probabilities are averaged."""

import pytest
import torch

from cxr_monai.errors import Code, SettingError
from cxr_monai.transforms.ten_crops import TenCropd


def plane(height: int, width: int) -> torch.Tensor:
    """[1, height, width] with another value at every pixel, in [0, 1)."""
    return torch.arange(height * width, dtype=torch.float32).reshape(1, height, width) / (height * width)


def test_ten_crops_are_corners_centre_and_their_mirror_images() -> None:
    image = torch.arange(24.0).reshape(1, 4, 6)
    crops = TenCropd("image", 2)({"image": image})["image"]
    first_five = torch.tensor(
        [
            [[0, 1], [6, 7]],
            [[4, 5], [10, 11]],
            [[12, 13], [18, 19]],
            [[16, 17], [22, 23]],
            [[8, 9], [14, 15]],  # from row 1, column 2
        ]
    ).float()[:, None]
    assert crops.shape == (10, 1, 2, 2)
    assert torch.equal(crops[:5], first_five)
    assert torch.equal(crops[5:], first_five[..., [1, 0]])


def test_ten_crops_of_the_whole_image() -> None:
    image = plane(3, 3).expand(3, 3, 3)
    crops = TenCropd("image", 3)({"image": image})["image"]
    assert crops.shape == (10, 3, 3, 3)
    assert all(torch.equal(crop, image) for crop in crops[:5])
    assert all(torch.equal(crop, image.flip(-1)) for crop in crops[5:])


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_crops_larger_than_the_image_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(SettingError, match=rf"5x5 crops.*{shape[0]}, {shape[1]}") as caught:
        TenCropd("image", 5)({"image": plane(*shape)})
    assert caught.value.code == Code.SETTING_INVALID


@pytest.mark.parametrize("size", [0, -1, 224.0])
def test_a_wrong_size_of_crops_is_a_setting_error_when_built(size: int) -> None:
    with pytest.raises(SettingError):
        TenCropd("image", size)
