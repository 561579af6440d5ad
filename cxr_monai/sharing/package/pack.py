"""Pack a bundle for another hospital: complete, without anything private, the same content always the same bytes.

packed = pack_bundle("OUT/bundle", "share", metrics="evaluation", name="cxr-a")      # share/cxr-a-0.1.0.zip

Files beside the parts of a bundle (``cxr_monai.bundle.digest``) are not packed. One error names everything that is
missing; private texts, and whatever an inspection at the other hospital would refuse, are refused here.
"""

import json
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_monai.bundle.component_names import incompatible
from cxr_monai.bundle.digest import CALIBRATION, FILES, FOLDERS, content_digest, file_digest
from cxr_monai.completion import require_complete, require_own
from cxr_monai.data.manifest import read_manifest
from cxr_monai.durable import copy_durably, durable_file, storage_error, write_durably
from cxr_monai.errors import BundleError, Code, SharingError
from cxr_monai.gate.storage import read_gate
from cxr_monai.outputs import bytes_of, check_folder
from cxr_monai.plurals import be, counted
from cxr_monai.sharing.export.task_names import default_name
from cxr_monai.sharing.inspection.bundle_inspection import Inspection, inspect_bundle
from cxr_monai.sharing.inspection.remarks import shortened
from cxr_monai.sharing.package.archive import write_archive
from cxr_monai.sharing.package.file_list import FILE_LIST, PACKED_METRICS, PackedContents, walk_files
from cxr_monai.sharing.package.privacy import Identifiers, pictures_below, search_private_texts, training_indexes
from cxr_monai.strict_json import parse_strictly

CARDS = ("docs/card.md", "docs/README.md")
_EVALUATE = "'cxr-monai evaluate --predictions P --manifest M --split test --out DIR' makes them; then --metrics DIR"


@dataclass(frozen=True)
class Packed:
    """The result of packing.

    Attributes:
        path: the archive.
        contents: its manifest.
        digest: of the archive, SHA-256.
        notes: sentences for the person who packed: files that were left out or could not be searched.
    """

    path: Path
    contents: PackedContents
    digest: str
    notes: tuple[str, ...]


def pack_bundle(
    bundle: str | Path,
    out: str | Path,
    *,
    metrics: str | Path | None = None,
    manifest: str | Path | None = None,
    name: str | None = None,
    version: str | None = None,
    change: str | None = None,
    allow: Collection[str] = (),
) -> Packed:
    """Pack a bundle.

    Args:
        bundle: its folder, which is not changed.
        out: the folder that the archive is written into, as ``NAME-VERSION.zip``.
        metrics: what ``cxr-monai evaluate`` wrote for this bundle, its folder or ``metrics.json``; goes into
            ``metrics.json``. Not needed where the bundle has that.
        manifest: of the data that the bundle was made from: its identifiers and names of images are searched for.
        name: what it is installed as; where None the metadata's name in lower case, ending in ``-classification``.
        version: written into the packed metadata; the metadata's own where None.
        change: what is new in this version, for the metadata's changelog.
        allow: texts that look private and are not.

    Raises:
        SharingError: ``bundle-incomplete`` with all that is missing, ``bundle-private`` with file, place and text,
            ``bundle-refused`` with what an inspection refuses, ``archive-invalid`` for a name or version that is none.
        GateError: ``gate-invalid`` for a damaged gate.
        BundleError: ``bundle-invalid`` if the folder is none, ``bundle-disagrees`` if the metrics are another
            bundle's, ``output-exists`` if there is an archive of this name with another content.
        EvaluationError: ``result-incomplete`` for metrics that were not written to their end.
        StorageError: ``disk-full`` or ``write-failed``.
        ManifestError: whatever is wrong with the manifest.
    """
    root, folder = Path(bundle).resolve(), Path(out).resolve()
    if not (root / "configs").is_dir():
        raise BundleError(Code.BUNDLE_INVALID, "no bundle: it has no folder 'configs'.", where=bundle)
    check_folder(folder, (), room=2 * bytes_of(root))
    identifiers = Identifiers.of(read_manifest(manifest, check_files=False)) if manifest is not None else None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".packing-") as temporary:
            staged = Path(temporary) / "bundle"
            refuse_training_index(root)
            notes = _stage(root, staged)
            read_gate(staged)  # a damaged one is an error here, not at the other hospital
            if metrics is not None:
                _add_metrics(root, staged, Path(metrics))
            elif (staged / PACKED_METRICS).is_file():
                require_own(_read(staged / PACKED_METRICS), root / PACKED_METRICS, "cxr-monai evaluate")
            metadata = _set_version(staged, version, change)
            refuse_incomplete(staged, root)
            refuse_private(staged, identifiers, allow)
            refuse_inspected(staged, root)
            chosen = name if name is not None else default_name(str(metadata["name"]), "-")
            contents = PackedContents.of(staged, chosen, str(metadata["version"]), content_digest(root))
            write_durably(staged / FILE_LIST, contents.to_bytes())
            path = _place(staged, folder / f"{contents.name}-{contents.version}.zip")
            notes += _unsearched(staged, identifiers)
    except OSError as error:
        raise storage_error(error, folder) from error
    return Packed(path, contents, file_digest(path), tuple(notes))


def _stage(root: Path, staged: Path) -> list[str]:
    """Copy the bundle's files, links refused; return a note on files that are left out."""
    parts = {*FOLDERS, *FILES}
    staged.mkdir()
    for name in walk_parts(root):
        copy_durably(root / name, staged / name)
    excluded = sorted(entry.name for entry in root.iterdir() if entry.name not in parts)
    return [f"Not part of the bundle, and left out: {', '.join(map(shortened, excluded))}."] if excluded else []


def walk_parts(root: Path) -> Iterator[str]:
    """Yield the names of the files that are the bundle.

    Raises:
        SharingError: ``bundle-altered`` for links, devices and empty folders.
    """
    for name in sorted(walk_files(root)):
        if name.split("/")[0] in FOLDERS or name in FILES:
            yield name


def _add_metrics(root: Path, staged: Path, metrics: Path) -> None:
    path = metrics / PACKED_METRICS if metrics.is_dir() else metrics
    content = _read(path)
    require_complete(content, path, "cxr-monai evaluate")
    made_by = _provenance(content).get("bundle")
    digests = {content_digest(root)}
    calibration = root / CALIBRATION
    if calibration.is_file():  # fitted on predictions of the same weights, before it was written
        digests.add(str((_read(calibration).get("fitted_on") or {}).get("bundle")))
    if made_by not in digests:
        raise BundleError(
            Code.BUNDLE_DISAGREES,
            f"these metrics are of the bundle {str(made_by)[:12]}..., this one is {content_digest(root)[:12]}...",
            fix="Predict and evaluate with the bundle that is packed.",
            where=path,
        )
    copy_durably(path, staged / PACKED_METRICS)


def _set_version(staged: Path, version: str | None, change: str | None) -> Mapping[str, Any]:
    path = staged / "configs" / "metadata.json"
    metadata = dict(_read(path))
    metadata.setdefault("name", "")
    metadata.setdefault("version", "")
    if version is not None and version != metadata["version"]:
        metadata["version"] = version
        metadata["changelog"] = {version: change or "packed", **dict(metadata.get("changelog") or {})}
        write_durably(path, (json.dumps(metadata, indent=2, ensure_ascii=False) + "\n").encode())
    return metadata


def refuse_incomplete(root: Path, reported_path: Path) -> None:
    """Refuse a bundle that lacks what its receiver needs; the error names everything that is missing.

    Args:
        root: the folder.
        reported_path: the folder that the error names.

    Raises:
        SharingError: ``bundle-incomplete``.
    """
    missing = list(_missing(root))
    if missing:
        raise SharingError(
            Code.BUNDLE_INCOMPLETE,
            "it cannot be sent before it has: " + "; ".join(missing) + ".",
            fix="Add them to the bundle's folder, then pack again.",
            where=reported_path,
        )


def _missing(root: Path) -> Iterator[str]:
    metadata = _read(root / "configs" / "metadata.json")
    for key, description in (
        ("name", "a name"), ("version", "a version"), ("intended_use", "the intended use"), ("authors", "authors"),
        ("data_source", "the source of its data"),
    ):  # fmt: skip
        if not str(metadata.get(key) or "").strip():
            yield f"{description} ('{key}' in configs/metadata.json)"
    formats = metadata.get("network_data_format")
    formats = formats if isinstance(formats, Mapping) else {}
    for side in ("inputs", "outputs"):
        if not formats.get(side):
            yield f"its {side} ('network_data_format' in configs/metadata.json)"
    if not _has_text(root / "LICENSE"):
        yield "a licence (LICENSE)"
    cards = [root / card for card in CARDS if _has_text(root / card)]
    if not cards:
        yield f"a card for its readers ({' or '.join(CARDS)})"
    elif not any(re.search(r"^#.*\blimit", card.read_text("utf-8", "replace"), re.I | re.M) for card in cards):
        yield f"its limits (a heading with 'limits' in {' or '.join(CARDS)})"
    if not any((root / "models").glob("model.*")):
        yield "weights (models/model.pt)"
    if not (root / PACKED_METRICS).is_file():
        yield f"metrics ({PACKED_METRICS}; {_EVALUATE})"
    elif not _parts(_read(root / PACKED_METRICS)):
        yield f"the split that its metrics are of ({PACKED_METRICS} names none; {_EVALUATE})"


def _has_text(path: Path) -> bool:
    return path.is_file() and bool(path.read_text("utf-8", "replace").strip())


def _provenance(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    provenance = metrics.get("book")
    return provenance if isinstance(provenance, Mapping) else {}


def _parts(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the number of images by part of the split that metrics were computed on; empty if unknown."""
    split = _provenance(metrics).get("split")
    parts = split.get("parts") if isinstance(split, Mapping) else None
    return parts if isinstance(parts, Mapping) and metrics.get("findings") else {}


def refuse_private(root: Path, identifiers: Identifiers | None, allow: Collection[str] = ()) -> None:
    """Refuse a folder with private texts.

    Args:
        root: the folder.
        identifiers: of the data that the bundle was made from, to be searched for.
        allow: texts that look private and are not.

    Raises:
        SharingError: ``bundle-private``, with file, place and text of up to ten of them.
    """
    private_texts = [private for private in search_private_texts(root, identifiers) if private.text not in allow]
    if private_texts:
        raise SharingError(
            Code.BUNDLE_PRIVATE,
            f"{counted(len(private_texts), 'private text')} would be sent: "
            + "; ".join(str(private) for private in private_texts[:10])
            + (f"; and {len(private_texts) - 10:,} more." if len(private_texts) > 10 else "."),
            fix="Remove them from the bundle's folder; what only looks private is let through by --allow TEXT.",
        )


def refuse_training_index(root: Path) -> None:
    """Refuse a folder in which a table of digests of single films lies, part of the bundle or not.

    Raises:
        SharingError: ``bundle-private``, naming them.
    """
    if names := training_indexes(root):
        raise SharingError(
            Code.BUNDLE_PRIVATE,
            f"digests of single films lie in the bundle's folder and would tell who was trained on: "
            f"{', '.join(map(shortened, names[:10]))}.",
            fix="Keep such files (of 'cxr-monai gate index', of predictions) outside of it.",
            where=root,
        )


def refuse_inspected(root: Path, reported_path: Path) -> Inspection:
    """Inspect a bundle's folder, and return the inspection unless it refuses the bundle.

    Args:
        root: the folder.
        reported_path: the folder that the error names.

    Raises:
        SharingError: ``bundle-refused``, with up to ten reasons.
        BundleError: ``bundle-incompatible`` where all of them are components that this version does not have.
    """
    inspection = inspect_bundle(root)
    refused = inspection.refused
    if names := inspection.unknown_components:
        raise incompatible(names, inspection.metadata, reported_path)
    if refused:
        reasons = [f"{r.file}{f' ({r.where})' if r.where else ''}: {r.text}: {r.reason}" for r in refused[:10]]
        raise SharingError(
            Code.BUNDLE_REFUSED,
            f"the inspection refuses it in {counted(len(refused), 'place')}: " + " ".join(reasons),
            fix="'cxr-monai bundle inspect' shows all of them.",
            where=reported_path,
        )
    return inspection


def _place(staged: Path, path: Path) -> Path:
    """Write the archive, whole or not at all; an existing one with equal bytes is left as it is."""
    new = staged.with_name("archive") if path.exists() else path
    with durable_file(new) as file:
        write_archive(staged, file)
    if file_digest(path) != file_digest(new):
        raise BundleError(
            Code.OUTPUT_EXISTS,
            "there is an archive of this name and version with another content, perhaps a signed one.",
            fix="Give another --version, or another folder with --out.",
            where=path,
        )
    return path


def _unsearched(staged: Path, identifiers: Identifiers | None) -> list[str]:
    notes = []
    if identifiers is None:
        notes.append("Identifiers were searched for by their usual forms; --manifest M.csv searches for the real ones.")
    elif identifiers.unsearchable:
        notes.append(
            f"{counted(identifiers.unsearchable, 'identifier')} of the manifest {be(identifiers.unsearchable)} "
            "too short to be searched for (such as '12')."
        )
    pictures = pictures_below(staged)
    if pictures:
        notes.append(f"Look at these pictures yourself, no program searched them: {', '.join(pictures)}.")
    return notes


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = parse_strictly(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(Code.BUNDLE_INVALID, "the file is missing.", where=path) from None
    except ValueError as error:
        raise BundleError(Code.BUNDLE_INVALID, str(error), where=path) from error
    if not isinstance(content, dict):
        raise BundleError(Code.BUNDLE_INVALID, "it is no JSON object.", where=path)
    return content
