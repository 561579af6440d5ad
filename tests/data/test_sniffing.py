"""What a file is, by its first bytes: DICOM in any dress, and nothing that only looks like it."""

import gzip
import io
import pickle
import random
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from cxr_monai.data.files import image_files, is_dicom_file
from cxr_monai.data.formats.sniffing import HEAD, format_of
from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.data.sources.dicom import read as read_folder

from .test_radiograph import GREY, encoded, nifti
from .test_radiograph_dicom import WORDS, dicom, written

FIRST = {
    "0008": 0x00080005, "0008, length of the group": 0x00080000, "0010": 0x00100040,
    "0018": 0x00180015, "0020": 0x00200010, "0028": 0x00280002, "a private group": 0x00090010,
}  # fmt: skip
SYNTAXES = ("explicit", "implicit", "big endian")


def bare(first: int, syntax: str, **attributes: object) -> bytes:
    """A data set without preamble and file meta information that begins at a tag."""
    dataset = dicom(WORDS, bits=12, **attributes)
    for tag in [tag for tag in dataset.keys() if tag < first]:  # noqa: SIM118  # of tags, not of elements
        del dataset[tag]
    if first == 0x00090010:
        dataset.add_new(first, "LO", "ACME 1.0")
    if first == 0x00080000:
        dataset.add_new(first, "UL", 100)
    if first == 0x00080005:
        dataset.SpecificCharacterSet = "ISO_IR 100"
    if first == 0x00180015:
        dataset.BodyPartExamined = "CHEST"
    if first == 0x00100040:
        dataset.PatientSex = "F"
    if first == 0x00200010:
        dataset.StudyID = "1"
    assert min(dataset.keys()) == first
    del dataset.file_meta
    dataset.PixelData = WORDS.astype(">u2" if syntax == "big endian" else "<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = syntax != "big endian", syntax == "implicit"
    pydicom.filewriter.write_dataset(buffer, dataset)
    return buffer.getvalue()


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("first", FIRST)
def test_a_data_set_without_a_preamble_is_dicom_wherever_it_begins(first, syntax, tmp_path):
    content = bare(FIRST[first], syntax)
    assert format_of(content[:HEAD]) == "DICOM"
    (tmp_path / "IM0001").write_bytes(content)
    assert image_files(tmp_path) == [tmp_path / "IM0001"]
    assert is_dicom_file(tmp_path / "IM0001")
    assert format_of(content[:200]) == "DICOM", "cut"
    if first != "a private group" or syntax != "big endian":  # pydicom takes 0900 for little endian
        plain = tmp_path / "plain.dcm"
        plain.write_bytes(written(dicom(WORDS, bits=12)))
        read = read_radiograph(tmp_path / "IM0001", any_modality=True)
        np.testing.assert_array_equal(read.pixels, read_radiograph(plain).pixels)


def test_a_sequence_of_undefined_length_may_come_first(tmp_path):
    item = Dataset()
    item.PatientID = "Q17"
    dataset = Dataset()
    dataset.OtherPatientIDsSequence = [item]
    dataset["OtherPatientIDsSequence"].is_undefined_length = True
    for implicit in (True, False):
        buffer = pydicom.filebase.DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, implicit
        pydicom.filewriter.write_dataset(buffer, dataset)
        assert format_of(buffer.getvalue()) == "DICOM"


@pytest.mark.parametrize("name", ["x", "x.nii", "x.dat"])
@pytest.mark.parametrize("compress", [False, True])
def test_nifti_is_told_by_content(name, compress, tmp_path):
    (tmp_path / name).write_bytes(nifti(GREY.T, compress=compress))
    assert format_of((tmp_path / name).read_bytes()[:HEAD]) == "NIfTI"
    assert image_files(tmp_path) == [tmp_path / name]


TEXT = 'image,patient_id,Effusion\n"a.png",17,1\n( a list)\n# a comment\n'


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.txt", TEXT)
    return buffer.getvalue()


def database(folder: Path) -> bytes:
    with sqlite3.connect(folder / "database") as connection:
        connection.execute("CREATE TABLE t (a)")
    connection.close()
    return (folder / "database").read_bytes()


COUNTED = np.arange(2, 900)
CODES = ("utf-8", "utf-16-le", "utf-16-be", "utf-16", "utf-32-le", "utf-32-be")
OTHERS = {
    **{f"{start!r} in {code}": (start + TEXT * 40).encode(code)
       for start in ("", " ", "\t", "\n", '"', "#", "$", "(", "'", "[", "{") for code in CODES},
    **{f"numbers from {first} in {kind}": (COUNTED + first).astype(kind).tobytes()
       for first in (0, 3, 6, 30) for kind in ("<i2", ">i2", "<i4", ">i4", "<i8", ">i8", "<f4", "<f8")},
    **{f"{first} repeated in {kind}": np.full(900, first).astype(kind).tobytes()
       for first in (2, 4, 8, 16, 40) for kind in ("<i2", ">i2", "<i4", "<i8")},
    "JSON": b'{"image": "a.png", "labels": [1, 0]}' * 40, "zip": archive(), "pickle": pickle.dumps({"a": 1}),
    "gzip of a table": gzip.compress(TEXT.encode()), "gzip that is cut": gzip.compress(TEXT.encode())[:12],
    "PDF": b"%PDF-1.7\n", "GIF": b"GIF89a" + bytes(300), "TIFF": b"II*\0" + bytes(300), "zeros": bytes(5000),
    "icon": b"\0\0\1\0\2\0" + bytes(300), "font": b"\0\1\0\0\0\x12\1\0" + bytes(300), "nothing": b"",
    "Targa": b"\x12\0\2\0\0\0\0\0\0\0\0\0\x40\1\xf0\0\x18\0" + bytes(300),
    "old Excel": b"\t\0\4\0\2\0\x10\0" + bytes(300),
    "AppleDouble": b"\0\5\x16\7\0\2\0\0" + bytes(300), "program": b"MZ\x90\0\3\0\0\0" + bytes(300),
    "two and rubbish": b"\x02\0\0\0" + b"\xff" * 200, "eight and nothing": b"\x08\0\5\0",
    "lengths that lead nowhere": b"\x08\0\5\0\4\0\0\0abcd\x08\0\x16\0\4\0\0\0abcd\x08\0\x05\0\4\0\0\0",
}  # fmt: skip


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_image_is_none(what):
    assert format_of(OTHERS[what][:HEAD]) is None


def test_a_database_is_none(tmp_path):
    assert format_of(database(tmp_path)) is None


def test_random_bytes_are_none():
    chance = random.Random(5)
    heads = [chance.randbytes(600) for _ in range(5000)]
    # the worst case: a group that an image can begin with, in either byte order
    heads += [bytes([chance.randrange(2, 41), 0]) + chance.randbytes(400) for _ in range(10000)]
    heads += [bytes([0, chance.randrange(2, 41)]) + chance.randbytes(400) for _ in range(10000)]
    assert sum(format_of(head) is not None for head in heads) == 0


def test_one_rule_finds_the_same_files_for_predictions_and_manifests(tmp_path):
    content = written(dicom(WORDS, bits=12, StudyInstanceUID="1.2.3"))
    implicit = bare(0x00080005, "implicit", StudyInstanceUID="1.2.3")
    dicoms = {"IM0001": content, "b/IM0002": content[132:], "c.dcm": content, "implicit": implicit}
    others = {
        "DICOMDIR": bytes(128) + b"DICM" + b"1.2.840.10008.1.3.10\0",
        "readme.txt": b"\x08\0 read me",
        "labels.csv": TEXT.encode(),
        "numbers.bin": COUNTED.astype("<i8").tobytes(),
    }
    for name, data in (dicoms | others | {"d.png": encoded(GREY, "PNG"), "e": nifti(GREY.T)}).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    found = [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path)]
    assert sorted(found) == sorted([*dicoms, "d.png", "e"])
    source = read_folder(tmp_path, key=None)
    assert sorted(source.table["image"]) == sorted(dicoms)
    assert "skipped 6 files: not DICOM" in source.notes
    assert source.errors is not None
    assert source.errors.empty
