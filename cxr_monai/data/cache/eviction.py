"""The cache folder of decoded radiographs: its location, its size limit, its content and eviction.

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
"""In the order of deletion: pixels before their index, since pixels without one would never be found again."""


def cache_root(cache_dir: str | Path | None = AUTO) -> Path | None:
    """Return the folder of the cache, or None where nothing is cached.

    Args:
        cache_dir: ``auto``: the user's cache folder; ``none`` or None: no cache; else a folder.
    """
    setting = str(cache_dir) if cache_dir is not None else NONE
    if setting.lower() == NONE:
        return None
    if setting.lower() != AUTO:
        return Path(setting)
    user_folder = os.environ.get("CXR_MONAI_CACHE")
    return (
        Path(user_folder)
        if user_folder
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cxr-monai"
    )


def limit_bytes() -> int:
    """Return the largest size of the cache in bytes (``CXR_MONAI_CACHE_GB``, 50 GB by default).

    Raises:
        SettingError: ``setting-invalid`` if ``CXR_MONAI_CACHE_GB`` is no number above 0.
    """
    setting = os.environ.get("CXR_MONAI_CACHE_GB", LIMIT_GB)
    try:
        limit = float(setting)
    except ValueError:
        limit = 0
    if not limit > 0:
        raise SettingError(Code.SETTING_INVALID, f"CXR_MONAI_CACHE_GB is {setting!r}; it is a number above 0.")
    return int(limit * 1e9)


@dataclass(frozen=True)
class Preparation:
    """One folder of a cache: its bytes on the disk, its images, and when it was last used (seconds)."""

    folder: Path
    bytes: int
    images: int
    used: float


def preparations(root: Path) -> list[Preparation]:
    """Return the preparations in a cache; those that another process deletes meanwhile are left out.

    Args:
        root: the folder of the cache.
    """
    held = []
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
        held.append(Preparation(folder, sum(_size(folder / name) for name in _OURS), images, used))
    return held


def clear(root: Path, unused_for: float = 0) -> int:
    """Delete the preparations that were not used for some time; return the freed bytes.

    A training that has mapped the files continues with them; a preparation that is being built stays.

    Args:
        root: the folder of the cache.
        unused_for: seconds.
    """
    freed = 0
    for preparation in preparations(root):
        if time.time() - preparation.used >= unused_for and delete(preparation.folder):
            freed += preparation.bytes
    return freed


def delete(folder: Path) -> bool:
    """Delete a preparation's files, and its folder if it is then empty; return whether they are gone.

    One that is being built, or cannot be deleted, stays, with a warning in the log.

    Args:
        folder: of one preparation.
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
