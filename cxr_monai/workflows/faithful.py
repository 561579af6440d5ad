"""From a bundle and files to what its maps are worth as explanations: tables, curves, a page, an MLflow run.

    options = FaithfulnessOptions(methods=("cam", "occlusion"))
    faithful_files("OUT/bundle", files, names, "faithful", options, "manifest.csv")

A method fails, and is said to explain nothing, if its maps survive when weights are drawn anew
(``cxr_monai.attribution.randomisation.BOUND``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cxr_monai.attribution.case_means import few_note, mean_table
from cxr_monai.attribution.drawing import save
from cxr_monai.attribution.faithfulness import Faithfulness
from cxr_monai.attribution.methods import method_named
from cxr_monai.attribution.randomisation import BOUND
from cxr_monai.attribution.subject import Subject, cases_of, faithfulness, randomisation, read_some
from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.data.files import write_errors
from cxr_monai.data.manifest import read_manifest
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.auroc import check_level
from cxr_monai.labels import spelling
from cxr_monai.outputs import result_folder
from cxr_monai.plurals import be, counted
from cxr_monai.report.pages.map_pages import faithfulness_page
from cxr_monai.workflows.map_results import figures_of, image_patients, track_maps, write_book, write_map_tables

PASSED, FAILED = "depends on the weights", "explains nothing"
UNDECIDED = "undecided: no map differs from place to place"


@dataclass(frozen=True)
class FaithfulnessOptions:
    """How to test; the defaults are those of ``cxr-monai maps faithful``.

    Attributes:
        methods: names.
        findings: whose maps, on every image; where empty, that of the most probable finding of each image.
        count: images, drawn at random.
        map_stride, target_layer: as of ``cxr-monai explain``.
        baseline: what stands where a place is taken away, ``blur`` or ``mean``.
        steps: of the curves.
        controls: random places that each map is moved to.
        samples: of infidelity and sensitivity; 0 leaves both out.
        stages: of randomised weights; 0 leaves them out.
        draws: of each stage's weights.
        replicates, level, seed: of the intervals; the seed is also that of all else that is drawn.
        any_modality: read DICOM files whatever their headers say they show.
    """

    methods: Sequence[str] = ("cam",)
    findings: Sequence[str] = ()
    count: int = 24
    map_stride: int | None = None
    target_layer: str | None = None
    baseline: str = "blur"
    steps: int = 10
    controls: int = 3
    samples: int = 10
    stages: int = 4
    draws: int = 5
    replicates: int = 1000
    level: float = 0.95
    seed: int = 0
    any_modality: bool = False


FAITHFULNESS = "faithfulness.json"
_WRITTEN = (
    "faithfulness.csv", "randomisation.csv", "curves.csv", "faithfulness_cases.csv", "curves.png", "faithfulness.html",
)  # fmt: skip
"""The files beside it."""


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
    with result_folder(out, FAITHFULNESS, force, _WRITTEN) as folder:
        made, written, left_out = _faithful_files(
            bundle,
            files,
            names,
            folder,
            Path(out).name,
            options or FaithfulnessOptions(),
            manifest,
            weights,
            match_names,
        )
    write_errors(Path(out), left_out)
    return made, [Path(out) / path.relative_to(folder) for path in written]


def _faithful_files(
    bundle: str | Path,
    files: Sequence[str | Path],
    names: Sequence[str],
    out: Path,
    called: str,
    options: FaithfulnessOptions,
    manifest: str | Path | None,
    weights: str | Path | None,
    match_names: bool,
) -> tuple[Faithfulness, list[Path], list[tuple[str, str, str]]]:
    """Do what :func:`faithful_files` does, in an empty folder; return what could not be read, too."""
    check_level(options.level)
    for method in options.methods:
        method_named(method)
    table = None
    if manifest is not None:
        table = read_manifest(manifest, check_files=False, match_names=match_names)
    patients, told, notes = image_patients(names, table)
    there = set(patients.index)
    files = [file for file, name in zip(files, names, strict=True) if name in there]
    names = [name for name in names if name in there]
    subject = Subject.of_bundle(
        bundle, weights, options.any_modality, target_layer=options.target_layer, map_stride=options.map_stride
    )
    for method in options.methods:
        subject.explainer(method)  # whatever is wrong with a method is said before the first file is read
    images, names, left_out = read_some(subject, files, names, options.count, options.seed)
    if left_out:
        notes.append(
            f"{counted(len(left_out), 'file')} cannot be read, and others were drawn for them: {called}.errors.csv"
        )
    cases = cases_of(subject, images, names, [spelling(name) for name in options.findings])
    made = judge(subject, images, cases, patients, options, notes)
    opened = Bundle.open(bundle)
    book = {"bundle": {"name": opened.metadata.get("name", ""), "digest": opened.digest}, **made.book}
    book |= {"images": len(names), "intervals_over": told}
    made = Faithfulness(made.methods, made.stages, made.curves, made.cases, made.level, book, made.notes)
    return made, write_faithfulness(made, out), left_out


def judge(
    subject: Subject,
    images: Any,
    cases: pd.DataFrame,
    patients: pd.Series,
    options: FaithfulnessOptions,
    notes: Sequence[str] = (),
) -> Faithfulness:
    """Return the figures of some cases.

    Args:
        subject, images, cases: see ``cxr_monai.attribution.subject``.
        patients: of `patients_of`.
        options: see there.
        notes: sentences that come first.

    Raises:
        EvaluationError: ``maps-invalid`` if every map is 0 everywhere.
        SettingError: as the methods.
    """
    judged, curves = faithfulness(
        subject, images, cases, options.methods, options.baseline, options.steps, options.controls, options.samples,
        options.seed,
    )  # fmt: skip
    if judged["empty"].all():
        raise EvaluationError(
            Code.MAPS_INVALID,
            f"all {counted(len(judged), 'map')} {be(len(judged))} 0 everywhere: nothing "
            "speaks for these findings in these images.",
            fix="Name findings that some of the images have with --finding, or test more images with --count.",
        )
    drawing = (options.replicates, options.level, options.seed)
    names = [
        name for name in map(str, judged) if name.startswith(("deletion", "insertion", "unexplained", "sensitivity"))
    ]
    methods = mean_table(judged, "method", names, patients, *drawing)
    empty = judged.groupby("method")["empty"].sum()
    methods.insert(3, "empty", [int(empty[method]) for method in methods["method"]])
    stages = None
    if options.stages:
        survived = randomisation(subject, images, cases, options.methods, options.stages, options.draws, options.seed)
        stages = _stages(survived, patients, drawing)
        methods = methods.join(_verdicts(stages).set_index("method"), on="method")
    book = {
        "methods": list(options.methods),
        "findings": list(dict.fromkeys(cases["finding"])),
        "target_layer": options.target_layer,
        "map_stride": options.map_stride,
        "baseline": options.baseline,
        "steps": options.steps,
        "controls": options.controls,
        "samples": options.samples,
        "stages": options.stages,
        "draws": options.draws,
        "seed": options.seed,
    }
    more = [*notes, *_remarks(methods)]
    return Faithfulness(methods, stages, curves, judged, options.level, book, tuple(more))


def _stages(survived: pd.DataFrame, patients: pd.Series, drawing: tuple[int, float, int]) -> pd.DataFrame:
    tables = []
    for method, of in survived.groupby("method", sort=False):
        table = mean_table(of, "stage", ["rank_correlation", "ssim"], patients, *drawing)
        table.insert(0, "method", method)
        parts = of.groupby("stage")["random_parts"].first()
        table.insert(2, "random_parts", [int(parts[stage]) for stage in table["stage"]])
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _verdicts(stages: pd.DataFrame) -> pd.DataFrame:
    """Return of each method the stage at which most of its maps survived, and whether that is too much."""
    rows = []
    for method, of in stages.groupby("method", sort=False):
        if of["rank_correlation"].isna().all():
            rows.append((method, np.nan, "", UNDECIDED))
            continue
        most = of.iloc[int(np.nanargmax(of["rank_correlation"]))]
        survival = float(most["rank_correlation"])
        rows.append((method, survival, most["stage"], FAILED if survival > BOUND else PASSED))
    return pd.DataFrame(rows, columns=["method", "survival", "survival_stage", "verdict"])


def _remarks(methods: pd.DataFrame) -> list[str]:
    notes = [
        f"{row['method']} explains nothing here: its maps stay as they were (rank correlation {row['survival']:.2f}, "
        f"over {BOUND:g}) when weights are drawn anew down to {row['survival_stage']}."
        for row in methods.to_dict(orient="records")
        if row.get("verdict") == FAILED
    ]
    empty = methods["empty"].sum()
    if empty:
        notes.append(
            f"{counted(empty, 'map')} {be(empty)} 0 everywhere: nothing speaks for the finding. They are in no figure."
        )
    return notes + few_note(methods["patients"])


def write_faithfulness(made: Faithfulness, out: str | Path) -> list[Path]:
    """Write the tables, ``curves.png``, ``faithfulness.html`` and ``faithfulness.json``; returns all but the last.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    tables = {"faithfulness": made.methods, "curves": made.curves, "faithfulness_cases": made.cases}
    written = write_map_tables(tables | ({} if made.stages is None else {"randomisation": made.stages}), out)
    picture = Path(out) / "curves.png"
    save(_drawn(made.curves), picture)
    write_book(Path(out) / FAITHFULNESS, made.level, made.book, made.notes)
    return [*written, picture, faithfulness_page(made, picture, out)]


def _drawn(curves: pd.DataFrame) -> Figure:
    """Draw each method's mean curves, those of the control dashed."""
    methods = list(dict.fromkeys(curves["method"]))
    figure = Figure(figsize=(6.5, 0.4 + 2.2 * len(methods)), layout="constrained")
    axes = figure.subplots(len(methods), 2, sharex=True, sharey=True, squeeze=False)
    for row, method in zip(axes, methods, strict=True):
        for one, name in zip(row, ("deletion", "insertion"), strict=True):
            of = curves[curves["method"] == method]
            for which, style, said in (("map", "-", "strongest places first"), ("control", "--", "control")):
                there = of[of["map"] == which]
                one.plot(
                    there["share"], there[name], style, color="#0072B2" if which == "map" else "#667080", label=said
                )
            one.set_title(f"{method}: {name}", fontsize=9)
            one.tick_params(labelsize=8)
        row[0].set_ylabel("probability", fontsize=8)
    for one in axes[-1]:
        one.set_xlabel("share of the pixels changed", fontsize=8)
    axes[0, 0].legend(fontsize=7, frameon=False)
    return figure


def track_faithfulness(experiment: str, out: str | Path, made: Faithfulness, written: Sequence[Path]) -> str:
    """Log the tests as an MLflow run, without the table of cases, which names images."""
    names = [name.removesuffix("_low") for name in map(str, made.methods) if name.endswith("_low")]
    figures = figures_of(made.methods, "method", names)
    if made.stages is not None:
        figures |= {
            f"survival_{row['method']}": float(row["survival"]) for row in made.methods.to_dict(orient="records")
        } | {
            f"survival_{row['method']}_{row['stage']}": float(row["rank_correlation"])
            for row in made.stages.to_dict(orient="records")
        }
    return track_maps(experiment, out, "faithfulness", made.book, figures, written)
