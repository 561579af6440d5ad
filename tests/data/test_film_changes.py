"""Films with a part taken away: what goes, what stays, and what the filled part still tells."""

import numpy as np
import pytest

from cxr_monai.data.film_changes import CHANGES, changed_films

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(100, 100), (100, 80), (60, 140)])
def test_each_change_by_hand(shape: tuple[int, int]) -> None:
    film = RNG.random(shape, dtype=np.float32)
    lungs = np.zeros(shape, dtype=bool)
    lungs[30:50, 20:40] = True
    changed = changed_films(film, lungs)
    assert list(changed) == list(CHANGES)
    gone = {name: copy != film for name, copy in changed.items()}
    height, width = shape
    margin = int(0.03 * min(shape))
    around = np.zeros(shape, dtype=bool)
    around[30 - margin : 50 + margin, 20:40] = around[30:50, 20 - margin : 40 + margin] = True
    assert gone["without the lungs"][around].all()
    assert not gone["without the lungs"][: 30 - margin].any()
    np.testing.assert_array_equal(gone["only the lungs"], ~gone["without the lungs"])
    down, across = round(0.1 * height), round(0.1 * width)
    inner = np.zeros(shape, dtype=bool)
    inner[down : height - down, across : width - across] = True
    np.testing.assert_array_equal(gone["without the border"], ~inner)
    np.testing.assert_array_equal(gone["only the border"], inner)
    assert gone["without the corners"].sum() == 4 * round(0.15 * height) * round(0.15 * width)
    for rows in (0, -1):
        assert gone["without the corners"][rows, [0, -1]].all()


def test_what_is_filled_does_not_tell_what_was_there() -> None:
    dark, bright = np.full((40, 40), 0.5, np.float32), np.full((40, 40), 0.5, np.float32)
    lungs = np.zeros((40, 40), dtype=bool)
    lungs[10:30, 10:30] = True
    dark[lungs], bright[lungs] = 0.1, 0.9
    for lot in ("without the lungs", "only the border"):
        np.testing.assert_array_equal(changed_films(dark, lungs)[lot], changed_films(bright, lungs)[lot])
        assert changed_films(dark, lungs)[lot].std() == 0


def test_blur_keeps_32_pixels() -> None:
    film = np.zeros((64, 128), dtype=np.float32)
    film[:, 64:] = 1
    film[::2] += 0.5  # a pattern of single rows, which 32 pixels cannot hold
    blurred = changed_films(film, np.zeros(film.shape, dtype=bool))["blurred"]
    assert blurred.shape == film.shape
    np.testing.assert_allclose(blurred[:, :56], 0.25, atol=1e-6)
    np.testing.assert_allclose(blurred[:, 72:], 1.25, atol=1e-6)


def test_without_any_lung_nothing_is_lost_and_without_the_rest_the_film_is_even() -> None:
    film = RNG.random((20, 20), dtype=np.float32)
    none = changed_films(film, np.zeros((20, 20), dtype=bool))
    np.testing.assert_array_equal(none["without the lungs"], film)
    assert np.unique(none["only the lungs"]).size == 1
