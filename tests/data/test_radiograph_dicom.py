"""DICOM to grey against hand-computed fractions; refused headers; compressed syntaxes; damage and bombs."""

import io
import math
import random
import struct
import warnings
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import Decoder
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from cxr_monai.data.formats.dicom_gdcm import decode_with_gdcm
from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.errors import Code, RadiographError

from .test_radiograph import damaged, peak_of

SIDE = 32
BYTES = ((np.arange(SIDE)[:, None] * 7 + np.arange(SIDE) * 3) % 256).astype(np.uint8)
WORDS = (np.arange(SIDE * SIDE).reshape(SIDE, SIDE) * 3).astype(np.uint16)  # 0 to 3069


def dicom(pixels: np.ndarray, *, bits: int | None = None, **attributes: object) -> Dataset:
    """A CR data set; attributes overwrite, None deletes."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4"
    dataset.Modality, dataset.PatientName, dataset.PatientID = "CR", "Secret^Patient", "SECRET7"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else pixels.shape[2]
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = 8 * pixels.itemsize
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.PixelData = pixels.tobytes()
    return dataset


def written(dataset: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    if syntax.is_encapsulated:
        dataset.compress(syntax)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated == 16 and not syntax.is_encapsulated else "OB"
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def lut(entries: object, first: int, bits: int, count: int | None = None) -> Sequence:
    item = Dataset()
    number = len(entries) if count is None else count
    item.LUTDescriptor = [number % 2**16, first, bits]
    item.add_new("LUTData", "OW" if isinstance(entries, bytes) else "US", entries)
    return Sequence([item])


@pytest.fixture
def read(tmp_path: Path):
    def _read(content: Dataset | bytes, **options: object):
        path = tmp_path / "image"
        path.write_bytes(written(content) if isinstance(content, Dataset) else content)
        return read_radiograph(path, **options)

    return _read


def nearest(fraction: Fraction | float) -> float:
    """The nearest multiple of 2**-24."""
    return round(Fraction(fraction) * 2**24) / 2**24


F = Fraction
U8, U16, I16 = np.uint8, np.uint16, np.int16
M1, INVERSE, IDENTITY = (
    {"PhotometricInterpretation": "MONOCHROME1"},
    {"PresentationLUTShape": "INVERSE"},
    {"PresentationLUTShape": "IDENTITY"},
)
WINDOW = {"WindowCenter": 100, "WindowWidth": 51}

# name: (type, bits stored, attributes, stored values, grey by hand)
GREYS = {
    "8-bit": (U8, 8, {}, [0, 51, 255], [0, F(1, 5), 1]),
    "MONOCHROME1": (U8, 8, M1, [0, 51, 255], [1, F(4, 5), 0]),
    "MONOCHROME1 and INVERSE are one inversion": (U8, 8, M1 | INVERSE, [0, 51, 255], [1, F(4, 5), 0]),
    "MONOCHROME2 and INVERSE": (U8, 8, INVERSE, [0, 51, 255], [1, F(4, 5), 0]),
    "MONOCHROME2 and IDENTITY": (U8, 8, IDENTITY, [0, 51, 255], [0, F(1, 5), 1]),
    "MONOCHROME1 and IDENTITY": (U8, 8, M1 | IDENTITY, [0, 51, 255], [1, F(4, 5), 0]),
    "16-bit": (U16, 16, {}, [0, 13107, 65535], [0, F(1, 5), 1]),
    "12 in 16": (U16, 12, {}, [0, 1365, 4095], [0, F(1, 3), 1]),
    "12 in 16, inverted": (U16, 12, M1, [0, 1365, 4095], [1, F(2, 3), 0]),
    "12 in 16, rubbish in unused bits": (U16, 12, {}, [0xF000, 0xA000 + 1365, 0xFFFF], [0, F(1, 3), 1]),
    "10 in 16": (U16, 10, {}, [0, 341, 1023], [0, F(1, 3), 1]),
    "6 in 8": (U8, 6, {}, [0, 21, 63], [0, F(1, 3), 1]),
    "signed": (I16, 16, {}, [-32768, -19661, 32767], [0, F(1, 5), 1]),
    "signed 12 in 16": (I16, 12, {}, [-2048, -1, 2047], [0, F(2047, 4095), 1]),
    "signed 12 in 16, without sign extension": (I16, 12, {}, [0x800, 0xFFF, 0x7FF], [0, F(2047, 4095), 1]),
    "signed MONOCHROME1": (I16, 12, M1, [-2048, -1, 2047], [1, F(2048, 4095), 0]),
    "rescale without window": (
        U16,
        12,
        {"RescaleSlope": 2, "RescaleIntercept": -1000},
        [0, 1365, 4095],
        [0, F(1, 3), 1],
    ),
    "negative slope": (U16, 12, {"RescaleSlope": -1, "RescaleIntercept": 4095}, [0, 1365, 4095], [1, F(2, 3), 0]),
    "window": (U8, 8, WINDOW, [74, 75, 100, 124, 125], [0, F(1, 100), F(51, 100), F(99, 100), 1]),
    "window, MONOCHROME1": (U8, 8, WINDOW | M1, [74, 75, 100, 125], [1, F(99, 100), F(49, 100), 0]),
    "first of several windows": (
        U8,
        8,
        {"WindowCenter": [100, 5], "WindowWidth": [51, 9]},
        [74, 75, 125],
        [0, F(1, 100), 1],
    ),
    "window of modality values": (
        U8,
        8,
        {"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": 100, "WindowWidth": 51},
        [87, 88, 112, 113],  # 74, 76, 124, 126
        [0, F(3, 100), F(99, 100), 1],
    ),
    "window of negative values": (
        I16,
        12,
        {"WindowCenter": -100, "WindowWidth": 51},
        [-126, -125, -100, -75],
        [0, F(1, 100), F(51, 100), 1],
    ),
    "window of width 1": (U8, 8, {"WindowCenter": 100, "WindowWidth": 1}, [99, 100], [0, 1]),
    "LINEAR_EXACT": (
        U8,
        8,
        {"WindowCenter": 100, "WindowWidth": 50, "VOILUTFunction": "LINEAR_EXACT"},
        [75, 100, 112, 125],
        [0, F(1, 2), F(37, 50), 1],
    ),
    "SIGMOID": (
        U8,
        8,
        {"WindowCenter": 100, "WindowWidth": 40, "VOILUTFunction": "SIGMOID"},
        [90, 100, 110],
        [1 / (1 + math.exp(1)), F(1, 2), 1 / (1 + math.exp(-1))],
    ),
    "window of width 0 is no window": (U8, 8, {"WindowCenter": 9, "WindowWidth": 0}, [0, 51, 255], [0, F(1, 5), 1]),
    "empty window is no window": (U8, 8, {"WindowCenter": "", "WindowWidth": ""}, [0, 51, 255], [0, F(1, 5), 1]),
    "VOI LUT": (U8, 8, {"VOILUTSequence": lut(list(range(255, -1, -1)), 0, 8)}, [0, 51, 255], [1, F(4, 5), 0]),
    "VOI LUT before window": (
        U8,
        8,
        WINDOW | {"VOILUTSequence": lut(list(range(255, -1, -1)), 0, 8)},
        [0, 51, 255],
        [1, F(4, 5), 0],
    ),
    "VOI LUT of 4096 entries of 8 bits": (
        U16,
        12,
        {"VOILUTSequence": lut([level // 16 for level in range(4096)], 0, 8)},
        [0, 816, 4095],
        [0, F(1, 5), 1],
    ),
    "VOI LUT that starts at 100": (
        U8,
        8,
        {"VOILUTSequence": lut([205, 410, 1023], 100, 10)},
        [0, 100, 101, 102, 255],
        [F(205, 1023), F(205, 1023), F(410, 1023), 1, 1],
    ),
    "VOI LUT that starts below 0": (
        I16,
        12,
        {"VOILUTSequence": lut([0, 341, 1023], -1, 10)},
        [-2048, -1, 0, 1],
        [0, 0, F(1, 3), 1],
    ),
    "VOI LUT that says 8 bits and has 12": (
        U8,
        8,
        {"VOILUTSequence": lut([0, 1365, 4095], 0, 8)},
        [0, 1, 2],
        [0, F(1, 3), 1],
    ),
    "VOI LUT of packed bytes": (
        U8,
        8,
        {"VOILUTSequence": lut(bytes(range(255, -1, -1)), 0, 8, count=256)},
        [0, 51, 255],
        [1, F(4, 5), 0],
    ),
    "VOI LUT of 65536 words": (
        U16,
        16,
        {"VOILUTSequence": lut(np.arange(65535, -1, -1, dtype="<u2").tobytes(), 0, 16, count=65536)},
        [0, 13107, 65535],
        [1, F(4, 5), 0],
    ),
    "modality LUT": (U8, 8, {"ModalityLUTSequence": lut([0, 341, 1023], 10, 10)}, [10, 11, 12], [0, F(1, 3), 1]),
    "modality LUT and window": (
        U8,
        8,
        {"ModalityLUTSequence": lut([75, 100, 200], 0, 10)} | WINDOW,
        [0, 1, 2],
        [F(1, 100), F(51, 100), 1],
    ),
    "padding": (U8, 8, {"PixelPaddingValue": 255}, [0, 51, 254, 255], [0, F(1, 5), F(254, 255), 0]),
    "padding range": (
        U8,
        8,
        {"PixelPaddingValue": 255, "PixelPaddingRangeLimit": 250},
        [0, 51, 249, 250, 255],
        [0, F(1, 5), F(249, 255), 0, 0],
    ),
    "padding of MONOCHROME1": (U8, 8, M1 | {"PixelPaddingValue": 0}, [0, 51, 255], [0, F(4, 5), 0]),
    "signed padding": (
        I16,
        12,
        {"PixelPaddingValue": -2048},
        [-2048, -2047, 2047],
        [0, F(1, 4095), 1],
    ),
}


@pytest.mark.parametrize("case", GREYS)
def test_stored_values_become_the_grey_computed_by_hand(case, read):
    dtype, bits, attributes, stored, expected = GREYS[case]
    pixels = np.resize(np.array(stored, dtype=dtype), (SIDE, SIDE + 1))
    radiograph = read(dicom(pixels, bits=bits, **attributes))
    np.testing.assert_array_equal(
        radiograph.pixels[0], np.resize([nearest(grey) for grey in expected], (SIDE, SIDE + 1)).astype(np.float32)
    )
    assert radiograph.pixels.dtype == np.float32


@pytest.mark.parametrize("window", [None, (1200, 801), (2048, 4096), (1000.5, 333.7)])
@pytest.mark.parametrize("signed", [False, True])
def test_pixels_and_tag_inverted_equal_the_original(window, signed, read):
    """Inverting 12-bit values x to m - x moves a LINEAR window's centre c to m - c + 1 (PS3.3 C.11.2.1.2.1)."""
    offset = 2048 if signed else 0
    total = 4095 - 2 * offset  # x + its inverse
    pixels = WORDS.astype(np.int16) - offset if signed else WORDS
    inverse = (total - pixels.astype(np.int32)).astype(pixels.dtype)
    here, there = {}, {}
    if window is not None:
        centre = window[0] - offset
        here = {"WindowCenter": centre, "WindowWidth": window[1]}
        there = {"WindowCenter": total - centre + 1, "WindowWidth": window[1]}
    original = read(dicom(pixels, bits=12, **here)).pixels
    np.testing.assert_array_equal(read(dicom(inverse, bits=12, **there, **M1)).pixels, original)
    complement = read(dicom(pixels, bits=12, **here, **M1)).pixels
    assert (original + complement == 1).all()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless,
                                    JPEGLSLossless, JPEG2000Lossless])  # fmt: skip
@pytest.mark.parametrize("pixels", [BYTES, WORDS, WORDS.astype(np.int16) - 1500], ids=["8", "12", "signed"])
def test_lossless_syntaxes_give_the_pixels_of_the_plain_file(syntax, pixels, read):
    if syntax == JPEGLSLossless and pixels.dtype == np.int16:
        pytest.skip("pyjpegls encodes unsigned pixels alone")
    if not get_decoder(syntax).is_available:
        pytest.skip("the decoder is not installed")
    bits = 8 if pixels.itemsize == 1 else 12
    plain = read(dicom(pixels, bits=bits))
    radiograph = read(written(dicom(pixels, bits=bits), syntax))
    np.testing.assert_array_equal(radiograph.pixels, plain.pixels)
    assert radiograph.provenance["transfer_syntax"] == syntax.name


def test_big_endian_words_and_lut(read):
    dataset = dicom(WORDS, bits=12, VOILUTSequence=lut(np.arange(4095, -1, -1, dtype=">u2").tobytes(), 0, 12, 4096))
    dataset.PixelData = WORDS.astype(">u2").tobytes()
    np.testing.assert_array_equal(
        read(written(dataset, ExplicitVRBigEndian)).pixels, read(dicom(WORDS, bits=12, **M1)).pixels
    )


@pytest.mark.parametrize("implicit", [True, False])
def test_a_data_set_without_preamble_is_read(implicit, read):
    dataset = dicom(WORDS, bits=12)
    buffer = io.BytesIO()
    del dataset.file_meta
    pydicom.dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    np.testing.assert_array_equal(read(buffer.getvalue()).pixels, read(dicom(WORDS, bits=12)).pixels)


def jpeg_dicom(pixels: np.ndarray = BYTES, **attributes: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    dataset = dicom(BYTES, **attributes)
    dataset.PixelData = encapsulate([buffer.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    out = io.BytesIO()
    pydicom.dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def test_jpeg_baseline_is_what_pillow_decodes(read):
    buffer = io.BytesIO()
    Image.fromarray(BYTES).save(buffer, "JPEG")
    with Image.open(buffer) as image:
        decoded = np.asarray(image)
    np.testing.assert_array_equal(read(jpeg_dicom()).pixels, read(dicom(decoded)).pixels)
    np.testing.assert_array_equal(read(jpeg_dicom(**M1)).pixels, 1 - read(dicom(decoded)).pixels)


def jpeg_lossless(dataset: Dataset, folder: Path) -> bytes:
    gdcm = pytest.importorskip("gdcm")
    (folder / "plain").write_bytes(written(dataset))
    reader = gdcm.ImageReader()
    reader.SetFileName(str(folder / "plain"))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(folder / "lossless"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return (folder / "lossless").read_bytes()


@pytest.mark.parametrize("pixels", [BYTES, WORDS, WORDS.astype(np.int16) - 1500], ids=["8", "12", "signed"])
def test_jpeg_lossless_through_gdcm(pixels, read, tmp_path):
    bits = 8 if pixels.itemsize == 1 else 12
    radiograph = read(jpeg_lossless(dicom(pixels, bits=bits, **M1), tmp_path))
    np.testing.assert_array_equal(radiograph.pixels, read(dicom(pixels, bits=bits, **M1)).pixels)
    assert radiograph.provenance["transfer_syntax"] == JPEGLosslessSV1.name


def test_damaged_jpeg_lossless_ends_only_the_child(read, tmp_path):
    content, chance = jpeg_lossless(dicom(BYTES), tmp_path), random.Random(1)
    start, outcomes = content.index(b"\xff\xd8\xff"), set()
    for _ in range(12):
        changed = bytearray(content)
        for _ in range(20):
            changed[chance.randrange(start + 30, len(changed) - 20)] = chance.randrange(256)
        try:
            outcomes.add(read(bytes(changed)).pixels.shape)
        except RadiographError as error:
            outcomes.add(error.code)
    assert outcomes <= {(1, SIDE, SIDE), Code.RADIOGRAPH_UNDECODABLE, Code.RADIOGRAPH_TRUNCATED}


def test_gdcm_that_fails_says_so():
    shape = {"rows": SIDE, "columns": SIDE, "allocated": 8, "stored": 8, "signed": False}
    with pytest.raises(ValueError, match="cannot decode it"):
        decode_with_gdcm(b"\xff\xd8\xff", str(JPEGLosslessSV1), **shape)


def test_equal_channels_are_grey_and_others_are_colour(read):
    grey = read(dicom(np.stack([BYTES] * 3, axis=2)))
    np.testing.assert_array_equal(grey.pixels, read(dicom(BYTES)).pixels)
    with pytest.raises(RadiographError) as caught:
        read(dicom(np.stack([BYTES, BYTES, 255 - BYTES], axis=2)))
    assert caught.value.code == Code.RADIOGRAPH_COLOUR


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"PixelSpacing": [0.3, 0.2], "ImagerPixelSpacing": [9, 9]}, ((0.3, 0.2), "PixelSpacing")),
        ({"ImagerPixelSpacing": [0.3, 0.2]}, ((0.3, 0.2), "ImagerPixelSpacing")),
        (
            {"PixelSpacing": [0, 0], "NominalScannedPixelSpacing": [0.3, 0.2]},
            ((0.3, 0.2), "NominalScannedPixelSpacing"),
        ),
        ({"PixelSpacing": ""}, (None, None)),
        ({}, (None, None)),
    ],
)  # fmt: skip
def test_spacing_is_row_then_column(attributes, expected, read):
    radiograph = read(dicom(BYTES, **attributes))
    assert (radiograph.spacing, radiograph.provenance["spacing_from"]) == expected


@pytest.mark.parametrize("modality", ["CR", "DX", "DR", "RG", "dx "])
@pytest.mark.parametrize("part", [None, "", "CHEST", "THORAX", "PORT CHEST", "CHEST_ABDOMEN", "LUNG"])
def test_chest_radiographs_are_accepted(modality, part, read):
    attributes = {} if part is None else {"BodyPartExamined": part}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom, on writing a lower-case modality
        content = written(dicom(BYTES, Modality=modality, **attributes))
    assert read(content).provenance["modality"] == modality.strip().upper()


SUBJECTS = {
    "CT": ({"Modality": "CT"}, "Modality (0008,0060) is CT"),
    "mammogram": ({"Modality": "MG"}, "is MG"),
    "other": ({"Modality": "OT"}, "is OT"),
    "missing": ({"Modality": None}, "is missing"),
    "hand": ({"BodyPartExamined": "HAND"}, "Body Part Examined (0018,0015) is HAND"),
    "abdomen": ({"BodyPartExamined": "abdomen "}, "is ABDOMEN"),
    "neck": ({"BodyPartExamined": "C-SPINE"}, "is CSPINE"),
}


@pytest.mark.parametrize("case", SUBJECTS)
def test_other_subjects_are_refused_unless_asked_for(case, read):
    attributes, reason = SUBJECTS[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom, on writing lower case
        content = written(dicom(BYTES, **attributes))
    with pytest.raises(RadiographError) as caught:
        read(content)
    assert caught.value.code == Code.RADIOGRAPH_WRONG_MODALITY
    assert reason in caught.value.message
    np.testing.assert_array_equal(read(content, any_modality=True).pixels, read(dicom(BYTES)).pixels)


def changed(**attributes: object) -> bytes:
    dataset = dicom(WORDS, bits=12)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return written(dataset)


def without_image() -> bytes:
    dataset = dicom(BYTES, Modality="SR", Rows=None, Columns=None)
    del dataset.PixelData
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


PLAIN = written(dicom(WORDS, bits=12))
BAD = {
    "cut in the pixels": (PLAIN[:-1], Code.RADIOGRAPH_TRUNCATED, "2,048 bytes of pixels and 2,047"),
    "cut before the pixels": (PLAIN[:-2060], Code.RADIOGRAPH_TRUNCATED, "(7FE0,0010) is missing"),
    "cut in the header": (PLAIN[: PLAIN.index(b"CS\x02\0CR") + 40], Code.RADIOGRAPH_TRUNCATED, "ends before Rows"),
    "compressed, cut": (jpeg_dicom()[:-40], Code.RADIOGRAPH_TRUNCATED, "(7FE0,0010) is missing"),
    "deflated, cut": (
        written(dicom(WORDS, bits=12), DeflatedExplicitVRLittleEndian)[:-40],
        Code.RADIOGRAPH_TRUNCATED,
        "ends too early",
    ),
    "several frames": (changed(NumberOfFrames=2), Code.RADIOGRAPH_SEVERAL_FRAMES, "2 frames"),
    "palette": (changed(PhotometricInterpretation="PALETTE COLOR"), Code.RADIOGRAPH_COLOUR, "palette"),
    "unknown photometric interpretation": (
        changed(PhotometricInterpretation="HSV"),
        Code.RADIOGRAPH_UNDECODABLE,
        "Photometric",
    ),
    "one row": (changed(Rows=1), Code.RADIOGRAPH_DIMENSIONS, "1 row by 32 columns"),
    "32 bits": (changed(BitsAllocated=32), Code.RADIOGRAPH_UNDECODABLE, "Bits Allocated is 32"),
    "17 of 16 bits": (changed(BitsStored=17), Code.RADIOGRAPH_UNDECODABLE, "Bits Stored 17"),
    "a high bit below the stored ones": (changed(HighBit=7), Code.RADIOGRAPH_UNDECODABLE, "High Bit 7 contradicts 12"),
    "a high bit above the allocated ones": (changed(HighBit=16), Code.RADIOGRAPH_UNDECODABLE, "High Bit 16"),
    "constant": (written(dicom(np.full((SIDE, SIDE), 7, np.uint8))), Code.RADIOGRAPH_CONSTANT, "same grey"),
    "constant but for padding": (
        written(dicom(np.where(BYTES > 99, 7, 255).astype(np.uint8), PixelPaddingValue=255)),
        Code.RADIOGRAPH_CONSTANT,
        "outside its padding",
    ),
    "outside its window": (
        changed(WindowCenter=4000, WindowWidth=10),
        Code.RADIOGRAPH_CONSTANT,
        "after its window LINEAR center 4000 width 10",
    ),
    "no image": (without_image(), Code.RADIOGRAPH_WRONG_MODALITY, "is SR"),
    "a syntax without decoders": (
        PLAIN.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"),
        Code.RADIOGRAPH_UNDECODABLE,
        "transfer syntax",
    ),
    "not what the syntax says": (
        jpeg_dicom().replace(b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.90"),
        Code.RADIOGRAPH_UNDECODABLE,
        "its compressed pixels are not JPEG 2000",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_error_without_a_patient_in_it(case, read, tmp_path):
    content, code, reason = BAD[case]
    with pytest.raises(RadiographError) as caught:
        read(content)
    assert caught.value.code == code
    assert caught.value.where == str(tmp_path / "image")
    assert reason in caught.value.message
    assert "secret" not in str(caught.value).lower()


def test_provenance_tells_how_and_not_whose(read):
    provenance = read(dicom(WORDS, bits=12, RescaleSlope=1, RescaleIntercept=-5, **WINDOW, **M1)).provenance
    assert provenance == {
        "format": "DICOM",
        "transfer_syntax": "Explicit VR Little Endian",
        "modality": "CR",
        "photometric_interpretation": "MONOCHROME1",
        "bits_stored": 12,
        "signed": False,
        "spacing_from": None,
        "modality_lut": "rescale 1 -5",
        "voi": "window LINEAR center 100 width 51",
        "presentation_lut_shape": None,
        "inverted": True,
        "padding": False,
        "shape": (SIDE, SIDE),
        "notes": (),
    }


def test_a_missing_decoder_names_the_syntax_and_the_extra(read, monkeypatch):
    content = written(dicom(BYTES), RLELossless)
    monkeypatch.setattr(Decoder, "available_plugins", property(lambda self: ()))
    with pytest.raises(RadiographError) as caught:
        read(content)
    assert caught.value.code == Code.RADIOGRAPH_UNDECODABLE
    assert "RLE Lossless" in caught.value.message
    assert "cxr-monai[dicom]" in caught.value.fix


def deflated_bomb() -> bytes:
    content = written(dicom(BYTES), DeflatedExplicitVRLittleEndian)
    start = 144 + struct.unpack_from("<I", content, 140)[0]
    plain = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return content[:start] + deflate.compress(plain + bytes(50_000_000)) + deflate.flush()


def rle_bomb() -> bytes:
    dataset = dicom(BYTES)
    segment = b"\x81\x00" * 200_000  # each pair expands to 128 bytes: 25 MB for 1,024 pixels
    dataset.PixelData = encapsulate([struct.pack("<16I", 1, 64, *[0] * 14) + segment])
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = RLELossless
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def j2k_bomb() -> bytes:
    content = bytearray(written(dicom(BYTES), JPEG2000Lossless))
    struct.pack_into(">II", content, content.index(b"\xff\x4f\xff\x51") + 8, 60000, 60000)
    return bytes(content)


BOMBS = {
    "rows and columns": lambda: changed(Rows=60000, Columns=60000),
    "frames": lambda: changed(NumberOfFrames=100_000),
    "deflated": deflated_bomb,
    "RLE": rle_bomb,
    "JPEG of another size": lambda: jpeg_dicom(np.zeros((4000, 4000), np.uint8)),
    "JPEG of several channels": lambda: jpeg_dicom(np.stack([BYTES] * 3, axis=2)),
    "JPEG 2000 of another size": j2k_bomb,
}


@pytest.mark.parametrize("case", BOMBS)
def test_a_bomb_is_refused_before_memory_is_taken(case, tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(BOMBS[case]())

    def refused():
        with pytest.raises(RadiographError) as caught:
            read_radiograph(path)
        assert caught.value.code in (
            Code.RADIOGRAPH_DIMENSIONS,
            Code.RADIOGRAPH_SEVERAL_FRAMES,
            Code.RADIOGRAPH_UNDECODABLE,
        )

    assert max(peak_of(refused)) < 12e6


RICH = {
    "WindowCenter": 100,
    "WindowWidth": 151,
    "RescaleSlope": 1,
    "RescaleIntercept": -5,
    "PixelSpacing": [0.1, 0.2],
    "PixelPaddingValue": 0,
    "VOILUTSequence": lut(list(range(256)), 0, 8),
}
SEEDS = {
    "plain": written(dicom(BYTES, **RICH)),
    "12 in 16": written(dicom(WORDS, bits=12, **M1)),
    "deflated": written(dicom(BYTES, **RICH), DeflatedExplicitVRLittleEndian),
    "RLE": written(dicom(BYTES), RLELossless),
    "JPEG": jpeg_dicom(),
}


@pytest.mark.parametrize("kind", SEEDS)
def test_damage_gives_a_valid_radiograph_or_a_radiograph_error(kind, read):
    chance, outcomes, sentences = random.Random(kind), set(), []
    for _ in range(200):
        try:
            pixels = read(damaged(SEEDS[kind], chance)).pixels
        except RadiographError as error:
            outcomes |= {error.code, "warned"} if isinstance(error.__cause__, Warning) else {error.code}
            sentences.append(str(error).lower())
        else:
            outcomes.add("read")
            assert pixels.dtype == np.float32
            assert 0 <= pixels.min() < pixels.max() <= 1
    assert {Code.RADIOGRAPH_TRUNCATED, Code.RADIOGRAPH_UNDECODABLE, "read"} <= outcomes
    assert "warned" not in outcomes  # pytest makes errors of warnings, and those would have been converted
    assert not [sentence for sentence in sentences if "secret" in sentence]


@pytest.mark.realdata
def test_the_two_real_files_are_exact_complements(realdata):
    first, second = [read_radiograph(path) for path in sorted((realdata / "dicom").glob("*.dcm"))]
    assert {first.provenance["inverted"], second.provenance["inverted"]} == {False, True}
    assert (first.pixels + second.pixels == 1).all()
    assert first.pixels.shape == (1, 1024, 1024)
    assert first.spacing == (0.168, 0.168)
