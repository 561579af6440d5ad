"""Valid names of a bundle's files: those that mean the same file on every operating system.

Letters, digits, ``_``, ``-`` and dots within, so there is nothing to normalise, to hide, to cut off, or to move a
cursor with; no devices of Windows; no two that differ by case alone.
"""

import re
from collections.abc import Iterable, Iterator

from cxr_monai.sharing.inspection.remarks import shortened

MOST_FILES = 10_000
LONGEST_FILE_NAME = 200
DEEPEST_FOLDER = 8
"""Folders within each other."""

_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_-])?")
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)


def is_device(name: str) -> bool:
    """Return whether a name, with any suffix, is a device on Windows (``con``, ``nul.txt``)."""
    return _DEVICES.fullmatch(name) is not None


def name_problem(name: str) -> str:
    """Return what is wrong with one name, ``/`` between folders, as a sentence; "" if nothing is."""
    if len(name) > LONGEST_FILE_NAME or name.count("/") >= DEEPEST_FOLDER:
        return f"{shortened(name)!r} is longer than {LONGEST_FILE_NAME} characters or {DEEPEST_FOLDER} folders."
    if not all(_PART.fullmatch(part) and not is_device(part) for part in name.split("/")):
        return (
            f"{shortened(name)!r} is no name for a file of a bundle: letters, digits, '_', '-', '.' "
            "(neither first nor last) and '/', relative, without '..'."
        )
    return ""


def name_problems(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each name that is wrong by itself, or beside those before it, with what is wrong as a sentence."""
    spellings: dict[str, str] = {}
    for name in names:
        if problem := name_problem(name):
            yield name, problem
            continue
        # each folder in one spelling, each file once, and no file where a folder is
        parts = name.split("/")
        for count in range(1, len(parts) + 1):
            spelling = "/".join(parts[:count]) + ("/" if count < len(parts) else "")
            key = spelling.rstrip("/").casefold()
            if key in spellings and (count == len(parts) or spellings[key] != spelling):
                yield name, f"{shortened(spelling)!r} and {shortened(spellings[key])!r} are one name on some systems."
                break
            spellings[key] = spelling
