"""Likeness of two maps: SciPy's rank correlation, an IoU counted by hand, and what empty maps come to."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from cxr_monai.attribution.similarity import map_overlap, rank_correlation, similarity
from cxr_monai.errors import Code, SettingError

NAN = float("nan")


def test_rank_correlation_is_scipys_with_ties() -> None:
    random = np.random.default_rng(0)
    first, second = random.integers(0, 5, (2, 3, 4, 50)).astype(float)
    made = rank_correlation(first, second)
    assert made.shape == (3, 4)
    expected = [
        [spearmanr(first[row, column], second[row, column]).statistic for column in range(4)] for row in range(3)
    ]
    np.testing.assert_allclose(made, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2, 3, 4], [1, 8, 27, 1000], 1),  # only the order counts
        ([1, 2, 3, 4], [4, 3, 2, 1], -1),
        ([1, 2, 3, 4], [0, 0, 0, 0], 0),  # an empty map agrees in nothing with one that says something
        ([0, 0, 0, 0], [0, 0, 0, 0], NAN),
        ([0, 0, 0, NAN], [1, 2, 3, 4], NAN),
    ],
)
def test_rank_correlation_by_hand(first: list[float], second: list[float], expected: float) -> None:
    for pair in ((first, second), (second, first)):
        assert rank_correlation(*map(np.array, pair)) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("first", "second", "share", "expected"),
    [
        ([4, 2, 1, 0], [0, 3, 3, 1], 0.5, 1 / 3),  # {0, 1} and {1, 2}
        ([4, 2, 1, 0], [0, 3, 3, 1], 1.0, 0),  # {0} and {1, 2}
        ([4, 2, 1, 0], [0, 3, 3, 1], 0.25, 1 / 2),  # {0, 1, 2} and {1, 2, 3}: the threshold itself counts
        ([4, 2, 1, 0], [400, 200, 100, 0], 0.3, 1),
        ([4, 2, 1, 0], [0, 0, 0, 0], 0.5, 0),
        ([0, 0, 0, 0], [0, 0, 0, 0], 0.5, NAN),
        ([4, 2, 1, 0], [NAN, 0, 0, 0], 0.5, NAN),
    ],
)
def test_overlap_by_hand(first: list[float], second: list[float], share: float, expected: float) -> None:
    for pair in ((first, second), (second, first)):
        made = map_overlap(*(np.array([maps], float) for maps in pair), share)
        assert made == pytest.approx([expected], nan_ok=True)


@pytest.mark.parametrize("share", [0, -0.1, 1.1, NAN])
def test_a_share_that_is_none(share: float) -> None:
    with pytest.raises(SettingError, match="above 0 and up to 1") as caught:
        map_overlap(np.ones(3), np.ones(3), share)
    assert caught.value.code == Code.SETTING_INVALID


def test_similarity() -> None:
    maps = np.random.default_rng(1).random((3, 7, 7))
    np.testing.assert_allclose(similarity(maps, 1000 * maps), 1, atol=1e-5)  # units don't count
    other = similarity(maps, maps[:, ::-1].copy())
    assert other.shape == (3,)
    assert (other < 0.5).all()
    one_by_one = [similarity(maps[[at]], maps[[at], ::-1].copy())[0] for at in range(3)]
    np.testing.assert_allclose(other, one_by_one, atol=1e-6)


def test_similarity_on_other_grids() -> None:
    ramp = np.linspace(0, 1, 28)[None, None, :] * np.ones((1, 28, 1))
    coarse = ramp.reshape(1, 7, 4, 7, 4).mean((2, 4))
    assert similarity(ramp, coarse)[0] > 0.95
