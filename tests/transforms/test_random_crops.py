"""Random views of a film: a small movement in one resampling, or a part as ImageNet's networks are trained on."""

import math

import numpy as np
import pytest
import torch

from cxr_monai.errors import Code, SettingError
from cxr_monai.transforms.random_crops import RandResizedCropd, random_affine_crop
from cxr_monai.transforms.resize_shortest import resize


def plane(height: int, width: int) -> torch.Tensor:
    """[1, height, width] with another value at every pixel, in [0, 1)."""
    return torch.arange(height * width, dtype=torch.float32).reshape(1, height, width) / (height * width)


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
