"""DICOM's grey-scale pipeline as one table: stored value to grey in [0, 1], bright = dense.

Stored values have at most 16 bits, so the pipeline (PS3.4 N.2) is computed once for every value that can be stored:

1. Modality LUT: the LUT sequence, else rescale slope and intercept (PS3.3 C.11.1).
2. VOI LUT: the first LUT, else the first window (LINEAR, LINEAR_EXACT or SIGMOID; PS3.3 C.11.2). Without either, or
   with a window of impossible width, the full range that Bits Stored allows, never the image's own minimum and maximum:
   so images of one machine stay comparable.
3. Inversion, once, if the Photometric Interpretation is MONOCHROME1 or the Presentation LUT Shape is INVERSE. An image
   that has both has one inversion: INVERSE is what the standard demands beside MONOCHROME1 (PS3.3 C.7.6.1, C.8.11.3),
   a second word for the same fact. A contradictory IDENTITY beside MONOCHROME1 doesn't undo it.
4. Padding (Pixel Padding Value to its Range Limit, PS3.3 C.7.5.1.1.2) becomes 0, the background's grey.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom import Dataset

from cxr_monai.data.formats.grey import exact_grey
from cxr_monai.errors import Code, RadiographError

WINDOW_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True)
class GreyTable:
    """Grey of the stored values ``lowest``, ``lowest + 1``, ...; which of them are padding; and how it came about."""

    grey: np.ndarray  # float32 [2**bits]
    padding: np.ndarray | None  # bool [2**bits], or None
    lowest: int
    provenance: dict[str, Any]


def grey_table(header: Dataset, bits: int, *, signed: bool) -> GreyTable:
    """Return the table of ``2**bits`` greys for a MONOCHROME1 or MONOCHROME2 image with this header."""
    lowest = -(1 << (bits - 1)) if signed else 0
    stored = np.arange(lowest, lowest + (1 << bits), dtype=np.float64)
    values, low, high, modality_rule = _modality(header, stored)
    fraction, voi_rule = _voi(header, values, low, high)
    grey = exact_grey(fraction)
    shape = text(header, "PresentationLUTShape")
    inverted = text(header, "PhotometricInterpretation") == "MONOCHROME1" or shape == "INVERSE"
    if inverted:
        grey = np.float32(1) - grey
    padding = _padding(header, lowest, bits)
    if padding is not None:
        grey[padding] = 0
    rules = {
        "modality_lut": modality_rule,
        "voi": voi_rule,
        "presentation_lut_shape": shape if shape in ("IDENTITY", "INVERSE") else None,
        "inverted": inverted,
        "padding": padding is not None,
    }
    return GreyTable(grey, padding, lowest, rules)


def _modality(header: Dataset, stored: np.ndarray) -> tuple[np.ndarray, float, float, str]:
    """Return modality values, the lowest and highest possible one, and the rule (PS3.3 C.11.1)."""
    sequence = header.get("ModalityLUTSequence")
    if sequence:
        values, highest = _apply_lut(header, sequence[0], stored)
        return values, 0.0, highest, "LUT"
    slope, intercept = first_number(header, "RescaleSlope"), first_number(header, "RescaleIntercept")
    if slope is None and intercept is None:
        return stored, stored[0], stored[-1], "none"
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        raise undecodable(f"its Rescale Slope is {slope:g} and its Rescale Intercept {intercept:g}")
    values = stored * slope + intercept
    return values, float(values.min()), float(values.max()), f"rescale {slope:g} {intercept:g}"


def _voi(header: Dataset, values: np.ndarray, low: float, high: float) -> tuple[np.ndarray, str]:
    """Return the share of the output range for each modality value, and the rule (PS3.3 C.11.2)."""
    sequence = header.get("VOILUTSequence")
    if sequence:
        output, highest = _apply_lut(header, sequence[0], values)
        return output / highest, "LUT"
    full_range = (values - low) / (high - low)
    center, width = first_number(header, "WindowCenter"), first_number(header, "WindowWidth")
    if center is None or width is None:
        return full_range, "none: full range"
    function = text(header, "VOILUTFunction") or "LINEAR"
    if function not in WINDOW_FUNCTIONS:
        raise undecodable(f"its VOI LUT Function is none of {', '.join(WINDOW_FUNCTIONS)}")
    rule = f"window {function} center {center:g} width {width:g}"
    if not np.isfinite([center, width]).all() or width <= 0 or (function == "LINEAR" and width < 1):
        return full_range, f"{rule} is impossible: full range"
    return _window(values, center, width, function), rule


def _window(values: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    if function == "SIGMOID":  # PS3.3 C.11.2.1.3.1; the exponent is kept where exp() is finite
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    if function == "LINEAR_EXACT":  # PS3.3 C.11.2.1.3.2
        return np.clip((values - center) / width + 0.5, 0, 1)
    middle, span = center - 0.5, width - 1  # PS3.3 C.11.2.1.2.1
    if span == 0:
        return (values > middle).astype(np.float64)
    return np.clip((values - middle) / span + 0.5, 0, 1)


def _apply_lut(header: Dataset, item: Dataset, values: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the LUT's output for each value and its highest possible output (PS3.3 C.11.1.1.1, C.11.2.1.1)."""
    # not pydicom's apply_voi: that indexes in the output's type, and an 8-bit LUT of 4096 entries wraps around
    entries, first, depth = (int(number) for number in item.LUTDescriptor)
    entries = entries % 2**16 or 2**16  # 0 means 65536, and a signed reading of the descriptor may be negative
    if values[0] < 0 and first >= 2**15:
        first -= 2**16  # the value representation was unsigned, the mapped values are signed
    table = _lut_entries(item["LUTData"].value, entries, big_endian=header.original_encoding[1] is False)
    if len(table) < entries:
        raise undecodable(f"a look-up table has {len(table)} of the {entries} entries that it declares")
    index = np.clip(np.rint(values) - first, 0, entries - 1).astype(np.intp)
    highest = 2 ** max(depth, int(table.max()).bit_length(), 1) - 1  # descriptors that say 8 for 12-bit entries exist
    return table[index].astype(np.float64), float(highest)


def _lut_entries(data: Any, entries: int, *, big_endian: bool) -> np.ndarray:
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data, dtype=np.int64)) % 2**16
    if len(data) < 2 * entries:
        return np.frombuffer(data, np.uint8)[:entries]  # 8 bits allocated for each entry
    return np.frombuffer(data[: 2 * entries], ">u2" if big_endian else "<u2")


def _padding(header: Dataset, lowest: int, bits: int) -> np.ndarray | None:
    """Return which stored values are padding, wrapped into the stored range as their unused bits are."""
    value = first_number(header, "PixelPaddingValue")
    if value is None:
        return None
    limit = first_number(header, "PixelPaddingRangeLimit")
    ends = [int(end - lowest) % (1 << bits) for end in (value, value if limit is None else limit)]
    padding = np.zeros(1 << bits, dtype=bool)
    padding[min(ends) : max(ends) + 1] = True
    return padding


def text(header: Dataset, keyword: str) -> str:
    """Return a code string's first value in capitals, empty if there is none."""
    value = header.get(keyword)
    if value is not None and not isinstance(value, str):
        value = value[0] if len(value) else ""
    return str(value or "").strip(" \0").upper()


def first_number(header: Dataset, keyword: str) -> float | None:
    """Return the first value of a numeric attribute; None if it is absent or empty."""
    value = header.get(keyword)
    if value is None or value == "":
        return None
    if isinstance(value, (str, int, float)):
        return float(value)
    return float(value[0]) if len(value) else None


def undecodable(reason: str) -> RadiographError:
    """Return the error for a file that contradicts itself or the standard."""
    return RadiographError(Code.RADIOGRAPH_UNDECODABLE, f"{reason}.", fix="Export the file again.")
