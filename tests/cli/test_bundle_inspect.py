"""``cxr-monai bundle inspect``."""

import json
from pathlib import Path

import pytest

from cxr_monai.cli import main
from tests.support.bundle_runs import SHIPPED


def test_a_shipped_bundle_is_not_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "inspect", str(SHIPPED)]) == 0
    told = capsys.readouterr().out
    assert "REFUSED" not in told
    assert " 0 refused" in told


def test_what_is_refused_is_shown_with_place_and_reason_and_the_exit_status_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.json").write_text('{"a": [{"_target_": "os.system"}], "b": "$len(\'\\u001b[2J\')"}')
    assert main(["bundle", "inspect", str(tmp_path), "--all", "--json", str(tmp_path / "found.json")]) == 1
    told = capsys.readouterr().out
    assert "REFUSED    callable    configs/train.json, a#0#_target_\n           os.system\n" in told
    assert "\x1b" not in told
    found = json.loads((tmp_path / "found.json").read_text())
    assert [(one["where"], one["verdict"]) for one in found["remarks"]] == [
        ("a#0#_target_", "refused"),
        ("b", "allowed"),
    ]
    assert found["refused"] == 1
