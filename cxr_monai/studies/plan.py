"""An experiment: one question, its variants, and the trainings that answer it.

    study = read_study("losses.json", bundle, settings={"epochs": 5}, seeds=(0, 1))
    for job in study.jobs(Path("OUT")): ...                 # one training of one variant

A name in the place of the file is one of the questions that come with this package (``questions``).

The file is JSON; all but ``variants`` may be left out::

    {"name": "schedules", "question": "Does a falling learning rate help?",
     "base": {"epochs": 10},                                overrides of the bundle's train.json, of every variant
     "variants": {"plateau": {}, "cosine": {"schedule": "cosine"}},     the first is the baseline,
     "baseline": "plateau",                                 unless this names another
     "published": {"plateau": {"source": "doi:...", "auroc": {"Atelectasis": 0.8}}},
     "files": ["overlay.json"],                             overlays of train.json, beside this file or in the bundle
     "evaluate_overlay": "ten_crop.json",                   overlay of evaluate.json alone
     "evaluate_overrides": {"batch_size": 8},               overrides of evaluate.json alone
     "folds": 5, "seeds": [0, 1]}                           unless others are asked for

Overrides may use MONAI's paths (``optimizer#name``) and hold lists and objects. ``_desc_`` is a comment anywhere.
"""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from cxr_monai.data.manifest import Manifest
from cxr_monai.errors import Code, StudyError
from cxr_monai.labels import spelling
from cxr_monai.schemes import without_duplicate_keys
from cxr_monai.studies.questions import QUESTIONS

KEYS = (
    "name", "question", "base", "variants", "baseline", "published", "files", "evaluate_overlay", "evaluate_overrides",
    "folds", "leave_out", "seeds",
)  # fmt: skip
OWN = ("manifest", "output_dir", "bundle_root", "seed", "run_name", "experiment", "restart")
"""Settings that the experiment gives each training; no variant may have one of its own."""

_COLUMNS = ("finding", "positives")
"""Columns that stand beside the variants' in an experiment's table; no variant can have their names."""

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        variant: its name in the experiment.
        seed: of the training.
        fold: the fold that is predicted, 0 to k - 1; None where the manifest's own split is used.
        overrides: of ``train.json``: those of the base, then those of the variant. Seed, manifest, folder and run are
            added when it is started.
        folder: ``OUT/trainings/VARIANT-seed0[-fold0]``; ``train/`` (with ``train/bundle``), ``test/predictions.csv``
            (or ``val/``) and ``log.txt`` in it.
    """

    variant: str
    seed: int
    fold: int | None
    overrides: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True)
class Published:
    """AUROCs that others reported for a variant.

    Attributes:
        source: paper or repository.
        auroc: by finding, in [0, 1]; ``mean`` may be one of them.
    """

    source: str
    auroc: Mapping[str, float]


@dataclass(frozen=True)
class Experiment:
    """One question, the variants that answer it, and how they are trained and compared.

    Attributes:
        name: of the experiment.
        question: one sentence.
        variants: overrides by name, those of the base included.
        baseline: the variant that the others are compared with.
        seeds: each variant is trained once with each.
        folds: k; ``auto`` for those that the manifest has, else five; None for the manifest's own split.
        leave_out: ``source``: each source is predicted by networks that have not seen it
            (`cxr_monai.studies.left_out_sources`); ``folds`` is then how many groups of sources there are.
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
    folds: int | Literal["auto"] | None = None
    leave_out: Literal["source"] | None = None
    published: Mapping[str, Published] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    evaluate_files: tuple[Path, ...] = ()
    evaluate_overrides: Mapping[str, Any] = field(default_factory=dict)

    def jobs(self, out: Path) -> list[Job]:
        """Return all trainings, seed by seed: after the first seed every variant can be compared.

        Args:
            out: the experiment's folder. ``folds`` must be a number or None by then, not ``auto``.
        """
        folds = [None] if self.folds is None else range(int(self.folds))
        return [
            Job(variant, seed, fold, overrides, out / "trainings" / _folder_name(variant, seed, fold))
            for seed in self.seeds
            for variant, overrides in self.variants.items()
            for fold in folds
        ]


@dataclass(frozen=True, eq=False)
class ExperimentResult:
    """Predictions and costs of an experiment, before the tables.

    Attributes:
        plan: the experiment.
        findings: labels that every variant predicts and the manifest knows, in the baseline's order.
        predictions: by variant, one table a seed: ``image`` and one probability a label; with folds, every image
            predicted by the one network that was not trained on it. A variant of which a training failed is not here.
        truth: the manifest with the labels.
        costs: one row a variant: ``variant, seconds, image_passes`` (training and evaluation; epochs run x training
            images), summed over seeds and folds.
        failed: by variant, the last lines of the log.
        notes: sentences for the reader.
    """

    plan: Experiment
    findings: tuple[str, ...]
    predictions: Mapping[str, list[pd.DataFrame]]
    truth: Manifest
    costs: pd.DataFrame
    failed: Mapping[str, str]
    notes: tuple[str, ...] = ()


def read_study(
    source: str | Path,
    bundle: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    seeds: Sequence[int] | None = None,
    folds: int | Literal["auto"] | None = None,
    leave_out: str | None = None,
) -> Experiment:
    """Return a question of this package, or an experiment's file, as an experiment.

    Whether its settings exist and have valid values is checked by `checking.check`.

    Args:
        source: a name of `QUESTIONS`, or a JSON file.
        bundle: whose training it is; overlays are looked for beside the file, then in its ``configs``.
        settings: overrides of every variant; they come after those of the base and before the variant's own.
        seeds: instead of the experiment's.
        folds: instead of the experiment's.
        leave_out: instead of the experiment's, and of its folds.

    Raises:
        StudyError: ``study-invalid``, naming the problem and what is allowed.
    """
    if str(source) in QUESTIONS:
        name, folder, content = str(source), Path(), dict(QUESTIONS[str(source)])
    else:
        path = Path(source)
        name, folder, content = path.stem, path.parent, _read_json(path)
    content.pop("_desc_", None)
    for key in content:
        if key not in KEYS:
            raise _nearest(key, KEYS, "a study has no", source)
    base, variants = _table(content, "base", source), _table(content, "variants", source)
    if not variants:
        raise _invalid("it has no variants.", source)
    merged = {}
    for variant, variant_overrides in variants.items():
        if not _NAME.fullmatch(variant):
            raise _invalid(f"the variant {variant!r}: names have letters, digits and _ . + - alone.", source)
        if variant in _COLUMNS:
            raise _invalid(f"the variant {variant!r} has the name of a column of the tables; choose another.", source)
        merged[variant] = (
            _overrides(base, "base", source) | dict(settings or {}) | _overrides(variant_overrides, variant, source)
        )
        reserved = [key for key in merged[variant] if key in OWN]
        if reserved:
            raise _invalid(
                f"the variant {variant!r} sets {', '.join(reserved)}, which the study sets for every training.", source
            )
    baseline = _text(content.get("baseline", next(iter(merged))), "baseline", source)
    if baseline not in merged:
        raise _nearest(baseline, list(merged), "the baseline is", source)
    published = _table(content, "published", source)
    for variant in published:
        if variant not in merged:
            raise _nearest(variant, list(merged), "published is", source)
    overlay = content.get("evaluate_overlay")
    left_out = _leave_out(content.get("leave_out") if leave_out is None else leave_out, source)
    given_folds = content.get("folds") if folds is None else folds
    if left_out and given_folds not in (None, "auto"):
        raise _invalid("it has folds and leaves sources out; it can do one of them.", source)
    return Experiment(
        name=_text(content.get("name", name), "name", source),
        question=_text(content.get("question", f"Which of {', '.join(merged)}?"), "question", source),
        variants=merged,
        baseline=baseline,
        seeds=_seeds(content.get("seeds", (0,)) if seeds is None else seeds, source),
        folds="auto" if left_out else _folds(given_folds, source),
        leave_out=left_out,
        published={variant: _published(value, variant, source) for variant, value in published.items()},
        files=tuple(_overlay(file, folder, bundle, source) for file in _list(content, "files", source)),
        evaluate_files=() if overlay is None else (_overlay(overlay, folder, bundle, source),),
        evaluate_overrides=_overrides(content.get("evaluate_overrides", {}), "evaluate_overrides", source),
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise _invalid(
            f"there is no such file, and no question of that name; questions are {', '.join(QUESTIONS)}.", path
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=without_duplicate_keys)
    except (ValueError, OSError) as error:
        raise _invalid(f"this cannot be read as JSON ({error}).", path) from error
    if not isinstance(content, dict):
        raise _invalid("a study is a JSON object.", path)
    return content


def _table(content: Mapping[str, Any], key: str, source: str | Path) -> dict[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, Mapping):
        raise _invalid(f"{key} is {value!r}; it must be a JSON object.", source)
    return {name: item for name, item in value.items() if name != "_desc_"}


def _list(content: Mapping[str, Any], key: str, source: str | Path) -> list[Any]:
    value = content.get(key, [])
    if not isinstance(value, list):
        raise _invalid(f"{key} is {value!r}; it must be a list.", source)
    return value


def _overrides(value: Any, key: str, source: str | Path) -> dict[str, Any]:
    return _table({key: value}, key, source)


def _text(value: Any, key: str, source: str | Path) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _invalid(f"{key} is {value!r}; it must be a text.", source)
    return " ".join(value.split())


def _seeds(value: Any, source: str | Path) -> tuple[int, ...]:
    is_valid = isinstance(value, Sequence) and not isinstance(value, str) and all(map(_is_whole, value))
    if not is_valid or not value or min(value) < 0 or len(set(value)) < len(value):
        raise _invalid(f"the seeds are {value!r}; they are different whole numbers of at least 0.", source)
    return tuple(value)


def _folds(value: Any, source: str | Path) -> int | Literal["auto"] | None:
    if value not in (None, "auto") and (not _is_whole(value) or value < 3):
        raise _invalid(
            f"folds is {value!r}; it is 'auto' or a whole number of at least 3: one is predicted, one chooses the best "
            "epoch, and the others train.",
            source,
        )
    return value


def _leave_out(value: Any, source: str | Path) -> Literal["source"] | None:
    if value not in (None, "source"):
        raise _invalid(f"leave_out is {value!r}; it is 'source', which leaves out one source in turn.", source)
    return value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _published(value: Any, variant: str, source: str | Path) -> Published:
    reported = value.get("auroc") if isinstance(value, Mapping) else None
    if isinstance(reported, Mapping):
        reported = {name: number for name, number in reported.items() if name != "_desc_"}
    if not isinstance(reported, Mapping) or not all(map(_is_share, reported.values())):
        raise _invalid(
            f'what is published of {variant!r} is {value!r}; it is {{"source": "...", "auroc": {{"Effusion": 0.8}}}} '
            "with numbers from 0 to 1.",
            source,
        )
    auroc = {name if name == "mean" else spelling(name): float(number) for name, number in reported.items()}
    return Published(_text(value.get("source"), f"the source of {variant!r}", source), auroc)


def _overlay(file: Any, folder: Path, bundle: Path, source: str | Path) -> Path:
    places = [folder / str(file), bundle / "configs" / str(file)]
    overlay = next((path.resolve() for path in places if path.is_file()), None)
    if overlay is None:
        raise _invalid(f"there is no overlay {' or '.join(map(str, places))}.", source)
    return overlay


def _nearest(value: Any, allowed: Sequence[str], description: str, source: str | Path) -> StudyError:
    close = difflib.get_close_matches(str(value), allowed, n=1)
    fix = f"Did you mean {close[0]!r}?" if close else None
    return _invalid(f"{description} {value!r}; there are {', '.join(allowed)}.", source, fix)


def _invalid(message: str, source: str | Path, fix: str | None = None) -> StudyError:
    return StudyError(Code.STUDY_INVALID, message, fix=fix or "docs/studies.md shows what a study is.", where=source)


def _folder_name(variant: str, seed: int, fold: int | None) -> str:
    return f"{variant}-seed{seed}" + ("" if fold is None else f"-fold{fold}")
