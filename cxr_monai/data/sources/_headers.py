"""What the headers of image files tell: their sizes, and in DICOM files age, sex and view; boxes scaled to them."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from PIL import Image

from cxr_monai.data.boxes import COLUMNS as BOX_COLUMNS
from cxr_monai.data.files import is_dicom_file
from cxr_monai.data.formats.dicom_library import dcmread, disable_value_validation
from cxr_monai.errors import Code, ManifestError
from cxr_monai.progress import progress_bar

BOX_SIDE = 1024
"""Pixels: NIH's images have 1024x1024, and so have the boxes that NIH, RSNA and SIIM-ACR drew on them."""
_TAGS = ["Rows", "Columns", "PatientAge", "PatientSex", "ViewPosition"]


def read_image_headers(images: Iterable[str], root: Path) -> pd.DataFrame:
    """Return a row for each image: ``width`` and ``height`` in pixels, ``dicom`` (bool), ``age``, ``sex``, ``view``.

    The last three are text as the header has it, ``""`` in files that are no DICOM.

    Args:
        images: paths relative to ``root``; they are the index.
        root: the folder of the images.

    Raises:
        ManifestError: ``source-invalid`` for a file that cannot be read.
    """
    names = list(images)
    rows = [
        read_image_header(root / name) for name in progress_bar(names, total=len(names), desc="headers", unit="files")
    ]
    return pd.DataFrame(rows, columns=["width", "height", "dicom", "age", "sex", "view"], index=names)


def read_image_header(path: Path) -> tuple[int, int, bool, str, str, str]:
    """Return width, height, whether it is DICOM, age, sex and view of a file; see `read_image_headers`.

    Raises:
        ManifestError: ``source-invalid`` for a file that cannot be read.
    """
    try:
        if not is_dicom_file(path):
            with Image.open(path) as image:
                return *image.size, False, "", "", ""
        with disable_value_validation():
            header = dcmread(path, stop_before_pixels=True, specific_tags=_TAGS, force=True)
            age, sex, view = (str(header.get(name) or "").strip() for name in _TAGS[2:])
            return int(header.Columns), int(header.Rows), True, age, sex, view
    except (OSError, EOFError, ValueError, TypeError, AttributeError, Image.DecompressionBombError) as error:
        raise ManifestError(
            Code.SOURCE_INVALID, f"the image's header cannot be read ({error}).", fix="Get it again.", where=path
        ) from error


def scale_boxes(boxes: pd.DataFrame, root: Path | None) -> pd.DataFrame:
    """Return boxes that were drawn on 1024x1024 pixels in pixels of the stored images, as a manifest's boxes.

    Args:
        boxes: ``image, finding, x, y, width, height``.
        root: to read the images' sizes from their headers; None leaves the boxes as they are.
    """
    images = boxes["image"].unique()
    sizes = pd.DataFrame(BOX_SIDE, index=images, columns=["width", "height"])
    if root is not None:
        sizes = read_image_headers(images, root)[["width", "height"]]
    widths, heights = (boxes["image"].map(sizes[side]).astype(int) for side in ("width", "height"))
    scaled = boxes.assign(image_width=widths, image_height=heights)
    for name, sides in (("x", widths), ("y", heights), ("width", widths), ("height", heights)):
        scaled[name] = (boxes[name] * sides / BOX_SIDE).round(4)
    return scaled[list(BOX_COLUMNS)].reset_index(drop=True)
