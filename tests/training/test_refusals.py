"""MLflow refuses something: the rest arrives, what was refused stands aside with its reason, and the words say so."""

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from requests import HTTPError, Response

from cxr_monai.cli import main
from cxr_monai.training import journal as journals
from cxr_monai.training.delivery import Delivery
from cxr_monai.training.journal import ID_TAG, Journal, new_id
from cxr_monai.training.mlflow_events import CONTINUES_TAG
from cxr_monai.training.mlflow_names import LONGEST_MLFLOW_NAME, mlflow_name, mlflow_value
from cxr_monai.training.refusals import TurnedAwayError, is_refusal, reason_of, refuses_this_event
from cxr_monai.training.tracking import MLflowTracker


@pytest.fixture(scope="module")
def store(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{shutil.copy(empty_store, tmp_path_factory.mktemp('mlflow') / 'store.db')}"


@pytest.fixture(scope="module")
def client(store: str) -> MlflowClient:
    return MlflowClient(tracking_uri=store)


def begun(folder: Path, **tags: str) -> Journal:
    journal = Journal(folder / "tracking" / "training.jsonl")
    journal.append("run", "run", experiment=folder.name, name="one", tags={ID_TAG: new_id(), **tags})
    return journal


def runs_of(client: MlflowClient, experiment: str, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    known = client.get_experiment_by_name(experiment)
    assert known is not None
    return list(client.search_runs([known.experiment_id], run_view_type=view))


# ---------------------------------------------------------------- names and values


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]


@pytest.mark.parametrize("name", ["auroc_Effusion", "val/auroc a.b-c", "Erguß", "auroc_Pleural_Thickening_low"])
def test_a_name_that_mlflow_takes_stays(name: str) -> None:
    assert mlflow_name(name) == name


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("auroc_Opacity (left)", "auroc_Opacity _left_"),
        ("a:b", "a_b"),  # Windows takes no colon
        ("gradcam++", "gradcam__"),
        ("50% #1", "50_ _1"),
        ("a/../b", "a____b"),
        ("/a", "_a"),
        ("..", "__"),
        ("", "_"),
        ("x" * 300, "x" * (LONGEST_MLFLOW_NAME - 9)),
        ("auroc_Mass-0123abcd", "auroc_Mass-0123abcd"),  # else it could meet a changed one
    ],
)
def test_any_other_name_is_changed_and_says_so(name: str, stem: str) -> None:
    assert mlflow_name(name) == f"{stem}-{digest(name)}"


def test_no_two_names_meet() -> None:
    names = [f"Opacity {a}{b}{c}" for a in "()_:+/" for b in "()_:+/" for c in "()_:+."]
    names += [mlflow_name(name) for name in names if mlflow_name(name) != name]
    assert len({mlflow_name(name) for name in names}) == len(set(names))


def test_a_value_that_is_too_long_says_what_it_lost() -> None:
    assert mlflow_value("x" * 6000, "param") == "x" * 6000
    cut = mlflow_value("x" * 6001, "param")
    assert len(cut) == 6000
    assert cut.endswith(f"x... (6001 characters, {digest('x' * 6001)})")


def test_whatever_a_label_or_setting_is_called_it_arrives(
    tmp_path: Path, client: MlflowClient, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    journal, label, long = begun(tmp_path, note="n" * 9000), "Opacity (left)", "m" * 400
    journal.append("params", "params", values={"labels": "x" * 7000, "weights (class)": "1", "epochs": "3"})
    journal.append("epoch 1", "metrics", values={f"auroc_{label}": 0.5, long: 1.0, "loss": 2.0}, step=1)
    assert journal.send(client, store) == 3
    assert journal.refused(store) == []
    (run,) = runs_of(client, tmp_path.name)
    opacity = f"auroc_Opacity _left_-{digest('auroc_Opacity (left)')}"
    assert run.data.metrics == {opacity: 0.5, mlflow_name(long): 1.0, "loss": 2.0}
    assert run.data.tags[f"cxr_monai.name.{opacity}"] == "auroc_Opacity (left)"
    assert run.data.tags[f"cxr_monai.name.{mlflow_name(long)}"] == long
    assert run.data.params["epochs"] == "3"
    assert run.data.params[mlflow_name("weights (class)")] == "1"
    assert len(run.data.params["labels"]) == 6000
    assert len(run.data.tags["note"]) == 5000
    assert "truncated" not in caplog.text  # MLflow's own warning, for what was not cut


# ---------------------------------------------------------------- one event that is refused


def with_a_refused_event(folder: Path) -> Journal:
    journal = begun(folder)
    journal.append("params", "params", values={"epochs": "3"})
    journal.append("other params", "params", values={"epochs": "5"})  # MLflow: "Changing param values is not allowed"
    journal.append("epoch 1", "metrics", values={"loss": 1.0}, step=1)
    journal.append("status", "status", status="FINISHED")
    return journal


def test_one_refused_event_does_not_block_the_journal(tmp_path: Path, client: MlflowClient, store: str) -> None:
    journal = with_a_refused_event(tmp_path)
    assert journal.send(client, store) == 4
    assert journal.unsent(store) == 0
    (run,) = runs_of(client, tmp_path.name)
    assert (run.info.status, run.data.metrics, run.data.params) == ("FINISHED", {"loss": 1.0}, {"epochs": "3"})
    (refused,) = json.loads((tmp_path / "tracking" / "training.refused.json").read_text())["refused"]
    assert (refused["event"], refused["key"]) == (3, "other params")
    assert refused["reason"].startswith("Changing param values is not allowed")
    assert Journal(journal.path).refused(store) == [refused]
    assert journal.refused("http://another.example") == []


def test_track_tells_how_many_were_refused_and_why(
    tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = with_a_refused_event(tmp_path)
    for _ in range(2):
        assert main(["track", str(tmp_path), "--tracking-uri", store]) == 1
        shown, told = capsys.readouterr()
        experiment = MlflowClient(tracking_uri=store).get_experiment_by_name(tmp_path.name)
        assert experiment is not None
        assert f"/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning\n" in shown
        assert f"[tracking-refused]: MLflow refused 1 of 5 events; they stand in {journal.refused_file}" in told
        assert "other params: Changing param values is not allowed" in told


def test_track_sends_what_was_refused_once_more(
    tmp_path: Path, client: MlflowClient, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limited(*words: Any, metrics: Any = (), **named: Any) -> None:
        if metrics:
            raise MlflowException.invalid_parameter_value("too many figures for this server")
        log_batch(*words, **named)

    log_batch = MlflowClient.log_batch
    journal = begun(tmp_path)
    journal.append("epoch 1", "metrics", values={"loss": 1.0}, step=1)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", limited)
        assert journal.send(client, store) == 1
    assert [one["key"] for one in journal.refused(store)] == ["epoch 1"]
    assert main(["track", str(tmp_path), "--tracking-uri", store]) == 0
    assert journal.refused(store) == []
    assert runs_of(client, tmp_path.name)[0].data.metrics == {"loss": 1.0}


def test_an_end_that_was_refused_does_not_undo_a_later_one(tmp_path: Path, client: MlflowClient, store: str) -> None:
    journal = begun(tmp_path)
    journal.append("status 1", "status", status="FAILED")
    journal.append("status 2", "status", status="FINISHED")
    journal.send(client, store)
    refused = [{"event": 2, "key": "status 1", "reason": "none"}]
    journal.refused_file.write_text(json.dumps({"where": store, "refused": refused}))
    assert journal.send_refused(client, store) == 1
    assert runs_of(client, tmp_path.name)[0].info.status == "FINISHED"


def failing(client: MlflowClient, method: str, error: Exception) -> Any:
    """A client that raises at one method and otherwise answers."""

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return fail if name == method else getattr(client, name)

    def fail(*words: Any, **named: Any) -> None:
        raise error

    return Failing()


def test_a_server_that_fails_at_one_event_alone_gets_the_rest(tmp_path: Path, client: MlflowClient, store: str) -> None:
    journal = begun(tmp_path)
    journal.append("text", "text", content="a", name="a.txt")
    journal.append("epoch 1", "metrics", values={"loss": 1.0}, step=1)
    broken = failing(client, "log_text", OSError("no space on the artifact store"))
    for _ in range(journals.TRIES - 1):
        with pytest.raises(OSError, match="no space"):
            Journal(journal.path).send(broken, store)
        assert journal.refused(store) == []
    assert Journal(journal.path).send(broken, store) == 1
    assert [one["reason"] for one in journal.refused(store)] == ["no space on the artifact store"]
    assert runs_of(client, tmp_path.name)[0].data.metrics == {"loss": 1.0}


@pytest.mark.parametrize("status", [429, 503])
def test_an_event_is_never_set_aside_while_the_server_says_later(
    tmp_path: Path, client: MlflowClient, store: str, status: int
) -> None:
    journal = begun(tmp_path)
    journal.append("epoch 1", "metrics", values={"loss": 1.0}, step=1)
    busy = failing(client, "log_batch", MlflowException(f"API request failed with error code {status} != 200."))
    for _ in range(journals.TRIES + 2):
        with pytest.raises(MlflowException):
            Journal(journal.path).send(busy, store)
    assert (journal.refused(store), journal.unsent(store)) == ([], 1)


# ---------------------------------------------------------------- what was deleted in MLflow


@pytest.mark.parametrize("all_arrived_before", [False, True])
def test_a_deleted_run_is_begun_anew_with_all_of_it(
    tmp_path: Path, client: MlflowClient, store: str, caplog: pytest.LogCaptureFixture, all_arrived_before: bool
) -> None:
    journal = begun(tmp_path)
    journal.append("epoch 1", "metrics", values={"loss": 1.0}, step=1)
    journal.send(client, store)
    (old,) = runs_of(client, tmp_path.name)
    if not all_arrived_before:  # it is deleted between two events of one sending
        journal.append("text", "text", content="a", name="a.txt")
        log_text = client.log_text
        client.log_text = lambda *words: (log_text(*words), client.delete_run(old.info.run_id))  # type: ignore[method-assign]
    else:
        client.delete_run(old.info.run_id)
    journal.append("epoch 2", "metrics", values={"loss": 0.5}, step=2)
    try:
        journal.send(client, store)
    finally:
        vars(client).pop("log_text", None)
    (new,) = runs_of(client, tmp_path.name)
    assert new.data.tags[CONTINUES_TAG] == old.info.run_id
    history = client.get_metric_history(new.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.0), (2, 0.5)]
    assert journal.unsent(store) == 0
    assert journal.refused(store) == []
    assert f"'mlflow runs restore --run-id {old.info.run_id}' brings the old one back" in caplog.text
    assert f"sent again, as run {new.info.run_id}" in caplog.text


def test_a_deleted_experiment_keeps_its_journal_until_it_is_restored(
    tmp_path: Path, client: MlflowClient, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = begun(tmp_path)
    journal.append("epoch 1", "metrics", values={"loss": 1.0}, step=1)
    journal.send(client, store)
    (run,) = runs_of(client, tmp_path.name)
    client.delete_experiment(run.info.experiment_id)
    journal.append("epoch 2", "metrics", values={"loss": 0.5}, step=2)
    assert main(["track", str(tmp_path), "--tracking-uri", store]) == 1
    told = capsys.readouterr().err
    assert "[tracking-refused]" in told
    assert "does not answer" not in told
    assert f"mlflow experiments restore --experiment-id {run.info.experiment_id}" in told
    assert journal.unsent(store) == 1
    client.restore_experiment(run.info.experiment_id)
    assert main(["track", str(tmp_path), "--tracking-uri", store]) == 0
    (same,) = runs_of(client, tmp_path.name)  # not a second one
    assert same.info.run_id == run.info.run_id
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")] == [1, 2]


def test_a_run_of_a_deleted_experiment_goes_to_another(tmp_path: Path, client: MlflowClient, store: str) -> None:
    client.delete_experiment(client.create_experiment(tmp_path.name))
    journal = begun(tmp_path)
    with pytest.raises(TurnedAwayError, match="'cxr-monai track OUT --experiment ANOTHER'"):
        journal.send(client, store)
    other = f"{tmp_path.name} again"
    assert main(["track", str(tmp_path), "--tracking-uri", store, "--experiment", other]) == 0
    assert [run.info.run_name for run in runs_of(client, other)] == ["one"]


def test_a_deleted_study_does_not_block_its_trainings(tmp_path: Path, client: MlflowClient, store: str) -> None:
    study = begun(tmp_path)
    study.send(client, store)
    (parent,) = runs_of(client, tmp_path.name)
    client.delete_run(parent.info.run_id)
    part = Journal(tmp_path / "part" / "tracking" / "training.jsonl")
    own = study.events[0]["tags"][ID_TAG]
    part.append("run", "run", experiment=tmp_path.name, name="part", tags={ID_TAG: new_id()}, parent=own)
    assert part.send(client, store) == 1
    (run,) = runs_of(client, tmp_path.name)
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id


# ---------------------------------------------------------------- a training that goes on with other settings


def test_a_setting_that_a_resumed_training_changed_is_a_tag(tmp_path: Path, client: MlflowClient, store: str) -> None:
    for epochs, resume in ((3, False), (5, True), (5, True), (8, True)):
        settings = {"epochs": epochs, "seed": 0}
        tracker = MLflowTracker(tmp_path.name, str(tmp_path), "one", store, configuration=settings)
        tracker.start(resume=resume)
        tracker.finish()
    (run,) = runs_of(client, tmp_path.name)
    assert run.data.params == {"epochs": "3", "seed": "0"}
    changed = {name: value for name, value in run.data.tags.items() if name.startswith("cxr_monai.changed.")}
    assert changed == {"cxr_monai.changed.epochs": "5 -> 8"}
    files = [item.path for item in client.list_artifacts(run.info.run_id)]
    assert len(files) == 3  # the configuration of the beginning, and after each change
    assert not (tmp_path / "tracking" / "training.refused.json").exists()


# ---------------------------------------------------------------- refusal and silence in words


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """A server that gives one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST = answer

        def log_message(self, *words: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "code", "words"),
    [
        (400, '{"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}', "tracking-refused", "answers and refuses"),
        (401, "You are not authenticated.", "tracking-refused", "refuses who asks .*MLFLOW_TRACKING_USERNAME"),
        (403, '{"error_code": "PERMISSION_DENIED", "message": "no"}', "tracking-refused", "refuses who asks"),
        (404, "<html>nothing here</html>", "tracking-refused", "answers and refuses"),
        (413, "<html>too large</html>", "tracking-refused", "answers and refuses"),
        (429, '{"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "slow"}', "tracking-failed", "does not answer"),
        (500, '{"error_code": "INTERNAL_ERROR", "message": "oh"}', "tracking-failed", "does not answer"),
        (503, "<html>starting</html>", "tracking-failed", "does not answer"),
    ],
)
def test_words_tell_a_refusal_from_silence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    status: int,
    body: str,
    code: str,
    words: str,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with answering(status, body) as address:
        sending = Delivery(begun(tmp_path), address, None)
        sending.wake()
        assert sending.finish() == 1  # kept
    (record,) = [record for record in caplog.records if record.name == "cxr_monai.training.delivery"]
    assert re.match(rf"\[{code}\] MLflow {words}", record.getMessage()), record.getMessage()


def test_a_refused_event_of_a_training_is_said_once_and_counted(
    tmp_path: Path, store: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*words: Any, **named: Any) -> None:
        raise MlflowException.invalid_parameter_value("no texts here")

    monkeypatch.setattr(MlflowClient, "log_text", refuse)
    tracker = MLflowTracker(tmp_path.name, str(tmp_path), "one", store, configuration={})
    tracker.start()
    for number in range(3):
        tracker.text("a", f"{number}.txt")
    tracker.finish()
    assert caplog.text.count("It is set aside, the rest arrives") == 1
    assert "no texts here" in caplog.text
    assert re.search(
        r"\[tracking-refused\] MLflow refused 3 of this run's 7 events; they stand .*refused.json", caplog.text
    )
    assert "have not reached MLflow" not in caplog.text
    assert "does not answer" not in caplog.text


def http_error(status: int) -> HTTPError:
    response = Response()
    response.status_code = status
    return HTTPError("upload", response=response)


def s3_error(status: int) -> Exception:
    error = Exception("An error occurred")
    error.response = {"ResponseMetadata": {"HTTPStatusCode": status}}  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize("made", [http_error, s3_error])
def test_artifact_stores_are_understood_alike(made: Callable[[int], Exception]) -> None:
    assert [is_refusal(made(status)) for status in (400, 403, 413, 429, 500)] == [True, True, True, False, False]
    assert [refuses_this_event(made(status)) for status in (400, 403, 413, 429, 500)] == [
        True,
        False,
        True,
        False,
        False,
    ]


def test_a_reason_holds_no_password() -> None:
    assert reason_of(ValueError("http://me:secret@host/x failed\nmore")) == "http://host/x failed"
