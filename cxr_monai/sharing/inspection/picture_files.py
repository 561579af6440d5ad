"""PNG and JPEG as their standards lay them out, from the first byte to the last: nothing before, between or behind.

A reader of another kind looks for its own marks anywhere in a file, most of all at its end, so a picture can be an
archive or a page too. The pixels are not decoded here; what follows from one part to the next is.
"""

import re
import zlib
from pathlib import Path

from cxr_monai.budget import check_time

LARGEST_PICTURE = 32 << 20
"""Bytes of a picture."""

_PNG = b"\x89PNG\r\n\x1a\n"
# PNG, third edition (W3C), 11.2 and 11.3; all but animation.
_CHUNKS = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP tEXt zTXt iTXt bKGD hIST pHYs sPLT eXIf tIME".split()
)
# ITU-T T.81, B.1.1.3: what has no length, and what may follow within the coded data.
_SCANNED = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
# The end of a ZIP file, which its readers look for in the last 64 KB.
_ZIP = b"PK\x05\x06"


def picture_problem(path: Path, png: bool) -> str:
    """Return what is wrong with a picture as a sentence; "" if nothing is.

    Args:
        path: of the file.
        png: it is to be PNG, else JPEG.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST_PICTURE + 1)
    if len(content) > LARGEST_PICTURE:
        return f"a picture has at most {LARGEST_PICTURE:,} bytes."
    try:
        end = _png_end(content) if png else _jpeg_end(content)
    except (ValueError, IndexError):
        return "it is no picture, whatever its name says, or a damaged one."
    if end != len(content):
        return "something follows the end of the picture."
    if _ZIP in content[-(1 << 16) - 22 :]:
        return "it is a picture and an archive at once."
    return ""


def _png_end(content: bytes) -> int:
    if not content.startswith(_PNG):
        raise ValueError("no PNG")
    place = len(_PNG)
    kinds: list[bytes] = []
    while not kinds or kinds[-1] != b"IEND":
        check_time(short=True)
        length, kind = int.from_bytes(content[place : place + 4]), content[place + 4 : place + 8]
        end = place + 12 + length
        if end > len(content) or kind not in _CHUNKS or (kind == b"IHDR") != (not kinds):
            raise ValueError("a chunk that is cut off, unknown, or not in its place")
        if zlib.crc32(content[place + 4 : end - 4]) != int.from_bytes(content[end - 4 : end]):
            raise ValueError("a chunk with another checksum")
        kinds.append(kind)
        place = end
    if b"IDAT" not in kinds:
        raise ValueError("no pixels")
    return place


def _jpeg_end(content: bytes) -> int:
    """Follow the segments (ITU-T T.81, B.1.1.4) up to the end of the image."""
    if content[:3] != b"\xff\xd8\xff":
        raise ValueError("no JPEG")
    place, scanned = 2, False
    while True:
        check_time(short=True)
        if content[place] != 0xFF:
            raise ValueError("no marker where one must be")
        while content[place] == 0xFF:
            place += 1
        marker = content[place]
        place += 1
        if marker == 0xD9:
            if not scanned:
                raise ValueError("no pixels")
            return place
        if marker < 0xC0 or 0xD0 <= marker <= 0xD8:
            raise ValueError("a marker out of place")
        place += int.from_bytes(content[place : place + 2])
        if marker == 0xDA:
            scanned = True
            next_marker = _SCANNED.search(content, place)
            if next_marker is None:
                raise ValueError("no end")
            place = next_marker.start()
