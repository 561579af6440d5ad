"""The one rule for "is this a chest radiograph", in the reader and in ``manifest dicom``."""

import io
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.data.sources.dicom import read as read_folder
from cxr_monai.errors import Code, ManifestError, RadiographError

from .test_radiograph_dicom import BYTES, dicom


def save(path: Path, **attributes: object) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom, on writing what no writer should
        dataset = dicom(BYTES, StudyInstanceUID="1.2.3", **attributes)
        dataset["PixelData"].VR = "OB"
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())
    return path


def region(meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99X", meaning
    return Sequence([item])


CHESTS = [
    {"BodyPartExamined": part}
    for part in (
        "CHEST", "Chest", "THORAX", "TORAX", "Tórax", "PORT CHEST", "CHEST PA", "CHEST_TO_ABDOMEN", "CHESTABDOMEN",
        "LUNG", "CHEST LAT", "HEART", "ARMS UP CHEST", "", "UNKNOWN", "PORTABLE",
    )
] + [
    {"Modality": "dx"}, {"Modality": " CR "}, {"Modality": ["CR", "DX"]}, {"Modality": ["OT", "CR"]},
    {"SeriesDescription": "CXR PA"}, {"AnatomicRegionSequence": region("Chest")},
    {"BodyPartExamined": "CHEST", "SeriesDescription": "HAND"},
    {"SeriesDescription": "CHEST AP", "StudyDescription": "CHEST AND PELVIS"},
    {"PresentationIntentType": "FOR PRESENTATION"},
]  # fmt: skip

OTHERS = [
    {"BodyPartExamined": part}
    for part in (
        "HAND", "Hand", "RIGHT HAND", "LHAND", "HANDS", "L-SPINE LAT", "L-SPINE", "C-SPINE", "TSPINE", "FOOT", "KNEE",
        "SKULL", "ABDOMEN", "abdominal", "RIBS", "SI JOINT", "UPPER EXTREMITY", "Schädel", "Fuß", "GENOU", "MAIN",
        "RODILLA", "Mão", "HWS", "KNEE_2V", "HAND (L)",
    )
] + [
    {"AnatomicRegionSequence": region("Hand")}, {"SeriesDescription": "Hand PA"}, {"ProtocolName": "KNEE AP"},
    {"StudyDescription": "XR FOOT LT"}, {"Modality": "CT"}, {"Modality": None}, {"Modality": "SR"},
]  # fmt: skip


@pytest.mark.parametrize("attributes", CHESTS, ids=str)
def test_a_chest_radiograph_is_taken_by_reader_and_manifest(attributes, tmp_path):
    path = save(tmp_path / "a.dcm", **attributes)
    read_radiograph(path)
    assert list(read_folder(tmp_path, key=None).table["image"]) == ["a.dcm"]


@pytest.mark.parametrize("attributes", OTHERS, ids=str)
def test_another_film_is_refused_by_both_and_taken_by_both_when_told(attributes, tmp_path):
    path = save(tmp_path / "a.dcm", **attributes)
    with pytest.raises(RadiographError) as caught:
        read_radiograph(path)
    assert caught.value.code == Code.RADIOGRAPH_WRONG_MODALITY
    assert "--any-modality" in caught.value.fix
    with pytest.raises(ManifestError):
        read_folder(tmp_path, key=None)
    assert len(read_folder(tmp_path, key=None, any_modality=True).table) == 1
    plain = read_radiograph(save(tmp_path / "b.dcm")).pixels
    np.testing.assert_array_equal(read_radiograph(path, any_modality=True).pixels, plain)


@pytest.mark.parametrize(
    "attributes",
    [{"PresentationIntentType": "FOR PROCESSING"}, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"}],
    ids=["intent", "class"],
)
def test_raw_detector_data_are_refused_with_a_code(attributes, tmp_path):
    path = save(tmp_path / "a.dcm", **attributes)
    with pytest.raises(RadiographError) as caught:
        read_radiograph(path)
    assert caught.value.code == Code.RADIOGRAPH_FOR_PROCESSING
    with pytest.raises(ManifestError, match="FOR PROCESSING"):
        read_folder(tmp_path, key=None)
    read_radiograph(path, any_modality=True)


@pytest.mark.parametrize(
    ("attributes", "lateral"),
    [
        ({"ViewPosition": "LL"}, True),
        ({"ViewPosition": "LATERAL"}, True),
        ({"ViewPosition": "lat"}, True),
        ({"ViewPosition": "PA"}, False),
        ({"ViewPosition": "LLD"}, False),
        ({"SeriesDescription": "CHEST LAT"}, True),
        ({"SeriesDescription": "CHEST PA AND LATERAL"}, False),
        ({"ViewPosition": "AP", "SeriesDescription": "CHEST LAT"}, False),
        ({}, False),
    ],
)
def test_a_lateral_is_said(attributes, lateral, tmp_path):
    notes = read_radiograph(save(tmp_path / "a.dcm", **attributes)).provenance["notes"]
    assert [note.startswith("a lateral view") for note in notes] == [True] * lateral
    table = read_folder(tmp_path, key=None)
    assert (table.table["view"].iloc[0] in ("LL", "LAT", "LATERAL")) is lateral
    assert any("1 radiograph is of a lateral view: models" in note for note in table.notes) is lateral


def test_no_description_is_quoted(tmp_path):
    with pytest.raises(RadiographError) as caught:
        read_radiograph(save(tmp_path / "a.dcm", SeriesDescription="Mr Secret's HAND"))
    assert "ecret" not in str(caught.value).replace(str(tmp_path), "")
