"""The bundle's configurations: of one mind, readable by MONAI's tools, no setting that nothing reads."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import DenseNet121

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.errors import CxrError
from cxr_monai.labels import NIH14
from tests.support.bundle_runs import (
    CONFIGS,
    SHIPPED,
    Phantoms,
    Trained,
    code_of,
    edit,
    our_errors,
    process_as_it_was,
    read,
    workflow,
)

OVERLAYS = [("train", "multi_gpu_train"), ("train", "one_cycle"), ("evaluate", "ten_crop"), ("inference", "ten_crop")]
OVERLAYS += [("evaluate", "flip"), ("inference", "flip")]
WORKFLOWS = [(name,) for name in CONFIGS] + OVERLAYS
# what every training bundle offers on the command line (shared/DESIGN.md, "Public names")
SETTINGS = (
    "manifest", "dataset_dir", "output_dir", "labels", "image_size", "normalisation", "init_weights", "epochs",
    "batch_size", "learning_rate", "num_workers", "seed",
)  # fmt: skip


def strings(config: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Yield every string of a configuration with its id."""
    if isinstance(config, str):
        yield at, config
    elif isinstance(config, dict | list):
        for key, value in config.items() if isinstance(config, dict) else enumerate(config):
            yield from strings(value, f"{at}#{key}" if at else str(key))


def start(*configs: str, bundle: Path = SHIPPED, tracking: Any = None, **settings: Any) -> None:
    """Run a workflow's ``initialize`` alone, as ``python -m monai.bundle run`` does first."""
    with process_as_it_was(), our_errors():
        workflow(bundle, *configs, tracking=tracking, **settings).initialize()


# ---------------------------------------------------------------- conventions


@pytest.mark.parametrize("name", SETTINGS)
def test_training_has_the_public_setting(name: str) -> None:
    assert name in read(SHIPPED, "train")


@pytest.mark.parametrize("config", ["evaluate", "inference", "explain"])
def test_the_others_take_weights_and_their_share_of_the_settings(config: str) -> None:
    content = read(SHIPPED, config)
    assert {"weights", "manifest", "dataset_dir", "output_dir", "labels", "image_size", "normalisation"} <= set(content)
    assert content["weights"] == "$os.path.join(@bundle_root, 'models', 'model.pt')"


@pytest.mark.parametrize("config", [*CONFIGS, "multi_gpu_train", "one_cycle", "ten_crop", "flip"])
def test_no_code_of_ours_in_expressions(config: str) -> None:
    """What is more than a path, a number, an import or a ``run()`` is a component, not an expression."""
    plain = re.compile(
        r"\$(import \w+|os\.path\.join\(@\w+(, '[\w.]+')+\)|(len|bool)\(@[\w#]+\)|@\w+\.(network|outputs|groups)"
        r"|@gate\.observer|@train#dataset\.data"
        r"|@\w+\.(parameters|run|prior)\((@\w+(, @\w+)*)?\)"
        r"|torch\.device\('cuda' if torch\.cuda\.is_available\(\) else 'cpu'\))"
    )
    for at, value in strings(read(SHIPPED, config)):
        assert not value.startswith("$") or plain.fullmatch(value), (at, value)
        assert "scripts." not in value, at
        assert not value.startswith(("%", "/")), at


def test_configurations_and_metadata_agree() -> None:
    bundle = Bundle.open(SHIPPED)
    assert bundle.labels == NIH14
    assert bundle.image_size == 224
    configs = {name: read(SHIPPED, name) for name in CONFIGS}
    for key in ("labels", "image_size", "margin", "normalisation", "network_def", "findings", "device"):
        assert all(config[key] == configs["train"][key] for config in configs.values()), key
    for name in ("evaluate", "inference", "explain"):
        assert configs[name]["preprocessing"] == configs["train"]["validate"]["preprocessing"], name
    pred = read(SHIPPED, "metadata")["network_data_format"]["outputs"]["pred"]
    assert [pred["channel_def"][str(index)] for index in range(pred["num_channels"])] == list(NIH14)


def test_network_names_monai_alone() -> None:
    assert [value for _, value in strings(read(SHIPPED, "train")["network_def"]) if "cxr_monai" in value] == []
    assert read(SHIPPED, "train")["network_def"]["_target_"] == "DenseNet121"


def test_weights_load_without_this_package(trained: Trained) -> None:
    state = torch.load(trained.bundle / "models" / "model.pt", weights_only=True)
    network = DenseNet121(spatial_dims=2, in_channels=1, out_channels=14)
    assert network.load_state_dict(state, strict=True).missing_keys == []
    assert all(tensor.device.type == "cpu" for tensor in state.values())


@pytest.mark.parametrize(("config", "kind"), [("train", "train"), ("evaluate", "infer"), ("inference", "infer")])
def test_monai_finds_its_properties(
    config: str, kind: str, trained: Trained, phantoms: Phantoms, elsewhere: Path
) -> None:
    with process_as_it_was():
        made = workflow(trained.bundle, config, kind=kind, manifest=str(phantoms.manifest), output_dir="OUT")
        made.initialize()
        assert made.check_properties() == []


# ---------------------------------------------------------------- overrides


@pytest.mark.parametrize("configs", WORKFLOWS, ids="+".join)
def test_no_setting_as_shipped_is_refused(configs: tuple[str, ...], elsewhere: Path) -> None:
    start(*configs)


@pytest.mark.parametrize("config", CONFIGS)
def test_no_plain_setting_is_refused_as_an_override(config: str, elsewhere: Path) -> None:
    """By its own value, one by one."""
    content = read(SHIPPED, config)
    plain = {key: value for key, value in content.items() if not isinstance(value, dict) and not key.startswith("_")}
    for key in set(plain) - {"imports", "initialize", "run", "bundle_root"}:
        start(config, **{key: plain[key]})


@pytest.mark.parametrize(
    ("configs", "override", "nearest"),
    [
        (("train",), "epoch", "epochs"),
        (("train",), "learning_rat", "learning_rate"),
        (("train",), "normalization", "normalisation"),
        (("train",), "image-size", "image_size"),
        (("train",), "train#epoch_length_typo", None),
        (("train",), "train#datasets", "train#dataset"),
        (("train",), "train#lr", None),
        (("train",), "validate#handler", "validate#handlers"),
        (("train",), "weights", None),
        (("evaluate",), "splits", "split"),
        (("evaluate",), "epochs", None),
        (("evaluate",), "patience", None),
        (("inference",), "split", None),
        (("inference",), "output", "output_dir"),
        (("explain",), "method", "methods"),
        (("explain",), "batch_size", None),
        (("evaluate", "ten_crop"), "crops", None),
        (("train", "multi_gpu_train"), "main_proces", "main_process"),
    ],
)
def test_unknown_override_is_refused(
    configs: tuple[str, ...], override: str, nearest: str | None, elsewhere: Path
) -> None:
    with pytest.raises(CxrError) as error:
        start(*configs, **{override: 3})
    assert code_of(error) == "override-unknown"
    assert f"--{override}" in error.value.message
    if nearest:
        assert error.value.fix == f"Did you mean --{nearest}?"
    else:
        assert error.value.fix


@pytest.mark.parametrize(
    "override",
    [
        "network_def#dropout",
        "optimizer#weight",
        "train#dataloader#batchsize",
        "train#trainer#max_epoch",
        "scheduler#mod",
    ],
)
def test_misspelt_argument_of_a_component_is_refused(override: str, phantoms: Phantoms, elsewhere: Path) -> None:
    """What stands inside a component reaches its constructor, which refuses it: no word is swallowed."""
    with process_as_it_was(), pytest.raises((CxrError, RuntimeError, TypeError)) as error:  # noqa: PT012
        made = workflow(SHIPPED, "train", manifest=str(phantoms.manifest), output_dir="OUT", **{override: 3})
        made.initialize()
        made.run()
    assert override.rpartition("#")[2] in "".join(_messages(error.value))


def _messages(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield str(error)
        error = error.__cause__


@pytest.mark.parametrize("config", ["train", "evaluate", "inference"])
def test_tracking_of_monai_is_not_refused(config: str, elsewhere: Path) -> None:
    start(config, tracking="mlflow")


# ---------------------------------------------------------------- agreement of the trained bundle


def test_other_labels_over_the_same_weights(copy: Path) -> None:
    swapped = [NIH14[1], NIH14[0], *NIH14[2:]]
    for config in CONFIGS:
        edit(copy, config, lambda content: content.update(labels=swapped))
    with pytest.raises(CxrError, match="channel_def says Atelectasis, Cardiomegaly") as error:
        Bundle.open(copy)
    assert code_of(error) == "bundle-disagrees"


@pytest.mark.parametrize("config", ["train", "evaluate", "explain"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("labels", list(reversed(NIH14))),
        ("image_size", 64),
        ("normalisation", "zero_one"),
        ("network_def", {"_target_": "DenseNet121", "spatial_dims": 2, "in_channels": 3, "out_channels": 14}),
    ],
)
def test_one_configuration_edited(config: str, key: str, value: Any, copy: Path) -> None:
    edit(copy, config, lambda content: content.update({key: value}))
    with pytest.raises(CxrError, match=f"{key} is .* in {config}.json") as error:
        Bundle.open(copy)
    assert code_of(error) == "bundle-disagrees"


def test_channels_of_the_metadata_in_another_order(copy: Path) -> None:
    def turn(metadata: dict[str, Any]) -> None:
        channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
        channels["0"], channels["1"] = channels["1"], channels["0"]

    edit(copy, "metadata", turn)
    with pytest.raises(CxrError) as error:
        Bundle.open(copy)
    assert code_of(error) == "bundle-disagrees"


@pytest.mark.parametrize("config", ["evaluate", "inference", "explain"])
@pytest.mark.parametrize(("setting", "value"), [("labels", "Pneumonia"), ("image_size", 64)])
def test_only_training_may_change_what_weights_mean(
    config: str, setting: str, value: Any, trained: Trained, phantoms: Phantoms, elsewhere: Path
) -> None:
    with pytest.raises(CxrError) as error:
        start(config, bundle=trained.bundle, manifest=str(phantoms.manifest), **{setting: value})
    assert code_of(error) == "bundle-disagrees"


@pytest.mark.parametrize("config", ["evaluate", "inference", "explain"])
def test_normalisation_cannot_be_changed_under_trained_weights(
    config: str, trained: Trained, phantoms: Phantoms, elsewhere: Path
) -> None:
    with pytest.raises(CxrError) as error:
        start(config, bundle=trained.bundle, manifest=str(phantoms.manifest), normalisation="zero_one")
    assert code_of(error) == "bundle-disagrees"


@pytest.mark.parametrize("part", ["metadata", "inference"])
def test_missing_or_broken_part(part: str, copy: Path) -> None:
    file = copy / "configs" / f"{part}.json"
    file.write_text("{", encoding="utf-8")
    with pytest.raises(CxrError, match="not JSON") as error:
        Bundle.open(copy)
    assert code_of(error) == "bundle-invalid"
    file.unlink()
    with pytest.raises(CxrError, match="missing") as error:
        Bundle.open(copy)
    assert code_of(error) == "bundle-invalid"


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(CxrError) as error:
        Bundle.open(tmp_path)
    assert code_of(error) == "bundle-invalid"


def test_digest_tells_of_any_change(copy: Path) -> None:
    before = Bundle.open(copy).digest
    (copy / "LICENSE").write_text("mine", encoding="utf-8")
    assert Bundle.open(copy).digest != before
