"""What is watched of films over time: header shares, the gate's evidence, refusals, probabilities, positives.

    streams, notes = streams_of(reference, findings, thresholds)
    values = stream_values(streams, films)              # float [N, S], NaN where a film has none

A film is a row of a table with `cxr_monai.gate.bundle_gate.GATE_COLUMNS` (those that there are) and a column a finding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from cxr_monai.gate.fitted_gate import AP_VIEW, GATE_SCORES
from cxr_monai.gate.picture_statistics import STATISTICS
from cxr_monai.plurals import be

FEWEST_OF_REFERENCE = 100
"""Films of the reference below which nothing is compared with it."""
NOT_STATED, OTHER = "not stated", "another"
_HEADER_TEXTS = ("modality", "body_part", "view", "intent", "burned_in_annotation", "manufacturer")
_HEADER_NUMBERS = ("age", "rows_mm", "columns_mm")
_MOST_LEVELS, _FEWEST_OF_LEVEL = 8, 5


class StreamKind(StrEnum):
    """What a stream is of."""

    HEADER = "header"
    GATE = "gate score"
    STATISTIC = "picture statistic"
    ANSWER = "gate answer"
    PROBABILITY = "probability"
    POSITIVE = "positive"


OUTPUTS = (StreamKind.PROBABILITY, StreamKind.POSITIVE)
"""What the network says; the other kinds are of the films themselves."""


@dataclass(frozen=True)
class Stream:
    """One thing that every film has, watched over time.

    Attributes:
        name: for people.
        kind: what it is of.
        column: of the films' table.
        scale: ``number``; ``share`` of films; ``levels``, shares of several.
        levels: of ``levels``, in the order of their codes; what is none of them has the code after the last. Of
            ``share``: the texts that count, every text but the empty one where there are none.
        threshold: of ``share``: the number from which on a film counts; None where texts count.
    """

    name: str
    kind: StreamKind
    column: str
    scale: str = "number"
    levels: tuple[str, ...] = ()
    threshold: float | None = None

    @property
    def is_output(self) -> bool:
        """Whether the network says it, and not the film."""
        return self.kind in OUTPUTS

    def values(self, films: pd.DataFrame) -> np.ndarray:
        """Return the films' values, float ``[N]``: numbers, 0 and 1 of a share, codes of levels; NaN where unknown."""
        if self.column not in films:
            return np.full(len(films), np.nan)
        cells = films[self.column]
        if self.scale == "number" or self.threshold is not None:
            numbers = pd.to_numeric(cells, errors="coerce").to_numpy(float)
            return numbers if self.scale == "number" else _at_least(numbers, self.threshold)
        texts = cells.fillna("").astype(str)
        if self.scale == "share":
            codes = np.asarray(texts.isin(self.levels) if self.levels else texts != "", dtype=float)
        else:
            known = {level: code for code, level in enumerate(self.levels)}
            codes = np.asarray(texts.replace("", NOT_STATED).map(known).fillna(len(known)), dtype=float)
        return np.where(cells.isna(), np.nan, codes)


def streams_of(
    reference: pd.DataFrame, findings: Sequence[str], thresholds: Mapping[str, float]
) -> tuple[list[Stream], list[str]]:
    """Return the streams that a reference has enough films of, and sentences on those that it lacks.

    Args:
        reference: films to compare with.
        findings: the columns of probabilities.
        thresholds: the operating points by finding; findings without one have no positives.
    """
    candidates = [_header_stream(reference, name) for name in _HEADER_TEXTS]
    candidates += [Stream(name, StreamKind.HEADER, name) for name in _HEADER_NUMBERS]
    candidates += [Stream(name, StreamKind.GATE, name) for name in ("score", *GATE_SCORES, AP_VIEW)]
    candidates += [Stream(name, StreamKind.STATISTIC, name) for name in STATISTICS]
    for name, column, levels in (
        ("refused", "gate", ("refuse",)),
        ("not accepted", "gate", ("refuse", "review")),
        ("duplicates", "duplicate_of", ()),
        ("mended", "mended", ()),
    ):
        candidates.append(Stream(name, StreamKind.ANSWER, column, "share", levels))
    for name in findings:
        candidates.append(Stream(name, StreamKind.PROBABILITY, name))
        if name in thresholds:
            positive = Stream(f"{name} positive", StreamKind.POSITIVE, name, "share", threshold=thresholds[name])
            candidates.append(positive)
    streams = [
        stream
        for stream in candidates
        if stream is not None and np.isfinite(stream.values(reference)).sum() >= FEWEST_OF_REFERENCE
    ]
    watched, notes = {stream.column for stream in streams}, []
    if not watched & {*_HEADER_TEXTS, *_HEADER_NUMBERS}:
        notes.append("The reference's films have no headers, so header shares are not compared.")
    if "gate" not in watched:
        notes.append(
            "The reference has no evidence of a gate, so that a change of the machine cannot be told from one of the "
            "patients."
        )
    if thresholds and (silent := [name for name in findings if name not in thresholds]):
        notes.append(f"{', '.join(silent)} {be(len(silent))} without an operating point: positives are not counted.")
    return streams, notes


def stream_values(streams: Sequence[Stream], films: pd.DataFrame) -> np.ndarray:
    """Return the values of N films in S streams, float ``[N, S]``."""
    return np.stack([stream.values(films) for stream in streams], axis=1)


def _header_stream(reference: pd.DataFrame, name: str) -> Stream | None:
    """Return the levels of a header's text; None where no film of the reference states it."""
    texts = reference[name].fillna("").astype(str) if name in reference else pd.Series(dtype=str)
    if not (texts != "").any():
        return None
    counts = texts.replace("", NOT_STATED).value_counts()
    levels = tuple(map(str, counts[counts >= _FEWEST_OF_LEVEL].index[:_MOST_LEVELS]))
    return Stream(name, StreamKind.HEADER, name, "levels", levels)


def _at_least(numbers: np.ndarray, threshold: float | None) -> np.ndarray:
    return np.where(np.isnan(numbers), np.nan, numbers >= threshold)
