"""Tables of public data sets: found by their names, read by their columns' names, told apart by them.

path, notes = find_table(root, table, ("train.csv",), "VinDr-CXR")
cells = read_columns(path, {"image": ("image_id",), "reader": ("rad_id",)}, "VinDr-CXR")
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import pandas as pd

from cxr_monai.data.columns import find_column, key
from cxr_monai.data.sources._files import require_folder
from cxr_monai.data.sources._text import read_table
from cxr_monai.data.tables import read_header
from cxr_monai.errors import Code, ManifestError

# columns (reduced to letters and digits) that no other set's table has together: the set, and its source here
_SIGNATURES = (
    (("imageindex", "findinglabels"), "NIH ChestX-ray14", "nih"),
    (("pathtoimage", "frontallateral"), "CheXpert Plus", "chexpert"),
    (("path", "enlargedcardiomediastinum"), "CheXpert", "chexpert"),
    (("path", "frontallateral"), "CheXpert", "chexpert"),
    (("subjectid", "studyid"), "MIMIC-CXR", "mimic"),
    (("studyid", "enlargedcardiomediastinum"), "MIMIC-CXR", "mimic"),
    (("imageid", "imagedir", "projection"), "PadChest", "padchest"),
    (("imageid", "radid"), "VinDr-CXR", "vindr"),
    (("patientid", "target"), "RSNA Pneumonia", "rsna"),
    (("imageid", "encodedpixels"), "SIIM-ACR Pneumothorax", "siim"),
    (("uid", "mesh"), "Open-i", "openi"),
    (("uid", "filename", "projection"), "Open-i", "openi"),
)


def resembles(columns: Iterable[str]) -> tuple[str, str] | None:
    """Return the public data set whose table has such columns, and its source here; None for none.

    >>> resembles(["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA"])
    ('CheXpert', 'chexpert')
    """
    keys = {key(str(column)) for column in columns}
    return next(((dataset, source) for needed, dataset, source in _SIGNATURES if keys >= {*needed}), None)


def resembling_table(root: Path, tables: Iterable[Path], dataset: str) -> str:
    """Return a clause on a table that looks like another set's; ``""`` for none. Unreadable ones are passed over.

    Args:
        root: the folder of the data set.
        tables: files in it; the first ten are looked at.
        dataset: the set whose tables are none to mention.
    """
    for path in islice(tables, 10):
        try:
            alike = resembles(read_header(path))
        except ManifestError:
            continue
        if alike and alike[0] != dataset:
            place = path.relative_to(root).as_posix()
            return f"; {place} looks like {alike[0]}'s (cxr-monai manifest {alike[1]})"
    return ""


def tables_near(root: Path) -> list[Path]:
    """Return the CSV files, plain or .gz, in a folder and the folders in it."""
    return [path for pattern in ("*.csv", "*.csv.gz", "*/*.csv", "*/*.csv.gz") for path in sorted(root.glob(pattern))]


def tables_in(root: Path, names: Sequence[str]) -> list[Path]:
    """Return the files of these names, plain or .gz, in a folder and the folders in it; the preferred name first.

    Args:
        root: the folder.
        names: file names, the preferred one first.

    Raises:
        ManifestError: ``source-invalid`` if ``root`` is no folder.
    """
    require_folder(root)
    folders = [root, *sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))]
    places = [folder / f"{name}{end}" for name in names for folder in folders for end in ("", ".gz")]
    return [place for place in places if place.is_file()]


def find_table(root: Path, table: Path | None, names: Sequence[str], dataset: str) -> tuple[Path, list[str]]:
    """Return a data set's table, and a note if there was a choice.

    Args:
        root: the data set's folder; its own folders are searched too, one level down.
        table: the user's choice; None searches.
        names: file names, the preferred one first; each may end in ``.gz``.
        dataset: for the message.

    Raises:
        ManifestError: ``source-invalid`` if none is there.
    """
    if table is not None:
        return table, []
    present = tables_in(root, names)
    if not present:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"no table of {dataset} is here; looked for {', '.join(names)}, plain or .gz, in this folder and the "
            f"folders in it{resembling_table(root, tables_near(root), dataset)}.",
            fix="Name it with --table FILE.",
            where=root,
        )
    others = ", ".join(path.relative_to(root).as_posix() for path in present[1:])
    chosen = present[0].relative_to(root).as_posix()
    return present[0], [f"took {chosen}, not {others} (--table FILE takes another)"] if others else []


def read_columns(
    path: Path, columns: Mapping[str, Sequence[str]], dataset: str, optional: Mapping[str, Sequence[str]] | None = None
) -> pd.DataFrame:
    """Return columns of a public data set's table as text under their keys, indexed by line.

    Args:
        path: the table.
        columns: key -> spellings of the column's name, the preferred one first; capitals, blanks and signs do not
            matter.
        dataset: whose table it should be, for the message.
        optional: the same of columns that may be lacking: they are empty then.

    Raises:
        ManifestError: ``source-invalid``: a column is lacking, and which set's table it looks like; no row.
    """
    names = read_header(path)
    present = {name: find_column(names, [key(option) for option in options]) for name, options in columns.items()}
    lacking = [" or ".join(map(repr, columns[name])) for name, column in present.items() if column is None]
    if lacking:
        raise wrong_table(path, names, f"it lacks {', '.join(lacking)}", dataset)
    spare = {name: find_column(names, [key(option) for option in spellings])
             for name, spellings in (optional or {}).items()}  # fmt: skip
    cells = read_table(path)
    return pd.DataFrame(
        {name: cells.get(column, "") for name, column in {**present, **spare}.items()},
        index=cells.index,
        dtype="str",
    )


def wrong_table(path: Path, columns: Sequence[str], reason: str, dataset: str) -> ManifestError:
    """Return the error for a table that is not the data set's, which names the set that it looks like.

    Args:
        path: the table.
        columns: its columns' names.
        reason: what is wrong, as a clause.
        dataset: whose table it should be.
    """
    alike = resembles(columns)
    other = alike if alike and alike[0] != dataset else None
    shown = ", ".join(map(repr, columns[:40]))
    return ManifestError(
        Code.SOURCE_INVALID,
        f"this is not {dataset}'s table: {reason}; its columns are {shown}."
        + (f" It looks like {other[0]}'s." if other else ""),
        fix=f"Read it with 'cxr-monai manifest {other[1]} ROOT'." if other else None,
        where=path,
    )
