"""The MLflow run of a training: everything to compare runs by, nothing that names a patient or a file."""

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

import cxr_monai
from cxr_monai.cli import main
from cxr_monai.errors import CxrError
from cxr_monai.labels import NIH14
from cxr_monai.training.tracking import MLflowTracker, _without_paths
from tests.support.bundle_runs import (
    SHIPPED,
    SMALL_NETWORK,
    TINY,
    Phantoms,
    Trained,
    code_of,
    content,
    few,
    plain_environment,
    read,
    rewrite,
    run,
    train,
)


@pytest.fixture(scope="module")
def client(trained: Trained) -> MlflowClient:
    """MLflow's client of the file in the training's working directory."""
    return MlflowClient(f"sqlite:///{trained.home / 'mlflow.db'}")


@pytest.fixture(scope="module")
def tracked(client: MlflowClient) -> Run:
    """The one run of the tiny training."""
    experiment = client.get_experiment_by_name("cxr_nih14")
    assert experiment is not None
    (only,) = client.search_runs([experiment.experiment_id])
    return only


def artifacts(client: MlflowClient, tracked: Run, folder: str | None = None) -> list[str]:
    found: list[str] = []
    for item in client.list_artifacts(tracked.info.run_id, folder):
        found += artifacts(client, tracked, item.path) if item.is_dir else [item.path]
    return sorted(found)


# ---------------------------------------------------------------- what a run holds


def test_a_run_stands_in_the_working_directory_by_default(trained: Trained, tracked: Run) -> None:
    assert tracked.info.status == "FINISHED"
    assert tracked.info.run_name == "tiny"
    assert tracked.info.artifact_uri == f"file://{trained.home}/mlartifacts/{tracked.info.run_id}/artifacts"


def test_parameters_are_the_plain_settings(tracked: Run) -> None:
    parameters = tracked.data.params
    expected = {
        "epochs": "1", "image_size": "32", "batch_size": "8", "learning_rate": "0.0003", "seed": "0",
        "normalisation": "imagenet", "init_weights": "none", "labels": ", ".join(NIH14),
    }  # fmt: skip
    assert {name: parameters.get(name) for name in expected} == expected
    assert set(parameters).isdisjoint({"manifest", "dataset_dir", "output_dir", "bundle_root"})


def test_tags_say_which_code_ran(tracked: Run) -> None:
    tags = tracked.data.tags
    assert tags["cxr_monai"] == cxr_monai.__version__
    assert {"torch", "monai", "ignite"} <= set(tags)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(cxr_monai.__file__).parent, capture_output=True, text=True, check=False
    )
    if head.returncode == 0:
        assert len(tags["code_version"].removesuffix("+changed")) == len(head.stdout.strip())
        assert tags["mlflow.source.git.commit"] == tags["code_version"]


def test_figures_of_every_epoch(client: MlflowClient, tracked: Run, trained: Trained, phantoms: Phantoms) -> None:
    truth = phantoms.table.query("split == 'val'")
    defined = [name for name in NIH14 if 0 < truth[name].sum() < len(truth)]
    per_epoch = {
        "train_loss", "val_loss", "learning_rate", "images_per_second", "val_auroc_mean",
        *(f"val_auroc_{name}" for name in defined),
    }  # fmt: skip
    assert per_epoch <= set(tracked.data.metrics)
    for name in per_epoch:
        assert [metric.step for metric in client.get_metric_history(tracked.info.run_id, name)] == [1], name
    assert {name for name in tracked.data.metrics if name.startswith("val_auroc_")} <= per_epoch  # no 0.5 for undefined
    table = {row["finding"]: row for row in json.loads((trained.out / "metrics.json").read_text())["findings"]}
    assert tracked.data.metrics["learning_rate"] == 0.0003
    assert tracked.data.metrics["images_per_second"] > 0
    assert tracked.data.metrics["val_auroc_mean"] == pytest.approx(table["mean"]["auroc"])
    for name in defined:
        assert tracked.data.metrics[f"val_auroc_{name}"] == pytest.approx(table[name]["auroc"]), name


def test_data_sets(tracked: Run, phantoms: Phantoms) -> None:
    inputs = {
        tag.value: entry.dataset
        for entry in tracked.inputs.dataset_inputs
        for tag in entry.tags
        if tag.key == "mlflow.data.context"
    }
    assert set(inputs) == {"train", "validation"}
    record = json.loads(phantoms.manifest.with_name("manifest.csv.json").read_text())
    for context, part in (("train", "train"), ("validation", "val")):
        profile, rows = json.loads(inputs[context].profile), phantoms.table.query(f"split == '{part}'")
        assert profile["images"] == len(rows)
        assert profile["patients"] == rows["patient_id"].nunique()
        assert profile["positives"] == {name: int(rows[name].sum()) for name in NIH14}
        assert profile["unknown"] == dict.fromkeys(NIH14, 0)
        assert profile["prevalence"]["Effusion"] == pytest.approx(rows["Effusion"].mean(), abs=1e-6)
        assert profile["split_scheme"] == "random"
        assert profile["split_digest"] == record["split"]["digest"]
        assert len(inputs[context].digest) >= 8
    assert inputs["train"].digest != inputs["validation"].digest


def test_files(client: MlflowClient, tracked: Run) -> None:
    files = artifacts(client, tracked)
    assert {
        "configuration.json", "metrics.csv", "metrics.txt", "pictures/network_input.png", "pictures/curves.png",
        "bundle/models/model.pt", "bundle/configs/inference.json", "bundle/configs/metadata.json",
    } <= set(files)  # fmt: skip


def test_configuration_is_the_resolved_one(client: MlflowClient, tracked: Run, tmp_path: Path) -> None:
    file = client.download_artifacts(tracked.info.run_id, "configuration.json", str(tmp_path))
    configuration = json.loads(Path(file).read_text())
    assert configuration["epochs"] == 1
    assert configuration["image_size"] == 32
    assert configuration["train"]["trainer"]["_target_"] == "SupervisedTrainer"


def test_best_weights_are_those_of_the_bundle(
    client: MlflowClient, tracked: Run, trained: Trained, tmp_path: Path
) -> None:
    file = client.download_artifacts(tracked.info.run_id, "bundle/models/model.pt", str(tmp_path))
    assert Path(file).read_bytes() == (trained.bundle / "models" / "model.pt").read_bytes()


# ---------------------------------------------------------------- what it must not hold


def test_no_patient_no_file_name_no_path_of_the_data(trained: Trained, phantoms: Phantoms) -> None:
    with sqlite3.connect(trained.home / "mlflow.db") as database:
        dump = "\n".join(database.iterdump())
    texts = {"mlflow.db": dump}
    for path in (trained.home / "mlartifacts").rglob("*"):
        if path.is_file():  # of pictures and weights as well: their bytes hold text where someone wrote it
            texts[path.name] = path.read_bytes().decode("latin-1")
    assert len(texts) > 10
    names = {Path(image).stem for image in phantoms.table["image"]}
    forbidden = names | {"secret-patient_id-", "secret-study_id-"}
    forbidden |= {phantoms.root.name, str(phantoms.root.parent), str(trained.out), str(trained.source)}
    found = {(file, word) for file, text in texts.items() for word in forbidden if str(word) in text}
    assert found == set()


# ---------------------------------------------------------------- where it goes, how it ends


def runs(store: str, experiment: str) -> list[Run]:
    client = MlflowClient(store)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return list(client.search_runs([found.experiment_id]))


def test_tracking_uri_of_the_environment(phantoms: Phantoms, elsewhere: Path, tracking_store: str) -> None:
    manifest = rewrite(phantoms.manifest, elsewhere / "few.csv", few)
    train(SHIPPED, manifest, experiment="of the environment", epochs=2)
    (tracked,) = runs(tracking_store, "of the environment")
    assert tracked.info.status == "FINISHED"
    assert not (elsewhere / "mlflow.db").exists()
    history = MlflowClient(tracking_store).get_metric_history(tracked.info.run_id, "train_loss")
    assert [metric.step for metric in history] == [1, 2]


def test_evaluation_has_a_run_of_its_own(
    trained: Trained, phantoms: Phantoms, elsewhere: Path, tracking_store: str
) -> None:
    run(trained.bundle, "evaluate", manifest=str(phantoms.manifest), output_dir="out", experiment="an evaluation")
    (tracked,) = runs(tracking_store, "an evaluation")
    assert tracked.info.status == "FINISHED"
    assert "test_auroc_mean" in tracked.data.metrics
    assert [entry.dataset.name for entry in tracked.inputs.dataset_inputs] == ["test"]


def test_failed_training_leaves_a_failed_run(phantoms: Phantoms, elsewhere: Path, tracking_store: str) -> None:
    manifest = rewrite(phantoms.manifest, elsewhere / "few.csv", few)
    with pytest.raises(CxrError) as error:
        train(SHIPPED, manifest, experiment="a failure", learning_rate=1e30)
    assert code_of(error) == "not-finite"
    (tracked,) = runs(tracking_store, "a failure")
    assert tracked.info.status == "FAILED"


def test_training_that_cannot_start_leaves_no_run(phantoms: Phantoms, elsewhere: Path, tracking_store: str) -> None:
    manifest = rewrite(phantoms.manifest, elsewhere / "few.csv", lambda table: table[table["split"] == "train"])
    with pytest.raises(CxrError):
        train(SHIPPED, manifest, experiment="nothing began")
    assert MlflowClient(tracking_store).get_experiment_by_name("nothing began") is None


def test_tracking_of_monai_trains_beside_ours(
    shipped_copy: Path, phantoms: Phantoms, elsewhere: Path, tracking_store: str
) -> None:
    """``--tracking mlflow`` adds MONAI's own handlers; ours stay, and the bundle is not written to."""
    manifest, before = rewrite(phantoms.manifest, elsewhere / "few.csv", few), content(shipped_copy)
    settings = {**TINY, "network_def": SMALL_NETWORK, "batch_size": 4, "epochs": 1, "experiment": "ours"}
    run(shipped_copy, "train", tracking="mlflow", manifest=str(manifest), output_dir="OUT", **settings)
    assert [tracked.info.status for tracked in runs(tracking_store, "ours")] == ["FINISHED"]
    assert len(runs(tracking_store, "monai_experiment")) == 1
    assert content(shipped_copy) == before


def test_a_server_that_is_away_costs_nothing(
    phantoms: Phantoms,
    elsewhere: Path,
    tmp_path: Path,
    empty_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    manifest = rewrite(phantoms.manifest, elsewhere / "few.csv", few)
    train(SHIPPED, manifest, experiment="away", epochs=2)  # ends as if nothing had happened
    assert (elsewhere / "OUT" / "metrics.csv").is_file()
    assert caplog.text.count("[tracking-failed] MLflow does not answer") == 1
    assert "cxr-monai track" in caplog.text
    assert main(["track", "OUT"]) == 1  # still away
    store = f"sqlite:///{shutil.copy(empty_store, tmp_path / 'later.db')}"
    for _ in range(2):  # the second time there is nothing left to send
        assert main(["track", "OUT", "--tracking-uri", store]) == 0
    client = MlflowClient(tracking_uri=store)
    (run,) = runs(store, "away")
    assert run.info.status == "FINISHED"
    for name in ("train_loss", "val_loss", "learning_rate"):
        assert [metric.step for metric in client.get_metric_history(run.info.run_id, name)] == [1, 2]
    assert {item.path for item in client.list_artifacts(run.info.run_id)} >= {"bundle", "pictures", "metrics.csv"}


def test_a_server_that_goes_away_does_not_end_the_training(
    phantoms: Phantoms, elsewhere: Path, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*words: Any, **named: Any) -> None:
        raise MlflowException("the server is gone")

    def start_then_lose(tracker: MLflowTracker, resume: bool = False) -> None:
        begin(tracker, resume)
        for method in ("log_inputs", "log_batch", "log_artifact", "log_artifacts", "log_text", "set_terminated"):
            lost.setattr(MlflowClient, method, away)

    store = f"sqlite:///{shutil.copy(empty_store, tmp_path / 'goes.db')}"
    begin, lost = MLflowTracker.start, pytest.MonkeyPatch()
    monkeypatch.setattr(MLflowTracker, "start", start_then_lose)
    manifest = rewrite(phantoms.manifest, elsewhere / "few.csv", few)
    train(SHIPPED, manifest, experiment="goes away", tracking_uri=store)
    assert (elsewhere / "OUT" / "bundle" / "models" / "model.pt").is_file()
    (run,) = runs(store, "goes away")
    assert (run.info.status, run.data.metrics) == ("RUNNING", {})
    lost.undo()
    assert main(["track", "OUT", "--tracking-uri", store]) == 0
    (run,) = runs(store, "goes away")
    assert run.info.status == "FINISHED"
    assert "train_loss" in run.data.metrics


def test_paths_at_any_depth_are_not_tracked() -> None:
    given = {"manifest": "/data/m.csv", "train": {"dataset": {"cache_dir": "/data/c"}}, "images": ["/data/a.png"]}
    assert "/data" not in json.dumps(_without_paths(given))
    kept = {"init_weights": "none", "cache_dir": "$@output_dir", "epochs": 3}
    assert _without_paths(kept) == kept


def test_mlflow_does_not_phone_home() -> None:
    """Under pytest and CI MLflow's reporting is off by itself, so this asks a process that knows of neither."""
    code = (
        "import mlflow.telemetry as t\n"
        "from mlflow.telemetry.client import get_telemetry_client as client\n"
        "print(client() is not None)\n"
        "from cxr_monai.bundle.running import silence_mlflow\n"
        "silence_mlflow()\n"
        "print(client() is None)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], env=plain_environment(), capture_output=True, text=True, timeout=120, check=True
    )
    before, after = process.stdout.split()
    assert before == "True", "MLflow's reporting was off before: this test proves nothing"
    assert after == "True"


def test_settings_of_the_shipped_bundle_hold_no_path() -> None:
    assert read(SHIPPED, "train")["tracking_uri"] is None
