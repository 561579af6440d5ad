"""Sending never costs a training time, whatever the server does, and ends with everything or a number."""

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from cxr_monai.training import delivery
from cxr_monai.training.delivery import Delivery
from cxr_monai.training.journal import ID_TAG, Journal, new_id

EPOCHS = 20


def begun(folder: Path) -> Journal:
    journal = Journal(folder / "tracking" / "training.jsonl")
    journal.append("run", "run", experiment="delivery", name="one", tags={ID_TAG: new_id()})
    return journal


def train(journal: Journal, sending: Delivery) -> None:
    """Log epochs."""
    for epoch in range(EPOCHS):
        journal.append(f"epoch {epoch}", "metrics", values={"loss": 1.0}, step=epoch)
        sending.wake()
        time.sleep(0.01)


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_hangs_costs_an_epoch_nothing_and_the_end_little(
    tmp_path: Path, silent: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    journal = begun(tmp_path)
    sending, real, senders = Delivery(journal, silent, None), Journal.send, []

    def send(*words: Any) -> int:
        senders.append(threading.current_thread())
        return real(*words)

    monkeypatch.setattr(Journal, "send", send)
    train(journal, sending)
    assert senders  # it was tried, and never by the thread that trains
    assert threading.current_thread() not in senders
    assert sending.finish() == EPOCHS + 1  # the server will never answer
    assert caplog.text.count("[tracking-failed] MLflow does not answer") == 1


def test_the_end_does_not_wait_for_a_server_that_never_gives_up(
    tmp_path: Path, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "PATIENCE", 0.5)
    released = threading.Event()
    monkeypatch.setattr(Journal, "send", lambda *words: released.wait())
    sending = Delivery(begun(tmp_path), silent, None)
    sending.wake()
    assert sending.finish() == 1  # though nothing was sent yet, and nothing will be until the next line
    released.set()


def test_everything_arrives_once_before_the_end_returns(tmp_path: Path, empty_store: Path) -> None:
    store = f"sqlite:///{shutil.copy(empty_store, tmp_path / 'store.db')}"
    journal = begun(tmp_path)
    sending = Delivery(journal, store, None)
    train(journal, sending)
    journal.append("status", "status", status="FINISHED")
    assert sending.finish() == 0
    client = MlflowClient(tracking_uri=store)
    (run,) = client.search_runs([client.get_experiment_by_name("delivery").experiment_id])
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert sorted(metric.step for metric in history) == list(range(EPOCHS))


def test_a_server_that_comes_back_gets_what_it_missed(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "AGAIN", 0.2)
    real, refusals = Journal.send, iter(range(2))

    def at_first_away(*words) -> int:
        if next(refusals, None) is not None:
            raise ConnectionError("away")
        return real(*words)

    monkeypatch.setattr(Journal, "send", at_first_away)
    journal = begun(tmp_path)
    sending = Delivery(journal, f"sqlite:///{shutil.copy(empty_store, tmp_path / 'store.db')}", None)
    sending.wake()
    until = time.monotonic() + 30
    while journal.unsent(sending.server) and time.monotonic() < until:
        time.sleep(0.05)
    assert journal.unsent(sending.server) == 0  # without a word from the training
    assert sending.finish() == 0
