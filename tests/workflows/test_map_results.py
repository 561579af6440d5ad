"""Whose patient an image is, and the tables and figures of results on maps."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.data.manifest import build_manifest
from cxr_monai.errors import Code, ManifestError
from cxr_monai.workflows.map_results import figures_of, image_patients, write_map_tables

NAN = float("nan")


def test_patients_of_a_manifest() -> None:
    table = pd.DataFrame({"image": ["a.png", "b.png", "c.png"], "patient_id": ["1", "1", "2"], "Mass": [0, 1, 0]})
    manifest = build_manifest(table, "/nowhere", "local")
    patients, told, notes = image_patients(["c.png", "a.png", "c.png", "x.png"], manifest)
    assert patients.to_dict() == {"c.png": "2", "a.png": "1"}
    assert told == "patients"
    assert notes == ["1 of 3 images are not in the manifest and are left out."]
    # by file name, where the paths differ
    assert image_patients(["other/b.png"], manifest)[0].to_dict() == {"other/b.png": "1"}
    with pytest.raises(ManifestError) as caught:
        image_patients(["x.png"], manifest)
    assert caught.value.code == Code.MANIFEST_INVALID


def test_without_a_manifest_each_image_is_a_patient() -> None:
    patients, told, _ = image_patients(["a", "b", "a"], None)
    assert patients.to_dict() == {"a": "a", "b": "b"}
    assert told.startswith("images: no manifest was given")


def test_tables_and_figures(tmp_path: Path) -> None:
    table = pd.DataFrame({"method": ["cam", "gradcam++"], "x": [1 / 3, NAN], "x_low": [0.1, NAN], "x_high": [0.5, NAN]})
    written = write_map_tables({"one": table}, tmp_path / "new" / "folder")
    assert [path.name for path in written] == ["one.csv"]
    assert written[0].read_text() == "method,x,x_low,x_high\ncam,0.3333,0.1000,0.5000\ngradcam++,,,\n"
    figures = figures_of(table, "method", ["x"])
    assert figures["x_cam"] == 1 / 3
    assert figures["x_cam_high"] == 0.5
    assert np.isnan(figures["x_gradcam++"])
