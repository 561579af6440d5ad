"""``read_radiograph`` as a MONAI reader, for ``LoadImage`` and ``LoadImaged``.

    >>> from monai.transforms import LoadImage
    >>> image = LoadImage(reader=RadiographReader)("chest.png")  # doctest: +SKIP
    >>> image.shape  # (1, rows, columns)  # doctest: +SKIP

Unlike MONAI's own PIL reader, it doesn't transpose: the first spatial axis is the image's rows. With ``LoadImage``'s
own error handling a bad file is a RuntimeError that quotes the RadiographError; ``LoadImage()(path,
reader=RadiographReader())`` lets the RadiographError through.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader
from monai.utils import MetaKeys, ensure_tuple

from cxr_monai.data.radiograph import MAX_PIXELS, Radiograph, read_radiograph


class RadiographReader(ImageReader):
    """Read PNG, JPEG, NIfTI and DICOM radiographs as float32 ``[1, H, W]`` in [0, 1]; several files become channels.

    The metadata hold ``original_channel_dim`` 0, ``spatial_shape`` (H, W), ``axes`` HW, an affine that scales rows and
    columns by the spacing in mm (1 where it is unknown), and the provenance's plain entries.

    Args:
        max_pixels: larger images are refused, by their header.
        any_modality: accept a DICOM whose Modality or Body Part Examined isn't that of a chest radiograph.
    """

    def __init__(self, max_pixels: int = MAX_PIXELS, any_modality: bool = False) -> None:
        super().__init__()
        self.max_pixels = max_pixels
        self.any_modality = any_modality

    def verify_suffix(self, filename: Sequence[str | Path] | str | Path) -> bool:
        """Return True: the content decides, not the name."""
        return True

    def read(self, data: Sequence[str | Path] | str | Path, **kwargs: Any) -> list[Radiograph]:
        """Read one file or several; keyword arguments go to ``read_radiograph``."""
        options = {"max_pixels": self.max_pixels, "any_modality": self.any_modality, **kwargs}
        return [read_radiograph(path, **options) for path in ensure_tuple(data)]

    def get_data(self, img: Sequence[Radiograph] | Radiograph) -> tuple[np.ndarray, dict]:
        """Return the array ``[C, H, W]`` and the metadata of the first radiograph."""
        radiographs: tuple[Radiograph, ...] = ensure_tuple(img)
        first = radiographs[0]
        affine = np.diag([*(first.spacing or (1.0, 1.0)), 1.0, 1.0])
        return np.concatenate([radiograph.pixels for radiograph in radiographs]), {
            **{name: value for name, value in first.provenance.items() if isinstance(value, (str, int, float))},
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0,
            "axes": "HW",
            MetaKeys.SPATIAL_SHAPE: np.asarray(first.pixels.shape[1:]),
            MetaKeys.AFFINE: affine,
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
        }
