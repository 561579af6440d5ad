"""CSV files as spreadsheets, hospitals and data sets write them: the one reader of every table and list of images.

    text = read_text("test_list.txt")
    table = read_cells("labels.csv")        # every cell as text, "" where empty; the index is the line in the file

UTF-8 with or without its mark, UTF-16 by its mark; gzip, a zip of one table, or plain; cells are divided by ``,``,
``;`` or tabs, whatever the header has most of. A table that cannot be read raises the caller's kind of error.
"""

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from cxr_monai.errors import Code, CxrError, ManifestError
from cxr_monai.plurals import counted

Refusal = Callable[..., CxrError]
"""Makes an error of a sentence and ``fix`` and ``where``: a table's own class and code."""
SOURCE: Refusal = partial(ManifestError, Code.SOURCE_INVALID)
MANIFEST: Refusal = partial(ManifestError, Code.MANIFEST_INVALID)
UNNAMED = "Unnamed: "
"""How the name of a column begins that the header leaves empty."""

_DELIMITERS = ",;\t"
_GZIP = b"\x1f\x8b"
# the longer marks first: UTF-32's begins with UTF-16's
_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_ZIP = b"PK\x03\x04"
_WORKBOOKS = (_ZIP, b"\xd0\xcf\x11\xe0")
_AS_UTF8 = "Save it as 'CSV UTF-8', or convert it: iconv -f {} -t utf-8 OLD > NEW."


def read_text(path: str | Path, refuse: Refusal = SOURCE) -> str:
    """Return a file's text, with ``\\n`` at the ends of its lines.

    Args:
        path: UTF-8 with or without its mark, UTF-16 or UTF-32 with one; gzip, a zip of one table (as Kaggle gives it),
            or plain.
        refuse: makes the error.

    Raises:
        CxrError: ``refuse``'s, if the file is not there, damaged, a spreadsheet's own format, or not UTF-8.
    """
    try:
        content = Path(path).read_bytes()
        content = gzip.decompress(content) if content.startswith(_GZIP) else content
        content = _unzip(content) if content.startswith(_ZIP) else content
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise refuse(f"it cannot be read ({error}).", where=path) from error
    if content.startswith(_WORKBOOKS):
        raise refuse("it is a spreadsheet or an archive, not a CSV file.", fix="Save it as 'CSV UTF-8'.", where=path)
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    if b"\0" in content and encoding.startswith("utf-8"):
        fix = _AS_UTF8.format("utf-16le")
        raise refuse("it holds zero bytes: it is no text, or UTF-16 without its mark.", fix=fix, where=path)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.removesuffix("-sig").upper()
        raise refuse(f"it is not {name} ({error}).", fix=_AS_UTF8.format("windows-1252"), where=path) from error
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _unzip(content: bytes) -> bytes:
    """Return the only table of an archive; an archive of anything else (a workbook, which is one) as it is."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if not name.startswith("__MACOSX/")]
        return archive.read(names[0]) if len(names) == 1 and names[0].lower().endswith(".csv") else content


def read_header(path: str | Path, refuse: Refusal = SOURCE) -> list[str]:
    """Return the names of a table's columns, stripped; a column without a name is ``Unnamed: <position>``.

    Args:
        path: the table.
        refuse: makes the error.

    Raises:
        CxrError: ``refuse``'s, as `read_text`; for an empty file, no header, or a repeated name.
    """
    return _header(read_text(path, refuse), path, refuse)[0]


def nameless(table: pd.DataFrame) -> str | None:
    """Return a sentence on the first column that has content and no name; None if there is none."""
    names = [str(name) for name in table if str(name).startswith(UNNAMED)]
    place = int(names[0].removeprefix(UNNAMED)) + 1 if names else 0
    return f"column {place} has no name (an index that pandas wrote? use index=False)" if names else None


def read_cells(path: str | Path, refuse: Refusal = SOURCE, types: Callable[[str], str] | None = None) -> pd.DataFrame:
    """Return a table's cells as text, ``""`` where empty; rows without any content are left out.

    Args:
        path: the table.
        refuse: makes the error.
        types: of each column by its name, such as ``category``, whose cells keep the blanks around them; None takes
            text for all, without such blanks.

    Returns:
        the columns that have a name or content; the index is the line in the file (the header's is 1).

    Raises:
        CxrError: ``refuse``'s, as `read_header`; for a row with more cells than the header, or what is no CSV.
    """
    text = read_text(path, refuse)
    names, delimiter = _header(text, path, refuse)
    table = _parse(text, names, delimiter, path, refuse, types or (lambda _: "str"))
    table.index = pd.RangeIndex(2, len(table) + 2)
    if types is None:
        table = table.fillna("").apply(lambda column: column.str.strip())
    filled = table != ""
    spare = [name for name in table if str(name).startswith(UNNAMED) and not filled[name].any()]
    return table[filled.any(axis=1)].drop(columns=spare)


def _header(text: str, path: str | Path, refuse: Refusal) -> tuple[list[str], str]:
    """Return the columns' names and the delimiter."""
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    names = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
    if not any(names):
        raise refuse("the table has no header." if text.strip() else "the file is empty.", where=path)
    doubled = sorted({name for name in names if name and names.count(name) > 1})
    if doubled:
        raise refuse(
            "; ".join(f"{name!r} appears twice in the header" for name in doubled) + ".",
            fix="Rename one of the columns, or remove it.",
            where=path,
        )
    return [name or f"{UNNAMED}{position}" for position, name in enumerate(names)], delimiter


def _parse(
    text: str, names: list[str], delimiter: str, path: str | Path, refuse: Refusal, types: Callable[[str], str]
) -> pd.DataFrame:
    """Return the rows; cells beyond the header's last are refused, unless they are empty."""
    spare: list[str] = []
    while True:
        try:
            table = pd.read_csv(
                io.StringIO(text), sep=delimiter, skiprows=1, header=None, names=[*names, *spare],
                dtype={name: types(name) for name in (*names, *spare)}, na_filter=False, skip_blank_lines=False,
            )  # fmt: skip
            if isinstance(table.index, pd.RangeIndex):
                return table[names]
            reason: Exception | None = None
        except (pd.errors.ParserError, csv.Error) as error:
            reason = error
        if spare or not (spare := _spare(text, len(names), delimiter, path, refuse)):
            raise refuse(f"it is no CSV file ({reason or 'its rows have other cells than its header'}).", where=path)


def _spare(text: str, width: int, delimiter: str, path: str | Path, refuse: Refusal) -> list[str]:
    """Return names for the empty cells that rows have beyond the header's last; refuse others."""
    widest = width
    try:
        reader = csv.reader(io.StringIO(text), delimiter=delimiter)
        for row in reader:
            if any(cell.strip() for cell in row[width:]):
                raise refuse(
                    f"line {reader.line_num} has {counted(len(row), 'cell')}, and the header {width}.", where=path
                )
            widest = max(widest, len(row))
    except csv.Error as error:
        raise refuse(f"it is no CSV file ({error}).", where=path) from error
    return [f"{UNNAMED}{position}" for position in range(width, widest)]
