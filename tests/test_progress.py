"""Progress: a bar on a terminal, lines elsewhere; the clock is the tests' own."""

import io
import os
import sys
import threading

import pytest

from cxr_monai import progress
from cxr_monai.progress import ProgressLines, duration, progress_bar


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        """Let time pass, and the reporter look as often as it would."""
        self.now += seconds
        progress._REPORTER.tick()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.delenv("CXR_MONAI_PROGRESS_SECONDS", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(progress.time, "monotonic", clock)
    monkeypatch.setattr(progress._Reporter, "_run", lambda self, wake: None)  # the tests look themselves
    monkeypatch.setattr(progress, "_REPORTER", progress._Reporter())
    return clock


def test_a_line_at_least_every_half_minute_and_one_at_the_end(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(total=5606, desc="predicting", unit="images") as bar:
        bar.update(600)
        clock.pass_(29.9)
        assert capsys.readouterr().err == ""
        clock.pass_(0.1)
        assert capsys.readouterr().err == "predicting: 600 of 5,606 images (10 %), 20.0 images/s, 4 min 10 s left\n"
        clock.pass_(30)  # a single step that takes long
        assert capsys.readouterr().err == "predicting: 600 of 5,606 images (10 %), 10.0 images/s, 8 min 21 s left\n"
        bar.update(5006)
        clock.now += 10
    assert capsys.readouterr() == ("", "predicting: 5,606 of 5,606 images (100 %) in 1 min 10 s\n")


def test_short_work_prints_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in progress_bar(range(3), total=3, desc="drawing", unit="images"):
        clock.pass_(9)
    assert capsys.readouterr() == ("", "")


def test_short_bars_one_after_the_other_are_not_silent(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    for epoch in (1, 2):
        with progress_bar(total=10, desc=f"training {epoch}/2", unit="images") as bar:
            clock.pass_(20)
            bar.update(10)
    # silent since the first began: due 10 s into the second, whose line comes at the next look
    assert capsys.readouterr().err == "training 2/2: 0 of 10 images (0 %), 20 s so far\n" + (
        "training 2/2: 10 of 10 images (100 %) in 20 s\n"
    )


def test_work_after_a_long_silence_is_new_work(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        with progress_bar(total=1, desc="short", unit="parts"):
            clock.pass_(5)
        clock.now += 3600
    assert capsys.readouterr().err == ""


def test_what_else_was_printed_counts(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(total=1, desc="training", unit="images"):
        clock.pass_(25)
        progress.spoke()
        clock.pass_(25)
        assert capsys.readouterr().err == ""
        clock.pass_(5)
        assert capsys.readouterr().err == "training: 0 of 1 images (0 %), 55 s so far\n"


def test_every_open_bar_gets_a_line_the_outermost_first(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    outer = progress_bar(total=8, desc="evaluating", unit="parts")
    outer.set_postfix_str("bootstrap of patients")
    inner = progress_bar(total=None, desc="reading", unit="B", note=lambda: "about 2 h left in all")
    inner.update(3_000_000)
    clock.pass_(30)
    assert capsys.readouterr().err.splitlines() == [
        "evaluating: 0 of 8 parts (0 %), 30 s so far; bootstrap of patients",
        "reading: 3.0 MB, 100.0 kB/s; about 2 h left in all",
    ]
    inner.close()
    inner.close()
    assert capsys.readouterr().err == "reading: 3.0 MB in 30 s\n"
    outer.close()


@pytest.mark.parametrize(
    ("initial", "done", "unit", "line"),
    [
        (0, 1, "networks", "x: 1 of 4 networks (25 %), 50 s each, 2 min 30 s left"),
        (2, 1, "images", "x: 3 of 4 images (75 %), 50 s each, 50 s left"),  # what was there already is no speed
        (0, 4, "B", "x: 4 B of 4 B (100 %), 50 s each, 0 s left"),
    ],
)
def test_what_a_line_says(clock: Clock, initial: int, done: int, unit: str, line: str) -> None:
    bar = ProgressLines(None, total=4, desc="x", unit=unit, initial=initial, show=False)
    bar.update(done)
    assert bar.line(50.0 if unit != "B" else 200.0) == line


@pytest.mark.parametrize(("show", "rank"), [(False, "0"), (True, "1")])
def test_nothing_from_a_bar_that_is_not_shown_nor_from_other_processes(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, show: bool, rank: str
) -> None:
    monkeypatch.setenv("RANK", rank)
    with progress_bar(total=1, desc="training", unit="images", show=show) as bar:
        bar.update()
        clock.pass_(100)
        assert bar.n == 1
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar(range(4), total=4, desc="maps", unit="images") as bar:
        assert [*bar] == [0, 1, 2, 3]
    assert "maps: 100%|" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()


def test_a_loop_that_is_left_early_closes_its_bar(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        for number in progress_bar(range(9), total=9, desc="reading", unit="files"):
            if number == 2:
                raise ValueError(number)

    with pytest.raises(ValueError, match="2"):
        fail()
    clock.pass_(100)
    assert capsys.readouterr().err == ""
    assert progress._REPORTER._bars == []


def test_the_lines_come_from_a_thread_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that hangs is told as well: here the main thread only waits for the line."""
    written = threading.Event()

    class Log(io.StringIO):
        def write(self, text: str) -> int:
            if text.startswith("exporting: 0 of 1 files"):
                written.set()
            return super().write(text)

    monkeypatch.setenv("CXR_MONAI_PROGRESS_SECONDS", "0.001")
    monkeypatch.setattr(sys, "stderr", Log())
    monkeypatch.setattr(progress, "_REPORTER", progress._Reporter())
    before = threading.active_count()
    with progress_bar(total=1, desc="exporting", unit="files"):
        assert threading.active_count() == before + 1
        assert written.wait(60)
        thread = progress._REPORTER._thread
    assert thread is not None
    thread.join(60)
    assert not thread.is_alive()  # none is left behind


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_worker_reports_nothing_of_its_parent() -> None:
    with progress_bar(total=1, desc="training", unit="images"):
        child = os.fork()
        if child == 0:
            os._exit(0 if not progress._REPORTER._bars and progress._REPORTER._thread is None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (90000, "25 h 0 min")],
)
def test_durations_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize("value", ["", "soon", "-1", "0", "nan"])
def test_an_interval_that_is_none_is_the_usual_one(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CXR_MONAI_PROGRESS_SECONDS", value)
    assert progress.line_interval() == 30


def test_bars_that_an_error_left_open_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_REPORTER", progress._Reporter())
    outer = progress.ProgressLines(None, total=2, desc="study", unit="trainings")

    @progress.closing_bars()
    def training() -> None:
        progress.ProgressLines(None, total=8, desc="training", unit="images")
        raise ValueError("the loss is no number")

    with pytest.raises(ValueError, match="no number"):
        training()
    assert progress._REPORTER.bars() == [outer]
    outer.close()
    assert progress._REPORTER.bars() == []
