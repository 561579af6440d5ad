"""DICOM films in, result objects out: probabilities, gate and maps of each film, as objects for the archive.

    results = DicomResults(model)
    for film in results.answer(["a.dcm", "b.dcm"]):
        film.error, film.objects

Probabilities and the gate's answers are those of ``cxr-monai predict``: the same pass through the network. Only films
with a finding at or over its operating point go through it once more, for their class activation maps.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cxr_monai.attribution.explainer import Explainer, thresholds_of_rule
from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.errors import RadiographError, SettingError
from cxr_monai.gate.answer import ACCEPTED, Answer, GateVerdict
from cxr_monai.gate.duplicate_films import DuplicateFilms
from cxr_monai.inference.model import Model
from cxr_monai.inference.reading import FilmBatch
from cxr_monai.objects.film_result import (
    DEFAULT_KINDS,
    FilmResult,
    FindingResult,
    GateResult,
    ModelIdentity,
    ResultKind,
    ResultObject,
)
from cxr_monai.objects.result_objects import result_objects
from cxr_monai.objects.source_film import SourceFilm

__all__ = ["AnsweredFilm", "DicomResults"]

PICTURE_SIDE = 1024
"""Pixels of the shorter side of a picture, at most."""


@dataclass(frozen=True, eq=False)
class AnsweredFilm:
    """What came of one film.

    Attributes:
        name: of the film.
        error: stable code and reason of one that could not be read or was refused; None of one that was predicted.
        probabilities: by finding; None without any.
        evidence: the gate's, by column of ``gate.csv``; None where no film is judged.
        objects: to send; none of a film that could not be read.
        remarks: what is odd about the film, one a line.
    """

    name: str
    error: tuple[str, str] | None = None
    probabilities: Mapping[str, float] | None = None
    evidence: Mapping[str, Any] | None = None
    objects: Sequence[ResultObject] = field(default_factory=tuple)
    remarks: str = ""


class DicomResults:
    """A model whose answers become DICOM objects.

    Args:
        model: calibrated or not, with a gate or without.
        kinds: of objects to build; none where only the answers are wanted.
        rule: of the operating points; the bundle's first where None.

    Attributes:
        identity: of the model, as it stands in the objects.
        no_maps: why there are no maps; empty where there are.

    Raises:
        SettingError: ``setting-invalid`` for a rule that the bundle does not have.
    """

    def __init__(self, model: Model, kinds: Sequence[ResultKind] = DEFAULT_KINDS, rule: str | None = None) -> None:
        self.model, self.kinds = model, tuple(kinds)
        self.thresholds = thresholds_of_rule(model.calibration, rule, model.labels)
        rules = [name for points in (model.calibration.points if model.calibration else {}).values() for name in points]
        chosen = (rule or rules[0]) if self.thresholds else ""
        metadata = model.bundle.metadata if model.bundle else {}
        self.identity = ModelIdentity(
            str(metadata.get("name") or "unnamed"), str(metadata.get("version") or "unknown"),
            str(model.provenance.get("digest", "")), chosen,
        )  # fmt: skip
        self.no_maps, self._explainer = "", None
        try:
            self._explainer = Explainer(model, rule=rule)
        except SettingError as error:  # a network without class activation maps
            self.no_maps = str(error)
        calibrators = model.calibration.calibrators if model.calibration else {}
        self._calibrated = {finding for finding in model.labels if calibrators.get(finding)}

    def answer(
        self, films: Sequence[str | Path], names: Sequence[str] | None = None, earlier: DuplicateFilms | None = None
    ) -> Iterator[AnsweredFilm]:
        """Yield what comes of every film, in their order.

        Args:
            films: DICOM files.
            names: of the films in the results; the paths where None.
            earlier: of ``model.gate.earlier_films()``: the films before these, among which copies are looked for.
        """
        earlier, start = earlier or self.model.gate.earlier_films(), 0
        with closing(self.model.read(films, names, "answering")) as batches:
            for batch in batches:
                yield from self._answer_batch(batch, films[start : start + len(batch.names)], earlier)
                start += len(batch.names)

    def _answer_batch(
        self, batch: FilmBatch, films: Sequence[str | Path], earlier: DuplicateFilms
    ) -> Iterator[AnsweredFilm]:
        logits, features = self.model.logits_and_features(batch.images)
        answers = self.model.judge(batch, features, earlier)
        probabilities = self.model.probabilities(logits)
        unreadable = {name: (code, reason) for name, code, reason in batch.errors}
        judged: dict[int, tuple[Answer, dict[str, Any]]] = {}
        if answers is not None:
            rows = [{str(name): value for name, value in row.items()} for row in answers.table.to_dict("records")]
            judged = dict(zip(batch.readable, zip(answers.answers, rows, strict=True), strict=True))
        refused = {row for row, (answer, _) in judged.items() if answer.verdict == GateVerdict.REFUSE}
        maps = self._maps(batch, probabilities, [row for row in batch.readable if row not in refused])
        for row, name in enumerate(batch.names):
            if row not in batch.readable:
                yield AnsweredFilm(name, unreadable[name], remarks=batch.remarks[row])
                continue
            answer, evidence = judged.get(row, (ACCEPTED, None))
            values = (
                None if row in refused else dict(zip(self.model.labels, map(float, probabilities[row]), strict=True))
            )
            try:
                result = self._result(films[row], batch, row, values, answer, maps.get(row, {}))
                objects = result_objects(result, self.kinds) if self.kinds else []
            except RadiographError as error:  # it can be read as a film, and no result can refer to it
                yield AnsweredFilm(name, (str(error.code), error.message), remarks=batch.remarks[row])
                continue
            refusal = None if values else (str(answer.code), answer.reason)
            yield AnsweredFilm(name, refusal, values, evidence, objects, batch.remarks[row])

    def _maps(
        self, batch: FilmBatch, probabilities: np.ndarray, rows: Sequence[int]
    ) -> dict[int, dict[str, np.ndarray]]:
        """Return the grids of findings at or over their operating points, by row of the batch."""
        points = np.array([self.thresholds.get(name, np.inf) for name in self.model.labels])
        reached = probabilities >= points
        shown = [row for row in rows if reached[row].any()]
        if self._explainer is None or not self.kinds or not shown:
            return {}
        grids = self._explainer(batch.images)[1]  # the whole batch: its size is one that the network is made for
        return {
            row: {self.model.labels[column]: grids[row][column] for column in np.flatnonzero(reached[row])}
            for row in shown
        }

    def _result(
        self,
        film: str | Path,
        batch: FilmBatch,
        row: int,
        values: Mapping[str, float] | None,
        answer: Answer,
        maps: Mapping[str, np.ndarray],
    ) -> FilmResult:
        picture = film_picture(film, self.model.settings.any_modality)
        findings = []
        for finding, value in (values or {}).items():
            heat = None
            if self._explainer is not None and finding in maps:
                view = self._explainer.view_of(batch.geometry[row])
                shape = (picture.shape[0], picture.shape[1])
                heat = view.place(maps[finding], self._explainer.points, shape)
            calibrated = finding in self._calibrated
            findings.append(FindingResult(finding, value, self.thresholds.get(finding), calibrated, heat))
        remarks = tuple(line for line in batch.remarks[row].splitlines() if line)
        gate = self._gate_result(answer)
        return FilmResult(SourceFilm.read(film), self.identity, gate, findings, picture, remarks, self.no_maps)

    def _gate_result(self, answer: Answer) -> GateResult:
        gate = self.model.gate
        if gate.fitted is None:
            return GateResult(sentence=gate.missing, mode=str(gate.mode))
        evidence = f"{answer.evidence}: {answer.value}; expected {answer.expected}" if answer.evidence else ""
        return GateResult(str(answer.verdict), str(answer.code or ""), answer.sentence, evidence, str(gate.mode))


def film_picture(film: str | Path, any_modality: bool = False) -> np.ndarray:
    """Return a film for eyes: uint8 ``[h, w]``, 255 is white, the shorter side at most :data:`PICTURE_SIDE` pixels.

    Args:
        film: a file.
        any_modality: accept a DICOM whose header says that it shows something else.

    Raises:
        RadiographError: if it cannot be read.
    """
    pixels = read_radiograph(film, any_modality=any_modality).pixels[0]
    image = Image.fromarray(np.round(pixels * 255).astype(np.uint8))
    share = min(1.0, PICTURE_SIDE / min(image.size))
    if share < 1:
        image = image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.BOX)
    return np.asarray(image)
