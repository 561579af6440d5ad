"""The estimate comes from warm batches, and a busy machine is said."""

import logging
from collections.abc import Iterator

import pytest

from cxr_monai.training.preflight import typical_seconds, warn_if_busy


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


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING):
        yield caplog


@pytest.mark.parametrize(("load", "told"), [(2.0, False), (2.1, True)])
def test_a_busy_machine_is_said(warnings: pytest.LogCaptureFixture, load: float, told: bool) -> None:
    warn_if_busy(2, load)
    assert ("this machine is busy" in warnings.text) == told
    assert ("OMP_NUM_THREADS=1" in warnings.text) == told
