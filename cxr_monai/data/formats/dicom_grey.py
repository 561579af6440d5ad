"""DICOM's grey-scale pipeline as one table: stored value to grey in [0, 1], bright = dense.

Stored values have at most 16 bits, so the pipeline (PS3.4 N.2) is computed once for every value that can be stored:

1. Modality LUT: the LUT sequence, else rescale slope and intercept if both are there (PS3.3 C.11.1; DCMTK ignores one
   without the other), else the stored values.
2. VOI LUT: the first LUT that can be used, else the first window (LINEAR, LINEAR_EXACT or SIGMOID; PS3.3 C.11.2).
   Without either, the full range that Bits Stored allows, never the image's own minimum and maximum: so images of one
   machine stay comparable.
3. Inversion, once, if the Photometric Interpretation is MONOCHROME1 or the Presentation LUT Shape is INVERSE. An image
   that has both has one inversion: INVERSE is what the standard demands beside MONOCHROME1 (PS3.3 C.7.6.1, C.8.11.3),
   a second word for the same fact. A contradictory IDENTITY beside MONOCHROME1 doesn't undo it.
4. Padding (Pixel Padding Value to its Range Limit, PS3.3 C.7.5.1.1.2) becomes 0, the background's grey.

An attribute that cannot be used (a LUT without entries, a slope of 0, a window of impossible width, an unknown
function, a padding value that no pixel can have) is skipped for the next rule, as DCMTK does, with a note in ``notes``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cxr_monai.data.formats.dicom_library import Dataset
from cxr_monai.data.formats.dicom_lut import Lut, UnusableLutError, read_lut
from cxr_monai.data.formats.dicom_values import first_number, items_of, numbers, text, values_of
from cxr_monai.data.formats.grey import exact_grey
from cxr_monai.plurals import counted

WINDOW_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True)
class GreyTable:
    """Grey of the stored values ``lowest``, ``lowest + 1``, ...; which of them are padding; and how it came about."""

    grey: np.ndarray  # float32 [2**bits]
    padding: np.ndarray | None  # bool [2**bits], or None
    lowest: int
    provenance: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def grey_table(header: Dataset, bits: int, *, signed: bool) -> GreyTable:
    """Return the table of ``2**bits`` greys for a MONOCHROME1 or MONOCHROME2 image with this header.

    Args:
        header: with the attributes of the Modality LUT, VOI LUT and presentation.
        bits: stored bits of a pixel.
        signed: whether stored values are signed.
    """
    lowest = -(1 << (bits - 1)) if signed else 0
    stored = np.arange(lowest, lowest + (1 << bits), dtype=np.float64)
    notes: list[str] = []
    values, low, high, modality_rule = _modality(header, stored, notes)
    fraction, voi_rule = _voi(header, values, low, high, notes)
    grey = exact_grey(fraction)
    shape = text(header, "PresentationLUTShape")
    if shape not in ("", "IDENTITY", "INVERSE"):
        notes.append("its Presentation LUT Shape is neither IDENTITY nor INVERSE: it is not applied")
    inverted = text(header, "PhotometricInterpretation") == "MONOCHROME1" or shape == "INVERSE"
    if inverted:
        grey = np.float32(1) - grey
    padding = _padding(header, lowest, bits, notes)
    if padding is not None:
        grey[padding] = 0
    rules = {
        "modality_lut": modality_rule,
        "voi": voi_rule,
        "presentation_lut_shape": shape if shape in ("IDENTITY", "INVERSE") else None,
        "inverted": inverted,
        "padding": padding is not None,
    }
    return GreyTable(grey, padding, lowest, rules, notes)


def _modality(header: Dataset, stored: np.ndarray, notes: list[str]) -> tuple[np.ndarray, float, float, str]:
    """Return modality values, the lowest and highest possible one, and the rule (PS3.3 C.11.1)."""
    lut = _first_lut(header, "ModalityLUTSequence", stored, notes)
    if lut is not None:
        return lut.apply(stored), 0.0, lut.highest, "LUT"
    as_stored = stored, float(stored[0]), float(stored[-1]), "none"
    slope, intercept = first_number(header, "RescaleSlope"), first_number(header, "RescaleIntercept")
    if slope is None and intercept is None:
        return as_stored
    if slope is None or intercept is None:
        notes.append("it has one of Rescale Slope and Intercept without the other: stored values are taken")
        return as_stored
    with np.errstate(over="ignore", invalid="ignore"):
        values = stored * slope + intercept
        usable = np.isfinite(values).all() and np.isfinite(values[-1] - values[0]) and values[0] != values[-1]
    if not usable:
        notes.append("its Rescale Slope and Intercept cannot be used: stored values are taken")
        return as_stored
    return values, float(values.min()), float(values.max()), f"rescale {slope:g} {intercept:g}"


def _voi(header: Dataset, values: np.ndarray, low: float, high: float, notes: list[str]) -> tuple[np.ndarray, str]:
    """Return the share of the output range for each modality value, and the rule (PS3.3 C.11.2)."""
    lut = _first_lut(header, "VOILUTSequence", values, notes)
    if lut is not None:
        return lut.apply(values) / lut.highest, "LUT"
    function = text(header, "VOILUTFunction") or "LINEAR"
    windows = _windows(header, notes)
    if windows and function not in WINDOW_FUNCTIONS:
        notes.append(f"its VOI LUT Function is none of {', '.join(WINDOW_FUNCTIONS)}: LINEAR is taken")
        function = "LINEAR"
    for number, (center, width) in enumerate(windows, 1):
        if np.isfinite([center, width]).all() and width > 0 and (function != "LINEAR" or width >= 1):
            rule = f"window {function} center {center:g} width {width:g}"
            if number > 1:
                notes.append(f"its first window is impossible: number {number} of {len(windows)} is taken")
            return _window(values, center, width, function), rule
    full_range = (values - low) / (high - low)
    if windows:
        notes.append("its window is impossible: the full range is taken")
        return full_range, "window is impossible: full range"
    return full_range, "none: full range"


def _windows(header: Dataset, notes: list[str]) -> list[tuple[float, float]]:
    """Return the (center, width) of each window; unpaired values are left out, with a note."""
    centers, widths = numbers(header, "WindowCenter"), numbers(header, "WindowWidth")
    if len(centers) != len(widths):
        notes.append(f"it has {counted(len(centers), 'Window Center')} and {counted(len(widths), 'Window Width')}")
    return list(zip(centers, widths, strict=False))


def _window(values: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    with np.errstate(over="ignore"):  # absurd numbers end at 0 or 1 all the same
        if function == "SIGMOID":  # PS3.3 C.11.2.1.3.1; the exponent is kept where exp() is finite
            return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
        if function == "LINEAR_EXACT":  # PS3.3 C.11.2.1.3.2
            return np.clip((values - center) / width + 0.5, 0, 1)
        middle, span = center - 0.5, width - 1  # PS3.3 C.11.2.1.2.1
        if span == 0:
            return (values > middle).astype(np.float64)
        return np.clip((values - middle) / span + 0.5, 0, 1)


def _first_lut(header: Dataset, keyword: str, values: np.ndarray, notes: list[str]) -> Lut | None:
    """Return the first table of a sequence that can be used; the errors of those before it go into ``notes``."""
    if values_of(header, keyword) and not items_of(header, keyword):
        notes.append(f"{keyword} is no sequence of look-up tables")
    big_endian = header.original_encoding[1] is False
    for item in items_of(header, keyword):
        try:
            return read_lut(item, values, big_endian=big_endian)
        except UnusableLutError as error:
            notes.append(f"a look-up table ({keyword}) cannot be used: {error}")
    return None


def _padding(header: Dataset, lowest: int, bits: int, notes: list[str]) -> np.ndarray | None:
    """Return which stored values are padding; None where there is none, or none that a pixel can have."""
    if first_number(header, "PixelPaddingValue") is None:
        return None
    ends = list(_storable(header, lowest, bits, notes))
    if not ends:
        return None
    padding = np.zeros(1 << bits, dtype=bool)
    padding[min(ends) : max(ends) + 1] = True
    return padding


def _storable(header: Dataset, lowest: int, bits: int, notes: list[str]) -> Iterator[int]:
    """Yield the places in the table of Pixel Padding Value and its Range Limit, as far as a pixel can have them.

    Both are words of 16 bits that may have been read with the wrong sign. Unused bits are not cut off: a value beyond
    the stored bits would become that of real pixels.
    """
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = first_number(header, keyword)
        if value is None:
            continue
        inside = [int(one) - lowest for one in (value, value - 2**16, value + 2**16) if 0 <= one - lowest < 1 << bits]
        if inside:
            yield inside[0]
            continue
        notes.append(f"its {keyword} is none that {bits} stored bits can hold: it matches no pixel")
        if keyword == "PixelPaddingValue":
            return
