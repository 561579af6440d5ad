"""MONAI's own ways to a bundle (``python -m monai.bundle``, ``ConfigWorkflow``, ``load``), with equal values."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from monai.bundle import ConfigWorkflow, create_workflow, load, onnx_export, scripts, trt_export, verify_net_in_out
from monai.bundle.properties import InferProperties, MetaProperties, TrainProperties
from monai.data import Dataset
from monai.networks.utils import convert_to_torchscript
from PIL import Image

from cxr_monai.errors import CxrError
from cxr_monai.evaluation.metrics_table import finding_table
from tests.interop.monai_workflows import PLAIN, close, own_network, run, workflow
from tests.interop.site import Site
from tests.support.bundle_runs import SHIPPED, code_of, our_errors
from tests.support.tiny_bundles import LABELS, SIZE, tiny_network

# MONAI says before each configuration that it can run code (docs/sharing.md)
says_so = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")

# ---------------------------------------------------------------- several configurations as one


def test_training_and_evaluation_merged_evaluate_as_evaluation_alone(site: Site, away: Path) -> None:
    """``[train.json, evaluate.json]``: MonaiAlgo's default and the model zoo's unit tests."""
    settings = {"manifest": str(site.manifest), "replicates": 20}
    run(workflow(site, "evaluate", kind="infer", output_dir="alone", **settings))
    merged = workflow(site, "train", "evaluate", kind="train", output_dir="merged", **settings)
    assert merged.check_properties() == []
    run(merged)
    alone, both = (pd.read_csv(away / name / "metrics.csv") for name in ("alone", "merged"))
    pd.testing.assert_frame_equal(both, alone)
    labels = pd.read_csv(site.manifest).query("split == 'test'")[list(LABELS)].to_numpy(float)
    raw = site.predict(raw=True).iloc[12:].to_numpy()
    expected = finding_table(np.log(raw / (1 - raw)), labels, LABELS)["auroc"].tolist()
    assert both["auroc"].tolist() == pytest.approx(expected)


def test_merged_configurations_have_the_properties_of_an_inference(site: Site, away: Path) -> None:
    assert workflow(site, "train", "evaluate", kind="infer", manifest=str(site.manifest)).check_properties() == []


def test_the_validation_of_merged_configurations_has_the_bundles_weights(site: Site, away: Path) -> None:
    merged = workflow(site, "train", "evaluate", kind="train", manifest=str(site.manifest))
    state = merged.evaluator.network.state_dict()
    own = torch.load(site.bundle / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(state[name], own[name]) for name in own)


@pytest.mark.parametrize("configs", [("evaluate", "train"), ("train", "inference")])
def test_the_last_configuration_runs(configs: tuple[str, ...], site: Site, away: Path) -> None:
    made = workflow(site, *configs, kind="train", manifest=str(site.manifest), output_dir="OUT", epochs=1)
    run(made)
    if configs[-1] == "train":
        assert (away / "OUT" / "bundle" / "models" / "model.pt").is_file()
    else:
        close(pd.read_csv(away / "OUT" / "predictions.csv"), site.predict())


MERGED = ("train", "evaluate")


@pytest.mark.parametrize(
    ("configs", "override", "nearest"),
    [
        (MERGED, "bacth_size", "batch_size"),
        (MERGED, "train#trainer#max_epoch", "train#trainer#max_epochs"),
        (MERGED, "train#datasets", "train#dataset"),
        (MERGED, "evaluator#val_handler", "evaluator#val_handlers"),
        (MERGED, "validate#evaluator#amp_", "validate#evaluator#amp"),
        (MERGED, "train#dataset#transforms", "train#dataset#transform"),
        (MERGED, "train#preprocessing#transforms#1#margins", "train#preprocessing#transforms#1#margin"),
        (("train", "evaluate", "flip"), "bacth_size", "batch_size"),
        (("train", "one_cycle", "evaluate"), "train#trainer#max_epoch", "train#trainer#max_epochs"),
        (("inference", "ten_crop"), "bacth_size", "batch_size"),
        (("evaluate",), "evaluator#val_handler", "evaluator#val_handlers"),
        (("inference",), "handlers#1#forced", "handlers#1#force"),
    ],
)
def test_what_is_misspelt_is_refused(
    configs: tuple[str, ...], override: str, nearest: str, site: Site, away: Path
) -> None:
    with pytest.raises(CxrError) as error:
        workflow(site, *configs, kind="train", manifest=str(site.manifest), **{override: 3})
    assert code_of(error) == "override-unknown"
    assert error.value.message.startswith(f"nothing reads the setting --{override}")
    assert error.value.fix == f"Did you mean --{nearest}?"


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        ("inference", {"split": "test"}),  # as it stands in evaluate.json, which is not being run
        ("evaluate", {"epochs": 20}),
        ("inference", {"training": None}),
    ],
)
def test_what_another_configuration_has_is_refused(
    config: str, settings: Mapping[str, Any], site: Site, away: Path
) -> None:
    with pytest.raises(CxrError) as error:
        workflow(site, config, kind="infer", manifest=str(site.manifest), **settings)
    assert code_of(error) == "override-unknown"


def test_an_overlay_that_is_misspelt_is_refused(site: Site, away: Path) -> None:
    (away / "overlay.json").write_text(json.dumps({"evaluator": {
        "_target_": "SupervisedEvaluator", "device": "@device", "val_data_loader": "@dataloader",
        "network": "@network", "inferrer": "@inferer", "val_handlers": "@handlers"}}))  # fmt: skip
    with pytest.raises(CxrError, match="Did you mean --evaluator#inferer") as error, our_errors():
        ConfigWorkflow([site.config("inference"), str(away / "overlay.json")], logging_file=False, **PLAIN).initialize()
    assert code_of(error) == "override-unknown"


# ---------------------------------------------------------------- properties


def test_every_property_of_a_training_is_there_and_may_be_set_to_itself(site: Site, away: Path) -> None:
    made = workflow(site, "train", kind="train", manifest=str(site.manifest), dataset_dir=str(site.films[0].parents[1]))
    absent = {"train_postprocessing", "val_postprocessing"}
    values = {name: getattr(made, name) for name in TrainProperties | MetaProperties}
    assert {name for name, value in values.items() if value is None} == absent
    assert made.max_epochs == 20
    made.max_epochs = 3
    made.initialize()
    assert made.trainer.state.max_epochs == 3
    assert values["channel_def"] == {"0": "Effusion", "1": "Mass"}
    assert values["spatial_shape"] == [SIZE, SIZE]


@pytest.mark.parametrize("config", ["inference", "evaluate"])
def test_every_property_of_an_inference_is_there(config: str, site: Site, away: Path) -> None:
    made = workflow(site, config, kind="infer", manifest=str(site.manifest), dataset_dir=str(site.films[0].parents[1]))
    absent = {"key_metric"} if config == "inference" else {"postprocessing"}
    values = {name: getattr(made, name) for name in InferProperties | MetaProperties}
    assert {name for name, value in values.items() if value is None} == absent
    assert made.bundle_root == str(site.bundle)


SETTERS: dict[str, Callable[[ConfigWorkflow], Any]] = {
    "device": lambda made: torch.device("cpu"),
    "bundle_root": lambda made: made.bundle_root,
    "network_def": lambda made: tiny_network(7),  # other weights: the bundle's are loaded into it
    "inferer": lambda made: made.inferer,
    "preprocessing": lambda made: made.preprocessing,
    "postprocessing": lambda made: made.postprocessing,
    "handlers": lambda made: made.handlers,
    "dataset": lambda made: made.dataset,
    "dataset_data": lambda made: made.dataset_data,
}


@pytest.mark.parametrize("name", SETTERS)
def test_a_property_that_is_set_to_its_like_changes_nothing(name: str, site: Site, away: Path) -> None:
    made = workflow(site, "inference", kind="infer", manifest=str(site.manifest), output_dir="OUT")
    value = SETTERS[name](made)
    with our_errors():
        setattr(made, name, value)
        made.initialize()
    run(made)
    close(pd.read_csv(away / "OUT" / "predictions.csv"), site.predict())


@pytest.mark.parametrize("name", ["train_dataset", "train_dataset_data", "val_dataset_data", "train_preprocessing"])
def test_a_training_goes_on_with_the_data_that_it_is_given(name: str, site: Site, away: Path) -> None:
    made = workflow(
        site, "train", kind="train", manifest=str(site.manifest), output_dir="OUT", epochs=1, cache_dir="none"
    )
    value = getattr(made, name)
    with our_errors():
        setattr(made, name, value[:4] if name == "train_dataset_data" else value)
        made.initialize()
    assert len(made.train_dataset) == (4 if name == "train_dataset_data" else 8)
    run(made)
    assert (away / "OUT" / "bundle" / "models" / "model.pt").is_file()
    logged = "".join(path.read_text() for path in away.glob("OUT/tracking/*.jsonl"))
    assert not any(film.name in logged for film in site.films)


def test_a_data_set_that_knows_no_epochs_is_refused(site: Site, away: Path) -> None:
    """Random views depend on the epoch and the image alone, so a training's data set is asked for both."""
    made = workflow(site, "train", kind="train", manifest=str(site.manifest), output_dir="OUT")
    made.train_dataset = Dataset(made.train_dataset_data, made.train_preprocessing)
    made.initialize()
    with pytest.raises(CxrError, match="train_dataset_data") as error, our_errors():
        made.run()
    assert code_of(error) == "setting-invalid"


# ---------------------------------------------------------------- data of the caller's own


@pytest.mark.parametrize(
    "item",
    [
        lambda film: {"image": str(film)},
        lambda film: str(film),
        lambda film: film,
        lambda film: {"image": str(film), "label": [1.0, float("nan")], "name": film.name},
        lambda film: {"image": str(film), "patient": "somebody"},
    ],
    ids=["image", "text", "path", "all", "more"],
)
def test_items_need_their_image_alone(item: Callable[[Path], Any], site: Site, away: Path) -> None:
    made = workflow(site, "inference", kind="infer", output_dir="OUT")
    made.dataset_data = [item(film) for film in site.films[:5]]
    with our_errors():
        made.initialize()
    run(made)
    table = pd.read_csv(away / "OUT" / "predictions.csv")
    assert [Path(image).name for image in table["image"]] == [film.name for film in site.films[:5]]
    close(table, site.predict())


def test_films_in_memory_are_named_by_their_place(site: Site, away: Path) -> None:
    made = workflow(site, "inference", kind="infer", output_dir="OUT")
    films = [np.asarray(Image.open(film)) for film in site.films[:3]]
    made.dataset_data = [{"image": films[0]}, {"image": torch.from_numpy(films[1].copy())}, films[2]]
    with our_errors():
        made.initialize()
    run(made)
    table = pd.read_csv(away / "OUT" / "predictions.csv")
    assert table["image"].tolist() == ["image 1", "image 2", "image 3"]
    np.testing.assert_allclose(table[list(LABELS)], site.predict().iloc[:3], atol=1e-5)


def test_an_item_that_cannot_be_read_is_reported_under_its_path(site: Site, away: Path) -> None:
    made = workflow(site, "inference", kind="infer", output_dir="OUT")
    made.dataset_data = [{"image": str(site.films[0])}, "gone.png"]
    with our_errors():
        made.initialize()
    run(made)
    close(pd.read_csv(away / "OUT" / "predictions.csv"), site.predict())
    assert pd.read_csv(away / "OUT" / "predictions.csv.errors.csv")["image"].tolist() == ["gone.png"]


def test_an_item_without_an_image_is_refused(site: Site, away: Path) -> None:
    made = workflow(site, "inference", kind="infer", output_dir="OUT")
    made.dataset_data = [{"image": str(site.films[0])}, {"path": "a.png"}]
    made.initialize()
    with pytest.raises(CxrError, match="item 2 of the data has no image, only path") as error, our_errors():
        made.run()
    assert code_of(error) == "setting-invalid"


def test_an_evaluation_without_labels_has_no_metrics_and_the_predictions(site: Site, away: Path) -> None:
    made = workflow(site, "evaluate", kind="infer", output_dir="OUT")
    made.dataset_data = [str(film) for film in site.films[:5]]
    with our_errors():
        made.initialize()
        made.evaluator.run()
    close(pd.read_csv(away / "OUT" / "predictions.csv"), site.predict(raw=True))
    assert np.isnan(made.evaluator.state.metrics["mean_auroc"])


# ---------------------------------------------------------------- the device


@pytest.mark.parametrize("config", ["inference", "evaluate"])
@pytest.mark.parametrize("device", ["cpu", "cpu:0", "$torch.device('cpu')"])
def test_a_device_by_its_name(config: str, device: str, site: Site, away: Path) -> None:
    made = workflow(site, config, kind="infer", manifest=str(site.manifest), device=device, output_dir="OUT")
    assert made.device.type == "cpu"
    made.evaluator.run()
    close(pd.read_csv(away / "OUT" / "predictions.csv"), site.predict(raw=config == "evaluate"))


@pytest.mark.parametrize("config", ["train", "inference", "evaluate", "explain"])
@pytest.mark.parametrize("device", ["cuda:99", "$torch.device('cuda:99')", "meta", "gpu", 99])
def test_a_device_that_is_not_there_is_refused(config: str, device: Any, site: Site, away: Path) -> None:
    with pytest.raises(CxrError, match="Here there is cpu") as error:
        workflow(site, config, kind="train", manifest=str(site.manifest), device=device)
    assert code_of(error) == "setting-invalid"
    assert f"--device {device}" in error.value.message


# ---------------------------------------------------------------- load, create_workflow, run, verify, export


@says_so
@pytest.mark.parametrize("kind", ["train", "inference"])
def test_load_gives_the_network_with_its_weights(kind: str, site: Site, away: Path) -> None:
    network = load(site.bundle.name, bundle_dir=site.bundle.parent, source="github", workflow_type=kind, device="cpu")
    images = torch.rand(2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(images), own_network(site)(images))


@says_so
def test_create_workflow_needs_no_bundle_root(site: Site, away: Path) -> None:
    made = create_workflow(
        config_file=site.config("inference"), workflow_type="inference", manifest=str(site.manifest),
        output_dir="OUT", logging_file=False, **PLAIN,
    )  # fmt: skip
    assert made.check_properties() == []
    run(made)
    close(pd.read_csv(away / "OUT" / "predictions.csv"), site.predict())
    assert json.loads((away / "OUT" / "predictions.csv.json").read_text())["calibrated"] is True


def test_another_bundle_in_the_working_directory_is_not_taken_instead(
    site: Site, away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(SHIPPED)
    made = workflow(site, "inference", kind="infer", manifest=str(site.manifest), output_dir=str(away / "OUT"))
    assert made.bundle_root == str(site.bundle)


def test_a_bundle_root_that_is_given_stays(site: Site, away: Path) -> None:
    with pytest.raises(CxrError, match="missing from the bundle"):
        workflow(site, "inference", kind="infer", bundle_root=str(away))


@says_so
@pytest.mark.parametrize("config", ["train", "evaluate", "inference", "explain"])
def test_initialize_as_what_is_run(config: str, site: Site, away: Path) -> None:
    scripts.run(
        "initialize", config_file=site.config(config), bundle_root=str(site.bundle), manifest=str(site.manifest)
    )
    assert list(away.glob("output*")) == []


@pytest.mark.parametrize("config", ["train", "evaluate", "inference", "explain"])
def test_verifying_the_shapes_raises_nothing_and_refuses_another_network(config: str, site: Site, away: Path) -> None:
    meta = site.config("metadata")
    verify_net_in_out("network_def", meta_file=meta, config_file=site.config(config), device="cpu")
    with pytest.raises(ValueError, match="output channel number"):
        verify_net_in_out(
            "network_def", meta_file=meta, config_file=site.config(config), device="cpu",
            **{"network_def#out_channels": 5},
        )  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_onnx_export_gives_the_networks_outputs(site: Site, away: Path) -> None:
    onnx_export(
        "network_def", filepath="model.onnx", ckpt_file=str(site.bundle / "models" / "model.pt"),
        meta_file=site.config("metadata"), config_file=site.config("inference"),
        use_trace=True, converter_kwargs={"dynamo": False},
    )  # fmt: skip
    images = torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    given = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    with torch.no_grad():
        np.testing.assert_allclose(given, own_network(site)(images).numpy(), atol=1e-5)


def test_trt_export_finds_what_it_asks_for(site: Site, away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MONAI 1.6.1's ``trt_export`` up to the compiler, which needs a GPU: a stand-in takes what it would be given."""
    given: dict[str, Any] = {}

    def compiler(model: torch.nn.Module, **arguments: Any) -> torch.nn.Module:
        given.update(arguments, outputs=model(torch.zeros(arguments["input_shape"])).shape)
        return convert_to_torchscript(model)

    monkeypatch.setattr(scripts, "convert_to_trt", compiler)
    trt_export(
        "network_def", filepath="model_trt.ts", ckpt_file=str(site.bundle / "models" / "model.pt"),
        meta_file=site.config("metadata"), config_file=site.config("inference"), precision="fp16",
        dynamic_batchsize=[1, 4, 8],
    )  # fmt: skip
    assert tuple(given["input_shape"]) == (1, 1, SIZE, SIZE)
    assert tuple(given["outputs"]) == (1, len(LABELS))


@pytest.mark.parametrize(("config", "kind"), [("train", "train"), ("evaluate", "infer"), ("inference", "infer")])
def test_tracking_of_monai_runs_to_the_end(config: str, kind: str, site: Site, away: Path) -> None:
    made = workflow(
        site, config, kind=kind, manifest=str(site.manifest), output_dir="OUT", tracking="mlflow",
        experiment_name=f"of {config}", **({"epochs": 1} if config == "train" else {}),
    )  # fmt: skip
    run(made)
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name(f"of {config}")
    assert experiment is not None
    assert {one.info.status for one in client.search_runs([experiment.experiment_id])} == {"FINISHED"}
    if config != "train":
        close(pd.read_csv(away / "OUT" / "predictions.csv"), site.predict(raw=config == "evaluate"))
