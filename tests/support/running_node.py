"""A whole node as it runs in a hospital: supervisor, receiver, analyser, deliverer as processes, by its command.

with hospital_network(), Orthanc(folder / "archive") as archive:
    with RunningNode(folder / "node", bundle, {"archive": archive}) as node:
        answers = send_films(node.port, films)      # C-STORE statuses
        node.wait_until_done(len(films))
"""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pynetdicom import AE

from tests.support.hospital_network import Orthanc, free_port

CLONE = Path(__file__).resolve().parents[2]
DEADLINE_S = 300
SUCCESS = 0x0000
ACKNOWLEDGED = "Received C-STORE Response (Success)"
"""Of dcmsend's report."""


def wait_for(condition: Callable[[], object], what: str, seconds: float = DEADLINE_S) -> None:
    """Wait until a condition holds; the deadline is for a node that hangs, not a measure.

    Args:
        condition: to look at.
        what: for the message.
        seconds: until it is given up.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.1)


class RunningNode:
    """A node; start it within a network of its own.

    Args:
        folder: for its settings, spool and log.
        bundle: that answers.
        archives: by the name of the destination.
        receive: settings of the receiver, such as ``reserve_mb``.
        destinations: further tables of destinations.

    Attributes:
        port: it listens at, the same after a restart.
        spool, log: paths.
        process: of the supervisor.
    """

    def __init__(
        self,
        folder: Path,
        bundle: Path,
        archives: Mapping[str, Orthanc],
        receive: Mapping[str, Any] | None = None,
        destinations: Sequence[Mapping[str, Any]] = (),
        analyse: Mapping[str, Any] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.spool, self.log = free_port(), folder / "spool", folder / "log.txt"
        self.config = folder / "node.toml"
        tables: list[tuple[str, Mapping[str, Any]]] = [
            ("[receive]", {"port": self.port, "reserve_mb": 1} | dict(receive or {})),
            ("[analyse]", {"bundle": str(bundle), "threads": 1} | dict(analyse or {})),
        ]
        for name, archive in archives.items():
            place = {"name": name, "host": "127.0.0.1", "port": archive.dicom_port, "ae_title": archive.ae_title}
            tables.append(("[[destination]]", place))
        tables += [("[[destination]]", place) for place in destinations]
        self.config.write_text(f"spool = {json.dumps(str(self.spool))}\n" + "".join(_table(*one) for one in tables))
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> "RunningNode":
        self.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it takes films."""
        self.process = self.command_process()
        wait_for(lambda: can_echo(self.port) or self._ended(), "the receiver answers C-ECHO")
        assert not self._ended(), self.log.read_text()

    def command_process(self, *words: str) -> subprocess.Popen:
        """Start the command with further words; its output goes to the log."""
        with self.log.open("ab") as log:
            return subprocess.Popen(self._words(*words), stdout=log, stderr=log, env=_environment())

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the command with further words, such as ``status``."""
        return subprocess.run(self._words(*words), capture_output=True, text=True, env=_environment(), check=False)

    def _words(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "apps.node", "--config", str(self.config), *words]

    def _ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def stop(self) -> int:
        """End it as an administrator does, and return its exit status."""
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(signal.SIGTERM)
        return process.wait(DEADLINE_S)

    def pids(self) -> dict[str, int]:
        """Return the process of each part."""
        return dict(self.rows("SELECT name, pid FROM parts"))

    def kill(self, part: str) -> int:
        """End a part by ``kill -9``; return the process that it was.

        Args:
            part: ``receive``, ``analyse`` or ``deliver``.
        """
        pid = self.pids()[part]
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_for_another(self, part: str, pid: int) -> None:
        """Wait until a part runs in another process than that; the receiver, until it listens."""
        running = "SELECT pid FROM parts WHERE name = ? AND state NOT IN ('starting', 'restarting')"
        wait_for(lambda: self.rows(running, part) not in ([], [(pid,)]), f"{part} was started again")
        if part == "receive":
            wait_for(lambda: listens(self.port), "the receiver listens again")

    def rows(self, query: str, *values: Any) -> list[tuple]:
        """Return what is in the node's database."""
        with closing(sqlite3.connect(f"file:{self.spool / 'node.db'}?mode=ro", uri=True, timeout=60)) as database:
            return database.execute(query, values).fetchall()

    def answers(self) -> dict[str, tuple[str, str]]:
        """Return state and code of each film's answer, by digest."""
        rows = self.rows("SELECT digest, state, code FROM answers WHERE role = 'main'")
        return {digest: (state, code) for digest, state, code in rows}

    def is_at_work(self, films: int) -> bool:
        """Return whether the analyser has answered all of so many films: it waits for the next."""
        states = [state for state, _ in self.answers().values()]
        return len(states) >= films and "taken" not in states

    def is_done(self, films: int) -> bool:
        """Return whether so many films have an answer and nothing waits for a destination."""
        done = "SELECT count(*) FROM answers WHERE role = 'main' AND state IN ('answered', 'refused', 'failed')"
        waiting = "SELECT count(*) FROM deliveries WHERE state = 'waiting'"
        return self.rows(done) == [(films,)] and self.rows(waiting) == [(0,)]

    def wait_until_done(self, films: int) -> None:
        """Wait until :meth:`is_done`."""
        wait_for(
            lambda: self.is_done(films), f"{films} films are done: {self.answers()}; {self.log.read_text()[-3000:]}"
        )


def _table(head: str, values: Mapping[str, Any]) -> str:
    lines = [f"{name} = {_inline(value)}" for name, value in values.items()]
    return "\n".join([head, *lines, ""])


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {_inline(each)}" for name, each in value.items()) + "}"
    return json.dumps(str(value) if isinstance(value, Path) else value)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CLONE), "OMP_NUM_THREADS": "1"}


def listens(port: int) -> bool:
    """Return whether a connection is taken; pynetdicom leaves its socket open when one is not."""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def can_echo(port: int) -> bool:
    """Return whether a node answers C-ECHO."""
    if not listens(port):
        return False
    entity = AE(ae_title="WATCH")
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate("127.0.0.1", port, ae_title="CXRNODE")
    if not association.is_established:
        return False
    status = association.send_c_echo()
    association.release()
    return status.get("Status") == SUCCESS


def send_films(port: int, films: Iterable[Path], calling: str = "SENDER", called: str = "CXRNODE") -> dict[Path, int]:
    """Send films by C-STORE over one association; return the status of each that was answered.

    Args:
        port: of the node.
        films: files.
        calling, called: AE titles.
    """
    films = list(films)
    entity = AE(ae_title=calling)
    wanted = {(str(header.SOPClassUID), str(header.file_meta.TransferSyntaxUID)) for header in map(_header, films)}
    for sop_class, syntax in sorted(wanted):
        entity.add_requested_context(sop_class, syntax)
    statuses: dict[Path, int] = {}
    if not listens(port):
        return statuses
    association = entity.associate("127.0.0.1", port, ae_title=called)
    for film in films:
        if not association.is_established:
            break
        status = association.send_c_store(film)
        if "Status" in status:
            statuses[film] = status.Status
    if association.is_established:
        association.release()
    return statuses


def dcmsend(port: int, films: Sequence[Path]) -> str:
    """Send films by dcmtk's dcmsend and return what it reports."""
    words = ["dcmsend", "-v", "-nuc", "-aet", "SENDER", "-aec", "CXRNODE", "127.0.0.1", str(port), *map(str, films)]
    ran = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return ran.stdout


def send_until_acknowledged(port: int, films: Sequence[Path]) -> int:
    """Send films one by one, each until it is acknowledged, as modalities do; return how often one was sent again."""
    again, end = 0, time.monotonic() + DEADLINE_S
    for film in films:
        while ACKNOWLEDGED not in dcmsend(port, [film]):
            assert time.monotonic() < end, f"never acknowledged: {film}"
            again += 1
            time.sleep(0.1)
    return again


def _header(film: Path) -> Any:
    return dcmread(film, specific_tags=["SOPClassUID"], stop_before_pixels=True)
