"""Files that are whole or not there: written beside, synced, renamed; what was there before stays until then."""

import errno
import glob
import os
from pathlib import Path

from cxr_monai.errors import Code, StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)


def write_durably(path: str | Path, content: bytes) -> None:
    """Write a file so that a kill, a full disk or a power cut at any step leaves the old content or the new one.

    Args:
        path: the file; its folder is made. One process at a time writes it (what others left of it is removed).
        content: all of it.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``; the message says which content is there.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error
    try:
        sync_folder(path.parent)
        for left in path.parent.glob(f"{glob.escape(path.name)}.*.part"):  # of a process that was killed
            left.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path, "It is written, but might not outlast a power cut.") from error


def sync_folder(folder: Path) -> None:
    """Make a rename in a folder outlast a power cut, where the system can (Windows and some shares cannot)."""
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
    """Return the named error for what the system said while a file was written; ``state`` tells what is there."""
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
