"""What is drawn: curves, shares and axes against brute force and counts made by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.evaluation.sample import Sample
from cxr_monai.report import charts, evaluation_rows, matrix_charts, panel_charts
from tests.report.synthetic_evaluation import ODD, make_evaluation

NAN = float("nan")


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return make_evaluation()


def small(scores: list[list[float]], labels: list[list[float]], thresholds: dict[str, float]) -> Evaluation:
    """An evaluation of findings A, B, ... of which only sample and thresholds matter."""
    names = tuple("ABCDEF"[: len(scores[0])])
    table = pd.DataFrame({"patient_id": [str(at) for at in range(len(scores))]})
    points = pd.DataFrame({"finding": list(thresholds), "rule": "youden", "threshold": list(thresholds.values())})
    sample = Sample.of(table, names, np.array(scores), np.array(labels))
    return replace(make_evaluation(), sample=sample, operating_points=points)


def test_trade_off_is_what_counting_gives() -> None:
    random = np.random.default_rng(1)
    scores = random.random(200).round(2)  # ties
    labels = np.where(random.random(200) < 0.1, NAN, (random.random(200) < 0.3).astype(float))
    thresholds = np.array([0.0, 0.25, 0.5, 0.995])
    made = panel_charts.trade_off(scores, labels, thresholds)
    assert made is not None
    for at, threshold in enumerate(thresholds):
        called = scores >= threshold
        tp, fp = (called & (labels == 1)).sum(), (called & (labels == 0)).sum()
        fn, tn = (~called & (labels == 1)).sum(), (~called & (labels == 0)).sum()
        assert made["sensitivity"][at] == tp / (tp + fn)
        assert made["specificity"][at] == tn / (tn + fp)
        np.testing.assert_equal(made["ppv"][at], tp / (tp + fp) if tp + fp else NAN)
        np.testing.assert_equal(made["npv"][at], tn / (tn + fn) if tn + fn else NAN)


def test_trade_off_of_one_kind_or_none() -> None:
    made = panel_charts.trade_off(np.array([0.2, 0.8]), np.zeros(2), np.array([0.5]))
    assert made is not None
    assert np.isnan(made["sensitivity"]).all()
    assert made["specificity"].tolist() == [0.5]
    assert panel_charts.trade_off(np.array([0.2, 0.8]), np.full(2, NAN), np.array([0.5])) is None


def test_confusion_by_hand() -> None:
    # twelve images of A alone (B reported in three), ten of none of them (A in one), one of both, which is in no row
    scores = [[0.9, 0.1]] * 9 + [[0.4, 0.7]] * 3 + [[0.1, 0.1]] * 9 + [[0.5, 0.1]] + [[0.9, 0.9]]
    labels: list[list[float]] = [[1, 0]] * 12 + [[0, 0]] * 9 + [[0, NAN]] + [[1, 1]]
    matrix = matrix_charts.confusion_matrix(small(scores, labels, {"A": 0.5, "B": 0.6}))
    assert matrix is not None
    assert matrix.rows == ("A", "B", matrix_charts._NONE)
    assert matrix.columns == ("A", "B")
    assert matrix.counts == (12, 0, 10)
    np.testing.assert_allclose(matrix.values, [[9 / 12, 3 / 12], [NAN, NAN], [1 / 10, 0]])


def test_confusion_needs_thresholds() -> None:
    evaluation = small([[0.9]], [[1]], {"A": 0.5})
    assert matrix_charts.confusion_matrix(replace(evaluation, operating_points=pd.DataFrame())) is None
    two = matrix_charts.confusion_matrix(small([[0.9, 0.1]] * 10, [[1, 0]] * 10, {"A": 0.5}))
    assert two is not None
    np.testing.assert_array_equal(two.values[0], [1, NAN])  # no threshold of B, no share


def test_cooccurrence_by_hand() -> None:
    # A in 20 images; B is unknown in 8 of these and present in 3 of the other 12; all 3 images of B are among them
    labels: list[list[float]] = [[1, 1]] * 3 + [[1, 0]] * 9 + [[1, NAN]] * 8 + [[0, 0]] * 5
    matrix = matrix_charts.cooccurrence_matrix(small([[0.5, 0.5]] * 25, labels, {"A": 0.5}))
    assert matrix is not None
    assert matrix.counts == (20, 3)
    np.testing.assert_allclose(matrix.values, [[NAN, 3 / 12], [NAN, NAN]])  # three images of B are too few


def test_shares_of_scores_add_up_to_one(evaluation: Evaluation) -> None:
    panels = panel_charts.score_chart(evaluation)
    assert panels is not None
    areas = [mark for panel in panels.panels for mark in panel.marks if mark.kind == "area"]
    assert len(areas) == 5 * 2 + 1  # No_Case has images without the label alone
    for mark in areas:
        assert mark.y.sum() == pytest.approx(1, abs=0.02)  # smoothing loses a little at the ends


@pytest.mark.parametrize("name", panel_charts.PANELS)
def test_every_finding_has_a_panel_or_the_reason_why_not(evaluation: Evaluation, name: str) -> None:
    panels = panel_charts.PANELS[name](evaluation)
    assert panels is not None
    assert [panel.title for panel in panels.panels] == [
        "Effusion", "Pleural thickening", "COPD", "Hernia", "No case", "Unknown all", ODD
    ]  # fmt: skip
    for panel in panels.panels:
        assert bool(panel.marks) != bool(panel.empty)
        for mark in panel.marks:
            assert np.isfinite(mark.x).all()
    assert panels.panels[5].empty == "Its label is unknown for every image."


@pytest.mark.parametrize("name", ["roc", "precision_recall"])
def test_the_chosen_point_is_on_the_curve(evaluation: Evaluation, name: str) -> None:
    panels = panel_charts.PANELS[name](evaluation)
    assert panels is not None
    row = evaluation_rows.chosen_points(evaluation)["Effusion"]
    point = next(mark for mark in panels.panels[0].marks if mark.kind == "points")
    expected = (1 - row["specificity"], row["sensitivity"]) if name == "roc" else (row["sensitivity"], row["ppv"])
    assert (point.x[0], point.y[0]) == expected


def test_the_chosen_rule_is_the_first_or_the_one_asked_for(evaluation: Evaluation) -> None:
    assert evaluation_rows.rules_in(evaluation) == ["youden", "sensitivity=0.9", "cost=10"]
    assert evaluation_rows.chosen_rule(evaluation) == "youden"
    assert evaluation_rows.chosen_rule(replace(evaluation, book={"rule": "cost=10"})) == "cost=10"
    assert evaluation_rows.chosen_rule(replace(evaluation, book={"rule": "f1"})) == "youden"  # there is no such point
    assert evaluation_rows.chosen_rule(replace(evaluation, operating_points=pd.DataFrame())) is None
    assert list(panel_charts.rule_letters(evaluation).values()) == ["Y", "S", "C"]


def test_letters_of_rules_with_the_same_initial(evaluation: Evaluation) -> None:
    points = pd.DataFrame({"rule": ["sensitivity=0.9", "specificity=0.9", "sensitivity=0.95"], "finding": "A"})
    letters = panel_charts.rule_letters(replace(evaluation, operating_points=points))
    assert list(letters.values()) == ["S", "P", "E"]


def test_gaps_of_groups_with_too_few_have_words_instead(evaluation: Evaluation) -> None:
    forest = matrix_charts.subgroups_forest(evaluation)
    assert forest is not None
    rows = {row.label: row for row in forest.rows if not row.heading}
    assert (rows["AP"].value, rows["AP"].strong) == (-0.06, True)
    assert (rows["F"].value, rows["F"].strong) == (0.004, False)
    assert rows["nih"].note == "nothing to compare with"
    assert [row.label for row in forest.rows if row.heading] == ["Sex", "Age in years", "View", "Source"]


def test_differences_that_rest_on_too_few_do_not_set_the_scale(evaluation: Evaluation) -> None:
    assert evaluation.comparison is not None
    table = evaluation.comparison.copy()
    hernia = table["finding"] == "Hernia"
    table.loc[hernia, ["difference", "patient_low", "patient_high"]] = [-0.3, -0.5, -0.1]
    table.loc[hernia, "verdict"] = "too few to say"
    forest = matrix_charts.comparison_forest(replace(evaluation, comparison=table))
    assert forest is not None
    rows = {row.label: row for row in forest.rows}
    assert np.isnan(rows["Hernia"].value)
    assert rows["Hernia"].note == "too few to say"
    assert rows["No case"].note == "no value"
    assert forest.x.high == pytest.approx(0.045)  # of a difference of 0.03 and 0.015 to each side
    assert rows["Effusion"].strong


def test_auroc_is_sorted_with_what_has_none_last_and_then_the_mean(evaluation: Evaluation) -> None:
    forest = matrix_charts.findings_forest(evaluation)
    assert forest is not None
    values = [row.value for row in forest.rows[:-1]]
    assert values[:5] == sorted(values[:5], reverse=True)
    assert [row.note for row in forest.rows[5:7]] == ["no value", "no value"]
    assert forest.rows[-1].label == "Mean"


def test_spread_moves_letters_apart_and_keeps_their_order() -> None:
    places = np.array([0.5, 0.1, 0.52, 0.5])
    moved = charts.spread_letters(places, 0.1, 0.0, 1.0)
    assert np.diff(np.sort(moved)).min() >= 0.099
    assert moved[1] == pytest.approx(0.1)  # had room
    assert moved[0] < moved[3] < moved[2]
    assert moved[[0, 2, 3]].mean() == pytest.approx(places[[0, 2, 3]].mean())
    assert charts.spread_letters(np.array([0.0, 0.0]), 0.1, 0.0, 1.0).min() >= 0
    assert charts.spread_letters(np.zeros(0), 0.1, 0.0, 1.0).size == 0


@pytest.mark.parametrize(
    ("largest", "high"), [(0.0, 0.002), (0.003, 0.005), (0.05, 0.05), (0.051, 0.1), (0.61, 0.8), (1.0, 1.0), (1.2, 1.0)]
)
def test_an_axis_ends_at_a_round_number(largest: float, high: float) -> None:
    assert charts.zoomed_axis("p", largest).high == high


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([-0.09, 0.03, NAN], ["\u22120.05", "0", "+0.05"]),
        ([0.001], ["\u22120.04", "\u22120.02", "0", "+0.02", "+0.04"]),  # at least as wide as asked for
        ([0.7], ["\u22120.5", "0", "+0.5"]),
    ],
)
def test_an_axis_around_zero_is_symmetric_and_has_ticks_on_both_sides(values: list[float], ticks: list[str]) -> None:
    axis = charts.around_axis("gap", values, 0.0, 0.04)
    assert axis.low == -axis.high
    assert axis.high >= np.nanmax(np.abs(values))
    assert [text for _, text in axis.ticks] == ticks


def test_ticks_of_log_odds_are_apart_and_in_order() -> None:
    axis = charts.logit_axis("p", 1e-5, 0.99)
    places = [place for place, _ in axis.ticks]
    assert places == sorted(places)
    assert np.diff(places).min() >= 0.17 * (axis.high - axis.low)
    assert {text: place for place, text in axis.ticks}[".5"] == pytest.approx(0)
