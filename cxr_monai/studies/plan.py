"""A study: one question, its variants, and the trainings that answer it.

    study = read_study("losses.json")                      # or a built-in question: questions.question("losses")
    study = study.with_options(seeds=(0, 1), base={"epochs": 5})
    for job in study.jobs(Path("OUT")): ...                 # one training of one variant

The file is JSON; all but ``variants`` may be left out::

    {"name": "schedules", "question": "Does a falling learning rate help?",
     "base": {"epochs": 10},                                overrides of the bundle's train.json, of every variant
     "variants": {"plateau": {}, "cosine": {"schedule": "cosine"}},     the first is the baseline,
     "baseline": "plateau",                                 unless this names another
     "published": {"plateau": {"source": "doi:...", "auroc": {"Atelectasis": 0.8}}},
     "files": ["overlay.json"],                             overlays of train.json, beside this file or in the bundle
     "evaluate_overlay": "ten_crop.json",                   overlay of evaluate.json alone
     "evaluate_overrides": {"batch_size": 8}}               overrides of evaluate.json alone
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_monai.data.manifest import Manifest


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        variant: its name in the study.
        seed: of the training.
        fold: the fold that is predicted, 0 to k - 1; None where the manifest's own split is used.
        overrides: of ``train.json``: those of the base, then those of the variant. Seed, manifest, folder and run are
            added when it is started.
        folder: ``OUT/trainings/VARIANT-seed0[-fold0]``; ``train/`` (with ``train/bundle``), ``test/predictions.csv`` (or
            ``val/``) and ``log.txt`` in it.
    """

    variant: str
    seed: int
    fold: int | None
    overrides: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True)
class Published:
    """What others reported for a variant.

    Attributes:
        source: paper or repository.
        auroc: by finding, in [0, 1]; ``mean`` may be one of them.
    """

    source: str
    auroc: Mapping[str, float]


@dataclass(frozen=True)
class Study:
    """One question and all that is needed to answer it.

    Attributes:
        name: of the study.
        question: one sentence.
        variants: overrides by name, those of the base included.
        baseline: the variant that the others are compared with.
        seeds: each variant is trained once with each.
        folds: k; None for the manifest's own split.
        published: by variant.
        files: overlays of ``train.json``.
        evaluate_files: overlays of ``evaluate.json``.
        evaluate_overrides: of ``evaluate.json``.
    """

    name: str
    question: str
    variants: Mapping[str, Mapping[str, Any]]
    baseline: str
    seeds: tuple[int, ...] = (0,)
    folds: int | None = None
    published: Mapping[str, Published] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    evaluate_files: tuple[Path, ...] = ()
    evaluate_overrides: Mapping[str, Any] = field(default_factory=dict)

    def jobs(self, out: Path) -> list[Job]:
        """Return all trainings, seed by seed: after the first seed every variant can be compared."""
        folds = [None] if self.folds is None else range(self.folds)
        return [
            Job(variant, seed, fold, overrides, out / "trainings" / _folder_name(variant, seed, fold))
            for seed in self.seeds
            for variant, overrides in self.variants.items()
            for fold in folds
        ]


@dataclass(frozen=True, eq=False)
class StudyResult:
    """What came out, before it is made into tables.

    Attributes:
        plan: the study.
        findings: labels that every variant predicts and the manifest knows, in the baseline's order.
        predictions: by variant, one table a seed: ``image`` and one probability a label; with folds, every image
            predicted by the one network that was not trained on it. A variant of which a training failed is not here.
        truth: the manifest with the labels.
        costs: one row a variant: ``variant, seconds, image_passes`` (training and evaluation; epochs run x training
            images), summed over seeds and folds.
        failed: by variant, the last lines of the log.
        notes: sentences for the reader.
    """

    plan: Study
    findings: tuple[str, ...]
    predictions: Mapping[str, list[pd.DataFrame]]
    truth: Manifest
    costs: pd.DataFrame
    failed: Mapping[str, str]
    notes: tuple[str, ...] = ()


def _folder_name(variant: str, seed: int, fold: int | None) -> str:
    return f"{variant}-seed{seed}" + ("" if fold is None else f"-fold{fold}")
