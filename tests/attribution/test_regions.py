"""Thresholds and connected parts of maps, by hand and against plain counting."""

import numpy as np
import pytest

from cxr_monai.attribution.regions import MapRegion, Threshold, above_threshold, connected_regions, parse_threshold
from cxr_monai.errors import Code, SettingError

HEAT = np.array(
    [
        [0.0, 0.1, 0.0, 0.0, 0.9],
        [0.0, 0.8, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.5, 0.0, 0.0],
        [1.0, 0.0, 0.0, 0.0, 0.6],
    ]
)


@pytest.mark.parametrize(
    ("text", "threshold"),
    [
        ("0.5", Threshold(0.5)),
        ("1", Threshold(1.0)),
        ("area=0.1", Threshold(0.1, "area")),
        ("area=1", Threshold(1.0, "area")),
    ],
)
def test_words_of_the_command_line(text: str, threshold: Threshold) -> None:
    assert parse_threshold(text) == threshold


@pytest.mark.parametrize("text", ["0", "-0.1", "1.01", "nan", "area=0", "area=1.5", "area=", "half", "", "area:0.1"])
def test_what_is_no_threshold_says_what_is(text: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_threshold(text)
    assert caught.value.code == Code.SETTING_INVALID
    assert "area=0.1" in str(caught.value)


def test_an_unknown_kind() -> None:
    with pytest.raises(SettingError, match="sum"):
        Threshold(0.5, "sum")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("share", "values"), [(1.0, [1.0]), (0.9, [1.0, 0.9]), (0.8, [1.0, 0.9, 0.8]), (0.5, [1, 0.9, 0.8, 0.6, 0.5])]
)
def test_a_share_of_the_maximum_takes_those_at_least_as_strong(share: float, values: list[float]) -> None:
    assert sorted(HEAT[above_threshold(HEAT, Threshold(share))])[::-1] == values
    assert (
        above_threshold(7 * HEAT, Threshold(share)) == above_threshold(HEAT, Threshold(share))
    ).all()  # whatever its unit


@pytest.mark.parametrize("share", [0.001, 0.04, 0.05, 0.1, 0.29, 0.3, 0.57, 0.58, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(10, 10), (1, 7), (13, 5)])
def test_a_share_of_the_area_is_exact(share: float, shape: tuple[int, int]) -> None:
    heat = np.random.default_rng(0).random(shape) + 0.1
    mask = above_threshold(heat, Threshold(share, "area"))
    exact = (int(1000 * share) * heat.size) // 1000 if share != 0.001 else 0
    assert mask.sum() == exact
    assert exact in (0, heat.size) or heat[mask].min() > heat[~mask].max()


def test_equal_pixels_never_exceed_the_share_and_come_in_reading_order() -> None:
    heat = np.ones((40, 50))
    heat[20, 20] = 2
    mask = above_threshold(heat, Threshold(0.002, "area"))
    assert [tuple(map(int, place)) for place in np.argwhere(mask)] == [(0, 0), (0, 1), (0, 2), (20, 20)]


def test_zeros_are_never_taken() -> None:
    assert above_threshold(HEAT, Threshold(1.0, "area")).sum() == 6  # of 20, the others are 0
    assert above_threshold(HEAT, Threshold(1e-9)).sum() == 6
    for threshold in (Threshold(0.5), Threshold(0.5, "area")):
        assert not above_threshold(np.zeros((3, 4)), threshold).any()
        assert connected_regions(np.zeros((3, 4)), threshold) == []


def test_parts_by_hand_the_strongest_first() -> None:
    assert connected_regions(HEAT, Threshold(0.1)) == [
        MapRegion(0, 3, 1, 1, 1.0, 1),
        MapRegion(4, 0, 1, 1, 0.9, 1),
        MapRegion(1, 0, 2, 3, 0.8, 3),  # 0.8 and 0.5 touch by a corner
        MapRegion(4, 3, 1, 1, 0.6, 1),
    ]


def test_parts_of_one_maximum_the_larger_first_then_in_reading_order() -> None:
    heat = np.zeros((3, 7))
    heat[0, 0] = heat[2, 0] = heat[0, 3] = heat[0, 4] = heat[2, 6] = 1
    assert [(part.x, part.y) for part in connected_regions(heat, Threshold(0.5))] == [(3, 0), (0, 0), (0, 2), (6, 2)]


@pytest.mark.parametrize("threshold", [Threshold(0.7), Threshold(0.2, "area")])
def test_parts_cover_the_strongest_pixels_and_nothing_else(threshold: Threshold) -> None:
    heat = np.random.default_rng(1).random((20, 31))
    found = connected_regions(heat, threshold)
    mask = above_threshold(heat, threshold)
    assert sum(part.pixels for part in found) == mask.sum()
    assert found[0].maximum == heat.max()
    covered = np.zeros_like(mask)
    for part in found:
        box = slice(part.y, part.y + part.height), slice(part.x, part.x + part.width)
        assert heat[box][mask[box]].max() >= part.maximum
        # tight: each of the four sides holds a pixel
        assert all(side.any() for side in (mask[box][0], mask[box][-1], mask[box][:, 0], mask[box][:, -1]))
        covered[box] = True
    assert not (mask & ~covered).any()


def test_maps_of_single_precision_keep_their_maximum() -> None:
    heat = np.random.default_rng(2).random((30, 30), dtype=np.float32) * np.float32(1e-7)
    assert above_threshold(heat, Threshold(1.0)).sum() == 1
