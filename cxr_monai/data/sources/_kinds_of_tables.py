"""Which table of radiologists' labels a file is, told by its columns: people rename files, and two sets call theirs
``test_labels.csv``.

read_known(Path("labels.csv")).kind.title      # "RSNA's boxes (stage_2_train_labels.csv)"
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_monai.data.columns import key
from cxr_monai.data.sources._files import require_folder
from cxr_monai.data.sources._public import resembles
from cxr_monai.data.sources._text import read_table
from cxr_monai.data.tables import read_header, read_text
from cxr_monai.errors import Code, ManifestError
from cxr_monai.labels import NIH14


@dataclass(frozen=True)
class TableKind:
    """A table (or a JSON file) of radiologists' labels.

    Attributes:
        title: whose it is and how it is called, for messages.
        source: the choice of ``--reference`` that reads it.
        columns: reduced names (`cxr_monai.data.columns.key`) that it has; an entry with ``|`` names alternatives.
    """

    title: str
    source: str
    columns: frozenset[str]

    def fits(self, names: set[str]) -> bool:
        """Return whether all columns are among reduced names."""
        return all(names & set(alternatives.split("|")) for alternatives in self.columns)


def _kind(title: str, source: str, *columns: str) -> TableKind:
    return TableKind(title, source, frozenset(columns))


_ENDINGS = (".csv", ".csv.gz", ".csv.zip", ".json")
_BOX = ("x", "y", "width", "height")
_FOUR = ("fracture", "pneumothorax", "airspaceopacity", "noduleormass|nodulemass")
_FOURTEEN = tuple(key(finding) for finding in NIH14)
_IMAGE = "image|imageindex|imageid"

RSNA_ON_NIH = _kind("RSNA's classes by NIH's names", "rsna", "image", "rsnaclass", *_BOX)
RSNA_BOXES = _kind("RSNA's boxes (stage_2_train_labels.csv)", "rsna", "patientid", "target", *_BOX)
RSNA_CLASSES = _kind("RSNA's classes (stage_2_detailed_class_info.csv)", "rsna", "patientid", "class")
RSNA_HEADERS = _kind(
    "a table of RSNA's DICOM headers", "rsna", "patientid", "patientage", "patientsex", "viewposition", "modality"
)
RSNA_MAPPING = _kind(
    "RSNA's mapping to NIH's names (pneumonia-challenge-dataset-mappings_2018.json)",
    "rsna",
    "imgid",
    "subsetimgid|sopinstanceuid",
)
RSNA_ANNOTATIONS = _kind("RSNA's adjudicated annotations", "rsna", "labelgroups", "datasets")
GOOGLE_14_READERS = _kind("Google's readers of 14 findings", "google-14", _IMAGE, "readerid", *_FOURTEEN)
GOOGLE_14 = _kind("Google's labels of 14 findings", "google-14", _IMAGE, *_FOURTEEN)
GOOGLE_READERS = _kind("Google's readers of four findings", "google", _IMAGE, "readerid", *_FOUR)
GOOGLE = _kind("Google's labels of four findings", "google", _IMAGE, *_FOUR)

# the more special first: readers before the truth
KINDS = (
    RSNA_ON_NIH, RSNA_BOXES, RSNA_HEADERS, RSNA_CLASSES, RSNA_MAPPING, RSNA_ANNOTATIONS, GOOGLE_14_READERS, GOOGLE_14,
    GOOGLE_READERS, GOOGLE,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class KnownTable:
    """A file whose kind was recognised.

    Attributes:
        path: the file.
        kind: what it is.
        cells: text under reduced names of columns, indexed by line; for a JSON list of objects, one row each.
        content: of a JSON object; None for a table.
    """

    path: Path
    kind: TableKind
    cells: pd.DataFrame
    content: Any = None


def kind_of_columns(names: Sequence[str]) -> TableKind | None:
    """Return what a table with these columns is, None for any other.

    >>> kind_of_columns(["patientId", "class"]).source
    'rsna'
    """
    reduced = {key(name) for name in names}
    return next((kind for kind in KINDS if kind.fits(reduced)), None)


def read_known(path: Path) -> KnownTable:
    """Read a table, or a JSON file, of radiologists' labels.

    Raises:
        ManifestError: ``source-invalid``: it cannot be read, has no row, or is another.
    """
    text = read_text(path).lstrip()
    if text.startswith(("[", "{")):
        return _known_json(_parse(text, path), path)
    names = read_header(path)
    kind = _require_kind(names, path)
    cells = read_table(path)
    return KnownTable(path, kind, cells.rename(columns={name: key(str(name)) for name in cells}))


def known_in(root: Path, source: str) -> list[KnownTable]:
    """Return the tables of a data set in a folder (not in the folders in it), told by their columns.

    Args:
        root: the folder.
        source: a `TableKind.source`.

    Raises:
        ManifestError: ``source-invalid`` if ``root`` is no folder, or a table cannot be read.
    """
    require_folder(root)
    paths = sorted(path for path in root.iterdir() if path.is_file() and path.name.lower().endswith(_ENDINGS))
    return [table for path in paths if (table := _read_if(path, source)) is not None]


def _read_if(path: Path, source: str) -> KnownTable | None:
    """Return a table if it is one of a data set's; what is no table or another set's is None."""
    if path.name.lower().endswith(".json"):
        content = _parse(read_text(path), path)
        entry = content[0] if isinstance(content, list) and content else content
        kind = kind_of_columns(list(entry)) if isinstance(entry, dict) else None
        return _known_json(content, path) if kind is not None and kind.source == source else None
    kind = kind_of_columns(read_header(path))
    return read_known(path) if kind is not None and kind.source == source else None


def require_source(table: KnownTable, source: str, option: str) -> None:
    """Refuse a table of another set, saying which it looks like.

    Args:
        table: as read.
        source: the one that is wanted.
        option: what the user gave, for the message: ``--reference rsna``.

    Raises:
        ManifestError: ``source-invalid``.
    """
    if table.kind.source != source:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"this looks like {table.kind.title}, which is no table for {option}.",
            fix=f"{option} takes {', '.join(kind.title for kind in KINDS if kind.source == source)}.",
            where=table.path,
        )


def _require_kind(names: list[str], path: Path) -> TableKind:
    kind = kind_of_columns(names)
    if kind is None:
        alike = resembles(names)
        shown = ", ".join(map(repr, names[:20]))
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"this is no table of radiologists' labels; its columns are {shown}."
            + (f" It looks like {alike[0]}'s." if alike else ""),
            fix=f"Tables that are read: {'; '.join(kind.title for kind in KINDS)}.",
            where=path,
        )
    return kind


def _parse(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManifestError(Code.SOURCE_INVALID, f"it is no JSON ({error}).", where=path) from error


def _known_json(content: Any, path: Path) -> KnownTable:
    if isinstance(content, dict):
        return KnownTable(path, _require_kind(list(content), path), pd.DataFrame(), content)
    if not content or not all(isinstance(entry, dict) for entry in content):
        raise ManifestError(Code.SOURCE_INVALID, "it is no list of objects.", where=path)
    table = pd.DataFrame.from_records(content)
    kind = _require_kind(list(table.columns), path)
    cells = table.rename(columns={name: key(str(name)) for name in table}).fillna("").astype("str")
    return KnownTable(path, kind, cells)
