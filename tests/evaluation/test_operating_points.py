"""Thresholds and what they do: by hand, against brute force over all thresholds, and against scikit-learn."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score, roc_curve

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.bootstrap import PatientBootstrap
from cxr_monai.evaluation.operating_points import (
    RATIOS,
    SHARES,
    Rule,
    choose_threshold,
    counts_at,
    figures,
    operating_table,
    predictive_values_at,
)
from cxr_monai.evaluation.proportions import wilson
from cxr_monai.evaluation.sample import Sample

NAN = np.nan
RULE_TEXTS = [
    "youden",
    "f1",
    "sensitivity=0.9",
    "sensitivity=1",
    "specificity=0.9",
    "specificity=0.5",
    "cost=1",
    "cost=7.5",
]


def sample_of(
    scores: np.ndarray, labels: np.ndarray, patients: np.ndarray, findings: tuple[str, ...] = ("Mass",)
) -> Sample:
    table = pd.DataFrame({"image": [f"{i}.png" for i in range(len(patients))], "patient_id": patients.astype(str)})
    return Sample.of(table, findings, np.reshape(scores, (len(patients), -1)), np.reshape(labels, (len(patients), -1)))


# rules


@pytest.mark.parametrize("text", [*RULE_TEXTS, "cost=0.1", "specificity=0.995"])
def test_a_rule_is_written_as_it_is_read(text: str) -> None:
    assert str(Rule.parse(text)) == text
    assert Rule.parse(Rule.parse(text)) == Rule.parse(text)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (" Youden ", Rule("youden")),
        ("sensitivity = 0.90", Rule("sensitivity", 0.9)),
        ("cost=10:1", Rule("cost", 10.0)),
        ("cost=3:2", Rule("cost", 1.5)),
    ],
)
def test_other_spellings(text: str, rule: Rule) -> None:
    assert Rule.parse(text) == rule


@pytest.mark.parametrize(
    "text",
    ["", "recall=0.9", "youden=1", "f1=0.5", "sensitivity", "sensitivity=", "sensitivity=0", "sensitivity=1.1",
     "sensitivity=90", "sensitivity=nan", "sensitivity=9:10", "specificity=-1", "specificity=x", "cost", "cost=0",
     "cost=-1", "cost=inf", "cost=nan", "cost=1:0", "cost=a:b"],
)  # fmt: skip
def test_no_such_rule(text: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        Rule.parse(text)
    assert caught.value.code == Code.EVALUATION_INVALID
    assert "cost=C" in str(caught.value)


# choosing

#          -    -    +    -    +    +
SCORES = [0.1, 0.2, 0.3, 0.4, 0.6, 0.8]
LABELS = [0.0, 0.0, 1.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [
        # sensitivity + specificity: 2/3 + 1 above 0.4, 1 + 2/3 above 0.2: equal, so the lower
        ("youden", 0.25),
        # F1 0.8 above 0.4, 6/7 above 0.2
        ("f1", 0.25),
        ("sensitivity=0.6", 0.5),
        ("sensitivity=0.67", 0.25),
        ("sensitivity=0.3", 0.7),
        ("specificity=1", 0.5),
        ("specificity=0.6", 0.25),
        ("specificity=0.3", 0.15),
        ("cost=0.4", 0.5),  # 0.4 of a miss above 0.4, one false alarm above 0.2
        ("cost=1.5", 0.25),
        ("cost=0.001", 0.5),
    ],
)
def test_choice_by_hand(rule: str, threshold: float) -> None:
    assert choose_threshold(np.array(SCORES), np.array(LABELS), rule) == pytest.approx(threshold, abs=1e-15)


def test_beyond_the_ends() -> None:
    scores, labels = np.array([0.2, 0.4, 0.6]), np.array([1.0, 0.0, 0.0])
    assert choose_threshold(scores, labels, "sensitivity=1") == 0.1  # halfway to 0: everything
    assert choose_threshold(scores, labels, "cost=0.5") == 0.8  # halfway to 1: nothing
    assert choose_threshold(scores, labels, "specificity=1") == 0.8
    assert choose_threshold(np.array([0.0, 0.4, 0.6]), labels, "sensitivity=1") == 0.0


def test_a_score_of_one_is_always_called() -> None:
    scores, labels = np.array([0.2, 0.4, 1.0, 1.0]), np.array([1.0, 0.0, 0.0, 1.0])
    assert math.isnan(choose_threshold(scores, labels, "specificity=0.9"))
    assert choose_threshold(scores, labels, "specificity=0.5") == pytest.approx(0.7)
    assert choose_threshold(scores, labels, "cost=0.1") == pytest.approx(0.7)


def brute_force(scores: np.ndarray, labels: np.ndarray, rule: Rule) -> float:
    """The best value of what the rule asks for, over every possible division of the scores."""
    best = -np.inf
    for threshold in [*np.unique(scores), 2.0]:
        tp, fp, tn, fn = (part.sum() for part in counts_at(scores, labels, threshold))
        value = -np.inf
        if rule.name == "youden":
            value = tp / (tp + fn) - fp / (fp + tn)
        elif rule.name == "f1":
            value = 2 * tp / (2 * tp + fp + fn)
        elif rule.name == "cost":
            value = -(rule.value * fn + fp)
        elif rule.name == "sensitivity" and tp / (tp + fn) >= rule.value:
            value = -(tp + fp)
        elif rule.name == "specificity" and tn / (tn + fp) >= rule.value:
            value = tp + fp
        best = max(best, value)
    return best


@pytest.mark.parametrize("text", RULE_TEXTS)
@pytest.mark.parametrize("seed", range(12))
def test_choice_is_the_best_of_all(seed: int, text: str) -> None:
    random = np.random.default_rng(seed)
    labels = np.array([0.0, 1.0, *(random.random(38) < 0.3)])
    scores = np.clip(random.normal(0.3 + 0.2 * labels, 0.2), 0.01, 0.99).round(1 + seed % 3)  # ties
    rule = Rule.parse(text)
    threshold = choose_threshold(scores, labels, rule)
    tp, fp, tn, fn = (int(part.sum()) for part in counts_at(scores, labels, threshold))
    reached = {
        "youden": tp / (tp + fn) - fp / (fp + tn),
        "f1": 2 * tp / (2 * tp + fp + fn),
        "cost": -((rule.value or 0) * fn + fp),
        "sensitivity": -(tp + fp),
        "specificity": tp + fp,
    }[rule.name]
    assert reached == pytest.approx(brute_force(scores, labels, rule), abs=1e-12)


def test_youden_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(5)
    labels = (random.random(3000) < 0.1).astype(float)
    scores = random.beta(1 + 2 * labels, 8)
    fpr, tpr, _ = roc_curve(labels, scores)
    reached = figures(*(part.sum() for part in counts_at(scores, labels, choose_threshold(scores, labels, "youden"))))
    assert reached["sensitivity"] + reached["specificity"] - 1 == pytest.approx((tpr - fpr).max(), abs=1e-12)


@pytest.mark.parametrize("rule", RULE_TEXTS)
@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        ([], []),
        ([0.1, 0.2], [NAN, NAN]),
        ([0.1, 0.2], [0, 0]),
        ([0.1, 0.2], [1, 1]),
        ([0.1, 0.2, 0.3], [1, NAN, 1]),
        ([0.3, 0.3, 0.3], [1, 0, 0]),  # constant
    ],
)
def test_nothing_to_choose(scores: list[float], labels: list[float], rule: str) -> None:
    assert math.isnan(choose_threshold(np.array(scores), np.array(labels), rule))


@pytest.mark.parametrize("rule", RULE_TEXTS)
def test_one_positive_is_enough_to_have_an_answer(rule: str) -> None:
    threshold = choose_threshold(np.array([0.1, 0.2, 0.7, 0.3]), np.array([0.0, 0.0, 1.0, 0.0]), rule)
    assert 0 <= threshold <= 1


@pytest.mark.parametrize("rule", RULE_TEXTS)
def test_unknown_labels_do_not_matter(rule: str) -> None:
    scores, labels = np.array([*SCORES, 0.55, 0.05]), np.array([*LABELS, NAN, NAN])
    assert choose_threshold(scores, labels, rule) == choose_threshold(np.array(SCORES), np.array(LABELS), rule)


@pytest.mark.parametrize("rule", RULE_TEXTS)
def test_a_monotone_change_of_scale_changes_no_call(rule: str) -> None:
    random = np.random.default_rng(3)
    labels = (random.random(400) < 0.2).astype(float)
    scores = random.beta(1 + labels, 4)
    for changed in (scores**3, np.sqrt(scores)):
        before = scores >= choose_threshold(scores, labels, rule)
        after = changed >= choose_threshold(changed, labels, rule)
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("rule", ["youden", "f1", "sensitivity=0.9", "specificity=0.9", "cost=4"])
def test_the_last_digits_of_stored_scores_decide_nothing(rule: str) -> None:
    random = np.random.default_rng(4)
    labels = (random.random(500) < 0.2).astype(float)
    scores = random.beta(1 + labels, 4).astype(np.float32).astype(float)
    threshold = choose_threshold(scores, labels, rule)
    stored = np.array([float(f"{score:.8g}") for score in scores])
    np.testing.assert_array_equal(stored >= threshold, scores >= threshold)


@pytest.mark.parametrize("low", [0.3, np.nextafter(0.3, 1)])  # of the two, one's middle is rounded down
def test_neighbours_in_floating_point(low: float) -> None:
    high = np.nextafter(low, 1)
    threshold = choose_threshold(np.array([low, high]), np.array([0.0, 1.0]), "youden")
    assert low < threshold <= high


def test_a_rarer_finding_moves_the_cheapest_threshold_up() -> None:
    random = np.random.default_rng(6)
    labels = (random.random(2000) < 0.5).astype(float)
    scores = random.beta(2 + 2 * labels, 4)
    at = [choose_threshold(scores, labels, "cost=5", prevalence) for prevalence in (0.5, 0.2, 0.05)]
    assert at[0] < at[1] < at[2]
    same = float(labels.mean())
    for rule in ("cost=5", "f1"):
        assert choose_threshold(scores, labels, rule, same) == choose_threshold(scores, labels, rule)
    assert choose_threshold(scores, labels, "youden", 0.01) == choose_threshold(scores, labels, "youden")


@pytest.mark.parametrize(
    ("scores", "labels", "prevalence"),
    [([0.1, 1.2], [0, 1], None), ([0.1, -0.2], [0, 1], None), ([0.1, NAN], [0, 1], None), ([0.1, 0.2], [0, 2], None),
     ([0.1, 0.2, 0.3], [0, 1], None), ([0.1, 0.2], [0, 1], 0.0), ([0.1, 0.2], [0, 1], 1.0), ([0.1, 0.2], [0, 1], NAN)],
)  # fmt: skip
def test_what_cannot_be_chosen_from(scores: list[float], labels: list[float], prevalence: float | None) -> None:
    with pytest.raises(EvaluationError):
        choose_threshold(np.array(scores), np.array(labels, dtype=float), "cost=2", prevalence)


# figures


def test_counts_by_hand() -> None:
    tp, fp, tn, fn = counts_at(np.array([0.5, 0.5, 0.4, 0.4, 0.9]), np.array([1, 0, 0, 1, NAN]), 0.5)
    assert (tp.tolist(), fp.tolist()) == ([1, 0, 0, 0, 0], [0, 1, 0, 0, 0])
    assert (tn.tolist(), fn.tolist()) == ([0, 0, 1, 0, 0], [0, 0, 0, 1, 0])


def test_figures_are_scikit_learns() -> None:
    random = np.random.default_rng(0)
    labels, scores = (random.random(200) < 0.3).astype(float), random.random(200)
    found = figures(*(part.sum() for part in counts_at(scores, labels, 0.4)))
    called = scores >= 0.4
    tn, fp, fn, tp = confusion_matrix(labels, called).ravel()
    assert found["sensitivity"] == pytest.approx(recall_score(labels, called))
    assert found["specificity"] == pytest.approx(recall_score(labels, called, pos_label=0))
    assert found["ppv"] == pytest.approx(precision_score(labels, called))
    assert found["npv"] == pytest.approx(precision_score(labels, called, pos_label=0))
    assert found["f1"] == pytest.approx(f1_score(labels, called))
    assert found["accuracy"] == pytest.approx(np.mean(labels == called))
    assert found["lr_positive"] == pytest.approx((tp / (tp + fn)) / (fp / (fp + tn)))
    assert found["lr_negative"] == pytest.approx((fn / (tp + fn)) / (tn / (fp + tn)))


@pytest.mark.parametrize(
    ("counts", "undefined", "infinite"),
    [
        ((0, 0, 0, 0), {*SHARES, *RATIOS}, set()),
        ((0, 2, 3, 0), {"sensitivity", *RATIOS}, set()),  # no positive; F1 is 0
        ((2, 0, 0, 3), {"specificity", *RATIOS}, set()),  # no negative
        ((0, 0, 5, 5), {"ppv", "lr_positive"}, set()),  # nothing called
        ((5, 5, 0, 0), {"npv", "lr_negative"}, set()),  # everything called
        ((3, 0, 5, 2), set(), {"lr_positive"}),
        ((3, 5, 0, 2), set(), {"lr_negative"}),
        ((0, 0, 5, 0), {"sensitivity", "ppv", "f1", *RATIOS}, set()),
    ],
)
def test_what_is_undefined(counts: tuple[int, ...], undefined: set[str], infinite: set[str]) -> None:
    found = figures(*map(np.array, counts))
    assert {name for name, value in found.items() if np.isnan(value)} == undefined
    assert {name for name, value in found.items() if np.isinf(value)} == infinite


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "prevalence", "ppv", "npv"),
    [
        (0.9, 0.8, 0.1, 9 / 27, 72 / 73),
        (0.5, 0.9, 0.5, 5 / 6, 9 / 14),
        (0.9, 0.8, 0.0, 0.0, 1.0),
        (0.9, 0.8, 1.0, 1.0, 0.0),
        (0.9, 1.0, 0.3, 1.0, 0.7 / 0.73),
        (0.0, 1.0, 0.3, NAN, 0.7),
        (1.0, 0.0, 0.3, 0.3, NAN),
        (NAN, 0.9, 0.3, NAN, NAN),
        (0.9, 0.9, NAN, NAN, NAN),
    ],
)
def test_bayes_by_hand(sensitivity: float, specificity: float, prevalence: float, ppv: float, npv: float) -> None:
    found = predictive_values_at(sensitivity, specificity, prevalence)
    np.testing.assert_allclose(found, (ppv, npv), rtol=1e-14, atol=1e-15)


def test_bayes_at_the_samples_own_prevalence_is_what_was_counted() -> None:
    found = figures(*map(np.array, (30, 20, 140, 10)))
    ppv, npv = predictive_values_at(found["sensitivity"], found["specificity"], 40 / 200)
    assert (ppv, npv) == pytest.approx((30 / 50, 140 / 150))


@pytest.mark.parametrize("prevalence", [-0.1, 1.01, 20])
def test_a_prevalence_that_is_none(prevalence: float) -> None:
    with pytest.raises(EvaluationError):
        predictive_values_at(0.9, 0.9, prevalence)


# the table


@pytest.fixture(scope="module")
def sample() -> Sample:
    """300 patients with 3 images each, two findings, of the second some labels unknown."""
    random = np.random.default_rng(0)
    patients = np.repeat(np.arange(300), 3)
    ill = np.repeat(random.random((300, 2)) < [0.3, 0.1], 3, axis=0)
    scores = np.clip(np.repeat(random.normal(0, 0.12, (300, 2)), 3, axis=0) + 0.3 + 0.3 * ill, 0, 1)
    labels = ill.astype(float)
    labels[random.random(900) < 0.2, 1] = NAN
    return sample_of(scores, labels, patients, ("Mass", "Hernia"))


POINTS = {"Mass": {"youden": 0.45, "cost=10": 0.3}, "Hernia": {"youden": 0.5}}


@pytest.fixture(scope="module")
def table(sample: Sample) -> pd.DataFrame:
    return operating_table(sample, POINTS, PatientBootstrap(sample.patients, 300, 0), {"Hernia": 0.02})


def test_rows_and_columns(table: pd.DataFrame) -> None:
    assert table[["finding", "rule"]].to_numpy().tolist() == [
        ["Mass", "youden"],
        ["Mass", "cost=10"],
        ["Hernia", "youden"],
    ]
    start = ["finding", "rule", "threshold", "images", "positives", "tp", "fp", "tn", "fn", "prevalence"]
    middle = [
        name + end
        for name in (*SHARES, *RATIOS, "flagged_per_1000")
        for end in ("", "_low", "_high", "_patient_low", "_patient_high")
    ]
    assert table.columns[: len(start) + len(middle)].tolist() == start + middle
    assert table.columns[len(start) + len(middle) :].tolist() == [
        "stated_prevalence", "ppv_at_prevalence", "ppv_at_prevalence_patient_low", "ppv_at_prevalence_patient_high",
        "npv_at_prevalence", "npv_at_prevalence_patient_low", "npv_at_prevalence_patient_high",
        "flagged_per_1000_at_prevalence",
    ]  # fmt: skip
    assert all(pd.api.types.is_integer_dtype(table[name]) for name in ("images", "positives", "tp", "fp", "tn", "fn"))


def test_counts_and_figures_of_a_row(sample: Sample, table: pd.DataFrame) -> None:
    row = table.iloc[2]
    scores, labels = sample.column("Hernia")
    known = ~np.isnan(labels)
    tn, fp, fn, tp = confusion_matrix(labels[known], scores[known] >= 0.5).ravel()
    assert row[["tp", "fp", "tn", "fn"]].tolist() == [tp, fp, tn, fn]
    assert row["images"] == known.sum()
    assert row["positives"] == np.nansum(labels)
    assert row["prevalence"] == pytest.approx(np.nanmean(labels))
    assert row["sensitivity"] == pytest.approx(tp / (tp + fn))
    assert row["flagged_per_1000"] == pytest.approx(1000 * (tp + fp) / known.sum())
    assert (row["sensitivity_low"], row["sensitivity_high"]) == pytest.approx(tuple(map(float, wilson(tp, tp + fn))))
    assert (row["ppv_low"], row["ppv_high"]) == pytest.approx(tuple(map(float, wilson(tp, tp + fp))))
    overlap = np.array(wilson(tp, tp + fp + fn))
    assert (row["f1_low"], row["f1_high"]) == pytest.approx(tuple(2 * overlap / (1 + overlap)))
    flagged = 1000 * np.array(wilson(tp + fp, known.sum()))
    assert (row["flagged_per_1000_low"], row["flagged_per_1000_high"]) == pytest.approx(tuple(flagged))


def test_every_interval_holds_its_figure_and_patients_widen_it(table: pd.DataFrame) -> None:
    for name, kind in itertools.product((*SHARES, *RATIOS, "flagged_per_1000"), ("", "_patient")):
        assert (table[f"{name}{kind}_low"] <= table[name]).all()
        assert (table[name] <= table[f"{name}{kind}_high"]).all()
    wide = table["sensitivity_patient_high"] - table["sensitivity_patient_low"]
    narrow = table["sensitivity_high"] - table["sensitivity_low"]
    assert (wide / narrow).between(1.4, 1.9).all()  # three alike images a patient: the root of 3


def test_patient_interval_is_near_the_percentiles_of_a_loop_over_patients(sample: Sample, table: pd.DataFrame) -> None:
    random = np.random.default_rng(9)
    scores, labels = sample.column("Mass")
    by_patient = np.stack(counts_at(scores, labels, 0.45), 1).reshape(300, 3, 4).sum(1)
    draws = np.stack([by_patient[random.integers(0, 300, 300)].sum(0) for _ in range(2000)])
    for name in ("sensitivity", "specificity", "ppv", "npv", "f1", "accuracy", "lr_positive", "lr_negative"):
        low, high = np.quantile(figures(*draws.T)[name], [0.025, 0.975])
        row = table.iloc[0]
        width = high - low
        assert row[f"{name}_patient_low"] == pytest.approx(low, abs=0.25 * width)
        assert row[f"{name}_patient_high"] == pytest.approx(high, abs=0.25 * width)


def test_stated_prevalence(table: pd.DataFrame) -> None:
    row = table.iloc[2]
    ppv, npv = predictive_values_at(row["sensitivity"], row["specificity"], 0.02)
    assert (row["ppv_at_prevalence"], row["npv_at_prevalence"]) == pytest.approx((float(ppv), float(npv)))
    for name, ratio in (("ppv", "lr_positive"), ("npv", "lr_negative")):
        assert row[f"{name}_at_prevalence_patient_low"] < row[f"{name}_at_prevalence"]
        assert row[f"{name}_at_prevalence"] < row[f"{name}_at_prevalence_patient_high"]
        end = row[f"{ratio}_patient_low"] * 0.02 / 0.98
        probability = end / (1 + end)
        expected = probability if name == "ppv" else 1 - probability
        column = f"{name}_at_prevalence_patient_{'low' if name == 'ppv' else 'high'}"
        assert row[column] == pytest.approx(expected)
    flagged = 1000 * (row["sensitivity"] * 0.02 + (1 - row["specificity"]) * 0.98)
    assert row["flagged_per_1000_at_prevalence"] == pytest.approx(flagged)
    assert table.iloc[:2][[name for name in table if "at_prevalence" in name]].isna().all(axis=None)


def test_no_false_alarm_is_no_certainty() -> None:
    scores, labels = np.array([0.9] * 5 + [0.1] * 45), np.array([1.0] * 5 + [0.0] * 45)
    sample = sample_of(scores, labels, np.arange(50))
    row = operating_table(
        sample, {"Mass": {"youden": 0.5}}, PatientBootstrap(sample.patients, 200, 0), {"Mass": 0.01}
    ).iloc[0]
    assert row["sensitivity"] == row["specificity"] == row["ppv_at_prevalence"] == 1
    assert row["sensitivity_patient_low"] == pytest.approx(float(wilson(5, 5)[0]))
    assert row["lr_positive"] == row["lr_positive_patient_high"] == math.inf
    assert 1 < row["lr_positive_patient_low"] < 20
    assert 0.01 < row["ppv_at_prevalence_patient_low"] < 0.2
    assert row["ppv_at_prevalence_patient_high"] == 1


@pytest.mark.parametrize(
    ("labels", "empty"),
    [
        ([NAN] * 4, {"sensitivity", "specificity", "ppv", "npv", "f1", "accuracy", "prevalence", "flagged_per_1000"}),
        ([0.0] * 4, {"sensitivity", "lr_positive", "lr_negative"}),
        ([1.0] * 4, {"specificity", "lr_positive", "lr_negative"}),
    ],
)
def test_labels_of_one_kind_leave_cells_empty(labels: list[float], empty: set[str]) -> None:
    sample = sample_of(np.array([0.1, 0.4, 0.6, 0.9]), np.array(labels), np.arange(4))
    table = operating_table(sample, {"Mass": {"f1": 0.5}}, PatientBootstrap(sample.patients, 50, 0), {"Mass": 0.1})
    for name in empty:
        columns = [column for column in table if column.startswith(name) and "at_prevalence" not in column]
        assert table[columns].isna().all(axis=None)
    assert table["ppv_at_prevalence"].isna().all()
    assert table["images"][0] == np.isfinite(labels).sum()


def test_a_threshold_that_there_is_not_has_no_row(sample: Sample) -> None:
    bootstrap = PatientBootstrap(sample.patients, 20, 0)
    table = operating_table(sample, {"Mass": {"f1": NAN, "youden": 0.5}, "Hernia": {}}, bootstrap)
    assert table["rule"].tolist() == ["youden"]
    nothing = operating_table(sample, {}, bootstrap)
    assert len(nothing) == 0
    assert nothing.columns.tolist() == table.columns.tolist()


@pytest.mark.parametrize(
    ("points", "prevalence", "code"),
    [
        ({"Edema": {"youden": 0.5}}, None, Code.UNKNOWN_FINDING),
        ({"Mass": {"youden": 0.5}}, {"Edema": 0.5}, Code.UNKNOWN_FINDING),
        ({"Mass": {"youden": 1.5}}, None, Code.EVALUATION_INVALID),
        ({"Mass": {"youden": 0.5}}, {"Mass": 12}, Code.EVALUATION_INVALID),
    ],
)
def test_what_no_table_can_be_made_of(sample: Sample, points: dict, prevalence: dict | None, code: Code) -> None:
    with pytest.raises(EvaluationError) as caught:
        operating_table(sample, points, PatientBootstrap(sample.patients, 20, 0), prevalence)
    assert caught.value.code == code
