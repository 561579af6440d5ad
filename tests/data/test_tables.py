"""The one reader of tables: encodings by their marks, delimiters, headers, rows, and what is refused in which words."""

import codecs
import gzip
import zipfile
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from cxr_monai.data.tables import read_cells, read_header, read_text
from cxr_monai.errors import Code, CxrError, EvaluationError, ManifestError

TEXT = 'image,patient_id,Note\na.png,M\u00fcller,"x, y"\n b.png ,7,\n'
ENCODINGS = {
    "utf-8": str.encode,
    "utf-8 with its mark": lambda text: text.encode("utf-8-sig"),
    "utf-16": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "utf-16 big": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "utf-32": lambda text: codecs.BOM_UTF32_LE + text.encode("utf-32-le"),
    "gzip": lambda text: gzip.compress(text.encode()),
    "gzip of utf-16": lambda text: gzip.compress(codecs.BOM_UTF16_LE + text.encode("utf-16-le")),
    "windows": lambda text: text.replace("\n", "\r\n").encode(),
    "old macintosh": lambda text: text.replace("\n", "\r").encode(),
}


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "t.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_text_by_its_mark(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path, ENCODINGS[encoding](TEXT))
    assert read_text(path) == TEXT
    assert read_header(path) == ["image", "patient_id", "Note"]
    assert read_cells(path).to_numpy().tolist() == [["a.png", "M\u00fcller", "x, y"], ["b.png", "7", ""]]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_cells_are_divided_as_the_header_is(tmp_path: Path, delimiter: str) -> None:
    table = read_cells(written(tmp_path, "a|b\n1,5|2\n".replace("|", delimiter)))
    assert table.to_dict("list") == {"a": ["1,5"], "b": ["2"]}


def test_rows_count_as_in_the_file(tmp_path: Path) -> None:
    table = read_cells(written(tmp_path, "a,b\n\n1,2\n , \n,3\n4\n"))
    assert list(table.index) == [3, 5, 6]
    assert table.to_numpy().tolist() == [["1", "2"], ["", "3"], ["4", ""]]


def test_empty_cells_beyond_the_header_are_none_and_columns_without_name_or_content_either(tmp_path: Path) -> None:
    table = read_cells(written(tmp_path, "a,b,,\n1,2,,,,\n3,4\n"))
    assert table.to_dict("list") == {"a": ["1", "3"], "b": ["2", "4"]}
    assert list(read_cells(written(tmp_path, ",b\n0,2\n"))) == ["Unnamed: 0", "b"]


def test_types_are_kept(tmp_path: Path) -> None:
    table = read_cells(written(tmp_path, "a,b\n007, x\n"), types=lambda name: "category" if name == "b" else "str")
    assert isinstance(table["b"].dtype, pd.CategoricalDtype)
    assert table.to_numpy().tolist() == [["007", " x"]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b",,\n1,2,3\n", "the table has no header"),
        (b"a,Mass,Mass\n1,2,3\n", "'Mass' appears twice in the header"),
        (b"a, a\n1,2\n", "'a' appears twice in the header"),
        (b"a,b\n1,2\n3,4,5\n", "line 3 has 3 cells, and the header 2"),
        (b"a,b\n1,2,3\n", "line 2 has 3 cells, and the header 2"),
        (b'a,b\n1,"2\n', "it is no CSV file"),
        ("a,b\n1,M\u00fcller\n".encode("cp1252"), "it is not UTF-8"),
        ("a,b\n1,M\u00fcller\n".encode("utf-16-le"), "UTF-16 without its mark"),
        (b"PK\x03\x04rest of a workbook", "it cannot be read"),
        (b"\xd0\xcf\x11\xe0rest of an older one", "it is a spreadsheet or an archive"),
        (gzip.compress(b"a,b\n" * 99, mtime=0)[:-9], "it cannot be read"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: bytes, said: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ManifestError) as caught:
        read_cells(path)
    assert caught.value.code == Code.SOURCE_INVALID
    assert caught.value.where == str(path)
    assert said in caught.value.message


def test_a_zip_of_one_table_is_that_table(tmp_path: Path) -> None:
    """As Kaggle gives one; a workbook, which is a zip of many files, is refused."""
    for names, rows in ((["a.csv"], 1), (["a.csv", "__MACOSX/._a.csv"], 1), (["a.csv", "b.csv"], 0), (["a.xml"], 0)):
        with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
            for name in names:
                archive.writestr(name, "a,b\n1,2\n")
        if rows:
            assert len(read_cells(tmp_path / "t.zip")) == rows
        else:
            with pytest.raises(ManifestError, match="spreadsheet or an archive"):
                read_cells(tmp_path / "t.zip")


def test_how_to_save_it_is_said(tmp_path: Path) -> None:
    for content, encoding in (("\u00fc".encode("cp1252"), "windows-1252"), ("\u00fc,".encode("utf-16-le"), "utf-16le")):
        with pytest.raises(ManifestError, match=f"'CSV UTF-8', or convert it: iconv -f {encoding} -t utf-8"):
            read_text(written(tmp_path, content))


def test_errors_are_of_the_callers_kind(tmp_path: Path) -> None:
    refuse = partial(EvaluationError, Code.BOXES_INVALID)
    for path in (written(tmp_path, b""), tmp_path / "absent.csv"):
        with pytest.raises(CxrError) as caught:
            read_cells(path, refuse)
        assert (type(caught.value), caught.value.code) == (EvaluationError, Code.BOXES_INVALID)
