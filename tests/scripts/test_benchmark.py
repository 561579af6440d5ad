"""The benchmark's script: what was measured before stays."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "benchmark.py"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, whose folder is where it looks for its parts."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    spec = importlib.util.spec_from_file_location("benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *map(str, words)])
    return benchmark.main()


def test_a_section_is_measured_again_only_if_it_is_forced(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = json.dumps({"evaluate": [{"seconds": 1}], "machine": {}})
    (tmp_path / "benchmark.json").write_text(before)
    begun: list[str] = []
    monkeypatch.setattr(benchmark, "measure", lambda section, arguments: begun.append(section))
    assert run(benchmark, monkeypatch, "--only", "evaluate", "--out", tmp_path) == 2
    assert f"error [output-exists]: {tmp_path / 'benchmark.json'}" in capsys.readouterr().err
    assert (tmp_path / "benchmark.json").read_text() == before
    assert begun == []
    assert run(benchmark, monkeypatch, "--only", "evaluate", "--out", tmp_path, "--force") == 0
    assert run(benchmark, monkeypatch, "--only", "evaluate", "--out", tmp_path / "new") == 0
    assert begun == ["evaluate", "evaluate"]


def test_a_place_that_cannot_be_written_is_named(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert run(benchmark, monkeypatch, "--only", "evaluate", "--out", tmp_path / "file") == 1
    assert "error [write-failed]" in capsys.readouterr().err
