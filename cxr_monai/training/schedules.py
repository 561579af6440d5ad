"""Learning rates over a training: MONAI's handler around PyTorch's schedulers."""

from typing import Any

import torch
from ignite.engine import Engine
from monai.handlers import LrScheduleHandler
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader


def validated(trainer: Engine, validator: Engine) -> bool:
    """Tell whether the trainer's epoch has been validated: MONAI's evaluators carry the epoch that they ran after."""
    return validator.state.epoch == trainer.state.epoch


class StepOnPlateau(LrScheduleHandler):
    """MONAI's handler that steps ``ReduceLROnPlateau`` on the validation loss; attach it after the validation.

    Args:
        scheduler: PyTorch's.
        validator: whose ``loss`` decides; an epoch that was not validated leaves the rate alone.
    """

    def __init__(self, scheduler: Any, validator: Engine) -> None:
        super().__init__(scheduler, print_lr=False, step_transform=lambda _: validator.state.metrics["loss"])
        self.validator = validator

    def __call__(self, engine: Engine) -> None:
        if validated(engine, self.validator):
            super().__call__(engine)


def one_cycle(
    optimizer: torch.optim.Optimizer, learning_rate: float, epochs: int, dataloader: DataLoader
) -> OneCycleLR:
    """Return PyTorch's one-cycle schedule over a whole training: up to ``learning_rate`` in 15 % of it, then down.

    For trainings whose number of epochs is known to be short; see Smith and Topin 2018, arXiv 1708.07120.

    Args:
        optimizer: whose rate (and first moment) moves.
        learning_rate: the highest.
        epochs, dataloader: how many steps there will be.
    """
    return OneCycleLR(optimizer, max_lr=learning_rate, total_steps=epochs * len(dataloader), pct_start=0.15)
