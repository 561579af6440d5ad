"""A film's answer from its scores: which code, and why, in words that a physician can use.

answers = judge_films(fitted, observations, features)             # one Answer a film, by its pixels alone

A film whose worst score is beyond the limit gets the reason that explains it best: what was done to it, or that it is a
child's or a lateral, where it is like films of that kind (`cxr_monai.gate.likeness`); that it is no chest radiograph,
where it is far from films of every kind; else that it is unlike the training's.
"""

import math
from collections.abc import Mapping

import numpy as np

from cxr_monai.errors import Code
from cxr_monai.gate.alterations import ALTERATIONS, Alteration
from cxr_monai.gate.answer import ACCEPTED, Answer, GateVerdict
from cxr_monai.gate.fitted_gate import (
    ALTERATION,
    CHILD,
    GATE_SCORES,
    INTACT,
    LATERAL_VIEW,
    MIRRORED,
    PICTURE_DISTANCE,
    QUALITY,
    STATISTICS_DISTANCE,
    FittedGate,
    score_inputs,
)

_ALTERATIONS = {alteration.name: alteration for alteration in ALTERATIONS}
_ATTRIBUTES = {CHILD: Code.GATE_CHILD, LATERAL_VIEW: Code.GATE_LATERAL}
_NEAREST = "nearest"
_SENTENCES = {
    Code.GATE_ROTATED: "The film looks {what}.",
    Code.GATE_INVERTED: "The film looks {what}: bone is dark and air is bright.",
    Code.GATE_MIRRORED: "The film looks mirrored, or the patient's heart lies on the right: a person must tell which.",
    Code.GATE_CROPPED: "The film looks cut off: {what}, not the whole chest.",
    Code.GATE_BLURRED: "The film looks {what}.",
    Code.GATE_CLIPPED: "The film looks wrongly exposed or exported: {what}.",
    Code.GATE_CHILD: "The film looks like a child's chest, which this network was not made for.",
    Code.GATE_LATERAL: "The film looks like a lateral view; this network was made for frontal ones.",
    Code.GATE_UNLIKE_TRAINING: "The film is unlike those that the network was trained on.",
    Code.GATE_NOT_A_RADIOGRAPH: "The picture does not look like a chest radiograph.",
}


def judge_films(
    fitted: FittedGate,
    observations: np.ndarray,
    scores: Mapping[str, np.ndarray],
) -> list[Answer]:
    """Return the answer about each film, by its pixels.

    Args:
        fitted: the gate.
        observations: float32 ``[N, OBSERVED]``.
        scores: of :meth:`FittedGate.scores`, ``[N]`` each.
    """
    worst = fitted.worst(scores)
    flagged = np.flatnonzero(worst > fitted.limits["review"])
    answers = [ACCEPTED] * len(worst)
    if not len(flagged):
        return answers
    likeliest = [
        of_all if of_all != INTACT or of_quality == INTACT else of_quality
        for of_all, of_quality in zip(
            fitted.likeliest(observations[flagged]), _likeliest_quality(fitted, observations[flagged]), strict=True
        )
    ]
    distances = _distances(fitted, observations[flagged])
    for position, row in enumerate(flagged):
        verdict = GateVerdict.REFUSE if worst[row] > fitted.limits["refuse"] else GateVerdict.REVIEW
        film = {name: math.inf if np.isnan(values[row]) else float(values[row]) for name, values in scores.items()}
        code, evidence, alteration = _reason(fitted, film, likeliest[position], distances[position])
        limit = fitted.limits[verdict]
        if film[evidence] <= limit:  # the reason's own score would not have stopped the film: show the one that did
            evidence = _worst_score(film)
        answers[row] = _answer(verdict, code, evidence, film, limit, alteration)
    return answers


def _likeliest_quality(fitted: FittedGate, observations: np.ndarray) -> list[str]:
    return fitted.likeliest(observations, QUALITY) if QUALITY in fitted.heads else [INTACT] * len(observations)


def _distances(fitted: FittedGate, observations: np.ndarray) -> list[dict[str, float]]:
    """Return each film's distance to each kind of films as a multiple of that kind's limit; empty where unknown."""
    if fitted.likeness is None:
        return [{} for _ in observations]
    known = fitted.likeness
    distances = known.of(score_inputs(observations)[PICTURE_DISTANCE])
    nearest = distances.min(1) / fitted.limits["far"]
    shares = np.column_stack([distances / known.limits, nearest])
    return [dict(zip((*known.classes, _NEAREST), row.tolist(), strict=True)) for row in shares]


def _reason(
    fitted: FittedGate, film: Mapping[str, float], likeliest: str, distances: Mapping[str, float]
) -> tuple[Code, str, Alteration | None]:
    """Return the code, the score that is its evidence, and what was done to the film, if that is the reason."""
    evidence = _worst_score(film)
    alteration = _ALTERATIONS.get(likeliest)
    if alteration is None and evidence == MIRRORED:
        alteration = _ALTERATIONS[MIRRORED]
    shown = MIRRORED if alteration is _ALTERATIONS[MIRRORED] and MIRRORED in film else ALTERATION
    if evidence == QUALITY:
        shown = QUALITY
    is_usual = max(film.get(name, 0) for name in (STATISTICS_DISTANCE, PICTURE_DISTANCE)) <= fitted.limits["refuse"]
    if evidence == LATERAL_VIEW or (evidence == CHILD and is_usual):  # else more than age makes it unlike the others
        kind, code, alteration = evidence, _ATTRIBUTES[evidence], None
    elif alteration is not None and film[shown] > fitted.limits["review"]:
        kind, code, evidence = alteration.name, alteration.code, shown
    else:
        kind, code, alteration = INTACT, Code.GATE_UNLIKE_TRAINING, None
    if distances.get(kind, 0) <= 1:
        return code, evidence, alteration
    is_far = distances[_NEAREST] > 1
    return Code.GATE_NOT_A_RADIOGRAPH if is_far else Code.GATE_UNLIKE_TRAINING, evidence, None


def _worst_score(film: Mapping[str, float]) -> str:
    return max((name for name in GATE_SCORES if name in film), key=lambda name: film[name])


def _answer(
    verdict: GateVerdict,
    code: Code,
    evidence: str,
    film: Mapping[str, float],
    limit: float,
    alteration: Alteration | None = None,
) -> Answer:
    sentence = _SENTENCES[code].format(what=alteration.name if alteration else "")
    return Answer(
        verdict,
        code,
        evidence,
        f"{film[evidence]:.2f}",
        f"at most {limit:.2f}, 1 being the 99th percentile of the training's films",
        sentence,
        _mends(alteration),
        alteration.name if alteration else "",
    )


def _mends(alteration: Alteration | None) -> tuple[str, ...]:
    """Return what would make an altered film as it should be; nothing where it is mirrored, too."""
    if alteration is None or alteration.undo is None or "mirrored" in alteration.name:
        return ()
    words = {"rotation": "turned" in alteration.name, "inversion": "inverted" in alteration.name}
    return tuple(name for name, is_needed in words.items() if is_needed)
