"""Resampling without aliasing, to a length of the shorter side (docs/decisions/0005-resampling.md)."""

import numpy as np
import pytest
import torch

from cxr_monai.errors import Code, SettingError
from cxr_monai.transforms.resize_shortest import ResizeShortestd, resize


def plane(height: int, width: int) -> torch.Tensor:
    """[1, height, width] with another value at every pixel, in [0, 1)."""
    return torch.arange(height * width, dtype=torch.float32).reshape(1, height, width) / (height * width)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_reduction_does_not_alias(factor: int) -> None:
    rows, columns = np.indices((64, 64))
    checkerboard = ((rows + columns) % 2).astype(np.float32)
    reduced = resize(checkerboard, 64 // factor, 64 // factor)
    assert reduced.shape == (64 // factor, 64 // factor)
    corners = np.ix_([0, -1], [0, -1])
    # where the triangle is cut off at two borders, 3/7, 3/7, 1/7 remain of it at a reduction by 2: (1/7)**2 / 2 is left
    np.testing.assert_allclose(reduced[corners], 0.5, rtol=0, atol=1 / 98 + 1e-6)
    reduced = reduced.copy()
    reduced[corners] = 0.5
    np.testing.assert_allclose(reduced, 0.5, rtol=0, atol=1e-6)


def test_stripes_of_one_pixel_become_grey_whatever_their_phase() -> None:
    stripes = np.tile(np.array([0, 1, 1, 0], np.float32), (32, 16))
    for phase in range(4):
        np.testing.assert_allclose(resize(np.roll(stripes, phase, 1), 8, 8)[:, 1:-1], 0.5, rtol=0, atol=0.02)


def test_the_same_size_is_the_same_image() -> None:
    pixels = plane(5, 7)[0].numpy()
    assert np.array_equal(resize(pixels, 5, 7), pixels)


def test_a_reduction_by_a_whole_number_is_the_mean_of_blocks() -> None:
    row = np.array([[0, 0, 0, 1, 0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(resize(np.repeat(row, 8, 0), 8, 4), np.tile([0, 1 / 2, 0, 0], (8, 1)), rtol=0, atol=1e-6)
    pixels = np.random.default_rng(0).random((64, 96), np.float32)
    area = torch.nn.functional.interpolate(torch.from_numpy(pixels)[None, None], size=(16, 24), mode="area")[0, 0]
    np.testing.assert_allclose(resize(pixels, 16, 24), area.numpy(), rtol=0, atol=1e-6)


def test_what_is_left_of_a_reduction_is_a_triangle() -> None:
    # by 1.5: two pixels either side of an output pixel's centre, at most; nothing is skipped, so nothing aliases
    ones = np.eye(6, dtype=np.float32)
    weights = np.stack([resize(np.repeat(row[None], 4, 0), 4, 4)[0] for row in ones])
    np.testing.assert_allclose(weights.sum(0), 1, rtol=0, atol=1e-6)
    assert (weights.sum(1) > 0.5).all()
    np.testing.assert_allclose(weights[:2, 0] / weights[0, 0], [1, 0.6], rtol=0, atol=0.01)


@pytest.mark.parametrize(("height", "width"), [(10, 30), (30, 10), (7, 5), (40, 41)])
def test_rows_are_rows_and_the_range_is_kept(height: int, width: int) -> None:
    pixels = np.linspace(0, 1, 20, dtype=np.float32)[:, None].repeat(20, 1)  # brighter downwards
    result = resize(pixels, height, width)
    assert (result.shape, result.dtype) == ((height, width), np.float32)
    assert np.all(np.diff(result, axis=0) >= -1e-6)
    assert result[-1, 0] > result[0, 0] + 0.8
    assert np.all(np.ptp(result, axis=1) < 1e-6)
    assert 0 <= result.min() <= result.max() <= 1


@pytest.mark.parametrize(
    ("shape", "size", "margin", "expected"),
    [
        ((320, 320), 224, 8 / 7, (256, 256)),
        ((256, 256), 224, 8 / 7, (256, 256)),
        ((400, 300), 224, 8 / 7, (341, 256)),  # 400 * 256 / 300 = 341.33
        ((300, 400), 224, 8 / 7, (256, 341)),
        ((300, 400), 30, 1.0, (30, 40)),
        ((20, 10), 20, 1.0, (40, 20)),  # enlarged
        ((40, 41), 20, 1.0, (20, 20)),  # 20.5 rounds to even
    ],
)
def test_the_shorter_side_gets_the_size(
    shape: tuple[int, int], size: int, margin: float, expected: tuple[int, int]
) -> None:
    result = ResizeShortestd("image", size, margin)({"image": plane(*shape)})["image"]
    assert result.shape == (1, *expected)
    assert result.dtype == torch.float32
    assert 0 <= float(result.min()) <= float(result.max()) < 1


@pytest.mark.parametrize("size", [0, -1, 224.0, "224", None])
def test_a_wrong_size_is_a_setting_error(size: object) -> None:
    with pytest.raises(SettingError, match="size") as caught:
        ResizeShortestd("image", size)  # type: ignore[arg-type]
    assert caught.value.code == Code.SETTING_INVALID
    assert repr(size) in str(caught.value)


@pytest.mark.parametrize("margin", [0.0, -1.0, 0.5])
def test_a_wrong_margin_is_a_setting_error_when_built(margin: float) -> None:
    with pytest.raises(SettingError):
        ResizeShortestd("image", 224, margin)
