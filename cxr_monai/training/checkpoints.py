"""Checkpoints: the best weights into the bundle, everything into ``last.pt``, each whole or not at all.

MONAI's ``CheckpointSaver`` deletes the old file before the new one is whole, and a first metric that is NaN blocks
every later best; both lose a training, so this does not build on it.
"""

import logging
import math
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from cxr_monai.bundle.trained import TrainedBundle, save_atomically
from cxr_monai.training.schedules import validated

logger = logging.getLogger(__name__)


class BestAndLast:
    """Write ``OUT/bundle/models/model.pt`` at each best epoch and ``OUT/checkpoints/last.pt`` after every epoch.

    Attach it after the validation; epochs that were not validated are not candidates. Where the key metric is NaN (no
    finding has positives and negatives), the validation loss decides instead; an epoch with a figure beats one without.

    Args:
        bundle: the bundle that is being trained.
        output_dir: the training's folder.
        network, optimizer, scheduler: what the checkpoint holds.
        validator: whose ``mean_auroc`` and ``loss`` decide.
    """

    def __init__(
        self,
        bundle: TrainedBundle,
        output_dir: str,
        network: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: Any,
        validator: Engine,
    ) -> None:
        self.bundle, self.last = bundle, Path(output_dir) / "checkpoints" / "last.pt"
        self.network, self.optimizer, self.scheduler, self.validator = network, optimizer, scheduler, validator
        self.best: tuple[float, float] = (-math.inf, -math.inf)
        self.best_epoch = 0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self._complete)

    def _start(self, engine: Engine) -> None:
        if idist.get_rank() != 0:
            return
        self.last.parent.mkdir(parents=True, exist_ok=True)
        self.bundle.write()

    def _complete(self, engine: Engine) -> None:
        """Keep the last epoch's weights where no epoch was validated."""
        if not self.best_epoch:
            self.best_epoch = engine.state.epoch
            if idist.get_rank() == 0:
                self.bundle.save_weights(self.network)

    def __call__(self, engine: Engine) -> None:
        metrics = self.validator.state.metrics if validated(engine, self.validator) else {}
        auroc = metrics.get("mean_auroc", math.nan)
        score = (-math.inf if math.isnan(auroc) else auroc, -metrics.get("loss", math.inf))
        better = score > self.best
        if better:
            self.best, self.best_epoch = score, engine.state.epoch
        if idist.get_rank() != 0:
            return
        if better:
            self.bundle.save_weights(self.network)
        network = getattr(self.network, "module", self.network)
        save_atomically(
            {
                "model": network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "epoch": engine.state.epoch,
                "best_epoch": self.best_epoch,
                "best": list(self.best),
            },
            self.last,
        )
