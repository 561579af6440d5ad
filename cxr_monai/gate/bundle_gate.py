"""The gate before every answer: from the films of a batch to an answer and a row of evidence each.

gate = open_gate(root, metadata, mode="refuse", weights=path)
gate.observer                                       # of a RadiographDataset; None where no film is judged
earlier = gate.earlier_films()                      # for one prediction: none is remembered beyond it
answers = gate.judge(films, earlier)                # of ObservedFilms: .answers, .table

A bundle of before has none: ``gate.missing`` says so, and its films are predicted as ever.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cxr_monai.bundle.carried_gate import GATE, gate_item
from cxr_monai.bundle.digest import file_digest
from cxr_monai.bundle.intended_films import IntendedFilms
from cxr_monai.data.film_header import FilmHeader
from cxr_monai.errors import Code, GateError
from cxr_monai.evaluation.gate_evidence import TEXT_EVIDENCE
from cxr_monai.gate.answer import ACCEPTED, Answer, GateMode, GateVerdict, parse_gate_mode
from cxr_monai.gate.duplicate_films import DuplicateFilms
from cxr_monai.gate.film_observer import FilmObserver
from cxr_monai.gate.fitted_gate import AP_VIEW, GATE_SCORES, NETWORK_DISTANCE, FittedGate
from cxr_monai.gate.header_rules import judge_header
from cxr_monai.gate.judging import judge_films
from cxr_monai.gate.observation import parts_of
from cxr_monai.gate.picture_statistics import STATISTICS
from cxr_monai.gate.storage import invalid_gate, read_gate
from cxr_monai.gate.training_index import NO_TRAINING, TrainingIndex

logger = logging.getLogger(__name__)

HEADER_EVIDENCE = (
    "modality", "body_part", "view", "age", "intent", "burned_in_annotation", "rows_mm", "columns_mm", "manufacturer",
)  # fmt: skip
GATE_COLUMNS = (
    "image", "gate", "code", "taken_on", "mended", "mendable", "score", *GATE_SCORES, AP_VIEW, *HEADER_EVIDENCE,
    *STATISTICS, "pixel_digest", "picture_hash", "duplicate_of",
)  # fmt: skip
"""The columns of ``predictions.csv.gate.csv``: ``gate`` is accept, review or refuse whatever the mode (in ``review`` a
refused film has probabilities all the same), ``code`` why; ``taken_on`` when, by the header; ``mended`` what was
undone, ``mendable`` what ``--mend`` would undo of a refused film; ``score`` the worst of the scores as a multiple of
the limit beyond which a film is refused; then a column an evidence, empty where there is none."""


@dataclass(frozen=True, eq=False)
class ObservedFilms:
    """What the gate sees of N films that could be read.

    Attributes:
        names: of the films.
        observations: float32 ``[N, OBSERVED]``.
        headers: ``FilmHeader.to_text`` of each, or empty.
        digests, hashes: `cxr_monai.gate.duplicates` of each.
        features: float32 ``[N, D]`` of the gate's layers; None where the network in use is not the gate's.
    """

    names: Sequence[str]
    observations: np.ndarray
    headers: Sequence[str]
    digests: Sequence[str]
    hashes: Sequence[str]
    features: np.ndarray | None = None

    @classmethod
    def of(
        cls, names: Sequence[str], observed: Mapping[str, Any], rows: Sequence[int], features: torch.Tensor | None
    ) -> "ObservedFilms":
        """Return what the gate sees of some films of a batch.

        Args:
            names: of all B films of the batch.
            observed: what `cxr_monai.gate.film_observer` gave of them, by name of the entry.
            rows: N positions, of films that could be read.
            features: of all B films, float32 ``[B, D]``; None without them.

        Raises:
            GateError: ``gate-invalid`` beside a preprocessing whose planes the gate cannot look at.
        """
        observations = observed["observation"][rows].cpu().numpy()
        check_observed(observations)
        headers, digests, hashes = (
            [observed[name][row] for row in rows] for name in ("header", "pixel_digest", "picture_hash")
        )
        known = None if features is None else features[rows].cpu().numpy()
        return cls([names[row] for row in rows], observations, headers, digests, hashes, known)

    def with_film(self, row: int, others: "ObservedFilms", other_row: int) -> "ObservedFilms":
        """Return the films with one of others in the place of a row."""

        def put(column: Any, other: Any) -> Any:
            if column is None:
                return None
            copied = column.copy() if isinstance(column, np.ndarray) else list(column)
            copied[row] = other[other_row]
            return copied

        return ObservedFilms(*(put(getattr(self, name), getattr(others, name)) for name in self.__dataclass_fields__))


def check_observed(observations: np.ndarray) -> None:
    """Refuse observations of films that could be read and are no numbers: there was no plane to look at.

    Args:
        observations: ``[N, OBSERVED]``.

    Raises:
        GateError: ``gate-invalid``.
    """
    if not np.isfinite(observations).all():
        raise without_plane()


def without_plane() -> GateError:
    """Return the error of a preprocessing that makes no plane which a gate could look at."""
    return GateError(
        Code.GATE_INVALID,
        "the gate looks at the plane that QuantiseRadiographd makes, which is no step of this preprocessing.",
        fix="Add the step, or go without a gate: --gate off (--gate_mode off of a configuration, --gate none of a "
        "training).",
    )


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
        training: the films that the network was trained on, where a local index tells.
    """

    fitted: FittedGate | None = None
    intended: IntendedFilms = field(default_factory=IntendedFilms)
    mode: GateMode = GateMode.OFF
    missing: str = ""
    digest: str = ""
    training: TrainingIndex = NO_TRAINING

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
        known = {"training_index": self.training.digest} if self.training.digest else {}
        return {"mode": str(self.mode), "digest": self.digest, "promise": self.fitted.promise, **known}

    def earlier_films(self) -> DuplicateFilms:
        """Return what remembers the films of one prediction, in which copies are looked for; it is empty."""
        return DuplicateFilms(self.training)

    def answers(self, films: ObservedFilms) -> list[Answer]:
        """Return the gate's own answers about films by their headers and pixels, whatever the mode.

        Raises:
            RuntimeError: for a bundle without a gate.
        """
        return self._answers(films, self._scores(films))

    def judge(
        self, films: ObservedFilms, earlier: DuplicateFilms | None = None, mending: Mapping[int, str] | None = None
    ) -> FilmAnswers:
        """Judge films.

        Args:
            films: N of them.
            earlier: of :meth:`earlier_films`: those before in the same prediction, to which these are added; copies
                are looked for among these alone where None.
            mending: row to what was undone of that film before; empty where undoing it did not help.

        Raises:
            RuntimeError: for a bundle without a gate.
        """
        mending, earlier = mending or {}, earlier or self.earlier_films()
        scores = self._scores(films)
        doubles = [earlier.of(*film) for film in zip(films.names, films.digests, films.hashes, strict=True)]
        answers = [
            _first(answer, double.answer) for answer, double in zip(self._answers(films, scores), doubles, strict=True)
        ]
        answers = [replace(answer, mend=()) if row in mending else answer for row, answer in enumerate(answers)]
        is_refused = [answer.verdict == GateVerdict.REFUSE for answer in answers]
        columns: dict[str, Any] = {
            "image": films.names,
            "gate": [str(answer.verdict) for answer in answers],
            "code": [str(answer.code or "") for answer in answers],
            "mended": [mending.get(row, "") for row in range(len(answers))],
            "mendable": [",".join(answer.mend) * refused for answer, refused in zip(answers, is_refused, strict=True)],
            "score": self._fitted.worst(scores) / self._fitted.limits["refuse"],
            **scores,
            **dict(zip(STATISTICS, parts_of(films.observations).statistics.T, strict=True)),
            "pixel_digest": films.digests,
            "picture_hash": films.hashes,
            "duplicate_of": [double.name for double in doubles],
            **_header_columns(films.headers),
        }
        unknown = {name: "" if name in TEXT_EVIDENCE else np.nan for name in GATE_COLUMNS}
        table = pd.DataFrame(unknown | columns, columns=list(GATE_COLUMNS), index=range(len(answers)))
        return FilmAnswers([self._by_mode(answer) for answer in answers], table)

    @property
    def _fitted(self) -> FittedGate:
        if self.fitted is None:
            raise RuntimeError("there is no gate to judge films with")
        return self.fitted

    def check_network(self, modules: Collection[str], root: str | Path) -> None:
        """Refuse a gate that knows layers which the network does not have.

        Args:
            modules: names of the network's.
            root: the bundle's folder.

        Raises:
            GateError: ``gate-invalid``.
        """
        if missing := [layer for layer in self.layers if layer not in modules]:
            raise invalid_gate(f"it knows layers that the network does not have ({ascii(missing[0])[:100]})", root)

    def _scores(self, films: ObservedFilms) -> dict[str, np.ndarray]:
        known = self._fitted.distances.get(NETWORK_DISTANCE)
        if films.features is not None and known is not None and films.features.shape[1:] != known.mean.shape:
            raise invalid_gate(f"it knows {known.mean.size:,} features, the layers give {films.features.shape[1]:,}")
        return self._fitted.scores(films.observations, films.features)

    def _answers(self, films: ObservedFilms, scores: Mapping[str, np.ndarray]) -> list[Answer]:
        headers = [FilmHeader.from_text(text) for text in films.headers]
        by_pixels = judge_films(self._fitted, films.observations, scores) if headers else []
        return [
            _first(judge_header(header, self.intended), answer)
            for header, answer in zip(headers, by_pixels, strict=True)
        ]

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
        if Path(weights).resolve() == (Path(root) / "models" / "model.pt").resolve():
            raise invalid_gate("it knows other weights than the bundle's own", root)
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


def _header_columns(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Return ``taken_on`` and :data:`HEADER_EVIDENCE` of films, a column each, by the headers' texts."""
    columns: dict[str, list[Any]] = {name: [] for name in ("taken_on", *HEADER_EVIDENCE)}
    for text in texts:
        header = FilmHeader.from_text(text) or FilmHeader()
        rows, wide = header.field_of_view or (np.nan, np.nan)
        burned_in = {True: "yes", False: "no", None: ""}[header.has_burned_in_annotation]
        values = (
            header.taken_on, header.modality, header.body_part, header.view,
            np.nan if header.age is None else header.age, header.intent, burned_in, rows, wide, header.manufacturer,
        )  # fmt: skip
        for name, value in zip(columns, values, strict=True):
            columns[name].append(value)
    return columns
