"""``cxr-monai labels compare`` on tables, and the figures of NIH's films by radiologists' labels."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.cli import main
from cxr_monai.data.manifest import Manifest, build_manifest, read_manifest, write_manifest
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.evaluation_folder import json_rows
from cxr_monai.evaluation.label_agreement import LabelComparison
from cxr_monai.workflows.collect import make_manifest
from cxr_monai.workflows.compare_labels import compare_label_files


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``mined.csv`` and ``read.csv``, manifests of 200 films, and ``p.csv``, which follows the readers."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    images = [f"{number:03d}.png" for number in range(200)]
    mass = (random.random(200) < 0.4).astype(float)
    noisy = np.where(random.random(200) < 0.75, mass, 1 - mass)
    ids = {"image": images, "patient_id": np.arange(200) // 2}
    mined = pd.DataFrame({**ids, "Mass": noisy, "Nodule": 0.0, "Hernia": 0.0})
    read = pd.DataFrame({**ids, "Mass or Nodule": mass, "Fracture": 1.0}).iloc[:180]
    write_manifest(build_manifest(mined, ".", "mined"), "mined.csv")
    write_manifest(build_manifest(read, ".", "read <by> two"), "read.csv")
    scores = pd.DataFrame({"image": images, "Mass": 0.2 + 0.3 * mass + 0.4 * random.random(200), "Nodule": 0.1})
    scores.to_csv("p.csv", index=False)
    return tmp_path


def compare(*words: str) -> int:
    return main(["labels", "compare", "mined.csv", "read.csv", "--replicates", "100", *words])


def test_tables_json_and_a_page_are_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare("--predictions", "p.csv", "--out", "out") == 0
    agreement = pd.read_csv("out/label_agreement.csv")
    assert agreement["rule"].tolist() == ["union of the members", *["one member of the union"] * 2]
    assert agreement["images"].tolist() == [180] * 3
    auroc = pd.read_csv("out/label_auroc.csv").set_index("score")
    assert auroc.loc["Mass or Nodule", "second_auroc"] > auroc.loc["Mass or Nodule", "first_auroc"] + 0.1
    assert auroc.loc["Mass or Nodule", "patient_low"] > 0
    content = json.loads((folder / "out" / "labels.json").read_text())
    assert content["sources"] == ["mined", "read <by> two"]
    assert content["book"]["patients"] == 90
    assert content["label_agreement"][0]["sensitivity"] == pytest.approx(agreement.loc[0, "sensitivity"], abs=1e-4)
    assert set(content["complete"]) > {"label_agreement.csv", "label_auroc.csv", "report.html"}
    text = capsys.readouterr().out
    assert "mined judged by read <by> two" in text
    assert "the page: out/report.html" in text
    page = (folder / "out" / "report.html").read_text()
    assert "read &lt;by&gt; two names" not in page
    assert "with mass or nodule by read &lt;by&gt; two, mined names it in" in page
    assert "a ranking of films, not a calibrated probability" in page
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page)


def test_without_a_folder_nothing_is_written_and_without_predictions_no_model_judged(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.iterdir())
    assert compare("--findings", "Mass or Nodule") == 0
    assert sorted(folder.iterdir()) == before
    assert "AUROC" not in capsys.readouterr().out
    assert compare("--out", "out") == 0
    assert "One model by each of them" not in (folder / "out" / "report.html").read_text()
    assert not (folder / "out" / "label_auroc.csv").exists()


def test_what_cannot_be_compared_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare("--findings", "Hernia", "--out", "out") == 1
    assert "error [unknown-finding]" in capsys.readouterr().err
    assert not (folder / "out").exists()
    assert compare("--out", "out") == 0
    assert compare("--out", "out") == 2
    assert "error [output-exists]" in capsys.readouterr().err
    assert compare("--out", "out", "--force", "--predictions", "p.csv") == 0
    other = build_manifest(pd.DataFrame({"image": ["z.png"], "patient_id": [1], "Mass": [1.0]}), ".", "x")
    write_manifest(other, "other.csv")
    assert main(["labels", "compare", "mined.csv", "other.csv"]) == 1
    assert "no image in common" in capsys.readouterr().err


def test_two_sources_of_one_version_are_told_apart_by_their_files(folder: Path) -> None:
    one = compare_label_files("mined.csv", "mined.csv", intervals=Intervals(20))[0]
    assert one.names == ("mined (first)", "mined (second)")
    (folder / "again.csv").write_bytes((folder / "mined.csv").read_bytes())
    (folder / "again.csv.json").write_bytes((folder / "mined.csv.json").read_bytes())
    assert compare_label_files("mined.csv", "again.csv", intervals=Intervals(20))[0].names == ("mined.csv", "again.csv")


@pytest.fixture(scope="module")
def nih(chexnet_manifest: Path) -> Manifest:
    return read_manifest(chexnet_manifest, check_files=False)


EXPERT = {
    "rsna": ("rsna_on_nih.csv.gz",),
    "google": ("google_four_findings.csv.gz",),
    "google-14": ("google_14_findings.csv.gz", "google_14_readers.csv.gz"),
}


def by_radiologists(realdata: Path, reference: str) -> Manifest:
    """What ``cxr-monai manifest nih --reference`` makes of the small tables."""
    files = [realdata / "expert" / name for name in EXPERT[reference]]
    return make_manifest("nih", realdata / "nih", table_only=True, reference=reference, reference_files=files)


def by_source(nih: Manifest, realdata: Path, reference: Manifest) -> LabelComparison:
    """The published CheXNet reproduction, by NIH's labels and by radiologists', with 300 draws."""
    predictions = realdata / "predictions" / "reproduce_chexnet_test_preds.csv.gz"
    return compare_label_files(nih, reference, predictions=predictions, intervals=Intervals(300))[0]


def area(comparison: LabelComparison, score: str) -> dict:
    return next(row for row in json_rows(comparison.auroc) if row["score"] == score)


@pytest.mark.realdata
def test_rsnas_radiologists_see_what_nihs_labels_hide(nih: Manifest, realdata: Path) -> None:
    comparison = by_source(nih, realdata, by_radiologists(realdata, "rsna"))
    expected = {  # by the radiologists, by NIH, the difference, each with its interval
        "Pneumonia": (0.794, 0.775, 0.812, 0.693, 0.648, 0.735, 0.101, 0.052, 0.149),
        "Consolidation": (0.825, None, None, 0.755, None, None, 0.070, 0.047, 0.096),
        "Infiltration": (0.813, None, None, 0.676, None, None, 0.137, 0.113, 0.159),
    }
    names = ("second_auroc", "second_auroc_patient_low", "second_auroc_patient_high",
             "first_auroc", "first_auroc_patient_low", "first_auroc_patient_high",
             "difference", "patient_low", "patient_high")  # fmt: skip
    for score, figures in expected.items():
        row = area(comparison, score)
        assert (row["images"], row["patients"], row["second_positives"]) == (5_244, 2_261, 1_093)
        for name, figure in zip(names, figures, strict=True):
            if figure is not None:
                assert row[name] == pytest.approx(figure, abs=0.01 if name.endswith(("low", "high")) else 0.001)
    # of NIH's Pneumonia 45 % are opacities
    labels = comparison.agreement.set_index("first_label")
    assert labels.loc["Pneumonia", "images"] == 26_462
    assert labels.loc["Pneumonia", "ppv"] == pytest.approx(0.453, abs=0.0005)
    classes = pd.read_csv(realdata / "expert" / "rsna_on_nih.csv.gz").drop_duplicates("image")
    pneumonia = nih.table.loc[nih.table["Pneumonia"] == 1, "image"].str.rpartition("/")[2]
    normal = (classes.loc[classes["image"].isin(pneumonia), "rsna_class"] == "Normal").mean()
    assert normal == pytest.approx(0.160, abs=0.0005)


@pytest.mark.realdata
def test_googles_panel(nih: Manifest, realdata: Path) -> None:
    panel = by_radiologists(realdata, "google")
    comparison = by_source(nih, realdata, panel)
    for score, by_panel, by_nih in (
        ("Consolidation", 0.912, 0.803), ("Mass or Nodule", 0.860, 0.809), ("Pneumothorax", 0.904, 0.915),
    ):  # fmt: skip
        row = area(comparison, score)
        assert row["images"] == 931
        assert row["second_auroc"] == pytest.approx(by_panel, abs=0.001)
        assert row["first_auroc"] == pytest.approx(by_nih, abs=0.001)
    figures = {
        ("val", "Pneumothorax"): (0.279, 0.316), ("test", "Pneumothorax"): (0.497, 0.485),
        ("val", "Mass or Nodule"): (0.394, 0.562), ("test", "Mass or Nodule"): (0.454, 0.565),
    }  # fmt: skip
    for part in ("val", "test"):
        compared = compare_label_files(
            nih, panel.part(part), findings=["Pneumothorax", "Mass or Nodule"], intervals=Intervals(20)
        )
        table = compared[0].agreement.drop_duplicates("finding").set_index("finding")
        for finding in ("Pneumothorax", "Mass or Nodule"):
            sensitivity, ppv = figures[part, finding]
            assert table.loc[finding, "sensitivity"] == pytest.approx(sensitivity, abs=0.001)
            assert table.loc[finding, "ppv"] == pytest.approx(ppv, abs=0.001)


@pytest.mark.realdata
def test_all_14_findings_of_the_447_films_at_hand(nih: Manifest, realdata: Path) -> None:
    """Of the 810 films of the whole set 447 are here, and 98 of the 188 that the network was tested on."""
    comparison = by_source(nih, realdata, by_radiologists(realdata, "google-14"))
    labels = comparison.agreement.set_index("finding")
    assert labels["images"].tolist() == [447] * 14
    figures = {
        "Atelectasis": (0.228, 0.655), "Cardiomegaly": (0.255, 0.591), "Effusion": (0.397, 0.658),
        "Infiltration": (0.200, 0.090), "Mass": (0.356, 0.618), "Nodule": (0.333, 0.615),
        "Pneumothorax": (0.531, 0.618), "Consolidation": (0.192, 0.385), "Pleural_Thickening": (0.200, 0.231),
    }  # fmt: skip
    for finding, (sensitivity, ppv) in figures.items():
        assert labels.loc[finding, "sensitivity"] == pytest.approx(sensitivity, abs=0.0006)
        assert labels.loc[finding, "ppv"] == pytest.approx(ppv, abs=0.0006)
    assert labels.loc["Pneumonia", ["both", "second_only"]].sum() == 0  # radiologists call it in none of these films
    several = [row for row in json_rows(comparison.auroc) if min(row["first_positives"], row["second_positives"]) >= 8]
    assert {row["score"] for row in several} == {"Atelectasis", "Cardiomegaly", "Effusion", "Pneumothorax"}
    assert {row["images"] for row in several} == {98}
    means = [np.mean([row[f"{side}_auroc"] for row in several]) for side in ("second", "first")]
    assert means == pytest.approx([0.880, 0.821], abs=0.001)
    assert area(comparison, "Cardiomegaly")["second_auroc"] == pytest.approx(0.965, abs=0.001)
    assert area(comparison, "Cardiomegaly")["first_auroc"] == pytest.approx(0.825, abs=0.001)
