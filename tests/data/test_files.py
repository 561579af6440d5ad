"""Images are found by their content, whatever they are called."""

from pathlib import Path

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
