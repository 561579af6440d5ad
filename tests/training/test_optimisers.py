"""Optimisers by name: what decays and what doesn't, in hand-computed numbers."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import DenseNet121
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cxr_monai.errors import SettingError
from cxr_monai.training.optimisers import OPTIMISERS, parameter_groups, training_optimizer


def network() -> nn.Sequential:
    """Return a small network; all of its values are 1."""
    made = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 1))
    for parameter in made.parameters():
        nn.init.ones_(parameter)
    return made


def step(made: nn.Module, gradient: float, **settings: Any) -> dict[str, float]:
    """Take one step with the same gradient everywhere; returns each parameter's (one) value."""
    stepper = training_optimizer(made, **settings)
    for parameter in made.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    stepper.step()
    return {name: parameter.detach().unique().item() for name, parameter in made.named_parameters()}


def test_kernels_decay_norms_and_biases_do_not() -> None:
    made = network()
    decaying, rest = parameter_groups(made, 0.1)
    named = {parameter: name for name, parameter in made.named_parameters()}
    assert [named[parameter] for parameter in decaying["params"]] == ["0.weight", "3.weight"]
    assert [named[parameter] for parameter in rest["params"]] == ["0.bias", "1.weight", "1.bias", "3.bias"]
    assert (decaying["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)


def test_every_parameter_of_densenet_is_in_one_group() -> None:
    made = DenseNet121(2, 1, 14)
    decaying, rest = (group["params"] for group in parameter_groups(made, 0.1))
    assert {id(parameter) for parameter in (*decaying, *rest)} == {id(parameter) for parameter in made.parameters()}
    assert len(decaying) + len(rest) == len(list(made.parameters()))
    # 120 convolutions and the classifier; scale and shift of 121 norms and the classifier's bias
    assert (len(decaying), len(rest)) == (121, 243)


@pytest.mark.parametrize("only", [nn.Linear(2, 1, bias=False), nn.BatchNorm2d(2)])
def test_a_network_with_one_kind_of_parameters(only: nn.Module) -> None:
    assert len(parameter_groups(only, 0.1)) == 1
    assert len(training_optimizer(only, 0.1, 0.1).param_groups) == 1


def test_frozen_parameters_are_in_the_groups_and_stay_as_they_are() -> None:
    made = network()
    made[0].weight.requires_grad_(False)
    stepper = training_optimizer(made, 0.1, 0.5)
    made[3].weight.grad = torch.ones_like(made[3].weight)
    stepper.step()
    assert made[0].weight.unique().item() == 1
    made[0].weight.requires_grad_().grad = torch.ones_like(made[0].weight)
    stepper.step()
    assert made[0].weight.unique().item() == pytest.approx(0.95 - 0.1)


# One step of rate 0.1 with a gradient of 2 at values of 1, decay 0.5 where there is one:
# AdamW: 1 * (1 - 0.1 * 0.5) - 0.1; Adam's step is the rate, whatever the gradient's size;
# SGD with Nesterov's momentum of 0.9: 1 - 0.1 * (g + 0.9 g), g = 2 + 0.5 and 2
@pytest.mark.parametrize(("name", "kernel", "rest"), [("adamw", 0.85, 0.9), ("adam", 0.9, 0.9), ("sgd", 0.525, 0.62)])
def test_a_step_by_hand(name: str, kernel: float, rest: float) -> None:
    values = step(network(), 2.0, learning_rate=0.1, weight_decay=0.5, name=name)
    expected = {"0.weight": kernel, "3.weight": kernel, "0.bias": rest, "1.weight": rest, "1.bias": rest}
    assert values == pytest.approx({**expected, "3.bias": rest}, rel=1e-6)


def test_decay_without_gradients_by_hand() -> None:
    # Adam takes the decay for a gradient and divides by its size: a whole step of the rate
    assert step(network(), 0.0, learning_rate=0.1, weight_decay=0.5)["0.weight"] == pytest.approx(0.95)
    coupled = step(network(), 0.0, learning_rate=0.1, weight_decay=0.5, name="adam")
    assert coupled["0.weight"] == pytest.approx(0.9)
    assert coupled["0.bias"] == 1


def test_without_decay_adamw_is_adam_to_the_last_bit() -> None:
    both: list[nn.Module] = []
    for kind in ("adamw", "adam", None):
        torch.manual_seed(0)
        made = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        stepper = (
            training_optimizer(made, 0.01, name=kind)  # type: ignore[arg-type]
            if kind
            else torch.optim.Adam(made.parameters(), 0.01, fused=True)  # what the bundle had before
        )
        for _ in range(5):
            stepper.zero_grad()
            made(torch.randn(6, 3)).square().mean().backward()
            stepper.step()
        both.append(made)
    for ours, plain, before in zip(*(made.parameters() for made in both), strict=True):
        assert torch.equal(ours, plain)
        assert torch.equal(ours, before)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_all_are_fused(name: Any) -> None:
    assert [group["fused"] for group in training_optimizer(network(), 0.1, name=name).param_groups] == [True, True]


def test_a_network_wrapped_for_several_processes(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        made = network()
        groups = parameter_groups(DistributedDataParallel(made), 0.1)
    finally:
        torch.distributed.destroy_process_group()
    expected = parameter_groups(made, 0.1)
    assert [list(map(id, group["params"])) for group in groups] == [list(map(id, g["params"])) for g in expected]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"name": "adamax"}, "--optimizer#name 'adamax': it must be one of adam, adamw, sgd"),
        ({"learning_rate": 0}, "--learning_rate 0"),
        ({"learning_rate": math.inf}, "--learning_rate inf"),
        ({"learning_rate": "3e-4x"}, "--learning_rate '3e-4x'"),
        ({"weight_decay": -0.1}, "--weight_decay -0.1"),
        ({"weight_decay": math.nan}, "--weight_decay nan"),
        ({"weight_decay": None}, "--weight_decay None"),
    ],
)
def test_settings_outside_their_ranges(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingError, match=told) as error:
        training_optimizer(network(), **{"learning_rate": 0.1, **settings})
    assert error.value.code == "setting-invalid"
