"""Blocks from the top, when they start and how fast they move."""

import pytest
import torch
from monai.networks.nets import DenseNet121, EfficientNetBN

from cxr_monai.errors import SettingError
from cxr_monai.finetune.stages import blocks_of, fine_tuning_stages
from cxr_monai.networks.classifier import classifier_of
from cxr_monai.training.freezing import GradualUnfreezing
from cxr_monai.training.optimisers import factor_of, training_optimizer
from tests.support.tiny_bundles import tiny_network


@pytest.fixture(scope="module")
def densenet() -> torch.nn.Module:
    with torch.device("meta"):
        return DenseNet121(spatial_dims=2, in_channels=1, out_channels=1)


def test_blocks_of_densenet121(densenet: torch.nn.Module) -> None:
    assert classifier_of(densenet) == "class_layers.out"
    assert blocks_of(densenet) == [
        ["features.denseblock4", "features.norm5"],
        ["features.denseblock3", "features.transition3"],
        [f"features.{name}" for name in ("conv0", "norm0", "denseblock1", "transition1", "denseblock2", "transition2")],
    ]


@pytest.mark.parametrize("kind", ["densenet", "efficientnet", "tiny"])
def test_every_parameter_but_the_classifiers_is_in_one_block(kind: str, densenet: torch.nn.Module) -> None:
    with torch.device("meta"):
        network = {
            "densenet": lambda: densenet,
            "efficientnet": lambda: EfficientNetBN("efficientnet-b0", pretrained=False, num_classes=1),
            "tiny": lambda: tiny_network(0),
        }[kind]()
    classifier, blocks = classifier_of(network), blocks_of(network)
    assert len(blocks) > 1
    for name, _ in network.named_parameters():
        inside = [part for block in blocks for part in block if name == part or name.startswith(f"{part}.")]
        assert len(inside) == (not name.startswith(f"{classifier}.")), name


def test_plan_and_rates(densenet: torch.nn.Module) -> None:
    made = fine_tuning_stages(densenet, epochs=12, head_epochs=3, block_epochs=2, block_rate=0.5)
    assert [made.plan[f"features.denseblock{at}"] for at in (4, 3, 2, 1)] == [3, 5, 7, 7]
    assert [made.rates[f"features.denseblock{at}"] for at in (4, 3, 2, 1)] == [0.5, 0.25, 0.125, 0.125]
    assert factor_of("class_layers.out.weight", made.rates) == 1
    one = fine_tuning_stages(densenet, epochs=12, blocks=1, unfreeze={"features.norm5": 1})
    assert [one.plan[name] for name in ("features.norm5", "features.denseblock4", "features.denseblock3")] == [1, 3, 12]


def test_the_classifier_alone(densenet: torch.nn.Module) -> None:
    made = fine_tuning_stages(densenet, epochs=4, blocks=0)
    freezer = GradualUnfreezing(densenet, made.plan)
    for epoch in (1, 4):
        freezer.start(epoch)
        training = [name for name, parameter in densenet.named_parameters() if parameter.requires_grad]
        assert training == ["class_layers.out.weight", "class_layers.out.bias"]


def test_optimiser_moves_blocks_at_their_rates() -> None:
    network = tiny_network(0)
    made = fine_tuning_stages(network, epochs=4, block_rate=0.1)
    before = {name: tensor.clone() for name, tensor in network.named_parameters()}
    stepper = training_optimizer(network, 0.01, rates=made.rates)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    stepper.step()
    for name, parameter in network.named_parameters():
        # Adam's first step is the rate itself, whatever the gradient
        expected = 0.01 * factor_of(name, made.rates)
        assert (before[name] - parameter).abs().max().item() == pytest.approx(expected, rel=1e-2), name
    assert stepper.param_groups[0]["lr"] == 0.01
    assert not any("factor" in group for group in stepper.param_groups)


def test_frozen_statistics_stay_where_scales_train() -> None:
    network = tiny_network(0)
    running = {name: tensor.clone() for name, tensor in network.named_buffers()}
    for statistics, same in (("frozen", True), ("adapted", False)):
        freezer = GradualUnfreezing(network, {}, statistics)  # type: ignore[arg-type]
        freezer.start(1)
        network.train()
        freezer.hold()
        network(torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0)))
        assert all(parameter.requires_grad for parameter in network.parameters())
        assert all(torch.equal(tensor, running[name]) for name, tensor in network.named_buffers()) == same


@pytest.mark.parametrize("factor", [0, -1, "fast", float("inf")])
def test_rates_out_of_range(factor: object) -> None:
    with pytest.raises(SettingError, match="above 0"):
        training_optimizer(tiny_network(0), 0.01, rates={"features": factor})  # type: ignore[dict-item]
