"""One process at a time writes a file that grows: the file itself is locked, and the operating system releases it.

    lock = FileHold.of(Path("p.csv.part"), Path("p.csv"))       # made if it is not there; refused while another has it
    lock.release()                                              # also when its holder is gone, however it ended

Whoever holds it writes in place: a file that is renamed over it is another one. Some network shares cannot lock; there
nobody is refused.
"""

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path

from cxr_monai.durable import make_folder, open_in_place, storage_error
from cxr_monai.errors import Code, TrainingError

__all__ = ["FileHold"]

_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_CANNOT_LOCK = (errno.ENOSYS, errno.ENOLCK, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)
_FAR = 1 << 30
"""Windows forbids reading what is locked: a byte far behind the content."""

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class FileHold:
    """A file that is held.

    Attributes:
        path: of the file.
        created: whether it was not there before.
    """

    def __init__(self, path: Path, descriptor: int, created: bool) -> None:
        self.path, self.created, self._descriptor = path, created, descriptor

    @classmethod
    def of(cls, path: Path, name: Path) -> "FileHold":
        """Hold a file; an empty one is made, with its folder, where there is none.

        Args:
            path: the file.
            name: the path that errors name.

        Raises:
            TrainingError: ``output-locked`` while another one holds it.
            StorageError: ``disk-full`` or ``write-failed``.
        """
        make_folder(path.parent)
        try:
            while True:
                hold = cls(path, *open_in_place(path))
                try:
                    _lock(hold._descriptor)
                except OSError as error:
                    if error.errno not in _CANNOT_LOCK:
                        hold.release()
                        raise
                if hold._is_there():
                    return hold
                hold.release()  # its holder removed it meanwhile
        except OSError as error:
            if error.errno not in _HELD:
                raise storage_error(error, name) from error
            raise TrainingError(
                Code.OUTPUT_LOCKED,
                "another process is writing it.",
                fix="Wait until it has ended, or choose another name.",
                where=name,
            ) from error

    def _is_there(self) -> bool:
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self.path))
        return False

    def remove(self) -> None:
        """Remove the file, and release it.

        Raises:
            OSError: it cannot be removed.
        """
        try:
            if os.name == "nt":  # removes nothing that is open
                self.release()
            self.path.unlink(missing_ok=True)
        finally:
            self.release()

    def release(self) -> None:
        """Release the lock; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.release()
