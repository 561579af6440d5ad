"""Ignite handlers: progress that people can read, files left out, predictions written."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import ignite.distributed as idist
import numpy as np
import pandas as pd
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping

from cxr_monai.data.dataset import batch_errors, batch_notes
from cxr_monai.data.files import write_errors
from cxr_monai.data.notes import FilmNotes
from cxr_monai.errors import Code, TrainingError
from cxr_monai.evaluation.gate_evidence import GateCounts, with_gate_counts
from cxr_monai.evaluation.predictions import PredictionsFile, predictions_of, write_predictions
from cxr_monai.gate.bundle_gate import Gate
from cxr_monai.outputs import check_output
from cxr_monai.plurals import counted, out_of
from cxr_monai.progress import duration, progress_bar, spoke
from cxr_monai.training.distributed import from_main, gather_processes
from cxr_monai.training.ignite_metrics import KEY_METRIC, SOURCE_METRIC
from cxr_monai.training.judged_batches import JudgedBatches
from cxr_monai.training.schedules import validated

logger = logging.getLogger(__name__)

T = TypeVar("T")


def existing_handler(handler: T) -> T:
    """Return a handler unchanged, so that a configuration's list of handlers can hold one that is defined elsewhere.

    MONAI reads the entries of such a list as dictionaries, and a plain ``"@best"`` stops its check of properties.
    """
    return handler


class ProgressBar:
    """A bar with images a second and time left; without a terminal a line now and then, see ``cxr_monai.progress``.

    ``images_per_second`` (over training batches of all processes, data loading included) goes into
    ``engine.state.metrics``.

    Args:
        what: the word before the bar.
    """

    def __init__(self, what: str = "training") -> None:
        self.what = what

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        # first among the handlers of an epoch's end: what validation takes is not training time
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)

    def _start(self, engine: Engine) -> None:
        # the engine counts a batch when it begins
        self._began, self._before, self._ended = time.monotonic(), engine.state.iteration, 0

    def _start_epoch(self, engine: Engine) -> None:
        state = engine.state
        self._epoch_began, self._images = time.monotonic(), 0
        several = bool(state.max_epochs and state.max_epochs > 1)
        size, length = batch_size(state.dataloader) * idist.get_world_size(), state.epoch_length or 0
        done = state.iteration % length * size if length else 0  # of an epoch that was interrupted
        self._bar = progress_bar(
            total=length * size,
            initial=done,
            desc=self.what + (f" {state.epoch}/{state.max_epochs}" if several else ""),
            unit="images",
            leave=False,
            show=idist.get_rank() == 0,
            note=lambda: self.whole_training(engine) if several else "",
        )

    def whole_training(self, engine: Engine) -> str:
        """Return how long all epochs that are left take, validation included; nothing before the first batch."""
        state = engine.state
        if not self._ended:
            return ""
        iterations = (state.max_epochs or 0) * (state.epoch_length or 0) - self._before - self._ended
        return f"at most {duration((time.monotonic() - self._began) / self._ended * iterations)} left of all epochs"

    def _step(self, engine: Engine) -> None:
        output = engine.state.output
        decollated = isinstance(output, list)
        images = (len(output) if decollated else len(output["pred"])) * idist.get_world_size()
        self._images += images
        self._ended += 1
        self._bar.update(images)
        if decollated and "loss" in output[0]:
            self._bar.set_postfix_str(f"loss {float(output[0]['loss']):.4f}", refresh=False)

    def _end_epoch(self, engine: Engine) -> None:
        self._bar.close()
        engine.state.metrics["images_per_second"] = self._images / max(time.monotonic() - self._epoch_began, 1e-9)


def batch_size(loader: Any) -> int:
    """Return how many images a loader gives at once."""
    return getattr(getattr(loader, "batch_sampler", None), "batch_size", None) or 1


class EpochLogger:
    """Log one line at the end of each epoch: losses, mean AUROC, speed, time left. Attach it after the validation."""

    def __init__(self, validator: Engine) -> None:
        self.validator = validator

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def _start(self, engine: Engine) -> None:
        self._began, self._first = time.monotonic(), engine.state.epoch

    def __call__(self, engine: Engine) -> None:
        state = engine.state
        val = self.validator.state.metrics if validated(engine, self.validator) else {}
        done = state.epoch - self._first
        remaining = (time.monotonic() - self._began) / done * ((state.max_epochs or state.epoch) - state.epoch)
        metrics = {
            "train loss": state.metrics.get("train_loss"),
            "val loss": val.get("loss"),
            "val mean AUROC": val.get(KEY_METRIC),
        }
        figures = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if value is not None)
        of_sources = {name: value for name, value in val.items() if name.startswith(SOURCE_METRIC)}
        if of_sources:
            parts = [f"{name.removeprefix(SOURCE_METRIC)} {value:.4f}" for name, value in of_sources.items()]
            figures += f" ({', '.join(parts)})"
        logger.info(
            "epoch %d/%s: %s, %.1f images/s, at most %s left",
            state.epoch, state.max_epochs, figures, state.metrics.get("images_per_second", 0.0), duration(remaining),
        )  # fmt: skip
        spoke()


class UnreadableFiles:
    """Collect the files that could not be read; say so after the first epoch and write ``errors.csv``.

    Args:
        output_dir: where ``<what>.errors.csv`` goes.
        what: the part of the data concerned.
        most: the share of unreadable files that is no longer an accident.

    Raises:
        TrainingError: ``no-images`` if more than ``most`` of the files could not be read.
    """

    def __init__(self, output_dir: str, what: str = "training", most: float = 0.05) -> None:
        self.result, self.most = Path(output_dir) / what, most
        self.what = what
        self.errors: dict[str, tuple[str, str, str]] = {}
        self._seen, self._reported = 0, False

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._report)

    def _collect(self, engine: Engine) -> None:
        if self._reported:
            return
        batch = engine.state.batch
        if isinstance(batch, list):  # decollated
            batch = {key: [item[key] for item in batch] for key in ("name", "error")}
        self._seen += len(batch["name"])
        self.errors |= {error[0]: error for error in batch_errors(batch)}

    def state_dict(self) -> dict[str, Any]:
        """Return what all processes have counted; all of them must call it."""
        seen, errors = (self._seen, self.errors) if self._reported else self._together()
        return {"seen": seen, "errors": [list(error) for error in errors.values()], "told": self._reported}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._reported = state["told"]
        if idist.get_rank() == 0:  # the counts of all processes
            self._seen, self.errors = state["seen"], {error[0]: tuple(error) for error in state["errors"]}

    def _report(self, engine: Engine) -> None:
        if self._reported:
            return
        self._reported = True
        seen, errors = self._together()
        path = Path(f"{self.result}.errors.csv")
        if idist.get_rank() == 0:
            self.result.parent.mkdir(parents=True, exist_ok=True)
            write_errors(self.result, list(errors.values()))
        if not errors:
            return
        message = f"{out_of(len(errors), seen, 'file')} of the {self.what} part could not be read"
        if len(errors) > self.most * seen:
            raise TrainingError(Code.NO_IMAGES, f"{message}.", fix="See which and why in this file.", where=path)
        logger.warning("%s and are left out: see %s", message, path)

    def _together(self) -> tuple[int, dict[str, tuple[str, str, str]]]:
        """Return the images seen and the files left out, of all processes."""
        parts = gather_processes((self._seen, self.errors))
        return sum(seen for seen, _ in parts), {name: error for _, errors in parts for name, error in errors.items()}


class PredictionsWriter:
    """Write the probabilities of an evaluation to a predictions file; see ``cxr_monai.evaluation.predictions``.

    In the process that writes, `written_predictions` returns afterwards what reading the file would give.

    Args:
        path: of the CSV.
        findings: the network's channels.
        about: what goes into the JSON beside it.
        logits: False where a postprocessing has made probabilities already.
        force: an earlier file may be written over.
        gate: of the bundle; the evidence of every film stands in ``<path>.gate.csv``. None judges no film.
        leave_out_refused: True: films that the gate refuses are among those left out; False, where labelled films are
            measured: all are predicted, and their evidence says which it would refuse.

    Raises (before the first batch):
        UsageError: ``output-exists``.
        StorageError: ``disk-full`` or ``write-failed``.
    """

    def __init__(
        self,
        path: str,
        findings: Sequence[str],
        about: dict[str, Any] | None = None,
        logits: bool = True,
        force: bool = False,
        gate: Gate | None = None,
        leave_out_refused: bool = True,
    ) -> None:
        self.gate, self.leave_out_refused = gate or Gate(), leave_out_refused
        self.force = force
        self.path, self.findings, self.about, self.logits = Path(path), list(findings), dict(about or {}), logits

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        from_main(lambda: check_output(self.path, self.force, option="--force True"))
        self._names: list[str] = []
        self._probabilities: list[torch.Tensor] = []
        self._errors: list[tuple[str, str, str]] = []
        self._notes = FilmNotes()
        self._evidence: list[pd.DataFrame] = []
        # an engine without a gate may have no network: a probe's
        self._judged = None if self.gate.fitted is None else JudgedBatches(self.gate, engine.network)

    def _collect(self, engine: Engine) -> None:
        batch = engine.state.batch
        self._notes.add_all(batch_notes(batch).to_json())
        self._errors += batch_errors(batch)
        is_kept = np.array([not error for error in batch["error"]], dtype=bool)
        if self._judged is not None:
            answers = self._judged.answers(batch)
            self._evidence.append(answers.table)
            if self.leave_out_refused:
                self._errors += answers.errors()
                is_kept[is_kept] = ~answers.is_refused
        self._names += [name for name, kept in zip(batch["name"], is_kept, strict=True) if kept]
        pred = torch.as_tensor(engine.state.output["pred"]).cpu()[is_kept]
        self._probabilities.append(pred.sigmoid() if self.logits else pred)

    def _write(self, engine: Engine) -> None:
        if self._judged is not None:
            self._judged.close()
        collected = self._names, torch.cat(self._probabilities), self._errors, self._evidence, self._notes.to_json()
        parts = gather_processes(collected)
        if idist.get_rank() != 0:
            return
        names = [name for part, *_ in parts for name in part]
        probabilities = torch.cat([part for _, part, *_ in parts]).numpy()
        errors = [error for _, _, part, *_ in parts for error in part]
        tables, counts = [table for *_, part, _ in parts for table in part], GateCounts()
        evidence = pd.concat(tables, ignore_index=True) if tables else None
        if evidence is not None:
            counts.add(evidence)
        notes = FilmNotes()
        for *_, part in parts:
            notes.add_all(part)
        about = {"calibrated": False, **self.about, **({"notes": notes.counts()} if notes else {})}
        about = with_gate_counts(about, counts)
        write_predictions(self.path, names, probabilities, self.findings, about, errors, evidence)
        engine.state.written = self.path, names, probabilities, self.findings, about
        logger.info("%s: %s", counted(len(names), "image"), self.path)
        for note in notes.lines(len(names)):
            logger.warning("%s", note)
        if errors:
            logger.warning("%s left out: %s.errors.csv", counted(len(errors), "file"), self.path)
        if not names:
            reason = "no file could be read, or all were refused."
            raise TrainingError(Code.NO_IMAGES, reason, where=f"{self.path}.errors.csv")


def written_predictions(engine: Engine) -> PredictionsFile:
    """Return what `PredictionsWriter` has written, checked and with the digits of the file, which is not read again.

    Raises:
        EvaluationError: ``predictions-invalid`` for what is no probability.
    """
    path, names, probabilities, findings, about = engine.state.written
    table = pd.DataFrame({"image": names, **dict(zip(findings, probabilities.T, strict=True))})
    return replace(predictions_of(table, about), path=path)


class EarlyStopper:
    """Ignite's early stopping on the validation loss, attached to the trainer itself (after the validation).

    Args:
        patience: validations without a lower loss until the training ends.
        validator: whose ``loss`` decides; an epoch that was not validated does not count.
    """

    def __init__(self, patience: int, validator: Engine) -> None:
        self.patience, self.validator = patience, validator

    def attach(self, engine: Engine) -> None:
        self._stopping = EarlyStopping(self.patience, lambda _: -self.validator.state.metrics["loss"], engine)
        self._stopping.logger = logger  # Ignite's own writes to the terminal whatever the application logs
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if validated(engine, self.validator):
            self._stopping(engine)

    def state_dict(self) -> dict[str, Any]:
        return dict(self._stopping.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._stopping.load_state_dict(state)
