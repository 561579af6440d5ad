"""A copy of a bundle: what is the bundle goes along, what somebody wrote beside it (a signature, results) does not."""

import shutil
from pathlib import Path

from cxr_monai.bundle.digest import part_files


def copy_parts(root: Path, new: Path) -> None:
    """Copy a bundle's parts into a folder that is new, or empty."""
    new.mkdir(parents=True, exist_ok=True)
    for path in part_files(root):
        target = new / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
