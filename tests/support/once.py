"""Something that is made once for all processes that run the tests, not once in each."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from filelock import FileLock

T = TypeVar("T")


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], T]) -> T:
    """Return what ``make(folder)`` returned to the first process that asked for it; the others wait for it.

    Args:
        factory: pytest's, of any process.
        name: of the folder, which all processes share.
        make: makes it in the folder, which is empty; what it returns can be pickled.
    """
    base = factory.getbasetemp()
    if base.name.startswith("popen-"):  # a process of pytest-xdist has a folder in the session's
        base = base.parent
    result = base / f"{name}.pickle"
    with FileLock(base / f"{name}.lock"):
        if not result.exists():
            (base / name).mkdir()
            result.write_bytes(pickle.dumps(make(base / name)))
        return pickle.loads(result.read_bytes())
