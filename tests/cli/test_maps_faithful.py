"""``cxr-monai maps faithful``, as a user types it."""

import json
from pathlib import Path

import pandas as pd
import pytest

from cxr_monai.cli import main
from cxr_monai.labels import NIH14
from tests.support.bundle_runs import Phantoms

QUICK = ("--steps", "2", "--controls", "1", "--samples", "0", "--stages", "1", "--draws", "1", "--replicates", "20")


def faithful(bundle: Path, *words: object) -> int:
    return main(["maps", "faithful", str(bundle), *map(str, words), "--out", "out", *QUICK])


def test_a_part_of_a_manifest(
    small: Path, phantoms: Phantoms, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    which = ("--split", "test", "--count", "1", "--finding", *NIH14, "--map-stride", "8")
    words = (phantoms.manifest, *which, "--experiment", "maps")
    assert faithful(small, *words) == 0
    cases = pd.read_csv("out/faithfulness_cases.csv")
    table = phantoms.table
    assert len(cases) == 14
    assert set(cases["image"]) <= set(table.loc[table["split"] == "test", "image"])
    assert set(cases["finding"]) == set(NIH14)
    told = capsys.readouterr().out
    assert "the page: out/faithfulness.html\nthe runs: mlflow ui --backend-store-uri " in told
    page = Path("out/faithfulness.html").read_text()
    assert "secret" not in page
    assert "<dt>intervals over</dt><dd>patients</dd>" in page  # the manifest that was the input
    (journal,) = Path("out/tracking").glob("faithfulness-*.jsonl")
    assert "secret" not in journal.read_text()
    assert "faithfulness_cases.csv" not in journal.read_text()
    names = {name for line in journal.read_text().splitlines() for name in json.loads(line).get("values", {})}
    assert {"deletion_gain_cam", "insertion_cam", "survival_cam"} <= names


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--count", "0"), "--count 0: it must be at least 1"),
        (("--seed", "-1"), "--seed -1"),
        (("--draws", "0"), "--draws 0"),
    ],
)
def test_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    assert main(["maps", "faithful", str(tmp_path), str(tmp_path), "--out", str(tmp_path / "o"), *words]) == 2
    assert said in capsys.readouterr().err


def test_out_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "o").write_text("")
    assert main(["maps", "faithful", str(tmp_path), str(tmp_path), "--out", str(tmp_path / "o")]) == 2
    assert "it is a file" in capsys.readouterr().err


def test_an_unknown_method_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["maps", "faithful", "b", "i", "--out", str(tmp_path / "o"), "--method", "grad"])
    assert caught.value.code == 2
