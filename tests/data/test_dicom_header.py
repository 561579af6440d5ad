"""A DICOM header's facts of a film: each attribute as standard and hospitals write it, and as nobody should."""

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from cxr_monai.data.film_header import FilmHeader
from cxr_monai.data.formats.dicom_header import film_header, pixel_spacing, taken_on
from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.errors import RadiographError

from .test_radiograph_dicom import BYTES, dicom, written

FULL = {
    "Modality": "DX", "BodyPartExamined": "CHEST", "ViewPosition": "AP", "PatientAge": "063Y",
    "PresentationIntentType": "FOR PRESENTATION", "BurnedInAnnotation": "NO", "PixelSpacing": [0.5, 0.25],
    "Manufacturer": "Acme Röntgen", "ManufacturerModelName": "X 100", "AcquisitionDateTime": "20261123091405.25+0100",
}  # fmt: skip


PYDICOM = Path(pydicom.__file__).parent / "data" / "test_files"


def header_of(**attributes: object) -> Dataset:
    header = Dataset()
    for keyword, value in attributes.items():
        setattr(header, keyword, value)
    return header


def raw(header: Dataset, keyword: str, vr: str, content: bytes) -> Dataset:
    """A header with an attribute's bytes as they stand in a file, whatever they are."""
    tag = Tag(keyword)
    header._dict[tag] = RawDataElement(tag, vr, len(content), content, 0, False, True)
    return header


def test_a_file_is_read_with_the_facts_of_its_header(tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    path.write_bytes(written(dicom(BYTES, **FULL, SpecificCharacterSet="ISO_IR 100")))
    assert read_radiograph(path).header == FilmHeader(
        "DX", "CHEST", "AP", False, 63.0, "FOR PRESENTATION", False, (16.0, 8.0), "Acme Röntgen", "X 100",
        "2026-11-23T09:14:05",
    )  # fmt: skip
    colour = dicom(np.stack([BYTES] * 3, axis=2), **FULL, SpecificCharacterSet="ISO_IR 100")
    path.write_bytes(written(colour))
    assert read_radiograph(path).header == FilmHeader(
        "DX", "CHEST", "AP", False, 63.0, "FOR PRESENTATION", False, (16.0, 8.0), "Acme Röntgen", "X 100",
        "2026-11-23T09:14:05",
    )  # fmt: skip


def test_an_empty_header_has_no_facts() -> None:
    assert film_header(Dataset()) == FilmHeader()


@pytest.mark.parametrize(
    ("age", "born", "studied", "years"),
    [
        ("036Y", "", "", 36), ("004M", "", "", 0), ("030M", "", "", 2), ("010D", "", "", 0), ("400D", "", "", 1),
        ("003W", "", "", 0), ("36", "", "", 36), ("036y", "", "", 36), ("", "", "", None), ("411Y", "", "", None),
        ("old", "", "", None), ("-3Y", "", "", None), ("", "20140101", "20261231", 12),
        ("", "20131231", "20261230", 12), ("000Y", "", "", 0), ("000Y", "20131230", "20261230", 13),
        ("", "20131230", "20261230", 13), ("", "2014", "20261231", None), ("", "20270101", "20261231", None),
        ("", "18000101", "20261231", None), ("", "20140101", "", None), ("050Y", "20140101", "20261231", 50),
        ("", "٢٠١٤٠١٠١", "20261231", None),
    ],
)  # fmt: skip
def test_age_in_completed_years(age: str, born: str, studied: str, years: float | None) -> None:
    header = raw(header_of(), "PatientAge", "AS", age.encode())
    header = raw(header, "PatientBirthDate", "DA", born.encode())
    header = raw(header, "StudyDate", "DA", studied.encode())
    assert film_header(header).age == years


@pytest.mark.parametrize(
    ("attributes", "view", "is_lateral"),
    [
        ({"ViewPosition": "PA"}, "PA", False),
        ({"ViewPosition": "LL"}, "LL", True),
        ({"ViewPosition": "RL"}, "RL", True),
        ({"SeriesDescription": "Thorax lat."}, "LATERAL", True),
        ({"PatientOrientation": ["A", "F"]}, "LATERAL", True),
        ({"PatientOrientation": ["P", "F"]}, "LATERAL", True),
        ({"PatientOrientation": ["PL", "FA"]}, "LATERAL", True),
        ({"PatientOrientation": ["F", "A"]}, "LATERAL", True),  # turned, and lateral all the same
        ({"PatientOrientation": ["L", "F"]}, "", False),
        ({"PatientOrientation": ["A", "R"]}, "", False),  # axial
        ({"PatientOrientation": ["A"]}, "", False),
        ({"PatientOrientation": ["A", ""]}, "", False),
        ({"PatientOrientation": ["A", "F"], "ViewPosition": "PA"}, "PA", False),  # what says more counts
        ({"PatientOrientation": ["A", "F"], "ViewPosition": "LAO"}, "LAO", False),
        ({"PatientOrientation": ["A", "F"], "SeriesDescription": "Thorax AP"}, "", False),
        ({"PatientOrientation": ["A", "F"], "SeriesDescription": "Thorax"}, "LATERAL", True),
        ({"ViewPosition": "AP DECUBITUS"}, "AP DECUBITUS", False),
    ],
)
def test_view_and_lateral(attributes: dict[str, object], view: str, is_lateral: bool) -> None:
    facts = film_header(header_of(**attributes))
    assert (facts.view, facts.is_lateral) == (view, is_lateral)


def test_a_lateral_by_its_view_code() -> None:
    item = header_of(CodeValue="399033003", CodingSchemeDesignator="SCT", CodeMeaning="frontal projection")
    assert film_header(header_of(ViewCodeSequence=Sequence([item]))).view == ""
    item = header_of(CodeValue="R-10236", CodingSchemeDesignator="SRT", CodeMeaning="left lateral")
    facts = film_header(header_of(ViewCodeSequence=Sequence([item])))
    assert (facts.view, facts.is_lateral) == ("LL", True)


@pytest.mark.parametrize(
    ("attributes", "moment"),
    [
        ({"AcquisitionDateTime": "20261123091405"}, "2026-11-23T09:14:05"),
        ({"AcquisitionDateTime": "20261123091405.123456-0500"}, "2026-11-23T09:14:05"),
        ({"AcquisitionDateTime": "20261123"}, "2026-11-23"),
        ({"AcquisitionDateTime": "20261123-0500"}, "2026-11-23"),
        ({"AcquisitionDateTime": "2026", "StudyDate": "20261122", "StudyTime": "0800"}, "2026-11-22T08:00:00"),
        ({"AcquisitionDate": "20261123", "AcquisitionTime": "09"}, "2026-11-23T09:00:00"),
        ({"AcquisitionDate": "20261123", "StudyDate": "20261122", "StudyTime": "0800"}, "2026-11-23"),
        ({"AcquisitionTime": "0914", "ContentDate": "20261124", "ContentTime": "101112"}, "2026-11-24T10:11:12"),
        ({"SeriesDate": "20261125", "SeriesTime": "235960"}, "2026-11-25T23:59:59"),
        ({"StudyDate": "2026.11.26", "StudyTime": "10:11:12"}, "2026-11-26T10:11:12"),  # ACR-NEMA
        ({"StudyDate": "20261126", "StudyTime": "25"}, "2026-11-26"),
        ({"StudyDate": "20261126", "StudyTime": "101299"}, "2026-11-26"),
        ({"StudyDate": "20260230", "StudyTime": "101112"}, ""),
        ({"StudyDate": "00010101"}, ""),
        ({"StudyDate": "19010101", "StudyTime": "000000.00"}, ""),
        ({"StudyDate": "yesterday"}, ""),
        ({"AcquisitionDate": "20261399", "SeriesDate": "20261125"}, "2026-11-25"),
        ({}, ""),
    ],
)
def test_when_it_was_taken(attributes: dict[str, str], moment: str) -> None:
    header = header_of()
    for keyword, value in attributes.items():
        vr = "DT" if keyword.endswith("DateTime") else "DA" if keyword.endswith("Date") else "TM"
        raw(header, keyword, vr, value.encode())
    assert taken_on(header) == moment


@pytest.mark.parametrize(
    ("attributes", "field"),
    [
        ({"PixelSpacing": [0.5, 0.25]}, (1000.0, 250.0)),
        ({"ImagerPixelSpacing": [0.2, 0.2]}, (400.0, 200.0)),
        ({"PixelSpacing": [0.1, 0.1], "ImagerPixelSpacing": [0.2, 0.2]}, (200.0, 100.0)),
        ({"PixelSpacing": [1, 1]}, None),  # what converters write where they know none
        ({"PixelSpacing": [0, 0.2]}, None),
        ({"PixelSpacing": 0.2}, None),
        ({}, None),
    ],
)
def test_field_of_view(attributes: dict[str, object], field: tuple[float, float] | None) -> None:
    header = header_of(Rows=2000, Columns=1000, **attributes)
    assert film_header(header).field_of_view == field


def test_field_of_view_without_a_size() -> None:
    assert film_header(header_of(PixelSpacing=[0.2, 0.2])).field_of_view is None
    assert pixel_spacing(header_of(PixelSpacing=[0.2, 0.2])) == ((0.2, 0.2), "PixelSpacing")


@pytest.mark.parametrize(
    ("attributes", "modality", "part", "intent", "burned_in"),
    [
        ({"Modality": ["OT", "CR"]}, "CR", "", "", None),
        ({"Modality": "ct", "BodyPartExamined": "Head "}, "CT", "HEAD", "", None),
        ({"BodyPartExamined": "CHEST", "StudyDescription": "HAND"}, "", "CHEST", "", None),
        ({"BodyPartExamined": "SPECIAL", "SeriesDescription": "left hand"}, "", "HAND", "", None),
        ({"PresentationIntentType": "FOR PROCESSING"}, "", "", "FOR PROCESSING", None),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"}, "", "", "FOR PROCESSING", None),
        ({"PresentationIntentType": "OTHER", "BurnedInAnnotation": "YES"}, "", "", "", True),
        ({"BurnedInAnnotation": "perhaps"}, "", "", "", None),
    ],
)  # fmt: skip
def test_other_attributes(
    attributes: dict[str, object], modality: str, part: str, intent: str, burned_in: bool | None
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom, of values that are none of the standard's
        facts = film_header(header_of(**attributes))
    assert (facts.modality, facts.body_part, facts.intent) == (modality, part, intent)
    assert facts.has_burned_in_annotation is burned_in


ATTRIBUTES = {
    "Modality": "CS", "BodyPartExamined": "CS", "ViewPosition": "CS", "PatientOrientation": "CS", "PatientAge": "AS",
    "PatientBirthDate": "DA", "StudyDate": "DA", "StudyTime": "TM", "AcquisitionDateTime": "DT",
    "PresentationIntentType": "CS", "BurnedInAnnotation": "CS", "PixelSpacing": "DS", "Rows": "US", "Columns": "US",
    "Manufacturer": "LO", "ManufacturerModelName": "LO", "SeriesDescription": "LO", "ViewCodeSequence": "SQ",
}  # fmt: skip
ODD = (
    b"", b"\0", b"\\", b"\\\\\\", b"\xff\xfe\xfd", b"1", b"NaN\\inf", b"-1e400\\x", b"A" * 3000,
    b"\x08\0\x05\0CS\x0a\0", "é".encode(), b"20261123" * 3, b"^^^", b"\x10\x00\x10\x00PN\x0e\x00Secret^Patient",
)  # fmt: skip


@pytest.mark.parametrize("vr", ["", "LO", "UN"])
@pytest.mark.parametrize("content", ODD, ids=range(len(ODD)))
def test_odd_values_are_facts_less_and_never_errors(content: bytes, vr: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for keyword, its_own in ATTRIBUTES.items():
            header = raw(header_of(StudyDate="20261123"), keyword, vr or its_own, content)
            facts = film_header(header)
            assert FilmHeader.from_text(facts.to_text()) == facts
            assert "Secret" not in facts.to_text()
            assert facts.age is None or 0 <= facts.age <= 120


@pytest.mark.parametrize("keyword", ["ViewPosition", "BodyPartExamined", "Manufacturer", "ManufacturerModelName"])
def test_a_value_that_swallowed_the_patient_is_not_quoted(keyword: str) -> None:
    swallowed = b"CHEST \x10\x00\x10\x00PN\x0e\x00Secret^Patient"
    text = film_header(raw(header_of(), keyword, ATTRIBUTES[keyword], swallowed)).to_text()
    assert "SECRET" not in text.upper()


def _facts_of(path: Path) -> FilmHeader | None:
    try:
        radiograph = read_radiograph(path, any_modality=True)
    except RadiographError:
        return None
    assert radiograph.header is not None, path.name
    return radiograph.header


def _check_names(path: Path, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "ReferringPhysicianName"):
            words = [word for word in str(header.get(keyword) or "").replace("^", " ").split() if len(word) > 4]
            assert not [word for word in words if word in text], path.name


def test_all_files_of_pydicom() -> None:
    read = 0
    for path in sorted(path for path in PYDICOM.rglob("*") if path.is_file()):
        if (facts := _facts_of(path)) is not None:
            read += 1
            assert FilmHeader.from_text(facts.to_text()) == facts
            _check_names(path, facts.to_text())
    assert read >= 10


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
def test_a_file_of_pydicom_by_hand(name: str) -> None:
    facts = _facts_of(PYDICOM / name)
    assert facts is not None
    expected = {
        "CT_small.dcm": ("CT", "GE MEDICAL SYSTEMS", "RHAPSODE", "1997-04-30T11:29:36"),
        "MR_small.dcm": ("MR", "TOSHIBA_MEC", "MRT50H1", "2004-08-26T18:50:59"),
    }[name]
    assert (facts.modality, facts.manufacturer, facts.model, facts.taken_on) == expected


@pytest.mark.realdata
def test_the_shared_files(realdata: Path) -> None:
    paths = sorted((realdata / "dicom").rglob("*.dcm"))
    assert paths
    for path in paths:
        facts = read_radiograph(path).header
        # RSNA's: the spacing is that of NIH's larger original, the date stands for none
        assert facts == FilmHeader("CR", "CHEST", "PA", False, 62.0, field_of_view=(172.0, 172.0))
        _check_names(path, facts.to_text())
