"""The manifest's door: what comes in is exact, what is wrong is all told at once."""

import gzip
import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.data.manifest import (
    Key,
    Manifest,
    SplitRecord,
    boxes_path,
    build_manifest,
    find_boxes,
    read_manifest,
    split_digest,
    under,
    write_manifest,
)
from cxr_monai.data.validation import RESERVED
from cxr_monai.errors import Code, ManifestError, SplitError, StorageError
from cxr_monai.schemes import FINDINGS, SCHEMES, label_scheme

HEADER = "image,patient_id,study_id,view,age,sex,source,split,Mass,Edema"
GOOD = """\
a/1.png,007,s1,PA,57,M,ward,train,1,0
a/2.png,007,s2,AP,58.5,M,ward,train,,1
b/3.png,8,s1,LL,,f,ward,test,0,
b/4.png,9,,,0,,ward,,0.0,1.0
"""


def write(folder: Path, rows: str, header: str = HEADER, name: str = "m.csv", files: bool = True) -> Path:
    path = folder / name
    path.write_text(f"{header}\n{rows}")
    if files:
        for image in ("a/1.png", "a/2.png", "b/3.png", "b/4.png"):
            (folder / image).parent.mkdir(exist_ok=True)
            (folder / image).touch()
    return path


def problems(path: Path, **options) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, **options)
    return caught.value


def small(key: Key = "path", **columns) -> Manifest:
    table = {"image": ["1.png", "2.png", "3.png"], "patient_id": [1, 1, 2], "Mass": [1, 0, np.nan]}
    return build_manifest(pd.DataFrame(table | columns), "images", "local", key=key)


def test_reads_every_column_as_documented(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, GOOD))
    table = manifest.table
    assert table["patient_id"].tolist() == ["007", "007", "8", "9"]  # leading zeros are part of an id
    assert table["view"].tolist() == ["PA", "AP", "LATERAL", ""]
    assert table["sex"].tolist() == ["M", "M", "F", ""]
    np.testing.assert_array_equal(table["age"], [57, 58.5, np.nan, 0])
    assert manifest.findings == ("Mass", "Edema")
    assert manifest.label_version == "local"
    assert manifest.split is None
    assert manifest.root == tmp_path
    assert manifest.paths()[2] == tmp_path / "b" / "3.png"
    assert isinstance(table.index, pd.RangeIndex)


def test_unknown_labels_stay_unknown_and_findings_keep_the_order_asked_for(tmp_path: Path) -> None:
    labels = read_manifest(write(tmp_path, GOOD)).labels(["Edema", "Mass"])
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels, [[0, 1], [1, np.nan], [np.nan, 0], [1, 0]])


def test_unknown_finding_lists_what_there_is() -> None:
    with pytest.raises(ManifestError, match="no finding 'Hernia'; it has Mass") as caught:
        small().labels(["Mass", "Hernia"])
    assert caught.value.code == Code.UNKNOWN_FINDING


def test_part_keeps_the_rows_of_one_split_and_counts_the_others_when_there_are_none() -> None:
    manifest = small(split=["train", "train", ""])
    assert manifest.part("train").table["image"].tolist() == ["1.png", "2.png"]
    assert len(manifest.part("train").paths()) == 2
    with pytest.raises(SplitError, match="'val'; it has 2 train, 1 without a split") as caught:
        manifest.part("val")
    assert caught.value.code == Code.SPLIT_INVALID


def test_everything_wrong_is_told_together_with_its_line(tmp_path: Path) -> None:
    rows = """\
a/1.png,1,s,PA,57,M,x,train,1,0
a/1.png,1,s,PA,57,M,x,test,1,0
../b.png,2,s,PA,121,X,x,training,2,yes
/etc/c.png,,s,PA,old,M,x,,1,-1
a/gone.png,3,s,PA,-1,M,x,,0,0
"""
    error = problems(write(tmp_path, rows))
    assert error.code == Code.MANIFEST_INVALID
    text = str(error)
    for expected in (
        "line 3: 'a/1.png' again, first on line 2",
        "line 2: patient '1' is in train (line 2) and test (line 3)",
        "line 4: image is '../b.png'",
        "line 5: image is '/etc/c.png'",
        "line 5: patient_id is empty",
        "line 4: age is '121'",
        "line 5: age is 'old'",
        "line 6: age is '-1'",
        "line 4: sex is 'X'",
        "line 4: split is 'training'",
        "line 4: Mass is '2'",
        "line 4: Edema is 'yes'",
        "line 5: Edema is '-1'",
        "line 6: there is no 'a/gone.png'",
    ):
        assert expected in text
    assert text.startswith(f"{tmp_path / 'm.csv'}: ")
    # the two images outside the root are not looked for
    assert "14 problems" in text


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ("a/1.png,1,,,,,,train,1,0\na/2.png,1,,,,,,val,1,0\n", Code.PATIENT_LEAK),
        ("a/1.png,1,,,,,,train,1,0\na/gone.png,1,,,,,,train,1,0\n", Code.IMAGES_MISSING),
        ("a/1.png,1,,,,,,train,1,0\na/gone.png,1,,,,,,val,1,0\n", Code.MANIFEST_INVALID),
        ("a/1.png,1,,,,,,train,2,0\n", Code.MANIFEST_INVALID),
    ],
)
def test_a_single_kind_of_problem_has_its_own_code(tmp_path: Path, rows: str, code: Code) -> None:
    assert problems(write(tmp_path, rows)).code == code


def test_a_patient_without_a_split_elsewhere_is_no_leak(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, "a/1.png,1,,,,,,train,1,0\na/2.png,1,,,,,,,1,0\n"))
    assert list(manifest.table["split"]) == ["train", ""]


def test_missing_columns_are_told_with_the_rest(tmp_path: Path) -> None:
    error = problems(write(tmp_path, "a/1.png,1,,3\n", header="image,patient_id,split,Mass"))
    assert "line 1: 'study_id' is not among image, patient_id, split, Mass" in str(error)
    assert "line 1: 'source' is not among" in str(error)
    assert "line 2: Mass is '3'" in str(error)
    assert "6 problems" in str(error)  # study_id, view, age, sex, source, and the label


def test_ten_of_each_kind_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    rows = "".join(f"a/{n}.png,{n},,,,,,,9,0\n" for n in range(25))
    text = str(problems(write(tmp_path, rows), check_files=False))
    assert text.count("Mass is '9'") == 10
    assert "25 not" in text
    assert "and 15 more" in text


@pytest.mark.parametrize("image", ["..", "a/../../b.png", "C:/b.png", "a\\b.png", "", ".", "\\\\server\\b.png"])
def test_paths_that_leave_the_root_are_refused(tmp_path: Path, image: str) -> None:
    assert "inside it; 1 not" in str(problems(write(tmp_path, f"{image},1,,,,,,,1,0\n"), check_files=False))


def test_two_spellings_of_one_path_are_one_image(tmp_path: Path) -> None:
    rows = "a/1.png,1,,,,,,,1,0\n./a//1.png,1,,,,,,,1,0\n"
    assert "line 3: 'a/1.png' again, first on line 2" in str(problems(write(tmp_path, rows)))


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    text = str(problems(write(tmp_path, GOOD), root=tmp_path / "nowhere"))
    assert f"{tmp_path / 'nowhere'}, which does not exist; 4 of 4 are not" in text


def test_a_folder_is_not_an_image(tmp_path: Path) -> None:
    path = write(tmp_path, "a,1,,,,,,,1,0\n")
    assert problems(path).code == Code.IMAGES_MISSING


def test_a_missing_manifest_says_how_to_make_one(tmp_path: Path) -> None:
    error = problems(tmp_path / "m.csv")
    assert error.code == Code.MANIFEST_NOT_FOUND
    assert "cxr-monai manifest" in str(error)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n\xff", "it is not UTF-8"),
        (gzip.compress(b"image,patient_id\n" * 99, mtime=0)[:-9], "it cannot be read"),
        (f"{HEADER},Mass\n".encode(), "'Mass' appears twice"),
        (f",{HEADER}\n0,a,1,,,,,,,1,0\n".encode(), "column 1 has no name"),
        (f"{HEADER}\na,1,,,,,,,1,0\nb,2,,,,,,,1,0,1\n".encode(), "line 3 has 11 cells, and the header 10"),
        (f"{HEADER}\na,1,,,,,,,1,0,1\n".encode(), "line 2 has 11 cells, and the header 10"),
        (f"{HEADER},mass\na,1,,,,,,,1,0,1\n".encode(), "line 1: 'Mass' and 'Mass' are Mass"),
        (
            f"{HEADER},Effusion,Pleural Effusion\na,1,,,,,,,1,0,1,0\n".encode(),
            "line 1: 'Effusion' and 'Pleural Effusion' are Effusion",
        ),
        (f"{HEADER}\n".encode(), "at least one image"),
        (b"image,patient_id,study_id,view,age,sex,source,split\na,1,,,,,,\n", "a column for each finding"),
    ],
)
def test_what_is_no_manifest_is_refused_with_the_reason(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    error = problems(path, check_files=False)
    assert error.code == Code.MANIFEST_INVALID
    assert expected in str(error)


def test_findings_are_spelled_as_everywhere(tmp_path: Path) -> None:
    path = write(
        tmp_path, "a/1.png,1,,,,,,,1,0,1\n", header=f"{HEADER},Own finding".replace("Mass,Edema", "MASS,infiltrate")
    )
    assert read_manifest(path, check_files=False).findings == ("Mass", "Infiltration", "Own finding")


@pytest.mark.parametrize("delimiter", [";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_as_a_spreadsheet_saves_it(tmp_path: Path, delimiter: str, encoding: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(f"{HEADER}\na.png,M\u00fcller,,,,,,,1,0\n".replace(",", delimiter).encode(encoding))
    manifest = read_manifest(path, check_files=False)
    assert manifest.table[["image", "patient_id"]].iloc[0].tolist() == ["a.png", "M\u00fcller"]
    assert manifest.labels().tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (
            "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Edema",
            "It looks like a table of labels (its images are in 'Path'",
        ),
        ("image_id,rad_id,Cardiomegaly", "manifest folder ROOT --labels"),
        ("image,patient_id,Mass", "manifest folder ROOT --labels"),
        ("Image Index,Finding Labels,Follow-up #,Patient ID", "cxr-monai manifest nih ROOT --out manifest.csv"),
        ("image,prob_Mass", "'cxr-monai evaluate' takes as --predictions"),
    ],
)
def test_other_tables_are_told_what_they_are(tmp_path: Path, header: str, said: str) -> None:
    path = write(tmp_path, ",".join("1" for _ in header.split(",")) + "\n", header=header)
    error = problems(path)
    assert error.code == Code.MANIFEST_INVALID
    assert "it is no manifest: it has no " in error.message
    assert "study_id" in error.message
    assert said in str(error)
    assert "a label is" not in str(error)  # its columns are no findings of ours


def test_lines_count_blank_ones_and_excel_byte_order_marks_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(f"\ufeff{HEADER}\n\n a/1.png ,1,,,,,,,7,0\n\n")
    assert "line 3: Mass is '7'" in str(problems(path, check_files=False))
    path.write_text(path.read_text().replace(",7,", ",1,"))
    assert read_manifest(path, check_files=False).table["image"].tolist() == ["a/1.png"]


@pytest.mark.parametrize("fold", ["1.5", "-1", "first"])
def test_folds_are_whole_numbers(tmp_path: Path, fold: str) -> None:
    path = write(tmp_path, f"a/1.png,1,,,,,,,{fold},1\n", header=HEADER.replace("Mass", "fold"))
    assert f"line 2: fold is {fold!r}" in str(problems(path))


def test_a_patient_in_two_folds_is_a_leak(tmp_path: Path) -> None:
    path = write(tmp_path, "a/1.png,1,,,,,,,0,1\na/2.png,1,,,,,,,1.0,1\n", header=HEADER.replace("Mass", "fold"))
    assert problems(path).code == Code.PATIENT_LEAK


@pytest.mark.parametrize("name", ["m.csv", "m.csv.gz"])
def test_written_and_read_again_it_is_the_same(tmp_path: Path, name: str) -> None:
    table = read_manifest(write(tmp_path, GOOD)).table
    table.insert(8, "fold", pd.array([0, 0, 1, None], dtype="Int64"))
    record = SplitRecord("lists", None, split_digest(table), {"lists": {"train": "t.txt"}})
    manifest = Manifest(table, tmp_path / "images", "nih-2017", record)
    write_manifest(manifest, tmp_path / name)
    again = read_manifest(tmp_path / name, check_files=False)
    pd.testing.assert_frame_equal(again.table, table)
    assert (again.root, again.label_version, again.split) == (manifest.root, "nih-2017", record)


def test_the_file_is_plain_and_its_bytes_depend_on_nothing_else(tmp_path: Path) -> None:
    manifest = small(age=[57.0, np.nan, 0.5])
    write_manifest(manifest, tmp_path / "m.csv")
    assert (tmp_path / "m.csv").read_text() == (
        "image,patient_id,study_id,view,age,sex,source,split,Mass\n"
        "1.png,1,,,57,,,,1\n2.png,1,,,,,,,0\n3.png,2,,,0.5,,,,\n"
    )
    write_manifest(manifest, tmp_path / "a.csv.gz")
    write_manifest(manifest, tmp_path / "b.csv.gz")
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["m.csv", "m.csv.json", "a.csv.gz", "a.csv.gz.json", "b.csv.gz", "b.csv.gz.json"]
    )


def test_a_folder_with_its_manifest_can_be_moved(tmp_path: Path) -> None:
    old = tmp_path / "old"
    (old / "tables").mkdir(parents=True)
    for image in ("1.png", "2.png", "3.png"):
        (old / image).touch()
    manifest = replace(small(), root=old)
    write_manifest(manifest, old / "tables" / "m.csv")
    write_manifest(manifest, tmp_path / "outside.csv")
    assert json.loads((old / "tables" / "m.csv.json").read_text())["root"] == ".."
    assert json.loads((tmp_path / "outside.csv.json").read_text())["root"] == str(old)
    shutil.move(old, tmp_path / "new")
    assert read_manifest(tmp_path / "new" / "tables" / "m.csv").root == tmp_path / "new"


def test_a_failed_write_leaves_the_old_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_manifest(small(), tmp_path / "m.csv")
    before = (tmp_path / "m.csv").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left") as caught:
            write_manifest(small(Mass=[0, 0, 0]), tmp_path / "m.csv")
    assert caught.value.code == "disk-full"
    assert (tmp_path / "m.csv").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.csv", "m.csv.json"]


def test_only_csv_names(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"\.csv or \.csv\.gz"):
        write_manifest(small(), tmp_path / "m.xlsx")


def test_an_edited_split_says_so(tmp_path: Path) -> None:
    manifest = small(split=["train", "train", "test"])
    record = SplitRecord("random", 3, split_digest(manifest.table), {})
    write_manifest(replace(manifest, split=record), tmp_path / "m.csv")
    assert read_manifest(tmp_path / "m.csv", check_files=False).split == record
    path = tmp_path / "m.csv"
    path.write_text(path.read_text().replace("test", "val"))
    edited = read_manifest(path, check_files=False)
    assert edited.split is not None
    assert edited.split.scheme == "edited"
    assert edited.split.digest == split_digest(edited.table) != record.digest
    assert edited.split.details["recorded"]["seed"] == 3


@pytest.mark.parametrize("content", ["{", "[]", '{"split": {"scheme": "random"}}', '{"split": 3}', '{"root": 3}'])
def test_a_broken_record_is_refused(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, GOOD)
    (tmp_path / "m.csv.json").write_text(content)
    error = problems(path)
    assert error.code == Code.MANIFEST_INVALID
    assert "m.csv.json" in str(error)


def test_digest_is_of_sorted_names_and_splits() -> None:
    manifest = small(image=["x/b.png", "y/a.png", "z/c.png"], split=["train", "train", ""])
    expected = hashlib.sha256(b"a.png\ttrain\nb.png\ttrain\nc.png\t\n").hexdigest()
    assert split_digest(manifest.table) == expected
    assert split_digest(manifest.table.iloc[::-1]) == expected
    paths = small(image=["x/a.png", "y/a.png", "z/c.png"], split=["train", "train", ""])
    assert split_digest(paths.table) == hashlib.sha256(b"x/a.png\ttrain\ny/a.png\ttrain\nz/c.png\t\n").hexdigest()


def test_build_fills_what_is_optional_and_refuses_what_is_wrong() -> None:
    manifest = small()
    assert list(manifest.table) == [
        *("image", "patient_id", "study_id", "view", "age", "sex", "source", "split", "Mass"),
    ]
    assert manifest.table["patient_id"].tolist() == ["1", "1", "2"]
    assert manifest.root == Path.cwd() / "images"
    with pytest.raises(ManifestError, match=r"line 2: Mass is '0\.5'"):
        small(Mass=[0.5, 0, 1])
    with pytest.raises(ManifestError, match="'patient_id' is not among"):
        build_manifest(pd.DataFrame({"image": ["1.png"], "Mass": [1]}), ".", "local")


def test_what_tells_images_apart_is_recorded_and_kept(tmp_path: Path) -> None:
    made = small(image=["x/1.png", "x/2.png", "y/3.png"])
    for key in ("path", "name"):
        write_manifest(replace(made, key=key), tmp_path / "m.csv")
        assert json.loads((tmp_path / "m.csv.json").read_text())["key"] == key
        assert read_manifest(tmp_path / "m.csv", check_files=False).key == key
        assert read_manifest(tmp_path / "m.csv", check_files=False, match_names=True).by_name


@pytest.mark.parametrize(
    ("version", "images", "key"),
    [
        ("nih-v2020", ["x/1.png", "x/2.png", "y/3.png"], "name"),
        ("nih-v2020", ["x/1.png", "y/1.png", "y/3.png"], "path"),
        ("local", ["x/1.png", "x/2.png", "y/3.png"], "path"),
    ],
)
def test_a_record_of_before_there_was_a_key(tmp_path: Path, version: str, images: list[str], key: str) -> None:
    write_manifest(replace(small(image=images), label_version=version), tmp_path / "m.csv")
    record = json.loads((tmp_path / "m.csv.json").read_text())
    del record["key"]
    (tmp_path / "m.csv.json").write_text(json.dumps(record))
    assert read_manifest(tmp_path / "m.csv", check_files=False).key == key


def test_names_that_are_said_to_be_identities_and_are_not(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"1 names stand for several: x/1\.png, y/1\.png") as caught:
        small(image=["x/1.png", "y/1.png", "y/3.png"], key="name")
    assert caught.value.code == Code.MANIFEST_INVALID
    write_manifest(small(image=["x/1.png", "y/1.png", "y/3.png"]), tmp_path / "m.csv")
    for wrong, said in (("name", "stand for several"), ("uid", "'uid'")):
        record = json.loads((tmp_path / "m.csv.json").read_text()) | {"key": wrong}
        (tmp_path / "m.csv.json").write_text(json.dumps(record))
        with pytest.raises(ManifestError, match=said):
            read_manifest(tmp_path / "m.csv", check_files=False)


def test_boxes_are_named_after_their_manifest_and_found_by_the_old_name_too(tmp_path: Path) -> None:
    assert boxes_path("d/m.csv") == boxes_path("d/m.csv.gz") == Path("d/m.boxes.csv")
    assert find_boxes(tmp_path / "m.csv") is None
    for name in ("boxes.csv", "m.boxes.csv"):
        (tmp_path / name).touch()
        assert find_boxes(tmp_path / "m.csv.gz") == tmp_path / name


def test_images_that_are_all_outside_the_root_are_told_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(f"{','.join([*RESERVED, 'Mass'])}\n{tmp_path}/a.png,1,,,,,,,,1\n")
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path / "m.csv")
    assert "line 2" in str(caught.value)


# ---------------------------------------------------------------- labels of a scheme


VOCABULARY = {"findings": ["Mass", "Edema"]}
GROUPED = {"groups": {"Any": ["Mass", "Edema"], "Normal": []}, **VOCABULARY}


def test_a_schemes_labels_are_columns_beside_the_findings(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, GOOD), scheme=label_scheme(GROUPED))
    assert manifest.findings == ("Mass", "Edema", "Any", "Normal")
    # Edema, Mass: (0, 1), (1, ?), (?, 0), (1, 0)
    np.testing.assert_array_equal(manifest.labels(["Any", "Normal"]), [[1, 0], [1, 0], [np.nan, np.nan], [1, 0]])
    assert manifest.root == tmp_path


def test_against_normal_a_findings_own_column_changes(tmp_path: Path) -> None:
    against = {"groups": {"Mass": ["Mass"]}, "against_normal": True, "leave_out": ["Edema"], **VOCABULARY}
    manifest = read_manifest(write(tmp_path, GOOD), scheme=label_scheme(against))
    assert manifest.findings == ("Mass", "Edema")
    # the last image has no mass, but an edema
    np.testing.assert_array_equal(manifest.labels(["Mass"])[:, 0], [1, np.nan, np.nan, np.nan])


def test_findings_as_they_are_change_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    pd.testing.assert_frame_equal(read_manifest(path, scheme=FINDINGS).table, read_manifest(path).table)


def test_a_scheme_of_findings_that_the_manifest_lacks(tmp_path: Path) -> None:
    error = problems(write(tmp_path, GOOD), scheme=SCHEMES["categories"])
    assert error.code == Code.UNKNOWN_FINDING
    assert "'categories' needs Atelectasis, Infiltration, Nodule" in error.message
    assert "Cardiomegaly" not in error.message, "its own column is its label"


@pytest.mark.parametrize("name", ["Any", "view"])
def test_a_column_that_a_label_would_overwrite(name: str) -> None:
    with pytest.raises(ManifestError, match=f"columns of its own called {name}") as caught:
        under(small(Any=[0, 0, 0]), label_scheme({"groups": {name: ["Mass"]}, "findings": ["Mass"]}))
    assert caught.value.code == Code.MANIFEST_INVALID
