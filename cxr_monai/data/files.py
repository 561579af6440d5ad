"""Which files below a folder are images, by name; whether one can be read is ``radiograph``'s to say."""

from pathlib import Path

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".nii", ".nii.gz")


def image_files(root: Path) -> list[Path]:
    """Return the files below a folder that are named like images (``IMAGE_SUFFIXES``), sorted."""
    return sorted(path for path in root.rglob("*") if path.name.lower().endswith(IMAGE_SUFFIXES) and path.is_file())
