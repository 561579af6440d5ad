"""A data set becomes a manifest: what ``cxr-monai manifest SOURCE ROOT`` does, as a value or as files."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_monai.data.identifiers import alike_note
from cxr_monai.data.manifest import Manifest, boxes_path, build_manifest, readers_path, write_manifest
from cxr_monai.data.sources import SourceTable, load
from cxr_monai.data.sources.dicom import new_key, read_key, write_key
from cxr_monai.errors import Code, StorageError, UsageError
from cxr_monai.outputs import check_output
from cxr_monai.plurals import counted

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CollectedManifest:
    """A manifest and remarks on how it was made.

    Attributes:
        manifest: the table.
        notes: sentences: what was chosen, left out or emptied, with counts.
        boxes, readers: the files of boxes and of single readers' labels beside the manifest; None where the source has
            none.
    """

    manifest: Manifest
    notes: tuple[str, ...]
    boxes: Path | None = None
    readers: Path | None = None


def make_manifest(source: str, root: str | Path, out: str | Path | None = None, **options: Any) -> Manifest:
    """Make a manifest, the one table of images, of a data set. The images stay where they are.

    Args:
        source: ``folder`` (images and a CSV of labels), ``dicom`` (a tree of DICOM files), ``nih`` (NIH ChestX-ray14,
            and what `make_phantoms` writes), or another of `cxr_monai.data.sources.SOURCES`.
        root: the folder of the data set.
        out: also write the manifest, its record and its boxes: ``manifest.csv``. With ``dicom``, patient and study ids
            are hashed with a key beside it.
        options: of the source, such as ``labels="labels.csv", patient_column="mrn"`` of ``folder``; see ``read`` of
            ``cxr_monai.data.sources``. Also ``force=True`` (write over ``out``), ``key_file`` and ``keep_identifiers``.

    Returns:
        the manifest, valid; without a split: `split_manifest` makes one. What was chosen, left out or could not be read
        is logged as warnings.

    Raises:
        CxrError: ``source-invalid``, ``images-missing``, ``no-images``, ``manifest-invalid``, ``output-exists`` ...

    >>> make_manifest("folder", "radiographs", "manifest.csv", labels="labels.csv")  # doctest: +SKIP
    """
    collected = collect_manifest(source, root, out, **options)
    for note in collected.notes:
        logger.warning("%s", note)
    return collected.manifest


def collect_manifest(
    source: str,
    root: str | Path,
    out: str | Path | None = None,
    *,
    force: bool = False,
    key_file: str | Path | None = None,
    keep_identifiers: bool = False,
    **options: Any,
) -> CollectedManifest:
    """Make a manifest, and return it with remarks.

    Args:
        source, root, out: as of `make_manifest`.
        force: write over what is there.
        key_file: of ``dicom``: the key for the hashed ids; by default ``<out>.key``, which is made where it is not
            there. A key that nobody keeps where there is no ``out``.
        keep_identifiers: of ``dicom``: leave patient and study ids as they are.
        options: of the source's ``read``.

    Raises:
        CxrError: as of `make_manifest`.
    """
    module = load(source)
    place = None if out is None else Path(out)
    if place is not None:
        if not place.name.endswith((".csv", ".csv.gz")):
            raise UsageError(Code.USAGE, f"--out: a manifest's name ends in .csv or .csv.gz, not {place.name!r}.")
        check_output(place, force)
    key = None
    if source == "dicom":
        key = _Key.choose(place, key_file, keep_identifiers)
        options["key"] = key.key
    table: SourceTable = module.read(root, **options)
    manifest = build_manifest(
        table.table,
        table.root,
        table.label_version,
        key=table.key,
        patients=table.patients,
        labels_record=table.labels_record,
    )
    # DICOM files are checked in their own module, before identifiers are hashed
    alike = [] if key is not None else alike_note(manifest.table["patient_id"], manifest.table["source"])
    notes = [*table.notes, *alike, *([key.note] if key is not None else [])]
    if place is None:
        if table.errors is not None and len(table.errors):
            first = table.errors.iloc[0]
            notes.append(
                f"{counted(len(table.errors), 'file')} could not be read, the first: {first['image']} "
                f"[{first['code']}]: {first['reason']}; 'out' keeps the list of all"
            )
        return CollectedManifest(manifest, tuple(notes))
    errors = place.with_name(f"{place.name}.errors.csv")
    beside: dict[Path, bytes | None] = {errors: None}  # None: of an earlier run
    boxes = _add_companion(beside, boxes_path(place), table.boxes, force)
    readers = _add_companion(beside, readers_path(place), table.readers, force)
    if table.errors is not None and len(table.errors):
        beside[errors] = table.errors.to_csv(index=False, lineterminator="\n").encode()
        notes.append(f"{counted(len(table.errors), 'file')} could not be read: {errors}")
    if key is not None:
        key.save()
    try:
        write_manifest(manifest, place, beside)
    except StorageError:
        if key is not None:
            key.remove()
        raise
    return CollectedManifest(manifest, tuple(notes), boxes, readers)


def _add_companion(
    beside: dict[Path, bytes | None], path: Path, table: pd.DataFrame | None, force: bool
) -> Path | None:
    """Add a table to the files that are written beside a manifest, and return its place; None where there is none, and
    then one of an earlier manifest is deleted.
    """
    if table is not None or path.exists():
        check_output(path, force)
        beside[path] = None if table is None else table.to_csv(index=False, lineterminator="\n").encode()
    return None if table is None else path


@dataclass(frozen=True)
class _Key:
    """The key for hashed ids (None: ids stay), a sentence about it, and the file for a new one."""

    key: bytes | None
    note: str
    path: Path | None = None

    @classmethod
    def choose(cls, out: Path | None, key_file: str | Path | None, keep_identifiers: bool) -> "_Key":
        """Return the key of ``key_file``, of an earlier run beside ``out``, or a new one.

        Args:
            out: the manifest's file; a new key is not kept where None.
            key_file: an existing key.
            keep_identifiers: True leaves ids unhashed: there is no key.
        """
        if keep_identifiers:
            return cls(None, "patient and study ids are the hospital's own: this manifest is personal data")
        path = Path(key_file) if key_file else out and out.with_name(f"{out.name}.key")
        if path is None:
            return cls(new_key(), "ids are hashed with a key that is not kept: next time they are others")
        if key_file or path.exists():
            return cls(read_key(path), f"ids are hashed with the key in {path}")
        note = f"ids are hashed with a new key, {path}: keep it (the same ids come out again), and never share it"
        return cls(new_key(), note, path)

    def save(self) -> None:
        """Write a new key; one that is there is never replaced."""
        if self.key is not None and self.path is not None:
            write_key(self.key, self.path)

    def remove(self) -> None:
        """Delete a new key with which no manifest was made."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
