"""``cxr-monai phantom``."""

import json
from pathlib import Path

import pandas as pd
import pytest

from cxr_monai.cli import main


def run(out: Path, *words: str) -> int:
    return main(["phantom", str(out), "--count", "6", "--size", "32", "--seed", "3", "--workers", "1", *words])


def test_writes_nih_layout_and_says_what_it_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "BBox_List_2017.csv",
        "Data_Entry_2017_v2020.csv",
        "README.txt",
        "images",
        "masks",
        "phantom.json",
        "test_list.txt",
        "train_val_list.txt",
    ]
    lines = capsys.readouterr().out.splitlines()
    assert "6 images" in lines[0]
    assert lines[2].split() == ["finding", "images", "held", "out"]
    assert len(lines) == 3 + 14


def test_masks_and_dicom_are_choices(tmp_path: Path) -> None:
    assert run(tmp_path / "out", "--no-masks", "--dicom") == 0
    assert not (tmp_path / "out" / "masks").exists()
    assert len(list((tmp_path / "out" / "dicom").rglob("*.dcm"))) == 6


def test_output_exists_unless_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "out") == 0
    assert run(tmp_path / "out") == 2
    assert "[output-exists]" in capsys.readouterr().err
    assert run(tmp_path / "out", "--force") == 0


def test_wrong_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phantom", str(tmp_path / "out"), "--count", "0"]) == 1
    assert "count is 0" in capsys.readouterr().err


def test_laterals_children_and_a_period(tmp_path: Path) -> None:
    mixed = ("--laterals", "0.5", "--children", "0.5", "--dicom", "--from", "2026-03-02", "--days", "7")
    assert run(tmp_path / "out", *mixed) == 0
    manifest = tmp_path / "m.csv"
    assert main(["manifest", "dicom", str(tmp_path / "out" / "dicom"), "--out", str(manifest)]) == 0
    table = pd.read_csv(manifest)
    assert "LATERAL" in set(table["view"])
    assert table["age"].min() < 13
    nih = tmp_path / "nih.csv"
    assert main(["manifest", "nih", str(tmp_path / "out"), "--out", str(nih)]) == 0
    stems = pd.read_csv(nih).set_index("image")[["view", "age"]].rename(lambda name: Path(name).stem)
    for row in table.itertuples():
        assert row.view == stems.loc[Path(row.image).stem, "view"]
        assert row.age == (stems.loc[Path(row.image).stem, "age"] or 0.5)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("--from", "March"), 2),
        (("--days", "7"), 2),
        (("--laterals", "2"), 1),
        (("--from", "2026-03-02", "--days", "0"), 1),
    ],
)
def test_wrong_mixes(tmp_path: Path, words: tuple[str, ...], status: int) -> None:
    assert run(tmp_path / "out", *words) == status
    assert not (tmp_path / "out").exists()


def test_two_hospitals(tmp_path: Path) -> None:
    words = ["--prevalence", "Mass=1,Edema=0", "--prevalence", "hernia=0.5", "--look", "1.4,0.8,0.02"]
    assert run(tmp_path / "out", *words, "--marker", "Mass=0.9", "--lungs", "--no-masks") == 0
    mark = json.loads((tmp_path / "out" / "phantom.json").read_text())
    assert mark["prevalence"] == {"Mass": 1.0, "Edema": 0.0, "Hernia": 0.5}
    assert (mark["look"], mark["marker"]) == ({"gamma": 1.4, "contrast": 0.8, "noise": 0.02}, {"Mass": 0.9})
    assert len(list((tmp_path / "out" / "masks" / "lungs").iterdir())) == 6
    rows = (tmp_path / "out" / "Data_Entry_2017_v2020.csv").read_text().splitlines()[1:]
    assert all("Mass" in row and "Edema" not in row for row in rows)


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["--prevalence", "Mass"], 2, "FINDING=SHARE"),
        (["--prevalence", "Mass=much"], 2, "'much' is no number"),
        (["--prevalence", "Mass=0.1,Mass=0.2"], 2, "Mass is given twice"),
        (["--prevalence", "Mass=2"], 1, "the prevalence of Mass is 2.0"),
        (["--prevalence", "Gout=0.2"], 1, "Gout"),
        (["--look", "1,2"], 2, "three numbers"),
        (["--look", "1,,0"], 2, "'nothing' is no number"),
        (["--look", "0,1,0"], 1, "gamma is 0.0"),
        (["--marker", "Mass=0.9,Edema=0.1"], 2, "goes with one finding"),
    ],
)
def test_wrong_hospitals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, reason: str
) -> None:
    assert run(tmp_path / "out", *words) == status
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
