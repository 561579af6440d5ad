"""The digest that identifies a bundle, over the names and contents of its files; nothing of the bundle is run."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

FOLDERS = ("configs", "docs", "models")
FILES = ("LICENSE", "lineage.json", "metrics.json")
PARTS = (*FOLDERS, *FILES)
CALIBRATION = "models/calibration.json"


def part_files(root: Path) -> Iterator[Path]:
    """Yield the files that belong to the bundle; other files in the folder are left out."""
    parts = [path for name in FOLDERS for path in (root / name).rglob("*")]
    yield from sorted(path for path in [*parts, *(root / name for name in FILES)] if path.is_file())


def content_digest(root: Path) -> str:
    """Return the SHA-256 over the names and contents of a bundle's files, hexadecimal."""
    total = sha256()
    for path in part_files(root):
        total.update(f"{path.relative_to(root).as_posix()}\t{file_digest(path)}\n".encode())
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of one file, hexadecimal."""
    total = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()
