"""Networks by name: what a definition says, and that each does what training, heat maps and export need."""

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export
from monai.bundle import run as monai_run
from monai.data import load_net_with_metadata
from torch import nn

from cxr_monai.attribution.methods import explain_with
from cxr_monai.bundle import preparation
from cxr_monai.bundle.named_network import written_out
from cxr_monai.bundle.trained import write_meaning
from cxr_monai.errors import Code, SettingError
from cxr_monai.labels import NIH14
from cxr_monai.networks.architectures import (
    ARCHITECTURES,
    check_image_size,
    image_size_remark,
    in_channels_of,
    input_channels,
    network_definition,
)
from cxr_monai.networks.class_maps import ClassMaps
from cxr_monai.networks.weight_loading import initialise_network
from tests.support.bundle_runs import Phantoms, few, process_as_it_was, read, rewrite, train, workflow

SIDE = 64
# one of each class: their sizes differ in numbers alone, and take seconds to make
CONVOLUTIONAL = ("DenseNet121", "ResNet50", "SEResNet50", "EfficientNet-B0")


def made(network_def: dict[str, Any]) -> nn.Module:
    return ConfigParser({"made": network_def}).get_parsed_content("made").eval()


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    """Networks for two channels and three findings, as training starts with them, with statistics of a batch.

    With those of the start, EfficientNet's features are zero to the fourteenth digit, and its logits its biases.
    """
    torch.manual_seed(0)
    whole = {}
    for name in CONVOLUTIONAL:
        network = initialise_network(
            made(network_definition(name, SIDE, 2, 3)), "none", prevalences=[0.1, 0.2, 0.3]
        ).train()
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.reset_running_stats()
                layer.momentum = None  # the mean of all batches: of one
        with torch.no_grad():
            network(images(8))
        whole[name] = network.eval()
    return whole


def images(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "ViT"])
def test_a_definition_says_what_goes_in_and_out(name: str) -> None:
    given = network_definition(name.upper(), SIDE, 3, "$len(@findings)")
    assert given["_target_"]
    assert "cxr_monai" not in str(given)
    assert given["spatial_dims"] == 2
    assert in_channels_of(given) == 3
    assert "$len(@findings)" in given.values()
    assert in_channels_of({"_target_": "DenseNet", "in_channels": "$1 + 1"}) == 1


@pytest.mark.parametrize("name", CONVOLUTIONAL)
@torch.inference_mode()
def test_a_network_starts_from_the_prevalences(name: str, networks: dict[str, nn.Module]) -> None:
    network = networks[name]
    assert input_channels(network) == 2
    assert network(images()).shape == (2, 3)
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    torch.testing.assert_close(last.bias.sigmoid(), torch.tensor([0.1, 0.2, 0.3]))
    assert float((network(images()) - last.bias).abs().max()) > 1e-3


@pytest.mark.parametrize("name", CONVOLUTIONAL)
@torch.inference_mode()
def test_class_maps_add_up_to_the_logits(name: str, networks: dict[str, nn.Module]) -> None:
    logits, maps = ClassMaps(networks[name], (2, SIDE, SIDE))(images())
    torch.testing.assert_close(logits, networks[name](images()), rtol=0, atol=1e-4)
    assert maps.shape == (2, 3, 2, 2)


def test_residual_networks_have_finer_maps(networks: dict[str, nn.Module]) -> None:
    with torch.inference_mode():
        logits, maps = ClassMaps(networks["ResNet50"], (2, SIDE, SIDE), 16)(images())
        torch.testing.assert_close(logits, networks["ResNet50"](images()), rtol=0, atol=1e-4)
    assert maps.shape[-1] >= 4


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_other_methods_need_no_such_end(name: str, networks: dict[str, nn.Module]) -> None:
    maps = explain_with("integrated_gradients", networks[name], images(1), [1])
    assert maps.shape == (1, 1, SIDE, SIDE)
    assert float(maps.max()) > 0


@pytest.mark.parametrize("name", CONVOLUTIONAL[1:])
def test_monai_exports_it(name: str, networks: dict[str, nn.Module], shipped_copy: Path) -> None:
    findings = list(NIH14[:3])
    meaning = {
        "labels": findings,
        "label_scheme": "findings",
        "image_size": SIDE,
        "network_def": network_definition(name, SIDE, 2, 3),
    }
    write_meaning(shipped_copy, {**meaning, "normalisation": "zero_one"}, 2)
    (shipped_copy / "models").mkdir()
    torch.save(networks[name].state_dict(), shipped_copy / "models" / "model.pt")
    with process_as_it_was():
        ckpt_export(
            net_id="network_def",
            filepath=str(shipped_copy / "model.ts"),
            ckpt_file=str(shipped_copy / "models" / "model.pt"),
            meta_file=str(shipped_copy / "configs" / "metadata.json"),
            config_file=str(shipped_copy / "configs" / "inference.json"),
            bundle_root=str(shipped_copy),
        )
    exported, _, _ = load_net_with_metadata(str(shipped_copy / "model.ts"))
    network = made(network_definition(name, SIDE, 2, 3))
    network.load_state_dict(networks[name].state_dict())
    with torch.no_grad():
        torch.testing.assert_close(exported.eval()(images(3)), network(images(3)), rtol=0, atol=1e-5)


# ---------------------------------------------------------------- trained by name


def test_a_name_is_written_out(phantoms: Phantoms, elsewhere: Path) -> None:
    """Frozen by name, trained, left as MONAI's definition, and read by a workflow that knows no names."""
    manifest = rewrite(phantoms.manifest, elsewhere / "few.csv", few)
    train(
        Path(__file__).parents[2] / "bundles" / "cxr_nih14", manifest,
        network_def="efficientnet-b0", labels="Mass,Edema", unfreeze={"_blocks.0": 1},
    )  # fmt: skip
    for config in ("train", "evaluate", "inference", "explain"):
        assert read(elsewhere / "OUT" / "bundle", config)["network_def"] == network_definition(
            "EfficientNet-B0", 32, 1, 2
        )
    state = torch.load("OUT/bundle/models/model.pt", weights_only=True)
    network = made(network_definition("EfficientNet-B0", 32, 1, 2))
    network.load_state_dict(state)
    with process_as_it_was():
        begun = workflow(elsewhere / "OUT" / "bundle", "inference", dataset_dir=str(phantoms.root))
        begun.initialize()
        assert begun.parser.get_parsed_content("dataset#shape") == [1, 32, 32]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_name_keeps_the_channels_of_the_bundle(channels: int, shipped_copy: Path, elsewhere: Path) -> None:
    write_meaning(
        shipped_copy,
        {
            "labels": ["Mass"],
            "label_scheme": "findings",
            "image_size": 32,
            "normalisation": "imagenet",
            "network_def": network_definition("DenseNet169", 32, channels, 1),
        },
        channels,
    )
    with process_as_it_was():
        begun = workflow(shipped_copy, "train", network_def="ResNet50", labels="Hernia,Mass")
        begun.initialize()
        network = begun.parser.get_parsed_content("network_def")
        assert begun.parser.get_parsed_content("input_channels") == channels
    assert network.fc.out_features == 2


def test_a_part_before_a_name_is_kept(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``python -m monai.bundle run`` takes its words: the name alone would wipe the part out."""
    shipped, seen = Path(__file__).parents[2] / "bundles" / "cxr_nih14", []
    monkeypatch.setattr(preparation, "follow_scheme", lambda parser: seen.append(parser.config["network_def"]))
    parts = {"network_def#in_channels": 3, "network_def#conv1_t_size": 5}
    with process_as_it_was():
        monai_run(
            run_id="image_size",  # nothing more than the settings
            config_file=str(shipped / "configs" / "train.json"),
            bundle_root=str(shipped),
            **parts,
            network_def="ResNet50",
        )
    assert seen == [network_definition("ResNet50", 224, 3, "$@head_def.outputs") | {"conv1_t_size": 5}]


def test_overrides_without_a_name_stay_as_they_are() -> None:
    files = [Path(__file__).parents[2] / "bundles" / "cxr_nih14" / "configs" / "train.json"]
    for overrides in (
        {"network_def#in_channels": 3, "epochs": 2},
        {"network_def#in_channels": 3, "network_def": {"_target_": "DenseNet169", "in_channels": 2}},
        {"network_def": "$@other"},
    ):
        assert list(written_out(overrides, files).items()) == list(overrides.items())


# ---------------------------------------------------------------- what does not exist


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(SettingError, match=r"by name there are DenseNet121.*ViT.*'_target_': 'DenseNet264'") as caught:
        network_definition("ResNet51", 224, 1, 14)
    assert caught.value.code == Code.SETTING_INVALID


def test_a_network_without_convolutions_has_no_channels() -> None:
    with pytest.raises(SettingError, match="Linear has no convolution") as caught:
        input_channels(nn.Linear(3, 3))
    assert caught.value.code == Code.SETTING_INVALID


# ---------------------------------------------------------------- ViT


def test_vit_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_monai.networks.architectures.find_spec", lambda name: None)
    with pytest.raises(SettingError, match="needs the package einops") as caught:
        network_definition("ViT", 224, 1, 14)
    assert caught.value.code == Code.RUNTIME_MISSING


def test_vit_takes_multiples_of_its_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_monai.networks.architectures.find_spec", lambda name: name)
    with pytest.raises(SettingError, match=r"--image_size 100.*multiples of it\. Choose 96") as caught:
        network_definition("ViT", 100, 1, 14)
    assert caught.value.code == Code.SETTING_INVALID
    given = network_definition("ViT", 96, 1, 14)
    assert given["img_size"] == [96, 96]
    check_image_size(given, 96)
    with pytest.raises(SettingError, match=r"image_size is 64, but the network is made for \[96, 96\]") as caught:
        check_image_size(given, 64)
    assert caught.value.code == Code.SETTING_INVALID


def test_vit_gives_logits_alone_and_says_why_it_has_no_class_maps() -> None:
    pytest.importorskip("einops", reason="MONAI's ViT needs the package einops")
    small = {"hidden_size": 24, "mlp_dim": 32, "num_layers": 2, "num_heads": 2}
    network_def = {**network_definition("ViT", 32, 1, 3), **small}
    plain = made(network_def)
    network = initialise_network(made(network_def), "none", prevalences=[0.1, 0.2, 0.3]).eval()
    network.load_state_dict(plain.state_dict())
    pixels = images()[:, :1, :32, :32]
    with torch.inference_mode():
        assert torch.equal(network(pixels), plain(pixels)[0])
        exported = torch.jit.script(plain)
        torch.testing.assert_close(exported(pixels)[0], network(pixels), rtol=0, atol=1e-5)
    with pytest.raises(SettingError, match="integrated_gradients and occlusion work for any network") as caught:
        explain_with("cam", network, pixels, [0])
    assert caught.value.code == Code.SETTING_INVALID
    for method in ("integrated_gradients", "occlusion"):
        assert explain_with(method, network, pixels, [0, 2]).shape[:2] == (2, 2)


@pytest.mark.parametrize(
    ("size", "better"), [(224, ""), (32, ""), (112, "96 or 128"), (20, "32"), (225, "224 or 256"), (None, "")]
)
def test_a_size_that_displaces_maps_is_said(size: int | None, better: str) -> None:
    remark = image_size_remark(size)
    assert remark.endswith(better)
    assert bool(remark) == bool(better)
