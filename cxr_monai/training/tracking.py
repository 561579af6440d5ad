"""One MLflow run a training: settings, curves, data set, pictures, table, weights; no patient, no file name.

A local SQLite file by default (``mlflow.db`` in the working directory, where ``mlflow ui`` looks by itself), any server
by ``MLFLOW_TRACKING_URI``. MONAI's ``MLFlowHandler`` logs the list of image files as its data set; what identifies a
patient must not leave the hospital's disk that way, so this uses MLflow's client and chooses what goes
(docs/decisions/0004).
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ignite
import monai
import numpy as np
import torch
from ignite.engine import Engine, Events

import cxr_monai
from cxr_monai.bundle.workflow import PATHS, running_parser, silence_mlflow
from cxr_monai.data.manifest import Manifest
from cxr_monai.environment import code_version, default_tracking_uri, without_password
from cxr_monai.errors import Code, TrainingError
from cxr_monai.training.schedules import validated

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)


class Tracker:
    """An MLflow run around a training or an evaluation.

    Args:
        experiment: MLflow's experiment; made if it does not exist.
        run_name: a name for people; where it is None, ``kind`` and the time (MLflow would draw one from Python's random
            state, which the seed fixes: every run would have the same name).
        tracking_uri: :func:`default_tracking_uri` where None.
        kind: ``training`` or ``evaluation``; a tag of the run.
        enabled: False tracks nothing (all but one process of a distributed training).
    """

    def __init__(
        self,
        experiment: str,
        run_name: str | None = None,
        tracking_uri: str | None = None,
        kind: str = "training",
        enabled: bool = True,
    ) -> None:
        self.experiment, self.kind, self.enabled = experiment, kind, enabled
        self.run_name = run_name or f"{kind} {time.strftime('%Y-%m-%d %H:%M:%S')}"
        self.tracking_uri = tracking_uri or default_tracking_uri()
        self.configuration = _without_paths(running_parser().config)
        self.settings = _settings(self.configuration)
        self.history: list[dict[str, float]] = []
        self._client: MlflowClient | None = None
        self._run_id = ""
        self._lost = False

    def start(self) -> None:
        """Open the run: settings as parameters, the whole configuration as a file, versions as tags."""
        if not self.enabled or self._client is not None:
            return
        silence_mlflow()
        for noisy in ("alembic", "mlflow.store.db.utils"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        # seven tries with growing pauses are MLflow's default: minutes before anybody learns that a server is away
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        try:
            self._client = MlflowClient(tracking_uri=self.tracking_uri)
            self._open_run(self._client)
        except MlflowException as error:
            self._client = None
            raise TrainingError(
                Code.TRACKING_FAILED,
                f"MLflow cannot be reached ({str(error).splitlines()[0][:200]}).",
                fix="Start the server, correct MLFLOW_TRACKING_URI, or unset it to track in a local file.",
                where=without_password(self.tracking_uri),
            ) from error

    def _open_run(self, client: "MlflowClient") -> None:
        experiment = client.get_experiment_by_name(self.experiment)
        if experiment is None:
            folder = _artifact_folder(self.tracking_uri)
            # without the tag MLflow 3 opens the experiment in its view for language models
            kind = {"mlflow.experimentKind": "custom_model_development"}
            experiment_id = client.create_experiment(self.experiment, artifact_location=folder, tags=kind)
        else:
            experiment_id = experiment.experiment_id
        run = client.create_run(experiment_id, run_name=self.run_name, tags={"kind": self.kind} | _versions())
        self._run_id = run.info.run_id
        for name, value in self.settings.items():
            client.log_param(self._run_id, name, value)
        client.log_dict(self._run_id, self.configuration, "configuration.json")

    def data_set(self, manifest: Manifest, split: str, findings: list[str]) -> None:
        """Log one part of the manifest as MLflow data set: digest, counts, prevalences; no names."""
        if self._client is None:
            return
        from mlflow.entities import DatasetInput, InputTag

        from cxr_monai.training.mlflow_dataset import ManifestDataset

        entity = ManifestDataset(manifest, split, findings)._to_mlflow_entity()
        context = {"val": "validation"}.get(split, split)
        tagged = DatasetInput(entity, [InputTag("mlflow.data.context", context)])
        with self._forgiven():
            self._client.log_inputs(self._run_id, datasets=[tagged])

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log figures; what is not a number (a finding without positives) is left out."""
        if self._client is None:
            return
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        finite = [Metric(name, float(value), now, step) for name, value in values.items() if np.isfinite(value)]
        with self._forgiven():
            self._client.log_batch(self._run_id, metrics=finite)

    def file(self, path: str | Path, folder: str | None = None) -> None:
        """Log a file, or a folder with all that is in it."""
        if self._client is None:
            return
        with self._forgiven():
            if Path(path).is_dir():
                self._client.log_artifacts(self._run_id, str(path), folder)
            else:
                self._client.log_artifact(self._run_id, str(path), folder)

    def text(self, content: str, name: str) -> None:
        """Log a text under a file name."""
        if self._client is not None:
            with self._forgiven():
                self._client.log_text(self._run_id, content, name)

    def finish(self, status: str = "FINISHED") -> None:
        """Close the run: ``FINISHED`` or ``FAILED``."""
        if self._client is not None:
            with self._forgiven():
                self._client.set_terminated(self._run_id, status)
            self._client = None

    @contextmanager
    def _forgiven(self) -> Iterator[None]:
        """A server that goes away during a training costs the run what came since, and a warning; not the training."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            if not self._lost:
                reason = str(error).splitlines()[0][:200]
                logger.warning("MLflow does not answer (%s): it goes on, and the run lacks what is not logged", reason)
            self._lost = True

    def where(self) -> str:
        """Return the command that shows the run."""
        uri = without_password(self.tracking_uri)
        return uri if uri.startswith("http") else f"mlflow ui --backend-store-uri {uri}"


class TrackEpochs:
    """Log each epoch to a tracker: losses, learning rate, every finding's AUROC, images a second.

    Attach it to the trainer after the validation, and after the checkpoints: they come first.
    """

    def __init__(self, tracker: Tracker, validator: Engine, optimizer: torch.optim.Optimizer) -> None:
        self.tracker, self.validator, self.optimizer = tracker, validator, optimizer

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        values = dict(engine.state.metrics)
        val = self.validator.state.metrics if validated(engine, self.validator) else {}
        values |= {f"val_{name}": value for name, value in val.items() if name != "images_per_second"}
        values["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        values = {name: float(value) for name, value in values.items()}
        self.tracker.history.append({"epoch": engine.state.epoch, **values})
        self.tracker.metrics(values, engine.state.epoch)


def _artifact_folder(tracking_uri: str) -> str | None:
    """Pictures and weights stand beside a local SQLite file; a server decides for itself."""
    if not tracking_uri.startswith("sqlite:///"):
        return None
    return (Path(tracking_uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts").as_uri()


def _without_paths(config: Any) -> Any:
    """Say of every path whether it was set, not where it points; at any depth, since any item can be overridden."""
    if isinstance(config, list):
        return [_without_paths(item) for item in config]
    if not isinstance(config, Mapping):
        return config if isinstance(config, str | int | float | bool | None) else str(config)
    hidden = (*PATHS, "tracking_uri")
    return {
        key: "(a path of the machine that ran this)" if key in hidden and _is_path(value) else _without_paths(value)
        for key, value in config.items()
    }


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
        if isinstance(value, Mapping) or (isinstance(value, str) and value[:1] in ("$", "@")):
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
