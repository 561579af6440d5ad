"""A gate in a bundle's folder: ``models/gate.json`` and ``models/gate.safetensors``, numbers and names alone.

    write_gate(root, fitted, weights=digest)
    gate = read_gate(root)                      # None where there is none; a damaged one is an error

Nothing of it is run and nothing is unpickled. The JSON holds the SHA-256 of the tensors' file, and that of the weights
whose features it knows; both files are under the bundle's digest and signature.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, CxrError, GateError
from cxr_monai.gate.distance import Distance
from cxr_monai.gate.fitted_gate import (
    ALTERATION,
    AP_VIEW,
    GATE_SCORES,
    STATISTICS_DISTANCE,
    THUMBNAIL_DISTANCE,
    FittedGate,
    Scale,
)
from cxr_monai.gate.linear_head import LinearHead
from cxr_monai.gate.picture_statistics import STATISTICS
from cxr_monai.networks.weight_loading import load_state_dict
from cxr_monai.strict_json import parse_strictly

GATE = "models/gate.json"
GATE_TENSORS = "models/gate.safetensors"
_FORMAT = 1
_KEYS = {
    "format", "promise", "layers", "limits", "scales", "heads", "distances", "statistics", "fitted_on", "weights",
    "tensors",
}  # fmt: skip


def write_gate(root: str | Path, fitted: FittedGate, weights: str) -> None:
    """Write a gate into a bundle's folder: the tensors first, so that a kill leaves none that is half.

    Args:
        root: the folder.
        fitted: the gate.
        weights: SHA-256 of the ``model.pt`` whose features it knows.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    root = Path(root)
    (root / GATE).unlink(missing_ok=True)
    tensors = {"statistics_limits": fitted.statistics_limits}
    for kind, parts in (("distances", fitted.distances), ("heads", fitted.heads)):
        for name, part in parts.items():
            tensors |= {f"{kind}.{name}.{key}": value for key, value in part.tensors().items()}
    content = _safetensors(tensors)
    write_durably(root / GATE_TENSORS, content)
    description = {
        "format": _FORMAT,
        "promise": fitted.promise,
        "layers": list(fitted.layers),
        "limits": dict(fitted.limits),
        "scales": {name: asdict(scale) for name, scale in fitted.scales.items()},
        "heads": {name: list(head.classes) for name, head in fitted.heads.items()},
        "distances": list(fitted.distances),
        "statistics": list(STATISTICS),
        "fitted_on": dict(fitted.fitted_on),
        "weights": weights,
        "tensors": sha256(content).hexdigest(),
    }
    write_durably(root / GATE, (json.dumps(description, indent=2, allow_nan=False) + "\n").encode())


def read_gate(root: str | Path) -> tuple[FittedGate, str] | None:
    """Read a bundle's gate.

    Args:
        root: the bundle's folder.

    Returns:
        the gate and the SHA-256 of the weights whose features it knows; None where the bundle has none.

    Raises:
        GateError: ``gate-invalid`` for one that is damaged or incomplete, or that another version wrote.
    """
    root = Path(root)
    description, tensors = root / GATE, root / GATE_TENSORS
    if not description.exists() and not tensors.exists():
        return None
    try:
        content = parse_strictly(description.read_bytes())
        if set(content) != _KEYS or content["format"] != _FORMAT:
            raise ValueError(f"it needs {', '.join(sorted(_KEYS))} and format {_FORMAT}")
        if sha256(tensors.read_bytes()).hexdigest() != content["tensors"]:
            raise ValueError(f"{GATE_TENSORS} is another file than it was written with")
        if content["statistics"] != list(STATISTICS):
            raise ValueError("it is of other statistics than this version's")
        return _gate(content, {name: value.numpy() for name, value in load_state_dict(tensors).items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, CxrError) as error:
        raise GateError(
            Code.GATE_INVALID,
            f"the bundle's gate is damaged or incomplete ({error}).",
            fix="Get the bundle again, or fit a new gate into a copy: 'cxr-monai gate fit'. --gate off predicts "
            "without one.",
            where=description,
        ) from error


def _gate(content: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> tuple[FittedGate, str]:
    def of(prefix: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    if not all(np.isfinite(value).all() for value in tensors.values()):
        raise ValueError("a parameter is not finite")
    distances = {name: Distance.from_tensors(of(f"distances.{name}.")) for name in content["distances"]}
    heads = {name: LinearHead.from_tensors(names, of(f"heads.{name}.")) for name, names in content["heads"].items()}
    scales = {name: Scale(float(scale["median"]), float(scale["typical"])) for name, scale in content["scales"].items()}
    limits = {name: float(content["limits"][name]) for name in ("refuse", "review", "far")}
    if (
        not {ALTERATION, THUMBNAIL_DISTANCE, STATISTICS_DISTANCE}
        <= {*distances, *heads}
        <= {*scales}
        <= {*GATE_SCORES, AP_VIEW}
    ):
        raise ValueError("its scores are not those of this version")
    if not all(np.isfinite([*limits.values(), *(v for s in scales.values() for v in (s.median, s.typical))])):
        raise ValueError("a limit is not finite")
    fitted = FittedGate(
        distances, heads, scales, limits, float(content["promise"]), tuple(content["layers"]),
        tensors["statistics_limits"], dict(content["fitted_on"]),
    )  # fmt: skip
    return fitted, str(content["weights"])


def _safetensors(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Return float32 tensors in the format of https://huggingface.co/docs/safetensors, in the order of their names."""
    header, numbers, begin = {}, [], 0
    for name in sorted(tensors):
        raw = np.ascontiguousarray(tensors[name], dtype="<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [begin, begin + len(raw)]}
        numbers.append(raw)
        begin += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(numbers)
