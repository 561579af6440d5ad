"""RSNA's Pneumonia Challenge in Kaggle's layout and in RSNA's, whose films they are, and the real tables' counts."""

import json
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_monai.cli import main
from cxr_monai.data.manifest import build_manifest, read_manifest
from cxr_monai.data.overlaps import patient_keys
from cxr_monai.data.sources import SourceTable, rsna
from cxr_monai.data.splits import kfold
from cxr_monai.errors import Code, CxrError, EvaluationError, ManifestError, SplitError, UsageError
from cxr_monai.evaluation.film_relation import relation_of
from cxr_monai.labels import NIH14
from tests.data import test_source_dicom as dicoms

BOXES = "patientId, x ,y,width,height,Target\na,,,,,0\nb,100.0,200.0,50.0,60.0,1\nb,1,2,3,4,1\nc,,,,,0\n"
CLASSES = "patientId,class\na,Normal\nb,Lung Opacity\nb,Lung Opacity\nc,No Lung Opacity / Not Normal\n"
FILMS = ("a", "b", "c")
OPACITY = "Pneumonia-like Opacity"
HEADERS = "PatientID,PatientAge,PatientSex,ViewPosition,Modality\nb,155,F,AP,CR\na,43,M,PA,CR\nc,7,F,AP,CR\n"
MAPPING = [
    {"subset_img_id": film, "img_id": f"0000000{number}_000.png", "SOPInstanceUID": f"1.{film}"}
    for number, film in zip((3, 3, 5), FILMS, strict=True)
]
MAPPING[1]["img_id"] = "00000003_001.png"
NIH = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"
    "00000003_000.png,Hernia,0,3,81,F,PA\n00000003_001.png,Hernia,1,3,82,F,PA\n00000005_000.png,Mass,0,5,69,M,AP\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Kaggle's layout: two tables, a sample of a submission, and DICOM files of 2x2 pixels."""
    folder = tmp_path / "rsna"
    folder.mkdir()
    (folder / "stage_2_train_labels.csv").write_text(BOXES)
    (folder / "stage_2_detailed_class_info.csv").write_text(CLASSES)
    (folder / "stage_2_sample_submission.csv").write_text("patientId,PredictionString\nz,0.5 0 0 100 100\n")
    for film, age, view in zip(FILMS, ("43", "155", "7"), ("PA", "AP", "AP"), strict=True):
        dicoms.write(folder / f"stage_2_train_images/{film}.dcm", PatientAge=age, ViewPosition=view, PatientID=film)
    dicoms.write(folder / "stage_2_test_images/z.dcm")
    return folder


@pytest.fixture
def nih_files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "Data_Entry_2017.csv").write_text(NIH)
    (tmp_path / "mappings.json").write_text(json.dumps(MAPPING))
    return {"nih_table": tmp_path / "Data_Entry_2017.csv", "mapping": tmp_path / "mappings.json"}


def read(root: Path, **options) -> SourceTable:
    source = rsna.read(root, **options)
    build_manifest(source.table, source.root, source.label_version, key=source.key, patients=source.patients)
    return source


def test_kaggles_layout_by_hand(root):
    source = read(root)
    table = source.table
    assert table["image"].tolist() == [f"stage_2_train_images/{film}.dcm" for film in FILMS]
    assert table["patient_id"].tolist() == ["a", "b", "c"]
    assert table["view"].tolist() == ["PA", "AP", "AP"]
    assert table["age"].fillna(-1).tolist() == [43, -1, 7]
    assert table["sex"].tolist() == ["F", "F", "F"]
    assert table["source"].unique().tolist() == ["rsna"]
    assert (source.label_version, source.key, source.patients) == ("rsna-2018", "name", "unknown")
    cells = table[[OPACITY, "Pneumonia", "Mass"]]
    expected = [[0, 0, 0], [1, None, None], [0, 0, None]]
    assert cells.astype(object).where(cells.notna(), None).to_numpy().tolist() == expected
    assert [name for name in table if name in NIH14] == list(NIH14)
    assert source.boxes is not None
    assert source.boxes.to_numpy().tolist() == [  # 2 of 1024 pixels
        ["stage_2_train_images/b.dcm", OPACITY, 0.1953, 0.3906, 0.0977, 0.1172, 2, 2],
        ["stage_2_train_images/b.dcm", OPACITY, 0.002, 0.0039, 0.0059, 0.0078, 2, 2],
    ]
    assert source.labels_record is not None
    assert source.labels_record.unknown["Pneumonia"] == {"uncertain": 1}
    assert source.labels_record.unknown["Mass"] == {"unmentioned": 2}
    assert "1 age is impossible (over 120 years, or no age) and was emptied" in source.notes
    assert any("a split by patient is refused" in note for note in source.notes)


def test_a_table_of_headers_spares_the_files(root):
    (root / "headers.csv").write_text(HEADERS)
    shutil.rmtree(root / "stage_2_train_images")
    for film in FILMS:  # pictures without a header, of another size
        (root / "png").mkdir(exist_ok=True)
        Image.new("L", (512, 256)).save(root / f"png/{film}.png")
    source = read(root)
    assert source.table["image"].tolist() == [f"png/{film}.png" for film in FILMS]
    assert source.table["view"].tolist() == ["PA", "AP", "AP"]
    assert source.table["sex"].tolist() == ["M", "F", "F"]
    assert source.boxes is not None
    assert source.boxes.iloc[0, 2:].tolist() == [50.0, 50.0, 25.0, 15.0, 512, 256]
    only = read(root, table_only=True)
    assert only.table["image"].tolist() == [f"stage_2_train_images/{film}.dcm" for film in FILMS]
    assert only.boxes is not None
    assert only.boxes.iloc[0, 2:].tolist() == [100.0, 200.0, 50.0, 60.0, 1024, 1024]


def test_kaggles_zip_of_a_table(root):
    with zipfile.ZipFile(root / "stage_2_train_labels.csv.zip", "w") as archive:
        archive.write(root / "stage_2_train_labels.csv", "stage_2_train_labels.csv")
    (root / "stage_2_train_labels.csv").unlink()
    assert read(root).table[OPACITY].tolist() == [0, 1, 0]


def test_rsnas_own_layout(root, tmp_path):
    groups = [{"name": "Calculated", "labels": [{"id": "n", "name": "Normal"}, {"id": "o", "name": "Lung Opacity"}]}]
    entries = [
        {"SOPInstanceUID": "1.a", "labelId": "n", "data": None},
        {"SOPInstanceUID": "1.b", "labelId": "o", "data": {"x": 100, "y": 200, "width": 50, "height": 60}},
    ]
    folder = tmp_path / "rsna.org"
    for name, content in {
        "adjudicated.json": {"labelGroups": groups, "datasets": [{"annotations": entries}]},
        "original.json": {"labelGroups": [{"name": "Annotations", "labels": []}], "datasets": []},
        "mappings.json": MAPPING,
    }.items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    for film in ("1.a", "1.b"):
        dicoms.write(folder / f"images/2.1/3.1/{film}.dcm")
    source = read(folder)
    assert source.table["image"].tolist() == ["images/2.1/3.1/1.a.dcm", "images/2.1/3.1/1.b.dcm"]
    assert source.table[OPACITY].tolist() == [0, 1]
    assert source.boxes is not None
    assert len(source.boxes) == 1


def test_nihs_table_tells_the_patients(root, nih_files):
    source = read(root, **nih_files)
    assert source.patients == "known"
    assert source.table["patient_id"].tolist() == ["3", "3", "5"]
    assert source.table["study_id"].tolist() == ["3_0", "3_1", "5_0"]
    assert source.table["view"].tolist() == ["PA", "AP", "AP"], "the film's own header comes first"
    assert source.table["age"].tolist() == [43, 82, 7], "NIH's where the header has none"
    assert patient_keys(source.table).tolist() == ["nih\t3", "nih\t3", "nih\t5"]
    only = read(root, table_only=True, **nih_files)
    assert only.table[["view", "sex"]].to_numpy().tolist() == [["PA", "F"], ["PA", "F"], ["AP", "M"]]
    nih_files["mapping"].write_text(json.dumps(MAPPING[:1]))
    part = read(root, **nih_files)
    assert part.table["patient_id"].tolist() == ["3"]
    assert "2 of 3 films are not in the mapping and NIH's table: left out" in part.notes
    assert part.boxes is not None
    assert part.boxes.empty
    nih_files["mapping"].write_text("subset_img_id,img_id\na,00000003_000.png\n")
    assert read(root, **nih_files).table["patient_id"].tolist() == ["3"], "the mapping as a table"


def test_a_split_by_patient_is_refused_unless_someone_tells(root, nih_files, tmp_path, capsys):
    out = tmp_path / "m.csv"
    assert main(["manifest", "rsna", str(root), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "3 images of unknown patients, labels rsna-2018" in printed
    assert "a split by patient is refused" in printed
    assert "next      cxr-monai check" in printed
    assert "without the ending" not in printed, "no name of RSNA's has one"
    with pytest.raises(SplitError) as caught:
        kfold(read_manifest(out), 2)
    assert caught.value.code == Code.PATIENTS_UNKNOWN
    words = ["manifest", "rsna", str(root), "--out", str(out), "--force"]
    assert main([*words, "--patient-per-image"]) == 0
    assert read_manifest(out).patients == "assumed"
    kfold(read_manifest(out), 2)
    with pytest.raises(EvaluationError) as overlap:  # film names are no patients of NIH's: that shows nothing
        relation_of("A", ["nih"], "M", read_manifest(out), seen=lambda patients: set())
    assert overlap.value.code == Code.OVERLAPPING_SOURCES
    assert main([*words, "--nih-table", str(nih_files["nih_table"]), "--mapping", str(nih_files["mapping"])]) == 0
    assert read_manifest(out).table["patient_id"].tolist() == ["3", "3", "5"]
    assert (tmp_path / "m.boxes.csv").exists()


def test_films_that_are_not_on_disk(root):
    (root / "stage_2_train_images/b.dcm").unlink()
    with pytest.raises(ManifestError) as caught:
        read(root)
    assert caught.value.code == Code.IMAGES_MISSING
    source = read(root, available_only=True)
    assert source.table["patient_id"].tolist() == ["a", "c"]
    assert source.boxes is not None
    assert source.boxes.empty


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"stage_2_train_labels.csv": None, "stage_2_detailed_class_info.csv": None}, "no table of RSNA's labels"),
        ({"copy.csv": BOXES}, "copy.csv and stage_2_train_labels.csv are both RSNA's boxes"),
        ({"stage_2_train_labels.csv": BOXES.replace("a,,,,,0", "a,,,,,")}, "1 row differs"),
        ({"stage_2_train_labels.csv": BOXES.replace("200.0", "high")}, "1 row differs"),
        ({"stage_2_detailed_class_info.csv": CLASSES.replace("a,Normal", "a,Lung Opacity")}, "contradict each other"),
    ],
)  # fmt: skip
def test_wrong_tables(root, files, words):
    for name, content in files.items():
        (root / name).unlink() if content is None else (root / name).write_text(content)
    with pytest.raises(ManifestError, match=words) as caught:
        read(root)
    assert caught.value.code == Code.SOURCE_INVALID


def test_wrong_files_of_the_patients(root, nih_files, tmp_path):
    cases: list[tuple[dict, type[CxrError], str]] = [
        ({"nih_table": nih_files["nih_table"]}, UsageError, "there is no --mapping"),
        ({"mapping": nih_files["mapping"]}, UsageError, "there is no --nih-table"),
        ({**nih_files, "patient_per_image": True}, UsageError, "every image is of another patient"),
        ({**nih_files, "mapping": root / "stage_2_train_labels.csv"}, ManifestError, "looks like RSNA's boxes"),
        ({**nih_files, "nih_table": root / "stage_2_train_labels.csv"}, ManifestError, "not NIH's table"),
    ]
    for options, kind, words in cases:
        with pytest.raises(kind, match=words):
            read(root, **options)
    nih_files["mapping"].write_text(json.dumps([{"subset_img_id": "q", "img_id": "00000003_000.png"}]))
    with pytest.raises(ManifestError, match="none of the 3 films"):
        read(root, **nih_files)


@pytest.mark.publictables
def test_the_real_tables(public_tables, tmp_path):
    """The counts that everybody finds, and torchxrayvision's rule: the Target is the label."""
    for name in ("kaggle_stage_2_train_labels.csv.zip", "kaggle_stage_2_train_images_dicom_headers.csv.gz"):
        shutil.copy(public_tables / name, tmp_path / name)
    source = read(tmp_path, table_only=True)
    table, boxes = source.table, source.boxes
    assert boxes is not None
    rows = pd.read_csv(public_tables / "kaggle_stage_2_train_labels.csv.zip", dtype={"patientId": str})
    assert (len(rows), len(table), len(boxes)) == (30_227, 26_684, 9_555)
    opacity = table[OPACITY] == 1
    assert int(opacity.sum()) == 6_012
    assert Counter(boxes["image"].value_counts()) == {1: 2_614, 2: 3_266, 3: 119, 4: 13}
    assert table["view"].value_counts().to_dict() == {"PA": 14_511, "AP": 12_173}
    assert table["sex"].value_counts().to_dict() == {"M": 15_166, "F": 11_518}
    assert table["view"][opacity].value_counts().to_dict() == {"AP": 4_664, "PA": 1_348}
    assert int(table["age"].isna().sum()) == 5
    assert table["age"].max() <= 120
    numbers = boxes[["x", "y", "width", "height"]].to_numpy()
    assert (numbers == numbers.round()).all()
    assert (numbers[:, :2] >= 0).all()
    assert (numbers[:, :2] + numbers[:, 2:] <= 1024).all()
    # the view alone, as a score: AP 1, PA 0
    among = np.array([(table["view"][opacity] == "AP").mean(), (table["view"][~opacity] == "AP").mean()])
    assert round(0.5 + (among[0] - among[1]) / 2, 4) == 0.7063
    target = rows.groupby("patientId", sort=False)["Target"].max()
    assert (opacity.to_numpy() == (target[table["patient_id"]] == 1).to_numpy()).all()
    # they write the Target into Pneumonia too, and 0 where it is only not an opacity; here a member is 0 or unknown
    assert table["Pneumonia"].isna().sum() == 6_012
    assert (table["Pneumonia"].dropna() == 0).all()
    assert table["Mass"].isna().all(), "without the table of classes nobody knows who is normal"
