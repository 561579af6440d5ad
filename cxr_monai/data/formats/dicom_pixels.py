"""Pixel Data to levels: every decoder that knows the transfer syntax in turn, then the stored bits alone.

Compressed pixels go to pydicom's decoders, after their own header has been compared with DICOM's; one that fails is
followed by the next, and GDCM comes last, in a process of its own (``dicom_gdcm``). Whatever decoded them, only the
stored bits count afterwards (``dicom_bits``).
"""

import re
import struct
from collections.abc import Callable, Iterator

import numpy as np

from cxr_monai.data.formats.dicom_bits import stored_bits
from cxr_monai.data.formats.dicom_gdcm import GDCM_SYNTAXES, decode_with_gdcm, gdcm_is_installed
from cxr_monai.data.formats.dicom_library import (
    UID,
    Dataset,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    get_decoder,
    get_frame,
)
from cxr_monai.data.formats.dicom_values import integer, text, truncated, undecodable, value_of
from cxr_monai.data.formats.raster import jpeg_frame
from cxr_monai.errors import Code, RadiographError
from cxr_monai.plurals import counted

PLUGINS = ("pydicom", "pyjpegls", "pylibjpeg", "pillow")
"""pydicom's decoders in order of preference; GDCM, which can end the process, is called in another (see
``dicom_gdcm``)."""

GDCM = "gdcm"

_DESCRIBING = (
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "PixelRepresentation", "PixelData",
)  # fmt: skip
_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
_JPEG_2000 = ("1.2.840.10008.1.2.4.9", "1.2.840.10008.1.2.4.20")  # 90 to 93, and 201 to 203 (high throughput)
_RLE_SLACK = 15 * 64  # bytes that 15 segments may be padded by


def decoders(syntax: UID) -> list[str]:
    """Return the names of the installed decoders of a compressed transfer syntax, in the order in which they try."""
    try:
        available = get_decoder(syntax).available_plugins
    except NotImplementedError:
        available = ()
    names = [name for name in PLUGINS if name in available]
    return [*names, GDCM] if syntax in GDCM_SYNTAXES and gdcm_is_installed() else names


def stored_levels(dataset: Dataset, notes: list[str]) -> np.ndarray:
    """Return levels ``[H, W]`` or ``[H, W, 3]`` (RGB), unsigned: the stored value less the lowest that can be stored.

    Args:
        dataset: whose numbers are whole and agree.
        notes: gets sentences on unusual pixels.

    Raises:
        RadiographError: ``radiograph-truncated``, ``-undecodable`` or ``-dimensions``.
    """
    pixels = value_of(dataset, "PixelData")
    if not isinstance(pixels, bytes) or not pixels:
        raise truncated("its Pixel Data (7FE0,0010) is missing or cut")
    syntax = dataset.file_meta.TransferSyntaxUID
    shape = integer(dataset, "Rows"), integer(dataset, "Columns"), integer(dataset, "SamplesPerPixel")
    size = shape[0] * shape[1] * shape[2] * integer(dataset, "BitsAllocated") // 8
    if syntax in _NATIVE:
        needed = size // 3 * 2 if text(dataset, "PhotometricInterpretation") == "YBR_FULL_422" else size
        if len(pixels) < needed:
            raise truncated(f"its header needs {counted(needed, 'byte')} of pixels and {len(pixels):,} are there")
        if len(pixels) >= 2 * needed:
            notes.append("its Pixel Data hold more than one picture of this size: the first is taken")
        return stored_bits(_decoded_by(_whole_words(dataset), ""), dataset, None, notes)
    array, precision = _decompressed(dataset, pixels, syntax, shape, size)
    return stored_bits(array, dataset, precision, notes)


def _decompressed(
    dataset: Dataset, pixels: bytes, syntax: UID, shape: tuple[int, int, int], size: int
) -> tuple[np.ndarray, int | None]:
    """Return the decoded samples of a compressed picture, and the bits a sample in its codestream's header."""
    names = decoders(syntax)
    if not names:
        raise _no_decoder(syntax)
    frame = get_frame(pixels, 0, number_of_frames=1)
    precision = _check_codestream(frame, syntax, shape, size)
    faults = []
    for name, decode in _attempts(dataset, frame, syntax, names, precision):
        try:
            array = decode()
        except MemoryError:
            raise
        except Exception as error:  # decoders raise nearly anything on damaged content
            faults.append(f"{name}: {_short(error)}")
            continue
        return array.reshape(shape if shape[2] > 1 else shape[:2]), precision
    raise undecodable(
        f"its pixels, {_name(syntax)}, are damaged or of a kind that no decoder reads ({'; '.join(faults)})"
    )


def _attempts(
    dataset: Dataset, frame: bytes, syntax: UID, names: list[str], precision: int | None
) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    words = _whole_words(dataset) if syntax == RLELossless else dataset
    for name in names:
        if name == GDCM:
            yield name, lambda: _decoded_by_gdcm(dataset, frame, syntax, precision)
        else:
            yield name, lambda plugin=name: _decoded_by(words, plugin)  # type: ignore[misc]


def _decoded_by(dataset: Dataset, plugin: str) -> np.ndarray:
    array, _ = get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(dataset, index=0, decoding_plugin=plugin)
    return array


def _decoded_by_gdcm(dataset: Dataset, frame: bytes, syntax: UID, precision: int | None) -> np.ndarray:
    allocated, samples = integer(dataset, "BitsAllocated"), integer(dataset, "SamplesPerPixel")
    if samples != 1:
        raise undecodable("colour is not given to it")
    rows, columns = integer(dataset, "Rows"), integer(dataset, "Columns")
    signed = integer(dataset, "PixelRepresentation")
    stored = min(max(precision or 0, integer(dataset, "BitsStored")), allocated)
    data = decode_with_gdcm(
        frame, str(syntax), rows=rows, columns=columns, allocated=allocated, stored=stored, signed=signed
    )
    return np.frombuffer(data, f"{'i' if signed else 'u'}{allocated // 8}").reshape(rows, columns)


def _whole_words(dataset: Dataset) -> Dataset:
    """Return the data set with every allocated bit declared as stored: pydicom then leaves all of them as they are."""
    words = Dataset()
    words.file_meta = dataset.file_meta
    for keyword in _DESCRIBING:
        if keyword in dataset:
            words[keyword] = dataset[keyword]
    words.set_original_encoding(*dataset.original_encoding)
    words.BitsStored = integer(dataset, "BitsAllocated")
    words.HighBit = words.BitsStored - 1
    return words


def _check_codestream(frame: bytes, syntax: UID, expected: tuple[int, int, int], size: int) -> int | None:
    """Refuse a compressed picture whose own header contradicts DICOM's, before a decoder allocates memory for it.

    Returns:
        Its bits a sample; None for RLE, which doesn't say.
    """
    if syntax == RLELossless:
        if _rle_length(frame, size) > size + _RLE_SLACK:
            raise RadiographError(
                Code.RADIOGRAPH_DIMENSIONS,
                f"its RLE data expand to more than the {counted(size, 'byte')} of {counted(expected[0], 'row')} "
                f"by {counted(expected[1], 'column')}.",
                fix="Leave the file out: it is damaged or made to exhaust memory.",
            )
        return None
    wavelets = syntax.startswith(_JPEG_2000)
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)
    encoded: tuple[int, int, int, int] | None = None
    if wavelets and start >= 0 and len(frame) >= start + 43:  # JPEG 2000: SIZ marker, ITU-T T.800 A.5.1
        x_end, y_end, x_start, y_start = struct.unpack_from(">IIII", frame, start + 8)
        channels, depth = struct.unpack_from(">HB", frame, start + 40)
        encoded = y_end - y_start, x_end - x_start, channels, (depth & 0x7F) + 1
    elif not wavelets and frame.startswith(b"\xff\xd8"):
        encoded = jpeg_frame(frame)
    if encoded is None:
        raise undecodable(f"its compressed pixels are not {_name(syntax)}")
    if encoded[:3] != expected:
        claims = ["{} rows by {} columns in {} channels".format(*numbers[:3]) for numbers in (encoded, expected)]
        raise undecodable(f"its compressed picture is {claims[0]}, and its header says {claims[1]}")
    return encoded[3]


def _rle_length(frame: bytes, size: int) -> int:
    """Return how many bytes RLE segments expand to, counting no further than needed (PS3.5 G.3)."""
    if len(frame) < 64:
        raise truncated("its RLE data end within their header")
    offsets = struct.unpack_from("<16I", frame)
    starts = [start for start in offsets[1 : 1 + min(offsets[0], 15)] if start]
    length = 0
    for start, end in zip(starts, [*starts[1:], len(frame)], strict=True):
        position = start
        while position < min(end, len(frame)) and length <= size + _RLE_SLACK:
            control = frame[position]
            if control == 128:
                position += 1
            elif control > 128:
                length, position = length + 257 - control, position + 2
            else:
                length, position = length + control + 1, position + control + 2
    return length


def _no_decoder(syntax: UID) -> RadiographError:
    try:
        supported = get_decoder(syntax) is not None
    except NotImplementedError:
        supported = syntax in GDCM_SYNTAXES
    if not supported:
        return undecodable(f"there is no decoder for its transfer syntax ({_name(syntax)})")
    return RadiographError(
        Code.RADIOGRAPH_UNDECODABLE,
        f"no decoder for its transfer syntax, {_name(syntax)}, is installed.",
        fix="Install them: pip install 'cxr-monai[dicom]'.",
    )


def _name(syntax: UID) -> str:
    return syntax.name if re.fullmatch(r"[\w .,:;()\[\]/@&-]{1,100}", syntax.name) else "not a UID"


def _short(error: Exception) -> str:
    """Return a decoder's words, which can't know whose picture it is, cut to a line."""
    words = re.sub(r"[^ -~]+", " ", str(error).splitlines()[0] if str(error) else "")[:80].strip(" .")
    return words or type(error).__name__
