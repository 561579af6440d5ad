"""How long a step takes, and with how many threads: the clock and the machine are the tests' own."""

import os
from collections.abc import Callable, Iterator

import pytest
import torch

from cxr_monai.training import speed
from cxr_monai.training.speed import choose_threads, go_on_with_threads, load_if_busy, typical_seconds


class Machine:
    """A clock, a number of threads, and steps that last as long as they are told."""

    def __init__(self) -> None:
        self.now, self.threads = 0.0, 8

    def timed(self, step: Callable[[], None]) -> tuple[None, float]:
        began = self.now
        step()
        return None, self.now - began

    def by_threads(self, seconds: dict[int, float]) -> Callable[[], None]:
        """Return a step that lasts as long as the threads in use make it."""

        def run() -> None:
            self.now += seconds[self.threads]

        return run


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(speed, "typical_seconds", lambda step: made.timed(step))
    monkeypatch.setattr(speed, "usable_cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: made.threads)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: setattr(made, "threads", count))
    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 9.0, 9.0))
    return made


class Clock:
    """A clock that only the action moves."""

    def __init__(self, seconds: list[float]) -> None:
        self.now, self.seconds = 0.0, iter(seconds)

    def __call__(self) -> float:
        return self.now

    def action(self) -> float:
        taken = next(self.seconds)
        self.now += taken
        return taken


@pytest.mark.parametrize(
    ("seconds", "budget", "expected"),
    [
        ([100, 1, 2, 9, 1, 2], 60, 2),  # cold, then the median of five
        ([100, 40, 1, 1, 1, 1], 30, 40),  # timed once, whatever it takes
        ([100, 20, 30, 1, 1, 1], 30, 25),  # no more once the time is used
    ],
)
def test_the_first_run_does_not_count(seconds: list[float], budget: float, expected: float) -> None:
    clock = Clock(seconds)
    assert typical_seconds(clock.action, 5, budget, clock)[1] == expected


def test_an_idle_machine_keeps_its_threads(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    assert load_if_busy() is None
    assert choose_threads(machine.by_threads({8: 2.0, 4: 1.0})) == 2.0
    assert machine.threads == 8
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("seconds", "threads", "words"),
    [
        ({8: 2.0, 4: 0.5, 2: 0.4, 1: 0.7}, 2, "2 of 8 threads are used, which is faster"),
        ({8: 2.0, 4: 1.9, 2: 3.0, 1: 5.0}, 8, "8 threads; the estimate"),  # hardly faster: as they were
        ({8: 2.0, 4: 1.0, 2: 0.9, 1: 0.4}, 1, "1 of 8 threads are used, which is faster"),
    ],
)
def test_a_busy_machine_is_told_and_given_as_many_threads_as_are_fastest(
    seconds: dict[int, float],
    threads: int,
    words: str,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (20.0, 1.0, 1.0))
    assert choose_threads(machine.by_threads(seconds)) == pytest.approx(seconds[threads])
    assert machine.threads == threads
    assert f"the machine is busy (load 20.0, 8 cores): {words}" in caplog.text


def test_a_continued_training_keeps_its_threads_on_a_busy_machine(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (20.0, 1.0, 1.0))
    assert choose_threads(machine.by_threads({8: 2.0, 4: 0.5, 2: 0.4, 1: 0.7}), keep=True) == 2.0
    assert machine.threads == 8
    assert "the machine is busy (load 20.0, 8 cores): 8 threads" in caplog.text


def test_the_users_own_number_of_threads_stays(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (20.0, 1.0, 1.0))
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert choose_threads(machine.by_threads({8: 2.0})) == 2.0
    assert machine.threads == 8


@pytest.mark.parametrize(
    ("began", "own", "threads", "told"),
    [
        (None, None, 8, ""),
        (3, None, 3, ""),
        (3, "8", 8, "began with 3 threads and goes on with 8"),
        (16, None, 8, "began with 16 threads and goes on with 8"),  # another machine
    ],
)
def test_a_continued_training_has_the_threads_that_it_began_with(
    began: int | None,
    own: str | None,
    threads: int,
    told: str,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if own:
        monkeypatch.setenv("OMP_NUM_THREADS", own)
    go_on_with_threads(began)
    assert machine.threads == threads
    assert told in caplog.text
    assert bool(told) == bool(caplog.text)
