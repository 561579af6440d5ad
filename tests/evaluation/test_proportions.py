"""Intervals of shares, against scipy, by hand, and in a small simulation."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from cxr_monai.errors import EvaluationError
from cxr_monai.evaluation.bootstrap import PatientBootstrap
from cxr_monai.evaluation.proportions import by_patient, effective_trials, patient_wilson, ratio_interval, wilson


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("hits", "trials"), [(0, 1), (1, 1), (0, 10), (9, 10), (10, 10), (37, 112), (5, 22433)])
def test_wilson_is_scipys(hits: int, trials: int, level: float) -> None:
    expected = binomtest(hits, trials).proportion_ci(level, method="wilson")
    low, high = wilson(hits, trials, level)
    assert float(low) == pytest.approx(expected.low, abs=1e-14)
    assert float(high) == pytest.approx(expected.high, abs=1e-14)


def test_wilson_at_the_ends_and_without_a_trial() -> None:
    low, high = wilson(np.array([0, 7, 0]), np.array([7, 7, 0]))
    assert low[0] == 0.0
    assert high[1] == 1.0
    assert 0 < high[0] < 1
    assert 0 < low[1] < 1
    assert np.isnan([low[2], high[2]]).all()


@pytest.mark.parametrize("level", [0, 1, 95, -0.1])
def test_a_level_that_is_none(level: float) -> None:
    with pytest.raises(EvaluationError):
        wilson(1, 2, level)


def test_by_patient_sums_the_images() -> None:
    values = np.array([[1.0, 0], [2, 1], [4, 0], [8, 1]])
    np.testing.assert_array_equal(by_patient(values, np.array([2, 0, 2, 1])), [[2, 1], [8, 1], [5, 0]])


def test_one_image_a_patient_is_the_plain_interval() -> None:
    hits = np.repeat([1.0, 0.0], [30, 10])[:, None]
    bootstrap = PatientBootstrap(np.arange(40), 2000, 0)
    low, high = patient_wilson(hits, np.ones((40, 1)), bootstrap)
    expected = wilson(30, 40)
    assert (low[0], high[0]) == pytest.approx((float(expected[0]), float(expected[1])), abs=1e-12)


def test_images_that_repeat_a_patient_add_nothing() -> None:
    hits = np.repeat(np.repeat([1.0, 0.0], [30, 10]), 5)[:, None]
    bootstrap = PatientBootstrap(np.repeat(np.arange(40), 5), 2000, 0)
    low, high = patient_wilson(hits, np.ones((200, 1)), bootstrap)
    expected = wilson(30, 40)
    assert (low[0], high[0]) == pytest.approx((float(expected[0]), float(expected[1])), abs=0.02)


@pytest.mark.parametrize("found", [0.0, 1.0])
def test_all_alike_counts_patients_not_images(found: float) -> None:
    # three patients with 4, 1 and 1 images: Kish's number is 36 / 18 = 2
    patients = np.array([0, 0, 0, 0, 1, 2])
    low, high = patient_wilson(np.full((6, 1), found), np.ones((6, 1)), PatientBootstrap(patients, 200, 0))
    expected = wilson(2 * found, 2)
    assert (low[0], high[0]) == pytest.approx((float(expected[0]), float(expected[1])), abs=1e-12)
    assert 0.5 < high[0] - low[0] < 1


def test_no_trial_has_no_interval() -> None:
    low, high = patient_wilson(np.zeros((3, 1)), np.zeros((3, 1)), PatientBootstrap(np.arange(3), 50, 0))
    assert np.isnan([low, high]).all()


def test_worth_by_hand() -> None:
    # 50 patients with 4 images, one of whose two halves; variance of the replicates given
    draws = 0.5 + np.array([[0.1], [-0.1]])  # variance 0.02, so 0.25 / 0.02 = 12.5 at first, held at least 50
    patients = np.full((50, 1), 4.0)
    assert effective_trials(np.array([0.5]), draws, patients, np.array([200]))[0] == 50
    draws = 0.5 + np.array([[0.04], [-0.04], [0.0]])  # variance 0.0016: 156.25, times (49 / 50) (t199 / t49)^2
    expected = 156.25 * 49 / 50 * (1.971956544 / 2.009575237) ** 2
    assert effective_trials(np.array([0.5]), draws, patients, np.array([200]))[0] == pytest.approx(expected, rel=1e-8)
    draws = 0.5 + np.array([[0.001], [-0.001]])
    assert effective_trials(np.array([0.5]), draws, patients, np.array([200]))[0] == 200


def test_ratio_by_the_textbooks_form() -> None:
    a, al, au, b, bl, bu = 0.8, 0.7, 0.87, 0.2, 0.15, 0.27
    low = (a * b - math.sqrt((a * b) ** 2 - al * bu * (2 * a - al) * (2 * b - bu))) / (bu * (2 * b - bu))
    high = (a * b + math.sqrt((a * b) ** 2 - au * bl * (2 * a - au) * (2 * b - bl))) / (bl * (2 * b - bl))
    assert [float(end) for end in ratio_interval(a, al, au, b, bl, bu)] == pytest.approx([low, high], rel=1e-12)


def test_ratio_at_its_limits() -> None:
    low, high = ratio_interval(0.5, 0.3, 0.7, 0.0, 0.0, 0.1)  # infinite, but not below something
    assert float(low) == pytest.approx(math.sqrt(0.3 * 0.7) / 0.1)
    assert high == math.inf
    low, high = ratio_interval(0.0, 0.0, 0.1, 0.5, 0.4, 0.6)
    assert low == 0
    assert 0.1 / 0.6 < float(high) < 0.1 / 0.4
    assert np.isnan(ratio_interval(0.0, 0.0, 0.1, 0.0, 0.0, 0.1)).all()
    assert np.isnan(ratio_interval(np.nan, np.nan, np.nan, 0.5, 0.4, 0.6)).all()
    low, high = ratio_interval(0.5, 0.4, 0.6, 0.1, 0.05, 0.2)  # twice the lower figure is its high end
    assert np.isfinite([low, high]).all()


def test_intervals_cover_where_patients_agree() -> None:
    """400 samples of 30 patients with 3 images of one patient's own sensitivity (mean 0.9); percentiles reach 88 %."""
    random = np.random.default_rng(1)
    patients = np.repeat(np.arange(30), 3)
    own = random.beta(1.8, 0.2, (400, 30))
    hits = random.random((90, 400)) < np.repeat(own.T, 3, axis=0)
    low, high = patient_wilson(hits, np.ones(hits.shape), PatientBootstrap(patients, 400, 0))
    plain = wilson(hits.sum(0), 90)
    assert 0.92 <= np.mean((low <= 0.9) & (high >= 0.9)) <= 0.985
    assert np.mean((plain[0] <= 0.9) & (plain[1] >= 0.9)) < 0.9  # taking images for independent does not do
