"""Which image format a file is, by its first bytes: the one rule for the reader, folder scans and ``manifest dicom``.

format_of(head)     # "PNG", "JPEG", "NIfTI", "DICOM"; None for any other content

DICOM is recognised by ``DICM`` at byte 128 (PS3.10 7.1) or, without a preamble, by a data set at byte 0 that can be an
image's: its first three elements have rising tags, from Rows (0028,0010) or a group before it, and each leads to the
next; explicit in either byte order, or implicit.
"""

import struct
import zlib

HEAD = 4096
"""How many first bytes decide the format; a shorter file has fewer."""

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"
GZIP_MAGIC = b"\x1f\x8b"

_PREAMBLE = 128
_DICOMDIR = b"1.2.840.10008.1.3.10\0"  # Media Storage Directory Storage (PS3.4 B.5)
_NIFTI_HEADER = 540  # bytes of the longer one, NIfTI-2's

# PS3.5 6.2; those with a 4-byte length after two reserved bytes (PS3.5 7.1.2), then those with a 2-byte length
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT = frozenset({
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
})  # fmt: skip
_GROUPS = range(0x0002, 0x0029)  # an image's data set begins at Rows (0028,0010) at the latest
_UNDEFINED = 0xFFFFFFFF
_ITEMS = {  # in a sequence of undefined length: an item, or the end
    "<": (b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"),
    ">": (b"\xff\xfe\xe0\x00", b"\xff\xfe\xe0\xdd"),
}
_ELEMENTS = 3  # that lead to one another are no chance


def format_of(head: bytes) -> str | None:
    """Return ``PNG``, ``JPEG``, ``NIfTI`` (also compressed) or ``DICOM`` (also a DICOMDIR); None for anything else.

    Args:
        head: the first ``HEAD`` bytes, or the whole file.

    >>> format_of(b"\\x89PNG\\r\\n\\x1a\\n"), format_of(b"GIF89a")
    ('PNG', None)
    """
    if head.startswith(PNG_MAGIC):
        return "PNG"
    if head.startswith(JPEG_MAGIC):
        return "JPEG"
    if is_nifti(_inflated(head) if head.startswith(GZIP_MAGIC) else head):
        return "NIfTI"
    return "DICOM" if is_dicom(head) else None


def is_nifti(head: bytes) -> bool:
    """Return whether these first bytes (348 or more, inflated) are a NIfTI-1 or NIfTI-2 header."""
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def is_dicom(head: bytes) -> bool:
    """Return whether these first bytes are DICOM, with a preamble or without."""
    if head[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
        return True
    return any(_is_data_set(head, order, explicit) for order, explicit in (("<", True), ("<", False), (">", True)))


def is_dicomdir(head: bytes) -> bool:
    """Return whether first bytes are a DICOMDIR's: the directory of a medium, without an image."""
    return head[_PREAMBLE : _PREAMBLE + 4] == b"DICM" and _DICOMDIR in head


def _inflated(head: bytes) -> bytes:
    """Return the first bytes of a gzip file, fewer if it is cut or damaged."""
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(head, _NIFTI_HEADER)
    except zlib.error:
        return b""


def _is_data_set(head: bytes, order: str, explicit: bool) -> bool:
    """Return whether a data set begins at byte 0, in one encoding (PS3.5 7.1)."""
    position, last = 0, 0
    for _ in range(_ELEMENTS):
        if position + 8 > len(head):
            return False
        group, element = struct.unpack_from(f"{order}HH", head, position)
        tag = group << 16 | element
        field = _value(head, position + 4, order, explicit)
        if field is None or tag <= last or (not last and group not in _GROUPS):
            return False
        start, length = field
        if element == 0 and length != 4:  # a group length (PS3.5 7.2)
            return False
        if length == _UNDEFINED:
            return head[start : start + 4] in _ITEMS[order]
        position, last = start + length, tag
    return True


def _value(head: bytes, position: int, order: str, explicit: bool) -> tuple[int, int] | None:
    """Return where an element's value begins and how long it is; None if that cannot be."""
    if not explicit:
        return position + 4, struct.unpack_from(f"{order}I", head, position)[0]
    representation = head[position : position + 2]
    if representation in _SHORT:
        return position + 4, struct.unpack_from(f"{order}H", head, position + 2)[0]
    if representation in _LONG and head[position + 2 : position + 4] == b"\0\0" and position + 8 <= len(head):
        return position + 8, struct.unpack_from(f"{order}I", head, position + 4)[0]
    return None
