"""A budget of processor time for what is done with a stranger's file: loops ask, and what takes too long ends.

with limited(10):
    for item in items:
        check_time()            # raises OverBudget after ten seconds of this thread

Outside of ``limited`` there is no budget and ``check_time`` does nothing, so the same loops serve one's own files.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class OverBudget(Exception):
    """The budget is spent; not an error of a value, so that nothing takes it for a damaged file.

    Attributes:
        seconds: of the budget.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


_budget: ContextVar[tuple[float, float] | None] = ContextVar("budget", default=None)
# the seconds, and the time of the thread at which they are spent


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Give everything inside ``seconds`` of processor time of this thread; a smaller budget around it stays."""
    outer, end = _budget.get(), time.thread_time() + seconds
    token = _budget.set(outer if outer is not None and outer[1] < end else (seconds, end))
    try:
        yield
    finally:
        _budget.reset(token)


def check_time() -> None:
    """Raise :class:`OverBudget` if the budget is spent; about a microsecond."""
    budget = _budget.get()
    if budget is not None and time.thread_time() > budget[1]:
        raise OverBudget(budget[0])
