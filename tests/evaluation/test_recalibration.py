"""Another site: little data, another prevalence, and thresholds that may not hold there."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.bootstrap import PatientBootstrap
from cxr_monai.evaluation.logistic import logit
from cxr_monai.evaluation.operating_points import operating_table
from cxr_monai.evaluation.recalibration import (
    FEWEST_TO_RECALIBRATE,
    check_operating_points,
    choose_update,
    recalibrate,
    shift_prevalence,
)
from cxr_monai.evaluation.sample import Sample

NAN = np.nan


def drawn(count: int, seed: int = 0, slope: float = 1.0, intercept: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose right calibration is ``expit(slope * logit + intercept)``, and labels."""
    random = np.random.default_rng(seed)
    z = random.normal(-1.0, 1.5, count)
    return expit(z), (random.random(count) < expit(slope * z + intercept)).astype(float)


# recalibration


def test_intercept_makes_the_mean_right() -> None:
    scores, labels = drawn(300, 1, 1.0, -1.5)
    made = recalibrate(scores, labels, "intercept")
    assert made.parameters["slope"] == 1
    assert made.parameters["intercept"] == pytest.approx(-1.5, abs=0.5)
    assert made.apply(scores).mean() == pytest.approx(labels.mean(), abs=1e-12)


def test_intercept_by_hand() -> None:
    # everyone at 1/2, one in four positive: the odds of 1 become odds of 1/3
    scores, labels = np.full(40, 0.5), np.repeat([1.0, 0.0], [10, 30])
    assert recalibrate(scores, labels, "intercept").parameters["intercept"] == pytest.approx(-np.log(3), abs=1e-12)


def test_slope_is_the_penalised_minimum() -> None:
    scores, labels = drawn(300, 2, 0.4, -0.5)
    z = logit(scores)

    def loss(at: np.ndarray) -> float:
        line = at[0] * z + at[1]
        return float(np.sum(np.logaddexp(0, line) - labels * line) + 8 * (at[0] - 1) ** 2)

    made = recalibrate(scores, labels, "slope").parameters
    best = minimize(loss, [1, 0], tol=1e-12)
    assert (made["slope"], made["intercept"]) == pytest.approx(tuple(best.x), abs=1e-4)


def test_little_data_leaves_the_slope_nearer_to_1() -> None:
    slopes = []
    for count in (80, 400, 20000):
        fitted = [recalibrate(*drawn(count, seed, 0.4), "slope").parameters["slope"] for seed in range(5)]
        slopes.append(np.mean(fitted))
    assert 1 > slopes[0] > slopes[1] > slopes[2]
    assert slopes[2] == pytest.approx(0.4, abs=0.03)


def test_separated_scores_have_a_finite_slope() -> None:
    made = recalibrate(np.repeat([0.3, 0.6], 25), np.repeat([0.0, 1.0], 25), "slope")
    assert 1 < made.parameters["slope"] < 3


@pytest.mark.parametrize("how", ["intercept", "slope"])
def test_order_of_images_stays(how: str) -> None:
    scores, labels = drawn(500, 3, 0.5, -1)
    assert roc_auc_score(labels, recalibrate(scores, labels, how).apply(scores)) == roc_auc_score(labels, scores)


@pytest.mark.parametrize("how", ["intercept", "slope"])
def test_the_minimum_counts_patients(how: str) -> None:
    need = FEWEST_TO_RECALIBRATE[how]
    random = np.random.default_rng(0)
    labels = np.repeat([1.0, 0.0], [3 * need, 200])
    scores = expit(random.normal(labels, 1))
    patients = np.concatenate([np.arange(3 * need) // 3, np.arange(1000, 1200)])
    assert recalibrate(scores, labels, how, patients).method == "platt"
    patients[:6] = 1  # patients 0 and 1 are one
    made = recalibrate(scores, labels, how, patients)
    assert made.method == "none"
    assert f"needs {need} patients" in made.reason
    assert f"{need - 1} and 200" in made.reason


@pytest.mark.parametrize("how", ["auto", "intercept", "slope"])
@pytest.mark.parametrize("labels", [[], [NAN] * 50, [0.0] * 50, [1.0] * 50])
def test_labels_of_one_kind(how: str, labels: list[float]) -> None:
    made = recalibrate(np.linspace(0.1, 0.9, len(labels)), np.array(labels), how)
    assert made.method == "none"
    assert made.reason


def test_the_wrong_way_round_is_refused() -> None:
    scores, labels = np.linspace(0.05, 0.95, 400), np.repeat([1.0, 0.0], 200)
    made = recalibrate(scores, labels, "slope")
    assert made.method == "none"
    assert "against its labels" in made.reason


def test_unknown_labels_are_left_out() -> None:
    scores, labels = drawn(300, 4, 1.0, -1.0)
    patients = np.arange(300)
    more = np.append(scores, [0.9] * 50), np.append(labels, [NAN] * 50)
    for how in ("auto", "intercept", "slope"):
        assert recalibrate(*more, how, np.append(patients, patients[:50])) == recalibrate(scores, labels, how, patients)


@pytest.mark.parametrize(
    ("scores", "labels", "how"),
    [([0.1, 2.0], [0, 1], "slope"), ([0.1, 0.2], [0, 3], "slope"), ([0.1, 0.2], [0, 1], "both")],
)
def test_what_cannot_be_recalibrated(scores: list[float], labels: list[float], how: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        recalibrate(np.array(scores), np.array(labels, dtype=float), how)
    assert caught.value.code == Code.EVALUATION_INVALID


# the choice


@pytest.mark.parametrize(
    ("count", "slope", "intercept", "update"),
    [
        (400, 1.0, 0.0, "none"),
        (400, 1.0, -1.5, "intercept"),
        (3000, 0.5, 0.0, "slope"),
        (3000, 0.5, -1.0, "slope"),
        (60, 1.0, 0.2, "none"),  # too little to see it
    ],
)
def test_choice(count: int, slope: float, intercept: float, update: str) -> None:
    assert choose_update(*drawn(count, 5, slope, intercept))[0] == update


def test_few_positives_never_move_the_slope() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([1.0, 0.0], [15, 400])
    scores = expit(4 * random.normal(labels, 1) + 4)  # far too high, far too extreme
    assert choose_update(scores, labels)[0] == "intercept"
    assert choose_update(scores, np.where(np.arange(415) < 11, NAN, labels)) == (
        "none", "a recalibration needs 5 patients with it and 5 without, and there are 4 and 400",
    )  # fmt: skip


def test_what_is_right_is_mostly_left_alone() -> None:
    changed = [choose_update(*drawn(300, seed))[0] != "none" for seed in range(400)]
    assert 0.02 <= np.mean(changed) <= 0.08  # a test at 5 %


def test_a_slope_that_is_right_is_mostly_left_alone() -> None:
    """A rare finding, its probabilities all too low by one: the slope's test is one at 5 % all the same."""
    updates = []
    for seed in range(300):
        random = np.random.default_rng(seed)
        z = random.normal(-4, 1, 3000)
        updates.append(choose_update(expit(z), (random.random(3000) < expit(z + 1)).astype(float))[0])
    assert updates.count("none") == 0
    assert 0.02 <= updates.count("slope") / 300 <= 0.08


def test_images_of_a_patient_are_one_voice() -> None:
    """Every patient five times the same: by images the test at 5 % is wrong far more often, by patients it is not."""
    by_image, by_patient = [], []
    for seed in range(200):
        scores, labels = (np.repeat(part, 5) for part in drawn(150, seed))
        by_image.append(choose_update(scores, labels)[0] != "none")
        by_patient.append(choose_update(scores, labels, np.repeat(np.arange(150), 5))[0] != "none")
    assert np.mean(by_image) > 0.3
    assert np.mean(by_patient) < 0.1


def test_auto_does_what_was_chosen() -> None:
    scores, labels = drawn(400, 5, 1.0, -1.5)
    assert recalibrate(scores, labels) == recalibrate(scores, labels, "intercept")
    scores, labels = drawn(3000, 5, 0.5, -1.0)
    assert recalibrate(scores, labels) == recalibrate(scores, labels, "slope")
    made = recalibrate(*drawn(400, 5))
    assert made.method == "none"
    assert "speaks clearly against" in made.reason


# prevalence


@pytest.mark.parametrize(
    ("p", "old", "new", "expected"),
    [
        (0.5, 0.5, 0.1, 0.1),
        (0.2, 0.2, 0.02, 0.02),  # an image that says nothing keeps saying nothing
        (0.9, 0.5, 0.1, 0.5),
        (0.9, 0.1, 0.5, 81 / 82),
        (0.37, 0.2, 0.2, 0.37),
        (0.0, 0.2, 0.9, 0.0),
        (1.0, 0.2, 0.01, 1.0),
        (NAN, 0.2, 0.3, NAN),
    ],
)
def test_prevalence_by_hand(p: float, old: float, new: float, expected: float) -> None:
    np.testing.assert_allclose(shift_prevalence(np.array([p]), old, new), [expected], rtol=1e-13)


def test_prevalence_there_and_back() -> None:
    p = np.linspace(0, 1, 101).reshape(-1, 1)
    there = shift_prevalence(p, 0.3, 0.02)
    assert there.shape == p.shape
    np.testing.assert_allclose(shift_prevalence(there, 0.02, 0.3), p, atol=1e-14)
    np.testing.assert_allclose(
        logit(there[1:-1]) - logit(p[1:-1]), logit(np.array(0.02)) - logit(np.array(0.3)), rtol=1e-9
    )


def test_prevalence_of_a_population_that_is_thinned_out() -> None:
    """Scores right at one prevalence are right at another once shifted."""
    scores, labels = drawn(200_000, 6)
    keep = (labels == 0) | (np.random.default_rng(0).random(labels.size) < 0.1)
    old, new = labels.mean(), labels[keep].mean()
    shifted = shift_prevalence(scores[keep], old, new)
    assert shifted.mean() == pytest.approx(new, abs=0.003)
    high = shifted > 0.3
    assert shifted[high].mean() == pytest.approx(labels[keep][high].mean(), abs=0.02)


@pytest.mark.parametrize(
    ("p", "old", "new"),
    [(0.5, 0, 0.1), (0.5, 1, 0.1), (0.5, 0.1, 0), (0.5, 0.1, 1), (0.5, NAN, 0.1), (0.5, 10, 0.1), (1.5, 0.1, 0.2),
     (-0.5, 0.1, 0.2)],
)  # fmt: skip
def test_prevalence_that_is_none(p: float, old: float, new: float) -> None:
    with pytest.raises(EvaluationError):
        shift_prevalence(np.array([p]), old, new)


# operating points elsewhere


@pytest.fixture(scope="module")
def site() -> Sample:
    """600 patients, one image each; above 0.5 are 90 % of 200 positives and 20 % of 400 negatives; or 10 positives."""
    scores, labels = np.zeros((600, 2)), np.zeros((600, 2))
    labels[:200, 0] = 1
    scores[:, 0] = np.repeat([0.9, 0.1, 0.9, 0.1], [180, 20, 80, 320])
    labels[:, 1] = np.repeat([1.0, 0.0, NAN], [10, 400, 190])
    scores[:, 1] = np.repeat([0.9, 0.1, 0.9, 0.1, 0.3], [9, 1, 80, 320, 190])
    table = pd.DataFrame({"image": [f"{i}.png" for i in range(600)], "patient_id": [str(i) for i in range(600)]})
    return Sample.of(table, ("Mass", "Hernia"), scores, labels)


@pytest.mark.parametrize(
    ("finding", "sensitivity", "specificity", "holds", "why"),
    [
        ("Mass", 0.9, 0.8, "yes", ""),
        ("Mass", 0.87, 0.83, "yes", ""),  # within the margin
        ("Mass", 0.7, 0.8, "no", "sensitivity higher"),
        ("Mass", 0.9, 0.95, "no", "specificity lower"),
        ("Mass", 0.7, 0.95, "no", "sensitivity higher, specificity lower"),
        ("Mass", 0.85, NAN, "too few to say", "specificity not expected to be anything"),
        ("Hernia", 0.9, 0.8, "too few to say", "sensitivity within 0.60 to 0.98"),
        ("Hernia", 0.3, 0.8, "no", "sensitivity higher"),
    ],
)
def test_whether_a_threshold_holds(
    site: Sample, finding: str, sensitivity: float, specificity: float, holds: str, why: str
) -> None:
    expected = {finding: {"youden": {"sensitivity": sensitivity, "specificity": specificity}}}
    bootstrap = PatientBootstrap(site.patients, 300, 0)
    table = check_operating_points(site, {finding: {"youden": 0.5}}, expected, bootstrap)
    assert table[["holds", "why"]].to_numpy().tolist() == [[holds, why]]


def test_the_checks_figures_are_the_tables(site: Sample) -> None:
    points = {"Mass": {"youden": 0.5, "f1": 0.95}, "Hernia": {"youden": 0.5}}
    bootstrap = PatientBootstrap(site.patients, 200, 0)
    table = check_operating_points(site, points, {"Mass": {"f1": {"sensitivity": 0.2, "specificity": 0.9}}}, bootstrap)
    reference = operating_table(site, points, bootstrap)
    assert table.columns.tolist() == [
        "finding", "rule", "threshold", "images", "positives",
        "expected_sensitivity", "observed_sensitivity", "observed_sensitivity_low", "observed_sensitivity_high",
        "expected_specificity", "observed_specificity", "observed_specificity_low", "observed_specificity_high",
        "holds", "why",
    ]  # fmt: skip
    np.testing.assert_array_equal(table["observed_sensitivity"], reference["sensitivity"])
    np.testing.assert_array_equal(table["observed_specificity_low"], reference["specificity_patient_low"])
    assert table["expected_sensitivity"].isna().tolist() == [True, False, True]
    assert table["holds"].tolist() == ["too few to say", "no", "too few to say"]


def test_a_finding_without_positives_is_not_judged(site: Sample) -> None:
    part = site.take(np.arange(200, 600))
    expected = {"Mass": {"youden": {"sensitivity": 0.9, "specificity": 0.8}}}
    table = check_operating_points(part, {"Mass": {"youden": 0.5}}, expected, PatientBootstrap(part.patients, 200, 0))
    assert table["holds"][0] == "too few to say"
    assert table["why"][0] == "sensitivity not observed"
    assert len(check_operating_points(part, {}, {}, PatientBootstrap(part.patients, 10, 0))) == 0


@pytest.mark.parametrize("margin", [0, 1, 5, -0.1])
def test_a_margin_that_is_none(site: Sample, margin: float) -> None:
    with pytest.raises(EvaluationError):
        check_operating_points(site, {}, {}, PatientBootstrap(site.patients, 10, 0), margin=margin)
