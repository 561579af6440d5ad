"""Radiograph transforms, with numbers computed by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import CenterSpatialCropd, Compose, Flipd, RandFlipd, Resized
from PIL import Image

from cxr_monai.errors import Code, SettingError
from cxr_monai.transforms import (
    LoadRadiographd,
    Normalisation,
    NormaliseRadiographd,
    RandExposured,
    RandResizedCropd,
    ResizeShortestd,
    TenCropd,
    WithMirrord,
    augmentation,
    normalise,
    random_affine_crop,
    resize,
    visible_part,
)


def plane(height: int, width: int) -> torch.Tensor:
    """[1, height, width] with another value at every pixel, in [0, 1)."""
    return torch.arange(height * width, dtype=torch.float32).reshape(1, height, width) / (height * width)


# -- normalisation


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


# -- resampling


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


def test_a_file_becomes_a_tensor_whose_rows_are_the_pictures(tmp_path: Path) -> None:
    stored = np.zeros((40, 60), np.uint8)
    stored[5, 50] = 255  # row 5, column 50
    Image.fromarray(stored).save(tmp_path / "a.png")
    pixels = LoadRadiographd("image")({"image": str(tmp_path / "a.png")})["image"]
    assert (pixels.shape, pixels.dtype) == ((1, 40, 60), torch.float32)
    assert pixels[0, 5, 50] == 1
    assert pixels.sum() == 1


# -- augmentation


def test_a_random_view_has_its_size_and_repeats_under_its_seed() -> None:
    data = {"image": plane(72, 96)}
    first, second = random_affine_crop("image", 64), random_affine_crop("image", 64)
    views = [first.set_random_state(seed=3)(data)["image"]]
    again = second.set_random_state(seed=3)
    assert torch.equal(torch.as_tensor(views[0]), torch.as_tensor(again(data)["image"]))
    views.append(first(data)["image"])
    assert [tuple(view.shape) for view in views] == [(1, 64, 64)] * 2
    assert not torch.equal(torch.as_tensor(views[0]), torch.as_tensor(views[1]))


def test_several_keys_get_the_same_view() -> None:
    result = random_affine_crop(["image", "mask"], 48).set_random_state(seed=0)(
        {"image": plane(64, 64), "mask": plane(64, 64)}
    )
    assert torch.equal(torch.as_tensor(result["image"]), torch.as_tensor(result["mask"]))


def test_outside_a_random_view_is_black_and_inside_nothing_is_brighter() -> None:
    white = {"image": torch.ones(1, 64, 64)}  # without a margin, a turned or moved view reaches beyond the image
    view = random_affine_crop("image", 64).set_random_state(seed=1)
    lowest, highest = [], []
    for _ in range(20):
        pixels = torch.as_tensor(view(white)["image"])
        lowest.append(float(pixels.min()))
        highest.append(float(pixels.max()))
        assert float(pixels[:, 24:40, 24:40].min()) == pytest.approx(1, abs=1e-5)
    assert min(lowest) == 0
    assert min(lowest) >= 0
    assert max(highest) == pytest.approx(1, abs=1e-5)


def test_a_random_view_never_mirrors_or_turns_the_patient_over() -> None:
    # brighter to the right in one plane, downwards in the other
    ramp = torch.linspace(0, 1, 72)
    data = {"right": ramp.expand(1, 72, 72).clone(), "down": ramp[:, None].expand(1, 72, 72).clone()}
    view = random_affine_crop(["right", "down"], 64).set_random_state(seed=2)
    for _ in range(100):
        result = view(data)
        right, down = torch.as_tensor(result["right"])[0], torch.as_tensor(result["down"])[0]
        centre = slice(16, 48)
        across = right[centre, centre].diff(dim=1).mean(), right[centre, centre].diff(dim=0).mean()
        along = down[centre, centre].diff(dim=0).mean(), down[centre, centre].diff(dim=1).mean()
        for main, cross in (across, along):
            assert main > 0
            # tan(5 degrees), times the most that one axis is stretched against the other
            assert abs(cross) <= main * math.tan(math.radians(5)) * 1.1 / 0.9 + 1e-4


def test_the_zoom_stays_in_its_range() -> None:
    # the ramp rises 1/95 a pixel of the input; a view of 90 to 110 % of 64 pixels rises as much a pixel times that
    ramp = torch.linspace(0, 1, 96).expand(1, 96, 96).clone()
    view = random_affine_crop("image", 64).set_random_state(seed=5)
    steps = []
    for _ in range(200):
        pixels = torch.as_tensor(view({"image": ramp})["image"])[0, 16:48, 16:48]
        across, down = pixels.diff(dim=1).mean(), pixels.diff(dim=0).mean()
        steps.append(float(torch.hypot(across, down)) * 95)
    assert 0.9 - 1e-3 <= min(steps) < 0.91
    assert 1.09 < max(steps) <= 1.1 + 1e-3


def parts(crop: RandResizedCropd, shape: tuple[int, int], count: int) -> list[tuple[int, int, int, int]]:
    """The first rows and columns, rows and columns of so many random parts of an image."""
    found = []
    for _ in range(count):
        crop.randomize(torch.zeros(1, *shape))
        found.append(crop.part)
    return found


def test_a_part_of_the_resulting_size_is_copied_and_lies_anywhere() -> None:
    crop = RandResizedCropd("image", 4, scale=(0.25, 0.25), ratio=(1, 1)).set_random_state(seed=0)
    image = plane(8, 8)
    seen = set()
    for _ in range(300):
        view = crop({"image": image})["image"]
        top, left = divmod(round(float(view[0, 0, 0]) * 64), 8)
        assert torch.equal(view, image[:, top : top + 4, left : left + 4])
        seen.add((top, left))
    assert seen == {(top, left) for top in range(5) for left in range(5)}


def test_the_whole_image_is_resampled_without_aliasing() -> None:
    whole = RandResizedCropd(["image", "board"], 16, scale=(1, 1), ratio=(1, 1))
    board = (torch.arange(64)[:, None] + torch.arange(64)).remainder(2).float()[None]
    made = whole({"image": plane(64, 64), "board": board})
    assert np.array_equal(made["image"][0], resize(plane(64, 64)[0].numpy(), 16, 16))
    assert made["board"].unique().tolist() == [0.5]


def test_parts_have_the_shares_and_ratios_of_torchvision() -> None:
    found = parts(RandResizedCropd("image", 8).set_random_state(seed=1), (1000, 1000), 2000)
    shares = [rows * columns / 1e6 for _, _, rows, columns in found]
    ratios = [columns / rows for _, _, rows, columns in found]
    assert all(top + rows <= 1000 and left + columns <= 1000 for top, left, rows, columns in found)
    assert 0.079 < min(shares) < 0.09
    assert 0.95 < max(shares) <= 1
    assert 0.749 < min(ratios) < 0.76
    assert 1.32 < max(ratios) < 1.335
    # the logarithm of the ratio is uniform, so half of the parts are wider than high
    assert np.mean(np.array(ratios) > 1) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize(
    ("shape", "ratio", "expected"),
    [
        ((100, 100), (2.0, 2.0), (25, 0, 50, 100)),  # whole images twice as wide as high: the middle rows
        ((100, 100), (0.5, 0.5), (0, 25, 100, 50)),
        ((100, 300), (1.0, 1.0), (0, 100, 100, 100)),
    ],
)
def test_a_part_that_never_fits_is_the_largest_in_the_middle(
    shape: tuple[int, int], ratio: tuple[float, float], expected: tuple[int, int, int, int]
) -> None:
    assert parts(RandResizedCropd("image", 8, scale=(1, 1), ratio=ratio), shape, 1) == [expected]


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"scale": (0, 1)}, id="empty parts"),
        pytest.param({"scale": (0.5, 1.2)}, id="more than the image"),
        pytest.param({"scale": (0.9, 0.1)}, id="falling"),
        pytest.param({"scale": 0.5}, id="one number"),
        pytest.param({"scale": "0.1,1"}, id="a text"),
        pytest.param({"ratio": (0.5, math.inf)}, id="no end"),
        pytest.param({"size": 0}, id="no pixel"),
    ],
)
def test_random_parts_are_refused_by_name(given: dict) -> None:
    with pytest.raises(SettingError) as error:
        RandResizedCropd("image", **{"size": 8, **given})
    assert error.value.code == Code.SETTING_INVALID


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


@pytest.mark.parametrize(
    "axis",
    [
        pytest.param(0, id="rows"),
        pytest.param(1, id="columns"),
    ],
)
def test_a_random_view_moves_along_both_axes(axis: int) -> None:
    # the value at the view's centre is the place that it looks at; rotation and zoom leave the centre where it is
    ramp = torch.arange(96.0)
    image = (ramp[:, None] if axis == 0 else ramp).expand(96, 96)[None].clone()
    view = random_affine_crop("image", 64).set_random_state(seed=6)
    places = [
        float(torch.as_tensor(view({"image": image})["image"])[0, 31:33, 31:33].mean()) - 47.5 for _ in range(100)
    ]
    assert max(map(abs, places)) <= 64 / 14 * 1.1 + 0.1
    assert min(places) < -3
    assert max(places) > 3


def test_exposure_stays_in_range_keeps_order_and_repeats_under_its_seed() -> None:
    ramp = torch.linspace(0, 1, 101).reshape(1, 1, 101)
    exposure = RandExposured("image", prob=1.0).set_random_state(seed=0)
    seen = []
    for _ in range(100):
        pixels = exposure({"image": ramp})["image"]
        assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1
        assert bool((pixels.diff(dim=-1) >= 0).all())
        assert 0.75 <= exposure.gamma <= 1 / 0.75
        seen.append(pixels)
    assert len({tuple(pixels.flatten().tolist()) for pixels in seen}) == 100
    again = RandExposured("image", prob=1.0).set_random_state(seed=0)
    assert torch.equal(again({"image": ramp})["image"], seen[0])


def test_exposure_by_hand_and_its_probability() -> None:
    ramp = torch.tensor([[[0.0, 0.25, 0.5, 0.75, 1.0]]])
    exposure = RandExposured("image", prob=1.0)
    exposure.randomize = lambda data=None: None  # type: ignore[method-assign]
    exposure._do_transform, exposure.gamma, exposure.low, exposure.high = True, 2.0, 0.25, 0.75
    torch.testing.assert_close(exposure({"image": ramp})["image"], torch.tensor([[[0.0, 0.0, 0.25, 1.0, 1.0]]]))
    never = RandExposured("image", prob=0.0).set_random_state(seed=0)
    assert torch.equal(never({"image": ramp})["image"], ramp)


# -- ten crops


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


@pytest.mark.parametrize("margin", [0.0, -1.0, 0.5])
def test_a_wrong_margin_is_a_setting_error_when_built(margin: float) -> None:
    with pytest.raises(SettingError):
        ResizeShortestd("image", 224, margin)


def test_a_whole_pipeline(tmp_path: Path) -> None:
    Image.fromarray(np.arange(60 * 40, dtype=np.uint16).reshape(60, 40).astype(np.uint8)).save(tmp_path / "a.png")
    pipeline = Compose(
        [
            LoadRadiographd("image"),
            ResizeShortestd("image", 28, margin=8 / 7),
            TenCropd("image", 28),
            NormaliseRadiographd("image", "minus_one_one", channels=3),
        ]
    )
    image = pipeline({"image": str(tmp_path / "a.png")})["image"]
    assert image.shape == (10, 3, 28, 28)
    assert -1 <= float(image.min()) < float(image.max()) <= 1


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
