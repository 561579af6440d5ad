"""A bundle's gate as it was fitted: scores of every film, and the limits beyond which one is reviewed or refused.

    fitted, _ = ...                                         # of cxr_monai.gate.storage
    scores = fitted.scores(observations, features)          # {"alteration": [N], "network_distance": [N], ...}
    fitted.worst(scores)                                    # [N]: above limits["refuse"], a film is refused

Each score is standardised on films that it was not fitted on: 0 is the median of good films, 1 their 99th percentile.
The worst of a film's scores is compared with a limit that a promised share of good films exceeds
(`cxr_monai.gate.fitting` tells how it is chosen).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cxr_monai.gate.distance import Distance
from cxr_monai.gate.likeness import Likeness
from cxr_monai.gate.linear_head import LinearHead
from cxr_monai.gate.observation import Parts, parts_of

INTACT = "intact"
"""The class of films as they should be."""
TYPICAL = 0.99
"""The share of good films whose score is below 1."""

ALTERATION, MIRRORED, QUALITY = "alteration", "mirrored", "quality"
THUMBNAIL_DISTANCE, STATISTICS_DISTANCE = "thumbnail_distance", "statistics_distance"
NETWORK_DISTANCE, PICTURE_DISTANCE = "network_distance", "picture_distance"
CHILD, LATERAL_VIEW = "child", "lateral"
GATE_SCORES = (
    ALTERATION, MIRRORED, QUALITY, THUMBNAIL_DISTANCE, STATISTICS_DISTANCE, NETWORK_DISTANCE, PICTURE_DISTANCE,
    CHILD, LATERAL_VIEW,
)  # fmt: skip
"""The scores that a film is refused by, where the gate has them:

``alteration``: log-odds that it was turned, inverted, cut off, blurred or wrongly exposed
(`cxr_monai.gate.alterations`). ``mirrored``: log-odds that it was mirrored. ``quality``: log-odds that it was cut off,
blurred or wrongly exposed, told from good films alone and by its grey levels, too. ``thumbnail_distance``,
``statistics_distance``, ``network_distance``, ``picture_distance``: Mahalanobis' distances of the thumbnail, of the
picture's statistics, of the network's pooled features, of statistics, thumbnail and edges together. ``child``,
``lateral``: log-odds of that attribute, where the manifest has films of it.
"""
AP_VIEW = "ap"
"""Log-odds of an AP against a PA view: evidence alone, no film is refused by it."""


@dataclass(frozen=True)
class Scale:
    """How a raw score is standardised: its median and its 99th percentile over good films."""

    median: float
    typical: float

    @classmethod
    def of(cls, scores: np.ndarray) -> "Scale":
        """Return the scale of good films' raw scores ``[N]``."""
        median, typical = np.quantile(scores, [0.5, TYPICAL])
        return cls(float(median), float(max(typical, median + 1e-6)))

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        return (scores - self.median) / (self.typical - self.median)


@dataclass(frozen=True, eq=False)
class FittedGate:
    """The parameters of a gate; `cxr_monai.gate.fitting` makes one, `cxr_monai.gate.storage` keeps it.

    Attributes:
        distances: by name of the score.
        heads: ``alteration``, ``mirrored``, ``quality``, and of attributes ``child``, ``lateral``, ``ap`` where there
            are films.
        scales: of each score, by name.
        limits: ``refuse`` and ``review``: the worst score above which a film is; ``far``: the distance to the nearest
            kind of films above which it is no radiograph.
        promise: the share of good films that may be refused.
        layers: of the network, whose pooled outputs are the features, one after the other; empty without them.
        statistics_limits: float ``[S, 2]``: the lowest and highest value of each statistic in 99.8 % of good films.
        likeness: the distances to films as they should be and to altered ones, which a reason must bear; None where
            any reason is taken.
        fitted_on: figures on the films, for people: counts, shares, tests.
    """

    distances: Mapping[str, Distance]
    heads: Mapping[str, LinearHead]
    scales: Mapping[str, Scale]
    limits: Mapping[str, float]
    promise: float
    layers: tuple[str, ...]
    statistics_limits: np.ndarray
    fitted_on: Mapping[str, Any] = field(default_factory=dict)
    likeness: Likeness | None = None

    def raw_scores(self, observations: np.ndarray, features: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Return the scores of films before they are standardised, ``[N]`` each; arguments as of :meth:`scores`."""
        inputs = score_inputs(observations)
        if features is not None:
            inputs[NETWORK_DISTANCE] = features
        scores = {name: head.against_first(inputs[name]) for name, head in self.heads.items()}
        return scores | {name: distance.of(inputs[name]) for name, distance in self.distances.items() if name in inputs}

    def scores(self, observations: np.ndarray, features: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Return the standardised scores of films, float ``[N]`` each, of :data:`GATE_SCORES` and :data:`AP_VIEW`.

        Args:
            observations: ``[N, OBSERVED]`` of `cxr_monai.gate.observation`.
            features: float32 ``[N, D]``, pooled features of :attr:`layers`; without them there is no
                ``network_distance``.
        """
        raw = self.raw_scores(observations, features)
        return {name: self.scales[name](values) for name, values in raw.items()}

    def worst(self, scores: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the largest of each film's scores, ``[N]``; infinite where one is no number: no film passes so."""
        worst = np.max([scores[name] for name in GATE_SCORES if name in scores], axis=0)
        return np.where(np.isnan(worst), np.inf, worst)

    def likeliest(self, observations: np.ndarray, score: str = ALTERATION) -> list[str]:
        """Return the name of the alteration that each film looks most like, or ``intact``.

        Args:
            observations: ``[N, OBSERVED]``.
            score: whose classifier tells, ``alteration`` or ``quality``.
        """
        head = self.heads[score]
        best = head.log_odds(score_inputs(observations)[score]).argmax(1)
        return [head.classes[position] for position in best]


def score_inputs(observations: np.ndarray) -> dict[str, np.ndarray]:
    """Return the numbers that each score is of, ``[N, D]``, but for those of the network.

    Args:
        observations: ``[N, OBSERVED]``.
    """
    parts = parts_of(observations)
    inputs = head_inputs(parts)
    return {
        MIRRORED: parts.edges,
        QUALITY: np.concatenate([inputs, parts.levels], axis=1),
        THUMBNAIL_DISTANCE: thumbnail_values(parts),
        STATISTICS_DISTANCE: parts.statistics,
        **dict.fromkeys((ALTERATION, PICTURE_DISTANCE, CHILD, LATERAL_VIEW, AP_VIEW), inputs),
    }


def thumbnail_values(parts: Parts) -> np.ndarray:
    """Return what the thumbnail's distance is of: its grey, 16x16 values a film, ``[N, 256]``."""
    return parts.thumbnails.reshape(-1, 16, 2, 16, 2).mean((2, 4)).reshape(-1, 256)


def head_inputs(parts: Parts) -> np.ndarray:
    """Return statistics, thumbnail and directions of edges, ``[N, 797]``."""
    return np.concatenate([parts.statistics, thumbnail_values(parts), parts.edges], axis=1)
