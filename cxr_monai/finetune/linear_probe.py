"""The short way: where the classifier alone is trained, the frozen network sees every image once, whatever is asked.

    features = features_of(parent, manifest)                        # [N, D], what goes into the classifier
    made = finetune_heads("PARENT", ["Pneumonia", "Mass"], "M.csv", "OUT")

A frozen network gives of an image always the same D numbers, so they are computed once, and training a classifier on
them takes seconds. The steps are those of ``cxr_transfer`` with ``--blocks 0 --augmentation none``: the same batches,
optimiser, schedule and choice of the epoch. The children are bundles like all others.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from monai.bundle import ConfigParser
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from cxr_monai.bundle.about import about
from cxr_monai.bundle.bundle_folder import Bundle, head_of, read_json
from cxr_monai.bundle.calibrated import calibration_item, write_calibration
from cxr_monai.bundle.evaluated import MEANING
from cxr_monai.bundle.origin import write_origin
from cxr_monai.bundle.shipped import shipped
from cxr_monai.bundle.trained import plain_state, save_weights, write_meaning
from cxr_monai.bundle.workflow import check_ranges
from cxr_monai.bundle.writing import CONFIGURATION, copy_parts
from cxr_monai.data.dataset import RadiographDataset, items, label_counts, open_manifest, prevalences
from cxr_monai.data.loading import EpochSampler, reading_loader
from cxr_monai.data.manifest import Manifest, under
from cxr_monai.durable import durable_folder
from cxr_monai.errors import Code, CxrError, SettingError, TrainingError
from cxr_monai.evaluation.carried import calibration_in
from cxr_monai.evaluation.fitted import describe_sample, fit, read_fitted
from cxr_monai.evaluation.metrics_table import finding_table, write_table
from cxr_monai.evaluation.patients import remember_patients
from cxr_monai.evaluation.predictions import PredictionsFile, join, write_predictions
from cxr_monai.finetune.against_parent import Judged
from cxr_monai.finetune.box_comparison import Localised, boxed_labels, localise_both
from cxr_monai.finetune.child import finish, write_judged
from cxr_monai.finetune.disease import held_out, question, with_known
from cxr_monai.finetune.parent import inherited, open_parent
from cxr_monai.finetune.stages import classifier_of
from cxr_monai.losses import MaskedBCEWithLogitsLoss, loss
from cxr_monai.networks.architectures import input_channels
from cxr_monai.networks.inferers import AutocastInferer
from cxr_monai.networks.weight_loading import initialise, load_weights
from cxr_monai.outputs import check_new_folder
from cxr_monai.plurals import counted
from cxr_monai.progress import progress_bar
from cxr_monai.schemes import LabelScheme, scheme
from cxr_monai.training.optimisers import optimizer
from cxr_monai.training.schedules import schedule
from cxr_monai.transforms import plain_tensors

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeadSettings:
    """Settings of ``cxr_transfer`` that a classifier on kept features has, with its defaults."""

    epochs: int = 12
    batch_size: int = 32
    learning_rate: float = 0.001
    weight_decay: float = 0.0
    schedule: str = "plateau"
    loss: str = "bce"
    patience: int = 5
    seed: int = 0

    @classmethod
    def of(cls, overrides: Mapping[str, Any]) -> "HeadSettings":
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
        made = {name: config[name] for name in names} | dict(overrides)
        check_ranges(made)
        return cls(**made)


@dataclass(frozen=True, eq=False)
class Features:
    """What a frozen network makes of images.

    Attributes:
        images: N names, as the manifest has them; those that could not be read are not among them.
        values: float32 ``[N, D]``, what goes into the classifier.
        parent: what the parent predicts, calibrated where it can: ``image`` and a column a label.
    """

    images: tuple[str, ...]
    values: torch.Tensor
    parent: pd.DataFrame

    def of(self, names: Sequence[str]) -> tuple[torch.Tensor, np.ndarray]:
        """Return the features of some images ``[M, D]``, and at which of the names they are, unread ones left out."""
        at = {name: row for row, name in enumerate(self.images)}
        there = np.array([row for row, name in enumerate(names) if name in at], dtype=int)
        return self.values[[at[names[row]] for row in there]], there


def features_of(
    parent: Bundle,
    manifest: Manifest,
    amp: bool = True,
    batch_size: int = 32,
    num_workers: int | None = None,
    any_modality: bool = False,
) -> Features:
    """Run a bundle's network over all images of a table, as it is validated: centre crop, no augmentation.

    Raises:
        TrainingError: ``preflight-failed`` if no image can be read.
        WeightsError: as ``cxr_monai.networks.weight_loading.load_weights``.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parser = parent.parser()
    network = load_weights(parser.get_parsed_content("network_def"), parent.weights, device).eval()
    seen: list[torch.Tensor] = []
    network.get_submodule(classifier_of(network)).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    dataset = RadiographDataset(
        items(manifest, None, manifest.findings),
        parser.get_parsed_content("preprocessing"),
        tuple(parser.get_parsed_content("dataset#shape")),
        any_modality=any_modality,
    )
    inferer, images, values, outputs = AutocastInferer(amp, head_of(parser)), [], [], []
    with (
        torch.inference_mode(),
        plain_tensors(),
        progress_bar(total=len(manifest), desc="features", unit="images") as bar,
    ):
        for batch in reading_loader(dataset, batch_size, num_workers):
            logits = inferer(batch["image"].to(device), network).cpu()
            good = [row for row, error in enumerate(batch["error"]) if not error]
            values.append(seen.pop().float().cpu()[good])
            outputs.append(logits[good])
            images += [batch["name"][row] for row in good]
            bar.update(len(batch["name"]))
    if not images:
        raise TrainingError(
            Code.PREFLIGHT_FAILED,
            "no image could be read.",
            fix="'cxr-monai check MANIFEST --pixels' lists every file that cannot be read.",
            where=manifest.root,
        )
    if len(images) < len(manifest):
        logger.warning("%s could not be read, without a part in it", counted(len(manifest) - len(images), "image"))
    probabilities = torch.cat(outputs).sigmoid().numpy()
    fitted = calibration_in(parent.root, calibration_item(parent.root), parent.labels, parent.weights)
    if fitted is not None:
        probabilities = fitted.apply(probabilities, parent.labels)
    table = pd.DataFrame(probabilities, columns=list(parent.labels))
    table.insert(0, "image", images)
    # a copy: what was made in inference mode cannot be trained on
    return Features(tuple(images), torch.cat(values).clone(), table)


@dataclass(frozen=True, eq=False)
class Part:
    """Features and labels of one part: ``values`` ``[N, D]``, ``labels`` ``[N, 1]``, NaN unknown, and the names."""

    values: torch.Tensor
    labels: torch.Tensor
    images: tuple[str, ...]

    @classmethod
    def of(cls, features: Features, manifest: Manifest, split: str, label: str) -> "Part":
        part = manifest.part(split)
        names = list(part.table["image"])
        values, there = features.of(names)
        return cls(values, torch.tensor(part.labels([label])[there]), tuple(names[row] for row in there))


def train_head(
    linear: nn.Linear, train: Part, val: Part, settings: HeadSettings, counts: Sequence[tuple[int, int]]
) -> int:
    """Train a classifier on features; leaves the weights of the best epoch in it and returns that epoch's number.

    Args:
        linear: D to 1, with the weights to start from.
        train, val: the epoch of the highest AUROC on the latter is the best, that of the lowest loss among equals.
        settings: of the training.
        counts: positives and negatives of the training part, for losses that weigh.

    Raises:
        TrainingError: ``not-finite`` if the loss is not a number.
    """
    sampler = EpochSampler(len(train.values), settings.batch_size, settings.seed)
    stepper = optimizer(linear, settings.learning_rate, settings.weight_decay)
    rates = schedule(stepper, settings.schedule, settings.epochs, len(sampler), factor=0.3)  # type: ignore[arg-type]
    criterion, judge = loss(settings.loss, counts), MaskedBCEWithLogitsLoss()
    best, best_epoch, kept = (-math.inf, -math.inf), 0, {}
    lowest, waited = math.inf, 0
    for epoch in range(1, settings.epochs + 1):
        sampler.start(epoch)
        for draws in sampler:
            rows = [draw.index for draw in draws]
            stepper.zero_grad()
            value = criterion(linear(train.values[rows]), train.labels[rows])
            if not torch.isfinite(value):
                raise TrainingError(
                    Code.NOT_FINITE, f"the loss of epoch {epoch} is {value.item()}.", fix="Lower --set learning_rate."
                )
            value.backward()
            stepper.step()
            if not isinstance(rates, ReduceLROnPlateau) and rates.last_epoch + 1 < settings.epochs * len(sampler):
                rates.step()
        with torch.no_grad():
            logits = linear(val.values)
            validated = float(judge(logits, val.labels))
        if isinstance(rates, ReduceLROnPlateau):
            rates.step(validated)
        area = float(finding_table(logits.numpy(), val.labels.numpy(), ["label"])["auroc"].iloc[0])
        score = (-math.inf if math.isnan(area) else area, -validated)
        if score > best:
            best, best_epoch = score, epoch
            kept = {name: tensor.clone() for name, tensor in linear.state_dict().items()}
        lowest, waited = (validated, 0) if validated < lowest else (lowest, waited + 1)
        if waited >= settings.patience:
            break
    linear.load_state_dict(kept)
    return best_epoch


def finetune_heads(
    parent: str | Path,
    diseases: Sequence[str],
    manifest: str | Path,
    out: str | Path,
    against: str = "normal",
    dataset_dir: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    amp: bool = True,
    trust_folder: bool = False,
    boxes: str | Path | None = None,
    match_names: bool = False,
    any_modality: bool = False,
) -> tuple[dict[str, Judged], dict[str, CxrError]]:
    """Make a child bundle for each disease, the classifier alone trained; the features are computed once.

    Args:
        parent: the parent bundle.
        diseases: findings; those that the parent has start from its own rows.
        manifest: with a split.
        out: ``OUT/DISEASE/bundle`` is the child of each, with what an ordinary training leaves beside it.
        against, dataset_dir: as for ``cxr_transfer``.
        overrides: of `HeadSettings`.
        amp: compute the features in bfloat16 where the device has it.
        trust_folder: see ``cxr_monai.sharing.trust.open_trusted.open_trusted``.
        boxes: to compare where child and parent look; diseases without a boxed held-out image are not compared.
        match_names: a box is of the image of its file name, whatever their folders.
        any_modality: read DICOM files whatever their headers say they show.

    Returns:
        what came of each, and what was wrong with those that could not be made: too few patients.

    Raises:
        UsageError: ``output-exists``.
        BundleError: as ``cxr_monai.finetune.parent.open_parent``.
        SettingError: as `HeadSettings.of` and ``cxr_monai.finetune.disease.question``.
    """
    settings, out = HeadSettings.of(overrides or {}), Path(out)
    opened = open_parent(str(parent), shipped("cxr_transfer"), trust_folder)
    questions = [question(disease, against) for disease in diseases]
    for label, _ in questions:
        check_new_folder(out / label)
    base = open_manifest(str(manifest), dataset_dir, match_names=match_names)
    made: dict[str, Judged] = {}
    refused: dict[str, CxrError] = {}
    asked = []
    for label, name in questions:
        own = scheme(name)
        try:
            asked.append((label, own, with_known(under(base, own), label)))
        except TrainingError as error:
            refused[label] = error
            logger.warning("%s: %s", label, error)
    if not asked:
        return made, refused
    boxed: list[str] = []
    if boxes is not None:
        boxed = boxed_labels(boxes, base, [label for label, *_ in asked])
        maps = partial(localise_both, parent=opened.root, boxes=boxes, base=base, amp=amp, any_modality=any_modality)
    wanted = base.table["split"].isin(["train", "val", held_out(base)[0]])
    table = base.table[wanted].reset_index(drop=True)
    features = features_of(opened, replace(base, table=table), amp, any_modality=any_modality)
    for label, own, known in asked:
        with durable_folder(out / label) as folder:
            localise = partial(maps, label=label) if label in boxed else None
            made[label] = _child(opened, features, base, known, label, own, folder, settings, against, amp, localise)
    return made, refused


def _child(
    parent: Bundle,
    features: Features,
    base: Manifest,
    manifest: Manifest,
    label: str,
    own: LabelScheme,
    folder: Path,
    settings: HeadSettings,
    against: str,
    amp: bool,
    localise: Callable[..., Localised] | None,
) -> Judged:
    taken = inherited(parent, 1)
    torch.manual_seed(settings.seed)  # of a row that the parent does not have
    network = initialise(
        ConfigParser({"network_def": taken["network_def"]}).get_parsed_content("network_def"),
        parent.weights,
        prevalences=prevalences(manifest, "train", [label]),
        findings=[label],
    ).eval()
    linear = network.get_submodule(classifier_of(network))
    train, val = (Part.of(features, manifest, split, label) for split in ("train", "val"))
    epoch = train_head(linear, train, val, settings, label_counts(manifest, "train", [label]))  # type: ignore[arg-type]
    root = folder / "bundle"
    _write(root, parent, taken, label, own, network)
    write_origin(root, manifest)
    bundle = Bundle.open(root)
    told = about(str(root), str(bundle.weights), torch.device("cpu"), amp)
    _calibrate(bundle, _table(linear, val.values, val.images, label), manifest, label, {**told, "epoch": epoch}, folder)
    part = base.part(held_out(base)[0])
    values, there = features.of(list(part.table["image"]))
    images = part.table["image"].iloc[there]
    fitted = read_fitted(bundle.calibration, bundle.labels)
    child = _table(linear, values, list(images), label)
    if fitted is not None:
        child[label] = fitted.apply(child[[label]].to_numpy(), [label])[:, 0]
    theirs = features.parent.set_index("image").loc[list(images)].reset_index()
    write_judged(folder, "child", child, told | {"calibrated": fitted is not None and fitted.calibrates})
    write_judged(folder, "parent", theirs, {"bundle": parent.digest, "precision": told["precision"]})
    said = {"disease": label, "against": against, "blocks": 0, "augmentation": "none", "best_epoch": epoch}
    said |= {one.name: getattr(settings, one.name) for one in fields(settings)}
    tables = {"child": child, "parent": theirs}
    found = localise(root, out=folder) if localise else None
    return finish(bundle, parent.root, manifest, base, label, own, tables, said, found)


def _write(
    root: Path, parent: Bundle, taken: Mapping[str, Any], label: str, own: LabelScheme, network: nn.Module
) -> None:
    """Write a bundle without its calibration, as a training leaves it."""
    copy_parts(shipped("cxr_transfer"), root, CONFIGURATION)
    inference = read_json(root / "configs" / "inference.json")
    meaning = {key: inference[key] for key in MEANING if key in inference} | dict(taken)
    meaning |= {"labels": [label], "label_scheme": own.to_json()}
    write_meaning(root, meaning, input_channels(network))
    save_weights(root / "models" / "model.pt", plain_state(network))


def _calibrate(
    bundle: Bundle, table: pd.DataFrame, manifest: Manifest, label: str, told: Mapping[str, Any], folder: Path
) -> None:
    path = folder / "predictions_val.csv"
    write_predictions(path, list(table["image"]), table[[label]].to_numpy(), [label], {**told, "part": "val"})
    sample, _ = join(PredictionsFile(table), manifest, "val", [label])
    write_table(finding_table(sample.scores, sample.labels, [label]), folder)
    fitted = fit(sample, fitted_on=describe_sample(sample, manifest, predictions=path.name, bundle=told["bundle"]))
    remember_patients(fitted, sample, bundle.root, manifest.part("train").table["patient_id"])
    write_calibration(bundle.root, fitted)
    for sentence in fitted.shortages():
        logger.info("%s (why: its calibration.json)", sentence)


def _table(linear: nn.Module, values: torch.Tensor, images: Sequence[str], label: str) -> pd.DataFrame:
    with torch.no_grad():
        probabilities = linear(values).sigmoid()[:, 0].double().numpy()
    return pd.DataFrame({"image": list(images), label: probabilities})
