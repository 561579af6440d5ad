"""The patient-level bootstrap, replicate by replicate against scikit-learn, and the intervals by hand."""

import math

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.metrics import average_precision_score, roc_auc_score

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation import bootstrap as module
from cxr_monai.evaluation.bootstrap import INTERVAL_METHODS, PatientBootstrap, bootstrap_interval, effective_patients

NAN = float("nan")


def make(seed: int = 0, patients: int = 60, findings: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return patient codes ``[N]``, tied scores and labels ``[N, F]`` with unknowns; the last finding is rare."""
    random = np.random.default_rng(seed)
    codes = random.permutation(np.repeat(np.arange(patients), random.integers(1, 6, patients)))
    labels = (random.random((codes.size, findings)) < np.linspace(0.6, 0.02, findings)).astype(float)
    scores = np.round(random.normal(labels), 1)
    labels[random.random(labels.shape) < 0.1] = NAN
    labels[:3, -1] = 1, 0, NAN
    return codes, scores, labels


def by_scikit_learn(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    used = (weights > 0) & ~np.isnan(labels)
    if len(np.unique(labels[used])) < 2:
        return NAN, NAN
    given = {"y_true": labels[used], "y_score": scores[used], "sample_weight": weights[used]}
    return roc_auc_score(**given), average_precision_score(**given)


@pytest.mark.parametrize("part", [None, 0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_every_replicate_is_that_of_scikit_learn(seed: int, part: int | None) -> None:
    codes, scores, labels = make(seed)
    rows = None if part is None else codes % 2 == part
    bootstrap = PatientBootstrap(codes, replicates=40, seed=seed)
    result = bootstrap.rankings(scores, labels, rows)
    expected = np.array(
        [
            [
                by_scikit_learn(scores[:, f], labels[:, f], drawn[codes] * (1 if rows is None else rows))
                for f in range(4)
            ]
            for drawn in bootstrap.counts.astype(float)
        ]
    )
    np.testing.assert_allclose(result.auroc, expected[..., 0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(result.average_precision, expected[..., 1], rtol=0, atol=1e-13)
    assert np.isfinite(result.auroc[:, 0]).all()
    one = bootstrap.ranking(scores[:, 1], labels[:, 1], rows)
    np.testing.assert_array_equal(one.auroc, result.auroc[:, 1])
    np.testing.assert_array_equal(one.average_precision, result.average_precision[:, 1])


def test_by_hand() -> None:
    # patient 0: a positive at 3; patient 1: a positive at 1 and a negative at 2
    bootstrap = PatientBootstrap(np.array([0, 1, 1]), replicates=40)
    result = bootstrap.ranking(np.array([3.0, 1, 2]), np.array([1.0, 1, 0]))
    expected = {
        (1, 1): (1 / 2, (1 + 2 / 3) / 2),
        (0, 2): (0.0, 2 / 4),
        (2, 0): (NAN, NAN),
    }
    drawn = [tuple(row) for row in bootstrap.counts.tolist()]
    assert set(drawn) == set(expected)
    np.testing.assert_allclose(result.auroc, [expected[key][0] for key in drawn], atol=1e-15)
    np.testing.assert_allclose(result.average_precision, [expected[key][1] for key in drawn], atol=1e-15)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], [NAN, NAN, NAN], [1, NAN, 1]])
def test_nothing_to_rank_is_nan(labels: list[float]) -> None:
    result = PatientBootstrap(np.arange(3), replicates=5).ranking(np.arange(3.0), np.array(labels))
    assert np.isnan(result.auroc).all()
    assert np.isnan(result.average_precision).all()
    low, high = bootstrap_interval(result.auroc, estimate=NAN)
    assert np.isnan([low, high]).all()


def test_a_replicate_without_the_one_positive_patient_is_nan() -> None:
    bootstrap = PatientBootstrap(np.arange(20), replicates=200)
    result = bootstrap.ranking(np.arange(20.0), (np.arange(20) == 19).astype(float))
    np.testing.assert_array_equal(np.isnan(result.auroc), bootstrap.counts[:, 19] == 0)
    assert (result.auroc[bootstrap.counts[:, 19] > 0] == 1).all()
    assert np.isnan(bootstrap_interval(result.auroc, estimate=1.0)).all()  # a third of the replicates have no value


def test_constant_scores_are_worth_a_half() -> None:
    codes, _, labels = make()
    bootstrap = PatientBootstrap(codes, replicates=30)
    result = bootstrap.ranking(np.full(codes.size, 0.3), labels[:, 0])
    np.testing.assert_array_equal(result.auroc, 0.5)
    known = ~np.isnan(labels[:, 0])
    sums = bootstrap.sums(np.stack([known & (labels[:, 0] == 1), known], axis=1))
    np.testing.assert_allclose(result.average_precision, sums[:, 0] / sums[:, 1], rtol=1e-14)


@pytest.mark.parametrize("patients", [1, 2, 200, 3000])
def test_draws(patients: int) -> None:
    counts = PatientBootstrap(np.arange(patients).repeat(2), replicates=300, seed=3).counts
    assert counts.shape == (300, patients)
    assert counts.dtype == np.uint8
    assert (counts.sum(axis=1) == patients).all()
    # multinomial: mean 1, variance 1 - 1/P
    tolerance = 6 / math.sqrt(counts.size)
    assert counts.var() == pytest.approx(1 - 1 / patients, abs=tolerance * 2)


def test_draws_are_repeatable_and_more_replicates_only_add() -> None:
    codes = np.arange(50)
    counts = PatientBootstrap(codes, replicates=20, seed=1).counts
    np.testing.assert_array_equal(counts, PatientBootstrap(codes, replicates=20, seed=1).counts)
    np.testing.assert_array_equal(counts, PatientBootstrap(codes, replicates=90, seed=1).counts[:20])
    assert (counts != PatientBootstrap(codes, replicates=20, seed=2).counts).any()


def test_a_patient_drawn_more_often_than_a_byte_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Always:
        def integers(self, low: int, high: int, size: int) -> np.ndarray:
            return np.zeros(size, dtype=int)

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Always())
    assert PatientBootstrap(np.arange(300), replicates=2).counts[:, 0].tolist() == [300, 300]


@pytest.mark.parametrize("replicates", [1, 127, 128, 129, 300])
def test_blocks_do_not_show(replicates: int, monkeypatch: pytest.MonkeyPatch) -> None:
    codes, scores, labels = make()
    bootstrap = PatientBootstrap(codes, replicates)
    whole, sums = bootstrap.rankings(scores, labels), bootstrap.sums(scores)
    monkeypatch.setattr(module, "_LARGEST", 1)  # the smallest blocks
    small = bootstrap.rankings(scores, labels)
    np.testing.assert_array_equal(whole.auroc, small.auroc)
    np.testing.assert_array_equal(whole.average_precision, small.average_precision)
    assert whole.auroc.shape == sums.shape == (replicates, 4)


def test_sums() -> None:
    codes, scores, labels = make()
    bootstrap = PatientBootstrap(codes, replicates=140)
    expected = [(drawn[codes].astype(float)[:, None] * np.nan_to_num(labels)).sum(axis=0) for drawn in bootstrap.counts]
    np.testing.assert_array_equal(bootstrap.sums(labels), expected)
    weighted = [(drawn[codes].astype(float)[:, None] * scores).sum(axis=0) for drawn in bootstrap.counts]
    np.testing.assert_allclose(bootstrap.sums(scores), weighted, rtol=1e-12, atol=1e-12)


def test_identical_systems_never_differ() -> None:
    codes, scores, labels = make()
    bootstrap = PatientBootstrap(codes, replicates=50)
    first, second = bootstrap.rankings(scores, labels), bootstrap.rankings(np.exp(scores), labels)
    np.testing.assert_array_equal(first.auroc, second.auroc)
    np.testing.assert_array_equal(first.average_precision, second.average_precision)


def test_copies_of_a_patients_images_add_nothing() -> None:
    # unlike DeLong's interval, which they narrow
    codes, scores, labels = make()
    once = PatientBootstrap(codes, replicates=50).rankings(scores, labels)
    twice = PatientBootstrap(np.tile(codes, 2), replicates=50).rankings(
        np.tile(scores, (2, 1)), np.tile(labels, (2, 1))
    )
    np.testing.assert_allclose(once.auroc, twice.auroc, rtol=0, atol=1e-14)
    np.testing.assert_allclose(once.average_precision, twice.average_precision, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "call",
    [
        lambda b: b.ranking(np.zeros(3), np.zeros(4)),
        lambda b: b.rankings(np.zeros((3, 1)), np.zeros((3, 1))),
        lambda b: b.rankings(np.zeros((4, 1)), np.zeros((4, 1)), np.ones(3, dtype=bool)),
        lambda b: b.ranking(np.zeros(4), np.full(4, 0.5)),
        lambda b: b.ranking(np.full(4, NAN), np.ones(4)),
        lambda b: b.sums(np.zeros((3, 1))),
        lambda b: b.sums(np.zeros(4)),
        lambda b: PatientBootstrap(np.zeros(0, dtype=int)),
        lambda b: PatientBootstrap(np.array([-1, 0])),
        lambda b: PatientBootstrap(np.zeros(4, dtype=int), replicates=0),
        lambda b: bootstrap_interval(np.zeros(5), level=95),
        lambda b: bootstrap_interval(np.zeros(5), method="bias-corrected"),
        lambda b: bootstrap_interval(np.zeros(5), estimate=0.5, method="magic"),
    ],
)
def test_what_does_not_fit_is_an_error(call: object) -> None:
    with pytest.raises(EvaluationError) as caught:
        call(PatientBootstrap(np.array([0, 0, 1, 2]), replicates=3))  # type: ignore[operator]
    assert caught.value.code == Code.EVALUATION_INVALID


# -- intervals


def test_percentiles_by_hand() -> None:
    replicates = np.random.default_rng(0).permutation(np.arange(1.0, 100))
    low, high = bootstrap_interval(replicates, method="percentile")
    assert (float(low), float(high)) == pytest.approx((2.5, 97.5), abs=1e-12)
    low, high = bootstrap_interval(replicates, 0.9, estimate=7.0)
    assert (float(low), float(high)) == pytest.approx((5, 95), abs=1e-12)


def test_bias_corrected_by_hand() -> None:
    # 99 replicates 1 to 99, 29 of them under the estimate: half of what ties with it counts as under
    replicates, estimate = np.arange(1.0, 100), 30.0
    shift = norm.ppf((29.5 + 0.5) / 100)
    ends = [100 * norm.cdf(2 * shift + side * norm.ppf(0.975)) for side in (-1, 1)]
    found = bootstrap_interval(replicates, estimate=estimate, method="bias-corrected")
    np.testing.assert_allclose(found, [max(ends[0], 1), ends[1]], rtol=1e-12)
    assert ends[1] < 85  # lower than the percentile's 97.5, since the replicates lie above the estimate


@pytest.mark.parametrize("size", [5.0, 20.0, 300.0])
def test_few_patients_widen_as_students_t(size: float) -> None:
    replicates = np.random.default_rng(0).normal(size=99_999)
    low, high = bootstrap_interval(replicates, effective=size)
    half = math.sqrt(size / (size - 1)) * student.ppf(0.975, size - 1)
    assert (float(low), float(high)) == pytest.approx((-half, half), rel=0.03)
    assert high > bootstrap_interval(replicates)[1]


def test_very_many_patients_are_plain_percentiles() -> None:
    replicates = np.random.default_rng(0).normal(size=999)
    np.testing.assert_allclose(
        bootstrap_interval(replicates, effective=np.inf), bootstrap_interval(replicates), rtol=1e-12
    )


@pytest.mark.parametrize("size", [1.0, 0.0, NAN])
def test_one_patient_is_bounded_by_the_replicates_alone(size: float) -> None:
    low, high = bootstrap_interval(np.arange(1.0, 100), effective=size)
    assert (float(low), float(high)) == (1.0, 99.0)


@pytest.mark.parametrize("method", INTERVAL_METHODS)
def test_no_scale_is_preferred(method: str) -> None:
    # a monotone change of the figure changes the ends alike (up to the interpolation between neighbours)
    replicates = np.random.default_rng(1).beta(5, 2, 20_000)
    ends = np.array(bootstrap_interval(replicates, estimate=0.7, method=method, effective=12.0))
    logits = np.array(
        bootstrap_interval(np.log(replicates / (1 - replicates)), 0.95, math.log(0.7 / 0.3), method, 12.0)
    )
    np.testing.assert_allclose(np.log(ends / (1 - ends)), logits, atol=1e-3)


def test_columns_are_treated_alone() -> None:
    random = np.random.default_rng(0)
    replicates = random.normal(size=(200, 3, 2))
    replicates[:15, 1, 0] = NAN  # 7.5 %: left out
    replicates[:25, 2, 1] = NAN  # 12.5 %: too many
    estimates, sizes = random.normal(0, 0.1, (3, 2)), random.uniform(5, 50, (3, 2))
    estimates[0, 1] = NAN
    low, high = bootstrap_interval(replicates, 0.9, estimates, effective=sizes)
    assert low.shape == high.shape == (3, 2)
    for at in np.ndindex(3, 2):
        alone = bootstrap_interval(replicates[:, *at], 0.9, estimates[at], effective=sizes[at])
        np.testing.assert_array_equal([low[at], high[at]], alone)
    np.testing.assert_array_equal(np.isnan(low), [[False, True], [False, False], [False, True]])
    there = replicates[15:, 1, 0]
    expected = bootstrap_interval(there, 0.9, estimates[1, 0], effective=sizes[1, 0])
    np.testing.assert_array_equal([low[1, 0], high[1, 0]], expected)


def test_infinite_replicates() -> None:
    # a likelihood ratio is infinite where a replicate has no false alarm
    low, high = bootstrap_interval(np.array([1.0] * 10 + [2.0] * 80 + [np.inf] * 10))
    assert (float(low), float(high)) == (1.0, np.inf)
    assert [float(end) for end in bootstrap_interval(np.full(100, np.inf))] == [np.inf, np.inf]


def test_constant_replicates_have_no_width() -> None:
    assert [float(end) for end in bootstrap_interval(np.ones(100), estimate=1.0, effective=9.0)] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("patients", "expected"),
    [([0, 1, 2, 3], 4.0), ([0, 0, 0, 0], 1.0), ([0, 0, 0, 5], 16 / 10), ([], 0.0)],
)
def test_effective_patients_by_hand(patients: list[int], expected: float) -> None:
    codes = np.array([*patients, 7, 7], dtype=int)
    chosen = np.arange(codes.size) < len(patients)
    assert effective_patients(codes, chosen) == expected
    assert effective_patients(codes, 0.3 * chosen) == pytest.approx(expected, rel=1e-14)


def test_what_a_ranking_rests_on_by_hand() -> None:
    # by score: 3 positive, 2 negative, 1.5 positive, 1 a positive and a negative, 0 negative
    codes = np.array([0, 1, 3, 1, 2, 4])
    scores, labels = np.array([3, 2, 1.5, 1, 1, 0]), np.array([1.0, 0, 1, 1, 0, 0])
    result = PatientBootstrap(codes, replicates=3).ranking(scores, labels)
    # pairs lost: patients 3 and 1 lose 1 and 1.5 as positives, 1 and 2 win 2 and 0.5 as negatives
    assert result.auroc_effective == pytest.approx(2.5**2 / (2**2 + 0.5**2), rel=1e-14)
    # precisions 1, 2/3, 3/5 of three patients; three patients have a negative each
    assert result.average_precision_effective == pytest.approx((34 / 15) ** 2 / (1 + 4 / 9 + 9 / 25), rel=1e-14)
    part = PatientBootstrap(codes, replicates=3).ranking(scores, labels, np.arange(6) < 5)
    assert part.average_precision_effective == 2.0
    perfect = PatientBootstrap(codes, replicates=3).ranking(labels, labels)
    assert perfect.auroc_effective == 0.0
    assert perfect.average_precision_effective == 3.0


@pytest.mark.parametrize("seed", range(3))
def test_what_rankings_rest_on_pair_by_pair(seed: int) -> None:
    codes, scores, labels = make(seed)
    result = PatientBootstrap(codes, replicates=3).rankings(scores, labels)
    for f in range(4):
        positive, negative = labels[:, f] == 1, labels[:, f] == 0
        s, n = scores[positive, f][:, None], scores[negative, f]
        lost = (n > s) + 0.5 * (n == s)
        sides = effective_patients(codes[positive], lost.sum(1)), effective_patients(codes[negative], lost.sum(0))
        assert result.auroc_effective[f] == pytest.approx(min(sides), rel=1e-12)
        above = (scores[positive, f] >= s).sum(1)
        precisions = effective_patients(codes[positive], above / (above + (n >= s).sum(1)))
        rest = effective_patients(codes, negative)
        assert result.average_precision_effective[f] == pytest.approx(min(precisions, rest), rel=1e-12)


def test_nothing_rests_on_nothing() -> None:
    result = PatientBootstrap(np.arange(3), replicates=3).rankings(np.zeros((3, 2)), np.zeros((3, 2)))
    assert np.isnan([result.auroc_effective, result.average_precision_effective]).all()
    assert PatientBootstrap(np.arange(3), replicates=3).rankings(np.zeros((3, 0)), np.zeros((3, 0))).auroc.shape == (
        3,
        0,
    )
