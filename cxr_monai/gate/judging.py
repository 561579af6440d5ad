"""A film's answer from its scores: which code, and why, in words that a physician can use.

answers = judge_films(fitted, observations, features)             # one Answer a film, by its pixels alone

A film whose worst score is beyond the limit gets the reason that explains it best: what was done to it, where undoing
that would make it like the training's; else the statistic that is furthest out; else that it is unlike the training's.
"""

from collections.abc import Mapping

import numpy as np

from cxr_monai.errors import Code
from cxr_monai.gate.alterations import ALTERATIONS, Alteration
from cxr_monai.gate.answer import ACCEPTED, Answer, GateVerdict
from cxr_monai.gate.fitted_gate import (
    ALTERATION,
    CHILD,
    GATE_SCORES,
    LATERAL_VIEW,
    MIRRORED,
    STATISTICS_DISTANCE,
    THUMBNAIL_DISTANCE,
    FittedGate,
    thumbnail_values,
)
from cxr_monai.gate.observation import Parts, parts_of

_ALTERATIONS = {alteration.name: alteration for alteration in ALTERATIONS}
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
    worst, likeliest, parts = fitted.worst(scores), fitted.likeliest(observations), parts_of(observations)
    answers = []
    for row, value in enumerate(worst):
        if value <= fitted.limits["review"]:
            answers.append(ACCEPTED)
            continue
        verdict = GateVerdict.REFUSE if value > fitted.limits["refuse"] else GateVerdict.REVIEW
        film = {name: float(values[row]) for name, values in scores.items()}
        one = Parts(*(part[row : row + 1] for part in parts))
        answers.append(_explained(fitted, verdict, film, likeliest[row], one))
    return answers


def _explained(
    fitted: FittedGate, verdict: GateVerdict, film: Mapping[str, float], likeliest: str, parts: Parts
) -> Answer:
    evidence = max((name for name in GATE_SCORES if name in film), key=lambda name: film[name])
    refuse = fitted.limits["refuse"]
    far = max(film[THUMBNAIL_DISTANCE], film[STATISTICS_DISTANCE])
    if evidence in (CHILD, LATERAL_VIEW):
        return _answer(verdict, Code.GATE_CHILD if evidence == CHILD else Code.GATE_LATERAL, evidence, film, refuse)
    alteration = _ALTERATIONS.get(likeliest)
    if alteration is None and evidence == MIRRORED:
        alteration = _ALTERATIONS["mirrored"]
    if alteration is not None and _explains(fitted, alteration, parts, film, far):
        name = MIRRORED if alteration.code == Code.GATE_MIRRORED and MIRRORED in film else ALTERATION
        return _answer(verdict, alteration.code, name, film, refuse, alteration)
    if far > fitted.limits["far"]:
        return _answer(verdict, Code.GATE_NOT_A_RADIOGRAPH, evidence, film, refuse)
    return _answer(verdict, Code.GATE_UNLIKE_TRAINING, evidence, film, refuse)


def _explains(fitted: FittedGate, alteration: Alteration, parts: Parts, film: Mapping[str, float], far: float) -> bool:
    """Return whether an alteration explains a film: undone, it is like the training's; or it is not too far for one."""
    if alteration.undo is None:
        return far <= fitted.limits["far"]
    undone = alteration.undo(parts.thumbnails[0])
    undone = (undone - undone.mean()) / (undone.std() + 1e-3)
    values = thumbnail_values(Parts(parts.statistics, undone[None].astype(np.float32), parts.edges))
    distance = float(fitted.scales[THUMBNAIL_DISTANCE](fitted.distances[THUMBNAIL_DISTANCE].of(values))[0])
    return distance <= max(fitted.limits["refuse"], film[THUMBNAIL_DISTANCE] / 2)


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
