"""The supervisor: starts receiver, analyser and deliverer, starts one that died again, and ends all three in order.

A part that dies is started again after a pause that doubles each time, up to a minute; it begins anew once a part has
run for as long. A part's standard input is a pipe whose other end only the supervisor holds: if the supervisor is
killed, the pipe closes and the part ends by itself. (Linux' PR_SET_PDEATHSIG would do so on one system alone, and
follows the thread that started the process.)
"""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cxr_monai.locking import FileHold

from .node_logging import node_logger, set_up_logging
from .part_process import PARTS, stop_event
from .settings import NodeSettings
from .spool import Spool

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
END_S = 60.0
"""Seconds that a part may take to finish what it does, before it is killed."""
POLL_S = 0.2


@dataclass
class PartProcess:
    """One part's process.

    Attributes:
        name: of the part.
        process: the last that was started.
        started: when, on the monotonic clock.
        pause_s: before the next start.
        next_start: when, on the monotonic clock; None while it runs.
    """

    name: str
    process: subprocess.Popen
    started: float
    pause_s: float = FIRST_PAUSE_S
    next_start: float | None = None


class Supervisor:
    """The three processes of a node.

    Args:
        config: path of the settings' file, for the parts.
        settings: read from it.
        program: the words that start this program; the package by Python's ``-m`` where empty.

    Raises:
        TrainingError: ``output-locked`` while another node has the spool.
    """

    def __init__(self, config: str | Path, settings: NodeSettings, program: Sequence[str] = ()) -> None:
        self.config, self.log = Path(config).absolute(), node_logger("supervisor")
        self.program = [*program] or [sys.executable, "-m", str(__package__)]
        self._spool = Spool(settings.spool)
        self._hold = FileHold.of(self._spool.folder / "node.lock", self._spool.folder)
        self.parts: list[PartProcess] = []

    def run(self, stop: threading.Event) -> None:
        """Keep the parts running until ``stop`` is set, then end them in order."""
        try:
            self.parts = [PartProcess(name, self._start(name), time.monotonic()) for name in PARTS]
            while not stop.wait(POLL_S):
                for part in self.parts:
                    self._look_at(part)
        finally:
            self._end_all()
            self._hold.release()
            self._spool.close()

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """What cannot be noted now, as on a full disk, ends no node."""
        try:
            yield
        except sqlite3.Error as error:
            self.log.warning("the parts' state cannot be noted now: %s", error)

    def _start(self, name: str) -> subprocess.Popen:
        command = [*self.program, "--config", str(self.config), "--only", name, "--supervised"]
        environment = dict(os.environ)
        if str(__package__).startswith("apps."):  # a clone: importable only from its own folder
            clone = str(Path(__file__).resolve().parents[2])
            environment["PYTHONPATH"] = os.pathsep.join([clone, *filter(None, [os.environ.get("PYTHONPATH")])])
        # a process group of its own: Ctrl-C reaches the supervisor alone, which ends the parts in order
        process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, process_group=0)
        with self._noting():
            self._spool.note_part(name, "starting", pid=process.pid)
        self.log.info("%s: started (process %d)", name, process.pid)
        return process

    def _look_at(self, part: PartProcess) -> None:
        now = time.monotonic()
        if part.next_start is not None:
            if now >= part.next_start:
                part.process, part.started, part.next_start = self._start(part.name), now, None
        elif (status := part.process.poll()) is not None:
            _close_pipe(part.process)
            if now - part.started > LONGEST_PAUSE_S:
                part.pause_s = FIRST_PAUSE_S
            part.next_start = now + part.pause_s
            how = f"killed by signal {-status}" if status < 0 else f"ended with status {status}"
            self.log.error("%s: %s; it starts again in %g s", part.name, how, part.pause_s)
            with self._noting():
                self._spool.note_restart(part.name, f"{how}; it starts again")
            part.pause_s = min(2 * part.pause_s, LONGEST_PAUSE_S)

    def _end_all(self) -> None:
        for part in self.parts:
            part.process.terminate()
            try:
                part.process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.log.error("%s: did not end within %g s; killed", part.name, END_S)
                part.process.kill()
                part.process.wait()
            _close_pipe(part.process)
            with self._noting():
                self._spool.note_part(part.name, "ended")
        self.log.info("ended")


def _close_pipe(process: subprocess.Popen) -> None:
    if process.stdin is not None:
        process.stdin.close()


def run_node(config: str | Path, settings: NodeSettings) -> int:
    """Run a node until it is told to end; return the exit status.

    Args:
        config: path of the settings' file.
        settings: read from it.
    """
    set_up_logging("supervisor", settings.log_format)
    Supervisor(config, settings).run(stop_event())
    return 0
