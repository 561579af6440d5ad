"""The image files that the inputs of a command name: files, folders and manifests."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cxr_monai.data.files import LOOKED_FOR, image_files
from cxr_monai.data.manifest import read_manifest
from cxr_monai.errors import Code, ManifestError


def names_are_identities(inputs: Sequence[str | Path]) -> bool:
    """Return whether all inputs are manifests of sources whose file names are identities (NIH)."""
    manifests = [path for path in map(Path, inputs) if _is_table(path)]
    return len(manifests) == len(inputs) and all(read_manifest(path, check_files=False).by_name for path in manifests)


def _is_table(path: Path) -> bool:
    return not path.is_dir() and path.name.lower().endswith((".csv", ".csv.gz"))


def gather_files(inputs: Sequence[str | Path], split: str | None = None) -> tuple[list[Path], list[str]]:
    """Return the image files of files, folders and manifests (``.csv``, ``.csv.gz``), and their names in the results.

    A file is named as it was given, a file of a folder by its path below that folder (below the folder's own name where
    several inputs are given), an image of a manifest as the manifest names it; by its path where that name is taken.

    Args:
        inputs: files, folders and manifests.
        split: takes one part of each manifest; None all rows.

    Raises:
        ManifestError: ``no-images`` for a folder without images, or the error of an invalid manifest.
        SplitError: ``split-invalid`` if a manifest has no such part.
    """
    files: list[Path] = []
    names: list[str] = []
    for entry in map(Path, inputs):
        if entry.is_dir():
            images = image_files(entry)
            if not images:
                raise ManifestError(Code.NO_IMAGES, f"no image below this folder ({LOOKED_FOR}).", where=entry)
            base = entry.parent if len(inputs) > 1 else entry
            files += images
            names += [path.relative_to(base).as_posix() for path in images]
        elif _is_table(entry):
            manifest = read_manifest(entry, check_files=False)
            manifest = manifest if split is None else manifest.part(split)
            files += manifest.paths()
            names += list(manifest.table["image"])
        else:
            files.append(entry)
            names.append(str(entry))
    # each name stands once in the results: the same file twice is one, files that share a name go by their paths
    names_by_file = dict(zip(files, names, strict=True))
    shared = {name for name, count in Counter(names_by_file.values()).items() if count > 1}
    return list(names_by_file), [str(path) if name in shared else name for path, name in names_by_file.items()]
