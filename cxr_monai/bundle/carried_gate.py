"""A bundle's gate in its folder: the two files beside the weights, and in the configurations which files they are.

    carry_gate(root, digest)        # the item "gate" of inference.json, explain.json and evaluate.json

A configuration that names a gate which is not there, or another one, does not predict: whoever takes the files away
does not open the gate.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxr_monai.bundle.bundle_folder import change_configurations

GATE = "models/gate.json"
GATE_TENSORS = "models/gate.safetensors"
GATE_COMPONENT = "cxr_monai.components.bundle_gate"
_CONFIGS = ("inference.json", "explain.json", "evaluate.json")
_CARRIED = ("digest", "missing")


def with_gate(config: Mapping[str, Any], digest: str | None = None, missing: str | None = None) -> dict[str, Any]:
    """Return a configuration that names a gate; unchanged where it has no ``gate`` item of this package.

    Args:
        config: of a bundle.
        digest: SHA-256 of ``models/gate.json``; None where there is none.
        missing: why there is none, as a sentence without its full stop, or None.
    """
    section = config.get("gate")
    if not isinstance(section, Mapping) or section.get("_target_") != GATE_COMPONENT:
        return dict(config)
    kept = {key: value for key, value in section.items() if key not in _CARRIED}
    named = {key: value for key, value in zip(_CARRIED, (digest, missing), strict=True) if value is not None}
    return dict(config) | {"gate": kept | named}


def carry_gate(root: str | Path, digest: str | None, missing: str | None = None) -> None:
    """Write which gate a bundle has, or why it has none, into its configurations; arguments as of :func:`with_gate`.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    change_configurations(root, _CONFIGS, lambda config: with_gate(config, digest, missing))


def gate_item(root: str | Path) -> dict[str, Any]:
    """Return the item ``gate`` of a bundle's ``inference.json``; empty where it has none of this package."""
    path = Path(root) / "configs" / "inference.json"
    item = json.loads(path.read_text(encoding="utf-8")).get("gate") if path.is_file() else None
    return dict(item) if isinstance(item, Mapping) and item.get("_target_") == GATE_COMPONENT else {}


def remove_gate(root: str | Path, missing: str | None = None) -> None:
    """Take a bundle's gate away: the weights that it knows are gone.

    Args:
        root: the bundle's folder.
        missing: why there is none, as of :func:`with_gate`.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    carry_gate(root, None, missing)
    for name in (GATE, GATE_TENSORS):
        (Path(root) / name).unlink(missing_ok=True)
