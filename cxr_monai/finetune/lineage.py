"""Where a child comes from: ``lineage.json``, with what its parent and the parent's ancestors said of themselves.

    write_lineage(child, [parent], "cxr-monai finetune", data={...}, settings={...}, measured={...})

``own`` is the child's generation; ``ancestors`` are all those before it by the digest of their files. There are no
paths in it, and no identifiers.
"""

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxr_monai.bundle.folder import Bundle, read_json
from cxr_monai.durable import write_durably

LINEAGE = "lineage.json"
FORMAT = 1
PACKAGES = ("cxr-monai", "monai", "torch", "numpy")


def write_lineage(
    root: Path,
    parents: Sequence[Path],
    made_by: str,
    *,
    data: Mapping[str, Any],
    settings: Mapping[str, Any],
    measured: Mapping[str, Any],
) -> None:
    """Write ``lineage.json`` into a bundle that is otherwise complete.

    Args:
        root: its folder; the metadata gives name and version.
        parents: folders of the bundles that it was made from.
        made_by: the command.
        data: digest and counts of the images.
        settings: that shaped it.
        measured: figures, and what they are of.

    Raises:
        BundleError: ``bundle-invalid`` if a parent's own lineage cannot be read.
        StorageError: ``disk-full`` or ``write-failed``.
    """
    ancestors: dict[str, Any] = {}
    digests = []
    for parent in parents:
        digests.append(Bundle.open(parent).digest())
        before = read_json(parent / LINEAGE) if (parent / LINEAGE).is_file() else {}
        ancestors |= before.get("ancestors", {})
        ancestors[digests[-1]] = {**_generation(parent), **before.get("own", {}), **_named(parent)}
    own = {
        **_generation(root),
        "made_by": made_by,
        "parents": digests,
        "data": dict(data),
        "settings": dict(settings),
        "software": {name: importlib.metadata.version(name) for name in PACKAGES},
        "measured": dict(measured),
    }
    content = {"format": FORMAT, "own": own, "ancestors": dict(sorted(ancestors.items()))}
    write_durably(root / LINEAGE, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def _named(root: Path) -> dict[str, str]:
    metadata = read_json(root / "configs" / "metadata.json")
    return {"name": str(metadata.get("name", "")), "version": str(metadata.get("version", ""))}


def _generation(root: Path) -> dict[str, Any]:
    """Return what is known of a bundle without a record of its own."""
    empty: dict[str, Any] = {"made_by": "", "parents": [], "data": {}, "settings": {}, "software": {}, "measured": {}}
    return {**_named(root), **empty}
