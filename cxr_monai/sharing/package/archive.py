"""Write and read a packed bundle as one file: a ZIP in one canonical form, so that anything added to it is detected.

Stored, sorted, one time and one mode for all: the same files give the same bytes. ZIP rather than tar, because its
directory has names and sizes before anything is read, and because tar has links, devices and owners to refuse.
Nothing is compressed (weights hardly shrink), so unpacked files are never larger than the archive: no ZIP bombs.

Reading is as strict: after unpacking, packing the files again must give the same bytes. A comment, an extra field, data
before, between or behind the entries, a second directory, a mode: whatever the first reading missed is a difference.
"""

import contextlib
import dataclasses
import hashlib
import io
import stat
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from cxr_monai.durable import storage_error
from cxr_monai.errors import BundleError, Code, CxrError, SharingError
from cxr_monai.plurals import counted
from cxr_monai.sharing.inspection.bundle_inspection import Inspection, inspect_bundle
from cxr_monai.sharing.inspection.file_names import LONGEST_FILE_NAME, MOST_FILES
from cxr_monai.sharing.inspection.remarks import LONGEST_REMARK, shortened
from cxr_monai.sharing.package.file_list import LARGEST_BUNDLE, list_problems, walk_files

_TIME = (1980, 1, 1, 0, 0, 0)
_MODE = (stat.S_IFREG | 0o644) << 16
_END = 22
"""Bytes of the end of a ZIP's directory, without a comment."""
_MOST_DIRECTORY = MOST_FILES * (46 + LONGEST_FILE_NAME)


def write_archive(root: Path, file: IO[bytes]) -> None:
    """Write every file below a folder, hidden ones too, as a ZIP; equal files give equal bytes.

    Args:
        root: the folder.
        file: open for writing, in binary mode.

    Raises:
        SharingError: ``bundle-altered`` for links, devices and empty folders; ``archive-invalid`` for names and sizes
            that an archive cannot have.
    """
    names = sorted(walk_files(root))
    problems = list_problems(names)
    size = sum((root / name).stat().st_size for name in names)
    if size > LARGEST_BUNDLE:
        problems.append(f"it has {counted(size, 'byte')}; a bundle has at most {LARGEST_BUNDLE:,}.")
    if problems:
        raise SharingError(Code.ARCHIVE_INVALID, " ".join(problems[:10]), where=root)
    _write(root, names, file)


def _write(root: Path, names: Iterable[str], file: IO[bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system, entry.external_attr = 3, _MODE
            entry.file_size = (root / name).stat().st_size
            with (root / name).open("rb") as source, archive.open(entry, "w") as target:
                while block := source.read(1 << 20):
                    target.write(block)


def unpack(archive: Path, into: Path) -> None:
    """Unpack a stranger's archive into an empty folder; nothing is written outside of it, nothing before it is checked.

    Args:
        archive: of :func:`write_archive`.
        into: an empty folder.

    Raises:
        SharingError: ``archive-invalid``, with the reason: no ZIP, truncated, larger than 2 GB, more than 10,000
            entries, compressed, encrypted, links, names that lead elsewhere or stand twice, or anything else in it.
    """
    try:
        with archive.open("rb") as file:
            names = _unpacked(file, into)
            _refuse_other_form(file, into, names)
    except (OSError, CxrError):
        raise
    except Exception as error:  # a stranger's file may break its reader in any way
        raise SharingError(
            Code.ARCHIVE_INVALID,
            f"it is damaged, or no archive of a bundle: {shortened(error, 4 * LONGEST_REMARK).rstrip('.')}.",
            fix="Get it again from its sender, as 'cxr-monai bundle pack' and 'sign' wrote it.",
            where=archive,
        ) from error


@contextlib.contextmanager
def temporarily_unpacked(archive: Path) -> Iterator[Path]:
    """Unpack an archive into a temporary folder, which the context yields; errors name the archive.

    Raises:
        SharingError: ``archive-invalid``, as :func:`unpack`.
        BundleError: ``bundle-invalid`` if there is no such file.
        StorageError: ``disk-full``, ``write-failed``.
    """
    if not archive.is_file():
        raise BundleError(Code.BUNDLE_INVALID, "there is no such archive or folder.", where=archive)
    with tempfile.TemporaryDirectory(prefix="cxr-monai-") as temporary:
        root = Path(temporary) / "bundle"
        try:
            root.mkdir()
            unpack(archive, root)
        except OSError as error:
            raise storage_error(error, temporary, "Nothing was verified or installed.") from error
        try:
            yield root
        except CxrError as error:
            if error.where is not None and error.where.startswith(temporary):
                error.where = str(archive)
            raise


def inspect_archive(archive: Path) -> Inspection:
    """Inspect the bundle in an archive; its manifest and its signature are not checked.

    Raises:
        SharingError, BundleError, StorageError: as :func:`temporarily_unpacked`.
    """
    with temporarily_unpacked(archive) as root:
        return dataclasses.replace(inspect_bundle(root), root=archive)


def _unpacked(file: IO[bytes], into: Path) -> list[str]:
    size = file.seek(0, io.SEEK_END)
    _check_end(file, size)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        problems = list_problems(names)  # first: other checks count on a name
        if not problems:
            problems = [
                f"{shortened(entry.filename)!r} {problem}." for entry in entries if (problem := _entry_problem(entry))
            ]
        if sum(entry.file_size for entry in entries) > size:
            problems.append("its entries claim more bytes than it has.")
        if problems:
            raise ValueError(" ".join(problems[:10]))
        for entry in entries:
            path = into / PurePosixPath(entry.filename)
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source, path.open("xb") as target:
                while block := source.read(1 << 20):
                    target.write(block)
    return names


def _check_end(file: IO[bytes], size: int) -> None:
    """Check the end record (the last 22 bytes), before a library reads the directory that it points to."""
    if not _END + 20 < size <= LARGEST_BUNDLE + _MOST_DIRECTORY:
        raise ValueError(f"it has {counted(size, 'byte')}; an archive has at most {LARGEST_BUNDLE:,}")
    file.seek(max(size - _END - 20, 0))
    before, end = file.read(20), file.read(_END)
    if before[:4] == b"PK\x06\x07":
        raise ValueError("it has a second end, that of a larger kind of archive")
    if end[:4] != b"PK\x05\x06" or end[20:] != b"\0\0":
        raise ValueError("it does not end as a ZIP file without a comment does: truncated, or something follows it")
    disks, count, length = end[4:8], int.from_bytes(end[10:12], "little"), int.from_bytes(end[12:16], "little")
    start = int.from_bytes(end[16:20], "little")
    if any(disks) or end[8:10] != end[10:12]:
        raise ValueError("it is one part of several")
    if count > MOST_FILES or length > _MOST_DIRECTORY:
        raise ValueError(f"it has {counted(count, 'entry')}; at most {MOST_FILES:,} are allowed")
    if start + length + _END != size:
        raise ValueError("something lies before its first entry or behind its directory")


def _entry_problem(entry: zipfile.ZipInfo) -> str:
    checks = {
        "is encrypted": entry.flag_bits & 0x41,
        "is compressed": entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size,
        "is a folder, and folders have no entries": entry.is_dir(),
        "is a link or a device": entry.external_attr >> 16 and not stat.S_ISREG(entry.external_attr >> 16),
        # Python cuts a name at its first zero byte
        "has another name for other readers": entry.orig_filename != entry.filename,
    }
    return next((problem for problem, applies in checks.items() if applies), "")


def _digest(file: IO[bytes]) -> bytes:
    total = hashlib.sha256()
    while block := file.read(1 << 20):
        total.update(block)
    return total.digest()


def _refuse_other_form(file: IO[bytes], into: Path, names: list[str]) -> None:
    with tempfile.TemporaryFile(dir=into.parent) as again:
        _write(into, names, again)
        again.seek(0)
        file.seek(0)
        if _digest(again) != _digest(file):
            raise ValueError("besides its files there is something in it that 'cxr-monai bundle pack' does not write")
