"""``cxr-monai bundle list`` and ``bundle new``."""

from pathlib import Path

import pytest

from cxr_monai.cli import main
from tests.support.bundle_runs import SHIPPED, content


def test_list_names_the_shipped_bundles(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "list"]) == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert set(listed) == {path.name for path in SHIPPED.parent.iterdir() if (path / "configs").is_dir()}
    assert Path(listed["cxr_nih14"]).samefile(SHIPPED)


def test_new_copies_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "new", "cxr_nih14", str(tmp_path / "mine")]) == 0
    assert content(tmp_path / "mine") == content(SHIPPED)
    assert str(tmp_path / "mine") in capsys.readouterr().out


def test_new_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    assert main(["bundle", "new", "cxr_nih14", str(tmp_path / "mine")]) == 2
    assert "error [output-exists]" in capsys.readouterr().err
    assert list((tmp_path / "mine").iterdir()) == []


def test_unknown_name_lists_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "new", "cxr_nih15", str(tmp_path / "mine")]) == 2
    told = capsys.readouterr().err
    assert "error [usage]" in told
    assert "cxr_nih14" in told
    assert not (tmp_path / "mine").exists()


def test_action_is_needed() -> None:
    with pytest.raises(SystemExit) as stop:
        main(["bundle"])
    assert stop.value.code == 2
