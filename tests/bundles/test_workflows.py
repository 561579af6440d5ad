"""Every workflow of the bundle for one tiny epoch, from a directory that is neither the bundle's nor the data's."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle.scripts import run as run_by_monai
from monai.networks.nets import DenseNet121
from PIL import Image
from sklearn.metrics import roc_auc_score

from cxr_monai.attribution.map_store import MapStore
from cxr_monai.bundle import bundle_folder
from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.environment import without_monai_warning
from cxr_monai.errors import CxrError
from cxr_monai.evaluation.evaluation_folder import read_evaluation
from cxr_monai.labels import NIH14
from cxr_monai.losses import MaskedBCEWithLogitsLoss
from cxr_monai.stopping import interruptible
from cxr_monai.training import preflight
from cxr_monai.training.checkpoints import digest, read_checkpoint
from cxr_monai.training.preflight import required_bytes
from cxr_monai.workflows import evaluate
from tests.support import bundle_runs
from tests.support.bundle_runs import (
    CONFIGS,
    SHIPPED,
    SMALL_NETWORK,
    TINY,
    Phantoms,
    Trained,
    code_of,
    content,
    few,
    monai_bundle,
    no_pictures,
    read,
    rewrite,
    run,
    train,
    workflow,
)
from tests.support.tiny_bundles import tiny_bundle

SMALL: dict[str, Any] = {**TINY, "network_def": SMALL_NETWORK}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the 14 findings with a small network and random weights, which nothing calibrated."""
    definition = {**SMALL_NETWORK, "out_channels": len(NIH14)}
    return tiny_bundle(tmp_path_factory.mktemp("small") / "B", seed=1, labels=list(NIH14), network_def=definition)


# ---------------------------------------------------------------- what a training leaves behind


def test_training_leaves_its_source_alone(trained: Trained) -> None:
    assert trained.source_after == trained.source_before
    assert not trained.source.exists()


def test_training_writes_into_out_and_its_run_into_the_working_directory(trained: Trained) -> None:
    assert {path.name for path in trained.out.iterdir()} == {
        "bundle", "bundle.patients.json", "checkpoints", "means.csv", "metrics.csv", "metrics.json", "pictures",
        "predictions_val.csv", "predictions_val.csv.json", "tracking", "training.lock",
    }  # fmt: skip
    assert {path.name for path in trained.home.iterdir()} == {"mlflow.db", "mlartifacts"}


def test_trained_bundle_is_complete(trained: Trained) -> None:
    files = set(content(trained.bundle))
    assert files == set(content(SHIPPED)) | {"models/model.pt", "models/calibration.json"}
    for path in files - {"models/model.pt"}:
        assert str(trained.source) not in (trained.bundle / path).read_text(encoding="utf-8"), path


def test_trained_bundle_says_what_it_was_trained_with(trained: Trained) -> None:
    network = {
        "_target_": "DenseNet121", "spatial_dims": 2, "in_channels": 1, "out_channels": 14,
        "act": ["RELU", {"inplace": False}],
    }  # fmt: skip
    for name in CONFIGS:
        config = read(trained.bundle, name)
        assert config["image_size"] == 32, name
        assert config["labels"] == list(NIH14), name
        assert config["network_def"] == network, name
    image = read(trained.bundle, "metadata")["network_data_format"]["inputs"]["image"]
    assert image["spatial_shape"] == [32, 32]


def test_trained_bundle_says_that_it_has_seen_phantoms(trained: Trained, phantoms: Phantoms) -> None:
    seen = int(pd.read_csv(phantoms.manifest)["split"].isin(["train", "val"]).sum())
    metadata = json.loads((trained.bundle / "configs/metadata.json").read_text())
    assert metadata["trained_on"] == {"label_version": "phantom-v1", "images": seen, "synthetic_images": seen}
    assert metadata["data_source"].startswith("synthetic images, drawn by a program")
    assert "drawn with the images" in metadata["label_classes"]
    about = json.loads((trained.out / "predictions_val.csv.json").read_text())
    assert about["bundle_name"] == "Chest X-ray, 14 findings, version 0.1.0"


def test_last_checkpoint_holds_what_resuming_needs(trained: Trained) -> None:
    last = read_checkpoint(trained.out / "checkpoints" / "last.pt")
    assert set(last) >= {"network", "average", "optimizer", "scheduler", "step", "best", "stopper", "progress"}
    assert last["best"]["epoch"] == 1
    best = torch.load(trained.bundle / "models" / "model.pt", weights_only=True)
    assert list(best) == list(last["network"])  # one epoch: the best is the last
    assert all(torch.equal(best[name], last["network"][name]) for name in best)


def test_predictions_of_the_best_epoch_are_those_of_the_table(trained: Trained, phantoms: Phantoms) -> None:
    predictions = pd.read_csv(trained.out / "predictions_val.csv")
    truth = phantoms.table.query("split == 'val'")
    assert list(predictions["image"]) == list(truth["image"])
    table = pd.read_csv(trained.out / "metrics.csv").set_index("finding")
    assert list(table.index) == [*NIH14, "mean"]
    defined = [name for name in NIH14 if 0 < truth[name].sum() < len(truth)]
    assert len(defined) > 5
    for name in defined:
        # the file holds eight digits, the table four decimals
        assert table["auroc"][name] == pytest.approx(roc_auc_score(truth[name], predictions[name]), abs=6e-5), name
    assert table["auroc"].drop("mean").notna().sum() == len(defined)


def test_pictures(trained: Trained) -> None:
    for name in ("network_input.png", "curves.png"):
        with Image.open(trained.out / "pictures" / name) as picture:
            assert picture.width > 300, name


def test_monais_warning_is_explained_once(trained: Trained) -> None:
    log = trained.process.stderr
    assert log.count("parsing config_file") == 2  # MONAI's, and the way to silence it
    assert log.count("MONAI's warning above stands before every configuration") == 1
    assert log.index("UserWarning: parsing config_file") < log.index("MONAI's warning above")
    assert f"'cxr-monai bundle inspect {trained.source}'" in log.replace("\n", " ")


@pytest.mark.parametrize("before", [None, "error", "ignore::DeprecationWarning,error"])
def test_one_warning_is_silenced_and_no_other(before: str | None) -> None:
    given = {"A": "b"} | ({"PYTHONWARNINGS": before} if before else {})
    environment = without_monai_warning(given)
    assert environment["A"] == "b"
    code = (
        "import warnings\n"
        "warnings.warn('parsing config_file B/configs/train.json: any value')\n"
        "print('silent')\n"
        "warnings.warn('something else')\n"
        "print('a warning')\n"
    )
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert process.stdout.split("\n")[0] == "silent"
    assert "UserWarning: something else" in process.stderr
    assert "parsing config_file" not in process.stderr
    assert (process.returncode == 1) == ("error" in (before or ""))


def test_console_shows_an_epoch_and_where_to_look(trained: Trained) -> None:
    log = trained.process.stderr
    assert "preflight passed" in log
    assert "epoch 1/1:" in log
    assert "train loss" in log
    assert f"the bundle: {trained.bundle}" in log
    shows = f"mlflow ui --backend-store-uri sqlite:///{trained.home / 'mlflow.db'}, then open http://127.0.0.1:5000/"
    assert f"the runs: {shows}#/experiments/1/runs?workflowType=machine_learning" in log


# ---------------------------------------------------------------- evaluate, inference, explain


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often a bundle is opened and hashed, predictions are read, and files take their places."""
    counts: Counter[str] = Counter()

    def count(owner: Any, name: str, named: Callable[..., str]) -> None:
        original = getattr(owner, name)

        def wrapper(*given: Any, **options: Any) -> Any:
            counts[named(*given)] += 1
            return original(*given, **options)

        monkeypatch.setattr(owner, name, wrapper)

    count(Bundle, "open", lambda *_: "bundle opened")
    count(bundle_folder, "content_digest", lambda root: "weights hashed")
    count(bundle_folder, "check_agreement", lambda *_: "agreement of a bundle checked")
    count(evaluate, "read_predictions", lambda path: "predictions read")
    for name in ("replace", "rename"):
        count(os, name, lambda _, to, **__: "/".join(Path(to).parts[-2:]))
    return counts


def test_evaluation_does_each_thing_once(
    trained: Trained, phantoms: Phantoms, elsewhere: Path, calls: Counter[str]
) -> None:
    before = content(trained.bundle)
    run(trained.bundle, "evaluate", manifest=str(phantoms.manifest), output_dir="results", batch_size=8, amp=False)
    assert (calls["weights hashed"], calls["predictions read"]) == (1, 0)
    # by what describes the predictions, and by the report
    assert calls["bundle opened"] == calls["agreement of a bundle checked"] == 2
    assert {calls[f"results/{name}"] for name in ("metrics.csv", "metrics.json", "report.html")} == {1}
    out = elsewhere / "results"
    made = {path.name for path in out.iterdir()}
    assert made >= {
        "metrics.csv", "metrics.json", "predictions.csv", "predictions.csv.json", "tracking",
        "operating_points.csv", "calibration.csv", "subgroups.csv", "report.html", "report.md",
    }  # fmt: skip
    assert "plots" not in made  # unless somebody asks for PNG files
    predictions, truth = pd.read_csv(out / "predictions.csv"), phantoms.table.query("split == 'test'")
    assert list(predictions["image"]) == list(truth["image"])
    rows = {row["finding"]: row for row in json.loads((out / "metrics.json").read_text())["findings"]}
    for name in NIH14:
        defined = 0 < truth[name].sum() < len(truth)
        assert (rows[name]["auroc"] is not None) == defined, name
        assert rows[name]["positives"] == truth[name].sum(), name
    about = json.loads((out / "predictions.csv.json").read_text())
    assert about["precision"] == "float32"
    assert about["calibrated"] is False
    assert about["own_weights"] is True
    assert content(trained.bundle) == before
    assert f"<strong>Digest:</strong> {about['bundle']}" in (out / "report.html").read_text()  # of the model card


def test_the_part_that_was_fitted_on_is_judged_without_its_own_thresholds(
    trained: Trained, phantoms: Phantoms, elsewhere: Path
) -> None:
    settings = {"manifest": str(phantoms.manifest), "batch_size": 8, "replicates": 20}
    run(trained.bundle, "evaluate", output_dir="results", split="val", **settings)
    result = json.loads((elsewhere / "results" / "metrics.json").read_text())
    assert result["operating_points"] == []
    assert result["book"]["fitted_on"] is None
    assert any("calibration and thresholds are left out" in note for note in result["notes"])


def test_evaluation_of_another_part_and_other_weights(small: Path, phantoms: Phantoms, elsewhere: Path) -> None:
    weights = Path(shutil.copy(small / "models" / "model.pt", elsewhere / "mine.pt"))
    settings = {"manifest": str(phantoms.manifest), "batch_size": 8, "amp": False}
    run(small, "evaluate", output_dir="results", split="val", weights=str(weights), **settings)
    ours = pd.read_csv(elsewhere / "results" / "predictions.csv")
    assert list(ours["image"]) == list(phantoms.table.query("split == 'val'")["image"])
    assert json.loads((elsewhere / "results/predictions.csv.json").read_text())["own_weights"] is False
    metrics = pd.read_csv(elsewhere / "results" / "metrics.csv").set_index("finding")
    assert dict(metrics["positives"][list(NIH14)]) == dict(phantoms.table.query("split == 'val'")[list(NIH14)].sum())


def test_inference_of_a_folder_equals_that_of_a_manifest(small: Path, phantoms: Phantoms, elsewhere: Path) -> None:
    run(small, "inference", dataset_dir=str(phantoms.root), output_dir="folder", batch_size=8, amp=False)
    run(small, "inference", manifest=str(phantoms.manifest), output_dir="table", batch_size=8, amp=False)
    folder, table = (pd.read_csv(elsewhere / name / "predictions.csv") for name in ("folder", "table"))
    assert list(table["image"]) == list(phantoms.table["image"])
    assert sorted(folder["image"]) == sorted(table["image"])
    both = folder.merge(table, on="image", suffixes=("", "_table"))
    for name in NIH14:
        assert both[name].between(0, 1).all(), name
        np.testing.assert_allclose(both[name], both[f"{name}_table"], rtol=0, atol=1e-6, err_msg=name)


def test_ten_crop_is_the_mean_of_ten_crops(small: Path, phantoms: Phantoms, elsewhere: Path) -> None:
    settings = {"manifest": str(phantoms.manifest), "batch_size": 4, "amp": False}
    made = run(small, "evaluate", "ten_crop", output_dir="ten", **settings)
    ten = pd.read_csv(elsewhere / "ten" / "predictions.csv").set_index("image")
    network, dataset = made.parser.get_parsed_content("network"), made.parser.get_parsed_content("dataset")
    first = dataset[0]
    assert first["image"].shape == (10, 1, 32, 32)
    with torch.no_grad():
        # mirrored crops are mirrors, and the file's row is the mean over crops of the logits
        assert torch.equal(first["image"][:5].flip(-1), first["image"][5:])
        expected = network.eval()(first["image"]).mean(0).sigmoid().numpy()
    np.testing.assert_allclose(ten.loc[first["name"], list(NIH14)].to_numpy(float), expected, rtol=0, atol=1e-5)


def test_explanation_of_a_manifest(
    small: Path, phantoms: Phantoms, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_monai.attribution.methods._PATH_STEPS", 2)  # what more of them give is tests/explain's
    run(small, "explain", manifest=str(phantoms.manifest), output_dir="out", count=2)
    pictures = sorted(path.name for path in (elsewhere / "out" / "explanations").glob("*.png"))
    assert len(pictures) == 3
    assert pictures[-1] == "sheet.png"
    shown = {name[4:-4] for name in pictures[:-1]}
    assert shown <= {path.stem for path in phantoms.files("test")}
    for method in ("cam", "integrated_gradients"):
        store = MapStore.open(elsewhere / "out" / "explanations" / f"maps_{method}")
        assert {Path(image).stem for image in store.images} == shown
        assert (store.about["method"], store.findings) == (method, NIH14)


def test_explanation_of_files_reports_the_bad_one(trained: Trained, phantoms: Phantoms, elsewhere: Path) -> None:
    good, bad = phantoms.files("test")[0], elsewhere / "bad.png"
    bad.write_bytes(b"not a picture")
    run(trained.bundle, "explain", images=f"{good},{bad}", output_dir="out", methods="gradcam", most_probable=1)
    assert sorted(path.name for path in (elsewhere / "out/explanations").iterdir()) == [
        f"000_{good.stem}.png", "maps_gradcam", "sheet.png",
    ]  # fmt: skip
    errors = pd.read_csv(elsewhere / "out" / "explanations.errors.csv")
    assert list(errors["image"]) == ["bad.png"]
    assert list(errors["code"]) == ["radiograph-not-an-image"]


@pytest.mark.parametrize("config", ["evaluate", "inference", "explain"])
def test_missing_weights_are_never_replaced_by_random_ones(
    config: str, copy: Path, phantoms: Phantoms, elsewhere: Path
) -> None:
    (copy / "models" / "model.pt").unlink()
    with pytest.raises(CxrError) as error:
        run(copy, config, manifest=str(phantoms.manifest), output_dir="out")
    assert code_of(error) == "weights-missing"
    assert str(copy / "models" / "model.pt") in str(error.value)
    assert not list(elsewhere.rglob("predictions.csv"))


# ---------------------------------------------------------------- what is wrong with the data


def test_missing_manifest(elsewhere: Path) -> None:
    with pytest.raises(CxrError) as error:
        train(SHIPPED, elsewhere / "nowhere.csv")
    assert code_of(error) == "manifest-not-found"


@pytest.mark.parametrize("config", ["train", "evaluate", "inference", "explain"])
def test_no_manifest_named(config: str, small: Path, elsewhere: Path) -> None:
    with pytest.raises(CxrError, match="--manifest") as error:
        run(small, config, output_dir="OUT")
    assert code_of(error) == "setting-invalid"


@pytest.mark.parametrize(("config", "part"), [("train", "train"), ("train", "val"), ("evaluate", "test")])
def test_missing_split(config: str, part: str, small: Path, phantoms: Phantoms, elsewhere: Path) -> None:
    manifest = rewrite(phantoms.manifest, elsewhere / "m.csv", lambda table: table[table["split"] != part])
    with pytest.raises(CxrError, match=f"'{part}'") as error:
        run(small, config, manifest=str(manifest), output_dir="OUT")
    assert code_of(error) == "split-invalid"


def test_patient_on_two_sides(small: Path, phantoms: Phantoms, elsewhere: Path) -> None:
    def cross(table: pd.DataFrame) -> None:
        table.loc[table["split"] == "val", "patient_id"] = table.loc[table["split"] == "train", "patient_id"].iloc[0]

    with pytest.raises(CxrError) as error:
        train(small, rewrite(phantoms.manifest, elsewhere / "m.csv", cross))
    assert code_of(error) == "patient-leak"


@pytest.fixture
def one_bad(phantoms: Phantoms, elsewhere: Path) -> Path:
    """The whole manifest over a copy of its images, of which one of each part is damaged."""
    root = elsewhere / "images"
    shutil.copytree(phantoms.root / "images", root / "images")
    table = phantoms.table
    for part in ("train", "val", "test"):
        name = table.loc[table["split"] == part, "image"].iloc[1]
        (root / name).write_bytes((root / name).read_bytes()[:100])
    manifest = rewrite(phantoms.manifest, elsewhere / "m.csv", lambda table: None)
    record = json.loads(manifest.with_name("m.csv.json").read_text())
    manifest.with_name("m.csv.json").write_text(json.dumps(record | {"root": str(root)}))
    return manifest


def bad_name(manifest: Path, part: str) -> str:
    table = pd.read_csv(manifest)
    return str(table.loc[table["split"] == part, "image"].iloc[1])


@pytest.mark.parametrize("config", ["evaluate", "inference"])
def test_bad_image_is_reported_and_the_rest_is_done(config: str, small: Path, one_bad: Path, elsewhere: Path) -> None:
    run(small, config, manifest=str(one_bad), output_dir="out", batch_size=8)
    table = pd.read_csv(one_bad)
    parts = ["test"] if config == "evaluate" else ["train", "val", "test"]
    bad = [bad_name(one_bad, part) for part in parts]
    errors = pd.read_csv(elsewhere / "out" / "predictions.csv.errors.csv")
    assert list(errors.columns) == ["image", "code", "reason"]
    assert sorted(errors["image"]) == sorted(bad)
    assert set(errors["code"]) == {"radiograph-truncated"}
    done = pd.read_csv(elsewhere / "out" / "predictions.csv")["image"]
    assert list(done) == [name for name in table.loc[table["split"].isin(parts), "image"] if name not in bad]
    if config == "evaluate":
        metrics = pd.read_csv(elsewhere / "out" / "metrics.csv").set_index("finding")
        assert metrics["images"][NIH14[0]] == len(done)


def test_training_goes_on_without_the_bad_image(small: Path, one_bad: Path, elsewhere: Path) -> None:
    train(small, one_bad, batch_size=8, **{"train#left_out#most": 0.1, "validate#left_out#most": 0.1})
    for part, split in (("training", "train"), ("validation", "val")):
        errors = pd.read_csv(elsewhere / "OUT" / f"{part}.errors.csv")
        assert list(errors["image"]) == [bad_name(one_bad, split)]
        assert list(errors["code"]) == ["radiograph-truncated"]


def test_unknown_labels_are_masked(small: Path, phantoms: Phantoms, elsewhere: Path) -> None:
    """An evaluation with unknown labels is that of the known ones alone: exact loss, exact counts."""

    def forget(table: pd.DataFrame) -> None:
        table.loc[table.index[::2], ["Effusion", "Hernia"]] = ""

    manifest = rewrite(phantoms.manifest, elsewhere / "m.csv", forget)
    made = run(small, "evaluate", manifest=str(manifest), output_dir="out", batch_size=8, amp=False)
    truth = pd.read_csv(manifest).query("split == 'test'")
    known = truth[list(NIH14)].notna()
    assert known["Effusion"].sum() < len(truth)
    metrics = pd.read_csv(elsewhere / "out" / "metrics.csv").set_index("finding")
    assert list(metrics["images"][list(NIH14)]) == list(known.sum())
    predictions = pd.read_csv(elsewhere / "out" / "predictions.csv")[list(NIH14)].to_numpy()
    labels = truth[list(NIH14)].to_numpy()
    losses = -np.where(labels == 1, np.log(predictions), np.log1p(-predictions))[known.to_numpy()]
    loss = made.parser.get_parsed_content("evaluator").state.metrics["loss"]
    assert loss == pytest.approx(losses.mean(), abs=1e-5)


def test_all_labels_unknown_gives_no_gradient_and_no_nan() -> None:
    logits = torch.zeros(2, 3, requires_grad=True)
    loss = MaskedBCEWithLogitsLoss()(logits, torch.full((2, 3), torch.nan))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(2, 3))


# ---------------------------------------------------------------- preflight and failures


def prepared(phantoms: Phantoms, elsewhere: Path, **settings: Any) -> Any:
    """A training's workflow with its components made, but not run."""
    manifest = rewrite(phantoms.manifest, elsewhere / "few.csv", few)
    made = workflow(
        SHIPPED, "train", manifest=str(manifest), **{**SMALL, "batch_size": 4, "output_dir": "OUT", **settings}
    )
    made.initialize()
    return made.parser


def test_preflight_changes_neither_weights_nor_random_state(phantoms: Phantoms, elsewhere: Path) -> None:
    with bundle_runs.process_as_it_was():
        parser = prepared(phantoms, elsewhere)
        network, preflight = parser.get_parsed_content("network"), parser.get_parsed_content("preflight")
        before, state = {name: t.clone() for name, t in network.state_dict().items()}, torch.get_rng_state()
        preflight.run()
        after = network.state_dict()
        assert [name for name in before if not torch.equal(before[name], after[name])] == []
        assert torch.equal(torch.get_rng_state(), state)
        assert all(parameter.grad is None for parameter in network.parameters())


def test_full_disk_is_refused_before_training(
    phantoms: Phantoms, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, real = DenseNet121(2, 1, len(NIH14)), shutil.disk_usage
    monkeypatch.setattr(preflight, "required_bytes", lambda _: required_bytes(network))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=10_000_000))
    manifest = rewrite(phantoms.manifest, elsewhere / "few.csv", few)
    with pytest.raises(CxrError, match=r"0\.0 GB are free, the training needs about 0\.5 GB") as error:
        train(SHIPPED, manifest)
    assert code_of(error) == "disk-full"
    assert not (elsewhere / "OUT" / "bundle").exists()


def test_preflight_names_the_file_if_none_of_the_first_batch_can_be_read(phantoms: Phantoms, elsewhere: Path) -> None:
    root = elsewhere / "images"
    (root / "images").mkdir(parents=True)
    for name in phantoms.table["image"]:
        (root / name).write_bytes(b"\x89PNG not really")
    manifest = rewrite(phantoms.manifest, elsewhere / "few.csv", few)
    with pytest.raises(CxrError, match="no file of the first batch could be read") as error:
        train(SHIPPED, manifest, dataset_dir=str(root))
    assert code_of(error) == "preflight-failed"


def test_loss_that_is_no_number_stops_the_training(phantoms: Phantoms, elsewhere: Path) -> None:
    """A step of 1e30 leaves weights whose outputs overflow: preflight passes, the second batch does not."""
    manifest = rewrite(phantoms.manifest, elsewhere / "few.csv", few)
    with pytest.raises(
        CxrError, match=r"the loss is -?(nan|inf) in epoch 1, iteration 2, at the batch of .*\.png"
    ) as error:
        train(SHIPPED, manifest, learning_rate=1e30)
    assert code_of(error) == "not-finite"
    assert not (elsewhere / "OUT" / "bundle" / "models" / "model.pt").exists()


def test_nan_loss_of_the_first_batch_is_found_by_preflight(phantoms: Phantoms, elsewhere: Path) -> None:
    manifest = rewrite(phantoms.manifest, elsewhere / "few.csv", few)
    loss = {"_target_": "torch.nn.HuberLoss"}  # takes labels with NaN for numbers
    table = pd.read_csv(manifest, dtype="str", keep_default_na=False)
    table.loc[:, "Effusion"] = ""
    table.to_csv(manifest, index=False)
    with pytest.raises(CxrError, match="before any step") as error:
        train(SHIPPED, manifest, loss_function=loss)
    assert code_of(error) == "not-finite"


@pytest.mark.parametrize("overlays", [(), ("one_cycle",)], ids=["plateau", "one_cycle"])
def test_validation_every_second_epoch(overlays: tuple[str, ...], phantoms: Phantoms, elsewhere: Path) -> None:
    manifest = rewrite(phantoms.manifest, elsewhere / "few.csv", few)
    settings = {**SMALL, "batch_size": 4, "epochs": 2, "val_interval": 2}
    with no_pictures():
        made = run(SHIPPED, "train", *overlays, manifest=str(manifest), output_dir="OUT", **settings)
    assert made.parser.get_parsed_content("train#trainer").state.epoch == 2
    if overlays:  # one_cycle steps with every batch: two epochs of two
        assert made.parser.get_parsed_content("scheduler").last_epoch == 3
    # the first epoch was never validated, so it is not the best
    assert read_checkpoint(elsewhere / "OUT" / "checkpoints" / "last.pt")["best"]["epoch"] == 2


def test_outputs_that_are_no_number_at_validation(phantoms: Phantoms, elsewhere: Path) -> None:
    """The last step of an epoch is the one that overflows: its loss was a number, the validation's outputs are not."""
    manifest = rewrite(phantoms.manifest, elsewhere / "few.csv", few)
    with pytest.raises(CxrError) as error:
        train(SHIPPED, manifest, batch_size=8, learning_rate=1e30)
    assert code_of(error) == "not-finite"


# ---------------------------------------------------------------- several processes, real processes


# The first process runs our command and the second MONAI's own, so each is tried, and both must do the same.
EITHER = """
bundle=$1; configs=$2; shift 2
if [ "$RANK" = 0 ]; then exec "$0" -m cxr_monai.cli run "$bundle" train,multi_gpu_train "$@"; fi
exec "$0" -m monai.bundle run --config_file "['$configs/train.json','$configs/multi_gpu_train.json']" \\
    --meta_file "$configs/metadata.json" --bundle_root "$bundle" "$@"
"""


@dataclass(frozen=True)
class Shared:
    """A training whose first epoch one process did, the second two, and that one process then evaluated again.

    Attributes:
        two: its folder as the two processes left it.
        one: a copy, where the same command was started in one process.
        table: the manifest's.
        said: what the two processes said.
    """

    two: Path
    one: Path
    table: pd.DataFrame
    said: str


@pytest.fixture(scope="module")
def shared(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory, tracking_store: str) -> Shared:
    home = tmp_path_factory.mktemp("two")
    bundle = tiny_bundle(home / "B", seed=1)
    manifest = rewrite(phantoms.manifest, home / "few.csv", few)
    # float32: bfloat16 rounds otherwise in other batches, and the figures are compared
    alike = {"manifest": str(manifest), "amp": False, "image_size": 32, "tracking_uri": tracking_store}
    with no_pictures():
        run(bundle, "train", output_dir=str(home / "OUT"), epochs=1, batch_size=4, num_workers=0, **alike)
    configs = bundle / "configs"
    process = monai_bundle(
        home,
        "--nproc_per_node=2", "--no-python", "sh", "-c", EITHER, sys.executable, str(bundle), str(configs),
        "--output_dir", "OUT", "--epochs", "2", "--batch_size", "2", "--num_workers", "0",
        *(word for name, value in alike.items() for word in (f"--{name}", str(value))),
        launcher=("torch.distributed.run",),
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    one = Path(shutil.copytree(home / "OUT", home / "ONE"))
    for name in ("metrics.json", "metrics.csv", "predictions_val.csv"):
        (one / name).unlink()
    with no_pictures():
        run(bundle, "train", output_dir=str(one), epochs=2, batch_size=4, num_workers=0, **alike)
    return Shared(home / "OUT", one, pd.read_csv(manifest), process.stdout + process.stderr)


def test_two_processes_train_one_network(shared: Shared) -> None:
    state = torch.load(shared.two / "bundle" / "models" / "model.pt", weights_only=True)
    assert not any(name.startswith("module.") for name in state)


def test_two_processes_continue_what_one_began_and_one_what_two_left(shared: Shared) -> None:
    assert "continuing after epoch 1" in shared.said
    last = [read_checkpoint(folder / "checkpoints" / "last.pt") for folder in (shared.two, shared.one)]
    assert last[0]["progress"]["iteration"] == 4  # two epochs of eight images, four a step
    assert digest(last[0]) == digest(last[1])


def test_two_processes_evaluate_as_one_does(shared: Shared) -> None:
    two, one = (pd.read_csv(folder / "predictions_val.csv").set_index("image") for folder in (shared.two, shared.one))
    validated = shared.table.loc[shared.table["split"] == "val", "image"]
    assert sorted(two.index) == sorted(one.index) == sorted(validated)  # none twice
    pd.testing.assert_frame_equal(two.sort_index(), one.sort_index(), rtol=0, atol=1e-5)
    tables = [read_evaluation(folder).findings for folder in (shared.two, shared.one)]
    assert tables[0]["images"].iloc[-1] == len(validated)
    ranked = ["finding", "images", "positives", "auroc", "auroc_low", "auroc_high", "average_precision"]
    pd.testing.assert_frame_equal(tables[0][ranked], tables[1][ranked], check_exact=True)  # the order alone decides
    pd.testing.assert_frame_equal(*tables, rtol=0, atol=1e-5)  # a Brier score, the last digits of probabilities too


def test_one_of_two_processes_speaks(shared: Shared) -> None:
    assert shared.said.count("epoch 2/2:") == 1
    assert shared.said.count("a folder of your own, inspected") == 1
    assert shared.said.count("  torchrun --nproc_per_node=2 -m monai.bundle run --config_file ") == 1


def test_overlay_for_several_processes_needs_torchrun(phantoms: Phantoms, elsewhere: Path) -> None:
    with pytest.raises(CxrError, match="torchrun") as error:
        run(SHIPPED, "train", "multi_gpu_train", manifest=str(phantoms.manifest), output_dir="OUT", **TINY)
    assert code_of(error) == "usage"


def test_misspelt_override_ends_with_one_line_that_helps(
    phantoms: Phantoms, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As under ``python -m monai.bundle``, whose process calls `sys.excepthook` (test_interrupted has such a one)."""
    main = ModuleType("__main__")
    main.__spec__ = ModuleSpec("monai.bundle.__main__", None)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "excepthook", None)
    with bundle_runs.process_as_it_was(), interruptible(), pytest.raises(RuntimeError) as error:
        run_by_monai(
            config_file=str(SHIPPED / "configs/train.json"), bundle_root=str(SHIPPED),
            manifest=str(phantoms.manifest), output_dir="OUT", epoch=3,
        )  # fmt: skip
    capsys.readouterr()
    with suppress(SystemExit):
        sys.excepthook(error.type, error.value, error.tb)
    said = capsys.readouterr().err
    last = said.strip().splitlines()[-1]
    assert last.startswith("error [override-unknown]: ")
    assert "--epoch" in last
    assert last.endswith("Did you mean --epochs?")
    assert "Traceback" not in said
    assert not (elsewhere / "OUT").exists()
