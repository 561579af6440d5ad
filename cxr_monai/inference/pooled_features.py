"""Pooled features: what a frozen network gives to its classifier, computed once an image and kept in memory.

    features = features_of(Model.open("PARENT"), manifest)          # .values: [N, D]

A frozen network gives of an image always the same D numbers. Classifiers are trained on them (linear probes), and what
they tell of view, sex, age and source shows what the network could use as a shortcut.
"""

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from cxr_monai.data.manifest import Manifest
from cxr_monai.errors import Code, TrainingError
from cxr_monai.inference.model import Model
from cxr_monai.networks.classifier import classifier_of
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
