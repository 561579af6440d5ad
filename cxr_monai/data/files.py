"""Which files below a folder are images, by name, and the list of those that could not be read."""

import csv
import io
import logging
from collections.abc import Sequence
from pathlib import Path

from cxr_monai.durable import write_durably

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".nii", ".nii.gz")


def image_files(root: Path) -> list[Path]:
    """Return the files below a folder that are images, sorted; hidden files are left out.

    A file named like an image (``IMAGE_SUFFIXES``) is taken unopened; of any other, its first bytes decide, so that the
    files of a CD (``IM0001``) are found. How many are none is logged.
    """
    files = [
        path
        for path in root.rglob("*")
        if not any(part.startswith(".") for part in path.relative_to(root).parts) and path.is_file()
    ]
    found = sorted(path for path in files if path.name.lower().endswith(IMAGE_SUFFIXES) or _starts_like_one(path))
    if len(found) < len(files):
        logger.info("%s: %d files are no images by their first bytes", root, len(files) - len(found))
    return found


def _starts_like_one(path: Path) -> bool:
    """Tell PNG, JPEG and DICOM (but no DICOMDIR) by the first bytes; what can't be opened is left to the reader."""
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError:
        return True
    if head[128:132] == b"DICM":
        return b"1.2.840.10008.1.3.10\0" not in head
    raw = head[:1] in (b"\x02", b"\x08") and head[1:2] == b"\0" and head[3:4] == b"\0"
    explicit_or_short = (head[4:6].isalpha() and head[4:6].isupper()) or head[5:8] == b"\0\0\0"
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) or (raw and explicit_or_short)


def write_errors(result: str | Path, errors: Sequence[tuple[str, str, str]]) -> Path:
    """Write ``<result>.errors.csv``, or remove an old one where nothing was left out; returns its path.

    Args:
        result: what the files are missing from.
        errors: image, stable code and reason of each.
    """
    path = errors_file(result)
    if errors:
        write_durably(path, errors_table(errors))
    else:
        path.unlink(missing_ok=True)
    return path


def errors_file(result: str | Path) -> Path:
    """Return where it stands which files a result lacks."""
    return Path(f"{result}.errors.csv")


def errors_table(errors: Sequence[tuple[str, str, str]]) -> bytes:
    """Return image, code and reason of each file as CSV."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", "code", "reason"])
    table.writerows(errors)
    return text.getvalue().encode()
