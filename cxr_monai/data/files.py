"""Which files below a folder are images, by name, and the list of those that could not be read."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from cxr_monai.durable import write_durably

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".nii", ".nii.gz")


def image_files(root: Path) -> list[Path]:
    """Return the files below a folder that are named like images (``IMAGE_SUFFIXES``), sorted."""
    return sorted(path for path in root.rglob("*") if path.name.lower().endswith(IMAGE_SUFFIXES) and path.is_file())


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
