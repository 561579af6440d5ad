"""What an evaluation stands on: the images, split, labels and bundle behind its figures, and why these may flatter."""

import importlib.metadata
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cxr_monai.data.manifest import Manifest
from cxr_monai.data.overlaps import is_public, overlaps_among, patient_names
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.evaluation.patients import patient_remarks
from cxr_monai.evaluation.predictions import PredictionsFile
from cxr_monai.evaluation.sample import Sample
from cxr_monai.origins import (
    SYNTHETIC,
    is_phantom,
    learned_from,
    official_split,
    sources_trained_on,
)
from cxr_monai.plurals import agreeing, be, counted

if TYPE_CHECKING:  # predictions of any system are judged without a bundle, which needs seconds of imports
    from cxr_monai.bundle.bundle_folder import Bundle

_CHEXNET_SPLIT = "5e7a1362ebaa325cf17e92e25072aaa529a3d6512f5386b41b5b8ae56efeb29b"
"""Digest of the random patient split of zoogzog/chexnet over all 112,120 images."""


def evaluation_provenance(
    sample: Sample, manifest: Manifest, manifest_name: str, file: PredictionsFile, fitted: Fitted | None
) -> dict[str, Any]:
    """Return the provenance of an evaluation: images, split, labels, bundle, versions.

    Args:
        sample: the images that were evaluated.
        manifest: their rows.
        manifest_name: as it is called in the report.
        file: the predictions.
        fitted: calibration and operating points; None where there are none.

    Returns:
        plain values that JSON holds, by name.
    """
    parts = sample.table["split"].replace("", "no split").value_counts()
    studies = sample.table[["study_id"]].assign(patient=sample.patients).drop_duplicates()
    return {
        "predictions": file.path.name if file.path else None,
        "bundle": file.about.get("bundle"),
        "bundle_name": file.about.get("bundle_name"),
        "precision": file.about.get("precision"),
        **({"gate": dict(file.about["gate"])} if isinstance(file.about.get("gate"), Mapping) else {}),
        "calibrated": file.calibrated,
        "calibration_applied": bool(fitted and fitted.calibrates and not file.calibrated),
        "manifest": manifest_name,
        "split": {**_split(manifest), "parts": {str(key): int(value) for key, value in sorted(parts.items())}},
        "label_version": manifest.label_version,
        **({"views": manifest.views} if manifest.views else {}),
        "synthetic_images": int(sample.table["source"].map(is_phantom).sum()),
        "images": len(sample),
        "patients": int(sample.patients.max()) + 1,
        "studies": len(studies) if (sample.table["study_id"] != "").all() else None,
        "ranking_only": list(sample.ranking_only) or None,
        "left_out": {"predicted but not judged": len(file.table) - len(sample)},
        "fitted_on": dict(fitted.fitted_on) if fitted else None,
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: importlib.metadata.version(name) for name in ("cxr-monai", "scikit-learn", "numpy")},
    }


def _split(manifest: Manifest) -> dict[str, Any]:
    record = manifest.split
    if record is None:
        return {"scheme": None, "seed": None, "digest": None, "name": "none recorded"}
    names = {
        "official": official_split(manifest.label_version),
        "random": "an own random split by patient",
        "kfold": "own folds",
        "joined": "each data set's own split",
        "leave-one-source-out": "one source left out of training",
    }
    name = names.get(record.scheme, "an own split" if record.scheme == "lists" else "a split that was edited by hand")
    if record.digest == _CHEXNET_SPLIT:
        name = "CheXNet's split (zoogzog/chexnet, random by patient)"
    return {"scheme": record.scheme, "seed": record.seed, "digest": record.digest, "name": name}


def evaluation_warnings(sample: Sample, manifest: Manifest, file: PredictionsFile, fitted: Fitted | None) -> list[str]:
    """Return warnings on why the figures may be too optimistic, a sentence each.

    Args:
        sample: the images that were evaluated.
        manifest: their rows.
        file: the predictions.
        fitted: calibration and operating points; None where there are none.
    """
    warnings = [*_drawn(sample), *patient_remarks(manifest)]
    in_training = sample.table["split"] == "train"
    if file.about.get("out_of_fold") is True:
        warnings.append(
            "Each image was predicted by a network that was not trained on its patient, fold by fold: the figures are "
            "of several networks of one recipe."
        )
    elif in_training.any():
        patients = patient_names(sample.table[in_training]).nunique()
        images = int(in_training.sum())
        warnings.append(
            f"{images:,} of the {counted(len(sample), 'image')} ({counted(patients, 'patient')}) "
            f"{agreeing(images, 'belong')} to this manifest's training part:"
            " a system that was trained on them looks better here than it is."
        )
    elif not (sample.table["split"] != "").any():
        warnings.append("The manifest has no split: whether the system was trained on these patients is not known.")
    versions = {"the calibration was fitted": (fitted.fitted_on if fitted else {}).get("label_version")}
    versions["the system says it was trained"] = file.about.get("label_version")
    for source, version in versions.items():
        if version and version != manifest.label_version:
            warnings.append(
                f"Labels of two versions meet: {source} on {version!r}, these are {manifest.label_version!r}."
            )
    if fitted is None:
        warnings.append(
            "There are no operating points: thresholds must come from other patients (a calibrated bundle, or --fit)."
        )
    return warnings


def learned_warnings(system: "Bundle | None", sample: Sample) -> list[str]:
    """Return a sentence where the system was trained on synthetic images, or on films of the collection judged here.

    Args:
        system: the bundle that predicted; None where it is not known.
        sample: the images that were evaluated.
    """
    if system is None:
        return []
    from cxr_monai.bundle.origin import TRAINED_ON

    record = system.metadata.get(TRAINED_ON)
    sentence = learned_from(record)
    warnings = [f"The system: {sentence[:1].lower()}{sentence[1:]}"] if sentence else []
    sources = [source for source in sample.table["source"].unique() if is_public(source)]
    overlaps = overlaps_among(sources_trained_on(record), sources)
    other = [overlap for overlap in overlaps if overlap.first.lower() != overlap.second.lower()]
    return warnings + [
        f"This is no external test: the system was trained on {overlap.first}, and films of {overlap.second} are of "
        f"the same collection ({overlap.why})."
        for overlap in other
    ]


def _drawn(sample: Sample) -> list[str]:
    """Return a sentence where images of the sample are synthetic."""
    phantoms = int(sample.table["source"].map(is_phantom).sum())
    if not 0 < phantoms < len(sample):
        return [SYNTHETIC] if phantoms else []
    return [
        f"{phantoms:,} of the {counted(len(sample), 'image')} {be(phantoms)} synthetic, "
        "drawn by a program (cxr-monai phantom)."
    ]
