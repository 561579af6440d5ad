"""The folder of decoded radiographs as a whole: where it lies, how large it may become, what it holds, what goes.

Each *preparation* (``pixels``) has a folder named by 16 hexadecimal digits. Nothing else is ever looked
into, and of such a folder only the files that the cache made are deleted.
"""

import logging
import os
import re
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from cxr_monai.errors import Code, SettingError

logger = logging.getLogger(__name__)

AUTO, NONE = "auto", "none"
LIMIT_GB = 50.0
PIXELS, INDEX, LOCK = "pixels.bin", "index.sqlite", "build.lock"
_OURS = (PIXELS, f"{INDEX}-journal", f"{INDEX}-wal", f"{INDEX}-shm", INDEX, LOCK)
"""In the order in which they are deleted: what no index tells of would never be found again."""


def cache_root(cache_dir: str | Path | None = AUTO) -> Path | None:
    """Return the cache's folder: the user's own for ``auto``, nothing for ``none``, else the folder that was named."""
    named = str(cache_dir) if cache_dir is not None else NONE
    if named.lower() == NONE:
        return None
    if named.lower() != AUTO:
        return Path(named)
    own = os.environ.get("CXR_MONAI_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cxr-monai"


def limit_bytes() -> int:
    """Return how large the cache may become.

    Raises:
        SettingError: ``setting-invalid`` if ``CXR_MONAI_CACHE_GB`` is no number above 0.
    """
    given = os.environ.get("CXR_MONAI_CACHE_GB", LIMIT_GB)
    try:
        limit = float(given)
    except ValueError:
        limit = 0
    if not limit > 0:
        raise SettingError(Code.SETTING_INVALID, f"CXR_MONAI_CACHE_GB is {given!r}; it is a number above 0.")
    return int(limit * 1e9)


@dataclass(frozen=True)
class Preparation:
    """One folder of a cache: its bytes on the disk, its images, and when it was last used (seconds)."""

    folder: Path
    bytes: int
    images: int
    used: float


def preparations(root: Path) -> list[Preparation]:
    """Return what a cache holds; what another process deletes meanwhile is left out."""
    found = []
    for index_path in sorted(root.glob(f"*/{INDEX}")):
        folder = index_path.parent
        if not re.fullmatch("[0-9a-f]{16}", folder.name):  # somebody else's
            continue
        try:
            with closing(sqlite3.connect(f"{index_path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as index:
                (images,) = index.execute("SELECT COUNT(*) FROM images").fetchone()
        except sqlite3.Error:
            images = 0
        try:
            used = folder.stat().st_mtime
        except OSError:
            continue
        found.append(Preparation(folder, sum(_size(folder / name) for name in _OURS), images, used))
    return found


def clear(root: Path, unused_for: float = 0) -> int:
    """Delete the preparations that were not used for some seconds; returns the bytes that became free.

    A training that has them mapped goes on with them; one that is just being built stays, which the log says.
    """
    freed = 0
    for preparation in preparations(root):
        if time.time() - preparation.used >= unused_for and delete(preparation.folder):
            freed += preparation.bytes
    return freed


def delete(folder: Path) -> bool:
    """Delete a preparation's files, and its folder if nothing else is there; tells whether they are gone.

    One that is being built stays, and so does one that cannot be deleted; the log says so.
    """
    try:
        with FileLock(folder / LOCK, blocking=False):
            for name in _OURS:
                (folder / name).unlink(missing_ok=True)
            if any(folder.iterdir()):
                logger.warning("%s has files that are not the cache's; they stay", folder)
            else:
                folder.rmdir()
    except Timeout:
        logger.warning("%s is being built and stays", folder)
        return False
    except OSError as error:
        logger.warning("%s cannot be deleted (%s) and stays", folder, error.strerror or error)
        return not (folder / INDEX).exists()
    return True


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # not there, or not any more
        return 0
