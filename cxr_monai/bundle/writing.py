"""Writing a new bundle, whole or not at all: checked before the work, filled in a temporary folder, opened, renamed.

    check_new_bundle("COPY", [source.root], force)          # before the work: free, outside of the source, with room
    with new_bundle("COPY", source.root, force) as folder:  # holds a copy of the source's parts
        (folder / "models" / "calibration.json").write_bytes(content)

A copy is not what was signed and not what was measured: the list of files, its signature, the metrics and whatever
somebody put beside the parts of the source stay behind.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cxr_monai.bundle.bundle_folder import METADATA, Bundle
from cxr_monai.bundle.digest import part_files
from cxr_monai.durable import copy_durably, durable_folder, make_folder
from cxr_monai.outputs import bytes_of, check_new_folder

CONFIGURATION = ("configs", "docs", "LICENSE")
"""The parts of a bundle that a network with other weights takes over."""
COPIED = (*CONFIGURATION, "models", "lineage.json")
"""The parts of a bundle that a copy takes over."""


def check_new_bundle(out: str | Path, sources: Sequence[Path] = (), force: bool = False, room: int = 0) -> Path:
    """Check, before the work begins, that a bundle can be written; nothing is changed.

    Args:
        out: the new bundle's folder.
        sources: folders of the bundles that it is made from; it may lie in none of them.
        force: a bundle at ``out`` may be replaced.
        room: bytes that it needs beside those of its sources.

    Returns:
        ``out``.

    Raises:
        UsageError: ``output-exists``.
        StorageError: ``disk-full`` or ``write-failed``.
    """
    needed = room + sum(map(bytes_of, sources))
    for source in sources or (None,):
        check_new_folder(out, METADATA, force, needed, source)
    return Path(out)


@contextmanager
def new_bundle(out: str | Path, source: Path, force: bool = False, parts: Collection[str] = COPIED) -> Iterator[Path]:
    """Make a bundle of another one: the block changes a copy, which is opened and then takes its place.

    Args:
        out: the new bundle's folder.
        source: the bundle's folder that is copied; it stays as it is.
        force: a bundle at ``out`` is replaced once the new one is whole.
        parts: of the source that are copied, of ``COPIED``.

    Yields:
        the folder of the copy, beside ``out``.

    Raises:
        UsageError: ``output-exists``.
        BundleError: ``bundle-invalid`` or ``bundle-disagrees`` for what the block left; nothing is written.
        StorageError: ``disk-full`` or ``write-failed``; nothing is written.
    """
    with durable_folder(out, force) as folder:
        copy_parts(source, folder, parts)
        yield folder
        Bundle.open(folder)


def copy_parts(source: Path, folder: Path, parts: Collection[str] = COPIED) -> None:
    """Copy parts of a bundle into a folder, each file whole or not at all.

    Args:
        source: the bundle's folder.
        folder: is made if it is not there.
        parts: names of files and folders in the bundle.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    make_folder(folder)
    for path in part_files(source):
        name = path.relative_to(source)
        if name.parts[0] in parts and "__pycache__" not in name.parts:
            copy_durably(path, folder / name)
