"""JSON beside tables and results that is damaged, or nested until Python's parser gives up, is told with a code."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_monai.attribution.localisation_result import read_localisation
from cxr_monai.attribution.map_store import MapStore, MapWriter
from cxr_monai.data.manifest import read_manifest
from cxr_monai.data.phantom.mark import MARK, is_marked
from cxr_monai.errors import Code, CxrError
from cxr_monai.evaluation.evaluation_folder import read_evaluation
from cxr_monai.evaluation.patients import patients_trained_on
from cxr_monai.evaluation.predictions import read_predictions
from cxr_monai.evaluation.streaming import PredictionRows
from cxr_monai.outputs import result_folder

DEEP = b"[" * 100_000
WRONG = {"deep": DEEP, "cut": b'{"format": 1, ', "list": b"[1]", "bytes": b"\xff\xfe{"}

Read = Callable[[Path], object]


def manifest(folder: Path) -> object:
    table = folder / "m.csv"
    table.write_text("image,patient_id,study_id,view,age,sex,source,split,Mass\na.png,1,,,,,,,1\n")
    return read_manifest(table, check_files=False)


def predictions(folder: Path) -> object:
    (folder / "p.csv").write_text("image,Mass\na.png,0.5\n")
    return read_predictions(folder / "p.csv")


READERS: dict[str, tuple[str, Read, Code]] = {
    "manifest": ("m.csv.json", manifest, Code.MANIFEST_INVALID),
    "predictions": ("p.csv.json", predictions, Code.PREDICTIONS_INVALID),
    "evaluation": ("metrics.json", read_evaluation, Code.EVALUATION_INVALID),
    "localisation": ("localisation.json", read_localisation, Code.EVALUATION_INVALID),
    "maps": ("maps.json", MapStore.open, Code.MAPS_INVALID),
    "maps to write": (
        "maps.json",
        lambda at: MapWriter(at, {"findings": ["Mass"], "points": None}),
        Code.OUTPUT_EXISTS,
    ),
    "patients": (
        "bundle.patients.json",
        lambda at: patients_trained_on(at / "bundle", ["1"]),
        Code.CALIBRATION_INVALID,
    ),
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_refused_with_its_code_and_name(name: str, content: bytes, tmp_path: Path) -> None:
    file, read, code = READERS[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(CxrError, match=re.escape(str(tmp_path))) as caught:
        read(tmp_path)
    assert caught.value.code == code


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_what_is_no_mark_and_no_list_of_earlier_files_is_passed_over(content: bytes, tmp_path: Path) -> None:
    (tmp_path / MARK).write_bytes(content)
    assert not is_marked(tmp_path)
    (tmp_path / "metrics.json").write_bytes(content)
    with result_folder(tmp_path, "metrics.json", force=True) as folder:
        (folder / "metrics.json").write_text("{}")
    assert (tmp_path / "metrics.json").read_text().startswith("{")


def test_a_part_that_begins_with_anything_is_another_prediction(tmp_path: Path) -> None:
    (tmp_path / "p.csv.part").write_bytes(b"# " + DEEP + b"\n")
    with pytest.raises(CxrError, match="interrupted prediction") as caught:
        PredictionRows.open(tmp_path / "p.csv", ["Mass"], {"bundle": "a"}, 3)
    assert caught.value.code == Code.OUTPUT_EXISTS
