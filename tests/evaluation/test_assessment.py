"""The whole of an evaluation: what its tables hold, against other ways to the same numbers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from cxr_monai.errors import EvaluationError
from cxr_monai.evaluation.assessment import Evaluation, evaluate, evaluate_findings
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.evaluation_folder import EVALUATION_TABLES, read_evaluation, write_evaluation
from cxr_monai.evaluation.fitted import fit_calibration
from tests.evaluation.synthetic_scores import FINDINGS, made_sample

SAMPLE = made_sample(80, 3, 2)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    fitted = fit_calibration(made_sample(200, 2, 9, "val"))
    return evaluate(SAMPLE, fitted=fitted, prevalence={"Mass": 0.05}, intervals=Intervals(200))


def row(table: pd.DataFrame, finding: str) -> pd.Series:
    return table.set_index("finding").loc[finding]


@pytest.mark.parametrize("name", ["Mass", "Edema"])
def test_figures_are_scikit_learns(evaluation: Evaluation, name: str) -> None:
    scores, labels = evaluation.sample.column(name)
    known = ~np.isnan(labels)
    made = row(evaluation.findings, name)
    assert made["images"] == known.sum()
    assert made["positives"] == (labels == 1).sum()
    assert made["positive_patients"] == SAMPLE.table["patient_id"][labels == 1].nunique()
    assert made["auroc"] == pytest.approx(roc_auc_score(labels[known], scores[known]), abs=1e-12)
    assert made["average_precision"] == pytest.approx(average_precision_score(labels[known], scores[known]), abs=1e-12)
    assert made["brier"] == pytest.approx(brier_score_loss(labels[known], scores[known]), abs=1e-12)
    for figure in ("auroc", "average_precision", "brier"):
        assert made[f"{figure}_patient_low"] < made[figure] < made[f"{figure}_patient_high"]


def test_calibrated_values_are_judged_and_both_states_are_shown(evaluation: Evaluation) -> None:
    assert not np.array_equal(evaluation.sample.scores, SAMPLE.scores)
    states = evaluation.calibration[evaluation.calibration["finding"] == "Mass"].set_index("state")
    assert list(states.index) == ["as predicted", "calibrated"]
    assert states.loc["calibrated", "brier"] == row(evaluation.findings, "Mass")["brier"]
    known = SAMPLE.labels[:, 0]
    assert states.loc["as predicted", "brier"] == pytest.approx(np.mean((SAMPLE.scores[:, 0] - known) ** 2))


def test_a_finding_without_labels_gets_empty_cells_and_a_sentence(evaluation: Evaluation) -> None:
    hernia = row(evaluation.findings, "Hernia")
    assert hernia["images"] == 0
    assert hernia[["auroc", "auroc_low", "auroc_patient_low", "average_precision", "brier", "prevalence"]].isna().all()
    assert any(note.startswith("Hernia has no image with a known label") for note in evaluation.notes)


def test_means_are_over_the_findings_that_have_a_value(evaluation: Evaluation) -> None:
    table = evaluation.findings.set_index("finding")
    both = table.loc[["Mass", "Edema"]]
    for figure in ("auroc", "average_precision", "brier"):
        assert table.loc["mean", figure] == pytest.approx(both[figure].mean())
        assert table.loc["mean", f"{figure}_patient_low"] < table.loc["mean", figure]
    weighted = evaluation.means.set_index(["mean", "figure"]).loc[("positive-weighted", "auroc")]
    assert weighted["value"] == pytest.approx(np.average(both["auroc"], weights=both["positives"].astype(float)))
    assert table.loc["mean", "positives"] == both["positives"].sum()
    assert list(evaluation.findings["finding"]) == [*FINDINGS, "mean"]


def test_operating_points_and_site_and_sets_and_abstention_are_there(evaluation: Evaluation) -> None:
    points = evaluation.operating_points
    assert set(points["finding"]) == {"Mass", "Edema"}
    assert (points["tp"] + points["fn"] == points["positives"]).all()
    mass = points[(points["finding"] == "Mass") & (points["rule"] == "youden")].iloc[0]
    sensitivity, specificity = mass["sensitivity"], mass["specificity"]
    bayes = sensitivity * 0.05 / (sensitivity * 0.05 + (1 - specificity) * 0.95)
    assert mass["ppv_at_prevalence"] == pytest.approx(bayes)
    assert evaluation.site is not None
    assert len(evaluation.site) == len(points)
    assert set(evaluation.conformal["finding"]) >= {"Mass", "Edema", "set"}
    assert set(evaluation.risk_coverage["finding"]) == {"Mass", "Edema"}
    assert len(evaluation.prevalence) == 7
    half = evaluation.prevalence.set_index("probability").loc[0.5]
    odds = (0.05 / 0.95) / (half["prevalence"] / (1 - half["prevalence"]))
    assert half["probability_there"] == pytest.approx(odds / (1 + odds))


def test_studies_of_several_images(evaluation: Evaluation) -> None:
    assert set(evaluation.studies["how"]) == {"max", "mean", "frontal"}
    counts = evaluation.studies.set_index(["how", "finding"])["studies"]
    assert counts["max", "Mass"] == 80  # 80 patients with one study of three images each
    largest = SAMPLE.labels[:, 0].reshape(80, 3).max(1)
    highest = evaluation.sample.scores[:, 0].reshape(80, 3).max(1)
    area = evaluation.studies.set_index(["how", "finding"]).loc[("max", "Mass"), "auroc"]
    assert area == pytest.approx(roc_auc_score(largest, highest))


def test_curves_go_from_corner_to_corner(evaluation: Evaluation) -> None:
    assert set(evaluation.curves) == {"Mass", "Edema"}
    curve = evaluation.curves["Mass"]
    assert curve["tpr"][-1] == 1
    assert (np.diff(curve["tpr"]) >= 0).all()
    area = np.trapezoid(curve["tpr"], curve["fpr"])
    assert area == pytest.approx(row(evaluation.findings, "Mass")["auroc"], abs=0.01)
    assert (curve["tpr_low"] <= curve["tpr"] + 1e-9).mean() > 0.95
    assert curve["precision"][-1] == pytest.approx(row(evaluation.findings, "Mass")["prevalence"], abs=0.2)


def test_without_thresholds_there_are_none() -> None:
    made = evaluate(SAMPLE, intervals=Intervals(20))
    for name in ("operating_points", "conformal", "risk_coverage", "prevalence"):
        assert getattr(made, name).empty, name
    assert made.site is None
    assert set(made.calibration["state"]) == {"as predicted"}


def test_a_system_against_itself_is_not_distinguishable() -> None:
    made = evaluate(SAMPLE, second=SAMPLE, names=("a", "b"), margin=0.02, intervals=Intervals(50))
    assert made.comparison is not None
    assert (made.comparison["difference"].dropna() == 0).all()
    assert set(made.comparison["verdict"]) <= {"not distinguishable", "too few to say"}
    assert made.comparison_names == ("a", "b")


def test_the_same_seed_gives_the_same_intervals() -> None:
    one, two, other = (evaluate(SAMPLE, intervals=Intervals(30, seed=seed)).findings for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, two)
    assert not one.equals(other)


@pytest.mark.parametrize(
    "settings",
    [
        {"intervals": Intervals(5, level=1.0)},
        {"intervals": Intervals(5, level=0.0)},
        {"prevalence": {"Mass": 1.0}},
        {"prevalence": {"Nodule": 0.1}},
    ],
)
def test_what_cannot_be(settings: dict) -> None:
    with pytest.raises(EvaluationError):
        evaluate(SAMPLE, **{"intervals": Intervals(5), **settings})


def test_figures_of_a_training_are_those_of_an_evaluation(tmp_path: Path) -> None:
    whole = evaluate(SAMPLE, intervals=Intervals(20))
    alone = evaluate_findings(SAMPLE, intervals=Intervals(20), book={"epoch": 3})
    pd.testing.assert_frame_equal(alone.findings, whole.findings)
    pd.testing.assert_frame_equal(alone.means, whole.means)
    written = write_evaluation(alone, tmp_path)
    assert [path.name for path in written] == ["metrics.csv", "means.csv", "metrics.json"]
    read = read_evaluation(tmp_path)
    pd.testing.assert_frame_equal(read.findings, alone.findings, check_dtype=False)
    assert (read.book, read.operating_points.empty) == ({"epoch": 3}, True)


def test_written_tables(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "comparison.csv").write_text("of an earlier evaluation")
    written = write_evaluation(evaluation, tmp_path)
    assert not (tmp_path / "comparison.csv").exists()
    assert {path.name for path in written} == {path.name for path in tmp_path.iterdir()}
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert [entry["finding"] for entry in content["findings"]] == [*FINDINGS, "mean"]
    assert content["findings"][0]["auroc"] == evaluation.findings["auroc"][0]
    assert content["findings"][2]["auroc"] is None
    of_gate = {name for name in EVALUATION_TABLES if name.startswith("gate_")}
    assert {*EVALUATION_TABLES} - {*content} == of_gate  # no gate judged these films
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert list(table.columns[:3]) == ["finding", "images", "positives"]
    np.testing.assert_allclose(table["auroc"], evaluation.findings["auroc"].astype(float), atol=5e-5)
    small = pd.read_csv(tmp_path / "operating_points.csv")["threshold"]
    np.testing.assert_allclose(small, evaluation.operating_points["threshold"], rtol=1e-4)


def test_what_was_written_is_read_with_numbers_as_numbers(evaluation: Evaluation, tmp_path: Path) -> None:
    points = evaluation.operating_points.copy()
    points.loc[0, "lr_positive"] = np.inf
    write_evaluation(replace(evaluation, operating_points=points, book={"bundle": "b"}), tmp_path)
    read = read_evaluation(tmp_path)
    pd.testing.assert_frame_equal(read.operating_points, points, check_dtype=False)
    for name in ("findings", *(name for name in EVALUATION_TABLES if name != "comparison")):
        table = points if name == "operating_points" else getattr(evaluation, name)
        pd.testing.assert_frame_equal(getattr(read, name), table, check_dtype=False, check_column_type=False)
    assert (read.level, read.replicates, read.book, read.notes) == (
        evaluation.level,
        evaluation.replicates,
        {"bundle": "b"},
        evaluation.notes,
    )
    assert read.sample.findings == evaluation.sample.findings
    assert len(read.sample) == 0


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"findings": [{}]}'])
def test_a_folder_without_an_evaluation(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(EvaluationError, match="no evaluation is here"):
        read_evaluation(tmp_path)
