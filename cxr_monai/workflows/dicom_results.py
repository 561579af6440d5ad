"""DICOM films in, result objects out: probabilities, gate and maps of each film, as objects for the archive.

    results = DicomResults(model)
    for film in results.answer(["a.dcm", "b.dcm"]):
        film.error, film.objects

Probabilities and the gate's answers are those of ``cxr-monai predict``: the same pass through the network. Only films
with a finding at or over its operating point go through it once more, for their class activation maps.
"""

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cxr_monai.attribution.explainer import Explainer, rule_in_use, thresholds_of_rule
from cxr_monai.bundle.digest import file_digest
from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.errors import Code, RadiographError, SettingError
from cxr_monai.gate.answer import ACCEPTED, Answer
from cxr_monai.gate.duplicate_films import DuplicateFilms
from cxr_monai.inference.answered_batch import AnsweredBatch
from cxr_monai.inference.model import Model
from cxr_monai.inference.reading import first_error
from cxr_monai.objects.film_result import (
    DEFAULT_KINDS,
    WEIGHTS_SETTING,
    FilmResult,
    FindingResult,
    GateResult,
    ModelIdentity,
    ResultKind,
    ResultObject,
)
from cxr_monai.objects.result_objects import check_result_runtime, result_objects
from cxr_monai.objects.source_film import SourceFilm

__all__ = ["AnsweredFilm", "DicomResults"]

logger = logging.getLogger(__name__)

PICTURE_SIDE = 1024
"""Pixels of the shorter side of a picture, at most."""
DUPLICATE_SENTENCE = "The film is, or looks like, another film that was seen before."
_RAMP_SIDE = 128
_NO_PICTURE = np.zeros((0, 0), np.uint8)


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
        no_maps: why no finding has a map; empty where those over their operating points have.

    Raises:
        SettingError: ``setting-invalid`` for a rule that the bundle does not have.
    """

    def __init__(self, model: Model, kinds: Sequence[ResultKind] = DEFAULT_KINDS, rule: str | None = None) -> None:
        self.model, self.kinds = model, tuple(kinds)
        self.thresholds = thresholds_of_rule(model.calibration, rule, model.labels)
        self.identity = _identity(model, rule_in_use(model.calibration, rule, model.labels))
        self.no_maps, self._explainer = "", None
        if not self.thresholds:
            self.no_maps = "There are no operating points, so no finding has a map."
        elif set(self.kinds) - {ResultKind.REPORT}:
            try:
                self._explainer = Explainer(model, rule=rule)
            except SettingError as error:  # a network without class activation maps
                self.no_maps = f"This network has no maps: {error.message}"
        calibrators = model.calibration.calibrators if model.calibration else {}
        self._calibrated = {finding for finding in model.labels if calibrators.get(finding)}

    def answer(
        self,
        films: Sequence[str | Path],
        names: Sequence[str] | None = None,
        earlier: DuplicateFilms | None = None,
        desc: str = "answering",
    ) -> Generator[AnsweredFilm, None, None]:
        """Yield what comes of every film, in their order.

        Args:
            films: DICOM files.
            names: of the films in the results; the paths where None.
            earlier: of ``model.gate.earlier_films()``: the films before these, among which copies are looked for.
            desc: what the progress bar says; there is none where it is empty.
        """
        with closing(self.model.answer_batches(films, names, earlier=earlier, desc=desc)) as batches:
            for answered in batches:
                for film, result in self.film_results(answered):
                    yield film if result is None else self._with_objects(film, result)

    def check(self) -> None:
        """Answer about a ramp of greys: a fault of the model or of the machine shows, and no film has a part in it.

        Raises:
            CxrError: ``runtime-missing`` without highdicom, where objects are asked for; any error of the model's.
        """
        ramp = np.linspace(0, 1, _RAMP_SIDE**2, dtype=np.float32).reshape(_RAMP_SIDE, _RAMP_SIDE)
        with closing(self.model.answer_batches([ramp], ["ramp"], num_workers=0, desc="")) as batches:
            for answered in batches:
                if answered.batch.errors:
                    raise first_error(answered.batch.errors)
                if self._explainer is not None:
                    self._explainer(answered.batch.images)
        check_result_runtime(self.kinds)

    def film_results(self, answered: AnsweredBatch) -> Iterator[tuple[AnsweredFilm, FilmResult | None]]:
        """Yield the answer about every film of a batch, without objects, and what its objects are built of.

        Args:
            answered: of ``model.answer_batches``; its films are files, or items with ``image``, a file.

        Returns:
            the result is None where there is nothing to build: of a film that could not be read, of one that no object
            can refer to (``result-impossible``), and of all films where no kind is asked for.
        """
        batch = answered.batch
        errors = {name: (code, reason) for name, code, reason in batch.errors}
        judged = _judged(answered)
        places = {row: place for place, row in enumerate(answered.kept)}
        maps = self._maps(answered)
        for row, name in enumerate(batch.names):
            film = AnsweredFilm(name, remarks=batch.remarks[row])
            if row not in judged:
                yield replace(film, error=errors[name]), None
                continue
            answer, evidence = judged[row]
            values = None
            if row in places:
                values = dict(zip(self.model.labels, map(float, answered.probabilities[places[row]]), strict=True))
            refusal = None if values else (str(answer.code), answer.reason)
            film = replace(film, error=refusal, probabilities=values, evidence=evidence)
            try:
                yield film, self._result(answered, row, values, answer, maps.get(row, {})) if self.kinds else None
            except RadiographError as error:
                yield replace(film, error=(str(error.code), error.message), probabilities=None), None
            except OSError as error:  # it was there a moment ago
                gone = f"it can no longer be read: {error.strerror}."
                yield replace(film, error=(str(Code.RADIOGRAPH_NOT_FOUND), gone), probabilities=None), None

    def build(self, result: FilmResult, kinds: Sequence[ResultKind] | None = None) -> list[ResultObject]:
        """Build the objects of a film's result.

        Args:
            result: of :meth:`film_results`.
            kinds: of them; those that were asked for where None.

        Raises:
            RadiographError: ``result-impossible`` for a header that holds what no object may.
            CxrError: ``runtime-missing`` without highdicom.
        """
        try:
            return result_objects(result, self.kinds if kinds is None else kinds)
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
            # of highdicom or pydicom, over a value of the film's header; their words may quote it
            logger.debug("no object could be built", exc_info=error)
            raise RadiographError(
                Code.RESULT_IMPOSSIBLE,
                f"no DICOM object can be made of this film's header ({type(error).__name__}).",
                fix="Look at it with a validator, such as dciodvfy.",
            ) from error

    def _with_objects(self, film: AnsweredFilm, result: FilmResult) -> AnsweredFilm:
        try:
            return replace(film, objects=self.build(result))
        except RadiographError as error:
            return replace(film, error=(str(error.code), error.message), probabilities=None)

    def _maps(self, answered: AnsweredBatch) -> dict[int, dict[str, np.ndarray]]:
        """Return the grids of findings at or over their operating points, by the film's position in the batch.

        Films without such a finding do not go through the network again. Nor do mended ones: their maps would lie on
        another picture than the stored one.
        """
        points = np.array([self.thresholds.get(name, np.inf) for name in self.model.labels])
        reached = {
            row: np.flatnonzero(values >= points)
            for row, values in zip(answered.kept, answered.probabilities, strict=True)
            if row not in answered.mended
        }
        shown = [row for row, columns in reached.items() if columns.size]
        if self._explainer is None or not shown:
            return {}
        grids = self._explainer(answered.batch.images[shown])[1]
        return {
            row: {self.model.labels[column]: grid[column] for column in reached[row]}
            for row, grid in zip(shown, grids, strict=True)
        }

    def _result(
        self,
        answered: AnsweredBatch,
        row: int,
        values: Mapping[str, float] | None,
        answer: Answer,
        maps: Mapping[str, np.ndarray],
    ) -> FilmResult:
        film, batch = _file_of(answered.films[row]), answered.batch
        source, picture = SourceFilm.read(film), _NO_PICTURE
        if set(self.kinds) - {ResultKind.REPORT}:
            picture = film_picture(film, self.model.settings.any_modality)
        findings = []
        for finding, value in (values or {}).items():
            heat = None
            if self._explainer is not None and finding in maps:
                view = self._explainer.view_of(batch.geometry[row])
                heat = view.place(maps[finding], self._explainer.points, (picture.shape[0], picture.shape[1]))
            calibrated = finding in self._calibrated
            findings.append(FindingResult(finding, value, self.thresholds.get(finding), calibrated, heat))
        remarks, no_maps = [line for line in batch.remarks[row].splitlines() if line], self.no_maps
        if undone := answered.mended.get(row, "").replace(",", ", "):
            remarks.append(f"Before the prediction this was undone: {undone}.")
            no_maps = f"The film was predicted without its {undone}, so a map would not lie on it as it is stored."
        return FilmResult(source, self.identity, self._gate_result(answer), findings, picture, tuple(remarks), no_maps)

    def _gate_result(self, answer: Answer) -> GateResult:
        gate = self.model.gate
        if gate.fitted is None:
            return GateResult(sentence=gate.missing, mode=str(gate.mode))
        # the name of another film is not for this one's objects: it may hold another patient's
        sentence = DUPLICATE_SENTENCE if answer.code == Code.GATE_DUPLICATE else answer.sentence
        evidence = f"{answer.evidence}: {answer.value}; expected {answer.expected}" if answer.evidence else ""
        return GateResult(str(answer.verdict), str(answer.code or ""), sentence, evidence, str(gate.mode))


def _identity(model: Model, rule: str) -> ModelIdentity:
    """Return what names a model in its results; its settings are those that change what it says of a film."""
    metadata, settings = model.bundle.metadata if model.bundle else {}, []
    if model.settings.raw:
        settings.append("raw")
    if model.settings.weights:
        settings.append(f"{WEIGHTS_SETTING}{file_digest(Path(model.settings.weights))}")
    if model.settings.mend:
        settings.append(f"mend={','.join(model.settings.mend)}")
    if model.gate.training.digest:
        settings.append(f"training_index={model.gate.training.digest}")
    name, version = str(metadata.get("name") or "unnamed"), str(metadata.get("version") or "unknown")
    return ModelIdentity(name, version, str(model.provenance.get("digest", "")), rule, tuple(settings))


def _judged(answered: AnsweredBatch) -> dict[int, tuple[Answer, dict[str, Any] | None]]:
    """Return the gate's answer and evidence of every readable film, by its position; acceptance without a gate."""
    readable = answered.batch.readable
    if answered.answers is None:
        return dict.fromkeys(readable, (ACCEPTED, None))
    table = answered.answers.table
    rows = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    return dict(zip(readable, zip(answered.answers.answers, rows, strict=True), strict=True))


def _file_of(film: Any) -> str | Path:
    """Return the file of a film as it is read: itself, or ``image`` of an item."""
    file: str | Path = film["image"] if isinstance(film, Mapping) else film
    return file


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
