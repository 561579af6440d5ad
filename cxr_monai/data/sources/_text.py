"""Tables and fields as hospitals and data sets write them: delimiters, column names, ages, sexes.

table = read_table("labels.csv")                # every cell as text, "" where empty; , ; or tab
column = find_column(table, PATIENT)            # "Patient ID", "patient_id", "PatientID": all the same
years, impossible = parse_ages(table["Age"])    # "058Y" and "58" -> 58.0; "414" -> NaN, counted
"""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.data.validation import OLDEST
from cxr_monai.errors import Code, ManifestError

# column names met in the wild, compared by letters and digits alone
IMAGE = ("image", "imageindex", "filename", "file", "path", "imagepath", "filepath", "imageid", "imagename")
PATIENT = ("patientid", "patient", "subjectid", "subject")
STUDY = ("studyid", "study", "studyinstanceuid", "accessionnumber")
VIEW = ("view", "viewposition", "projection")
AGE = ("age", "patientage")
SEX = ("sex", "gender", "patientsex", "patientgender")

_PER_YEAR = {"": 1.0, "Y": 1.0, "M": 12.0, "W": 52.1775, "D": 365.2425}  # DICOM's AS (PS3.5 6.2), letter optional
_SEXES = {"m": "M", "male": "M", "f": "F", "female": "F", "o": "O", "other": "O"}


def read_text(path: Path) -> str:
    """Return a file's text: UTF-8 with or without a byte order mark, UTF-16 with one, gzip or plain.

    Raises:
        ManifestError: ``source-invalid`` if the file is not there, damaged or not UTF-8.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        # a spreadsheet's "Unicode text" begins with a byte order mark of UTF-16
        return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        fix = "Save it as 'CSV UTF-8', or convert it: iconv -f latin1 -t utf-8 OLD > NEW."
        raise ManifestError(Code.SOURCE_INVALID, f"the table is not UTF-8 ({error}).", fix=fix, where=path) from error
    except (OSError, EOFError, zlib.error) as error:
        raise ManifestError(Code.SOURCE_INVALID, f"the table cannot be read ({error}).", where=path) from error


def read_table(path: Path) -> pd.DataFrame:
    """Return a CSV's cells as stripped text, ``""`` where empty; the delimiter is the header's: ``,`` ``;`` or tab.

    The index is the line in the file (the header's is 1), for error messages.

    Raises:
        ManifestError: ``source-invalid``.
    """
    text = read_text(path)
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
    doubled = sorted({name for name in header if name and header.count(name) > 1})
    if not any(header) or doubled:
        said = f"the columns {', '.join(doubled)} appear twice" if doubled else "the table has no header"
        raise ManifestError(Code.SOURCE_INVALID, f"{said}.", where=path)
    names = [name or f"Unnamed: {position}" for position, name in enumerate(header)]
    try:
        table = pd.read_csv(
            io.StringIO(text), sep=delimiter, skiprows=1, header=None, names=names, index_col=False,
            dtype=str, na_filter=False, skip_blank_lines=False, on_bad_lines="error",
        )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.ParserWarning, csv.Error) as error:
        raise ManifestError(Code.SOURCE_INVALID, f"the table is no CSV ({error}).", where=path) from error
    table.index = pd.RangeIndex(2, len(table) + 2)
    table = table.fillna("").apply(lambda column: column.str.strip())
    table = table[(table != "").any(axis=1)]
    if table.empty:
        raise ManifestError(Code.SOURCE_INVALID, "the table has a header and no row.", where=path)
    return table


def find_column(table: pd.DataFrame, names: Sequence[str]) -> str | None:
    """Return the column that goes by the first of ``names`` there is, by letters and digits alone, or None."""
    by_key = {re.sub(r"[^a-z0-9]", "", str(column).lower()): str(column) for column in reversed(table.columns)}
    return next((by_key[name] for name in names if name in by_key), None)


def require_column(table: pd.DataFrame, wanted: str, option: str, where: Path) -> str:
    """Return ``wanted`` if the table has it.

    Raises:
        ManifestError: ``source-invalid``, listing the columns that there are.
    """
    if wanted not in table.columns:
        there = ", ".join(map(repr, table.columns))
        raise ManifestError(
            Code.SOURCE_INVALID, f"{option} {wanted}: there is no such column; there are {there}.", where=where
        )
    return wanted


def age_in_years(text: str) -> float:
    """Return completed years from ``58``, ``058Y``, ``018M``, ``013D``; NaN for anything else, and beyond `OLDEST`."""
    found = re.fullmatch(r"(\d{1,4})(?:\.0+)?([YMWD]?)", text.strip().upper())
    if found is None:
        return np.nan
    years = float(int(found[1]) / _PER_YEAR[found[2]] // 1)
    return years if years <= OLDEST else np.nan


def parse_ages(column: pd.Series) -> tuple[pd.Series, int]:
    """Return ages in completed years (NaN unknown) and how many cells held something that can be no age."""
    codes, texts = pd.factorize(column)
    years = np.array([age_in_years(text) for text in texts], dtype=float)
    impossible = np.array([bool(text.strip()) for text in texts], dtype=bool) & np.isnan(years)
    return pd.Series(years[codes], index=column.index), int(impossible[codes].sum())


def parse_sexes(column: pd.Series) -> tuple[pd.Series, int]:
    """Return ``M``, ``F``, ``O`` or ``""`` (DICOM PS3.3 C.7.1.1), and how many cells held another word."""
    sexes = column.str.strip().str.lower().map(_SEXES).fillna("")
    return sexes, int(((sexes == "") & (column.str.strip() != "")).sum())


def emptied_notes(bad_ages: int, bad_sexes: int) -> list[str]:
    """Return sentences about the cells that `parse_ages` and `parse_sexes` emptied."""
    notes = []
    if bad_ages:
        notes.append(f"{bad_ages:,} ages are impossible (over {OLDEST} years, or no age) and were emptied")
    if bad_sexes:
        notes.append(f"{bad_sexes:,} sexes are none of M, F, O and were emptied")
    return notes
