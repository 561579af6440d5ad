"""Handlers of a training: what a log without a terminal is told."""

import pytest
import torch
from ignite.engine import Engine

from cxr_monai import progress
from cxr_monai.training.handlers import ProgressBar


def test_a_trainings_lines_give_epoch_speed_and_the_time_left_of_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight seconds a batch of 16 images, 2 images a second: a line every half minute, of epoch 2 as well."""
    now = [0.0]
    monkeypatch.delenv("CXR_MONAI_PROGRESS_SECONDS", raising=False)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress._Reporter, "_run", lambda self, wake: None)
    monkeypatch.setattr(progress, "_REPORTER", progress._Reporter())

    def step(engine: Engine, batch: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        now[0] += 8
        progress._REPORTER.tick()
        return [{"pred": row, "loss": torch.tensor(0.5)} for row in batch]

    loader = torch.utils.data.DataLoader(torch.zeros(96, 1), batch_size=16)
    trainer = Engine(step)
    ProgressBar().attach(trainer)
    trainer.run(loader, max_epochs=2)
    assert capsys.readouterr().err.splitlines() == [
        "training 1/2: 48 of 96 images (50 %), 1.5 images/s, 32 s left; loss 0.5000; "
        "at most 1 min 36 s left of all epochs",
        "training 1/2: 96 of 96 images (100 %) in 48 s",
        "training 2/2: 16 of 96 images (16 %), 1.0 images/s, 1 min 20 s left; loss 0.5000; "
        "at most 46 s left of all epochs",
        "training 2/2: 80 of 96 images (83 %), 1.7 images/s, 10 s left; loss 0.5000; at most 9 s left of all epochs",
        "training 2/2: 96 of 96 images (100 %) in 48 s",
    ]
    assert trainer.state.metrics["images_per_second"] == 2.0
