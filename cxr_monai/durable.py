"""Files that are whole or not there: written beside, synced, renamed; what was there before stays until then."""

import errno
import os
from pathlib import Path

from cxr_monai.errors import Code, StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_durably(path: str | Path, content: bytes) -> None:
    """Write a file so that a kill, a full disk or a power cut at any step leaves the old content or the new one.

    Args:
        path: the file; its folder is made.
        content: all of it.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``; the file that was there before is untouched.
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
        sync_folder(path.parent)
    except OSError as error:
        raise storage_error(error, path) from error


def sync_folder(folder: Path) -> None:
    """Make a rename in a folder outlast a power cut, where the system can (Windows cannot open folders)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage_error(error: OSError, path: str | Path) -> StorageError:
    """Return the named error for what the operating system said while a file was written."""
    reason = error.strerror or type(error).__name__
    if error.errno in _FULL:
        return StorageError(
            Code.DISK_FULL,
            f"it cannot be written: {reason}. What was there before is intact.",
            fix="Free some space, then start the same command again: it continues.",
            where=path,
        )
    return StorageError(
        Code.WRITE_FAILED,
        f"it cannot be written: {reason}. What was there before is intact.",
        fix="Check the disk and its permissions, then start the same command again: it continues.",
        where=path,
    )
