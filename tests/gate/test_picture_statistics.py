"""The statistics of a picture, by numbers that can be worked out by hand."""

import numpy as np
import pytest

from cxr_monai.gate.picture_statistics import STATISTICS, picture_statistics


def statistics(plane: np.ndarray) -> dict[str, float]:
    return dict(zip(STATISTICS, picture_statistics(plane.astype(np.float32)).tolist(), strict=True))


def halves(left: float, right: float) -> np.ndarray:
    return np.concatenate([np.full((64, 32), left), np.full((64, 32), right)], axis=1)


def test_the_levels_of_two_halves() -> None:
    values = statistics(halves(0.0, 1.0))
    names = ("aspect", "mean", "deviation", "black_share", "white_share")
    assert [values[name] for name in names] == [0, 0.5, 0.5, 0.5, 0.5]
    assert [values[f"level_p{share}"] for share in ("01", "10", "25", "50", "75", "99")] == [0, 0, 0, 0, 1, 1]
    assert values["levels_used"] == pytest.approx(2 / 64)
    assert values["symmetry"] == pytest.approx(-1)


def test_the_aspect_is_a_logarithm() -> None:
    plane = np.tile(np.linspace(0, 1, 40), (80, 1))
    assert statistics(plane)["aspect"] == pytest.approx(-np.log(2))
    assert statistics(plane.T)["aspect"] == pytest.approx(np.log(2))


def test_stripes_of_two_pixels_have_detail_at_two_scales() -> None:
    stripes = np.tile(np.repeat([0.25, 0.75], 2), 16)[None].repeat(64, 0)  # columns: two dark, two bright
    values = statistics(stripes)
    scale = 0.25 + 1 / 256
    assert values["sharpness_1"] == pytest.approx(np.log(1e-4), abs=1e-3)  # no pair of pixels differs
    assert values["sharpness_2"] == pytest.approx(np.log(0.25 / scale + 1e-4), abs=1e-3)  # half of 0.5
    assert values["sharpness_4"] == pytest.approx(np.log(1e-4), abs=1e-3)
    assert values["noise"] == pytest.approx(np.log(1e-4), abs=1e-3)


def test_noise_is_measured_and_slopes_are_not_noise() -> None:
    slope = np.add.outer(np.linspace(0, 0.4, 128), np.linspace(0, 0.4, 128)) + 0.1
    noisy = slope + np.random.default_rng(0).normal(0, 0.02, slope.shape)
    assert statistics(slope)["noise"] < -6
    # the diagonal detail (a - b - c + d) / 2 of normal noise has its deviation; the median of its size is 0.6745 of it
    scale = noisy.std() + 1 / 256
    assert statistics(noisy)["noise"] == pytest.approx(np.log(0.6745 * 0.02 / scale), abs=0.05)


def test_borders_are_counted_from_their_sides() -> None:
    framed = np.zeros((100, 50))
    framed[10:80, 5:50] = np.random.default_rng(0).random((70, 45))
    values = statistics(framed)
    assert [values[f"border_{side}"] for side in ("top", "bottom", "left", "right")] == pytest.approx(
        [0.1, 0.2, 0.1, 0]
    )


def test_a_curve_flattens_dark_or_bright_parts() -> None:
    random = np.random.default_rng(0)
    plane = np.tile(np.linspace(0.1, 0.9, 128), (128, 1)) + random.normal(0, 0.02, (128, 128))
    plain, dark, pale = (statistics(plane.clip(0, 1) ** exponent) for exponent in (1, 4, 0.25))
    assert dark["detail_dark"] < plain["detail_dark"] < pale["detail_dark"]
    assert pale["detail_bright"] < plain["detail_bright"] < dark["detail_bright"]


@pytest.mark.parametrize("plane", [np.zeros((32, 32)), np.ones((33, 47)), np.eye(64)])
def test_every_number_is_finite(plane: np.ndarray) -> None:
    assert np.isfinite(list(statistics(plane).values())).all()


def test_mirroring_exchanges_the_sides_alone() -> None:
    plane = np.random.default_rng(0).random((64, 64))
    plane[:, :8] = 0.5
    one, other = statistics(plane), statistics(plane[:, ::-1])
    assert one["border_left"] == other["border_right"] == pytest.approx(1 / 8)
    sides = {"border_left", "border_right"}
    for name in {*STATISTICS} - sides:
        assert one[name] == pytest.approx(other[name], abs=1e-4), name
