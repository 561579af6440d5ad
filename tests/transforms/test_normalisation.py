"""Pixels in [0, 1] to the values that a network is given."""

import pytest
import torch

from cxr_monai.errors import Code, SettingError
from cxr_monai.transforms.normalisation import Normalisation, NormaliseRadiographd, normalise


def plane(height: int, width: int) -> torch.Tensor:
    """[1, height, width] with another value at every pixel, in [0, 1)."""
    return torch.arange(height * width, dtype=torch.float32).reshape(1, height, width) / (height * width)


@pytest.mark.parametrize(
    ("mode", "channels", "zero", "half", "one"),
    [
        ("zero_one", 1, [0.0], [0.5], [1.0]),
        ("zero_one", 3, [0.0] * 3, [0.5] * 3, [1.0] * 3),
        ("minus_one_one", 1, [-1.0], [0.0], [1.0]),
        ("minus_one_one", 3, [-1.0] * 3, [0.0] * 3, [1.0] * 3),
        # mean of the means 1.347 / 3 = 0.449, of the deviations 0.678 / 3 = 0.226
        ("imagenet", 1, [-0.449 / 0.226], [0.051 / 0.226], [0.551 / 0.226]),
        (
            "imagenet",
            3,
            [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225],
            [0.015 / 0.229, 0.044 / 0.224, 0.094 / 0.225],
            [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225],
        ),
    ],
)
def test_normalise(mode: str, channels: int, zero: list[float], half: list[float], one: list[float]) -> None:
    result = normalise(torch.tensor([[[0.0, 0.5, 1.0]]]), mode, channels)
    expected = torch.tensor([zero, half, one]).T.reshape(channels, 1, 3)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, expected, rtol=0, atol=5e-7)


@pytest.mark.parametrize("mode", Normalisation)
@pytest.mark.parametrize("channels", [1, 3])
def test_normalise_takes_batches_and_leaves_its_input_alone(mode: str, channels: int) -> None:
    images = torch.rand(4, 1, 5, 6, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    result = normalise(images, mode, channels)
    assert result.shape == (4, channels, 5, 6)
    for image, one in zip(images, result, strict=True):
        assert torch.equal(one, normalise(image, mode, channels))
    if channels == 3:
        result += 1  # memory of its own: a view of one channel would change thrice
        torch.testing.assert_close(result - 1, normalise(before, mode, channels))
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("mode", "channels", "said"),
    [
        ("0_1", 1, "'0_1'.*imagenet, zero_one, minus_one_one"),
        ("", 1, "''"),
        ("imagenet", 2, "2 channels"),
        ("imagenet", 0, "0"),
    ],
)
def test_a_wrong_normalisation_is_a_setting_error_when_built(mode: str, channels: int, said: str) -> None:
    for build in (
        lambda: normalise(plane(2, 2), mode, channels),
        lambda: NormaliseRadiographd("image", mode, channels),
    ):
        with pytest.raises(SettingError, match=said) as caught:
            build()
        assert caught.value.code == Code.SETTING_INVALID


def test_the_dictionary_transform_normalises_its_keys_alone() -> None:
    data = {"image": plane(2, 2), "other": plane(2, 2), "name": "a.png"}
    result = NormaliseRadiographd("image", "minus_one_one")(data)
    assert torch.equal(result["image"], plane(2, 2) * 2 - 1)
    assert torch.equal(result["other"], data["other"])
    assert result["name"] == "a.png"
