"""The place of a result: looked at before the work begins, filled when it is done.

    check_output("p.csv", force=False)                         # free, can be written, has room
    with result_folder("evaluation", "metrics.json") as part:  # several files: all of them, or what was there before
        ...

The file that says that a result is complete is written last, and readers ask for it (``cxr_monai.completion``).
"""

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from cxr_monai.completion import listed_files, seal
from cxr_monai.durable import (
    durable_folder,
    refuse_taken,
    rename_places,
    storage_error,
    sync_folder,
    sync_tree,
    write_durably,
)
from cxr_monai.errors import Code, CxrError, StorageError, UsageError

_PROBE = 4096
"""Bytes that any result has room for."""


def check_output(path: str | Path, force: bool = False, room: int = 0, option: str = "--force") -> Path:
    """Check, before the work begins, that a file can be written. Nothing is changed.

    Args:
        path: the file.
        force: what is there may be written over.
        room: bytes that it will need at least.
        option: what stands for ``force`` in the message; empty where there is none.

    Raises:
        UsageError: ``output-exists``.
        StorageError: ``disk-full``, ``write-failed``.
    """
    path = Path(path)
    try:
        refuse_taken([path] if os.path.lexists(path) and not force else [], option)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        _check_place(path, path.absolute().parent, room)
    except OSError as error:
        raise storage_error(error, path) from error
    return path


def check_folder(
    path: str | Path, files: Sequence[str], force: bool = False, room: int = 0, option: str = "--force"
) -> Path:
    """Check, before the work begins, that files can be written into a folder. Nothing is changed.

    Args:
        path: the folder, which need not be there.
        files: names that the result has; others may lie beside them.
        force, room, option: as of :func:`check_output`.

    Raises:
        UsageError: ``output-exists``.
        StorageError: ``disk-full``, ``write-failed``.
    """
    path = Path(path)
    try:
        existing = [path / name for name in files if os.path.lexists(path / name)]
        refuse_taken([] if force else existing, option)
        if os.path.lexists(path) and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        _check_place(path, path.absolute(), room)
    except OSError as error:
        raise storage_error(error, path) from error
    return path


def check_new_folder(
    path: str | Path, mark: str = "", force: bool = False, room: int = 0, outside: str | Path | None = None
) -> Path:
    """Check, before the work begins, that a folder can be made. Nothing is changed.

    Args:
        path: the folder, which must not exist.
        mark: a name that the folder would have if it were an earlier result; such a folder (or an empty one) alone is
            replaced by ``force``, so that nobody loses another one. There is no ``--force`` where it is empty.
        force: an earlier result may be replaced.
        room: bytes that it will need at least.
        outside: a folder that it must not be in.

    Raises:
        UsageError: ``output-exists``.
        StorageError: ``disk-full``, ``write-failed``.
    """
    path = Path(path)
    if outside is not None and path.resolve().is_relative_to(Path(outside).resolve()):
        raise UsageError(
            Code.OUTPUT_EXISTS,
            "it needs a folder of its own, outside of what it is made from.",
            fix="Choose another name.",
            where=path,
        )
    try:
        ours = bool(mark) and (os.path.lexists(path / mark) or (path.is_dir() and not any(path.iterdir())))
        refuse_taken([path] if os.path.lexists(path) and not (force and ours) else [], "--force" if ours else "")
        _check_place(path, path.absolute().parent, room)
    except OSError as error:
        raise storage_error(error, path) from error
    return path


def _check_place(path: Path, nearest: Path, room: int) -> None:
    """Write a little in the nearest folder that exists, and look at what a name may be and at the room."""
    missing = [path.name]
    while not os.path.lexists(nearest):
        missing, nearest = [nearest.name, *missing], nearest.parent
    for name in missing:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(nearest / name)  # fails for a name that is too long
    with tempfile.TemporaryFile(dir=nearest, buffering=0) as probe:  # without a name: a kill leaves nothing
        probe.write(bytes(_PROBE))
        os.fsync(probe.fileno())
    free = shutil.disk_usage(nearest).free
    if free < room:
        raise StorageError(
            Code.DISK_FULL,
            f"{free / 1e6:,.1f} MB are free, and at least {room / 1e6:,.1f} MB are needed. Nothing was written.",
            fix="Free some space, or choose another place.",
            where=path,
        )


def bytes_of(folder: str | Path) -> int:
    """Return how many bytes the files below a folder have."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


@contextlib.contextmanager
def result_folder(
    out: str | Path, main: str, force: bool = False, names: Sequence[str] = (), option: str = "--force"
) -> Iterator[Path]:
    """Fill a result's folder: with all of its files, or it stays as it was. Other files in it are left alone.

    The block writes into the folder that it is given. Its files then take their places, ``main`` as the last one: where
    it stands, the result is complete. If ``main`` is JSON, it gets the mark of ``cxr_monai.completion``.

    Args:
        out: the folder; made if it is not there.
        main: the name of the file that is written last.
        force: an earlier result may be written over; its files go.
        names: other names of files and folders that an earlier result of this kind may have.
        option: what stands for ``force`` in the message.

    Raises:
        UsageError: ``output-exists``, before the block, or after it for a file that it wrote.
        StorageError: ``disk-full`` or ``write-failed``; what was there before is intact.
    """
    out = Path(out)
    check_folder(out, (main, *names), force, option=option)
    if not os.path.lexists(out):
        with durable_folder(out) as part:
            yield part
            _mark(part, main)
        return
    part = out / f".{main}.{os.getpid()}.part"
    try:
        for leftover in out.glob(f".{main}.*.part"):  # of a process that was killed
            shutil.rmtree(leftover)
        part.mkdir()
        try:
            yield part
            _mark(part, main)
            sync_tree(part)
            _move_in(part, out, main, force, names, option)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise storage_error(error, out) from error
    except CxrError as error:
        rename_places(error, part, out)
        raise


def _mark(part: Path, main: str) -> None:
    if main.endswith(".json"):
        content = json.loads((part / main).read_text(encoding="utf-8"))
        seal(content, part, [name for name in _files_below(part) if name != main])
        write_durably(part / main, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def _files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _move_in(part: Path, out: Path, main: str, force: bool, earlier_names: Sequence[str], option: str) -> None:
    """Put the files into their places; an earlier result is incomplete from the first to the last of these steps."""
    names = _files_below(part)
    refuse_taken([] if force else [out / name for name in names if os.path.lexists(out / name)], option)
    earlier = {*_earlier(out / main), *earlier_names} - set(names)
    (out / main).unlink(missing_ok=True)
    for name in sorted(earlier):
        if not (out / name).is_dir():
            (out / name).unlink(missing_ok=True)
    for name in [*(name for name in names if name != main), main]:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(part / name, out / name)
    for folder in {(out / name).parent for name in names}:
        sync_folder(folder)


def _earlier(main: Path) -> list[str]:
    """Return the files that an earlier result lists."""
    try:
        return listed_files(json.loads(main.read_text(encoding="utf-8"))) or []
    except (OSError, ValueError, RecursionError):
        return []
