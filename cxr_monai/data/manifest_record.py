"""The record beside a manifest, ``M.csv.json``: its root, whose labels it has, how its split came about.

    record = read_record(Path("manifest.csv"))
    record.root, record.label_version, record.split.scheme

A manifest that is joined of several (`cxr_monai.data.multi_source`) has the record of each among its ``members``.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from cxr_monai.data.label_record import LabelRecord
from cxr_monai.errors import Code, ManifestError, SettingError
from cxr_monai.strict_json import parse_strictly

Key = Literal["path", "name"]
Patients = Literal["unknown", "assumed", "known"]
"""Whether a manifest's patients are known, the least certain first."""


@dataclass(frozen=True)
class SplitRecord:
    """How the ``split`` (or ``fold``) column came about.

    Attributes:
        scheme: ``official``, ``lists``, ``random``, ``kfold``; ``joined`` where several manifests are read as one, each
            with a split of its own; ``edited`` if the column is not what its record says.
        seed: of the patients' assignment; None where nothing was drawn.
        digest: `cxr_monai.data.manifest.split_digest` of the table.
        details: what else made the split: lists' names, fractions, k.
    """

    scheme: str
    seed: int | None
    digest: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Member:
    """One of the manifests that a joined one is made of, as its own record says.

    Attributes:
        name: the first folder of its images in the joined table.
        root: the folder that the rest of ``image`` is relative to.
        label_version, split, key, patients, labels_record: as of `cxr_monai.data.manifest.Manifest`.
    """

    name: str
    root: Path
    label_version: str
    split: SplitRecord | None = None
    key: Key = "path"
    patients: Patients = "known"
    labels_record: LabelRecord | None = None


@dataclass(frozen=True)
class Record:
    """Content of ``M.csv.json``; its roots are absolute, or relative to the manifest's folder.

    A key of None: the file was written before there was one.
    """

    root: str | Path = "."
    label_version: str = "local"
    split: SplitRecord | None = None
    key: Key | None = "path"
    patients: Patients = "known"
    labels_record: LabelRecord | None = None
    members: tuple[Member, ...] = ()

    def content(self, folder: Path) -> bytes:
        """Return the file for a manifest in this folder; a root that holds the folder is written relative to it."""
        content: dict[str, Any] = _one_as_json(self, folder)
        if self.members:
            content["members"] = [{"name": member.name, **_one_as_json(member, folder)} for member in self.members]
        return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def record_path(path: Path) -> Path:
    """Return where the record of a manifest is.

    >>> record_path(Path("manifest.csv")).name
    'manifest.csv.json'
    """
    return path.with_name(path.name + ".json")


def read_record(path: Path) -> Record:
    """Read the record of a manifest; without one, its root is its folder and the label version ``local``.

    Args:
        path: the manifest's.

    Raises:
        ManifestError: ``manifest-invalid`` if the record is not one.
    """
    file = record_path(path)
    if not file.exists():
        return Record()
    try:
        content = parse_strictly(file.read_bytes())
        members = tuple(
            Member(str(one["name"]), **_one_of_json(one) | {"root": Path(one["root"])})
            for one in content.get("members", [])
        )
        return Record(**_one_of_json(content), members=members)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ManifestError(
            Code.MANIFEST_INVALID,
            f"the manifest's record is not what 'cxr-monai manifest' writes ({error}).",
            fix="Restore it, or delete it if the images lie beside the manifest.",
            where=file,
        ) from error


def several_roots(names: Sequence[str], root: str | Path) -> SettingError:
    """Return the error for one folder of images where several manifests have one each.

    Args:
        names: of the manifests.
        root: the folder that was given.
    """
    return SettingError(
        Code.SETTING_INVALID,
        f"one folder of images was given ({root}), and {len(names)} manifests are read ({', '.join(names)}), "
        "each with a root of its own.",
        fix="Leave dataset_dir (--dataset_dir, --root) out; where a root has moved, correct it in M.csv.json.",
    )


def _one_as_json(record: Record | Member, folder: Path) -> dict[str, Any]:
    root = os.path.realpath(record.root)
    content: dict[str, Any] = {
        "root": os.path.relpath(root, folder) if folder.is_relative_to(root) else str(record.root),
        "label_version": record.label_version,
        "key": record.key,
        "split": asdict(record.split) if record.split else None,
    }
    if record.patients != "known":
        content["patients"] = record.patients
    if record.labels_record is not None:
        content["labels"] = record.labels_record.to_json()
    return content


def _one_of_json(content: Mapping[str, Any]) -> dict[str, Any]:
    key, patients = content.get("key"), content.get("patients", "known")
    if key not in (None, "path", "name"):
        raise ValueError(f'"key" is {key!r}, and is "path" or "name"')
    if patients not in get_args(Patients):
        raise ValueError(f'"patients" is {patients!r}, and is one of {get_args(Patients)}')
    return {
        "root": os.fspath(content.get("root", ".")),
        "label_version": str(content.get("label_version", "local")),
        "split": SplitRecord(**content["split"]) if content.get("split") else None,
        "key": key,
        "patients": patients,
        "labels_record": LabelRecord.from_json(content["labels"]) if content.get("labels") else None,
    }
