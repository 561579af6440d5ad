"""A hospital's folder and its CSV: columns, cells and files matched by hand-written tables."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from cxr_monai.data.manifest import build_manifest
from cxr_monai.data.sources import folder
from cxr_monai.errors import Code, ManifestError, UsageError
from cxr_monai.labels import NIH14


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "images"
    for name in ("2021/a.png", "2021/b.png", "2022/c.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def read(root: Path, content: str | bytes, name: str = "labels.csv", **options):
    path = root.parent / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder.read(root, labels=path, **options)


FULL = """image,Patient ID,StudyInstanceUID,View Position,Patient Age,Gender,effusion,Rib fracture,Comment
2021/a.png,7,s1,pa,058Y,Male,1,0,quiet
2021/b.png,7,s2,AP,414,f,0,,
2022/c.jpg,8,s3,LL,,x,,1,loud
"""


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    "encode", [str.encode, lambda text: text.encode("utf-8-sig"), lambda t: gzip.compress(t.encode())]
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_columns_by_hand(root, delimiter, encode, newline):
    source = read(root, encode(FULL.replace(",", delimiter).replace("\n", newline)))
    table = source.table
    assert source.label_version == "local"
    assert table["image"].tolist() == ["2021/a.png", "2021/b.png", "2022/c.jpg"]
    assert table["patient_id"].tolist() == ["7", "7", "8"]
    assert table["study_id"].tolist() == ["s1", "s2", "s3"]
    assert table["view"].tolist() == ["PA", "AP", "LL"]
    np.testing.assert_array_equal(table["age"], [58.0, np.nan, np.nan])
    assert table["sex"].tolist() == ["M", "F", ""]
    np.testing.assert_array_equal(table["Effusion"], [1, 0, np.nan])
    np.testing.assert_array_equal(table["Rib fracture"], [0, np.nan, 1])
    assert "Comment" not in table
    assert "columns left out: Comment" in source.notes
    assert "1 sex is none of M, F, O and was emptied" in source.notes
    assert "1 age is impossible (over 120 years, or no age) and was emptied" in source.notes
    manifest = build_manifest(table, source.root, source.label_version, check_files=True)
    assert manifest.findings == ("Effusion", "Rib fracture")


@pytest.mark.parametrize("header", ["image", "Image Index", "FileName", "filename", "path", "Image_Path"])
@pytest.mark.parametrize(
    "written",
    [
        "2021/a.png",
        "./2021/a.png",
        "2021\\a.png",
        "a.png",
        "a",
        "old/2021/a.png",
        "D:\\x\\2021\\a.PNG",
        "a.dcm",
        "2021/a",
    ],
)
def test_images_by_path_or_unique_name(root, header, written):
    source = read(root, f"{header},patient_id,Mass\n{written},1,1\n")
    assert source.table["image"].tolist() == ["2021/a.png"]


def test_absolute_paths_below_root(root):
    source = read(root, f"image,patient_id,Mass\n{root}/2021/a.png,1,1\n")
    assert source.table["image"].tolist() == ["2021/a.png"]


def test_a_name_that_fits_two_files_is_refused(root):
    (root / "2022/a.png").write_bytes(b"")
    with pytest.raises(ManifestError, match=r"'a\.png' fits 2021/a\.png, 2022/a\.png") as caught:
        read(root, "image,patient_id,Mass\na.png,1,1\n")
    assert caught.value.code == Code.SOURCE_INVALID
    assert read(root, "image,patient_id,Mass\n2022/a.png,1,1\n").table["image"].tolist() == ["2022/a.png"]


def test_missing_images(root):
    content = "image,patient_id,Mass\na.png,1,1\nz.png,2,0\ny.png,3,0\n"
    with pytest.raises(ManifestError, match=r"2 of the 3 images .*: z\.png, y\.png") as caught:
        read(root, content)
    assert caught.value.code == Code.IMAGES_MISSING
    source = read(root, content, available_only=True)
    assert source.table["image"].tolist() == ["2021/a.png"]
    assert "kept 1 image that is here, left out 2 that are not (such as z.png, y.png)" in source.notes
    with pytest.raises(ManifestError) as caught:
        read(root, "image,patient_id,Mass\nz.png,2,0\n", available_only=True)
    assert caught.value.code == Code.NO_IMAGES


def test_without_a_patient_column_it_must_be_said(root):
    content = "image,Mass\na.png,1\nb.png,0\n"
    with pytest.raises(ManifestError, match="both sides of a split") as caught:
        read(root, content)
    assert "--patient-per-image" in str(caught.value)
    source = read(root, content, patient_per_image=True)
    assert source.table["patient_id"].tolist() == ["2021/a.png", "2021/b.png"]
    assert "each image is its own patient" in source.notes


def test_columns_by_option(root):
    content = "picture,who,Mass,portable\na.png,1,1,0\nb.png,1,0,1\n"
    source = read(root, content, image_column="picture", patient_column="who", findings=["Mass"])
    assert source.table["patient_id"].tolist() == ["1", "1"]
    assert list(source.table.columns)[7:] == ["Mass"]
    for options, said in (
        ({"patient_column": "who"}, "--image-column"),
        ({"image_column": "file"}, "--image-column file: there is no such column; there are 'picture', 'who'"),
        ({"image_column": "picture", "patient_column": "x"}, "--patient-column x"),
        ({"image_column": "picture", "patient_column": "who", "findings": ["Edema"]}, "no column 'Edema'"),
    ):
        with pytest.raises(ManifestError) as caught:
            read(root, content, **options)
        assert said in str(caught.value)


def test_a_column_taken_as_a_finding_is_named(root):
    text = "image,patient_id,Mass,portable,ImageDir,No finding\na.png,1,1,0,0,0\n"
    source = read(root, text)
    assert list(source.table.columns)[7:] == ["Mass"]
    said = "not taken, though they hold 0 and 1, for they are no known findings: portable, ImageDir"
    assert any(said in note for note in source.notes)
    assert list(read(root, text, findings=["portable"]).table.columns)[7:] == ["portable"]
    with pytest.raises(ManifestError, match="say --findings portable"):
        read(root, "image,patient_id,portable\na.png,1,0\n")


def test_words_for_present_and_absent(root):
    text = "image,patient_id,Mass\na.png,1,Yes\nb.png,1,no\n"
    assert read(root, text, positive="yes,+", negative="No").table["Mass"].tolist() == [1, 0]


@pytest.mark.parametrize(("positive", "negative"), [("yes", "no,Yes"), ("0", None), (None, "1"), ("nan", None)])
def test_a_word_means_one_thing(root, positive, negative):
    with pytest.raises(UsageError, match="means something else already"):
        read(root, "image,patient_id,Mass\na.png,1,Yes\n", positive=positive, negative=negative)


def test_utf16_is_told_by_its_mark(root):
    source = read(root, "image,patient_id,Mass\na.png,M\u00fcller,1\n".encode("utf-16"))
    assert source.table["patient_id"].tolist() == ["M\u00fcller"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("image,patient_id,Mass\n", "a header and no row"),
        ("image,patient_id,Effusion,Pleural Effusion\na.png,1,1,0\n", "two columns are Effusion"),
        ("image,patient_id,EFFUSION,effusion\na.png,1,1,0\n", "two columns are Effusion"),
        ("image,patient_id,Lung Opacity,LUNG_OPACITY\na.png,1,1,0\n", "two columns are Lung Opacity"),
        ("image,patient_id,rad,Mass\na.png,1,R1,1\na.png,1,R2,0\n", "2 rows .lines 2, 3., told apart by 'rad'"),
        ("image,patient_id,Labels\na.png,1,\"['mass']\"\n", "'Labels' holds lists of findings"),
        ("image,patient_id,Mass\na.png,1,1\nb.png,,0\n", "1 row names no patient: .* first on line 3"),
        ("image,patient_id,Mass\na.png,NaN,1\nb.png,n/a,0\n", "2 rows name no patient: .* line 2 .'NaN'"),
        ("image,patient_id,Mass\na.png,1,1\n2021/a.png,1,0\n", "all fit '2021/a.png'"),
    ],
)
def test_tables_that_are_refused_in_words_that_help(root, content, said):
    with pytest.raises(ManifestError, match=said) as caught:
        read(root, content)
    assert caught.value.code == Code.SOURCE_INVALID


NIH_FORM = """Image Index,Finding Labels,Patient ID
2021/a.png,Cardiomegaly|Effusion,1
2021/b.png,No Finding,2
2022/c.jpg,,3
"""


def test_lists_of_findings_as_nih_writes_them(root):
    source = read(root, NIH_FORM.replace("Effusion", "Infiltrate"))
    table = source.table[list(NIH14)]
    assert list(source.table.columns)[7:] == list(NIH14)
    assert [name for name in NIH14 if table[name][0] == 1] == ["Cardiomegaly", "Infiltration"]
    assert table.notna().all(axis=1).tolist() == [True, True, False]
    assert (table.iloc[1] == 0).all()
    assert table.iloc[2].isna().all()
    assert any(note.startswith("took 'Finding Labels' as lists of findings (A|B)") for note in source.notes)


@pytest.mark.parametrize(
    ("column", "cells", "findings", "values"),
    [
        ("Diagnosis", ("Effusion|Mass", "Mass", "No finding"), {}, {"Effusion": [1, 0, 0], "Mass": [1, 1, 0]}),
        ("labels", ("Mass", "No Finding", "edema"), {}, {"Mass": [1, 0, 0], "Edema": [0, 0, 1]}),
        ("findings", ("Mass|Clip", "Clip", ""), {}, {"Mass": [1, 0, None]}),
        ("findings", ("Mass|A", "A", ""), {"findings": ["findings"]}, {"Mass": [1, 0, None], "A": [1, 1, None]}),
        ("findings", ("Mass|Clip", "Clip", ""), {"findings": ["Clip"]}, {"Clip": [1, 1, None]}),
        ("Finding Labels", ("Mass|COPD", "Mass", "No Finding"), {}, {"Mass": [1, 1, 0], "COPD": [1, 0, 0]}),
    ],
)  # fmt: skip
def test_lists_of_findings_under_other_names(root, column, cells, findings, values):
    rows = "".join(f"{name},1,{cell}\n" for name, cell in zip("abc", cells, strict=True))
    table = read(root, f"image,patient_id,{column}\n{rows}", **findings).table
    assert list(table.columns)[7:] == list(values)
    for name, expected in values.items():
        assert [None if np.isnan(value) else value for value in table[name]] == expected


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        ("Finding Labels", "Mass|No Finding", "column 'Finding Labels': 'No Finding' beside findings"),
        ("Finding Labels", "Mass||Edema", "column 'Finding Labels': an empty finding"),
        ("Finding Labels,Mass", "Mass|Edema,1", "two columns are Mass"),
        ("Diagnosis", "Effusion|Pleural Effusion", "two columns are Effusion"),
        ("Diagnosis", "Mass|something else", "no column is a known finding"),
    ],
)
def test_lists_that_are_refused(root, header, row, said):
    with pytest.raises(ManifestError) as caught:
        read(root, f"image,patient_id,{header}\na,1,{row}\n")
    assert caught.value.code == Code.SOURCE_INVALID
    assert said in str(caught.value)


CHEXPERT = ("train/patient00002/study1/view1_frontal.jpg", "train/patient00003/study1/view1_frontal.jpg",
            "train/patient00003/study2/view2_lateral.jpg")  # fmt: skip


@pytest.fixture
def chexpert(tmp_path) -> Path:
    for name in CHEXPERT:
        path = tmp_path / "CheXpert" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "CheXpert"


@pytest.mark.parametrize("written", ["{}", "CheXpert-v1.0-small/{}", "D:/sets/{}", "{}.back"])
def test_whose_image_it_is_by_chexperts_paths(chexpert, written):
    rows = [written.format(name) for name in CHEXPERT]
    if written.endswith(".back"):  # of Windows
        rows = [row.removesuffix(".back").replace("/", "\\") for row in rows]
    source = read(chexpert, "Path,Sex,Edema\n" + "".join(f"{row},Male,1\n" for row in rows))
    columns = ["image", "patient_id", "study_id", "view"]
    assert source.table[columns].to_numpy().tolist() == [
        [CHEXPERT[0], "patient00002", "study1", "FRONTAL"],
        [CHEXPERT[1], "patient00003", "study1", "FRONTAL"],
        [CHEXPERT[2], "patient00003", "study2", "LATERAL"],
    ]
    said = f"took the patient, study and view from 'Path', whose paths are CheXpert's ({rows[0]} is of patient00002)"
    assert f"no column says whose image it is; {said}" in source.notes


def test_columns_go_before_paths(chexpert):
    names = [*CHEXPERT]
    rows = "".join(f"{name},{who},Frontal,AP,s{who},1\n" for name, who in zip(names, "xyz", strict=True))
    text = f"Path,Patient,Frontal/Lateral,AP/PA,study_id,Edema\n{rows}"
    table = read(chexpert, text).table
    assert table["patient_id"].tolist() == ["x", "y", "z"]
    table = read(chexpert, text.replace("Patient", "Nobody"), findings=["Edema"]).table
    assert table["patient_id"].tolist() == ["patient00002", "patient00003", "patient00003"]
    assert table["study_id"].tolist() == ["sx", "sy", "sz"]
    assert table["view"].tolist() == ["AP"] * 3


def test_a_patient_an_image_against_the_paths_is_said(chexpert):
    text = "Path,Edema\n" + "".join(f"{name},1\n" for name in CHEXPERT)
    source = read(chexpert, text, patient_per_image=True)
    assert source.table["patient_id"].tolist() == list(CHEXPERT)
    assert any(note.startswith("the paths name 2 patients for 3 images") for note in source.notes)
    (chexpert / "other.jpg").write_bytes(b"")
    with pytest.raises(ManifestError, match="not every path does as CheXpert's"):
        read(chexpert, f"{text}other.jpg,0\n")


def test_views_as_chexpert_writes_them(root):
    text = "Path,patient_id,Frontal/Lateral,AP/PA,Edema\na.png,1,Frontal,AP,1\nb.png,2,Lateral,,0\nc.jpg,3,Frontal,,0\n"
    assert read(root, text).table["view"].tolist() == ["AP", "LATERAL", ""]


def test_a_file_in_another_folder_is_another_file(root):
    with pytest.raises(ManifestError, match="the folders differ") as caught:
        read(root, "image,patient_id,Mass\nelsewhere/a.png,1,1\n")
    assert caught.value.code == Code.IMAGES_MISSING
    source = read(root, "image,patient_id,Mass\nelsewhere/a.png,1,1\n", match_names=True)
    assert source.table["image"].tolist() == ["2021/a.png"]


@pytest.mark.parametrize(("meaning", "value"), [("unknown", np.nan), ("positive", 1.0), ("negative", 0.0)])
def test_uncertain_must_be_told(root, meaning, value):
    content = "Path,patient_id,No Finding,Edema,Mass\na.png,1,,-1.0,1.0\nb.png,2,1.0,,-1\n"
    with pytest.raises(ManifestError, match="column 'Edema': -1") as caught:
        read(root, content)
    assert "--uncertain unknown" in str(caught.value)
    assert "line 2" in str(caught.value)
    table = read(root, content, uncertain=meaning).table
    np.testing.assert_array_equal(table["Edema"], [value, 0])  # empty, beside "No Finding"
    np.testing.assert_array_equal(table["Mass"], [1.0, value])
    assert "No Finding" not in table


@pytest.mark.parametrize("cell", ["yes", "Positive", "x", "2", "0.5", "mild"])
def test_a_known_finding_with_other_cells_is_refused(root, cell):
    with pytest.raises(ManifestError, match=f"column 'Mass': '{cell}' is none of 1") as caught:
        read(root, f"image,patient_id,Mass\na.png,1,1\nb.png,1,{cell}\n")
    assert "line 3" in str(caught.value)


def test_yes_and_no_under_an_own_name_are_refused(root):
    with pytest.raises(ManifestError, match="column 'Fracture': 'yes'"):
        read(root, "image,patient_id,Mass,Fracture\na.png,1,1,yes\nb.png,1,0,no\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("image,patient_id,Infiltrate,Infiltration\na.png,1,1,1\n", "two columns are Infiltration"),
        ("image,patient_id,note\na.png,1,fine\n", "no column is a known finding"),
        ("image,image,patient_id,Mass\na.png,a.png,1,1\n", "'image' appears twice"),
        ("", "the file is empty"),
        (",,\n1,2,3\n", "no header"),
        ("image,patient_id,Mass\na.png,1\nb.png,2,1,9,9,9\n", "line 3 has 6 cells, and the header 3"),
        (b"image,patient_id,Mass\n\xe4.png,1,1\n", "not UTF-8"),
    ],
)
def test_tables_that_cannot_be(root, content, said):
    with pytest.raises(ManifestError, match=said) as caught:
        read(root, content)
    assert caught.value.code == Code.SOURCE_INVALID


def test_a_known_finding_that_is_never_filled_in_is_unknown(root):
    table = read(root, "image,patient_id,Mass,Hernia,Other\na.png,1,1,,\n").table
    assert list(table.columns)[7:] == ["Mass", "Hernia"]
    assert table["Hernia"].isna().all()


def test_blank_lines_and_the_tables_own_split_are_left_out(root):
    source = read(root, "image,patient_id,split,Mass\na.png,1,0,1\n,,,\n\nb.png,2,1,0\n")
    assert source.table["image"].tolist() == ["2021/a.png", "2021/b.png"]
    assert "split" not in source.table


def test_no_folder_and_no_table(root):
    with pytest.raises(ManifestError, match=r"nowhere\.csv"):
        folder.read(root, labels=root / "nowhere.csv")
    labels = root.parent / "labels.csv"
    labels.write_text("image,patient_id,Mass\na.png,1,1\n")
    with pytest.raises(ManifestError, match="there is no such folder"):
        folder.read(root / "nowhere", labels=labels)
