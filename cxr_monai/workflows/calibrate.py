"""A copy of a bundle with calibration and operating points, from raw predictions of validation patients."""

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from cxr_monai.bundle.bundle_folder import Bundle, head_of
from cxr_monai.bundle.calibrated import write_calibration
from cxr_monai.bundle.writing import check_new_bundle, new_bundle
from cxr_monai.data.manifest import Manifest, read_manifest, under
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.fitted import (
    COVERAGE,
    DEFAULT_RULES,
    Fitted,
    describe_sample,
    fit_calibration,
    read_calibration,
    refit,
)
from cxr_monai.evaluation.patients import remember_patients
from cxr_monai.evaluation.predictions import join
from cxr_monai.sharing.trust.lineage import write_lineage
from cxr_monai.sharing.trust.open_trusted import open_trusted
from cxr_monai.workflows.predict import Probabilities, predictions_file


def calibrate_bundle(
    bundle: str | PathLike[str],
    predictions: Probabilities,
    manifest: str | Path | Manifest,
    out: str | Path,
    *,
    split: str | None = None,
    method: str = "auto",
    rules: Sequence[str] = DEFAULT_RULES,
    coverage: float = COVERAGE,
    recalibrate: str | None = None,
    points: str = "keep",
    match_names: bool = False,
    trust_folder: bool = False,
    force: bool = False,
) -> Fitted:
    """Fit calibration and operating points, and write them into a copy of the bundle: whole or not at all.

    Args:
        bundle: stays as it is: a folder, an opened bundle, or the name of an installed one.
        predictions: raw probabilities of the bundle's network: a file, what `predict_images` returned, or a table.
        manifest: labels: a file or a table in memory; the image files are not needed.
        out: the copy's folder, which must not exist unless ``force``.
        split: of the manifest; all images that have a prediction where None.
        method, rules, coverage: see ``cxr_monai.evaluation.fitted.fit_calibration``.
        match_names: file names are identities, whatever the folders.
        trust_folder: take the folder although an inspection refuses it.
        force: an earlier copy may be replaced.
        recalibrate, points: ``how`` and ``points`` of ``cxr_monai.evaluation.fitted.refit``; None fits from nothing.

    Raises:
        UsageError: ``output-exists``.
        BundleError: the bundle is none.
        EvaluationError: ``evaluation-invalid`` for calibrated predictions or those of another bundle,
            ``calibration-invalid`` if there is nothing to recalibrate.
    """
    opened = Bundle.open(open_trusted(bundle, trust_folder))
    check_new_bundle(out, [opened.root], force)
    file = predictions_file(predictions)
    table = manifest if isinstance(manifest, Manifest) else read_manifest(manifest, check_files=False)
    table = under(replace(table, key="name") if match_names else table, opened.scheme)
    if file.calibrated:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            "these probabilities are calibrated already; fitting needs the network's own.",
            fix="Predict with --raw.",
            where=file.path,
        )
    sample, left_out = join(file, table, split, opened.labels, some=True, composites={})
    name = file.path.name if file.path else "predictions"
    fitted_on = describe_sample(sample, table, predictions=name, bundle=opened.digest)
    if recalibrate is None:
        fitted = fit_calibration(sample, method, rules, coverage, fitted_on, head_of(opened.parser()).within)
    else:
        earlier = read_calibration(opened.calibration, opened.labels)
        if earlier is None:
            raise EvaluationError(
                Code.CALIBRATION_INVALID,
                "this bundle has no calibration that could be moved.",
                fix="Leave --recalibrate out to fit one.",
                where=opened.root,
            )
        fitted_on["before"] = dict(earlier.fitted_on)
        fitted = refit(earlier, sample, recalibrate, points, rules, coverage, fitted_on)
    fitted = replace(fitted, notes=(*left_out, *fitted.notes))
    with new_bundle(out, opened.root, force) as folder:
        write_calibration(folder, fitted)
        write_lineage(
            folder,
            [opened.root],
            "cxr-monai calibrate",
            data=fitted.fitted_on,
            settings={"method": method, "recalibrate": recalibrate or "no", "points": points},
        )
        remember_patients(fitted, sample, Path(out).resolve(), copy_of=opened.root)
    return fitted
