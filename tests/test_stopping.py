"""Signals: the first one ends politely, the second at once; workers leave them to their parent."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxr_monai import stopping
from cxr_monai.cli import main
from cxr_monai.stopping import Interrupted, asked, interruptible, kept_so_far, same_command, wait_for_step

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers_as_they_were() -> Iterator[None]:
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [
        (signal.SIGINT, 130, "interrupted (Ctrl-C)"),
        (signal.SIGTERM, 143, "interrupted (SIGTERM)"),
        (signal.SIGHUP, 129, "interrupted (the terminal was closed)"),
    ],
)
def test_a_signal_is_an_interruption_with_a_shells_status(number: signal.Signals, status: int, words: str) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, interruptible():
        signal.raise_signal(number)
    assert isinstance(caught.value, Interrupted)
    assert (caught.value.status, str(caught.value)) == (status, words)


def test_a_step_is_ended_first(capfd: pytest.CaptureFixture[str]) -> None:
    with interruptible():
        wait_for_step(True)
        signal.raise_signal(signal.SIGTERM)
        assert asked() == signal.SIGTERM
        assert capfd.readouterr().err == "\nending after this step; again to end at once\n"
        with pytest.raises(Interrupted):  # nobody has looked
            wait_for_step(False)
    assert asked() == 0


def test_several_signals_at_once_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal sends Ctrl-C to all processes, and torchrun sends it on; a second one comes later."""
    now, killed = [100.0], []
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(stopping.os, "kill", lambda process, number: killed.append((process, number)))
    with interruptible():
        wait_for_step(True)
        signal.raise_signal(signal.SIGINT)
        now[0] = 100.9
        signal.raise_signal(signal.SIGTERM)
        assert killed == []
        now[0] = 101.1
        signal.raise_signal(signal.SIGTERM)
        assert killed == [(os.getpid(), signal.SIGTERM)]
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with interruptible():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_within_a_command_that_handles_them_nothing_is_changed() -> None:
    with interruptible():
        with interruptible():
            pass
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)


WORKER = """
import os, signal, sys, time
from cxr_monai.stopping import ignore_signals
child = os.fork()
if not child:
    ignore_signals()
    print(os.getpid(), flush=True)
    time.sleep(60)
    os._exit(3)
sys.stdin.readline()
ended = 0
while not ended:
    os.kill(child, signal.SIGTERM)  # as multiprocessing ends its workers
    time.sleep(0.01)
    ended, status = os.waitpid(child, os.WNOHANG)
print(status, flush=True)
"""


def test_a_worker_ends_by_its_parent_alone() -> None:
    parent = subprocess.Popen([sys.executable, "-c", WORKER], stdin=-1, stdout=-1, stderr=-1, text=True)
    assert parent.stdin
    assert parent.stdout
    worker = int(parent.stdout.readline())
    for number in SIGNALS:
        os.kill(worker, number)
    out, err = parent.communicate("end\n", timeout=60)
    assert (out, err) == ("0\n", "")


MONAI = ["python", "-m", "monai.bundle", "run"]


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ([*MONAI, "--labels", "['A B']"], """python -m monai.bundle run --labels '['"'"'A B'"'"']'"""),
        ([*MONAI, "--restart", "True", "--epochs", "3"], "python -m monai.bundle run --epochs 3"),
        ([*MONAI, "--restart=True"], "python -m monai.bundle run"),
        (["python3", "/usr/bin/cxr-monai", "study", "x", "--restart", "--jobs", "2"], "cxr-monai study x --jobs 2"),
    ],
)
def test_the_command_that_goes_on(words: list[str], command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert same_command(words) == command
    monkeypatch.setenv("RANK", "1")
    assert same_command(words) == "the same torchrun command, without --restart True"


def test_what_is_kept_is_said_once() -> None:
    said = r"^interrupted \(Ctrl-C\); the rows are kept. Go on with: "
    with pytest.raises(Interrupted, match=said) as caught, kept_so_far("the training"), kept_so_far("the rows"):
        raise KeyboardInterrupt
    assert caught.value.status == 130


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_ends_with_one_line(
    number: signal.Signals,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from cxr_monai.cli import explain, phantom

    monkeypatch.setattr(phantom, "run", lambda arguments: signal.raise_signal(number))
    monkeypatch.setattr(explain, "run", lambda arguments: signal.raise_signal(number))
    name = {143: "SIGTERM", 130: "Ctrl-C"}[status]
    assert main(["phantom", str(tmp_path)]) == status
    assert capsys.readouterr().err == f"\ncxr-monai phantom: interrupted ({name})\n"
    assert main(["explain", "bundle", "image.png", "--out", str(tmp_path)]) == status
    err = capsys.readouterr().err
    assert err.startswith(f"\ncxr-monai explain: interrupted ({name}); the maps that are done are kept. Go on with: ")
    assert len(err.splitlines()) == 2
