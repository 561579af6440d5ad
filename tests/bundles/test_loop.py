"""What decides within the loop of a training: which epoch is best, when to stop, when the rate falls."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from cxr_monai.training.checkpoints import BestBundleWeights, Checkpoints, read_checkpoint
from cxr_monai.training.handlers import EarlyStopper
from cxr_monai.training.schedules import ScheduleStepper


def epochs(metrics: Sequence[dict[str, float]], handler: Callable[[Engine], Any]) -> Engine:
    """Run a trainer that does nothing, with the validator's metrics of each epoch as given; ``{}`` = not validated."""
    validator, trainer = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)

    def validate(engine: Engine) -> None:
        if metrics[engine.state.epoch - 1]:
            validator.state.epoch = engine.state.epoch  # as MONAI's ValidationHandler has it
            validator.state.metrics = dict(metrics[engine.state.epoch - 1])

    trainer.add_event_handler(Events.EPOCH_COMPLETED, validate)
    handler(validator).attach(trainer)
    trainer.run([0], max_epochs=len(metrics))
    return trainer


class Bundle:
    """Stands for the bundle that is being trained; keeps what it is told to save."""

    def __init__(self) -> None:
        self.saved: list[dict[str, torch.Tensor]] = []

    def save_weights(self, weights: dict[str, torch.Tensor]) -> None:
        self.saved.append(weights)


class Sampler:
    """Stands for the order of the images."""

    total_batch = 1

    def start(self, epoch: int, skip: int = 0) -> None:
        self.started = (epoch, skip)


def train_with(metrics: Sequence[dict[str, float]], folder: Path, **settings: Any) -> tuple[BestBundleWeights, Bundle]:
    """Run epochs with these validation metrics and return the handler of the best and its bundle.

    The network's only weight is the number of the epoch.
    """
    network, bundle = torch.nn.Linear(1, 1, bias=False), Bundle()
    made: list[BestBundleWeights] = []

    class Handlers:
        def __init__(self, validator: Engine) -> None:
            made.append(BestBundleWeights(bundle, network, validator, **settings))  # type: ignore[arg-type]

        def attach(self, engine: Engine) -> None:
            engine.add_event_handler(Events.EPOCH_STARTED, lambda: network.weight.data.fill_(engine.state.epoch))
            made[0].attach(engine)
            Checkpoints(str(folder), {"network": network, "best": made[0]}, Sampler()).attach(engine)

    epochs(metrics, Handlers)
    return made[0], bundle


NAN = math.nan


@pytest.mark.parametrize(
    ("aurocs", "losses", "best", "saved"),
    [
        ([0.5, 0.7, 0.6], [1, 1, 1], 2, 2),
        ([0.5, 0.5, 0.5], [3, 2, 4], 2, 2),  # a tie: the lower loss
        ([NAN, 0.4, NAN], [1, 9, 0], 2, 2),  # an epoch with a figure beats one without, however low its loss
        ([NAN, NAN, NAN], [3, 1, 2], 2, 2),  # nothing defined: the loss decides
        ([0.9, NAN, 0.8], [1, 0, 0], 1, 1),
    ],
)
def test_best_epoch(aurocs: list[float], losses: list[float], best: int, saved: int, tmp_path: Path) -> None:
    kept, bundle = train_with([{"mean_auroc": a, "loss": b} for a, b in zip(aurocs, losses, strict=True)], tmp_path)
    assert kept.epoch == best
    assert len(bundle.saved) == saved
    assert bundle.saved[-1]["weight"].item() == best  # a copy: the network went on to the third epoch
    last = read_checkpoint(tmp_path / "checkpoints" / "last.pt")
    assert (last["network"]["weight"].item(), last["best"]["weights"]["weight"].item()) == (3, best)
    assert (last["progress"]["iteration"], last["best"]["epoch"]) == (3, best)
    left = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert left == ["last.pt", "previous.pt"]  # no half-written file


@pytest.mark.parametrize(
    ("aurocs", "losses", "best"),
    [
        ([0.5, 0.7, 0.6], [2, 3, 1], 3),
        ([0.5, 0.7, 0.6], [1, 1, 2], 2),  # a tie: the higher AUROC
        ([NAN, 0.9, 0.6], [1, NAN, 2], 1),
    ],
)
def test_best_epoch_by_loss(aurocs: list[float], losses: list[float], best: int, tmp_path: Path) -> None:
    metrics = [{"mean_auroc": a, "loss": b} for a, b in zip(aurocs, losses, strict=True)]
    kept, bundle = train_with(metrics, tmp_path, select="loss")
    assert (kept.epoch, bundle.saved[-1]["weight"].item()) == (best, best)


@pytest.mark.parametrize(
    ("losses", "patience", "last"),
    [([3, 2, 2.5, 2.4, 1], 2, 4), ([3, 2, 2.5, 1, 1.5], 2, 5), ([1, 1, 1], 1, 2), ([3, 2, 1], 1, 3)],
)
def test_training_stops_after_patience_epochs_without_a_lower_loss(
    losses: list[float], patience: int, last: int
) -> None:
    trainer = epochs([{"loss": loss} for loss in losses], lambda validator: EarlyStopper(patience, validator))
    assert trainer.state.epoch == last


def test_patience_counts_validations() -> None:
    losses = [{}, {"loss": 2.0}, {}, {"loss": 3.0}, {}, {"loss": 4.0}, {}]
    assert epochs(losses, lambda validator: EarlyStopper(2, validator)).state.epoch == 6


def rate(losses: Sequence[dict[str, float]]) -> float:
    """Return the learning rate that is left of 1 after these epochs, with the bundle's own schedule."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=1)
    epochs(losses, lambda validator: ScheduleStepper(scheduler, validator))
    return float(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize(
    ("losses", "left"), [([3, 2, 1], 1.0), ([3, 3], 1.0), ([3, 3, 3], 0.3), ([3, 3, 3, 3, 3], 0.09)]
)
def test_rate_falls_where_the_loss_does_not(losses: list[float], left: float) -> None:
    assert rate([{"loss": loss} for loss in losses]) == pytest.approx(left)


def test_epochs_without_validation_leave_the_rate_alone() -> None:
    assert rate([{}, {}, {"loss": 3}, {}, {}, {"loss": 2}]) == 1.0


def test_without_any_validation_the_last_epoch_is_kept(tmp_path: Path) -> None:
    kept, bundle = train_with([{}, {}, {}], tmp_path)
    assert kept.epoch == 3
    assert [weights["weight"].item() for weights in bundle.saved] == [3]
