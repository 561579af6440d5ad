"""A copy of a bundle: what is the bundle goes along, what somebody wrote beside it (a signature, results) does not."""

from pathlib import Path

from cxr_monai.bundle.digest import part_files
from cxr_monai.durable import copy_durably, make_folder


def copy_parts(root: Path, new: Path) -> None:
    """Copy a bundle's parts into a folder that is new, or empty."""
    make_folder(new)
    for path in part_files(root):
        copy_durably(path, new / path.relative_to(root))
