"""The record of how labels became unknown: counted, written beside the manifest, read back and shown."""

import json

import numpy as np
import pandas as pd
import pytest

from cxr_monai.data.describe import describe
from cxr_monai.data.label_record import LabelRecord, count_unknown
from cxr_monai.data.manifest import build_manifest, read_manifest, write_manifest
from cxr_monai.data.splits import split_manifest
from cxr_monai.errors import Code, CxrError

RECORD = LabelRecord(
    "chexpert v1.0-small",
    {"uncertain": "unknown", "unmentioned": "unknown"},
    {"Mass": {"uncertain": 1, "unmentioned": 2}},
    {"Lung Opacity": "Lung Opacity is a union."},
)


def manifest_of(patients="known"):
    table = pd.DataFrame(
        {
            "image": ["a.png", "b.png", "c.png", "d.png"],
            "patient_id": ["1", "2", "3", "4"],
            "view": ["ap supine", "LL", "pa", ""],
            "Mass": [1.0, np.nan, np.nan, np.nan],
        }
    )
    return build_manifest(table, ".", "test", patients=patients, labels_record=RECORD)


def test_written_and_read_back(tmp_path):
    write_manifest(manifest_of("unknown"), tmp_path / "m.csv")
    again = read_manifest(tmp_path / "m.csv", check_files=False)
    assert (again.labels_record, again.patients) == (RECORD, "unknown")
    assert again.table["view"].tolist() == ["AP supine", "LATERAL", "PA", ""]


def test_a_manifest_without_a_record_has_no_key_for_one(tmp_path):
    write_manifest(build_manifest(manifest_of().table, ".", "local"), tmp_path / "m.csv")
    assert not {"labels", "patients"} & set(json.loads((tmp_path / "m.csv.json").read_text()))


@pytest.mark.parametrize(
    "change",
    [
        {"patients": "maybe"},
        {"labels": {"dataset": "x", "unknown": {"Mass": {"bad mood": 1}}}},
        {"labels": {"dataset": "x", "unknown": {"Mass": {"uncertain": -1}}}},
        {"labels": {"dataset": "x", "colour": "red"}},
    ],
)
def test_a_damaged_record_is_refused(tmp_path, change):
    path = tmp_path / "m.csv"
    write_manifest(manifest_of(), path)
    sidecar = json.loads((tmp_path / "m.csv.json").read_text())
    (tmp_path / "m.csv.json").write_text(json.dumps(sidecar | change))
    with pytest.raises(CxrError) as error:
        read_manifest(path, check_files=False)
    assert error.value.code == Code.MANIFEST_INVALID


@pytest.mark.parametrize("scheme", ["random", "kfold"])
def test_no_split_by_patients_whom_nobody_knows(scheme):
    with pytest.raises(CxrError) as error:
        split_manifest(manifest_of("unknown"), scheme, **({"k": 2} if scheme == "kfold" else {}))
    assert error.value.code == Code.PATIENTS_UNKNOWN


def test_check_shows_the_choices_and_the_reasons():
    text = describe(manifest_of("unknown"))
    assert "Labels of chexpert v1.0-small: uncertain unknown, unmentioned unknown" in text
    lines = text[text.index("unknown, by reason") :].splitlines()
    assert lines[1].split() == ["uncertain", "unmentioned"]
    assert lines[2].split() == ["Mass", "1", "2"]
    assert "Lung Opacity is a union." in text
    assert "does not tell whose films they are" in text


def test_the_first_reason_counts_and_none_is_an_error():
    labels = pd.DataFrame({"Mass": [np.nan, np.nan, 0.0], "Edema": [1.0, np.nan, np.nan]})
    everywhere = pd.DataFrame({"Mass": [True, True, True], "Edema": [True, True, True]})
    first = pd.DataFrame({"Mass": [True, False, True]})
    counts = count_unknown(labels, {"uncertain": first, "unmentioned": everywhere})
    assert counts == {"Mass": {"uncertain": 1, "unmentioned": 1}, "Edema": {"unmentioned": 2}}
    with pytest.raises(ValueError, match="Edema: 2 unknown"):
        count_unknown(labels, {"uncertain": everywhere[["Mass"]]})
