"""DICOM as real archives write it: bits that aren't stored, rules that can't be followed, decoders that fail."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from cxr_monai.data.formats.dicom_lut import UnusableLutError, read_lut
from cxr_monai.errors import Code, CxrError, RadiographError

from .test_radiograph_dicom import BYTES, SIDE, WORDS, dicom, jpeg_lossless, lut, read, written

__all__ = ["read"]
GARBAGE = ((np.arange(SIDE * SIDE).reshape(SIDE, SIDE) * 7) % 16).astype(np.uint16) << 12
LEFT = (WORDS << 4).astype(np.uint16)


def in_syntax(dataset: Dataset, syntax: UID, folder: Path) -> bytes:
    """Encode whole words, whatever Bits Stored says, as a scanner that leaves its overlays in them does."""
    bits, high = dataset.BitsStored, dataset.HighBit
    if syntax != ExplicitVRLittleEndian:
        dataset.BitsStored, dataset.HighBit = dataset.BitsAllocated, dataset.BitsAllocated - 1
    content = jpeg_lossless(dataset, folder) if syntax == JPEGLosslessSV1 else written(dataset, syntax)
    encoded = pydicom.dcmread(io.BytesIO(content))
    encoded.BitsStored, encoded.HighBit = bits, high
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, encoded, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLosslessSV1, JPEGLSLossless,
                                    JPEG2000Lossless], ids=lambda syntax: syntax.name[:13])  # fmt: skip
@pytest.mark.parametrize("signed", [0, 1])
def test_only_the_stored_bits_are_picture_whatever_decodes_them(syntax, signed, read, tmp_path):
    if syntax == JPEGLosslessSV1:
        pytest.importorskip("gdcm")
    expected = read(dicom(WORDS, bits=12)).pixels
    words = WORDS ^ 0x800 if signed else WORDS  # 12-bit two's complement without its sign extended
    overlaid = in_syntax(dicom(words | GARBAGE, bits=12), syntax, tmp_path)
    left = in_syntax(dicom((words << 4).astype(np.uint16), bits=12, HighBit=15), syntax, tmp_path)
    for content in (overlaid, left):
        changed = pydicom.dcmread(io.BytesIO(content))
        changed.PixelRepresentation = signed
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, changed, enforce_file_format=True)
        np.testing.assert_array_equal(read(buffer.getvalue()).pixels, expected)


def test_right_aligned_samples_stay_where_they_are_whatever_high_bit_says(read):
    dataset = dicom(WORDS, bits=12)
    content = pydicom.dcmread(io.BytesIO(written(dataset, JPEG2000Lossless)))
    content.HighBit = 15  # of the words before they were compressed to 12 bits
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, content, enforce_file_format=True)
    np.testing.assert_array_equal(read(buffer.getvalue()).pixels, read(dicom(WORDS, bits=12)).pixels)


SIGNED = WORDS.astype(np.int16) - 1500
PADDINGS = {
    "unsigned 16 bits for 12": (WORDS, {"PixelPaddingValue": 65535}, [], 1),
    "wraps to a real value": (WORDS, {"PixelPaddingValue": 4096 + 300}, [], 1),
    "limit that no pixel has": (WORDS, {"PixelPaddingValue": 300, "PixelPaddingRangeLimit": 65535}, [300], 1),
    "value that no pixel has, limit that some have": (
        WORDS,
        {"PixelPaddingValue": 5000, "PixelPaddingRangeLimit": 300},
        [],
        1,
    ),
    "signed": (SIGNED, {"PixelPaddingValue": -1500}, [-1500], 0),
    "signed below the stored bits": (SIGNED, {"PixelPaddingValue": -3000}, [], 1),
    "range": (WORDS, {"PixelPaddingValue": 6, "PixelPaddingRangeLimit": 0}, [0, 3, 6], 0),
}


@pytest.mark.parametrize("case", PADDINGS)
def test_padding_matches_what_it_says_and_nothing_beyond_the_stored_bits(case, read):
    pixels, attributes, blackened, notes = PADDINGS[case]
    plain, padded = read(dicom(pixels, bits=12)), read(dicom(pixels, bits=12, **attributes))
    expected = np.where(np.isin(pixels, blackened), 0, plain.pixels[0])
    np.testing.assert_array_equal(padded.pixels[0], expected)
    assert len(padded.provenance["notes"]) == notes


def raw_padding(value: int) -> bytes:
    """A signed image whose padding stands as US, as writers that forget Pixel Representation leave it."""
    dataset = dicom(SIGNED, bits=12)
    dataset.add_new("PixelPaddingValue", "US", value)
    return written(dataset)


def test_a_signed_padding_written_as_unsigned_is_the_signed_one(read):
    expected = read(dicom(SIGNED, bits=12, PixelPaddingValue=-1500)).pixels
    np.testing.assert_array_equal(read(raw_padding(65536 - 1500)).pixels, expected)


FULL = {"window": {"WindowCenter": 1000, "WindowWidth": 500}, "full range": {}}
EMPTY, SHORT, ZERO = (lut(list(range(4096)), 0, 12) for _ in range(3))
EMPTY[0].LUTDescriptor, SHORT[0].LUTDescriptor, ZERO[0].LUTDescriptor = None, [4096, 0], [0, 0, 0]
NO_DATA = lut(list(range(4096)), 0, 12)
del NO_DATA[0].LUTData
UNUSABLE = {
    "empty descriptor": (EMPTY, "descriptor is missing or short"),
    "short descriptor": (SHORT, "descriptor is missing or short"),
    "zero descriptor": (ZERO, "descriptor is all zero"),
    "too few entries": (lut([0, 1], 0, 8, count=256), "2 of the 256 entries"),
    "no data": (NO_DATA, "no data"),
    "equal entries": (lut([0] * 4096, 0, 12), "all its entries are equal"),
}


@pytest.mark.parametrize("rule", FULL)
@pytest.mark.parametrize("case", UNUSABLE)
def test_a_table_that_cannot_be_used_leaves_the_next_rule(case, rule, read):
    sequence, note = UNUSABLE[case]
    expected = read(dicom(WORDS, bits=12, **FULL[rule]))
    for keyword in ("VOILUTSequence", "ModalityLUTSequence"):
        radiograph = read(dicom(WORDS, bits=12, **FULL[rule], **{keyword: sequence}))
        np.testing.assert_array_equal(radiograph.pixels, expected.pixels)
        assert len(radiograph.provenance["notes"]) == 1
        assert note in radiograph.provenance["notes"][0]


def test_the_second_table_serves_where_the_first_is_broken(read):
    inverse = lut(list(range(4095, -1, -1)), 0, 12)
    broken = pydicom.Sequence([lut([0, 1], 0, 8, count=256)[0], inverse[0]])
    np.testing.assert_array_equal(
        read(dicom(WORDS, bits=12, VOILUTSequence=broken)).pixels,
        read(dicom(WORDS, bits=12, VOILUTSequence=inverse)).pixels,
    )


IGNORED = {
    "slope 0": {"RescaleSlope": 0, "RescaleIntercept": 0},
    "slope 0 and an intercept": {"RescaleSlope": 0, "RescaleIntercept": -1000},
    "unknown function": {"VOILUTFunction": "SIGMOID2"},
}


@pytest.mark.parametrize("case", IGNORED)
def test_a_rule_that_cannot_be_followed_is_passed_over_and_said(case, read):
    expected = read(dicom(WORDS, bits=12, **FULL["window"]))
    radiograph = read(dicom(WORDS, bits=12, **FULL["window"], **IGNORED[case]))
    np.testing.assert_array_equal(radiograph.pixels, expected.pixels)
    assert len(radiograph.provenance["notes"]) == 1


@pytest.mark.parametrize("garbage", [b"abc ", b"1.0e", b"--3 "])
@pytest.mark.parametrize("written_as", [b"1.25", b"4096"])
def test_a_number_that_is_none_does_not_cost_the_film(garbage, written_as, read):
    dataset = dicom(WORDS, bits=12, RescaleIntercept="0", RescaleSlope="1.25", WindowCenter="2048", WindowWidth="4096")
    content = written(dataset)
    assert content.count(written_as) == 1
    radiograph = read(content.replace(written_as, garbage))
    slope = 1.25 if written_as == b"4096" else 1
    window = {"WindowCenter": "2048", "WindowWidth": "4096"} if written_as == b"1.25" else {}
    expected = read(dicom(WORDS, bits=12, RescaleIntercept="0", RescaleSlope=str(slope), **window))
    np.testing.assert_array_equal(radiograph.pixels, expected.pixels)
    assert len(radiograph.provenance["notes"]) == 1


@pytest.mark.parametrize("slope", [-1, 1])
def test_a_first_value_with_the_wrong_sign_is_told_by_the_values(slope, read):
    lowest = -4095 if slope < 0 else -1000
    sequence = lut(list(range(4096)), 0, 12)
    sequence[0].add_new("LUTDescriptor", "US", [4096, 65536 + lowest, 12])
    intercept = 0 if slope < 0 else -1000
    radiograph = read(dicom(WORDS, bits=12, RescaleSlope=slope, RescaleIntercept=intercept, VOILUTSequence=sequence))
    values = WORDS / 4095 if slope > 0 else 1 - WORDS / 4095
    np.testing.assert_allclose(radiograph.pixels[0], values, atol=1e-7)


def test_an_unsigned_first_value_read_as_signed_is_told_by_the_values():
    item = Dataset()
    item.add_new("LUTDescriptor", "SS", [3, 40000 - 65536, 10])
    item.add_new("LUTData", "US", [0, 341, 1023])
    table = read_lut(item, np.arange(65536.0), big_endian=False)
    assert table.first == 40000
    item.add_new("LUTDescriptor", "SS", [3, -5, 10])
    assert read_lut(item, np.arange(-10.0, 65536.0), big_endian=False).first == -5
    item.LUTData = [7, 7, 7]
    with pytest.raises(UnusableLutError):
        read_lut(item, np.arange(10.0), big_endian=False)


def test_a_later_window_serves_where_the_first_is_impossible(read):
    several = read(dicom(WORDS, bits=12, WindowCenter=[5, 1000], WindowWidth=[0, 500]))
    np.testing.assert_array_equal(several.pixels, read(dicom(WORDS, bits=12, **FULL["window"])).pixels)
    none = read(dicom(WORDS, bits=12, WindowCenter=5, WindowWidth=0))
    assert none.provenance["notes"] == ("its window is impossible: the full range is taken",)


# -- decoders


def encapsulated(dataset: Dataset, frame: bytes, syntax: UID) -> bytes:
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def frame_of(content: bytes) -> bytes:
    return pydicom.encaps.get_frame(pydicom.dcmread(io.BytesIO(content)).PixelData, 0, number_of_frames=1)


def test_a_decoder_that_fails_is_followed_by_the_next(read):
    pytest.importorskip("gdcm")
    frame = frame_of(written(dicom(WORDS, bits=12), JPEGLSLossless)).rstrip(b"\0")
    assert frame.endswith(b"\xff\xd9")
    content = encapsulated(dicom(WORDS, bits=12), frame[:-2] + b"\0\xff\xd9", JPEGLSLossless)
    np.testing.assert_array_equal(read(content).pixels, read(dicom(WORDS, bits=12)).pixels)


def test_the_error_names_what_each_decoder_said(read):
    frame = frame_of(written(dicom(WORDS, bits=12), JPEG2000Lossless))
    content = encapsulated(dicom(WORDS, bits=12), frame[:120] + bytes(len(frame) - 120), JPEG2000Lossless)
    with pytest.raises(RadiographError) as caught:
        read(content)
    assert caught.value.code == Code.RADIOGRAPH_UNDECODABLE
    assert all(f"{name}: " in caught.value.message for name in ("pylibjpeg", "pillow"))
    assert "SECRET" not in str(caught.value)


def jpeg_of_12_bits(blocks: np.ndarray) -> bytes:
    """Extended sequential DCT (ITU-T T.81, SOF1, 12 bits) of flat blocks of 8 by 8: DC alone, so it is exact."""
    bits = ""
    last = 0
    for value in (int(block) - 2048 for block in blocks.flat):
        difference, last = 8 * (value - last), value
        size = abs(difference).bit_length()
        low = difference if difference >= 0 else difference + (1 << size) - 1
        bits += f"{size:04b}" + (f"{low:0{size}b}" if size else "") + "0"  # the code of a size is its 4 bits; EOB is 0
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")

    def segment(marker: int, payload: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload

    rows, columns = 8 * blocks.shape[0], 8 * blocks.shape[1]
    sizes = bytes([0, 0, 0, 15]) + bytes(12) + bytes(range(15))  # 15 codes of 4 bits
    return (
        b"\xff\xd8"
        + segment(0xDB, b"\0" + b"\x01" * 64)
        + segment(0xC1, struct.pack(">BHHB", 12, rows, columns, 1) + b"\x01\x11\0")
        + segment(0xC4, b"\0" + sizes)
        + segment(0xC4, b"\x10" + bytes([1]) + bytes(15) + b"\0")
        + segment(0xDA, b"\x01\x01\0\0\x3f\0")
        + scan
        + b"\xff\xd9"
    )


def test_12_bit_jpeg_extended_is_read(read):
    pytest.importorskip("gdcm")
    blocks = np.array([[100, 2000, 4000, 2500], [1000, 999, 3001, 1005], [700, 300, 2049, 2047], [1, 2, 2040, 4080]])
    pixels = np.kron(blocks, np.ones((8, 8))).astype(np.uint16)
    content = encapsulated(dicom(pixels, bits=12), jpeg_of_12_bits(blocks), JPEGExtended12Bit)
    np.testing.assert_array_equal(read(content).pixels, read(dicom(pixels, bits=12)).pixels)


# -- faults of the machine


@pytest.mark.parametrize("name", ["dl", "DLFCN", "gdcm", "pydicom", "openjpeg", "rle", "libjpeg"])
def test_a_folder_in_the_working_directory_damages_no_file(name, tmp_path):
    (tmp_path / name).mkdir()
    (tmp_path / "a.dcm").write_bytes(written(dicom(WORDS, bits=12), RLELossless))
    program = """
import nibabel, sys  # which imports pydicom by itself
from cxr_monai.data.radiograph import read_radiograph
assert sys.path[0] == ""
print(read_radiograph("a.dcm").pixels.shape)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"(1, {SIDE}, {SIDE})\n", done.stderr


def test_a_library_that_cannot_be_imported_is_the_machines_fault(read, monkeypatch):
    monkeypatch.delitem(sys.modules, "cxr_monai.data.formats.dicom_reader")
    monkeypatch.setitem(sys.modules, "cxr_monai.data.formats.dicom_grey", None)
    with pytest.raises(CxrError) as caught:
        read(dicom(BYTES))
    assert caught.value.code == Code.RUNTIME_MISSING
    assert not isinstance(caught.value, RadiographError)


def test_a_fault_of_our_own_is_not_called_damage_of_the_file(read, monkeypatch):
    from cxr_monai.data.formats import dicom_reader as decoder

    monkeypatch.delattr(decoder, "pixel_spacing")
    with pytest.raises(NameError):
        read(dicom(BYTES))


@pytest.mark.parametrize(("highest", "note"), [(1023, ["nearly black"]), (40000, [])])
@pytest.mark.parametrize("inverted", [False, True])
def test_a_picture_at_one_end_of_its_range_is_said(highest, note, inverted, read):
    pixels = (WORDS.astype(float) * (highest / WORDS.max())).astype(np.uint16)
    radiograph = read(dicom(pixels, **({"PhotometricInterpretation": "MONOCHROME1"} if inverted else {})))
    words = [word.replace("black", "white") for word in note] if inverted else note
    assert [text[:12] for text in radiograph.provenance["notes"]] == words
