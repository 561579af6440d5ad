"""Agreement of two folders of maps: tables, a sheet of the images that differ most, an MLflow run.

options = AgreementOptions(seeds=("A/maps", "A2/maps", "A3/maps"))
agree_files("A/maps", "B/maps", "agreement", options, manifest="manifest.csv")
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.attribution.agreement import RANK, agreement_measures, compare_maps, compare_seeds, seed_cases
from cxr_monai.attribution.agreement_tables import Agreement, agreement_table, seed_share_table
from cxr_monai.attribution.case_means import few_note
from cxr_monai.attribution.drawing import compare_figure, save_picture
from cxr_monai.attribution.gallery import Gallery
from cxr_monai.attribution.map_store import MapStore
from cxr_monai.attribution.pairing import named_alike
from cxr_monai.attribution.regions import Threshold
from cxr_monai.attribution.result_tables import write_result_tables
from cxr_monai.data.joining import without
from cxr_monai.data.manifest import Manifest, read_manifest
from cxr_monai.errors import Code, EvaluationError, RadiographError
from cxr_monai.evaluation.auroc import check_level
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.metric_names import metric_name, metric_values
from cxr_monai.labels import spelling
from cxr_monai.outputs import result_folder
from cxr_monai.report.pages.map_pages import write_agreement_page
from cxr_monai.training.tracking import track_results
from cxr_monai.workflows.map_results import image_patients, manifest_rows, write_provenance

_MAIN = "agreement.json"
_FILES = ("agreement.csv", "agreement_cases.csv", "seeds.csv", "agreement.png", "agreement.html")


@dataclass(frozen=True)
class AgreementOptions:
    """Options of a comparison of maps; the defaults are those of ``cxr-monai maps agree``.

    Attributes:
        findings: those to compare; all that both have where empty.
        thresholds: shares of each map's maximum, for the IoU.
        seeds: folders of maps of one recipe trained with other seeds, three or more; none where empty.
        present: compare a finding on the images that the manifest says have it alone.
        count: images of the sheet.
        root: of the image files; what the maps say of it, else the manifest's, where None.
        intervals: over patients.
    """

    findings: Sequence[str] = ()
    thresholds: Sequence[float] = (0.5,)
    seeds: Sequence[str | Path] = ()
    present: bool = False
    count: int = 6
    root: str | Path | None = None
    intervals: Intervals = field(default_factory=Intervals)


def agree_files(
    first: str | Path,
    second: str | Path,
    out: str | Path,
    options: AgreementOptions | None = None,
    manifest: str | Path | None = None,
    force: bool = False,
    match_names: bool = False,
) -> tuple[Agreement, list[Path]]:
    """Compare two folders of maps and write ``agreement.csv``, ``agreement_cases.csv``, ``seeds.csv``,
    ``agreement.png``, ``agreement.html``, ``agreement.json``: all of them, or what was there before stays.

    Args:
        first, second: folders of maps of the same images.
        out: the folder.
        options: how to compare.
        manifest: patients and labels; images that it lacks are left out. Without, each image counts as a patient.
        force: an earlier comparison in the folder may be written over.
        match_names: file names are identities, whatever the folders.

    Returns:
        the comparison, and the files but ``agreement.json``.

    Raises:
        UsageError: ``output-exists``.
        StorageError: ``disk-full`` or ``write-failed``.
        EvaluationError: ``maps-invalid`` for what `compare_maps` cannot compare, or if no case is left.
        ManifestError: whatever is wrong with the manifest.
        SettingError: ``setting-invalid`` for a threshold that is none.
    """
    options = options or AgreementOptions()
    with result_folder(out, _MAIN, force, _FILES) as folder:
        agreement, paths = _agree_files(first, second, folder, options, manifest, match_names)
    return agreement, [Path(out) / path.relative_to(folder) for path in paths]


def _agree_files(
    first: str | Path,
    second: str | Path,
    out: Path,
    options: AgreementOptions,
    manifest: str | Path | None,
    match_names: bool,
) -> tuple[Agreement, list[Path]]:
    """Do the work of :func:`agree_files` in an empty folder."""
    check_level(options.intervals.level)
    opened = [MapStore.open(folder) for folder in (first, second, *options.seeds)]
    labels = None
    if manifest is not None:
        labels = read_manifest(manifest, check_files=False, scheme=opened[0].scheme, match_names=match_names)
    opened = named_alike(opened, match_names or (labels is not None and labels.by_name))
    stores, seed_stores = opened[:2], opened[2:]
    findings = [spelling(name) for name in options.findings] or None
    cases = compare_maps(stores[0], stores[1], options.thresholds, findings)
    images = int(cases["image"].nunique())
    cases, notes = _chosen(cases, labels, options)
    notes = [*_of_one_alone(stores), *notes]
    patients, unit, _ = image_patients(list(cases["image"]), labels)
    measures = agreement_measures(options.thresholds)
    table = agreement_table(cases, measures, patients, options.intervals, stores[0].findings)
    seeds = None
    if options.seeds:
        within = compare_seeds(seed_stores, options.thresholds, findings)
        seeds = seed_share_table(seed_cases(cases, within), measures, patients, options.intervals)
    cases, picture = _with_sheet(cases, stores, labels, out, options)
    if isinstance(picture, str):
        notes.append(picture)
        picture = None
    provenance = {
        **{f"{side}_{key}": store.about.get(key) for side, store in zip(("first", "second"), stores, strict=True)
           for key in ("bundle", "method", "layer", "stride")},
        "images": images,
        "images_compared": int(cases["image"].nunique()),
        "intervals_over": unit,
        "present": options.present,
        "seeds": len(options.seeds) or None,
    }  # fmt: skip
    agreement = Agreement(table, seeds, cases, provenance, (*notes, *few_note(table["patients"])))
    tables = {"agreement": table, "agreement_cases": cases} | ({} if seeds is None else {"seeds": seeds})
    paths = [*write_result_tables(tables, out), *([] if picture is None else [picture])]
    write_provenance(out / _MAIN, options.intervals.level, provenance, agreement.notes)
    return agreement, [*paths, write_agreement_page(agreement, picture, out)]


def _of_one_alone(stores: Sequence[MapStore]) -> list[str]:
    """Return remarks on how many images have maps in one folder alone; examples are logged."""
    notes = []
    names = [store.images for store in stores]
    for this, other, name, lack in ((*names, "first", "second"), (*names[::-1], "second", "first")):
        images = set(other)
        lacking = [image for image in this if image not in images]
        notes += without(lacking, len(this), f"images of the {name} folder", f"maps in the {lack}")
    return notes


def _chosen(
    cases: pd.DataFrame, manifest: Manifest | None, options: AgreementOptions
) -> tuple[pd.DataFrame, list[str]]:
    """Leave out images that the manifest lacks and, where asked, findings that it does not say are there."""
    notes: list[str] = []
    if manifest is not None:
        labels, notes = manifest_rows(list(cases["image"]), manifest)
        cases = cases[cases["image"].isin(labels.index)]
        if options.present:
            present = [
                finding in labels.columns and labels.loc[image, finding] == 1
                for image, finding in zip(cases["image"], cases["finding"], strict=True)
            ]
            cases = cases[present]
    if cases[RANK].isna().all():
        raise EvaluationError(
            Code.MAPS_INVALID,
            "there is no image and finding of which both have a map that says something"
            + (" and that the manifest says is there." if options.present else "."),
            fix="Make maps of all findings with both, or name others with --finding.",
        )
    return cases.reset_index(drop=True), notes


def _with_sheet(
    cases: pd.DataFrame, stores: Sequence[MapStore], manifest: Manifest | None, out: Path, options: AgreementOptions
) -> tuple[pd.DataFrame, Path | str | None]:
    """Draw the cases that differ most, each image once; return the picture, or the reason why there is none."""
    ordered = cases.dropna(subset=[RANK]).sort_values(agreement_measures(options.thresholds), kind="stable")
    examples = ordered.drop_duplicates("image").head(options.count)
    cases = cases.assign(shown=pd.Series(np.arange(1, len(examples) + 1), index=examples.index).astype("Int64"))
    if examples.empty:
        return cases, None
    root = options.root or stores[0].about.get("root") or (manifest.root if manifest else None)
    gallery = Gallery(stores, root, manifest, points=192)
    rows = []
    for number, row in enumerate(examples.to_dict(orient="records"), start=1):
        try:
            radiograph, *maps = gallery.row(row["image"], row["finding"])
        except RadiographError as error:
            return cases, f"There is no sheet of the images that differ most: {error}"
        # numbered, not named: the sheet goes to MLflow
        correlation = f"rank correlation {row[RANK]:.2f}"
        rows.append([replace(radiograph, title=f"case {number}", finding=correlation), *maps])
    figure = compare_figure(
        rows,
        threshold=Threshold(options.thresholds[0]),
        boxes=False,
        heading="Where the two differ most",
        note="The cases with the lowest rank correlation, each image once; agreement_cases.csv names them.",
    )
    path = out / "agreement.png"
    save_picture(figure, path)
    return cases, path


def track_agreement(experiment: str, out: str | Path, agreement: Agreement, paths: Sequence[Path]) -> str:
    """Log an agreement as an MLflow run, without the table of cases, which names images.

    Args:
        experiment: MLflow's.
        out: the folder of the result.
        agreement: its tables.
        paths: files to log.

    Returns:
        link to the run, or the command that shows it.
    """
    measures = [name.removesuffix("_low") for name in map(str, agreement.findings) if name.endswith("_low")]
    metrics = metric_values(agreement.findings, "finding", measures)
    if agreement.seeds is not None:
        metrics |= {
            metric_name(f"seed_share_{row['measure']}", row["finding"]): float(row["share"])
            for row in agreement.seeds.to_dict(orient="records")
        }
    return track_results("agreement", experiment, out, agreement.provenance, metrics, paths)
