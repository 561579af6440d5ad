"""What makes a training's views of a film, by name."""

import pytest
import torch
from monai.transforms import Compose

from cxr_monai.errors import Code, SettingError
from cxr_monai.transforms.augmentations import augmentation
from cxr_monai.transforms.exposure import RandExposured
from cxr_monai.transforms.random_crops import RandResizedCropd, random_affine_crop


def plane(height: int, width: int) -> torch.Tensor:
    """[1, height, width] with another value at every pixel, in [0, 1)."""
    return torch.arange(height * width, dtype=torch.float32).reshape(1, height, width) / (height * width)


def test_augmentations_by_name() -> None:
    image = {"image": plane(72, 80)}
    none = augmentation("image", "none", 64)
    assert torch.equal(torch.as_tensor(none(image)["image"]), plane(72, 80)[:, 4:68, 8:72])
    for name, expected in {
        "default": Compose([random_affine_crop("image", 64), RandExposured("image", 0.5)]),
        "random_resized_crop": Compose([RandResizedCropd("image", 64, (0.5, 1.0))]),
    }.items():
        made = augmentation("image", name, 64, scale=(0.5, 1.0)).set_random_state(seed=4)
        same = expected.set_random_state(seed=4)
        for _ in range(3):
            view = torch.as_tensor(made(image)["image"])
            assert torch.equal(view, torch.as_tensor(same(image)["image"])), name
            assert view.shape == (1, 64, 64)
    with pytest.raises(SettingError, match="'strong': it must be one of none, default") as error:
        augmentation("image", "strong", 64)
    assert error.value.code == Code.SETTING_INVALID
