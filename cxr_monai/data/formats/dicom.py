"""DICOM files of one radiograph: header judged first, pixels decoded after, then grey by ``dicom_grey``.

What isn't a chest radiograph by its Modality or Body Part Examined is refused; the SOP class isn't judged, because
many archives rewrap radiographs as Secondary Capture. A missing body part is accepted, a missing modality isn't
(``any_modality=True`` overrides both). Compressed pixels go to pydicom's decoders, after their own header has been
compared with DICOM's; a deflated file is inflated no further than its header accounts for.

No error and no provenance quotes anything of the patient.
"""

import io
import logging
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_dataset
from pydicom.pixels import get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from cxr_monai.data.formats.dicom_gdcm import decode_with_gdcm
from cxr_monai.data.formats.dicom_grey import first_number, grey_table, text, undecodable
from cxr_monai.data.formats.grey import Decoded, check_size, level_table, look_up, single_channel
from cxr_monai.data.formats.raster import jpeg_frame_size
from cxr_monai.errors import Code, RadiographError

MODALITIES = ("CR", "DX", "DR", "RG")
"""Modalities of a radiograph: three of PS3.3 C.7.3.1.1.1, and DR, which isn't in the standard but in archives."""

# fmt: off
OTHER_BODY_PARTS = frozenset({
    "ABDOMEN", "ANKLE", "ARM", "BLADDER", "BREAST", "BUTTOCK", "CALCANEUS", "CALF", "COCCYX", "CSPINE", "ELBOW",
    "EXTREMITY", "EYE", "FEMUR", "FINGER", "FOOT", "FOREARM", "HAND", "HEAD", "HEADNECK", "HIP", "HUMERUS", "IAC",
    "JAW", "KNEE", "LEG", "LSPINE", "MANDIBLE", "MAXILLA", "NECK", "NOSE", "ORBIT", "PATELLA", "PELVIS", "RADIUS",
    "SACRUM", "SCAPULA", "SHOULDER", "SIJOINT", "SINUS", "SKULL", "SSPINE", "TEETH", "THIGH", "THUMB", "TIBIA", "TOE",
    "ULNA", "WRIST", "ZYGOMA",
})
# fmt: on
"""Body Part Examined (PS3.16 Annex L) that is clearly not a chest. Other words are accepted: sites have many of their
own, among them for chests."""

COLOUR_SPACES = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

PLUGINS = ("pydicom", "pyjpegls", "pylibjpeg", "pillow", "gdcm")
"""pydicom's decoders in order of preference: GDCM last, because it can end the process (see ``dicom_gdcm``)."""

_RLE_SLACK = 15 * 64  # bytes that 15 segments may be padded by
_HEADER_ROOM = 2**20  # bytes of a deflated file that its header, and what follows its pixels, may take
_RAW_START = (b"\x02\x00\x00\x00", b"\x08\x00\x00\x00", b"\x08\x00\x05\x00", b"\x08\x00\x08\x00", b"\x08\x00\x16\x00")
_WARNINGS = threading.Lock()


def is_dicom(head: bytes) -> bool:
    """Tell whether these first bytes are DICOM: the prefix at byte 128, or a data set without a preamble."""
    return head[128:132] == b"DICM" or head[:4] in _RAW_START


def decode_dicom(data: bytes, max_pixels: int, *, any_modality: bool = False) -> Decoded:
    """Decode a single-frame DICOM of 8 or 16 allocated bits, monochrome or of equal colour channels."""
    with _without_warnings():  # around everything: pydicom parses, and warns, when an attribute is first looked at
        return _decode(data, max_pixels, any_modality)


def _decode(data: bytes, max_pixels: int, any_modality: bool) -> Decoded:
    data, syntax = _inflated(data, max_pixels)
    header = _read(data, stop_before_pixels=True)
    if not any_modality:
        _check_subject(header)
    _check_image(header, max_pixels)
    dataset = _read(data, stop_before_pixels=False)
    stored = _stored_values(dataset)
    bits, signed = _integer(header, "BitsStored"), _integer(header, "PixelRepresentation") == 1
    spacing, spacing_from = _spacing(header)
    provenance = {
        "format": "DICOM",
        "transfer_syntax": (syntax or dataset.file_meta.TransferSyntaxUID).name,
        "modality": _code(header, "Modality"),
        "photometric_interpretation": text(header, "PhotometricInterpretation"),
        "bits_stored": bits,
        "signed": signed,
        "spacing_from": spacing_from,
    }
    if stored.ndim == 3:
        return Decoded(look_up(level_table(bits), single_channel(stored, bits)), spacing, provenance)
    table = grey_table(header, bits, signed=signed)
    levels = stored if table.lowest == 0 else stored.astype(np.int32) - table.lowest
    if table.padding is not None:
        inside = stored[~table.padding.take(levels, mode="clip")]
        if inside.size == 0 or inside.min() == inside.max():
            raise RadiographError(
                Code.RADIOGRAPH_CONSTANT,
                "outside its padding, every pixel has the same value.",
                fix="Export the radiograph again, or leave the file out.",
            )
    return Decoded(look_up(table.grey, levels), spacing, provenance | table.provenance)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence pydicom, which warns of every oddity in a header, quoting it, and logs the same.

    Warning filters belong to the process, and two threads that change them at the same time may leave them changed for
    good: hence the lock. Processes, such as a loader's workers, aren't held up by it.
    """
    logger = logging.getLogger("pydicom")
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        propagate, logger.propagate = logger.propagate, False
        try:
            yield
        finally:
            logger.propagate = propagate


def _inflated(data: bytes, max_pixels: int) -> tuple[bytes, UID | None]:
    """Return the file, or its inflated data set and the transfer syntax if that is the deflated one (PS3.5 A.5)."""
    if data[128:132] != b"DICM":
        return data, None
    stream = io.BytesIO(data)
    stream.seek(132)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return data, None
    start = stream.tell()
    header = _read(_inflate(data[start:], _HEADER_ROOM)[0], stop_before_pixels=True)
    rows, columns = _integer(header, "Rows"), _integer(header, "Columns")
    check_size(rows, columns, max_pixels)
    samples, frames = _integer(header, "SamplesPerPixel"), _integer(header, "NumberOfFrames", 1)
    if frames > 1:
        raise _several_frames(frames)
    limit = rows * columns * samples * (_integer(header, "BitsAllocated") + 7) // 8 + 2 * _HEADER_ROOM
    inflated, whole = _inflate(data[start:], limit)
    if len(inflated) >= limit:
        raise RadiographError(
            Code.RADIOGRAPH_DIMENSIONS,
            f"it inflates to more than the {limit:,} bytes that {rows} rows by {columns} columns can need.",
            fix="Leave the file out: it is damaged or made to exhaust memory.",
        )
    if not whole:
        raise _truncated("its deflated data set ends too early")
    return inflated, DeflatedExplicitVRLittleEndian


def _inflate(data: bytes, limit: int) -> tuple[bytes, bool]:
    """Return at most ``limit`` inflated bytes, and whether the stream's end was reached."""
    stream = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    return stream.decompress(data, limit), stream.eof


def _read(data: bytes, *, stop_before_pixels: bool) -> Dataset:
    dataset = dcmread(io.BytesIO(data), force=True, stop_before_pixels=stop_before_pixels)
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _check_subject(header: Dataset) -> None:
    """Refuse what isn't a radiograph of a chest, by (0008,0060) and (0018,0015)."""
    fix = "Leave the file out; if it is a chest radiograph all the same, read it with any_modality=True."
    modality = text(header, "Modality")
    if modality not in MODALITIES and (modality or "Rows" in header):
        said = f"is {_code(header, 'Modality')}" if modality else "is missing"
        raise RadiographError(
            Code.RADIOGRAPH_WRONG_MODALITY,
            f"its Modality (0008,0060) {said}; a radiograph's is {', '.join(MODALITIES)}.",
            fix=fix,
        )
    part = "".join(letter for letter in text(header, "BodyPartExamined") if letter.isalpha())
    if part in OTHER_BODY_PARTS:
        raise RadiographError(
            Code.RADIOGRAPH_WRONG_MODALITY, f"its Body Part Examined (0018,0015) is {part}, not a chest.", fix=fix
        )


def _check_image(header: Dataset, max_pixels: int) -> None:
    """Refuse, before any pixel is touched, what cannot be decoded to one grey picture."""
    if "Rows" not in header or "Columns" not in header:
        if text(header, "Modality") in MODALITIES:
            raise _truncated("its header ends before Rows (0028,0010) and Columns")
        raise RadiographError(
            Code.RADIOGRAPH_NOT_AN_IMAGE,
            "it is a DICOM object without an image, or its header is cut.",
            fix="Give the image itself.",
        )
    check_size(_integer(header, "Rows"), _integer(header, "Columns"), max_pixels)
    frames = _integer(header, "NumberOfFrames", 1)
    if frames > 1:
        raise _several_frames(frames)
    photometric, samples = text(header, "PhotometricInterpretation"), _integer(header, "SamplesPerPixel")
    if photometric == "PALETTE COLOR":
        raise RadiographError(Code.RADIOGRAPH_COLOUR, "it is a palette colour image.", fix="Export it as a grey image.")
    if (photometric not in ("MONOCHROME1", "MONOCHROME2") or samples != 1) and (
        photometric not in COLOUR_SPACES or samples != 3
    ):
        raise undecodable(f"its Photometric Interpretation and {samples} Samples per Pixel don't make a grey image")
    allocated, stored = _integer(header, "BitsAllocated"), _integer(header, "BitsStored")
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise undecodable(f"Bits Allocated is {allocated} and Bits Stored {stored}; 8 or 16 are allocated at most")
    if _integer(header, "HighBit", stored - 1) != stored - 1:  # PS3.3 C.7.6.3.1, table C.7-11c
        raise undecodable(f"High Bit isn't one less than Bits Stored ({stored})")
    if _integer(header, "PixelRepresentation") not in (0, 1):
        raise undecodable("Pixel Representation is neither 0 nor 1")


def _stored_values(dataset: Dataset) -> np.ndarray:
    """Return the stored values, integers ``[H, W]`` or ``[H, W, 3]`` (RGB), unused bits removed."""
    if not dataset.get("PixelData"):
        raise _truncated("its Pixel Data (7FE0,0010) is missing or cut")
    syntax = dataset.file_meta.TransferSyntaxUID
    rows, columns, samples = (_integer(dataset, name) for name in ("Rows", "Columns", "SamplesPerPixel"))
    size = rows * columns * samples * _integer(dataset, "BitsAllocated") // 8
    plugin = _plugin(syntax)
    if syntax.is_encapsulated:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        _check_codestream(frame, syntax, (rows, columns, samples), size)
        if plugin == "gdcm":
            return _from_gdcm(dataset, frame, syntax, rows, columns)
    elif samples == 1 and len(dataset.PixelData) < size:
        raise _truncated(f"its header needs {size:,} bytes of pixels and {len(dataset.PixelData):,} are there")
    array, _ = get_decoder(syntax).as_array(dataset, index=0, decoding_plugin=plugin)
    return array


def _plugin(syntax: UID) -> str:
    """Return the pydicom plugin that decodes this syntax, empty for uncompressed pixels."""
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        quoted = syntax.name if re.fullmatch(r"[\w .,:;()\[\]/@&-]{1,100}", syntax.name) else "not a UID"
        raise undecodable(f"there is no decoder for its transfer syntax ({quoted})") from error
    if not decoder.is_available:
        raise RadiographError(
            Code.RADIOGRAPH_UNDECODABLE,
            f"no decoder for its transfer syntax, {syntax.name}, is installed.",
            fix="Install them: pip install 'cxr-monai[dicom]'.",
        )
    return next((name for name in PLUGINS if name in decoder.available_plugins), "")


def _from_gdcm(dataset: Dataset, frame: bytes, syntax: UID, rows: int, columns: int) -> np.ndarray:
    allocated, stored = _integer(dataset, "BitsAllocated"), _integer(dataset, "BitsStored")
    signed = _integer(dataset, "PixelRepresentation")
    if _integer(dataset, "SamplesPerPixel") != 1:
        raise undecodable(f"colour in {syntax.name} is not supported")
    samples = decode_with_gdcm(
        frame, str(syntax), rows=rows, columns=columns, allocated=allocated, stored=stored, signed=signed
    )
    if samples is None:
        raise undecodable(f"its pixels, {syntax.name}, are damaged or not supported by GDCM")
    array = np.frombuffer(samples, f"{'i' if signed else 'u'}{allocated // 8}").reshape(rows, columns)
    unused = allocated - stored
    return array << unused >> unused  # the sign, and whatever stands in the unused bits


def _check_codestream(frame: bytes, syntax: UID, expected: tuple[int, int, int], size: int) -> None:
    """Refuse a compressed picture that isn't what the header says, before a decoder allocates what it claims."""
    if syntax == RLELossless:
        if _rle_length(frame, size) > size + _RLE_SLACK:
            raise RadiographError(
                Code.RADIOGRAPH_DIMENSIONS,
                f"its RLE data expand to more than the {size:,} bytes of {expected[0]} rows by {expected[1]} columns.",
                fix="Leave the file out: it is damaged or made to exhaust memory.",
            )
        return
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)
    found: tuple[int, int, int] | None = None
    if start >= 0 and len(frame) >= start + 42:  # JPEG 2000: SIZ marker, ITU-T T.800 A.5.1
        right, bottom, left, top = struct.unpack_from(">IIII", frame, start + 8)
        found = bottom - top, right - left, struct.unpack_from(">H", frame, start + 40)[0]
    elif frame.startswith(b"\xff\xd8"):
        found = jpeg_frame_size(frame)
    if found is None:
        raise undecodable(f"its compressed pixels are not {syntax.name}")
    if found != expected:
        claims = ["{} rows by {} columns in {} channels".format(*numbers) for numbers in (found, expected)]
        raise undecodable(f"its compressed picture is {claims[0]}, and its header says {claims[1]}")


def _rle_length(frame: bytes, size: int) -> int:
    """Return how many bytes RLE segments expand to, counting no further than needed (PS3.5 G.3)."""
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


def _spacing(header: Dataset) -> tuple[tuple[float, float] | None, str | None]:
    """Return (row, column) spacing in mm (PS3.3 10.7.1.3) and its attribute: calibrated, at the detector, of a scan."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        value = header.get(keyword)
        if value is not None and not isinstance(value, str) and len(value) == 2:
            row, column = float(value[0]), float(value[1])
            if np.isfinite([row, column]).all() and row > 0 and column > 0:
                return (row, column), keyword
    return None, None


def _code(header: Dataset, keyword: str) -> str:
    """Return a code that can be quoted. With a damaged length, an attribute holds those after it: the patient's."""
    value = text(header, keyword)
    return value if re.fullmatch(r"[A-Z]{0,6}", value) else "no code"


def _integer(header: Dataset, keyword: str, default: int | None = None) -> int:
    number = first_number(header, keyword)
    if number is not None:
        return int(number)
    if default is None:
        raise undecodable(f"its header lacks {keyword}")
    return default


def _truncated(reason: str) -> RadiographError:
    return RadiographError(Code.RADIOGRAPH_TRUNCATED, f"{reason}.", fix="Copy or download the file again.")


def _several_frames(frames: int) -> RadiographError:
    return RadiographError(
        Code.RADIOGRAPH_SEVERAL_FRAMES,
        f"it has {frames} frames; a radiograph is one picture.",
        fix="Export the frame that is meant.",
    )
