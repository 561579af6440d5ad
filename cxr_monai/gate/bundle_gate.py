"""The gate before every answer: from the films of a batch to an answer and a row of evidence each.

gate = open_gate(root, metadata, mode="refuse", weights=path)
gate.observer                                       # of a RadiographDataset; None where no film is judged
answers = gate.judge(names, observations, headers, digests, hashes, features)       # .answers, .table

A bundle of before has none: ``gate.missing`` says so, and its films are predicted as ever.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cxr_monai.bundle.digest import file_digest
from cxr_monai.bundle.gated import GATE, gate_item
from cxr_monai.bundle.intended_films import IntendedFilms
from cxr_monai.data.film_header import FilmHeader
from cxr_monai.gate.answer import ACCEPTED, Answer, GateMode, GateVerdict, parse_gate_mode
from cxr_monai.gate.duplicate_films import DuplicateFilms
from cxr_monai.gate.film_observer import FilmObserver
from cxr_monai.gate.fitted_gate import AP_VIEW, GATE_SCORES, FittedGate
from cxr_monai.gate.header_rules import judge_header
from cxr_monai.gate.judging import judge_films
from cxr_monai.gate.observation import parts_of
from cxr_monai.gate.picture_statistics import STATISTICS
from cxr_monai.gate.storage import read_gate

logger = logging.getLogger(__name__)

HEADER_EVIDENCE = (
    "modality", "body_part", "view", "age", "intent", "burned_in_annotation", "rows_mm", "columns_mm", "manufacturer",
)  # fmt: skip
GATE_COLUMNS = (
    "image", "gate", "code", "taken_on", "mended", "score", *GATE_SCORES, AP_VIEW, *HEADER_EVIDENCE, *STATISTICS,
    "pixel_digest", "picture_hash", "duplicate_of",
)  # fmt: skip
"""The columns of ``predictions.csv.gate.csv``: ``gate`` is accept, review or refuse whatever the mode (in ``review`` a
refused film has probabilities all the same), ``code`` why; ``taken_on`` when, by the header; ``mended`` what was
undone; ``score`` the worst of the scores as a multiple of the limit beyond which a film is refused; then a column an
evidence, empty where there is none."""


@dataclass(frozen=True, eq=False)
class FilmAnswers:
    """The gate's answers about some films.

    Attributes:
        answers: one a film, as the mode makes of them: in ``review``, what would be refused is to be reviewed.
        table: one row a film, of :data:`GATE_COLUMNS`, with the gate's own verdict.
    """

    answers: list[Answer]
    table: pd.DataFrame

    def errors(self) -> list[tuple[str, str, str]]:
        """Return name, code and reason of the refused films, as lists of errors have them."""
        return [
            (name, str(answer.code), answer.reason)
            for name, answer in zip(self.table["image"], self.answers, strict=True)
            if answer.verdict == GateVerdict.REFUSE
        ]

    @property
    def is_refused(self) -> np.ndarray:
        """Whether each film is refused, bool ``[N]``."""
        return np.array([answer.verdict == GateVerdict.REFUSE for answer in self.answers], dtype=bool)


@dataclass(frozen=True, eq=False)
class Gate:
    """A bundle's gate, opened.

    Attributes:
        fitted: None where the bundle has none, or none is asked for.
        intended: the films that the bundle is meant for.
        mode: what is done with the answers.
        missing: why there is no gate, as a sentence; empty where there is one.
        digest: of the bundle's ``gate.json``; empty where there is none.
        duplicates: the films seen so far.
    """

    fitted: FittedGate | None = None
    intended: IntendedFilms = field(default_factory=IntendedFilms)
    mode: GateMode = GateMode.OFF
    missing: str = ""
    digest: str = ""
    duplicates: DuplicateFilms = field(default_factory=DuplicateFilms)

    @property
    def observer(self) -> FilmObserver | None:
        """What observes films as they are read; None where no film is judged."""
        return None if self.fitted is None else FilmObserver()

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers of the network whose pooled outputs are its features."""
        return () if self.fitted is None else self.fitted.layers

    @property
    def about(self) -> dict[str, Any]:
        """What stands beside predictions: mode, digest, promise, or why there is none."""
        if self.fitted is None:
            return {"mode": str(self.mode), "missing": self.missing} if self.missing else {"mode": str(self.mode)}
        return {"mode": str(self.mode), "digest": self.digest, "promise": self.fitted.promise}

    def afresh(self) -> "Gate":
        """Return the same gate before it has seen a film; what it knows of training films stays."""
        return replace(self, duplicates=DuplicateFilms(self.duplicates.training))

    def judge(
        self,
        names: Sequence[str],
        observations: torch.Tensor | np.ndarray,
        headers: Sequence[str],
        digests: Sequence[str],
        hashes: Sequence[str],
        features: torch.Tensor | np.ndarray | None = None,
    ) -> FilmAnswers:
        """Judge films; all arguments are of N films that could be read.

        Args:
            names: of the films.
            observations: float32 ``[N, OBSERVED]``.
            headers: ``FilmHeader.to_text`` of each, or empty.
            digests, hashes: `cxr_monai.gate.duplicates` of each.
            features: float32 ``[N, D]`` of :attr:`layers`; None where the network in use is not the gate's.

        Raises:
            RuntimeError: for a bundle without a gate.
        """
        if self.fitted is None:
            raise RuntimeError("there is no gate to judge films with")
        values = np.asarray(observations, dtype=np.float32)
        scores = self.fitted.scores(values, None if features is None else np.asarray(features, dtype=np.float32))
        opened = [FilmHeader.from_text(text) for text in headers]
        by_pixels = judge_films(self.fitted, values, scores) if len(values) else []
        doubles = [self.duplicates.of(*film) for film in zip(names, digests, hashes, strict=True)]
        verdicts = [
            _first(judge_header(header, self.intended), answer, double.answer)
            for header, answer, double in zip(opened, by_pixels, doubles, strict=True)
        ]
        answers = [self._by_mode(verdict) for verdict in verdicts]
        table = pd.DataFrame(index=range(len(names)), columns=list(GATE_COLUMNS), dtype=object)
        table["image"] = list(names)
        table["gate"] = [str(answer.verdict) for answer in verdicts]
        table["code"] = [str(answer.code or "") for answer in answers]
        table["taken_on"] = [header.taken_on if header else "" for header in opened]
        table["mended"] = ""
        table["score"] = self.fitted.worst(scores) / self.fitted.limits["refuse"] if len(values) else []
        for name, column in {**scores, **dict(zip(STATISTICS, parts_of(values).statistics.T, strict=True))}.items():
            table[name] = column
        table["pixel_digest"], table["picture_hash"] = list(digests), list(hashes)
        table["duplicate_of"] = [double.name for double in doubles]
        for row, header in enumerate(opened):
            if header is not None:
                table.loc[row, list(HEADER_EVIDENCE)] = _evidence_of(header)
        return FilmAnswers(answers, table)

    def _by_mode(self, answer: Answer) -> Answer:
        if self.mode == GateMode.REVIEW and answer.verdict == GateVerdict.REFUSE:
            return replace(answer, verdict=GateVerdict.REVIEW)
        return answer


def open_gate(
    root: str | Path, metadata: Mapping[str, Any], mode: str = GateMode.REFUSE, weights: str | Path | None = None
) -> Gate:
    """Open a bundle's gate.

    Args:
        root: the bundle's folder.
        metadata: the bundle's.
        mode: of :class:`GateMode`.
        weights: those in use; a gate knows the features of the bundle's own ``model.pt`` alone, and is left out with
            others, which is said.

    Raises:
        GateError: ``gate-invalid`` for a damaged one, unless the mode is ``off``.
        SettingError: ``setting-invalid`` for another mode.
        BundleError: ``bundle-invalid`` for intended films that cannot be.
    """
    chosen = parse_gate_mode(mode)
    if chosen == GateMode.OFF:
        return Gate(mode=chosen)
    read = read_gate(root)
    if read is None:
        why = gate_item(root).get("missing")
        because = f" since {why}" if why else ""
        return Gate(
            mode=chosen,
            missing=f"this bundle has no gate{because}: no film is refused ('cxr-monai gate fit' makes one)",
        )
    fitted, known = read
    if weights is not None and file_digest(Path(weights)) != known:
        return Gate(mode=chosen, missing="the gate knows other weights than those in use: no film is refused")
    intended = IntendedFilms.of(metadata) or IntendedFilms()
    return Gate(fitted, intended, chosen, digest=file_digest(Path(root) / GATE))


def _first(*answers: Answer) -> Answer:
    """Return the first refusal, else the first that is to be reviewed, else acceptance."""
    for verdict in (GateVerdict.REFUSE, GateVerdict.REVIEW):
        for answer in answers:
            if answer.verdict == verdict:
                return answer
    return ACCEPTED


def _evidence_of(header: FilmHeader) -> list[Any]:
    rows, columns = header.field_of_view or (None, None)
    burned_in = {True: "yes", False: "no", None: ""}[header.has_burned_in_annotation]
    return [
        header.modality, header.body_part, header.view, header.age, header.intent, burned_in, rows, columns,
        header.manufacturer,
    ]  # fmt: skip
