"""The first journey: from a folder of radiographs to predictions of new files, by the README's commands alone."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from monai.bundle import scripts

from cxr_monai.cli import main
from cxr_monai.labels import NIH14
from tests.support.bundle_runs import SMALL_NETWORK, TINY, Phantoms, content, process_as_it_was, run


def test_from_radiographs_to_predictions(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every step reads only what the step before left; relative paths from one working directory, as a person types."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    # a table of images
    assert main(["phantom", "nih", "--count", "40", "--size", "64", "--seed", "7", "--workers", "1", "--no-masks"]) == 0
    assert main(["manifest", "nih", "nih", "--out", "manifest.csv"]) == 0
    assert main(["split", "manifest.csv", "--scheme", "official", "--val-fraction", "0.25"]) == 0
    assert main(["check", "manifest.csv"]) == 0
    table = pd.read_csv("manifest.csv")
    assert table.groupby("patient_id")["split"].nunique().max() == 1
    assert set(table["split"]) == {"train", "val", "test"}

    # a bundle of one's own, trained
    assert main(["bundle", "new", "cxr_nih14", "mine"]) == 0
    before = content(Path("mine"))
    run(Path("mine"), "train", manifest="manifest.csv", output_dir="OUT", epochs=1, network_def=SMALL_NETWORK, **TINY)
    assert content(Path("mine")) == before
    client = MlflowClient(f"sqlite:///{elsewhere / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("cxr_nih14")
    assert experiment is not None
    assert [tracked.info.status for tracked in client.search_runs([experiment.experiment_id])] == ["FINISHED"]

    # the trained bundle alone, elsewhere; data and source are gone from where they were
    shutil.rmtree("mine")
    monkeypatch.chdir(elsewhere.parent)
    bundle = Path(shutil.move(elsewhere / "OUT" / "bundle", elsewhere.parent / "received"))
    run(bundle, "evaluate", manifest=str(elsewhere / "manifest.csv"), output_dir="results", batch_size=8)
    metrics = pd.read_csv("results/metrics.csv")
    assert list(metrics["finding"]) == [*NIH14, "mean"]
    run(bundle, "explain", manifest=str(elsewhere / "manifest.csv"), output_dir="results", count=1, methods="gradcam")
    assert Path("results/explanations/sheet.png").is_file()

    # new files
    new = Path(shutil.copytree(elsewhere / "nih" / "images", "new"))
    (new / "broken.png").write_bytes(b"")
    capsys.readouterr()
    assert main(["predict", str(bundle), "new", "--out", "predictions.csv"]) == 0
    predictions = pd.read_csv("predictions.csv")
    assert sorted(predictions["image"]) == sorted(path.name for path in new.iterdir() if path.name != "broken.png")
    assert predictions[list(NIH14)].apply(lambda column: column.between(0, 1)).to_numpy().all()
    assert list(pd.read_csv("predictions.csv.errors.csv")["code"]) == ["radiograph-empty"]
    assert "40 of 41 images predicted" in capsys.readouterr().out

    # all three speak of one bundle
    digests = {
        json.loads(Path(file).read_text())["bundle"]
        for file in ("predictions.csv.json", "results/predictions.csv.json")
    }
    assert len(digests) == 1


@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")
def test_bundle_runs_with_monai_alone_as_its_own_working_directory(
    copy: Path, phantoms: Phantoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside the bundle's folder, as MONAI's model zoo documents it: no ``--bundle_root``, a relative configuration."""
    images = tmp_path / "images"
    images.mkdir()
    for number, file in enumerate(sorted(phantoms.root.rglob("*.png"))[:3]):
        shutil.copy(file, images / f"{number}.png")
    monkeypatch.chdir(copy)
    with process_as_it_was():  # what "python -m monai.bundle run" calls; the command itself: the fixture ``trained``
        scripts.run(config_file="configs/inference.json", dataset_dir=str(images), output_dir=str(tmp_path / "out"))
    assert list(pd.read_csv(tmp_path / "out" / "predictions.csv")["image"]) == ["0.png", "1.png", "2.png"]
