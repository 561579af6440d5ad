"""MIMIC-CXR-JPG: its tables and trees, views, labellers, and what is refused."""

import gzip
import json
import re
from pathlib import Path

import pytest

from cxr_monai.cli import main
from cxr_monai.data.manifest import build_manifest
from cxr_monai.data.sources import mimic
from cxr_monai.errors import Code, ManifestError, UsageError
from tests.data.test_source_chexpert import FINDINGS, LABELS, column

ALPHABETIC = sorted(LABELS)
# dicom_id: subject, study, procedure, ViewPosition, part
FILMS = {
    "a1": ("10000032", "50414267", "CHEST (PA AND LAT)", "PA", "train"),
    "a2": ("10000032", "50414267", "CHEST (PA AND LAT)", "LATERAL", "train"),
    "a3": ("10000032", "53189527", "CHEST (PA AND LAT)", "AP", "train"),  # ordered is not done
    "b1": ("10000764", "57375967", "CHEST (PORTABLE AP)", "", "validate"),
    "b2": ("10000764", "57375967", "CHEST (PA AND LAT)", "", "validate"),
    "c1": ("11000001", "58000001", "CHEST (LAT DECUB ONLY)", "LL", "test"),
    "c2": ("11000001", "58000001", "CHEST (LAT DECUB ONLY)", "", "test"),
    "c3": ("11000001", "58000002", "", "AP LLD", "test"),
}
PATHS = [f"files/p{who[:2]}/p{who}/s{study}/{name}.jpg" for name, (who, study, *_) in FILMS.items()]
MARKS = {
    "50414267": ("10000032", {"No Finding": 1.0}),
    "53189527": ("10000032", {"Cardiomegaly": 1.0, "Edema": -1.0, "Pleural Effusion": 0.0}),
    "57375967": ("10000764", {}),
    "58000001": ("11000001", {"Lung Opacity": 1.0, "Lung Lesion": 1.0}),
    # 58000002 could not be labelled: it has no row
}


def write_metadata(root: Path, films=FILMS) -> None:
    root.mkdir(parents=True, exist_ok=True)
    columns = "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate"
    rows = [
        f"{name},{who},{study},{text},{view},2544,3056,21800506" for name, (who, study, text, view, _) in films.items()
    ]
    (root / "mimic-cxr-2.0.0-metadata.csv.gz").write_bytes(gzip.compress("\n".join([columns, *rows]).encode()))
    rows = [f"{name},{study},{who},{part}" for name, (who, study, _, _, part) in films.items()]
    text = "\n".join(["dicom_id,study_id,subject_id,split", *rows])
    (root / "mimic-cxr-2.0.0-split.csv.gz").write_bytes(gzip.compress(text.encode()))


def write_labels(path: Path, marks=MARKS, with_patient: bool = True, labels=ALPHABETIC) -> None:
    lines = [",".join([*(["subject_id"] if with_patient else []), "study_id", *labels])]
    for study, (who, values) in marks.items():
        cells = [
            str(values.get(label.replace("Airspace", "Lung").removesuffix("s"), values.get(label, "")))
            for label in labels
        ]
        lines.append(",".join([*([who] if with_patient else []), study, *cells]))
    text = "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def write(root: Path) -> Path:
    write_metadata(root)
    write_labels(root / "mimic-cxr-2.0.0-chexpert.csv.gz")
    return root


def write_images(root: Path, names=PATHS, ending: str = ".jpg") -> None:
    for name in names:
        path = (root / name).with_suffix(ending)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(
    ("write_tree", "paths"),
    [
        (lambda root: write_images(root), PATHS),
        (lambda root: write_images(root, ending=".dcm"), [name.replace(".jpg", ".dcm") for name in PATHS]),
        (
            lambda root: write_images(root / "resized", [name.removeprefix("files/") for name in PATHS], ".png"),
            [name.replace("files/", "resized/").replace(".jpg", ".png") for name in PATHS],
        ),
        (lambda root: write_images(root / "flat", list(FILMS)), [f"flat/{name}.jpg" for name in FILMS]),
    ],
)
def test_trees_are_found(tmp_path, write_tree, paths):
    write(tmp_path)
    write_tree(tmp_path)
    source = mimic.read(tmp_path)
    assert source.table["image"].tolist() == paths
    manifest = build_manifest(source.table, source.root, source.label_version, key=source.key, check_files=True)
    assert manifest.by_name
    assert manifest.findings == FINDINGS


def test_subjects_split_and_views(tmp_path):
    source = mimic.read(write(tmp_path), table_only=True)
    table = source.table
    assert table["image"].tolist() == PATHS
    assert table["patient_id"].tolist() == [who for who, *_ in FILMS.values()]
    assert table["study_id"].tolist() == [study for _, study, *_ in FILMS.values()]
    assert table["split"].tolist() == ["train"] * 3 + ["val"] * 2 + ["test"] * 3
    assert table["view"].tolist() == ["PA", "LATERAL", "AP", "AP", "", "LATERAL", "", ""]
    assert set(table["source"]) == {"mimic"}
    assert "3 images have no ViewPosition: the procedure tells the view of 1, that of 2 is unknown" in source.notes
    assert "1 image is neither PA, AP nor lateral (AP LLD 1): of unknown view" in source.notes
    assert "labels are a study's, and stand at each of its images" in source.notes


def test_labels_and_why_they_are_unknown(tmp_path):
    source = mimic.read(write(tmp_path), table_only=True, unmentioned="negative")
    assert column(source, "Effusion") == [0, 0, 0, None, None, 0, 0, None]
    assert column(source, "Edema") == [0, 0, None, None, None, 0, 0, None]
    assert column(source, "Mass or Nodule") == [0, 0, 0, None, None, 1, 1, None]
    assert column(source, "Mass") == [0, 0, 0, None, None, None, None, None]
    record = source.labels_record
    assert record.dataset == "mimic 2.0.0"
    assert record.settings == {"uncertain": "unknown", "unmentioned": "negative", "labeller": "chexpert"}
    assert record.unknown["Edema"] == {"uncertain": 1, "study excluded": 3}, "an empty row, and a study without one"
    assert record.unknown["Effusion"] == {"study excluded": 3}
    assert "3 images have no label at all: all unknown (study excluded), whatever --unmentioned says" in source.notes
    cautious = mimic.read(tmp_path, table_only=True, uncertain="Edema=positive")
    assert column(cautious, "Edema") == [0, 0, 1, None, None, None, None, None]
    assert column(cautious, "Effusion") == [0, 0, 0, None, None, None, None, None]
    assert cautious.labels_record.unknown["Effusion"] == {"unmentioned": 2, "study excluded": 3}


def test_labellers(tmp_path):
    write(tmp_path)
    with pytest.raises(ManifestError, match=r"no mimic-cxr-2\.0\.0-negbio\.csv is here"):
        mimic.read(tmp_path, table_only=True, labeller="negbio")
    write_labels(tmp_path / "mimic-cxr-2.0.0-negbio.csv", {"50414267": ("10000032", {"Edema": 1.0})})
    source = mimic.read(tmp_path, table_only=True, labeller="negbio")
    assert (source.label_version, column(source, "Edema")[:2]) == ("mimic-negbio", [1, 1])
    with pytest.raises(ManifestError, match=r"no mimic-cxr-2\.1\.0-test-set-labeled\.csv is here"):
        mimic.read(tmp_path, table_only=True, labeller="radiologist")
    with pytest.raises(UsageError, match="MIMIC-CXR-JPG has chexpert, negbio, radiologist"):
        mimic.read(tmp_path, table_only=True, labeller="chexbert")


def test_the_radiologists_table_keeps_its_own_studies(tmp_path):
    write(tmp_path)
    path = tmp_path / "mimic-cxr-2.1.0-test-set-labeled.csv"
    names = [
        label.replace("Lung Opacity", "Airspace Opacity").replace("No Finding", "No Findings") for label in ALPHABETIC
    ]
    write_labels(path, {"58000001": ("", {"Lung Opacity": 1.0, "Edema": -1.0, "Fracture": 0.0})}, False, names)
    source = mimic.read(tmp_path, table_only=True, labeller="radiologist")
    assert source.table["image"].tolist() == PATHS[5:7]
    assert column(source, "Lung Opacity") == [1, 1]
    assert source.labels_record.dataset == "mimic 2.1.0"
    assert source.labels_record.unknown["Edema"] == {"uncertain": 2}
    assert "a radiologist labelled 2 of 8 images; the others are left out" in source.notes
    assert any(note.startswith("1 image has no ViewPosition") for note in source.notes), "of those that are kept"


def test_partial_copies(tmp_path):
    write(tmp_path)
    write_images(tmp_path, PATHS[:2])
    with pytest.raises(ManifestError, match="6 of the 8 images that the table names are not in files") as caught:
        mimic.read(tmp_path)
    assert caught.value.code == Code.IMAGES_MISSING
    source = mimic.read(tmp_path, available_only=True)
    assert source.table["image"].tolist() == PATHS[:2]
    assert source.table["view"].tolist() == ["PA", "LATERAL"]
    assert column(source, "Edema") == [0, 0]
    with pytest.raises(ManifestError, match="no folder of patients is in it; they are in files"):
        mimic.read(tmp_path, images="files/p10/p10000032")


def replaced(path: Path, old: str, new: str) -> None:
    text = gzip.decompress(path.read_bytes()).decode()
    assert old in text
    path.write_bytes(gzip.compress(text.replace(old, new).encode()))


@pytest.mark.parametrize(
    ("table", "old", "new", "reason"),
    [
        ("metadata", "ViewPosition", "View", "it lacks 'ViewPosition'"),
        ("metadata", "a2,", "a1,", "'a1' has several rows .1 row too many."),
        ("metadata", "a1,10000032", "a1,", "1 row names no patient"),
        ("split", "validate", "valid", "split is 'valid', and is train, validate or test"),
        ("chexpert", "Edema", "Oedema", "it lacks 'Edema'"),
        ("chexpert", "study_id", "study", "it lacks 'study_id'"),
        ("chexpert", "53189527", "50414267", "'50414267' has several rows"),
        ("chexpert", "10000764", "10000765", "study 57375967 is of patient 10000765, and of 10000764 in the metadata"),
        ("chexpert", "-1.0", "2.0", "Edema is '2.0', and is 1, 0, -1 or empty"),
    ],
)
def test_tables_that_are_refused(tmp_path, table, old, new, reason):
    path = write(tmp_path) / f"mimic-cxr-2.0.0-{table}.csv.gz"
    replaced(path, old, new)
    with pytest.raises(ManifestError, match=reason) as caught:
        mimic.read(tmp_path, table_only=True)
    assert caught.value.code == Code.SOURCE_INVALID
    assert path.name in str(caught.value)


def test_tables_of_other_sets_and_releases(tmp_path):
    (tmp_path / "train.csv").write_text("Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding\n")
    with pytest.raises(ManifestError, match=re.escape("train.csv looks like CheXpert's (cxr-monai manifest chexpert)")):
        mimic.read(tmp_path)
    write(tmp_path)
    (tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz").unlink()
    (tmp_path / "mimic-cxr-2.0.0-chexpert.csv").write_text("Image Index,Finding Labels\na.png,Mass\n")
    with pytest.raises(ManifestError, match=r"this is not MIMIC-CXR's table: .* It looks like NIH ChestX-ray14's"):
        mimic.read(tmp_path, table_only=True)
    write_labels(tmp_path / "mimic-cxr-2.0.0-chexpert.csv", {"1": ("2", {})})
    with pytest.raises(ManifestError, match="it has no study of the metadata"):
        mimic.read(tmp_path, table_only=True)


def test_images_outside_the_split_are_counted(tmp_path):
    write(tmp_path)
    replaced(tmp_path / "mimic-cxr-2.0.0-split.csv.gz", "a1,", "x1,")
    source = mimic.read(tmp_path, table_only=True)
    assert source.table["split"].tolist()[:2] == ["", "train"]
    assert "1 image is in no part of the official split" in source.notes


def test_the_command(tmp_path, capsys):
    write(tmp_path / "data")
    words = ["manifest", "mimic", str(tmp_path / "data"), "--table-only", "--out", str(tmp_path / "m.csv")]
    assert main([*words, "--unmentioned", "Fracture=negative"]) == 0
    assert "8 images of 3 patients, labels mimic-chexpert" in capsys.readouterr().out
    record = json.loads((tmp_path / "m.csv.json").read_text())
    assert record["key"] == "name"
    assert record["labels"]["settings"] == {
        "uncertain": "unknown", "unmentioned": "Fracture=negative", "labeller": "chexpert",
    }  # fmt: skip
