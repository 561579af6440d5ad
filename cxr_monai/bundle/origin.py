"""A record of what a bundle was trained on, in its metadata and README: no bundle claims NIH's images wrongly.

The bundles that come with this package are made for NIH ChestX-ray14, or for any manifest, and say so. What a training
leaves says what it was: ``trained_on`` (label version, how many images, how many of them are phantoms), and sentences
made of it. What authors wrote themselves into their copy of a bundle stays.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxr_monai.bundle.bundle_folder import METADATA, read_json, write_json
from cxr_monai.bundle.shipped import shipped_bundles
from cxr_monai.data.manifest import Manifest
from cxr_monai.data.overlaps import is_public
from cxr_monai.durable import write_durably
from cxr_monai.origins import ONLY_TRIED, is_phantom, labelled_by, source_of, sources_trained_on, training_origin
from cxr_monai.plurals import counted

TRAINED_ON = "trained_on"
HEADING = "## What it was trained on"
_KINDS = "1 present, 0 absent, empty unknown"


def write_origin(root: Path, manifest: Manifest) -> None:
    """Write into a bundle's metadata and README what it was trained on.

    Args:
        root: the bundle's folder.
        manifest: with a split; its images of ``train`` and ``val`` count.
    """
    used = manifest.table[manifest.table["split"].isin(["train", "val"])]
    phantoms = int(used["source"].map(is_phantom).sum())
    public_sources = [source for source in used["source"].unique() if is_public(source)]
    _write(root, training_origin(manifest.label_version, len(used), phantoms, public_sources, manifest.views))


def add_parent(root: Path, parent: Mapping[str, Any]) -> None:
    """Write into a child's metadata what its parent was trained on, as far as the parent's metadata say it.

    Args:
        root: the child's folder.
        parent: the parent's metadata.
    """
    record = read_json(root / METADATA).get(TRAINED_ON)
    if record and parent.get(TRAINED_ON):
        _write(root, {**record, "parent": parent[TRAINED_ON]})


def of_members(members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the entries of an ensemble's metadata that say what its members were trained on; empty where one does not.

    An image counts as often as there are members that have learned from it.

    Args:
        members: metadata of each.
    """
    records = [member[TRAINED_ON] for member in members if member.get(TRAINED_ON)]
    if len(records) < len(members):
        return {}
    joint = training_origin(
        ", ".join(dict.fromkeys(str(record["label_version"]) for record in records)),
        sum(int(record["images"]) for record in records),
        sum(int(record["synthetic_images"]) for record in records),
        [source for record in records for source in sources_trained_on(record)],
    )
    return {TRAINED_ON: joint, **_sentences(joint)}


def is_recorded(metadata: Mapping[str, Any], key: str) -> bool:
    """Return whether a metadata entry was written by a training, and is not the text of a shipped bundle.

    Args:
        metadata: of the bundle.
        key: the entry's name, such as ``data_source``.
    """
    return str(metadata.get(key) or "") not in _delivered(key)


def _write(root: Path, record: Mapping[str, Any]) -> None:
    path = root / METADATA
    metadata = read_json(path)
    before = metadata.get(TRAINED_ON)
    earlier = _sentences(before) if before else {}
    replaced = {
        key: text
        for key, text in _sentences(record).items()
        if not metadata.get(key) or not is_recorded(metadata, key) or metadata[key] == earlier.get(key)
    }
    write_json(path, metadata | {TRAINED_ON: dict(record)} | replaced | _renamed(metadata))
    readme = root / "docs" / "README.md"
    if readme.is_file():
        text = readme.read_text(encoding="utf-8").partition(f"\n{HEADING}\n")[0].rstrip("\n")
        sentence = f"{source_of(record)}; {labelled_by(record)}."
        write_durably(readme, f"{text}\n\n{HEADING}\n\n{sentence[:1].upper()}{sentence[1:]}\n".encode())


def _sentences(record: Mapping[str, Any]) -> dict[str, str]:
    sentences = {"data_source": source_of(record), "label_classes": f"{_KINDS}; {labelled_by(record)}"}
    if record["images"] and record["synthetic_images"] >= record["images"]:
        sentences["intended_use"] = ONLY_TRIED
    return sentences


def _renamed(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return another name and description where those delivered speak of other labels than these."""
    labels = list(metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values())
    for other in _metadata_delivered():
        delivered = list(other["network_data_format"]["outputs"]["pred"]["channel_def"].values())
        if metadata.get("description") == other.get("description") and labels != delivered:
            return {
                "name": f"Chest X-ray, {counted(len(labels), 'label')}",
                "description": f"A network that gives a probability for each of {', '.join(labels)}.",
            }
    return {}


def _metadata_delivered() -> list[dict[str, Any]]:
    return [read_json(folder / METADATA) for folder in shipped_bundles().values()]


def _delivered(key: str) -> set[str]:
    return {str(metadata.get(key) or "") for metadata in _metadata_delivered()}
