"""A budget of processor time for untrusted files: loops check it, and work that takes too long is ended.

with limited(10):
    for item in items:
        check_time()            # raises OverBudget after ten seconds of this thread

Outside of ``limited`` there is no budget and ``check_time`` does nothing, so the same loops serve one's own files.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


class OverBudget(Exception):
    """The budget is spent; not an error of a value, so that nothing takes it for a damaged file.

    Attributes:
        seconds: of the budget.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


EVERY = 64
"""Short steps between two looks at the clock: it takes up to 40 microseconds (on virtual machines)."""


@dataclass
class _Budget:
    """The seconds, the time of the thread at which they are spent, and the short steps so far."""

    seconds: float
    end: float
    steps: int = 0


_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Limit the block to ``seconds`` of this thread's processor time; a smaller budget around it stays."""
    outer, end = _budget.get(), time.thread_time() + seconds
    token = _budget.set(outer if outer is not None and outer.end < end else _Budget(seconds, end))
    try:
        yield
    finally:
        _budget.reset(token)


def check_time(short: bool = False) -> None:
    """Raise :class:`OverBudget` if the budget is spent.

    Args:
        short: this is a step of a loop with many short ones (well below a millisecond), of which the first and then
            each 64th looks at the clock.
    """
    budget = _budget.get()
    if budget is None:
        return
    if short:
        budget.steps += 1
        if budget.steps % EVERY != 1:
            return
    if time.thread_time() > budget.end:
        raise OverBudget(budget.seconds)
