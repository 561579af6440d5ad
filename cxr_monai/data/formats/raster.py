"""PNG and JPEG files to grey.

The file is walked before Pillow sees it, and Pillow is given only what the pixels need. So dimensions are judged before
anything is decoded, compressed comments (zTXt, iCCP) are never inflated, checksums are verified, and no damaged EXIF
block makes Pillow warn. Rules:

- grey is divided by the highest level of its depth (8-bit by 255, 16-bit by 65535);
- palette and colour images are accepted if their channels agree (a few of NIH's files are grey stored as RGBA);
- alpha and transparency are ignored: the stored grey counts;
- a JPEG's EXIF orientation is applied; gamma and colour profiles are not.
"""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin

from cxr_monai.data.formats.grey import Decoded, check_image_extent, level_table, look_up, single_channel
from cxr_monai.data.formats.sniffing import PNG_MAGIC
from cxr_monai.errors import Code, RadiographError
from cxr_monai.plurals import counted

_PNG_CRITICAL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_GREY, _GREY_ALPHA, _RGBA = 0, 4, 6  # colour types of a PNG
_JPEG_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # SOF0..SOF15, and SOF55 of JPEG-LS
_JPEG_STANDALONE = {0x01, *range(0xD0, 0xD8)}
_JPEG_EOI, _JPEG_SOS = 0xD9, 0xDA
_EXIF_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_png(data: bytes, max_pixels: int) -> Decoded:
    """Decode a PNG of 1 to 16 bits: grey, palette or equal channels, with or without alpha.

    Args:
        data: the file.
        max_pixels: larger pictures are refused, by their header.
    """
    header, chunks = b"", []
    for kind, payload, chunk in _png_chunks(data):
        if kind == b"IHDR":
            header = bytes(payload)
            width, height, depth, colour_type = struct.unpack(">IIBB", header[:10])
            check_image_extent(height, width, max_pixels)
        elif kind == b"acTL" and len(payload) >= 4 and struct.unpack(">I", payload[:4])[0] > 1:
            frames = struct.unpack(">I", payload[:4])[0]
            raise _several_frames(f"it is an animated PNG of {counted(frames, 'frame')}")
        elif kind in _PNG_CRITICAL:
            chunks.append(chunk)
    if len(header) != 13:
        raise _damaged("a PNG without a valid IHDR chunk")
    relabel = depth == 16 and colour_type == _GREY_ALPHA
    if relabel:
        # Pillow would drop the low bytes of 16-bit grey with alpha; as 8-bit RGBA the same four bytes arrive whole
        header = header[:8] + bytes([8, _RGBA]) + header[10:]
    stored = _png_array(b"".join([PNG_MAGIC, _header_chunk(header), *chunks]), depth, relabel)
    bits = 16 if stored.dtype.itemsize == 2 else 8
    if stored.ndim == 3:
        stored = stored[..., 0] if stored.shape[2] == 2 else single_channel(stored, bits)
    names = {0: "grey", 2: "RGB", 3: "palette", 4: "grey and alpha", 6: "RGBA"}
    return Decoded(
        look_up(level_table(bits), stored),
        provenance={"format": "PNG", "bits_stored": depth, "photometric_interpretation": names[colour_type]},
    )


def _png_array(png: bytes, depth: int, relabelled: bool) -> np.ndarray:
    image = PngImagePlugin.PngImageFile(io.BytesIO(png))
    if relabelled:
        return np.asarray(image).view(">u2").astype(np.uint16)
    if image.mode in ("RGB", "RGBA") and depth == 16:
        # Pillow keeps the high bytes of 16-bit colour; decoding as if little-endian gives the low ones
        low = PngImagePlugin.PngImageFile(io.BytesIO(png))
        low.tile = [tile._replace(args=f"{image.mode};16L") for tile in low.tile]
        return np.asarray(image).astype(np.uint16) << 8 | np.asarray(low)
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    return np.asarray(image.convert("RGB") if image.mode == "P" else image)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, memoryview]]:
    """Yield (kind, payload, whole chunk) up to IEND; checksums of critical chunks are verified (PNG, 5.3)."""
    view, position = memoryview(data), len(PNG_MAGIC)
    while True:
        if position + 12 > len(data):
            raise _truncated("the PNG ends before its IEND chunk")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise _truncated(f"the PNG ends within a chunk that should be {counted(length, 'byte')} long")
        if kind[0] & 0x20 == 0:
            if kind not in _PNG_CRITICAL:
                raise _damaged("a PNG with a critical chunk that no reader knows")
            if zlib.crc32(view[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
                raise _damaged(f"a PNG whose {kind.decode()} chunk has a wrong checksum")
        yield kind, view[position + 8 : end - 4], view[position:end]
        if kind == b"IEND":
            return
        position = end


def _header_chunk(header: bytes) -> bytes:
    content = b"IHDR" + header
    return struct.pack(">I", len(header)) + content + struct.pack(">I", zlib.crc32(content))


def decode_jpeg(data: bytes, max_pixels: int) -> Decoded:
    """Decode an 8-bit JPEG, baseline or progressive, grey or with equal channels; EXIF orientation is applied.

    Args:
        data: the file.
        max_pixels: larger pictures are refused, by their header.
    """
    segments, orientation, scan = [b"\xff\xd8"], 1, None
    for marker, start, end in _jpeg_segments(data):
        payload = data[start + 4 : end]
        if marker == _JPEG_SOS:
            scan = start
            break
        if marker in _JPEG_FRAMES:
            check_image_extent(*_frame_size(payload)[:2], max_pixels)
        if marker == 0xE1 and payload.startswith(b"Exif\0\0"):
            orientation = exif_orientation(payload[6:])
        if marker == 0xE2 and payload.startswith(b"MPF\0"):
            raise _several_frames("it is a JPEG that holds several pictures (MPF)")
        # APP0 (JFIF) and APP14 (Adobe) tell how colours are stored; other APPn and comments are not for the pixels
        if marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            segments.append(data[start:end])
    if scan is None or data.rfind(b"\xff\xd9", scan) < 0:
        raise _truncated("the JPEG ends before its end-of-image marker")
    image: Image.Image = JpegImagePlugin.JpegImageFile(io.BytesIO(b"".join([*segments, data[scan:]])))
    mode = image.mode
    if mode not in ("L", "RGB"):
        raise RadiographError(Code.RADIOGRAPH_COLOUR, f"it is a {mode} JPEG.", fix="Export it as a grey image.")
    if orientation in _EXIF_TRANSPOSE:
        image = image.transpose(_EXIF_TRANSPOSE[orientation])
    stored = np.asarray(image)
    return Decoded(
        look_up(level_table(8), stored if mode == "L" else single_channel(stored, 8)),
        provenance={
            "format": "JPEG",
            "bits_stored": 8,
            "photometric_interpretation": "grey" if mode == "L" else mode,
            "exif_orientation": orientation,
        },
    )


def jpeg_frame(data: bytes) -> tuple[int, int, int, int] | None:
    """Return (rows, columns, channels, bits) that a JPEG or JPEG-LS stream's frame header claims; None without one."""
    for marker, start, end in _jpeg_segments(data):
        if marker in _JPEG_FRAMES:
            payload = data[start + 4 : end]
            return *_frame_size(payload), payload[0]
        if marker == _JPEG_SOS:
            break
    return None


def _frame_size(payload: bytes) -> tuple[int, int, int]:
    if len(payload) < 6:
        raise _damaged("a JPEG whose frame header is too short")
    height, width, channels = struct.unpack_from(">HHB", payload, 1)
    return height, width, channels


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of the segments up to the first scan (ITU-T T.81, B.1.1)."""
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            raise _damaged("a JPEG with bytes between its segments")
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1  # fill byte
            continue
        if marker in _JPEG_STANDALONE:
            position += 2
            continue
        if marker == _JPEG_EOI:
            return
        length = struct.unpack_from(">H", data, position + 2)[0]
        end = position + 2 + length
        if length < 2:
            raise _damaged("a JPEG with a segment of impossible length")
        if end > len(data):
            break
        yield marker, position, end
        position = end
    raise _truncated("the JPEG ends within its header")


def exif_orientation(tiff: bytes) -> int:
    """Return the orientation (1 to 8) from an EXIF block (TIFF 6.0, tag 274); 1 where it is missing or damaged."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 10:
        return 1
    directory = struct.unpack_from(order + "I", tiff, 4)[0]
    if directory + 2 > len(tiff):
        return 1
    count = struct.unpack_from(order + "H", tiff, directory)[0]
    for entry in range(directory + 2, min(directory + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind, number, value = struct.unpack_from(order + "HHIH", tiff, entry)
        if (tag, kind, number) == (274, 3, 1) and 1 <= value <= 8:
            return value
    return 1


def _truncated(reason: str) -> RadiographError:
    return RadiographError(Code.RADIOGRAPH_TRUNCATED, f"{reason}.", fix="Copy or download the file again.")


def _damaged(reason: str) -> RadiographError:
    return RadiographError(Code.RADIOGRAPH_UNDECODABLE, f"it is {reason}.", fix="Copy or export the file again.")


def _several_frames(reason: str) -> RadiographError:
    return RadiographError(
        Code.RADIOGRAPH_SEVERAL_FRAMES, f"{reason}; a radiograph is one picture.", fix="Export the one that is meant."
    )
