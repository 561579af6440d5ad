"""CheXpert and CheXpert Plus: every layout, what labels become, what is refused; and the real training table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.cli import main
from cxr_monai.data.manifest import build_manifest, read_manifest
from cxr_monai.data.sources import chexpert
from cxr_monai.errors import Code, ManifestError, UsageError

LABELS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
SUBJECT = ("Sex", "Age", "Frontal/Lateral", "AP/PA")
FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Mass", "Nodule", "Pneumonia", "Pneumothorax", "Consolidation", "Edema",
    "Mass or Nodule", "Lung Opacity", "Enlarged Cardiomediastinum", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip


def marks(**values: float) -> list[str]:
    """Cells of the 14 labels; names with _ for blanks."""
    by_label = {name.replace("_", " "): str(float(value)) for name, value in values.items()}
    return [by_label.get(label, "") for label in LABELS]


# name from the part on: sex, age, side, projection; labels
ROWS = {
    "train/patient00001/study1/view1_frontal.jpg": (
        ("Female", "68", "Frontal", "AP"),
        marks(No_Finding=1, Pneumothorax=0, Support_Devices=1),
    ),
    "train/patient00002/study1/view1_frontal.jpg": (
        ("Male", "90", "Frontal", "PA"),
        marks(Cardiomegaly=-1, Lung_Opacity=1, Lung_Lesion=1, Edema=-1, Pleural_Effusion=1),
    ),
    "train/patient00002/study1/view2_lateral.jpg": (
        ("Male", "90", "Lateral", ""),
        marks(Cardiomegaly=-1, Lung_Opacity=1, Lung_Lesion=1, Edema=-1, Pleural_Effusion=1),
    ),
    "train/patient00002/study2/view1_frontal.jpg": (
        ("Male", "90", "Frontal", "LL"),
        marks(Lung_Opacity=0, Lung_Lesion=0, Atelectasis=1),
    ),
    "train/patient00003/study1/view1_frontal.jpg": (("Unknown", "0", "Frontal", "AP"), marks()),
}
RADIOLOGISTS = marks(**{label.replace(" ", "_"): float(label == "Edema") for label in LABELS})
VALID = {"valid/patient64541/study1/view1_frontal.jpg": (("Male", "73", "Frontal", "AP"), RADIOLOGISTS)}
TEST = {
    "test/patient64741/study1/view1_frontal.jpg": ((), RADIOLOGISTS),
    "test/patient64741/study1/view2_lateral.jpg": ((), RADIOLOGISTS),
}


def write_table(path: Path, rows: dict, prefix: str = "CheXpert-v1.0-small/", subject=SUBJECT, labels=LABELS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(("Path", *subject, *labels))]
    lines += [",".join((prefix + name, *cells[: len(subject)], *values)) for name, (cells, values) in rows.items()]
    path.write_text("\n".join(lines) + "\n")


def write_images(folder: Path, rows: dict, ending: str = ".jpg", strip: int = 0) -> None:
    for name in rows:
        path = folder.joinpath(*name.split("/")[strip:]).with_suffix(ending)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def small(root: Path) -> None:
    write_table(root / "train.csv", ROWS)
    write_table(root / "valid.csv", VALID)
    write_images(root, ROWS | VALID)


def nested(root: Path) -> None:
    write_table(root / "CheXpert-v1.0/train.csv", ROWS, "CheXpert-v1.0/")
    write_table(root / "CheXpert-v1.0/valid.csv", VALID, "CheXpert-v1.0/")
    write_images(root / "CheXpert-v1.0", ROWS | VALID)


def batches(root: Path) -> None:
    first = root / "CheXpert-v1.0 batch 1 (validate & csv)"
    write_table(first / "train.csv", ROWS, "CheXpert-v1.0/")
    write_table(first / "valid.csv", VALID, "CheXpert-v1.0/")
    write_images(first, VALID)
    train = list(ROWS)
    write_images(root / "CheXpert-v1.0 batch 2 (train 1)", dict.fromkeys(train[:1]), strip=1)
    write_images(root / "CheXpert-v1.0 batch 3 (train 2)", dict.fromkeys(train[1:]), strip=1)


def as_png(root: Path) -> None:
    write_table(root / "train.csv", ROWS)
    write_table(root / "valid.csv", VALID)
    write_images(root / "png/resized", ROWS | VALID, ".png")


@pytest.mark.parametrize(
    ("write", "paths", "dataset"),
    [
        (small, [*ROWS, *VALID], "chexpert v1.0-small"),
        (nested, [f"CheXpert-v1.0/{name}" for name in [*ROWS, *VALID]], "chexpert v1.0"),
        (
            batches,
            [
                f"CheXpert-v1.0 batch 2 (train 1)/{next(iter(ROWS)).removeprefix('train/')}",
                *(f"CheXpert-v1.0 batch 3 (train 2)/{name.removeprefix('train/')}" for name in [*ROWS][1:]),
                *(f"CheXpert-v1.0 batch 1 (validate & csv)/{name}" for name in VALID),
            ],
            "chexpert v1.0",
        ),
        (as_png, [f"png/resized/{name[:-4]}.png" for name in [*ROWS, *VALID]], "chexpert v1.0-small"),
    ],
)
def test_layouts_are_found(tmp_path, write, paths, dataset):
    write(tmp_path)
    source = chexpert.read(tmp_path)
    assert source.table["image"].tolist() == paths
    assert source.labels_record.dataset == dataset
    manifest = build_manifest(source.table, source.root, source.label_version, check_files=True)
    assert manifest.findings == FINDINGS
    assert manifest.table["split"].tolist() == ["train"] * 5 + ["val"]
    assert set(manifest.table["source"]) == {"chexpert"}
    assert source.label_version == "chexpert-v1.0"


def test_subjects_and_views(tmp_path):
    small(tmp_path)
    source = chexpert.read(tmp_path)
    table = source.table
    assert table["patient_id"].tolist()[:4] == ["patient00001", "patient00002", "patient00002", "patient00002"]
    assert table["study_id"].tolist()[1:4] == ["patient00002_study1"] * 2 + ["patient00002_study2"]
    assert table["view"].tolist() == ["AP", "PA", "LATERAL", "", "AP", "AP"]
    assert table["age"].tolist()[:4] == [68, 90, 90, 90]
    assert np.isnan(table["age"][4])
    assert table["sex"].tolist() == ["F", "M", "M", "M", "", "M"]
    assert "1 age of 0 is a placeholder and was emptied" in source.notes
    assert "1 frontal image is neither PA nor AP (LL 1): of unknown view" in source.notes
    assert "labels of 1 image (valid, test) are what most radiologists say" in source.notes


def column(source, finding) -> list:
    return [None if value != value else value for value in source.table[finding]]


def test_labels_and_why_they_are_unknown(tmp_path):
    write_table(tmp_path / "train.csv", ROWS)
    source = chexpert.read(tmp_path, table_only=True)
    assert column(source, "Effusion") == [0, 1, 1, None, None]
    assert column(source, "Edema") == [0, None, None, None, None]
    assert column(source, "Mass or Nodule") == [0, 1, 1, 0, None]
    assert column(source, "Mass") == column(source, "Nodule") == [0, None, None, 0, None]
    assert column(source, "Lung Opacity") == [0, 1, 1, 0, None]
    assert column(source, "Atelectasis") == [0, None, None, 1, None], "Lung Opacity 0 makes none of its members 0"
    assert column(source, "Support Devices") == [1, None, None, None, None], "devices are no finding"
    record = source.labels_record
    assert record.settings == {"uncertain": "unknown", "unmentioned": "unknown"}
    assert record.unknown["Edema"] == {"uncertain": 2, "unmentioned": 1, "study excluded": 1}
    assert record.unknown["Mass"] == {"uncertain": 2, "study excluded": 1}
    assert record.unknown["Support Devices"] == {"unmentioned": 3, "study excluded": 1}
    assert set(record.rules) == {"Mass or Nodule", "Lung Opacity"}
    assert "1 image has no label at all: all unknown (study excluded), whatever --unmentioned says" in source.notes


def test_policies_by_finding_and_for_all(tmp_path):
    write_table(tmp_path / "train.csv", ROWS)
    source = chexpert.read(
        tmp_path, table_only=True, uncertain="Edema=positive, cardiomegaly=negative", unmentioned="negative"
    )
    assert column(source, "Edema") == [0, 1, 1, 0, None], "a film without any label stays unknown"
    assert column(source, "Cardiomegaly") == [0, 0, 0, 0, None]
    assert column(source, "Support Devices") == [1, 0, 0, 0, None]
    assert column(source, "Mass") == [0, None, None, 0, None]
    assert source.labels_record.unknown["Edema"] == {"study excluded": 1}
    assert source.labels_record.settings["uncertain"] == "Edema=positive, cardiomegaly=negative"
    other = chexpert.read(tmp_path, table_only=True, unmentioned="Pleural Effusion=negative")
    assert column(other, "Effusion") == [0, 1, 1, 0, None]
    assert column(other, "Atelectasis") == [0, None, None, 1, None]
    lesions = {"train/patient00001/study1/view1_frontal.jpg": (("Male", "5", "Frontal", "AP"), marks(Lung_Lesion=-1))}
    write_table(tmp_path / "train.csv", lesions)
    for policy, union, member in (("positive", 1, None), ("negative", 0, 0)):
        source = chexpert.read(tmp_path, table_only=True, uncertain=f"Lung Lesion={policy}")
        assert (column(source, "Mass or Nodule"), column(source, "Mass")) == ([union], [member])


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("maybe", "'maybe' is none of unknown, positive, negative"),
        ("Edema=1", "'1' is none of unknown, positive, negative"),
        ("Mass=positive", "there is no finding 'Mass' here"),
        ("Effusion=positive,Pleural Effusion=negative", "Effusion stands twice"),
        ("Edema=positive,negative", "'negative' names no finding, and others do"),
    ],
)
def test_policies_that_are_none(tmp_path, setting, reason):
    write_table(tmp_path / "train.csv", ROWS)
    with pytest.raises(UsageError, match=reason) as caught:
        chexpert.read(tmp_path, table_only=True, uncertain=setting)
    assert "Edema=positive,Consolidation=negative" in str(caught.value)


def test_a_finding_beside_no_finding_is_kept_and_counted(tmp_path):
    cells = (("Male", "50", "Frontal", "AP"), marks(No_Finding=1, Edema=1, Consolidation=-1))
    write_table(tmp_path / "train.csv", {"train/patient00001/study1/view1_frontal.jpg": cells})
    source = chexpert.read(tmp_path, table_only=True)
    assert (column(source, "Edema"), column(source, "Consolidation"), column(source, "Effusion")) == ([1], [None], [0])
    assert "'No Finding' stands beside a finding at 1 image; the finding is kept" in source.notes


def test_the_test_set_and_chexlocalizes_copy(tmp_path):
    names = tuple(label.replace("Lung Opacity", "Airspace Opacity") for label in LABELS)
    write_table(tmp_path / "CheXpert/test_labels.csv", TEST, "", (), names)
    write_table(tmp_path / "CheXpert/val_labels.csv", VALID, "CheXpert-v1.0/", (), names)
    write_images(tmp_path / "CheXpert", TEST)
    write_images(tmp_path / "CheXpert/val", VALID, strip=1)
    source = chexpert.read(tmp_path)
    assert source.table["image"].tolist() == [
        "CheXpert/val/patient64541/study1/view1_frontal.jpg",
        *(f"CheXpert/{name}" for name in TEST),
    ]
    assert source.table["split"].tolist() == ["val", "test", "test"]
    assert source.table["view"].tolist() == ["", "", "LATERAL"]
    assert source.table["age"].isna().all()
    assert set(source.table["sex"]) == {""}
    assert source.label_version == "chexpert-v1.0-radiologists"
    assert source.labels_record.unknown == {}
    assert column(source, "Edema") == [1, 1, 1]
    write_table(tmp_path / "CheXpert/valid.csv", VALID)
    both = chexpert.read(tmp_path)
    assert both.table["age"].tolist()[0] == 73, "the table that tells more is taken"
    assert "1 image is in two tables, and was taken from the first" in both.notes


def test_a_table_of_studies_is_spread_to_their_images(tmp_path):
    header = ",".join(("Study", *LABELS))
    (tmp_path / "groundtruth.csv").write_text(
        f"{header}\nCheXpert-v1.0/test/patient64741/study1,{','.join(RADIOLOGISTS)}\n"
    )
    write_images(tmp_path, TEST)
    (tmp_path / next(iter(TEST))).with_suffix(".txt").touch()
    source = chexpert.read(tmp_path)
    assert source.table["image"].tolist() == list(TEST)
    assert source.table["view"].tolist() == ["", "LATERAL"]
    with pytest.raises(ManifestError, match="lists studies, not images"):
        chexpert.read(tmp_path, table_only=True)


PLUS_HEADER = ("path_to_image", "path_to_dcm", "frontal_lateral", "ap_pa", "age", "sex", "split", "section_impression")


def write_plus(root: Path, images=ROWS, labelled=ROWS, labeller="impression") -> None:
    root.mkdir(parents=True, exist_ok=True)
    lines = [",".join(PLUS_HEADER)]
    for name, ((sex, age, side, projection), _) in images.items():
        lines.append(f'{name},{name[:-4]}.dcm,{side},{projection},{age}.0,{sex},train,"1. No, change.\n2. Stable."')
    (root / "df_chexpert_plus_240401.csv").write_text("\n".join(lines) + "\n")
    folder = root / "chexbert_labels"
    folder.mkdir(exist_ok=True)
    records = [
        {
            "path_to_image": name,
            **{label: float(cell) if cell else None for label, cell in zip(LABELS, cells, strict=True)},
        }
        for name, (_, cells) in labelled.items()
    ]
    (folder / f"{labeller}_fixed.json").write_text("\n".join(map(json.dumps, records)) + "\n")


@pytest.mark.parametrize(("folder", "ending"), [("PNG/PNG", ".png"), ("DICOM/Uncompressed", ".dcm")])
def test_plus_with_either_tree(tmp_path, folder, ending):
    labelled = dict(list(reversed(ROWS.items()))[:-1])  # in another order, and without the first image
    write_plus(tmp_path, labelled=labelled)
    write_images(tmp_path / folder, ROWS, ending)
    (tmp_path / folder / "train/patient00001/study1/.azDownload-7-view1_frontal.dcm").touch()
    source = chexpert.read(tmp_path)
    assert source.table["image"].tolist() == [f"{folder}/{name[:-4]}{ending}" for name in ROWS]
    assert set(source.table["source"]) == {"chexpert-plus"}
    assert source.label_version == "chexpert-plus-impression"
    assert source.labels_record.settings["labeller"] == "impression"
    assert source.table["view"].tolist() == ["AP", "PA", "LATERAL", "", "AP"]
    assert source.table["age"].tolist()[:4] == [68, 90, 90, 90]
    assert column(source, "Effusion") == [None, 1, 1, None, None]
    assert column(source, "Atelectasis") == [None, None, None, 1, None]
    assert source.labels_record.unknown["Effusion"] == {"unmentioned": 1, "study excluded": 2}
    assert "1 image has no line in impression_fixed.json" in source.notes


def test_plus_in_two_trees_needs_a_choice(tmp_path):
    write_plus(tmp_path)
    write_images(tmp_path / "PNG", ROWS, ".png")
    write_images(tmp_path / "DICOM", ROWS, ".dcm")
    with pytest.raises(ManifestError, match="5 images are in two places: DICOM/train, PNG/train") as caught:
        chexpert.read(tmp_path)
    assert "--images DIR" in str(caught.value)
    assert chexpert.read(tmp_path, images="PNG").table["image"][0] == f"PNG/{next(iter(ROWS))[:-4]}.png"
    with pytest.raises(ManifestError, match="no folder of patients is in it; they are in DICOM/train, PNG/train"):
        chexpert.read(tmp_path, images="chexbert_labels")


def test_labellers_of_plus(tmp_path):
    write_plus(tmp_path, labeller="findings")
    with pytest.raises(ManifestError, match=r"chexbert_labels/impression_fixed\.json is not here"):
        chexpert.read(tmp_path, table_only=True)
    source = chexpert.read(tmp_path, table_only=True, labeller="findings")
    assert source.label_version == "chexpert-plus-findings"
    with pytest.raises(UsageError, match="CheXpert Plus has impression, findings, report"):
        chexpert.read(tmp_path, table_only=True, labeller="negbio")
    write_table(tmp_path / "v1/train.csv", ROWS)
    with pytest.raises(UsageError, match=r"train\.csv is of CheXpert v1\.0, which has one labeller"):
        chexpert.read(tmp_path / "v1", table_only=True, labeller="findings")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"path_to_image": "train/patient00001/study1/view1_frontal.jpg"}\n', "lacks 'No Finding'"),
        ("[1, 2]\n", "not a JSON object a line"),
        ('{"path_to_image":\n', "not a JSON object a line"),
        ("", "not a JSON object a line|lacks"),
    ],
)
def test_labels_of_plus_that_are_none(tmp_path, text, reason):
    write_plus(tmp_path)
    (tmp_path / "chexbert_labels/impression_fixed.json").write_text(text)
    with pytest.raises(ManifestError, match=reason) as caught:
        chexpert.read(tmp_path, table_only=True)
    assert caught.value.code == Code.SOURCE_INVALID


def test_partial_copies(tmp_path):
    write_table(tmp_path / "train.csv", ROWS)
    write_images(tmp_path, dict.fromkeys([*ROWS][:2]))
    with pytest.raises(ManifestError, match="3 of the 5 images that the table names are not in train") as caught:
        chexpert.read(tmp_path)
    assert caught.value.code == Code.IMAGES_MISSING
    source = chexpert.read(tmp_path, available_only=True)
    assert source.table["image"].tolist() == [*ROWS][:2]
    assert column(source, "Effusion") == [0, 1]
    assert source.labels_record.unknown["Edema"] == {"uncertain": 1}, "counts are of the images in the manifest"
    assert "kept 2 images that are here, left out 3 that are not" in source.notes
    (tmp_path / "other").mkdir()
    write_table(tmp_path / "other/train.csv", ROWS)
    with pytest.raises(ManifestError) as caught:
        chexpert.read(tmp_path / "other", available_only=True)
    assert caught.value.code == Code.NO_IMAGES


def test_a_survey_asks_once_for_each_image_and_lists_no_patient(tmp_path, monkeypatch):
    """223,414 images in 187,641 folders of studies: listing them would cost far more than asking."""
    rows = {f"train/patient{number:05}/study1/view1_frontal.jpg": next(iter(ROWS.values())) for number in range(40)}
    write_table(tmp_path / "train.csv", rows)
    write_images(tmp_path / "png", rows, ".png")
    asked, listed = [], []
    isfile, scandir = os.path.isfile, os.scandir
    monkeypatch.setattr(os.path, "isfile", lambda path: asked.append(str(path)) or isfile(path))
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(str(path)) or scandir(path))
    assert len(chexpert.read(tmp_path).table) == 40
    assert len([path for path in asked if "patient" in path]) == 41, "one more, until the ending is known"
    assert sorted(listed) == [str(tmp_path), str(tmp_path / "png"), str(tmp_path / "png/train")]


def test_folders_that_are_links(tmp_path):
    write_table(tmp_path / "data/train.csv", ROWS)
    write_images(tmp_path / "disk", ROWS)
    (tmp_path / "data/train").symlink_to(tmp_path / "disk/train", target_is_directory=True)
    assert chexpert.read(tmp_path / "data").table["image"].tolist() == list(ROWS)


def test_another_labellers_table_of_v1(tmp_path):
    path = tmp_path / "train_visualCheXbert.csv"
    write_table(path, ROWS, "CheXpert-v1.0/")
    with pytest.raises(ManifestError, match="no table is here"):
        chexpert.read(tmp_path, table_only=True)
    source = chexpert.read(tmp_path, table=path, table_only=True)
    assert source.label_version == "chexpert-v1.0-visualchexbert"
    assert source.labels_record.settings["labeller"] == "visualchexbert"


def test_rows_that_repeat(tmp_path):
    write_table(tmp_path / "train.csv", ROWS)
    lines = (tmp_path / "train.csv").read_text().splitlines()
    (tmp_path / "train.csv").write_text("\n".join([*lines, lines[1]]) + "\n")
    source = chexpert.read(tmp_path, table_only=True)
    assert source.table["image"].tolist() == list(ROWS)
    assert "1 row that repeats another was left out" in source.notes
    (tmp_path / "train.csv").write_text("\n".join([*lines, lines[1].replace("68", "69")]) + "\n")
    with pytest.raises(ManifestError, match=r"has two rows that differ.*") as caught:
        chexpert.read(tmp_path, table_only=True)
    assert "line 7" in str(caught.value)


def test_blanks_capitals_and_numbers_without_points(tmp_path):
    write_table(tmp_path / "train.csv", ROWS, subject=(" Sex", "age ", "Frontal/Lateral", "AP/PA"))
    text = (
        (tmp_path / "train.csv")
        .read_text()
        .replace(",1.0", ", 1 ")
        .replace(",-1.0", ",-1 ")
        .replace(",Male", ", male ")
    )
    (tmp_path / "train.csv").write_text(text)
    source = chexpert.read(tmp_path, table_only=True)
    assert column(source, "Effusion") == [0, 1, 1, None, None]
    assert source.table["sex"].tolist() == ["F", "M", "M", "M", ""]


MIMIC = "subject_id,study_id," + ",".join(LABELS)


@pytest.mark.parametrize(
    ("header", "row", "reason"),
    [
        (MIMIC, "1,2" + "," * 14, "lacks 'Path'.*It looks like MIMIC-CXR's. Read it with 'cxr-monai manifest mimic"),
        ("Image Index,Finding Labels,Patient ID", "a,b,1", "looks like NIH ChestX-ray14's"),
        (
            "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding",
            "a,M,1,Frontal,AP,1",
            "lacks 'Atelectasis', 'Cardiomegaly'",
        ),
        (",".join(("Path", *SUBJECT[1:], *LABELS)), "," * 17, "lacks 'Sex'; its columns"),
        (",".join(("Path", *SUBJECT, *LABELS)), "a.png" + "," * 18, "'a.png' is no path of CheXpert's"),
        (
            ",".join(("Path", *SUBJECT, *LABELS)),
            "train/patient00001/study1/view1_frontal.jpg,Male,5,Frontal,AP,yes" + "," * 13,
            "No Finding is 'yes', and is 1, 0, -1 or empty",
        ),
        (",".join(PLUS_HEADER[:4]), "a,b,c,d", "not CheXpert Plus's table: it lacks 'age', 'sex'"),
        (",".join(("Path", *SUBJECT, *LABELS)), "", "a header and no row"),
    ],
)
def test_tables_that_are_refused(tmp_path, header, row, reason):
    path = tmp_path / "given.csv"
    path.write_text(f"{header}\n{row}\n")
    with pytest.raises(ManifestError, match=reason) as caught:
        chexpert.read(tmp_path, table=path, table_only=True)
    assert caught.value.code == Code.SOURCE_INVALID
    assert "given.csv" in str(caught.value)


def test_no_table_and_several(tmp_path):
    (tmp_path / "mimic-cxr-2.0.0-chexpert.csv").write_text(f"{MIMIC}\n")
    with pytest.raises(ManifestError, match=r"no table is here.*looks like MIMIC-CXR's"):
        chexpert.read(tmp_path)
    write_table(tmp_path / "a/train.csv", ROWS)
    write_table(tmp_path / "b/train.csv", ROWS)
    with pytest.raises(ManifestError, match=r"tables of several releases are here: a/train\.csv, b/train\.csv"):
        chexpert.read(tmp_path)
    write_plus(tmp_path / "a")
    with pytest.raises(ManifestError, match=r"several releases are here: df_chexpert_plus_240401\.csv, train\.csv"):
        chexpert.read(tmp_path / "a")
    with pytest.raises(ManifestError, match="no such folder"):
        chexpert.read(tmp_path / "nowhere")


def test_the_command_its_record_and_check(tmp_path, capsys):
    small(tmp_path / "data")
    out = tmp_path / "m.csv"
    words = ["manifest", "chexpert", str(tmp_path / "data"), "--out", str(out), "--uncertain", "Edema=positive"]
    assert main(words) == 0
    assert "6 images of 4 patients, labels chexpert-v1.0" in capsys.readouterr().out
    record = json.loads((tmp_path / "m.csv.json").read_text())["labels"]
    assert record["settings"] == {"uncertain": "Edema=positive", "unmentioned": "unknown"}
    assert record["unknown"]["Cardiomegaly"] == {"uncertain": 2, "unmentioned": 1, "study excluded": 1}
    assert read_manifest(out).labels(["Edema"])[:, 0].tolist()[1:3] == [1, 1]
    assert main(["check", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "Labels of chexpert v1.0-small: uncertain Edema=positive, unmentioned unknown" in printed
    assert "not a calibrated probability. It is the set's Lung Lesion" in printed


# label: 1, 0, -1, blank of the 223,414 rows of the real training table
TRAIN = {
    "No Finding": (22_381, 0, 0, 201_033),
    "Enlarged Cardiomediastinum": (10_798, 21_638, 12_403, 178_575),
    "Cardiomegaly": (27_000, 11_116, 8_087, 177_211),
    "Lung Opacity": (105_581, 6_599, 5_598, 105_636),
    "Lung Lesion": (9_186, 1_270, 1_488, 211_470),
    "Edema": (52_246, 20_726, 12_984, 137_458),
    "Consolidation": (14_783, 28_097, 27_742, 152_792),
    "Pneumonia": (6_039, 2_799, 18_770, 195_806),
    "Atelectasis": (33_376, 1_328, 33_739, 154_971),
    "Pneumothorax": (19_448, 56_341, 3_145, 144_480),
    "Pleural Effusion": (86_187, 35_396, 11_628, 90_203),
    "Pleural Other": (3_523, 316, 2_653, 216_922),
    "Fracture": (9_040, 2_512, 642, 211_220),
    "Support Devices": (116_001, 6_137, 1_079, 100_197),
}
FRONTAL = {
    "Atelectasis": (29_720, 1_025, 29_863),
    "Cardiomegaly": (23_385, 7_869, 6_707),
    "Consolidation": (12_983, 19_608, 24_381),
    "Edema": (49_675, 15_915, 11_818),
    "Pleural Effusion": (76_899, 25_299, 9_578),
    "Pneumonia": (4_675, 1_875, 15_981),
    "Pneumothorax": (17_693, 47_823, 2_708),
}


@pytest.fixture(scope="module")
def real(public_tables):
    path = public_tables / "chexpert_train.csv.gz"
    return chexpert.read(public_tables, table=path, table_only=True), pd.read_csv(path)


@pytest.mark.publictables
def test_the_real_table_is_counted(real):
    source, raw = real
    table = build_manifest(source.table, source.root, source.label_version, labels_record=source.labels_record).table
    assert len(table) == 223_414
    assert (table["patient_id"].nunique(), table["study_id"].nunique()) == (64_540, 187_641)
    assert table["view"].value_counts().to_dict() == {"AP": 161_590, "PA": 29_420, "LATERAL": 32_387, "": 17}
    assert table["sex"].value_counts().to_dict() == {"M": 132_636, "F": 90_777, "": 1}
    assert (int(table["age"].isna().sum()), table["age"].max()) == (3, 90)
    assert table["split"].unique().tolist() == ["train"]
    frontal = table["view"] != "LATERAL"
    assert int(frontal.sum()) == 191_027
    assert table[frontal]["study_id"].nunique() == 187_625
    assert table["image"][0] == "train/patient00001/study1/view1_frontal.jpg"
    # of the raw cells, by a program that is not ours
    assert {
        name: (*(int((raw[name] == value).sum()) for value in (1, 0, -1)), int(raw[name].isna().sum()))
        for name in LABELS
    } == TRAIN
    kept = raw[raw["Frontal/Lateral"] == "Frontal"]
    assert {name: tuple(int((kept[name] == value).sum()) for value in (1, 0, -1)) for name in FRONTAL} == FRONTAL


@pytest.mark.publictables
def test_real_labels_are_torchxrayvisions_and_their_reasons_add_up(real):
    """Its rule: "No Finding" 1 gives 0 to all but Support Devices; then -1 and empty cells are NaN."""
    source, raw = real
    expected = raw[list(LABELS)].copy()
    expected.loc[raw["No Finding"] == 1, list(LABELS[1:-1])] = 0
    expected = expected.mask(expected == -1)
    names = {"Pleural Effusion": "Effusion", "Lung Lesion": "Mass or Nodule"}
    for label in LABELS[1:]:
        finding = names.get(label, label)
        np.testing.assert_array_equal(source.table[finding].to_numpy(), expected[label].to_numpy())
        one, zero, uncertain, blank = TRAIN[label]
        reasons = source.labels_record.unknown[finding]
        filled = int((source.table[finding] == 0).sum()) - zero
        assert int((source.table[finding] == 1).sum()) == one
        assert reasons == {"uncertain": uncertain, "unmentioned": blank - filled - 12, "study excluded": 12}
    # what torchxrayvision lacks: the members of the union, absent where it is
    assert source.table["Mass"].equals(source.table["Nodule"])
    assert int((source.table["Mass"] == 0).sum()) == int((source.table["Mass or Nodule"] == 0).sum()) == 23_274
    assert source.table["Mass"].max() == 0
    known = source.table["Atelectasis"].dropna()
    assert (len(known), round(known.mean(), 2)) == (56_602, 0.59)
    assert source.labels_record.unknown["Atelectasis"] == {
        "uncertain": 33_739, "unmentioned": 133_061, "study excluded": 12,
    }  # fmt: skip


@pytest.mark.publictables
def test_facts_of_the_real_table_that_the_card_states(real):
    _, raw = real
    assert (int(raw[list(LABELS)].isna().all(axis=1).sum()), int((raw[list(LABELS)] == -1).any(axis=1).sum())) == (
        12,
        85_056,
    )
    members = ["Atelectasis", "Consolidation", "Edema", "Pneumonia", "Lung Lesion"]
    none = raw[raw["Lung Opacity"] == 0]
    assert (len(none), int((none[members] == 1).any(axis=1).sum())) == (6_599, 1_040)
    assert int(((raw["Pneumonia"] == 1) & (raw["Consolidation"] == 0)).sum()) == 528
    healthy = raw[raw["No Finding"] == 1]
    assert healthy[list(LABELS[1:-1])].isin([1, -1]).to_numpy().sum() == 0
    assert (healthy["Support Devices"] == 1).sum() == 8_808
    assert (healthy["Support Devices"] == -1).sum() == 110


PEAK = """
import re, sys
from pathlib import Path
from cxr_monai.cli import main
status = main(sys.argv[1:])
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024**2, file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.publictables
def test_the_real_table_to_a_manifest_in_less_than_a_gigabyte(public_tables, tmp_path):
    table = public_tables / "chexpert_train.csv.gz"
    words = ["manifest", "chexpert", public_tables, "--table", table, "--table-only", "--out", tmp_path / "m.csv"]
    child = subprocess.run([sys.executable, "-c", PEAK, *map(str, words)], capture_output=True, text=True, check=True)
    assert float(child.stderr.splitlines()[-1]) < 1
    assert "Atelectasis                   33,376    23,226   166,812   59.0%" in child.stdout
