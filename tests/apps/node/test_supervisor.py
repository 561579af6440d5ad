"""The supervisor, with parts that only wait (``stub_node.py``): real processes, real signals."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from apps.node.part_process import PARTS
from apps.node.spool import Spool
from tests.support.small_disks import fill, small_disk

STUB = Path(__file__).with_name("stub_node.py")
CLONE = Path(__file__).resolve().parents[3]
DEADLINE_S = 120


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)


class StubNode:
    """A supervisor in a process of its own, over parts that only wait."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "node.toml").write_text('[analyse]\nbundle = "none"\n')
        self.process = self.start()

    def start(self) -> subprocess.Popen:
        command = [sys.executable, str(STUB), "supervise", "--config", str(self.folder / "node.toml")]
        environment = {**os.environ, "PYTHONPATH": str(CLONE)}
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def lines(self) -> list[str]:
        path = self.folder / "parts.txt"
        return path.read_text().splitlines() if path.exists() else []

    def wait_for_lines(self, *lines: str) -> None:
        wait_for(lambda: set(lines) <= set(self.lines()), f"{lines}; {(self.folder / 'log.txt').read_text()}")

    def rows(self) -> dict[str, tuple[str, int, int]]:
        with closing(sqlite3.connect(self.folder / "spool/node.db")) as database:
            return {name: tuple(row) for name, *row in database.execute("SELECT name, state, pid, restarts FROM parts")}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[StubNode]:
    stub = StubNode(tmp_path)
    try:
        stub.wait_for_lines(*(f"{name} runs" for name in PARTS))
        yield stub
    finally:
        stub.process.terminate()
        stub.process.wait(DEADLINE_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_parts_are_ended_in_order_the_receiver_first(node: StubNode, number: int) -> None:
    pids = [pid for _, pid, _ in node.rows().values()]
    node.process.send_signal(number)

    assert node.process.wait(DEADLINE_S) == 0
    assert node.lines()[3:] == ["receive ended", "analyse ended", "deliver ended"]
    assert {state for state, _, _ in node.rows().values()} == {"ended"}
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_part_that_was_killed_is_started_again(node: StubNode) -> None:
    pids = {name: pid for name, (_, pid, _) in node.rows().items()}
    os.kill(pids["analyse"], signal.SIGKILL)

    wait_for(lambda: node.lines().count("analyse runs") == 2, "analyse runs again")
    wait_for(lambda: node.rows()["analyse"][0] == "running", "the status says that it runs")
    state, pid, restarts = node.rows()["analyse"]
    assert (state, restarts) == ("running", 1)
    assert pid != pids["analyse"]
    assert {name: row[1] for name, row in node.rows().items() if name != "analyse"} == {
        name: pid for name, pid in pids.items() if name != "analyse"
    }
    assert "analyse: killed by signal 9; it starts again in 1 s" in (node.folder / "log.txt").read_text()


def test_parts_end_by_themselves_when_the_supervisor_is_killed(node: StubNode) -> None:
    node.process.kill()
    node.process.wait()

    node.wait_for_lines("receive ended", "analyse ended", "deliver ended")


def test_a_part_that_ends_with_an_error_says_where_and_quotes_nothing(node: StubNode) -> None:
    (node.folder / "deliver.dies").touch()
    os.kill(node.rows()["deliver"][1], signal.SIGKILL)
    # a second restart, so that the pauses grow and the state is the error's, not the kill's
    wait_for(lambda: node.rows()["deliver"][2] >= 3, "two restarts after the kill")
    log = (node.folder / "log.txt").read_text()
    assert "deliver: ended with status 1; it starts again in 2 s" in log
    assert "deliver: ended with status 1; it starts again in 4 s" in log
    assert "ValueError at stub_node.py" in log
    assert "Doe" not in log
    assert "1.2.840" not in log
    with closing(sqlite3.connect(node.folder / "spool/node.db")) as database:
        code, text = database.execute("SELECT code, text FROM parts WHERE name = 'deliver'").fetchone()
    assert (code, "ValueError at stub_node.py" in text) == ("system-error", True)

    (node.folder / "deliver.dies").unlink()
    wait_for(lambda: node.rows()["deliver"][0] == "running", "deliver runs again")


def test_a_full_disk_ends_no_part_and_keeps_none_from_starting_again(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    with small_disk(tmp_path / "spool", 2_000_000) as disk:
        stub = StubNode(tmp_path)
        try:
            stub.wait_for_lines(*(f"{name} runs" for name in PARTS))
            pid = stub.rows()["receive"][1]
            fill(disk)
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: stub.lines().count("receive runs") == 2, "receive runs again")
            assert stub.process.poll() is None
            assert shutil.disk_usage(disk).free == 0
        finally:
            stub.process.terminate()
            assert stub.process.wait(DEADLINE_S) == 0
    assert stub.lines()[4:] == ["receive ended", "analyse ended", "deliver ended"]


def test_a_spool_has_one_node(node: StubNode) -> None:
    second = node.start()

    assert second.wait(DEADLINE_S) != 0
    assert (
        "output-locked" in (node.folder / "log.txt").read_text() or "another" in (node.folder / "log.txt").read_text()
    )
    assert node.process.poll() is None
    assert node.lines() == sorted(node.lines(), key=node.lines().index)
    assert len(node.lines()) == 3
    Spool(node.folder / "spool").close()  # whoever only looks is not refused
