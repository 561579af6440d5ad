"""The command's help, its start, and what it says where something is not installed."""

import subprocess
import sys
from pathlib import Path

import pytest

from apps.node import main, part_process

CLONE = Path(__file__).resolve().parents[3]


def test_help_teaches_by_examples_and_imports_nothing_heavy() -> None:
    check = """
import sys
from apps.node import main
try:
    main(["--help"])
except SystemExit as done:
    assert done.code == 0
print(sorted({"numpy", "torch", "pandas", "pydicom", "pynetdicom", "sqlite3"} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", check], cwd=CLONE, capture_output=True, text=True, check=True)

    assert ran.stdout.splitlines()[-1] == "[]"
    for words in ("cxr-monai-node --config node.toml status", "[[destination]]", "exit status: 0 done"):
        assert words in ran.stdout
    assert "--supervised" not in ran.stdout


def test_as_a_module_it_is_the_same_command() -> None:
    ran = subprocess.run([sys.executable, "-m", "apps.node", "--version"], cwd=CLONE, capture_output=True, text=True)

    assert (ran.returncode, ran.stdout.split()[0]) == (0, "cxr-monai-node")


def test_what_is_not_installed_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "node.toml").write_text('[analyse]\nbundle = "none"\n')
    monkeypatch.setattr(part_process, "find_spec", lambda name: None if name == "pynetdicom" else name)

    assert main(["--config", str(tmp_path / "node.toml")]) == 1
    text = capsys.readouterr().err
    assert text.startswith("cxr-monai-node: error [runtime-missing]: the node needs pynetdicom, which is not installed")
    assert "pip install 'cxr-monai[node]'" in text
    assert not (tmp_path / "spool").exists()


@pytest.mark.parametrize("words", [["--only", "receiver"], ["forget"], ["stat"], ["--unknown"]])
def test_wrong_use_ends_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
