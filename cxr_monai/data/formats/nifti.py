"""NIfTI files (``.nii``, ``.nii.gz``) of one slice to grey.

NIfTI stores x first, so ``pixels[row, column] = data[column, row]``: the array is transposed, and nothing is flipped.
That is what ITK and MONAI's PIL reader followed by its NIfTI writer produce. The affine isn't used: a projection has no
place in the patient's space, and files made of pictures carry arbitrary ones. The values, after ``scl_slope`` and
``scl_inter``, are mapped to [0, 1] by the first of these rules that applies:

1. ``cal_min < cal_max``: the header's display range, clipped;
2. unsigned 8-bit without scaling (none, or a slope of 1 and an intercept of 0): divided by 255;
3. everything already within [0, 1]: as it is;
4. the image's own minimum to maximum (``provenance["range"]`` has it: such images aren't comparable in brightness).

The header is read by nibabel from its first bytes, and no more of a compressed file is inflated than it declares.
"""

import gzip
import io
from typing import Any, BinaryIO, cast

import nibabel
import numpy as np

from cxr_monai.data.formats.grey import UNSIGNED_8_BIT, Decoded, check_image_extent, exact_grey, level_table, look_up
from cxr_monai.data.formats.sniffing import GZIP_MAGIC
from cxr_monai.errors import Code, RadiographError
from cxr_monai.plurals import be, counted

_HEADER_BYTES = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
_MILLIMETRES = {"mm": 1.0, "meter": 1000.0, "micron": 0.001}
_MAX_OFFSET = 2**24  # extensions between header and data: far more than any writer makes


def decode_nifti(data: bytes, max_pixels: int) -> Decoded:
    """Decode a NIfTI of shape (W, H), (W, H, 1) or with more trailing ones, of any real data type.

    Args:
        data: the file, plain or gzip.
        max_pixels: larger pictures are refused, by their header.
    """
    with cast(BinaryIO, gzip.open(io.BytesIO(data)) if data[:2] == GZIP_MAGIC else io.BytesIO(data)) as stream:
        header = _header(stream)
        shape = header.get_data_shape()
        width, height = _plane(shape)
        check_image_extent(height, width, max_pixels)
        dtype = header.get_data_dtype()
        if dtype.kind == "V":
            raise RadiographError(
                Code.RADIOGRAPH_COLOUR, "it is a colour NIfTI.", fix="Export the radiograph as a grey image."
            )
        if dtype.kind not in "iuf":
            raise _undecodable(f"its data type {dtype} is not real numbers")
        offset = float(header["vox_offset"])
        if not 0 <= offset <= _MAX_OFFSET:
            raise _undecodable(f"its header puts the data at byte {offset:g}")
        size = width * height * dtype.itemsize
        stream.seek(int(offset))
        raw = stream.read(size)
        if len(raw) < size:
            raise RadiographError(
                Code.RADIOGRAPH_TRUNCATED,
                f"its header needs {counted(size, 'byte')} of pixels and {len(raw):,} are there.",
                fix="Copy or download the file again.",
            )
        stream.read(1)  # the end of a gzip file, where its checksum is verified
    stored = np.frombuffer(raw, dtype).reshape(height, width)  # x is the fastest axis: rows follow each other
    pixels, rule, bounds = _to_grey(stored, header)
    provenance: dict[str, Any] = {"format": "NIfTI", "data_type": str(dtype), "scaling": rule, "range": bounds}
    provenance["affine"] = "not used"
    if rule == UNSIGNED_8_BIT:
        provenance["bits_stored"] = 8
    return Decoded(pixels, _spacing(header), provenance)


def _header(stream: BinaryIO) -> Any:
    head = stream.read(348)
    size = 540 if head[4:8] in (b"n+2\0", b"ni2\0") else 348
    head += stream.read(size - 348)
    # check=False: nibabel would log repairs; what matters here is judged by the caller
    header = _HEADER_BYTES[size](head, check=False)
    if header["magic"].item().rstrip(b"\0")[:3] not in (b"n+1", b"n+2"):
        raise RadiographError(
            Code.RADIOGRAPH_NOT_AN_IMAGE,
            "it is a NIfTI header whose pixels are in another file (.img).",
            fix="Convert the pair to one .nii file.",
        )
    return header


def _plane(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) < 2 or min(shape) < 1:
        raise RadiographError(
            Code.RADIOGRAPH_DIMENSIONS, f"its shape is {shape}; one slice (W, H) is needed.", fix="Give one radiograph."
        )
    if any(extent != 1 for extent in shape[2:]):
        raise RadiographError(
            Code.RADIOGRAPH_SEVERAL_FRAMES,
            f"its shape is {shape}: several slices; a radiograph is one, of shape (W, H) or (W, H, 1).",
            fix="Export the one that is meant.",
        )
    return int(shape[0]), int(shape[1])


def _to_grey(stored: np.ndarray, header: Any) -> tuple[np.ndarray, str, tuple[float, float]]:
    """Return grey ``[H, W]``, the rule that was applied, and the values that became 0 and 1."""
    slope, intercept = header.get_slope_inter()
    if (slope, intercept) == (1.0, 0.0):  # what nibabel writes where nothing is scaled
        slope, intercept = None, None
    low, high = float(header["cal_min"]), float(header["cal_max"])
    display = np.isfinite([low, high]).all() and low < high
    if stored.dtype == np.uint8 and slope is None and not display:
        return look_up(level_table(8), stored), UNSIGNED_8_BIT, (0.0, 255.0)
    with np.errstate(over="ignore", invalid="ignore"):
        values = stored.astype(np.float64) * (1.0 if slope is None else slope) + (intercept or 0.0)
        finite = np.isfinite(values)
    if not finite.all():
        raise RadiographError(
            Code.RADIOGRAPH_NAN,
            f"{int((~finite).sum()):,} of its {counted(values.size, 'pixel')} "
            f"{be(int((~finite).sum()))} NaN or infinite.",
            fix="Replace them by the background's value when exporting.",
        )
    rule = "display range (cal_min, cal_max)"
    if not display:
        low, high = float(values.min()), float(values.max())
        if low < high and low >= 0.0 and high <= 1.0:
            return values.astype(np.float32), "as stored", (0.0, 1.0)
        rule = "minimum to maximum"
    # halves, because the distance between two finite numbers may be infinite; a constant image is refused by the caller
    half = (high / 2 - low / 2) or 1.0
    with np.errstate(under="ignore", over="ignore"):
        return exact_grey((values / 2 - low / 2) / half), rule, (low, high)


def _spacing(header: Any) -> tuple[float, float] | None:
    """Return (row, column) spacing in mm; None where the unit is not stated or the numbers are no lengths."""
    factor = _MILLIMETRES.get(header.get_xyzt_units()[0])
    column, row = (float(zoom) for zoom in header.get_zooms()[:2])
    if factor is None or not (np.isfinite([row, column]).all() and row > 0 and column > 0):
        return None
    return row * factor, column * factor


def _undecodable(reason: str) -> RadiographError:
    return RadiographError(Code.RADIOGRAPH_UNDECODABLE, f"{reason}.", fix="Export the file again.")
