"""Learning rates over a training: PyTorch's schedulers by name, each with a warm-up, and one handler for all of them.

``constant``, ``cosine`` and ``one_cycle`` move with every step, ``plateau`` with every validation. All state is in the
schedulers' ``state_dict`` and every rate is computed from the number of the step, not from the rate before, so that a
resumed training has exactly the rates of one that was never interrupted.
"""

import math
from typing import Any, Literal

import torch
from ignite.engine import Engine, Events
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from cxr_monai.errors import Code, SettingError
from cxr_monai.plurals import counted

SCHEDULES = ("constant", "cosine", "one_cycle", "plateau")

# Of the highest rate; at the last step of a cosine, which so still learns something.
LOWEST = 0.01

# Of a one-cycle training, where no warm-up is asked for; see Smith and Topin 2018.
_RISE = 0.15


def validated(trainer: Engine, validator: Engine) -> bool:
    """Return whether the trainer's current epoch has been validated.

    Args:
        trainer, validator: the engines; MONAI's evaluators carry the number of the epoch that they ran after.
    """
    return validator.state.epoch == trainer.state.epoch


def learning_rate_schedule(
    optimizer: torch.optim.Optimizer,
    name: Literal["constant", "cosine", "one_cycle", "plateau"],
    epochs: int,
    steps_per_epoch: int,
    warmup_epochs: float = 0.0,
    factor: float = 0.3,
    patience: int = 1,
) -> LRScheduler:
    """Return a scheduler of the optimiser's learning rate; :class:`ScheduleStepper` steps it.

    - ``constant``: the rate stays.
    - ``cosine``: it falls along half a cosine to a hundredth, which is the last step's (Loshchilov and Hutter 2017,
      arXiv 1608.03983).
    - ``one_cycle``: it rises from 1/25 and falls to 4e-6 of it, which is the last step's, both along half a cosine;
      the momentum (Adam's first) falls from 0.95 to 0.85 and rises again (Smith and Topin 2018, arXiv 1708.07120).
    - ``plateau``: it falls to ``factor`` of itself where more than ``patience`` validations in a row had no lower loss.

    Args:
        optimizer: whose rates move; those that it was made with are the highest.
        name: one of the above.
        epochs, steps_per_epoch: how long the training is. What ``constant`` and ``plateau`` do doesn't depend on
            ``epochs``, so such a training can be made longer.
        warmup_epochs: fractions allowed. Step n of the warm-up's W (counted from 0) has (n + 1) / (W + 1) of the rate;
            step W is the first with the whole (Goyal et al. 2017, arXiv 1706.02677). Validations within a plateau's
            warm-up don't count. 0: none, and ``one_cycle`` rises over 15 % of the training; else over the warm-up.
        factor, patience: of ``plateau``.

    Raises:
        SettingError: ``setting-invalid`` for another name, a warm-up that isn't shorter than the training, or another
            value that its setting can't have.
    """
    _check(name, epochs, steps_per_epoch, warmup_epochs, factor, patience)
    total = epochs * steps_per_epoch
    rise = min(round(warmup_epochs * steps_per_epoch), total - 1)
    if name == "plateau":
        return WarmUpThenPlateau(optimizer, rise, factor=factor, patience=patience)
    if name == "one_cycle":
        highest = [group["lr"] for group in optimizer.param_groups]
        # PyTorch's rise has its end at step pct_start * total_steps - 1
        part = (rise + 1) / total if rise else _RISE
        return OneCycleLR(optimizer, max_lr=highest, total_steps=total, pct_start=part)
    last = total - 1 if name == "cosine" else None
    return LambdaLR(optimizer, lambda step: _warm(step, rise) if step < rise else _fallen(step - rise, rise, last))


def _warm(step: int, rise: int) -> float:
    return (step + 1) / (rise + 1)


def _fallen(step: int, rise: int, last: int | None) -> float:
    """Return the rate as a fraction of its highest value, ``step`` steps after the warm-up."""
    if last is None or last <= rise:
        return 1.0
    return LOWEST + (1 - LOWEST) * (1 + math.cos(math.pi * min(1.0, step / (last - rise)))) / 2


def _check(name: str, epochs: int, steps_per_epoch: int, warmup_epochs: float, factor: float, patience: int) -> None:
    if name not in SCHEDULES:
        raise SettingError(Code.SETTING_INVALID, f"--schedule {name!r}: it must be one of {', '.join(SCHEDULES)}.")
    for setting, value in (("epochs", epochs), ("steps_per_epoch", steps_per_epoch)):
        if not isinstance(value, int) or value < 1:
            raise SettingError(Code.SETTING_INVALID, f"--{setting} {value!r}: it must be a whole number of at least 1.")
    if not isinstance(warmup_epochs, int | float) or not 0 <= warmup_epochs < epochs:
        raise SettingError(
            Code.SETTING_INVALID,
            f"--warmup_epochs {warmup_epochs!r}: it must be a number from 0 (none) "
            f"to below the {counted(epochs, 'epoch')}.",
        )
    if not isinstance(factor, int | float) or not 0 < factor < 1:
        raise SettingError(Code.SETTING_INVALID, f"--scheduler#factor {factor!r}: it must be above 0 and below 1.")
    if not isinstance(patience, int) or patience < 0:
        raise SettingError(
            Code.SETTING_INVALID, f"--scheduler#patience {patience!r}: it must be a whole number of at least 0."
        )


class WarmUpThenPlateau(ReduceLROnPlateau):
    """PyTorch's ``ReduceLROnPlateau`` with a linear warm-up before it.

    Args:
        optimizer: whose rates move.
        rise: steps of the warm-up, each told by :meth:`warm_up`; 0 leaves PyTorch's scheduler.
        others: PyTorch's.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, rise: int = 0, **others: Any) -> None:
        super().__init__(optimizer, **others)
        self.highest = [group["lr"] for group in optimizer.param_groups]
        self.rise, self.taken = rise, 0
        self._warm()

    @property
    def warming(self) -> bool:
        """Whether the next step is one of the warm-up."""
        return self.taken < self.rise

    def warm_up(self) -> None:
        """Set the rate of the next step; call it after each step."""
        if self.warming:
            self.taken += 1
            self._warm()

    def _warm(self) -> None:
        for group, highest in zip(self.optimizer.param_groups, self.highest, strict=True):
            group["lr"] = highest * _warm(self.taken, self.rise)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def step(self, metrics: Any, epoch: None = None) -> None:  # type: ignore[override]  # as in PyTorch's own
        """Lower the rate if the validation loss has stopped falling; ignored during the warm-up.

        Args:
            metrics: the validation loss.
            epoch: as in PyTorch, without effect here.
        """
        if not self.warming:
            super().step(metrics, epoch)


class ScheduleStepper:
    """Step a scheduler whenever its kind is due; attach it after the validation and before the checkpoints.

    ``ReduceLROnPlateau`` is stepped with the validation loss of each epoch that was validated, any other of PyTorch's
    after each step of the optimiser (but the last of a schedule of known length, so that the rate ends where the
    schedule does).

    Args:
        scheduler: PyTorch's, or what :func:`learning_rate_schedule` returns.
        validator: whose ``loss`` decides.
    """

    def __init__(self, scheduler: LRScheduler, validator: Engine) -> None:
        self.scheduler, self.validator = scheduler, validator

    def attach(self, engine: Engine) -> None:
        plateau = isinstance(self.scheduler, ReduceLROnPlateau)
        if not plateau or isinstance(self.scheduler, WarmUpThenPlateau):
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        if plateau:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._validated)

    def _step(self) -> None:
        scheduler = self.scheduler
        if isinstance(scheduler, WarmUpThenPlateau):
            scheduler.warm_up()
        elif scheduler.last_epoch + 1 < getattr(scheduler, "total_steps", math.inf):
            scheduler.step()

    def _validated(self, engine: Engine) -> None:
        if validated(engine, self.validator):
            self.scheduler.step(self.validator.state.metrics["loss"])
