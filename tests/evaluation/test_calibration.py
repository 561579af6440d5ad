"""Calibration against scikit-learn and scipy, by hand, and where it must refuse."""

import json
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.calibration import (
    CALIBRATION_METHODS,
    FEWEST_TO_CALIBRATE,
    Calibrator,
    calibration_figures,
    choose_method,
    deal_patients,
    fit_calibrator,
    reliability,
)
from cxr_monai.evaluation.logistic import CLIP, fit_intercept, fit_line, line_errors, logit

NAN = np.nan


def drawn(count: int, seed: int = 0, slope: float = 1.0, intercept: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose right calibration is ``expit(slope * logit + intercept)``, and labels."""
    random = np.random.default_rng(seed)
    z = random.normal(-1.5, 1.5, count)
    return expit(z), (random.random(count) < expit(slope * z + intercept)).astype(float)


def targets(labels: np.ndarray) -> np.ndarray:
    """Platt's."""
    positives, negatives = labels.sum(), (1 - labels).sum()
    return np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))


# the three maps


def test_platt_is_scikit_learns() -> None:
    scores, labels = drawn(3000, 1, 0.6, -0.8)
    z = logit(scores)[:, None]
    plain = LogisticRegression().fit(z, labels)
    plain.coef_, plain.intercept_ = np.array([[1.0]]), np.array([0.0])  # its decision function is z
    reference = CalibratedClassifierCV(FrozenEstimator(plain), method="sigmoid").fit(z, labels)
    made = fit_calibrator("platt", scores, labels)
    assert made.method == "platt"
    np.testing.assert_allclose(made.apply(scores), reference.predict_proba(z)[:, 1], atol=2e-5)  # its optimiser's


def test_platt_is_the_minimum() -> None:
    scores, labels = drawn(400, 2, 1.7, 0.5)
    z, t = logit(scores), targets(labels)
    best = minimize(lambda at: np.sum(np.logaddexp(0, at[0] * z + at[1]) - t * (at[0] * z + at[1])), [1, 0], tol=1e-12)
    made = fit_calibrator("platt", scores, labels).parameters
    assert (made["slope"], made["intercept"]) == pytest.approx(tuple(best.x), abs=1e-4)
    p = expit(made["slope"] * z + made["intercept"])
    assert abs(np.sum(p - t)) < 1e-8  # both gradients
    assert abs(np.sum((p - t) * z)) < 1e-8


@pytest.mark.parametrize("slope", [0.4, 1.0, 2.5])
def test_temperature_is_the_minimum(slope: float) -> None:
    scores, labels = drawn(4000, 3, slope)
    z, t = logit(scores), targets(labels)
    temperature = fit_calibrator("temperature", scores, labels).parameters["temperature"]
    assert temperature == pytest.approx(1 / slope, rel=0.1)
    assert abs(np.sum((expit(z / temperature) - t) * z)) < 1e-7
    np.testing.assert_allclose(Calibrator("temperature", {"temperature": 2.0}).apply(np.array([0.9])), [0.75])


def test_isotonic_is_scikit_learns() -> None:
    scores, labels = drawn(1000, 4)
    scores = scores.round(2)
    made = fit_calibrator("isotonic", scores, labels)
    reference = IsotonicRegression(out_of_bounds="clip").fit(scores, targets(labels))
    at = np.linspace(0, 1, 501)
    np.testing.assert_allclose(made.apply(at), reference.predict(at), atol=1e-12)


def test_isotonic_by_hand() -> None:
    # 100 of each: 0.3 has 20 of 80 positive, 0.6 has 20 of 40, 0.5 (out of order) 60 of 80
    scores = np.repeat([0.3, 0.3, 0.6, 0.6, 0.5, 0.5], [20, 60, 20, 20, 60, 20])
    labels = np.repeat([1.0, 0.0, 1.0, 0.0, 1.0, 0.0], [20, 60, 20, 20, 60, 20])
    made = fit_calibrator("isotonic", scores, labels)
    low, high = 1 / 102, 101 / 102
    expected = [low + (high - low) * share for share in (0.25, 80 / 120)]
    np.testing.assert_allclose(made.apply(np.array([0.0, 0.3, 0.5, 0.6, 1.0])), np.repeat(expected, [2, 3]), rtol=1e-12)
    assert made.apply(np.array([0.4]))[0] == pytest.approx(sum(expected) / 2)  # halfway between the knots


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_every_map_rises_and_stays_within_0_and_1(method: str, seed: int) -> None:
    scores, labels = drawn(4000, seed, 0.5, -2.0)
    made = fit_calibrator(method, scores, labels)
    assert made.method == method
    at = np.concatenate([[0, 1e-300, 1e-9], np.linspace(0, 1, 2001), [1 - 1e-9, 1]])
    at.sort()
    values = made.apply(at)
    assert (np.diff(values) >= 0).all()
    assert 0 <= values.min() <= values.max() <= 1
    if method != "none":
        assert 0 < values.min() <= values.max() < 1  # nothing is impossible, nothing certain


@pytest.mark.parametrize("method", ["temperature", "platt"])
@pytest.mark.parametrize("seed", range(5))
def test_auroc_stays_the_same_to_the_bit(method: str, seed: int) -> None:
    scores, labels = drawn(3000, seed, 0.5 + 0.3 * seed, -1.0)
    scores = scores.round(4)  # with ties
    calibrated = fit_calibrator(method, scores, labels).apply(scores)
    assert np.unique(calibrated).size == np.unique(scores).size
    assert roc_auc_score(labels, calibrated) == roc_auc_score(labels, scores)


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic", "auto"])
def test_unknown_labels_and_the_order_of_images_do_not_matter(method: str) -> None:
    scores, labels = drawn(1200, 6, 0.5)
    more = np.concatenate([scores, [0.9, 0.1, 0.5]]), np.concatenate([labels, [NAN] * 3])
    turned = scores[::-1], labels[::-1]
    at = np.linspace(0, 1, 11)
    first = fit_calibrator(method, scores, labels)
    if method != "auto":  # whose folds are drawn
        np.testing.assert_allclose(fit_calibrator(method, *turned).apply(at), first.apply(at), atol=1e-9)
    np.testing.assert_array_equal(fit_calibrator(method, *more).apply(at), first.apply(at))


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_shape_type_and_nan_are_kept(method: str) -> None:
    made = fit_calibrator(method, *drawn(1500))
    p = np.array([[0.1, NAN], [0.3, 1.0]], dtype=np.float32)
    values = made.apply(p)
    assert values.shape == p.shape
    assert values.dtype == np.float64
    np.testing.assert_array_equal(np.isnan(values), np.isnan(p))
    assert p[0, 0] == np.float32(0.1)
    assert values is not p


@pytest.mark.parametrize("value", [-0.01, 1.01, 7.0, -math.inf])
def test_logits_are_refused(value: float) -> None:
    with pytest.raises(EvaluationError) as caught:
        Calibrator("temperature", {"temperature": 2.0}).apply(np.array([0.5, value]))
    assert caught.value.code == Code.EVALUATION_INVALID
    with pytest.raises(EvaluationError):
        fit_calibrator("platt", np.array([0.5, value]), np.array([0.0, 1.0]))


# where nothing can be fitted


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic"])
def test_the_minimum(method: str) -> None:
    need = FEWEST_TO_CALIBRATE[method]
    random = np.random.default_rng(0)
    for positives, negatives, enough in ((need, need, True), (need - 1, 500, False), (500, need - 1, False)):
        labels = np.repeat([1.0, 0.0], [positives, negatives])
        made = fit_calibrator(method, expit(random.normal(2 * labels - 1, 1)), labels)
        assert (made.method == method) == enough
        assert (made.reason == "") == enough
        if not enough:
            assert f"{positives} and {negatives}" in made.reason
            np.testing.assert_array_equal(made.apply(np.array([0.1, 0.7])), [0.1, 0.7])


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic", "auto"])
@pytest.mark.parametrize(
    ("labels", "scores"),
    [
        (np.full(500, NAN), np.linspace(0.1, 0.9, 500)),
        (np.zeros(500), np.linspace(0.1, 0.9, 500)),
        (np.ones(500), np.linspace(0.1, 0.9, 500)),
        (np.repeat([0.0, 1.0], 250), np.full(500, 0.5)),
        (np.repeat([0.0, 1.0], 250), np.full(500, 0.2)),
        (np.repeat([0.0, 1.0], 250), np.linspace(0.9, 0.1, 500)),  # the wrong way round
        (np.zeros(0), np.zeros(0)),
    ],
)
def test_nothing_to_fit_is_said(method: str, labels: np.ndarray, scores: np.ndarray) -> None:
    made = fit_calibrator(method, scores, labels)
    assert made.method == "none"
    assert made.reason
    np.testing.assert_array_equal(made.apply(scores), scores)


def test_saturated_scores_are_equal_on_the_logit_scale() -> None:
    made = fit_calibrator("platt", np.repeat([1e-9, 1e-8], 50), np.repeat([0.0, 1.0], 50))
    assert made.method == "none"


def test_a_perfect_separation_does_not_become_certain() -> None:
    scores, labels = np.repeat([0.3, 0.4], 100), np.repeat([0.0, 1.0], 100)
    for method in ("platt", "isotonic"):
        low, high = fit_calibrator(method, scores, labels).apply(np.array([0.3, 0.4]))
        assert low == pytest.approx(1 / 102, abs=1e-6)
        assert high == pytest.approx(101 / 102, abs=1e-6)


def test_hard_labels_of_a_system_become_probabilities() -> None:
    scores, labels = (
        np.repeat([0.0, 0.0, 1.0, 1.0], [180, 20, 40, 60]),
        np.repeat([0.0, 1.0, 0.0, 1.0], [180, 20, 40, 60]),
    )
    low, high = fit_calibrator("platt", scores, labels).apply(np.array([0.0, 1.0]))
    first, second = 1 / 222, 81 / 82
    assert low == pytest.approx(0.9 * first + 0.1 * second, abs=1e-9)
    assert high == pytest.approx(0.4 * first + 0.6 * second, abs=1e-9)


def test_an_unknown_method() -> None:
    with pytest.raises(EvaluationError, match="beta"):
        fit_calibrator("beta", *drawn(100))


# auto


@pytest.mark.parametrize(
    ("slope", "intercept", "methods"),
    [
        (0.4, 0.0, {"temperature", "platt"}),
        (1.6, 0.0, {"temperature", "platt"}),
        (0.6, -2.0, {"platt"}),
        (1.0, 1.0, {"platt"}),
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_auto_finds_what_was_done(slope: float, intercept: float, methods: set[str], seed: int) -> None:
    scores, labels = drawn(4000, seed, slope, intercept)
    chosen, losses = choose_method(scores, labels)
    assert chosen in methods
    assert set(losses) == set(CALIBRATION_METHODS)
    made = fit_calibrator("auto", scores, labels)
    assert made == fit_calibrator(chosen, scores, labels)
    assert losses[chosen] < losses["none"]


def test_auto_often_leaves_right_probabilities_alone() -> None:
    made = [fit_calibrator("auto", *drawn(1000, seed)) for seed in range(20)]
    methods = [calibrator.method for calibrator in made]
    assert methods.count("none") >= 8
    assert "isotonic" not in methods
    assert all("no method" in calibrator.reason for calibrator in made if calibrator.method == "none")
    at = np.array([0.05, 0.2, 0.5])
    for calibrator in made:
        np.testing.assert_allclose(calibrator.apply(at), at, atol=0.1)


def test_auto_takes_isotonic_where_lines_do_not_fit() -> None:
    random = np.random.default_rng(2)
    scores = random.random(6000)
    labels = (random.random(6000) < np.where(scores < 0.5, 0.1, 0.7)).astype(float)
    assert choose_method(scores, labels)[0] == "isotonic"


def test_auto_takes_no_isotonic_for_a_gain_within_noise() -> None:
    random = np.random.default_rng(4)
    z = random.normal(-1.5, 1.5, 2000)
    labels = (random.random(2000) < expit(np.where(z < 0, z, 0.5 * z))).astype(float)
    chosen, losses = choose_method(expit(z), labels)
    assert min(losses, key=losses.__getitem__) == "isotonic"
    assert chosen == "none"


@pytest.mark.parametrize("seed", range(5))
def test_every_fold_has_its_share_of_the_positive_patients(seed: int) -> None:
    random = np.random.default_rng(seed)
    patients, truth = random.integers(0, 400, 900), np.zeros(900, dtype=bool)
    truth[np.isin(patients, np.unique(patients)[:10])] = True
    codes = np.unique(patients, return_inverse=True)[1]
    fold = deal_patients(codes, truth, 5, seed)
    assert [np.unique(patients[truth & (fold == part)]).size for part in range(5)] == [2] * 5
    assert all(np.unique(fold[codes == code]).size == 1 for code in np.unique(codes))


def test_auto_keeps_patients_together() -> None:
    """Each patient's images share score and label: only folds by images let a method learn single patients."""
    random = np.random.default_rng(3)
    own = random.normal(-0.5, 1, 250)
    ill = random.random(250) < expit(own)
    patients = np.repeat(np.arange(250), 30)
    scores, labels = expit(own)[patients], ill[patients].astype(float)
    apart = choose_method(scores, labels)[1]
    together = choose_method(scores, labels, patients)[1]
    assert apart["isotonic"] < together["isotonic"] - 0.005
    assert choose_method(scores, labels)[0] == "isotonic"
    assert choose_method(scores, labels, patients)[0] != "isotonic"
    shuffled = random.permutation(len(patients))  # the order of images is nothing
    again = choose_method(scores[shuffled], labels[shuffled], patients[shuffled])[1]
    assert again == pytest.approx(together, abs=1e-12)


def test_auto_with_few_positives_says_so() -> None:
    labels = np.repeat([1.0, 0.0], [5, 400])
    made = fit_calibrator("auto", np.linspace(0.9, 0.1, 405), labels)
    assert made.method == "none"
    assert "5 and 400" in made.reason


def test_auto_where_one_patient_has_all_positives() -> None:
    random = np.random.default_rng(0)
    labels, patients = np.repeat([1.0, 0.0], [30, 200]), np.repeat([0, *range(1, 201)], [30] + [1] * 200)
    made = fit_calibrator("auto", expit(random.normal(labels, 1)), labels, patients)
    assert made.method == "none"
    assert made.reason


# stored and read


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_what_is_stored_comes_back(method: str) -> None:
    made = fit_calibrator(method, *drawn(1500, 8, 0.7, 0.3))
    again = Calibrator.from_json(json.loads(json.dumps(made.to_json(), allow_nan=False)))
    assert again == made
    at = np.linspace(0, 1, 101)
    np.testing.assert_array_equal(again.apply(at), made.apply(at))


def test_the_reason_is_stored() -> None:
    made = Calibrator("none", {}, "too few")
    assert Calibrator.from_json(made.to_json()) == made


KNOTS = {"x": [0.1, 0.5, 0.9], "y": [0.2, 0.2, 0.8]}


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        "platt",
        {},
        {"method": "temperature"},
        {"parameters": {}},
        {"method": "beta", "parameters": {}},
        {"method": ["platt"], "parameters": {}},
        {"method": "none", "parameters": {"temperature": 1.0}},
        {"method": "none", "parameters": None},
        {"method": "none", "parameters": {}, "reason": 3},
        {"method": "temperature", "parameters": {"temperature": 1.0}, "reason": "why"},
        {"method": "temperature", "parameters": {"temperature": 1.0}, "more": 1},
        {"method": "temperature", "parameters": {}},
        {"method": "temperature", "parameters": {"temperature": 0}},
        {"method": "temperature", "parameters": {"temperature": -1.5}},
        {"method": "temperature", "parameters": {"temperature": NAN}},
        {"method": "temperature", "parameters": {"temperature": math.inf}},
        {"method": "temperature", "parameters": {"temperature": "2"}},
        {"method": "temperature", "parameters": {"temperature": True}},
        {"method": "temperature", "parameters": {"temperature": None}},
        {"method": "platt", "parameters": {"slope": -0.1, "intercept": 0}},
        {"method": "platt", "parameters": {"slope": 1.0}},
        {"method": "platt", "parameters": {"slope": 1.0, "intercept": math.inf}},
        {"method": "platt", "parameters": {"slope": 1.0, "intercept": 0, "temperature": 1}},
        {"method": "isotonic", "parameters": KNOTS | {"x": [0.1, 0.9, 0.5]}},
        {"method": "isotonic", "parameters": KNOTS | {"x": [0.1, 0.1, 0.5]}},
        {"method": "isotonic", "parameters": KNOTS | {"x": [0.1, 0.5]}},
        {"method": "isotonic", "parameters": KNOTS | {"x": 0.5}},
        {"method": "isotonic", "parameters": KNOTS | {"x": [0.1, 0.5, 1.9]}},
        {"method": "isotonic", "parameters": KNOTS | {"y": [0.2, 0.1, 0.8]}},
        {"method": "isotonic", "parameters": KNOTS | {"y": [0.2, 0.2, 0.2]}},
        {"method": "isotonic", "parameters": KNOTS | {"y": [-0.2, 0.2, 0.8]}},
        {"method": "isotonic", "parameters": KNOTS | {"y": [0.2, NAN, 0.8]}},
        {"method": "isotonic", "parameters": KNOTS | {"y": [0.2, "0.2", 0.8]}},
        {"method": "isotonic", "parameters": {"x": [0.1], "y": [0.1]}},
        {"method": "isotonic", "parameters": {"x": [], "y": []}},
    ],
)
def test_what_is_no_calibrator(content: object) -> None:
    with pytest.raises(EvaluationError) as caught:
        Calibrator.from_json(content)
    assert caught.value.code == Code.CALIBRATION_INVALID


# figures


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_scikit_learn(seed: int) -> None:
    scores, labels = drawn(800, seed, 0.6, -0.4)
    found = calibration_figures(np.append(scores, 0.5), np.append(labels, NAN))
    assert found["brier"] == pytest.approx(brier_score_loss(labels, scores), abs=1e-14)
    assert found["log_loss"] == pytest.approx(log_loss(labels, scores), abs=1e-12)
    assert found["mean_score"] == pytest.approx(scores.mean())
    assert found["prevalence"] == labels.mean()
    assert found["brier_skill"] == pytest.approx(
        1 - found["brier"] / brier_score_loss(labels, np.full(800, labels.mean()))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the name of "no penalty" changes between its versions
        line = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit(scores)[:, None], labels)
    assert found["slope"] == pytest.approx(line.coef_[0, 0], abs=1e-5)
    moved = expit(logit(scores) + found["intercept"])
    assert moved.mean() == pytest.approx(labels.mean(), abs=1e-12)


@pytest.mark.parametrize("how", ["width", "mass"])
@pytest.mark.parametrize("bins", [1, 5, 15])
@pytest.mark.parametrize("decimals", [1, 12])
def test_reliability_is_scikit_learns(how: str, bins: int, decimals: int) -> None:
    scores, labels = drawn(500, 5)
    scores = scores.round(decimals)
    table = reliability(scores, labels, bins, how)
    strategy = {"width": "uniform", "mass": "quantile"}[how]
    observed, predicted = calibration_curve(labels, scores, n_bins=bins, strategy=strategy)
    np.testing.assert_allclose(table["observed"], observed, atol=1e-12)
    np.testing.assert_allclose(table["mean_score"], predicted, atol=1e-12)
    assert table["images"].sum() == 500
    ece = np.sum(table["images"] * np.abs(table["observed"] - table["mean_score"])) / 500
    assert calibration_figures(scores, labels, bins)[f"ece_{how}"] == pytest.approx(ece, abs=1e-12)
    assert ((table["observed_low"] <= table["observed"]) & (table["observed"] <= table["observed_high"])).all()
    assert ((table["low"] - 1e-12 <= table["mean_score"]) & (table["mean_score"] <= table["high"] + 1e-12)).all()


def test_bins_by_hand() -> None:
    scores, labels = np.array([0.1, 0.1, 0.4, 0.9, 0.2]), np.array([0.0, 1.0, 0.0, 1.0, NAN])
    table = reliability(scores, labels, 2, "width")
    assert table[["bin", "low", "high", "images"]].to_numpy().tolist() == [[0, 0, 0.5, 3], [1, 0.5, 1, 1]]
    assert table["mean_score"].tolist() == pytest.approx([0.2, 0.9])
    assert table["observed"].tolist() == pytest.approx([1 / 3, 1])
    found = calibration_figures(scores, labels, 2)
    assert found["ece_width"] == pytest.approx((3 * (1 / 3 - 0.2) + 0.1) / 4)
    assert found["brier"] == pytest.approx((0.01 + 0.81 + 0.16 + 0.01) / 4)


def test_equal_scores_are_one_bin() -> None:
    for how in ("width", "mass"):
        assert len(reliability(np.full(50, 0.3), np.repeat([0.0, 1.0], 25), 15, how)) == 1


def test_calibrated_scores_have_slope_1_and_intercept_0() -> None:
    scores, labels = drawn(5000, 9, 0.5, -1.0)
    found = calibration_figures(scores, labels)
    assert found["slope"] == pytest.approx(0.5, abs=0.05)
    after = calibration_figures(fit_calibrator("platt", scores, labels).apply(scores), labels)
    assert after["slope"] == pytest.approx(1, abs=0.01)
    assert after["intercept"] == pytest.approx(0, abs=0.01)
    assert after["ece_mass"] < found["ece_mass"]
    assert after["brier_skill"] > found["brier_skill"]


@pytest.mark.parametrize(
    ("scores", "labels", "undefined"),
    [
        ([], [], "all"),
        ([0.1, 0.9], [NAN, NAN], "all"),
        ([0.1, 0.9], [0, 0], {"brier_skill", "slope", "intercept"}),
        ([0.1, 0.9], [1, 1], {"brier_skill", "slope", "intercept"}),
        ([0.3, 0.3, 0.3], [0, 1, 0], {"slope"}),
        ([0.1, 0.2, 0.3], [0, 0, 1], {"slope"}),  # separated
        ([0.3, 0.2, 0.1], [0, 0, 1], {"slope"}),
        ([0.1, 0.2, 0.2], [0, 0, 1], {"slope"}),  # but for a tie: still no finite slope
        ([0.1, 0.3, 0.2], [0, 0, 1], set()),
        ([0.0, 1.0, 1.0], [0, 0, 1], {"slope"}),
        ([0.0, 1.0, 1.0, 0.0], [0, 0, 1, 1], set()),
    ],
)
def test_what_is_undefined(scores: list[float], labels: list[float], undefined: set[str] | str) -> None:
    found = calibration_figures(np.array(scores), np.array(labels, dtype=float))
    assert {name for name, value in found.items() if np.isnan(value)} == (
        set(found) if undefined == "all" else undefined
    )
    assert not np.isinf(list(found.values())).any()


def test_certain_and_wrong_has_a_finite_loss() -> None:
    found = calibration_figures(np.array([0.0, 1.0]), np.array([1.0, 0.0]))
    assert found["log_loss"] == pytest.approx(-math.log(CLIP), rel=1e-6)
    assert found["brier"] == 1


@pytest.mark.parametrize(
    ("scores", "labels", "bins", "how"),
    [([0.1, 1.1], [0, 1], 5, "mass"), ([0.1, NAN], [0, 1], 5, "mass"), ([0.1, 0.2], [0, 0.5], 5, "mass"),
     ([0.1, 0.2], [0, 1], 0, "mass"), ([0.1, 0.2], [0, 1], 5, "count"), ([0.1], [0, 1], 5, "mass")],
)  # fmt: skip
def test_what_cannot_be_judged(scores: list[float], labels: list[float], bins: int, how: str) -> None:
    with pytest.raises(EvaluationError):
        reliability(np.array(scores), np.array(labels, dtype=float), bins, how)  # type: ignore[arg-type]


def test_nothing_known_has_no_bins() -> None:
    for how in ("width", "mass"):
        table = reliability(np.array([0.5]), np.array([NAN]), 5, how)
        assert isinstance(table, pd.DataFrame)
        assert len(table) == 0


# intervals of slope and intercept


def test_errors_are_those_of_the_sandwich() -> None:
    scores, labels = drawn(600, 12, 0.8, 0.2)
    patients = np.arange(600) // 3
    z = logit(scores)
    slope, intercept = fit_line(z, labels)
    p = expit(slope * z + intercept)
    design = np.column_stack([z, np.ones(600)])
    bread = np.linalg.inv(design.T @ (design * (p * (1 - p))[:, None]))
    clustered = (design * (labels - p)[:, None]).reshape(200, 3, 2).sum(1)
    cover = bread @ (clustered.T @ clustered) @ bread * 200 / 199
    large = expit(z + fit_intercept(z, labels))
    meat = np.sum((labels - large).reshape(200, 3).sum(1) ** 2) * 200 / 199
    expected = math.sqrt(cover[0, 0]), math.sqrt(meat) / np.sum(large * (1 - large))
    assert line_errors(z, labels == 1, slope, intercept, patients) == pytest.approx(expected, rel=1e-9)
    found = calibration_figures(scores, labels, patients=patients)
    assert found["slope_high"] - found["slope_low"] == pytest.approx(2 * 1.959963985 * expected[0])
    assert found["intercept_high"] - found["intercept"] == pytest.approx(1.959963985 * expected[1])


def test_repeated_images_of_patients_add_nothing_to_what_is_known() -> None:
    scores, labels = drawn(300, 13)
    once = calibration_figures(scores, labels, patients=np.arange(300))
    four = calibration_figures(np.repeat(scores, 4), np.repeat(labels, 4), patients=np.repeat(np.arange(300), 4))
    for name in ("slope", "slope_low", "intercept", "intercept_high"):
        assert four[name] == pytest.approx(once[name], abs=1e-8)


def test_one_patient_has_no_interval() -> None:
    found = calibration_figures(*drawn(50), patients=np.zeros(50, dtype=int))
    assert np.isnan([found["slope_low"], found["intercept_high"]]).all()
    assert not np.isnan(found["slope"])
