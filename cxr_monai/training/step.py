"""One step of training: what MONAI's ``SupervisedTrainer`` calls an iteration, with the options that it lacks.

Random numbers of a step (dropout, mixup) depend on (seed, iteration, process) alone, so a resumed training draws what
the uninterrupted one drew. A loss that is not a number stops the run before it reaches the weights, and so does a
gradient where ``clip_norm`` looks at it; without, the next loss or the next checkpoint finds it
(``training.checkpoints``).
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys
from torch.nn.utils import clip_grad_norm_

from cxr_monai.data.loading import seed_of
from cxr_monai.errors import Code, SettingError, TrainingError
from cxr_monai.networks.inferers import autocast_dtype
from cxr_monai.training.mixup import mixup


class TrainingStep:
    """Forward, backward, step; the trainer's ``iteration_update``.

    Args:
        seed: of dropout and mixup.
        clip_norm: gradients are scaled down to this norm over all parameters (Pascanu et al. 2013, arXiv 1211.5063);
            0 leaves them alone.
        accumulate: into how many parts a batch is split where it doesn't fit into memory. ``batch_size`` stays what a
            step learns from, and the gradient is that of the whole batch up to rounding: each part weighs as many
            labels as it knows, or, with a loss without ``known_labels``, as it has images. (Batch normalisation sees
            the parts.)
        mixup: alpha of Zhang et al. 2018, arXiv 1710.09412; 0 mixes nothing.
        freeze: ``cxr_monai.training.freezing.GradualUnfreezing``, which holds frozen layers in evaluation mode.

    Gives MONAI's ``image``, ``label``, ``pred`` (logits) and ``loss``, and fires MONAI's events in its order.

    Raises (in a step):
        TrainingError: ``not-finite``, naming the images of the batch; no step is taken.
    """

    def __init__(
        self, seed: int = 0, clip_norm: float = 0.0, accumulate: int = 1, mixup: float = 0.0, freeze: Any = None
    ) -> None:
        for name, value, lowest in (("clip_norm", clip_norm, 0), ("accumulate", accumulate, 1), ("mixup", mixup, 0)):
            if value < lowest:
                raise SettingError(Code.SETTING_INVALID, f"--{name} {value!r}: it must be at least {lowest}.")
        self.seed, self.clip_norm, self.accumulate, self.mixup, self.freeze = seed, clip_norm, accumulate, mixup, freeze
        self.scaler: torch.amp.GradScaler | None = None
        self._scaler_state: dict[str, Any] = {}

    def __call__(self, engine: Any, batchdata: dict[str, Any]) -> dict[str, Any]:
        device = engine.state.device
        # torch.manual_seed formats the whole stack at each call where CUDA is not in use
        seed = torch.default_generator.manual_seed if device.type == "cpu" else torch.manual_seed
        seed(seed_of(self.seed, engine.state.iteration, idist.get_rank()))
        images, labels = engine.prepare_batch(batchdata, device, engine.non_blocking, **engine.to_kwargs)
        if self.mixup:
            images, labels = mixup(images, labels, self.mixup, self._generator(engine))
        engine.network.train()
        if self.freeze is not None:
            self.freeze.hold()
        engine.optimizer.zero_grad(set_to_none=engine.optim_set_to_none)
        scaler = self._scaler(engine, device)
        loss, predictions = self._backward(engine, images, labels, scaler, batchdata.get("name", ()))
        engine.state.output = {CommonKeys.IMAGE: images, CommonKeys.LABEL: labels}
        engine.state.output |= {CommonKeys.PRED: predictions, CommonKeys.LOSS: loss}
        for event in (
            IterationEvents.FORWARD_COMPLETED, IterationEvents.LOSS_COMPLETED, IterationEvents.BACKWARD_COMPLETED
        ):  # fmt: skip
            engine.fire_event(event)
        if self.clip_norm:
            scaler.unscale_(engine.optimizer)
            norm = clip_grad_norm_(engine.network.parameters(), self.clip_norm)
            # in float16 the scaler lowers its scale at infinite gradients and leaves the step out
            if not torch.isfinite(norm) and not scaler.is_enabled():
                raise _not_finite("the gradient", float(norm), engine, batchdata.get("name", ()))
        scaler.step(engine.optimizer)
        scaler.update()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _backward(
        self,
        engine: Any,
        images: torch.Tensor,
        labels: torch.Tensor,
        scaler: torch.amp.GradScaler,
        names: Sequence[str],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the parts of a batch forward and backward; returns the loss of the whole and all logits."""
        weigh = getattr(engine.loss_function, "known_labels", None)
        if not callable(weigh):  # another loss: its mean over a part weighs as many images as the part has
            weigh = _images
        parts = list(zip(images.chunk(self.accumulate), labels.chunk(self.accumulate), strict=True))
        total = weigh(labels).clamp(min=1)
        # all processes' labels together: each process' gradient is averaged over processes afterwards
        everywhere = idist.all_reduce(total.clone()) if idist.get_world_size() > 1 else total
        share = idist.get_world_size() / everywhere
        mean, predictions = torch.zeros((), device=images.device), []
        for number, (part, part_labels) in enumerate(parts, start=1):
            waits = number < len(parts) and hasattr(engine.network, "no_sync")
            with engine.network.no_sync() if waits else contextlib.nullcontext():
                logits = engine.inferer(part, engine.network)
                loss = engine.loss_function(logits, part_labels).mean()
                if not torch.isfinite(loss):
                    raise _not_finite("the loss", loss.item(), engine, names)
                weight = weigh(part_labels).to(loss)
                scaler.scale(loss * weight * share).backward()
            mean += loss.detach() * weight / total
            predictions.append(logits.detach())
        return mean, torch.cat(predictions)

    def _scaler(self, engine: Any, device: torch.device) -> torch.amp.GradScaler:
        if self.scaler is None:
            dtype = autocast_dtype(device, getattr(engine.inferer, "amp", False))
            self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
            if self._scaler_state:
                self.scaler.load_state_dict(self._scaler_state)
        return self.scaler

    def _generator(self, engine: Engine) -> torch.Generator:
        """Return the mixture's own generator: it shares no number with dropout."""
        return torch.Generator().manual_seed(seed_of(self.seed, engine.state.iteration, idist.get_rank(), 1))

    def state_dict(self) -> dict[str, Any]:
        """Return the scaler's state (empty unless gradients are scaled)."""
        return self.scaler.state_dict() if self.scaler is not None else dict(self._scaler_state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scaler, self._scaler_state = None, dict(state)


def _images(labels: torch.Tensor) -> torch.Tensor:
    return torch.tensor(float(len(labels)), device=labels.device)


def _not_finite(quantity: str, value: float, engine: Engine, names: Sequence[str]) -> TrainingError:
    state = engine.state
    images = ", ".join(map(str, names[:4])) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return TrainingError(
        Code.NOT_FINITE,
        f"{quantity} is {value} in epoch {state.epoch}, iteration {state.iteration}, at the batch of {images}.",
        fix="The checkpoints before it are intact. A smaller --learning_rate or --clip_norm 1 helps most often, or "
        "--amp False; look at these images too.",
    )
