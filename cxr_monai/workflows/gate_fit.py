"""A copy of a bundle with a gate, fitted on the films of a manifest and tested on those that it leaves aside.

fit = fit_bundle_gate("OUT/bundle", "manifest.csv", "gated")
fit.held_out                                # {"films": 261, "patients": 190, "refused": 2, "low": 0.002, "high": ...}
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.bundle.bundle_folder import METADATA, Bundle, write_json
from cxr_monai.bundle.digest import file_digest
from cxr_monai.bundle.intended_films import INTENDED_FILMS, IntendedFilms
from cxr_monai.bundle.writing import check_new_bundle, new_bundle
from cxr_monai.data.manifest import Manifest, read_manifest
from cxr_monai.data.overlaps import patient_keys
from cxr_monai.errors import Code, SettingError, SplitError
from cxr_monai.evaluation.bootstrap import PatientBootstrap
from cxr_monai.evaluation.patients import copy_patients
from cxr_monai.evaluation.proportions import patient_wilson
from cxr_monai.gate.answer import GateMode, GateVerdict
from cxr_monai.gate.bundle_gate import Gate
from cxr_monai.gate.fitted_gate import FittedGate
from cxr_monai.gate.fitting import PROMISE
from cxr_monai.gate.storage import write_gate
from cxr_monai.inference.gate_material import MOST_FILMS, fit_gate_of, other_films
from cxr_monai.inference.model import Model
from cxr_monai.plurals import counted
from cxr_monai.sharing.trust.lineage import write_lineage
from cxr_monai.sharing.trust.open_trusted import open_trusted

FITTED_PARTS = ("train", "val", "")
"""The parts of a split that a gate is fitted on; the empty one is that of films without a part."""


@dataclass(frozen=True)
class GateFit:
    """A gate that was fitted, and how its promise did.

    Attributes:
        gate: as it stands in the copy; ``fitted_on`` has the figures of the folds.
        held_out: of the films that it was not fitted on (the split's part ``test``): ``films``, ``patients``,
            ``refused`` and ``reviewed`` in numbers, and of the refused share the 95 % interval over patients (``low``,
            ``high``); empty where the manifest has none.
        notes: sentences for the person who fitted it.
    """

    gate: FittedGate
    held_out: Mapping[str, float]
    notes: tuple[str, ...]


def fit_bundle_gate(
    bundle: str | PathLike[str],
    manifest: str | Path | Manifest,
    out: str | Path,
    *,
    split: Sequence[str] = FITTED_PARTS,
    promise: float = PROMISE,
    seed: int = 0,
    any_modality: bool = False,
    workers: int | None = None,
    trust_folder: bool = False,
    force: bool = False,
) -> GateFit:
    """Fit a gate and write it into a copy of the bundle: whole or not at all.

    Args:
        bundle: stays as it is: a folder, an opened bundle, or the name of an installed one.
        manifest: its films, of which labels are not needed; by the split that the network was trained by, or without
            one where they are other films, which then all count as ones that it has not seen.
        out: the copy's folder, which must not exist unless ``force``.
        split: the parts that it is fitted on.
        promise: the share of films like these that may be refused, in (0, 0.5].
        seed: of the films that are drawn where there are many, and of the folds.
        any_modality: read DICOM files whatever their headers say they show.
        workers: files that are read at a time; decided by the machine where None.
        trust_folder: take the folder although an inspection refuses it.
        force: an earlier copy may be replaced.

    Raises:
        UsageError: ``output-exists``.
        SettingError: ``setting-invalid`` for a promise that is none.
        SplitError: ``split-invalid`` where the manifest has no film of these parts.
        GateError: ``gate-missing`` for too few films to fit one on.
        BundleError, WeightsError, ManifestError, StorageError: as whatever reads and writes them.
    """
    if not 0 < promise <= 0.5:
        raise SettingError(
            Code.SETTING_INVALID, f"--promise {promise:g}: the share of good films that may be refused, up to 0.5."
        )
    opened = Bundle.open(open_trusted(bundle, trust_folder))
    check_new_bundle(out, [opened.root], force)
    table = manifest if isinstance(manifest, Manifest) else read_manifest(manifest)
    chosen = _chosen(table, split)
    model = Model.open(opened.root, gate=GateMode.OFF, any_modality=any_modality, num_workers=workers)
    fitted = fit_gate_of(model, chosen, promise, seed)
    intended = IntendedFilms.of(opened.metadata)
    judging = replace(model, gate=Gate(fitted, intended or IntendedFilms(), GateMode.REFUSE))
    held_out = _held_out(judging, table, split, seed)
    fitted = replace(fitted, fitted_on={**fitted.fitted_on, **({"held_out": held_out} if held_out else {})})
    notes = _notes(opened, chosen, intended, fitted, held_out)
    with new_bundle(out, opened.root, force) as folder:
        if intended is None:
            write_json(folder / METADATA, {**opened.metadata, INTENDED_FILMS: IntendedFilms().to_json()})
        write_gate(folder, fitted, file_digest(folder / "models" / "model.pt"))
        settings = {"promise": promise, "seed": seed}
        write_lineage(folder, [opened.root], "cxr-monai gate fit", data=fitted.fitted_on, settings=settings)
        copy_patients(opened.root, out)
    return GateFit(fitted, held_out, notes)


def _chosen(manifest: Manifest, split: Sequence[str]) -> Manifest:
    """Return the films of some parts; those of the part ``test`` count as validation, for nothing was trained on them.

    Raises:
        SplitError: ``split-invalid`` where there is none.
    """
    parts = manifest.table["split"].fillna("")
    rows = manifest.table[parts.isin(split)]
    if rows.empty:
        raise SplitError(
            Code.SPLIT_INVALID,
            f"no film of this manifest is in {' or '.join(part or 'no part' for part in split)}.",
            fix="'cxr-monai check' shows its parts; --split names others.",
        )
    return replace(manifest, table=rows.assign(split=rows["split"].replace("test", "val")).reset_index(drop=True))


def _held_out(model: Model, manifest: Manifest, split: Sequence[str], seed: int) -> dict[str, float]:
    """Return what the gate says of good films that it was not fitted on; empty where there are none."""
    table = manifest.table[(manifest.table["split"] == "test") & ("test" not in split)].reset_index(drop=True)
    is_other_age, is_other_view = other_films(table, model.gate.intended)
    table = table[~is_other_age & ~is_other_view]
    table = table.sample(min(len(table), MOST_FILMS), random_state=seed).sort_index()
    if table.empty:
        return {}
    films = replace(manifest, table=table)
    judged = model.predict(films.paths(), list(table["image"])).gate
    if judged is None or judged.empty:
        return {}
    positions = {name: row for row, name in enumerate(table["image"])}
    rows = table.iloc[[positions[name] for name in judged["image"]]]
    patients, names = pd.factorize(np.array(patient_keys(rows)))
    refused = (judged["gate"] == GateVerdict.REFUSE).to_numpy(dtype=float)
    bootstrap = PatientBootstrap(patients, replicates=1000, seed=seed)
    low, high = patient_wilson(refused[:, None], np.ones((len(refused), 1)), bootstrap)
    return {
        "films": len(refused),
        "patients": len(names),
        "refused": int(refused.sum()),
        "reviewed": int((judged["gate"] == GateVerdict.REVIEW).sum()),
        "low": float(low[0]),
        "high": float(high[0]),
    }


def _notes(
    bundle: Bundle,
    manifest: Manifest,
    intended: IntendedFilms | None,
    fitted: FittedGate,
    held_out: Mapping[str, float],
) -> tuple[str, ...]:
    notes = []
    if intended is None:
        default = IntendedFilms()
        notes.append(
            f"the bundle did not say which films it is meant for; the copy says: age {default.minimum_age:g} and "
            f"over, {', '.join(default.views)} ({INTENDED_FILMS} in its metadata)"
        )
    trained_on = bundle.metadata.get("trained_on")
    images = trained_on.get("images") if isinstance(trained_on, Mapping) else None
    has_split = bool(manifest.table["split"].fillna("").any())
    if has_split and isinstance(images, int) and images != len(manifest.table):
        notes.append(
            f"the bundle was trained and validated on {counted(images, 'image')}, and this manifest has "
            f"{len(manifest.table):,} in the parts that were taken; where they are other films, give a manifest "
            "without a split: then they count as films that the network has not seen"
        )
    if not fitted.fitted_on.get("promise_kept_by_number", True):
        fewest = int(np.ceil(1 / fitted.promise)) - 1
        notes.append(
            f"{counted(int(fitted.fitted_on['films']), 'film')} are too few for this promise, which takes {fewest:,}: "
            "films that are no worse than the worst of them pass"
        )
    if not held_out:
        notes.append("no good film was left aside to test the promise on (the split's part test)")
    elif held_out["low"] > fitted.promise:
        notes.append("the promise is broken on the films that were left aside: they are unlike those it was fitted on")
    return tuple(notes)
