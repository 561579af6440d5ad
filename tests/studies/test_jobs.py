"""Processes: started as a user would, interrupted, killed, waited for."""

import json
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from cxr_monai.environment import usable_cores
from cxr_monai.studies import jobs
from cxr_monai.studies.jobs import JobState, Place, run_job, run_process
from cxr_monai.studies.plan import Experiment, Job
from cxr_monai.training.lock import OutputLock
from tests.studies.fake_studies import FakeRunner, empty_images

PATIENT = """
import signal, sys, time
if sys.argv[1] == "deaf":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
print("ready", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("saved")
    sys.exit(130)
"""


def started(log: Path, stop: threading.Event, how: str) -> list[int]:
    """Run a process that sleeps, and interrupt it once it is ready."""

    def interrupt() -> None:
        while not (log.exists() and "ready" in log.read_text()):
            time.sleep(0.02)
        stop.set()

    thread = threading.Thread(target=interrupt)
    thread.start()
    status = run_process([sys.executable, "-c", PATIENT, how], log, {}, stop)
    thread.join()
    return [status]


def test_an_interrupted_training_may_save_what_it_has(tmp_path: Path) -> None:
    assert started(tmp_path / "log.txt", threading.Event(), "listens") == [130]
    assert (tmp_path / "log.txt").read_text() == "ready\nsaved\n"


def test_where_ctrl_c_is_ignored_a_training_is_ended_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_IGN)  # as a shell's background jobs have it
    assert started(tmp_path / "log.txt", threading.Event(), "deaf") == [-signal.SIGTERM]


def test_one_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "GRACE", 0.3)
    assert started(tmp_path / "log.txt", threading.Event(), "deaf") == [-9]


def test_the_status_and_every_word_of_a_process_are_kept(tmp_path: Path) -> None:
    for status in (0, 3):
        code = f"import os, sys; print(os.environ['HERE']); print('to', file=sys.stderr); sys.exit({status})"
        assert (
            run_process([sys.executable, "-c", code], tmp_path / "log.txt", {"HERE": "x"}, threading.Event()) == status
        )
    assert sorted((tmp_path / "log.txt").read_text().split()) == ["to", "to", "x", "x"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    manifest = empty_images(tmp_path / "images", patients=12)
    return Place(Path("B"), {None: manifest}, "test", "mine", parent="the parent", at_once=2)


def job_in(folder: Path) -> Job:
    return Job(
        "a", 3, None, {"epochs": 1, "learning_rate": 1e-3, "compile": None, "init_weights": "1e5"}, folder / "job"
    )


STUDY = Experiment("mine", "Which?", {"a": {}}, "a", evaluate_overrides={"amp": False})


def test_overrides_arrive_as_they_are(tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    job, runner = job_in(tmp_path), FakeRunner()
    assert run_job(job, STUDY, place, {"x": "1"}, runner, threading.Event()) is None
    (name, environment, training), (judged, _, evaluation) = runner.calls
    own = {"output_dir": str(job.folder / "train"), "seed": 3, "run_name": "mine job", "experiment": "mine"}
    assert training == {**job.overrides, **own, "manifest": str(place.manifests[None])}
    assert (name, judged, evaluation["split"], evaluation["amp"]) == ("mine job", "mine job test", "test", False)
    assert environment["CXR_MONAI_PARENT_RUN"] == "the parent"
    assert environment["OMP_NUM_THREADS"] == str(max(1, usable_cores() // 2))
    assert environment["MLFLOW_TRACKING_URI"]
    assert not (job.folder / "train" / "checkpoints").exists()


def test_an_evaluation_reads_what_its_training_reads(tmp_path: Path, place: Place) -> None:
    job, runner = (
        Job("a", 0, None, {**job_in(tmp_path).overrides, "any_modality": True}, tmp_path / "job"),
        FakeRunner(),
    )
    assert run_job(job, STUDY, place, {}, runner, threading.Event()) is None
    assert [settings["any_modality"] for *_, settings in runner.calls] == [True, True]


def test_what_is_done_is_not_done_again(tmp_path: Path, place: Place) -> None:
    job, runner = job_in(tmp_path), FakeRunner(lambda settings, _: 1 if "split" in settings else None)
    lines = run_job(job, STUDY, place, {}, runner, threading.Event())
    assert lines == "progress\nmore\nerror [not-finite]: the loss is nan."
    state = JobState.read(job.folder)
    assert state is not None
    assert (state.trained, state.judged) == (True, None)
    again = FakeRunner()
    assert run_job(job, STUDY, place, {}, again, threading.Event()) is None
    assert again.names == ["mine job test"]
    assert run_job(job, STUDY, place, {}, again, threading.Event()) is None
    assert again.names == ["mine job test"]
    other = Experiment("mine", "Which?", {"a": {}}, "a", evaluate_overrides={"amp": True})
    assert run_job(job, other, place, {}, again, threading.Event()) is None
    assert again.names == ["mine job test"] * 2


def test_an_interrupted_study_starts_nothing_more(tmp_path: Path, place: Place) -> None:
    stop = threading.Event()
    runner = FakeRunner(lambda *_: stop.set())
    assert run_job(job_in(tmp_path), STUDY, place, {}, runner, stop) == "interrupted"
    assert runner.names == ["mine job"]


def test_seconds_of_interrupted_processes_count(tmp_path: Path, place: Place) -> None:
    job = job_in(tmp_path)
    for _ in range(2):
        run_job(job, STUDY, place, {}, FakeRunner(lambda *_: time.sleep(0.05) or 1), threading.Event())
    assert json.loads((job.folder / "job.json").read_text())["seconds"] >= 0.1


def test_a_training_that_outlived_its_study_is_waited_for(
    tmp_path: Path, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    job, runner = job_in(tmp_path), FakeRunner()
    lock = OutputLock(job.folder / "train")
    lock.acquire()
    thread = threading.Thread(target=run_job, args=(job, STUDY, place, {}, runner, threading.Event()))
    thread.start()
    told, until = "", time.monotonic() + 20
    while "waiting: another training is writing here" not in told and time.monotonic() < until:
        told += capsys.readouterr().out
        time.sleep(0.02)
    assert time.monotonic() < until
    assert runner.names == []
    lock.release()
    thread.join(20)
    assert runner.names == ["mine job", "mine job test"]
