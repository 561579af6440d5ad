"""NIH's layout as people have it, and the real table's exact counts."""

import csv
import gzip
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_monai.data.manifest import build_manifest, read_manifest
from cxr_monai.data.sources import load, nih
from cxr_monai.errors import Code, ManifestError, UsageError
from cxr_monai.labels import NIH14

HEADER_2020 = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = [
    "00000001_000.png,Cardiomegaly,0,1,57,M,PA,2682,2749,0.143,0.143",
    "00000001_001.png,Cardiomegaly|Emphysema,1,1,58,M,AP,2894,2729,0.143,0.143",
    "00000002_000.png,No Finding,0,2,414,F,PA,2500,2048,0.171,0.171",
    "00000003_000.png,Pleural_Thickening|Hernia,0,3,81,F,PA,2582,2991,0.143,0.143",
]
NAMES = [row.split(",")[0] for row in ROWS]
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"


def write_table(root: Path, rows: list[str] = ROWS, header: str = HEADER_2020, name: str = "Data_Entry_2017_v2020.csv"):
    root.mkdir(exist_ok=True)
    content = "\n".join([header, *rows]) + "\n"
    path = root / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())


def write_images(folder: Path, names: list[str] = NAMES, size: tuple[int, int] = (8, 8)):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("L", size).save(folder / name)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_as_a_spreadsheet_saves_it(tmp_path, delimiter, encoding):
    content = "\n".join([HEADER_2020, *ROWS]).replace(",", delimiter)
    (tmp_path / "Data_Entry_2017_v2020.csv").write_bytes(content.encode(encoding))
    table = nih.read(tmp_path, table_only=True).table
    assert table["patient_id"].tolist() == ["1", "1", "2", "3"]
    assert table[["Cardiomegaly", "Emphysema", "Hernia"]].to_numpy().tolist() == [
        [1, 0, 0],
        [1, 1, 0],
        [0] * 3,
        [0, 0, 1],
    ]


@pytest.mark.parametrize("name", ["Data_Entry_2017_v2020.csv", "Data_Entry_2017_v2020.csv.gz"])
def test_columns_by_hand(tmp_path, name):
    write_table(tmp_path, name=name)
    source = nih.read(tmp_path, table_only=True)
    table = source.table
    assert source.label_version == "nih-v2020"
    assert source.boxes is None
    assert table["image"].tolist() == [f"images/{name}" for name in NAMES]
    assert table["patient_id"].tolist() == ["1", "1", "2", "3"]
    assert table["study_id"].tolist() == ["1_0", "1_1", "2_0", "3_0"]
    assert table["view"].tolist() == ["PA", "AP", "PA", "PA"]
    assert table["sex"].tolist() == ["M", "M", "F", "F"]
    assert table["age"].tolist()[:2] == [57.0, 58.0]
    assert np.isnan(table["age"][2])
    assert source.notes == ("1 age is impossible (over 120 years, or no age) and was emptied",)
    expected = np.zeros((4, 14))
    expected[0, 1] = expected[1, 1] = expected[1, 10] = expected[3, 12] = expected[3, 13] = 1
    np.testing.assert_array_equal(table[list(NIH14)].to_numpy(), expected)
    assert build_manifest(table, source.root, source.label_version).findings == NIH14


@pytest.mark.parametrize("comma_in_header", [True, False])
@pytest.mark.parametrize("comma_in_rows", [True, False])
def test_2017_table_with_ages_in_letters_and_a_trailing_comma(tmp_path, comma_in_header, comma_in_rows):
    header = HEADER_2020.replace("Patient Gender", "Patient Sex") + "," * comma_in_header
    ages = ["058Y", "018M", "013D", "411Y"]
    rows = [
        f"{name},No Finding,0,{i},{age},M,PA,1,2,0.1,0.1" + "," * comma_in_rows
        for i, (name, age) in enumerate(zip(NAMES, ages, strict=True))
    ]
    write_table(tmp_path, rows, header, "Data_Entry_2017.csv")
    source = nih.read(tmp_path, table_only=True)
    assert source.label_version == "nih-2017"
    assert source.table["image"][0] == f"images/{NAMES[0]}"
    assert source.table["age"].tolist()[:3] == [58.0, 1.0, 0.0]
    assert source.table["age"].isna().tolist() == [False, False, False, True]
    assert (source.table[list(NIH14)] == 0).all(axis=None)


def test_newer_table_wins_and_says_so(tmp_path):
    write_table(tmp_path)
    write_table(tmp_path, name="Data_Entry_2017.csv.gz")
    source = nih.read(tmp_path, table_only=True)
    assert source.label_version == "nih-v2020"
    assert "took Data_Entry_2017_v2020.csv, not Data_Entry_2017.csv.gz" in source.notes[0]
    other = nih.read(tmp_path, table=tmp_path / "Data_Entry_2017.csv.gz", table_only=True)
    assert other.label_version == "nih-2017"


@pytest.mark.parametrize(
    ("labels", "code", "said"),
    [
        ("Cardiomegaly|Broken rib", Code.UNKNOWN_FINDING, "'Broken rib'"),
        ("No Finding|Mass", Code.SOURCE_INVALID, "'No Finding' beside findings"),
        ("", Code.SOURCE_INVALID, "an empty finding"),
        ("Mass|", Code.SOURCE_INVALID, "an empty finding"),
    ],
)
def test_unknown_labels_are_refused_with_their_line(tmp_path, labels, code, said):
    write_table(tmp_path, [*ROWS, f"00000004_000.png,{labels},0,4,50,M,PA,1,1,1,1"])
    with pytest.raises(ManifestError, match="line 6") as caught:
        nih.read(tmp_path, table_only=True)
    assert caught.value.code == code
    assert said in str(caught.value)


def test_infiltrate_is_infiltration(tmp_path):
    write_table(tmp_path, ["a.png,Infiltrate|pneumonia,0,1,50,M,PA,1,1,1,1"])
    table = nih.read(tmp_path, table_only=True).table
    assert [finding for finding in NIH14 if table[finding][0] == 1] == ["Infiltration", "Pneumonia"]


@pytest.mark.parametrize(
    ("folders", "paths"),
    [
        ({".": NAMES}, NAMES),
        ({"images": NAMES}, [f"images/{name}" for name in NAMES]),
        ({"small": NAMES, "empty": []}, [f"small/{name}" for name in NAMES]),
        (
            {"images_001/images": NAMES[:2], "images_012/images": NAMES[2:]},
            [f"images_001/images/{name}" for name in NAMES[:2]] + [f"images_012/images/{name}" for name in NAMES[2:]],
        ),
        (
            {"images_001": NAMES[:2], "images_002": NAMES[2:]},
            [f"images_001/{name}" for name in NAMES[:2]] + [f"images_002/{name}" for name in NAMES[2:]],
        ),
        ({"images": NAMES, "masks": ["00000001_000_Mass.png"]}, [f"images/{name}" for name in NAMES]),
    ],
)
def test_images_are_found_wherever_people_put_them(tmp_path, folders, paths):
    write_table(tmp_path)
    for folder, names in folders.items():
        write_images(tmp_path / folder, names)
    source = nih.read(tmp_path)
    assert source.table["image"].tolist() == paths
    build_manifest(source.table, source.root, source.label_version, check_files=True)


def test_two_folders_with_images_are_ambiguous(tmp_path):
    write_table(tmp_path)
    write_images(tmp_path / "images_320")
    write_images(tmp_path / "images_1024", NAMES[:1])
    with pytest.raises(ManifestError, match="images_1024, images_320") as caught:
        nih.read(tmp_path)
    assert caught.value.code == Code.SOURCE_INVALID
    assert "--images images_320" in str(caught.value)
    assert nih.read(tmp_path, images="images_320").table["image"][0] == f"images_320/{NAMES[0]}"


@pytest.mark.parametrize("images", ["nowhere", "..", "Data_Entry_2017_v2020.csv"])
def test_images_must_name_a_folder_inside(tmp_path, images):
    write_table(tmp_path / "root")
    write_images(tmp_path / "root" / "images")
    with pytest.raises(ManifestError) as caught:
        nih.read(tmp_path / "root", images=images)
    assert caught.value.code == Code.SOURCE_INVALID


def test_an_image_in_two_parts_is_refused(tmp_path):
    write_table(tmp_path)
    write_images(tmp_path / "images_001/images", NAMES)
    write_images(tmp_path / "images_002/images", NAMES[:1])
    with pytest.raises(ManifestError, match="1 image is in two of"):
        nih.read(tmp_path)


def test_missing_images_are_counted_and_shown_unless_available_only(tmp_path):
    write_table(tmp_path)
    write_images(tmp_path / "images", [*NAMES[:1], "stranger.png"])
    with pytest.raises(ManifestError, match="3 of the 4 images") as caught:
        nih.read(tmp_path)
    assert caught.value.code == Code.IMAGES_MISSING
    assert all(name in str(caught.value) for name in NAMES[1:])
    assert "--available-only" in str(caught.value)
    source = nih.read(tmp_path, available_only=True)
    assert source.table["image"].tolist() == [f"images/{NAMES[0]}"]
    assert "kept 1 image that is here, left out 3 that are not" in source.notes
    assert "1 PNG files in images are not in the table" in source.notes


def test_missing_images_are_shown_up_to_ten(tmp_path):
    write_table(tmp_path, [f"{i:02}.png,No Finding,0,{i},50,M,PA,1,1,1,1" for i in range(25)])
    with pytest.raises(ManifestError, match="25 of the 25") as caught:
        nih.read(tmp_path)
    assert "09.png, and 15 more" in str(caught.value)
    assert "10.png" not in str(caught.value)


def test_nothing_on_disk_at_all(tmp_path):
    write_table(tmp_path)
    with pytest.raises(ManifestError) as caught:
        nih.read(tmp_path, available_only=True)
    assert caught.value.code == Code.NO_IMAGES


def test_boxes_are_scaled_to_the_stored_image(tmp_path):
    write_table(tmp_path)
    write_images(tmp_path / "images", NAMES, size=(512, 256))
    boxes = [
        f"{NAMES[0]},Infiltrate,100,200,300,400,,,",
        f"{NAMES[0]},Mass,0,0,1024,1024,,,",
        "99999999_000.png,Mass,1,2,3,4,,,",
    ]
    (tmp_path / "BBox_List_2017.csv").write_text("\n".join([BOX_HEADER, *boxes]) + "\n")
    source = nih.read(tmp_path)
    assert source.boxes is not None
    expected = pd.DataFrame(
        [
            (f"images/{NAMES[0]}", "Infiltration", 50.0, 50.0, 150.0, 100.0, 512, 256),
            (f"images/{NAMES[0]}", "Mass", 0.0, 0.0, 512.0, 256.0, 512, 256),
        ],
        columns=["image", "finding", "x", "y", "width", "height", "image_width", "image_height"],
    )
    pd.testing.assert_frame_equal(source.boxes, expected)
    assert source.notes[-1] == "kept 2 of 3 boxes, on 1 image"
    whole = nih.read(tmp_path, table_only=True).boxes
    assert whole is not None
    assert whole[["x", "y", "width", "height", "image_width"]].iloc[0].tolist() == [100, 200, 300, 400, 1024]


@pytest.mark.parametrize("box", ["Mass,1,2,three,4,,,", "Mass,1,2,0,4,,,", "Mass,1,2,3,,,,", "Rib,1,2,3,4,,,"])
def test_broken_boxes_are_refused(tmp_path, box):
    write_table(tmp_path)
    (tmp_path / "BBox_List_2017.csv").write_text(f"{BOX_HEADER}\n{NAMES[0]},{box}\n")
    with pytest.raises(ManifestError, match=r"BBox_List_2017\.csv"):
        nih.read(tmp_path, table_only=True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"image,label\na.png,Mass\n", "lacks 'Image Index'"),
        (b"", "the file is empty"),
        (HEADER_2020.encode(), "a header and no row"),
        ("\n".join([HEADER_2020, *ROWS]).replace(",1,58", ",,58").encode(), "1 row names no patient: .* line 3"),
        ("\n".join([HEADER_2020, *ROWS]).replace(",1,58", ",NA,58").encode(), "1 row names no patient: .*'NA'"),
        (b"\x1f\x8bbroken", "cannot be read"),
        (b"Image Index\xff\n", "not UTF-8"),
    ],
)
def test_a_table_that_is_not_nihs(tmp_path, content, said):
    (tmp_path / "Data_Entry_2017_v2020.csv").write_bytes(content)
    with pytest.raises(ManifestError, match=said) as caught:
        nih.read(tmp_path, table_only=True)
    assert caught.value.code == Code.SOURCE_INVALID


def test_no_table_and_no_folder(tmp_path):
    with pytest.raises(ManifestError, match=r"looked for Data_Entry_2017_v2020\.csv, Data_Entry_2017\.csv"):
        nih.read(tmp_path)
    with pytest.raises(ManifestError, match="there is no such folder"):
        nih.read(tmp_path / "nowhere")


def test_registry_lists_what_it_has():
    assert load("nih") is nih
    with pytest.raises(UsageError, match=r"the sources are nih, .*folder, dicom"):
        load("radiology")


# positives of each finding in Data_Entry_2017_v2020.csv
V2020 = {
    "Atelectasis": 11559,
    "Cardiomegaly": 2776,
    "Effusion": 13317,
    "Infiltration": 19894,
    "Mass": 5782,
    "Nodule": 6331,
    "Pneumonia": 1431,
    "Pneumothorax": 5302,
    "Consolidation": 4667,
    "Edema": 2303,
    "Emphysema": 2516,
    "Fibrosis": 1686,
    "Pleural_Thickening": 3385,
    "Hernia": 227,
}


@pytest.mark.realdata
def test_the_real_table(realdata, chexnet_manifest):
    manifest = read_manifest(chexnet_manifest, check_files=False)
    boxes = pd.read_csv(chexnet_manifest.with_name("manifest.boxes.csv"))
    assert len(manifest) == 112_120
    assert manifest.table["patient_id"].nunique() == 30_805
    assert manifest.table["study_id"].is_unique
    assert manifest.table[list(NIH14)].sum().astype(int).to_dict() == V2020
    assert manifest.table["view"].value_counts().to_dict() == {"PA": 67_310, "AP": 44_810}
    assert manifest.table["sex"].value_counts().to_dict() == {"M": 63_340, "F": 48_780}
    # the same counts without any of our code
    text = gzip.decompress((realdata / "nih/Data_Entry_2017_v2020.csv.gz").read_bytes()).decode()
    cells = [row[1].split("|") for row in csv.reader(io.StringIO(text))][1:]
    assert {finding: sum(finding in words for words in cells) for finding in V2020} == V2020
    assert sum(words == ["No Finding"] for words in cells) == int((manifest.labels().sum(axis=1) == 0).sum()) == 60_361
    assert len(boxes) == 984
    assert boxes["image"].nunique() == 880
    assert boxes["finding"].value_counts()["Infiltration"] == 123


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("images", "count", "side", "boxes"), [("images_320", 1306, 320, 52), ("images_1024", 59, 1024, 52)]
)
def test_the_real_images(realdata, images, count, side, boxes):
    source = nih.read(realdata / "nih", images=images, available_only=True)
    assert len(build_manifest(source.table, source.root, source.label_version, check_files=True)) == count
    assert source.boxes is not None
    assert len(source.boxes) == boxes
    assert set(source.boxes["image_width"]) == set(source.boxes["image_height"]) == {side}
    first = source.boxes[source.boxes["image"] == f"{images}/00008365_000.png"].iloc[0]
    original = 337.898305084746  # its x in BBox_List_2017.csv
    assert first["x"] == pytest.approx(original * side / 1024, abs=1e-4)


@pytest.mark.realdata
def test_the_real_folder_is_ambiguous(realdata):
    with pytest.raises(ManifestError, match="images_1024, images_320"):
        nih.read(realdata / "nih")
