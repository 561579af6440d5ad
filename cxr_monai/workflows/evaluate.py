"""From files to a judged model: predictions and a manifest in; tables, plots, ``report.html`` and an MLflow run out.

evaluate_files("predictions.csv", "manifest.csv", "evaluation", fit_on="predictions_val.csv")

`EvaluationReport` is the same at the end of a bundle's ``evaluate.json``.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxr_monai.attribution.localisation_result import Localisation, read_localisation
from cxr_monai.composites import Composite
from cxr_monai.data.manifest import Manifest
from cxr_monai.data.multi_source import manifests_title, read_manifests
from cxr_monai.data.overlaps import patient_keys
from cxr_monai.data.splits import assign_patients
from cxr_monai.data.view_selection import select_views, views_in_words
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.assessment import Evaluation, evaluate
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.composite_scores import scheme_composites
from cxr_monai.evaluation.evaluation_folder import EVALUATION_FILE, EVALUATION_TABLES, write_evaluation
from cxr_monai.evaluation.fitted import (
    COVERAGE,
    DEFAULT_RULES,
    Fitted,
    describe_sample,
    fit_calibration,
    read_calibration,
)
from cxr_monai.evaluation.gate_table import JudgedFilms
from cxr_monai.evaluation.patients import patients_of, refuse_shared, shared_error
from cxr_monai.evaluation.predictions import PredictionsFile, join, read_predictions
from cxr_monai.evaluation.readers import Readers, compare_readers, read_readers, reader_agreement
from cxr_monai.evaluation.sample import Sample
from cxr_monai.outputs import result_folder
from cxr_monai.plurals import counted
from cxr_monai.report.chart_png import write_plots
from cxr_monai.report.pages.evaluation_page import write_report
from cxr_monai.workflows.evaluation_gate import films_judged, with_gate_tables
from cxr_monai.workflows.evaluation_labels import group_sentences, labels_under, scheme_of_truth
from cxr_monai.workflows.evaluation_provenance import evaluation_provenance, evaluation_warnings, learned_warnings

if TYPE_CHECKING:  # predictions of any system are judged without a bundle, which needs seconds of imports
    from cxr_monai.bundle.bundle_folder import Bundle

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationOptions:
    """Options of an evaluation; the defaults are those of ``cxr-monai evaluate``.

    Attributes:
        method, rules, coverage: what is fitted where ``fit`` is given; see
            ``cxr_monai.evaluation.fitted.fit_calibration``.
        margin, prevalence, intervals: see ``cxr_monai.evaluation.assessment.evaluate``.
        plots: draw PNG files, too; the report has drawings of its own.
        views: judge, and fit on, images of these views alone, or ``best-frontal``; see
            `cxr_monai.data.view_selection.select_views`.
    """

    method: str = "auto"
    rules: Sequence[str] = DEFAULT_RULES
    coverage: float = COVERAGE
    margin: float | None = None
    prevalence: Mapping[str, float] | float | None = None
    intervals: Intervals = field(default_factory=Intervals)
    plots: bool = False
    views: str | Sequence[str] | None = None


@dataclass(frozen=True)
class _Material:
    """The inputs of an evaluation.

    Attributes:
        sample: the predictions next to the labels.
        manifest, manifest_name: where the labels come from.
        file: the predictions.
        fitted: calibration and thresholds.
        system: the bundle that predicted, where it is known; the report describes it.
        notes: sentences on how these were put together.
        readers: single readers' labels beside the manifest.
        second, second_file: another system on the same images, and its predictions.
        localisation: of the system's maps.
        judged: the films that a gate judged, refused ones too; None where none did.
    """

    sample: Sample
    manifest: Manifest
    manifest_name: str
    file: PredictionsFile
    fitted: Fitted | None
    system: "Bundle | None"
    notes: Sequence[str]
    readers: Readers | None = None
    second: Sample | None = None
    second_file: PredictionsFile | None = None
    localisation: Localisation | None = None
    judged: JudgedFilms | None = None


_BESIDE = ("metrics.csv", *(f"{name}.csv" for name in EVALUATION_TABLES), "plots", "report.html", "report.md")
"""Files that an evaluation writes beside ``metrics.json``."""


def evaluate_files(
    predictions: str | Path | PredictionsFile,
    manifest: str | Path | Manifest,
    out: str | Path | None,
    *,
    split: str | None = None,
    bundle: str | Path | None = None,
    fit_on: str | Path | PredictionsFile | None = None,
    compare: str | Path | PredictionsFile | None = None,
    localisation: str | Path | None = None,
    label_scheme: str | None = None,
    match_names: bool = False,
    gate_table: str | Path | None = None,
    options: EvaluationOptions | None = None,
    force: bool = False,
) -> tuple[Evaluation, list[Path]]:
    """Judge a predictions file and write everything into a folder: all of it, or what was there before stays.

    Args:
        predictions: of any system.
        manifest: labels and patients, or several tables of them (`cxr_monai.data.multi_source`); the image files are
            not needed.
        out: the folder; None writes nothing.
        split: report on this part alone; on all images that have a prediction where None.
        bundle: its ``models/calibration.json`` brings calibration and operating points.
        fit_on: or they are fitted on these predictions of other patients; ``half`` fits on one half of the patients of
            ``predictions`` and reports on the other.
        compare: predictions of a second system for the same images.
        localisation: a folder that ``cxr-monai maps localise`` wrote, for a section of the report.
        label_scheme: what the predicted labels are made of, see ``cxr_monai.schemes.label_scheme``; what the bundle's
            metadata, or the JSON beside the predictions, says where None.
        match_names: file names are identities, whatever the folders.
        gate_table: what a gate says of the films, refused ones too; what lies beside the predictions where None.
        options: everything else.
        force: an earlier evaluation in the folder may be written over.

    Returns:
        the result and the files that were written.

    Raises:
        UsageError: ``output-exists``.
        StorageError: ``disk-full`` or ``write-failed``.
        EvaluationError: ``predictions-invalid``, ``patients-shared``, ``evaluation-invalid``, ``calibration-invalid``,
            ``result-incomplete`` for a localisation.
        BundleError: if ``bundle`` is none.
        ManifestError: whatever is wrong with the manifest.
        SettingError: if there is no such scheme.
    """
    options = options or EvaluationOptions()
    inputs = predictions, manifest, split, bundle, fit_on, compare, label_scheme, match_names, options
    if out is None:
        return _judge(_judged_too(_material(*inputs), gate_table, split), options), []
    with result_folder(out, EVALUATION_FILE, force, _BESIDE) as folder:
        maps = None if localisation is None else read_localisation(localisation)
        material = replace(_judged_too(_material(*inputs), gate_table, split), localisation=maps)
        evaluation = _judge(material, options)
        paths = _write(evaluation, material, folder, options.plots)
    return evaluation, [Path(out) / path.relative_to(folder) for path in paths]


def _material(
    predictions: str | Path | PredictionsFile,
    manifest: str | Path | Manifest,
    split: str | None,
    bundle: str | Path | None,
    fit_on: str | Path | PredictionsFile | None,
    compare: str | Path | PredictionsFile | None,
    label_scheme: str | None,
    match_names: bool,
    options: EvaluationOptions,
) -> _Material:
    """Read the inputs of :func:`evaluate_files`."""
    file = _read(predictions)
    opened = None if bundle is None else _open(bundle)
    truth, scheme_notes = scheme_of_truth(label_scheme, opened, file)
    name = "manifest.csv" if isinstance(manifest, Manifest) else manifests_title(manifest)
    readers = None
    if not isinstance(manifest, Manifest):
        readers = _readers_beside(manifest)
        manifest = read_manifests(manifest, check_files=False)
    labelled = labels_under(replace(manifest, key="name") if match_names else manifest, truth)
    composites = scheme_composites(truth)
    sample, notes = join(file, labelled, split, composites=composites)
    notes = [*group_sentences(truth), *scheme_notes, *notes]
    if options.views is not None:
        sample, notes = _of_views(sample, notes, options.views)
        labelled = replace(labelled, views=views_in_words(options.views))
    if fit_on is not None and opened is not None:
        raise EvaluationError(Code.EVALUATION_INVALID, "thresholds come from a bundle or from --fit, not from both.")
    fitted = None
    if fit_on is not None and not sample.probabilities().findings:
        notes.append("Nothing was fitted: every label here is scored by several outputs, which rank films and no more.")
    elif fit_on is not None:
        sample, fitted, fit_notes = _fit(fit_on, file, sample, labelled, options)
        notes += fit_notes
    elif opened is not None:
        fitted = _fitted_of(opened)
        notes += refuse_shared(fitted, sample, labelled, opened.root)
    # a bundle may bring thresholds for another system's predictions; that is not the one to describe
    system = opened if opened is not None and _has_digest(opened, file.about.get("bundle")) else None
    material = _Material(sample, labelled, name, file, fitted, system, notes, readers)
    return material if compare is None else _with_second(material, _read(compare), composites)


def _readers_beside(manifest: str | Path) -> Readers | None:
    """Return the single readers of one manifest; None of several, which each have their own."""
    return read_readers(manifest) if Path(manifest).is_file() else None


def _of_views(sample: Sample, notes: Sequence[str], views: str | Sequence[str]) -> tuple[Sample, list[str]]:
    is_kept, sentence = select_views(sample.table, views)
    return sample.take(is_kept), [*notes, sentence]


def _open(bundle: str | Path, digest: str | None = None) -> "Bundle":
    from cxr_monai.bundle.bundle_folder import Bundle

    return Bundle.open(bundle, digest)


def _has_digest(bundle: "Bundle", digest: Any) -> bool:
    from cxr_monai.report.pages.model_card import is_of

    return is_of(bundle, digest)


def _read(predictions: str | Path | PredictionsFile) -> PredictionsFile:
    return predictions if isinstance(predictions, PredictionsFile) else read_predictions(predictions)


def _fit(
    fit_on: str | Path | PredictionsFile,
    file: PredictionsFile,
    sample: Sample,
    manifest: Manifest,
    options: EvaluationOptions,
) -> tuple[Sample, Fitted, list[str]]:
    """Fit on other patients; return the sample that is reported on, the fit, and what was left out of it."""
    if file.calibrated:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            "these probabilities are calibrated already; fitting needs raw ones.",
            fix="Predict with --raw, or take --bundle instead of --fit.",
            where=file.path,
        )
    notes: list[str] = []
    if fit_on == "half":
        fit_sample, sample = halves(sample, manifest, options.intervals.seed)
        name = f"half of the patients of {file.path.name if file.path else 'the predictions'}"
    else:
        fit_file = _read(fit_on)
        fit_sample, left_out = join(fit_file, manifest, findings=sample.probabilities().findings, some=True)
        if options.views is not None:
            fit_sample, left_out = _of_views(fit_sample, left_out, options.views)
        notes = [f"To fit on: {note}" for note in left_out]
        shared = set(patient_keys(fit_sample.table)) & set(patient_keys(sample.table))
        if shared:
            raise shared_error(len(shared), len(patients_of(sample)))
        name = fit_file.path.name if fit_file.path else "predictions"
    fit_sample = fit_sample.probabilities()
    fitted_on = describe_sample(fit_sample, manifest, predictions=name)
    return sample, fit_calibration(fit_sample, options.method, options.rules, options.coverage, fitted_on), notes


def _fitted_of(bundle: "Bundle") -> Fitted:
    """Return a bundle's calibration and operating points."""
    fitted = read_calibration(bundle.calibration, bundle.labels)
    if fitted is None:
        raise EvaluationError(
            Code.CALIBRATION_INVALID,
            "this bundle has no calibration, so it brings no operating points.",
            fix="'cxr-monai calibrate' writes a copy that has; or fit on other predictions with --fit.",
            where=bundle.calibration,
        )
    return fitted


def halves(sample: Sample, manifest: Manifest, seed: int) -> tuple[Sample, Sample]:
    """Return the images of two halves of the patients, stratified over all findings.

    Args:
        sample: the images, with labels and probabilities.
        manifest: their rows.
        seed: of the division.
    """
    rows = manifest.table.set_index("image").loc[sample.table["image"]].reset_index()
    sides = assign_patients(replace(manifest, table=rows), (0.5, 0.5), seed=seed)
    return sample.take(sides == 0), sample.take(sides == 1)


def _with_second(material: _Material, file: PredictionsFile, composites: Mapping[str, Composite]) -> _Material:
    """Add a second system: both on the images that both have, in one order."""
    sample = material.sample
    second, notes = join(file, material.manifest, findings=sample.findings, composites=composites)
    # `join` named both as the manifest does
    rows = np.flatnonzero(sample.table["image"].isin(second.table["image"]))
    if not len(rows):
        raise EvaluationError(Code.PREDICTIONS_INVALID, "the two systems have no image in common.", where=file.path)
    if len(rows) < len(sample):
        notes.append(
            f"The second system has predictions for {len(rows):,} of the "
            f"{counted(len(sample), 'image')}; both are judged on "
            "these."
        )
    sample = sample.take(rows)
    second = second.take(pd.Index(second.table["image"]).get_indexer(sample.table["image"]))
    notes = [*material.notes, *(f"Second system: {note}" for note in notes)]
    return replace(material, sample=sample, second=second, second_file=file, notes=notes)


def _judged_too(material: _Material, gate_table: str | Path | None, split: str | None) -> _Material:
    """Add what a gate says of the films."""
    judged, notes = films_judged(material.file, gate_table, material.sample, material.manifest, split)
    return replace(material, judged=judged, notes=[*material.notes, *notes])


def _names(first: Path | None, second: Path | None) -> tuple[str, str]:
    """Return what two systems are called: as their files, with the folder where both files are called the same."""
    if first and second and first.name == second.name:  # OUT_A/predictions.csv, OUT_B/predictions.csv
        return f"{first.resolve().parent.name}/{first.name}", f"{second.resolve().parent.name}/{second.name}"
    return first.name if first else "predictions", second.name if second else "second"


def _judge(material: _Material, options: EvaluationOptions) -> Evaluation:
    sample, manifest, file, fitted = material.sample, material.manifest, material.file, material.fitted
    evaluation = evaluate(
        sample,
        fitted=fitted,
        calibrated=file.calibrated,
        second=material.second,
        names=_names(file.path, material.second_file.path if material.second_file else None),
        margin=options.margin,
        prevalence=_prevalences(options.prevalence, sample.probabilities().findings),
        intervals=options.intervals,
        book=evaluation_provenance(sample, manifest, material.manifest_name, file, fitted),
        notes=[
            *material.notes,
            *evaluation_warnings(sample, manifest, file, fitted),
            *learned_warnings(material.system, sample),
        ],
    )
    if material.judged is not None:
        evaluation = with_gate_tables(evaluation, material.judged, options.intervals)
    if material.readers is None:
        return evaluation
    beside = evaluation.sample, material.readers, manifest.by_name, options.intervals
    return replace(evaluation, readers=compare_readers(*beside), reader_agreement=reader_agreement(*beside))


def _write(evaluation: Evaluation, material: _Material, folder: Path, plots: bool) -> list[Path]:
    """Write tables, report and, where they are asked for, PNG files."""
    paths = write_evaluation(evaluation, folder)
    paths += write_plots(evaluation, folder / "plots") if plots else []
    return [*paths, write_report(evaluation, folder, material.localisation, material.system)]


def _prevalences(stated: Mapping[str, float] | float | None, findings: Sequence[str]) -> dict[str, float]:
    if stated is None:
        return {}
    return dict(stated) if isinstance(stated, Mapping) else dict.fromkeys(findings, float(stated))


class EvaluationReport:
    """The last step of a bundle's ``evaluate.json``: the whole evaluation of the predictions that were just written.

    Args:
        manifest, split: what was evaluated on.
        manifest_name: as it is called in the report.
        bundle_root: the bundle; its calibration brings operating points, if it has one.
        findings: the bundle's.
        replicates: of the bootstrap over patients.
        plots: draw PNG files, too.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: str,
        bundle_root: str,
        findings: Sequence[str],
        manifest_name: str | Sequence[str] = "manifest.csv",
        replicates: int = 1000,
        plots: bool = False,
    ) -> None:
        self.manifest, self.split, self.bundle_root, self.findings = manifest, split, bundle_root, list(findings)
        self.manifest_name = manifests_title(manifest_name)
        self.options = EvaluationOptions(intervals=Intervals(replicates), plots=plots)

    def __call__(self, output_dir: str | Path, file: PredictionsFile) -> tuple[Evaluation, list[Path]]:
        """Judge predictions and write the evaluation into the folder; return it and its files.

        An evaluation that is there is written over: ``EvaluationRun`` has looked whether it may be. Where the
        calibration was fitted on patients of this part, the part is judged without it, which the report says.
        """
        findings = [name for name in self.findings if name in self.manifest.findings]
        sample, notes = join(file, self.manifest, self.split, findings)
        bundle = _open(self.bundle_root, file.about.get("bundle"))
        notes = [*group_sentences(bundle.scheme), *notes]
        if self.manifest.views:
            notes.append(f"Views: only {self.manifest.views}; images of others are left out.")
        own_weights = file.about.get("own_weights", True)
        fitted = read_calibration(bundle.calibration, self.findings, raw=not own_weights)
        if not own_weights:
            notes.append("These are not the bundle's own weights, so its calibration and thresholds are left out.")
        if fitted is not None:
            try:
                notes += refuse_shared(fitted, sample, self.manifest, self.bundle_root)
            except EvaluationError as error:
                notes.append(f"The bundle's calibration and thresholds are left out: {error.message}")
                logger.warning("%s", notes[-1])
                fitted = None
        system = bundle if own_weights else None
        material = _Material(sample, self.manifest, self.manifest_name, file, fitted, system, notes)
        material = _judged_too(material, None, self.split)
        with result_folder(output_dir, EVALUATION_FILE, True, _BESIDE) as folder:
            evaluation = _judge(material, self.options)
            paths = _write(evaluation, material, folder, self.options.plots)
        return evaluation, [Path(output_dir) / path.relative_to(folder) for path in paths]


def track_evaluation(experiment: str, out: str | Path, evaluation: Evaluation, paths: Sequence[Path]) -> str:
    """Log an evaluation as an MLflow run; a server that does not answer is a warning.

    Args:
        experiment: MLflow's.
        out: the folder of the result.
        evaluation: its metrics.
        paths: files to log; PNGs go into ``plots``.

    Returns:
        link to the run, or the command that shows it.
    """
    from cxr_monai.training.tracking import track_results

    return track_results("evaluation", experiment, out, evaluation.book, evaluation.metrics(), paths, "plots")
