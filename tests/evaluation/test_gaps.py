"""The gap between two shares of different images, against textbooks."""

import numpy as np
import pytest
from scipy.stats import chi2_contingency, norm, t

from cxr_monai.evaluation.gaps import area_worth, correlation, effective_patients, mean_degrees, share_gap

NAN = np.nan


@pytest.mark.parametrize(
    ("hits", "interval"),
    [  # Newcombe 1998, table II, method 10
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((5, 56, 0, 29), (-0.0381, 0.1926)),
        ((10, 10, 0, 20), (0.6791, 1.0)),
        ((10, 10, 0, 10), (0.6075, 1.0)),
    ],
)
def test_gaps_interval_against_newcombe(hits: tuple, interval: tuple) -> None:
    a, m, b, n = hits
    low, high, _ = share_gap(a / m, b / n, m, n)
    assert (round(float(low), 4), round(float(high), 4)) == interval


def test_gaps_p_is_that_of_the_chi_squared_test() -> None:
    _, _, p = share_gap(56 / 70, 48 / 80, 70, 80)
    assert p == pytest.approx(chi2_contingency([[56, 14], [48, 32]], correction=False).pvalue, rel=1e-9)
    _, _, p = share_gap(
        np.array([1.0, NAN, 1.0]), np.array([1.0, 0.5, 0.0]), np.array([9, 9, 9.0]), np.array([9, 9, 9])
    )
    np.testing.assert_allclose(p, [1, NAN, chi2_contingency([[9, 0], [0, 9]], correction=False).pvalue], rtol=1e-9)


def test_what_moves_together_is_told_apart_more_easily() -> None:
    together, apart = (share_gap(0.8, 0.6, 50, 50, correlation) for correlation in (0.5, 0.0))
    assert together[0] > apart[0]
    assert together[1] < apart[1]
    assert together[2] < apart[2]
    # one sample twice, fully correlated and with an interval that is symmetric: exactly no gap
    low, high, p = share_gap(0.5, 0.5, 40, 40, 1.0)
    assert (float(low), float(high), float(p)) == pytest.approx((0, 0, 1), abs=1e-7)


def test_what_is_undefined_stays_so() -> None:
    ends = share_gap(np.array([NAN, 0.5, 0.5]), np.array([0.5, NAN, 0.5]), np.array([0, 5, 5.0]), np.array([5, 0, NAN]))
    assert np.isnan(ends).all()


def test_worth_of_areas_by_hand() -> None:
    replicates = np.array([[0.7, 0.8, 1.0, 0.5, NAN], [0.9, 0.8, 1.0, 0.7, NAN], [0.8, 0.8, 1.0, NAN, 0.6]])
    worth = area_worth(np.array([0.8, 0.8, 1.0, 0.6, 0.6]), replicates, np.array([1e12, 19, 4, 9, 9]))
    # a variance of 0.01 for many patients; nothing varies: the patients; a third of the replicates is missing
    np.testing.assert_allclose(worth, [0.8 * 0.2 / 0.01, 20, 5, NAN, NAN], rtol=1e-9)
    few = area_worth(np.array([0.8]), replicates[:, :1], np.array([9.0]))[0]
    assert few == pytest.approx(16 * 0.9 * (norm.ppf(0.975) / t.ppf(0.975, 9)) ** 2, rel=1e-9)


def test_kishs_number_by_hand() -> None:
    images = np.array([[1, 80, 0, 2], [1, 1, 0, 0], [1, 0, 0, 2]])
    np.testing.assert_allclose(effective_patients(images), [3, 81**2 / 6401, 0, 2], rtol=1e-15)
    one_of_many = np.append(np.ones(20), 80)[:, None]
    assert effective_patients(one_of_many)[0] == pytest.approx(1.5576, abs=1e-4)


def test_welchs_degrees_by_hand() -> None:
    replicates = np.array([[0.0, 0.0], [0.2, 0.4], [0.1, 0.2]])  # variances 0.01 and 0.04
    assert mean_degrees(replicates, np.array([5.0, 20.0])) == pytest.approx(0.05**2 / (0.01**2 / 5 + 0.04**2 / 20))
    assert mean_degrees(np.zeros((3, 2)), np.array([5.0, 20.0])) == 5


def test_correlation_is_that_of_the_replicates_that_both_have() -> None:
    random = np.random.default_rng(0)
    first = random.normal(size=(50, 3))
    second = first * [1, -0.5, 0] + random.normal(size=(50, 3)) * [0.5, 0.5, 0]
    first[3, 0], second[7, 0] = NAN, NAN
    both = np.delete(np.arange(50), [3, 7])
    expected = [np.corrcoef(first[both, 0], second[both, 0])[0, 1], np.corrcoef(first[:, 1], second[:, 1])[0, 1], 0]
    np.testing.assert_allclose(correlation(first, second), expected, rtol=1e-12)
