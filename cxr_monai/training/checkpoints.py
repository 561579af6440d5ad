"""Checkpoints that a kill, a full disk or a flipped bit cannot cost, and the best weights.

``OUT/checkpoints/last.pt`` holds everything that decides how a training goes on; ``previous.pt`` is the one before it.
A checkpoint is written whole to a new file, synced, then renamed, and carries a digest of its content that is checked
when it is read. MONAI's ``CheckpointSaver`` deletes the old file before the new one is whole, and a first metric that
is NaN blocks every later best; why its ``CheckpointLoader`` cannot continue a training exactly stands in
docs/decisions/0008.
"""

import io
import logging
import math
import os
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events

from cxr_monai.bundle.trained import TrainedBundle, plain_state
from cxr_monai.durable import storage_error, sync_folder, write_durably
from cxr_monai.errors import Code, CxrError, SettingError, TrainingError, WeightsError
from cxr_monai.plurals import counted, out_of
from cxr_monai.stopping import Interrupted, asked, wait_for_step
from cxr_monai.training.distributed import from_main, highest
from cxr_monai.training.ignite_metrics import KEY_METRIC
from cxr_monai.training.schedules import validated
from cxr_monai.training.speed import go_on_with_threads

logger = logging.getLogger(__name__)

_FORMAT = 1
SELECT = (KEY_METRIC, "loss")
VALIDATION_RISK = 60.0
"""Seconds of training that an end within the validation may cost."""
_FRESH = "To train from the start in the same folder, add --restart True."


def digest(content: Any) -> str:
    """Return the SHA-256 of nested dictionaries, lists, plain values and tensors; of what they are, not how stored."""
    total = sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            plain = value.detach().cpu().contiguous()
            total.update(f"tensor {plain.dtype} {list(plain.shape)}\n".encode())
            total.update(plain.reshape(-1).view(torch.uint8).numpy().data if plain.numel() else b"")
        elif isinstance(value, Mapping):
            total.update(f"mapping {len(value)}\n".encode())
            for key, item in value.items():
                total.update(f"{key!r}\n".encode())
                add(item)
        elif isinstance(value, list | tuple):
            total.update(f"list {len(value)}\n".encode())
            for item in value:
                add(item)
        else:
            total.update(f"{value!r}\n".encode())

    add(content)
    return total.hexdigest()


def save_checkpoint(content: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint with its digest; what was ``path`` becomes ``previous.pt`` beside it.

    Args:
        content: plain values and tensors by name.
        path: the file, such as ``last.pt``.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``; the checkpoints that were there are untouched.
    """
    buffer = io.BytesIO()  # in memory first: errors of the disk are then not wrapped by torch's writer
    torch.save({"format": _FORMAT, "digest": digest(content), "content": dict(content)}, buffer)
    new = path.with_name(f"next{path.suffix}")
    write_durably(new, buffer.getvalue())
    try:
        if path.exists():
            # a kill between the two leaves previous.pt and next.pt, and the reader knows both
            os.replace(path, path.with_name(f"previous{path.suffix}"))
        os.replace(new, path)
        sync_folder(path.parent)
    except OSError as error:
        raise storage_error(error, path) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read one checkpoint and check its digest.

    Raises:
        WeightsError: ``weights-unsafe`` if it holds pickled objects.
        TrainingError: ``checkpoint-damaged``.
    """
    try:
        stored = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly anything on a damaged file
        if isinstance(error, UnpicklingError) and "GLOBAL" in str(error):
            raise WeightsError(
                Code.WEIGHTS_UNSAFE,
                "the checkpoint holds pickled Python objects; loading it could run code.",
                fix=f"It is damaged, or not one that this training wrote. {_FRESH}",
                where=path,
            ) from error
        raise _damaged(path, f"it cannot be read ({type(error).__name__})") from error
    if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
        raise _damaged(path, "it is no checkpoint of this version")
    content = stored.get("content")
    if not isinstance(content, dict) or digest(content) != stored.get("digest"):
        raise _damaged(path, "its content does not have the digest that it was written with")
    return content


def newest_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the newest good checkpoint of a folder; None where there is none at all.

    A damaged one, or one with pickled objects, is set aside as ``NAME.damaged`` with a warning, and the one before it
    is used.

    Raises:
        TrainingError: ``checkpoint-damaged`` if there are some and none is good.
        WeightsError: ``weights-unsafe`` if that is what is wrong with them.
    """
    errors: dict[Path, CxrError] = {}
    for path in (folder / name for name in ("next.pt", "last.pt", "previous.pt")):  # the newest first
        if not path.exists():
            continue
        try:
            content = read_checkpoint(path)
        except CxrError as error:
            errors[path] = error
            continue
        for bad, reason in errors.items():
            os.replace(bad, bad.with_name(f"{bad.name}.damaged"))
            logger.warning(
                "[%s] %s It is kept as %s.damaged, and the one before it is used.", reason.code, reason, bad.name
            )
        if path.name != "last.pt":
            os.replace(path, folder / "last.pt")
        return content
    unsafe = [error for error in errors.values() if error.code == Code.WEIGHTS_UNSAFE]
    if unsafe:
        raise unsafe[0]
    if errors:
        raise TrainingError(
            Code.CHECKPOINT_DAMAGED, "no checkpoint of this training can be read.", fix=_FRESH, where=folder
        )
    return None


def _damaged(path: Path, reason: str) -> TrainingError:
    return TrainingError(Code.CHECKPOINT_DAMAGED, f"{reason}.", where=path)


class BestWeights:
    """Keep the weights of the best validated epoch in memory.

    The mean AUROC decides, then the validation loss, or the other way round: an epoch with a figure beats one whose
    figure is NaN (no finding has positives and negatives). Attach it after the validation.

    Args:
        network: whose weights are kept: the one that is validated.
        validator: whose ``mean_auroc`` and ``loss`` decide.
        select: which of the two decides first; ``loss`` is what CheXNet and its descendants look at.

    Attributes:
        epoch: the best so far; 0 before any.

    Raises:
        SettingError: ``setting-invalid`` for another ``select``.
    """

    def __init__(
        self, network: torch.nn.Module, validator: Engine, select: Literal["mean_auroc", "loss"] = "mean_auroc"
    ) -> None:
        if select not in SELECT:
            raise SettingError(Code.SETTING_INVALID, f"--select {select!r}: it must be one of {', '.join(SELECT)}.")
        self.network, self.validator, self.select = network, validator, select
        self.score: tuple[float, float] = (-math.inf, -math.inf)
        self.epoch = 0
        self.weights: dict[str, torch.Tensor] = {}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self._complete)

    def __call__(self, engine: Engine) -> None:
        metrics = self.validator.state.metrics if validated(engine, self.validator) else {}
        auroc, loss = metrics.get(KEY_METRIC, math.nan), metrics.get("loss", math.nan)
        score = (-math.inf if math.isnan(auroc) else auroc, -math.inf if math.isnan(loss) else -loss)
        if self.select == "loss":
            score = score[::-1]
        if score > self.score:
            self.score = score
            self._keep(engine)

    def _complete(self, engine: Engine) -> None:
        """Keep the last epoch's weights where no epoch was validated."""
        if not self.epoch:
            self._keep(engine)

    def _keep(self, engine: Engine) -> None:
        self.epoch = engine.state.epoch
        # a copy: the network goes on learning, and a checkpoint within a later epoch holds these
        self.weights = {name: tensor.clone() for name, tensor in plain_state(self.network).items()}

    def state_dict(self) -> dict[str, Any]:
        return {"score": list(self.score), "epoch": self.epoch, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.score, self.epoch, self.weights = tuple(state["score"]), state["epoch"], dict(state["weights"])


class BestBundleWeights(BestWeights):
    """Write the weights of the best validated epoch to ``OUT/bundle/models/model.pt`` as well.

    Args:
        bundle: the bundle that is being trained.
        network, validator, select: as of :class:`BestWeights`.
    """

    def __init__(
        self,
        bundle: TrainedBundle,
        network: torch.nn.Module,
        validator: Engine,
        select: Literal["mean_auroc", "loss"] = "mean_auroc",
    ) -> None:
        super().__init__(network, validator, select)
        self.bundle = bundle

    def _keep(self, engine: Engine) -> None:
        super()._keep(engine)
        self.write()

    def write(self) -> None:
        """Write the kept weights into the bundle."""
        if self.weights and idist.get_rank() == 0:
            self.bundle.save_weights(self.weights)


class Checkpoints:
    """Write everything after each epoch, and within long ones; read it back. The last handler of a trainer.

    Args:
        output_dir: the training's folder.
        objects: by name, whatever a training's course depends on; each has ``state_dict`` and ``load_state_dict``.
        sampler: of the training batches; told where to go on.
        minutes: the longest time of training between two checkpoints.

    A process that is told to end (``cxr_monai.stopping``) does so after the step at hand, and saves it; within a
    validation it ends at once, and a checkpoint just before the epoch's last step keeps what took longer than a minute.

    Attributes:
        content: in words, what the last checkpoint holds; empty before any.
    """

    def __init__(self, output_dir: str, objects: Mapping[str, Any], sampler: Any, minutes: float = 10.0) -> None:
        self.folder, self.objects, self.sampler, self.minutes = (
            Path(output_dir) / "checkpoints", dict(objects), sampler, minutes
        )  # fmt: skip
        self.settings: dict[str, str] = {}
        self.ended = False
        self._saved = time.monotonic()
        self._skip = 0
        self.content = ""

    @property
    def last(self) -> Path:
        """The newest checkpoint's file."""
        return self.folder / "last.pt"

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._end_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def _start_epoch(self, engine: Engine) -> None:
        self.sampler.start(engine.state.epoch, self._skip)
        self._skip = 0
        wait_for_step(True)

    def _end_step(self, engine: Engine) -> None:
        """Save if it is time, or if any process is to end; then end."""
        remaining = -engine.state.iteration % engine.state.epoch_length
        waited = time.monotonic() - self._saved
        due = waited >= 60 * self.minutes or (remaining == 1 and waited >= VALIDATION_RISK)
        signal, save = highest(asked(), due)
        if remaining and (save or signal):  # the end of an epoch has more to do before it is saved
            self.save(engine)
        if signal:
            raise Interrupted(signal)
        if not remaining:
            wait_for_step(False)

    def save(self, engine: Engine) -> None:
        """Write ``last.pt``; the first of several processes does, but all must call it: states may gather.

        Raises:
            StorageError: ``disk-full``, ``write-failed``.
            TrainingError: ``not-finite`` if a weight is not a number: such a checkpoint would replace a good one.
        """
        state = engine.state
        content = {name: _state(item) for name, item in self.objects.items()}
        self._refuse_nan(content, engine)
        content["progress"] = {
            "iteration": state.iteration,
            "epoch_length": state.epoch_length,
            "ended": bool(engine.should_terminate),
        }
        content["settings"] = self.settings
        content["threads"] = torch.get_num_threads()
        if idist.get_rank() == 0:
            save_checkpoint(content, self.last)
        self._saved = time.monotonic()
        self._describe(state.iteration, state.epoch_length)

    def _describe(self, iteration: int, length: int) -> None:
        done, within = divmod(iteration, length)
        rest = f" and {out_of(within, length, 'batch')} of the next" if within else ""
        self.content = f"{counted(done, 'epoch')}{rest}"

    def _refuse_nan(self, content: Mapping[str, Any], engine: Engine) -> None:
        for name, tensor in content.get("network", {}).items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise TrainingError(
                    Code.NOT_FINITE,
                    f"the weights {name} are not numbers in epoch {engine.state.epoch}, "
                    f"iteration {engine.state.iteration}; the checkpoint before is kept.",
                    fix="A smaller --learning_rate or --clip_norm 1 helps most often, or --amp False.",
                )

    def clear(self) -> None:
        """Delete the checkpoints of an earlier training."""
        for path in (*self.folder.glob("*.pt"), *self.folder.glob("*.pt.damaged")):
            path.unlink()

    def restore(self, engine: Engine) -> bool:
        """Put everything back as the newest good checkpoint has it; False where there is none.

        All processes must call it; the first reads. Afterwards ``ended`` tells whether there is nothing left to train.

        Raises:
            TrainingError: ``resume-differs`` if it was trained with other settings; ``checkpoint-damaged``.
        """
        content = from_main(lambda: newest_checkpoint(self.folder))
        if content is None:
            return False
        progress = content["progress"]
        self._compare(content["settings"])
        go_on_with_threads(content.get("threads"))
        for name, item in self.objects.items():
            _unwrapped(item).load_state_dict(content[name])
        done, within = divmod(progress["iteration"], progress["epoch_length"])
        length = engine.state.epoch_length
        engine.state.epoch, engine.state.iteration, self._skip = done, done * length + within, within
        self.ended = bool(progress["ended"]) or done >= engine.state.max_epochs
        rest = f" and {out_of(within, length, 'batch')} of the next" if within else ""
        self._describe(engine.state.iteration, length)
        if self.ended:
            logger.info("this training has ended at epoch %d; larger --epochs go on, --restart True begins anew", done)
        else:
            logger.info("continuing after epoch %d%s: %s", done, rest, self.last)
        return True

    def _compare(self, stored: Mapping[str, str]) -> None:
        names = [name for name in {**self.settings, **stored} if self.settings.get(name) != stored.get(name)]
        if not names:
            return
        differences = "; ".join(f"{name} was {stored.get(name)}, now {self.settings.get(name)}" for name in names[:5])
        raise TrainingError(
            Code.RESUME_DIFFERS,
            f"the training in this folder was started with other settings: {differences}.",
            fix=f"Give the same ones to continue, or choose another --output_dir. {_FRESH}",
            where=self.folder.parent,
        )


def _unwrapped(item: Any) -> Any:
    """Return the module inside a distributed wrapper; checkpoints hold its state, so that one process can load them."""
    return getattr(item, "module", item) if isinstance(item, torch.nn.Module) else item


def _state(item: Any) -> Any:
    return _plain(_unwrapped(item).state_dict())


def _plain(value: Any) -> Any:
    """Make a state readable with ``weights_only``: plain containers and numbers, tensors as they are."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
