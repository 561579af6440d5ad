"""From a bundle and files to what its maps are worth as explanations: tables, curves, a page, an MLflow run.

options = FaithfulnessOptions(methods=("cam", "occlusion"))
faithful_files("OUT/bundle", files, names, "faithful", options, "manifest.csv")
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cxr_monai.attribution.drawing import save_picture
from cxr_monai.attribution.faithfulness_tables import Faithfulness, FaithfulnessOptions, measure_faithfulness
from cxr_monai.attribution.methods import method_named
from cxr_monai.attribution.result_tables import write_result_tables
from cxr_monai.attribution.subject import Subject, cases_of, read_some
from cxr_monai.data.files import write_errors
from cxr_monai.data.manifest import read_manifest
from cxr_monai.evaluation.auroc import check_level
from cxr_monai.evaluation.metric_names import metric_name, metric_values
from cxr_monai.inference.model import Model
from cxr_monai.labels import spelling
from cxr_monai.outputs import result_folder
from cxr_monai.plurals import counted
from cxr_monai.report.curve_figure import curve_figure
from cxr_monai.report.pages.map_pages import write_faithfulness_page
from cxr_monai.training.tracking import track_results
from cxr_monai.workflows.map_results import image_patients, write_provenance

_MAIN = "faithfulness.json"
_FILES = (
    "faithfulness.csv", "randomisation.csv", "curves.csv", "faithfulness_cases.csv", "curves.png", "faithfulness.html",
)  # fmt: skip


def faithful_files(
    bundle: str | Path,
    files: Sequence[str | Path],
    names: Sequence[str],
    out: str | Path,
    options: FaithfulnessOptions | None = None,
    manifest: str | Path | None = None,
    weights: str | Path | None = None,
    force: bool = False,
    match_names: bool = False,
) -> tuple[Faithfulness, list[Path]]:
    """Test methods on a bundle's network and write everything into a folder.

    Args:
        bundle: a bundle's folder.
        files: PNG, JPEG, DICOM or NIfTI; those that cannot be read stand in ``<out>.errors.csv``.
        names: what each is called.
        out: the folder.
        options: everything else.
        manifest: whose image is whose; images that it lacks are left out. None takes each for a patient of its own.
        weights: other than the bundle's.
        force: earlier tests in the folder may be written over.
        match_names: file names are identities, whatever the folders.

    Returns:
        the result and the files that were written.

    Raises:
        UsageError: ``output-exists``.
        StorageError: ``disk-full`` or ``write-failed``.
        BundleError, WeightsError: if the network cannot be loaded.
        RadiographError: that of the first file, if none can be read.
        ManifestError: whatever is wrong with the manifest.
        SettingError: ``setting-invalid`` for an unknown method, finding, layer, stride or baseline.
    """
    options = options or FaithfulnessOptions()
    with result_folder(out, _MAIN, force, _FILES) as folder:
        check_level(options.intervals.level)
        for method in options.methods:
            method_named(method)
        table = None
        if manifest is not None:
            table = read_manifest(manifest, check_files=False, match_names=match_names)
        patients, unit, notes = image_patients(names, table)
        pairs = [(file, name) for file, name in zip(files, names, strict=True) if name in patients.index]
        model = Model.open(bundle, weights=weights, amp=False, raw=True, any_modality=options.any_modality, gate="off")
        subject = Subject(model, options.target_layer, options.map_stride)
        for method in options.methods:
            subject.explainer(method)  # a wrong method is refused before the first file is read
        files, names = [file for file, _ in pairs], [name for _, name in pairs]
        images, names, left_out = read_some(model, files, names, options.count, options.intervals.seed)
        if left_out:
            unreadable = counted(len(left_out), "file")
            notes.append(f"{unreadable} cannot be read, and others were drawn for them: {Path(out).name}.errors.csv")
        cases = cases_of(subject, images, names, [spelling(name) for name in options.findings])
        faithfulness = measure_faithfulness(subject, images, cases, patients, options, notes)
        provenance = {
            "bundle": {key: model.provenance[key] for key in ("name", "digest")},
            **faithfulness.provenance,
            "images": len(names),
            "intervals_over": unit,
        }
        faithfulness = replace(faithfulness, provenance=provenance)
        paths = write_faithfulness(faithfulness, folder)
    write_errors(Path(out), left_out)
    return faithfulness, [Path(out) / path.relative_to(folder) for path in paths]


def write_faithfulness(faithfulness: Faithfulness, out: str | Path) -> list[Path]:
    """Write the tables, ``curves.png``, ``faithfulness.html`` and ``faithfulness.json``.

    Args:
        faithfulness: the result.
        out: its folder.

    Returns:
        the paths of all but ``faithfulness.json``.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    tables = {
        "faithfulness": faithfulness.methods,
        "curves": faithfulness.curves,
        "faithfulness_cases": faithfulness.cases,
    }
    if faithfulness.stages is not None:
        tables["randomisation"] = faithfulness.stages
    paths, picture = write_result_tables(tables, out), Path(out) / "curves.png"
    save_picture(curve_figure(faithfulness.curves), picture)
    write_provenance(Path(out) / _MAIN, faithfulness.level, faithfulness.provenance, faithfulness.notes)
    return [*paths, picture, write_faithfulness_page(faithfulness, picture, out)]


def track_faithfulness(experiment: str, out: str | Path, faithfulness: Faithfulness, paths: Sequence[Path]) -> str:
    """Log the tests as an MLflow run, without the table of cases, which names images.

    Args:
        experiment: MLflow's.
        out: the folder of the result.
        faithfulness: its tables.
        paths: files to log.

    Returns:
        link to the run, or the command that shows it.
    """
    measures = [name.removesuffix("_low") for name in map(str, faithfulness.methods) if name.endswith("_low")]
    metrics = metric_values(faithfulness.methods, "method", measures)
    if faithfulness.stages is not None:
        methods, stages = (table.to_dict(orient="records") for table in (faithfulness.methods, faithfulness.stages))
        metrics |= {metric_name("survival", row["method"]): float(row["survival"]) for row in methods}
        metrics |= {
            metric_name("survival", row["method"], row["stage"]): float(row["rank_correlation"]) for row in stages
        }
    return track_results("faithfulness", experiment, out, faithfulness.provenance, metrics, paths)
