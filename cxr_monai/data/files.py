"""Which files below a folder are images, by name or content, and the list of those that could not be read."""

import csv
import io
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from cxr_monai.data.formats.sniffing import HEAD, format_of, is_dicomdir
from cxr_monai.durable import write_durably
from cxr_monai.plurals import counted

logger = logging.getLogger(__name__)

DICOM_SUFFIXES = (".dcm", ".dicom")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", *DICOM_SUFFIXES, ".nii", ".nii.gz")
LOOKED_FOR = f"looked for names that end in {', '.join(IMAGE_SUFFIXES)}, and into all others"

_ENDINGS_SHOWN = 3


def image_files(root: Path) -> list[Path]:
    """Return the files below a folder that are images, sorted; hidden files are left out.

    A file named like an image (``IMAGE_SUFFIXES``) is taken unopened; of any other, its first bytes decide, so that the
    files of a CD (``IM0001``) are found. How many are none is a warning in the log: one line.
    """
    files = [
        path
        for path in root.rglob("*")
        if not any(part.startswith(".") for part in path.relative_to(root).parts) and path.is_file()
    ]
    images = sorted(path for path in files if path.name.lower().endswith(IMAGE_SUFFIXES) or _starts_like_one(path))
    others = set(files).difference(images)
    if images and others:
        logger.warning("%s: passed over %s", root, _no_images(others))
    return images


def _starts_like_one(path: Path) -> bool:
    """Return whether the first bytes are an image's; True if it can't be opened, which the reader reports."""
    try:
        head = _head(path)
    except OSError:
        return True
    return format_of(head) is not None and not is_dicomdir(head)


def _no_images(paths: Collection[Path]) -> str:
    endings = Counter(path.suffix.lower() or path.name for path in paths)
    names = sorted(endings, key=lambda ending: (-endings[ending], ending))
    shown = ", ".join(names[:_ENDINGS_SHOWN]) + (", ..." if len(names) > _ENDINGS_SHOWN else "")
    clause = "that is no image" if len(paths) == 1 else "that are no images"
    return f"{counted(len(paths), 'file')} {clause} ({shown})"


def is_dicom_file(path: Path) -> bool:
    """Return whether a file is DICOM by its first bytes, or by its name (reading it then reports the damage).

    Raises:
        OSError: if it cannot be opened.
    """
    if not path.is_file():  # a pipe would wait for ever
        return False
    head = _head(path)
    return (format_of(head) == "DICOM" and not is_dicomdir(head)) or path.name.lower().endswith(DICOM_SUFFIXES)


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(HEAD)


def write_errors(result: str | Path, errors: Sequence[tuple[str, str, str]]) -> Path:
    """Write ``<result>.errors.csv``, or remove an old one where nothing was left out; returns its path.

    Args:
        result: the path of the result that lacks the files.
        errors: image, stable code and reason of each.
    """
    path = errors_file(result)
    if errors:
        write_durably(path, errors_table(errors))
    else:
        path.unlink(missing_ok=True)
    return path


def errors_file(result: str | Path) -> Path:
    """Return the path of the CSV of the files that a result lacks."""
    return Path(f"{result}.errors.csv")


def errors_table(errors: Sequence[tuple[str, str, str]]) -> bytes:
    """Return image, code and reason of each file as CSV."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", "code", "reason"])
    table.writerows(errors)
    return text.getvalue().encode()
