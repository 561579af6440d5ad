"""What reading said of the films that were taken is counted and said by what takes them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cxr_monai.cli import main
from cxr_monai.data.manifest import build_manifest, write_manifest
from cxr_monai.inference.model import Model
from tests.data.test_radiograph_dicom import SIDE, dicom, lut, written
from tests.support.bundle_runs import run
from tests.support.tiny_bundles import tiny_bundle

LATERAL = "a lateral view: models here learn from frontal ones"
BLACK = "nearly black: its brightest pixel is below 40% of the range that the file declares"
TABLE = "a look-up table (VOILUTSequence) cannot be used: it has 2 of the 256 entries that it declares"
FILMS: dict[str, tuple[float, dict[str, Any]]] = {
    "a.dcm": (1, {}),
    "b.dcm": (1, {"ViewPosition": "LL"}),
    "c.dcm": (1, {"ViewPosition": "RL"}),
    "d.dcm": (0.2, {}),
    "e.dcm": (1, {"ViewPosition": "LL", "VOILUTSequence": lut([0, 1], 0, 8, count=256)}),
    "f.dcm": (1, {}),
    "hand.dcm": (1, {"BodyPartExamined": "HAND", "ViewPosition": "LL"}),
}
COUNTS = {LATERAL: 3, TABLE: 1, BLACK: 1}
SAID = [
    f"3 of 6 images (such as b.dcm): {LATERAL}",
    f"1 of 6 images (e.dcm): {TABLE}",
    f"1 of 6 images (d.dcm): {BLACK}",
]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six films, of which four are odd, and a hand; ``M.csv`` beside them."""
    root = tmp_path_factory.mktemp("films")
    chance = np.random.default_rng(0)
    for name, (share, attributes) in FILMS.items():
        pixels = (chance.integers(0, 4096, (SIDE, SIDE)) * share).astype(np.uint16)
        (root / name).write_bytes(written(dicom(pixels, bits=12, **attributes)))
    table = pd.DataFrame({"image": list(FILMS), "patient_id": list(FILMS), "Effusion": 0.0, "Mass": 1.0})
    write_manifest(build_manifest(table, root, "local"), root.parent / "M.csv")
    return root


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "B", 0)


def notes_of(text: str) -> list[str]:
    return [line.removeprefix("note: ") for line in text.splitlines() if line.startswith("note: ")]


def test_predict(films: Path, bundle: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(bundle), str(films), "--workers", "0", "--out", "p.csv"]) == 0
    assert notes_of(capsys.readouterr().out) == SAID
    assert json.loads(Path("p.csv.json").read_text())["notes"] == COUNTS
    assert main(["predict", str(bundle), str(films / "a.dcm"), "--workers", "0", "--out", "q.csv"]) == 0
    assert notes_of(capsys.readouterr().out) == []
    assert "notes" not in json.loads(Path("q.csv.json").read_text())


def test_an_interrupted_prediction_counts_all(
    films: Path, bundle: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["predict", str(bundle), str(films), "--workers", "0", "--batch-size", "2", "--out", "p.csv"]
    answer = Model.answer_batches

    def interrupted(self: Model, *arguments: Any) -> Iterator[Any]:
        parts = answer(self, *arguments)
        yield next(parts)
        yield next(parts)
        raise KeyboardInterrupt

    monkeypatch.setattr(Model, "answer_batches", interrupted)
    assert main(words) == 130
    monkeypatch.setattr(Model, "answer_batches", answer)
    capsys.readouterr()
    assert main(words) == 0
    assert notes_of(capsys.readouterr().out) == SAID
    assert json.loads(Path("p.csv.json").read_text())["notes"] == COUNTS


def test_explain(films: Path, bundle: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["explain", str(bundle), str(films), "--workers", "0", "--out", "maps"]
    for _ in range(2):  # the second time nothing is read
        assert main(words) == 0
        assert notes_of(capsys.readouterr().out) == SAID


def test_check_names_examples(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(films.parent / "M.csv"), "--pixels", "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().out
    assert f"  3 of 6 images (b.dcm, c.dcm, e.dcm): {LATERAL}.\n" in told
    assert f"  1 of 6 images (d.dcm): {BLACK}.\n" in told
    assert "hand.dcm: [radiograph-wrong-modality]" in told


@pytest.mark.parametrize("config", ["inference", "explain"])
def test_the_bundles_configurations(
    config: str, films: Path, bundle: Path, elsewhere: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given: dict[str, Any] = {"num_workers": 0, "dataset_dir": str(films)}
    if config == "explain":
        given = {"images": str(films), "methods": "cam", "pictures": 0}
    run(bundle, config, output_dir="out", **given)
    assert [message for message in caplog.messages if " of 6 images (" in message] == SAID
    if config == "inference":
        assert json.loads(Path("out/predictions.csv.json").read_text())["notes"] == COUNTS
