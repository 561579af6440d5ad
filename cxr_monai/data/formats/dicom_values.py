"""Values of a DICOM header as plain text and numbers, malformed ones too.

No function here raises for a value that cannot be understood: text is then empty and a number NaN, and the caller
decides what that means. The errors at the end quote nothing of the header.
"""

import math
import re
import struct
from typing import Any

from cxr_monai.data.formats.dicom_library import BytesLengthException, Dataset, RawDataElement
from cxr_monai.errors import Code, RadiographError
from cxr_monai.plurals import counted

# what pydicom raises when it converts a value that is not of its kind
_UNREADABLE = (
    ValueError, TypeError, OverflowError, ArithmeticError, LookupError, NotImplementedError, AttributeError,
    OSError, EOFError, struct.error,
)  # fmt: skip


def value_of(header: Dataset, keyword: str) -> Any:
    """Return an attribute's value, None where it is absent; its first words where it cannot be converted.

    A binary number of impossible length, such as one byte of a word, is NaN.

    Args:
        header: the data set.
        keyword: pydicom's name of the attribute.
    """
    try:
        return header.get(keyword)
    except BytesLengthException:
        return math.nan
    except _UNREADABLE:
        raw = header.get_item(keyword)
        content = raw.value if isinstance(raw, RawDataElement) else None
        # one number of several that is not one spoils all for pydicom; the first may be good
        return content.decode("ascii", "replace").split("\\")[0] if isinstance(content, bytes) else None


def values_of(header: Dataset, keyword: str) -> list[Any]:
    """Return an attribute's values as a list, empty where there are none."""
    value = value_of(header, keyword)
    if value is None or value == "":
        return []
    if isinstance(value, (str, bytes, int, float)) or not hasattr(value, "__len__"):
        return [value]
    return list(value)


def text(header: Dataset, keyword: str) -> str:
    """Return a code string's first value in capitals, empty if there is none."""
    values = values_of(header, keyword)
    return str(values[0]).strip(" \0").upper() if values else ""


def numbers(header: Dataset, keyword: str) -> list[float]:
    """Return the values of a numeric attribute, NaN for a value that is no number; empty if it is absent or empty."""
    return [_number(value) for value in values_of(header, keyword)]


def first_number(header: Dataset, keyword: str) -> float | None:
    """Return the first value of a numeric attribute, NaN if it is no number; None if it is absent or empty."""
    values = numbers(header, keyword)
    return values[0] if values else None


def _number(value: Any) -> float:
    if isinstance(value, bytes):  # what pydicom could not convert; Python would take b"1" for 1
        return math.nan
    try:
        return float(value.strip(" \0") if isinstance(value, str) else value)
    except _UNREADABLE:
        return math.nan


def integer(header: Dataset, keyword: str, default: int | None = None) -> int:
    """Return an attribute as a whole number.

    Args:
        header: the data set.
        keyword: pydicom's name of the attribute.
        default: for a header without it; None refuses such a header.

    Raises:
        RadiographError: ``radiograph-undecodable`` if it is missing or no number.
    """
    number = first_number(header, keyword)
    if number is not None and math.isfinite(number):
        return int(number)
    if number is None and default is not None:
        return default
    raise undecodable(f"its header {'lacks' if number is None else 'has no number for'} {keyword}")


def frames_of(header: Dataset) -> int:
    """Return Number of Frames; 1 where it is missing or impossible, as DCMTK takes it."""
    number = first_number(header, "NumberOfFrames")
    return int(number) if number is not None and math.isfinite(number) and number >= 1 else 1


def samples_of(header: Dataset) -> int:
    """Return Samples per Pixel; 1 where it is missing, as DCMTK takes it."""
    return integer(header, "SamplesPerPixel", 1)


def code(header: Dataset, keyword: str) -> str:
    """Return a code that can be quoted. With a damaged length, an attribute holds those after it: the patient's."""
    value = text(header, keyword)
    return value if re.fullmatch(r"[A-Z]{0,6}", value) else "no code"


def plain_text(header: Dataset, keyword: str) -> str:
    """Return an attribute's first value as it is written, empty where it is longer than 64 letters (PS3.5 6.2: LO).

    With a damaged length, an attribute holds those after it, the patient's name among them: their tags are not
    printable, and such a value is empty.
    """
    values = values_of(header, keyword)
    value = values[0].strip(" \0") if values and isinstance(values[0], str) else ""
    return value if value.isprintable() and len(value) <= 64 else ""


def items_of(header: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence, empty where it is absent, empty or no sequence."""
    return [item for item in values_of(header, keyword) if isinstance(item, Dataset)]


def undecodable(reason: str) -> RadiographError:
    """Return the error for a file that contradicts itself or the standard."""
    return RadiographError(Code.RADIOGRAPH_UNDECODABLE, f"{reason}.", fix="Export the file again.")


def truncated(reason: str) -> RadiographError:
    """Return the error for a file that ends too early."""
    return RadiographError(Code.RADIOGRAPH_TRUNCATED, f"{reason}.", fix="Copy or download the file again.")


def several_frames(frames: int) -> RadiographError:
    """Return the error for a file of several pictures."""
    return RadiographError(
        Code.RADIOGRAPH_SEVERAL_FRAMES,
        f"it has {counted(frames, 'frame')}; a radiograph is one picture.",
        fix="Export the frame that is meant.",
    )
