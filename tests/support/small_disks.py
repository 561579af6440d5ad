"""A file system of its own, small enough to fill."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    """Mount a file system of so many bytes at a folder; skip where that is not allowed, as to anybody but root."""
    if shutil.which("mount") is None:
        pytest.skip("there is no 'mount' here")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True)
    if made.returncode:
        pytest.skip(f"a file system can be mounted by root alone: {made.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def fill(disk: Path, leaving: int = 0) -> None:
    """Take all room but for some bytes."""
    with (disk / "filler").open("wb") as file:
        free = shutil.disk_usage(disk).free
        file.write(bytes(max(0, free - leaving)))


def make_room(disk: Path) -> None:
    """Give back what `fill` took."""
    (disk / "filler").unlink(missing_ok=True)
