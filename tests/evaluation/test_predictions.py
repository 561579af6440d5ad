"""The predictions file and what stands beside it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.data.files import write_errors
from cxr_monai.evaluation.predictions import write_predictions

PROBABILITIES = np.array([[0.25, 1 / 3], [1e-7, 0.99999994]], dtype=np.float32)
ERRORS = [("c.png", "radiograph-empty", "the file is empty."), ("d, e.png", "radiograph-nan", 'a "quoted" reason.')]


@pytest.mark.parametrize("name", ["p.csv", "p.csv.gz"])
def test_what_is_written_comes_back_to_single_precision(tmp_path: Path, name: str) -> None:
    path = tmp_path / "new" / name
    write_predictions(path, ["a.png", "b/b.png"], PROBABILITIES, ["Mass", "Edema"], {"calibrated": False})
    table = pd.read_csv(path)
    assert table.columns.tolist() == ["image", "Mass", "Edema"]
    assert table["image"].tolist() == ["a.png", "b/b.png"]
    np.testing.assert_allclose(table[["Mass", "Edema"]], PROBABILITIES, rtol=1e-7)
    assert table[["Mass", "Edema"]].to_numpy().max() <= 1
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")


def test_the_record_beside_it(tmp_path: Path) -> None:
    about = {"bundle": "cxr_nih14", "digest": "0" * 64, "precision": "bfloat16", "calibrated": False}
    write_predictions(tmp_path / "p.csv", ["a.png", "b.png"], PROBABILITIES, ["Mass", "Edema"], about)
    assert json.loads((tmp_path / "p.csv.json").read_text()) == about
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv", "p.csv.json"]


def test_what_was_left_out_is_listed_and_an_old_list_removed(tmp_path: Path) -> None:
    names, findings = ["a.png", "b.png"], ["Mass", "Edema"]
    write_predictions(tmp_path / "p.csv", names, PROBABILITIES, findings, {}, ERRORS)
    table = pd.read_csv(tmp_path / "p.csv.errors.csv")
    assert table.columns.tolist() == ["image", "code", "reason"]
    assert list(table.itertuples(index=False, name=None)) == ERRORS
    write_predictions(tmp_path / "p.csv", names, PROBABILITIES, findings, {})
    assert not (tmp_path / "p.csv.errors.csv").exists()


def test_no_image_at_all_leaves_a_header(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.csv", [], np.zeros((0, 2)), ["Mass", "Edema"], {})
    assert (tmp_path / "p.csv").read_text() == "image,Mass,Edema\n"


@pytest.mark.parametrize("kind", [str, Path])
def test_errors_of_any_result(tmp_path: Path, kind: type) -> None:
    expected = tmp_path / "overlays.errors.csv"
    assert write_errors(kind(tmp_path / "overlays"), ERRORS) == expected
    assert expected.is_file()
    assert write_errors(kind(tmp_path / "overlays"), []) == expected
    assert not expected.exists()
    assert write_errors(kind(tmp_path / "overlays"), []) == expected  # nothing to remove is fine
