"""A tree of DICOM files: headers, pseudonyms, labels, and what is left out."""

import hashlib
import hmac
import os
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from cxr_monai.data.manifest import build_manifest
from cxr_monai.data.sources import dicom
from cxr_monai.errors import Code, ManifestError, UsageError
from cxr_monai.labels import NIH14

KEY = b"0123456789abcdef0123456789abcdef"


def write(path: Path, **fields) -> None:
    """A header with a few pixels; a field of None is left out."""
    number = zlib.crc32(path.name.encode())
    values = {
        "SOPInstanceUID": f"1.2.3.{number}",
        "Modality": "DX",
        "PatientID": "Q17",
        "PatientSex": "F",
        "PatientAge": "058Y",
        "StudyInstanceUID": "1.2.9",
        "ViewPosition": "PA",
        "Rows": 2,
        "Columns": 2,
        **fields,
    }
    dataset = Dataset()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    with disable_value_validation():
        for name, value in values.items():
            if value is not None:
                setattr(dataset, name, value)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)


def test_one_radiograph_by_hand(tmp_path):
    write(tmp_path / "a/IM0001", SOPInstanceUID="1.2.3")
    source = dicom.read(tmp_path, key=None)
    row = source.table.iloc[0]
    assert row.iloc[:7].to_dict() == {
        "image": "a/IM0001", "patient_id": "Q17", "study_id": "1.2.9", "view": "PA", "age": 58.0, "sex": "F",
        "source": "dicom",
    }  # fmt: skip
    assert list(source.table.columns[7:]) == list(NIH14)
    assert source.table[list(NIH14)].isna().all(axis=None)
    assert source.label_version == "unlabelled"
    assert source.errors is not None
    assert source.errors.empty
    build_manifest(source.table, source.root, source.label_version, check_files=True)


def test_ids_are_hashed_by_key(tmp_path):
    write(tmp_path / "a.dcm")
    write(tmp_path / "b.dcm", StudyInstanceUID="1.2.10")
    write(tmp_path / "c.dcm", PatientID="Q18", StudyInstanceUID="Q17")
    table = dicom.read(tmp_path, key=KEY).table
    patients, studies = table["patient_id"].tolist(), table["study_id"].tolist()
    assert patients[0] == hmac.new(KEY, b"patient\0Q17", hashlib.sha256).hexdigest()[:16]
    assert patients[0] == patients[1] != patients[2]
    assert len(set(studies)) == 3
    assert studies[2] not in patients, "the same text as a patient and as a study has two pseudonyms"
    assert "Q17" not in table.to_csv()
    assert "1.2.9" not in table.to_csv()
    assert dicom.read(tmp_path, key=KEY[::-1]).table["patient_id"][0] != patients[0]


def test_keys_are_private_and_never_replaced(tmp_path):
    path = tmp_path / "new" / "m.csv.key"
    key = dicom.new_key()
    assert re.fullmatch(rb"[0-9a-f]{64}", key)
    assert dicom.new_key() != key
    dicom.write_key(key, path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert dicom.read_key(path) == key
    with pytest.raises(UsageError, match="already there"):
        dicom.write_key(key, path)


@pytest.mark.parametrize("content", [None, b"", b"short key\n"])
def test_keys_that_cannot_serve(tmp_path, content):
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(UsageError):
        dicom.read_key(tmp_path / "key")


@pytest.mark.parametrize(
    ("fields", "age"),
    [
        ({"PatientAge": "058Y"}, 58),
        ({"PatientAge": "62"}, 62),
        ({"PatientAge": "018M"}, 1),
        ({"PatientAge": "414Y"}, np.nan),
        ({"PatientAge": None, "PatientBirthDate": "19600516", "StudyDate": "20200515"}, 59),
        ({"PatientAge": "", "PatientBirthDate": "19600515", "StudyDate": "20200515"}, 60),
        ({"PatientAge": None, "PatientBirthDate": "1960", "StudyDate": "20200515"}, np.nan),
        ({"PatientAge": None, "PatientBirthDate": "20200516", "StudyDate": "20200515"}, np.nan),
        ({"PatientAge": None}, np.nan),
    ],
)
def test_ages(tmp_path, fields, age):
    write(tmp_path / "a.dcm", **fields)
    np.testing.assert_array_equal(dicom.read(tmp_path, key=None).table["age"], [age])


def view_code(value: str, scheme: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "view"
    return Sequence([item])


@pytest.mark.parametrize(
    ("fields", "view"),
    [
        ({"ViewPosition": "ap"}, "AP"),
        ({"ViewPosition": "LL"}, "LL"),
        ({"ViewPosition": "", "ViewCodeSequence": view_code("272479007", "SCT")}, "PA"),
        ({"ViewPosition": None, "ViewCodeSequence": view_code("R-10214", "SRT")}, "PA"),
        ({"ViewPosition": None, "ViewCodeSequence": view_code("R-40888", "SRT")}, "PA"),
        ({"ViewPosition": None, "ViewCodeSequence": view_code("R-10214", "SNM3")}, "PA"),
        ({"ViewPosition": None, "ViewCodeSequence": view_code("399348003", "SCT")}, "AP"),
        ({"ViewPosition": None, "ViewCodeSequence": view_code("R-10206", "SRT")}, "AP"),
        ({"ViewPosition": None, "ViewCodeSequence": view_code("399173006", "SCT")}, "LL"),
        ({"ViewPosition": None, "ViewCodeSequence": view_code("399110001", "SCT")}, ""),
        ({"ViewPosition": None}, ""),
    ],
)
def test_views(tmp_path, fields, view):
    write(tmp_path / "a.dcm", **fields)
    assert dicom.read(tmp_path, key=None).table["view"].tolist() == [view]


def test_what_is_no_radiograph_is_counted_and_what_is_broken_is_listed(tmp_path):
    write(tmp_path / "good.dcm", Modality="CR")
    write(tmp_path / "ct1.dcm", Modality="CT")
    write(tmp_path / "ct2", Modality="CT")
    write(tmp_path / "hand.dcm", BodyPartExamined="HAND")
    write(tmp_path / "chest.dcm", BodyPartExamined="CHEST")
    write(tmp_path / "none.dcm", Modality=None)
    write(tmp_path / "headless.dcm", Rows=None)
    (tmp_path / "notes.txt").write_text("not DICOM")
    (tmp_path / ".hidden.dcm").write_text("not looked at")
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "text.dcm").write_text("this is only called DICOM, and long enough to be taken for one" * 5)
    source = dicom.read(tmp_path, key=None)
    assert source.table["image"].tolist() == ["chest.dcm", "good.dcm"]
    assert source.errors is not None
    codes = dict(zip(source.errors["image"], source.errors["code"], strict=True))
    assert codes.pop("text.dcm") in (Code.RADIOGRAPH_NOT_AN_IMAGE, Code.RADIOGRAPH_UNDECODABLE)
    assert codes == {"empty.dcm": Code.RADIOGRAPH_EMPTY, "headless.dcm": Code.RADIOGRAPH_TRUNCATED}
    assert source.notes[:4] == (
        "skipped 1 file: Body Part Examined HAND",
        "skipped 2 files: Modality CT",
        "skipped 1 file: Modality missing",
        "skipped 1 file: not DICOM",
    )


@pytest.mark.parametrize("cut", [133, 160, 200, 300])
def test_a_header_cut_anywhere_is_an_error_row_not_a_crash(tmp_path, cut):
    write(tmp_path / "good.dcm")
    whole = (tmp_path / "good.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:cut])
    source = dicom.read(tmp_path, key=None)
    assert source.table["image"].tolist() == ["good.dcm"]
    assert source.errors is not None
    assert source.errors["image"].tolist() == ["cut.dcm"]


def test_nothing_there(tmp_path):
    with pytest.raises(ManifestError, match="no files at all") as caught:
        dicom.read(tmp_path, key=None)
    assert caught.value.code == Code.NO_IMAGES
    write(tmp_path / "ct", Modality="CT")
    with pytest.raises(ManifestError, match="skipped 1 file: Modality CT"):
        dicom.read(tmp_path, key=None)


def test_images_without_a_patient_are_refused_unless_told(tmp_path):
    write(tmp_path / "a.dcm")
    write(tmp_path / "b.dcm", PatientID="", StudyInstanceUID="1.5")
    write(tmp_path / "c.dcm", PatientID=None, StudyInstanceUID="1.5")
    write(tmp_path / "d.dcm", PatientID=None, StudyInstanceUID=None, SOPInstanceUID="1.7")
    with pytest.raises(ManifestError, match=r"3 of 4 radiographs have no PatientID \(first: b\.dcm\)"):
        dicom.read(tmp_path, key=None)
    table = dicom.read(tmp_path, key=None, patient_per_study=True).table
    assert table["patient_id"].tolist() == ["Q17", "1.5", "1.5", "1.7"]


@pytest.mark.parametrize(
    ("column", "first", "second"),
    [
        ("SOPInstanceUID", "1.2.3.1", "1.2.3.2"),
        ("image", "x/a.dcm", "b.dcm"),
        ("filename", "a", "b"),
        ("Image Index", "a.png", "old\\\\x\\\\b.png"),
        ("StudyInstanceUID", "1.9.1", "1.9.2"),
    ],
)
def test_labels_are_joined(tmp_path, column, first, second):
    root = tmp_path / "root"
    for number, name in enumerate(("x/a.dcm", "x/b.dcm", "x/c.dcm"), start=1):
        write(root / name, SOPInstanceUID=f"1.2.3.{number}", StudyInstanceUID=f"1.9.{number}")
    labels = tmp_path / "labels.csv"
    labels.write_text(f"{column},infiltrate,Fracture\n{second},0,1\n{first},1,\nnobody,1,1\n")
    source = dicom.read(root, key=KEY, labels=labels)
    assert source.label_version == "local"
    np.testing.assert_array_equal(source.table["Infiltration"], [1, 0, np.nan])
    np.testing.assert_array_equal(source.table["Fracture"], [np.nan, 1, np.nan])
    assert list(source.table.columns[7:]) == ["Infiltration", "Fracture"]
    assert any("2 of 3 radiographs have labels" in note and "1 row of" in note for note in source.notes)


def test_lists_of_findings_and_words_in_the_labels(tmp_path):
    write(tmp_path / "a.dcm")
    labels = tmp_path / "labels.csv"
    labels.write_text("image,Findings\na.dcm,Mass|Edema\n")
    assert dicom.read(tmp_path, key=KEY, labels=labels).table[["Edema", "Mass"]].iloc[0].tolist() == [1, 1]
    labels.write_text("image,Mass,Edema\na.dcm,yes,no\n")
    table = dicom.read(tmp_path, key=KEY, labels=labels, positive="Yes", negative="NO").table
    assert table[["Mass", "Edema"]].iloc[0].tolist() == [1, 0]


def test_labels_of_a_study_reach_all_its_images(tmp_path):
    write(tmp_path / "a.dcm")
    write(tmp_path / "b.dcm")
    labels = tmp_path / "labels.csv"
    labels.write_text("StudyInstanceUID,Mass\n1.2.9,1\n")
    assert dicom.read(tmp_path, key=KEY, labels=labels).table["Mass"].tolist() == [1.0, 1.0]


def test_another_manifest_serves_as_labels(tmp_path):
    write(tmp_path / "a.dcm")
    labels = tmp_path / "m.csv"
    labels.write_text(
        "image,patient_id,study_id,view,age,sex,source,split,fold,Mass\nimages/a.png,1,1,PA,1,M,nih,,0,1\n"
    )
    table = dicom.read(tmp_path, key=KEY, labels=labels).table
    assert list(table.columns[7:]) == ["Mass"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("who,Mass\n1,1\n", "no column says which image"),
        ("image,Mass\na.dcm,1\na,0\n", "a.dcm, a all fit 'a.dcm'"),
        ("image,Mass\na.dcm,1\na.dcm,0\n", "has a second row"),
        ("image,Mass\nz.dcm,1\n", "none of its 1 row fits"),
        ("image,Mass\na.dcm,-1\n", "--uncertain"),
    ],
)
def test_labels_that_do_not_fit(tmp_path, content, said):
    write(tmp_path / "a.dcm")
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(ManifestError) as caught:
        dicom.read(tmp_path, key=KEY, labels=tmp_path / "labels.csv")
    assert said in str(caught.value)


@pytest.mark.realdata
def test_the_two_real_files(realdata):
    source = dicom.read(realdata / "dicom", key=None)
    table = source.table
    assert len(table) == 2
    assert table["patient_id"].nunique() == table["study_id"].nunique() == 1
    assert table["view"].tolist() == ["PA", "PA"]
    assert table["age"].tolist() == [62.0, 62.0]
    assert table["sex"].tolist() == ["M", "M"]
    assert any(note.startswith("1 file repeats the SOPInstanceUID") for note in source.notes)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path):
    write(tmp_path / "a.dcm")
    write(tmp_path / "b.dcm")
    (tmp_path / "b.dcm").chmod(0)
    source = dicom.read(tmp_path, key=None)
    assert source.errors is not None
    assert source.errors["image"].tolist() == ["b.dcm"]
