"""The gate under MONAI's own engine: the verdicts of ``cxr-monai predict``, and an error where it was taken away."""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_monai.bundle.carried_gate import GATE, GATE_TENSORS
from cxr_monai.errors import GateError, SettingError
from cxr_monai.evaluation.predictions import read_predictions
from cxr_monai.gate.bundle_gate import GATE_COLUMNS
from cxr_monai.gate.configured_gate import bundle_gate
from cxr_monai.gate.fitted_gate import GATE_SCORES
from cxr_monai.inference.model import Model
from tests.support.bundle_runs import Phantoms, code_of, edit, run

SETTINGS: dict[str, Any] = {"batch_size": 8, "num_workers": 0}


@pytest.fixture(scope="module")
def films(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """19 films: good ones, the same turned, the same inverted, one that stands twice; and a file that is none."""
    folder = tmp_path_factory.mktemp("films")
    good = phantoms.files("test")[:6]
    for file in good:
        shutil.copy(file, folder / f"good_{file.name}")
        picture = np.asarray(Image.open(file).convert("L"))
        Image.fromarray(np.ascontiguousarray(np.rot90(picture))).save(folder / f"turned_{file.name}")
        Image.fromarray(255 - picture).save(folder / f"inverted_{file.name}")
    shutil.copy(good[0], folder / "z_again.png")
    (folder / "no_picture.png").write_bytes(b"no picture")
    return folder


def evidence(out: Path) -> pd.DataFrame:
    table = pd.read_csv(out / "predictions.csv.gate.csv")
    assert list(table.columns) == list(GATE_COLUMNS)
    return table


def test_inference_has_the_verdicts_of_predict(gated: Path, films: Path, tmp_path: Path) -> None:
    bundle, out = gated / "bundle", tmp_path / "out"
    run(bundle, "inference", dataset_dir=str(films), output_dir=str(out), amp=False, **SETTINGS)
    files = sorted(films.glob("*.png"))
    expected = Model.open(bundle, amp=False, **SETTINGS).predict(files, [file.name for file in files])
    table, predicted = evidence(out), read_predictions(out / "predictions.csv")
    assert expected.gate is not None
    assert list(table["image"]) == list(expected.gate["image"]) == [f.name for f in files if f.stem != "no_picture"]
    for column in ("gate", "code", "duplicate_of", "pixel_digest", "picture_hash"):
        assert list(table[column].fillna("")) == list(expected.gate[column]), column
    scores = [name for name in (*GATE_SCORES, "score") if expected.gate[name].notna().any()]
    assert "network_distance" in scores
    np.testing.assert_allclose(table[scores], expected.gate[scores].astype(float), rtol=1e-3, atol=1e-3)
    refused = set(table.loc[table["gate"] == "refuse", "image"])
    assert {name for name in table["image"] if name.startswith(("turned_", "inverted_"))} <= refused
    assert list(predicted.table["image"]) == list(expected.table["image"])
    assert refused.isdisjoint(predicted.table["image"])
    errors = pd.read_csv(out / "predictions.csv.errors.csv")
    assert [tuple(row) for row in errors.itertuples(index=False)] == expected.errors
    assert set(errors["image"]) == refused | {"no_picture.png"}
    assert predicted.about["gate"] == expected.about["gate"]
    assert predicted.about["gate"]["mode"] == "refuse"


def test_evaluation_measures_all_films_and_writes_what_the_gate_would_refuse(
    gated: Path, phantoms: Phantoms, tmp_path: Path
) -> None:
    run(gated / "bundle", "evaluate", manifest=str(phantoms.manifest), output_dir=str(tmp_path), **SETTINGS)
    names = set(phantoms.table.query("split == 'test'")["image"])
    predicted = read_predictions(tmp_path / "predictions.csv")
    assert set(predicted.table["image"]) == set(evidence(tmp_path)["image"]) == names
    assert predicted.about["gate"]["mode"] == "refuse"


def test_ten_crops_and_explanations_are_judged(gated: Path, films: Path, tmp_path: Path) -> None:
    bundle, crops, maps = gated / "bundle", tmp_path / "crops", tmp_path / "maps"
    run(bundle, "inference", "ten_crop", dataset_dir=str(films), output_dir=str(crops), **SETTINGS)
    table = evidence(crops)
    assert len(table) == 19
    assert np.isfinite(table["network_distance"]).all()
    images = [str(path) for path in (*sorted(films.glob("good_*"))[:2], *sorted(films.glob("turned_*"))[:1])]
    run(bundle, "explain", images=images, output_dir=str(maps), methods=["cam"], pictures=1)
    assert list(pd.read_csv(maps / "explanations.gate.csv")["image"]) == [Path(image).name for image in images]
    assert Path(images[2]).name in set(pd.read_csv(maps / "explanations.errors.csv")["image"])


def test_without_a_gate_nothing_is_judged(gated: Path, films: Path, tmp_path: Path) -> None:
    settings = {"dataset_dir": str(films), "output_dir": str(tmp_path), **SETTINGS}
    run(gated / "bundle", "inference", **settings, gate_mode="off")
    assert len(read_predictions(tmp_path / "predictions.csv").table) == 19
    assert read_predictions(tmp_path / "predictions.csv").about["gate"] == {"mode": "off"}
    assert not (tmp_path / "predictions.csv.gate.csv").exists()


@pytest.mark.parametrize("taken", [(GATE,), (GATE_TENSORS,), (GATE, GATE_TENSORS), ()])
def test_a_gate_that_was_taken_away_is_an_error(
    taken: tuple[str, ...], gated: Path, films: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(gated / "bundle", tmp_path / "bundle"))
    for name in taken:
        (bundle / name).unlink()
    if not taken:  # another one in its place
        (bundle / GATE).write_text((bundle / GATE).read_text() + " ")
    settings = {"dataset_dir": str(films), "output_dir": str(tmp_path / "out"), **SETTINGS}
    for attempt in (lambda: run(bundle, "inference", **settings), lambda: Model.open(bundle)):
        with pytest.raises(GateError) as error:
            attempt()
        assert code_of(error) == "gate-invalid"
    assert Model.open(bundle, gate="off").gate.fitted is None


def test_a_configuration_without_its_folder_says_that_it_has_no_gate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = bundle_gate(tmp_path, digest="0" * 64)
    assert gate.fitted is None
    assert gate.observer is None
    assert "no film is refused" in gate.missing
    assert gate.missing in caplog.text


def test_another_bundles_folder_is_an_error(gated: Path) -> None:
    with pytest.raises(GateError) as error:
        bundle_gate(gated / "bundle", digest="0" * 64)
    assert code_of(error) == "gate-invalid"


def test_the_mode_is_a_setting_of_its_own(gated: Path, films: Path, tmp_path: Path) -> None:
    settings = {"dataset_dir": str(films), "output_dir": str(tmp_path / "out"), **SETTINGS}
    with pytest.raises(SettingError, match="--gate_mode: refuse, review or off"):
        run(gated / "bundle", "inference", **settings, gate="off")
    with pytest.raises(SettingError, match="refuse, review, off"):
        run(gated / "bundle", "inference", **settings, gate_mode="maybe")


def test_a_configuration_of_before_works_and_says_that_it_has_no_gate(
    gated: Path, films: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = Path(shutil.copytree(gated / "bundle", tmp_path / "bundle"))

    def as_before(config: dict[str, Any]) -> None:
        del config["gate"], config["gate_mode"], config["dataset"]["observer"]
        del config["about"]["gate"], config["handlers"][1]["gate"]

    edit(bundle, "inference", as_before)
    with caplog.at_level(logging.INFO):
        run(bundle, "inference", dataset_dir=str(films), output_dir=str(tmp_path / "out"), **SETTINGS)
    assert "this configuration has no gate: no film is refused" in caplog.text
    assert len(read_predictions(tmp_path / "out" / "predictions.csv").table) == 19
