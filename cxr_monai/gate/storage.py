"""A gate in a bundle's folder: ``models/gate.json`` and ``models/gate.safetensors``, numbers and names alone.

    write_gate(root, fitted, weights=digest)
    gate = read_gate(root)                      # None where there is none; a damaged one is an error

Nothing of it is run and nothing is unpickled. The JSON is sealed (`cxr_monai.completion`): it holds the SHA-256 of the
tensors' file, and of itself; and that of the weights whose features the gate knows. Both files are under the bundle's
digest and signature. They may come from a stranger: sizes are looked at before anything is read, every number and name
before anything uses it.
"""

import json
import math
import os
import re
import struct
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from cxr_monai.bundle.carried_gate import GATE, GATE_TENSORS, carry_gate, gate_item
from cxr_monai.bundle.digest import file_digest
from cxr_monai.completion import COMPLETE, OWN_JSON, altered_files, seal
from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, GateError
from cxr_monai.gate.distance import Distance
from cxr_monai.gate.fitted_gate import (
    ALTERATION,
    AP_VIEW,
    GATE_SCORES,
    INTACT,
    MIRRORED,
    NETWORK_DISTANCE,
    PICTURE_DISTANCE,
    QUALITY,
    STATISTICS_DISTANCE,
    THUMBNAIL_DISTANCE,
    FittedGate,
    Scale,
    score_inputs,
)
from cxr_monai.gate.likeness import Likeness
from cxr_monai.gate.linear_head import LinearHead
from cxr_monai.gate.observation import OBSERVED
from cxr_monai.gate.picture_statistics import STATISTICS
from cxr_monai.networks.weights_files import read_safetensors_header
from cxr_monai.plurals import counted
from cxr_monai.strict_json import parse_strictly

LARGEST_DESCRIPTION = 1 << 18
"""Bytes of ``gate.json``; one that a training leaves has a few thousand."""
LARGEST_TENSORS = 32 << 20
"""Bytes of ``gate.safetensors``; one that a training leaves has about one million."""
_FORMAT = 1
_KEYS = {
    "format", "promise", "layers", "limits", "scales", "heads", "distances", "likeness", "statistics", "fitted_on",
    "weights", COMPLETE,
}  # fmt: skip
_LIMITS = ("review", "refuse", "far")
_SHA256 = re.compile("[0-9a-f]{64}")


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
    carry_gate(root, None)  # in this order a kill leaves no gate, or one that no configuration names yet
    (root / GATE).unlink(missing_ok=True)
    tensors = {"statistics_limits": fitted.statistics_limits}
    likeness = {} if fitted.likeness is None else {"all": fitted.likeness}
    for kind, parts in (("distances", fitted.distances), ("heads", fitted.heads), ("likeness", likeness)):
        for name, part in parts.items():
            tensors |= {f"{kind}.{name}.{key}": value for key, value in part.tensors().items()}
    write_durably(root / GATE_TENSORS, _safetensors(tensors))
    description: dict[str, Any] = {
        "format": _FORMAT,
        "promise": fitted.promise,
        "layers": list(fitted.layers),
        "limits": dict(fitted.limits),
        "scales": {name: asdict(scale) for name, scale in fitted.scales.items()},
        "heads": {name: list(head.classes) for name, head in fitted.heads.items()},
        "distances": list(fitted.distances),
        "likeness": [] if fitted.likeness is None else list(fitted.likeness.classes),
        "statistics": list(STATISTICS),
        "fitted_on": dict(fitted.fitted_on),
        "weights": weights,
    }
    seal(description, root / "models", [Path(GATE_TENSORS).name])
    write_durably(root / GATE, (json.dumps(description, indent=2, allow_nan=False) + "\n").encode())
    carry_gate(root, file_digest(root / GATE))


def has_gate(root: str | Path) -> bool:
    """Return whether a bundle's folder has a gate, or a part of one, by its files' names alone."""
    return any(os.path.lexists(Path(root) / name) for name in (GATE, GATE_TENSORS))


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
    named = gate_item(root).get("digest")
    if not named and not has_gate(root):
        return None
    try:
        if named and named != file_digest(root / GATE):
            raise ValueError(f"the bundle's inference.json names another {GATE}")
        content = parse_strictly(_content(root / GATE, LARGEST_DESCRIPTION))
        _check_description(content, root / "models")
        return _gate(content, _tensors(root / GATE_TENSORS, content[COMPLETE][Path(GATE_TENSORS).name]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise invalid_gate(" ".join(str(error).split())[:300], root) from error


def invalid_gate(reason: str, root: str | Path | None = None) -> GateError:
    """Return the error of a gate that is damaged, incomplete or another bundle's.

    Args:
        reason: in words, without a full stop.
        root: the bundle's folder.
    """
    return GateError(
        Code.GATE_INVALID,
        f"the bundle's gate is damaged or incomplete ({reason}).",
        fix="Get the bundle again, or fit a new gate into a copy: 'cxr-monai gate fit'. --gate off predicts without "
        "one.",
        where=None if root is None else Path(root) / GATE,
    )


def _content(path: Path, largest: int) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"{path.name} is missing, or no file")
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"{path.name} has more than {counted(largest, 'byte')}")
    return content


def _check_description(content: Any, folder: Path) -> None:
    """Raise ``ValueError`` for a description that is not whole, or not of this version."""
    if not isinstance(content, dict) or set(content) != _KEYS:
        raise ValueError(f"it needs {', '.join(sorted(_KEYS))}")
    if type(content["format"]) is not int or content["format"] != _FORMAT:
        raise ValueError(f"this version reads the format {_FORMAT}")
    mark = content[COMPLETE]
    if not isinstance(mark, dict) or set(mark) != {Path(GATE_TENSORS).name, OWN_JSON}:
        raise ValueError(f"{COMPLETE!r} does not name its files")
    if OWN_JSON in altered_files(content | {COMPLETE: {OWN_JSON: mark[OWN_JSON]}}, folder):
        raise ValueError("it was changed since it was written")
    if content["statistics"] != list(STATISTICS):
        raise ValueError("it is of other statistics than this version's")
    if not isinstance(content["weights"], str) or not _SHA256.fullmatch(content["weights"]):
        raise ValueError("'weights' is no SHA-256")


def _tensors(path: Path, digest: Any) -> dict[str, np.ndarray]:
    content = _content(path, LARGEST_TENSORS)
    if sha256(content).hexdigest() != digest:
        raise ValueError(f"{path.name} is another file than it was written with")
    spans = read_safetensors_header(BytesIO(content))  # of what was checked, not of the file again
    tensors = {}
    for name, span in spans.items():
        if span.dtype != "F32":
            raise ValueError(f"{name[:100]!r} is of the type {span.dtype}, and not F32")
        tensors[name] = np.frombuffer(content[span.begin : span.end], dtype="<f4").reshape(span.shape)
        if not np.isfinite(tensors[name]).all():
            raise ValueError(f"{name[:100]!r} is not finite")
    return tensors


def _gate(content: Mapping[str, Any], tensors: dict[str, np.ndarray]) -> tuple[FittedGate, str]:
    def take(prefix: str) -> dict[str, np.ndarray]:
        names = [name for name in tensors if name.startswith(prefix)]
        return {name.removeprefix(prefix): tensors.pop(name) for name in names}

    layers = _texts(content["layers"])
    names = _texts(content["distances"])
    distances = {name: _distance(take(f"distances.{name}.")) for name in names}
    heads = {
        name: LinearHead.from_tensors(_texts(classes), take(f"heads.{name}."))
        for name, classes in content["heads"].items()
    }
    kinds = _texts(content["likeness"])
    likeness = Likeness.from_tensors(kinds, take("likeness.all.")) if kinds else None
    limits_of_statistics = tensors.pop("statistics_limits")
    if tensors:
        raise ValueError(f"it has {counted(len(tensors), 'tensor')} that no part of it needs")
    _check_parts(distances, heads, likeness, layers)
    scales = {name: _scale(scale) for name, scale in content["scales"].items()}
    if set(scales) != {*distances, *heads}:
        raise ValueError("its scales are not those of its scores")
    limits = {name: _number(content["limits"][name]) for name in _LIMITS}
    if set(content["limits"]) != set(_LIMITS) or list(limits.values()) != sorted(limits.values()):
        raise ValueError(f"the limits {', '.join(_LIMITS)} must grow in this order")
    promise = _number(content["promise"])
    if not 0 < promise < 1:
        raise ValueError("the promise is no share")
    low, high = limits_of_statistics.T
    if len(low) != len(STATISTICS) or (low > high).any():
        raise ValueError("the limits of its statistics do not fit them")
    if not isinstance(content["fitted_on"], dict):
        raise ValueError("'fitted_on' is no object")
    fitted = FittedGate(
        distances, heads, scales, limits, promise, layers, limits_of_statistics, content["fitted_on"], likeness
    )
    return fitted, content["weights"]


def _check_parts(
    distances: Mapping[str, Distance],
    heads: Mapping[str, LinearHead],
    likeness: Likeness | None,
    layers: Collection[str],
) -> None:
    """Raise ``ValueError`` where distances and classifiers are not those of this version, or of other numbers."""
    scores = {*distances, *heads}
    if not {ALTERATION, THUMBNAIL_DISTANCE, STATISTICS_DISTANCE} <= scores <= {*GATE_SCORES, AP_VIEW} or {
        *distances
    } & {*heads}:
        raise ValueError("its scores are not those of this version")
    if (NETWORK_DISTANCE in distances) != bool(layers):
        raise ValueError(f"it has layers without {NETWORK_DISTANCE}, or the reverse")
    sizes = {name: inputs.shape[1] for name, inputs in score_inputs(np.zeros((1, OBSERVED), np.float32)).items()}
    of_parts = {name: distance.mean.shape[0] for name, distance in distances.items() if name in sizes}
    of_parts |= {name: head.weights.shape[1] for name, head in heads.items()}
    of_parts |= {PICTURE_DISTANCE: likeness.mean.shape[0]} if likeness else {}
    for name, size in of_parts.items():
        if size != sizes[name]:
            raise ValueError(f"{name} is of another number of values than this version's")
    if likeness and likeness.classes[0] != INTACT:
        raise ValueError("its kinds of films do not begin with films as they should be")
    for name, head in heads.items():
        if len(head.classes) < 2 or (name in (ALTERATION, MIRRORED, QUALITY) and head.classes[0] != INTACT):
            raise ValueError(f"{name} does not know films as they should be")


def _distance(tensors: Mapping[str, np.ndarray]) -> Distance:
    if set(tensors) != {part.name for part in fields(Distance)}:
        raise ValueError("a distance lacks a part of its numbers")
    distance = Distance.from_tensors(tensors)
    if (distance.outside < 0).any():
        raise ValueError("a distance grows the nearer a film is")
    return distance


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value) or len({*value}) != len(value):
        raise ValueError("a list of names is not what it must be")
    return tuple(value)


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError("a number is none, or not finite")
    return float(value)


def _scale(content: Any) -> Scale:
    if not isinstance(content, dict) or set(content) != {"median", "typical"}:
        raise ValueError("a scale has median and typical")
    scale = Scale(_number(content["median"]), _number(content["typical"]))
    if scale.typical <= scale.median:
        raise ValueError("a scale's typical value is not above its median")
    return scale


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
