"""``cxr-monai evaluate`` and ``cxr-monai calibrate``, as a user types them."""

import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.bundle.digest import content_digest
from cxr_monai.cli import main
from cxr_monai.data.manifest import read_manifest, split_digest, write_manifest
from cxr_monai.evaluation.calibration import Calibrator
from cxr_monai.evaluation.evaluation_folder import read_evaluation
from cxr_monai.evaluation.fitted import Fitted, read_calibration
from cxr_monai.evaluation.gate_effects import gate_metrics
from cxr_monai.evaluation.patients import patients_trained_on
from cxr_monai.labels import NIH14
from cxr_monai.origins import SYNTHETIC
from tests.evaluation.synthetic_scores import made_manifest, made_scores, made_table, on_disk
from tests.support.bundle_runs import Phantoms, Trained, content
from tests.support.tiny_bundles import LABELS as TINY_LABELS
from tests.support.tiny_bundles import tiny_bundle


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return on_disk(tmp_path)


def evaluate(*words: str, predictions: str = "test.csv", out: str = "out") -> int:
    few = [] if "--replicates" in words else ["--replicates", "50"]
    return main(["evaluate", "--predictions", predictions, "--manifest", "manifest.csv", "--out", out, *few, *words])


def metrics(out: str = "out") -> dict:
    return json.loads((Path(out) / "metrics.json").read_text())


def test_with_thresholds_from_other_patients(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--fit", "val.csv", "--prevalence", "mass=0.02") == 0
    out = folder / "out"
    tables = ("metrics", "operating_points", "calibration", "conformal", "subgroups", "studies", "site")
    names = [f"{name}.csv" for name in tables] + ["report.html", "report.md"]
    assert [name for name in names if not (out / name).is_file()] == []
    assert not (out / "plots").exists()  # nobody asked for PNG files
    page = (out / "report.html").read_text()
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page)  # nothing is fetched
    assert not re.search(r"""@import|<script[^>]+src|url\(["']?http""", page)
    assert "not a medical device" in page.lower()
    told = capsys.readouterr().out
    assert "the report: out/report.html" in told
    assert "note: Hernia has no image with a known label" in told
    made = metrics()
    assert made["book"]["fitted_on"]["parts"] == {"val": 360}
    assert made["book"]["split"]["parts"] == {"test": 360}
    assert made["book"]["split"]["name"] == "an own random split by patient"
    points = pd.read_csv(out / "operating_points.csv")
    assert points.set_index("finding").loc["Mass", "stated_prevalence"].eq(0.02).all()


def test_without_thresholds_there_are_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate() == 0
    assert not (folder / "out" / "operating_points.csv").exists()
    assert "There are no operating points" in capsys.readouterr().out
    assert (folder / "out" / "report.html").is_file()


def test_halves_share_no_patient_and_fit_one_report_the_other(folder: Path) -> None:
    assert evaluate("--fit", "half") == 0
    book = metrics()["book"]
    assert book["patients"] + book["fitted_on"]["patients"] == 120
    assert abs(book["patients"] - 60) < 10


@pytest.mark.parametrize("fit", ["test.csv", "overlap.csv"])
def test_fitting_on_the_patients_that_are_reported_on_is_refused(
    folder: Path, fit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    both = [pd.read_csv(folder / "val.csv"), pd.read_csv(folder / "test.csv").iloc[:1]]
    pd.concat(both).to_csv("overlap.csv", index=False)
    assert evaluate("--fit", fit) == 1
    told = capsys.readouterr().err
    assert "[patients-shared]" in told
    assert ("120 of the 120" if fit == "test.csv" else "1 of the 120") in told
    assert not (folder / "out").exists()


def test_comparison_on_the_images_that_both_have(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = pd.read_csv("test.csv")
    random = np.random.default_rng(0)
    other["Mass"] = random.random(len(other))  # worthless
    other.iloc[::-1].iloc[5:].to_csv("other.csv", index=False)
    assert evaluate("--compare", "other.csv", "--margin", "0.05", "--plots") == 0
    table = pd.read_csv(folder / "out" / "comparison.csv").set_index("finding")
    assert table.loc["Mass", "verdict"] == "worse"
    assert table.loc["Mass", "difference"] < -0.2
    assert not table.loc["Mass", "non_inferior"]
    assert table.loc["Edema", "difference"] == 0
    assert "predictions for 355 of the 360 images" in capsys.readouterr().out
    assert (folder / "out" / "plots" / "comparison.png").is_file()


def test_other_folders_need_the_users_word_and_what_is_left_out_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("val", "test"):
        table = pd.read_csv(f"{name}.csv")
        table["image"] = "elsewhere/" + table["image"].str.rpartition("/")[2].str.replace("0", f"{name}0", n=1)
        table.loc[0, "image"] = f"elsewhere/stranger_{name}.png"
        table.to_csv(f"{name}.csv", index=False)
    manifest = read_manifest("manifest.csv", check_files=False)
    folders, _, names = manifest.table["image"].str.partition("/").to_numpy().T
    renamed = [f"{of}/{name.replace('0', f'{of}0', 1)}" for of, name in zip(folders, names, strict=True)]
    renamed_table = manifest.table.assign(image=renamed)
    record = replace(manifest.split, digest=split_digest(renamed_table))
    write_manifest(replace(manifest, table=renamed_table, split=record), folder / "manifest.csv")
    assert evaluate("--fit", "val.csv") == 1
    told = capsys.readouterr().err
    assert "360 such as 'elsewhere/stranger_test.png'" in told
    assert "'elsewhere/test00001.png' is not 'test/test00001.png': the folders differ" in told
    assert "--match-names" in told
    assert evaluate("--fit", "val.csv", "--match-names") == 0
    made = metrics()
    assert made["book"]["images"] == 359
    assert made["book"]["fitted_on"]["parts"] == {"val": 359}
    notes = capsys.readouterr().out
    assert "note: 1 of 360 predicted images are not in the manifest and are left out." in notes
    assert "note: To fit on: 1 of 360 predicted images are not in the manifest and are left out." in notes


def test_what_is_left_out_of_a_calibration_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = read_manifest("manifest.csv", check_files=False)
    write_manifest(replace(manifest, table=manifest.table.rename(columns={"Edema": "Effusion"})), folder / "m.csv")
    table = pd.read_csv("val.csv").rename(columns={"Edema": "Effusion"})[["image", *TINY_LABELS]]
    table.loc[0, "image"] = "val/stranger.png"
    table.to_csv("val.csv", index=False)
    bundle = tiny_bundle(folder / "tiny", 0)
    words = ["--predictions", "val.csv", "--manifest", "m.csv", "--out", "copy", "--trust-folder"]
    assert main(["calibrate", str(bundle), *words]) == 0
    said = "1 of 360 predicted images are not in the manifest and are left out."
    assert f"note: {said}" in capsys.readouterr().out
    fitted = read_calibration(folder / "copy" / "models" / "calibration.json", TINY_LABELS)
    assert fitted is not None
    assert said in fitted.notes


def test_training_patients_are_warned_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = made_table(30, 2, 8, "train")
    write_manifest(made_manifest(train, made_table(120, 3, 4, "test")), folder / "manifest.csv")
    pd.concat([pd.read_csv("test.csv"), made_scores(train, 2)]).to_csv("all.csv", index=False)
    assert evaluate(predictions="all.csv") == 0
    assert "60 of the 420 images (30 patients) belong to this manifest's training part" in capsys.readouterr().out
    assert evaluate("--split", "test", "--force", predictions="all.csv") == 0
    assert "training part" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--replicates", "0"], 2, "--replicates 0"),
        (["--level", "1"], 1, "level"),
        (["--prevalence", "often"], 2, "--prevalence 'often'"),
        (["--prevalence", "1"], 2, "--prevalence '1'"),
        (["--prevalence", "Nodule=0.1"], 1, "Nodule"),
        (["--margin", "0.1"], 2, "--margin"),
        (["--fit", "val.csv", "--rules", "luck"], 1, "luck"),
        (["--fit", "nowhere.csv"], 1, "no such predictions file"),
        (["--bundle", "nowhere"], 1, "no bundle"),
        (["--scheme", "nonsense"], 1, "no label scheme"),
        (["--scheme", "categories"], 1, "[unknown-finding]"),
        (["--compare", "nowhere.csv"], 1, "no such predictions file"),
        (["--split", "train"], 1, "none of its images is in the split 'train'"),
    ],
)
def test_wrong_use(folder: Path, words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(*words) == status
    assert said in capsys.readouterr().err
    assert not (folder / "out" / "metrics.csv").exists()


def test_calibrated_predictions_are_not_fitted_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "test.csv.json").write_text('{"calibrated": true}')
    assert evaluate("--fit", "val.csv") == 1
    assert "calibrated already" in capsys.readouterr().err


def test_logged_to_mlflow(
    folder: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    store = f"sqlite:///{shutil.copy(empty_store, folder / 'runs.db')}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    assert evaluate("--experiment", "judged") == 0
    client = mlflow.MlflowClient(store)
    experiment = client.get_experiment_by_name("judged")
    assert experiment is not None
    link = f"#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning"
    assert link in capsys.readouterr().out.partition("the runs: ")[2]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics["test_auroc_Mass"] == pytest.approx(metrics()["findings"][0]["auroc"])
    logged = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"report.html", "metrics.csv", "metrics.json", "plots"} <= logged


# ---------------------------------------------------------------- labels made of findings


GROUPED = {
    "name": "grouped",
    "groups": {"Any": ["Mass", "Edema"], "Normal": []},
    "findings": ["Mass", "Edema"],
}


@pytest.fixture
def grouped(folder: Path) -> Path:
    """Predictions of a label made of findings and of Normal, for all of which the truth must be derived."""
    for name in ("val", "test"):
        table = pd.read_csv(folder / f"{name}.csv")
        any_of = table[["Mass", "Edema"]].max(axis=1)
        table[["image"]].assign(Any=any_of, Normal=1 - any_of).to_csv(folder / f"{name}.csv", index=False)
    (folder / "own.json").write_text(json.dumps(GROUPED), encoding="utf-8")
    return folder


def derived(folder: Path) -> tuple[int, int]:
    """Images of the test part with a finding, and with none, where that is known; by hand."""
    table = pd.read_csv(folder / "manifest.csv").query("split == 'test'")
    positive = (table["Mass"] == 1) | (table["Edema"] == 1)
    return int(positive.sum()), int(((table["Mass"] == 0) & (table["Edema"] == 0)).sum())


@pytest.mark.parametrize("told", ["by name", "beside the predictions"])
def test_truth_of_a_scheme(told: str, grouped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--scheme", "own.json"] if told == "by name" else []
    if not words:
        (grouped / "test.csv.json").write_text(json.dumps({"label_scheme": GROUPED}), encoding="utf-8")
    assert evaluate("--fit", "val.csv", *words) == 0
    table = pd.read_csv(grouped / "out" / "metrics.csv").set_index("finding")
    positive, normal = derived(grouped)
    assert table["positives"].to_dict() == {"Any": positive, "Normal": normal, "mean": positive + normal}
    assert (table.loc[["Any", "Normal"], "images"] == positive + normal).all()
    told_so = capsys.readouterr().out
    assert "Labels are of the scheme 'grouped': Any = Mass or Edema; Normal = none of the findings." in told_so
    assert (grouped / "out" / "operating_points.csv").is_file()


def test_another_truth_than_the_systems_own_is_said(grouped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (grouped / "test.csv.json").write_text(json.dumps({"label_scheme": "findings"}), encoding="utf-8")
    assert evaluate("--scheme", "own.json") == 0
    assert "The truth is of the label scheme 'grouped'; the system was made for that of 'findings'." in (
        capsys.readouterr().out
    )


def test_predictions_of_another_scheme_than_the_bundles(
    grouped: Path, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    (grouped / "test.csv.json").write_text(json.dumps({"label_scheme": GROUPED}), encoding="utf-8")
    assert evaluate("--bundle", str(trained.bundle)) == 1
    told = capsys.readouterr().err
    assert "[evaluation-invalid]" in told
    assert "those of the bundle are of 'findings'" in told


# ---------------------------------------------------------------- bundles


def test_a_training_leaves_a_calibration_of_its_validation_part(trained: Trained, phantoms: Phantoms) -> None:
    fitted = read_calibration(trained.bundle / "models" / "calibration.json", NIH14)
    assert fitted is not None
    rows = phantoms.table.query("split == 'val'")
    assert fitted.fitted_on["images"] == len(rows)
    assert fitted.fitted_on["patients"] == rows["patient_id"].nunique()
    assert fitted.fitted_on["parts"] == {"val": len(rows)}
    assert "secret" not in (trained.bundle / "models" / "calibration.json").read_text()
    patients = phantoms.table["patient_id"]
    assert patients_trained_on(trained.bundle, patients) == set(patients[phantoms.table["split"] == "train"])


@pytest.fixture
def calibrated(trained: Trained, phantoms: Phantoms, elsewhere: Path) -> Path:
    """A copy that is calibrated on made-up predictions: the tiny training has too few images for any."""
    table = phantoms.table
    random = np.random.default_rng(0)
    rows = table[table["split"] != "test"].reset_index(drop=True)
    made = pd.DataFrame({"image": rows["image"]} | {name: random.random(len(rows)) for name in NIH14})
    made.to_csv(elsewhere / "made.csv", index=False)
    words = ["--predictions", "made.csv", "--manifest", str(phantoms.manifest), "--out", "new"]
    assert main(["calibrate", str(trained.bundle), *words, "--rules", "youden,cost=5"]) == 0
    return elsewhere / "new"


def test_calibrating_writes_a_copy(trained: Trained, calibrated: Path, phantoms: Phantoms) -> None:
    before, after = content(trained.bundle), content(calibrated)
    changed = {name for name in after if after[name] != before.get(name)}
    assert set(after) == {*before, "lineage.json"}
    assert changed == {"models/calibration.json", "lineage.json"}
    lineage = json.loads((calibrated / "lineage.json").read_text())["own"]
    assert lineage["parents"] == [content_digest(trained.bundle)]
    fitted_on = json.loads((calibrated / "models" / "calibration.json").read_text())["fitted_on"]
    assert lineage["data"] == fitted_on
    patients = phantoms.table["patient_id"]
    assert patients_trained_on(calibrated, patients) == set(patients[phantoms.table["split"] == "train"])
    points = json.loads((calibrated / "models" / "calibration.json").read_text())["findings"]
    assert {rule for of in points.values() for rule in of["operating_points"]} == {"youden", "cost=5"}


def test_prediction_is_calibrated_unless_told(calibrated: Path, phantoms: Phantoms, elsewhere: Path) -> None:
    path = calibrated / "models" / "calibration.json"
    made = json.loads(path.read_text())
    made["findings"]["Mass"]["calibration"] = [Calibrator("platt", {"slope": 1.0, "intercept": 1.0}).to_json()]
    path.write_text(json.dumps(made))
    image = str(phantoms.files("test")[0])
    for name, words in {"calibrated": [], "raw": ["--raw"]}.items():
        assert main(["predict", str(calibrated), image, "--out", f"{name}.csv", "--workers", "0", *words]) == 0
        about = json.loads(Path(f"{name}.csv.json").read_text())
        assert about["calibrated"] is (name == "calibrated")
    raw, given = (pd.read_csv(f"{name}.csv").iloc[0] for name in ("raw", "calibrated"))
    odds = raw["Mass"] / (1 - raw["Mass"]) * np.e
    assert given["Mass"] == pytest.approx(odds / (1 + odds), abs=1e-6)
    assert "Mass" not in json.loads(Path("calibrated.csv.json").read_text()).get("uncalibrated_findings", [])


@pytest.mark.parametrize("out", ["there", "bundle/inside"])
def test_a_copy_needs_a_place_of_its_own(
    out: str, copy: Path, phantoms: Phantoms, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("there").mkdir()
    Path("p.csv").write_text("image,Mass\na.png,0.5\n")
    target = str(copy / "inside") if out.startswith("bundle") else out
    words = ["--predictions", "p.csv", "--manifest", str(phantoms.manifest), "--out", target]
    assert main(["calibrate", str(copy), *words]) == 2
    assert "[output-exists]" in capsys.readouterr().err
    assert not (copy / "inside").exists()


def test_a_bundles_own_patients_are_refused(
    calibrated: Path, phantoms: Phantoms, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--manifest", str(phantoms.manifest), "--bundle", str(calibrated), "--out", "result", "--replicates", "20"]
    assert main(["evaluate", "--predictions", "made.csv", *words]) == 1
    assert "[patients-shared]" in capsys.readouterr().err


def test_nothing_to_recalibrate(
    copy: Path, phantoms: Phantoms, elsewhere: Path, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "models" / "calibration.json").unlink()
    predictions = str(trained.out / "predictions_val.csv")
    words = ["--predictions", predictions, "--manifest", str(phantoms.manifest), "--out", "new"]
    assert main(["calibrate", str(copy), *words, "--recalibrate", "auto"]) == 1
    assert "[calibration-invalid]" in capsys.readouterr().err
    assert not Path("new").exists()


@pytest.mark.parametrize("drawn", [0, 1, 360])
def test_of_drawn_images_the_report_says_so_first(folder: Path, drawn: int) -> None:
    table = pd.read_csv("manifest.csv", dtype="str", keep_default_na=False)
    tested = table.index[table["split"] == "test"]
    assert len(tested) == 360
    table.loc[tested[:drawn], "source"] = "phantom"
    table.to_csv("manifest.csv", index=False)
    assert evaluate("--split", "test") == 0
    made = metrics()
    assert made["book"]["synthetic_images"] == drawn
    said = [note for note in made["notes"] if "synthetic" in note]
    expected = {
        0: [], 1: ["1 of the 360 images is synthetic, drawn by a program (cxr-monai phantom)."], 360: [SYNTHETIC],
    }  # fmt: skip
    assert said == expected[drawn]
    assert all(note in html.unescape((folder / "out" / "report.html").read_text()) for note in said)


def test_a_system_that_has_learned_from_phantoms_is_told_of_on_any_images(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tiny_bundle(tmp_path_factory.mktemp("bundle") / "bundle", 0)
    path = root / "configs" / "metadata.json"
    learned = {"label_version": "phantom-v1", "images": 8, "synthetic_images": 8}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"trained_on": learned}))
    Fitted(dict.fromkeys(TINY_LABELS, ()), {}, {}, {}, fitted_on={"patients_digest": "ab" * 32}).write(
        root / "models" / "calibration.json"
    )
    about = {"bundle": Bundle.open(root).digest, "label_scheme": "findings", "bundle_name": "Mine, version 3"}
    (folder / "test.csv.json").write_text(json.dumps(about))
    assert evaluate("--bundle", str(root)) == 0
    (note,) = (note for note in metrics()["notes"] if note.startswith("The system: "))
    assert note == (
        "The system: trained on synthetic images, drawn by a program (cxr-monai phantom); no patient is among them."
    )
    assert metrics()["book"]["bundle_name"] == "Mine, version 3"
    assert f"What Mine, version 3 ({about['bundle'][:12]}) is worth" in (folder / "out" / "report.html").read_text()


# ---------------------------------------------------------------- views


def test_some_views_alone(folder: Path) -> None:
    table = read_manifest("manifest.csv", check_files=False).table
    in_test = table["split"] == "test"
    assert evaluate("--fit", "val.csv", "--views", "PA") == 0
    made = metrics()
    assert made["book"]["images"] == int((in_test & (table["view"] == "PA")).sum()) > 100
    assert made["book"]["fitted_on"]["parts"] == {
        "val": int(((table["split"] == "val") & (table["view"] == "PA")).sum())
    }
    assert made["book"]["views"] == "PA"
    left_out = int((in_test & (table["view"] == "AP")).sum())
    assert any(f"left out are {left_out} AP." in note for note in made["notes"])
    studies = table[in_test].drop_duplicates(["patient_id", "study_id"])
    assert evaluate("--views", "best-frontal", out="best") == 0
    assert metrics("best")["book"]["images"] == len(studies)
    assert evaluate("--views", "PA,LATERAL,side", out="other") == 1


@pytest.mark.parametrize(
    ("patients", "remark"),
    [("unknown", "Whose films these are is not known"), ("assumed", "is the word of whoever made the manifest")],
)
def test_what_is_not_known_of_patients_is_said(folder: Path, patients: str, remark: str) -> None:
    record = json.loads((folder / "manifest.csv.json").read_text())
    (folder / "manifest.csv.json").write_text(json.dumps(record | {"patients": patients}))
    assert evaluate("--fit", "val.csv") == 0
    assert sum(remark in note for note in metrics()["notes"]) == 1


def gate_beside(folder: Path, leave_out: bool = False) -> None:
    """Refuse a tenth of the films with a mass and no other; leave them out of the predictions where asked."""
    table = pd.read_csv(folder / "test.csv")
    labels = pd.read_csv(folder / "manifest.csv").set_index("image").loc[table["image"], "Mass"]
    is_refused = (labels == 1).to_numpy() & (np.arange(len(table)) % 3 == 0)
    codes = np.where(is_refused, "gate-blurred", "")
    gate = pd.DataFrame({"image": table["image"], "gate": np.where(is_refused, "refuse", "accept"), "code": codes})
    gate.to_csv(folder / "test.csv.gate.csv", index=False)
    if leave_out:
        table[~is_refused].to_csv(folder / "test.csv", index=False)


@pytest.mark.parametrize("leave_out", [False, True])
def test_what_a_gate_refuses_is_told(folder: Path, leave_out: bool) -> None:
    gate_beside(folder, leave_out)
    assert evaluate("--split", "test") == 0
    findings = pd.read_csv(folder / "out" / "gate_findings.csv").set_index("finding")
    assert findings.loc["Mass", "verdict"] == "refused more often"
    assert findings.loc["Mass", "negatives_refused"] == 0
    codes = pd.read_csv(folder / "out" / "gate_codes.csv", keep_default_na=False).set_index(["gate", "code"])
    assert codes.loc[("refuse", "gate-blurred"), "images"] == findings.loc["Mass", "positives_refused"]
    figures = folder / "out" / "gate_figures.csv"
    assert figures.exists() == (not leave_out)
    refused = int(findings.loc["Mass", "positives_refused"])
    assert metrics()["book"]["gate"]["refused"] == refused
    assert metrics()["book"]["gate"]["refused without a prediction"] == refused * leave_out
    evaluation = read_evaluation(folder / "out")
    logged = gate_metrics(evaluation.gate_codes, evaluation.gate_figures)
    assert logged["gate_refused"] == pytest.approx(refused / 360)
    assert ("auroc_let_through_mean" in logged) == (not leave_out)


def test_a_gate_table_may_be_named_and_without_one_nothing_of_it_is_written(folder: Path) -> None:
    gate_beside(folder)
    (folder / "test.csv.gate.csv").rename(folder / "g.csv")
    assert evaluate("--split", "test") == 0
    assert not list((folder / "out").glob("gate_*"))
    assert not [name for name in metrics() if name.startswith("gate_")]
    assert "gate" not in metrics()["book"]
    assert evaluate("--split", "test", "--gate-table", str(folder / "g.csv"), "--force") == 0
    assert (folder / "out" / "gate_groups.csv").exists()
    assert evaluate("--split", "test", "--gate-table", str(folder / "absent.csv"), "--force") == 1
