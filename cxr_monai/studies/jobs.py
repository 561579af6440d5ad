"""One training of an experiment, and all of them: each a ``python -m monai.bundle run`` in a process of its own.

``folder/job.json`` records what was trained and what has been done, so that the same experiment started again goes on:
what has ended is kept, what was running resumes from its checkpoint, what failed is tried again. ``folder/log.txt``
has the output of the training and of the evaluation.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from cxr_monai.completion import COMPLETE, altered_files, digest_of, missing_files
from cxr_monai.durable import write_durably
from cxr_monai.environment import default_tracking_uri, usable_cores, without_monai_warning
from cxr_monai.errors import Code, StudyError, TrainingError
from cxr_monai.progress import duration, progress_bar, say
from cxr_monai.studies.plan import Experiment, Job
from cxr_monai.training.journal import Journal
from cxr_monai.training.lock import OutputLock
from cxr_monai.training.tracking import PARENT

LINES = 6
"""Last lines of a failed training's log to show."""
GRACE = 60.0
"""Seconds that a training has to end by itself when the experiment is interrupted."""

Runner = Callable[[Sequence[str], Path, Mapping[str, str], threading.Event], int]
"""Runs a command as a process with an environment, its output appended to a log, until it ends or the event is set;
returns its exit status."""


@dataclass(frozen=True)
class Place:
    """The settings that all trainings of an experiment have in common.

    Attributes:
        bundle: the folder that they start from.
        manifests: the manifest of each fold; of ``None`` without folds.
        part: of the split that is predicted: ``test`` or ``val``.
        experiment: name of MLflow's experiment.
        parent: the id of the experiment's run, below which theirs are nested.
        at_once: trainings that run at a time.
    """

    bundle: Path
    manifests: Mapping[int | None, Path]
    part: str
    experiment: str
    parent: str = ""
    at_once: int = 1


@dataclass
class JobState:
    """``job.json``: the state of a training's folder. The attributes are the file's keys.

    Attributes:
        settings: what decides the training's course, by name.
        trained: whether it has ended.
        judged: what decides the predictions (`judging`), once they are made; None before.
        seconds: of all its processes so far, without those that were killed together with the experiment.
        predicted: the SHA-256 of each file of predictions, by its name below the folder; empty in experiments of
            older versions.
    """

    settings: dict[str, str]
    trained: bool = False
    judged: dict[str, Any] | None = None
    seconds: float = 0.0
    predicted: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "JobState | None":
        """Return a folder's state; None where nothing was begun.

        Raises:
            StudyError: ``study-invalid`` for a damaged file.
        """
        path = folder / "job.json"
        if not path.is_file():
            return None
        try:
            state = cls(**json.loads(path.read_text(encoding="utf-8")))
            if not isinstance(state.settings, dict):
                raise TypeError(f"settings is {state.settings!r}")
        except (ValueError, TypeError) as error:
            raise StudyError(
                Code.STUDY_INVALID,
                f"the file that remembers what was trained here is damaged ({error}).",
                fix="Move the training's folder away, and start the study again: it is trained anew.",
                where=path,
            ) from error
        return state

    def write(self, folder: Path) -> None:
        """Write ``folder/job.json``, whole or not at all."""
        write_durably(folder / "job.json", json.dumps(asdict(self), indent=2).encode() + b"\n")


def run_process(command: Sequence[str], log: Path, environment: Mapping[str, str], stop: threading.Event) -> int:
    """Run a process to its end; when ``stop`` is set it is interrupted as by Ctrl-C, and killed after `GRACE` seconds.

    It gets a session of its own: otherwise Ctrl-C in a terminal would reach it as well, and interrupt it twice.

    Args:
        command: the command and its arguments.
        log: a file that its output is appended to.
        environment: of the process.
        stop: set to interrupt it.

    Returns:
        the exit status; negative for a signal.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=dict(environment),
            start_new_session=True,
        )  # fmt: skip
        interrupted_at = 0.0
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(0.2)
            if stop.is_set() and not interrupted_at:
                interrupted_at = time.monotonic()
                process.send_signal(_polite())
            elif interrupted_at and time.monotonic() - interrupted_at > GRACE:
                process.kill()


def _polite() -> signal.Signals:
    """Return SIGINT; SIGTERM where SIGINT is ignored, as in a shell's background jobs and their children."""
    is_handled = os.name == "posix" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN
    return signal.SIGINT if is_handled else signal.SIGTERM


def run_job(
    job: Job, study: Experiment, place: Place, settings: Mapping[str, str], runner: Runner, stop: threading.Event
) -> str | None:
    """Train one variant and predict its part of the split, as far as that has not been done.

    Args:
        job: the training.
        study: the experiment.
        place: settings of all its trainings.
        settings: what decides the training's course, by name.
        runner: runs a process.
        stop: set to interrupt it.

    Returns:
        None; if it failed, the last lines of the log.

    Raises:
        StudyError: ``study-invalid`` as `JobState.read`.
        StorageError: ``disk-full`` or ``write-failed``.
    """
    state = JobState.read(job.folder) or JobState(dict(settings))
    state.write(job.folder)
    common = {"manifest": str(place.manifests[job.fold]), "experiment": place.experiment}
    name = f"{study.name} {job.folder.name}"
    if not state.trained:
        _wait_for_another(job.folder / "train", stop)
        job_settings = {"output_dir": str(job.folder / "train"), "seed": job.seed, "run_name": name}
        files = [place.bundle / "configs" / "train.json", *study.files]
        if not _run(
            job, state, place, place.bundle, files, "train", {**job.overrides, **common, **job_settings}, runner, stop
        ):
            return _last_lines(job.folder / "log.txt")
        state.trained = True
        state.write(job.folder)
    evaluation_settings = judging(study, place, job)
    if stop.is_set():
        return "interrupted"
    if state.judged != evaluation_settings or not (job.folder / place.part).is_dir():
        bundle = job.folder / "train" / "bundle"
        job_settings = {
            "output_dir": str(job.folder / place.part),
            "split": place.part,
            "run_name": f"{name} {place.part}",
        }
        files = [bundle / "configs" / "evaluate.json", *study.evaluate_files]
        as_read = {name: job.overrides[name] for name in ("any_modality", "views") if name in job.overrides}
        overrides = {**as_read, **study.evaluate_overrides, **common, **job_settings}
        state.judged, state.predicted = None, {}
        state.write(job.folder)
        shutil.rmtree(job.folder / place.part, ignore_errors=True)  # interrupted, or of other settings
        if not _run(job, state, place, bundle, files, "evaluate", overrides, runner, stop):
            return _last_lines(job.folder / "log.txt")
        state.judged = evaluation_settings
        state.predicted = {name: digest_of(job.folder / name) for name in _predictions(job, place.part)}
        state.write(job.folder)
        # ten times the weights, and nothing goes on from them
        shutil.rmtree(job.folder / "train" / "checkpoints", ignore_errors=True)
    return None


def _predictions(job: Job, part: str) -> list[str]:
    names = (f"{part}/predictions.csv", f"{part}/predictions.csv.json")
    return [name for name in names if (job.folder / name).is_file()]


def refuse_altered_training(job: Job, part: str) -> None:
    """Refuse predictions of a training whose file was cut, exchanged or deleted since.

    Where the whole folder of predictions was deleted there is no error: they are made again.

    Args:
        job: the training.
        part: of the split: ``test`` or ``val``.

    Raises:
        StudyError: ``result-incomplete``; ``study-invalid`` as `JobState.read`.
    """
    state = JobState.read(job.folder)
    if state is None or not (job.folder / part).is_dir():
        return
    marked = {COMPLETE: {name: digest for name, digest in state.predicted.items() if name.startswith(f"{part}/")}}
    changed = [*(missing_files(marked, job.folder) or []), *altered_files(marked, job.folder)]
    if changed:
        raise StudyError(
            Code.RESULT_INCOMPLETE,
            "it was cut, changed or deleted since the training was judged.",
            fix=f"Delete the folder '{part}' that it is in: the same command predicts again.",
            where=job.folder / changed[0],
        )


def judging(study: Experiment, place: Place, job: Job) -> dict[str, Any]:
    """Return what decides the predictions beside the trained network: part, manifest and evaluation settings.

    Args:
        study: the experiment.
        place: settings of all its trainings.
        job: the training.
    """
    return {
        "part": place.part,
        "manifest": _digest(place.manifests[job.fold]),
        "files": [_digest(file) for file in study.evaluate_files],
        "overrides": dict(study.evaluate_overrides),
    }


def _digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()[:12]


def _run(
    job: Job, state: JobState, place: Place, bundle: Path, files: Sequence[Path], name: str,
    overrides: Mapping[str, Any], runner: Runner, stop: threading.Event,
) -> bool:  # fmt: skip
    """Run one configuration as a user would; True if it ended well.

    Overrides go through a file: on a command line MONAI would read texts as Python, and ``null`` as a text.
    """
    overrides_file = job.folder / f"{name}.json"
    write_durably(overrides_file, json.dumps(dict(overrides), indent=2).encode() + b"\n")
    command = [
        sys.executable, "-m", "monai.bundle", "run",
        "--config_file", json.dumps([*map(str, files), str(overrides_file)]),
        "--meta_file", str(bundle / "configs" / "metadata.json"), "--bundle_root", str(bundle),
        "--workflow_name", "cxr_monai.components.CheckedWorkflow",
    ]  # fmt: skip
    environment = without_monai_warning(os.environ)  # the user has seen it at the start of the experiment
    environment |= {PARENT: place.parent, "MLFLOW_TRACKING_URI": default_tracking_uri()}
    environment.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // place.at_once)))
    began = time.monotonic()
    try:
        return runner(command, job.folder / "log.txt", environment, stop) == 0
    finally:
        state.seconds += time.monotonic() - began
        state.write(job.folder)


def _wait_for_another(folder: Path, stop: threading.Event) -> None:
    """Wait while a training of an earlier start of this experiment, which was killed alone, is still at work there."""
    lock, announced = OutputLock(folder), False
    while not stop.is_set():
        try:
            lock.acquire()
        except TrainingError as error:
            if not announced:
                say(f"waiting: {error.message} ({folder})")
                announced = True
            stop.wait(1)
        else:
            lock.release()
            return


def _last_lines(log: Path) -> str:
    lines = [line.strip() for line in re.split(r"[\r\n]+", log.read_text(encoding="utf-8", errors="replace"))]
    return "\n".join([line for line in lines if line][-LINES:]) or "(it said nothing)"


def epochs_done(job: Job) -> int:
    """Return how many epochs of a training are in its journal (``training.jsonl``)."""
    return sum(event["key"].startswith("epoch ") for event in Journal(_journal(job)).events)


def _journal(job: Job) -> Path:
    return job.folder / "train" / "tracking" / "training.jsonl"


@dataclass
class Progress:
    """A bar of epochs, and a line for each training that has ended, with the time left.

    Args:
        jobs: all.
        epochs: of each job's training, at most.
    """

    jobs: Sequence[Job]
    epochs: Mapping[str, int]
    ended: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.total = sum(self.epochs[job.variant] for job in self.jobs)
        self.epochs_before, self.started = self._done(), time.monotonic()
        self.bar = progress_bar(total=self.total, initial=self.epochs_before, desc="the study", unit="epochs")

    def update(self) -> None:
        """Move the bar to the number of epochs done."""
        self.bar.update(self._done() - self.bar.n)

    def end(self, job: Job, failed: str | None) -> None:
        """Print a line for a training that has ended.

        Args:
            job: the training.
            failed: the last lines of its log if it failed, else None.
        """
        self.ended.add(job.folder)
        done = self._done()
        seconds_left = (time.monotonic() - self.started) / max(1, done - self.epochs_before) * (self.total - done)
        status = f"{len(self.ended)} of {len(self.jobs)}: {job.folder.name} " + ("done" if failed is None else "FAILED")
        say(status + (f"; about {duration(seconds_left)} left" if done < self.total else ""))
        if failed is not None:
            say("  " + failed.replace("\n", "\n  "))

    def _done(self) -> int:
        return sum(
            self.epochs[job.variant] if job.folder in self.ended else min(epochs_done(job), self.epochs[job.variant])
            for job in self.jobs
        )


def run_jobs(
    jobs: Sequence[Job], run: Callable[[Job, threading.Event], str | None], progress: Progress, at_once: int = 1
) -> dict[Path, str]:
    """Run all trainings, some at a time, in order; one that fails stops no other.

    Args:
        jobs: in the order in which they start.
        run: runs one, until it ends or the event is set; returns the last lines of its log if it failed.
        progress: updated when one ends.
        at_once: how many at a time.

    Returns:
        the last lines of the log of each that failed, by its folder.

    Raises:
        KeyboardInterrupt: after those that were running have been interrupted, too.
        StorageError: no job can go on where the disk is full; those that were running are interrupted.
    """
    stop, failed = threading.Event(), {}
    pool = ThreadPoolExecutor(at_once)
    try:
        pending: dict[Future[str | None], Job] = {pool.submit(run, job, stop): job for job in jobs}
        while pending:
            ended, _ = wait(pending, timeout=1, return_when=FIRST_COMPLETED)
            for future in ended:
                job = pending.pop(future)
                lines = future.result()
                if lines is not None:
                    failed[job.folder] = lines
                progress.end(job, lines)
            progress.update()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        progress.bar.close()
    return failed
