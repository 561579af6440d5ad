"""One file to one array: ``read_radiograph(path).pixels`` is float32 ``[1, H, W]`` in [0, 1], bright = dense.

    >>> radiograph = read_radiograph("chest.dcm")  # doctest: +SKIP
    >>> radiograph.pixels.shape, radiograph.spacing, radiograph.provenance["inverted"]  # doctest: +SKIP
    ((1, 2544, 3056), (0.139, 0.139), True)

The format is determined by the content, not by the name: PNG and JPEG (``formats.raster``), NIfTI (``formats.nifti``),
DICOM (``formats.dicom_reader``), each with its rules in its module. Rows of the array are rows of the image. Dimensions
are checked in the header before pixels are decoded, so a decompression bomb takes no memory. A file that cannot be used
raises ``RadiographError`` alone, with a stable code, the file and the reason; no warning escapes.
"""

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cxr_monai.data.film_header import FilmHeader
from cxr_monai.data.formats.grey import Decoded
from cxr_monai.data.formats.sniffing import HEAD, format_of
from cxr_monai.errors import Code, CxrError, RadiographError
from cxr_monai.plurals import counted

MAX_PIXELS = 40_000_000
"""Default limit of rows times columns. A 43 by 43 cm detector with 0.07 mm pixels has 37.7 million."""

NEARLY_BLACK = 0.4
"""A picture without a pixel above this share of its range uses fewer bits than it says, or another window."""

_FORMATS = "PNG, JPEG, NIfTI (.nii, .nii.gz) and DICOM"
_KNOWN_OTHERS = {
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"BM": "BMP",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"%PDF": "PDF",
    b"PK\x03\x04": "zip",
    b"\x1f\x8b": "gzip",
}


@dataclass(frozen=True)
class Radiograph:
    """One radiograph.

    Attributes:
        pixels: float32 ``[1, H, W]`` in [0, 1], never NaN, never constant; 1 is the densest (bone is white). Rows are
            image rows. From PNG, JPEG and DICOM the values are multiples of 2**-24, so ``1 - pixels`` is exact.
        spacing: (row, column) distance of pixel centres in mm; None where the file has none.
        provenance: how the pixels came about: format, stored bits, photometric interpretation, transfer syntax, the
            LUT or window that was applied, whether grey was inverted, the shape; ``notes``, sentences on what is odd
            about it. Nothing of the patient, and no path.
        header: what the file says of the film besides; None for a format without a header.
    """

    pixels: np.ndarray
    spacing: tuple[float, float] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    header: FilmHeader | None = None


def read_radiograph(
    path: str | Path | bytes, *, max_pixels: int = MAX_PIXELS, any_modality: bool = False
) -> Radiograph:
    """Read one radiograph.

    Args:
        path: the file, or its content as bytes.
        max_pixels: larger images are refused, by their header.
        any_modality: accept a DICOM whose Modality or Body Part Examined isn't that of a chest radiograph.

    Raises:
        RadiographError: if the file cannot be used, with ``code`` and ``where`` (the path).
        CxrError: ``runtime-missing`` where a library that reads it cannot be imported.
    """
    try:
        decoded = _decode(_content(path, max_pixels), max_pixels, any_modality)
        if decoded.pixels.min() == decoded.pixels.max():
            raise RadiographError(
                Code.RADIOGRAPH_CONSTANT,
                f"every pixel has the same grey{_windowed(decoded)}.",
                fix="Export the radiograph again, or leave the file out.",
            )
    except RadiographError as error:
        error.where = None if isinstance(path, bytes) else str(path)
        raise
    except (MemoryError, CxrError):
        raise
    except Exception as error:  # Pillow, nibabel, pydicom and its decoders raise nearly anything on damaged content
        if _is_ours(error):
            raise
        raise _from_foreign(error, None if isinstance(path, bytes) else path) from error
    return Radiograph(
        decoded.pixels[np.newaxis],
        decoded.spacing,
        {
            **decoded.provenance,
            "shape": (int(decoded.pixels.shape[0]), int(decoded.pixels.shape[1])),
            "notes": (*decoded.notes, *_odd_greys(decoded.pixels)),
        },
        decoded.header,
    )


def _content(source: str | Path | bytes, max_pixels: int) -> bytes:
    limit = 8 * max_pixels + 2**24  # 16-bit RGBA without compression, and a generous header
    try:
        size = len(source) if isinstance(source, bytes) else Path(source).stat().st_size
        if not isinstance(source, bytes) and not Path(source).is_file():
            raise RadiographError(Code.RADIOGRAPH_NOT_FOUND, "it is not a file.", fix="Give the image file itself.")
        if size > limit:
            raise RadiographError(
                Code.RADIOGRAPH_DIMENSIONS,
                f"the file has {counted(size, 'byte')}; a radiograph of at most "
                f"{counted(max_pixels, 'pixel')} has less than {limit:,}.",
                fix="If the image really is that large, read it with a larger max_pixels.",
            )
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or "not a possible file name"
        raise RadiographError(
            Code.RADIOGRAPH_NOT_FOUND, f"it cannot be opened: {reason}.", fix="Check the path and its permissions."
        ) from error
    if not data:
        raise RadiographError(Code.RADIOGRAPH_EMPTY, "the file is empty.", fix="Copy or download it again.")
    return data


def _decode(data: bytes, max_pixels: int, any_modality: bool) -> Decoded:
    decoder = _decoder(data, any_modality)
    if decoder is not None:
        return decoder(data, max_pixels)
    other = next((name for magic, name in _KNOWN_OTHERS.items() if data.startswith(magic)), None)
    raise RadiographError(
        Code.RADIOGRAPH_NOT_AN_IMAGE,
        f"its content is {f'a {other} file' if other else 'not an image'}; {_FORMATS} are read.",
        fix="Convert it to PNG or DICOM." if other else "Leave the file out.",
    )


def _decoder(data: bytes, any_modality: bool) -> Callable[[bytes, int], Decoded] | None:
    """Return the decoder of this content; None if it is not an image.

    Raises:
        CxrError: ``runtime-missing`` where a library cannot be imported: a fault of the machine, not of the file.
    """
    kind = format_of(data[:HEAD])
    try:  # imported here: reading a PNG needs neither pydicom nor nibabel
        if kind in ("PNG", "JPEG"):
            from cxr_monai.data.formats.raster import decode_jpeg, decode_png

            return decode_png if kind == "PNG" else decode_jpeg
        if kind == "NIfTI":
            from cxr_monai.data.formats.nifti import decode_nifti

            return decode_nifti
        if kind == "DICOM":
            from cxr_monai.data.formats.dicom_reader import decode_dicom

            return partial(decode_dicom, any_modality=any_modality)
    except Exception as error:  # a library's import may raise any error
        raise CxrError(
            Code.RUNTIME_MISSING,
            f"a library that reads images cannot be imported ({type(error).__name__}: {error}).",
            fix="Install the package again; a file or folder named like a module, in the working directory or on "
            "PYTHONPATH, may be in its way.",
        ) from error
    return None


def _odd_greys(pixels: np.ndarray) -> Iterator[str]:
    """Yield a note on a picture that uses only one end of the range that its bits or its window declare."""
    if pixels.max() < NEARLY_BLACK:
        yield f"nearly black: its brightest pixel is below {NEARLY_BLACK:.0%} of the range that the file declares"
    if pixels.min() > 1 - NEARLY_BLACK:
        yield f"nearly white: its darkest pixel is above {1 - NEARLY_BLACK:.0%} of the range that the file declares"


def _is_ours(error: Exception) -> bool:
    """Return whether an error is a fault of this package or of the machine, not of the file."""
    if isinstance(error, ImportError):
        return True
    if not isinstance(error, (AttributeError, NameError)):
        return False
    innermost = traceback.extract_tb(error.__traceback__)[-1].filename
    return Path(innermost).is_relative_to(Path(__file__).parents[1])


def _windowed(decoded: Decoded) -> str:
    rule = str(decoded.provenance.get("voi", ""))
    return f" after its {rule}" if rule.startswith(("window", "LUT")) else ""


def _from_foreign(error: Exception, path: str | Path | None) -> RadiographError:
    # the library's own words may quote a header, and so a patient: they stay in the traceback (``__cause__``)
    truncated = isinstance(error, EOFError) or (isinstance(error, OSError) and "truncated" in str(error))
    return RadiographError(
        Code.RADIOGRAPH_TRUNCATED if truncated else Code.RADIOGRAPH_UNDECODABLE,
        f"its content {'ends too early' if truncated else f'is damaged or not supported ({type(error).__name__})'}.",
        fix="Copy or export the file again.",
        where=path,
    )
