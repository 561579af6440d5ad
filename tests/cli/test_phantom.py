"""``cxr-monai phantom``."""

from pathlib import Path

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
