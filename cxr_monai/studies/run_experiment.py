"""Answer an experiment's question: check it, train its variants, compare them, write the results.

    from cxr_monai.studies.plan import read_study

    result, tables = run_study(read_study("losses", bundle), "manifest.csv", "OUT", bundle=bundle)

The same call again continues where it stopped. ``OUT`` then holds ``study.md`` and ``study.html`` (for people),
``study.csv``, ``comparison.csv``, ``differences.csv`` and ``study.json`` (for programs), ``trainings/`` and, with
folds, ``folds/``.
"""

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import count
from pathlib import Path

import pandas as pd

from cxr_monai.data.manifest import Manifest, read_manifest, split_digest, write_manifest
from cxr_monai.data.multi_source import manifest_files, read_manifests
from cxr_monai.environment import usable_cores
from cxr_monai.errors import Code, StudyError, UsageError
from cxr_monai.evaluation.metric_names import ALL_PARTS, metric_name
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.predictions import read_predictions
from cxr_monai.outputs import check_folder
from cxr_monai.plurals import counted, was
from cxr_monai.studies.checking import Checked, check
from cxr_monai.studies.compare import Tables, tabulate
from cxr_monai.studies.experiment_pages import about, write_pages
from cxr_monai.studies.folds import check_room, finish_folds, fold_manifest, out_of_fold, prepare_folds
from cxr_monai.studies.jobs import (
    JobState,
    Place,
    Progress,
    Runner,
    epochs_done,
    refuse_altered_training,
    run_job,
    run_jobs,
    run_process,
)
from cxr_monai.studies.left_out_sources import finish_sources, prepare_sources, source_manifest
from cxr_monai.studies.plan import Experiment, ExperimentResult, Job
from cxr_monai.training.lock import OutputLock
from cxr_monai.training.settings import FREE
from cxr_monai.training.tracking import MLflowTracker

logger = logging.getLogger(__name__)

ON_VALIDATION = (
    "The variants were judged on the validation part, on which each training chose its best epoch: all figures are too "
    "good. Judge on a test part, or with --folds, which needs none."
)


@dataclass(frozen=True, eq=False)
class Prepared:
    """An experiment that can be run: every variant was tried.

    Attributes:
        study: with a number of folds, or None.
        place: settings of all its trainings.
        table: the manifest, with folds if there are any.
        checked: the checked settings of each variant.
        findings: labels that all variants have, in the baseline's order.
        notes: sentences for the reader.
    """

    study: Experiment
    place: Place
    table: Manifest
    checked: Mapping[str, Checked]
    findings: tuple[str, ...]
    notes: tuple[str, ...]


def prepare(
    study: Experiment,
    manifest: str | Path | Sequence[str],
    out: str | Path,
    bundle: Path,
    part: str | None = None,
    *,
    estimate: bool = False,
) -> Prepared:
    """Check an experiment before anything trains.

    Args:
        study: the experiment, as `read_study` returns it.
        manifest: the table of images; or several, which are written as one, ``manifest.csv``, into the folder.
        out: the experiment's folder; with folds, their manifests are written into it.
        bundle: the folder that trainings start from.
        part: ``test`` or ``val``; None: the test part, if there is one. With folds, each is the others' test part.
        estimate: see `checking.check`.

    Raises:
        StudyError: ``study-invalid`` if no label is common to all variants.
        StorageError: ``disk-full`` or ``write-failed``, if the folder cannot be written.
        CxrError: of the manifest, the folds or a variant.
    """
    out = check_folder(out, ()).resolve()
    path = _manifest_file(manifest, out)
    table, notes = read_manifest(path), list[str]()
    manifests: dict[int | None, Path] = {None: path}
    if study.folds is not None:
        if study.leave_out:
            (table, notes), write = prepare_sources(table), source_manifest
        else:
            (table, notes), write = prepare_folds(table, None if study.folds == "auto" else study.folds), fold_manifest
        study, part = replace(study, folds=int(table.table["fold"].max()) + 1), "test"
        manifests = {}
        for fold in range(int(study.folds or 0)):
            manifests[fold] = out / "folds" / f"fold{fold}.csv"
            write(table, fold, int(study.folds or 0), manifests[fold])
    else:
        part = part or ("test" if (table.table["split"] == "test").any() else "val")
        table.part(part)  # an error if there are none
        if part == "val":
            notes = [ON_VALIDATION]
            logger.warning("%s", ON_VALIDATION)
    checked = check(study, bundle, next(iter(manifests.values())), estimate=estimate)
    common = set.intersection(*(set(checked_variant.findings) for checked_variant in checked.values()))
    if not common:
        raise StudyError(
            Code.STUDY_INVALID,
            "the variants have no label in common: "
            + "; ".join(
                f"{name} has {', '.join(checked_variant.findings)}" for name, checked_variant in checked.items()
            )
            + ".",
            fix="Compare variants of which at least one label is the same.",
        )
    findings = tuple(name for name in checked[study.baseline].findings if name in common)
    return Prepared(study, Place(bundle, manifests, part, study.name), table, checked, findings, tuple(notes))


def run_study(
    study: Experiment,
    manifest: str | Path | Sequence[str],
    out: str | Path,
    *,
    bundle: Path,
    part: str | None = None,
    at_once: int = 1,
    experiment: str | None = None,
    restart: bool = False,
    runner: Runner = run_process,
) -> tuple[ExperimentResult, Tables]:
    """Run an experiment to its end.

    Args:
        study, manifest, out, bundle, part: see `prepare`.
        at_once: trainings at a time; each gets its share of the cores.
        experiment: MLflow's; the experiment's name where None.
        restart: set trainings aside whose settings, images or labels have changed since, and do them again.
        runner: how a process is run.

    Returns:
        the predictions and the tables; variants of which a training failed are in ``result.failed``.

    Raises:
        UsageError: more trainings at once than cores.
        TrainingError: ``output-locked`` if another experiment is at work in ``out``.
        StudyError: ``study-changed``; ``study-failed`` if not one variant was trained; ``result-incomplete`` if
            predictions of a training that has ended were cut or exchanged.
        BundleError: as `check_room`, where the experiment leaves a bundle.
        CxrError: as `prepare`.
    """
    check_at_once(at_once)
    out = Path(out).resolve()
    if _leaves_bundle(study):
        check_room(out)
    lock = OutputLock(check_folder(out, ()))
    lock.acquire()
    try:
        prepared = prepare(study, manifest, out, bundle, part)
        settings = {name: _settings(prepared, name) for name in prepared.checked}
        set_aside(prepared.study.jobs(out), settings, restart)
        name = experiment or study.name
        tracker = MLflowTracker(name, str(out), study.name, kind="study", configuration=about(prepared.study))
        tracker.start(resume=True)
        place = replace(prepared.place, experiment=name, parent=tracker.id, at_once=at_once)
        try:
            result, tables, written = _run(replace(prepared, place=place), out, settings, runner)
        except BaseException as error:
            tracker.fail(error)
            raise
        means = zip(tables.comparison["variant"], tables.comparison["mean_auroc"], strict=True)
        judged_on = ALL_PARTS if study.folds else place.part
        names = {variant: metric_name("auroc", MEAN, part=judged_on, variant=variant) for variant in study.variants}
        tracker.metrics({names[variant]: value for variant, value in means})
        for path in written:
            (tracker.bundle if path.is_dir() else tracker.file)(path)
        tracker.finish("FAILED" if result.failed else "FINISHED")
        return result, tables
    finally:
        lock.release()


def check_at_once(at_once: int) -> None:
    """Refuse more trainings at a time than cores, or none.

    Raises:
        UsageError: ``usage``.
    """
    if not 1 <= at_once <= usable_cores():
        raise UsageError(
            Code.USAGE, f"{counted(at_once, 'training')} at a time: {counted(usable_cores(), 'core')} can do them."
        )


def _leaves_bundle(study: Experiment) -> bool:
    return study.folds is not None and not study.leave_out and len(study.variants) == 1


def _manifest_file(manifest: str | Path | Sequence[str], out: Path) -> Path:
    """Return the file of a manifest; several become one in the experiment's folder."""
    files = manifest_files(manifest)
    if len(files) == 1 and files[0][0] is None:
        return files[0][1].resolve()
    path = out / "manifest.csv"
    write_manifest(read_manifests(manifest), path)
    return path


def _run(
    prepared: Prepared, out: Path, settings: Mapping[str, Mapping[str, str]], runner: Runner
) -> tuple[ExperimentResult, Tables, list[Path]]:
    study, place = prepared.study, prepared.place
    # as they were checked: MONAI takes overrides of a network's parts for a definition alone
    jobs = replace(
        study, variants={name: checked_variant.overrides for name, checked_variant in prepared.checked.items()}
    ).jobs(out)

    def run(job: Job, stop: threading.Event) -> str | None:
        return run_job(job, study, place, settings[job.variant], runner, stop)

    for job in jobs:
        refuse_altered_training(job, place.part)
    progress = Progress(jobs, {name: checked_variant.epochs for name, checked_variant in prepared.checked.items()})
    result = experiment_result(prepared, jobs, run_jobs(jobs, run, progress, place.at_once))
    written: list[Path] = []
    if _leaves_bundle(study):
        written, notes = finish_folds(jobs, result.truth, out)
        result = replace(result, notes=(*result.notes, *notes))
    elif study.leave_out:
        ended = [job for job in jobs if job.variant not in result.failed]
        written, notes = finish_sources(ended, result.truth, prepared.findings, out)
        result = replace(result, notes=(*result.notes, *notes))
    tables = tabulate(result, None if study.folds else place.part)
    return result, tables, [*written, *write_pages(out, result, tables, [path for path in written if path.is_file()])]


def set_aside(jobs: Sequence[Job], settings: Mapping[str, Mapping[str, str]], restart: bool) -> None:
    """Compare the trainings of an earlier start: equal settings go on, others are set aside or refused.

    Args:
        jobs: all.
        settings: by variant, what decides the course of its trainings.
        restart: rename the folders of trainings with other settings to ``NAME-before-1``.

    Raises:
        StudyError: ``study-changed``, naming the settings that differ.
    """
    changed: dict[Path, list[str]] = {}
    for job in jobs:
        state, new_settings = JobState.read(job.folder), settings[job.variant]
        if state is None:
            continue
        old_settings = state.settings
        differing = [
            f"{name} was {old_settings.get(name, 'not there')} and is {new_settings.get(name, 'not there')}"
            for name in dict.fromkeys([*old_settings, *new_settings])
            if old_settings.get(name) != new_settings.get(name)
        ]
        if differing:
            changed[job.folder] = differing
    if changed and not restart:
        shown = [f"{folder.name}: {'; '.join(differing)}" for folder, differing in list(changed.items())[:5]]
        more = f"\n  and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise StudyError(
            Code.STUDY_CHANGED,
            f"{len(changed):,} of its {counted(len(jobs), 'training')} {was(len(jobs))} begun with other settings.\n  "
            + "\n  ".join(shown)
            + f"{more}\n",
            fix="Give the same settings, choose another --out, or add --restart, which sets these aside.",
        )
    for folder in changed:
        candidates = (folder.with_name(f"{folder.name}-before-{number}") for number in count(1))
        new_folder = next(path for path in candidates if not path.exists())
        folder.rename(new_folder)
        logger.warning("%s is set aside as %s", folder.name, new_folder.name)


def _settings(prepared: Prepared, variant: str) -> dict[str, str]:
    """Return what decides the course of a variant's trainings, whichever the seed and the fold."""
    checked_variant, study = prepared.checked[variant], prepared.study
    settings = dict(checked_variant.settings)
    # the settings have digests of overlays and objects, from which nobody can read what has changed
    settings |= {
        f"--{name}": json.dumps(value, sort_keys=True)
        for name, value in study.variants[variant].items()
        if name not in FREE and (name not in settings or isinstance(value, Mapping))
    }
    settings |= {f"overlay {file.name}": sha256(file.read_bytes()).hexdigest()[:12] for file in study.files}
    if study.folds:
        content = (
            checked_variant.manifest.labels(checked_variant.findings).tobytes()
            + split_digest(checked_variant.manifest.table, "fold").encode()
        )
        settings |= {"leave_out": study.leave_out} if study.leave_out else {}
        settings |= {"folds": str(study.folds), "images of all folds": sha256(content).hexdigest()[:12]}
    return settings


def experiment_result(prepared: Prepared, jobs: Sequence[Job], failures: Mapping[Path, str]) -> ExperimentResult:
    """Read the predictions and costs of the trainings.

    Args:
        prepared: the experiment.
        jobs: its trainings.
        failures: the last lines of the log of each training that failed, by its folder.

    Raises:
        StudyError: ``study-failed`` if every variant has a training that failed.
    """
    study, place = prepared.study, prepared.place
    failed = {job.variant: failures[job.folder] for job in jobs if job.folder in failures}
    succeeded = [variant for variant in study.variants if variant not in failed]
    if not succeeded:
        raise StudyError(
            Code.STUDY_FAILED,
            "a training of every variant failed:\n  "
            + "\n  ".join(f"{name}: {lines.splitlines()[-1]}" for name, lines in failed.items())
            + "\n",
            fix="Their log.txt has the rest; the same command tries them again.",
        )
    truth = prepared.checked[study.baseline].manifest
    predictions: dict[str, list[pd.DataFrame]] = {variant: [] for variant in succeeded}
    for variant in succeeded:
        for seed in study.seeds:
            seed_jobs = [job for job in jobs if (job.variant, job.seed) == (variant, seed)]
            if study.folds:
                predictions[variant].append(out_of_fold(seed_jobs, truth))
            else:
                predictions[variant].append(
                    read_predictions(seed_jobs[0].folder / place.part / "predictions.csv").table
                )
    return ExperimentResult(
        study, prepared.findings, predictions, truth, _costs(prepared, jobs), failed, prepared.notes
    )


def _costs(prepared: Prepared, jobs: Sequence[Job]) -> pd.DataFrame:
    """Return seconds and image passes by variant, over seeds and folds; for a variant that failed, those until then."""
    rows = []
    for job in jobs:
        state = JobState.read(job.folder)
        passes = epochs_done(job) * _training_images(prepared, job.fold)
        rows.append((job.variant, state.seconds if state else 0.0, passes))
    costs = pd.DataFrame(rows, columns=["variant", "seconds", "image_passes"])
    return costs.groupby("variant", sort=False, as_index=False).sum()


def _training_images(prepared: Prepared, fold: int | None) -> int:
    table = prepared.table.table
    if fold is None:
        return int((table["split"] == "train").sum())
    if prepared.study.leave_out:
        return int(((table["split"] == "train") & (table["fold"] != fold)).sum())
    others = table["fold"].dropna()
    return int((~others.isin([fold, (fold + 1) % int(prepared.study.folds or 1)])).sum())
