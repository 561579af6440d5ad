"""Look-up tables of a DICOM header (Modality LUT, VOI LUT), and why some of them cannot be used.

PS3.3 C.11.1.1.1 and C.11.2.1.1: LUT Descriptor is the number of entries (0 means 65536), the first value mapped and
the bits of an entry; values below the first take the first entry, values above the last take the last.
"""

from dataclasses import dataclass

import numpy as np

from cxr_monai.data.formats.dicom_library import Dataset
from cxr_monai.data.formats.dicom_values import numbers, value_of
from cxr_monai.plurals import counted


class UnusableLutError(Exception):
    """A look-up table that cannot be applied; the text says why, quoting nothing."""


@dataclass(frozen=True)
class Lut:
    """A table: output of the values ``first``, ``first + 1``, ...; ``highest`` is its highest possible output."""

    table: np.ndarray
    first: int
    highest: float

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return the output for each value, float64."""
        # not pydicom's apply_voi: that indexes in the output's type, and an 8-bit LUT of 4096 entries wraps around
        index = np.clip(np.rint(values) - self.first, 0, len(self.table) - 1).astype(np.intp)
        return self.table[index].astype(np.float64)


def read_lut(item: Dataset, values: np.ndarray, *, big_endian: bool) -> Lut:
    """Return the table of a LUT sequence's item.

    Args:
        item: with LUT Descriptor and LUT Data.
        values: to look up; they decide whether the first value mapped was written with the wrong sign.
        big_endian: the order of words in LUT Data.

    Raises:
        UnusableLutError: for a descriptor that is missing, short or all zero, for entries that are too few or too many,
            for equal ones.
    """
    descriptor = numbers(item, "LUTDescriptor")
    if len(descriptor) < 3 or not np.isfinite(descriptor[:3]).all():
        raise UnusableLutError("its descriptor is missing or short")
    count, first, depth = (int(number) for number in descriptor[:3])
    if count == first == depth == 0:
        raise UnusableLutError("its descriptor is all zero")
    count = count % 2**16 or 2**16  # a signed reading of the descriptor may be negative
    table = _entries(item, count, big_endian=big_endian)
    if table.min() == table.max():
        raise UnusableLutError("all its entries are equal")
    bits = int(table.max()).bit_length()  # descriptors that say 8 for 12-bit entries exist, and 0, and 200
    highest = 2 ** max(depth if 0 < depth <= 16 else 0, bits) - 1
    return Lut(table, _first(first, count, float(values.min()), float(values.max())), float(highest))


def _first(first: int, count: int, low: float, high: float) -> int:
    """Return the first value mapped: as written, or with the other sign if the table then meets more of the values.

    The value representation depends on Pixel Representation, and writers take it for unsigned where a negative slope
    or an intercept makes the values signed, and the other way round.
    """
    other = first - 2**16 if first >= 2**15 else first + 2**16 if first < 0 else first
    return max((first, other), key=lambda start: min(high, start + count - 1) - max(low, start))


def _entries(item: Dataset, count: int, *, big_endian: bool) -> np.ndarray:
    """Return ``count`` entries of 16 bits, or of 8 bits packed into words (PS3.3 C.11.1.1.1)."""
    data = value_of(item, "LUTData")
    if data is None or (hasattr(data, "__len__") and len(data) == 0):
        raise UnusableLutError("it has no data")
    if isinstance(data, str):
        raise UnusableLutError("its data are no numbers")
    if isinstance(data, bytes):
        packed = np.frombuffer(data[: len(data) // 2 * 2], ">u2" if big_endian else "<u2")
    else:
        numbers = np.atleast_1d(np.asarray(data, dtype=np.float64))
        if not np.isfinite(numbers).all():
            raise UnusableLutError("its data are no numbers")
        packed = (numbers.astype(np.int64) % 2**16).astype(np.uint16)
    if len(packed) == count:
        return packed
    if isinstance(data, bytes) and len(data) == count and count % 2:  # of an odd number, not padded
        return np.frombuffer(data, np.uint8)
    if len(packed) == (count + 1) // 2:
        return packed.astype("<u2").view(np.uint8)[:count]
    raise UnusableLutError(f"it has {len(packed):,} of the {counted(count, 'entry')} that it declares")
