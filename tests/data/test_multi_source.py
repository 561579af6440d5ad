"""Several manifests read as one: names, roots, unknown labels, patients, what is refused; written and read again."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.cli import main
from cxr_monai.data.dataset import inference_items, manifest_items, open_manifest
from cxr_monai.data.describe import describe
from cxr_monai.data.joining import join_on_image
from cxr_monai.data.label_record import LabelRecord
from cxr_monai.data.manifest import build_manifest, read_manifest, write_manifest
from cxr_monai.data.multi_source import manifest_files, read_manifests
from cxr_monai.data.splits import kfold
from cxr_monai.errors import Code, CxrError, ManifestError, SettingError

NAN = float("nan")


def hospital(
    folder: Path, source: str, patients: list[str], splits: list[str] | None = None, known: bool = True, **more
) -> Path:
    """A manifest of a hospital in a folder of its own, its image files beside it: ``films/0.png``, ..."""
    settings = {name: more.pop(name) for name in ("label_version", "key", "labels_record") if name in more}
    table = pd.DataFrame({
        "image": [f"films/{number}.png" for number in range(len(patients))],
        "patient_id": patients,
        "source": source,
        "split": splits or [""] * len(patients),
        **more,
    })  # fmt: skip
    (folder / "films").mkdir(parents=True)
    for image in table["image"]:
        (folder / image).touch()
    settings = {"label_version": source, "patients": "known" if known else "unknown", **settings}
    write_manifest(build_manifest(table, folder, **settings), folder / "manifest.csv")
    return folder / "manifest.csv"


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """NIH's and CheXpert's: a finding in common, another of each alone, the same numbers of patients."""
    record = LabelRecord("chexpert", {"uncertain": "unknown"}, {"Mass": {"uncertain": 1}})
    nih = hospital(
        tmp_path / "a", "nih", ["1", "2", "3"], ["train", "val", "test"], Mass=[1, 0, 1], Hernia=[0, 0, 1], key="path"
    )
    chexpert = hospital(
        tmp_path / "b", "chexpert", ["1", "2"], ["test", "train"], Fracture=[1, 0], Mass=[NAN, 1], labels_record=record
    )
    return nih, chexpert


def spec(*paths: Path) -> str:
    return ",".join(map(str, paths))


def test_names_files_labels_and_records_of_each(two: tuple[Path, Path]) -> None:
    joined = read_manifests(spec(*two))
    assert joined.table["image"].tolist() == [
        "nih/films/0.png", "nih/films/1.png", "nih/films/2.png", "chexpert/films/0.png", "chexpert/films/1.png",
    ]  # fmt: skip
    films = [(two[0], 0), (two[0], 1), (two[0], 2), (two[1], 0), (two[1], 1)]
    assert joined.paths() == [path.parent / f"films/{number}.png" for path, number in films]
    assert joined.findings == ("Mass", "Hernia", "Fracture")
    expected = [[1, 0, NAN], [0, 0, NAN], [1, 1, NAN], [NAN, NAN, 1], [1, NAN, 0]]
    np.testing.assert_array_equal(joined.labels(), np.array(expected, dtype=np.float32))
    assert joined.label_version == "nih, chexpert"
    assert [member.name for member in joined.members] == ["nih", "chexpert"]
    assert joined.members[1].labels_record is not None
    assert joined.members[1].labels_record.settings == {"uncertain": "unknown"}
    assert joined.part("train").paths() == [two[0].parent / "films/0.png", two[1].parent / "films/1.png"]
    text = describe(joined)
    assert f"nih: 3 images, labels nih, root {two[0].parent}" in text
    assert "Labels of chexpert: uncertain unknown" in text
    assert text.startswith("5 images of 5 patients")  # 1 and 2 are other people there


def test_the_same_whether_by_commas_a_list_or_written_and_read_again(two: tuple[Path, Path], tmp_path: Path) -> None:
    joined = read_manifests(spec(*two))
    write_manifest(joined, tmp_path / "both.csv")
    for other in (read_manifests([str(path) for path in two]), read_manifest(tmp_path / "both.csv")):
        pd.testing.assert_frame_equal(other.table, joined.table)
        assert other.members == joined.members
        assert other.split == joined.split
        assert other.paths() == joined.paths()
    content = json.loads((tmp_path / "both.csv.json").read_text())
    assert [one["label_version"] for one in content["members"]] == ["nih", "chexpert"]
    assert read_manifests(tmp_path / "both.csv").members == joined.members


def test_a_comma_in_a_path_is_no_separator(tmp_path: Path) -> None:
    folder = tmp_path / "a,b=c"
    path = hospital(folder, "nih", ["1"], Mass=[1])
    assert manifest_files(str(path)) == [(None, path)]
    assert not read_manifests(str(path)).members


def test_tables_of_one_manifest_join_to_all(two: tuple[Path, Path]) -> None:
    """Predictions of a hospital alone, of the joined table, and absolute paths all mean the same film."""
    joined = read_manifests(spec(*two))
    for name in ("nih/films/1.png", str(two[0].parent / "films/1.png")):
        rows = join_on_image(joined.table, pd.DataFrame({"image": [name], "p": [0.5]}), root=joined.roots).table
        assert rows["image"].tolist() == ["nih/films/1.png"]
    alone = read_manifest(two[0])
    predicted = pd.DataFrame({"image": joined.table["image"], "p": 0.5})
    rows = join_on_image(alone.table, predicted[predicted["image"].str.startswith("nih/")], root=alone.roots).table
    assert rows["image"].tolist() == alone.table["image"].tolist()
    with pytest.raises(ManifestError) as error:  # of either hospital
        join_on_image(joined.table, pd.DataFrame({"image": ["films/1.png"]}), root=joined.roots)
    assert error.value.code == Code.IMAGES_AMBIGUOUS


def test_items_of_several(two: tuple[Path, Path]) -> None:
    joined = open_manifest(spec(*two))
    items = manifest_items(joined, "train", ["Hernia", "Mass"])
    assert [(Path(item["image"]), item["name"]) for item in items] == [
        (two[0].parent / "films/0.png", "nih/films/0.png"),
        (two[1].parent / "films/1.png", "chexpert/films/1.png"),
    ]
    np.testing.assert_array_equal(items[1]["label"], np.array([NAN, 1], dtype=np.float32))
    named = inference_items([str(path) for path in two], None, ["Mass"])
    assert [item["name"] for item in named] == joined.table["image"].tolist()


@pytest.mark.parametrize("written", [False, True])
def test_one_folder_of_images_is_refused(two: tuple[Path, Path], tmp_path: Path, written: bool) -> None:
    manifest = spec(*two)
    if written:
        write_manifest(read_manifests(manifest), tmp_path / "both.csv")
        manifest = str(tmp_path / "both.csv")
    with pytest.raises(SettingError, match="each with a root of its own") as error:
        open_manifest(manifest, str(tmp_path))
    assert error.value.code == Code.SETTING_INVALID
    assert "dataset_dir" in str(error.value)


def test_files_are_looked_for_below_each_root(two: tuple[Path, Path], tmp_path: Path) -> None:
    joined = read_manifests(spec(*two))
    write_manifest(joined, tmp_path / "both.csv")
    (two[1].parent / "films/1.png").unlink()
    with pytest.raises(ManifestError, match=r"line 6: there is no 'chexpert/films/1.png'") as error:
        read_manifest(tmp_path / "both.csv")
    assert error.value.code == Code.IMAGES_MISSING
    text = (tmp_path / "both.csv").read_text()
    (tmp_path / "both.csv").write_text(text.replace("chexpert/films/0", "elsewhere/films/0"))
    with pytest.raises(ManifestError, match=r"first folder of an image is one of nih, chexpert; 1 are not"):
        read_manifest(tmp_path / "both.csv", check_files=False)


# ---------------------------------------------------------------- names


def test_hospitals_whose_source_tells_nothing_get_names(tmp_path: Path) -> None:
    paths = [hospital(tmp_path / name, source, ["1"], [split], Mass=[1]) for name, source, split in (
        ("a", "folder", "train"), ("b", "folder", "test"), ("c", "phantom", "val")
    )]  # fmt: skip
    joined = read_manifests(f"north={paths[0]},south={paths[1]},drawn={paths[2]}")
    assert joined.table["image"].tolist() == ["north/films/0.png", "south/films/0.png", "drawn/films/0.png"]
    assert joined.table["source"].tolist() == ["north", "south", "phantom drawn"]
    with pytest.raises(ManifestError, match="called 'manifest'") as error:
        read_manifests(spec(*paths))
    assert error.value.code == Code.MANIFEST_INVALID


def test_the_same_numbers_of_two_folders_are_one_person_unless_they_have_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = hospital(tmp_path / "a", "folder", ["1"], ["train"], Mass=[1])
    other = hospital(tmp_path / "b", "folder", ["1"], ["test"], Mass=[1])
    moved = other.rename(tmp_path / "b" / "other.csv")
    (tmp_path / "b" / "manifest.csv.json").rename(tmp_path / "b" / "other.csv.json")
    with pytest.raises(ManifestError, match="put 1 patient into several of their splits") as error:
        read_manifests(spec(one, moved))
    assert error.value.code == Code.PATIENT_LEAK
    assert "patient '1' is in train (line 2 of manifest) and test (line 2 of other)" in str(error.value)
    assert read_manifests(f"north={one},south={moved}").table["split"].tolist() == ["train", "test"]
    table = (tmp_path / "b" / "other.csv").read_text().replace("test", "train")
    (tmp_path / "b" / "other.csv").write_text(table)
    read_manifests(spec(one, moved))
    assert "1 patient identifier stand both in manifest and other (1)" in caplog.text


def test_findings_that_are_spelled_in_two_ways_are_refused(tmp_path: Path) -> None:
    one = hospital(tmp_path / "a", "nih", ["1"], **{"Old fracture": [1]})
    other = hospital(tmp_path / "b", "chexpert", ["1"], **{"old Fracture": [0]})
    with pytest.raises(ManifestError, match="spell a finding in several ways: Old fracture and old Fracture") as error:
        read_manifests(spec(one, other))
    assert error.value.code == Code.MANIFEST_INVALID


@pytest.mark.parametrize("manifests", ["", "a.csv,", "a.csv,a.csv", []])
def test_useless_lists_are_refused(manifests: str | list) -> None:
    with pytest.raises(SettingError, match="names none, or one twice"):
        manifest_files(manifests)


# ---------------------------------------------------------------- patients of one collection


def test_a_patient_of_one_collection_is_on_one_side(tmp_path: Path) -> None:
    nih = hospital(tmp_path / "a", "nih", ["1", "2"], ["train", "val"], Mass=[1, 0])
    rsna = hospital(tmp_path / "b", "rsna", ["2", "1"], ["test", "train"], Pneumonia=[1, 0])
    with pytest.raises(ManifestError, match=r"patient '2' is in val .line 3 of nih. and test .line 2 of rsna."):
        read_manifests(spec(nih, rsna))


def test_split_deals_them_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = [str(number) for number in range(8)]
    nih = hospital(tmp_path / "a", "nih", numbers, ["train"] * 8, Mass=[0, 1] * 4)
    rsna = hospital(tmp_path / "b", "rsna", numbers, ["test"] * 8, Mass=[0, 1] * 4)
    command = ["split", spec(nih, rsna), "--scheme", "random", "--fractions", "0.5,0.25,0.25"]
    assert main(command) == 2
    assert "--out BOTH.csv" in capsys.readouterr().err
    assert main([*command, "--out", str(tmp_path / "both.csv")]) == 0
    both = read_manifest(tmp_path / "both.csv")
    assert both.table.groupby("patient_id")["split"].nunique().max() == 1
    assert set(both.table["split"]) == {"train", "val", "test"}
    assert main(["check", f"{tmp_path}/both.csv"]) == 0
    assert "joined of" in capsys.readouterr().out


@pytest.mark.parametrize("first", [True, False])
def test_films_of_unknown_patients_beside_others_of_their_collection_are_refused(tmp_path: Path, first: bool) -> None:
    nih = hospital(tmp_path / "a", "nih", ["1"], Mass=[1])
    rsna = hospital(tmp_path / "b", "rsna", ["x"], Mass=[0], known=False)
    with pytest.raises(ManifestError, match="rsna does not tell whose films they are") as error:
        read_manifests(spec(nih, rsna) if first else spec(rsna, nih))
    assert error.value.code == Code.PATIENTS_UNKNOWN
    assert "Shih" in str(error.value)


def test_unknown_patients_of_another_collection_stay_unknown(tmp_path: Path) -> None:
    nih = hospital(tmp_path / "a", "nih", ["1"], Mass=[1])
    vindr = hospital(tmp_path / "b", "vindr", ["x"], Mass=[0], known=False)
    joined = read_manifests(spec(nih, vindr))
    assert joined.patients == "unknown"
    rsna = hospital(tmp_path / "c", "rsna", ["x"], Mass=[0])
    write_manifest(replace(read_manifest(rsna), patients="assumed"), rsna)
    assert read_manifests(spec(vindr, rsna)).patients == "unknown", "the least certain"
    with pytest.raises(ManifestError, match="rsna does not tell whose films they are"):
        read_manifests(spec(nih, rsna))
    assert [member.patients for member in joined.members] == ["known", "unknown"]
    with pytest.raises(CxrError) as error:
        kfold(joined, 2)
    assert error.value.code == Code.PATIENTS_UNKNOWN
