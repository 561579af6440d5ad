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
    PICTURE_DISTANCE,
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

LAYERS = ("features.denseblock1", "features")
FEATURES = 5
"""Of the network, that the gate of :func:`tiny_gate` knows."""


def tiny_gate(seed: int = 0) -> FittedGate:
    """Return a gate of random parameters; it refuses films at random, and is stored and read like any other."""
    random = np.random.default_rng(seed)
    inputs = score_inputs(random.normal(size=(12, OBSERVED)).astype(np.float32))
    inputs[NETWORK_DISTANCE] = random.normal(size=(12, FEATURES))
    kinds = (INTACT, *(alteration.name for alteration in ALTERATIONS))

    def head(name: str, *classes: str) -> LinearHead:
        shape = (len(classes), inputs[name].shape[1])
        return LinearHead(classes, random.normal(size=shape).astype("f4"), random.normal(size=shape[0]).astype("f4"))

    heads = {ALTERATION: head(ALTERATION, *kinds), MIRRORED: head(MIRRORED, INTACT, "mirrored")}
    measured = (THUMBNAIL_DISTANCE, STATISTICS_DISTANCE, PICTURE_DISTANCE, NETWORK_DISTANCE)
    distances = {name: Distance.fit(inputs[name], 2) for name in measured}
    size = inputs[PICTURE_DISTANCE].shape[1]
    ones, limits = np.ones(size, dtype="f4"), np.full(len(kinds), 60, dtype="f4")
    centres = random.normal(size=(len(kinds), size)).astype("f4")
    likeness = Likeness(kinds, 0 * ones, ones, np.eye(size, 2, dtype="f4"), ones[:2], ones[:1], centres, limits)
    fitted = FittedGate(
        distances, heads, {}, {"review": 1.0, "refuse": 1.5, "far": 9.0}, 0.01, LAYERS,
        np.array([[-1.0, 1.0]] * len(STATISTICS), dtype="f4"), {"films": 12, "patients": 12}, likeness,
    )  # fmt: skip
    return replace(fitted, scales={name: Scale(0.25, 3.5) for name in (*heads, *distances)})
