"""Progress that people can read: a bar on a terminal; elsewhere, in a log, a line at least every half minute.

A line says what is done, how much of it, how fast, and how long the rest takes::

    predicting: 1,234 of 5,606 images (22 %), 41.2 images/s, 1 min 46 s left

Work that ends sooner prints nothing; work that has printed prints a last line. Bars that follow one another count as
one piece of work, so that many short ones are not silent either. The lines come from a thread of their own: a single
step may take longer than the interval. Of several processes (``torchrun``) only the first shows anything.

``CXR_MONAI_PROGRESS_SECONDS`` is the interval where it is not to be 30.
"""

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

__all__ = ["duration"]

LINE_SECONDS = 30.0
"""Between two lines."""

_FORK_HANDLED = False


class Bar(Protocol):
    """The interface of a progress bar, with or without a terminal.

    Attributes:
        n: how much is done.
        total: of how much; None if that is unknown.
    """

    n: float
    total: float | None

    def update(self, n: float = 1, /) -> Any: ...
    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None: ...
    def refresh(self) -> Any: ...
    def close(self) -> None: ...
    def __enter__(self) -> Any: ...
    def __exit__(self, *error: Any) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...


def progress_bar(
    iterable: Iterable[Any] | None = None,
    *,
    total: float | None,
    desc: str,
    unit: str,
    initial: float = 0,
    leave: bool = True,
    show: bool = True,
    note: Callable[[], str] | None = None,
) -> Bar:
    """Return a progress bar on standard error; one that writes lines where standard error is no terminal.

    Args:
        iterable: what is iterated over, counting; without it, call ``update``.
        total: how many there are; None if that is unknown.
        desc: what is being done, such as ``predicting``.
        unit: what is counted, in the plural: ``images``. ``B`` is shown as kB, MB or GB.
        initial: how many are done already.
        leave: whether the bar stays on the terminal when it is full.
        show: False shows nothing; nor does any process but the first of several.
        note: called for what a line says at its end, such as the time left of all that follows.
    """
    visible = show and os.environ.get("RANK", "0") == "0"
    if visible and sys.stderr is not None and sys.stderr.isatty():
        from tqdm import tqdm

        return tqdm(
            iterable,
            total=total,
            desc=desc,
            unit=unit if unit == "B" else f" {unit}",
            unit_scale=unit == "B",
            initial=initial,
            leave=leave,
        )
    return ProgressLines(iterable, total=total, desc=desc, unit=unit, initial=initial, show=visible, note=note)


def say(text: str, file: TextIO | None = None) -> None:
    """Print a line without breaking a progress bar, and count it as a sign of life.

    Args:
        text: the line.
        file: where it goes; standard output where None.
    """
    from tqdm import tqdm

    tqdm.write(text, file=file)
    spoke()


def spoke() -> None:
    """Record that something was printed or logged: the next line of progress is due an interval later."""
    _REPORTER.quiet_since = time.monotonic()


@contextmanager
def closing_bars() -> Iterator[None]:
    """Close, at the end, what was opened within: after an error a bar would be told as long as the process lives."""
    before = _REPORTER.bars()
    try:
        yield
    finally:
        for bar in _REPORTER.bars():
            if not any(bar is other for other in before):
                bar.close()


def duration(seconds: float) -> str:
    """Return a duration for people: ``45 s``, ``3 min 20 s``, ``2 h 5 min``.

    >>> duration(45), duration(200), duration(7500)
    ('45 s', '3 min 20 s', '2 h 5 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class ProgressLines:
    """A bar without a terminal; see `progress_bar` for its arguments."""

    def __init__(
        self,
        iterable: Iterable[Any] | None,
        *,
        total: float | None,
        desc: str,
        unit: str,
        initial: float = 0,
        show: bool = True,
        note: Callable[[], str] | None = None,
    ) -> None:
        self.iterable, self.total, self.desc, self.unit, self.note = iterable, total, desc, unit, note
        self.n = self._initial = initial
        self._postfix = ""
        self._began = time.monotonic()
        self._printed = False
        self._open = show
        if show:
            _REPORTER.add(self)

    def update(self, n: float = 1) -> None:
        self.n += n

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        self._postfix = s

    def refresh(self) -> None:
        """Do nothing: lines are written when they are due."""

    def close(self) -> None:
        """Write the last line if there was any; a second call does nothing."""
        if self._open:
            self._open = False
            _REPORTER.remove(self)
            if self._printed:
                _print(self.last_line(time.monotonic() - self._began))

    def __enter__(self) -> "ProgressLines":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        if self.iterable is None:
            raise TypeError("this bar was given nothing to iterate over")
        try:
            for item in self.iterable:
                yield item
                self.n += 1
        finally:
            self.close()

    def write_line(self) -> None:
        """Write a line of progress."""
        self._printed = True
        _print(self.line(time.monotonic() - self._began))

    def line(self, seconds: float) -> str:
        """Return the line of progress after some seconds."""
        done = self.n - self._initial
        parts = [f"{self.desc}: {self._amount()}"]
        if done > 0 and seconds > 0:
            rate = done / seconds
            # of slow work the seconds of one: "0.0 images/s" would show nothing
            parts.append(f"{_counted(rate, self.unit, 1)}/s" if rate >= 0.1 else f"{1 / rate:.0f} s each")
            if self.total is not None:
                parts.append(f"{duration(max(0.0, self.total - self.n) / rate)} left")
        else:
            parts.append(f"{duration(seconds)} so far")
        return "; ".join([", ".join(parts), *filter(None, [self._postfix, self.note() if self.note else ""])])

    def last_line(self, seconds: float) -> str:
        """Return the last line: what was done, and in how many seconds."""
        return f"{self.desc}: {self._amount()} in {duration(seconds)}"

    def _amount(self) -> str:
        if self.total is None:
            return _counted(self.n, self.unit)
        share = f" ({math.floor(100 * self.n / self.total)} %)" if self.total else ""
        number, _, unit = _counted(self.total, self.unit).partition(" ")
        done = _counted(self.n, self.unit) if self.unit == "B" else f"{self.n:,.0f}"
        return f"{done} of {number} {unit}{share}"


class _Reporter:
    """The thread that writes the lines of the bars that are open, the outermost first.

    Attributes:
        quiet_since: when something was last shown, or the work began.
    """

    def __init__(self) -> None:
        self.quiet_since = self._idle_since = -math.inf
        self._bars: list[ProgressLines] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def bars(self) -> list["ProgressLines"]:
        """Return the bars that are open, the outermost first."""
        with self._lock:
            return list(self._bars)

    def add(self, bar: ProgressLines) -> None:
        _handle_forks()
        with self._lock:
            now = time.monotonic()
            if not self._bars and now - self._idle_since > line_interval():
                self.quiet_since = now  # a new piece of work; bars that follow at once go on with the last one
            self._bars.append(bar)
            if self._thread is None or not self._thread.is_alive():
                self._wake = threading.Event()
                self._thread = threading.Thread(target=self._run, args=(self._wake,), name="progress", daemon=True)
                self._thread.start()

    def remove(self, bar: ProgressLines) -> None:
        with self._lock:
            self._bars = [other for other in self._bars if other is not bar]
            if not self._bars:
                self._idle_since = time.monotonic()
                self._thread = None
                self._wake.set()  # ends the thread: none is left waiting where nothing is done

    def tick(self) -> None:
        """Write a line for every open bar if that is due."""
        with self._lock:
            now = time.monotonic()
            if not self._bars or now - self.quiet_since < line_interval():
                return
            self.quiet_since = now
            for bar in self._bars:  # under the lock: none writes a line after its last one
                bar.write_line()

    def _run(self, wake: threading.Event) -> None:
        while not wake.wait(max(0.01, min(line_interval(), self.quiet_since + line_interval() - time.monotonic()))):
            self.tick()


def line_interval() -> float:
    """Return the seconds between two lines."""
    try:
        seconds = float(os.environ.get("CXR_MONAI_PROGRESS_SECONDS", ""))
    except ValueError:
        return LINE_SECONDS
    return seconds if seconds > 0 else LINE_SECONDS


_REPORTER = _Reporter()


def _handle_forks() -> None:
    """Start anew in a forked child (a worker of a data loader): it has the bars, but neither their thread nor work."""
    global _FORK_HANDLED
    if not _FORK_HANDLED and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _REPORTER.__init__())  # type: ignore[misc]
    _FORK_HANDLED = True


def _counted(number: float, unit: str, digits: int = 0) -> str:
    """Return a number and its unit; bytes as kB, MB or GB."""
    if unit != "B":
        return f"{number:,.{digits}f} {unit}"
    for size, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= size:
            return f"{number / size:.1f} {name}"
    return f"{number:.0f} B"


def _print(line: str) -> None:
    if sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)
