"""From two folders of maps to what they have in common: tables, a sheet of the images that differ most, an MLflow run.

options = AgreementOptions(seeds=("A/maps", "A2/maps", "A3/maps"))
agree_files("A/maps", "B/maps", "agreement", options, manifest="manifest.csv")
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.attribution.agreement import RANK, Agreement, compare, compare_seeds, measures, seed_cases
from cxr_monai.attribution.case_means import few_note, mean_table, share_table
from cxr_monai.attribution.drawing import compare_figure, save
from cxr_monai.attribution.map_store import MapStore
from cxr_monai.attribution.pairing import named_alike
from cxr_monai.attribution.panels import Gallery
from cxr_monai.attribution.regions import Threshold
from cxr_monai.data.joining import without
from cxr_monai.data.manifest import Manifest, read_manifest
from cxr_monai.errors import Code, EvaluationError, RadiographError
from cxr_monai.evaluation.auroc import check_level
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.labels import spelling
from cxr_monai.outputs import result_folder
from cxr_monai.report.pages.map_pages import agreement_page
from cxr_monai.workflows.map_results import (
    figures_of,
    image_patients,
    manifest_rows,
    track_maps,
    write_book,
    write_map_tables,
)


@dataclass(frozen=True)
class AgreementOptions:
    """How to compare; the defaults are those of ``cxr-monai maps agree``.

    Attributes:
        findings: those to compare; all that both have where empty.
        thresholds: shares of each map's maximum, for the IoU.
        seeds: folders of maps of one recipe trained with other seeds, three or more; none where empty.
        present: compare a finding on the images that the manifest says have it alone.
        count: images of the sheet.
        root: of the image files; what the maps say of it, else the manifest's, where None.
        replicates, level, seed: of the intervals.
    """

    findings: Sequence[str] = ()
    thresholds: Sequence[float] = (0.5,)
    seeds: Sequence[str | Path] = ()
    present: bool = False
    count: int = 6
    root: str | Path | None = None
    replicates: int = 1000
    level: float = 0.95
    seed: int = 0


AGREEMENT = "agreement.json"
_WRITTEN = ("agreement.csv", "agreement_cases.csv", "seeds.csv", "agreement.png", "agreement.html")
"""The files beside it."""


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
    ``agreement.png``, ``agreement.html``, ``agreement.json``.

    All of them, or what was there before stays; ``force`` lets them be written over an earlier comparison. Returned are
    the comparison and all files but the last.

    Raises:
        UsageError: ``output-exists``.
        StorageError: ``disk-full`` or ``write-failed``.
        EvaluationError: ``maps-invalid`` for what `agreement` cannot compare, or if no case is left.
        ManifestError: whatever is wrong with the manifest.
        SettingError: ``setting-invalid`` for a threshold that is none.
    """
    with result_folder(out, AGREEMENT, force, _WRITTEN) as made:
        agreement, written = _agree_files(first, second, made, options or AgreementOptions(), manifest, match_names)
    return agreement, [Path(out) / path.relative_to(made) for path in written]


def _agree_files(
    first: str | Path,
    second: str | Path,
    out: Path,
    options: AgreementOptions,
    manifest: str | Path | None,
    match_names: bool,
) -> tuple[Agreement, list[Path]]:
    """Do what :func:`agree_files` does, in an empty folder."""
    check_level(options.level)
    opened = [MapStore.open(folder) for folder in (first, second, *options.seeds)]
    table = None
    if manifest is not None:
        table = read_manifest(manifest, check_files=False, scheme=opened[0].scheme, match_names=match_names)
    opened = named_alike(opened, match_names or (table is not None and table.by_name))
    stores, seed_stores = opened[:2], opened[2:]
    findings = [spelling(name) for name in options.findings] or None
    cases = compare(stores[0], stores[1], options.thresholds, findings)
    images = int(cases["image"].nunique())
    cases, notes = _chosen(cases, table, options)
    notes = [*_of_one_alone(stores), *notes]
    patients, told, _ = image_patients(list(cases["image"]), table)
    names = measures(options.thresholds)
    drawing = (options.replicates, options.level, options.seed)
    order = {name: at for at, name in enumerate(stores[0].findings)}
    by_finding = cases.sort_values("finding", key=lambda column: column.map(order), kind="stable")
    findings_table = _with_counts(mean_table(by_finding, "finding", names, patients, *drawing, mean=True), cases)
    seeds = None
    if options.seeds:
        within = compare_seeds(seed_stores, options.thresholds, findings)
        seeds = _seed_shares(seed_cases(cases, within), names, patients, drawing)
    cases, picture = _with_sheet(cases, stores, table, Path(out), options)
    if isinstance(picture, str):
        notes.append(picture)
    book = {
        **{f"{side}_{key}": store.about.get(key) for side, store in zip(("first", "second"), stores, strict=True)
           for key in ("bundle", "method", "layer", "stride")},
        "images": images,
        "images_compared": int(cases["image"].nunique()),
        "intervals_over": told,
        "present": options.present,
        "seeds": len(options.seeds) or None,
    }  # fmt: skip
    notes += few_note(findings_table["patients"])
    agreement = Agreement(findings_table, seeds, cases, book, tuple(notes))
    tables = {"agreement": findings_table, "agreement_cases": cases} | ({} if seeds is None else {"seeds": seeds})
    written = write_map_tables(tables, out)
    drawn = [picture] if isinstance(picture, Path) else []
    write_book(out / AGREEMENT, options.level, book, agreement.notes)
    return agreement, [*written, *drawn, agreement_page(agreement, drawn[0] if drawn else None, out)]


def _of_one_alone(stores: Sequence[MapStore]) -> list[str]:
    """Say how many images have maps in one folder alone; examples go to the log."""
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
            there = [
                finding in labels.columns and labels.loc[image, finding] == 1
                for image, finding in zip(cases["image"], cases["finding"], strict=True)
            ]
            cases = cases[there]
    if cases[RANK].isna().all():
        raise EvaluationError(
            Code.MAPS_INVALID,
            "there is no image and finding of which both have a map that says something"
            + (" and that the manifest says is there." if options.present else "."),
            fix="Make maps of all findings with both, or name others with --finding.",
        )
    return cases.reset_index(drop=True), notes


def _with_counts(table: pd.DataFrame, cases: pd.DataFrame) -> pd.DataFrame:
    counts = pd.DataFrame(
        {
            "only_first": cases["kept"] == "first",
            "only_second": cases["kept"] == "second",
            "empty": (cases["kept"] == "both") & cases[RANK].isna(),
        }
    )
    by_finding = counts.groupby(cases["finding"]).sum()
    by_finding.loc[MEAN] = by_finding.sum()
    return pd.concat(
        [table.iloc[:, :3], by_finding.loc[table["finding"]].reset_index(drop=True), table.iloc[:, 3:]], axis=1
    )


def _seed_shares(
    both: pd.DataFrame, names: Sequence[str], patients: pd.Series, drawing: tuple[int, float, int]
) -> pd.DataFrame:
    tables = []
    for name in names:
        columns = {f"between_{name}": "between", f"within_{name}": "within"}
        made = share_table(both.rename(columns=columns), "finding", "within", "between", patients, *drawing)
        made.insert(0, "measure", name)
        tables.append(made)
    return pd.concat(tables, ignore_index=True)


def _with_sheet(
    cases: pd.DataFrame, stores: Sequence[MapStore], manifest: Manifest | None, out: Path, options: AgreementOptions
) -> tuple[pd.DataFrame, Path | str | None]:
    """Draw the cases that differ most, an image once; returns the picture, or why there is none."""
    ordered = cases.dropna(subset=[RANK]).sort_values(measures(options.thresholds), kind="stable")
    chosen = ordered.drop_duplicates("image").head(options.count)
    cases = cases.assign(shown=pd.Series(np.arange(1, len(chosen) + 1), index=chosen.index).astype("Int64"))
    if chosen.empty:
        return cases, None
    root = options.root or stores[0].about.get("root") or (manifest.root if manifest else None)
    gallery = Gallery(stores, root, manifest, points=192)
    rows = []
    for number, row in enumerate(chosen.to_dict(orient="records"), start=1):
        try:
            radiograph, *maps = gallery.row(row["image"], row["finding"])
        except RadiographError as error:
            return cases, f"There is no sheet of the images that differ most: {error}"
        said = f"rank correlation {row[RANK]:.2f}"
        # numbered, not named: the sheet goes to MLflow
        rows.append([replace(radiograph, title=f"case {number}", finding=said), *maps])
    figure = compare_figure(
        rows,
        threshold=Threshold(options.thresholds[0]),
        boxes=False,
        heading="Where the two differ most",
        note="The cases with the lowest rank correlation, each image once; agreement_cases.csv names them.",
    )
    path = out / "agreement.png"
    out.mkdir(parents=True, exist_ok=True)
    save(figure, path)
    return cases, path


def track_agreement(experiment: str, out: str | Path, agreement: Agreement, written: Sequence[Path]) -> str:
    """Log an agreement as an MLflow run, without the table of cases, which names images."""
    names = [
        name
        for name in map(str, agreement.findings)
        if name == RANK or (name.startswith("iou_") and name[-1].isdigit())
    ]
    figures = figures_of(agreement.findings, "finding", names)
    if agreement.seeds is not None:
        figures |= {
            f"seed_share_{row['measure']}_{row['finding']}": float(row["share"])
            for row in agreement.seeds.to_dict(orient="records")
        }
    return track_maps(experiment, out, "agreement", agreement.book, figures, written)
