"""Gates in milliseconds: of random parameters, with every part that a fitted one has."""

from dataclasses import replace

import numpy as np

from cxr_monai.gate.alterations import ALTERATIONS
from cxr_monai.gate.distance import Distance
from cxr_monai.gate.fitted_gate import (
    ALTERATION,
    INTACT,
    MIRRORED,
    NETWORK_DISTANCE,
    STATISTICS_DISTANCE,
    THUMBNAIL_DISTANCE,
    FittedGate,
    Scale,
    head_inputs,
    thumbnail_values,
)
from cxr_monai.gate.linear_head import LinearHead
from cxr_monai.gate.observation import OBSERVED, parts_of
from cxr_monai.gate.picture_statistics import STATISTICS

LAYERS = ("features.denseblock1", "features")
FEATURES = 5
"""Of the network, that the gate of :func:`tiny_gate` knows."""


def tiny_gate(seed: int = 0) -> FittedGate:
    """Return a gate of random parameters; it refuses films at random, and is stored and read like any other."""
    random = np.random.default_rng(seed)
    parts = parts_of(random.normal(size=(12, OBSERVED)).astype(np.float32))
    inputs = head_inputs(parts).shape[1]
    values = {THUMBNAIL_DISTANCE: thumbnail_values(parts), STATISTICS_DISTANCE: parts.statistics}
    values[NETWORK_DISTANCE] = random.normal(size=(12, FEATURES))

    def head(*classes: str) -> LinearHead:
        shape = (len(classes), inputs)
        return LinearHead(classes, random.normal(size=shape).astype("f4"), random.normal(size=shape[0]).astype("f4"))

    heads = {
        ALTERATION: head(INTACT, *(alteration.name for alteration in ALTERATIONS)),
        MIRRORED: head(INTACT, "mirrored"),
    }
    distances = {name: Distance.fit(value, 2) for name, value in values.items()}
    fitted = FittedGate(
        distances, heads, {}, {"review": 1.0, "refuse": 1.5, "far": 9.0}, 0.01, LAYERS,
        np.array([[-1.0, 1.0]] * len(STATISTICS), dtype="f4"), {"films": 12, "patients": 12},
    )  # fmt: skip
    return replace(fitted, scales={name: Scale(0.25, 3.5) for name in (*heads, *distances)})
