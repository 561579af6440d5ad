"""An opened bundle: films in, calibrated probabilities and class activation maps out.

    model = Model.open("OUT/bundle")
    result = model.predict(["a.png", "b.dcm"])
    result.table                # image and one column a finding, each in [0, 1]
    result.errors               # (image, code, reason) of the files that could not be read

    for batch in model.read(films):                                     # probabilities and maps of one forward pass
        probabilities, maps = model.probabilities_and_maps(batch.images)

A bundle is opened here and nowhere else: prediction, maps, tests of maps, exports, linear probes and MLflow's model all
stand on a ``Model``. Neither MLflow nor Captum nor matplotlib is imported.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from monai.transforms import Compose
from torch import nn

from cxr_monai.bundle.about import describe_predictions as describe
from cxr_monai.bundle.bundle_folder import Bundle, head_of
from cxr_monai.bundle.calibrated import calibration_item
from cxr_monai.data.dataset import plane_steps, take_any_modality
from cxr_monai.data.notes import FilmNotes
from cxr_monai.errors import Code, SettingError
from cxr_monai.evaluation.carried import calibration_in
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.evaluation.gate_evidence import GateCounts, with_gate_counts
from cxr_monai.gate.answer import GateMode, parse_gate_mode
from cxr_monai.gate.bundle_gate import FilmAnswers, Gate, open_gate, without_plane
from cxr_monai.gate.duplicate_films import DuplicateFilms
from cxr_monai.gate.mending import parse_mends
from cxr_monai.gate.training_index import preprocessing_digest, read_training_index
from cxr_monai.inference.answered_batch import AnsweredBatch
from cxr_monai.inference.computation import Computation, check_runtime, fastest_class_maps, fastest_computation
from cxr_monai.inference.mended_films import mend_films
from cxr_monai.inference.reading import FilmBatch, FilmReader
from cxr_monai.networks.class_maps import ClassMaps
from cxr_monai.networks.fixed_batches import evenly
from cxr_monai.networks.heads import INDEPENDENT, Head
from cxr_monai.networks.inferers import autocast_dtype
from cxr_monai.networks.weight_loading import load_weights


@dataclass(frozen=True)
class ModelSettings:
    """The settings of a model: plain values, which can be sent to another process.

    Attributes:
        bundle: the bundle's folder; empty for a model of parts.
        weights: instead of the bundle's own.
        device: such as ``cpu`` or ``cuda:1``; a GPU if there is one, where None.
        amp: bfloat16 where the device has it; on a CPU a copy of the network that is fused for prediction
            (``cxr_monai.networks.fusion``). False computes in float32.
        runtime: ``torch``, or ``openvino`` on a CPU (``cxr_monai.networks.openvino_runtime``).
        raw: leave the bundle's calibration out. A bundle without one gives raw probabilities in any case, and so do
            ``weights`` that are not its own.
        any_modality: read DICOM files whatever their headers say they show.
        batch_size: films at a time.
        num_workers: films that are read at a time (``cxr_monai.data.loading.reading_loader``); None suits the machine.
        gate: what is done with films that are not for this network (``cxr_monai.gate.answer.GateMode``). Whoever asks
            for answers about films has ``refuse``; whoever measures the network on labelled films (evaluation,
            calibration, comparison, fine-tuning, probes, tests of maps) has ``off``, or ``review`` where the gate is
            measured too, since refused films would be missing there.
        mend: what is undone where a film is refused for it (``cxr_monai.gate.mending.MENDS``); nothing by default.
        training_index: a local file of the films that the network was trained on (``cxr_monai.gate.training_index``).
    """

    bundle: str = ""
    weights: str | None = None
    device: str | None = None
    amp: bool = True
    runtime: str = "torch"
    raw: bool = False
    any_modality: bool = False
    batch_size: int = 16
    num_workers: int | None = None
    gate: str = "refuse"
    mend: tuple[str, ...] = ()
    training_index: str | None = None


@dataclass(frozen=True)
class Predictions:
    """Probabilities of films.

    Attributes:
        table: ``image`` and one column a finding, each in [0, 1].
        errors: image, stable code and reason of each file that was left out.
        about: bundle digest, precision, calibrated or not; of the gate how many films got each answer.
        notes: what reading said of the images in the table.
        gate: the gate's evidence of every film that could be read, refused ones too
            (``cxr_monai.gate.bundle_gate.GATE_COLUMNS``); None where no film is judged.
    """

    table: pd.DataFrame
    errors: list[tuple[str, str, str]]
    about: Mapping[str, Any]
    notes: FilmNotes = field(default_factory=FilmNotes)
    gate: pd.DataFrame | None = None


@dataclass(frozen=True, eq=False)
class Model:
    """A network with its weights and everything that turns films into calibrated probabilities and maps.

    ``Model.open`` makes it of a bundle, and such a model is pickled as its settings: the bundle is opened again where
    it arrives.

    Attributes:
        network: in evaluation mode, float32, on the device.
        preprocessing: film to network input.
        labels: of the head, in their order.
        shape: ``[C, H, W]`` of the network's input.
        head: makes the labels' log-odds of the network's outputs.
        calibration: of the probabilities; None: they are raw.
        settings: what the model was opened with.
        bundle: that it was made of; None for a network without one.
        gate: of the bundle; one that judges nothing for a network without one.

    Raises:
        SettingError: ``runtime-missing``, or ``setting-invalid`` for another runtime or one that the device lacks.
        GateError: ``gate-invalid`` for a gate beside a preprocessing whose planes it cannot look at.
    """

    network: nn.Module
    preprocessing: Compose
    labels: tuple[str, ...]
    shape: tuple[int, ...]
    head: Head = INDEPENDENT
    calibration: Fitted | None = None
    settings: ModelSettings = field(default_factory=ModelSettings)
    bundle: Bundle | None = None
    gate: Gate = field(default_factory=Gate)

    def __post_init__(self) -> None:
        self.network.eval().to(self.device)
        if self.settings.any_modality:
            take_any_modality(self.preprocessing)
        check_runtime(self.settings.runtime, self.device)
        if self.gate.fitted is not None and not plane_steps(self.preprocessing):
            raise without_plane()
        _ = self._described  # the bundle's digest as it was opened
        if self.settings.runtime != "torch":
            _ = self._computation  # fails now, and not at the first film, where the runtime is not installed

    @classmethod
    def open(cls, bundle: str | Path | ModelSettings, **settings: Any) -> "Model":
        """Open a bundle and load its weights; whoever calls this has inspected a folder that others made.

        ``cxr_monai.open_model`` inspects it first.

        Args:
            bundle: its folder, or all settings at once.
            settings: of :class:`ModelSettings`, by name.

        Raises:
            BundleError: if the folder is no valid bundle.
            EvaluationError: ``calibration-invalid`` for a damaged calibration.
            WeightsError: if the weights are missing or belong to another network.
            SettingError: as :class:`Model`; ``setting-invalid`` for another mode of the gate.
            GateError: ``gate-invalid`` for a damaged gate, or a training index that cannot be used.
        """
        options = bundle if isinstance(bundle, ModelSettings) else ModelSettings(str(bundle))
        plain: dict[str, Any] = {
            name: str(value) if isinstance(value, Path | torch.device) else value for name, value in settings.items()
        }
        options = replace(options, **plain)
        options = replace(options, mend=parse_mends(options.mend))
        if parse_gate_mode(options.gate) == GateMode.OFF and (options.mend or options.training_index):
            what = "--mend" if options.mend else "--training-index"
            raise SettingError(Code.SETTING_INVALID, f"{what} needs the gate, and --gate is off.")
        opened = Bundle.open(options.bundle)
        weights = Path(options.weights).resolve() if options.weights else opened.weights
        options = replace(options, bundle=str(opened.root), weights=str(weights) if options.weights else None)
        parser = opened.parser()
        network = load_weights(parser.get_parsed_content("network_def"), weights, _device(options.device))
        preprocessing, shape = (parser.get_parsed_content(name) for name in ("preprocessing", "dataset#shape"))
        item = calibration_item(opened.root)
        calibration = calibration_in(opened.root, item, opened.labels, weights, options.raw)
        gate = open_gate(opened.root, opened.metadata, options.gate, weights)
        gate.check_network(dict(network.named_modules()), opened.root)
        if gate.fitted is not None and options.training_index:
            digest = preprocessing_digest(preprocessing)
            gate = replace(gate, training=read_training_index(options.training_index, digest))
        return cls(
            network,
            preprocessing,
            tuple(opened.labels),
            tuple(shape),
            head_of(parser),
            calibration,
            options,
            opened,
            gate,
        )

    def __reduce__(self) -> str | tuple[Any, ...]:
        if self.settings.bundle:
            return Model.open, (self.settings,)
        return Model, tuple(getattr(self, name) for name in self.__dataclass_fields__)

    def with_network(self, network: nn.Module) -> "Model":
        """Return the model with another network of the same inputs and outputs; it is no bundle's any more."""
        settings = replace(self.settings, bundle="")
        return replace(self, network=network, settings=settings, bundle=None, gate=Gate())

    @property
    def device(self) -> torch.device:
        """The device on which the network computes."""
        return _device(self.settings.device)

    @property
    def _mends(self) -> bool:
        return bool(self.settings.mend) and self.gate.fitted is not None

    @cached_property
    def _computation(self) -> Computation:
        settings = self.settings
        return fastest_computation(
            self.network, self.shape, self.head, self.device, settings.runtime, settings.amp, self.gate.layers
        )

    @cached_property
    def _class_maps(self) -> dict[int | None, ClassMaps]:
        return {}

    @cached_property
    def _described(self) -> dict[str, Any]:
        if self.bundle is None:
            return {}
        weights = self.settings.weights or self.bundle.weights
        return describe(str(self.bundle.root), str(weights), self.device, self.settings.amp, self.calibration)

    @cached_property
    def about(self) -> dict[str, Any]:
        """Provenance of predictions: bundle, labels, weights, precision, calibrated or not, runtime."""
        precision = str(autocast_dtype(self.device, self._computation.amp)).removeprefix("torch.")
        return self._described | {
            "precision": precision,
            "runtime": self.settings.runtime,
            "gate": self.gate.about | ({"mend": list(self.settings.mend)} if self._mends else {}),
        }

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Provenance of maps: the bundle's name and digest, its labels, and whether the weights are its own."""
        if self.bundle is None:
            return {}
        description = self._described
        name = self.bundle.metadata.get("name", "")
        return {
            "name": name,
            "digest": description["bundle"],
            **{key: description[key] for key in ("label_scheme", "own_weights")},
        }

    def read(
        self,
        films: Sequence[Any],
        names: Sequence[str] | None = None,
        desc: str = "reading",
        done: int = 0,
        batch_size: int | None = None,
        num_workers: int | None = None,
    ) -> Generator[FilmBatch, None, None]:
        """Yield films in batches, as :meth:`FilmReader.read`; batch size and workers are the settings' where None."""
        return self._reader(batch_size, num_workers).read(films, names, desc, done)

    def _reader(self, batch_size: int | None = None, num_workers: int | None = None) -> FilmReader:
        workers = self.settings.num_workers if num_workers is None else num_workers
        size = batch_size or self.settings.batch_size
        return FilmReader(self.preprocessing, self.shape, size, workers, self.gate.observer)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return the labels' log-odds, float32 ``[B, F]`` on the CPU, for images ``[B, C, H, W]``."""
        return self.logits_and_features(images)[0]

    def logits_and_features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return log-odds as :meth:`logits`, and what the gate knows the network's features by; None without a gate.

        Args:
            images: float32 ``[B, C, H, W]``, as the network is given them.
        """
        with torch.inference_mode():
            logits, features = self._computation.logits_and_features(images.to(self.device))
        return logits.cpu(), None if features is None else features.cpu()

    def judge(
        self, batch: FilmBatch, features: torch.Tensor | None = None, earlier: DuplicateFilms | None = None
    ) -> FilmAnswers | None:
        """Return the gate's answers about the readable films of a batch, in their order; None where none is judged.

        Args:
            batch: of :meth:`read`.
            features: of :meth:`logits_and_features`, of all films of the batch; computed where None.
            earlier: of ``gate.earlier_films()``, one for all batches of a list: copies are looked for among these
                films; in the batch alone where None.
        """
        if self.gate.fitted is None:
            return None
        if features is None:
            features = self.logits_and_features(batch.images)[1]
        return self.gate.judge(batch.for_gate(features), earlier)

    def probabilities(self, logits: torch.Tensor) -> np.ndarray:
        """Return probabilities, float32 ``[B, F]`` in [0, 1], calibrated where the model is, of log-odds ``[B, F]``."""
        # in float32 the last bit depends on a value's position: vector kernels differ from the scalar remainder
        values = logits.cpu().double().sigmoid().float().numpy()
        return values if self.calibration is None else self.calibration.apply(values, self.labels).astype("float32")

    def class_maps(self, stride: int | None = None) -> ClassMaps:
        """Return the network that gives log-odds and class activation maps; it is made once for a stride.

        Raises:
            SettingError: ``setting-invalid`` if the network has no class maps, or none of this stride.
        """
        if stride not in self._class_maps:
            self._class_maps[stride] = fastest_class_maps(
                self.network, self.shape, stride, self.head, self.device, self.settings.amp
            )
        return self._class_maps[stride]

    def probabilities_and_maps(
        self, images: torch.Tensor, stride: int | None = None
    ) -> tuple[np.ndarray, torch.Tensor]:
        """Return probabilities and class activation maps of one forward pass.

        Args:
            images: float32 ``[B, C, H, W]``, as the network is given them.
            stride: pixels of the input between two points of a map; the network's own where None.

        Returns:
            probabilities ``[B, F]`` as :meth:`probabilities`, and maps float32 ``[B, F, h, w]``, which may be negative.

        Raises:
            SettingError: as :meth:`class_maps`.
        """
        mapped = self.class_maps(stride)
        dtype = autocast_dtype(self.device, self.settings.amp and self.device.type != "cpu")
        images = images.to(self.device)
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=dtype, enabled=dtype != torch.float32),
        ):
            logits, maps = evenly(mapped, images.contiguous(memory_format=torch.channels_last))
        return self.probabilities(logits), maps

    def predict(
        self,
        films: Sequence[Any],
        names: Sequence[str] | None = None,
        batch_size: int | None = None,
        num_workers: int | None = None,
    ) -> Predictions:
        """Predict films; those that cannot be read or are refused are reported, the rest is done.

        Args:
            films, names: as for :meth:`FilmReader.read`; names stand in the table's column ``image``.
            batch_size, num_workers: other ones than the settings'.
        """
        tables, errors, notes = [self._table([], np.empty((0, len(self.labels)), "float32"))], [], FilmNotes()
        counts, judged = GateCounts(), []
        for part in self.predict_batches(films, names, batch_size, num_workers):
            tables.append(part.table)
            errors += part.errors
            notes.add_all(part.notes.to_json())
            if part.gate is not None:
                counts.add(part.gate)
                judged.append(part.gate)
        evidence = pd.concat(judged, ignore_index=True) if judged else None
        about = with_gate_counts(self.about, counts)
        return Predictions(pd.concat(tables, ignore_index=True), errors, about, notes, evidence)

    def predict_batches(
        self,
        films: Sequence[Any],
        names: Sequence[str] | None = None,
        batch_size: int | None = None,
        num_workers: int | None = None,
        earlier: DuplicateFilms | None = None,
    ) -> Generator[Predictions, None, None]:
        """Yield the predictions of every batch as soon as they are there; memory does not grow with their number.

        A list that is continued behind whole batches has the same batches as before, and so the same values.

        Args:
            films, names, batch_size, num_workers: as for :meth:`predict`.
            earlier: the films before these, of ``gate.earlier_films()``, where a list is continued.
        """
        for answered in self.answer_batches(films, names, batch_size, num_workers, earlier):
            yield self.predictions_of(answered)

    def answer_batches(
        self,
        films: Sequence[Any],
        names: Sequence[str] | None = None,
        batch_size: int | None = None,
        num_workers: int | None = None,
        earlier: DuplicateFilms | None = None,
        desc: str = "predicting",
    ) -> Generator[AnsweredBatch, None, None]:
        """Yield what :meth:`predict_batches` makes tables of; arguments as there, ``desc`` stands at the bar."""
        earlier, start = earlier or self.gate.earlier_films(), 0
        with closing(self.read(films, names, desc, 0, batch_size, num_workers)) as batches:
            for batch in batches:
                yield self._answer_batch(batch, films[start : start + len(batch.names)], earlier)
                start += len(batch.names)

    def predictions_of(self, answered: AnsweredBatch) -> Predictions:
        """Return the predictions of a batch of :meth:`answer_batches`."""
        batch, judged = answered.batch, answered.answers
        table = self._table([batch.names[row] for row in answered.kept], answered.probabilities)
        notes, evidence = batch.notes_of(answered.kept), None if judged is None else judged.table
        return Predictions(table, answered.errors, self.about, notes, evidence)

    def _answer_batch(self, batch: FilmBatch, films: Sequence[Any], earlier: DuplicateFilms) -> AnsweredBatch:
        logits, features = self.logits_and_features(batch.images)
        values, readable = logits[batch.readable], batch.readable
        if self.gate.fitted is None:
            return AnsweredBatch(batch, films, readable, self.probabilities(values))
        seen, mending = batch.for_gate(features), dict[int, str]()
        if self._mends:
            sources, forward = [films[row] for row in readable], self.logits_and_features
            mended = mend_films(self.gate, self.settings.mend, self._reader(), forward, sources, seen, values)
            seen, values, mending = mended
        answers = self.gate.judge(seen, earlier, mending)
        kept = np.flatnonzero(~answers.is_refused)
        positions = [readable[row] for row in kept]
        undone = {readable[row]: what for row, what in mending.items() if what}
        return AnsweredBatch(batch, films, positions, self.probabilities(values[kept]), answers, undone)

    def _table(self, images: Sequence[str], probabilities: np.ndarray) -> pd.DataFrame:
        table = pd.DataFrame(probabilities, columns=list(self.labels))
        table.insert(0, "image", pd.Series(images, dtype="str"))
        return table


def _device(name: str | None) -> torch.device:
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
