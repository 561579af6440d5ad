"""The manifest of a packed bundle: ``bundle.manifest.json`` in its root, with every file's size and SHA-256.

contents = PackedContents.of(root, "cxr-nih14", "1.0.0", created_from=digest)
(root / FILE_LIST).write_bytes(contents.to_bytes())
contents = read_contents(root / FILE_LIST)      # strict: it is a stranger's
refuse_altered_files(root, contents)            # the files on disk are exactly these
"""

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cxr_monai.bundle.digest import file_digest
from cxr_monai.errors import Code, SharingError
from cxr_monai.plurals import counted
from cxr_monai.sharing.inspection.file_names import DEEPEST_FOLDER, MOST_FILES, is_device, name_problems
from cxr_monai.sharing.inspection.remarks import shortened
from cxr_monai.strict_json import LARGEST_JSON as LARGEST_JSON
from cxr_monai.strict_json import parse_strictly

FILE_LIST = "bundle.manifest.json"
SIGNATURE = "bundle.sig"
PACKED_METRICS = "metrics.json"
_FORMAT = 1
LARGEST_BUNDLE = 2 << 30
"""Bytes of a whole bundle."""
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_VERSION = re.compile(r"(?:0|[1-9]\d{0,5})(?:\.(?:0|[1-9]\d{0,5})){1,3}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class PackedFile:
    """One file: its name within the bundle (``/`` between folders), its bytes, their SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class PackedContents:
    """The manifest of a packed bundle.

    Attributes:
        name: lower case, digits and hyphens; what it is installed as.
        version: numbers and dots.
        created_from: digest of the folder that was packed (``cxr_monai.bundle.digest``), as its predictions name it.
        files: all but the manifest and the signature, by name.
    """

    name: str
    version: str
    created_from: str
    files: tuple[PackedFile, ...]

    @classmethod
    def of(cls, root: Path, name: str, version: str, created_from: str) -> "PackedContents":
        """Return the manifest of a folder.

        Args:
            root: the folder.
            name, version: of the packed bundle.
            created_from: digest of the folder that is packed.

        Raises:
            SharingError: ``bundle-altered`` for a link or a device, ``archive-invalid`` for names or sizes that a
                packed bundle cannot have.
        """
        names = [file_name for file_name in walk_files(root) if file_name not in (FILE_LIST, SIGNATURE)]
        paths = [(file_name, root / file_name) for file_name in sorted(names)]
        files = tuple(PackedFile(file_name, path.stat().st_size, file_digest(path)) for file_name, path in paths)
        return _checked(cls(name, version, created_from, files), root)

    def to_bytes(self) -> bytes:
        """Return the manifest as JSON; equal manifests give equal bytes."""
        content = {
            "format": _FORMAT,
            "name": self.name,
            "version": self.version,
            "created_from": self.created_from,
            "files": [{"name": file.name, "size": file.size, "sha256": file.sha256} for file in self.files],
        }
        return (json.dumps(content, indent=1) + "\n").encode()


def read_contents(path: Path) -> PackedContents:
    """Read a stranger's manifest.

    Raises:
        SharingError: ``archive-invalid`` if it is missing or anything in it is not as this package writes it.
    """
    try:
        if not stat.S_ISREG(path.lstat().st_mode) or path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"it is no file of at most {LARGEST_JSON:,} bytes.")
        raw = path.read_bytes()
        contents = _parsed(parse_strictly(raw))
    except FileNotFoundError:
        raise SharingError(
            Code.ARCHIVE_INVALID,
            f"it has no {FILE_LIST}, so it was not packed.",
            fix="'cxr-monai bundle pack' makes an archive of a bundle.",
            where=path.parent,
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise SharingError(Code.ARCHIVE_INVALID, f"its {FILE_LIST} is not valid: {error}", where=path.parent) from error
    _checked(contents, path.parent)
    if contents.to_bytes() != raw:
        raise SharingError(
            Code.ARCHIVE_INVALID,
            f"its {FILE_LIST} is written in another way than 'cxr-monai bundle pack' does.",
            where=path.parent,
        )
    return contents


def _parsed(content: Any) -> PackedContents:
    if not isinstance(content, Mapping) or set(content) != {"format", "name", "version", "created_from", "files"}:
        raise ValueError("it needs format, name, version, created_from and files, and nothing else.")
    if content["format"] != _FORMAT or isinstance(content["format"], bool):
        raise ValueError(f"its format is {shortened(content['format'])}, this package reads {_FORMAT}.")
    if not isinstance(content["files"], list) or len(content["files"]) > MOST_FILES:
        raise ValueError(f"files is a list of at most {MOST_FILES:,}.")
    return PackedContents(
        _text(content["name"]),
        _text(content["version"]),
        _text(content["created_from"]),
        tuple(_file(entry) for entry in content["files"]),
    )


def _file(entry: Any) -> PackedFile:
    if not isinstance(entry, Mapping) or set(entry) != {"name", "size", "sha256"}:
        raise ValueError("a file has name, size and sha256, and nothing else.")
    if not isinstance(entry["size"], int) or isinstance(entry["size"], bool) or entry["size"] < 0:
        raise ValueError(f"the size of {shortened(entry['name'])} is no number of bytes.")
    return PackedFile(_text(entry["name"]), entry["size"], _text(entry["sha256"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shortened(value)} is no text.")
    return value


def _checked(contents: PackedContents, root: Path) -> PackedContents:
    check_bundle_name(contents.name)
    version_numbers(contents.version)
    problems = list_problems([file.name for file in contents.files])
    if any(not _SHA256.fullmatch(text) for text in (contents.created_from, *(f.sha256 for f in contents.files))):
        problems.append("a SHA-256 is 64 hexadecimal digits.")
    if sum(file.size for file in contents.files) > LARGEST_BUNDLE:
        problems.append(f"it is larger than {LARGEST_BUNDLE:,} bytes.")
    if not contents.files or len(contents.files) > MOST_FILES:
        problems.append(f"it has {counted(len(contents.files), 'file')}; 1 to {MOST_FILES:,} are allowed.")
    if {FILE_LIST, SIGNATURE} & {file.name.casefold() for file in contents.files}:
        problems.append(f"{FILE_LIST} and {SIGNATURE} do not list themselves.")
    if problems:
        raise SharingError(Code.ARCHIVE_INVALID, " ".join(problems[:10]), where=root)
    return contents


def check_bundle_name(name: str) -> str:
    """Return a bundle's name unchanged if it is valid.

    Raises:
        SharingError: ``archive-invalid``.
    """
    if not _NAME.fullmatch(name) or is_device(name):
        raise SharingError(
            Code.ARCHIVE_INVALID,
            f"the name {shortened(name)!r}: 1 to 64 of a-z, 0-9 and '-', the latter neither first nor last.",
        )
    return name


def version_numbers(version: str) -> tuple[int, ...]:
    """Return a version as four numbers that compare; ``1.2`` is ``1.2.0.0``.

    Raises:
        SharingError: ``archive-invalid``.

    >>> version_numbers("1.2") < version_numbers("1.10")
    True
    """
    if not _VERSION.fullmatch(version):
        raise SharingError(
            Code.ARCHIVE_INVALID, f"the version {shortened(version)!r}: two to four numbers with dots, such as 1.2.0."
        )
    numbers = tuple(map(int, version.split(".")))
    return (*numbers, *([0] * (4 - len(numbers))))


def list_problems(names: Sequence[str]) -> list[str]:
    """Return what is wrong with the list of a bundle's files, as sentences; empty if nothing is."""
    problems = [problem for _, problem in name_problems(names)]
    if list(names) != sorted(names):
        problems.append("the files are not in the order of their names.")
    return problems


def walk_files(root: Path) -> Iterator[str]:
    """Yield the names of all files below a folder; hidden ones too.

    Raises:
        SharingError: ``bundle-altered`` for links, devices, empty folders and more than 10,000 files.
    """
    count, pending = 0, [root]
    while pending:
        folder = pending.pop()
        entries = 0
        with os.scandir(folder) as scan:
            for entry in scan:
                entries, count = entries + 1, count + 1
                name = Path(entry.path).relative_to(root).as_posix()
                if count > 2 * MOST_FILES:
                    raise SharingError(Code.BUNDLE_ALTERED, f"it has more than {MOST_FILES:,} files.", where=root)
                if entry.is_symlink():
                    raise SharingError(Code.BUNDLE_ALTERED, f"{shortened(name)} is a link.", where=root)
                if entry.is_dir(follow_symlinks=False):
                    if name.count("/") >= DEEPEST_FOLDER:
                        raise SharingError(
                            Code.BUNDLE_ALTERED, f"it is more than {DEEPEST_FOLDER} folders deep.", where=root
                        )
                    pending.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    yield name
                else:
                    raise SharingError(Code.BUNDLE_ALTERED, f"{shortened(name)} is a device or a pipe.", where=root)
        if not entries and folder != root:
            name = folder.relative_to(root).as_posix()
            raise SharingError(Code.BUNDLE_ALTERED, f"{shortened(name)} is an empty folder.", where=root)


def refuse_altered_files(root: Path, contents: PackedContents) -> None:
    """Compare the files on disk with the manifest: exactly these, each with its size and SHA-256.

    Args:
        root: the bundle's folder; its manifest and signature are left out.
        contents: the manifest.

    Raises:
        SharingError: ``bundle-altered``, with up to ten of the differences.
    """
    present, listed = set(walk_files(root)) - {FILE_LIST, SIGNATURE}, {file.name: file for file in contents.files}
    problems = [f"{shortened(name)} is not in its manifest." for name in sorted(present - listed.keys())]
    problems += [f"{name} is missing." for name in sorted(listed.keys() - present)]
    for name in sorted(present & listed.keys()):
        path, file = root / PurePosixPath(name), listed[name]
        if path.stat().st_size != file.size:
            problems.append(f"{name} has {counted(path.stat().st_size, 'byte')}, its manifest says {file.size:,}.")
        elif file_digest(path) != file.sha256:
            problems.append(f"{name} has another content than its manifest says.")
    if problems:
        more = f" (and {len(problems) - 10:,} more)" if len(problems) > 10 else ""
        raise SharingError(
            Code.BUNDLE_ALTERED,
            " ".join(problems[:10]) + more,
            fix="Get it again from its sender; a bundle that was changed is packed and signed anew.",
            where=root,
        )
