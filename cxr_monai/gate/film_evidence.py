"""All evidence of a film, for a person: every score beside its limits, what it looks most like, what is unusual.

for film in film_evidence(gate, answers, observations):
    print("\\n".join(evidence_lines(film)))
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import softmax

from cxr_monai.gate.alterations import ALTERATIONS, Alteration
from cxr_monai.gate.answer import Answer
from cxr_monai.gate.bundle_gate import HEADER_EVIDENCE, FilmAnswers, Gate
from cxr_monai.gate.fitted_gate import (
    ALTERATION,
    AP_VIEW,
    CHILD,
    GATE_SCORES,
    INTACT,
    LATERAL_VIEW,
    MIRRORED,
    NETWORK_DISTANCE,
    PICTURE_DISTANCE,
    QUALITY,
    STATISTICS_DISTANCE,
    THUMBNAIL_DISTANCE,
    score_inputs,
)
from cxr_monai.gate.observation import parts_of
from cxr_monai.gate.picture_statistics import STATISTICS

SCORE_WORDS: Mapping[str, str] = {
    ALTERATION: "turned, inverted, cut, blurred, wrongly exposed",
    MIRRORED: "left and right exchanged",
    QUALITY: "cut, blurred, wrongly exposed: by quality alone",
    THUMBNAIL_DISTANCE: "unlike the training: overall look",
    STATISTICS_DISTANCE: "unlike the training: picture quality",
    NETWORK_DISTANCE: "unlike the training: to the network",
    PICTURE_DISTANCE: "unlike the training: all of the picture",
    CHILD: "like a child's chest",
    LATERAL_VIEW: "like a lateral view",
    AP_VIEW: "like an AP view (for information)",
}
"""What each score is, for people."""
WIDEST = 2.0
"""Where bars end, in multiples of the limit beyond which a film is refused."""
_BAR = 30
"""Characters of a bar of text up to :data:`WIDEST`."""
_LIKELIEST = 3
_MOST_UNUSUAL = 5


@dataclass(frozen=True)
class Unusual:
    """A statistic that is outside of what 99.8 % of good films have: its name, its value, the ends of that range."""

    name: str
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.name} {self.value:.3g} (usually {self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True, eq=False)
class FilmEvidence:
    """All that a gate knows of one film.

    Attributes:
        name: of the film.
        answer: the gate's.
        scores: by name, as multiples of the limit beyond which a film is refused: above 1, it is.
        review: the same of the limit beyond which a film is reviewed.
        likeliest: what it looks most like, ``intact`` or an alteration, each with its share of what all add up to.
        unusual: statistics outside of their usual range, the furthest first.
        header: what the header says, by name, in words; empty without one.
        duplicate_of: the film that it repeats; empty where it repeats none.
    """

    name: str
    answer: Answer
    scores: Mapping[str, float]
    review: float
    likeliest: tuple[tuple[str, float], ...]
    unusual: tuple[Unusual, ...]
    header: Mapping[str, str]
    duplicate_of: str = ""

    @property
    def looks_like(self) -> str:
        """``turned by 180 degrees 98%, intact 2%``."""
        return ", ".join(f"{name} {share:.0%}" for name, share in self.likeliest if share >= 0.005)

    @property
    def unusual_words(self) -> str:
        """``mean 0.81 (usually 0.2 to 0.62), and 3 more``: the furthest out, and how many others."""
        more = len(self.unusual) - _MOST_UNUSUAL
        shown = [*map(str, self.unusual[:_MOST_UNUSUAL]), *([f"and {more} more"] if more > 0 else [])]
        return ", ".join(shown)

    @property
    def alteration(self) -> Alteration | None:
        """What seems to have been done to it, where that can be undone and the film is not accepted; else None."""
        if self.answer.code is None or self.likeliest[0][0] == INTACT:
            return None
        by_name = {alteration.name: alteration for alteration in ALTERATIONS}
        alteration = by_name.get(self.likeliest[0][0])
        fits = alteration is not None and alteration.code == self.answer.code and alteration.undo is not None
        return alteration if fits else None


def film_evidence(gate: Gate, answers: FilmAnswers, observations: np.ndarray) -> list[FilmEvidence]:
    """Return all evidence of films.

    Args:
        gate: with a fitted one.
        answers: of ``gate.judge``, of N films.
        observations: float32 ``[N, OBSERVED]`` of these.

    Raises:
        RuntimeError: for a bundle without a gate.
    """
    if gate.fitted is None:
        raise RuntimeError("there is no gate whose evidence could be shown")
    fitted, values_of_films = gate.fitted, np.asarray(observations, dtype=np.float32)
    parts = parts_of(values_of_films)
    head = fitted.heads[ALTERATION]
    shares = softmax(head.log_odds(score_inputs(values_of_films)[ALTERATION]).astype(float), axis=1)
    refuse = fitted.limits["refuse"]
    low, high = fitted.statistics_limits.T
    films = []
    rows: list[dict[Any, Any]] = answers.table.to_dict("records")
    for answer, row, share, values in zip(answers.answers, rows, shares, parts.statistics, strict=True):
        beyond = np.maximum(low - values, values - high) / np.maximum(high - low, 1e-6)
        places = [place for place in np.argsort(-beyond) if beyond[place] > 0]
        order = np.argsort(-share)[:_LIKELIEST]
        films.append(
            FilmEvidence(
                str(row["image"]),
                answer,
                {name: float(row[name]) / refuse for name in (*GATE_SCORES, AP_VIEW) if not pd.isna(row[name])},
                fitted.limits["review"] / refuse,
                tuple((head.classes[place], float(share[place])) for place in order),
                tuple(Unusual(STATISTICS[at], float(values[at]), float(low[at]), float(high[at])) for at in places),
                _header(row),
                str(row["duplicate_of"] or ""),
            )
        )
    return films


def _header(row: Mapping[str, Any]) -> dict[str, str]:
    facts = {}
    for name in ("taken_on", *HEADER_EVIDENCE):
        value = row[name]
        if value is None or value == "" or (isinstance(value, float) and np.isnan(value)):
            continue
        facts[name] = f"{value:g}" if isinstance(value, float) else str(value)
    return facts


def evidence_lines(film: FilmEvidence) -> list[str]:
    """Return all evidence of a film as lines of text: verdict, code and sentence; a bar a score; the rest.

    Bars end at twice the limit; ``|`` is the limit beyond which a film is refused, ``:`` that beyond which it is
    reviewed.
    """
    answer = film.answer
    lines = [f"{film.name}: {answer.verdict}{f' [{answer.code}]' if answer.code else ''}"]
    if answer.sentence:
        lines.append(f"  {answer.sentence}")
    if answer.evidence:
        lines.append(f"  {answer.evidence} is {answer.value}; expected {answer.expected}")
    if answer.mend:
        lines.append(f"  'cxr-monai predict --mend {','.join(answer.mend)}' would undo it and predict")
    if film.duplicate_of:
        lines.append(f"  repeats: {film.duplicate_of}")
    lines += [
        f"  {name:20} {times_limit(value):>7} {_bar(value, film.review)}".rstrip()
        for name, value in film.scores.items()
    ]
    lines.append(f"  looks like: {film.looks_like}")
    if film.unusual:
        lines.append(f"  unusual: {film.unusual_words}")
    if film.header:
        lines.append("  header: " + ", ".join(f"{name} {value}" for name, value in film.header.items()))
    return lines


def times_limit(value: float) -> str:
    """Return a score as a multiple of the limit, in words: ``1.27``; ``>999``, since nobody needs more digits."""
    return f"{value:.2f}" if value < 1000 else ">999"


def _bar(value: float, review: float) -> str:
    """Return ``####  :    |         ``: the value, and the two limits where they lie."""
    length = round(_BAR * min(max(value, 0), WIDEST) / WIDEST)
    characters = list("#" * length + " " * (_BAR - length))
    for place, mark in ((review, ":"), (1.0, "|")):
        characters[min(round(_BAR * place / WIDEST), _BAR - 1)] = mark
    return "".join(characters) + (">" if value > WIDEST else "")
