"""One MLflow run a training: settings, curves, data set, pictures, table, weights; no patient, no file name.

A local SQLite file by default (``mlflow.db`` in the working directory, where ``mlflow ui`` looks by itself), any server
by ``MLFLOW_TRACKING_URI``. MONAI's ``MLFlowHandler`` logs the list of image files as its data set; what identifies a
patient must not leave the hospital's disk that way, so this uses MLflow's client and chooses what goes
(docs/decisions/0004).
"""

import logging
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ignite
import monai
import numpy as np
import torch
from ignite.engine import Engine, Events

import cxr_monai
from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.bundle.running import running_parser, silence_mlflow
from cxr_monai.bundle.setting_checks import PATHS
from cxr_monai.data.manifest import Manifest
from cxr_monai.environment import code_version, default_tracking_uri, how_to_see_runs, without_password
from cxr_monai.errors import Code, StorageError
from cxr_monai.evaluation.metric_names import metric_name
from cxr_monai.plurals import counted, have
from cxr_monai.training.delivery import Delivery
from cxr_monai.training.ignite_metrics import KEY_METRIC
from cxr_monai.training.journal import ID_TAG, Journal, new_id
from cxr_monai.training.mlmodel import model_files
from cxr_monai.training.schedules import validated

logger = logging.getLogger(__name__)

PARENT = "CXR_MONAI_PARENT_RUN"
"""Of the environment: the id of the run that this process' runs are parts of."""
CHANGED_TAG = "cxr_monai.changed."
"""Begins the tag of a setting that a resumed training changed: its value before and after."""
_BUNDLE_FOLDER = "bundle"
"""The folder of a run's files that holds its bundle."""
ONE_A_FOLDER = ("training", "study")
"""Kinds of runs of which a folder has one, which is continued; of other kinds it may have several."""


class MLflowTracker:
    """An MLflow run around a training or an evaluation, by way of a journal (``training.journal``).

    Whatever the server does, the training goes on: events are written to ``OUT/tracking`` first, and a thread sends
    them when it answers (``training.delivery``).

    Args:
        experiment: MLflow's experiment; made if it does not exist.
        output_dir: the folder of the training or evaluation.
        run_name: a name for people; where it is None, ``kind`` and the time (MLflow would draw one from Python's random
            state, which the seed fixes: every run would have the same name).
        tracking_uri: :func:`default_tracking_uri` where None.
        kind: ``training``, ``study``, ``evaluation``, ...; a tag of the run. See `ONE_A_FOLDER`.
        enabled: False tracks nothing (all but one process of a distributed training).
        configuration: the settings; those of the configuration that MONAI is running where None.

    A process with ``CXR_MONAI_PARENT_RUN`` in its environment nests its runs below the run that has this id.

    Attributes:
        history: the metrics of each epoch, those before an interruption included.
    """

    def __init__(
        self,
        experiment: str,
        output_dir: str,
        run_name: str | None = None,
        tracking_uri: str | None = None,
        kind: str = "training",
        enabled: bool = True,
        configuration: Mapping[str, Any] | None = None,
    ) -> None:
        self.experiment, self.kind, self.enabled = experiment, kind, enabled
        self.output_dir = Path(output_dir).resolve()
        self.run_name = run_name or f"{kind} {time.strftime('%Y-%m-%d %H:%M:%S')}"
        self.tracking_uri = tracking_uri or default_tracking_uri()
        self.configuration = _without_paths(running_parser().config if configuration is None else configuration)
        self.settings = _settings(self.configuration)
        self.history: list[dict[str, float]] = []
        self._journal: Journal | None = None
        self._experiment_id: str | None = None
        self._delivery: Delivery | None = None

    def start(self, resume: bool = False) -> None:
        """Open the run: settings as parameters, the whole configuration as a file, versions as tags.

        Args:
            resume: go on with the run in the folder, if there is one; else it is set aside (and still sent by
                ``cxr-monai track``).
        """
        if not self.enabled or self._journal is not None:
            return
        quiet_mlflow()
        name = self.kind
        if name not in ONE_A_FOLDER:
            name += f"-{time.strftime('%Y%m%d-%H%M%S')}-{new_id()[:4]}"
        path = self.output_dir / "tracking" / f"{name}.jsonl"
        if path.exists() and not resume:
            aside = path.with_name(f"{name}-{new_id()[:8]}.jsonl")
            for ending in (".sent.json", ".refused.json"):
                if path.with_suffix(ending).exists():
                    os.replace(path.with_suffix(ending), aside.with_suffix(ending))
            os.replace(path, aside)
        self._journal = journal = Journal(path)
        self.history = [
            {"epoch": event["step"], **event["values"]} for event in journal.events if event["key"].startswith("epoch ")
        ]
        tags = {"kind": self.kind, ID_TAG: new_id()} | _versions()
        parent = os.environ.get(PARENT)
        nested = {"parent": parent} if parent else {}
        if journal.append("run", "run", experiment=self.experiment, name=self.run_name, tags=tags, **nested):
            journal.append("params", "params", values=self.settings)
            journal.append("configuration", "configuration", content=self.configuration)
        else:
            self._again("status", status="RUNNING")
            self._say_what_changed(journal)
        self._delivery = Delivery(journal, self.tracking_uri, artifact_folder(self.tracking_uri))
        self._delivery.wake()

    def _say_what_changed(self, journal: Journal) -> None:
        """Log as tags the settings that changed since the training was interrupted: parameters cannot change."""
        before: dict[str, str] = {}
        for event in journal.events:
            if event["kind"] == "params" or event["key"].startswith("settings "):
                before |= event.get("settings", event["values"])
        changed = {name: value for name, value in self.settings.items() if before.get(name) != value}
        if changed:
            tags = {f"{CHANGED_TAG}{name}": f"{before.get(name)} -> {value}" for name, value in changed.items()}
            number = len(journal.events)
            journal.append(f"settings {number}", "tags", values=tags, settings=changed)
            name = f"configuration-{number}.json"
            journal.append(f"configuration {number}", "configuration", content=self.configuration, name=name)

    @property
    def id(self) -> str:
        """The id by which the open run is found again, and others are nested below it."""
        return "" if self._journal is None else str(self._journal.events[0]["tags"][ID_TAG])

    def data_set(self, manifest: Manifest, split: str, findings: list[str]) -> None:
        """Log one part of the manifest as an MLflow data set: digest, counts, prevalences; no names.

        Args:
            manifest: with a split.
            split: the part: ``train``, ``val`` or ``test``.
            findings: labels to count.
        """
        if self._journal is None:
            return
        from cxr_monai.training.mlflow_dataset import ManifestDataset

        entity = ManifestDataset(manifest, split, findings)._to_mlflow_entity()
        context = {"val": "validation"}.get(split, split)
        self._event(f"dataset {split}", "dataset", entity=dict(entity), context=context)

    def metrics(self, values: Mapping[str, float], step: int = 0, key: str | None = None) -> None:
        """Log figures; what is not a number (a finding without positives) is left out.

        Args:
            values: by name.
            step: the epoch.
            key: figures of the same key are logged once, however often a training is resumed.
        """
        finite = {name: float(value) for name, value in values.items() if np.isfinite(value)}
        if key is None:
            key = f"metrics {step} {' '.join(f'{name}={value!r}' for name, value in finite.items())}"
        self._event(key, "metrics", values=finite, step=step)

    def file(self, path: str | Path, folder: str | None = None) -> None:
        """Log a file, or a folder with all its files.

        Args:
            path: the file or folder.
            folder: of the run that it goes into; its top where None.
        """
        relative = os.path.relpath(Path(path).resolve(), self.output_dir)
        self._again("artifact", path=relative, folder=folder)

    def files(self, paths: Iterable[Path], pictures: str) -> None:
        """Log files, but no tables of cases (``*cases.csv``), which name images.

        Args:
            paths: the files.
            pictures: the run's folder for PNGs.
        """
        for path in paths:
            if not path.name.endswith("cases.csv"):
                self.file(path, pictures if path.suffix == ".png" else None)

    def bundle(self, root: Path) -> None:
        """Log a bundle, as a folder and as an MLflow model (``mlflow.pyfunc.load_model("runs:/RUN/bundle")``)."""
        if self._journal is None:
            return
        self.file(root, _BUNDLE_FOLDER)
        for name, content in model_files(Bundle.open(root).labels, _BUNDLE_FOLDER).items():
            self.text(content, f"{_BUNDLE_FOLDER}/{name}")

    def text(self, content: str, name: str) -> None:
        """Log a text as a file.

        Args:
            content: the text.
            name: of the file in the run.
        """
        self._again("text", content=content, name=name)

    def fail(self, error: BaseException) -> None:
        """Close the run after an error, which nothing that goes wrong with the journal now may hide."""
        try:
            self.finish(status_after(error))
        except StorageError as full:
            logger.warning("[%s] how this run ended cannot be written down: %s", full.code, full)

    def finish(self, status: str = "FINISHED") -> None:
        """Close the run: ``FINISHED``, ``FAILED`` or ``KILLED``."""
        if self._delivery is None:
            return
        self._again("status", status=status)
        unsent = self._delivery.finish()
        if unsent:
            logger.warning(
                "[%s] %s of this run %s not reached MLflow; 'cxr-monai track %s' sends what is left.",
                Code.TRACKING_FAILED, counted(unsent, "event"), have(unsent), self.output_dir,
            )  # fmt: skip
        journal, server = self._delivery.journal, self._delivery.server
        if refused := journal.refused(server):
            logger.warning(
                "[%s] MLflow refused %d of this run's %s; they stand with its reasons in %s.",
                Code.TRACKING_REFUSED, len(refused), counted(len(journal.events), "event"), journal.refused_file,
            )  # fmt: skip
        ids = journal.run_of(server)
        self._experiment_id = ids[0] if ids else None
        self._journal, self._delivery = None, None

    def _again(self, kind: str, **content: Any) -> None:
        """Log an event that may stand several times: a file that was written anew, another end."""
        if self._journal is not None:
            self._event(f"{kind} {len(self._journal.events)}", kind, **content)

    def _event(self, key: str, kind: str, **content: Any) -> None:
        if self._journal is not None and self._journal.append(key, kind, **content) and self._delivery is not None:
            self._delivery.wake()

    def where(self) -> str:
        """Return the link to the runs, or the command that shows them; call it after the run is closed."""
        return how_to_see_runs(self.tracking_uri, self._experiment_id)


def track_results(
    kind: str,
    experiment: str,
    out: str | Path,
    settings: Mapping[str, Any],
    figures: Mapping[str, float],
    files: Iterable[Path],
    pictures: str = "pictures",
) -> str:
    """Log results that stand in a folder as an MLflow run; a server that is away is a warning.

    Args:
        kind: of run: ``evaluation``, ``localisation``, ``agreement``, ``faithfulness``.
        experiment: MLflow's.
        out: the folder.
        settings: what the figures were made of; None is left out.
        figures: by name, see ``cxr_monai.evaluation.metric_names``.
        files: what goes along, but tables of cases (``*cases.csv``), which name images.
        pictures: the run's folder for PNGs.

    Returns:
        the link to the run, or the command that shows it.
    """
    configuration = {key: str(value) for key, value in settings.items() if value is not None}
    tracker = MLflowTracker(experiment, str(out), kind=kind, configuration=configuration)
    tracker.start()
    tracker.metrics(figures)
    tracker.files(files, pictures)
    tracker.finish()
    return tracker.where()


def where_runs_are(output_dir: str | Path, kind: str) -> str:
    """Return the link to, or the command that shows, the runs of a folder's training or study.

    Args:
        output_dir: the folder.
        kind: of run, one of `ONE_A_FOLDER`.
    """
    uri = default_tracking_uri()
    ids = Journal(Path(output_dir) / "tracking" / f"{kind}.jsonl").run_of(without_password(uri))
    return how_to_see_runs(uri, ids[0] if ids else None)


def status_after(error: BaseException) -> str:
    """Return the status of a run that an error ends: ``KILLED`` if somebody told the process to end."""
    return "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"


def quiet_mlflow() -> None:
    """Switch MLflow's reporting off, the notes of its databases, and minutes of asking a server that is away again."""
    silence_mlflow()
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # we print one that leads to the runs
    for noisy in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class EpochTracker:
    """Log each epoch to a tracker: losses, learning rate, every finding's AUROC, images a second.

    Attach it to the trainer after the validation, and after the checkpoints: they come first.
    """

    def __init__(self, tracker: MLflowTracker, validator: Engine, optimizer: torch.optim.Optimizer) -> None:
        self.tracker, self.validator, self.optimizer = tracker, validator, optimizer

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        values = dict(engine.state.metrics)
        val = self.validator.state.metrics if validated(engine, self.validator) else {}
        elsewhere = ("images_per_second", KEY_METRIC)  # the latter is logged with the findings' as auroc_mean
        values |= {metric_name(name, part="val"): value for name, value in val.items() if name not in elsewhere}
        values["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        values = {name: float(value) for name, value in values.items()}
        epoch = engine.state.epoch
        if all(row["epoch"] != epoch for row in self.tracker.history):  # an interrupted epoch is trained again
            self.tracker.history.append({"epoch": epoch, **values})
        self.tracker.metrics(values, epoch, key=f"epoch {epoch}")


def artifact_folder(tracking_uri: str) -> str | None:
    """Pictures and weights stand beside a local SQLite file; a server decides for itself."""
    if not tracking_uri.startswith("sqlite:///"):
        return None
    return (Path(tracking_uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts").as_uri()


def _without_paths(config: Any) -> Any:
    """Replace every path by whether it was set; at any depth, since any item can be overridden.

    Data that a program gave (``workflow.train_dataset_data = [...]``) name images, and are counted.
    """
    if isinstance(config, list):
        return [_without_paths(item) for item in config]
    if not isinstance(config, Mapping):
        return config if isinstance(config, str | int | float | bool | None) else str(config)
    return {key: _hidden(key, value) or _without_paths(value) for key, value in config.items()}


def _hidden(key: str, value: Any) -> str:
    """Return the text that is logged instead of a value which must not be; None for other values."""
    if key in (*PATHS, "tracking_uri") and _is_path(value):
        return "(a path of the machine that ran this)"
    if key == "data" and isinstance(value, list):
        return f"({counted(len(value), 'item')} of the machine that ran this)"
    return ""


def _is_path(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_is_path, value))
    return isinstance(value, str) and value not in ("none", "imagenet") and value[:1] not in ("$", "@")


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    """The plain settings at the top level: what a person compares between runs."""
    settings = {"init_weights": str(config.get("init_weights"))} if "init_weights" in config else {}
    for name, value in config.items():
        if name.startswith("_") or name in (*PATHS, "tracking_uri", "imports", "initialize", "run"):
            continue
        if (isinstance(value, Mapping) and name != "unfreeze") or (isinstance(value, str) and value[:1] in ("$", "@")):
            continue
        settings[name] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return settings


def _versions() -> dict[str, str]:
    tags = {
        "cxr_monai": cxr_monai.__version__,
        "torch": torch.__version__,
        "monai": monai.__version__,
        "ignite": ignite.__version__,
    }
    commit = code_version()
    if commit:
        tags["mlflow.source.git.commit"] = tags["code_version"] = commit
    return tags
