"""One training at a time in an output directory; a second one is told which process holds it."""

import getpass
import json
import os
import socket
import time
from pathlib import Path

from filelock import FileLock, Timeout

from cxr_monai.durable import make_folder, storage_error, write_durably
from cxr_monai.errors import Code, TrainingError


class OutputLock:
    """A lock on a training's folder that the operating system releases when its process ends, however it ends.

    Args:
        output_dir: the training's folder; ``training.lock`` and, for people, ``training.lock.json`` stand in it.

    Raises (from :meth:`acquire`):
        TrainingError: ``output-locked``, naming user, machine, process and time.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.folder = Path(output_dir)
        self._lock = FileLock(self.folder / "training.lock")
        self._holder = self.folder / "training.lock.json"

    def acquire(self) -> None:
        make_folder(self.folder)
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise TrainingError(
                Code.OUTPUT_LOCKED,
                f"another training is writing here: {self._who()}.",
                fix="Wait until it has ended, or choose another --output_dir.",
                where=self.folder,
            ) from error
        except OSError as error:
            raise storage_error(error, self.folder) from error
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        holder = {"user": _user(), "machine": socket.gethostname(), "process": os.getpid(), "since": now}
        write_durably(self._holder, (json.dumps(holder) + "\n").encode())

    def release(self) -> None:
        self._holder.unlink(missing_ok=True)
        self._lock.release()

    def _who(self) -> str:
        try:
            holder = json.loads(self._holder.read_text(encoding="utf-8"))
            return f"process {holder['process']} of {holder['user']} on {holder['machine']}, since {holder['since']}"
        except (OSError, ValueError, KeyError):
            return "it has not said who it is yet"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without a name for its user
        return str(os.getuid()) if hasattr(os, "getuid") else "somebody"
