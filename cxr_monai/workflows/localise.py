"""Maps against the boxes of radiologists: files in; tables, a sheet, a page and an MLflow run out.

    localisation, written = localise_files("maps", "m.boxes.csv", "manifest.csv", "localisation")
    localisation.scores, localisation.gains         # tables; see cxr_monai.attribution.localisation_tables

Images that the model was trained on are refused: those of the manifest's training part, and of patients that the list
beside the bundle names.
"""

import importlib.metadata
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.attribution.boxed_cases import BoxedCases, read_boxed_cases
from cxr_monai.attribution.localisation_result import LOCALISATION, Localisation, write_localisation
from cxr_monai.attribution.localisation_scoring import LocalisationOptions, localise, method_of
from cxr_monai.attribution.localisation_sheet import write_case_sheet
from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.data.manifest import Manifest, read_manifest
from cxr_monai.data.splits import assign_patients
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.patients import trained_on
from cxr_monai.outputs import result_folder
from cxr_monai.plurals import be, counted
from cxr_monai.report.pages.localisation_page import write_localisation_page
from cxr_monai.report.reading import records, value
from cxr_monai.training.tracking import MLflowTracker


@dataclass(frozen=True)
class Choosing:
    """Where map thresholds and the centre map come from; one half of the patients where nothing is set.

    Attributes:
        split: images of this part of the manifest; the others are scored.
        maps, boxes: another store of maps, by the same method, and its boxes.
        manifest: its patients; the scored images' manifest where None.
        other_hospital: its patients are other people even if they have the same numbers (synthetic ones, too).
        match_names: file names are identities, whatever the folders.
    """

    split: str | None = None
    maps: str | Path | None = None
    boxes: str | Path | None = None
    manifest: str | Path | None = None
    other_hospital: bool = False
    match_names: bool = False


_WRITTEN = ("localisation.csv", "gains.csv", "cases.csv", "cases.png", "localisation.html")
"""The files beside `LOCALISATION`."""


def localise_files(
    maps: str | Path,
    boxes: str | Path,
    manifest: str | Path,
    out: str | Path,
    *,
    bundle: str | Path | None = None,
    choosing: Choosing | None = None,
    options: LocalisationOptions | None = None,
    force: bool = False,
    match_names: bool = False,
) -> tuple[Localisation, list[Path]]:
    """Score maps against boxes and write everything into a folder.

    Args:
        maps: a folder of maps, see ``cxr-monai explain``.
        boxes: ``M.boxes.csv`` or NIH's list.
        manifest: patients and split; the image files are needed for the sheet alone.
        out: the folder.
        bundle: that made the maps; the list beside it says who it was trained on, whatever split the manifest has.
        choosing: where map thresholds come from.
        options: everything else.
        force: an earlier localisation in the folder may be written over.
        match_names: file names are identities, whatever the folders.

    Returns:
        the result and the files that were written.

    Raises:
        UsageError: ``output-exists``.
        StorageError: ``disk-full`` or ``write-failed``.
        EvaluationError: ``maps-invalid``, ``boxes-invalid``, ``images-seen``, ``patients-shared``,
            ``calibration-invalid``, ``evaluation-invalid``.
        BundleError: if ``bundle`` is none.
        ManifestError: whatever is wrong with the manifest.
    """
    with result_folder(out, LOCALISATION, force, _WRITTEN) as made:
        localisation, written = _localise_files(
            maps, boxes, manifest, made, bundle, choosing or Choosing(), options or LocalisationOptions(), match_names
        )
    return localisation, [Path(out) / path.relative_to(made) for path in written]


def _localise_files(
    maps: str | Path,
    boxes: str | Path,
    manifest: str | Path,
    folder: Path,
    bundle: str | Path | None,
    choosing: Choosing,
    options: LocalisationOptions,
    match_names: bool,
) -> tuple[Localisation, list[Path]]:
    """Do what :func:`localise_files` does, in an empty folder."""
    table = read_manifest(manifest, check_files=False, match_names=match_names)
    part, notes = read_boxed_cases(maps, boxes, table)
    aside = None
    if choosing.split is not None:
        aside = _some(part, part.table["split"] == choosing.split, f"in the split {choosing.split!r}, to choose on")
        part = _some(part, part.table["split"] != choosing.split, f"outside the split {choosing.split!r}")
    if options.findings:
        part = _of_findings(part, options.findings)
    part, said = leave_out_seen(part, options, bundle)
    chosen_on, part, told, of_choosing = _choosing_part(part, aside, table, choosing, options.seed)
    localisation = localise(chosen_on, part, options, (*notes, *said, *of_choosing), told)
    book = {**localisation.book, "manifest": Path(manifest).name, "boxes": Path(boxes).name}
    book |= {"label_version": table.label_version, "date": time.strftime("%Y-%m-%d")}
    book |= {"version": importlib.metadata.version("cxr-monai")}
    localisation = replace(localisation, book=book)
    sheet = write_case_sheet(localisation, part, table.root, folder)
    if sheet is None:
        said_so = "There is no sheet of cases: the image files are not where the manifest says."
        localisation = replace(localisation, notes=(*localisation.notes, said_so))
    written = [
        *write_localisation(localisation, folder),
        *([sheet] if sheet else []),
        write_localisation_page(localisation, folder),
    ]
    return localisation, written


def _of_findings(part: BoxedCases, findings: Sequence[str]) -> BoxedCases:
    absent = [name for name in findings if name not in part.store.findings]
    if absent:
        raise EvaluationError(
            Code.MAPS_INVALID,
            f"there are no maps of {', '.join(absent)}, only of {', '.join(part.store.findings)}.",
            where=part.store.folder,
        )
    return _some(part, part.table["finding"].isin(findings), f"of {', '.join(findings)}")


def leave_out_seen(
    part: BoxedCases, options: LocalisationOptions, bundle: str | Path | None = None
) -> tuple[BoxedCases, list[str]]:
    """Return the part to be judged without what the model was trained on, as far as that is known.

    Args:
        part: boxed cases.
        options: its ``split`` and ``seen``.
        bundle: that made the maps; without it the manifest's split is all that is known.

    Returns:
        the part, and sentences on what was left out or is not known.

    Raises:
        EvaluationError: ``images-seen``, with counts; ``maps-invalid`` if the bundle did not make the maps;
            ``calibration-invalid`` if the list beside it is damaged; ``evaluation-invalid`` if nothing is left.
        BundleError: if ``bundle`` is none.
    """
    listed, notes = (None, []) if bundle is None else _listed(part, bundle)
    if options.split is not None:
        part = _some(part, part.table["split"] == options.split, f"in the split {options.split!r}")
    table = part.table
    ways = {
        "in the manifest's training part": (table["split"] == "train").to_numpy(),
        "of patients that the bundle was trained on": table["patient_id"].isin(listed or ()).to_numpy(),
    }
    seen = np.any(list(ways.values()), axis=0)
    if seen.any():
        images, patients = table.loc[seen, "image"].nunique(), table.loc[seen, "patient_id"].nunique()
        how = " or ".join(way for way, rows in ways.items() if rows.any())
        told = (
            f"{images:,} of the {counted(table['image'].nunique(), 'boxed image')} ({patients:,} of "
            f"{counted(table['patient_id'].nunique(), 'patient')}) are {how}"
        )
        if options.seen == "refuse":
            raise EvaluationError(
                Code.IMAGES_SEEN,
                f"{told}: a model points better at what it was trained on.",
                fix="Score other patients with --split test, or leave these out with --seen skip; --seen allow scores"
                " them all the same and says so.",
            )
        if options.seen == "skip":
            notes.append(f"{told}, and left out.")
            part = _some(part, ~seen, "that the model was not trained on")
        else:
            notes.append(f"{told}: what the model was trained on, it points at better than it would elsewhere.")
    splits = set(part.table["split"])
    if splits == {""} and listed is None:
        notes.append("The manifest has no split of these images: whether the model was trained on them is not known.")
    elif "val" in splits:
        patients = part.table.loc[part.table["split"] == "val", "patient_id"].nunique()
        notes.append(
            f"{counted(patients, 'patient')} {be(patients)} of the validation "
            "part, on which the model's epoch was chosen."
        )
    return part, notes


def _listed(part: BoxedCases, bundle: str | Path) -> tuple[set[str] | None, list[str]]:
    """Return the part's patients that the bundle was trained on; None, and a sentence, where that is not known."""
    made_by, opened = part.store.about.get("bundle") or {}, Bundle.open(bundle)
    if made_by.get("digest") != opened.digest:
        raise EvaluationError(
            Code.MAPS_INVALID,
            f"these maps were made by another bundle ({made_by.get('name') or 'without a name'}) than "
            f"{opened.root.name}, or by another state of it.",
            fix="Name the bundle that 'cxr-monai explain' was given, or leave --bundle out.",
            where=part.store.folder,
        )
    if not made_by.get("own_weights", True):
        return None, ["These maps are of other weights than the bundle's own: who they were trained on is not known."]
    listed = trained_on(opened.root, part.table["patient_id"])
    if listed is None:
        return None, ["Who the bundle was trained on is not known: no list of its training's patients lies beside it."]
    return listed, []


def _some(part: BoxedCases, rows: pd.Series | np.ndarray, which: str) -> BoxedCases:
    if not np.asarray(rows).any():
        counts = part.table["split"].replace("", "no split").value_counts()
        there = ", ".join(f"{count:,} in {name}" for name, count in counts.items())
        raise EvaluationError(Code.EVALUATION_INVALID, f"there is no boxed case {which}; there are {there}.")
    return part.take(np.asarray(rows))


def _choosing_part(
    part: BoxedCases, aside: BoxedCases | None, manifest: Manifest, choosing: Choosing, seed: int
) -> tuple[BoxedCases, BoxedCases, str, list[str]]:
    """Return the cases to choose on, those to score, what the former are, and what was left out of them.

    Raises:
        EvaluationError: ``patients-shared``, ``maps-invalid``, or ``evaluation-invalid``.
    """
    if choosing.maps is None and aside is None:
        if part.table["patient_id"].nunique() < 2:
            raise EvaluationError(
                Code.EVALUATION_INVALID,
                "map thresholds are chosen on one half of the patients, and there is one patient.",
                fix="Choose them on other images: --choose-on MAPS --choose-boxes B.csv.",
            )
        rows = _half(part, seed)
        return part.take(rows), part.take(~rows), f"one half of the patients, {_counted(part.take(rows))}", []
    notes: list[str] = []
    if aside is not None:
        other, told = aside, f"the split {choosing.split!r}"
    else:
        other, notes = _other_maps(part, manifest, choosing)
        told = f"other maps ({Path(str(choosing.maps)).name})"
    shared = set(part.table["patient_id"]) & set(other.table["patient_id"])
    if shared and not choosing.other_hospital:
        raise EvaluationError(
            Code.PATIENTS_SHARED,
            f"{len(shared):,} of the {counted(part.table['patient_id'].nunique(), 'patient')} "
            "to be scored are patients that map"
            " thresholds would be chosen on.",
            fix="Choose them on others. If these are other people with the same numbers (phantoms, another hospital),"
            " say so with --other-hospital.",
        )
    return other, part, f"{told}, {_counted(other)}", [f"To choose on: {note}" for note in notes]


def _other_maps(part: BoxedCases, manifest: Manifest, choosing: Choosing) -> tuple[BoxedCases, list[str]]:
    if choosing.maps is None or choosing.boxes is None:
        raise EvaluationError(Code.EVALUATION_INVALID, "maps to choose on need their boxes: --choose-boxes B.csv.")
    people = manifest
    if choosing.manifest is not None:
        people = read_manifest(choosing.manifest, check_files=False, match_names=choosing.match_names)
    other, notes = read_boxed_cases(choosing.maps, choosing.boxes, people)
    ours, theirs = method_of(part.store), method_of(other.store)
    if ours != theirs:
        raise EvaluationError(
            Code.MAPS_INVALID,
            f"thresholds chosen on maps by {theirs} are not those of maps by {ours}.",
            fix=f"Explain the images of --choose-on by {ours}.",
            where=choosing.maps,
        )
    return other, notes


def _half(part: BoxedCases, seed: int) -> np.ndarray:
    """Return the cases of one half of the patients, every finding's cases dealt evenly."""
    present = pd.crosstab(part.table["image"], part.table["finding"]).clip(upper=1).astype(float)
    images = part.table.drop_duplicates("image").set_index("image").loc[present.index, ["patient_id"]]
    sides = assign_patients(Manifest(images.join(present).reset_index(), Path(), ""), (0.5, 0.5), seed=seed)
    return part.table["image"].isin(present.index[sides == 0]).to_numpy()


def _counted(part: BoxedCases) -> str:
    return f"{counted(len(part), 'case')} of {counted(part.table['patient_id'].nunique(), 'patient')}"


def track_localisation(experiment: str, out: str | Path, localisation: Localisation, written: Sequence[Path]) -> str:
    """Log a localisation as an MLflow run, without the table of cases, which names patients; return what shows it."""
    configuration = {key: str(entry) for key, entry in localisation.book.items() if entry is not None}
    tracker = MLflowTracker(experiment, str(out), kind="localisation", configuration=configuration)
    tracker.start()
    tracker.metrics(_figures(localisation))
    for path in written:
        if path.name != "cases.csv":
            tracker.file(path, "pictures" if path.suffix == ".png" else None)
    tracker.finish()
    return tracker.where()


def _figures(localisation: Localisation) -> dict[str, float]:
    """Return what runs are compared by: ``pointing_Mass``, ``pointing_Mass_low``, ``pointing_mean_random``, ..."""
    figures = ("pointing", "energy", "iou", "iou_above_0.1", "iobb_above_0.1")
    method = localisation.book["method"]
    return {
        f"{figure}_{row['finding']}{'' if row['map'] == method else '_' + row['map']}{end}": value(row, figure + end)
        for row in records(localisation.scores)
        for figure in figures
        for end in ("", "_low", "_high")
    }
