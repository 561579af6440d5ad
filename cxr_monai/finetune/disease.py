"""What a child bundle is asked: a disease against normal chests, or against all other images.

    label, scheme = question("pneumonia", "normal")          # ("Pneumonia", "Pneumonia_vs_normal")
    manifest = disease_manifest("M.csv", None, scheme(...), ["Pneumonia"])

A network learns from patients, not from images of one patient: the least that is accepted is counted in patients.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

from cxr_monai.data.dataset import open_manifest
from cxr_monai.data.manifest import Manifest
from cxr_monai.data.overlaps import patient_names
from cxr_monai.errors import Code, SettingError, TrainingError
from cxr_monai.labels import NIH14, spelling
from cxr_monai.plurals import counted
from cxr_monai.schemes import LabelScheme

AGAINST = ("normal", "others")
LEAST_TRAINING = 5
"""Patients with the disease in the training part: with fewer a classifier learns who they are, not what they have."""
FEW = 50
"""Below this many the child depends on who they happen to be; docs/fine-tuning.md shows how much."""
LEAST_VALIDATION = 2
"""Patients with the disease in the validation part, which chooses the epoch and the threshold."""

logger = logging.getLogger(__name__)


def question(disease: str | None, against: str = "normal") -> tuple[str, str]:
    """Return the label of a child's one channel, and the name of its label scheme.

    Args:
        disease: a finding; against ``normal`` one of NIH's 14, since the others must be known to call a chest normal.
        against: ``normal``: images with other findings alone are left out; ``others``: they are negatives.

    Raises:
        SettingError: ``setting-invalid`` for no disease, one that has no such scheme, or another ``against``.

    >>> question("pleural thickening")
    ('Pleural_Thickening', 'Pleural_Thickening_vs_normal')
    >>> question("Tuberculosis", "others")
    ('Tuberculosis', 'findings')
    """
    if against not in AGAINST:
        raise SettingError(Code.SETTING_INVALID, f"--against {against!r}: it must be {' or '.join(AGAINST)}.")
    if not isinstance(disease, str) or not disease.strip() or "," in disease:
        raise SettingError(
            Code.SETTING_INVALID,
            f"--disease {disease!r}: a child bundle is for one disease.",
            fix=f"Name one, such as --disease Pneumonia; the findings of NIH are {', '.join(NIH14)}. "
            "'cxr-monai finetune --disease all' makes a bundle for each.",
        )
    label = spelling(disease)
    if label in NIH14:
        return label, f"{label}_vs_normal" if against == "normal" else "findings"
    if against == "normal":
        raise SettingError(
            Code.SETTING_INVALID,
            f"--disease {disease!r}: which chests are normal is known for {', '.join(NIH14)}.",
            fix="Train it --against others, or give a --label_scheme of your own (docs/labels.md).",
        )
    return label, "findings"


def disease_manifest(
    manifest: str | Sequence[str] | None,
    dataset_dir: str | None,
    scheme: LabelScheme,
    findings: Sequence[str],
    views: str | Sequence[str] | None = None,
) -> Manifest:
    """Return the table that a child is trained on: the images whose label is known, if there are enough of them.

    Args:
        manifest, dataset_dir, views: as for ``cxr_monai.data.dataset.open_manifest``.
        scheme: whose label the disease is.
        findings: the disease's label alone.

    Raises:
        TrainingError: ``too-few-patients`` for fewer than `LEAST_TRAINING` patients with the disease in the training
            part, fewer than `LEAST_VALIDATION` in the validation part, or none without it in one of them.
        ManifestError, SplitError: of a manifest that is not as it must be.
    """
    (label,) = findings
    return with_known(open_manifest(manifest, dataset_dir, scheme, views), label)


def with_known(opened: Manifest, label: str) -> Manifest:
    """Return the images of a table whose label is known, checked as `disease_manifest` says."""
    opened.labels([label])  # says what findings there are, if not this one
    is_known = opened.table[label].notna()
    unknown = int((~is_known & opened.table["split"].isin(["train", "val"])).sum())
    if unknown:
        logger.info(
            "left out of training and validation: %s, whether %s is there is unknown", counted(unknown, "image"), label
        )
    manifest = replace(opened, table=opened.table[is_known].reset_index(drop=True))
    for part, least in (("train", LEAST_TRAINING), ("val", LEAST_VALIDATION)):
        _check(manifest.part(part), label, part, least)
    return manifest


def patients_by_label(manifest: Manifest, label: str) -> tuple[int, int]:
    """Return how many patients have an image with the label, and how many one that is known to be without it."""
    labels, people = manifest.table[label], patient_names(manifest.table)
    return tuple(people[labels == value].nunique() for value in (1, 0))  # type: ignore[return-value]


def _check(part: Manifest, label: str, name: str, least: int) -> None:
    positive, negative = patients_by_label(part, label)
    if positive >= least and negative >= 1:
        if name == "train" and positive < FEW:
            logger.warning(
                "%s with %s to train on: below %d the result depends on who they happen to be; look at its "
                "interval, and at docs/fine-tuning.md",
                counted(positive, "patient"), label, FEW,
            )  # fmt: skip
        return
    why = {
        "train": "with fewer, a classifier learns to tell these patients apart, and not what they have",
        "val": "they choose the epoch, the calibration and the threshold",
    }[name]
    raise TrainingError(
        Code.TOO_FEW_PATIENTS,
        f"the {name} part has {counted(positive, 'patient')} with {label} and "
        f"{negative} without; at least {least} with it and "
        f"1 without are needed: {why}.",
        fix="Add images, split the manifest anew ('cxr-monai split'), or use the parent as it is.",
    )


def held_out(manifest: Manifest) -> tuple[str, list[str]]:
    """Return the part of a manifest that is judged, and what must be said of it."""
    if (manifest.table["split"] == "test").any():
        return "test", []
    return "val", [
        "There is no test part, so this is the validation part, on which the child's epoch and calibration were "
        "chosen: it flatters the child. Split with a test part to know."
    ]
