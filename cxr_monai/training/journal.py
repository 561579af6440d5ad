"""A journal of what a training logs to MLflow: a server that does not answer costs nothing, and nothing is sent twice.

``OUT/tracking/NAME.jsonl`` has one event a line, in order, each with a key that stands once; ``NAME.sent.json`` beside
it tells how many a server has confirmed, ``NAME.refused.json`` which ones it did not want, and why. A run is found
again by a tag, metrics by their step and time, so that an event whose confirmation was lost is not sent a second time.
"""

import json
import logging
import os
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from cxr_monai.durable import storage_error, write_durably
from cxr_monai.errors import Code
from cxr_monai.training.mlflow_events import ID_TAG, open_run, send_event, state_of_run
from cxr_monai.training.refusals import reason_of, refuses_this_event, says_later

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["ID_TAG", "Journal", "new_id"]

logger = logging.getLogger(__name__)

TRIES = 3
"""So often an event is sent to a server that fails at it and answers otherwise."""


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
        """The file of the events that the server has confirmed."""
        return self.path.with_suffix(".sent.json")

    @property
    def refused_file(self) -> Path:
        """The file of the events that the server refused."""
        return self.path.with_suffix(".refused.json")

    def append(self, key: str, kind: str, **content: Any) -> bool:
        """Write an event, unless the journal has one of the same key.

        Args:
            key: of the event, which stands once.
            kind: such as ``run``, ``metrics``, ``artifact``.
            content: the event's values, as JSON holds them.

        Returns:
            True if it was written.

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

    def unsent(self, server: str) -> int:
        """Return how many events a server has not confirmed; ``server`` is its address without a password."""
        return len(self.events) - self._confirmed(server)["sent"]

    def refused(self, server: str) -> list[dict[str, Any]]:
        """Return the events that a server refused: each with ``event`` (its line, from 1), ``key`` and ``reason``."""
        refused = _read(self.refused_file)
        return list(refused["refused"]) if refused.get("where") == server else []

    def run_of(self, server: str) -> tuple[str, str] | None:
        """Return MLflow's ids of the experiment and the run at a server; None where it has not been sent there."""
        state = self._confirmed(server)
        return (state["experiment_id"], state["run_id"]) if state.get("experiment_id") else None

    def _confirmed(self, server: str) -> dict[str, Any]:
        confirmed = _read(self.sent_file)
        # another server than the one of this file gets the whole run
        return confirmed if confirmed.get("where") == server else {"sent": 0, "run_id": None, "where": server}

    def send(
        self, client: "MlflowClient", server: str, artifact_folder: str | None = None, experiment: str | None = None
    ) -> int:
        """Send the events that the server has not confirmed, in order; returns how many it has accepted.

        An event that the server refuses is set aside in ``NAME.refused.json`` with its reason, and so is one at which
        it fails `TRIES` times while it answers otherwise. A run that was deleted there is begun anew with all events.

        Args:
            client: MLflow's.
            server: its address without a password.
            artifact_folder: of an experiment that has to be made; the server decides where None.
            experiment: to open the run in, instead of the journal's.

        Raises:
            Exception: whatever the client raises where the server does not answer or the run cannot be opened; what
                was confirmed stays confirmed.
        """
        with FileLock(self.path.with_suffix(".lock")):
            state, accepted, unsure = self._confirmed(server), 0, True
            if 0 < state["sent"] < len(self.events) and state_of_run(client, state["run_id"]) != "active":
                state = self._begin_anew(client, state, artifact_folder, experiment)
            while state["sent"] < len(self.events):
                event = self.events[state["sent"]]
                if event["kind"] == "run":
                    ids = open_run(client, event, artifact_folder, experiment=experiment)
                    state["experiment_id"], state["run_id"] = ids
                elif not self._try(client, state, event, unsure):
                    if state_of_run(client, state["run_id"]) != "active":  # it was deleted just now
                        state = self._begin_anew(client, state, artifact_folder, experiment)
                        unsure = True
                        continue
                    accepted -= 1
                unsure = unsure and event["kind"] != "metrics"  # only the first can have been sent before
                state["sent"] += 1
                state.pop("tries", None)
                accepted += 1
                self._confirm(state)
            return accepted

    def send_refused(self, client: "MlflowClient", server: str) -> int:
        """Send refused events once more, such as after a server's limits were raised; returns how many were accepted.

        Raises:
            Exception: whatever the client raises where the server does not answer.
        """
        with FileLock(self.path.with_suffix(".lock")):
            state, remaining = self._confirmed(server), self.refused(server)
            before = len(remaining)
            for entry in list(remaining):
                event = self.events[entry["event"] - 1]
                if not self._superseded(event):
                    try:
                        send_event(client, state["run_id"], event, self.path.parent.parent, unsure=True)
                    except Exception as error:
                        if not refuses_this_event(error):
                            raise
                        continue
                remaining.remove(entry)
                self._write_refused(server, remaining)
            return before - len(remaining)

    def _try(self, client: "MlflowClient", state: dict[str, Any], event: dict[str, Any], unsure: bool) -> bool:
        """Send one event; False if it was set aside. Raises what stops the rest as well."""
        try:
            send_event(client, state["run_id"], event, self.path.parent.parent, unsure)
            return True
        except Exception as error:
            if not refuses_this_event(error):
                # does the server not answer at all, or fail at this event alone? it is asked something else
                if says_later(error) or not _answers(client, state["run_id"]):
                    raise
                state["tries"] = state.get("tries", 0) + 1
                if state["tries"] < TRIES:
                    self._confirm(state)
                    raise
            refused = {"event": state["sent"] + 1, "key": event["key"], "reason": reason_of(error)}
            others = [one for one in self.refused(state["where"]) if one["event"] != refused["event"]]
            self._write_refused(state["where"], [*others, refused])
            return False

    def _begin_anew(
        self, client: "MlflowClient", state: dict[str, Any], artifact_folder: str | None, experiment: str | None
    ) -> dict[str, Any]:
        old, event = state["run_id"], self.events[0]
        deleted = state_of_run(client, old) == "deleted"
        experiment_id, run_id = open_run(client, event, artifact_folder, old, experiment)
        back = f" 'mlflow runs restore --run-id {old}' brings the old one back, as far as it had come."
        logger.warning(
            "[%s] MLflow no longer has the run %s of %s, it was deleted there: all of it is sent again, as run %s.%s",
            Code.TRACKING_REFUSED, old, self.path, run_id, back if deleted else "",
        )  # fmt: skip
        self._write_refused(state["where"], [])
        state = {"sent": 1, "run_id": run_id, "experiment_id": experiment_id, "where": state["where"]}
        self._confirm(state)
        return state

    def _superseded(self, event: dict[str, Any]) -> bool:
        """True if a later event says the same anew: another end of the run, another text of that name."""
        keys = ("kind", "name") if event["kind"] == "text" else ("kind",)
        later = self.events[self.events.index(event) + 1 :]
        return event["kind"] in ("text", "status") and any(
            all(other.get(key) == event.get(key) for key in keys) for other in later
        )

    def _confirm(self, state: dict[str, Any]) -> None:
        write_durably(self.sent_file, json.dumps(state).encode())

    def _write_refused(self, server: str, refused: list[dict[str, Any]]) -> None:
        if refused or self.refused_file.exists():
            write_durably(self.refused_file, json.dumps({"where": server, "refused": refused}, indent=2).encode())


def new_id() -> str:
    """Return an id that finds a run again."""
    return uuid.uuid4().hex


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _answers(client: "MlflowClient", run_id: str) -> bool:
    try:
        state_of_run(client, run_id)
    except Exception:  # any error: the server does not answer this either
        return False
    return True
