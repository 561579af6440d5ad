"""What calls from Python give that commands do not: a manifest in memory, settings by keyword."""

import tempfile
from collections.abc import Collection
from pathlib import Path

from cxr_monai.data.manifest import Manifest, write_manifest
from cxr_monai.errors import Code, UsageError

_SET_OTHERWISE = {
    "manifest": "it is the argument 'manifest'",
    "output_dir": "it is the argument 'out'",
    "parent": "it is the argument 'parent'",
    "bundle_root": "it is the bundle's folder",
    "config_file": "it is the bundle's; name overlays with 'overlays'",
    "meta_file": "it is the bundle's",
    "logging_file": "the program's own log is used",
    "workflow_type": "it is a training",
}


def refuse_given(settings: Collection[str]) -> None:
    """Refuse settings of a configuration that a call from Python makes itself.

    Args:
        settings: the names of the settings that were given.

    Raises:
        UsageError: ``usage``, naming the first of them and what to give instead.
    """
    for name in settings:
        if name in _SET_OTHERWISE:
            raise UsageError(Code.USAGE, f"{name!r} is not a setting here: {_SET_OTHERWISE[name]}.")


def manifest_file(manifest: str | Path | Manifest, folder: Path) -> Path:
    """Return the file of a manifest; a table in memory is written to ``manifest.csv`` in a folder.

    Args:
        manifest: a file, or a table in memory.
        folder: is made where it is not there; an equal table that it has stays as it is.

    Raises:
        UsageError: ``output-exists`` where the folder has another ``manifest.csv``.
        StorageError: ``disk-full`` or ``write-failed``.
    """
    if not isinstance(manifest, Manifest):
        return Path(manifest)
    place = folder / "manifest.csv"
    if place.exists():
        with tempfile.TemporaryDirectory(prefix="cxr-monai-") as temporary:
            write_manifest(manifest, Path(temporary) / place.name)
            same = (Path(temporary) / place.name).read_bytes() == place.read_bytes()
        if not same:
            raise UsageError(
                Code.OUTPUT_EXISTS,
                f"{place} is another table than the one given.",
                fix="Name another folder, or write the table with 'write_manifest' and give its path.",
            )
        return place
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(manifest, place)
    return place
