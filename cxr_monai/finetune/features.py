"""Batches of kept features: what a loader of images is to an ordinary training.

    train = FeatureBatches(features, manifest, "train", "Mass", batch_size=32)

Any number of classifiers can be trained on the features of one frozen network
(`cxr_monai.inference.pooled_features.features_of`).
"""

from collections.abc import Iterator
from typing import Any

import torch

from cxr_monai.data.loading import EpochSampler
from cxr_monai.data.manifest import Manifest
from cxr_monai.inference.pooled_features import Features


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
