"""PNG, JPEG and NIfTI to exact grey; bad files to one error with its code; bombs refused before memory is taken."""

import gzip
import io
import random
import resource
import struct
import tracemalloc
import zlib
from fractions import Fraction
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image, ImageOps

from cxr_monai.data.formats.grey import level_table
from cxr_monai.data.radiograph import MAX_PIXELS, read_radiograph
from cxr_monai.errors import Code, RadiographError

ROWS, COLUMNS = 48, 40
GREY = ((np.arange(ROWS)[:, None] * 5 + np.arange(COLUMNS) * 3) % 256).astype(np.uint8)
WIDE = GREY.astype(np.uint16) * 200 + np.arange(COLUMNS, dtype=np.uint16)  # low bytes matter
MAGIC = b"\x89PNG\r\n\x1a\n"


def exact(levels: np.ndarray, highest: int) -> np.ndarray:
    """Grey of integer levels, by rational arithmetic: the nearest multiple of 2**-24."""
    table = {int(level): round(Fraction(int(level), highest) * 2**24) / 2**24 for level in np.unique(levels)}
    return np.vectorize(table.get)(levels).astype(np.float32)


def chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def png(
    rows: bytes,
    depth: int,
    colour_type: int,
    *extra: bytes,
    width: int = COLUMNS,
    height: int = ROWS,
    surplus: bytes = b"",
) -> bytes:
    """A PNG of unfiltered rows, written by hand because Pillow cannot write every depth."""
    stride = len(rows) // height if rows else 0
    raw = b"".join(b"\0" + rows[start : start + stride] for start in range(0, len(rows), stride or 1))
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return (
        MAGIC
        + chunk(b"IHDR", header)
        + b"".join(extra)
        + chunk(b"IDAT", zlib.compress(raw + surplus))
        + chunk(b"IEND", b"")
    )


def encoded(array: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def nifti(array: np.ndarray, *, compress: bool = False, **header: object) -> bytes:
    """A NIfTI of ``array``, whose first axis is x; ``header`` overwrites fields of the finished header."""
    image = nibabel.Nifti1Image(array, np.eye(4))
    raw = bytearray(image.to_bytes())
    patched = nibabel.Nifti1Header(bytes(raw[:348]), check=False)
    for name, value in header.items():
        patched[name] = value
    raw[:348] = patched.binaryblock
    return gzip.compress(bytes(raw)) if compress else bytes(raw)


def big(array: np.ndarray) -> bytes:
    return array.astype(">u2").tobytes()


def stack(array: np.ndarray, *others: np.ndarray) -> np.ndarray:
    return np.stack([array, *others], axis=2)


@pytest.fixture
def read(tmp_path: Path):
    def _read(content: bytes, name: str = "file", **options: object):
        path = tmp_path / name
        path.write_bytes(content)
        return read_radiograph(path, **options)

    return _read


BITS = (GREY > 100).astype(np.uint8)
NIBBLES = GREY // 16
PALETTE = chunk(b"PLTE", bytes(np.repeat(255 - np.arange(256), 3).astype(np.uint8)))
ALPHA = np.full_like(GREY, 7)

PNGS = {
    "8-bit grey": (png(GREY.tobytes(), 8, 0), exact(GREY, 255)),
    "8-bit grey by Pillow": (encoded(GREY, "PNG"), exact(GREY, 255)),
    "16-bit grey": (png(big(WIDE), 16, 0), exact(WIDE, 65535)),
    "16-bit grey by Pillow": (encoded(WIDE, "PNG"), exact(WIDE, 65535)),
    "grey and alpha": (png(stack(GREY, ALPHA).tobytes(), 8, 4), exact(GREY, 255)),
    "16-bit grey and alpha": (png(big(stack(WIDE, WIDE // 3)), 16, 4), exact(WIDE, 65535)),
    "RGB": (png(stack(GREY, GREY, GREY).tobytes(), 8, 2), exact(GREY, 255)),
    "RGBA": (png(stack(GREY, GREY, GREY, ALPHA).tobytes(), 8, 6), exact(GREY, 255)),
    "16-bit RGB": (png(big(stack(WIDE, WIDE, WIDE)), 16, 2), exact(WIDE, 65535)),
    "16-bit RGBA": (png(big(stack(WIDE, WIDE, WIDE, WIDE // 3)), 16, 6), exact(WIDE, 65535)),
    "palette": (png(GREY.tobytes(), 8, 3, PALETTE), exact(255 - GREY, 255)),
    "palette with transparency": (
        png(GREY.tobytes(), 8, 3, PALETTE, chunk(b"tRNS", bytes(range(256)))),
        exact(255 - GREY, 255),
    ),
    "1-bit": (png(np.packbits(BITS, axis=1).tobytes(), 1, 0), exact(BITS, 1)),
    "4-bit": (png((NIBBLES[:, ::2] << 4 | NIBBLES[:, 1::2]).tobytes(), 4, 0), exact(NIBBLES, 15)),
    "green of nearly equal channels": (
        png(stack(np.minimum(GREY, 251) + 4, np.minimum(GREY, 251) + 2, np.minimum(GREY, 251)).tobytes(), 8, 2),
        exact(np.minimum(GREY, 251) + 2, 255),
    ),
}


@pytest.mark.parametrize("case", PNGS)
def test_png_pixels_are_exact_and_not_transposed(case, read):
    content, expected = PNGS[case]
    radiograph = read(content, "name.jpg")  # the content decides, not the name
    assert radiograph.pixels.shape == (1, ROWS, COLUMNS)
    assert radiograph.pixels.dtype == np.float32
    np.testing.assert_array_equal(radiograph.pixels[0], expected)
    assert radiograph.spacing is None
    assert radiograph.provenance["format"] == "PNG"
    assert radiograph.provenance["shape"] == (ROWS, COLUMNS)


def test_a_fifth_of_the_8_bit_range_is_the_multiple_of_two_to_the_minus_24(read):
    levels = GREY.copy()
    levels[3, 4] = 51
    assert read(png(levels.tobytes(), 8, 0)).pixels[0, 3, 4] == 3355443 / 16777216


@pytest.mark.parametrize("bits", [1, 8, 10, 12, 16])
def test_inversion_is_exact_at_every_level(bits):
    grey = level_table(bits)
    inverse = np.float32(1) - grey
    assert (grey + inverse == 1).all()
    assert (inverse[::-1] == grey).all()
    assert (np.float32(1) - inverse == grey).all()
    assert (np.diff(grey) > 0).all()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 50}])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_pillow_decodes_divided_by_255(channels, options, read):
    array = GREY if channels == 1 else stack(GREY, GREY, GREY)
    content = encoded(array, "JPEG", **options)
    with Image.open(io.BytesIO(content)) as image:
        decoded = np.asarray(image)
    levels = decoded if channels == 1 else decoded[..., 1]
    np.testing.assert_array_equal(read(content, "name.png").pixels[0], exact(levels, 255))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_jpeg_orientation_is_applied(orientation, order, read):
    entry = struct.pack(order + "HHIHH", 274, 3, 1, orientation, 0)
    tiff = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "IH", 8, 1) + entry + bytes(4)
    content = encoded(GREY, "JPEG", exif=b"Exif\0\0" + tiff)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    radiograph = read(content)
    np.testing.assert_array_equal(radiograph.pixels[0], exact(expected, 255))
    assert radiograph.provenance["exif_orientation"] == orientation


SIGNED = GREY.astype(np.int16) * 4 - 100  # from -100 to 920
COUNT = (GREY - GREY.min()).astype(np.uint16)
UNIT = (GREY / 256).astype(np.float32)
DIM = np.clip(GREY, 20, 200)
NIFTIS = {
    "uint8": (GREY.T, {}, exact(GREY, 255)),
    "one slice": (GREY.T[:, :, None, None], {}, exact(GREY, 255)),
    "uint8 that is not scaled": (DIM.T, {"scl_slope": 0}, exact(DIM, 255)),
    "uint8 scaled by 1, as nibabel writes it": (DIM.T, {"scl_slope": 1, "scl_inter": 0}, exact(DIM, 255)),
    "int16 by its own range": (SIGNED.T, {}, exact(SIGNED + 100, 1020)),
    "display range": (SIGNED.T, {"cal_min": 0, "cal_max": 800}, exact(np.clip(SIGNED, 0, 800), 800)),
    "uint8 with display range": (GREY.T, {"cal_min": 20, "cal_max": 120}, exact(np.clip(GREY, 20, 120) - 20, 100)),
    "floats in [0, 1] stay": (UNIT.T, {}, UNIT),
    "scaled into [0, 1] stays": (GREY.T, {"scl_slope": 1 / 256, "scl_inter": 0}, UNIT),
    "slope and intercept": (
        GREY.T,
        {"scl_slope": 2, "scl_inter": -10, "cal_min": -10, "cal_max": 502},
        exact(GREY, 256),
    ),
    "big-endian floats": (UNIT.T.astype(">f8") * 300, {}, exact(GREY - GREY.min(), int(GREY.max()) - int(GREY.min()))),
    "wide floats": ((GREY.T - 128.0) * 1e306, {}, exact(GREY, 255)),
}


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("case", NIFTIS)
def test_nifti_is_transposed_once_and_mapped_by_the_documented_rule(case, compress, read):
    stored, header, expected = NIFTIS[case]
    radiograph = read(nifti(stored, compress=compress, **header))
    np.testing.assert_array_equal(radiograph.pixels[0], expected)
    assert radiograph.provenance["format"] == "NIfTI"


def test_nifti_2_is_read(read):
    np.testing.assert_array_equal(read(nibabel.Nifti2Image(GREY.T, np.eye(4)).to_bytes()).pixels[0], exact(GREY, 255))


@pytest.mark.parametrize(("unit", "expected"), [(2, (0.3, 0.2)), (1, (300.0, 200.0)), (0, None)])
def test_nifti_spacing_is_row_then_column_in_mm(unit, expected, read):
    radiograph = read(nifti(GREY.T, pixdim=[1, 0.2, 0.3, 1, 1, 1, 1, 1], xyzt_units=unit))
    assert radiograph.spacing == (None if expected is None else pytest.approx(expected))


FLOATS = UNIT.T.copy()
NAN, INF = FLOATS.copy(), FLOATS.copy()
NAN[3, 4], INF[5, 6] = np.nan, np.inf
RED = stack(np.minimum(GREY, 250) + 5, np.minimum(GREY, 250), np.minimum(GREY, 250))
JPEG = encoded(GREY, "JPEG")
FRAMES = chunk(b"acTL", struct.pack(">II", 3, 0))

BAD = {
    "empty": (b"", Code.RADIOGRAPH_EMPTY, "empty"),
    "text": (b"Image Index,Finding Labels\n", Code.RADIOGRAPH_NOT_AN_IMAGE, "PNG, JPEG, NIfTI"),
    "gif": (encoded(GREY, "GIF"), Code.RADIOGRAPH_NOT_AN_IMAGE, "a GIF file"),
    "tiff": (encoded(GREY, "TIFF"), Code.RADIOGRAPH_NOT_AN_IMAGE, "a TIFF file"),
    "gzip of a PNG": (gzip.compress(encoded(GREY, "PNG")), Code.RADIOGRAPH_NOT_AN_IMAGE, "a gzip file"),
    "PNG without its end": (encoded(GREY, "PNG")[:-12], Code.RADIOGRAPH_TRUNCATED, "IEND"),
    "PNG cut in the data": (encoded(GREY, "PNG")[:90], Code.RADIOGRAPH_TRUNCATED, "within a chunk"),
    "PNG with a wrong checksum": (
        png(GREY.tobytes(), 8, 0)[:-20] + b"\0\0\0\0" + png(GREY.tobytes(), 8, 0)[-16:],
        Code.RADIOGRAPH_UNDECODABLE,
        "checksum",
    ),
    "PNG of an impossible depth": (png(GREY.tobytes(), 7, 0), Code.RADIOGRAPH_UNDECODABLE, "damaged"),
    "animated PNG": (png(GREY.tobytes(), 8, 0, FRAMES), Code.RADIOGRAPH_SEVERAL_FRAMES, "3 frames"),
    "coloured PNG": (png(RED.tobytes(), 8, 2), Code.RADIOGRAPH_COLOUR, "differ by up to 5 levels"),
    "coloured palette": (
        png(GREY.tobytes(), 8, 3, chunk(b"PLTE", bytes(range(256)) * 3)),
        Code.RADIOGRAPH_COLOUR,
        "colour image",
    ),
    "constant PNG": (png(bytes([9]) * GREY.size, 8, 0), Code.RADIOGRAPH_CONSTANT, "same grey"),
    "31 columns": (png(GREY[:, :31].tobytes(), 8, 0, width=31), Code.RADIOGRAPH_DIMENSIONS, "48 rows by 31 columns"),
    "JPEG without its end": (JPEG[:-2], Code.RADIOGRAPH_TRUNCATED, "end-of-image"),
    "JPEG cut in its header": (JPEG[:40], Code.RADIOGRAPH_TRUNCATED, "within its header"),
    "coloured JPEG": (
        encoded(stack(GREY, 255 - GREY, GREY), "JPEG", quality=95),
        Code.RADIOGRAPH_COLOUR,
        "colour image",
    ),
    "CMYK JPEG": (
        (lambda b: (Image.new("CMYK", (40, 48), (1, 2, 3, 4)).save(b, "JPEG"), b.getvalue())[1])(io.BytesIO()),
        Code.RADIOGRAPH_COLOUR,
        "CMYK",
    ),
    "JPEG of several pictures": (
        JPEG[:2] + b"\xff\xe2\x00\x08MPF\0\0\0" + JPEG[2:],
        Code.RADIOGRAPH_SEVERAL_FRAMES,
        "several pictures",
    ),
    "NIfTI cut": (nifti(GREY.T)[:-1], Code.RADIOGRAPH_TRUNCATED, "1,920 bytes of pixels and 1,919"),
    "compressed NIfTI cut": (nifti(GREY.T, compress=True)[:-40], Code.RADIOGRAPH_TRUNCATED, "too early"),
    "several slices": (nifti(stack(GREY.T, GREY.T)), Code.RADIOGRAPH_SEVERAL_FRAMES, "(40, 48, 2)"),
    "coloured NIfTI": (
        nifti(np.zeros((40, 48), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])),
        Code.RADIOGRAPH_COLOUR,
        "colour",
    ),
    "complex NIfTI": (nifti(FLOATS.astype(np.complex64)), Code.RADIOGRAPH_UNDECODABLE, "complex64"),
    "NaN": (nifti(NAN), Code.RADIOGRAPH_NAN, "1 of its 1,920 pixels"),
    "infinity": (nifti(INF), Code.RADIOGRAPH_NAN, "1 of its 1,920 pixels"),
    "constant NIfTI": (nifti(np.full((40, 48), 0.5, np.float32)), Code.RADIOGRAPH_CONSTANT, "same grey"),
    "far data": (nifti(GREY.T, vox_offset=1e12), Code.RADIOGRAPH_UNDECODABLE, "1e+12"),
    "NIfTI pair": (nifti(GREY.T, magic=b"ni1"), Code.RADIOGRAPH_NOT_AN_IMAGE, ".img"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_error_with_its_code_place_and_reason(case, read, tmp_path):
    content, code, reason = BAD[case]
    with pytest.raises(RadiographError) as caught:
        read(content, "scan.png")
    assert caught.value.code == code
    assert caught.value.where == str(tmp_path / "scan.png")
    assert reason in caught.value.message
    assert caught.value.fix


@pytest.mark.parametrize("name", ["missing.png", ".", "nul\0.png"])
def test_what_cannot_be_opened(name, tmp_path):
    with pytest.raises(RadiographError) as caught:
        read_radiograph(f"{tmp_path}/{name}")
    assert caught.value.code == Code.RADIOGRAPH_NOT_FOUND


def with_size(content: bytes, marker: bytes, size: bytes) -> bytes:
    position = content.index(marker) + len(marker)
    return content[:position] + size + content[position + len(size) :]


JPEG_FRAME = b"\xff\xc0\x00\x0b\x08"
ZEROS = bytes(30_000_000)
BOMBS = {
    "PNG": png(b"\0" * 60000, 8, 0, width=60000, height=60000),
    "JPEG": with_size(JPEG, JPEG_FRAME, struct.pack(">HH", 60000, 60000)),
    "NIfTI": nifti(GREY.T, compress=True, dim=[2, 30000, 30000, 1, 1, 1, 1, 1]),
}
HARMLESS = {
    "PNG with a comment of 30 MB": png(GREY.tobytes(), 8, 0, chunk(b"zTXt", b"a\0\0" + zlib.compress(ZEROS, 9))),
    "PNG with a profile of 30 MB": png(GREY.tobytes(), 8, 0, chunk(b"iCCP", b"a\0\0" + zlib.compress(ZEROS, 9))),
    "PNG with 30 MB of rows too many": png(GREY.tobytes(), 8, 0, surplus=ZEROS),
    "NIfTI followed by 30 MB": gzip.compress(nifti(GREY.T) + ZEROS, 9),
}


def peak_of(call) -> tuple[int, int]:
    """Peak of Python's and numpy's memory, and growth of the process, in bytes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1], (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("case", BOMBS)
def test_a_bomb_is_refused_before_memory_is_taken(case, tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(BOMBS[case])

    def refused():
        with pytest.raises(RadiographError) as caught:
            read_radiograph(path)
        assert caught.value.code == Code.RADIOGRAPH_DIMENSIONS

    assert max(peak_of(refused)) < 8e6


@pytest.mark.parametrize("case", HARMLESS)
def test_what_is_not_pixels_is_not_inflated(case, tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(HARMLESS[case])
    assert max(peak_of(lambda: read_radiograph(path))) < 8e6
    np.testing.assert_array_equal(read_radiograph(path).pixels[0], exact(GREY, 255))


def test_max_pixels_is_the_callers_to_choose(read):
    content = encoded(GREY, "PNG")
    assert read(content, max_pixels=ROWS * COLUMNS).pixels.shape == (1, ROWS, COLUMNS)
    with pytest.raises(RadiographError, match="1,919 pixels allowed"):
        read(content, max_pixels=ROWS * COLUMNS - 1)


def test_a_file_larger_than_any_radiograph_is_not_read(tmp_path):
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(8 * MAX_PIXELS + 2**24 + 1)

    def refused():
        with pytest.raises(RadiographError, match="the file has 336,777,217 bytes"):
            read_radiograph(path)

    assert max(peak_of(refused)) < 8e6


SEEDS = {
    "png": encoded(GREY, "PNG"),
    "png16": encoded(WIDE, "PNG"),
    "rgba": encoded(stack(GREY, GREY, GREY, ALPHA), "PNG"),
    "jpeg": JPEG,
    "progressive": encoded(stack(GREY, GREY, GREY), "JPEG", progressive=True, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"),
    "nifti": nifti(SIGNED.T),
    "nifti-float": nifti(UNIT.T),
    "nifti-gz": nifti(GREY.T, compress=True),
}


def damaged(content: bytes, chance: random.Random, checksums: bool = False) -> bytes:
    """Cut the file, or overwrite a few bytes of it (then PNG's checksums may be made right again)."""
    if chance.random() < 0.25:
        return content[: chance.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        span = len(changed) if chance.random() < 0.5 else min(len(changed), 700)
        changed[chance.randrange(span)] = chance.choice([0, 127, 128, 255, chance.randrange(256)])
    return rechecked(bytes(changed)) if checksums else bytes(changed)


def rechecked(content: bytes) -> bytes:
    out, position = content[:8], 8
    while position + 12 <= len(content):
        length = struct.unpack_from(">I", content, position)[0]
        if position + 12 + length > len(content):
            break
        out += chunk(content[position + 4 : position + 8], content[position + 8 : position + 8 + length])
        position += 12 + length
    return out + content[position:]


@pytest.mark.parametrize("kind", SEEDS)
def test_damage_gives_a_valid_radiograph_or_a_radiograph_error(kind, read):
    chance = random.Random(kind)
    outcomes = set()
    for turn in range(200):
        try:
            pixels = read(damaged(SEEDS[kind], chance, checksums=turn % 2 == 0 and "jpeg" not in kind)).pixels
        except RadiographError as error:
            outcomes |= {error.code, "warned"} if isinstance(error.__cause__, Warning) else {error.code}
        else:
            outcomes.add("read")
            assert pixels.dtype == np.float32
            assert pixels.ndim == 3
            assert 0 <= pixels.min() < pixels.max() <= 1
    assert {Code.RADIOGRAPH_TRUNCATED, "read"} <= outcomes
    assert "warned" not in outcomes  # pytest makes errors of warnings, and those would have been converted


# MONAI 1.6 makes all its readers with each LoadImage, and one of them warns that NVIDIA's decoder isn't there
@pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")
def test_monai_loads_the_same_array_untransposed(tmp_path):
    from monai.transforms import LoadImage

    from cxr_monai.data.radiograph_reader import RadiographReader

    path = tmp_path / "image.nii"
    path.write_bytes(nifti(GREY.T, pixdim=[1, 0.2, 0.3, 1, 1, 1, 1, 1], xyzt_units=2))
    for ensure_channel_first in (True, False):
        image = LoadImage(reader=RadiographReader, ensure_channel_first=ensure_channel_first)(path)
        np.testing.assert_array_equal(image.numpy(), read_radiograph(path).pixels)
    assert image.meta["original_channel_dim"] == 0
    assert list(image.meta["spatial_shape"]) == [ROWS, COLUMNS]
    np.testing.assert_allclose(np.diag(image.affine), [0.3, 0.2, 1, 1], rtol=1e-6)
    assert image.pixdim.tolist()[:2] == pytest.approx([0.3, 0.2])
    with pytest.raises(RadiographError):
        LoadImage()(tmp_path / "missing.png", reader=RadiographReader())


@pytest.mark.realdata
def test_nih_files_equal_pillow_and_rgba_ones_are_grey(realdata):
    modes = set()
    for path in sorted((realdata / "nih" / "images_1024").glob("*.png")):
        with Image.open(path) as image:
            modes.add(image.mode)
            stored = np.asarray(image)
        levels = stored if stored.ndim == 2 else stored[..., 0]
        np.testing.assert_array_equal(read_radiograph(path).pixels[0], level_table(8)[levels])
    assert modes == {"L", "RGBA"}
