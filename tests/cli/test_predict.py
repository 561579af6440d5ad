"""``cxr-monai predict``, and how fast the command answers."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from cxr_monai.cli import main
from cxr_monai.labels import NIH14
from tests.support.bundle_runs import Phantoms


def predict(bundle: Path, *inputs: Path, words: tuple[str, ...] = ()) -> int:
    return main(["predict", str(bundle), *map(str, inputs), "--out", "p.csv", "--workers", "0", *words])


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A file named like an image."""
    file = tmp_path / "bad.png"
    file.write_bytes(b"not a picture")
    return file


def test_files(small: Path, phantoms: Phantoms, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = phantoms.files("test")[:3]
    assert predict(small, *files, words=("--float32",)) == 0
    table = pd.read_csv("p.csv")
    assert list(table.columns) == ["image", *NIH14]
    assert list(table["image"]) == [str(file) for file in files]
    about = json.loads(Path("p.csv.json").read_text())
    assert about["precision"] == "float32"
    assert about["calibrated"] is False
    assert len(about["bundle"]) == 64
    assert not Path("p.csv.errors.csv").exists()
    assert "3 of 3 images predicted, not calibrated: p.csv" in capsys.readouterr().out


def test_manifest(small: Path, phantoms: Phantoms, elsewhere: Path) -> None:
    assert predict(small, phantoms.manifest) == 0
    assert list(pd.read_csv("p.csv")["image"]) == list(phantoms.table["image"])


def test_bad_file_is_reported_and_the_status_is_0(
    small: Path, phantoms: Phantoms, bad: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(small, bad, phantoms.files("test")[0]) == 0
    assert len(pd.read_csv("p.csv")) == 1
    errors = pd.read_csv("p.csv.errors.csv")
    assert list(errors.columns) == ["image", "code", "reason"]
    assert list(errors.iloc[0][["image", "code"]]) == [str(bad), "radiograph-not-an-image"]
    told = capsys.readouterr()
    assert "1 of 2 images predicted" in told.out
    assert "1 left out: p.csv.errors.csv" in told.err
    assert f"{bad} [radiograph-not-an-image]" in told.err


def test_strict(small: Path, phantoms: Phantoms, bad: Path, elsewhere: Path) -> None:
    assert predict(small, bad, phantoms.files("test")[0], words=("--strict",)) == 1
    assert len(pd.read_csv("p.csv")) == 1  # what could be done is there
    assert predict(small, phantoms.files("test")[0], words=("--strict", "--force")) == 0
    assert not Path("p.csv.errors.csv").exists()  # the old list is gone


def test_nothing_read(small: Path, bad: Path, elsewhere: Path) -> None:
    assert predict(small, bad) == 1
    assert len(pd.read_csv("p.csv.errors.csv")) == 1
    assert not Path("p.csv").exists()


def written() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path().glob("p.csv*")}


def test_an_earlier_result_is_not_overwritten(
    small: Path, phantoms: Phantoms, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(small, *phantoms.files("test")[:2]) == 0
    before = written()
    assert predict(small, phantoms.files("test")[0]) == 2
    assert "error [output-exists]: p.csv: p.csv is already there" in capsys.readouterr().err
    assert written() == before
    assert predict(small, phantoms.files("test")[0], words=("--force",)) == 0
    assert len(pd.read_csv("p.csv")) == 1


# the command in a process of its own, which a kill ends behind its second batch
KILLED = """
import os, signal, sys
from cxr_monai.cli import main
from cxr_monai.evaluation.streaming import PredictionRows

add, batches = PredictionRows.add, []

def kill(self, *batch):
    add(self, *batch)
    batches.append(batch)
    if len(batches) == 2:
        print([name for name in ("mlflow", "captum") if name in sys.modules], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

PredictionRows.add = kill
main(sys.argv[1:])
"""


def test_killed_it_goes_on_to_the_same_bytes(
    small: Path, phantoms: Phantoms, bad: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [phantoms.files("test")[0], bad, *phantoms.files("test")[1:6]]
    words = ("--batch-size", "2", "--force")
    assert predict(small, *files, words=words[:2]) == 0
    whole = written()
    for path in whole:
        Path(path).unlink()
    command = ["predict", str(small), *map(str, files), "--out", "p.csv", "--workers", "0", *words[:2]]
    process = subprocess.run([sys.executable, "-c", KILLED, *command], capture_output=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert process.stdout.split() == [b"[]"]  # prediction needs neither
    assert list(written()) == ["p.csv.part"]
    left = written()
    for other in (files[1:], files[::-1]):  # another list does not go on with it
        assert predict(small, *other, words=words[:2]) == 2
        assert "differs in images" in capsys.readouterr().err
        assert written() == left
    assert predict(small, *files, words=("--batch-size", "3")) == 2
    assert "differs in batch_size" in capsys.readouterr().err
    assert predict(small, *files, words=words[:2]) == 0
    told = capsys.readouterr()
    assert "4 of 7 images were done before: p.csv.part" in told.err
    assert "6 of 7 images predicted" in told.out
    assert f"{bad} [radiograph-not-an-image]" in told.err  # of the run that was killed
    assert written() == whole


def test_missing_bundle(phantoms: Phantoms, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(elsewhere / "nowhere", phantoms.files("test")[0]) == 1
    assert capsys.readouterr().err.startswith("cxr-monai predict: error [bundle-invalid]: ")
    assert not Path("p.csv").exists()


def test_missing_weights(small: Path, phantoms: Phantoms, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = Path(shutil.copytree(small, "copy"))
    (copy / "models" / "model.pt").unlink()
    assert predict(copy, phantoms.files("test")[0]) == 1
    assert "error [weights-missing]" in capsys.readouterr().err


def test_missing_manifest(small: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(small, elsewhere / "nowhere.csv") == 1
    assert "error [manifest-not-found]" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("--batch-size", "0"), ("--batch-size", "many"), ("--nothing",)])
def test_wrong_use(words: tuple[str, ...], small: Path, phantoms: Phantoms, elsewhere: Path) -> None:
    try:
        status = predict(small, phantoms.files("test")[0], words=words)
    except SystemExit as stop:  # argparse's way
        status = int(stop.code or 0)
    assert status == 2
    assert not Path("p.csv").exists()


def test_negative_workers(small: Path, phantoms: Phantoms, elsewhere: Path) -> None:
    words = ["--out", "p.csv", "--workers", "-1"]
    assert main(["predict", str(small), str(phantoms.files("test")[0]), *words]) == 2


# ---------------------------------------------------------------- answering at once


def test_help_takes_few_modules() -> None:
    """Half a second is what it may take; seconds are another number on every machine, modules are not."""
    code = (
        "import sys, contextlib, io\n"
        "before = set(sys.modules)\n"
        "from cxr_monai.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    main(['--help'])\n"
        "print(len(set(sys.modules) - before))"
    )
    process = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(process.stdout) < 60


@pytest.mark.parametrize("command", [(), ("predict",), ("bundle",), ("split",)])
def test_help_loads_nothing_heavy(command: tuple[str, ...]) -> None:
    code = (
        "import sys, contextlib, io\n"
        "from cxr_monai.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        f"    main({[*command, '--help']!r})\n"
        "print(sorted({'torch', 'monai', 'pandas', 'numpy', 'mlflow', 'matplotlib'} & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert process.stdout.strip() == "[]"
