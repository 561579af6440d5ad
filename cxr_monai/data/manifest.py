"""The manifest: the one table of images that every part reads and no part bypasses.

A CSV (``.gz`` allowed), one row an image::

    image,patient_id,study_id,view,age,sex,source,split,fold,Atelectasis,Cardiomegaly,...
    images_001/00000001_000.png,1,1_000,PA,57,M,nih,train,,0,1,...

``image`` is relative to the manifest's root. Every column that is not in `RESERVED` is a finding: ``1`` present,
``0`` absent, empty unknown, which is never 0: losses and metrics mask it. Beside ``M.csv`` stands ``M.csv.json`` with
the root, the label version, what tells images apart (``key``), the record of the split, how a data set's labels became
1, 0 and unknown (``labels``), and whether patients are known (``patients``); see `cxr_monai.data.manifest_record`.
Several manifests are read as one by `cxr_monai.data.multi_source`. Validation happens once, on reading
(`read_manifest`, `build_manifest`), and reports all problems together: a `Manifest` is valid.

    manifest = read_manifest("manifest.csv")
    train = manifest.part("train")
    train.paths(), train.labels(["Mass", "Nodule"])     # files; float32 [N, 2] with NaN where unknown
"""

import gzip
import hashlib
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from cxr_monai.data.columns import IMAGE, find_column
from cxr_monai.data.label_record import LabelRecord
from cxr_monai.data.manifest_record import (
    Key,
    Member,
    Patients,
    Record,
    SplitRecord,
    read_record,
    record_path,
    several_roots,
)
from cxr_monai.data.matching import examples
from cxr_monai.data.tables import MANIFEST, nameless, read_cells
from cxr_monai.data.validation import RESERVED, below_roots, validate
from cxr_monai.durable import write_together
from cxr_monai.errors import Code, ManifestError, SplitError, StorageError
from cxr_monai.schemes import LabelScheme

__all__ = [
    "RESERVED",
    "Key",
    "Manifest",
    "Member",
    "SplitRecord",
    "boxes_path",
    "build_manifest",
    "file_names",
    "find_boxes",
    "read_manifest",
    "readers_path",
    "split_digest",
    "under",
    "write_manifest",
]

_NIH_VERSIONS = ("nih-v2020", "nih-2017", "nih-other")


@dataclass(frozen=True, eq=False)
class Manifest:
    """A valid table of images; made by `read_manifest` or `build_manifest`, changed by `dataclasses.replace`.

    Attributes:
        table: RangeIndex; the columns of `RESERVED` (``fold`` may be absent), all text with ``""`` for unknown, but
            ``age`` in years (float, NaN unknown) and ``fold`` (Int64, NA none); and one float column a finding, with 1
            present, 0 absent, NaN unknown.
        root: the absolute folder that ``image`` is relative to.
        label_version: whose labels these are: ``nih-v2020``, ``nih-2017``, ``local``.
        split: how the split came about; None if there is none.
        key: ``name`` if the source guarantees that a file name is one image (NIH), so that other tables may name it
            in other folders; else ``path``. See `cxr_monai.data.matching`.
        patients: ``unknown`` if the data set does not tell whose films they are: then ``patient_id`` is one per image,
            splits by patient are refused, and intervals over patients are too narrow. ``assumed`` if it does not, and
            the user says that each film is of another patient: it can be split, but proves no patients to be others.
        labels_record: how a data set's labels became 1, 0 and unknown; None where no adapter recorded it.
        members: the manifests that this one is joined of (`cxr_monai.data.multi_source`); empty for one of its own.
            Images of a member are named ``<name>/<its own path>``, and lie below the member's own root; ``root`` is
            then the folder that holds all roots.
        views: what `cxr_monai.data.view_selection.of_views` chose; empty for all images.
    """

    table: pd.DataFrame
    root: Path
    label_version: str
    split: SplitRecord | None = None
    key: Key = "path"
    patients: Patients = "known"
    labels_record: LabelRecord | None = None
    members: tuple[Member, ...] = ()
    views: str = ""

    @property
    def roots(self) -> dict[str, Path]:
        """The absolute folder of each first folder of ``image``; a manifest of its own has one, of ``""``."""
        return {member.name: member.root for member in self.members} or {"": self.root}

    @property
    def by_name(self) -> bool:
        """Whether file names are identities."""
        return self.key == "name"

    @property
    def findings(self) -> tuple[str, ...]:
        """The findings, in the table's order."""
        return tuple(column for column in self.table.columns if column not in RESERVED)

    def __len__(self) -> int:
        return len(self.table)

    def paths(self) -> list[Path]:
        """Return each image's absolute path, in the table's order."""
        roots = self.roots
        return [below_roots(image, roots) for image in self.table["image"]]

    def path_of(self, image: str) -> Path:
        """Return the absolute path of an image of the table."""
        return below_roots(image, self.roots)

    def labels(self, findings: Sequence[str] | None = None) -> np.ndarray:
        """Return float32 [N, F]: 1 present, 0 absent, NaN unknown; F in the order asked for, by default the table's.

        Raises:
            ManifestError: ``unknown-finding``, listing the findings that the manifest has.
        """
        names = list(self.findings if findings is None else findings)
        unknown = [name for name in names if name not in self.findings]
        if unknown:
            raise ManifestError(
                Code.UNKNOWN_FINDING,
                f"the manifest has no finding {', '.join(map(repr, unknown))}; it has {', '.join(self.findings)}.",
            )
        return self.table[names].to_numpy(dtype=np.float32)

    def part(self, split: str) -> "Manifest":
        """Return the rows of one split.

        Raises:
            SplitError: ``split-invalid`` if there are none, listing the splits that there are.
        """
        rows = self.table[self.table["split"] == split]
        if rows.empty:
            counts = self.table["split"].value_counts()
            available = (
                ", ".join(f"{count:,} {name or 'without a split'}" for name, count in counts.items()) or "no rows"
            )
            raise SplitError(
                Code.SPLIT_INVALID,
                f"the manifest has no images in the split {split!r}; it has {available}.",
                fix="Make a split with 'cxr-monai split MANIFEST --scheme random' (or official, lists).",
            )
        return replace(self, table=rows.reset_index(drop=True))


def build_manifest(
    table: pd.DataFrame,
    root: str | Path,
    label_version: str,
    *,
    split: SplitRecord | None = None,
    key: Key = "path",
    patients: Patients = "known",
    labels_record: LabelRecord | None = None,
    check_files: bool = False,
) -> Manifest:
    """Validate a table made in memory.

    Args:
        table: at least ``image``, ``patient_id`` and one finding (0, 1, NaN); the other reserved columns but ``fold``
            are added, empty, where they are missing. Ids may be numbers.
        root: the folder that ``image`` is relative to.
        label_version: whose labels these are.
        split: how the table's ``split`` column came about.
        key: ``name`` if the source guarantees unique file names.
        patients: ``unknown`` if nobody knows whose films they are; see `Manifest`.
        labels_record: how the labels came about.
        check_files: look for every image on disk.

    Raises:
        ManifestError: everything that is wrong, with row numbers as in the CSV that would be written (header = line 1).

    >>> table = pd.DataFrame({"image": ["a.png", "b.png"], "patient_id": [1, 2], "Mass": [1.0, np.nan]})
    >>> manifest = build_manifest(table, "radiographs", "local")
    >>> manifest.findings, manifest.labels(["Mass"]).tolist()
    (('Mass',), [[1.0], [nan]])
    """
    absent = [name for name in RESERVED if name not in {*table.columns, "image", "patient_id", "fold"}]
    table = table.assign(**dict.fromkeys(absent, ""))
    table = table.set_axis(pd.RangeIndex(2, len(table) + 2), axis=0)
    root = Path(os.path.abspath(root))
    valid = validate(table, root, check_files, path=None)
    _require_unique_names(valid, key, None)
    return Manifest(valid, root, label_version, split, key, patients, labels_record)


def read_manifest(
    path: str | Path,
    *,
    root: str | Path | None = None,
    check_files: bool = True,
    scheme: LabelScheme | None = None,
    match_names: bool = False,
) -> Manifest:
    """Read and validate ``M.csv`` or ``M.csv.gz`` with its ``.json``.

    Args:
        path: the table. Without its ``.json``, the root is its folder and the label version ``local``.
        root: where the images are, instead of what the ``.json`` says.
        check_files: look for every image on disk.
        scheme: its labels become columns of the table, see `under`.
        match_names: the user's word that file names are identities when other tables are joined to this one.

    Returns:
        The manifest; if the split is not the recorded one (someone edited the table), its record has the
        scheme ``edited``, the digest of the present table, and the old record in ``details["recorded"]``.

    Raises:
        SettingError: ``setting-invalid`` for a root where the manifest is joined of several, which have their own.
        ManifestError: ``manifest-not-found``; ``patient-leak`` or ``images-missing`` where that is all that is wrong;
            else ``manifest-invalid``: everything that is wrong, each with its line (header = line 1);
            ``unknown-finding`` if the scheme needs findings that the table lacks.
    """
    path = Path(path)
    record = read_record(path)
    if record.members and root is not None:
        raise several_roots([member.name for member in record.members], root)
    split, key = record.split, record.key
    root = Path(os.path.abspath(path.parent / record.root if root is None else root))
    members = tuple(replace(one, root=Path(os.path.abspath(path.parent / one.root))) for one in record.members)
    roots = {member.name: member.root for member in members} or root
    table = validate(_parse(path), roots, check_files, path=path)
    if key is None:  # written before there was a key: NIH's names are identities all the same
        key = "name" if record.label_version in _NIH_VERSIONS and file_names(table["image"]).is_unique else "path"
    _require_unique_names(table, key, path)
    if split and split.digest != (digest := split_digest(table)):
        split = SplitRecord("edited", None, digest, {"recorded": asdict(split)})
    key = "name" if match_names else key
    manifest = Manifest(table, root, record.label_version, split, key, record.patients, record.labels_record, members)
    return manifest if scheme is None else under(manifest, scheme, path)


def under(manifest: Manifest, scheme: LabelScheme, path: Path | None = None) -> Manifest:
    """Return the manifest with a label scheme's labels as columns of findings.

    A column that has a label's name already is replaced where the label is that finding (against normal images, it is
    unknown in more of them); the findings that groups are made of stay.

    Args:
        manifest: the table.
        scheme: the labels.
        path: the manifest's file, for messages.

    Raises:
        ManifestError: ``unknown-finding`` if the table lacks findings that the labels are made of; ``manifest-invalid``
            if it has a column of a label's name that means something else.
    """
    if not scheme.derived:
        return manifest
    missing = [name for name in scheme.needed if name not in manifest.findings]
    if missing:
        raise ManifestError(
            Code.UNKNOWN_FINDING,
            f"the label scheme {scheme.name!r} needs {', '.join(missing)}, and the manifest has "
            f"{', '.join(manifest.findings)}.",
            fix='Give a scheme whose "findings" are those of the manifest (docs/labels.md).',
            where=path,
        )
    clashing = [name for name in scheme.derived if name in {*RESERVED, *manifest.findings}.difference(scheme.findings)]
    if clashing:
        raise ManifestError(
            Code.MANIFEST_INVALID,
            f"it has columns of its own called {', '.join(clashing)}, "
            f"which the label scheme {scheme.name!r} would make.",
            fix="Rename them, or the groups.",
            where=path,
        )
    derived = scheme.derive(manifest.labels(), manifest.findings, scheme.derived)
    return replace(manifest, table=manifest.table.assign(**dict(zip(scheme.derived, derived.T, strict=True))))


def write_manifest(manifest: Manifest, path: str | Path, beside: Mapping[Path, bytes | None] | None = None) -> None:
    """Write ``path`` (``.csv`` or ``.csv.gz``) and ``path.json``: both or neither, the same bytes every time.

    The root is stored relative where the manifest lies inside it (such a folder can be moved), else absolute.

    Args:
        manifest: the table.
        path: the table's file.
        beside: contents of further files to write with it; None deletes an existing file.

    Raises:
        ManifestError: ``manifest-invalid`` if the name is not that of a CSV.
        StorageError: ``disk-full`` or ``write-failed``; what was there before is intact.
    """
    unresolved, path = path, Path(os.path.realpath(path))
    if not path.name.endswith((".csv", ".csv.gz")):
        raise ManifestError(Code.MANIFEST_INVALID, "a manifest's name ends in .csv or .csv.gz.", where=path)
    table = manifest.table.assign(
        age=[f"{age:g}" if age == age else "" for age in manifest.table["age"]],
        **{name: manifest.table[name].astype("Int8") for name in manifest.findings},
    )
    content = table.to_csv(index=False, lineterminator="\n").encode()
    if path.suffix == ".gz":
        content = gzip.compress(content, compresslevel=6, mtime=0)
    record = Record(
        manifest.root, manifest.label_version, manifest.split, manifest.key, manifest.patients,
        manifest.labels_record, manifest.members,
    )  # fmt: skip
    # the record first: a record without its table shows at once, a table with the wrong root would not
    beside = {**(beside or {}), record_path(path): record.content(path.parent)}
    try:
        write_together(path, content, beside)
    except StorageError as error:
        error.where = str(unresolved)
        raise


def boxes_path(manifest: str | Path) -> Path:
    """Return where a manifest's boxes are written: ``M.boxes.csv`` beside ``M.csv`` or ``M.csv.gz``.

    >>> boxes_path("data/manifest.csv.gz").name
    'manifest.boxes.csv'
    """
    return _companion(manifest, "boxes")


def readers_path(manifest: str | Path) -> Path:
    """Return where single readers' labels are written: ``M.readers.csv`` beside ``M.csv`` or ``M.csv.gz``.

    >>> readers_path("data/manifest.csv").name
    'manifest.readers.csv'
    """
    return _companion(manifest, "readers")


def _companion(manifest: str | Path, kind: str) -> Path:
    path = Path(manifest)
    return path.with_name(f"{path.name.removesuffix('.gz').removesuffix('.csv')}.{kind}.csv")


def find_boxes(manifest: str | Path) -> Path | None:
    """Return the path of a manifest's boxes: ``M.boxes.csv``, else ``boxes.csv`` (the earlier name); None if none."""
    boxes = boxes_path(manifest)
    return next((path for path in (boxes, boxes.with_name("boxes.csv")) if path.is_file()), None)


def split_digest(table: pd.DataFrame, column: Literal["split", "fold"] = "split") -> str:
    """Return the SHA-256 (hex) over the sorted lines ``key<TAB>split<LF>``.

    The key is the image's file name where those are unique in the table, else its relative path; so the digest is the
    same on every machine, wherever the images lie.

    Args:
        table: with ``image`` and the column.
        column: ``split`` or ``fold``.

    >>> split_digest(pd.DataFrame({"image": ["b.png", "a.png"], "split": ["test", "train"]}))[:12]
    '2a38036c2ee8'
    """
    names = file_names(table["image"])
    keys = names if names.is_unique else table["image"]
    values = table[column].astype("str").fillna("")
    lines = sorted(f"{key}\t{value}\n" for key, value in zip(keys, values, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def file_names(images: pd.Series) -> pd.Series:
    """Return the last part of each path."""
    return images.str.rpartition("/")[2]


def _require_unique_names(table: pd.DataFrame, key: Key, path: Path | None) -> None:
    """Refuse a table whose record has the key ``name`` though file names repeat."""
    names = file_names(table["image"])
    twice = names.duplicated(keep=False)
    if key == "name" and twice.any():
        images = table.loc[names == names[twice].iloc[0], "image"]
        raise ManifestError(
            Code.MANIFEST_INVALID,
            f'the record says that a file name is one image ("key": "name"), and {names[twice].nunique():,} names '
            f"stand for several: {examples(list(images))}.",
            fix='Correct the table, or write "key": "path" into the record beside it.',
            where=path,
        )


def _parse(path: Path) -> pd.DataFrame:
    """Read the CSV as text, indexed by line; findings and short vocabularies as categories, which cost little."""
    if not path.is_file():
        raise ManifestError(
            Code.MANIFEST_NOT_FOUND,
            "there is no such manifest.",
            fix="Make one with 'cxr-monai manifest nih ROOT --out manifest.csv' (or folder, dicom).",
            where=path,
        )
    wide = {"image", "patient_id", "study_id"}
    table = read_cells(path, MANIFEST, lambda name: "str" if name in wide else "category")
    if words := nameless(table):
        raise ManifestError(
            Code.MANIFEST_INVALID,
            f"{words}.",
            fix=f"A manifest has the columns {', '.join(RESERVED[:-1])} and one for each finding.",
            where=path,
        )
    _refuse_other_tables(list(table.columns), path)
    return table


def _refuse_other_tables(columns: Sequence[str], path: Path) -> None:
    """Refuse a table that is no manifest but NIH's, labels or predictions, naming the command that reads it."""
    lacking = [name for name in RESERVED if name not in (*columns, "fold")]
    if not {"study_id", "source", "split"} <= {*lacking} or (image := find_column(columns, IMAGE)) is None:
        return
    if find_column(columns, ("findinglabels",)) is not None:
        advice = "It looks like NIH's own table: cxr-monai manifest nih ROOT --out manifest.csv"
    elif any(name.startswith("prob_") for name in columns):
        advice = "It looks like predictions, which 'cxr-monai evaluate' takes as --predictions"
    else:
        advice = (f"It looks like a table of labels (its images are in {image!r}); make a manifest of it: cxr-monai "
                f"manifest folder ROOT --labels {shlex.quote(str(path))} --out manifest.csv, where ROOT is the folder "
                "of the images")  # fmt: skip
    raise ManifestError(
        Code.MANIFEST_INVALID,
        f"it is no manifest: it has no {', '.join(lacking)}; its columns are {', '.join(columns)}.",
        fix=f"{advice}.",
        where=path,
    )
