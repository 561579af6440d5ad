"""The gap between two shares of different images, against textbooks."""

import numpy as np
import pytest
from scipy.stats import chi2_contingency, norm, t

from cxr_monai.evaluation.disparity import Areas, area_gap, correlation, share_gap, welch

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


def areas(values: list[float], replicates: np.ndarray, effective: float, patients: float) -> Areas:
    size = len(values)
    return Areas(np.array(values), replicates, np.full(size, effective), np.full(size, patients))


def test_gap_of_areas_of_many_patients_is_that_of_shares() -> None:
    random = np.random.default_rng(0)
    drawn = random.normal(size=(200, 2)) * [0.02, 0.04] + [0.9, 0.8]
    drawn = (drawn - drawn.mean(axis=0)) / drawn.std(axis=0, ddof=1) * [0.02, 0.04] + [0.9, 0.8]
    found = area_gap(areas([0.9], drawn[:, :1], 1e12, 5), areas([0.8], drawn[:, 1:], 1e12, 5))
    together = np.corrcoef(drawn.T)[0, 1]
    expected = share_gap(0.9, 0.8, 0.09 / 0.0004, 0.16 / 0.0016, together)
    np.testing.assert_allclose(np.ravel(found), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("effective", "patients", "worth"),
    [
        ((10.0, 10.0), 1.0, 16 * 9 / 10 * (norm.ppf(0.975) / t.ppf(0.975, 18)) ** 2),  # Welch: 9 and 9 degrees are 18
        ((10.0, 4.0), 1.0, None),
        ((10.0, 10.0), 15.0, 15.0),  # never that of fewer trials than patients
        ((0.0, 0.0), 7.0, 7.0),
    ],
)
def test_gap_of_areas_of_few_patients(effective: tuple, patients: float, worth: float | None) -> None:
    replicates = np.array([[0.7], [0.9], [0.8]])  # a variance of 0.01: 16 trials
    sides = [areas([0.8], replicates, of, patients) for of in effective]
    found = area_gap(*sides)
    if worth is None:
        quantile = t.ppf(0.975, 0.02**2 / (0.01**2 / 9 + 0.01**2 / 3))
        trials = [16 * of / (of + 1) * (norm.ppf(0.975) / quantile) ** 2 for of in (9, 3)]
    else:
        trials = [worth, worth]
    np.testing.assert_allclose(np.ravel(found), share_gap(0.8, 0.8, *trials, 1.0), rtol=1e-9, atol=1e-12)


def test_gap_of_areas_that_cannot_be_judged() -> None:
    whole, holes = np.array([[0.7], [0.9], [0.8]]), np.array([[0.7], [NAN], [0.8]])
    assert np.isnan(area_gap(areas([0.8], whole, 9, 5), areas([0.8], holes, 9, 5))).all()
    assert np.isnan(area_gap(areas([NAN], whole, 9, 5), areas([0.8], whole, 9, 5))).all()
    # a perfect ranking of seven patients is not known to be perfect of all
    perfect = areas([1.0], np.ones((3, 1)), 0, 7)
    np.testing.assert_allclose(np.ravel(area_gap(perfect, perfect)), share_gap(1, 1, 7, 7), rtol=1e-12)


def test_areas_with_their_mean() -> None:
    replicates = np.array([[0.0, 0.0, 0.5], [0.2, 0.4, NAN], [0.1, 0.2, 0.5]])  # variances 0.01 and 0.04
    one = Areas(np.array([0.1, 0.3, 0.5]), replicates, np.array([6.0, 21.0, 3.0]), np.array([9.0, 7.0, 2.0]))
    both = one.with_mean(np.array([True, True, False]))
    np.testing.assert_allclose(both.values, [0.1, 0.3, 0.5, 0.2])
    np.testing.assert_allclose(both.replicates[:, 3], [0, 0.3, 0.15])
    np.testing.assert_allclose(both.effective, [6, 21, 3, 0.05**2 / (0.01**2 / 5 + 0.04**2 / 20) + 1])
    np.testing.assert_array_equal(both.patients, [9, 7, 2, 7])
    none = one.with_mean(np.zeros(3, dtype=bool))
    assert np.isnan(none.values[3])
    assert np.isnan(none.replicates[:, 3]).all()


def test_welchs_degrees_by_hand() -> None:
    variances, degrees = np.array([[0.01, 0, 1], [0.04, 0, 0]]), np.array([[5.0, 5, 8], [20, 20, 0]])
    np.testing.assert_allclose(welch(variances, degrees), [0.05**2 / (0.01**2 / 5 + 0.04**2 / 20), 5, 8], rtol=1e-12)


def test_correlation_is_that_of_the_replicates_that_both_have() -> None:
    random = np.random.default_rng(0)
    first = random.normal(size=(50, 3))
    second = first * [1, -0.5, 0] + random.normal(size=(50, 3)) * [0.5, 0.5, 0]
    first[3, 0], second[7, 0] = NAN, NAN
    both = np.delete(np.arange(50), [3, 7])
    expected = [np.corrcoef(first[both, 0], second[both, 0])[0, 1], np.corrcoef(first[:, 1], second[:, 1])[0, 1], 0]
    np.testing.assert_allclose(correlation(first, second), expected, rtol=1e-12)
