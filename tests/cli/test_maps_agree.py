"""``cxr-monai maps agree``, as a user types it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.attribution.map_store import MapWriter
from cxr_monai.attribution.view import View
from cxr_monai.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracking_store: str) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_store)
    for seed, name in enumerate(("A", "B", "C")):
        writer = MapWriter(tmp_path / name, {"findings": ["Mass", "Pleural_Thickening"], "points": None})
        for number in range(7):
            maps = np.random.default_rng([seed, number]).random((2, 4, 4))
            writer.add(f"secret{number}.png", View(16, 16, 0, 0, 16, 16), np.array([0.2, 0.9]), maps)
        writer.finish()
    return tmp_path


def agree(*words: str) -> int:
    return main(["maps", "agree", "A", "B", "--out", "out", "--replicates", "20", *words])


def test_tables_are_written_and_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--seeds", "A", "B", "C", "--finding", "pleural thickening", "--threshold", "0.5", "0.9")
    assert agree(*words) == 0
    table = pd.read_csv("out/agreement.csv")
    assert table["finding"].tolist() == ["Pleural_Thickening", "mean"]
    assert {"iou_0.5", "iou_0.9"} < set(table)
    told = capsys.readouterr().out
    assert "what of the disagreement is just the seed" in told
    assert "note: There is no sheet" in told
    assert "the page: out/agreement.html" in told
    assert Path("out/agreement.html").is_file()


def test_mlflow_gets_figures_and_no_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert agree("--experiment", "maps") == 0
    assert "the runs: mlflow ui --backend-store-uri " in capsys.readouterr().out
    (journal,) = Path("out/tracking").glob("agreement-*.jsonl")
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    figures = next(event["values"] for event in events if event.get("kind", event.get("type")) == "metrics")
    assert {"rank_correlation_Mass", "rank_correlation_mean_low", "iou_0.5_Mass"} <= set(figures)
    assert "secret" not in journal.read_text()
    assert "agreement_cases.csv" not in journal.read_text()
    assert "agreement.csv" in journal.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--count", "13"), "--count 13"),
        (("--replicates", "0"), "--replicates 0"),
        (("--seed", "-1"), "--seed -1"),
        (("--present",), "name it with --manifest"),
        (("--out", "A/maps.json"), "it is a file"),
    ],
)
def test_wrong_use(folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    assert agree(*words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--finding", "Edema"), "maps-invalid"),
        (("--seeds", "A", "B"), "maps-invalid"),
        (("--threshold", "2"), "setting-invalid"),
    ],
)
def test_what_cannot_be_done(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: str
) -> None:
    assert agree(*words) == 1
    assert f"[{code}]" in capsys.readouterr().err
