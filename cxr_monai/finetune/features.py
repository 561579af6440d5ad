"""Kept features: what a frozen network gives to its classifier, computed once an image and kept in memory.

    features = features_of(Model.open("PARENT"), manifest)          # [N, D]
    train = FeatureBatches(features, manifest, "train", "Mass", batch_size=32)

A frozen network gives of an image always the same D numbers, so any number of classifiers can be trained on them.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from cxr_monai.data.loading import EpochSampler
from cxr_monai.data.manifest import Manifest
from cxr_monai.errors import Code, TrainingError
from cxr_monai.finetune.stages import classifier_of
from cxr_monai.inference.model import Model
from cxr_monai.networks.inferers import AutocastInferer
from cxr_monai.plurals import counted

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Features:
    """What a frozen network makes of images.

    Attributes:
        images: N names, as the manifest has them; those that could not be read are not among them.
        values: float32 ``[N, D]``, what goes into the classifier.
        parent: the parent's predictions, calibrated where it can: ``image`` and a column a label.
    """

    images: tuple[str, ...]
    values: torch.Tensor
    parent: pd.DataFrame

    def of(self, names: Sequence[str]) -> tuple[torch.Tensor, np.ndarray]:
        """Return the features of some images.

        Args:
            names: M names of images; those that could not be read are left out.

        Returns:
            float32 ``[K, D]``, and the K positions in ``names`` that they are of.
        """
        row_of = {name: row for row, name in enumerate(self.images)}
        positions = np.array([position for position, name in enumerate(names) if name in row_of], dtype=int)
        return self.values[[row_of[names[position]] for position in positions]], positions


def features_of(model: Model, manifest: Manifest) -> Features:
    """Run a bundle's network once over all images of a table, as it is validated: centre crop, no augmentation.

    Args:
        model: a bundle, opened.
        manifest: the images.

    Raises:
        TrainingError: ``preflight-failed`` if no image can be read.
    """
    classifier, values, tables = model.network.get_submodule(classifier_of(model.network)), [], []
    inferer = AutocastInferer(model.settings.amp, model.head)  # of the network itself, not of a fused copy
    given: list[torch.Tensor] = []
    hook = classifier.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    try:
        with closing(model.read(manifest.paths(), list(manifest.table["image"]), "features")) as batches:
            for batch in batches:
                with torch.no_grad():  # not inference mode, whose tensors cannot be trained on
                    logits = inferer(batch.images.to(model.device), model.network)[batch.readable]
                values.append(given.pop().float().cpu()[batch.readable])
                table = pd.DataFrame(model.probabilities(logits), columns=list(model.labels))
                table.insert(0, "image", [batch.names[position] for position in batch.readable])
                tables.append(table)
    finally:
        hook.remove()
    parent = pd.concat(tables, ignore_index=True)
    if parent.empty:
        raise TrainingError(
            Code.PREFLIGHT_FAILED,
            "no image could be read.",
            fix="'cxr-monai check MANIFEST --pixels' lists every file that cannot be read.",
            where=manifest.root,
        )
    if len(parent) < len(manifest):
        logger.warning("%s could not be read, without a part in it", counted(len(manifest) - len(parent), "image"))
    return Features(tuple(parent["image"]), torch.cat(values), parent)


class FeatureBatches:
    """Batches of kept features: what a loader of images is to an ordinary training.

    Each batch is a dictionary: ``image`` float32 ``[B, D]``, ``label`` float32 ``[B, 1]`` (NaN: unknown), ``name``,
    and ``error``, which is empty: images that could not be read have no features.

    Args:
        features: of the images.
        manifest: the images and their labels.
        split: the part of the manifest.
        label: the finding that is learned.
        batch_size: images a batch, drawn in a new order each epoch; None gives all images at once, in the table's
            order.
        seed: of the order.
    """

    def __init__(
        self,
        features: Features,
        manifest: Manifest,
        split: str,
        label: str,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> None:
        part = manifest.part(split)
        self.values, positions = features.of(list(part.table["image"]))
        self.images = list(part.table["image"].iloc[positions])
        self.label, self.labels = label, torch.tensor(part.labels([label])[positions])
        self.sampler = EpochSampler(len(self.images), batch_size, seed) if batch_size else None

    def start(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration has."""
        if self.sampler is not None:
            self.sampler.start(epoch)

    def __len__(self) -> int:
        return 1 if self.sampler is None else len(self.sampler)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for draws in self.sampler or [None]:
            rows = range(len(self.images)) if draws is None else [draw.index for draw in draws]
            yield {
                "image": self.values[rows],
                "label": self.labels[rows],
                "name": [self.images[row] for row in rows],
                "error": [""] * len(rows),
            }
