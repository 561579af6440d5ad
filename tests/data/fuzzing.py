"""What ``scripts/fuzz_radiographs.py`` reads: small valid files of every kind, damaged by byte or in what they say.

``file_of(seed, number, seeds)`` is the same file in every process, so a file that ended its reader is made again.
"""

import gzip
import random
import struct
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.filebase import DicomBytesIO
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from cxr_monai.data.formats.dicom_gdcm import gdcm_is_installed
from cxr_monai.data.formats.sniffing import GZIP_MAGIC, PNG_MAGIC

from .test_radiograph import SEEDS, WIDE, chunk, damaged, encoded, nifti, rechecked
from .test_radiograph_dicom import BYTES, WORDS, dicom, jpeg_dicom, jpeg_lossless, lut, written
from .test_radiograph_dicom_oddities import encapsulated, frame_of, jpeg_of_12_bits

SYNTAXES = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless,
    JPEGLSLossless, JPEG2000Lossless,
)  # fmt: skip
_HEADER = {
    "WindowCenter": 100, "WindowWidth": 500, "RescaleSlope": 1, "RescaleIntercept": 0, "PixelPaddingValue": 3,
    "PixelSpacing": [0.1, 0.1], "VOILUTSequence": lut(list(range(64)), 0, 12), "BodyPartExamined": "CHEST",
}  # fmt: skip


def valid_files() -> dict[str, bytes]:
    """Return a small valid file of every kind, by its name; the same bytes every time."""
    files = {kind: _untimed(content) for kind, content in SEEDS.items()}
    files["png16 of words"] = encoded(WIDE, "PNG")
    files["nifti-gz of words"] = _untimed(nifti(WIDE.astype(np.int16).T, compress=True))
    for syntax in SYNTAXES:
        files[f"DICOM {syntax.name}"] = written(dicom(WORDS, bits=12, **_HEADER), syntax)
    files["DICOM plain"] = written(dicom(BYTES))
    files["DICOM RGB"] = written(dicom(np.stack([BYTES] * 3, axis=2)))
    files["DICOM signed"] = written(dicom(WORDS.astype(np.int16) - 1500, bits=12, PixelPaddingValue=-1500))
    files["DICOM JPEG Baseline"] = jpeg_dicom()
    blocks = np.arange(16).reshape(4, 4) * 250 + 10
    pixels = np.kron(blocks, np.ones((8, 8))).astype(np.uint16)
    files["DICOM JPEG Extended"] = encapsulated(dicom(pixels, bits=12), jpeg_of_12_bits(blocks), JPEGExtended12Bit)
    if gdcm_is_installed():
        with tempfile.TemporaryDirectory() as folder:
            frame = frame_of(jpeg_lossless(dicom(WORDS, bits=12), Path(folder)))
        files["DICOM JPEG Lossless"] = encapsulated(dicom(WORDS, bits=12, **_HEADER), frame, JPEGLosslessSV1)
    return {kind: _renamed(content) if b"DICM" in content[:132] else content for kind, content in files.items()}


def _renamed(content: bytes) -> bytes:
    """Return a DICOM file with a fixed instance UID: encoders give each of their files a new one."""
    dataset = pydicom.dcmread(DicomBytesIO(content))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    buffer = DicomBytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _untimed(content: bytes) -> bytes:
    """Return a gzip file without the time in it, and any other as it is."""
    return gzip.compress(gzip.decompress(content), mtime=0) if content.startswith(GZIP_MAGIC) else content


def file_of(seed: int, number: int, seeds: dict[str, bytes]) -> tuple[str, bytes, bool]:
    """Return a damaged file: what it was made of, its bytes, and whether it is read with ``any_modality``."""
    chance = random.Random(f"{seed}/{number}")
    kind = chance.choice(sorted(seeds))
    content = seeds[kind]
    how = chance.choice(["bytes", "words", "both"])
    if how != "bytes":
        content = reworded(content, chance)
    if how != "words":
        content = damaged(content, chance, checksums=chance.random() < 0.5)
    return f"{kind}, {how}", content, chance.random() < 0.5


def reworded(content: bytes, chance: random.Random) -> bytes:
    """Return a file that says something else of its pixels, in the format's own grammar."""
    if content[128:132] == b"DICM":
        return _dicom_reworded(content, chance)
    if content.startswith(PNG_MAGIC):
        return _png_reworded(content, chance)
    if content.startswith(b"\xff\xd8"):
        return _jpeg_reworded(content, chance)
    return _nifti_reworded(content, chance)


SIZES = (0, 1, 2, 31, 32, 33, 64, 1000, 4095, 20000, 65535)
NUMBERS = ("0", "1", "-1", "0.5", "1e-300", "1e300", "-1e20", "2048", "65536", "4096\\0", "1\\2\\3", "")
UIDS = (
    *SYNTAXES, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLosslessSV1, UID("1.2.840.10008.1.2.4.51"),
    UID("1.2.840.10008.1.2.4.81"), UID("1.2.840.10008.1.2.4.91"), UID("1.2.840.10008.1.2.4.201"), UID("1.2.3"),
)  # fmt: skip


def _tables(dataset: Dataset, chance: random.Random) -> None:
    count = chance.choice([0, 1, 2, 255, 256, 4096, 65535])
    entries = [chance.randrange(65536) for _ in range(chance.choice([1, 2, count or 2, 256]))]
    sequence = lut(entries if chance.random() < 0.6 else bytes(entry % 256 for entry in entries), 0, 12)
    first = chance.choice([0, 1, 4095, 32768, 61441, 65535])
    sequence[0].add_new("LUTDescriptor", "US", [count, first, chance.choice([0, 1, 8, 12, 16, 200])])
    setattr(dataset, chance.choice(["VOILUTSequence", "ModalityLUTSequence"]), sequence)


def _set(keyword: str, *values: object) -> Callable[[Dataset, random.Random], None]:
    def change(dataset: Dataset, chance: random.Random) -> None:
        value = chance.choice(values)
        if value is not None:
            dataset.add_new(keyword, pydicom.datadict.dictionary_VR(keyword).split(" ")[0], value)
        elif keyword in dataset:
            delattr(dataset, keyword)

    return change


def _pixels(dataset: Dataset, chance: random.Random) -> None:
    element = dataset["PixelData"]
    compressed = element.is_undefined_length
    data = get_frame(element.value, 0, number_of_frames=1) if compressed else element.value
    data = chance.choice([data[: len(data) // 4 * 2], data + data, data + b"\0\0", bytes(len(data)), b"\0\0"])
    element.value = encapsulate([data]) if compressed else data


def _syntax(dataset: Dataset, chance: random.Random) -> None:
    dataset.file_meta.TransferSyntaxUID = chance.choice(UIDS)


CHANGES: tuple[Callable[[Dataset, random.Random], None], ...] = (
    _set("Rows", *SIZES), _set("Columns", *SIZES), _set("Rows", *SIZES), _set("SamplesPerPixel", 0, 1, 2, 3, 4, None),
    _set("BitsAllocated", 0, 1, 8, 12, 16, 24, 32, 64), _set("BitsStored", *range(18), 65535, None),
    _set("BitsStored", *range(7, 18)), _set("HighBit", *range(17), 65535, None),
    _set("PixelRepresentation", 0, 1, 2, None), _set("PlanarConfiguration", 0, 1, 2),
    _set("PhotometricInterpretation", "MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT",
         "YBR_RCT", "PALETTE COLOR", "", "HSV", None),
    _set("NumberOfFrames", "0", "1", "2", "-1", "1000000", "", None),
    _set("WindowCenter", *NUMBERS, None), _set("WindowWidth", *NUMBERS, None),
    _set("RescaleSlope", *NUMBERS, None), _set("RescaleIntercept", *NUMBERS, None),
    _set("VOILUTFunction", "LINEAR", "LINEAR_EXACT", "SIGMOID", "SIGMOID2", ""),
    _set("PresentationLUTShape", "IDENTITY", "INVERSE", "LIN OD", ""),
    _set("PixelPaddingValue", 0, 1, 3000, 4095, 65535), _set("PixelPaddingRangeLimit", 0, 1, 3000, 4095, 65535),
    _set("PixelSpacing", ["0", "0"], ["1e300", "1"], ["-1", "1"], ["1"], None),
    _set("Modality", "CR", "DX", "CT", "", None), _set("BodyPartExamined", "CHEST", "HAND", ""),
    _set("PixelAspectRatio", ["0", "0"]), _set("SpecificCharacterSet", "ISO_IR 100", "ISO 2022 IR 87", "X"),
    _tables, _tables, _pixels, _syntax,
)  # fmt: skip


def _dicom_reworded(content: bytes, chance: random.Random) -> bytes:
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(DicomBytesIO(content))
        syntax = dataset.file_meta.TransferSyntaxUID
        list(dataset.iterall())  # words are signed or not before Pixel Representation goes
        for change in chance.sample(CHANGES, chance.choice([1, 1, 2, 4])):
            change(dataset, chance)
        named, dataset.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID, syntax
        buffer = DicomBytesIO()
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    # another syntax is only named: the bytes stay what they were
    old, new = (str(uid) + "\0" * (len(uid) % 2) for uid in (syntax, named))
    made = buffer.getvalue()
    field = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(old)) + old.encode()
    other = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(new)) + new.encode()
    at = made.index(field)
    (length,) = struct.unpack_from("<I", made, 140)
    made = made[:140] + struct.pack("<I", length + len(new) - len(old)) + made[144:]
    return made[:at] + other + made[at + len(field) :]


def _png_reworded(content: bytes, chance: random.Random) -> bytes:
    width, height, *others = struct.unpack_from(">IIBBBBB", content, 16)
    match chance.randrange(4):
        case 0:
            width = chance.choice([*SIZES, 2**31 - 1])
        case 1:
            height = chance.choice([*SIZES, 2**31 - 1])
        case 2:
            others[chance.randrange(5)] = chance.choice([0, 1, 2, 3, 4, 6, 8, 16])
        case _:
            extra = chance.choice(
                [chunk(b"acTL", b"\0\0\0\2\0\0\0\0"), chunk(b"PLTE", bytes(9)), chunk(b"tRNS", b"\0\1")]
            )
            return content[:33] + extra + content[33:]
    return rechecked(content[:16] + struct.pack(">IIBBBBB", width, height, *others) + content[29:])


def _jpeg_reworded(content: bytes, chance: random.Random) -> bytes:
    at = next(place for marker in (b"\xff\xc0", b"\xff\xc2") if (place := content.find(marker)) >= 0)
    precision, height, width, channels = struct.unpack_from(">BHHB", content, at + 4)
    match chance.randrange(4):
        case 0:
            precision = chance.choice([0, 2, 8, 12, 16])
        case 1:
            height = chance.choice(SIZES)
        case 2:
            width = chance.choice(SIZES)
        case _:
            channels = chance.choice([0, 1, 2, 3, 4])
    return content[: at + 4] + struct.pack(">BHHB", precision, height, width, channels) + content[at + 10 :]


def _nifti_reworded(content: bytes, chance: random.Random) -> bytes:
    compressed = content.startswith(GZIP_MAGIC)
    raw = gzip.decompress(content) if compressed else content
    header = nibabel.Nifti1Header(raw[:348], check=False)
    for _ in range(chance.choice([1, 1, 3])):
        match chance.randrange(6):
            case 0:
                header["dim"][chance.randrange(8)] = chance.choice([-1, 0, 1, 2, 7, 8, *SIZES[3:9], 32767])
            case 1:
                header["datatype"] = chance.choice([0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1536, 9999])
            case 2:
                header["vox_offset"] = chance.choice([0, 352, 353, -1, 1e9, np.nan, np.inf])
            case 3:
                header[chance.choice(["scl_slope", "scl_inter"])] = chance.choice([0, 1, -1, 1e38, np.nan, np.inf])
            case 4:
                header[chance.choice(["cal_min", "cal_max"])] = chance.choice([0, 1, -1e38, 1e38, np.nan, np.inf])
            case _:
                header["pixdim"][chance.randrange(8)] = chance.choice([0, -1, np.nan, 1e38])
    made = header.binaryblock + raw[348:]
    return gzip.compress(made, mtime=0) if compressed else made
