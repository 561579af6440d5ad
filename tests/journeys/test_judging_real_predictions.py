"""The probabilities of a real CheXNet reproduction: its author's AUROCs come out, and the whole report."""

import json
from pathlib import Path

import pandas as pd
import pytest

from cxr_monai.cli import main
from cxr_monai.labels import NIH14


def judged(realdata: Path, manifest: Path, out: Path, *words: str) -> dict:
    predictions = str(realdata / "predictions" / "reproduce_chexnet_test_preds.csv.gz")
    given = ["--predictions", predictions, "--manifest", str(manifest), "--out", str(out)]
    assert main(["evaluate", *given, *words]) == 0
    return json.loads((out / "metrics.json").read_text())


@pytest.mark.realdata
def test_all_14_published_aurocs(realdata: Path, chexnet_manifest: Path, tmp_path: Path) -> None:
    made = judged(realdata, chexnet_manifest, tmp_path / "out", "--replicates", "2")
    published = pd.read_csv(realdata / "predictions" / "reproduce_chexnet_test_aucs.csv").set_index("label")["auc"]
    ours = {row["finding"]: row["auroc"] for row in made["findings"]}
    assert set(published.index) == set(NIH14)
    assert max(abs(ours[name] - published[name]) for name in NIH14) < 1e-9
    book = made["book"]
    assert book["split"]["name"].startswith("CheXNet's split")
    assert book["split"]["parts"] == {"test": 22_433}
    assert book["label_version"] == "nih-v2020"


@pytest.mark.realdata
def test_thresholds_of_one_half_hold_on_the_other(realdata: Path, chexnet_manifest: Path, tmp_path: Path) -> None:
    made = judged(realdata, chexnet_manifest, tmp_path / "out", "--fit", "half", "--replicates", "2")
    book = made["book"]
    assert book["images"] + book["fitted_on"]["images"] == 22_433
    assert book["patients"] + book["fitted_on"]["patients"] == 6_187
    points = {(row["finding"], row["rule"]): row for row in made["operating_points"]}
    for name in ("Effusion", "Atelectasis", "Infiltration"):  # with more than a thousand positives
        assert points[name, "sensitivity=0.9"]["sensitivity"] == pytest.approx(0.9, abs=0.04)
        assert points[name, "specificity=0.9"]["specificity"] == pytest.approx(0.9, abs=0.02)
    errors = {(row["finding"], row["state"]): row["ece_mass"] for row in made["calibration"]}
    assert errors["Effusion", "calibrated"] < errors["Effusion", "as predicted"]
    assert len(made["subgroups"]) > 100
    page = (tmp_path / "out" / "report.html").read_text()
    assert "a program read each radiograph" in page
