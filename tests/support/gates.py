"""A gate that refuses every film, or none, written into a bundle in milliseconds."""

from pathlib import Path

import numpy as np

from cxr_monai.bundle.digest import file_digest
from cxr_monai.gate.alterations import ALTERATIONS
from cxr_monai.gate.distance import Distance
from cxr_monai.gate.fitted_gate import (
    ALTERATION,
    INTACT,
    STATISTICS_DISTANCE,
    THUMBNAIL_DISTANCE,
    FittedGate,
    Scale,
    head_inputs,
)
from cxr_monai.gate.linear_head import LinearHead
from cxr_monai.gate.observation import OBSERVED, parts_of
from cxr_monai.gate.picture_statistics import STATISTICS
from cxr_monai.gate.storage import write_gate

THUMBNAIL_VALUES = 256


def gate_of_limit(limit: float) -> FittedGate:
    """A gate of plain distances, which are positive: it refuses films whose distance lies over the limit."""

    def distance(size: int) -> Distance:
        zeros, ones = np.zeros(size, np.float32), np.ones(size, np.float32)
        return Distance(zeros, ones, np.eye(size, 1, dtype=np.float32), zeros[:1] - 1, np.eye(1, dtype=np.float32))

    names = (INTACT, *(alteration.name for alteration in ALTERATIONS))
    inputs = head_inputs(parts_of(np.zeros((1, OBSERVED), np.float32))).shape[1]
    head = LinearHead(names, np.zeros((len(names), inputs), np.float32), np.full(len(names), -9, np.float32))
    head.intercepts[0] = 0
    return FittedGate(
        {THUMBNAIL_DISTANCE: distance(THUMBNAIL_VALUES), STATISTICS_DISTANCE: distance(len(STATISTICS))},
        {ALTERATION: head},
        dict.fromkeys((ALTERATION, THUMBNAIL_DISTANCE, STATISTICS_DISTANCE), Scale(0.0, 1.0)),
        {"refuse": limit, "review": limit, "far": 1e12},
        0.01,
        (),
        np.zeros((len(STATISTICS), 2), np.float32),
        {"films": 100, "patients": 50, "refused_share": 0.01, "reviewed_share": 0.05},
    )


def with_gate(bundle: Path, limit: float = 1e-9) -> Path:
    """Give a bundle a gate that refuses every film; with a large limit, none."""
    write_gate(bundle, gate_of_limit(limit), file_digest(bundle / "models" / "model.pt"))
    return bundle
