"""Decoded once: prepared radiographs as whole grey levels in one memory-mapped file, found by content.

A cache folder holds one folder for each *preparation* (reader, size, grey levels) with two files: ``pixels.bin``, the
planes one after the other, uint8 or (deep images) uint16; and ``index.sqlite``, with the place of each plane. Images
are keyed by the SHA-256 of their file, and a file is recognised by path, size and time: a moved folder is not decoded
again and a replaced file is. Paths are stored as hashes only.

- Pixels are synced before the index lists them, so a killed process leaves no half-written plane that could be served;
  finished planes stay, and the next build continues from there. Each plane's CRC-32 is checked whenever it is served.
- Processes map the file: they share the system's page cache and copy nothing.
- A preparation's folder has mode 0700: it holds radiographs. The cache is ``$CXR_MONAI_CACHE``, else ``cxr-monai``
  below ``$XDG_CACHE_HOME`` or ``~/.cache``. It grows to ``$CXR_MONAI_CACHE_GB`` (50) decimal gigabytes; the
  preparations that were not used for longest make room (``eviction``). ``cxr-monai cache info`` and
  ``cxr-monai cache clear`` look after it.
"""

import errno
import hashlib
import logging
import os
import sqlite3
import stat
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from torch.utils.data import DataLoader, Dataset

from cxr_monai.data.cache.eviction import INDEX, LOCK, PIXELS, Preparation, delete, limit_bytes, preparations
from cxr_monai.durable import storage_error
from cxr_monai.environment import usable_cores
from cxr_monai.errors import RadiographError
from cxr_monai.plurals import counted
from cxr_monai.progress import progress_bar
from cxr_monai.stopping import ignore_signals

logger = logging.getLogger(__name__)

FORMAT = 2
"""Version of the cached planes; another version, another preparation. Raise it when a reader gives other pixels."""
_FEW = 64  # files that one process has prepared before others have started
_TOGETHER = 2**25  # bytes between two syncs
_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, content BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS images (
    content BLOB PRIMARY KEY, start INTEGER, rows INTEGER, columns INTEGER, depth INTEGER, crc INTEGER
) WITHOUT ROWID;
COMMIT;
"""

Prepare = Callable[[str], np.ndarray]
"""From a file to its plane of grey levels: uint8 or uint16 ``[H, W]``; raises ``RadiographError`` for a bad file."""


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
        """Return the size of the plane in bytes."""
        return self.rows * self.columns * self.depth


class PixelCache:
    """The prepared planes of one preparation.

    Args:
        root: the cache's folder; see ``cache_root``.
        preparation: a text that identifies how the planes are made; another text, another folder.

    :meth:`build` decodes missing files, :meth:`find` returns their entries, :meth:`read` returns a plane.
    """

    def __init__(self, root: str | Path, preparation: str) -> None:
        self.root = Path(root)
        name = hashlib.sha256(f"{FORMAT}\n{preparation}".encode()).hexdigest()[:16]
        self.folder = self.root / name
        self._pixels = np.zeros(0, np.uint8)
        self._mapped: tuple[int, int] | None = None
        self._warned = False
        self._others: list[Preparation] | None = None
        self._stay = 0

    def __getstate__(self) -> dict[str, Any]:
        # another process maps the file itself
        return {**self.__dict__, "_pixels": np.zeros(0, np.uint8), "_mapped": None}

    @property
    def pixels_path(self) -> Path:
        """The memory-mapped file of the planes."""
        return self.folder / PIXELS

    @property
    def index_path(self) -> Path:
        """The SQLite index of the planes."""
        return self.folder / INDEX

    def find(self, paths: Sequence[str]) -> list[Entry | None]:
        """Return each file's entry; None for a file that is not cached, or has changed since.

        Args:
            paths: the files, in any order.
        """
        if not self.index_path.exists():
            return [None] * len(paths)
        try:
            with closing(self._connect()) as index:
                rows = index.execute(
                    "SELECT path, size, mtime, start, rows, columns, depth, crc FROM files JOIN images USING (content)"
                )
                rows_by_path = {row[0]: row[1:] for row in rows}
        except sqlite3.Error as error:  # damaged, or half made by a build that was killed: the next build repairs it
            logger.info("%s cannot be read (%s)", self.index_path, error)
            return [None] * len(paths)
        entries: list[Entry | None] = []
        for path in paths:
            row = rows_by_path.get(_hashed(path))
            entries.append(Entry(*row[2:]) if row is not None and row[:2] == _version(path) else None)
        return entries

    def read(self, entry: Entry) -> np.ndarray | None:
        """Return a plane, read-only ``[H, W]``; None if its checksum is wrong, with one warning in the log.

        Args:
            entry: of :meth:`find`.
        """
        stored = self._stored(entry)
        if stored is None and self._mapped != _identity(self.pixels_path):  # it has grown, or is another file
            self._map()
            stored = self._stored(entry)
        if stored is None:
            if not self._warned:
                state = "was cleared" if self._mapped is None else "was made anew, or an image in it is damaged"
                logger.warning("%s %s: such images are read from their own files again", self.pixels_path, state)
                self._warned = True
            return None
        return stored.view(np.uint8 if entry.depth == 1 else np.uint16).reshape(entry.rows, entry.columns)

    def forget(self, entry: Entry) -> None:
        """Remove a damaged plane from the index, so that the next build decodes it again.

        Args:
            entry: of :meth:`find`.
        """
        if self._mapped is None or self._mapped != _identity(self.pixels_path):  # cleared, perhaps made anew
            return
        try:
            with closing(self._connect()) as index, index:
                index.execute("DELETE FROM images WHERE start = ? AND crc = ?", (entry.start, entry.crc))
        except sqlite3.Error as error:
            logger.info("%s: it cannot be changed (%s)", self.index_path, error)

    def _stored(self, entry: Entry) -> np.ndarray | None:
        """Return a plane's bytes as they are mapped now; None if they are not those that were written."""
        stored = self._pixels[entry.start : entry.start + entry.size]
        return stored if len(stored) == entry.size and zlib.crc32(stored.data) == entry.crc else None

    def _map(self) -> None:
        self._pixels, self._mapped, self._warned = np.zeros(0, np.uint8), _identity(self.pixels_path), False
        with suppress(OSError, ValueError):  # cleared, or empty
            self._pixels = np.memmap(self.pixels_path, np.uint8, mode="r")

    def build(self, paths: Sequence[str], prepare: Prepare, workers: int | None = None) -> list[Entry | None]:
        """Prepare the files that are not there, by several processes, and return all entries.

        One process of several on a machine builds; the others wait for it and find everything done. A file that cannot
        be read has no entry, and neither has one for which there was no room below the size limit (with a warning).

        Args:
            paths: files; repeated ones are decoded once.
            prepare: from a file to its plane.
            workers: processes; as many as there are cores where None.

        Raises:
            StorageError: ``disk-full`` or ``write-failed``; what was built before stays.
        """
        try:
            if not self.root.exists():  # one that is there may be shared, or hold other things
                _private(self.root)
            _private(self.folder)
            with FileLock(self.folder / LOCK):
                os.utime(self.folder)  # used now
                self._others, self._stay = None, 0
                self._repair()
                entries = self.find(paths)
                missing = [path for path, entry in zip(paths, entries, strict=True) if entry is None]
                if missing:
                    self._add(list(dict.fromkeys(missing)), prepare, workers)
                    entries = self.find(paths)
                return entries
        except OSError as error:
            raise storage_error(error, self.folder) from error
        except sqlite3.Error as error:
            full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            raise storage_error(OSError(errno.ENOSPC if full else None, str(error)), self.index_path) from error

    def _add(self, paths: Sequence[str], prepare: Prepare, workers: int | None) -> None:
        few, workers = len(paths) < _FEW, usable_cores() if workers is None else workers
        left_out, unsaved = 0, 0
        with closing(self._connect()) as index, self.pixels_path.open("ab") as pixels:
            index.executescript(_TABLES)
            stored_contents = {content for (content,) in index.execute("SELECT content FROM images")}
            # what an interrupted build left behind the last known plane stays unused: others may have mapped the file
            end = pixels.tell()
            loader = DataLoader(
                _Files(paths, prepare, stored_contents),
                batch_size=None,
                collate_fn=_as_it_is,
                num_workers=0 if few else workers,
                worker_init_fn=ignore_signals,
                prefetch_factor=None if few or not workers else 8,
            )
            bar = progress_bar(loader, total=len(paths), desc="decoding once", unit="images")
            for done, (path, version, content, plane) in enumerate(bar):
                if plane is not None and content not in stored_contents:
                    if not self._room(end + plane.nbytes):
                        left_out = len(paths) - done
                        break  # nothing more can be kept: decoding the rest would be for nothing
                    pixels.write(plane.data)
                    row = (content, end, *plane.shape, plane.dtype.itemsize, zlib.crc32(plane.data))
                    index.execute("INSERT INTO images VALUES (?,?,?,?,?,?)", row)
                    stored_contents.add(content)
                    end, unsaved = end + plane.nbytes, unsaved + plane.nbytes
                if content in stored_contents:
                    index.execute("INSERT OR REPLACE INTO files VALUES (?,?,?,?)", (_hashed(path), *version, content))
                if unsaved > _TOGETHER:
                    unsaved = _commit(pixels, index)
            _commit(pixels, index)
        if left_out:
            logger.warning(
                "%s is full (CXR_MONAI_CACHE_GB is %.3g): %s must be decoded again in every epoch; "
                "'cxr-monai cache clear' makes room",
                self.root, limit_bytes() / 1e9, counted(left_out, "image"),
            )  # fmt: skip

    def _room(self, needed: int) -> bool:
        """Return whether this preparation may have ``needed`` bytes, evicting others, the least recently used first."""
        if self._others is None:
            others = [other for other in preparations(self.root) if other.folder != self.folder]
            self._others = sorted(others, key=lambda other: other.used)
        while needed + self._stay + sum(other.bytes for other in self._others) > limit_bytes():
            if not self._others:
                return False
            oldest = self._others.pop(0)
            if not delete(oldest.folder):  # it is being built
                self._stay += oldest.bytes
            else:
                logger.info("%s (%.1f GB) makes room for another preparation", oldest.folder, oldest.bytes / 1e9)
        return True

    def _repair(self) -> None:
        """Delete an index that SQLite reports as damaged: all files are decoded again."""
        if not self.index_path.exists():
            return
        try:
            with closing(self._connect()) as index:
                sound = index.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
                if sound:
                    index.executescript(_TABLES)
                    # pixels that are not there, because something else has cut the file off
                    size = self.pixels_path.stat().st_size if self.pixels_path.exists() else 0
                    index.execute("DELETE FROM images WHERE start + rows * columns * depth > ?", (size,))
                    index.commit()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            sound = False
        if not sound:
            logger.warning("%s is damaged: the images are decoded again", self.index_path)
            self.pixels_path.unlink(missing_ok=True)  # first: pixels without an index would never be deleted
            self.index_path.unlink()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.index_path, timeout=60)


class _Files(Dataset):
    """Files as the builder's processes see them: path, version, content and, unless that is stored, the plane."""

    def __init__(self, paths: Sequence[str], prepare: Prepare, stored_contents: Iterable[bytes]) -> None:
        self.paths, self.prepare, self.stored_contents = paths, prepare, frozenset(stored_contents)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[str, tuple[int, int], bytes, np.ndarray | None]:
        path = self.paths[index]
        version = _version(path)
        try:
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
            plane = None if content in self.stored_contents else np.ascontiguousarray(self.prepare(path))
            if _version(path) == version:  # else it was replaced meanwhile: hash and plane may be of two files
                return path, version, content, plane
        except (RadiographError, OSError):  # reported when the batches are read
            pass
        return path, version, b"", None


def _as_it_is(item: Any) -> Any:
    return item


def _commit(pixels: Any, index: sqlite3.Connection) -> int:
    """Sync the pixels to disk, then commit the index; return 0, the number of unsaved bytes."""
    pixels.flush()
    os.fsync(pixels.fileno())
    index.commit()
    return 0


def _private(folder: Path) -> None:
    """Create a folder that only its owner can read, or restrict an existing folder to its owner.

    Raises:
        PermissionError: if it is somebody else's, or its file system has no permissions.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.name == "nt" or stat.S_IMODE(folder.stat().st_mode) == 0o700:
        return
    with suppress(PermissionError):
        folder.chmod(0o700)
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        raise PermissionError(errno.EPERM, "others can look into it, and its mode cannot be made 0700", str(folder))


def _identity(file: Path) -> tuple[int, int] | None:
    """Return a file's inode and size, which differ once it is replaced or has grown; None if there is no file."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size


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
