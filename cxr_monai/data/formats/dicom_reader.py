"""DICOM files of one radiograph: header judged first, pixels decoded after, then grey by ``dicom_grey``.

``dicom_subject`` decides which files are chest radiographs (not with ``any_modality=True``), ``dicom_pixels`` decodes.
A deflated file is inflated no further than its header accounts for.

No error and no provenance quotes anything of the patient.
"""

import io
import logging
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from cxr_monai.data.film_header import FilmHeader
from cxr_monai.data.formats.dicom_grey import grey_table
from cxr_monai.data.formats.dicom_header import film_header, pixel_spacing
from cxr_monai.data.formats.dicom_library import (
    UID,
    Dataset,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    FileMetaDataset,
    ImplicitVRLittleEndian,
    dcmread,
    read_dataset,
)
from cxr_monai.data.formats.dicom_pixels import stored_levels
from cxr_monai.data.formats.dicom_subject import MODALITIES, SWITCH, unfit
from cxr_monai.data.formats.dicom_values import (
    code,
    first_number,
    frames_of,
    integer,
    samples_of,
    several_frames,
    text,
    truncated,
    undecodable,
)
from cxr_monai.data.formats.grey import Decoded, check_image_extent, level_table, look_up, single_channel
from cxr_monai.errors import Code, RadiographError
from cxr_monai.plurals import counted

COLOUR_SPACES = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

_HEADER_ROOM = 2**20  # bytes of a deflated file that its header, and what follows its pixels, may take
_WARNINGS = threading.RLock()


def decode_dicom(data: bytes, max_pixels: int, *, any_modality: bool = False) -> Decoded:
    """Decode a single-frame DICOM of 8 or 16 allocated bits, monochrome or of equal colour channels.

    Args:
        data: the file.
        max_pixels: larger pictures are refused, by their header.
        any_modality: accept other modalities and parts of the body.
    """
    with without_dicom_warnings():  # around everything: pydicom parses, and warns, when an attribute is first looked at
        return _decode(data, max_pixels, any_modality)


def _decode(data: bytes, max_pixels: int, any_modality: bool) -> Decoded:
    data, syntax = _inflated(data, max_pixels)
    header = _read(data, stop_before_pixels=True)
    if not any_modality:
        _check_subject(header)
    _check_image(header, max_pixels)
    facts = film_header(header)
    notes = list(_header_notes(header, facts))
    dataset = _read(data, stop_before_pixels=False)
    _settle(dataset, header)
    levels = stored_levels(dataset, notes)
    bits, signed = integer(header, "BitsStored"), integer(header, "PixelRepresentation") == 1
    spacing, spacing_from = pixel_spacing(header)
    provenance = {
        "format": "DICOM",
        "transfer_syntax": (syntax or dataset.file_meta.TransferSyntaxUID).name,
        "modality": code(header, "Modality"),
        "photometric_interpretation": text(header, "PhotometricInterpretation"),
        "bits_stored": bits,
        "signed": signed,
        "spacing_from": spacing_from,
    }
    if levels.ndim == 3:
        grey = look_up(level_table(bits), single_channel(levels, bits))
        return Decoded(grey, spacing, provenance, tuple(notes), facts)
    table = grey_table(header, bits, signed=signed)
    if table.padding is not None:
        inside = levels[~table.padding.take(levels, mode="clip")]
        if inside.size == 0 or inside.min() == inside.max():
            raise RadiographError(
                Code.RADIOGRAPH_CONSTANT,
                "outside its padding, every pixel has the same value.",
                fix="Export the radiograph again, or leave the file out.",
            )
    provenance |= table.provenance
    return Decoded(look_up(table.grey, levels), spacing, provenance, (*notes, *table.notes), facts)


@contextmanager
def without_dicom_warnings() -> Iterator[None]:
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
    rows, columns = integer(header, "Rows"), integer(header, "Columns")
    check_image_extent(rows, columns, max_pixels)
    samples, frames = samples_of(header), frames_of(header)
    if frames > 1:
        raise several_frames(frames)
    limit = rows * columns * samples * (integer(header, "BitsAllocated") + 7) // 8 + 2 * _HEADER_ROOM
    inflated, whole = _inflate(data[start:], limit)
    if len(inflated) >= limit:
        raise RadiographError(
            Code.RADIOGRAPH_DIMENSIONS,
            f"it inflates to more than the {counted(limit, 'byte')} that {counted(rows, 'row')} "
            f"by {counted(columns, 'column')} can need.",
            fix="Leave the file out: it is damaged or made to exhaust memory.",
        )
    if not whole:
        raise truncated("its deflated data set ends too early")
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
    """Refuse a file that is not a radiograph of a chest (``dicom_subject``)."""
    if "Rows" not in header and not text(header, "Modality"):
        return  # a cut header or no image at all, which is reported later
    wrong = unfit(header)
    if wrong is not None:
        fix = f"Leave the file out; if it is a chest radiograph all the same, {SWITCH} reads it."
        raise RadiographError(wrong.code, wrong.reason, fix=fix)


def _check_image(header: Dataset, max_pixels: int) -> None:
    """Refuse, before decoding, a file that cannot become one grey picture."""
    if "Rows" not in header or "Columns" not in header:
        if text(header, "Modality") in MODALITIES:
            raise truncated("its header ends before Rows (0028,0010) and Columns")
        raise RadiographError(
            Code.RADIOGRAPH_NOT_AN_IMAGE,
            "it is a DICOM object without an image, or its header is cut.",
            fix="Give the image itself.",
        )
    check_image_extent(integer(header, "Rows"), integer(header, "Columns"), max_pixels)
    if frames_of(header) > 1:
        raise several_frames(frames_of(header))
    photometric, samples = text(header, "PhotometricInterpretation"), samples_of(header)
    if photometric == "PALETTE COLOR":
        raise RadiographError(Code.RADIOGRAPH_COLOUR, "it is a palette colour image.", fix="Export it as a grey image.")
    if (photometric not in ("MONOCHROME1", "MONOCHROME2") or samples != 1) and (
        photometric not in COLOUR_SPACES or samples != 3
    ):
        raise undecodable(f"its Photometric Interpretation and {samples} Samples per Pixel don't make a grey image")
    allocated, stored = integer(header, "BitsAllocated"), integer(header, "BitsStored")
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise undecodable(f"Bits Allocated is {allocated} and Bits Stored {stored}; 8 or 16 are allocated at most")
    high = integer(
        header, "HighBit", stored - 1
    )  # one less than Bits Stored in new files; the older may be left-aligned
    if not stored - 1 <= high < allocated:
        raise undecodable(f"High Bit {high} contradicts {stored} Bits Stored of {allocated} Bits Allocated")
    if integer(header, "PixelRepresentation") not in (0, 1):
        raise undecodable("Pixel Representation is neither 0 nor 1")


def _header_notes(header: Dataset, facts: FilmHeader) -> Iterator[str]:
    """Yield notes on an unusual header that can be read nevertheless."""
    if facts.is_lateral:
        yield "a lateral view: models here learn from frontal ones"
    frames = first_number(header, "NumberOfFrames")
    if frames is not None and frames_of(header) != frames:
        yield "its Number of Frames is impossible: 1 is taken"
    if first_number(header, "SamplesPerPixel") is None:
        yield "its Samples per Pixel is missing: 1 is taken"


def _settle(dataset: Dataset, header: Dataset) -> None:
    """Write the checked numbers of the header into the data set, where decoders read them again."""
    stored = integer(header, "BitsStored")
    words = {
        keyword: integer(header, keyword) for keyword in ("Rows", "Columns", "BitsAllocated", "PixelRepresentation")
    }
    words |= {
        "BitsStored": stored,
        "HighBit": integer(header, "HighBit", stored - 1),
        "SamplesPerPixel": samples_of(header),
    }
    for keyword, number in words.items():
        dataset.add_new(keyword, "US", number)
    dataset.add_new("NumberOfFrames", "IS", 1)
