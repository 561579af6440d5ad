"""The steps around Ignite's loop: what a training and an evaluation do before it, after it, and when it fails.

A training leaves in ``OUT``: ``bundle/`` (complete, with a gate, calibrated on the validation part), ``metrics.csv``,
``metrics.json``, ``predictions_val.csv``, ``pictures/`` and ``checkpoints/last.pt``; where images of several sources
validate, ``metrics_by_source.csv``, too.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from cxr_monai.bundle.bundle_folder import Bundle, head_of
from cxr_monai.bundle.calibrated import write_calibration
from cxr_monai.bundle.origin import write_origin
from cxr_monai.bundle.running import running_parser
from cxr_monai.data.manifest import Manifest
from cxr_monai.data.overlaps import patient_keys
from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, SettingError
from cxr_monai.evaluation.assessment import Evaluation, evaluate_findings
from cxr_monai.evaluation.evaluation_folder import write_evaluation
from cxr_monai.evaluation.fitted import describe_sample, fit_calibration
from cxr_monai.evaluation.metric_names import metric_name
from cxr_monai.evaluation.patients import remember_patients
from cxr_monai.evaluation.predictions import PredictionsFile, join
from cxr_monai.networks.weight_loading import load_state_dict
from cxr_monai.outputs import check_folder
from cxr_monai.progress import closing_bars
from cxr_monai.stopping import Interrupted, as_interrupted, same_command
from cxr_monai.training.checkpoints import BestBundleWeights, Checkpoints
from cxr_monai.training.distributed import from_main
from cxr_monai.training.gate_fitter import GateFitter
from cxr_monai.training.handlers import PredictionsWriter, written_predictions
from cxr_monai.training.ignite_metrics import FindingMetrics
from cxr_monai.training.input_sheet import NetworkInputSheet, training_curves
from cxr_monai.training.lock import OutputLock
from cxr_monai.training.settings import course
from cxr_monai.training.tracking import MLflowTracker

_METHODS = ("auto", "temperature", "platt", "isotonic", "none")

logger = logging.getLogger(__name__)


class TrainingRun:
    """The steps around Ignite's loop, as one ``run`` that leaves a complete folder or a named error.

    The same command started again continues: after a kill from the newest checkpoint, after the end with nothing left
    to train. Another command for the same folder is refused.

    Args:
        trainer, validator: MONAI's engines.
        preflight, sheet, best, checkpoints, tracker: the components of the configuration.
        metrics: the validator's key metric.
        manifest, findings: what is trained on.
        output_dir: the training's folder.
        restart: True trains from the start whatever the folder holds.
        calibration: how probabilities are calibrated on the validation part, see
            ``cxr_monai.evaluation.fitted.fit_calibration``.
        gate_fitter: fits the bundle's gate; None fits none.
    """

    def __init__(
        self,
        trainer: Any,
        validator: Any,
        preflight: Any,
        sheet: NetworkInputSheet,
        best: BestBundleWeights,
        checkpoints: Checkpoints,
        tracker: MLflowTracker,
        metrics: FindingMetrics,
        manifest: Manifest,
        findings: list[str],
        output_dir: str,
        restart: bool = False,
        calibration: str = "auto",
        gate_fitter: GateFitter | None = None,
    ) -> None:
        if calibration not in _METHODS:
            raise SettingError(
                Code.SETTING_INVALID, f"--calibration {calibration!r}: it is one of {', '.join(_METHODS)}."
            )
        self.trainer, self.validator, self.preflight, self.sheet = trainer, validator, preflight, sheet
        self.best, self.checkpoints, self.tracker, self.metrics = best, checkpoints, tracker, metrics
        self.manifest, self.findings, self.output_dir = manifest, findings, Path(output_dir)
        self.restart, self.calibration = restart, calibration
        self.gate_fitter = gate_fitter or GateFitter("none")
        self.gate_fitter.check(manifest)
        parser = running_parser()
        init_weights = str(parser.get_parsed_content("init_weights")) if "init_weights" in parser.config else "none"
        checkpoints.settings = course(parser.config, manifest, findings, checkpoints.sampler.total_batch, init_weights)

    @closing_bars()
    def run(self) -> None:
        """Lock, look for a checkpoint, preflight, train, evaluate; one process of several does what is written down."""
        lock = OutputLock(self.output_dir)
        from_main(lock.acquire)
        try:
            self._run()
        except KeyboardInterrupt as error:
            raise self._interrupted(as_interrupted(error)) from None
        finally:
            if idist.get_rank() == 0:
                lock.release()

    def _run(self) -> None:
        resumed = not self.restart and self.checkpoints.restore(self.trainer)
        ended = resumed and self.checkpoints.ended
        if not ended:
            self.preflight.run(keep_threads=resumed)
        self._prepare_folder(resumed)
        self.tracker.start(resume=resumed)
        try:
            self._describe()
            if not ended:
                self._train()
            self._evaluate_best()
        except BaseException as error:
            self.tracker.fail(error)
            raise
        self.tracker.finish()
        if self.tracker.enabled:
            logger.info("the runs: %s", self.tracker.where())

    def _interrupted(self, error: Interrupted) -> Interrupted:
        """Return the interruption with a sentence on what is kept and the command that continues."""
        content = self.checkpoints.content
        state = f"{self.checkpoints.last} keeps {content}" if content else "nothing was trained yet"
        error.how_to_continue = f"{state}. Go on with: {same_command()}"
        return error

    def _prepare_folder(self, resumed: bool) -> None:
        """Write what the training will need, before anything is tracked: a kill from here on is continued."""
        if idist.get_rank() == 0:
            self.best.bundle.write()
            write_origin(self.best.bundle.root, self.manifest)
            self.best.write()
            if not resumed:
                self.checkpoints.clear()
        if not resumed:
            self.checkpoints.save(self.trainer)

    def _describe(self) -> None:
        if idist.get_rank() != 0:
            return
        for split in ("train", "val"):
            self.tracker.data_set(self.manifest, split, self.findings)
        if not self.sheet.path.exists() or self.trainer.state.iteration == 0:
            self.sheet.run()
            logger.info("what the network sees: %s", self.sheet.path)
        self.tracker.file(self.sheet.path, "pictures")

    def _train(self) -> None:
        for engine in (self.trainer, self.validator):
            engine.data_loader.dataset.prepare()
        self.trainer.run()
        idist.barrier()  # the best weights are on the disk before anyone reads them

    def _evaluate_best(self) -> None:
        bundle = Bundle.open(self.best.bundle.root)
        network = getattr(self.validator.network, "module", self.validator.network)
        network.load_state_dict(load_state_dict(bundle.weights))
        about = {
            "bundle": bundle.digest,
            "bundle_name": bundle.title,
            "label_scheme": bundle.scheme.to_json(),
            "part": "val",
            "epoch": self.best.epoch,
        }
        file = str(self.output_dir / "predictions_val.csv")
        PredictionsWriter(file, self.findings, about, force=True).attach(self.validator)
        self.validator.run()
        if idist.get_rank() != 0:
            return
        self._fit_gate(bundle.root)
        material = written_predictions(self.validator), self.manifest, self.findings
        evaluation = judge_and_calibrate(bundle, *material, self.output_dir, self.calibration)
        logger.info(
            "epoch %d of %d was the best; its weights on the validation part:\n%s",
            self.best.epoch, self.trainer.state.epoch, evaluation.text(),
        )  # fmt: skip
        curves = training_curves(self.tracker.history, self.output_dir / "pictures" / "curves.png")
        self.tracker.file(curves, "pictures")
        self.tracker.metrics({"best_epoch": self.best.epoch}, self.trainer.state.epoch)
        self.tracker.file(self.output_dir / "metrics.csv")
        self.tracker.text(evaluation.text(), "metrics.txt")
        self._write_sources()
        self.tracker.bundle(bundle.root)
        logger.info("the bundle: %s", bundle.root)

    def _fit_gate(self, root: Path) -> None:
        fitted = self.gate_fitter.fit(root, self.manifest)
        if fitted is not None:
            figures = {f"gate_{name}": float(fitted.fitted_on[name]) for name in ("films", "refused_share")}
            self.tracker.metrics(figures, self.trainer.state.epoch)

    def _write_sources(self) -> None:
        """Write ``metrics_by_source.csv`` where images of several sources validate, and log the means."""
        table = self.metrics.by_source
        if table is None:
            return
        path = self.output_dir / "metrics_by_source.csv"
        write_durably(path, table.to_csv(index=False, float_format="%.6g").encode())
        self.tracker.file(path)
        means = ", ".join(f"{source} {mean:.4f}" for source, mean in self.metrics.source_means().items())
        logger.info("mean AUROC on the validation part by source: %s; every finding: %s", means, path)


def judge_and_calibrate(
    bundle: Bundle,
    predictions: PredictionsFile,
    manifest: Manifest,
    findings: Sequence[str],
    output_dir: Path,
    method: str = "auto",
) -> Evaluation:
    """Evaluate a network on the validation part, and write calibration and operating points into its bundle.

    Args:
        bundle: without a calibration.
        predictions: raw ones of the validation part.
        manifest, findings: what was trained on.
        output_dir: gets ``metrics.csv``, ``means.csv`` and ``metrics.json``, see
            ``cxr_monai.evaluation.evaluation_folder``.
        method: see ``cxr_monai.evaluation.fitted.fit_calibration``.

    Returns:
        the evaluation that was written.
    """
    name = predictions.path.name if predictions.path else None
    sample, _ = join(predictions, manifest, "val", findings)
    evaluation = evaluate_findings(sample, book={"predictions": name, "epoch": predictions.about["epoch"]})
    write_evaluation(evaluation, output_dir)
    fitted_on = describe_sample(sample, manifest, predictions=name, bundle=predictions.about["bundle"])
    fitted = fit_calibration(sample, method, fitted_on=fitted_on, within=head_of(bundle.parser()).within)
    remember_patients(fitted, sample, bundle.root, patient_keys(manifest.part("train").table))
    write_calibration(bundle.root, fitted)
    for sentence in fitted.shortages():
        logger.info("%s (why: its calibration.json)", sentence)
    return evaluation


RESULTS = ("metrics.json", "metrics.csv", "predictions.csv", "report.html")
"""Files that show that a folder holds an evaluation."""


class EvaluationRun:
    """Evaluate one part of a manifest: ``metrics.csv``, ``metrics.json``, ``predictions.csv``, an MLflow run.

    Args:
        evaluator: MONAI's engine.
        metrics: its key metric.
        tracker: of the run.
        manifest, split, findings: what is evaluated on.
        output_dir: where the results go.
        report: what judges the predictions and writes all tables, given the folder and the predictions; returns the
            evaluation and its files (``cxr_monai.workflows.evaluate.EvaluationReport``).
        force: an earlier evaluation in the folder may be written over.
    """

    def __init__(
        self,
        evaluator: Any,
        metrics: FindingMetrics,
        tracker: MLflowTracker,
        manifest: Manifest,
        split: str,
        findings: list[str],
        output_dir: str,
        report: Callable[[Path, PredictionsFile], tuple[Evaluation, list[Path]]],
        force: bool = False,
    ) -> None:
        self.report, self.force = report, force
        self.evaluator, self.metrics, self.tracker = evaluator, metrics, tracker
        self.manifest, self.split, self.findings, self.output_dir = manifest, split, findings, Path(output_dir)

    @closing_bars()
    def run(self) -> None:
        """Evaluate, write, track.

        Raises:
            UsageError: ``output-exists``, before anything is done.
            StorageError: ``disk-full`` or ``write-failed``.
        """
        from_main(lambda: check_folder(self.output_dir, RESULTS, self.force, option="--force True"))
        self.tracker.start()
        try:
            self.tracker.data_set(self.manifest, self.split, self.findings)
            self.evaluator.run()
            if idist.get_rank() == 0:
                self._write()
        except BaseException as error:
            self.tracker.fail(error)
            raise
        self.tracker.finish()
        logger.info("the runs: %s", self.tracker.where())

    def _write(self) -> None:
        state = self.evaluator.state
        evaluation, written = self.report(self.output_dir, written_predictions(self.evaluator))
        figures = {metric_name(name, part=self.split): state.metrics[name] for name in ("loss", "images_per_second")}
        self.tracker.metrics(figures | evaluation.metrics())
        self.tracker.text(evaluation.text(), "metrics.txt")
        self.tracker.files(written, "plots")
        table = self.output_dir / "metrics.csv"
        logger.info("%s part:\n%s\nthe table: %s", self.split, evaluation.text(), table)
        logger.info("the report: %s", self.output_dir / "report.html")
