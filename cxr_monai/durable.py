"""Files and folders written whole or not at all: to a temporary name, synced, renamed; earlier ones stay until then.

    write_durably("metrics.json", content)                 # a file
    with durable_file("model.pt") as stream: ...           # a large one
    with durable_folder("OUT/bundle") as folder: ...       # a folder, written in a temporary place

Nothing else in this package writes a file that outlives its process (``tests/test_durable_everywhere.py``).
"""

import contextlib
import errno
import glob
import hashlib
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cxr_monai.errors import Code, CxrError, StorageError, UsageError

__all__ = ["durable_file", "make_folder", "remove", "sync_folder", "write_durably"]

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)
_LONGEST = 200
"""Bytes of a name that has room for what a temporary name adds (a file system's limit is 255)."""


def write_durably(path: str | Path, content: bytes, private: bool = False) -> None:
    """Write a file so that a kill, a full disk or a power cut at any step leaves the old content or the new one.

    Args:
        path: the file; its folder is made. One process at a time writes it (what others left of it is removed).
        content: all of it.
        private: for its owner alone (mode 0600).

    Raises:
        StorageError: ``disk-full`` or ``write-failed``; the message says which content is there.
    """
    with durable_file(path, private) as file:
        file.write(content)


def write_together(
    main: str | Path,
    content: bytes,
    others: Mapping[Path, bytes | Iterable[bytes] | None],
    private: Collection[Path] = (),
    gone_meanwhile: bool = False,
) -> None:
    """Write files that belong together: all are on the disk before the first one is renamed to its name.

    Args:
        main: the file that readers begin with; it takes its place last.
        content: of ``main``.
        others: contents of the files beside it, whole or in parts; None: there is none, and one that is there goes.
        private: those of them that are for their owner alone.
        gone_meanwhile: an earlier ``main`` is removed first, so that it never stands beside another's companions.

    Raises:
        StorageError: as :func:`write_durably`; what was there before is intact.
    """
    main = Path(main)
    places: dict[Path, bytes | Iterable[bytes] | None] = {**others, main: content}
    parts = {path: _part_of(path) for path, text in places.items() if text is not None}
    try:
        main.parent.mkdir(parents=True, exist_ok=True)
        try:
            for path, part in parts.items():
                if path in private:
                    part.touch(mode=0o600)
                with part.open("wb") as file:
                    text = places[path]
                    file.writelines([text] if isinstance(text, bytes) else text or ())
                    file.flush()
                    os.fsync(file.fileno())
            if gone_meanwhile:
                main.unlink(missing_ok=True)
            for path, text in others.items():
                if text is None:
                    path.unlink(missing_ok=True)
            for path, part in parts.items():
                os.replace(part, path)
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)
        sync_folder(main.parent)
        for path in parts:
            _remove_left(path)
    except OSError as error:
        raise storage_error(error, main) from error


@contextmanager
def durable_file(path: str | Path, private: bool = False) -> Iterator[BinaryIO]:
    """Open a stream whose content becomes the file when the block ends; an error in it leaves what was there.

    Args:
        path, private: as of :func:`write_durably`.

    Raises:
        StorageError: as :func:`write_durably`, also for an ``OSError`` of the block itself.
    """
    path = Path(path)
    part = _part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if private:
                part.touch(mode=0o600)
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error
    try:
        sync_folder(path.parent)
        _remove_left(path)
    except OSError as error:
        raise storage_error(error, path, "It is written, but might not outlast a power cut.") from error


@contextmanager
def durable_folder(path: str | Path, replace: bool = False) -> Iterator[Path]:
    """Make a folder whole or not at all: the block fills the folder that it is given, which then takes its place.

    Args:
        path: the folder, which must not exist. One process at a time makes it.
        replace: what is there goes, once the new one is whole.

    Raises:
        UsageError: ``output-exists``, before the block and after it.
        StorageError: ``disk-full`` or ``write-failed``, also for an ``OSError`` of the block itself; nothing is left.
        CxrError: of the block; it names the folder, not the temporary one.
    """
    path = Path(path) if Path(path).name not in ("", "..") else Path(path).resolve()
    part = path.with_name(f".{_short(path.name)}.{os.getpid()}.part")
    try:
        refuse_taken([path] if os.path.lexists(path) and not replace else [])
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in path.parent.glob(f".{glob.escape(_short(path.name))}.*.part"):  # of a process that was killed
            shutil.rmtree(leftover)
        part.mkdir()
        try:
            yield part
            sync_tree(part)
            _take_place(part, path, replace)
            sync_folder(path.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise storage_error(error, path) from error
    except CxrError as error:
        rename_places(error, part, path)
        raise


def _take_place(part: Path, path: Path, replace: bool) -> None:
    if not os.path.lexists(path):
        part.rename(path)
        return
    refuse_taken([] if replace else [path])
    old = path.with_name(f".{_short(path.name)}.{os.getpid()}.old.part")
    path.rename(old)
    try:
        part.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def refuse_taken(paths: list[Path], force: str = "") -> None:
    """Refuse to write over existing paths.

    Args:
        paths: what is in the way.
        force: the option that would write over it; none where empty.

    Raises:
        UsageError: ``output-exists``, unless there are none.
    """
    if paths:
        fix = f"Choose another name, or say {force} to write over it." if force else "Choose another name."
        raise UsageError(
            Code.OUTPUT_EXISTS,
            f"{paths[0].name} is already there{' (and more)' if len(paths) > 1 else ''}, and nothing is overwritten "
            "unasked.",
            fix=fix,
            where=paths[0],
        )


def rename_places(error: CxrError, part: Path, path: Path) -> None:
    """Replace a temporary folder by its final name in the place that an error names.

    Args:
        error: is changed: its message, and the place it names.
        part: the temporary folder.
        path: the final one.
    """
    if error.where is not None:
        error.where = error.where.replace(str(part), str(path))
    error.message = error.message.replace(str(part), str(path))


def copy_durably(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all.

    Args:
        source: the file.
        target: its copy; the folder is made.

    Raises:
        StorageError: as :func:`write_durably`.
        OSError: the source cannot be opened.
    """
    with source.open("rb") as file, durable_file(target) as stream:
        shutil.copyfileobj(file, stream, 1 << 20)


def remove(path: Path) -> None:
    """Remove a file, if it exists.

    Raises:
        StorageError: ``write-failed``.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error


def make_folder(path: str | Path, mode: int = 0o777) -> Path:
    """Make a folder, and those above it, unless it exists.

    Args:
        path: the folder.
        mode: its permissions where it is made, less the process' umask.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    path = Path(path)
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error
    return path


def open_in_place(path: Path) -> tuple[int, bool]:
    """Open a file that grows, to be locked; an empty one is made where there is none.

    Returns:
        its descriptor, and whether it was made.

    Raises:
        OSError: it cannot be opened.
    """
    with contextlib.suppress(FileExistsError):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666), False


def sync_tree(folder: Path) -> None:
    """Flush a folder, and every file and folder below it, to the disk (``fsync``)."""
    for path in [*sorted(folder.rglob("*")), folder]:
        if path.is_dir():
            sync_folder(path)
        elif not path.is_symlink():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, so that renames outlast a power cut; nothing on Windows and some shares."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)


def storage_error(error: OSError, path: str | Path, state: str = "What was there before is intact.") -> StorageError:
    """Return the error for a failure to write ``path``; ``state`` is a sentence on what exists now."""
    reason = error.strerror or type(error).__name__
    if error.errno in _FULL:
        return StorageError(
            Code.DISK_FULL,
            f"it cannot be written: {reason}. {state}",
            fix="Free some space, then start the same command again: it continues.",
            where=path,
        )
    return StorageError(
        Code.WRITE_FAILED,
        f"it cannot be written: {reason}. {state}",
        fix="Check the disk and its permissions, then start the same command again: it continues.",
        where=path,
    )


def _part_of(path: Path) -> Path:
    """Return the temporary path at which a file is written before it is renamed."""
    return path.with_name(f"{_short(path.name)}.{os.getpid()}.part")


def _remove_left(path: Path) -> None:
    """Remove the temporary files of processes that were killed while they wrote a file."""
    for leftover in path.parent.glob(f"{glob.escape(_short(path.name))}.[0-9]*.part"):
        leftover.unlink(missing_ok=True)


def _short(name: str) -> str:
    """Return a name short enough for a suffix: the SHA-256 of a longer one."""
    raw = os.fsencode(name)
    return name if len(raw) <= _LONGEST else hashlib.sha256(raw).hexdigest()
