"""Maps put back where the network saw them: by hand, and against torch's own enlargement."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from cxr_monai.attribution.view import View

RAMP = np.array([[0.0, 10.0]], np.float32)


def whole(height: int, width: int) -> View:
    return View(height, width, 0, 0, height, width)


def bilinear(grid: np.ndarray, rows: int, columns: int) -> np.ndarray:
    enlarged = interpolate(torch.from_numpy(grid)[None, None], (rows, columns), mode="bilinear", align_corners=False)
    return enlarged[0, 0].numpy()


@pytest.mark.parametrize("shape", [(4, 4), (7, 5), (8, 8), (16, 24), (21, 40), (1, 9)])
@pytest.mark.parametrize("cells", [(2, 2), (4, 4), (3, 5), (1, 4), (4, 1), (1, 1), (7, 7)])
def test_equal_cells_are_enlarged_as_torch_does(cells: tuple[int, int], shape: tuple[int, int]) -> None:
    grid = np.random.default_rng(0).random(cells, dtype=np.float32)
    placed = whole(*shape).place(grid)
    assert placed.dtype == np.float32
    np.testing.assert_allclose(placed, bilinear(grid, *shape), atol=1e-5)


def test_a_view_of_part_of_an_image_is_torchs_enlargement_with_nothing_around_it() -> None:
    grid = np.random.default_rng(1).random((3, 4), dtype=np.float32)
    placed = View(height=20, width=30, top=2, left=5, rows=12, columns=16).place(grid)
    expected = np.zeros((20, 30), np.float32)
    expected[2:14, 5:21] = bilinear(grid, 12, 16)
    np.testing.assert_allclose(placed, expected, atol=1e-6)


def test_borders_between_pixels_belong_to_the_pixel_whose_centre_is_inside() -> None:
    # the view reaches from 1.4 to 3.6: the centres 1.5, 2.5 and 3.5 are in it, 0.5 and 4.5 are not
    view = View(height=1, width=6, top=0, left=1.4, rows=1, columns=2.2)
    np.testing.assert_array_equal(view.place(np.array([[7.0]])), [[0, 7, 7, 7, 0, 0]])
    # the centre 1.5 just out of it
    view = View(height=1, width=6, top=0, left=1.6, rows=1, columns=2.2)
    np.testing.assert_array_equal(view.place(np.array([[7.0]])), [[0, 0, 7, 7, 0, 0]])


def test_a_view_may_reach_beyond_the_image() -> None:
    # a square of 8 around an image of 4 rows, as padding makes it: the image is its rows 2 to 5
    grid = np.random.default_rng(2).random((4, 4), dtype=np.float32)
    placed = View(height=4, width=8, top=-2, left=0, rows=8, columns=8).place(grid)
    np.testing.assert_allclose(placed, bilinear(grid, 8, 8)[2:6], atol=1e-6)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (None, [0, 0, 1.25, 3.75, 6.25, 8.75, 10, 10]),  # points at 1/4 and 3/4 of 8 pixels: 2 and 6
        ((0.25, 0.5), [0, 0, 1.25, 3.75, 6.25, 8.75, 10, 10]),  # the same, said
        ((0.0, 1.0), [0.625, 1.875, 3.125, 4.375, 5.625, 6.875, 8.125, 9.375]),  # on the borders: 0 and 8
        ((0.0625, 0.125), [0, 10, 10, 10, 10, 10, 10, 10]),  # in the first two pixels
        ((-0.0625, 0.125), [10, 10, 10, 10, 10, 10, 10, 10]),  # half a pixel before the image, and in the first
        ((0.5, 0.25), [0, 0, 0, 0, 2.5, 7.5, 10, 10]),  # 4 and 6: what lies before the first point is as it is
    ],
)
def test_points_by_hand(points: tuple[float, float] | None, expected: list[float]) -> None:
    placed = whole(1, 8).place(RAMP, points)
    np.testing.assert_allclose(placed, [expected], atol=1e-5)
    np.testing.assert_allclose(whole(8, 1).place(RAMP.T, points), np.array([expected]).T, atol=1e-5)


def test_points_are_shares_of_the_view_and_not_of_the_image() -> None:
    # pixels 4 to 12 are the view; its points at 0.25 and 0.75 are the columns 6 and 10
    placed = View(height=1, width=16, top=0, left=4, rows=1, columns=8).place(RAMP, (0.25, 0.5))
    np.testing.assert_allclose(placed, [[0] * 6 + [1.25, 3.75, 6.25, 8.75, 10, 10] + [0] * 4], atol=1e-5)


def test_rows_and_columns_of_an_image_that_is_no_square_have_their_own_extents() -> None:
    # 40 x 60 pixels shown as a square of 2 x 2 cells: a peak in the upper right one
    placed = View(40, 60, top=10, left=0, rows=20, columns=60).place(np.array([[0.0, 1.0], [0.0, 0.0]]))
    assert placed.shape == (40, 60)
    assert placed[10, 59] == 1  # before the first point and after the last: as they are
    assert np.flatnonzero(placed.any(axis=1)).tolist() == list(range(10, 25))  # to the lower cells' points, row 25
    assert np.flatnonzero(placed.any(axis=0)).tolist() == list(range(15, 60))  # from the left cells' points, column 15


@pytest.mark.parametrize("points", [None, (0.0, 0.25), (0.1, 0.2)])
def test_another_shape_is_of_the_same_extent(points: tuple[float, float] | None) -> None:
    grid = np.random.default_rng(3).random((4, 5), dtype=np.float32)
    view = View(height=60, width=90, top=6, left=12, rows=42, columns=60)
    small = view.place(grid, points, (20, 30))
    same = View(height=20, width=30, top=2, left=4, rows=14, columns=20).place(grid, points)
    np.testing.assert_allclose(small, same, atol=1e-6)
    # a third of the size has its pixels where every third of the large one is
    np.testing.assert_allclose(small, view.place(grid, points)[1::3, 1::3], atol=1e-5)
    np.testing.assert_allclose(view.place(grid, points, (60, 90)), view.place(grid, points))


def test_the_two_axes_of_another_shape_may_shrink_differently() -> None:
    view = View(height=4, width=100, top=0, left=50, rows=4, columns=50)
    assert view.place(np.ones((2, 2)), shape=(8, 10)).tolist() == [[0] * 5 + [1] * 5] * 8


def test_spacing_is_told_and_places_nothing() -> None:
    grid = np.random.default_rng(4).random((3, 3), dtype=np.float32)
    spaced = View(6, 8, 0, 1, 6, 6, spacing=(0.2, 0.1))
    assert spaced.spacing == (0.2, 0.1)
    assert whole(6, 8).spacing is None
    np.testing.assert_array_equal(spaced.place(grid), View(6, 8, 0, 1, 6, 6).place(grid))


def test_a_placed_map_is_nowhere_stronger_than_its_points() -> None:
    grid = np.random.default_rng(5).random((5, 5), dtype=np.float32)
    for points in (None, (-0.1, 0.3), (0.2, 0.15)):
        placed = whole(37, 23).place(grid, points)
        assert placed.min() >= grid.min()
        assert placed.max() <= grid.max() + 1e-6


def test_nothing_of_the_callers_is_changed() -> None:
    grid = np.arange(4.0).reshape(2, 2)
    placed = whole(2, 2).place(grid)
    placed += 1
    np.testing.assert_array_equal(grid, [[0, 1], [2, 3]])
