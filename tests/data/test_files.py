"""Images are found by their content, whatever they are called."""

from pathlib import Path

import pytest

from cxr_monai.data.files import image_files

from .test_radiograph import GREY, encoded
from .test_radiograph_dicom import WORDS, dicom, written


def test_the_images_of_a_cd_are_found_and_nothing_else(tmp_path: Path):
    content = written(dicom(WORDS, bits=12))
    files = {
        "DICOM/IM0001": content,
        "DICOM/IM0002.dcm": content,
        "raw": content[132:],
        "picture": encoded(GREY, "PNG"),
        "cut.dcm": b"",
    }
    others = {
        "DICOMDIR": bytes(128) + b"DICM" + b"1.2.840.10008.1.3.10\0",
        "README.txt": b"read me",
        "autorun.inf": b"[autorun]",
        "two.bin": b"\x02\0\0\0" + b"\xff" * 200,
        ".hidden.png": encoded(GREY, "PNG"),
        "__MACOSX/._IM0001": b"\0\5\x16\7",
    }
    for name, data in (files | others).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path)] == sorted(files)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([], []),
        (["Data_Entry_2017.csv"], ["passed over 1 file that is no image (.csv)"]),
        (["DICOMDIR", "a.dll", "b.DLL", "c.exe"], ["passed over 4 files that are no images (.dll, .exe, DICOMDIR)"]),
        (["a.a", "a.b", "a.c", "a.d"], ["passed over 4 files that are no images (.a, .b, .c, ...)"]),
        ([".DS_Store"], []),
    ],
)
def test_a_scan_says_in_one_line_what_it_passed_over(others, said, tmp_path: Path, caplog):
    for name in others:
        (tmp_path / name).write_bytes(b"no image")
    assert image_files(tmp_path) == []
    assert caplog.messages == [], "the caller says that there is nothing"
    (tmp_path / "a.png").write_bytes(encoded(GREY, "PNG"))
    assert image_files(tmp_path) == [tmp_path / "a.png"]
    assert caplog.messages == [f"{tmp_path}: {line}" for line in said]
    assert all(record.levelname == "WARNING" for record in caplog.records), "shown without any setting of the logging"
