"""From decoded words to the stored bits alone (PS3.5 8.1.1), for every decoder.

Overlays and garbage in the other bits are cut off, the sign is extended, and bits that don't begin at 0 are shifted
down. Bits Stored and High Bit that contradict the pixels make a wrong picture, so there is a note on them.
"""

import numpy as np

from cxr_monai.data.formats.dicom_library import Dataset
from cxr_monai.data.formats.dicom_values import integer


def stored_bits(array: np.ndarray, dataset: Dataset, precision: int | None, notes: list[str]) -> np.ndarray:
    """Return levels: the stored bits, above the lowest value that they can hold, unsigned; the shape stays.

    Args:
        array: integers as they were decoded.
        dataset: Bits Stored, High Bit and Pixel Representation.
        precision: of a compressed picture; samples of no more bits than are stored stand in the lowest bits, whatever
            High Bit says.
        notes: gets a sentence if bits contradict the header.
    """
    stored, signed = integer(dataset, "BitsStored"), integer(dataset, "PixelRepresentation") == 1
    shift = integer(dataset, "HighBit", stored - 1) + 1 - stored
    if precision is not None and precision <= stored:
        shift = 0
    if 8 * array.itemsize < stored + shift:
        array = array.astype(f"{array.dtype.kind}{2 if stored + shift <= 16 else 4}")
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    words = array.view(f"u{array.itemsize}")
    if shift:
        if not (words >> stored).any():
            notes.append("its High Bit says that bits are left-aligned, and no pixel looks so: it may be far too dark")
        words = words >> shift
    if 8 * words.itemsize > stored:
        above = words >> stored
        words = words & words.dtype.type((1 << stored) - 1)
        if not _no_bits(above, words >> (stored - 1) if signed else None, 8 * words.itemsize - stored):
            notes.append(f"bits outside the {stored} stored ones are set: they are cut off")
    return words ^ words.dtype.type(1 << (stored - 1)) if signed else words


def _no_bits(above: np.ndarray, sign: np.ndarray | None, count: int) -> bool:
    """Return whether ``count`` bits above the stored ones are all 0, or repeat the sign (0 or 1; None for unsigned)."""
    if sign is None or not above.any():
        return not above.any()
    return bool(((above == 0) | ((above == (1 << count) - 1) & (sign == 1))).all())
