"""Pictures as DICOM files, and a calibrated bundle with a gate of such pictures."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxr_monai.evaluation.calibration import Calibrator
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.objects import FilmResult, ResultKind, ResultObject
from tests.support.film_results import HEADER, film_content
from tests.support.geometry_gates import with_geometry_gate
from tests.support.tiny_bundles import LABELS, tiny_bundle

BUILDING = import_module("cxr_monai.objects.result_objects")  # its name is also a function's of the package
SMOOTH = Fitted(
    {LABELS[0]: (Calibrator("temperature", {"temperature": 2.0}),), LABELS[1]: ()},
    {LABELS[0]: {"youden": 0.0, "f1": 1.0}, LABELS[1]: {"youden": 1.0, "f1": 0.0}},
    {},
    {},
)
"""Every film is over the first rule's point of the first finding and under that of the second; the other way round by
the second rule. The second finding is not calibrated."""


def save_film(path: Path, levels: np.ndarray, uid: str = "1.2.3.4", **header: Any) -> Path:
    """Write a picture, uint8 ``[H, W]``, as a DICOM file; ``header`` has further or other elements."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(film_content({**film_header(levels, uid), **header}))
    return path


def film_header(levels: np.ndarray, uid: str = "1.2.3.4") -> dict[str, Any]:
    """Return the header of a film of such a picture, its pixels included."""
    picture: Mapping[str, Any] = {
        "SOPInstanceUID": uid, "BodyPartExamined": "CHEST", "ViewPosition": "PA", "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "Rows": levels.shape[0], "Columns": levels.shape[1],
        "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0, "PixelData": levels.tobytes(),
    }  # fmt: skip
    return {**HEADER, **picture}


def answering_bundle(folder: Path, calibration: Fitted | None = SMOOTH) -> Path:
    """Write a tiny bundle with the geometry gate, calibrated."""
    bundle = with_geometry_gate(tiny_bundle(folder, 0))
    if calibration is not None:
        calibration.write(bundle / "models" / "calibration.json")
    return bundle


class ObjectsForTests:
    """Builders of objects that hold no more than their UID, in a thousandth of the time; what they built of."""

    def __init__(self) -> None:
        self.built: list[tuple[FilmResult, ResultKind]] = []

    def builder(self, kind: ResultKind) -> Callable[[FilmResult], ResultObject | None]:
        """Return the builder of a kind; contours are of films with a map alone."""

        def build(result: FilmResult) -> ResultObject | None:
            if kind == ResultKind.CONTOURS and not any(each.class_map is not None for each in result.findings):
                return None
            self.built.append((result, kind))
            uid = result.uid_of(kind)
            header = {name: result.source.header[name].value for name in ("StudyInstanceUID", "SeriesInstanceUID")}
            content = film_content({**header, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "SOPInstanceUID": uid})
            return ResultObject(kind, uid, "1.2.840.10008.5.1.4.1.1.7", content)

        return build


@pytest.fixture
def light_objects(monkeypatch: pytest.MonkeyPatch) -> ObjectsForTests:
    """Let results be built by :class:`ObjectsForTests`."""
    objects = ObjectsForTests()
    monkeypatch.setattr(BUILDING, "_builder", objects.builder)
    return objects
