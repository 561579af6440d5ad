"""A gate that knows how films like one picture look turned, mirrored and inverted; and such pictures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from cxr_monai.bundle.digest import file_digest
from cxr_monai.gate.alterations import ALTERATIONS, GEOMETRY
from cxr_monai.gate.fitted_gate import ALTERATION, INTACT, FittedGate, head_inputs, thumbnail_values
from cxr_monai.gate.linear_head import LinearHead
from cxr_monai.gate.observation import OBSERVED, observe, parts_of
from cxr_monai.gate.picture_statistics import STATISTICS
from cxr_monai.gate.storage import write_gate
from tests.support.gates import THUMBNAIL_VALUES, gate_of_limit

SIDES = (60, 84)
"""Rows and columns of a film: not a square."""


def film(number: int) -> np.ndarray:
    """Return one of many like films, uint8: the same smooth picture, and noise of its own."""
    smooth = gaussian_filter(np.random.default_rng(0).normal(size=SIDES), 9)
    own = gaussian_filter(np.random.default_rng(1 + number).normal(size=SIDES), 2)
    levels = smooth / np.abs(smooth).max() + 0.3 * own / np.abs(own).max()
    return np.rint(255 * (levels - levels.min()) / (levels.max() - levels.min())).astype(np.uint8)


def altered(levels: np.ndarray, name: str) -> np.ndarray:
    """Return a film with one of the alterations of :data:`GEOMETRY`, in whole levels as a file of it has them."""
    (alteration,) = [each for each in GEOMETRY if each.name == name]
    return np.ascontiguousarray(np.rint(255 * alteration.of(levels / 255)).astype(np.uint8))


def geometry_gate() -> FittedGate:
    """Return a gate whose classes are templates: the smooth picture's thumbnail in each of its sixteen positions."""
    mean = np.mean([film(number) for number in range(20)], axis=0, dtype=np.float32) / 255
    template = thumbnail_values(parts_of(observe(mean.astype(np.float32))[None]))[0].reshape(16, 16)
    names = (INTACT, *(alteration.name for alteration in ALTERATIONS))
    inputs = head_inputs(parts_of(np.zeros((1, OBSERVED), np.float32))).shape[1]
    weights, intercepts = np.zeros((len(names), inputs), np.float32), np.full(len(names), -1e6, np.float32)
    intercepts[: 1 + len(GEOMETRY)] = 0
    where = slice(len(STATISTICS), len(STATISTICS) + THUMBNAIL_VALUES)
    for row, of in enumerate([np.asarray, *(alteration.of for alteration in GEOMETRY)]):
        turned = of(template)
        weights[row, where] = (turned - turned.mean()).ravel()
    gate = gate_of_limit(10.0)
    return replace(gate, heads={ALTERATION: LinearHead(names, weights, intercepts)})


def with_geometry_gate(bundle: Path) -> Path:
    """Give a bundle this gate."""
    write_gate(bundle, geometry_gate(), file_digest(bundle / "models" / "model.pt"))
    return bundle


def save(path: Path, levels: np.ndarray) -> Path:
    """Write a film as an image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(path)
    return path
