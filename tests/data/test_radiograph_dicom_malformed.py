"""Malformed elements of a DICOM header: the film is read by the next rule, with a note, or refused with a code.

Each element is replaced, byte by byte, by what no writer of a library would write.
"""

import struct

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from cxr_monai.errors import Code, RadiographError

from .test_radiograph_dicom import SIDE, WORDS, dicom, lut, read, written

__all__ = ["read"]
HEADER = {
    "PixelPaddingValue": 3, "PixelPaddingRangeLimit": 9, "WindowCenter": "1500", "WindowWidth": "3000",
    "RescaleSlope": "1.5", "RescaleIntercept": "-20", "VOILUTFunction": "LINEAR_EXACT", "NumberOfFrames": "1",
    "PresentationLUTShape": "IDENTITY", "SmallestImagePixelValue": 0, "PixelSpacing": ["0.1", "0.1"],
}  # fmt: skip
SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


def spliced(dataset: Dataset, keyword: str, raw: bytes, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """A file with these bytes as the value of an element (of 2-byte length, where explicit)."""
    content, tag = written(dataset, syntax), tag_for_keyword(keyword) or 0
    at = content.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF), 132)
    if syntax == ImplicitVRLittleEndian:
        (length,) = struct.unpack_from("<I", content, at + 4)
        return content[: at + 4] + struct.pack("<I", len(raw)) + raw + content[at + 8 + length :]
    (length,) = struct.unpack_from("<H", content, at + 6)
    return content[: at + 6] + struct.pack("<H", len(raw)) + raw + content[at + 8 + length :]


def without(*keywords: str, **changes: object) -> Dataset:
    return dicom(WORDS, bits=12, **{name: value for name, value in (HEADER | changes).items() if name not in keywords})


def note(radiograph) -> str:
    assert len(radiograph.provenance["notes"]) == 1, radiograph.provenance["notes"]
    return radiograph.provenance["notes"][0]


ODD_WORDS = [b"\1", b"\1\2\3", b"\xff" * 5, b"1"]
NO_NUMBERS = [b"abc ", b"1.2.3 ", b"\xff\xfe", b"\x01", b"--1 ", b"nan ", b"1e999 ", "٣x ".encode()]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name[:8])
@pytest.mark.parametrize("raw", ODD_WORDS)
def test_words_of_odd_length_are_no_padding(raw, syntax, read):
    radiograph = read(spliced(without(), "PixelPaddingValue", raw, syntax))
    np.testing.assert_array_equal(
        radiograph.pixels, read(without("PixelPaddingValue", "PixelPaddingRangeLimit")).pixels
    )
    assert note(radiograph) == "its PixelPaddingValue is none that 12 stored bits can hold: it matches no pixel"
    radiograph = read(spliced(without(), "PixelPaddingRangeLimit", raw, syntax))
    np.testing.assert_array_equal(radiograph.pixels, read(without("PixelPaddingRangeLimit")).pixels)
    assert "PixelPaddingRangeLimit is none" in note(radiograph)
    np.testing.assert_array_equal(  # an element that has no say
        read(spliced(without(), "SmallestImagePixelValue", raw, syntax)).pixels, read(without()).pixels
    )


WHOLE = {
    "RescaleSlope": (("RescaleSlope", "RescaleIntercept"), {}, "stored values are taken"),
    "RescaleIntercept": (("RescaleSlope", "RescaleIntercept"), {}, "stored values are taken"),
    "WindowCenter": (("WindowCenter", "WindowWidth"), {}, "its window is impossible: the full range is taken"),
    "WindowWidth": (("WindowCenter", "WindowWidth"), {}, "its window is impossible: the full range is taken"),
    "VOILUTFunction": (("VOILUTFunction",), {}, "LINEAR is taken"),
    "PresentationLUTShape": (("PresentationLUTShape",), {}, "is neither IDENTITY nor INVERSE"),
    "NumberOfFrames": ((), {}, "its Number of Frames is impossible: 1 is taken"),
    "PixelSpacing": (("PixelSpacing",), {}, None),
}


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name[:8])
@pytest.mark.parametrize("raw", NO_NUMBERS)
@pytest.mark.parametrize("keyword", WHOLE)
def test_what_is_no_number_leaves_the_next_rule_and_a_note(keyword, raw, syntax, read):
    left_out, changes, said = WHOLE[keyword]
    radiograph = read(spliced(without(), keyword, raw, syntax))
    expected = read(without(*left_out, **changes))
    np.testing.assert_array_equal(radiograph.pixels, expected.pixels)
    assert radiograph.spacing == expected.spacing
    if said is None:
        assert radiograph.provenance["notes"] == ()
    else:
        assert said in note(radiograph)


@pytest.mark.parametrize("raw", ODD_WORDS)
@pytest.mark.parametrize(
    "keyword", ["Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"]
)
def test_what_lays_the_pixels_out_has_no_next_rule(keyword, raw, read):
    with pytest.raises(RadiographError, match=f"its header has no number for {keyword}") as caught:
        read(spliced(without(), keyword, raw))
    assert caught.value.code == Code.RADIOGRAPH_UNDECODABLE


ALIKE = {
    "two of one": {"PixelRepresentation": [0, 0], "SamplesPerPixel": [1, 1], "HighBit": [11, 11]},
    "frames of 0": {"NumberOfFrames": "0"},
    "frames below 0": {"NumberOfFrames": "-3"},
    "no samples": {"SamplesPerPixel": None},
}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless], ids=lambda syntax: syntax.name[:8])
@pytest.mark.parametrize("case", ALIKE)
def test_numbers_that_decoders_would_stumble_over(case, syntax, read):
    content = written(dicom(WORDS, bits=12), syntax)
    dataset = dcmread(DicomBytesIO(content))
    for keyword, value in ALIKE[case].items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    buffer = DicomBytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    radiograph = read(buffer.getvalue())
    np.testing.assert_array_equal(radiograph.pixels, read(dicom(WORDS, bits=12)).pixels)
    assert len(radiograph.provenance["notes"]) == (case != "two of one")


@pytest.mark.parametrize(
    "attributes",
    [
        {"RescaleIntercept": -1000},
        {"RescaleSlope": 3},
        {"RescaleSlope": 3, "RescaleIntercept": ""},
        {"RescaleSlope": "", "RescaleIntercept": -1000},
    ],
)
def test_slope_and_intercept_serve_together_or_not_at_all_as_in_dcmtk(attributes, read):
    window = {"WindowCenter": 1000, "WindowWidth": 500}
    radiograph = read(dicom(WORDS, bits=12, **window, **attributes))
    np.testing.assert_array_equal(radiograph.pixels, read(dicom(WORDS, bits=12, **window)).pixels)
    assert note(radiograph) == "it has one of Rescale Slope and Intercept without the other: stored values are taken"
    assert radiograph.provenance["modality_lut"] == "none"


# center, width, function: which window (by its place) serves, and how many notes
WINDOWS = {
    "width 0": ([1000], [0], "LINEAR", None, 1),
    "width below 0": ([1000], [-500], "LINEAR", None, 1),
    "width below 1": ([1000], [0.5], "LINEAR", None, 1),
    "width 0, exact": ([1000], [0], "LINEAR_EXACT", None, 1),
    "width below 0, sigmoid": ([1000], [-1], "SIGMOID", None, 1),
    "width below 1, exact": ([1000], [0.5], "LINEAR_EXACT", 0, 0),
    "several": ([1000, 50], [500, 10], "LINEAR", 0, 0),
    "the first is impossible": ([5, 1000], [0, 500], "LINEAR", 1, 1),
    "two are impossible": ([5, 7, 1000], [0, -1, 500], "LINEAR", 2, 1),
    "more centers": ([1000, 5], [500], "LINEAR", 0, 1),
    "more widths": ([1000], [500, 20], "LINEAR", 0, 1),
    "no width": ([1000], [], "LINEAR", None, 1),
    "no center": ([], [500], "LINEAR", None, 1),
    "more centers, none usable": ([1000, 5], [0], "LINEAR", None, 2),
}


@pytest.mark.parametrize("case", WINDOWS)
def test_windows(case, read):
    centers, widths, function, place, notes = WINDOWS[case]
    radiograph = read(dicom(WORDS, bits=12, WindowCenter=centers, WindowWidth=widths, VOILUTFunction=function))
    plain = {}
    if place is not None:
        plain = {"WindowCenter": centers[place], "WindowWidth": widths[place], "VOILUTFunction": function}
    np.testing.assert_array_equal(radiograph.pixels, read(dicom(WORDS, bits=12, **plain)).pixels)
    assert len(radiograph.provenance["notes"]) == notes


INVERTED = list(range(4095, -1, -1))
BYTE_TABLE = bytes(range(255, -1, -1))
TABLES = {
    "a word short": (np.array(INVERTED[:-1], "<u2").tobytes(), 4096),
    "half": (np.array(INVERTED[:3000], "<u2").tobytes(), 4096),
    "a quarter": (np.array(INVERTED[:1000], "<u2").tobytes(), 4096),
    "a word long": (np.array([*INVERTED, 0], "<u2").tobytes(), 4096),
    "far too long": (np.array(INVERTED, "<u2").tobytes(), 256),
    "packed, short": (BYTE_TABLE[:250], 256),
    "packed, long": (BYTE_TABLE + b"\0\0", 256),
    "words, short": (INVERTED[:-1], 4096),
    "words, long": ([*INVERTED, 0], 4096),
    "one word": ([1], 4096),
    "no words": (b"", 4096),
}


@pytest.mark.parametrize("case", TABLES)
@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
def test_a_table_of_another_length_than_it_says_is_passed_over(keyword, case, read):
    data, count = TABLES[case]
    window = {"WindowCenter": 1000, "WindowWidth": 500}
    radiograph = read(dicom(WORDS, bits=12, **window, **{keyword: lut(data, 0, 12, count=count)}))
    np.testing.assert_array_equal(radiograph.pixels, read(dicom(WORDS, bits=12, **window)).pixels)
    assert f"a look-up table ({keyword}) cannot be used" in note(radiograph)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("count", [256, 255])
@pytest.mark.parametrize("as_words", [False, True])
def test_entries_of_8_bits_are_packed_into_words(as_words, count, syntax, read):
    pixels = (WORDS % 256).astype(np.uint8)
    entries = BYTE_TABLE[:count] + b"\0" * (count % 2)
    order = ">u2" if syntax == ExplicitVRBigEndian else "<u2"
    data: object = np.frombuffer(entries, "<u2").astype(order).tobytes()
    if as_words:
        data = [int(word) for word in np.frombuffer(entries, "<u2")]
    radiograph = read(written(dicom(pixels, VOILUTSequence=lut(data, 0, 8, count=count)), syntax))
    expected = 255 - np.minimum(pixels, count - 1)
    np.testing.assert_allclose(radiograph.pixels[0], expected / 255, atol=1e-7)
    assert radiograph.provenance["notes"] == ()


def test_a_descriptor_or_sequence_that_cannot_be_read_is_passed_over(read):
    plain = read(dicom(WORDS, bits=12))
    dataset = dicom(WORDS, bits=12, VOILUTSequence=lut(INVERTED, 0, 12))
    content = bytearray(spliced(dataset, "LUTDescriptor", b"\0\x10\0\0\x0c"))
    item = content.index(b"\xfe\xff\x00\xe0")
    for at in (item - 4, item + 4):  # the lengths of sequence and item
        struct.pack_into("<I", content, at, struct.unpack_from("<I", content, at)[0] - 1)
    no_item = bytes(content).replace(b"\xfe\xff\x00\xe0", b"\xfe\xff\x00\xe1")
    for made in (bytes(content), no_item):
        radiograph = read(made)
        np.testing.assert_array_equal(radiograph.pixels, plain.pixels)
        assert "VOILUTSequence" in note(radiograph)
    empty = read(dicom(WORDS, bits=12, VOILUTSequence=Sequence([])))
    assert empty.provenance["notes"] == ()


def test_bits_that_contradict_the_header_are_said(read):
    dark = read(dicom(WORDS, bits=12, HighBit=15, WindowCenter=100, WindowWidth=200))
    assert [text[:17] for text in dark.provenance["notes"]] == ["its High Bit says"]
    left = read(dicom((WORDS << 4).astype(np.uint16), bits=12, HighBit=15))
    assert left.provenance["notes"] == ()
    few = read(dicom(WORDS, bits=8, WindowCenter=100, WindowWidth=200))  # 12 bits: whatever is cut off wraps around
    assert "bits outside the 8 stored ones are set: they are cut off" in few.provenance["notes"]
    signed = WORDS.astype(np.int16) - 1500
    assert read(dicom(signed, bits=12)).provenance["notes"] == (), "the sign, extended"
    assert read(dicom(signed & 0xFFF, bits=12)).provenance["notes"] == (), "the sign, not extended"
    odd = read(dicom((WORDS | 0x2000).astype(np.int16), bits=12))
    assert note(odd) == "bits outside the 12 stored ones are set: they are cut off"


def test_more_pixels_than_one_picture_are_said(read):
    dataset = dicom(WORDS, bits=12)
    dataset.PixelData += bytes(100)
    assert read(dataset).provenance["notes"] == (), "padding"
    dataset.PixelData = WORDS.tobytes() * 2
    radiograph = read(dataset)
    assert note(radiograph) == "its Pixel Data hold more than one picture of this size: the first is taken"
    assert radiograph.pixels.shape == (1, SIDE, SIDE)
