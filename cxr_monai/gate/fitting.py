"""Fitting a gate on the films that a network was trained and validated on: no labels, no other pictures.

    fitted = fit_gate(material, promise=0.01, layers=("features.denseblock2", "features"))

What is fitted on some patients is standardised and limited on others: the films are divided into folds by patient, each
fold is scored by what was fitted on the rest, and the limits are quantiles of those scores (cross-conformal prediction:
Vovk 2015, doi 10.1007/s10472-013-9368-4). What is stored is fitted on all.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.model_selection import KFold

from cxr_monai.errors import Code, GateError
from cxr_monai.gate.alterations import ALTERATIONS
from cxr_monai.gate.distance import MOST_COMPONENTS, Distance
from cxr_monai.gate.fitted_gate import (
    ALTERATION,
    AP_VIEW,
    CHILD,
    INTACT,
    LATERAL_VIEW,
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
from cxr_monai.gate.likeness import LIKENESS_COMPONENTS, Likeness
from cxr_monai.gate.linear_head import LinearHead
from cxr_monai.gate.observation import mirrored_edges, parts_of
from cxr_monai.plurals import counted

GATE_FOLDS = 5
FEWEST = 20
"""Good films below which no gate is fitted."""
FEWEST_WITH_ATTRIBUTE = 10
"""Films of an attribute (children, laterals) below which it has no classifier."""
REVIEWED = 5
"""The share of good films that may be reviewed or refused, as a multiple of those that may be refused."""
PROMISE = 0.01
"""The share of films like the training's that may be refused."""
_MIRRORED = "mirrored"
_NAMES = tuple(alteration.name for alteration in ALTERATIONS)
_QUALITY_CODES = (Code.GATE_CROPPED, Code.GATE_BLURRED, Code.GATE_CLIPPED)
_INSIDE = (0.001, 0.999)


@dataclass(frozen=True, eq=False)
class GateMaterial:
    """The films that a gate is fitted on.

    Attributes:
        observations: float32 ``[N, OBSERVED]`` of the films as they are.
        altered: float32 ``[N, A, OBSERVED]`` of their copies in every alteration of
            `cxr_monai.gate.alterations.ALTERATIONS`; NaN for films of which no copies were made.
        features: float32 ``[N, D]``, the network's pooled features; None where it gives none.
        patients: N keys; films of one key are never on both sides.
        is_validation: bool ``[N]``: the network was not trained on them.
        is_good: bool ``[N]``: of a view and an age that the bundle is meant for.
        attributes: bool ``[N]`` by name (``child``, ``lateral``, ``ap``): films known to have it.
    """

    observations: np.ndarray
    altered: np.ndarray
    features: np.ndarray | None
    patients: np.ndarray
    is_validation: np.ndarray
    is_good: np.ndarray
    attributes: Mapping[str, np.ndarray]

    def take(self, rows: np.ndarray) -> "GateMaterial":
        """Return some of the films: bool ``[N]``, or positions."""
        return GateMaterial(
            self.observations[rows],
            self.altered[rows],
            None if self.features is None else self.features[rows],
            self.patients[rows],
            self.is_validation[rows],
            self.is_good[rows],
            {name: has[rows] for name, has in self.attributes.items()},
        )


def fit_gate(material: GateMaterial, layers: Sequence[str] = (), promise: float = PROMISE, seed: int = 0) -> FittedGate:
    """Fit a gate.

    Args:
        material: the films.
        layers: of the network, that the features are of.
        promise: the share of good films that may be refused.
        seed: of the folds.

    Raises:
        GateError: ``gate-missing`` for too few good films or patients to fit one on.
    """
    good, patients = int(material.is_good.sum()), len(set(material.patients[material.is_good]))
    if good < FEWEST or patients < GATE_FOLDS:
        raise GateError(
            Code.GATE_MISSING,
            f"{counted(good, 'film')} of {counted(patients, 'patient')} are too few to fit a gate on: it needs "
            f"{FEWEST} films of {GATE_FOLDS} patients.",
            fix="Fit it on more films ('cxr-monai gate fit'), or train with --gate none.",
        )
    if material.features is not None and not np.isfinite(material.features).all():
        raise GateError(
            Code.GATE_MISSING,
            "the network gives features that are no numbers: no gate can be fitted to it.",
            fix="Train the network again, in float32 (--amp False).",
        )
    raw: dict[str, np.ndarray] = {}
    copies = _Copies.of(material)
    material = replace(material, altered=material.altered[:, :0])  # hundreds of megabytes that no fold takes again
    keys = np.unique(material.patients)
    for kept, left_out in KFold(GATE_FOLDS, shuffle=True, random_state=seed).split(keys):
        fitted_on, scored = (np.flatnonzero(np.isin(material.patients, keys[part])) for part in (kept, left_out))
        part = _parameters(material.take(fitted_on), copies.take(fitted_on), layers, promise)
        rest = material.take(scored)
        for name, values in part.raw_scores(rest.observations, rest.features).items():
            raw.setdefault(name, np.full(len(material.observations), np.nan))[scored] = values
    fitted = _parameters(material, copies, layers, promise)
    # a classifier that the rest of some fold had too few films for has no score of that fold's films: it is left out
    heads = {name: head for name, head in fitted.heads.items() if name in raw and np.isfinite(raw[name]).all()}
    fitted = replace(fitted, heads=heads)
    raw = {name: values for name, values in raw.items() if name in {*fitted.heads, *fitted.distances}}
    standardised = {name: _standardise(name, values, material) for name, values in raw.items()}
    scales = {name: scale for name, (scale, _) in standardised.items()}
    scores = {name: values for name, (_, values) in standardised.items()}
    worst = fitted.worst(scores)[material.is_good]
    limits = {
        "refuse": conformal_limit(worst, promise),
        "review": conformal_limit(worst, min(REVIEWED * promise, 0.5)),
    }
    likeness, far = _likeness(material, copies)
    limits["far"] = max(far, limits["refuse"])
    about = _about(material, worst, limits, promise)
    return replace(fitted, scales=scales, limits=limits, likeness=likeness, fitted_on=about)


def conformal_limit(scores: np.ndarray, share: float) -> float:
    """Return the limit that a further score exceeds with a probability of at most ``share``.

    With too few scores for that the limit is the largest of them, and the share it keeps is 1 / (N + 1).

    Args:
        scores: ``[N]``, exchangeable with the further one.
        share: in (0, 1).

    >>> conformal_limit(np.arange(199.0), 0.01)
    197.0
    """
    rank = min(math.ceil((len(scores) + 1) * (1 - share)), len(scores))
    return float(np.sort(scores)[rank - 1])


def _standardise(name: str, raw: np.ndarray, material: GateMaterial) -> tuple[Scale, np.ndarray]:
    """Return the scale of a score, of validation films where the network has a part in it, and the score of all."""
    is_good, is_validation = material.is_good, material.is_validation
    if name != NETWORK_DISTANCE or (is_good & is_validation).sum() < FEWEST:
        scale = Scale.of(raw[is_good])
        return scale, scale(raw)
    # films that the network was trained on lie nearer: each part by its own scale, the stored one is of the others
    scale, trained_on = Scale.of(raw[is_good & is_validation]), ~is_validation
    values = scale(raw)
    if (is_good & trained_on).any():
        values[trained_on] = Scale.of(raw[is_good & trained_on])(raw[trained_on])
    return scale, values


@dataclass(frozen=True, eq=False)
class _Copies:
    """What heads are fitted on, of good films and of their copies in every alteration.

    Attributes:
        films: positions of the M films in the material.
        values: float32 ``[1 + A, M, D]``: of the films as they are, then of their copies.
        levels: float32 ``[1 + A, M, GREY_BINS]``: their grey levels.
    """

    films: np.ndarray
    values: np.ndarray
    levels: np.ndarray

    @classmethod
    def of(cls, material: GateMaterial) -> "_Copies":
        films = np.flatnonzero(material.is_good & np.isfinite(material.altered[:, 0, 0]))
        kinds = [material.observations[films], *material.altered[films].swapaxes(0, 1)]
        values = np.stack([score_inputs(observations)[ALTERATION] for observations in kinds])
        return cls(films, values, np.stack([parts_of(observations).levels for observations in kinds]))

    def take(self, films: np.ndarray) -> "_Copies":
        kept = np.isin(self.films, films)
        return _Copies(self.films[kept], self.values[:, kept], self.levels[:, kept])

    @property
    def classes(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.values)), len(self.films))

    @property
    def rows(self) -> np.ndarray:
        return self.values.reshape(-1, self.values.shape[-1])

    def quality_head(self) -> LinearHead:
        """Return the classifier of films as they should be against those of bad quality alone: a film that was turned
        is so far from both that it would hide what lies between them."""
        kinds = [0, *(1 + place for place, each in enumerate(ALTERATIONS) if each.code in _QUALITY_CODES)]
        values = np.concatenate([self.values[kinds], self.levels[kinds]], axis=2)
        classes = np.repeat(np.arange(len(kinds)), len(self.films))
        names = [(INTACT, *_NAMES)[kind] for kind in kinds]
        return LinearHead.fit(values.reshape(-1, values.shape[-1]), classes, names)


def _parameters(material: GateMaterial, copies: _Copies, layers: Sequence[str], promise: float) -> FittedGate:
    """Return the distances and classifiers of films; no scales or limits yet."""
    good = material.take(material.is_good)
    values = score_inputs(good.observations)
    if good.features is not None:
        values[NETWORK_DISTANCE] = good.features
    distances = {
        name: Distance.fit(values[name], LIKENESS_COMPONENTS if name == PICTURE_DISTANCE else MOST_COMPONENTS)
        for name in (THUMBNAIL_DISTANCE, STATISTICS_DISTANCE, PICTURE_DISTANCE, NETWORK_DISTANCE)
        if name in values
    }
    return FittedGate(
        distances,
        {**_alteration_heads(good, copies), **_attribute_heads(material)},
        {},
        {},
        promise,
        tuple(layers) if good.features is not None else (),
        np.quantile(values[STATISTICS_DISTANCE], _INSIDE, axis=0).T,
    )


def _alteration_heads(good: GateMaterial, copies: _Copies) -> dict[str, LinearHead]:
    edges = parts_of(good.observations).edges
    both, is_mirrored = np.concatenate([edges, mirrored_edges(edges)]), np.repeat([0, 1], len(edges))
    return {
        ALTERATION: LinearHead.fit(copies.rows, copies.classes, (INTACT, *_NAMES)),
        MIRRORED: LinearHead.fit(both, is_mirrored, (INTACT, _MIRRORED)),
        QUALITY: copies.quality_head(),
    }


def _attribute_heads(material: GateMaterial) -> dict[str, LinearHead]:
    inputs, heads = score_inputs(material.observations), {}
    for name in (CHILD, LATERAL_VIEW, AP_VIEW):
        has = material.attributes.get(name)
        if has is None:
            continue
        others = material.is_good & ~has
        if min(has.sum(), others.sum()) < FEWEST_WITH_ATTRIBUTE:
            continue
        rows = has | others
        heads[name] = LinearHead.fit(inputs[name][rows], has[rows].astype(int), (f"no {name}", name))
    return heads


def _likeness(material: GateMaterial, copies: _Copies) -> tuple[Likeness, float]:
    """Return the distances to every kind of film, and the distance to the nearest within which 99 % of all lie."""
    names, kinds, films = [INTACT, *_NAMES], [copies.classes], [copies.rows]
    for name in (CHILD, LATERAL_VIEW):
        has = material.attributes.get(name)
        if has is not None and has.sum() >= FEWEST_WITH_ATTRIBUTE:
            films.append(score_inputs(material.observations[has])[name])
            kinds.append(np.full(len(films[-1]), len(names)))
            names.append(name)
    return Likeness.fit(np.concatenate(films), np.concatenate(kinds), names)


def _about(material: GateMaterial, worst: np.ndarray, limits: Mapping[str, float], promise: float) -> dict[str, Any]:
    good = material.take(material.is_good)
    return {
        "films": len(good.observations),
        "patients": len(set(good.patients)),
        "validation_films": int(good.is_validation.sum()),
        "films_not_intended": int((~material.is_good).sum()),
        "attributes": {name: int(has.sum()) for name, has in material.attributes.items()},
        "refused_share": float((worst > limits["refuse"]).mean()),
        "reviewed_share": float(((worst > limits["review"]) & (worst <= limits["refuse"])).mean()),
        "promise_kept_by_number": bool((len(worst) + 1) * promise >= 1),
    }
