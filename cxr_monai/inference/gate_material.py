"""From a bundle and a manifest to the material that a gate is fitted on: each film is read, and predicted, once.

fitted = fit_gate_of(Model.open("OUT/bundle", gate="off"), manifest)
"""

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from cxr_monai.bundle.intended_films import IntendedFilms
from cxr_monai.data.manifest import Manifest
from cxr_monai.data.overlaps import patient_keys
from cxr_monai.data.views import AP, LATERAL, PA, known_view
from cxr_monai.errors import Code, GateError
from cxr_monai.gate import fitted_gate as names
from cxr_monai.gate.bundle_gate import check_observed
from cxr_monai.gate.film_observer import FilmObserver
from cxr_monai.gate.fitted_gate import FittedGate
from cxr_monai.gate.fitting import PROMISE, GateMaterial, fit_gate
from cxr_monai.inference.computation import fastest_computation
from cxr_monai.inference.model import Model
from cxr_monai.inference.reading import FilmReader
from cxr_monai.networks.pooled_depths import pooled_layers

logger = logging.getLogger(__name__)

MOST_FILMS = 2000
"""Training films, and validation films, that a gate is fitted on at most, drawn at random by the seed."""
MOST_WITH_COPIES = 600
"""Films of these, of which altered copies are made: thirty a film."""


def fit_gate_of(
    model: Model,
    manifest: Manifest,
    promise: float = PROMISE,
    seed: int = 0,
    most_films: int = MOST_FILMS,
    num_workers: int | None = None,
) -> FittedGate:
    """Fit a gate on the training and validation films of a manifest.

    Args:
        model: the bundle that it shall be of.
        manifest: with the split that the network was trained by; of one without a split, all films count as validation.
        promise: the share of good films that may be refused.
        seed: of the films that are drawn, and of the folds.
        most_films: of training, and of validation.
        num_workers: films that are read at a time.

    Raises:
        GateError: ``gate-missing`` for too few films.
    """
    layers = pooled_layers(model.network, model.shape)
    material = gate_material(model, drawn_films(manifest, seed, most_films), layers, num_workers)
    return fit_gate(material, layers, promise, seed)


def drawn_films(manifest: Manifest, seed: int = 0, most_films: int = MOST_FILMS) -> Manifest:
    """Return the training and validation rows of a manifest, at most ``most_films`` of each, in the table's order."""
    table = manifest.table
    drawn = []
    for parts in (("train",), ("val", "")):
        rows = table[table["split"].fillna("").isin(parts)]
        drawn += list(rows.sample(min(len(rows), most_films), random_state=seed).index)
    return replace(manifest, table=table.loc[sorted(drawn)].reset_index(drop=True))


def gate_material(
    model: Model, manifest: Manifest, layers: Sequence[str], num_workers: int | None = None
) -> GateMaterial:
    """Read the films of a manifest and run the network once over them.

    Args:
        model: the bundle.
        manifest: its films; those that cannot be read are left out.
        layers: whose pooled outputs are the features; empty for none.
        num_workers: films that are read at a time.

    Raises:
        GateError: ``gate-missing`` for a manifest without films; ``gate-invalid`` for a preprocessing whose planes a
            gate cannot look at.
    """
    settings, table = model.settings, manifest.table
    if table.empty:
        raise GateError(
            Code.GATE_MISSING,
            "the manifest has no film for training or validation: there is nothing to fit a gate on.",
            fix="Give it the parts 'train' and 'val' ('cxr-monai split').",
        )
    computation = fastest_computation(
        model.network, model.shape, model.head, model.device, settings.runtime, settings.amp, layers
    )
    workers = settings.num_workers if num_workers is None else num_workers
    observations, altered, features, rows = [], [], [], []
    drawn = np.sort(np.random.default_rng(0).permutation(len(table))[:MOST_WITH_COPIES])
    others = np.setdiff1d(np.arange(len(table)), drawn)
    for some, has_copies in ((drawn, True), (others, False)) if len(others) else ((drawn, True),):
        part = replace(manifest, table=table.iloc[some].reset_index(drop=True))
        reader = FilmReader(model.preprocessing, model.shape, settings.batch_size, workers, FilmObserver(has_copies))
        first = 0
        with closing(reader.read(part.paths(), list(part.table["image"]), "gate")) as batches:
            for batch in batches:
                kept = batch.readable
                observations.append(batch.observed["observation"][kept].numpy())
                check_observed(observations[-1])
                if has_copies:
                    altered.append(batch.observed["altered"][kept].numpy())
                rows += list(some[first : first + len(batch.names)][kept])
                first += len(batch.names)
                if layers:
                    with torch.inference_mode():
                        _, pooled = computation.logits_and_features(batch.images.to(model.device))
                    features.append(pooled.cpu().numpy()[kept])  # type: ignore[union-attr]
    read, copied = table.iloc[rows], np.concatenate(altered)  # those with copies were read first
    of_others = np.full((len(rows) - len(copied), *copied.shape[1:]), np.nan, dtype=np.float32)
    return GateMaterial(
        np.concatenate(observations),
        np.concatenate([copied, of_others]),
        np.concatenate(features) if features else None,
        np.array(patient_keys(read)),
        (read["split"].fillna("") != "train").to_numpy(),
        **_attributes(read, model),
    )


def other_films(table: pd.DataFrame, intended: IntendedFilms) -> tuple[np.ndarray, np.ndarray]:
    """Return which films of a manifest are known to be of another age, or of another view, than a bundle is meant for.

    Args:
        table: the manifest's N rows.
        intended: by the bundle's metadata.

    Returns:
        of another age, of another view: bool ``[N]`` each.
    """
    views = table["view"].fillna("").map(known_view)
    is_other_age = np.array([not np.isnan(age) and not intended.covers_age(age) for age in table["age"]], dtype=bool)
    return is_other_age, ((views != "") & ~views.isin(intended.views)).to_numpy()


def _attributes(table: pd.DataFrame, model: Model) -> dict[str, Any]:
    """Return which films are of intended views and ages, and which are known to be children's, lateral or AP."""
    metadata = {} if model.bundle is None else model.bundle.metadata
    intended = IntendedFilms.of(metadata) or IntendedFilms()
    views = table["view"].fillna("").map(known_view)
    is_child = (table["age"] < (intended.minimum_age or 0)).to_numpy()
    is_other_age, is_other_view = other_films(table, intended)
    return {
        "is_good": ~is_other_age & ~is_other_view,
        "attributes": {
            names.CHILD: is_child & ~is_other_view,
            names.LATERAL_VIEW: (views == LATERAL).to_numpy() & (LATERAL not in intended.views),
            names.AP_VIEW: (views.isin([AP]) & ~is_other_age).to_numpy() & bool((views == PA).any()),
        },
    }
