"""PadChest's layouts and the quirks of its table; and the exact counts of the real one, with torchxrayvision's rule."""

import ast
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_monai.cli import main
from cxr_monai.data.manifest import build_manifest, read_manifest
from cxr_monai.data.sources import load, padchest
from cxr_monai.errors import Code, ManifestError, UsageError
from cxr_monai.labels import NIH14

TABLE = padchest.PADCHEST_TABLES[0]
HEADER = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,Projection,"
    "MethodProjection,Pediatric,MethodLabel,Labels"
)
PATIENT = "839860488694292331637988235681460987"
STUDY = "20536686640136348236148679891455886468"
ROWS = [
    f"0,a.png,0,20140915,{STUDY},{PATIENT},1930.0,F,POSTEROANTERIOR,PA,Manual,No,Physician,\"['normal']\"",
    f"1,b.png,0,20140915,{STUDY},{PATIENT},1930.0,F,LATERAL,L,Manual,No,Physician,"
    "\"['Cardiomegaly ', ' pleural effusion', '']\"",
    "2,c.png,54,20100101,S2,P2,2000.0,M,,AP_horizontal,net,No,RNN_model,\"['pseudonodule', 'pericardial effusion']\"",
    "3,d.png,54,20100101,S3,P3,,nan,,AP,Manual,No,RNN_model,\"['unchanged', 'hydropneumothorax']\"",
    "4,e.png,54,20100101,S4,P4,1950.0,O,,UNK,Manual,No,RNN_model,\"['suboptimal study', 'unchanged']\"",
    "5,f.png,54,20100101,S5,P5,1950.0,M,,PA,Manual,No,Physician,['']",
    "6,g.png,54,20100101,S6,P6,1950.0,M,,PA,Manual,No,RNN_model,nan",
    "7,h.png,54,20100101,S7,P7,1950.0,M,,COSTAL,Manual,No,Physician,['normal']",
]
NAMES = [row.split(",")[1] for row in ROWS]
FOLDERS = ["0", "0", "54", "54", "54", "54", "54", "54"]


def write_table(root: Path, rows: list[str] = ROWS, header: str = HEADER, name: str = TABLE) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    path = root / name
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def write_images(root: Path, names: list[str]):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("I;16", (4, 4)).save(root / name)


def test_columns_by_hand(tmp_path):
    write_table(tmp_path)
    source = padchest.read(tmp_path, table_only=True)
    table = source.table
    assert table["image"].tolist() == ["0/a.png", "0/b.png", "54/c.png", "54/d.png", "54/e.png", "54/f.png", "54/g.png"]
    assert table["patient_id"].tolist()[:3] == [PATIENT, PATIENT, "P2"]
    assert table["study_id"].tolist()[:3] == [STUDY, STUDY, "S2"]
    assert table["view"].tolist() == ["PA", "LATERAL", "AP supine", "AP", "", "PA", "PA"]
    assert table["sex"].tolist() == ["F", "F", "M", "", "O", "M", "M"]
    np.testing.assert_array_equal(table["age"], [84, 84, 10, np.nan, 60, 60, 60])
    assert (table["source"] == "padchest").all()
    expected = np.zeros((7, 14))
    expected[3:] = np.nan
    for row, finding in ((1, "Cardiomegaly"), (1, "Effusion"), (3, "Effusion"), (3, "Pneumothorax")):
        expected[row, NIH14.index(finding)] = 1
    np.testing.assert_array_equal(table[list(NIH14)], expected)
    assert source.notes == (
        "left out 1 film of the ribs (Projection COSTAL)",
        "1 film is of no known view",
        "1 film is of patients under 18 by their age; PadChest's own column Pediatric misses most of them",
    )
    assert source.labels_record.unknown["Mass"] == {"study excluded": 1, "unmentioned": 3}
    assert source.labels_record.unknown["Effusion"] == {"study excluded": 1, "unmentioned": 2}
    assert build_manifest(table, source.root, source.label_version, key=source.key).findings == NIH14


def test_unmentioned_findings_may_count_as_absent_but_not_those_of_excluded_films(tmp_path):
    write_table(tmp_path)
    source = padchest.read(tmp_path, table_only=True, unmentioned="negative")
    assert source.table["Mass"].isna().tolist() == [False] * 4 + [True, False, False]
    assert source.labels_record.unknown["Mass"] == {"study excluded": 1}
    assert source.labels_record.settings["unmentioned"] == "negative"


def test_physicians_labels_alone(tmp_path):
    write_table(tmp_path)
    source = padchest.read(tmp_path, table_only=True, labeller="physician")
    assert source.table["image"].tolist() == ["0/a.png", "0/b.png", "54/f.png"]
    assert source.label_version == "padchest-physician"
    assert "left out 4 films whose labels a network made" in source.notes
    write_table(tmp_path, [ROWS[2]])
    with pytest.raises(ManifestError, match="labelled by a physician"):
        padchest.read(tmp_path, table_only=True, labeller="physician")


@pytest.mark.parametrize("place", ["{folder}/{name}", "{name}", "images/{folder}/{name}", "small/{stem}.jpg"])
def test_images_are_found_wherever_people_put_them(tmp_path, place):
    write_table(tmp_path)
    paths = [
        place.format(folder=folder, name=name, stem=name[:-4]) for folder, name in zip(FOLDERS, NAMES, strict=True)
    ]
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / path)
    assert padchest.read(tmp_path).table["image"].tolist() == paths[:7]


def test_a_partial_copy_as_with_the_damaged_images(tmp_path):
    write_table(tmp_path, name=padchest.PADCHEST_TABLES[1])
    write_images(tmp_path, ["0/a.png", "54/e.png"])
    with pytest.raises(ManifestError, match="5 of the 7 images") as caught:
        padchest.read(tmp_path)
    assert caught.value.code == Code.IMAGES_MISSING
    source = padchest.read(tmp_path, available_only=True)
    assert source.table["image"].tolist() == ["0/a.png", "54/e.png"]
    assert source.labels_record.unknown["Hernia"] == {"study excluded": 1}
    with pytest.raises(ManifestError) as none:
        padchest.read(write_table(tmp_path / "empty").parent, available_only=True)
    assert none.value.code == Code.NO_IMAGES


def test_a_study_of_two_patients_is_two_studies(tmp_path):
    write_table(tmp_path, [ROWS[2], ROWS[3].replace("S3", "S2")])
    source = padchest.read(tmp_path, table_only=True)
    assert source.table["study_id"].tolist() == ["S2_P2", "S2_P3"]
    assert "1 study identifier is of several patients and was parted" in source.notes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: row.replace("['normal']", "normal"), "no list of labels: 'normal'.*line 2|line 2.*no list"),
        (lambda row: row.replace("['normal']", "[1]"), "no list of labels"),
        (lambda row: row.replace("['normal']", "{'a': 1}"), "no list of labels"),
        (lambda row: row.replace(PATIENT, "8.39860488694292e+35"), "lost its digits"),
        (lambda row: row.replace(PATIENT, ""), "name no patient|names no patient"),
        (lambda row: f"{row}\n{row}", "'a.png' has a second row"),
    ],
)
def test_cells_that_are_wrong_are_named(tmp_path, change, words):
    write_table(tmp_path, [change(ROWS[0])])
    with pytest.raises(ManifestError, match=words) as caught:
        padchest.read(tmp_path, table_only=True)
    assert caught.value.code == Code.SOURCE_INVALID


def test_tables_that_are_wrong_are_named(tmp_path):
    with pytest.raises(ManifestError, match="no table of PadChest is here"):
        padchest.read(tmp_path, table_only=True)
    write_table(tmp_path, header=HEADER.replace("Projection,", "Projektion,", 1))
    with pytest.raises(ManifestError, match="lacks 'Projection'"):
        padchest.read(tmp_path, table_only=True)
    other = write_table(tmp_path, ["a.jpg,F,58,Frontal,PA,"], "Path,Sex,Age,Frontal/Lateral,AP/PA,Edema", "train.csv")
    with pytest.raises(ManifestError, match="It looks like CheXpert's") as caught:
        padchest.read(tmp_path, table=other, table_only=True)
    assert "cxr-monai manifest chexpert" in caught.value.fix
    with pytest.raises(ManifestError, match="a file, not a folder"):
        padchest.read(other, table_only=True)
    for option in ("labeller", "unmentioned"):
        with pytest.raises(UsageError, match=option):
            padchest.read(tmp_path, table_only=True, **{option: "maybe"})


def test_the_command_writes_the_record(tmp_path, capsys):
    write_table(tmp_path / "root")
    out = tmp_path / "m.csv"
    assert main(["manifest", "padchest", str(tmp_path / "root"), "--table-only", "--out", str(out)]) == 0
    assert "7 images of 6 patients, labels padchest" in capsys.readouterr().out
    record = json.loads((tmp_path / "m.csv.json").read_text())["labels"]
    assert record["settings"] == {"labeller": "all", "unmentioned": "unknown", "excluded": "unknown"}
    manifest = read_manifest(out, check_files=False)
    assert manifest.table["patient_id"][0] == PATIENT
    assert manifest.labels_record.unknown["Edema"] == {"study excluded": 1, "unmentioned": 3}


# finding: positives of all labelled films / frontal ones / those that physicians labelled; torchxrayvision's of all
POSITIVES = {
    "Atelectasis": (8961, 6168, 1487, 8961),
    "Cardiomegaly": (15022, 9848, 2445, 15022),
    "Effusion": (10018, 7040, 1208, 10026),
    "Infiltration": (18754, 13044, 2698, 20681),
    "Mass": (1083, 632, 151, 1508),
    "Nodule": (4072, 2549, 512, 6235),
    "Pneumonia": (8174, 5223, 1094, 8174),
    "Pneumothorax": (573, 416, 76, 573),
    "Consolidation": (2636, 1766, 258, 2636),
    "Edema": (1559, 1363, 97, 1456),
    "Emphysema": (1538, 933, 231, 1744),
    "Fibrosis": (1228, 716, 98, 1228),
    "Pleural_Thickening": (5156, 3373, 1224, 5156),
    "Hernia": (2363, 1609, 418, 2363),
}
# torchxrayvision looks for these parts of words in a film's labels
SUBSTRINGS = {finding: (finding.lower().replace("_", " "),) for finding in NIH14} | {
    "Effusion": ("effusion",),
    "Infiltration": ("infiltrat", "interstitial pattern", "ground glass", "reticular interstitial", "reticulonodular",
                     "alveolar pattern", "consolidation", "air bronchogram"),
    "Consolidation": ("consolidation", "air bronchogram"),
    "Edema": ("edema",),
    "Hernia": ("hernia",),
}  # fmt: skip


@pytest.fixture(scope="module")
def real(public_tables):
    """The adapter's table, and the columns that it comes from as they are."""
    columns = [
        "PatientID", "StudyID", "Labels", "MethodLabel", "StudyDate_DICOM", "Projection", "PatientBirth", "Pediatric",
        "PatientSex_DICOM", "MethodProjection", "ViewPosition_DICOM", "BitsStored_DICOM",
    ]  # fmt: skip
    raw = pd.read_csv(public_tables / f"{TABLE}.gz", dtype=str, keep_default_na=False, usecols=columns)
    return padchest.read(public_tables, table_only=True), raw


@pytest.mark.publictables
def test_the_real_tables_counts(real, public_tables):
    table, raw = real[0].table, real[1]
    assert len(raw) == 160_861
    assert raw["PatientID"].nunique() == 67_625
    assert raw["StudyID"].nunique() == 109_931
    assert (raw["Labels"] == "nan").sum() == 103
    assert raw["MethodLabel"].value_counts().to_dict() == {"RNN_model": 121_808, "Physician": 39_053}
    assert (raw["StudyDate_DICOM"].min(), raw["StudyDate_DICOM"].max()) == ("20070503", "20171117")
    labels, excluded, silent = padchest.read_label_lists(raw["Labels"], public_tables)
    labelled = raw["Labels"] != "nan"
    assert (excluded | silent)[labelled].sum() == 18_091
    frontal = labelled & raw["Projection"].isin(["PA", "AP", "AP_horizontal"])
    assert frontal.sum() == 110_554
    assert raw["PatientID"][frontal].nunique() == 67_216
    physician = frontal & (raw["MethodLabel"] == "Physician")
    assert physician.sum() == 26_432
    for finding, (everywhere, front, physicians, _) in POSITIVES.items():
        present = labels[finding] == 1
        assert (present.sum(), present[frontal].sum(), present[physician].sum()) == (everywhere, front, physicians)
        assert (table[finding][table["view"].isin(["PA", "AP", "AP supine"])] == 1).sum() == front
    assert len(table) == 160_861 - 630
    assert table["view"].value_counts().to_dict() == {
        "PA": 91_728, "LATERAL": 49_579, "AP supine": 14_346, "AP": 4_559, "": 19,
    }  # fmt: skip
    assert table["patient_id"].nunique() <= 67_625
    assert table["patient_id"].str.len().max() == 39
    ages = raw["StudyDate_DICOM"].str[:4].astype(int) - pd.to_numeric(raw["PatientBirth"], errors="coerce")
    assert (ages.min(), ages.max(), int(ages.isna().sum()), int((ages < 18)[labelled].sum())) == (0, 105, 6, 7_182)
    ribs = raw["Projection"] == "COSTAL"
    np.testing.assert_array_equal(table["age"], ages[~ribs])


@pytest.mark.publictables
def test_the_real_tables_quirks(real, public_tables):
    table, raw = real[0].table, real[1]
    rows = raw["Labels"].value_counts().drop("nan")
    assert rows.sum() == 160_758
    lists = [ast.literal_eval(text) for text in rows.index]
    assert len({label for listed in lists for label in listed}) == 350
    clean = [{label.strip().lower() for label in listed} for listed in lists]
    assert len(set().union(*clean)) == 194

    def number(condition: Callable[[set[str]], bool]) -> int:
        return int(rows[[condition(labels) for labels in clean]].sum())

    assert number(lambda labels: "unchanged" in labels) == 14_334
    assert number(lambda labels: "exclude" in labels) == 1_312
    assert number(lambda labels: "suboptimal study" in labels) == 1_839
    assert number(lambda labels: labels <= {""}) == 777
    assert number(lambda labels: "normal" in labels and len(labels - {""}) > 1) == 226
    assert raw["PatientSex_DICOM"].value_counts().to_dict() == {"M": 80_920, "F": 79_919, "O": 18, "nan": 4}
    assert raw["BitsStored_DICOM"].value_counts().to_dict() == {"12": 144_051, "10": 16_810}
    assert (raw["ViewPosition_DICOM"] == "nan").sum() == 69_085
    assert (raw["MethodProjection"] != "Manual review of DICOM fields").sum() == 15_126
    ages = raw["StudyDate_DICOM"].str[:4].astype(int) - pd.to_numeric(raw["PatientBirth"], errors="coerce")
    flagged = raw["Pediatric"] == "PED"
    assert (flagged.sum(), (flagged & (ages < 18)).sum()) == (274, 270)
    assert "1 study identifier is of several patients and was parted" in real[0].notes
    assert table.groupby("study_id")["patient_id"].nunique().max() == 1


@pytest.mark.publictables
def test_the_real_tables_record_counts_every_unknown_label(real):
    table, record = real[0].table, real[0].labels_record
    for finding in NIH14:
        assert sum(record.unknown[finding].values()) == table[finding].isna().sum()
        assert set(record.unknown[finding]) == {"study excluded", "unmentioned"}


@pytest.mark.publictables
def test_torchxrayvisions_search_in_words_finds_the_same_or_the_listed_differences(real, public_tables):
    rows = real[1]["Labels"].value_counts()
    lists = pd.Series(rows.index)
    ours, _, _ = padchest.read_label_lists(lists, public_tables)
    lists = lists.str.lower()
    for finding, (*_, theirs) in POSITIVES.items():
        found = pd.concat([lists.str.contains(part, regex=False) for part in SUBSTRINGS[finding]], axis=1).any(axis=1)
        assert rows.to_numpy()[found].sum() == theirs, finding
        same = finding not in ("Effusion", "Infiltration", "Mass", "Nodule", "Edema", "Emphysema")
        assert bool((found == (ours[finding] == 1)).all()) is same


@pytest.mark.parametrize("source", ["padchest", "rsna", "siim", "vindr", "openi"])
def test_without_its_table_the_folder_of_another_set_is_named(tmp_path, source):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/broken.csv.gz").write_bytes(b"no gzip")
    (tmp_path / "tables/other.csv").write_text("Path,Sex,Age,Frontal/Lateral,AP/PA\n")
    with pytest.raises(
        ManifestError, match=r"other\.csv looks like CheXpert's \(cxr-monai manifest chexpert\)"
    ) as caught:
        load(source).read(tmp_path, table_only=True)
    assert caught.value.code == Code.SOURCE_INVALID
