"""A film in memory to the same numbers as from its file: what MONAI Deploy, MONAI Label and other programs hand over.

    from PIL import Image

    radiograph_of_array(np.asarray(Image.open("chest.png"))).pixels      # equals read_radiograph("chest.png").pixels

**Axes.** Those of extent 1 go; the two that are left are the picture's, and beside them 3 or 4 channels that agree.
Arrays and plain tensors have rows first, as pictures do: ``[H, W]``, ``[1, H, W]``, ``[H, W, 1]``, ``[H, W, 3]``. A
``MetaTensor`` whose metadata have ``spatial_shape`` or ``original_channel_dim`` comes from one of MONAI's readers or
MONAI Deploy's operator: x first, as NIfTI stores it, so ``[W, H]``, ``[1, W, H]``, ``[W, H, 1]``. It is transposed and
nothing is flipped; no affine is used. What is stated goes first: ``axes`` is ``HW`` or ``WH``.

**Range.** The first rule that applies:

1. stated: ``value_range`` (the values of black and white, clipped), or ``bits`` of whole numbers: 0 to 2**bits - 1;
2. metadata of MONAI's NIfTI reader: the rules of ``formats.nifti``; of its PIL reader: 255, or 65,535 at 16 bits;
3. unsigned 8-bit: divided by 255; unsigned 16-bit (and 32-bit, which MONAI makes of it): by 65,535, unless nothing is
   brighter than 40 % of that (fewer bits are in use, and nobody says how many);
4. floats within [0, 1]: as they are.

Everything else is refused (``radiograph-ambiguous``): 12-bit films in signed integers, or floats up to 255 without a
word of where they come from, would become a picture of another brightness, and a probability that looks right.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from cxr_monai.data.formats.grey import (
    UNSIGNED_8_BIT,
    check_image_extent,
    exact_grey,
    level_table,
    look_up,
    single_channel,
)
from cxr_monai.data.radiograph import MAX_PIXELS, NEARLY_BLACK, Radiograph
from cxr_monai.errors import Code, RadiographError
from cxr_monai.plurals import be, counted

AXES = ("HW", "WH")
"""Rows first, as pictures are stored; x first, as NIfTI and MONAI's readers have it."""

_X_FIRST = ("spatial_shape", "original_channel_dim")
_PIL_WHITE = {"1": 1, "L": 255, "RGB": 255, "RGBA": 255, "I;16": 65535}
_NIFTI_UINT8 = 2


def radiograph_of_array(
    array: Any,
    axes: str | None = None,
    value_range: Sequence[float] | None = None,
    bits: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Radiograph:
    """Return a film in memory as :func:`~cxr_monai.data.radiograph.read_radiograph` returns it from its file.

    Args:
        array: numpy array, tensor or ``MetaTensor`` of whole numbers or floats, bright = dense; see above.
        axes: ``HW`` or ``WH``; else a ``MetaTensor``'s metadata ``axes``, else the rule above.
        value_range: the values of black and white; else the metadata's ``value_range``.
        bits: of a pixel, 1 to 16; else the metadata's ``bits_stored``.
        max_pixels: larger pictures are refused.

    Returns:
        pixels float32 ``[1, H, W]`` in [0, 1], spacing unknown.

    Raises:
        RadiographError: ``radiograph-ambiguous`` where range or axes are not known; ``radiograph-several-frames``,
            ``-colour``, ``-dimensions``, ``-nan``, ``-constant``; ``radiograph-not-an-image`` for no array.
    """
    metadata: Mapping[str, Any] = array.meta if isinstance(array, MetaTensor) else {}
    stored = _numbers(array)
    axes = axes if axes is not None else metadata.get("axes")
    value_range = value_range if value_range is not None else metadata.get("value_range")
    bits = _whole(bits if bits is not None else metadata.get("bits_stored"))
    plane = _plane(stored, _order(axes, metadata))
    _check_axes(axes, plane, metadata)
    check_image_extent(plane.shape[0], plane.shape[1], max_pixels)
    if not np.isfinite(plane).all():
        raise RadiographError(
            Code.RADIOGRAPH_NAN,
            f"{int((~np.isfinite(plane)).sum()):,} of its {counted(plane.size, 'pixel')} "
            f"{be(int((~np.isfinite(plane)).sum()))} NaN or infinite.",
            fix="Replace them by the background's value.",
        )
    grey = _one_channel(plane) if plane.ndim == 3 else plane
    pixels, rule, known_bits = _to_grey(grey, value_range, bits, metadata)
    if pixels.min() == pixels.max():
        raise RadiographError(
            Code.RADIOGRAPH_CONSTANT, "every pixel has the same grey.", fix="Hand over the radiograph itself."
        )
    provenance = {"format": "array", "scaling": rule, "bits_stored": known_bits, "shape": pixels.shape}
    return Radiograph(np.ascontiguousarray(pixels)[np.newaxis], None, provenance)


def _numbers(array: Any) -> np.ndarray:
    if isinstance(array, torch.Tensor):
        plain = array.as_tensor() if isinstance(array, MetaTensor) else array
        plain = plain.detach().cpu()
        array = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "uif":
        kind = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else f"of type {type(array).__name__}"
        raise RadiographError(
            Code.RADIOGRAPH_NOT_AN_IMAGE,
            f"the image is {kind}; a path, or an array or tensor of whole numbers or floats is taken.",
            fix="Hand over the film as one of these.",
        )
    return array


def _order(axes: Any, metadata: Mapping[str, Any]) -> str:
    if axes is None:
        return "WH" if any(key in metadata for key in _X_FIRST) else "HW"
    if not isinstance(axes, str) or axes not in AXES:
        raise RadiographError(
            Code.RADIOGRAPH_AMBIGUOUS, f"its axes are called {_shown(axes)}.", fix="HW is rows first, WH is x first."
        )
    return axes


def _plane(stored: np.ndarray, order: str) -> np.ndarray:
    """Return ``[H, W]``, or ``[H, W, C]`` for channels that must agree."""
    plane = stored.squeeze()
    if plane.ndim == 3 and plane.shape[0] in (3, 4) and plane.shape[2] not in (3, 4):
        plane = np.moveaxis(plane, 0, 2)
    if plane.ndim == 3 and plane.shape[2] not in (3, 4):
        raise RadiographError(
            Code.RADIOGRAPH_SEVERAL_FRAMES,
            f"its shape is {stored.shape}: several slices; a radiograph is one picture.",
            fix="Hand over the one that is meant.",
        )
    if plane.ndim not in (2, 3):
        raise RadiographError(
            Code.RADIOGRAPH_DIMENSIONS,
            f"its shape is {stored.shape}; a picture of two axes is taken, with axes of extent 1 beside them.",
            fix="Hand over one radiograph at a time.",
        )
    return plane.swapaxes(0, 1) if order == "WH" else plane


def _one_channel(plane: np.ndarray) -> np.ndarray:
    """Return the green one of channels that agree, as from a file; floats within [0, 1] are compared as 8 bits."""
    high = float(plane.max())
    single_channel(plane * 255 if plane.dtype.kind == "f" and high <= 1 else plane, 8 if high <= 255 else 16)
    return plane[..., 1]


def _check_axes(axes: str | None, plane: np.ndarray, metadata: Mapping[str, Any]) -> None:
    """Refuse a picture that the PIL reader's metadata say to be the other way round (``reverse_indexing=False``)."""
    if axes is None and "width" in metadata and "height" in metadata:
        declared = _number(metadata, "height"), _number(metadata, "width")
        if plane.shape[:2] != declared and plane.shape[1::-1] == declared:
            raise RadiographError(
                Code.RADIOGRAPH_AMBIGUOUS,
                f"its metadata tell of {counted(int(declared[0]), 'row')} and {counted(int(declared[1]), 'column')}, "
                f"and x first makes {counted(plane.shape[0], 'row')}.",
                fix="State its axes: image_axes is HW (rows first) or WH.",
            )


def _to_grey(
    grey: np.ndarray, value_range: Sequence[float] | None, bits: int | None, metadata: Mapping[str, Any]
) -> tuple[np.ndarray, str, int]:
    """Return ``[H, W]`` in [0, 1], the rule that was applied, and the bits that a pixel has."""
    low, high = float(grey.min()), float(grey.max())
    within = grey.dtype.kind == "f" and low >= 0 and high <= 1
    if value_range is not None:
        pixels = _between(grey, *_ends(value_range))
        return pixels, "stated range", bits or _bits_of(pixels)
    if bits is not None and not within:
        if low < 0 or high > 2**bits - 1 or not _whole_numbers(grey):
            raise _ambiguous(grey, f"and {bits} bits hold whole numbers from 0 to {2**bits - 1:,}")
        return _between(grey, 0, 2**bits - 1), f"{bits} bits", bits
    if all(key in metadata for key in ("cal_min", "cal_max", "datatype")):
        return _as_nifti(grey, metadata)
    if "format" in metadata and "mode" in metadata:
        white = _PIL_WHITE.get(str(metadata["mode"]), -1)
        if low < 0 or high > white or not _whole_numbers(grey):
            raise _ambiguous(grey, f"which a {metadata['format']} of mode {metadata['mode']} does not explain")
        return _between(grey, 0, white), "range of the picture's mode", 16 if white > 255 else 8
    if grey.dtype == np.uint8:
        return look_up(level_table(8), grey), UNSIGNED_8_BIT, 8
    if grey.dtype in (np.uint16, np.int32) and low >= 0 and NEARLY_BLACK <= high / 65535 <= 1:
        return look_up(level_table(16), grey), "unsigned 16-bit range", 16
    if within:
        return grey.astype(np.float32), "as stored", bits or _bits_of(grey)
    raise _ambiguous(grey, "and nothing says which values are black and white")


def _as_nifti(grey: np.ndarray, metadata: Mapping[str, Any]) -> tuple[np.ndarray, str, int]:
    """Apply the rules of ``cxr_monai.data.formats.nifti`` to values that MONAI's reader has scaled already."""
    low, high = _number(metadata, "cal_min"), _number(metadata, "cal_max")
    if np.isfinite([low, high]).all() and low < high:
        return _between(grey, low, high), "display range (cal_min, cal_max)", 16
    low, high = float(grey.min()), float(grey.max())
    if _number(metadata, "datatype") == _NIFTI_UINT8 and low >= 0 and high <= 255 and _whole_numbers(grey):
        return _between(grey, 0, 255), UNSIGNED_8_BIT, 8
    if low >= 0 and high <= 1:
        return grey.astype(np.float32), "as stored", 16
    return _between(grey, low, high), "minimum to maximum", 16


def _between(grey: np.ndarray, low: float, high: float) -> np.ndarray:
    half = (high / 2 - low / 2) or 1.0
    return exact_grey((grey.astype(np.float64) / 2 - low / 2) / half)


def _whole_numbers(grey: np.ndarray) -> bool:
    return grey.dtype.kind != "f" or bool((grey == np.rint(grey)).all())


def _bits_of(pixels: np.ndarray) -> int:
    """Return 8 for a picture whose greys are all levels of 8 bits, as from an 8-bit file; else 16."""
    levels = pixels.astype(np.float64) * 255
    return 8 if bool((np.abs(levels - np.rint(levels)) < 1e-4).all()) else 16


def _ends(value_range: Any) -> tuple[float, float]:
    ends = _as_numbers(value_range, (2,))
    if ends is None or ends[0] >= ends[1]:
        raise RadiographError(
            Code.RADIOGRAPH_AMBIGUOUS,
            f"its value_range is {_shown(value_range)}.",
            fix="Give two rising numbers: the values of black and of white.",
        )
    return ends[0], ends[1]


def _whole(bits: Any) -> int | None:
    if bits is None:
        return None
    number = _as_numbers(bits, ())
    if number is None or not (number[0].is_integer() and 1 <= number[0] <= 16):
        raise RadiographError(
            Code.RADIOGRAPH_AMBIGUOUS, f"its bits are {_shown(bits)}.", fix="Give 1 to 16 bits a pixel."
        )
    return int(number[0])


def _number(metadata: Mapping[str, Any], key: str) -> float:
    """Return a number of a reader's metadata; NaN and infinity are allowed (an empty header)."""
    number = _as_numbers(metadata[key], (), finite=False)
    if number is None:
        raise RadiographError(
            Code.RADIOGRAPH_AMBIGUOUS,
            f"its metadata say {key} is {_shown(metadata[key])}, which is no number.",
            fix="Hand over the metadata as MONAI's reader made them, or a plain array and what its values mean.",
        )
    return number[0]


def _as_numbers(stated: Any, shape: tuple[int, ...], finite: bool = True) -> list[float] | None:
    """Return numbers of a shape, as lists, tuples, arrays and tensors hold them; None for anything else."""
    try:
        numbers = np.asarray(stated)
        if numbers.shape != shape or numbers.dtype.kind not in "uif" or (finite and not np.isfinite(numbers).all()):
            return None
    except (TypeError, ValueError, OverflowError, RuntimeError):  # ragged lists, tensors without an array
        return None
    return [float(number) for number in numbers.reshape(-1)]


def _shown(stated: Any) -> str:
    text = " ".join(repr(stated).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _ambiguous(grey: np.ndarray, why: str) -> RadiographError:
    return RadiographError(
        Code.RADIOGRAPH_AMBIGUOUS,
        f"its values are {grey.dtype} from {grey.min():g} to {grey.max():g}, {why}.",
        fix="State it in the item or the MetaTensor's metadata: image_value_range or value_range [black, white], "
        "image_bits or bits_stored; or hand over floats in [0, 1].",
    )
