"""From stored integers to grey in [0, 1]: what all decoders of a radiograph share.

Grey values are multiples of 2**-24. Those are exactly the numbers in [0, 1] for which float32 also holds ``1 - x``
without rounding, so an image and its inverse add up to 1 in every pixel, and inverting twice gives the same bits:

    >>> grey = level_table(8)
    >>> inverse = 1 - grey
    >>> bool((grey + inverse == 1).all()), bool((1 - inverse == grey).all())
    (True, True)
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from cxr_monai.data.film_header import FilmHeader
from cxr_monai.errors import Code, RadiographError
from cxr_monai.plurals import counted

MIN_SIDE = 32
"""A radiograph has at least this many rows and columns; anything smaller is an icon."""

COLOUR_TOLERANCE = 4 / 255
"""Channels may differ by this share of the range: what a lossy JPEG makes of grey stored as colour."""

UNSIGNED_8_BIT = "unsigned 8-bit range"
"""What provenance calls the rule that unsigned bytes are divided by 255."""

_STEPS = 2.0**24


@dataclass(frozen=True)
class Decoded:
    """What a decoder returns: float32 ``[H, W]`` in [0, 1], (row, column) spacing in mm or None, how it was read.

    ``notes`` are sentences on what is odd about the file, such as a rule that could not be followed; ``header`` the
    facts of a DICOM header, None for other formats.
    """

    pixels: np.ndarray
    spacing: tuple[float, float] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    header: FilmHeader | None = None


def exact_grey(fraction: np.ndarray) -> np.ndarray:
    """Return ``fraction`` (float64) clipped to [0, 1], as float32 multiples of 2**-24."""
    return (np.rint(np.clip(fraction, 0.0, 1.0) * _STEPS) / _STEPS).astype(np.float32)


@lru_cache(maxsize=16)
def level_table(bits: int) -> np.ndarray:
    """Return the grey value of each of the ``2**bits`` stored levels: 0 is 0 and the highest level is 1.

    >>> level_table(2)
    array([0.       , 0.3333333, 0.6666667, 1.       ], dtype=float32)
    """
    highest = 2**bits - 1
    table = exact_grey(np.arange(highest + 1) / highest)
    table.setflags(write=False)
    return table


def look_up(table: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return ``table[levels]``; levels outside the table take its nearest end.

    Args:
        table: the value of each level.
        levels: indices of any shape.

    >>> look_up(np.array([0.0, 0.5, 1.0]), np.array([0, 2, 7]))
    array([0., 1., 1.])
    """
    return table.take(levels, mode="clip")


def grey_levels(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Return greys as whole levels: uint8 for files of up to 8 bits a pixel, else uint16; the shape stays.

    Args:
        pixels: float32 in [0, 1].
        bits: of a pixel of the file.
    """
    kind = np.uint8 if bits <= 8 else np.uint16
    return np.rint(pixels * np.float32(np.iinfo(kind).max)).astype(kind)


def grey_of_levels(levels: np.ndarray) -> np.ndarray:
    """Return the greys, float32 in [0, 1], of the levels of :func:`grey_levels`; the shape stays.

    Args:
        levels: uint8 or uint16.
    """
    return look_up(level_table(8 * levels.dtype.itemsize), levels)


def check_image_extent(height: int, width: int, max_pixels: int) -> None:
    """Refuse, from the header alone, an image too small to be a radiograph or larger than ``max_pixels``.

    Args:
        height, width: in pixels, of the header.
        max_pixels: the limit of their product.

    Raises:
        RadiographError: ``radiograph-dimensions``.
    """
    if height < MIN_SIDE or width < MIN_SIDE:
        raise RadiographError(
            Code.RADIOGRAPH_DIMENSIONS,
            f"the image is {counted(height, 'row')} by {counted(width, 'column')}; at "
            f"least {MIN_SIDE} by {MIN_SIDE} are needed.",
            fix="Give the radiograph itself, not an icon of it.",
        )
    if height * width > max_pixels:
        raise RadiographError(
            Code.RADIOGRAPH_DIMENSIONS,
            f"its header claims {counted(height, 'row')} by {counted(width, 'column')}, more "
            f"than the {counted(max_pixels, 'pixel')} allowed.",
            fix="If the image really is that large, read it with a larger max_pixels.",
        )


def single_channel(image: np.ndarray, bits: int) -> np.ndarray:
    """Return one channel of ``[H, W, 3]`` whose three channels agree within ``COLOUR_TOLERANCE``; refuse colour.

    The green channel is taken: where the three are equal it is the grey value, and where JPEG noise separates them it
    is the nearest to the luminance.

    Args:
        image: levels ``[H, W, 3]`` or ``[H, W, 4]``.
        bits: of a level.

    Raises:
        RadiographError: ``radiograph-colour``.
    """
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    highest, allowed = int(spread.max()), int(COLOUR_TOLERANCE * (2**bits - 1))
    if highest > allowed:
        raise RadiographError(
            Code.RADIOGRAPH_COLOUR,
            f"it is a colour image: red, green and blue differ by up to {counted(highest, 'level')} of {2**bits - 1}, "
            f"and at most {allowed} is taken for compression noise.",
            fix="Export the radiograph as a grey image, without coloured annotations.",
        )
    return green
