"""Weights of balanced sampling: by hand, their range, and how often findings are drawn with them."""

import math
from typing import Any

import numpy as np
import pytest
from monai.bundle import ConfigParser

from cxr_monai.data.loading import EpochSampler
from cxr_monai.data.sampling import MOST, balanced_weights, sampling_weights, source_weights
from cxr_monai.errors import SettingError

NAN = math.nan


def test_weights_by_hand() -> None:
    # 16 without a finding, 4 with the first, 1 with the second, 1 with both; 22 images
    labels = np.array([[0, 0]] * 16 + [[1, 0]] * 3 + [[0, 1]] + [[1, 1]], dtype=np.float32)
    # the first is in 4 images, the second in 2: sqrt(16 / 4) and sqrt(16 / 2); both: the larger
    expected = [1.0] * 16 + [2.0] * 3 + [math.sqrt(8)] * 2
    assert balanced_weights(labels).tolist() == pytest.approx(expected)


def test_an_unknown_label_is_no_finding_and_no_absence() -> None:
    labels = np.array([[NAN, 1]] + [[1, NAN]] * 4 + [[0, NAN]] + [[NAN, NAN]] * 9)
    # the second finding is in one image, the first in 4; one image shows none that is known; 9 are not known at all
    assert balanced_weights(labels).tolist() == [2.0] + [1.0] * 4 + [2.0] + [1.0] * 9


def test_a_rare_category_may_be_that_of_no_finding() -> None:
    labels = np.array([[1]] * 9 + [[0]])
    assert balanced_weights(labels).tolist() == [1.0] * 9 + [3.0]


def test_a_finding_that_nobody_has_is_left_out() -> None:
    assert balanced_weights(np.array([[1, 0], [0, 0]])).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("labels", [np.zeros((3, 2)), np.full((3, 2), NAN), np.ones((3, 2)), np.zeros((3, 0))])
def test_images_of_one_category_have_one_weight(labels: np.ndarray) -> None:
    assert balanced_weights(labels).tolist() == [1.0] * 3


def test_no_weight_is_above_the_most() -> None:
    # one in 200: the root would be 14
    labels = np.zeros((200, 1))
    labels[0] = 1
    weights = balanced_weights(labels)
    assert weights[0] == MOST == 10
    expected = 200 * weights[0] / weights.sum()
    assert 9 < expected < 10  # drawings an epoch


@pytest.fixture(scope="module")
def nih() -> np.ndarray:
    """Labels with the frequencies of NIH's findings, 20,000 images, about 40 of them hernias."""
    rates = [0.103, 0.025, 0.119, 0.177, 0.052, 0.056, 0.013, 0.047, 0.042, 0.021, 0.022, 0.015, 0.030, 0.002]
    return (np.random.default_rng(0).random((20_000, 14)) < rates).astype(np.float32)


def drawn(labels: np.ndarray, weights: np.ndarray | None, epochs: int) -> np.ndarray:
    """Return each finding's share of the images that a seeded sampler draws."""
    sampler = EpochSampler(len(labels), batch_size=32, seed=3, weights=weights)
    return np.mean([labels[sampler.order(epoch)].mean(axis=0) for epoch in range(1, epochs + 1)], axis=0)


def test_findings_are_drawn_as_often_as_the_weights_say(nih: np.ndarray) -> None:
    weights = balanced_weights(nih)
    natural, balanced = drawn(nih, None, 1), drawn(nih, weights, 10)
    assert natural == pytest.approx(nih.mean(axis=0), rel=1e-6)  # each image once
    expected = weights @ nih / weights.sum()
    # 200,000 drawings: five standard errors of a share
    assert np.all(np.abs(balanced - expected) < 5 * np.sqrt(expected * (1 - expected) / 200_000))
    gain = balanced / natural
    rarest, commonest = natural.argmin(), natural.argmax()
    assert gain[rarest] == gain.max() > 4
    assert gain[rarest] > gain[commonest] > 0.9
    # the commonest finding was 91 times as common as the rarest, and is 21 times
    assert (commonest, rarest) == (3, 13)
    assert natural[3] / natural[13] == pytest.approx(expected_ratio(nih, np.ones(len(nih))), rel=1e-5)
    assert balanced[3] / balanced[13] == pytest.approx(expected_ratio(nih, weights), rel=0.03)
    assert expected_ratio(nih, weights) < expected_ratio(nih, np.ones(len(nih))) / 4


def expected_ratio(labels: np.ndarray, weights: np.ndarray) -> float:
    shares = weights @ labels
    return float(shares.max() / shares.min())


def test_no_image_is_drawn_hundreds_of_times(nih: np.ndarray) -> None:
    sampler = EpochSampler(len(nih), batch_size=32, seed=3, weights=balanced_weights(nih))
    times = np.bincount(sampler.order(1), minlength=len(nih))
    assert 1 < times.max() <= 25  # at most 10 expected; Poisson
    assert (times > 0).mean() > 0.5


def test_by_name_as_a_configuration_has_it() -> None:
    data = [{"label": np.float32([0])}] * 4 + [{"label": np.float32([1])}]
    component = {"_target_": "cxr_monai.components.sampling_weights", "data": "@data", "sampling": "@sampling"}
    sampler = {
        "_target_": "cxr_monai.components.EpochSampler", "count": 5, "batch_size": 2, "weights": component
    }  # fmt: skip
    for sampling, expected in (("natural", None), ("balanced", [1.0, 1.0, 1.0, 1.0, 2.0])):
        parser = ConfigParser({"data": "$None", "sampling": sampling, "sampler": sampler})
        parser["data"] = data
        weights = parser.get_parsed_content("sampler").weights
        assert (None if weights is None else weights.tolist()) == expected
    assert sampling_weights(data) is None


@pytest.mark.parametrize("sampling", ["even", None, ""])
def test_another_name(sampling: Any) -> None:
    with pytest.raises(SettingError, match="it must be one of natural, balanced") as error:
        sampling_weights([], sampling)
    assert error.value.code == "setting-invalid"


def test_labels_that_are_no_table() -> None:
    with pytest.raises(SettingError, match=r"not of shape \(3,\)"):
        balanced_weights(np.zeros(3))


def test_sources_are_drawn_equally_often_but_none_of_few_too_often() -> None:
    weights = source_weights(["nih"] * 8 + ["rsna"] * 2)
    assert weights.tolist() == [1.0] * 8 + [4.0] * 2
    assert source_weights(["nih"] * 100 + ["rsna"]).max() == MOST
    items = [{"label": np.zeros(1), "source": source} for source in ["a", "b", "b"]]
    assert sampling_weights(items, "balanced_sources").tolist() == [2.0, 1.0, 1.0]
    sampler = EpochSampler(10, 1, 0, weights)
    indices = np.concatenate([sampler.order(epoch) for epoch in range(1, 201)])
    assert np.mean(indices >= 8) == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(len(indices)))
    for several in ([], ["nih"] * 3):
        with pytest.raises(SettingError, match="all of one source"):
            source_weights(several)
