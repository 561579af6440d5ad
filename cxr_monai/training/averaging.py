"""Exponential moving average of the weights: a smoother network to validate, keep and ship than the last step's."""

from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cxr_monai.errors import Code, SettingError


class WeightAveraging:
    """PyTorch's ``AveragedModel`` as a handler: after each step, average = decay * average + (1 - decay) * weights.

    The decay rises with the steps, ``min(decay, (1 + n) / (10 + n))``, so that an average over a short training does
    not remember the random weights it began with. Batch statistics are averaged alike. After Polyak and Juditsky 1992,
    doi 10.1137/0330046.

    Args:
        network: what is trained.
        decay: in [0, 1); 0 averages nothing, and ``network`` is the trained one itself.

    Attributes:
        network: what to validate and to keep.
    """

    def __init__(self, network: nn.Module, decay: float = 0.0) -> None:
        if not 0 <= decay < 1:
            raise SettingError(
                Code.SETTING_INVALID, f"--ema_decay {decay!r}: it must be at least 0 (no average) and below 1."
            )
        self.trained, self.decay = network, decay
        source = getattr(network, "module", network)
        self._average = AveragedModel(source, multi_avg_fn=self._mean, use_buffers=True) if decay else None
        self.network: nn.Module = network if self._average is None else self._average.module

    def attach(self, engine: Engine) -> None:
        if self._average is not None:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._share_buffers)

    def __call__(self, engine: Engine) -> None:
        if self._average is not None:
            self._average.update_parameters(getattr(self.trained, "module", self.trained))

    def _share_buffers(self) -> None:
        """Copy the first process' batch statistics to all processes, as training does: each has those of its images.

        A checkpoint holds the first one's, and a validation is one of a single network.
        """
        if self._average is not None and idist.get_world_size() > 1:
            for buffer in self._average.module.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def _mean(self, averages: Any, weights: Any, steps: torch.Tensor | int) -> None:
        count = int(steps)
        get_ema_multi_avg_fn(min(self.decay, (1 + count) / (10 + count)))(averages, weights, steps)

    def state_dict(self) -> dict[str, Any]:
        return {} if self._average is None else self._average.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._average is not None:
            self._average.load_state_dict(state)
