"""SIIM-ACR's pneumothoraces: both tables, both layouts, all regions of an image; the real table's counts."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.cli import main
from cxr_monai.data.label_record import LabelRecord
from cxr_monai.data.manifest import build_manifest, read_manifest
from cxr_monai.data.run_lengths import decode_run_lengths
from cxr_monai.data.sources import SourceTable, siim
from cxr_monai.errors import Code, ManifestError
from tests.data import test_source_dicom as dicoms

UID = "1.2.276.0.7230010.3.1.4.8323329"
FILMS = [f"{UID}.{number}" for number in (1, 2, 3)]
# pixels 10 to 12 of column 3, 11 to 12 of column 4; the second region is pixel 0 of column 1023
REGIONS = [f"{3 * 1024 + 10} 3 {1024 - 3 + 1} 2", f"{1023 * 1024} 1"]
ROWS = [(FILMS[0], "-1"), (FILMS[1], REGIONS[0]), (FILMS[2], " -1"), (FILMS[1], REGIONS[1])]


def write_table(path: Path, column: str = " EncodedPixels", rows: list[tuple[str, str]] = ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([f"ImageId,{column}", *(",".join(row) for row in rows)]) + "\n")
    return path


@pytest.fixture(params=["nested", "flat"])
def root(request, tmp_path: Path) -> Path:
    folder = tmp_path / "siim"
    nested = request.param == "nested"
    write_table(
        folder / ("train-rle.csv" if nested else "stage_2_train.csv"), " EncodedPixels" if nested else "EncodedPixels"
    )
    for number, film in enumerate(FILMS):
        name = f"dicom-images-train/2.{number}/3.{number}/{film}.dcm" if nested else f"stage_2_images/{film}.dcm"
        dicoms.write(folder / name, PatientAge=f"{40 + number}", ViewPosition="AP", SOPInstanceUID=film)
    return folder


def read(root: Path, **options) -> SourceTable:
    source = siim.read(root, **options)
    build_manifest(source.table, source.root, source.label_version, key=source.key, patients=source.patients)
    return source


def test_both_layouts_by_hand(root):
    source = read(root)
    table = source.table
    assert [Path(image).stem for image in table["image"]] == [FILMS[0], FILMS[1], FILMS[2]]
    assert table["patient_id"].tolist() == FILMS
    assert table["Pneumothorax"].tolist() == [0, 1, 0]
    assert set(table) == {"image", "patient_id", "study_id", "view", "age", "sex", "source", "Pneumothorax"}
    assert table["age"].tolist() == [40, 41, 42]
    assert table["view"].unique().tolist() == ["AP"]
    assert (source.label_version, source.patients, source.key) == ("siim-2019", "unknown", "name")
    assert source.boxes is not None
    assert source.boxes["image_width"].tolist() == [2, 2], "files of 2x2 pixels here"
    assert "2 regions on 1 image, a box around each" in source.notes


def test_boxes_are_those_of_the_masks(root):
    boxes = read(root, table_only=True).boxes
    assert boxes is not None
    assert boxes["image"].tolist() == [f"stage_2_images/{FILMS[1]}.dcm"] * 2
    assert boxes[["x", "y", "width", "height"]].to_numpy().tolist() == [[3, 10, 2, 3], [1023, 0, 1, 1]]
    mask = decode_run_lengths(REGIONS, 1024, 1024)
    assert np.argwhere(mask).tolist() == [[0, 1023], [10, 3], [11, 3], [11, 4], [12, 3], [12, 4]]


def test_stage_2_is_taken_where_both_tables_are(root, tmp_path):
    for name in ("train-rle.csv", "stage_2_train.csv"):
        write_table(root / name, rows=ROWS[:2] if name == "train-rle.csv" else ROWS)
    write_table(root / "stage_2_sample_submission.csv", rows=[(film, "-1") for film in FILMS])
    source = read(root, table_only=True)
    assert len(source.table) == 3
    assert "took stage_2_train.csv, not train-rle.csv (--table FILE takes another)" in source.notes
    assert len(read(root, table=root / "train-rle.csv", table_only=True).table) == 2
    out = tmp_path / "m.csv"
    assert main(["manifest", "siim", str(root), "--out", str(out), "--table", str(root / "train-rle.csv")]) == 0
    assert read_manifest(out).labels().tolist() == [[0], [1]]
    assert read_manifest(out).labels_record == LabelRecord("siim")


def test_nihs_table_tells_the_patients_of_some(root, tmp_path):
    nih = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"
    (tmp_path / "nih.csv").write_text(f"{nih}00000007_001.png,Mass,1,7,60,M,PA\n")
    (tmp_path / "map.json").write_text(json.dumps([{"SOPInstanceUID": FILMS[1], "img_id": "00000007_001.png"}]))
    source = read(root, nih_table=tmp_path / "nih.csv", mapping=tmp_path / "map.json")
    assert source.table[["patient_id", "study_id", "Pneumothorax"]].to_numpy().tolist() == [["7", "7_1", 1]]
    assert source.patients == "known"
    assert "2 of 3 films are not in the mapping and NIH's table: left out" in source.notes


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(FILMS[0], "")], "an empty cell is neither -1"),
        ([("", "-1"), *ROWS], "an empty cell"),
        ([(FILMS[0], "-1")], "no film has a region: is this the sample of a submission"),
        ([(FILMS[0], "-1"), (FILMS[0], REGIONS[0])], "has a region, and a row with -1"),
        ([(FILMS[0], "5 3 1")], "3 numbers are no pairs"),
        ([(FILMS[0], f"{1024 * 1024} 1")], "a run ends at pixel 1,048,577 of 1,048,576"),
        ([(FILMS[0], "five 1")], "no region: invalid literal"),
    ],
)
def test_wrong_cells(tmp_path, rows, words):
    write_table(tmp_path / "train-rle.csv", rows=rows)
    with pytest.raises(ManifestError, match=words) as caught:
        read(tmp_path, table_only=True)
    assert caught.value.code == Code.SOURCE_INVALID


def test_a_table_of_another_set(tmp_path):
    (tmp_path / "train-rle.csv").write_text("patientId,x,y,width,height,Target\na,,,,,0\n")
    with pytest.raises(ManifestError, match="RSNA Pneumonia"):
        read(tmp_path, table_only=True)


@pytest.mark.publictables
def test_the_real_table(public_tables, tmp_path):
    path = public_tables / "siim-pneumothorax-train-rle.csv.gz"
    source = read(tmp_path, table=path, table_only=True)
    table, boxes = source.table, source.boxes
    assert boxes is not None
    rows = pd.read_csv(path)
    assert len(rows) == 12_954
    assert len(table) == 12_047
    assert table["Pneumothorax"].value_counts().to_dict() == {0.0: 9_378, 1.0: 2_669}
    regions = boxes["image"].value_counts()
    assert (len(boxes), int((regions > 1).sum()), int(regions.max())) == (3_576, 624, 10)
    assert set(boxes["image"]) == set(table.loc[table["Pneumothorax"] == 1, "image"])
    # torchxrayvision takes each row for a sample: 907 more, all of films with several regions, all positive
    theirs = (rows[" EncodedPixels"].str.strip() != "-1").groupby(rows["ImageId"]).agg(["size", "max"])
    assert int((theirs["size"] - 1).sum()) == 12_954 - 12_047 == 907
    assert theirs.loc[theirs["size"] > 1, "max"].all()
    ours = table.set_index("patient_id")["Pneumothorax"] == 1
    assert (ours == theirs["max"].reindex(ours.index)).all(), "whether a film has one is the same"
    # their mask is the last region alone: the first of several is lost
    film = regions.index[regions == 10][0]
    texts = rows.loc[rows["ImageId"] == Path(film).stem, " EncodedPixels"].tolist()
    whole, last = decode_run_lengths(texts, 1024, 1024), decode_run_lengths(texts[-1], 1024, 1024)
    assert last.sum() < whole.sum()
    ys, xs = np.nonzero(whole)
    of_film = boxes[boxes["image"] == film]
    assert (of_film["x"].min(), of_film["y"].min()) == (xs.min(), ys.min())
    assert (of_film["x"] + of_film["width"]).max() == xs.max() + 1


@pytest.mark.realdata
@pytest.mark.publictables
def test_a_real_film(realdata, public_tables):
    """One film of the set is at hand, among another file."""
    table = public_tables / "siim-pneumothorax-train-rle.csv.gz"
    source = read(realdata / "dicom", table=table, available_only=True)
    row = source.table.iloc[0]
    assert row[["view", "age", "sex", "Pneumothorax"]].tolist() == ["PA", 62, "M", 0]
    assert len(source.table) == 1
    assert row["image"] == f"{row['patient_id']}.dcm"
