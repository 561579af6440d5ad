"""Tables and fields as hospitals and data sets write them: their rows, ages, sexes.

table = read_table("labels.csv")                # every cell as text, "" where empty; , ; or tab
years, impossible = parse_ages(table["Age"])    # "058Y" and "58" -> 58.0; "414" -> NaN, counted
"""

from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.data.ages import OLDEST, age_in_years
from cxr_monai.data.tables import read_cells
from cxr_monai.errors import Code, ManifestError
from cxr_monai.plurals import agreeing, be, counted, was

_NOBODY = ("", "nan", "na", "n/a", "none", "null")  # how programs write an empty cell
_SEXES = {"m": "M", "male": "M", "f": "F", "female": "F", "o": "O", "other": "O"}


def read_table(path: Path) -> pd.DataFrame:
    """Return a table of labels as `read_cells` does; one without a row is refused.

    Raises:
        ManifestError: ``source-invalid``.
    """
    table = read_cells(path)
    if table.empty:
        raise ManifestError(Code.SOURCE_INVALID, "the table has a header and no row.", where=path)
    return table


def refuse_nobody(patients: pd.Series, column: str, path: Path) -> None:
    """Refuse a column of patients with empty cells, or words for an empty cell (``nan``, ``none``).

    Args:
        patients: cells as text, indexed by line.
        column: its name.
        path: the table, for the message.

    Raises:
        ManifestError: ``source-invalid``, with the first line.
    """
    empty = patients.index[patients.str.lower().isin(_NOBODY)]
    if empty.empty:
        return
    cell = patients[empty[0]]
    raise ManifestError(
        Code.SOURCE_INVALID,
        f"{counted(len(empty), 'row')} {agreeing(len(empty), 'name')} no patient: the cell of {column!r} is empty, "
        f"first on line {empty[0]}" + (f" ({cell!r})." if cell else "."),
        fix="Fill it in: without it, a patient's images would land on both sides of a split.",
        where=path,
    )


def require_column(table: pd.DataFrame, column: str, option: str, path: Path) -> str:
    """Return the column's name if the table has it.

    Args:
        table: of labels.
        column: the name that the user chose.
        option: the command's option that chose it.
        path: the table, for the message.

    Raises:
        ManifestError: ``source-invalid``, listing the columns that there are.
    """
    if column not in table.columns:
        available = ", ".join(map(repr, table.columns))
        raise ManifestError(
            Code.SOURCE_INVALID, f"{option} {column}: there is no such column; there are {available}.", where=path
        )
    return column


def parse_ages(column: pd.Series) -> tuple[pd.Series, int]:
    """Return ages in completed years (NaN unknown) and how many cells held something that can be no age."""
    codes, texts = pd.factorize(column)
    years = np.array([age_in_years(text) for text in texts], dtype=float)
    impossible = np.array([bool(text.strip()) for text in texts], dtype=bool) & np.isnan(years)
    return pd.Series(years[codes], index=column.index), int(impossible[codes].sum())


def parse_sexes(column: pd.Series) -> tuple[pd.Series, int]:
    """Return ``M``, ``F``, ``O`` or ``""`` (DICOM PS3.3 C.7.1.1), and how many cells held another word.

    Args:
        column: text.
    """
    sexes = column.str.strip().str.lower().map(_SEXES).fillna("")
    return sexes, int(((sexes == "") & (column.str.strip() != "")).sum())


def emptied_notes(bad_ages: int, bad_sexes: int) -> list[str]:
    """Return sentences about the cells that `parse_ages` and `parse_sexes` emptied.

    Args:
        bad_ages: cells that are no age.
        bad_sexes: cells that are no sex.
    """
    notes = []
    if bad_ages:
        notes.append(
            f"{counted(bad_ages, 'age')} {be(bad_ages)} impossible (over {OLDEST} "
            f"years, or no age) and {was(bad_ages)} emptied"
        )
    if bad_sexes:
        notes.append(f"{counted(bad_sexes, 'sex')} {be(bad_sexes)} none of M, F, O and {was(bad_sexes)} emptied")
    return notes
