"""Learning rates by name: hand-computed numbers, their ends, resumed exactly, and a handler that steps what is due."""

import io
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from torch.optim.lr_scheduler import LinearLR, LRScheduler, StepLR

from cxr_monai.errors import SettingError
from cxr_monai.training.schedules import SCHEDULES, ScheduleStepper, WarmUpThenPlateau, learning_rate_schedule

Rates = list[float]


def optimizer(rates: Sequence[float] = (1.0,)) -> torch.optim.Optimizer:
    """Return an Adam whose groups have these rates; each group's parameter has a gradient."""
    groups = []
    for rate in rates:
        parameter = torch.nn.Parameter(torch.zeros(1))
        parameter.grad = torch.ones(1)
        groups.append({"params": [parameter], "lr": rate})
    return torch.optim.Adam(groups, fused=True)


def train(
    scheduler: LRScheduler, losses: Sequence[float | None], steps_per_epoch: int, first: int = 1
) -> tuple[Rates, Rates]:
    """Train from an epoch on, one for each loss (None: not validated).

    Returns the rates that the first group had in each step, and at the end of each epoch.
    """
    optimizer, used, after = scheduler.optimizer, list[float](), list[float]()

    def step(engine: Engine, batch: int) -> None:
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()

    trainer, validator = Engine(step), Engine(lambda engine, batch: None)

    def validate(engine: Engine) -> None:
        loss = losses[engine.state.epoch - first]
        if loss is not None:
            validator.state.epoch = engine.state.epoch  # as MONAI's ValidationHandler has it
            validator.state.metrics = {"loss": loss}

    trainer.add_event_handler(Events.EPOCH_COMPLETED, validate)
    ScheduleStepper(scheduler, validator).attach(trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: after.append(optimizer.param_groups[0]["lr"]))
    trainer.load_state_dict(
        {"epoch": first - 1, "epoch_length": steps_per_epoch, "max_epochs": first - 1 + len(losses)}
    )
    trainer.run(range(steps_per_epoch))
    return used, after


def used(name: Any, epochs: int, steps: int, **others: Any) -> Rates:
    return train(learning_rate_schedule(optimizer(), name, epochs, steps, **others), [1.0] * epochs, steps)[0]


def test_constant() -> None:
    assert used("constant", 2, 3) == [1.0] * 6


def test_warm_up_by_hand() -> None:
    # one epoch of three steps: quarters, then the whole rate
    assert used("constant", 2, 3, warmup_epochs=1) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_warm_up_of_a_part_of_an_epoch() -> None:
    assert used("constant", 2, 4, warmup_epochs=0.25) == [0.5, *[1.0] * 7]


def test_warm_up_is_pytorchs_linear_one() -> None:
    linear = LinearLR(optimizer(), start_factor=1 / 8, total_iters=7)
    theirs = []
    for _ in range(10):
        theirs.append(linear.get_last_lr()[0])
        linear.optimizer.step()
        linear.step()
    assert used("constant", 2, 7, warmup_epochs=1)[:10] == pytest.approx(theirs, rel=1e-12)


def test_cosine_by_hand() -> None:
    # five steps: cosines of 0, 45, 90, 135, 180 degrees, between 1 and 0.01
    root = math.sqrt(0.5)
    expected = [1.0, 0.01 + 0.99 * (1 + root) / 2, 0.505, 0.01 + 0.99 * (1 - root) / 2, 0.01]
    assert used("cosine", 1, 5) == pytest.approx(expected, rel=1e-12)


def test_cosine_after_a_warm_up() -> None:
    assert used("cosine", 2, 2, warmup_epochs=0.5) == pytest.approx([0.5, 1.0, 0.505, 0.01])


def test_one_cycle_by_hand() -> None:
    # 20 steps: up to step 0.15 * 20 - 1 = 2, down to step 19
    rates = used("one_cycle", 4, 5)
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[1] == pytest.approx((1 + 1 / 25) / 2)
    assert rates[2] == 1.0
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] == 1 / 25 / 1e4


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_one_cycle_is_highest_after_the_warm_up(steps: int) -> None:
    rates = used("one_cycle", 10, steps, warmup_epochs=3)
    assert rates.index(max(rates)) == 3 * steps
    assert max(rates) == pytest.approx(1.0)


def test_one_cycle_moves_the_momentum_against_the_rate() -> None:
    adam = optimizer()
    scheduler = learning_rate_schedule(adam, "one_cycle", 1, 21, warmup_epochs=0.5)
    momenta = []
    for _ in range(20):
        momenta.append(adam.param_groups[0]["betas"][0])
        adam.step()
        scheduler.step()
    momenta.append(adam.param_groups[0]["betas"][0])
    assert (momenta[0], min(momenta), momenta[-1]) == (0.95, pytest.approx(0.85), 0.95)
    assert momenta.index(min(momenta)) == 10


@pytest.mark.parametrize("warmup", [0, 0.5])
@pytest.mark.parametrize(("name", "last"), [("cosine", 0.01), ("one_cycle", 1 / 25 / 1e4)])
def test_the_last_step_has_the_end_of_the_schedule_and_so_it_stays(name: str, last: float, warmup: float) -> None:
    steps, after = train(learning_rate_schedule(optimizer(), name, 3, 7, warmup), [1.0] * 3, 7)  # type: ignore[arg-type]
    assert steps[-1] == last
    assert after[-1] == last  # what is told of the last epoch
    assert min(steps[:-1]) > last


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2])
def test_a_training_of_a_step_or_two(name: str, steps: int) -> None:
    rates = used(name, 1, steps)
    assert len(rates) == steps
    assert all(0 < rate <= 1 for rate in rates)


def test_a_warm_up_never_takes_all_steps() -> None:
    assert used("constant", 1, 2, warmup_epochs=0.99) == [0.5, 1.0]


def test_plateau_by_hand() -> None:
    rates = used("plateau", 2, 2)
    assert rates == [1.0] * 4
    # patience 1: the second validation in a row without a lower loss lets the rate fall, before the next epoch
    steps, after = train(learning_rate_schedule(optimizer(), "plateau", 6, 2), [3, 3, 3, 2, 2, 2], 2)
    assert after == pytest.approx([1, 1, 0.3, 0.3, 0.3, 0.09])
    assert steps == pytest.approx([1] * 6 + [0.3] * 6)


def test_plateau_with_other_settings() -> None:
    scheduler = learning_rate_schedule(optimizer(), "plateau", 3, 1, factor=0.5, patience=0)
    assert train(scheduler, [1, 1, 1], 1)[1] == [1.0, 0.5, 0.25]


def test_plateau_after_a_warm_up() -> None:
    # seven steps of warm-up in epochs of two: the validations of epochs 1 to 3 (steps 2, 4, 6) don't count
    scheduler = learning_rate_schedule(optimizer(), "plateau", 8, 2, warmup_epochs=3.5)
    steps, after = train(scheduler, [0, 9, 9, 3, 3, 3, 3, 3], 2)
    assert steps[:8] == [step / 8 for step in range(1, 9)]
    assert after == pytest.approx([3 / 8, 5 / 8, 7 / 8, 1, 1, 0.3, 0.3, 0.09])


def test_epochs_without_validation_leave_a_plateau_alone() -> None:
    assert train(learning_rate_schedule(optimizer(), "plateau", 7, 1), [3, None, None, 3, None, 3, 3], 1)[
        1
    ] == pytest.approx([1, 1, 1, 1, 1, 0.3, 0.3])


def test_a_scheduler_of_pytorchs_own_steps_with_every_batch() -> None:
    scheduler = StepLR(optimizer(), step_size=2, gamma=0.5)
    assert train(scheduler, [1.0, 1.0], 3) == ([1, 1, 0.5, 0.5, 0.25, 0.25], [0.5, 0.125])


def test_a_plateau_of_pytorchs_own_steps_with_every_validation() -> None:
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer(), factor=0.5, patience=0)
    assert train(scheduler, [1.0, 1.0, None, 1.0], 3)[1] == [1.0, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("name", SCHEDULES)
def test_groups_keep_the_ratio_of_their_rates(name: Any) -> None:
    scheduler = learning_rate_schedule(optimizer([1.0, 0.25]), name, 4, 5, 1)
    train(scheduler, [1.0, 2.0, 2.0, 2.0], 5)
    first, second = (group["lr"] for group in scheduler.optimizer.param_groups)
    assert first < 1.0 or name == "constant"
    assert second == pytest.approx(first / 4)


def through_a_file(state: Any) -> Any:
    """Return a state as a checkpoint gives it back: plain values and tensors alone."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("stop", range(1, 6))
@pytest.mark.parametrize("warmup", [0, 1.5])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_resumed_training_has_the_same_rates_to_the_last_bit(name: Any, warmup: float, stop: int) -> None:
    losses = [3.0, 4.0, 4.0, 5.0, 1.0, 2.0]
    whole = learning_rate_schedule(optimizer([0.3, 0.1]), name, 6, 3, warmup)
    expected, after = train(whole, losses, 3)
    before = learning_rate_schedule(optimizer([0.3, 0.1]), name, 6, 3, warmup)
    begun = train(before, losses[:stop], 3)
    state = through_a_file({"optimizer": before.optimizer.state_dict(), "scheduler": before.state_dict()})
    resumed = learning_rate_schedule(optimizer([0.3, 0.1]), name, 6, 3, warmup)
    resumed.optimizer.load_state_dict(state["optimizer"])
    resumed.load_state_dict(state["scheduler"])
    rest = train(resumed, losses[stop:], 3, first=stop + 1)
    assert begun[0] + rest[0] == expected
    assert begun[1] + rest[1] == after
    assert resumed.state_dict() == whole.state_dict()
    settings = [[{**group, "params": None} for group in s.optimizer.param_groups] for s in (resumed, whole)]
    assert settings[0] == settings[1]


@pytest.mark.parametrize("name", ["constant", "plateau"])
def test_a_training_without_an_end_can_be_made_longer(name: Any) -> None:
    losses = [3.0, 4.0, 4.0, 5.0]
    short, longer = (learning_rate_schedule(optimizer(), name, epochs, 3, 1) for epochs in (2, 4))
    begun = train(short, losses[:2], 3)
    resumed = learning_rate_schedule(optimizer(), name, 4, 3, 1)
    resumed.optimizer.load_state_dict(short.optimizer.state_dict())
    resumed.load_state_dict(short.state_dict())
    assert begun[0] + train(resumed, losses[2:], 3, first=3)[0] == train(longer, losses, 3)[0]


def test_within_an_epoch_the_state_is_that_of_the_steps_taken() -> None:
    scheduler = learning_rate_schedule(optimizer(), "plateau", 3, 4, 1)
    assert isinstance(scheduler, WarmUpThenPlateau)
    for _ in range(2):
        scheduler.warm_up()
    resumed = learning_rate_schedule(optimizer(), "plateau", 3, 4, 1)
    assert isinstance(resumed, WarmUpThenPlateau)
    resumed.load_state_dict(through_a_file(scheduler.state_dict()))
    for each in (scheduler, resumed):
        each.warm_up()
    assert resumed.get_last_lr() == scheduler.get_last_lr() == [0.8]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"name": "cosin"}, "--schedule 'cosin': it must be one of constant, cosine, one_cycle, plateau"),
        ({"epochs": 0}, "--epochs 0"),
        ({"epochs": 1.5}, "--epochs 1.5"),
        ({"steps_per_epoch": 0}, "--steps_per_epoch 0"),
        ({"warmup_epochs": -1}, "--warmup_epochs -1"),
        ({"warmup_epochs": 4}, "below the 4 epochs"),
        ({"warmup_epochs": "one"}, "--warmup_epochs 'one'"),
        ({"warmup_epochs": math.nan}, "--warmup_epochs nan"),
        ({"factor": 1}, "--scheduler#factor 1"),
        ({"patience": -1}, "--scheduler#patience -1"),
    ],
)
def test_settings_outside_their_ranges(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingError, match=told) as error:
        learning_rate_schedule(optimizer(), **{"name": "plateau", "epochs": 4, "steps_per_epoch": 5, **settings})
    assert error.value.code == "setting-invalid"
