"""A logged bundle as MLflow opens it: ``mlflow.pyfunc.load_model("runs:/RUN/bundle")``, no pickle.

    model.predict(pandas.DataFrame({"image": ["a.png", "b.dcm"]}))     # the labels' probabilities, as predict gives

What stands in MLflow beside the bundle (``cxr_monai.training.mlmodel``) names this module, which MLflow imports. The
bundle is inspected as any folder is before it is opened.
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_monai.bundle.digest import PARTS
from cxr_monai.bundle.writing import copy_parts
from cxr_monai.errors import Code, SettingError
from cxr_monai.inference.model import Model
from cxr_monai.plurals import counted
from cxr_monai.sharing.trust.open_trusted import open_trusted

logger = logging.getLogger(__name__)

_IMAGE, _ERROR = "image", "error"


class BundleModel:
    """Predicts radiographs as ``cxr-monai predict`` does, calibrated where the bundle is.

    Args:
        model: of the bundle.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return a row an image, in their order: each label's probability, and ``error``.

        Args:
            data: a table with the column ``image``, or its values alone: paths of this machine, or the contents of
                files as bytes (PNG, JPEG, DICOM, NIfTI).
            params: MLflow's; none are known.

        Returns:
            a column a label, float64 in [0, 1], NaN for a file that could not be read or that the gate refuses;
            ``error`` then says why (its code and reason) and is empty otherwise.

        Raises:
            SettingError: ``setting-invalid`` for a table without the column, or for what is neither path nor bytes.
        """
        images, index = _images(data)
        names = [str(number) for number in range(len(images))]
        predicted = self.model.predict([_film(image) for image in images], names)
        table = predicted.table.set_index("image").reindex(names).astype("float64")
        errors = {name: f"{code}: {reason}" for name, code, reason in predicted.errors}
        table[_ERROR] = [errors.get(name, "") for name in names]
        if errors:
            whole = counted(len(names), "image")
            logger.warning("%d of %s got no answer; the column %s says why", len(errors), whole, _ERROR)
        return table.set_axis(index, axis=0)


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> BundleModel:
    """Open a logged bundle, as MLflow asks for it.

    Raises:
        SharingError: the inspection refuses the bundle.
        BundleError, WeightsError: as ``cxr_monai.inference.model.Model.open``.
    """
    with tempfile.TemporaryDirectory() as folder:  # the files that MLflow keeps beside the bundle are no part of it
        copy_parts(Path(path), Path(folder) / "bundle", PARTS)
        return BundleModel(Model.open(open_trusted(Path(folder) / "bundle")))


def _images(data: Any) -> tuple[Sequence[Any], Any]:
    """Return the images, and the index of their rows."""
    if isinstance(data, pd.DataFrame):
        if _IMAGE not in data:
            raise SettingError(
                Code.SETTING_INVALID,
                f"the table has the columns {', '.join(map(str, data.columns))}, and none called {_IMAGE}.",
                fix="Give paths, or files' contents as bytes, in a column of that name.",
            )
        return list(data[_IMAGE]), data.index
    images = [data] if isinstance(data, str | bytes | Path) else list(data)
    return images, pd.RangeIndex(len(images))


def _film(image: Any) -> Path | bytes:
    if isinstance(image, bytes | bytearray):
        return bytes(image)
    if isinstance(image, str | Path):
        return Path(image)
    raise SettingError(
        Code.SETTING_INVALID,
        f"an image is a path or the bytes of a file, not a {type(image).__name__}.",
        fix="Give arrays to monai.bundle's workflow instead (docs/export.md).",
    )
