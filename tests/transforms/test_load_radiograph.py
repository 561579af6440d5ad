"""A film, as a file, its bytes or an array, to pixels in [0, 1]; and MONAI's transforms without metadata."""

from pathlib import Path

import numpy as np
import torch
from monai.transforms import Compose
from PIL import Image

from cxr_monai.transforms.load_radiograph import LoadRadiographd
from cxr_monai.transforms.normalisation import NormaliseRadiographd
from cxr_monai.transforms.resize_shortest import ResizeShortestd
from cxr_monai.transforms.ten_crops import TenCropd


def test_a_file_becomes_a_tensor_whose_rows_are_the_pictures(tmp_path: Path) -> None:
    stored = np.zeros((40, 60), np.uint8)
    stored[5, 50] = 255  # row 5, column 50
    Image.fromarray(stored).save(tmp_path / "a.png")
    pixels = LoadRadiographd("image")({"image": str(tmp_path / "a.png")})["image"]
    assert (pixels.shape, pixels.dtype) == ((1, 40, 60), torch.float32)
    assert pixels[0, 5, 50] == 1
    assert pixels.sum() == 1


def test_a_whole_pipeline(tmp_path: Path) -> None:
    Image.fromarray(np.arange(60 * 40, dtype=np.uint16).reshape(60, 40).astype(np.uint8)).save(tmp_path / "a.png")
    pipeline = Compose(
        [
            LoadRadiographd("image"),
            ResizeShortestd("image", 28, margin=8 / 7),
            TenCropd("image", 28),
            NormaliseRadiographd("image", "minus_one_one", channels=3),
        ]
    )
    image = pipeline({"image": str(tmp_path / "a.png")})["image"]
    assert image.shape == (10, 3, 28, 28)
    assert -1 <= float(image.min()) < float(image.max()) <= 1
