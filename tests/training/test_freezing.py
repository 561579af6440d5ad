"""Unfreezing by schedule, on a small DenseNet of MONAI's: what is frozen does not change by a bit, all else does."""

from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.networks.nets import DenseNet
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cxr_monai.errors import SettingError
from cxr_monai.training.freezing import GradualUnfreezing
from cxr_monai.training.optimisers import training_optimizer

PLAN = {"features.denseblock4": 1, "features": 2}


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return DenseNet(2, 1, 3, init_features=8, growth_rate=4, block_config=(2, 2, 2, 16))


def train(network: nn.Module, plan: dict[str, int], epochs: int, first: int = 1) -> list[dict[str, torch.Tensor]]:
    """Train on two batches an epoch with weight decay, from an epoch on; returns the state before and after each."""
    plain = getattr(network, "module", network)
    freeze = GradualUnfreezing(network, plan)
    stepper = training_optimizer(network, 0.01, weight_decay=0.1)
    states = [{name: tensor.clone() for name, tensor in plain.state_dict().items()}]

    def step(engine: Engine, seed: int) -> None:
        network.train()
        freeze.hold()
        stepper.zero_grad()
        images = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(seed))
        network(images).square().mean().backward()
        stepper.step()

    trainer = Engine(step)
    freeze.attach(trainer)
    for epoch in range(first, first + epochs):
        trainer.load_state_dict({"epoch": epoch - 1, "epoch_length": 2, "max_epochs": epoch})
        trainer.run([2 * epoch, 2 * epoch + 1])
        states.append({name: tensor.clone() for name, tensor in plain.state_dict().items()})
    return states


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def below(names: Any, *parts: str) -> set[str]:
    return {name for name in names if name.startswith(tuple(part + "." for part in parts))}


def test_what_is_frozen_stays_and_all_else_changes(network: nn.Module) -> None:
    before, first, second, third = train(network, PLAN, 3)
    names = set(before)
    # every weight, and the batch norms' running means, variances and counts of batches
    assert changed(before, first) == below(names, "class_layers")
    assert changed(first, second) == below(names, "class_layers", "features.denseblock4")
    assert changed(second, third) == names
    assert len(below(names, "features.denseblock4")) > 100


def test_without_a_plan_everything_trains(network: nn.Module) -> None:
    before, after = train(network, {}, 1)
    assert changed(before, after) == set(before)


def test_a_part_may_train_within_one_that_is_frozen(network: nn.Module) -> None:
    before, after = train(network, {"features": 9, "features.norm5": 0}, 1)
    assert changed(before, after) == below(before, "class_layers", "features.norm5")


def test_a_single_parameter_may_be_frozen(network: nn.Module) -> None:
    before, after = train(network, {"class_layers.out.bias": 1}, 1)
    assert changed(before, after) == set(before) - {"class_layers.out.bias"}


def test_a_name_is_whole_parts(network: nn.Module) -> None:
    freeze = GradualUnfreezing(network, {"features.denseblock1.denselayer1": 1})
    freeze.start(1)
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name in frozen if ".denseblock1.denselayer1." in name}
    assert len(frozen) == 6  # two norms and two convolutions


def test_what_is_frozen_depends_on_the_epoch_alone(network: nn.Module) -> None:
    """A resumed training that starts in the second epoch finds the same frozen as one that came there."""
    before, after = train(network, PLAN, 1, first=2)
    assert changed(before, after) == below(before, "class_layers", "features.denseblock4")
    freeze = GradualUnfreezing(network, PLAN)
    for epoch in (3, 1, 3):  # in any order
        freeze.start(epoch)
        frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
        assert bool(frozen) == (epoch == 1)
        network.train()
        freeze.hold()
        held = {name for name, module in network.named_modules() if not module.training}
        assert bool(held) == (epoch == 1)


def test_frozen_layers_give_what_they_give_in_evaluation(network: nn.Module) -> None:
    images = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    network.eval()
    expected = network.features(images)  # type: ignore[operator]
    freeze = GradualUnfreezing(network, {"features": 1})
    freeze.start(1)
    network.train()
    freeze.hold()
    torch.testing.assert_close(network.features(images), expected)  # type: ignore[operator]
    assert network.class_layers.training


def test_nothing_is_frozen_before_the_first_epoch(network: nn.Module) -> None:
    """Networks are wrapped for several processes before, and only gradients that exist then are exchanged."""
    GradualUnfreezing(network, PLAN)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_wrapped_for_several_processes(network: nn.Module, tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(network, find_unused_parameters=True)
        before, first, second, third = train(wrapped, PLAN, 3)
    finally:
        torch.distributed.destroy_process_group()
    assert changed(before, first) == below(before, "class_layers")
    assert changed(first, second) == below(before, "class_layers", "features.denseblock4")
    assert changed(second, third) == set(before)


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ({"feature": 1}, "nothing to train named 'feature'; it has features, class_layers.$"),
        ({"features.denseblock9": 1}, "it has features.conv0, features.norm0, features.denseblock1, .*norm5.$"),
        ({"features.denseblock4.denselayer99.x": 1}, "it has .*features.denseblock4.denselayer16.$"),
        ({"class_layers.relu": 1}, "it has class_layers.out.$"),
        ({"features.dense": 1}, "nothing to train named 'features.dense'"),
        ({"": 1}, "named ''; it has features, class_layers"),
        ({3: 1}, "named 3; it has features, class_layers"),
        ({"features": -1}, "frozen for -1 epochs"),
        ({"features": 1.5}, "frozen for 1.5 epochs"),
        ({"features": True}, "frozen for True epochs"),
        ({"features": 1, "class_layers": 2}, "nothing would train in the first epoch. .*class_layers"),
        ("features", "'features': it must give epochs by name"),
        (["features"], "it must give epochs by name"),
    ],
)  # fmt: skip
def test_plans_that_cannot_be(network: nn.Module, plan: Any, told: str) -> None:
    with pytest.raises(SettingError, match="--unfreeze") as error:
        GradualUnfreezing(network, plan)
    assert error.value.code == "setting-invalid"
    assert error.match(told)
