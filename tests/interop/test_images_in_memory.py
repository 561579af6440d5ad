"""MONAI Deploy and MONAI Label hand images over in memory, and get what ``predict`` gives of the same film's file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from cxr_monai.errors import Code, RadiographError
from tests.interop.exported import NEAR, Exported
from tests.interop.monai_deploy import Image, Operator
from tests.interop.monai_label import BundleInferTask
from tests.support.bundle_runs import our_errors

SERIES: dict[str, Any] = {"row_pixel_spacing": 0.2, "col_pixel_spacing": 0.2, "depth_pixel_spacing": 1.0}
SERIES["nifti_affine_transform"] = np.eye(4)
ROWS_FIRST = {"spacing": [1, 1, 1], "original_affine": np.eye(4), "original_channel_dim": 0, "axes": "HW"}


def pixels(film: Path) -> np.ndarray:
    return np.array(Picture.open(film))


def twelve_bits(film: Path) -> np.ndarray:
    """As a DICOM file of 12 bits has them; white is 4080."""
    return pixels(film).astype(np.uint16) * 16


# by what stands before the operator: what arrives in it
DEPLOY: dict[str, Callable[[Path], Any]] = {
    "DICOM series": lambda film: Image(pixels(film)[None], SERIES),
    "DICOM series of 12 bits": lambda film: Image(twelve_bits(film)[None], SERIES | {"value_range": [0, 4080]}),
    "array, x first": lambda film: pixels(film).T[..., None].copy(),
    "three equal channels, x first": lambda film: np.repeat(pixels(film).T[..., None], 3, axis=2),
    "image without metadata": lambda film: Image(pixels(film)[None]),
    "floats in a tensor": lambda film: torch.from_numpy(pixels(film) / np.float32(255))[None],
    "rows first, which is stated": lambda film: Image(pixels(film)[None], ROWS_FIRST),
}


@pytest.mark.parametrize("form", DEPLOY)
def test_deploy_gives_what_predict_gives(exported: Exported, films: list[Path], form: str) -> None:
    """From the TorchScript file alone, and from a folder that holds both files of weights."""
    for path in (exported.files / "model.ts", exported.zoo):
        operator = Operator(path)
        for at, film in enumerate(films):
            given = operator.emitted(DEPLOY[form](film))
            right = [values[at] for values in exported.raw.values()]
            assert np.allclose(given, right, rtol=0, atol=NEAR)


@pytest.mark.parametrize("weights", ["model.pt", "model.ts"])
def test_label_gives_what_predict_gives(exported: Exported, films: list[Path], weights: str) -> None:
    other = exported.zoo / "models" / ("model.ts" if weights == "model.pt" else "model.pt")
    away = other.rename(other.with_suffix(".away"))
    try:
        task = BundleInferTask(exported.zoo)
    finally:
        away.rename(other)
    for at, film in enumerate(films):
        right = {label.lower(): values[at] for label, values in exported.raw.items()}
        grey = pixels(film)
        for image in (str(film), grey, grey[..., None], np.repeat(grey[..., None], 3, axis=2), torch.from_numpy(grey)):
            assert task.prediction(image) == pytest.approx(right, abs=NEAR)
        stated = task.prediction(twelve_bits(film), image_value_range=[0, 4080])
        assert stated == pytest.approx(right, abs=NEAR)


def test_what_a_client_leaves_open_is_refused(exported: Exported, films: list[Path]) -> None:
    with pytest.raises(RadiographError, match=r"int32 from \d+ to \d+") as caught, our_errors():
        Operator(exported.files / "model.ts").compute(Image(twelve_bits(films[1])[None], SERIES))
    assert caught.value.code == Code.RADIOGRAPH_AMBIGUOUS
    with pytest.raises(RadiographError, match=r"uint16 from \d+ to \d+") as caught, our_errors():
        BundleInferTask(exported.zoo)(twelve_bits(films[1]))
    assert caught.value.code == Code.RADIOGRAPH_AMBIGUOUS
