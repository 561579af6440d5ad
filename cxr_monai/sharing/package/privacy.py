"""Search all texts of a bundle for private data, which must not leave a hospital, before it is packed.

Paths of a machine, home folders, names of users and hosts, patient identifiers, names of images, lists of data. With
the manifest of the data at hand its own identifiers and names are searched for, which is exact; without, what they
usually look like. Pictures cannot be read here: they are named, for a person to look at.
"""

import contextlib
import getpass
import gzip
import json
import pickletools
import platform
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_monai.data.manifest import Manifest
from cxr_monai.networks.weights_files import LARGEST_PICKLE, examine_weights
from cxr_monai.sharing.inspection.kinds import FileKind, kind_of
from cxr_monai.sharing.inspection.remarks import shortened
from cxr_monai.sharing.package.file_list import walk_files

_NAMES = r"(?:patient|study|series|image|sop|accession)"
PATTERNS: Mapping[str, str] = {
    # 'configs', 'docs' and 'models' are the bundle's own folders: expressions append them to its root
    "a path of a machine": r"(?:^|(?<=[\s\"'`(=:,<>\[]))/(?!(?:configs|docs|models)\b)[\w.~+@%-]+(?:/[\w.~+@%-]+)+",
    "a path of Windows": r"(?<![A-Za-z])[A-Za-z]:[\\/](?!/)[\w.~+@%$-]+|\\\\[\w.-]+\\+[\w.$-]+",
    "an address of a file": r"\bfile:/[^\s\"'<>]*",
    "a home folder": r"(?:^|(?<=[\s\"'`(=:,]))~[a-z0-9_-]*/[\w.-]+|\$\{?HOME\b|%USERPROFILE%|%APPDATA%",
    "a DICOM identifier": r"(?<![\w.])[0-2](?:\.(?:0|[1-9]\d*)){6,}(?![\w.])",
    "the name of an image": r"\b\d{8,}_\d{3}\b|[\w-]*\d{4,}[\w.-]*\.(?:png|jpe?g|tiff?|dcm|dicom|nii(?:\.gz)?)\b",
    "a patient identifier": r"\bpatient[_ -]?\d{3,}\b",
    "a column of a training index": r"\b(?:pixel_digest|picture_hash)\b",
    "a column of a list of data": rf"\b{_NAMES}_?(?:id|uid|index|name)\b|\bImage Index\b|\bPatient(?:ID|Name)\b",
}
_WORD = re.compile(r"[^\s\"'<>(){}\[\],;:=|`*/\\]+")
_HEAD = 1 << 16
"""Bytes in which a table names its columns."""
SHORTEST = 5
"""Letters or digits of an identifier that can be searched for: ``12`` occurs in any file."""
_COMMON = {"admin", "administrator", "docker", "jenkins", "jovyan", "localhost", "monai", "nobody", "radiology",
           "runner", "student", "ubuntu"}  # fmt: skip
"""Names of users and hosts that identify nobody, and occur in ordinary texts."""


@dataclass(frozen=True)
class PrivateText:
    """A private text: its file, the line or key within it, its kind (``a patient identifier``), the text itself."""

    file: str
    place: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}{f' ({self.place})' if self.place else ''}: {self.kind}, {self.text!r}"


@dataclass(frozen=True)
class Identifiers:
    """Identifiers of the patients, studies and images of a manifest.

    Attributes:
        words: identifiers and names by their lower-case word.
        unsearchable: how many identifiers are too short to be distinguished from ordinary numbers and words.
    """

    words: Mapping[str, str]
    unsearchable: int

    @classmethod
    def of(cls, manifest: Manifest) -> "Identifiers":
        """Collect patients, studies, and the images' file names with and without their ending."""
        words: dict[str, str] = {}
        short = set()
        table = manifest.table
        for column, kind in (("patient_id", "a patient"), ("study_id", "a study"), ("image", "an image")):
            for value in table[column].astype(str).unique() if column in table else ():
                name = re.split(r"[\\/]", value)[-1].lower()
                # only whole words are found, so what is not one is taken apart
                for word in {name, name.partition(".")[0]}:
                    parts = _WORD.findall(word)
                    if parts == [word] and len(word) >= SHORTEST:
                        words.setdefault(word, f"{kind} of the manifest")
                    elif word:
                        short.add(word)
        return cls(words, len(short))


def search_private_texts(root: Path, identifiers: Identifiers | None = None) -> list[PrivateText]:
    """Return the private texts in the files of a folder, in the order of the files' names.

    Args:
        root: the folder.
        identifiers: of the data that the bundle was made from.
    """
    local_names = _local_names()
    words = {**local_names, **(identifiers.words if identifiers else {})}
    private_texts = []
    for name in sorted(walk_files(root)):
        if name.casefold().endswith("patients.json"):
            private_texts.append(PrivateText(name, "", "a list of patients", Path(name).name))
        for place, text in _texts(root / name, kind_of(name)):
            private_texts += [PrivateText(name, place, kind, shortened(match)) for kind, match in _in_text(text, words)]
    return list(dict.fromkeys(private_texts))


def training_indexes(root: Path) -> list[str]:
    """Return the names of the tables below a folder that have digests or hashes of single films.

    They tell who was trained on, whatever they are called: a file of ``cxr-monai gate index``, the evidence of a
    prediction.

    Args:
        root: the folder.
    """
    return [name for name in sorted(walk_files(root)) if _is_index(root / name)]


def _is_index(path: Path) -> bool:
    if not path.name.lower().endswith((".csv", ".csv.gz", ".tsv", ".txt", ".json", ".gz")):
        return False
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(_HEAD).decode("utf-8", errors="replace")
    except (OSError, EOFError, zlib.error):  # a damaged archive, which nobody can read as a table
        return False
    return re.search(PATTERNS["a column of a training index"], head) is not None


def pictures_below(root: Path) -> list[str]:
    """Return the names of the pictures below a folder, which are not searched."""
    return sorted(name for name in walk_files(root) if kind_of(name) in (FileKind.PNG, FileKind.JPEG))


def _local_names() -> dict[str, str]:
    """Return the names of this user and this machine, unless they are common words."""
    names = {
        "the name of this machine": platform.node().split(".")[0],
        "the name of this home folder": Path.home().name,
    }
    with contextlib.suppress(OSError, KeyError):  # a container without a name for its user
        names["the name of this user"] = getpass.getuser()
    return {name.lower(): kind for kind, name in names.items() if len(name) >= SHORTEST and name.lower() not in _COMMON}


def _in_text(text: str, words: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for kind, pattern in PATTERNS.items():
        yield from ((kind, match[0]) for match in re.finditer(pattern, text))
    for word in _WORD.findall(text):
        for spelling in {word.lower().strip(".-"), word.lower().partition(".")[0]}:
            if spelling in words:
                yield words[spelling], word


def _texts(path: Path, kind: FileKind | None) -> Iterator[tuple[str, str]]:
    """Yield the texts of a file, each with its line or key."""
    if kind in (FileKind.PNG, FileKind.JPEG):
        return
    if path.suffix == ".safetensors":
        with path.open("rb") as file:
            length = min(int.from_bytes(file.read(8), "little"), 1 << 23)
            yield "header", file.read(length).decode("utf-8", errors="replace")
    elif kind == FileKind.WEIGHTS:
        if not examine_weights(path).objections:  # else the inspection refuses it
            yield from _of_archive(path)
    else:
        text = path.read_bytes().decode("utf-8", errors="replace")
        if path.suffix == ".json":
            try:  # as its readers see it, not with its escapes: C:\\\\data, M\\u00fcller
                yield from _strings(json.loads(text))
                return
            except (ValueError, RecursionError):
                pass  # the inspection refuses it; it is searched as plain text
        yield from ((f"line {number}", line) for number, line in enumerate(text.splitlines(), 1))


def _of_archive(path: Path) -> Iterator[tuple[str, str]]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            # the numbers of the tensors are no text
            if "/data/" not in entry.filename and entry.file_size <= LARGEST_PICKLE:
                yield from ((entry.filename, text) for text in _of_weights(archive.read(entry)))


def _of_weights(content: bytes) -> list[str]:
    try:
        return [argument for _, argument, _ in pickletools.genops(content) if isinstance(argument, str)]
    except Exception:  # no pickle, but a text or bytes, on which the inspection has its own verdict
        return [content.decode("latin-1")]


def _strings(content: Any, place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(content, str):
        yield place, content
    elif isinstance(content, Mapping | list):
        pairs: Iterable[tuple[Any, Any]] = content.items() if isinstance(content, Mapping) else enumerate(content)
        for key, value in pairs:
            inner = f"{place}#{key}" if place else str(key)
            if isinstance(key, str):
                yield inner, key
            yield from _strings(value, inner)
    elif isinstance(content, int | float):
        yield place, str(content)
