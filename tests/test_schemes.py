"""Label schemes: hand-computed labels with unknown findings, everything wrong in one error, and NIH's own counts."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxr_monai.errors import Code, CxrError, SettingError
from cxr_monai.labels import NIH14
from cxr_monai.schemes import SCHEMES, LabelScheme, channel_labels, label_scheme

NAN = np.nan
# a small vocabulary, so that rows can be written by hand
SMALL = {"findings": ["Mass", "Nodule", "Edema"]}


def refused(spec: Any) -> str:
    with pytest.raises(SettingError) as error:
        label_scheme(spec)
    assert error.value.code == Code.SCHEME_INVALID
    return error.value.message


def test_the_shipped_schemes() -> None:
    assert SCHEMES["findings"].labels == NIH14
    assert SCHEMES["findings_normal"].labels == (*NIH14, "Normal")
    assert SCHEMES["categories"].labels == ("Lung", "Cardiomegaly", "Pleural", "Hernia")
    assert SCHEMES["categories_normal"].labels == ("Lung", "Cardiomegaly", "Pleural", "Hernia", "Normal")
    assert SCHEMES["hierarchy"].labels == ("Lung", "Pleural", *NIH14)
    assert [SCHEMES[f"{finding}_vs_normal"].labels for finding in NIH14] == [(finding,) for finding in NIH14]
    groups = SCHEMES["categories"].groups
    assert sorted(finding for members in groups.values() for finding in members) == sorted(NIH14)
    assert groups["Pleural"] == ("Effusion", "Pneumothorax", "Pleural_Thickening")


@pytest.mark.parametrize("name", SCHEMES)
def test_json_and_back(name: str, tmp_path: Path) -> None:
    assert label_scheme(SCHEMES[name].to_json()) == SCHEMES[name]
    (tmp_path / "own.json").write_text(json.dumps(SCHEMES[name].to_json()), encoding="utf-8")
    assert label_scheme(str(tmp_path / "own.json")) == SCHEMES[name]


@pytest.mark.parametrize(
    ("row", "lung", "edema", "normal", "edema_vs_normal"),
    [  # Mass, Nodule, Edema
        ([0, 0, 0], 0, 0, 1, 0),
        ([1, 0, 0], 1, 0, 0, NAN),
        ([0, 1, 1], 1, 1, 0, 1),
        ([0, 0, 1], 0, 1, 0, 1),
        ([NAN, 0, 0], NAN, 0, NAN, NAN),
        ([NAN, 1, 0], 1, 0, 0, NAN),
        ([NAN, NAN, NAN], NAN, NAN, NAN, NAN),
        ([NAN, 0, 1], NAN, 1, 0, 1),
        ([0, 0, NAN], 0, NAN, NAN, NAN),
    ],
)
def test_labels_by_hand(row: list[float], lung: float, edema: float, normal: float, edema_vs_normal: float) -> None:
    groups = {"Lung": ["Mass", "Nodule"], "Edema": ["Edema"], "Normal": []}
    made = label_scheme({"groups": groups, **SMALL}).derive(np.array([row]), SMALL["findings"])
    np.testing.assert_array_equal(made, [[lung, edema, normal]])
    against = label_scheme(
        {"groups": {"Edema": ["Edema"]}, "against_normal": True, "leave_out": ["Mass", "Nodule"], **SMALL}
    ).derive(np.array([row]), SMALL["findings"])
    np.testing.assert_array_equal(against, [[edema_vs_normal]])


def test_columns_are_found_by_name() -> None:
    labels = np.array([[7, 1, 0, 0]], dtype=np.float32)  # a column that is no finding of the scheme
    made = label_scheme({"groups": {"Lung": ["Mass", "Nodule"], "Edema": ["Edema"]}, **SMALL})
    np.testing.assert_array_equal(made.derive(labels, ["Other", "Edema", "Nodule", "Mass"]), [[0, 1]])


def test_what_must_be_known() -> None:
    assert SCHEMES["findings"].needed == SCHEMES["findings"].derived == ()
    assert SCHEMES["categories"].derived == ("Lung", "Pleural")
    assert set(SCHEMES["categories"].needed) == set(NIH14) - {"Cardiomegaly", "Hernia"}
    assert SCHEMES["categories_normal"].needed == SCHEMES["Mass_vs_normal"].needed == NIH14
    assert SCHEMES["Mass_vs_normal"].derived == ("Mass",)


def test_labels_that_a_finding_makes_true() -> None:
    assert SCHEMES["categories"].labels_of("Effusion") == ("Pleural",)
    assert SCHEMES["hierarchy"].labels_of("Effusion") == ("Pleural", "Effusion")
    assert SCHEMES["Mass_vs_normal"].labels_of("Effusion") == ("Effusion",)
    assert SCHEMES["findings"].labels_of("Fracture") == ("Fracture",)


def test_spelling_is_forgiven() -> None:
    made = label_scheme(
        {"groups": {"Air": ["pleural thickening", "infiltrate"], "mass": ["MASS"]}, "leave_out": rest()}
    )
    assert made.groups == {"Air": ("Pleural_Thickening", "Infiltration"), "Mass": ("Mass",)}


def rest(*taken: str) -> list[str]:
    """All findings but three and those given."""
    return [name for name in NIH14 if name not in {"Pleural_Thickening", "Infiltration", "Mass", *taken}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"groups": {"A": ["Mass"], "B": ["Nodule", "Mass"], "C": ["Edema"]}}, "Mass stands in A and B"),
        ({"groups": {"A": ["Mass"], "C": ["Edema"]}}, "in no group: Nodule; .* list them under \"leave_out\""),
        ({"groups": {"A": ["Mass", "Nodul"], "C": ["Edema", "Nodule"]}}, "A holds Nodul, which is no finding"),
        ({"groups": {"A": ["Mass", "mass", "Nodule", "Edema"]}}, "A holds Mass twice"),
        ({"groups": {}}, "it has no groups"),
        ({}, "it has no groups"),
        ({"groups": [["Mass"]]}, "not an object of label and list"),
        ({"groups": {"A": "Mass", "B": ["Mass", "Nodule", "Edema"]}}, "the group 'A' is 'Mass', not a list"),
        ({"groups": {"A": [1], "B": ["Mass", "Nodule", "Edema"]}}, "the group 'A' is \\[1\\], not a list"),
        ({"groups": {"Mass": ["Mass", "Nodule"], "B": ["Edema"]}}, "Mass has a finding's name, but is not that"),
        ({"groups": {"mass": ["Mass"], "Mass": ["Mass"], "B": ["Edema", "Nodule"]}}, "one name twice: Mass"),
        ({"groups": {"A,B": ["Mass", "Nodule", "Edema"]}}, "cannot be called 'A,B'"),
        ({"groups": {"A": ["Mass", "Nodule", "Edema"], "N": [], "O": []}}, "N and O all mean none"),
        ({"groups": {"A": ["Mass", "Nodule", "Edema"]}, "hierarchie": True}, "'hierarchie' means nothing"),
        ({"groups": {"A": ["Mass", "Nodule", "Edema"]}, "against_normal": 1}, "against_normal is 1, neither"),
        ({"groups": {"A": ["Mass", "Nodule"]}, "leave_out": ["Edema", "Mass"]}, "Mass stands in A and in leave_out"),
        ({"groups": {"A": ["Mass"], "B": ["Mass"], "Mass": ["Mass"]}, "hierarchy": True}, "Mass stands in A and B"),
        (["Mass"], "not an object"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(content: Any, said: str) -> None:
    told = refused({**content, **SMALL} if isinstance(content, dict) else content)
    assert re.search(said, told), told


def test_everything_wrong_is_said_at_once() -> None:
    told = refused(
        {"groups": {"A": ["Mass", "X"], "B": ["Mass"]}, "leave_out": "Edema", "name": "own", "z": 1, **SMALL}
    )
    assert "'own' has 5 problems" in told
    for part in ("'z'", "leave_out is 'Edema'", "A holds X", "Mass stands in A and B", "in no group: Nodule, Edema"):
        assert part in told


def test_made_in_python_it_is_checked_as_well() -> None:
    with pytest.raises(SettingError, match="in no group"):
        LabelScheme("own", {"A": ("Mass",)})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"groups": {', "cannot be read as JSON"),
        ('{"groups": {"A": ["Mass"], "A": ["Nodule"]}}', "'A' stands there twice"),
        ("\xff\xfe", "cannot be read as JSON"),
        ("3", "it is 3, not an object"),
    ],
)
def test_damaged_files(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_bytes(text.encode("latin-1"))
    assert said in refused(str(path))


def test_a_file_names_the_scheme(tmp_path: Path) -> None:
    path = tmp_path / "fluid.json"
    path.write_text(json.dumps({"groups": {"All": SMALL["findings"]}, **SMALL}), encoding="utf-8")
    assert label_scheme(str(path)).name == "fluid"


@pytest.mark.parametrize(("name", "nearest"), [("catgories", "categories"), ("Masss_vs_normal", "Mass_vs_normal")])
def test_unknown_names_bring_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(SettingError, match="FINDING_vs_normal") as error:
        label_scheme(name)
    assert error.value.code == Code.SETTING_INVALID
    assert error.value.fix == f"Did you mean {nearest}?"


def test_channels_are_labels_of_the_scheme() -> None:
    assert channel_labels("Normal,Lung", SCHEMES["categories_normal"]) == ["Normal", "Lung"]
    assert channel_labels(["Fracture"], SCHEMES["findings"]) == ["Fracture"]
    with pytest.raises(CxrError, match="'categories' has no Mass; its labels are Lung, Cardiomegaly") as error:
        channel_labels(["Lung", "Mass"], SCHEMES["categories"])
    assert error.value.code == Code.SETTING_INVALID


@pytest.mark.realdata
def test_counts_of_the_chexnet_splits_training_list(realdata: Path) -> None:
    """With its own labels, those of 2017."""
    with gzip.open(realdata / "nih" / "chexnet_split" / "train_list.txt.gz", "rt") as file:
        labels = np.loadtxt(file, usecols=range(1, 15))
    made = SCHEMES["categories_normal"].derive(labels, NIH14)
    assert len(made) == 78_468
    assert dict(zip(SCHEMES["categories_normal"].labels, made.sum(axis=0), strict=True)) == {
        "Lung": 29_300, "Cardiomegaly": 1_950, "Pleural": 13_805, "Hernia": 144, "Normal": 42_405,
    }  # fmt: skip
