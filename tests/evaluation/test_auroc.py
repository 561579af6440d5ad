"""The area under the ROC curve and DeLong's variance, against hand-computed cases, brute force and scikit-learn."""

import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.auroc import auroc, delong, delong_paired

NAN = float("nan")
Z = norm.ppf(0.975)


def placements(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's structural components by comparing every positive with every negative."""
    positives, negatives = scores[labels == 1], scores[labels == 0]
    wins = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    return wins.mean(1), wins.mean(0)


def tied_sample(seed: int, images: int = 200, share: float = 0.2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (random.random(images) < share).astype(float)
    first = np.round(random.normal(labels, 1), 1)
    second = np.round(first + random.normal(0, 1, images), 1)
    return first, second, labels


@pytest.mark.parametrize(
    ("scores", "labels", "area"),
    [
        ([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0], 3 / 4),
        ([0.9, 0.8, 0.8, 0.6], [1, 0, 1, 0], 3.5 / 4),
        ([0.5, 0.5, 0.5], [1, 0, 0], 1 / 2),
        ([0.9, 0.8, 0.7], [1, NAN, 0], 1.0),
        ([0.1, NAN, 0.7], [1, NAN, 0], 0.0),
        ([-1e300, 1e300, math.inf], [0, 1, 1], 1.0),
    ],
)
def test_area_by_hand(scores: list[float], labels: list[float], area: float) -> None:
    assert auroc(np.array(scores), np.array(labels)) == area


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], [1, NAN, NAN], [NAN, NAN, NAN]])
def test_no_area_without_both_kinds(labels: list[float]) -> None:
    scores = np.array([0.1, 0.2, 0.3])
    assert math.isnan(auroc(scores, np.array(labels)))
    result = delong(scores, np.array(labels))
    assert result.images == np.sum(~np.isnan(labels))
    assert result.positives == np.nansum(labels)
    assert np.isnan([result.value, result.variance, result.low, result.high]).all()
    paired = delong_paired(scores, scores, np.array(labels))
    assert np.isnan(list(vars(paired).values())).all()


@pytest.mark.parametrize("seed", range(5))
def test_area_is_that_of_scikit_learn(seed: int) -> None:
    first, _, labels = tied_sample(seed)
    assert auroc(first, labels) == pytest.approx(roc_auc_score(labels, first), abs=1e-14)


def test_delong_by_hand() -> None:
    # the positive at 3 outranks both negatives, that at 1 one of two; the negative at 2 lies below one of two
    # positives, that at 0 below both: placements 1, 1/2 and 1/2, 1, each with variance 1/8 over 2
    result = delong(np.array([3.0, 1, 2, 0]), np.array([1.0, 1, 0, 0]))
    assert (result.value, result.variance, result.images, result.positives) == (0.75, 0.125, 4, 2)
    assert result.low == pytest.approx(0.75 - Z * math.sqrt(0.125), abs=1e-15)
    assert result.high == 1.0  # clipped


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("seed", range(3))
def test_delong_is_brute_force(seed: int, level: float) -> None:
    scores, _, labels = tied_sample(seed)
    above, below = placements(scores, labels)
    variance = above.var(ddof=1) / above.size + below.var(ddof=1) / below.size
    result = delong(scores, labels, level)
    assert result.variance == pytest.approx(variance, rel=1e-12)
    half = norm.ppf((1 + level) / 2) * math.sqrt(variance)
    np.testing.assert_allclose([result.low, result.high], above.mean() + half * np.array([-1, 1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("labels", [[1, 0, 0, 0], [1, 1, 1, 0]])
def test_one_positive_or_negative_has_an_area_and_no_interval(labels: list[float]) -> None:
    result = delong(np.array([0.4, 0.3, 0.2, 0.1]), np.array(labels, dtype=float))
    assert result.value == 1.0
    assert all(math.isnan(value) for value in (result.variance, result.low, result.high))
    paired = delong_paired(np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.2, 0.3, 0.4]), np.array(labels))
    assert paired.difference == -1.0
    assert all(math.isnan(value) for value in (paired.variance, paired.low, paired.high, paired.z, paired.p))


@pytest.mark.parametrize(("scores", "area"), [([3, 4, 1, 2, 0], 1.0), ([1, 1, 1, 1, 1], 0.5), ([0, 1, 2, 3, 4], 0.0)])
def test_without_variation_the_interval_has_no_width(scores: list[float], area: float) -> None:
    result = delong(np.array(scores, dtype=float), np.array([1.0, 1, 0, 0, 0]))
    assert (result.value, result.variance, result.low, result.high) == (area, 0.0, area, area)


def test_paired_by_hand() -> None:
    # the second system is perfect; differences of placements are 0, 1/2 and 1/2, 0
    labels = np.array([1.0, 1, 0, 0])
    result = delong_paired(np.array([3.0, 1, 2, 0]), np.array([3.0, 2, 1, 0]), labels)
    assert (result.first, result.second, result.difference, result.variance) == (0.75, 1.0, 0.25, 0.125)
    assert result.z == pytest.approx(0.25 / math.sqrt(0.125), rel=1e-14)
    assert result.p == pytest.approx(math.erfc(0.25 / math.sqrt(0.125) / math.sqrt(2)), rel=1e-12)
    np.testing.assert_allclose([result.low, result.high], 0.25 + Z * math.sqrt(0.125) * np.array([-1, 1]), atol=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_paired_is_brute_force_with_the_covariance(seed: int) -> None:
    first, second, labels = tied_sample(seed)
    one, two = placements(first, labels), placements(second, labels)
    covariance = sum(np.cov(one[side], two[side]) / one[side].size for side in (0, 1))
    result = delong_paired(first, second, labels)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert result.variance == pytest.approx(variance, rel=1e-10)
    assert result.difference == pytest.approx(roc_auc_score(labels, second) - roc_auc_score(labels, first), abs=1e-14)
    swapped = delong_paired(second, first, labels)
    assert (swapped.difference, swapped.z, swapped.p) == (-result.difference, -result.z, result.p)


def test_identical_rankings_do_not_differ() -> None:
    first, _, labels = tied_sample(0)
    result = delong_paired(first, np.exp(first), labels)
    assert (result.difference, result.variance, result.low, result.high) == (0.0, 0.0, 0.0, 0.0)
    assert (result.z, result.p) == (0.0, 1.0)


def test_a_difference_without_variation_is_not_called_significant() -> None:
    labels = np.array([1.0, 1, 0, 0])
    result = delong_paired(np.full(4, 0.5), np.array([0.9, 0.8, 0.2, 0.1]), labels)
    assert (result.difference, result.variance) == (0.5, 0.0)
    assert math.isnan(result.z)
    assert math.isnan(result.p)


def test_unknown_labels_are_left_out_of_both_systems() -> None:
    first, second, labels = tied_sample(1)
    unknown = np.arange(labels.size) % 3 == 0
    masked = np.where(unknown, NAN, labels)
    first_known, second_known, there = first[~unknown], second[~unknown], labels[~unknown]
    assert delong(first, masked) == delong(first_known, there)
    assert delong_paired(first, second, masked) == delong_paired(first_known, second_known, there)


def test_duplicated_images_do_not_move_the_area_but_narrow_delong() -> None:
    # the reason for the patient-level bootstrap: DeLong takes copies for new evidence
    scores, _, labels = tied_sample(2)
    once, twice = delong(scores, labels), delong(np.tile(scores, 2), np.tile(labels, 2))
    assert twice.value == pytest.approx(once.value, abs=1e-15)
    assert twice.variance == pytest.approx(once.variance / 2, rel=0.02)


@pytest.mark.parametrize(
    ("scores", "labels", "text"),
    [
        ([0.1, 0.2], [1, 0, 0], "(2,)"),
        ([[0.1], [0.2]], [[1], [0]], "(2, 1)"),
        ([0.1, 0.2], [1, 2], "2"),
        ([0.1, 0.2], [1, -1], "-1"),
        ([0.1, NAN], [1, 0], "1 score is NaN"),
    ],
)
def test_what_cannot_be_judged_is_an_error(scores: list, labels: list, text: str) -> None:
    for call in (auroc, delong, lambda s, y: delong_paired(s, s, y)):
        with pytest.raises(EvaluationError) as caught:
            call(np.array(scores), np.array(labels))
        assert caught.value.code == Code.EVALUATION_INVALID
        assert text in str(caught.value)


@pytest.mark.parametrize("level", [0, 1, 95, NAN])
def test_a_level_that_is_none(level: float) -> None:
    with pytest.raises(EvaluationError, match="level") as caught:
        delong(np.array([0.1, 0.2]), np.array([0.0, 1]), level)
    assert caught.value.code == Code.EVALUATION_INVALID


def test_a_million_images_take_seconds_not_hours() -> None:
    # O(n log n): comparing each positive with each negative would be 1.6e11 comparisons
    random = np.random.default_rng(0)
    labels = (random.random(1_000_000) < 0.2).astype(float)
    result = delong(random.normal(labels), labels)
    assert result.value == pytest.approx(norm.cdf(1 / math.sqrt(2)), abs=5 * math.sqrt(result.variance))
