"""Two systems on the same images, against scikit-learn on resampled rows and cases by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.auroc import delong_paired
from cxr_monai.evaluation.bootstrap import PatientBootstrap
from cxr_monai.evaluation.comparison import compare, difference_test, holm, patients_with, patients_with_any
from cxr_monai.evaluation.sample import Sample

NAN = np.nan
FINDINGS = ("Mass", "Edema", "Hernia")


def expit(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def systems(
    patients: int = 60, strength: tuple[float, float] = (1.0, 1.0), seed: int = 0, known: float = 0.95
) -> tuple[Sample, Sample]:
    """One to four images a patient; scores share what a patient and an image have; Hernia has no positive."""
    random = np.random.default_rng(seed)
    codes = np.repeat(np.arange(patients), random.integers(1, 5, patients))
    size = (codes.size, len(FINDINGS))
    sick = random.normal(size=(patients, len(FINDINGS)))[codes]
    labels = (sick + random.normal(size=size) > [0.4, 1.0, 99]).astype(float)
    shared = random.normal(size=size) + random.normal(size=(patients, len(FINDINGS)))[codes]
    scores = [expit(labels * by + (shared + random.normal(size=size)) / 2) for by in strength]
    labels[random.random(size) > known] = NAN
    table = pd.DataFrame({"image": [f"{k}.png" for k in range(codes.size)], "patient_id": codes.astype(str)})
    table = table.astype("str").assign(study_id="", view="", age=NAN, sex="", source="", split="test")
    first = Sample.of(table, FINDINGS, scores[0], labels)
    return first, first.with_scores(scores[1])


def figure(function, scores: np.ndarray, labels: np.ndarray) -> float:
    there = ~np.isnan(labels)
    return function(labels[there], scores[there]) if 0 < labels[there].sum() < there.sum() else NAN


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_against_scikit_learn_on_resampled_rows(level: float) -> None:
    first, second = systems()
    bootstrap = PatientBootstrap(first.patients, replicates=40, seed=5)
    table = compare(first, second, bootstrap, level).set_index("finding")
    assert table.index.tolist() == [*FINDINGS, "mean"]
    z = norm.ppf((1 + level) / 2)
    for function, words in (
        (roc_auc_score, ("first", "second", "difference", "patient_low", "patient_high")),
        (average_precision_score, ("first", "second", "difference", "patient_low", "patient_high")),
    ):
        names = words if function is roc_auc_score else [f"average_precision_{word}" for word in words]
        values, replicates = [], []
        for row in range(41):  # the sample itself first
            times = np.ones(len(first), int) if row == 0 else bootstrap.counts[row - 1][first.patients]
            at = np.repeat(np.arange(len(first)), times)
            both = [[figure(function, s.scores[at, c], s.labels[at, c]) for c in range(2)] for s in (first, second)]
            both = [[*pair, np.mean(pair)] for pair in both]
            if row == 0:
                values = both
            else:
                replicates.append(np.subtract(both[1], both[0]))
        difference = np.subtract(values[1], values[0])
        error = np.std(replicates, axis=0, ddof=1)
        expected = [values[0], values[1], difference, difference - z * error, difference + z * error]
        got = table.loc[["Mass", "Edema", "mean"], list(names)].to_numpy().T
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
        if function is roc_auc_score:
            p = table.loc[["Mass", "Edema", "mean"], "patient_p"]
            np.testing.assert_allclose(p, 2 * norm.sf(np.abs(difference) / error), rtol=1e-9)


def test_delong_holm_counts_and_the_mean() -> None:
    first, second = systems()
    table = compare(first, second, PatientBootstrap(first.patients, 50)).set_index("finding")
    for column, finding in enumerate(FINDINGS[:2]):
        one = delong_paired(first.scores[:, column], second.scores[:, column], first.labels[:, column])
        assert table.loc[finding, ["low", "high", "p"]].tolist() == [one.low, one.high, one.p]
    for p in ("p", "patient_p"):
        np.testing.assert_array_equal(table[f"{p}_holm"][:-1], holm(table[p].to_numpy()[:-1]))
    # the mean is one test, by patients
    mean = table.loc["mean"]
    assert mean["p"] == mean["p_holm"] == mean["patient_p"] == mean["patient_p_holm"]
    assert (mean["low"], mean["high"]) == (mean["patient_low"], mean["patient_high"])
    assert table["images"].tolist() == [*(~np.isnan(first.labels)).sum(axis=0), len(first)]
    positives = first.labels == 1
    assert table["positives"].tolist() == [*positives.sum(axis=0), positives.sum()]
    sick = [set(first.patients[rows]) for rows in (*positives.T, positives.any(axis=1))]
    assert table["positive_patients"].tolist() == [len(patients) for patients in sick]


def test_what_is_undefined_is_empty_and_without_a_verdict() -> None:
    first, second = systems()
    row = compare(first, second, PatientBootstrap(first.patients, 50), margin=0.9).set_index("finding").loc["Hernia"]
    assert row["verdict"] == "too few to say"
    assert row["non_inferior"] is pd.NA
    empty = row.drop(["images", "positives", "positive_patients", "verdict", "non_inferior"])
    assert empty.isna().all()


def test_the_same_system_twice() -> None:
    first, _ = systems()
    table = compare(first, first, PatientBootstrap(first.patients, 50), margin=0.001)
    there = table[table["finding"] != "Hernia"]
    assert (there[["difference", "patient_low", "patient_high", "average_precision_difference"]] == 0).all(axis=None)
    assert (there[["p", "patient_p", "p_holm", "patient_p_holm"]] == 1).all(axis=None)
    assert (there["verdict"] == "not distinguishable").all()
    assert there["non_inferior"].all()


def test_verdicts_turn_around_with_the_systems() -> None:
    first, second = systems(patients=200, strength=(0.3, 3.0))
    bootstrap = PatientBootstrap(first.patients, 100)
    forth, back = compare(first, second, bootstrap, margin=0.01), compare(second, first, bootstrap, margin=0.01)
    assert forth["verdict"].tolist() == ["better", "better", "too few to say", "better"]
    assert back["verdict"].tolist() == ["worse", "worse", "too few to say", "worse"]
    assert forth["non_inferior"].tolist() == [True, True, pd.NA, True]
    assert back["non_inferior"].tolist() == [False, False, pd.NA, False]
    np.testing.assert_allclose(forth["difference"], -back["difference"], rtol=0, atol=1e-15)
    np.testing.assert_allclose(forth["patient_low"], -back["patient_high"], rtol=0, atol=1e-15)
    np.testing.assert_allclose(forth["patient_p_holm"], back["patient_p_holm"], rtol=1e-9)


def test_non_inferiority_is_the_lower_end_against_the_margin() -> None:
    first, second = systems(patients=150, strength=(1.0, 0.9))
    bootstrap = PatientBootstrap(first.patients, 100)
    low = compare(first, second, bootstrap)["patient_low"][0]
    assert low < 0
    for margin, holds in ((-low * 1.001, True), (-low * 0.999, False)):
        assert compare(first, second, bootstrap, margin=margin)["non_inferior"][0] is np.bool_(holds)
    assert compare(first, second, bootstrap)["non_inferior"].isna().all()


@pytest.mark.parametrize("kind", ["with", "without"])
def test_too_few_patients_give_no_verdict(kind: str) -> None:
    first, second = systems(patients=200, strength=(0.3, 3.0), known=1)
    labels = first.labels.copy()
    rows = labels[:, 0] == (kind == "with")
    few = np.isin(first.patients, np.unique(first.patients[rows])[:19])
    labels[rows & ~few, 0] = NAN
    samples = [Sample.of(s.table, FINDINGS, s.scores, labels) for s in (first, second)]
    bootstrap = PatientBootstrap(first.patients, 100)
    assert compare(*samples, bootstrap, minimum_positives=19)["verdict"][0] == "better"
    assert compare(*samples, bootstrap)["verdict"].tolist() == ["too few to say", "better", "too few to say", "better"]


def test_findings_in_another_order() -> None:
    first, second = systems()
    order = [2, 0, 1]
    turned = Sample.of(second.table, [FINDINGS[k] for k in order], second.scores[:, order], second.labels[:, order])
    bootstrap = PatientBootstrap(first.patients, 20)
    pd.testing.assert_frame_equal(compare(first, turned, bootstrap), compare(first, second, bootstrap))


def changed(sample: Sample, **columns: list[str]) -> Sample:
    return Sample.of(sample.table.assign(**columns), sample.findings, sample.scores, sample.labels)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.take(np.arange(len(s) - 1)), "129 images against 128"),
        (lambda s: s.take(np.arange(len(s))[::-1]), "in row 0 image is '0.png' in the first and '128.png'"),
        (lambda s: changed(s, patient_id=["x", *s.table["patient_id"][1:]]), "in row 0 patient_id is '0'"),
        (lambda s: Sample.of(s.table, ["Mass", "Edema", "X"], s.scores, s.labels), "the second Mass, Edema, X"),
        (lambda s: Sample.of(s.table, s.findings, s.scores, np.nan_to_num(s.labels)), "labels differ: Mass ("),
    ],
)
def test_what_cannot_be_compared(change, said: str) -> None:
    first, second = systems(patients=52)
    assert len(first) == 129
    with pytest.raises(EvaluationError) as caught:
        compare(first, change(second), PatientBootstrap(first.patients, 10))
    assert caught.value.code == Code.EVALUATION_INVALID
    assert said in str(caught.value)


@pytest.mark.parametrize(("words", "said"), [({"margin": -0.01}, "-0.01"), ({"margin": 1}, "1"), ({"level": 95}, "95")])
def test_settings_that_cannot_be(words: dict, said: str) -> None:
    first, second = systems()
    with pytest.raises(EvaluationError, match=said):
        compare(first, second, PatientBootstrap(first.patients, 10), **words)


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # 3 x .01, 2 x .03 (then no lower), 4 x .005
        ([0.02, NAN, 0.01], [0.02, NAN, 0.02]),
        ([0.6, 0.5, 0.9], [1, 1, 1]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([0.3], [0.3]),
        ([NAN], [NAN]),
        ([], []),
    ],
)
def test_holm_by_hand(p: list[float], adjusted: list[float]) -> None:
    np.testing.assert_allclose(holm(np.array(p)), adjusted, rtol=1e-15)


def test_holm_rejects_what_the_step_down_procedure_rejects() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        p = random.random(6) ** 4
        rejected = np.zeros(6, bool)
        for rank, index in enumerate(np.argsort(p)):
            if p[index] > 0.05 / (6 - rank):
                break
            rejected[index] = True
        np.testing.assert_array_equal(holm(p) <= 0.05, rejected)


def test_difference_test_by_hand() -> None:
    replicates = np.array([[0.1, 0.5, 0.0, 0.3, NAN], [0.3, 0.5, 0.0, NAN, NAN], [0.2, 0.5, 0.0, 0.1, 1]])
    low, high, p = difference_test(replicates, np.array([0.2, 0.5, 0.0, 0.2, 1]), level=0.95)
    z = 1.959963984540054  # the first's standard deviation is 0.1; a third of the fourth's replicates is missing
    np.testing.assert_allclose(low, [0.2 - 0.1 * z, 0.5, 0.0, NAN, NAN], rtol=0, atol=1e-12)
    np.testing.assert_allclose(high, [0.2 + 0.1 * z, 0.5, 0.0, NAN, NAN], rtol=0, atol=1e-12)
    # no variation: 1 for no difference, and nothing to judge a difference of 0.5 by
    np.testing.assert_allclose(p, [2 * norm.sf(2), NAN, 1, NAN, NAN], rtol=1e-9)


def test_difference_test_leaves_out_a_tenth_and_stays_within_bounds() -> None:
    replicates = np.append(np.random.default_rng(0).normal(0.9, 0.2, 99), NAN)[:, None]
    low, high, p = difference_test(replicates, np.array([0.9]))
    assert high[0] == 1
    error = np.std(replicates[:99], ddof=1)
    np.testing.assert_allclose([low[0], p[0]], [0.9 - 1.959963984540054 * error, 2 * norm.sf(0.9 / error)], rtol=1e-12)


def test_patients_are_counted_once() -> None:
    images = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], dtype=bool)
    assert patients_with(images, np.array([0, 0, 3, 3])).tolist() == [2, 1, 0]
    assert patients_with_any(images, np.array([0, 0, 3, 3])) == 2


def test_the_size_of_the_patients_test() -> None:
    """Two systems of one worth, several images a patient: about one in twenty is called different."""
    p: list[float] = []
    for seed in range(160):
        samples = systems(patients=80, seed=seed)
        bootstrap = PatientBootstrap(samples[0].patients, 120, seed)
        areas = [bootstrap.rankings(s.scores[:, :2], s.labels[:, :2]).auroc for s in samples]
        values = [np.array([figure(roc_auc_score, s.scores[:, c], s.labels[:, c]) for c in range(2)]) for s in samples]
        p += [*difference_test(areas[1] - areas[0], values[1] - values[0])[2]]
    # 320 draws of 0.05: a standard error of 0.012
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.09
    assert 0.4 <= np.mean(np.array(p) < 0.5) <= 0.6
