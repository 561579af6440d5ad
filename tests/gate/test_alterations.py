"""What can have been done to a film, and undoing it."""

import numpy as np
import pytest

from cxr_monai.gate.alterations import ALTERATIONS, GEOMETRY, Alteration

PLANE = (np.random.default_rng(0).integers(0, 256, (48, 40)) / 255).astype(np.float32)


def named(name: str) -> Alteration:
    return next(alteration for alteration in ALTERATIONS if alteration.name == name)


@pytest.mark.parametrize("alteration", GEOMETRY, ids=lambda alteration: alteration.name)
def test_geometry_is_undone_bit_for_bit(alteration: Alteration) -> None:
    assert alteration.undo is not None
    altered = alteration.of(PLANE)
    assert not np.array_equal(altered, PLANE)
    levels = np.rint(np.asarray(alteration.undo(altered)) * 255)  # 1 - (1 - p) is p, but for a rounding of float32
    np.testing.assert_array_equal(levels, np.rint(PLANE * 255))
    if "inverted" not in alteration.name:
        np.testing.assert_array_equal(alteration.undo(altered), PLANE)


def test_the_fifteen_are_all_different() -> None:
    square = PLANE[:40]
    copies = {np.rint(np.asarray(alteration.of(square)) * 255).tobytes() for alteration in GEOMETRY}
    assert len(copies | {np.rint(square * 255).tobytes()}) == 16


@pytest.mark.parametrize("alteration", ALTERATIONS, ids=lambda alteration: alteration.name)
def test_every_copy_is_a_film_and_the_same_each_time(alteration: Alteration) -> None:
    copy = np.asarray(alteration.of(PLANE))
    assert copy.min() >= 0
    assert copy.max() <= 1
    assert min(copy.shape) == min(PLANE.shape)
    np.testing.assert_array_equal(alteration.of(PLANE), copy)


def test_halves_are_the_halves_enlarged() -> None:
    left = named("the left half alone").of(PLANE)
    assert left.shape == (96, 40)
    assert abs(float(left.mean()) - float(PLANE[:, :20].mean())) < 0.01


def test_wrong_exposures_leave_no_gaps_between_grey_levels() -> None:
    ramp = np.tile(np.arange(256, dtype=np.float32) / 255, (64, 1))
    used = np.unique(np.rint(named("too dark").of(ramp) * 255))
    assert len(used) > 250  # stretched without the spread within each level, 160 would be
