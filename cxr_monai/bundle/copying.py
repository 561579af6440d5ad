"""A copy of a bundle: what is the bundle goes along, what somebody wrote beside it (a signature, results) does not."""

import shutil
from pathlib import Path

FOLDERS = ("configs", "docs", "models")
FILES = ("LICENSE", "lineage.json", "metrics.json")


def copy_parts(root: Path, new: Path) -> None:
    """Copy a bundle's parts into a folder that does not exist yet."""
    new.mkdir(parents=True)
    for name in FOLDERS:
        if (root / name).is_dir():
            shutil.copytree(root / name, new / name)
    for name in FILES:
        if (root / name).is_file():
            shutil.copy(root / name, new / name)
