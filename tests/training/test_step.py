"""One step of training by what its options claim; the average of weights by hand; one training a folder."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.losses import FocalLoss
from torch import nn

from cxr_monai.errors import Code, CxrError, SettingError, TrainingError
from cxr_monai.losses import MaskedBCEWithLogitsLoss
from cxr_monai.networks.inferers import AutocastInferer
from cxr_monai.training.averaging import WeightAveraging
from cxr_monai.training.lock import OutputLock
from cxr_monai.training.step import TrainingStep

NAN = float("nan")


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 1, 6, 6, generator=torch.Generator().manual_seed(seed))


def labels(count: int, unknown: float = 0.0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(7)
    made = torch.randint(0, 2, (count, 3), generator=draw).float()
    return torch.where(torch.rand(count, 3, generator=draw) < unknown, NAN, made)


def small(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3))


def trainer(
    network: nn.Module,
    step: TrainingStep,
    batches: list[dict[str, Any]],
    rate: float = 0.1,
    loss: nn.Module | None = None,
) -> Any:
    return SupervisedTrainer(
        max_epochs=1,
        device=torch.device("cpu"),
        train_data_loader=batches,
        network=network,
        loss_function=loss or MaskedBCEWithLogitsLoss(),
        optimizer=torch.optim.SGD(network.parameters(), rate),
        inferer=AutocastInferer(amp=False),
        iteration_update=step,
        decollate=False,
    )


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().flatten().clone() for value in network.parameters()])


def trained(step: TrainingStep, batches: list[dict[str, Any]], dropout: float = 0.0, rate: float = 0.1) -> torch.Tensor:
    network = small(dropout)
    trainer(network, step, batches, rate).run()
    return weights(network)


def batch(count: int, unknown: float = 0.0, seed: int = 0) -> dict[str, Any]:
    names = [f"{number}.png" for number in range(count)]
    return {"image": images(count, seed), "label": labels(count, unknown), "name": names}


# -- accumulation


@pytest.mark.parametrize("unknown", [0.0, 0.5])
@pytest.mark.parametrize("parts", [2, 3, 5, 12])
def test_a_batch_in_parts_is_the_batch_up_to_rounding(parts: int, unknown: float) -> None:
    whole = trained(TrainingStep(), [batch(12, unknown)] * 3)
    split = trained(TrainingStep(accumulate=parts), [batch(12, unknown)] * 3)
    torch.testing.assert_close(split, whole, rtol=1e-5, atol=1e-6)
    assert not torch.equal(whole, weights(small()))


def test_the_loss_told_is_that_of_the_whole_batch() -> None:
    told = []
    for parts in (1, 4):
        engine = trainer(small(), TrainingStep(accumulate=parts), [batch(12, 0.5)])
        engine.run()
        told.append(engine.state.output["loss"].item())
        assert engine.state.output["pred"].shape == (12, 3)
    network = small()
    expected = MaskedBCEWithLogitsLoss()(network(images(12)), labels(12, 0.5)).item()
    assert told == pytest.approx([expected, expected], abs=1e-6)


def test_a_batch_without_a_known_label_changes_nothing() -> None:
    nothing = batch(4) | {"label": torch.full((4, 3), NAN)}
    assert torch.equal(trained(TrainingStep(accumulate=2), [nothing]), weights(small()))


@pytest.mark.parametrize("parts", [1, 2, 5])
@pytest.mark.parametrize("loss", [nn.BCEWithLogitsLoss(), FocalLoss()], ids=lambda loss: type(loss).__name__)
def test_another_loss_is_that_of_the_whole_batch_too(loss: nn.Module, parts: int) -> None:
    network, by_hand = small(), small()
    engine = trainer(network, TrainingStep(accumulate=parts), [batch(7)], loss=loss)
    engine.run()
    expected = loss(by_hand(images(7)), labels(7))
    expected.backward()
    torch.optim.SGD(by_hand.parameters(), 0.1).step()
    assert engine.state.output["loss"].item() == pytest.approx(expected.item(), abs=1e-6)
    torch.testing.assert_close(weights(network), weights(by_hand), rtol=1e-5, atol=1e-6)


# -- clipping


def test_a_step_is_as_long_as_the_bound_and_keeps_its_direction() -> None:
    before = weights(small())
    free = trained(TrainingStep(), [batch(8)]) - before
    length = free.norm().item() / 0.1  # the gradient's
    clipped = trained(TrainingStep(clip_norm=length / 4), [batch(8)]) - before
    assert clipped.norm().item() == pytest.approx(0.1 * length / 4, rel=1e-3)
    torch.testing.assert_close(clipped * 4, free, rtol=1e-3, atol=1e-7)
    untouched = trained(TrainingStep(clip_norm=length * 1.01), [batch(8)]) - before
    torch.testing.assert_close(untouched, free, rtol=1e-5, atol=1e-8)


# -- what is not a number


@pytest.mark.parametrize("parts", [1, 2])
def test_a_loss_that_is_not_a_number_names_its_batch_and_leaves_the_weights(parts: int) -> None:
    bad = batch(6)
    bad["image"][4, 0, 2, 2] = NAN
    network = small()
    engine = trainer(network, TrainingStep(accumulate=parts), [batch(6), bad, batch(6)])
    states: list[torch.Tensor] = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: states.append(weights(network)))
    with pytest.raises(CxrError) as caught:
        engine.run()
    assert caught.value.code == Code.NOT_FINITE
    assert isinstance(caught.value, TrainingError)
    assert "iteration 2" in str(caught.value)
    assert "0.png, 1.png" in str(caught.value)
    assert torch.equal(weights(network), states[0])


def test_a_gradient_that_is_not_a_number_is_found_where_it_is_looked_at() -> None:
    class Infinite(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
            return value.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
            return gradients[0] * float("inf")

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small()

        def forward(self, value: torch.Tensor) -> torch.Tensor:
            return Infinite.apply(self.inner(value))  # type: ignore[no-untyped-call]

    network = Network()
    before = weights(network)
    with pytest.raises(CxrError, match="the gradient is"):
        trainer(network, TrainingStep(clip_norm=1.0), [batch(4)]).run()
    assert torch.equal(weights(network), before)


# -- random numbers


@pytest.mark.parametrize("what", ["dropout", "mixup"])
def test_what_is_drawn_depends_on_seed_iteration_and_process_alone(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(seed: int = 1, rank: int = 0, before: int = 0) -> list[tuple[float, ...]]:
        """Return what two steps at the same images and the same weights drew."""
        monkeypatch.setattr("cxr_monai.training.step.idist.get_rank", lambda: rank)
        network, made = small(0.5 if what == "dropout" else 0.0), []
        torch.rand(before)
        engine = trainer(network, TrainingStep(seed, mixup=float(what == "mixup")), [batch(8)] * 2, rate=0.0)
        engine.add_event_handler(
            Events.ITERATION_COMPLETED, lambda: made.append(tuple(engine.state.output["pred"].flatten().tolist()))
        )
        engine.run()
        return made

    first = drawn()
    assert drawn(before=17) == first
    assert len({*first, *drawn(seed=2), *drawn(rank=1)}) == 6


def test_a_network_learns_from_blends_of_images_and_labels_alike() -> None:
    whole = {"image": torch.eye(8).reshape(8, 1, 2, 4), "label": torch.eye(8)[:, :3]}
    network = nn.Sequential(nn.Flatten(), nn.Linear(8, 3))
    engine = trainer(network, TrainingStep(mixup=1.0), [whole])
    engine.run()
    shares, seen = engine.state.output["image"].flatten(1), engine.state.output["label"]
    torch.testing.assert_close(shares.sum(1), torch.ones(8))
    assert ((shares > 0).sum(1) == 2).any()  # two images in one
    torch.testing.assert_close(seen, shares @ whole["label"])
    assert torch.equal(whole["image"].flatten(1), torch.eye(8))


@pytest.mark.parametrize(("name", "value"), [("clip_norm", -1.0), ("accumulate", 0), ("mixup", -0.1)])
def test_options_outside_their_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(SettingError, match=f"--{name}"):
        TrainingStep(**{name: value})  # type: ignore[arg-type]


# -- the average of the weights


@pytest.mark.parametrize("bound", [0.15, 0.25, 0.5])  # the rising decay reaches it at the third step, the fourth, later
def test_the_average_by_hand(bound: float) -> None:
    network = nn.Linear(1, 1, bias=False)
    average = WeightAveraging(network, decay=bound)
    expected = None
    for count, value in enumerate([1.0, 2.0, 4.0, 8.0]):
        with torch.no_grad():
            network.weight.fill_(value)
        average(None)  # type: ignore[arg-type]
        decay = min(bound, (1 + count) / (10 + count))
        # the first value begins the average
        expected = value if expected is None else decay * expected + (1 - decay) * value
        assert average.network.weight.item() == pytest.approx(expected)
    assert network.weight.item() == 8.0


def test_batch_statistics_are_averaged_and_a_state_goes_on_where_it_was() -> None:
    def run(steps: range, state: dict[str, Any] | None = None) -> WeightAveraging:
        network = nn.BatchNorm1d(2)
        average = WeightAveraging(network, decay=0.9)
        if state is not None:
            average.load_state_dict(state)
        for number in steps:
            network.running_mean.fill_(float(number))  # type: ignore[union-attr]
            average(None)  # type: ignore[arg-type]
        return average

    whole, half = run(range(10)), run(range(5))
    rest = run(range(5, 10), half.state_dict())
    assert 0 < whole.network.running_mean[0].item() < 9  # type: ignore[union-attr, index]
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, rest.network.state_dict()[name]), name


def test_no_average_is_the_network_itself() -> None:
    network = small()
    assert WeightAveraging(network).network is network
    assert WeightAveraging(network).state_dict() == {}
    with pytest.raises(SettingError, match="--ema_decay"):
        WeightAveraging(network, 1.0)


# -- one training a folder

HOLDER = (
    "import sys, time; from cxr_monai.training.lock import OutputLock\n"
    "lock = OutputLock(sys.argv[1]); lock.acquire(); print('held', flush=True); time.sleep(60)"
)


def test_another_process_is_named_and_the_lock_ends_with_it_however_it_ends(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    child = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], cwd=root, stdout=subprocess.PIPE)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(TrainingError) as caught:
            OutputLock(tmp_path).acquire()
        assert caught.value.code == Code.OUTPUT_LOCKED
        assert f"process {child.pid} of " in str(caught.value)
        assert caught.value.where == str(tmp_path)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
    lock = OutputLock(tmp_path)
    lock.acquire()
    assert json.loads((tmp_path / "training.lock.json").read_text())["process"] == os.getpid()
    lock.release()
    assert not (tmp_path / "training.lock.json").exists()
