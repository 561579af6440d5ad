"""No film holds up the others for ever: a process that is too long at one ends, which counts as an attempt.

with film_watch() as go_on:
    ...                     # a film
    go_on()                 # the next one
"""

import faulthandler
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HANG_S = 900.0
"""Seconds that one film may take."""


@contextmanager
def film_watch() -> Iterator[Callable[[], None]]:
    """End the process if the block, or what comes between two calls, takes longer than :data:`HANG_S`.

    Where it was goes to standard error: names of files and functions with their lines, no values.
    """

    def begin() -> None:
        if sys.__stderr__ is not None:
            faulthandler.dump_traceback_later(HANG_S, exit=True, file=sys.__stderr__)

    begin()
    try:
        yield begin
    finally:
        faulthandler.cancel_dump_traceback_later()
