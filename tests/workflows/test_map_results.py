"""Whose patient an image is, and the tables of results on maps."""

from pathlib import Path

import pandas as pd
import pytest

from cxr_monai.attribution.result_tables import write_result_tables
from cxr_monai.data.manifest import build_manifest
from cxr_monai.errors import Code, ManifestError
from cxr_monai.workflows.map_results import image_patients


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


def test_tables_of_a_result(tmp_path: Path) -> None:
    table = pd.DataFrame({"method": ["cam", "gradcam++"], "x": [1 / 3, None]})
    written = write_result_tables({"one": table}, tmp_path / "new" / "folder")
    assert [path.name for path in written] == ["one.csv"]
    assert written[0].read_text() == "method,x\ncam,0.3333\ngradcam++,\n"
