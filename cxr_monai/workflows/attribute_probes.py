"""What a network's features tell of who is shown and where: view, sex, age group and source of the images.

    attribute_probes(model, {"home": manifest, "elsewhere": other})      # one row an attribute: AUROC with its interval

Features that tell the hospital are no proof of a shortcut, but features that do not leave none to take.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from cxr_monai.data.manifest import Manifest
from cxr_monai.data.overlaps import patient_keys
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.metadata_only import attributes_from_features
from cxr_monai.inference.model import Model
from cxr_monai.inference.pooled_features import features_of

MOST_IMAGES = 2000
"""Images of each place, of patients drawn at random: a probe of a thousand features needs no more."""


def attribute_probes(
    model: Model,
    sites: Mapping[str, Manifest],
    intervals: Intervals | None = None,
    *,
    most_images: int = MOST_IMAGES,
    seed: int = 0,
) -> pd.DataFrame:
    """Return how well a network's pooled features tell view, age group, sex and source.

    Args:
        model: an opened bundle.
        sites: tables of images by the names of their places; with two or more, the place is the source, else what the
            table's column says.
        intervals: of the bootstrap of patients.
        most_images: of each place at most; whole patients are drawn.
        seed: of the draw.

    Returns:
        as `cxr_monai.evaluation.metadata_only.attributes_from_features`.

    Raises:
        TrainingError: ``preflight-failed`` if no image of a place can be read.
        SettingError: ``setting-invalid`` for a network without a linear classifier.
    """
    values, tables = [], []
    for name, manifest in sites.items():
        part = _some_patients(manifest, most_images, seed)
        features = features_of(model, part)
        kept, rows = features.of(list(part.table["image"]))
        values.append(kept)
        table = part.table.iloc[rows].reset_index(drop=True)
        table["patient"] = patient_keys(table)  # before the place takes the source's column: one patient may be at both
        tables.append(table.assign(source=name) if len(sites) > 1 else table)
    table = pd.concat(tables, ignore_index=True)
    patients = pd.factorize(table["patient"])[0]
    return attributes_from_features(torch.cat(values).numpy(), table, patients, intervals)


def _some_patients(manifest: Manifest, most_images: int, seed: int) -> Manifest:
    """Return the images of patients drawn in a random order until no further one fits."""
    if len(manifest) <= most_images:
        return manifest
    codes = pd.factorize(patient_keys(manifest.table))[0]
    sizes = np.bincount(codes)
    order = np.random.default_rng(seed).permutation(sizes.size)
    chosen = order[np.cumsum(sizes[order]) <= most_images]
    return replace(manifest, table=manifest.table[np.isin(codes, chosen)].reset_index(drop=True))
