"""Decoded once: prepared radiographs as whole grey levels in one memory-mapped file, found by content.

A cache folder holds one folder for each *preparation* (reader, size, grey levels) with two files: ``pixels.bin``, the
planes one after the other, uint8 or (deep images) uint16; and ``index.sqlite``, which says what lies where. Images are
keyed by the SHA-256 of their file, and a file is known again by path, size and time, so a moved folder is not decoded
again and a replaced file is. Paths are stored as hashes only.

- Pixels are synced before the index tells of them, so a kill leaves nothing half-written that could be served; what was
  done stays, and the next build goes on from there. Each plane's CRC-32 is checked whenever it is served.
- Processes map the file: they share the system's page cache and copy nothing.
- The folder has mode 0700: it holds radiographs. It is ``$CXR_MONAI_CACHE``, else ``cxr-monai`` below
  ``$XDG_CACHE_HOME`` or ``~/.cache``. It grows to ``$CXR_MONAI_CACHE_GB`` (50) decimal gigabytes; the preparations that
  were not used for longest make room. ``cxr-monai cache info`` and ``cxr-monai cache clear`` look after it.
"""

import hashlib
import logging
import os
import re
import shutil
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from cxr_monai.durable import storage_error
from cxr_monai.environment import usable_cores
from cxr_monai.errors import Code, RadiographError, SettingError

logger = logging.getLogger(__name__)

FORMAT = 1
"""Of what is kept; another number, another preparation. It grows when a reader gives other pixels for a file."""
AUTO, NONE = "auto", "none"
LIMIT_GB = 50.0
_FEW = 64  # files that one process has prepared before others have started
_TOGETHER = 2**25  # bytes between two syncs
_TABLES = """
CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, content BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS images (
    content BLOB PRIMARY KEY, start INTEGER, rows INTEGER, columns INTEGER, depth INTEGER, crc INTEGER
) WITHOUT ROWID;
"""

Prepare = Callable[[str], np.ndarray]
"""From a file to its plane of grey levels: uint8 or uint16 ``[H, W]``; raises ``RadiographError`` for a bad file."""


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
class Entry:
    """Where an image's plane lies: its first byte, its shape, its bytes a pixel and their CRC-32."""

    start: int
    rows: int
    columns: int
    depth: int
    crc: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.rows * self.columns * self.depth


class PixelCache:
    """The prepared planes of one preparation.

    Args:
        root: the cache's folder; see :func:`cache_root`.
        preparation: what makes the planes, told apart by this text.

    :meth:`build` prepares what is missing, :meth:`find` tells what is there, :meth:`read` gives it.
    """

    def __init__(self, root: str | Path, preparation: str) -> None:
        self.root = Path(root)
        name = hashlib.sha256(f"{FORMAT}\n{preparation}".encode()).hexdigest()[:16]
        self.folder = self.root / name
        self._pixels: np.ndarray | None = None
        self._others: list[Preparation] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pixels": None}  # another process maps the file itself

    @property
    def pixels_path(self) -> Path:
        return self.folder / "pixels.bin"

    @property
    def index_path(self) -> Path:
        return self.folder / "index.sqlite"

    def find(self, paths: Sequence[str]) -> list[Entry | None]:
        """Return each file's entry; None where it is not there, or the file has changed since."""
        if not self.index_path.exists():
            return [None] * len(paths)
        try:
            with closing(self._connect()) as index:
                known = index.execute(
                    "SELECT path, size, mtime, start, rows, columns, depth, crc FROM files JOIN images USING (content)"
                )
                entries = {row[0]: row[1:] for row in known}
        except sqlite3.Error as error:  # damaged, or half made by a build that was killed: the next build repairs it
            logger.info("%s cannot be read (%s)", self.index_path, error)
            return [None] * len(paths)
        found: list[Entry | None] = []
        for path in paths:
            row = entries.get(_hashed(path))
            found.append(Entry(*row[2:]) if row is not None and row[:2] == _version(path) else None)
        return found

    def read(self, entry: Entry) -> np.ndarray | None:
        """Return a plane, read-only ``[H, W]``; None if it is not what was written, which the log says."""
        if self._pixels is None or len(self._pixels) < entry.start + entry.size:
            try:
                self._pixels = np.memmap(self.pixels_path, np.uint8, mode="r")
            except (OSError, ValueError):  # cleared meanwhile
                self._pixels = np.zeros(0, np.uint8)
        stored = self._pixels[entry.start : entry.start + entry.size]
        if zlib.crc32(stored.data) != entry.crc:
            logger.warning("%s: an image is damaged; it is read from its file again", self.pixels_path)
            return None
        return stored.view(np.uint8 if entry.depth == 1 else np.uint16).reshape(entry.rows, entry.columns)

    def forget(self, entry: Entry) -> None:
        """Leave out a damaged plane, so that the next build makes it anew."""
        try:
            with closing(self._connect()) as index, index:
                index.execute("DELETE FROM images WHERE start = ? AND crc = ?", (entry.start, entry.crc))
        except sqlite3.Error as error:
            logger.info("%s: it cannot be changed (%s)", self.index_path, error)

    def build(self, paths: Sequence[str], prepare: Prepare, workers: int | None = None) -> list[Entry | None]:
        """Prepare the files that are not there, by several processes, and return all entries.

        One process of several on a machine builds; the others wait for it and find everything done. A file that cannot
        be read has no entry, and neither has one for which there was no room below the cap (the log says so).

        Args:
            paths: files; the same one may stand there twice.
            prepare: from a file to its plane.
            workers: processes; as many as there are cores where None.

        Raises:
            StorageError: ``disk-full`` or ``write-failed``; what was built before stays.
        """
        try:
            _private(self.root)
            _private(self.folder)
            self.folder.chmod(0o700)  # also one that was there
            with FileLock(self.folder / "build.lock"):
                os.utime(self.folder)  # used now
                self._others = None
                self._repair()
                found = self.find(paths)
                missing = [path for path, entry in zip(paths, found, strict=True) if entry is None]
                if missing:
                    self._add(list(dict.fromkeys(missing)), prepare, workers)
                    found = self.find(paths)
                return found
        except OSError as error:
            raise storage_error(error, self.folder) from error
        except sqlite3.DatabaseError as error:
            raise storage_error(OSError(None, str(error)), self.index_path) from error

    def _add(self, paths: Sequence[str], prepare: Prepare, workers: int | None) -> None:
        few, workers = len(paths) < _FEW, usable_cores() if workers is None else workers
        left_out, unsaved = 0, 0
        with closing(self._connect()) as index, self.pixels_path.open("ab") as pixels:
            index.executescript(_TABLES)
            known = {content for (content,) in index.execute("SELECT content FROM images")}
            # what an interrupted build left behind the last known plane stays unused: others may have mapped the file
            end = pixels.tell()
            loader = DataLoader(
                _Files(paths, prepare, known),
                batch_size=None,
                collate_fn=_as_it_is,
                num_workers=0 if few else workers,
                prefetch_factor=None if few or not workers else 8,
            )
            bar = tqdm(loader, desc="decoding once", unit=" images", disable=None)
            for done, (path, version, content, plane) in enumerate(bar):
                if plane is not None and content not in known:
                    if not self._room(end + plane.nbytes):
                        left_out = len(paths) - done
                        break  # nothing more can be kept: decoding the rest would be for nothing
                    pixels.write(plane.data)
                    row = (content, end, *plane.shape, plane.dtype.itemsize, zlib.crc32(plane.data))
                    index.execute("INSERT INTO images VALUES (?,?,?,?,?,?)", row)
                    known.add(content)
                    end, unsaved = end + plane.nbytes, unsaved + plane.nbytes
                if content in known:
                    index.execute("INSERT OR REPLACE INTO files VALUES (?,?,?,?)", (_hashed(path), *version, content))
                if unsaved > _TOGETHER:
                    unsaved = _commit(pixels, index)
            _commit(pixels, index)
        if left_out:
            logger.warning(
                "%s is full (CXR_MONAI_CACHE_GB is %.3g): %d images are decoded again in every epoch; "
                "'cxr-monai cache clear' makes room",
                self.root, limit_bytes() / 1e9, left_out,
            )  # fmt: skip

    def _room(self, needed: int) -> bool:
        """Tell whether this preparation may have so many bytes; the others make room, those unused longest first."""
        if self._others is None:
            found = [other for other in preparations(self.root) if other.folder != self.folder]
            self._others = sorted(found, key=lambda other: other.used)
        while needed + sum(other.bytes for other in self._others) > limit_bytes():
            if not self._others:
                return False
            oldest = self._others.pop(0)
            if _delete(oldest.folder):
                logger.info("%s (%.1f GB) makes room for another preparation", oldest.folder, oldest.bytes / 1e9)
        return True

    def _repair(self) -> None:
        """Throw an index away that SQLite calls damaged: everything is prepared anew."""
        if not self.index_path.exists():
            return
        try:
            with closing(self._connect()) as index:
                sound = index.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
                index.executescript(_TABLES)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            sound = False
        if not sound:
            logger.warning("%s is damaged: the images are decoded again", self.index_path)
            self.pixels_path.unlink(missing_ok=True)  # first: what no index tells of would never be cleared
            self.index_path.unlink()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.index_path, timeout=60)


class _Files(Dataset):
    """Files as the builder's processes see them: path, version, content and, unless it is known, the plane."""

    def __init__(self, paths: Sequence[str], prepare: Prepare, known: Iterable[bytes]) -> None:
        self.paths, self.prepare, self.known = paths, prepare, frozenset(known)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[str, tuple[int, int], bytes, np.ndarray | None]:
        path = self.paths[index]
        version = _version(path)
        try:
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
            return path, version, content, None if content in self.known else np.ascontiguousarray(self.prepare(path))
        except (RadiographError, OSError):  # whoever reads the batches is told
            return path, version, b"", None


@dataclass(frozen=True)
class Preparation:
    """One folder of a cache: its bytes on the disk, its images, and when it was last used (seconds)."""

    folder: Path
    bytes: int
    images: int
    used: float


def preparations(root: Path) -> list[Preparation]:
    """Return what a cache holds."""
    found = []
    for index_path in sorted(root.glob("*/index.sqlite")):
        folder = index_path.parent
        if not re.fullmatch("[0-9a-f]{16}", folder.name):  # somebody else's
            continue
        try:
            with closing(sqlite3.connect(f"file:{index_path}?mode=ro", uri=True, timeout=5)) as index:
                (images,) = index.execute("SELECT COUNT(*) FROM images").fetchone()
        except sqlite3.Error:
            images = 0
        size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        found.append(Preparation(folder, size, images, folder.stat().st_mtime))
    return found


def clear(root: Path, unused_for: float = 0) -> int:
    """Delete the preparations that were not used for some seconds; returns the bytes that became free.

    A training that has them mapped goes on with them; one that is just being built stays.
    """
    freed = 0
    for preparation in preparations(root):
        if time.time() - preparation.used >= unused_for and _delete(preparation.folder):
            freed += preparation.bytes
    return freed


def _delete(folder: Path) -> bool:
    """Delete a preparation unless a build holds it; tells whether it is gone."""
    try:
        with FileLock(folder / "build.lock", blocking=False):
            shutil.rmtree(folder)
    except Timeout:
        logger.warning("%s is being built and stays", folder)
        return False
    return True


def _as_it_is(item: Any) -> Any:
    return item


def _commit(pixels: Any, index: sqlite3.Connection) -> int:
    """Make the pixels durable, then known; returns 0, the bytes that are not saved yet."""
    pixels.flush()
    os.fsync(pixels.fileno())
    index.commit()
    return 0


def _private(folder: Path) -> None:
    """Make a folder that only its owner can look into; one that is there stays as it is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def _hashed(path: str) -> bytes:
    folder, name = os.path.split(path)
    whole = f"{_absolute(folder, '' if folder.startswith('/') else os.getcwd())}/{name}"
    return hashlib.blake2b(whole.encode(errors="surrogateescape"), digest_size=16).digest()


@lru_cache(maxsize=1024)  # a data set has few folders and many files
def _absolute(folder: str, here: str) -> str:
    return os.path.abspath(os.path.join(here, folder))


def _version(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns
