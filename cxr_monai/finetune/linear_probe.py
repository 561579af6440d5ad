"""Linear probes: where the classifier alone is trained, the frozen network sees every image once, whatever is asked.

    results, refused = train_linear_probes(FineTuneTask("PARENT", "M.csv"), ["Pneumonia", "Mass"], "OUT")

The training is that of ``cxr_transfer`` with ``--blocks 0 --augmentation none``, on kept features instead of images:
the same engine, step, optimiser, schedule and choice of the epoch. The children are bundles like all others.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler
from monai.inferers import SimpleInferer
from torch import nn

from cxr_monai.bundle.about import describe_predictions
from cxr_monai.bundle.bundle_folder import Bundle, read_json
from cxr_monai.bundle.evaluated import MEANING
from cxr_monai.bundle.origin import write_origin
from cxr_monai.bundle.setting_checks import check_ranges
from cxr_monai.bundle.shipped import shipped
from cxr_monai.bundle.trained import (
    intended_films_in,
    plain_state,
    save_weights,
    write_intended_films,
    write_meaning,
)
from cxr_monai.bundle.writing import CONFIGURATION, copy_parts
from cxr_monai.data.dataset import label_counts, label_prevalences, open_manifest
from cxr_monai.data.manifest import Manifest, under
from cxr_monai.durable import durable_folder
from cxr_monai.errors import Code, CxrError, SettingError, TrainingError
from cxr_monai.evaluation.fitted import read_calibration
from cxr_monai.finetune.against_parent import FineTuneResult
from cxr_monai.finetune.box_comparison import boxed_labels, localise_both
from cxr_monai.finetune.child import finish_child, write_judged
from cxr_monai.finetune.disease import held_out, question, with_known
from cxr_monai.finetune.features import FeatureBatches
from cxr_monai.finetune.parent import inherited, open_parent
from cxr_monai.finetune.task import FineTuneTask
from cxr_monai.gate.fitted_gate import FittedGate
from cxr_monai.inference.model import Model
from cxr_monai.inference.pooled_features import Features, features_of
from cxr_monai.losses import MaskedBCEWithLogitsLoss, training_loss
from cxr_monai.networks.architectures import input_channels
from cxr_monai.networks.classifier import classifier_of
from cxr_monai.networks.weight_loading import initialise_network
from cxr_monai.outputs import check_new_folder
from cxr_monai.schemes import LabelScheme, label_scheme
from cxr_monai.training.checkpoints import BestWeights
from cxr_monai.training.gate_fitter import GateFitter
from cxr_monai.training.handlers import EarlyStopper, PredictionsWriter, written_predictions
from cxr_monai.training.ignite_metrics import FindingMetrics
from cxr_monai.training.optimisers import training_optimizer
from cxr_monai.training.runs import judge_and_calibrate
from cxr_monai.training.schedules import ScheduleStepper, learning_rate_schedule
from cxr_monai.training.step import TrainingStep

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProbeSettings:
    """Settings of ``cxr_transfer`` that a classifier on kept features has, with its defaults."""

    epochs: int = 12
    batch_size: int = 32
    learning_rate: float = 0.001
    weight_decay: float = 0.0
    schedule: str = "plateau"
    loss: str = "bce"
    patience: int = 5
    seed: int = 0
    gate: str = "auto"
    gate_promise: float = 0.01

    @classmethod
    def of(cls, overrides: Mapping[str, Any]) -> "ProbeSettings":
        """Return the settings of the bundle as it is shipped, with overrides.

        Raises:
            SettingError: ``override-unknown`` for a setting that has no meaning here; ``setting-invalid``.
        """
        names = [one.name for one in fields(cls)]
        unknown = [name for name in overrides if name not in names]
        if unknown:
            raise SettingError(
                Code.OVERRIDE_UNKNOWN,
                f"a classifier on kept features has no setting {unknown[0]}; it has {', '.join(names)}.",
                fix="Leave it out, or train in the ordinary way, without --head-only and with --set blocks=0.",
            )
        config = read_json(shipped("cxr_transfer") / "configs" / "train.json")
        settings = {name: config[name] for name in names} | dict(overrides)
        check_ranges(settings)
        return cls(**settings)


@dataclass(frozen=True, eq=False)
class TrainedProbe:
    """A trained classifier's validation.

    Attributes:
        evaluator: MONAI's engine over the validation part.
        metrics: its key metric.
        epoch: the best one, whose weights the classifier has.
    """

    evaluator: SupervisedEvaluator
    metrics: FindingMetrics
    epoch: int


def train_probe(
    linear: nn.Linear,
    train: FeatureBatches,
    val: FeatureBatches,
    settings: ProbeSettings,
    counts: Sequence[tuple[int, int]],
) -> TrainedProbe:
    """Train a classifier on kept features; the weights of the best epoch are left in it.

    Args:
        linear: D to 1, with the weights to start from.
        train: what is learned from.
        val: the epoch of the highest AUROC here is the best, that of the lowest loss among equals.
        settings: of the training.
        counts: positives and negatives of the training part, for losses that weigh.

    Raises:
        TrainingError: ``not-finite`` if the loss is not a number.
    """
    engine: dict[str, Any] = {"device": torch.device("cpu"), "inferer": SimpleInferer(), "decollate": False}
    metrics = FindingMetrics([val.label], MaskedBCEWithLogitsLoss())
    evaluator = SupervisedEvaluator(
        val_data_loader=val, network=linear, key_val_metric={"mean_auroc": metrics}, **engine
    )
    stepper, best = (
        training_optimizer(linear, settings.learning_rate, settings.weight_decay),
        BestWeights(linear, evaluator),
    )
    rates = learning_rate_schedule(stepper, settings.schedule, settings.epochs, len(train), factor=0.3)  # type: ignore[arg-type]
    trainer = SupervisedTrainer(
        max_epochs=settings.epochs,
        train_data_loader=train,
        network=linear,
        optimizer=stepper,
        loss_function=training_loss(settings.loss, counts),
        iteration_update=TrainingStep(settings.seed),
        train_handlers=[
            ValidationHandler(1, evaluator),
            best,
            ScheduleStepper(rates, evaluator),
            EarlyStopper(settings.patience, evaluator),
        ],
        **engine,
    )
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda: train.start(trainer.state.epoch))
    trainer.run()
    linear.load_state_dict(best.weights)
    return TrainedProbe(evaluator, metrics, best.epoch)


def train_linear_probes(
    task: FineTuneTask,
    diseases: Sequence[str],
    out: str | Path,
    overrides: Mapping[str, Any] | None = None,
    amp: bool = True,
) -> tuple[dict[str, FineTuneResult], dict[str, CxrError]]:
    """Make a child bundle for each disease, the classifier alone trained; the features are computed once.

    Args:
        task: parent and images; diseases without a boxed held-out image are not compared by boxes.
        diseases: findings; those that the parent has start from its own rows.
        out: ``OUT/DISEASE/bundle`` is the child of each, with what an ordinary training leaves beside it.
        overrides: of `ProbeSettings`.
        amp: compute the features in bfloat16 where the device has it.

    Returns:
        what came of each, and what was wrong with those that could not be made: too few patients.

    Raises:
        UsageError: ``output-exists``.
        BundleError: as ``cxr_monai.finetune.parent.open_parent``.
        SettingError: as `ProbeSettings.of` and ``cxr_monai.finetune.disease.question``.
    """
    settings, out = ProbeSettings.of(overrides or {}), Path(out)
    fitter = GateFitter(settings.gate, settings.gate_promise, settings.seed)
    parent = open_parent(str(task.parent), shipped("cxr_transfer"), task.trust_folder)
    questions = [question(disease, task.against) for disease in diseases]
    for label, _ in questions:
        check_new_folder(out / label)
    base = open_manifest(str(task.manifest), task.dataset_dir, match_names=task.match_names)
    results: dict[str, FineTuneResult] = {}
    refused: dict[str, CxrError] = {}
    trainable: dict[str, tuple[LabelScheme, Manifest]] = {}
    for label, name in questions:
        try:
            trainable[label] = label_scheme(name), with_known(under(base, label_scheme(name)), label)
        except TrainingError as error:
            refused[label] = error
            logger.warning("%s: %s", label, error)
    if not trainable:
        return results, refused
    boxed = [] if task.boxes is None else boxed_labels(task.boxes, base, list(trainable))
    judged = base.table["split"].isin(["train", "val", held_out(base)[0]])
    images = replace(base, table=base.table[judged].reset_index(drop=True))
    fitter.check(images)
    model = Model.open(parent.root, amp=amp, any_modality=task.any_modality, batch_size=32, gate="off")
    features = features_of(model, images)
    # no gate looks at a classifier: one that is fitted on the parent's features is that of every child
    gate = fitter.fitted(model, images)
    probes = _Probes(replace(task, boxes=None), parent, base, features, settings, gate, amp)
    for label, (labels, manifest) in trainable.items():
        with durable_folder(out / label) as folder:
            results[label] = probes.child(manifest, label, labels, folder, task.boxes if label in boxed else None)
    return results, refused


@dataclass(frozen=True, eq=False)
class _Probes:
    """What the linear probes of one parent share."""

    task: FineTuneTask
    parent: Bundle
    base: Manifest
    features: Features
    settings: ProbeSettings
    gate: tuple[FittedGate | None, str]
    amp: bool

    def child(self, manifest: Manifest, label: str, labels: LabelScheme, folder: Path, boxes: Any) -> FineTuneResult:
        """Train, write and judge the child for one disease in a folder that is empty."""
        settings, amp = self.settings, self.amp
        network = self._network(manifest, label)
        train = FeatureBatches(self.features, manifest, "train", label, settings.batch_size, settings.seed)
        val = FeatureBatches(self.features, manifest, "val", label)
        linear, counts = network.get_submodule(classifier_of(network)), label_counts(manifest, "train", [label])
        probe = train_probe(linear, train, val, settings, counts)  # type: ignore[arg-type]
        bundle = self._write(folder / "bundle", network, manifest, label, labels)
        described = describe_predictions(str(bundle.root), str(bundle.weights), torch.device("cpu"), amp)
        path = str(folder / "predictions_val.csv")
        PredictionsWriter(path, [label], {**described, "epoch": probe.epoch, "part": "val"}).attach(probe.evaluator)
        probe.evaluator.run()
        GateFitter(settings.gate, settings.gate_promise).write(bundle.root, *self.gate)
        judge_and_calibrate(bundle, written_predictions(probe.evaluator), manifest, [label], folder)
        tables = self._judged(bundle, linear, label, described, folder)
        maps = None
        if boxes is not None:
            where = (boxes, self.base, label, folder)
            maps = localise_both(bundle.root, self.parent.root, *where, amp, self.task.any_modality)
        recorded = {"disease": label, "against": self.task.against, "blocks": 0, "augmentation": "none"}
        recorded |= {"best_epoch": probe.epoch, **asdict(settings)}
        return finish_child(bundle, self.parent.root, manifest, self.base, tables, recorded, maps)

    def _network(self, manifest: Manifest, label: str) -> nn.Module:
        """Return the parent's network with one output: the parent's row for the label, if it has one."""
        definition = inherited(self.parent, 1)["network_def"]
        torch.manual_seed(self.settings.seed)  # of a row that the parent does not have
        network = initialise_network(
            ConfigParser({"network_def": definition}).get_parsed_content("network_def"),
            self.parent.weights,
            prevalences=label_prevalences(manifest, "train", [label]),
            findings=[label],
        )
        return network.eval()

    def _write(self, root: Path, network: nn.Module, manifest: Manifest, label: str, labels: LabelScheme) -> Bundle:
        """Write a bundle without its calibration, as a training leaves it."""
        copy_parts(shipped("cxr_transfer"), root, CONFIGURATION)
        inference = read_json(root / "configs" / "inference.json")
        meaning = {key: inference[key] for key in MEANING if key in inference} | inherited(self.parent, 1)
        meaning |= {"labels": [label], "label_scheme": labels.to_json()}
        write_meaning(root, meaning, input_channels(network))
        write_intended_films(root, intended_films_in(self.parent.root).as_trained(manifest.views or None))
        save_weights(root / "models" / "model.pt", plain_state(network))
        write_origin(root, manifest)
        return Bundle.open(root)

    def _judged(
        self, bundle: Bundle, linear: nn.Module, label: str, described: Mapping[str, Any], folder: Path
    ) -> dict[str, pd.DataFrame]:
        """Return, and write, what child and parent predict of the held-out part."""
        names = self.base.part(held_out(self.base)[0]).table["image"]
        values, positions = self.features.of(list(names))
        images = list(names.iloc[positions])
        with torch.no_grad():
            probabilities = linear(values).sigmoid().double().numpy()
        fitted = read_calibration(bundle.calibration, bundle.labels)
        if fitted is not None:
            probabilities = fitted.apply(probabilities, [label])
        child = pd.DataFrame({"image": images, label: probabilities[:, 0]})
        parent = self.features.parent.set_index("image").loc[images].reset_index()
        calibrated = fitted is not None and fitted.calibrates
        write_judged(folder, "child", child, {**described, "calibrated": calibrated})
        write_judged(folder, "parent", parent, {"bundle": self.parent.digest, "precision": described["precision"]})
        return {"child": child, "parent": parent}
