"""Composite labels: a model of their members is judged on them by a ranking, and by nothing else."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.cli import main
from cxr_monai.composites import COMPOSITES
from cxr_monai.data.manifest import write_manifest
from cxr_monai.errors import EvaluationError
from cxr_monai.evaluation.composite_scores import scheme_composites
from cxr_monai.evaluation.evaluation_folder import read_evaluation
from cxr_monai.evaluation.predictions import join, predictions_of
from cxr_monai.report.summary import limits
from cxr_monai.schemes import FINDINGS, label_scheme
from tests.evaluation.synthetic_scores import made_manifest, made_scores, made_table

UNION = "Mass or Nodule"


def with_union(split: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A part of a manifest that has Edema and the union, and predictions of Mass, Nodule and Edema."""
    table = made_table(60, 2, seed, split)
    scores = made_scores(table, seed).rename(columns={"Hernia": "Nodule"})
    table[UNION] = table["Mass"]
    return table.drop(columns=["Mass", "Hernia"]), scores


def test_the_score_is_that_any_member_is_present_and_ranks_only() -> None:
    table, scores = with_union("test", 0)
    sample, notes = join(predictions_of(scores), made_manifest(table))
    assert sample.findings == ("Edema", UNION)
    assert sample.ranking_only == (UNION,)
    np.testing.assert_allclose(
        sample.column(UNION)[0], 1 - (1 - scores["Mass"]) * (1 - scores["Nodule"]), rtol=0, atol=1e-7
    )
    assert COMPOSITES[UNION].rule in notes
    assert sample.probabilities().findings == ("Edema",)
    assert sample.take(np.arange(10)).ranking_only == (UNION,)


def test_a_composite_that_is_predicted_is_a_finding_like_others() -> None:
    table, scores = with_union("test", 0)
    sample, notes = join(predictions_of(scores.assign(**{"mass or nodule": 0.5})), made_manifest(table))
    assert sample.ranking_only == ()
    assert set(sample.column(UNION)[0]) == {0.5}
    assert not any("ranking" in note for note in notes)


def test_without_a_member_it_is_not_judged_and_that_is_said() -> None:
    table, scores = with_union("test", 0)
    sample, notes = join(predictions_of(scores.drop(columns="Nodule")), made_manifest(table))
    assert sample.findings == ("Edema",)
    assert f"{UNION} is not judged: it is any of Mass, Nodule, and the predictions have no Nodule." in notes
    with pytest.raises(EvaluationError, match="no finding in both"):
        join(predictions_of(scores[["image", "Mass"]]), made_manifest(table.drop(columns="Edema")))


def test_the_groups_of_a_scheme_are_composites() -> None:
    assert scheme_composites(FINDINGS) == COMPOSITES
    groups = scheme_composites(label_scheme("categories_normal"))
    assert set(groups) == {"Lung", "Pleural"}  # Cardiomegaly and Hernia are findings, Normal is none of them
    assert scheme_composites(label_scheme("Effusion_vs_normal")) == {}


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``out``: an evaluation of the union beside Edema, with thresholds from other patients."""
    monkeypatch.chdir(tmp_path)
    parts = [with_union(split, seed) for seed, split in ((3, "val"), (4, "test"))]
    write_manifest(made_manifest(*(table for table, _ in parts)), "m.csv")
    for name, (_, scores) in zip(("val", "test"), parts, strict=True):
        scores.to_csv(f"{name}.csv", index=False)
    words = ["--predictions", "test.csv", "--manifest", "m.csv", "--split", "test", "--replicates", "20"]
    assert main(["evaluate", *words, "--fit", "val.csv", "--prevalence", "0.05", "--out", "out"]) == 0
    return tmp_path / "out"


def test_an_evaluation_ranks_by_it_and_says_nothing_else_of_it(judged: Path) -> None:
    content = json.loads((judged / "metrics.json").read_text())
    rows = {row["finding"]: row for row in content["findings"]}
    assert rows[UNION]["auroc"] > 0.6
    assert rows[UNION]["average_precision"] > 0
    assert rows[UNION]["brier"] is None
    assert rows["mean"]["brier"] == pytest.approx(rows["Edema"]["brier"])
    assert rows["mean"]["auroc"] == pytest.approx((rows["Edema"]["auroc"] + rows[UNION]["auroc"]) / 2)
    for name in ("operating_points", "calibration", "reliability", "conformal", "risk_coverage", "site", "prevalence"):
        assert content[name], name
        assert UNION not in {row["finding"] for row in content[name]}, name
    assert {UNION} <= {row["finding"] for row in content["subgroups"]}
    assert content["book"]["ranking_only"] == [UNION]


def test_the_report_shows_its_curve_and_no_sentence_on_its_reports(judged: Path) -> None:
    page = (judged / "report.html").read_text()
    physicians = page.partition('id="physicians"')[2].partition('id="reviewers"')[0]
    assert "Its score is made of several outputs: it ranks images, and reports nothing." in physicians
    assert "reports mass or nodule" not in page
    assert page.count("<figcaption><b>Mass or nodule</b>") == 2  # ROC and precision-recall
    assert page.count("<figcaption><b>Edema</b>") > 4
    assert "a ranking of films, not a calibrated probability" in page
    evaluation = read_evaluation(judged)
    assert evaluation.sample.ranking_only == (UNION,)
    assert any("It answers for 1 finding" in point.text for point in limits(evaluation))


def test_a_table_of_unions_alone_leaves_nothing_to_fit(judged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, _ = with_union("test", 4)
    write_manifest(made_manifest(table.drop(columns="Edema")), "unions.csv")
    words = ["--predictions", "test.csv", "--manifest", "unions.csv", "--replicates", "20", "--out", "unions"]
    assert main(["evaluate", *words, "--fit", "half"]) == 0
    assert "note: Nothing was fitted" in capsys.readouterr().out
    assert not (judged.parent / "unions" / "calibration.csv").exists()
    assert "Reliability</h4>" not in (judged.parent / "unions" / "report.html").read_text()


def test_two_systems_are_compared_on_it(judged: Path) -> None:
    words = ["--predictions", "test.csv", "--compare", "test.csv", "--manifest", "m.csv", "--split", "test"]
    assert main(["evaluate", *words, "--replicates", "20", "--out", "two"]) == 0
    comparison = pd.read_csv("two/comparison.csv").set_index("finding")
    assert comparison.loc[UNION, "difference"] == 0
    assert "Second system: Mass or Nodule is scored by" in (judged.parent / "two" / "report.html").read_text()
