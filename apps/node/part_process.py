"""One part of the node as a process: ``cxr-monai-node --config node.toml --only receive|analyse|deliver``.

A part is a function of the settings and a stop event (:data:`PARTS`); its module is imported in its own process alone,
so that the receiver never imports what the analyser needs. The event is set by SIGTERM, by Ctrl-C, and when the
supervisor is gone.
"""

import _thread
import importlib
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from types import FrameType

from cxr_monai.errors import Code, CxrError
from cxr_monai.locking import FileHold

from .error_places import error_place
from .node_logging import node_logger, set_up_logging
from .settings import NodeSettings
from .spool import Spool
from .spool_care import care_for_spool, remove_lost_results

PARTS = {
    "receive": ("receiver", "run_receiver"),
    "analyse": ("analyser", "run_analyser"),
    "deliver": ("deliverer", "run_deliverer"),
}
"""The parts in the order in which they are ended: module and function of each."""

ORPHAN_S = 60
"""Seconds that a part whose supervisor is gone may take to finish what it does."""

RunPart = Callable[[NodeSettings, threading.Event], None]


def check_extra() -> None:
    """Check that what the node needs is installed, without importing it.

    Raises:
        CxrError: ``runtime-missing``.
    """
    missing = [name for name in ("pynetdicom", "highdicom", "dicomweb_client") if find_spec(name) is None]
    if missing:
        raise CxrError(
            Code.RUNTIME_MISSING,
            f"the node needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed.",
            fix="Install them: pip install 'cxr-monai[node]'.",
        )


def run_part(name: str, settings: NodeSettings, is_supervised: bool = False) -> int:
    """Run one part until it is told to end; return its exit status.

    Args:
        name: of :data:`PARTS`.
        settings: of the node.
        is_supervised: standard input is a pipe that closes when the supervisor is gone, however it ended.
    """
    set_up_logging(name, settings.log_format)
    stop = stop_event()
    if is_supervised:
        threading.Thread(target=_stop_with_supervisor, args=(stop,), name="supervisor", daemon=True).start()
    spool = Spool(settings.spool)
    hold = FileHold.of(spool.folder / f"{name}.lock", spool.folder / f"{name}.lock")
    try:
        note_if_possible(spool, name, "running")
        if name == "analyse":
            remove_lost_results(spool)
        elif name == "deliver":
            threading.Thread(target=care_for_spool, args=(settings, stop), name="care", daemon=True).start()
        part_function(name)(settings, stop)
    except CxrError as error:
        node_logger(name).error("%s [%s]", error, error.code)
        note_if_possible(spool, name, "failed", str(error.code), str(error))
        return 1
    except Exception as error:  # without its text, which may quote a film; the supervisor starts the part again
        text = f"it ended with an error that it did not expect: {error_place(error)}."
        node_logger(name).error("%s", text)
        note_if_possible(spool, name, "failed", str(Code.SYSTEM_ERROR), text)
        return 1
    finally:
        hold.release()
        spool.close()
    return 0


def note_if_possible(spool: Spool, name: str, state: str, code: str = "", text: str = "") -> None:
    """Note how a part is; where that cannot be written, as on a full disk, the part goes on all the same.

    Args:
        spool: opened.
        name, state, code, text: as of ``Spool.note_part``.
    """
    try:
        spool.note_part(name, state, code, text)
    except sqlite3.Error as error:
        node_logger(name).warning("its state (%s) cannot be noted now: %s", state, error)


def part_function(name: str) -> RunPart:
    """Import the module of a part and return its function.

    Args:
        name: of :data:`PARTS`.
    """
    module, function = PARTS[name]
    return getattr(importlib.import_module(f".{module}", __package__), function)


def stop_event() -> threading.Event:
    """Return an event that SIGTERM and Ctrl-C set in this process; in a worker that was forked from it they end it."""
    stop, process = threading.Event(), os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:
            os._exit(128 + number)
        _thread.start_new_thread(stop.set, ())  # not here: whoever waits in this thread may hold the event's lock

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return stop


def _stop_with_supervisor(stop: threading.Event) -> None:
    """Wait until the pipe closes, then give the part its time to end."""
    while os.read(sys.stdin.fileno(), 64):
        pass
    stop.set()
    threading.Event().wait(ORPHAN_S)
    os._exit(1)
