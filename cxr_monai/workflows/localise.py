"""Maps against the boxes of radiologists: files in; tables, pictures of cases, a page and an MLflow run out.

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
from cxr_monai.attribution.localisation_scoring import LocalisationOptions, localise
from cxr_monai.attribution.localisation_sheet import write_case_sheet
from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.data.manifest import Manifest, read_manifest
from cxr_monai.data.splits import assign_patients
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.metric_names import metric_values
from cxr_monai.evaluation.patients import patient_remarks, patients_trained_on
from cxr_monai.outputs import result_folder
from cxr_monai.plurals import be, counted
from cxr_monai.report.pages.localisation_page import write_localisation_page
from cxr_monai.training.tracking import track_results

_FILES = ("localisation.csv", "gains.csv", "cases.csv", "cases.png", "localisation.html")  # beside `LOCALISATION`


@dataclass(frozen=True)
class Choosing:
    """The cases that map thresholds and the centre map come from; one half of the patients where nothing is set.

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
        manifest: patients and split; the image files are needed for the pictures of cases alone.
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
    choosing, options = choosing or Choosing(), options or LocalisationOptions()
    with result_folder(out, LOCALISATION, force, _FILES) as folder:
        table = read_manifest(manifest, check_files=False, match_names=match_names)
        cases, notes = read_boxed_cases(maps, boxes, table)
        chosen_on, cases, source, more_notes = _sides(cases, table, choosing, options, bundle)
        remarks = (*notes, *more_notes, *patient_remarks(table))
        localisation = localise(chosen_on, cases, options, remarks, source)
        provenance = {
            **localisation.provenance,
            "manifest": Path(manifest).name,
            "boxes": Path(boxes).name,
            "label_version": table.label_version,
            "date": time.strftime("%Y-%m-%d"),
            "version": importlib.metadata.version("cxr-monai"),
        }
        localisation = replace(localisation, provenance=provenance)
        pictures = [path] if (path := write_case_sheet(localisation, cases, table.root, folder)) else []
        if not pictures:
            note = "There is no sheet of cases: the image files are not where the manifest says."
            localisation = replace(localisation, notes=(*localisation.notes, note))
        paths = [*write_localisation(localisation, folder), *pictures]
        paths.append(write_localisation_page(localisation, folder))
    return localisation, [Path(out) / path.relative_to(folder) for path in paths]


def _sides(
    cases: BoxedCases, manifest: Manifest, choosing: Choosing, options: LocalisationOptions, bundle: str | Path | None
) -> tuple[BoxedCases, BoxedCases, str, list[str]]:
    """Return the cases to choose map thresholds on, those to score, a description of the former, and remarks.

    Raises:
        EvaluationError: ``images-seen``, ``patients-shared``, ``maps-invalid``, ``evaluation-invalid``.
    """
    aside = None
    if choosing.split is not None:
        aside = _select(cases, cases.table["split"] == choosing.split, f"in the split {choosing.split!r}, to choose on")
        cases = _select(cases, cases.table["split"] != choosing.split, f"outside the split {choosing.split!r}")
    if options.findings:
        absent = [name for name in options.findings if name not in cases.store.findings]
        if absent:
            raise EvaluationError(
                Code.MAPS_INVALID,
                f"there are no maps of {', '.join(absent)}, only of {', '.join(cases.store.findings)}.",
                where=cases.store.folder,
            )
        cases = _select(cases, cases.table["finding"].isin(options.findings), f"of {', '.join(options.findings)}")
    cases, notes = _without_training_patients(cases, options, bundle)
    if aside is not None:
        chosen_on, source = aside, f"the split {choosing.split!r}"
    elif choosing.maps is not None:
        chosen_on, others = _other_maps(cases, manifest, choosing)
        source = f"other maps ({Path(choosing.maps).name})"
        notes += [f"To choose on: {note}" for note in others]
    else:
        rows = _half(cases, options.intervals.seed)
        chosen_on, cases, source = cases.take(rows), cases.take(~rows), "one half of the patients"
    patients = set(cases.table["patient_id"])
    shared = patients & set(chosen_on.table["patient_id"])
    if shared and not choosing.other_hospital:
        raise EvaluationError(
            Code.PATIENTS_SHARED,
            f"{len(shared):,} of the {counted(len(patients), 'patient')} to be scored are patients that map thresholds"
            " would be chosen on.",
            fix="Choose them on others. If these are other people with the same numbers (phantoms, another hospital),"
            " say so with --other-hospital.",
        )
    people = counted(chosen_on.table["patient_id"].nunique(), "patient")
    return chosen_on, cases, f"{source}, {counted(len(chosen_on), 'case')} of {people}", notes


def _without_training_patients(
    cases: BoxedCases, options: LocalisationOptions, bundle: str | Path | None
) -> tuple[BoxedCases, list[str]]:
    """Return the cases that the model was not trained on, as far as that is known, and remarks.

    Without a bundle the manifest's split is all that is known.

    Raises:
        EvaluationError: ``images-seen``, with counts; ``maps-invalid`` if the bundle did not make the maps;
            ``calibration-invalid`` if the list beside it is damaged; ``evaluation-invalid`` if nothing is left.
        BundleError: if ``bundle`` is none.
    """
    trained, notes = (None, []) if bundle is None else _training_patients(cases, bundle)
    if options.split is not None:
        cases = _select(cases, cases.table["split"] == options.split, f"in the split {options.split!r}")
    table = cases.table
    reasons = {
        "in the manifest's training part": (table["split"] == "train").to_numpy(),
        "of patients that the bundle was trained on": table["patient_id"].isin(trained or ()).to_numpy(),
    }
    in_training = np.any(list(reasons.values()), axis=0)
    if in_training.any():
        images, patients = table.loc[in_training, "image"].nunique(), table.loc[in_training, "patient_id"].nunique()
        sentence = (
            f"{images:,} of the {counted(table['image'].nunique(), 'boxed image')} ({patients:,} of "
            f"{counted(table['patient_id'].nunique(), 'patient')}) are "
            + " or ".join(reason for reason, rows in reasons.items() if rows.any())
        )
        if options.seen == "refuse":
            raise EvaluationError(
                Code.IMAGES_SEEN,
                f"{sentence}: a model points better at what it was trained on.",
                fix="Score other patients with --split test, or leave these out with --seen skip; --seen allow scores"
                " them all the same and says so.",
            )
        if options.seen == "skip":
            notes.append(f"{sentence}, and left out.")
            cases = _select(cases, ~in_training, "that the model was not trained on")
        else:
            notes.append(f"{sentence}: what the model was trained on, it points at better than it would elsewhere.")
    splits = set(cases.table["split"])
    if splits == {""} and trained is None:
        notes.append("The manifest has no split of these images: whether the model was trained on them is not known.")
    elif "val" in splits:
        patients = cases.table.loc[cases.table["split"] == "val", "patient_id"].nunique()
        notes.append(
            f"{counted(patients, 'patient')} {be(patients)} of the validation part, on which the model's epoch was"
            " chosen."
        )
    return cases, notes


def _training_patients(cases: BoxedCases, bundle: str | Path) -> tuple[set[str] | None, list[str]]:
    """Return the cases' patients that the bundle was trained on; None, and a sentence, where that is not known."""
    maker, opened = cases.store.about.get("bundle") or {}, Bundle.open(bundle)
    if maker.get("digest") != opened.digest:
        raise EvaluationError(
            Code.MAPS_INVALID,
            f"these maps were made by another bundle ({maker.get('name') or 'without a name'}) than "
            f"{opened.root.name}, or by another state of it.",
            fix="Name the bundle that 'cxr-monai explain' was given, or leave --bundle out.",
            where=cases.store.folder,
        )
    if not maker.get("own_weights", True):
        return None, ["These maps are of other weights than the bundle's own: who they were trained on is not known."]
    patients = patients_trained_on(opened.root, cases.table["patient_id"])
    if patients is None:
        return None, ["Who the bundle was trained on is not known: no list of its training's patients lies beside it."]
    return patients, []


def _select(cases: BoxedCases, rows: pd.Series | np.ndarray, description: str) -> BoxedCases:
    """Return the cases of a boolean mask; an error names what there is instead if it selects none."""
    if not np.asarray(rows).any():
        counts = cases.table["split"].replace("", "no split").value_counts()
        parts = ", ".join(f"{count:,} in {name}" for name, count in counts.items())
        raise EvaluationError(Code.EVALUATION_INVALID, f"there is no boxed case {description}; there are {parts}.")
    return cases.take(np.asarray(rows))


def _other_maps(cases: BoxedCases, manifest: Manifest, choosing: Choosing) -> tuple[BoxedCases, list[str]]:
    """Return the cases of another store of maps, and remarks on those that were left out."""
    if choosing.maps is None or choosing.boxes is None:
        raise EvaluationError(Code.EVALUATION_INVALID, "maps to choose on need their boxes: --choose-boxes B.csv.")
    if choosing.manifest is not None:
        manifest = read_manifest(choosing.manifest, check_files=False, match_names=choosing.match_names)
    other_cases, notes = read_boxed_cases(choosing.maps, choosing.boxes, manifest)
    method, other_method = cases.store.method, other_cases.store.method
    if method != other_method:
        raise EvaluationError(
            Code.MAPS_INVALID,
            f"thresholds chosen on maps by {other_method} are not those of maps by {method}.",
            fix=f"Explain the images of --choose-on by {method}.",
            where=choosing.maps,
        )
    return other_cases, notes


def _half(cases: BoxedCases, seed: int) -> np.ndarray:
    """Return a mask of the cases of one half of the patients, every finding's cases dealt evenly."""
    if cases.table["patient_id"].nunique() < 2:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            "map thresholds are chosen on one half of the patients, and there is one patient.",
            fix="Choose them on other images: --choose-on MAPS --choose-boxes B.csv.",
        )
    present = pd.crosstab(cases.table["image"], cases.table["finding"]).clip(upper=1).astype(float)
    images = cases.table.drop_duplicates("image").set_index("image").loc[present.index, ["patient_id"]]
    halves = assign_patients(Manifest(images.join(present).reset_index(), Path(), ""), (0.5, 0.5), seed=seed)
    return cases.table["image"].isin(present.index[halves == 0]).to_numpy()


def track_localisation(experiment: str, out: str | Path, localisation: Localisation, paths: Sequence[Path]) -> str:
    """Log a localisation as an MLflow run, without the table of cases, which names patients.

    Args:
        experiment: MLflow's.
        out: the folder of the result.
        localisation: its tables.
        paths: files to log.

    Returns:
        link to the run, or the command that shows it.
    """
    figures = ("pointing", "energy", "iou", "iou_above_0.1", "iobb_above_0.1")
    method, table = localisation.provenance["method"], localisation.scores
    # pointing_Mass of the maps, pointing_Mass_random and pointing_Mass_centre of the controls
    labels = table["finding"] + np.where(table["map"] == method, "", "_" + table["map"].astype(str))
    metrics = metric_values(table.assign(label=labels), "label", figures)
    return track_results("localisation", experiment, out, localisation.provenance, metrics, paths)
