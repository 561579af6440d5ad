"""Ctrl-C, a plain kill, a closed terminal: one way to end, what was done kept, and a line that says how to go on.

The first signal raises `Interrupted`, at once or, while something asked for it (`wait_for_step`), after the step at
hand; the second ends the process on the spot. Signals that were ignored when the process began (``nohup``, a shell's
background jobs) stay ignored. Exit status: 128 and the signal's number, as a shell says it (130, 143, 129).
"""

import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

TOGETHER = 1.0
"""Seconds within which several signals are one: a terminal and ``torchrun`` both tell every process."""

_NAMES = {"SIGINT": "Ctrl-C", "SIGTERM": "SIGTERM", "SIGHUP": "the terminal was closed"}


class Interrupted(KeyboardInterrupt):
    """The process received a signal to end.

    Args:
        number: of the signal.

    Attributes:
        status: the exit status.
        how_to_continue: what is kept and which command goes on from it; empty where nobody has said.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.number = signal.Signals(number)
        self.status = 128 + int(number)
        self.how_to_continue = ""

    def __str__(self) -> str:
        text = f"interrupted ({_NAMES.get(self.number.name, self.number.name)})"
        return f"{text}; {self.how_to_continue}" if self.how_to_continue else text


class _State:
    """The signal that this process has received, and whether it waits for the end of a step.

    Attributes:
        process: whose signals are handled; a forked worker has this state, too.
        number: of the first signal; 0 before.
        at: when it came.
        waiting: True while a step is to be ended first.
    """

    def __init__(self) -> None:
        self.process, self.number, self.at, self.waiting = 0, 0, 0.0, False


_STATE = _State()


def as_interrupted(error: KeyboardInterrupt) -> Interrupted:
    """Return the error itself, or what a bare ``KeyboardInterrupt`` means."""
    return error if isinstance(error, Interrupted) else Interrupted()


@contextmanager
def interruptible() -> Iterator[None]:
    """Handle the signals in the way of this module, and put the handlers back afterwards."""
    before = handle_signals()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if before:
            _STATE.__init__()  # type: ignore[misc]


def handle_signals() -> dict[signal.Signals, Any]:
    """Handle the signals in the way of this module from now on; returns the handlers before.

    Nothing happens outside the main thread, where Python allows no handler, nor where they are handled so already.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    before: dict[signal.Signals, Any] = {}
    for name in _NAMES:
        number = getattr(signal, name, None)
        if number is None or signal.getsignal(number) not in (signal.SIG_DFL, signal.default_int_handler):
            continue  # a signal that is ignored on purpose, or handled by someone else
        before[number] = signal.signal(number, _handle)
    if before:
        _STATE.__init__()  # type: ignore[misc]
        _STATE.process = os.getpid()
    return before


def _handle(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _STATE.process:
        raise KeyboardInterrupt  # a forked worker: PyTorch's ends quietly
    now = time.monotonic()
    if _STATE.number:
        if now - _STATE.at > TOGETHER:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        return
    _STATE.number, _STATE.at = number, now
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # it calls this an error, in two lines of its own
    if not _STATE.waiting:
        raise Interrupted(number)
    _print("ending after this step; again to end at once")


def wait_for_step(waiting: bool) -> None:
    """From now on, end after the current step, which checks `asked` at its end; False: at once.

    Raises:
        Interrupted: if False comes after a signal that nobody has looked at.
    """
    _STATE.waiting = waiting
    if not waiting and asked():
        raise Interrupted(asked())


@contextmanager
def kept_so_far(partial_result: str) -> Iterator[None]:
    """Add to an interruption inside the block that partial results are kept, and the command that continues.

    Args:
        partial_result: what is kept, such as ``the maps that are finished``.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        interrupted = as_interrupted(error)
        if not interrupted.how_to_continue:
            interrupted.how_to_continue = f"{partial_result} are kept. Go on with: {same_command()}"
        raise interrupted from None


def asked() -> int:
    """Return the number of the signal that this process was sent; 0 if none was."""
    return _STATE.number if os.getpid() == _STATE.process else 0


def ignore_signals(*_: object) -> None:
    """Leave signals to the process that started this worker: a terminal or a job manager signals both.

    The initialiser of a pool, or the ``worker_init_fn`` of a loader. A worker still ends when its parent says so, by
    SIGTERM as Python's multiprocessing does it.
    """
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # elsewhere it can't be told who sent it
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_obey_parent, name="signals", daemon=True).start()
    else:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _obey_parent() -> None:
    while True:
        if signal.sigwaitinfo([signal.SIGTERM]).si_pid == os.getppid():
            os._exit(0)


def same_command(words: Sequence[str] | None = None) -> str:
    """Return the command that started this process, to be pasted into a shell; without ``--restart``.

    Args:
        words: of the command; the process' own where None.
    """
    if "RANK" in os.environ:  # torchrun is not among this process' arguments
        return "the same torchrun command, without --restart True"
    words = list(sys.orig_argv if words is None else words)
    if len(words) > 1 and os.path.basename(words[1]) == "cxr-monai":
        words = ["cxr-monai", *words[2:]]
    command: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        of_restart = before == "--restart" and word.lower() in ("true", "false")
        if word != "--restart" and not word.startswith("--restart=") and not of_restart:
            command.append(word)
    return shlex.join(command)


def _print(line: str) -> None:
    if os.environ.get("RANK", "0") == "0" and sys.stderr is not None:
        os.write(2, f"\n{line}\n".encode())  # not through Python's buffer, which may be in use at this moment
