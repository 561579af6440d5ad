"""A hospital's own images and its CSV of labels.

    image,patient_id,age,sex,Cardiomegaly,Effusion
    2021/a.png,17,58,F,1,0
    2021/b.png,17,58,F,,1

One row an image: its path below ROOT, or its file name where that is unique, with or without the ending
(`cxr_monai.data.matching` has the rule: folders that differ are another file). Columns are found by common names
("Patient ID", "patient_id", "PatientID"); columns of known findings (`cxr_monai.data.vocabulary`) are findings, others
where they are named. Without a patient column, or CheXpert's paths, nothing can keep a patient on one side of a split,
so the user must confirm that (``patient_per_image``).
"""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cxr_monai.data.columns import AGE, IMAGE, PATIENT, SEX, STUDY, VIEW, find_column
from cxr_monai.data.sources import SourceTable
from cxr_monai.data.sources._files import find_images
from cxr_monai.data.sources._labels import read_findings
from cxr_monai.data.sources._paths import fields_of_paths
from cxr_monai.data.sources._phantoms import as_phantoms
from cxr_monai.data.sources._text import (
    emptied_notes,
    parse_ages,
    parse_sexes,
    read_table,
    refuse_nobody,
    require_column,
)
from cxr_monai.data.vocabulary import is_known
from cxr_monai.errors import Code, ManifestError
from cxr_monai.plurals import counted

_IGNORED = ("split", "fold", "source")  # the manifest's own; 'cxr-monai split' writes them


def read(
    root: str | Path,
    *,
    labels: Path,
    image_column: str | None = None,
    patient_column: str | None = None,
    patient_per_image: bool = False,
    findings: Sequence[str] | None = None,
    uncertain: str | None = None,
    available_only: bool = False,
    match_names: bool = False,
    positive: str | None = None,
    negative: str | None = None,
) -> SourceTable:
    """Read a table of labels and find its images below ``root``.

    Args:
        root: the folder of the images, searched with all its folders.
        labels: the CSV (comma, semicolon or tab; UTF-8; .gz allowed).
        image_column: the column of paths or file names, if it is not found by its name.
        patient_column: the column of patient identifiers, if it is not found by its name.
        patient_per_image: take each image for another patient (only if that is so).
        findings: the columns that are findings, instead of all of known names.
        uncertain: what ``-1`` means: ``unknown``, ``positive`` or ``negative``.
        available_only: leave out the rows whose image is not there, instead of refusing.
        positive, negative: words in the findings' cells for present and absent, with commas between.
        match_names: file names are identities: take the file of a name even where the folders differ.

    Returns:
        The table, ``label_version`` ``local``; ``study_id``, ``view``, ``age``, ``sex`` empty where no column has them.

    Raises:
        ManifestError: ``source-invalid``, ``images-missing`` or ``no-images``.
    """
    root = Path(os.path.abspath(root))
    table = read_table(labels)
    image = _image_column(table, image_column, labels)
    notes: list[str] = []
    if patient_column is None and find_column(table.columns, PATIENT) is None:
        table, notes = _with_fields_of_paths(table, image, patient_per_image)
    patient = _patient_column(table, patient_column, patient_per_image, labels)
    if not notes or patient is None:
        note = (
            f"took {image!r} as the image, {patient!r} as the patient" if patient else "each image is its own patient"
        )
        notes.insert(0, note)
    places, place_notes = find_images(table[image], root, labels, available_only, match_names)
    table = table.loc[places.index]
    if patient is not None:
        refuse_nobody(table[patient], patient, labels)
    _refuse_several_rows(table, image, places, labels)
    frame, used, emptied = _subjects(table, places, patient)
    columns = [name for name in table.columns if name not in (image, *used) and name.lower() not in _IGNORED]
    marks, label_notes = read_findings(
        table, columns, labels, findings=findings, uncertain=uncertain, positive=positive, negative=negative
    )
    notes += [*place_notes, *emptied, *label_notes]
    return as_phantoms(
        SourceTable(pd.concat([frame, marks], axis=1).reset_index(drop=True), root, "local", tuple(notes))
    )


def _subjects(
    table: pd.DataFrame, places: pd.Series, patient: str | None
) -> tuple[pd.DataFrame, set[str | None], list[str]]:
    """Return the manifest's columns but the findings, the table's columns that they come from, and notes."""
    frame = pd.DataFrame({"image": places, "patient_id": places if patient is None else table[patient]})
    study, view, age, sex = (find_column(table.columns, names) for names in (STUDY, VIEW, AGE, SEX))
    frame["study_id"] = table[study] if study else ""
    frame["view"] = table[view].str.upper() if view else ""
    if side := None if view else find_column(table.columns, ("frontallateral",)):
        view = find_column(table.columns, ("appa",))
        # CheXpert: AP or PA of frontal images, in a column of its own
        frontal = table[view].str.upper() if view else ""
        frame["view"] = table[side].str.upper().mask(table[side].str.upper() == "FRONTAL", frontal)
    frame["age"], bad_ages = parse_ages(table[age]) if age else (float("nan"), 0)
    frame["sex"], bad_sexes = parse_sexes(table[sex]) if sex else ("", 0)
    frame["source"] = "folder"
    return frame, {patient, study, view, side, age, sex}, emptied_notes(bad_ages, bad_sexes)


def _image_column(table: pd.DataFrame, image_column: str | None, labels: Path) -> str:
    if image_column is not None:
        return require_column(table, image_column, "--image-column", labels)
    column = find_column(table.columns, IMAGE)
    if column is None:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"no column names the image; the columns are {', '.join(map(repr, table.columns))}.",
            fix="Name it with --image-column COLUMN.",
            where=labels,
        )
    return column


def _refuse_several_rows(table: pd.DataFrame, image: str, places: pd.Series, labels: Path) -> None:
    """Refuse two rows of one image, and name the column that distinguishes them, such as a reader's."""
    if not places.duplicated().any():
        return
    name = places[places.duplicated()].iloc[0]
    rows = table.loc[places.index[places == name]]
    columns = [column for column in table.columns if column != image and rows[column].is_unique]
    columns.sort(key=is_known)  # stable: a reader before a finding that readers differ in
    apart = f", told apart by {columns[0]!r}" if columns else ""
    raise ManifestError(
        Code.SOURCE_INVALID,
        f"{name!r} has {counted(len(rows), 'row')} (lines {', '.join(map(str, rows.index))}){apart}; "
        "an image has one row here.",
        fix="Combine them first, for example to what most readers say of each finding.",
        where=labels,
    )


def _with_fields_of_paths(table: pd.DataFrame, image: str, per_image: bool) -> tuple[pd.DataFrame, list[str]]:
    """Add the patient, and study and view where no column has them, where all paths are CheXpert's; with notes."""
    fields = fields_of_paths(table[image])
    patients = int(fields["patient_id"].nunique())
    if (fields["patient_id"] == "").any():
        return table, []
    shown = f"{table[image].iloc[0]} is of {fields['patient_id'].iloc[0]}"
    if per_image:
        if patients == len(table):
            return table, []
        reason = f"the paths name {counted(patients, 'patient')} for {counted(len(table), 'image')} ({shown})"
        return table, [f"{reason}: without --patient-per-image they are taken"]
    lacking = {
        "patient_id": True,
        "study_id": find_column(table.columns, STUDY) is None,
        "view": find_column(table.columns, (*VIEW, "frontallateral")) is None,
    }
    names = [name for name, is_lacking in lacking.items() if is_lacking]
    *first, last = [name.removesuffix("_id") for name in names]
    words = f"{', '.join(first)} and {last}" if first else last
    return table.assign(**{name: fields[name] for name in names}), [
        f"no column says whose image it is; took the {words} from {image!r}, whose paths are CheXpert's ({shown})"
    ]


def _patient_column(table: pd.DataFrame, patient_column: str | None, per_image: bool, labels: Path) -> str | None:
    if patient_column is not None:
        return require_column(table, patient_column, "--patient-column", labels)
    if per_image:
        return None
    column = find_column(table.columns, PATIENT)
    if column is None:
        raise ManifestError(
            Code.SOURCE_INVALID,
            "no column says whose image it is, and not every path does as CheXpert's; the columns are "
            f"{', '.join(map(repr, table.columns))}. Without it, a patient's images would land on both sides of a "
            "split.",
            fix="Name it with --patient-column COLUMN; if every image is of another patient, say --patient-per-image.",
            where=labels,
        )
    return column
