"""Folds: every image predicted by a network that has not seen its patient, and those networks as one bundle.

    manifest, notes = prepare_folds(manifest, k=5)      # patients dealt once; a 'fold' column that is there is kept
    fold_manifest(manifest, 0, 5, "fold0.csv")          # fold 0 is tested, fold 1 validates, the others train
    table = out_of_fold(jobs, manifest)                 # of one variant and seed
    finish_folds(jobs, manifest, "OUT")                 # predictions_oof.csv, metrics_by_fold.csv, bundle/

Fold i + 1 chooses the best epoch of the training that fold i is predicted by, so nothing is chosen on what is reported
on. The networks differ, so their probabilities are not on one scale exactly: a pooled AUROC is as a rule a little lower
than the mean over folds. ``metrics_by_fold.csv`` has both.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from cxr_monai.bundle.bundle_folder import Bundle, head_of
from cxr_monai.bundle.calibrated import write_calibration
from cxr_monai.bundle.ensembling import ensemble_bundle, members_of
from cxr_monai.data.identifiers import alike_note
from cxr_monai.data.manifest import Manifest, SplitRecord, split_digest, write_manifest
from cxr_monai.data.matching import match_images, require_clear
from cxr_monai.data.overlaps import patient_keys
from cxr_monai.data.splits import kfold
from cxr_monai.durable import write_durably
from cxr_monai.errors import BundleError, Code, EvaluationError, SplitError
from cxr_monai.evaluation.fitted import describe_sample, fit_calibration
from cxr_monai.evaluation.metrics_table import finding_table
from cxr_monai.evaluation.patients import remember_patients
from cxr_monai.evaluation.predictions import PredictionsFile, join, read_predictions, write_predictions
from cxr_monai.evaluation.sample import Sample
from cxr_monai.plurals import agreeing, be, counted, have, out_of, was
from cxr_monai.studies.plan import Job

PREDICTIONS, _METRICS, _BUNDLE = "predictions_oof.csv", "metrics_by_fold.csv", "bundle"
POOLED = "pooled"
K = 5
"""Folds, where neither the manifest nor the user says how many."""
_FEWEST_FOLDS = 3
_CLIP = 1e-7

logger = logging.getLogger(__name__)


def prepare_folds(manifest: Manifest, k: int | None = None, seed: int = 0) -> tuple[Manifest, list[str]]:
    """Return a manifest with folds 0 to k - 1, by patient and stratified over all findings, and notes for the user.

    Args:
        manifest: if it has a ``fold`` column, that is kept; images without a fold take no part.
        k: how many; None: as many as the manifest has, else 5.
        seed: of the assignment of patients, where there is none yet.

    Raises:
        SplitError: ``split-invalid`` for fewer than three folds (one is tested, one validates, the others train), more
            folds than patients, a fold without an image, or a k that is not the manifest's.
    """
    if k is not None and k < _FEWEST_FOLDS:
        raise _invalid(k)
    notes = []
    if "fold" in manifest.table and manifest.table["fold"].notna().any():
        folds = sorted(map(int, manifest.table["fold"].dropna().unique()))
        if folds != list(range(len(folds))):
            missing = sorted(set(range(folds[-1])) - set(folds))
            raise SplitError(
                Code.SPLIT_INVALID,
                f"fold {', '.join(map(str, missing))} of the manifest is empty; it has {', '.join(map(str, folds))}.",
                fix="Number them from 0 without a gap, or make new ones: cxr-monai split MANIFEST --scheme kfold.",
            )
        if len(folds) < _FEWEST_FOLDS:
            raise _invalid(len(folds))
        if k is not None and k != len(folds):
            raise SplitError(
                Code.SPLIT_INVALID,
                f"{counted(k, 'fold')} {was(k)} asked for, and the manifest's column 'fold' has {len(folds)}.",
                fix="Leave --folds out to use those, or remove the column to have new ones.",
            )
        without = int(manifest.table["fold"].isna().sum())
        if without:
            notes.append(
                f"{out_of(without, len(manifest), 'image')} {have(len(manifest))} no "
                f"fold and {agreeing(len(manifest), 'take')} no part."
            )
    else:
        manifest = kfold(manifest, K if k is None else k, seed=seed)
        notes += [f"{note}." for note in alike_note(manifest.table["patient_id"], manifest.table["source"])]
        in_test = int((manifest.table["split"] == "test").sum())
        if in_test:
            notes.append(
                f"The folds are of all images, the {in_test:,} of the manifest's test part among them; to keep those "
                "apart, give a manifest without them, or one whose column 'fold' is empty there."
            )
    notes += _one_sided(manifest)
    for note in notes:
        logger.warning("%s", note)
    return manifest, notes


def fold_manifest(manifest: Manifest, fold: int, k: int, path: str | Path) -> None:
    """Write the manifest in which one fold is tested, the next validates, and the others train.

    Args:
        manifest: with folds; images without one get no split.
        fold: 0 to k - 1.
        k: how many there are.
        path: of the CSV.
    """
    following = (fold + 1) % k
    folds = manifest.table["fold"]
    split = folds.map({fold: "test", following: "val"}).astype("object").fillna("train").where(folds.notna(), "")
    table = manifest.table.assign(split=split.astype("str"))
    record = manifest.split
    details: dict[str, Any] = {"k": k, "test_fold": fold, "val_fold": following}
    details |= {"fold_digest": split_digest(table, "fold"), "before": asdict(record) if record else None}
    fold_split = SplitRecord("kfold", record.seed if record else None, split_digest(table), details)
    write_manifest(replace(manifest, table=table, split=fold_split), path)


def out_of_fold(jobs: Sequence[Job], manifest: Manifest) -> pd.DataFrame:
    """Gather the predictions of the trainings of all folds, of one variant and seed, on patients they had not seen.

    Args:
        jobs: the k trainings.
        manifest: with folds.

    Returns:
        ``image`` and one probability a label, in the manifest's order; images that could not be read are not in it.

    Raises:
        EvaluationError: ``predictions-invalid`` if a fold's predictions are missing, or are of other images than the
            fold's.
    """
    images = manifest.table["image"]
    fold_of = dict(zip(images, manifest.table["fold"], strict=True))
    parts = []
    for job in jobs:
        file = read_predictions(_predictions(job))
        matches = match_images(
            file.table["image"], images, by_name=manifest.by_name, spare_names=True, root=manifest.roots
        )
        require_clear(matches, Code.IMAGES_AMBIGUOUS, "the predicted images", file.path)
        image_of = matches.image_of
        foreign = [
            name for name in file.table["image"] if name not in image_of or not _in(fold_of[image_of[name]], job)
        ]
        if foreign:
            raise EvaluationError(
                Code.PREDICTIONS_INVALID,
                f"{len(foreign):,} of the {counted(len(file.table), 'predicted image')} "
                f"{be(len(file.table))} not in fold {job.fold}, such as "
                f"{foreign[0]}.",
                fix="The folds have changed since: start the study again with --restart.",
                where=file.path,
            )
        parts.append(file.table.assign(image=file.table["image"].map(image_of)))
    table = pd.concat(parts, ignore_index=True)
    order = {image: position for position, image in enumerate(images)}
    return table.sort_values("image", key=lambda images: images.map(order), ignore_index=True)


def _in(fold: Any, job: Job) -> bool:
    """Return whether an image is one of those that a job tested; NA is in no fold."""
    return not pd.isna(fold) and int(fold) == job.fold


def check_room(out: str | Path) -> None:
    """Refuse an experiment's folder whose ``bundle`` is not an ensemble, since the bundle of all folds replaces it.

    Args:
        out: the experiment's folder.

    Raises:
        BundleError: ``output-exists``.
    """
    bundle = Path(out) / _BUNDLE
    if bundle.exists() and not members_of(bundle):
        raise BundleError(
            Code.OUTPUT_EXISTS,
            "the bundle of all folds goes here, and what is here is not such a bundle.",
            fix="Choose another --out, or move it away.",
            where=bundle,
        )


def finish_folds(jobs: Sequence[Job], manifest: Manifest, out: str | Path) -> tuple[list[Path], list[str]]:
    """Write the results of the folds of one variant: predictions of every image, metrics by fold, an ensemble bundle.

    With several seeds an image's prediction is the mean of the log-odds of those networks that have not seen it. The
    bundle averages all networks, its calibration is fitted on these predictions, which each come from one k-th of them:
    the mean of more is better, so calibrated probabilities are somewhat nearer to the prevalence than they had to be.

    Args:
        jobs: all k folds, with each seed.
        manifest: with folds and the labels that were trained on.
        out: the experiment's folder.

    Returns:
        the files and folders, and sentences for the reader.

    Raises:
        EvaluationError: as `out_of_fold`.
        BundleError: ``bundle-disagrees`` if the networks differ in labels or preprocessing; as `check_room`.
    """
    out = Path(out)
    check_room(out)
    path = out / PREDICTIONS
    file, notes = write_out_of_fold(jobs, manifest, path)
    bundles = [Bundle.open(job.folder / "train" / _BUNDLE) for job in jobs]
    digests, labels = [bundle.digest for bundle in bundles], bundles[0].labels
    sample, _ = join(file, manifest, None, labels)
    write_durably(out / _METRICS, metrics_by_fold(sample).to_csv(index=False, float_format="%.4f").encode())
    bundle_folder = out / _BUNDLE
    if members_of(bundle_folder) != digests:
        ensemble_bundle([bundle.root for bundle in bundles], bundle_folder, replace=bundle_folder.exists())
    bundle = Bundle.open(bundle_folder)
    description = describe_sample(sample, manifest, predictions=PREDICTIONS, bundle=bundle.digest)
    fitted = fit_calibration(
        sample, fitted_on=description | {"out_of_fold": True}, within=head_of(bundle.parser()).within
    )
    notes += fitted.notes
    trained = manifest.table["fold"].notna()  # each fold trains some network: with three folds or more, all of them
    remember_patients(fitted, sample, bundle_folder, patient_keys(manifest.table[trained]))
    write_calibration(bundle_folder, fitted)
    return [path, out / _METRICS, bundle_folder], notes


def write_out_of_fold(jobs: Sequence[Job], manifest: Manifest, path: Path) -> tuple[PredictionsFile, list[str]]:
    """Write the predictions of all folds of one variant as one file; return it, and a note on images without one.

    Args:
        jobs: all folds, with each seed; of several seeds the mean of the log-odds.
        manifest: with folds.
        path: of the CSV.

    Raises:
        EvaluationError: as `out_of_fold`.
    """
    by_seed = [out_of_fold([job for job in jobs if job.seed == seed], manifest) for seed in _seeds(jobs)]
    table, notes = _mean_of_log_odds(by_seed), list[str]()
    missing = int(manifest.table["fold"].notna().sum()) - len(table)
    if missing:
        notes.append(f"Images without a prediction, unreadable or of views that are left out: {missing:,}.")
    bundles = [Bundle.open(job.folder / "train" / _BUNDLE) for job in jobs]
    about = {
        "bundle": {
            "name": f"the networks of {counted(len(jobs), 'training')}, each on patients it had not seen",
            "of": [bundle.digest for bundle in bundles],
        },
        "label_scheme": bundles[0].scheme.to_json(),
        "precision": read_predictions(_predictions(jobs[0])).about.get("precision"),
        "calibrated": False,
        "out_of_fold": True,
    }
    labels = bundles[0].labels
    write_predictions(path, list(table["image"]), table[list(labels)].to_numpy(), labels, about)
    return PredictionsFile(table, about, path), notes


def metrics_by_fold(sample: Sample) -> pd.DataFrame:
    """Return ``fold, finding, images, positives, auroc, average_precision``: of each fold, then ``pooled``.

    Args:
        sample: out-of-fold predictions of all folds; its table has ``fold``.

    NaN where a fold has no positive or no negative; each fold's ``mean`` is over the findings that have a value there.
    """
    folds = sample.table["fold"].to_numpy(dtype=int)
    parts = [(str(fold), sample.take(folds == fold)) for fold in np.unique(folds)]
    tables = [
        finding_table(part.scores, part.labels, part.findings).assign(fold=name)
        for name, part in [*parts, (POOLED, sample)]
    ]
    table = pd.concat(tables, ignore_index=True)
    return table[["fold", *table.columns.drop("fold")]]


def _one_sided(manifest: Manifest) -> list[str]:
    """Return a sentence on the findings of which a fold has no positive or no negative."""
    grouped = manifest.table.groupby("fold")[list(manifest.findings)]
    one_sided = ~((grouped.max() == 1) & (grouped.min() == 0))
    names = [
        f"{finding} (fold {', '.join(map(str, one_sided.index[one_sided[finding]]))})"
        for finding in manifest.findings
        if one_sided[finding].any()
    ]
    if not names:
        return []
    return [
        "Too few patients for positives and negatives in every fold: "
        + ", ".join(names)
        + ". There these findings have no AUROC, and where such a fold validates they have no say in the best epoch; "
        "pooled figures are over all folds. Fewer folds help."
    ]


def _mean_of_log_odds(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    if len(tables) == 1:
        return tables[0]
    first = tables[0].set_index("image")
    others = [table.set_index("image").loc[first.index, first.columns] for table in tables[1:]]
    odds = [logit(np.clip(table.to_numpy(float), _CLIP, 1 - _CLIP)) for table in (first, *others)]
    return pd.DataFrame(expit(np.mean(odds, axis=0)), index=first.index, columns=first.columns).reset_index()


def _predictions(job: Job) -> Path:
    return job.folder / "test" / "predictions.csv"


def _seeds(jobs: Sequence[Job]) -> list[int]:
    return list(dict.fromkeys(job.seed for job in jobs))


def _invalid(k: int) -> SplitError:
    return SplitError(
        Code.SPLIT_INVALID,
        f"{counted(k, 'fold')}: one is tested, one validates and the others train, so {_FEWEST_FOLDS} are the least.",
        fix="Ask for --folds 5, or make the column 'fold' anew: cxr-monai split MANIFEST --scheme kfold.",
    )
