"""Other people's DenseNets: each naming gives the original's outputs, and every tensor is accounted for."""

import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import DenseNet, DenseNet121, ResNet
from torch import nn

from cxr_monai.errors import Code, CxrError, SettingError, WeightsError
from cxr_monai.labels import NIH14
from cxr_monai.networks.foreign import XRV_TARGETS, Foreign, recognise
from cxr_monai.networks.state_fitting import load_into
from cxr_monai.networks.weight_loading import initialise_network
from tests.networks.originals import NAMINGS, chexnet, chexnet_old, forward, state_dict, torchxrayvision


def network_of(found: Foreign, outputs: int, channels: int | None = None) -> nn.Module:
    definition = {**found.definition, "in_channels": channels or found.in_channels, "out_channels": outputs}
    return ConfigParser({"made": definition}).get_parsed_content("made").eval()


def images(channels: int, side: int = 64) -> torch.Tensor:
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("naming", NAMINGS)
@torch.inference_mode()
def test_every_naming_gives_the_originals_outputs(naming: str) -> None:
    channels, outputs = (1, 18) if naming == "torchxrayvision" else (3, 14)
    original = state_dict(channels, outputs)
    given = NAMINGS[naming](original)
    found = recognise(given, "weights.pth")
    assert found.kind == naming.removesuffix("_old")
    made = network_of(found, outputs)
    account = load_into(made, found.state, "weights.pth")
    expected = forward(original, images(channels))
    torch.testing.assert_close(made(images(channels)), expected, rtol=0, atol=1e-5)
    assert expected.std() > 0.1
    assert len(account.loaded) + len(found.left_out) == len(given)
    assert account.left_out == account.adapted == []


@torch.inference_mode()
def test_a_whole_densenet121() -> None:
    original = state_dict(3, 14, (6, 12, 24, 16), 32, 64)
    found = recognise(chexnet_old(original), "m.pth.tar")
    made = network_of(found, 14)
    assert type(made) is DenseNet121
    load_into(made, found.state, "m.pth.tar")
    torch.testing.assert_close(made(images(3)), forward(original, images(3)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("blocks", "name"), [((6, 12, 32, 32), "DenseNet169"), ((6, 12, 48, 32), "DenseNet201"), ((1, 1), "DenseNet")]
)
def test_sizes_are_told_by_the_blocks(blocks: tuple[int, ...], name: str) -> None:
    found = recognise(state_dict(3, 2, blocks, 32, 64), "w.pth")
    assert found.definition["_target_"] == name
    assert found.definition.get("block_config", list(blocks)) == list(blocks)


@torch.inference_mode()
def test_one_grey_channel_takes_the_sum_over_rgb() -> None:
    original = state_dict(3, 1000)
    found = recognise(original, "w.pth")
    made = network_of(found, 1000, channels=1)
    account = load_into(made, found.state, "w.pth")
    grey = images(1)
    torch.testing.assert_close(made(grey), forward(original, grey.expand(-1, 3, -1, -1)), rtol=0, atol=1e-4)
    assert account.adapted == ["features.conv0.weight: summed over RGB for one grey channel"]
    assert "features.conv0.weight" not in account.loaded


def test_targets_that_were_never_trained_are_none() -> None:
    with_thresholds = recognise(torchxrayvision(state_dict(1, 18)), "w.pt")
    assert with_thresholds.rows is not None
    assert [name for name, row in zip(XRV_TARGETS, with_thresholds.rows, strict=True) if row is None] == [
        "Hernia",
        "Fracture",
    ]
    assert len(with_thresholds.left_out) == 1
    assert with_thresholds.left_out[0].startswith("op_threshs [18]: TorchXRayVision")
    assert recognise(state_dict(1, 18), "w.pt").rows == XRV_TARGETS
    assert recognise(chexnet(state_dict(3, 14)), "w.pt").rows == NIH14
    assert recognise(chexnet(state_dict(3, 5)), "w.pt").rows is None


@torch.inference_mode()
def test_outputs_go_by_their_names() -> None:
    original = state_dict(3, 14)
    found = recognise(chexnet(original), "m.pth.tar")
    findings = ["Hernia", "Fracture", "Atelectasis"]
    made = network_of(found, 3)
    before = made.class_layers.out.weight.detach().clone()  # type: ignore[union-attr, operator]
    account = load_into(made, found.state, "m.pth.tar", found.rows, findings)
    expected = forward(original, images(3))[:, [13, 0]]
    torch.testing.assert_close(made(images(3))[:, [0, 2]], expected, rtol=0, atol=1e-5)
    assert torch.equal(made.class_layers.out.weight[1], before[1])  # type: ignore[union-attr, index]
    assert account.anew == ["class_layers.out: the outputs of Fracture, which the file has not"]
    assert account.adapted[0] == "class_layers.out.weight: the outputs of Hernia, Atelectasis, by name"
    assert "Cardiomegaly" in account.left_out[0]


def test_the_same_findings_in_another_order_are_no_accident() -> None:
    original = state_dict(3, 14)
    found = recognise(chexnet(original), "m.pth.tar")
    made = network_of(found, 14)
    account = load_into(made, found.state, "m.pth.tar", found.rows, NIH14[::-1])
    bias = made.class_layers.out.bias  # type: ignore[union-attr]
    assert torch.equal(bias, original["classifier.bias"].flip(0))  # type: ignore[arg-type]
    assert account.left_out == account.anew == []


def test_what_is_outside_of_the_network_is_listed() -> None:
    given = {**chexnet(state_dict(3, 14)), "module.other.weight": torch.zeros(2), "epoch": torch.tensor(3)}
    found = recognise(given, "w.pth")
    assert found.left_out == (
        "module.other.weight [2]: outside of the network",
        "epoch []: outside of the network",
    )
    account = load_into(network_of(found, 14), found.state, "w.pth")
    assert len(account.loaded) + len(found.left_out) == len(given)


def test_a_classifier_of_several_layers_is_left_out() -> None:
    original = state_dict(3, 14)
    for index, part in ((0, "weight"), (0, "bias"), (2, "weight"), (2, "bias")):
        original[f"classifier.{index}.{part}"] = original[f"classifier.{part}"]
    del original["classifier.weight"], original["classifier.bias"]
    found = recognise(original, "w.pth")
    assert len(found.left_out) == 4
    assert "several linear layers" in found.left_out[0]
    account = load_into(network_of(found, 14), found.state, "w.pth")
    assert account.anew == ["class_layers.out: the file has no classifier of one layer"]


def resnet(outputs: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return ResNet("basic", [1, 1, 1, 1], [4, 4, 4, 4], spatial_dims=2, n_input_channels=1, num_classes=outputs)


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["layer1.0.conv1.weight", "fc.weight"], "a ResNet"),
        (["layer1.0.conv1.weight", "layer1.0.se_module.fc1.weight"], "a squeeze-and-excitation network"),
        (["_conv_stem.weight", "_fc.weight"], "an EfficientNet"),
        (["cls_token", "blocks.0.norm1.weight"], "a vision transformer"),
        (["features.0.weight", "classifier.6.weight"], "a VGG or AlexNet"),
        (["weight"], "another network"),
    ],
)
def test_another_architecture_says_what_it_looks_like(names: list[str], what: str) -> None:
    with pytest.raises(WeightsError, match=f"this looks like {what} .*features.conv0.weight is missing") as caught:
        recognise({name: torch.zeros(1) for name in names}, "w.pth")
    assert caught.value.code == Code.WEIGHTS_MISMATCH


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda state: {f"{who}.{name}": state[name] for who in "ab" for name in state}, "2 networks"),
        (lambda state: {name: state[name] for name in state if "denseblock" not in name}, "begins as a DenseNet"),
    ],
)
def test_half_a_densenet_or_two(change: object, complaint: str) -> None:
    with pytest.raises(WeightsError, match=complaint) as caught:
        recognise(change(state_dict(3, 2)), "w.pth")  # type: ignore[operator]
    assert caught.value.code == Code.WEIGHTS_MISMATCH


def test_weights_of_another_size_load_nothing() -> None:
    found = recognise(state_dict(1, 2), "w.pth")
    made = DenseNet(2, 1, 2, init_features=8, growth_rate=4, block_config=(2, 3, 2, 3))
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    with pytest.raises(WeightsError, match="look like a DenseNet's, and do not fit this DenseNet") as caught:
        load_into(made, found.state, "w.pth")
    assert caught.value.code == Code.WEIGHTS_MISMATCH
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.state_dict().items())


# ---------------------------------------------------------------- where training starts from them


def small(outputs: int) -> nn.Module:
    return network_of(recognise(state_dict(3, outputs), ""), outputs, channels=1)


@torch.inference_mode()
def test_training_starts_from_a_chexnet_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    original = state_dict(3, 14)
    file = tmp_path / "m.pth.tar"
    torch.save({"epoch": 3, "state_dict": chexnet_old(original), "best_loss": 0.1, "optimizer": {}}, file)
    findings = ["Pneumonia", "Silicosis"]
    with caplog.at_level("INFO", logger="cxr_monai"):
        made = initialise_network(small(2), file, prevalences=[0.2, 0.3], findings=findings)
    grey = images(1)
    expected = forward(original, grey.expand(-1, 3, -1, -1))[:, 6]
    torch.testing.assert_close(made.eval()(grey)[:, 0], expected, rtol=0, atol=1e-4)
    assert float(made.class_layers.out.bias[1].sigmoid()) == pytest.approx(0.3)  # type: ignore[union-attr, index]
    for told in (
        "summed over RGB",
        "outputs of Pneumonia, by name",
        "starts anew: class_layers.out: the outputs of Si",
    ):
        assert told in caplog.text


def test_training_starts_from_a_bundle_by_name(tmp_path: Path) -> None:
    source = resnet(3)
    root = tmp_path / "bundle"
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    torch.save(source.state_dict(), root / "models" / "model.pt")
    channels = '{"0": "Mass", "1": "Edema", "2": "Hernia"}'
    metadata = root / "configs" / "metadata.json"
    metadata.write_text(f'{{"network_data_format": {{"outputs": {{"pred": {{"channel_def": {channels}}}}}}}}}')
    made = initialise_network(resnet(2), root / "models" / "model.pt", findings=["Hernia", "Mass"])
    assert torch.equal(made.fc.weight, source.fc.weight[[2, 0]])  # type: ignore[arg-type, union-attr, index]
    assert torch.equal(made.conv1.weight, source.conv1.weight)  # type: ignore[arg-type, union-attr]
    metadata.write_text("{}")
    with pytest.raises(WeightsError, match="does not tell their findings or their head") as caught:
        initialise_network(resnet(2), root / "models" / "model.pt", findings=["Hernia", "Mass"])
    assert caught.value.code == Code.BUNDLE_INVALID


def test_imagenet_is_refused_for_a_network_without_such_weights() -> None:
    with pytest.raises(SettingError, match="DenseNet121, DenseNet169, DenseNet201, the network is ResNet") as caught:
        initialise_network(resnet(), "imagenet")
    assert caught.value.code == Code.SETTING_INVALID


def test_a_whole_pickled_model_says_how_to_export_it(tmp_path: Path) -> None:
    torch.save(resnet(), tmp_path / "model.pt")
    with pytest.raises(CxrError, match="weights_only=False") as caught:
        initialise_network(resnet(), tmp_path / "model.pt")
    assert caught.value.code == Code.WEIGHTS_UNSAFE


def beside(root: Path, network: nn.Module, channels: list[str], head: str | None = None) -> Path:
    """The weights of a bundle that says what its outputs are."""
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    torch.save(network.state_dict(), root / "models" / "model.pt")
    told = {str(index): channel for index, channel in enumerate(channels)}
    metadata = {"network_data_format": {"outputs": {"pred": {"channel_def": told}}}}
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    if head is not None:
        (root / "configs" / "inference.json").write_text(json.dumps({"head": head}))
    return root / "models" / "model.pt"


@pytest.mark.parametrize(("theirs", "ours"), [("hierarchical", "sigmoid"), (None, "softmax"), ("softmax", "softmax")])
def test_outputs_of_another_head_are_not_taken(
    theirs: str | None, ours: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = resnet(3)
    file = beside(tmp_path / "bundle", source, ["Lung", "Mass", "Hernia"], theirs)
    network = resnet(3)
    nn.init.zeros_(network.fc.weight)  # type: ignore[arg-type]
    with caplog.at_level("INFO", logger="cxr_monai"):
        made = initialise_network(
            network, file, prevalences=[0.3, 0.2, 0.1], findings=["Lung", "Mass", "Hernia"], head=ours
        )
    assert torch.equal(made.conv1.weight, source.conv1.weight)  # type: ignore[arg-type, union-attr]
    if theirs == ours:
        assert torch.equal(made.fc.weight, source.fc.weight)  # type: ignore[arg-type, union-attr]
        return
    assert not made.fc.weight.any()  # type: ignore[operator, union-attr]
    assert made.fc.bias.sigmoid().tolist() == pytest.approx([0.3, 0.2, 0.1])  # type: ignore[operator, union-attr]
    assert f"of the head {theirs or 'sigmoid'}, this network's of {ours}" in caplog.text
    assert "starts anew: fc: 3 outputs" in caplog.text


def test_outputs_that_nobody_knows_are_not_taken_by_position(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(resnet(3).state_dict(), tmp_path / "w.pt")
    network = resnet(3)
    nn.init.zeros_(network.fc.weight)  # type: ignore[arg-type]
    with caplog.at_level("INFO", logger="cxr_monai"):
        made = initialise_network(
            network, tmp_path / "w.pt", prevalences=[0.3, 0.2, 0.1], findings=["Mass", "Edema", "Hernia"]
        )
    assert not made.fc.weight.any()  # type: ignore[operator, union-attr]
    assert made.fc.bias.sigmoid().tolist() == pytest.approx([0.3, 0.2, 0.1])  # type: ignore[operator, union-attr]
    assert "fc.weight [3, 4]: nothing tells what its outputs stand for" in caplog.text
    assert "starts anew: fc: 3 outputs" in caplog.text


def test_keys_that_are_no_names(tmp_path: Path) -> None:
    torch.save({0: torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="no state dictionary of tensors") as caught:
        initialise_network(resnet(), tmp_path / "w.pt")
    assert caught.value.code == Code.WEIGHTS_MISMATCH


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("features.conv0.weight", torch.zeros(8)),
        ("features.conv0.weight", torch.zeros(8, 0, 7, 7)),
        ("features.denseblock1.denselayer1.conv2.weight", torch.zeros(0, 16, 3, 3)),
        ("features.denseblock1.denselayer1.conv1.weight", torch.tensor(1.0)),
        ("classifier.weight", torch.tensor(1.0)),
        ("classifier.bias", torch.tensor(1.0)),
        ("op_threshs", torch.zeros(5)),
    ],
)
def test_shapes_that_no_densenet_has(name: str, tensor: torch.Tensor) -> None:
    with pytest.raises(WeightsError, match=r"has the shape \[") as caught:
        recognise({**torchxrayvision(state_dict(1, 18)), name: tensor}, "w.pth")
    assert caught.value.code == Code.WEIGHTS_MISMATCH


@pytest.mark.parametrize(
    ("name", "tensor"),
    [("fc.weight", torch.tensor(1.0)), ("fc.bias", torch.zeros(2)), ("conv1.weight", torch.zeros(3))],
)
def test_shapes_that_do_not_fit_are_named(name: str, tensor: torch.Tensor) -> None:
    state = {**resnet(3).state_dict(), name: tensor}
    with pytest.raises(WeightsError, match=rf"{name} is \[.*\], the network's is") as caught:
        load_into(resnet(3), state, "w.pth", ["Mass", "Edema", "Hernia"], ["Hernia", "Mass", "Edema"])
    assert caught.value.code == Code.WEIGHTS_MISMATCH
