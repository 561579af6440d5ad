"""``cxr-monai split`` and ``cxr-monai check``: what they print, write, refuse and return."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import cxr_monai
from cxr_monai.cli import main
from cxr_monai.data.manifest import build_manifest, read_manifest, split_digest, write_manifest


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """40 images of 20 patients, real files."""
    generator = np.random.default_rng(0)
    names = [f"{n:03}.png" for n in range(40)]
    (tmp_path / "images").mkdir()
    for name in names:
        Image.fromarray(generator.integers(0, 255, (32, 32), dtype=np.uint8)).save(tmp_path / "images" / name)
    labels = {"Mass": [n // 2 % 2 for n in range(40)], "Edema": [int(n // 2 % 3 == 0) for n in range(40)]}
    table = pd.DataFrame({"image": names, "patient_id": [n // 2 for n in range(40)]}).assign(**labels)
    path = tmp_path / "m.csv"
    write_manifest(build_manifest(table, tmp_path / "images", "local"), path)
    return path


def lists(folder: Path, **ranges: range) -> list[str]:
    words = []
    for name, numbers in ranges.items():
        path = folder / f"{name}.txt"
        path.write_text("".join(f"{n:03}.png 0 0\n" for n in numbers))
        words += [f"--{name.replace('_', '-')}", str(path)]
    return words


def test_random_in_place_prints_images_patients_and_balance(manifest: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["--scheme", "random", "--fractions", "0.5,0.25,0.25", "--seed", "3"]
    assert main(["split", str(manifest), *words]) == 0
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert printed[:4] == ["images patients", "train 20 10", "val 10 5", "test 10 5"]
    assert any(line.startswith("Mass 50.000") for line in printed)
    result = read_manifest(manifest)
    assert result.table["split"].value_counts().to_dict() == {"train": 20, "val": 10, "test": 10}
    assert result.split is not None
    assert (result.split.seed, result.split.details) == (3, {"fractions": [0.5, 0.25, 0.25]})
    assert printed[-1] == f"{manifest}: scheme random, seed 3, digest {split_digest(result.table)[:12]}"


def test_out_leaves_the_manifest_as_it_is(manifest: Path) -> None:
    before = manifest.read_bytes(), manifest.with_name("m.csv.json").read_bytes()
    out = manifest.parent / "elsewhere" / "folds.csv.gz"
    assert main(["split", str(manifest), "--scheme", "kfold", "--k", "4", "--out", str(out)]) == 0
    assert (manifest.read_bytes(), manifest.with_name("m.csv.json").read_bytes()) == before
    result = read_manifest(out)  # the root is still found
    assert sorted(result.table["fold"].unique()) == [0, 1, 2, 3]
    assert result.table["split"].eq("").all()


def test_official_finds_the_lists_in_the_root(manifest: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["split", str(manifest), "--scheme", "official"]) == 2
    assert "there is no train_val_list.txt" in (message := capsys.readouterr().err)
    assert "--train-val-list" in message
    lists(manifest.parent / "images", train_val_list=range(30), test_list=range(30, 44))
    assert main(["split", str(manifest), "--scheme", "official", "--val-fraction", "0.2"]) == 0
    assert "4 listed images are not in the manifest" in capsys.readouterr().out
    assert read_manifest(manifest).table["split"].value_counts().to_dict() == {"train": 24, "val": 6, "test": 10}


def test_nought_is_a_value(manifest: Path, capsys: pytest.CaptureFixture) -> None:
    lists(manifest.parent / "images", train_val_list=range(30), test_list=range(30, 40))
    assert main(["split", str(manifest), "--scheme", "official", "--val-fraction", "0"]) == 0
    result = read_manifest(manifest)
    assert result.table["split"].value_counts().to_dict() == {"train": 30, "test": 10}
    assert result.split is not None
    assert result.split.details["val_fraction"] == 0
    before = manifest.read_bytes()
    capsys.readouterr()
    assert main(["split", str(manifest), "--scheme", "kfold", "--k", "0"]) == 1
    assert "error [split-invalid]" in (message := capsys.readouterr().err)
    assert "k is 0" in message
    assert manifest.read_bytes() == before


def test_no_source_takes_nought_for_false() -> None:
    """``0 in (None, False)`` is true."""
    package = Path(cxr_monai.__file__).parent
    taken = [
        f"{path.relative_to(package)}:{node.lineno}"
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare) and any(map(_holds_none_and_a_boolean, node.comparators))
    ]
    assert taken == []


def _holds_none_and_a_boolean(node: ast.expr) -> bool:
    if not isinstance(node, ast.Tuple | ast.List | ast.Set):
        return False
    constants = [part.value for part in node.elts if isinstance(part, ast.Constant)]
    return None in constants and any(isinstance(value, bool) for value in constants)


def test_lists_with_a_patient_on_two_sides_are_refused_and_nothing_is_written(
    manifest: Path, capsys: pytest.CaptureFixture
) -> None:
    before = manifest.read_bytes()
    words = lists(manifest.parent, train=range(21), val=range(21, 30), test=range(30, 40))
    assert main(["split", str(manifest), "--scheme", "lists", *words]) == 1
    message = capsys.readouterr().err
    assert "error [patient-leak]" in message
    assert "patient '10' is in train (line 22) and val (line 23)" in message
    assert manifest.read_bytes() == before
    words = lists(manifest.parent, train=range(20), val=range(20, 30), test=range(30, 40))
    assert main(["split", str(manifest), "--scheme", "lists", *words]) == 0
    assert read_manifest(manifest).table["split"].value_counts().to_dict() == {"train": 20, "val": 10, "test": 10}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--scheme", "random", "--k", "4"], "--scheme random has no --k; it has --fractions, --seed"),
        (["--scheme", "kfold", "--val-fraction", "0.1"], "--scheme kfold has no --val-fraction"),
        (["--scheme", "lists", "--seed", "1"], "--scheme lists has no --seed"),
        (["--scheme", "lists", "--seed", "0"], "--scheme lists has no --seed"),
        (["--scheme", "kfold", "--val-fraction", "0"], "--scheme kfold has no --val-fraction"),
        (["--scheme", "random", "--k", "0"], "--scheme random has no --k"),
        (["--scheme", "lists", "--train", "a"], "needs --train, --val and --test"),
        (["--scheme", "random", "--fractions", "0.5;0.5"], "--fractions is '0.5;0.5'"),
    ],
)
def test_options_of_another_scheme_are_refused(
    manifest: Path, words: list[str], expected: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["split", str(manifest), *words]) == 2
    assert expected in capsys.readouterr().err


def test_check_of_a_good_manifest(manifest: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["check", str(manifest), "--pixels"]) == 0
    printed = capsys.readouterr().out
    assert "40 images of 20 patients" in printed
    assert "Nothing is wrong with it." in printed
    assert f"Picture: {manifest.parent / 'm.check.png'}" in printed
    assert (manifest.parent / "m.check.png").stat().st_size > 10_000


@pytest.mark.parametrize("words", [["check"], ["split", "--scheme", "random"]])
def test_a_table_of_labels_is_told_the_command_that_makes_a_manifest_of_it(
    words: list[str], manifest: Path, capsys: pytest.CaptureFixture
) -> None:
    labels = manifest.with_name("labels.csv")
    labels.write_text("Path,Sex,No Finding,Edema\n000.png,Male,,1\n")
    assert main([words[0], str(labels), *words[1:]]) == 1
    told = capsys.readouterr().err
    assert "[manifest-invalid]" in told
    assert f"cxr-monai manifest folder ROOT --labels {labels} --out manifest.csv" in told
    assert not labels.with_name("labels.check.png").exists()


def test_check_counts_the_labels_of_a_scheme(manifest: Path, capsys: pytest.CaptureFixture) -> None:
    own = manifest.parent / "own.json"
    own.write_text('{"groups": {"Any": ["Mass", "Edema"], "Normal": []}, "findings": ["Mass", "Edema"]}')
    assert main(["check", str(manifest), "--scheme", str(own)]) == 0
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    labels = read_manifest(manifest).labels()
    positive = int(labels.any(axis=1).sum())
    rows = printed[printed.index("Labels of the scheme own") :]
    assert rows[2].startswith(f"Any 40 {positive} ")
    assert rows[3].startswith(f"Normal 40 {40 - positive} ")
    assert "Positive images by split" not in printed
    assert main(["split", str(manifest), "--scheme", "random", "--fractions", "0.5,0.25,0.25"]) == 0
    assert main(["check", str(manifest), "--scheme", str(own)]) == 0
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert printed[printed.index("Positive images by split") + 1] == "train val test"
    assert main(["check", str(manifest), "--scheme", "categories"]) == 1
    assert "error [unknown-finding]" in capsys.readouterr().err


def test_check_writes_text_and_picture_where_told(manifest: Path, capsys: pytest.CaptureFixture) -> None:
    out = manifest.parent / "report" / "today"
    assert main(["check", str(manifest), "--out", str(out)]) == 0
    text = (out / "check.txt").read_text()
    assert capsys.readouterr().out.startswith(text.rstrip("\n"))
    assert (out / "check.png").is_file()
    assert not (manifest.parent / "m.check.png").exists()


def test_check_shows_the_rest_of_a_table_whose_files_are_missing(manifest: Path, capsys: pytest.CaptureFixture) -> None:
    (manifest.parent / "images" / "007.png").unlink()
    assert main(["check", str(manifest)]) == 1
    printed = capsys.readouterr().out
    assert "line 9: there is no '007.png'" in printed
    assert "Co-occurrence" in printed
    assert main(["check", str(manifest), "--table-only"]) == 0
    assert main(["check", str(manifest), "--table-only", "--root", "/nowhere"]) == 0
    assert main(["check", str(manifest), "--root", "/nowhere"]) == 1


def test_check_of_an_invalid_table_tells_everything(manifest: Path, capsys: pytest.CaptureFixture) -> None:
    manifest.write_text(manifest.read_text().replace("003.png,1,", "003.png,,").replace("005.png,2", "../5.png,2"))
    assert main(["check", str(manifest)]) == 1
    message = capsys.readouterr().err
    assert "error [manifest-invalid]" in message
    assert "line 5: patient_id is empty" in message
    assert "line 7: image is '../5.png'" in message


def test_check_finds_one_radiograph_under_two_patients_and_broken_files(
    manifest: Path, capsys: pytest.CaptureFixture
) -> None:
    images = manifest.parent / "images"
    (images / "004.png").write_bytes((images / "030.png").read_bytes())
    (images / "011.png").write_bytes((images / "010.png").read_bytes())
    (images / "020.png").write_bytes(b"")
    assert main(["check", str(manifest)]) == 0  # only the pixels tell
    capsys.readouterr()
    assert main(["check", str(manifest), "--pixels"]) == 1
    printed = capsys.readouterr().out
    assert "1 radiograph stands under several patients" in printed
    assert "004.png (patient 2), 030.png (patient 15)" in printed
    assert "020.png: [radiograph-empty]" in printed
    assert "1 image repeats another of the same patient" in printed
    assert "011.png" not in printed


@pytest.mark.parametrize("command", ["split", "check"])
def test_help_loads_nothing_heavy(command: str) -> None:
    code = (
        "import sys; from cxr_monai.cli import build_parser; build_parser(sys.argv[1]).format_help();"
        "sys.exit(','.join({'pandas', 'numpy', 'torch', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


MEASURE = """
import re, sys
from pathlib import Path
from cxr_monai.cli import main
status = main(sys.argv[1:])
# not ru_maxrss: that of a child starts with what its parent held
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024, file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.realdata
def test_the_real_table_is_split_within_its_memory(realdata: Path, chexnet_manifest: Path, tmp_path: Path) -> None:
    lists_in = realdata / "nih" / "official_split"
    words = ["split", str(chexnet_manifest), "--out", str(tmp_path / "m.csv"), "--scheme", "official"]
    words += ["--train-val-list", str(lists_in / "train_val_list.txt.gz")]
    words += ["--test-list", str(lists_in / "test_list.txt.gz")]
    done = subprocess.run([sys.executable, "-c", MEASURE, *words], capture_output=True, text=True, check=True)
    assert "test   25,596    2,797" in done.stdout
    assert float(done.stderr.splitlines()[-1]) < 700  # MB; the issue allows 1,000 together with making the manifest
