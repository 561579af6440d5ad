"""What a training tells MLflow, written down first: a server that is away costs nothing, and nothing is sent twice.

``OUT/tracking/NAME.jsonl`` has one event a line, in order, each with a key that stands once; ``NAME.sent.json`` beside
it tells how many a server has confirmed. A run is found again by a tag, metrics by their step and time, so that an
event whose confirmation was lost is not sent a second time.
"""

import json
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from cxr_monai.durable import storage_error, write_durably

if TYPE_CHECKING:
    from mlflow import MlflowClient

ID_TAG = "cxr_monai.id"


class Journal:
    """An append-only file of events: one process at a time appends, any may read and send meanwhile.

    Args:
        path: ``.jsonl``; read if it exists, a torn last line left out. It might be one that another process is just
            writing, so it stays in the file until something is appended here.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.events: list[dict[str, Any]] = []
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        self._length, self._torn = len(whole), len(whole) < len(content)
        self.events = [json.loads(line) for line in whole.splitlines()]
        self._keys = {event["key"] for event in self.events}

    @property
    def sent_file(self) -> Path:
        """Where it is written down what the server has confirmed."""
        return self.path.with_suffix(".sent.json")

    def append(self, key: str, kind: str, **content: Any) -> bool:
        """Write an event unless one of that key is there; True if it was written.

        Raises:
            StorageError: ``disk-full`` or ``write-failed``.
        """
        if key in self._keys:
            return False
        event = {"key": key, "kind": kind, "time": int(time.time() * 1000), **content}
        line = json.dumps(event).encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                if self._torn:  # by a kill, or a full disk, while the last line was written
                    file.truncate(self._length)
                self._torn = True
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(error, self.path) from error
        self._length, self._torn = self._length + len(line), False
        self.events.append(event)
        self._keys.add(key)
        return True

    def unsent(self, where: str) -> int:
        """Return how many events a server has not confirmed; ``where`` is its address without a password."""
        return len(self.events) - self._confirmed(where)["sent"]

    def _confirmed(self, where: str) -> dict[str, Any]:
        try:
            confirmed = json.loads(self.sent_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            confirmed = {}
        # another server knows nothing of what the first was sent: it gets the whole run
        return confirmed if confirmed.get("where") == where else {"sent": 0, "run_id": None, "where": where}

    def send(self, client: "MlflowClient", where: str, artifact_folder: str | None = None) -> int:
        """Send what the server has not confirmed, in order; returns how many events.

        Args:
            client: MLflow's.
            where: its address without a password.
            artifact_folder: of an experiment that has to be made; the server decides where None.

        Raises:
            Exception: whatever the client raises where the server does not answer; what was confirmed stays confirmed.
        """
        with FileLock(self.path.with_suffix(".lock")):
            state, sent, unsure = self._confirmed(where), 0, True
            for event in self.events[state["sent"] :]:
                if event["kind"] == "run":
                    state["run_id"] = _open_run(client, event, artifact_folder)
                else:
                    _send(client, state["run_id"], event, self.path.parent.parent, unsure)
                    unsure = unsure and event["kind"] != "metrics"  # only the first can have been sent before
                state["sent"] += 1
                sent += 1
                write_durably(self.sent_file, json.dumps(state).encode())
            return sent


def new_id() -> str:
    """Return an id that finds a run again."""
    return uuid.uuid4().hex


def _open_run(client: "MlflowClient", event: Mapping[str, Any], artifact_folder: str | None) -> str:
    experiment = client.get_experiment_by_name(event["experiment"])
    if experiment is None:
        # without the tag MLflow 3 opens the experiment in its view for language models
        kind = {"mlflow.experimentKind": "custom_model_development"}
        experiment_id = client.create_experiment(event["experiment"], artifact_location=artifact_folder, tags=kind)
    else:
        experiment_id = experiment.experiment_id
    known = _find_run(client, experiment_id, event["tags"][ID_TAG])
    if known:
        return known
    tags = dict(event["tags"])
    if "parent" in event:
        parent = _find_run(client, experiment_id, event["parent"])
        if parent is None:  # it is on its way; who sends this will try again
            raise LookupError("the study that this run belongs to has not reached the server yet; it comes first")
        tags["mlflow.parentRunId"] = parent
    run = client.create_run(experiment_id, start_time=event["time"], run_name=event["name"], tags=tags)
    return run.info.run_id


def _find_run(client: "MlflowClient", experiment_id: str, own_id: str) -> str | None:
    known = client.search_runs([experiment_id], f"tags.`{ID_TAG}` = '{own_id}'")
    return known[0].info.run_id if known else None


def _send(client: "MlflowClient", run_id: str, event: Mapping[str, Any], folder: Path, unsure: bool) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

    kind = event["kind"]
    if kind == "params":
        client.log_batch(run_id, params=[Param(name, value) for name, value in event["values"].items()])
    elif kind == "metrics":
        metrics = [Metric(name, value, event["time"], event["step"]) for name, value in event["values"].items()]
        if unsure:
            metrics = [metric for metric in metrics if not _has(client, run_id, metric)]
        client.log_batch(run_id, metrics=metrics)
    elif kind == "dataset":
        tag = InputTag("mlflow.data.context", event["context"])
        client.log_inputs(run_id, datasets=[DatasetInput(Dataset(**event["entity"]), [tag])])
    elif kind == "configuration":
        client.log_dict(run_id, event["content"], "configuration.json")
    elif kind == "text":
        client.log_text(run_id, event["content"], event["name"])
    elif kind == "artifact":
        path = folder / event["path"]
        if path.is_dir():
            client.log_artifacts(run_id, str(path), event["folder"])
        elif path.exists():  # one that has gone since cannot be sent by anybody
            client.log_artifact(run_id, str(path), event["folder"])
    elif kind == "status":
        if event["status"] == "RUNNING":
            client.update_run(run_id, status="RUNNING")
        else:
            client.set_terminated(run_id, event["status"], event["time"])


def _has(client: "MlflowClient", run_id: str, metric: Any) -> bool:
    history = client.get_metric_history(run_id, metric.key)
    return any((old.step, old.timestamp) == (metric.step, metric.timestamp) for old in history)
