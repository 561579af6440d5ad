"""The journal: nothing lost, nothing sent twice, whenever a training or its server ends."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from cxr_monai.errors import StorageError
from cxr_monai.training.journal import ID_TAG, Journal, new_id


@pytest.fixture(scope="module")
def store(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{shutil.copy(empty_store, tmp_path_factory.mktemp('mlflow') / 'store.db')}"


def written(folder: Path, epochs: int = 3) -> Journal:
    journal = Journal(folder / "tracking" / "training.jsonl")
    journal.append("run", "run", experiment=folder.name, name="one", tags={ID_TAG: new_id()})
    journal.append("params", "params", values={"epochs": "3"})
    for epoch in range(1, epochs + 1):
        journal.append(f"epoch {epoch}", "metrics", values={"loss": 1 / epoch, "auroc": 0.5}, step=epoch)
    journal.append("status", "status", status="FINISHED")
    return journal


def test_a_key_stands_once_and_the_first_stays(tmp_path: Path) -> None:
    journal = written(tmp_path)
    assert not journal.append("epoch 2", "metrics", values={"loss": 7.0}, step=2)
    again = Journal(journal.path)
    assert again.events == journal.events
    assert [event["values"]["loss"] for event in again.events if event["kind"] == "metrics"] == [1, 1 / 2, 1 / 3]


def test_a_torn_last_line_is_left_out_at_any_length(tmp_path: Path) -> None:
    journal = written(tmp_path)
    content, events = journal.path.read_bytes(), journal.events
    begins = content.rstrip(b"\n").rfind(b"\n") + 1
    for length in range(begins, len(content)):
        journal.path.write_bytes(content[:length])
        torn = Journal(journal.path)
        assert torn.events == events[:-1]
        assert torn.append("status", "status", status="FAILED")
        assert [event["key"] for event in Journal(journal.path).events] == [event["key"] for event in events]


def test_reading_leaves_a_line_that_is_just_being_written(tmp_path: Path, store: str) -> None:
    journal = written(tmp_path)
    content = journal.path.read_bytes()
    journal.path.write_bytes(content[:-5])
    reader = Journal(journal.path)
    assert reader.send(MlflowClient(tracking_uri=store), store) == len(journal.events) - 1
    with journal.path.open("ab") as file:  # the training goes on
        file.write(content[-5:])
    assert Journal(journal.path).events == journal.events
    assert Journal(journal.path).send(MlflowClient(tracking_uri=store), store) == 1


def test_after_a_full_disk_the_next_event_begins_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(descriptor: int) -> None:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - 5)
        raise OSError(errno.ENOSPC, "No space left on device")

    journal = written(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", half)
        with pytest.raises(StorageError):
            journal.append("lost", "text", content="", name="t")
    assert journal.append("more", "text", content="", name="t")
    assert Journal(journal.path).events == journal.events
    assert journal.events[-1]["key"] == "more"


class Gone(Exception):
    """The client's process ends."""


def dying(client: MlflowClient, calls: int, before: bool) -> Any:
    """A client that raises at a call, before or after the server has done what it was asked."""

    class Dying:
        def __getattr__(self, name: str) -> Any:
            method = getattr(client, name)

            def call(*words: Any, **named: Any) -> Any:
                nonlocal calls
                calls -= 1
                if calls == 0 and before:
                    raise Gone
                answer = method(*words, **named)
                if calls == 0:
                    raise Gone
                return answer

            return call

    return Dying()


@pytest.mark.parametrize("before", [True, False])
def test_whenever_the_client_dies_everything_arrives_once(tmp_path: Path, store: str, before: bool) -> None:
    client, died, calls = MlflowClient(tracking_uri=store), True, 0
    while died:
        calls += 1
        folder = tmp_path / f"{before}-{calls}"
        journal = written(folder)
        try:
            journal.send(dying(client, calls, before), store)
            died = False
        except Gone:
            Journal(journal.path).send(client, store)
        assert Journal(journal.path).send(client, store) == 0
        experiment = client.get_experiment_by_name(folder.name)
        assert experiment is not None
        (run,) = client.search_runs([experiment.experiment_id])
        assert run.info.status == "FINISHED"
        assert run.data.params == {"epochs": "3"}
        history = client.get_metric_history(run.info.run_id, "loss")
        assert [(metric.step, metric.value) for metric in history] == [(1, 1), (2, 1 / 2), (3, 1 / 3)]
    assert calls > 6  # every call of a whole sending was the last of one


def test_another_server_gets_the_whole_run(tmp_path: Path, store: str, empty_store: Path) -> None:
    journal = written(tmp_path)
    other = f"sqlite:///{shutil.copy(empty_store, tmp_path / 'other.db')}"
    for uri in (store, other):
        assert journal.send(MlflowClient(tracking_uri=uri), uri) == len(journal.events)
        assert journal.unsent(uri) == 0


def test_a_file_that_has_gone_does_not_stop_the_rest(tmp_path: Path, store: str) -> None:
    journal = written(tmp_path)
    journal.append("artifact", "artifact", path="gone.png", folder="pictures")
    journal.append("last", "metrics", values={"late": 1.0}, step=9)
    assert journal.send(MlflowClient(tracking_uri=store), store) == len(journal.events)


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    journal = written(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError) as caught:
        journal.append("more", "text", content="", name="t")
    assert caught.value.code == "disk-full"


def test_a_part_of_a_study_waits_for_the_study_and_is_nested_below_it(tmp_path: Path, store: str) -> None:
    client = MlflowClient(tracking_uri=store)
    study, part = (Journal(tmp_path / name / "tracking" / "run.jsonl") for name in ("study", "part"))
    study.append("run", "run", experiment="nested", name="all", tags={ID_TAG: "the study"})
    part.append("run", "run", experiment="nested", name="one", tags={ID_TAG: "its part"}, parent="the study")
    with pytest.raises(LookupError, match="the study that this run belongs to has not reached the server"):
        part.send(client, store)
    assert part.unsent(store) == 1
    assert study.send(client, store) == part.send(client, store) == 1
    experiment = client.get_experiment_by_name("nested")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert runs["one"].data.tags["mlflow.parentRunId"] == runs["all"].info.run_id
