"""MIMIC-CXR-JPG 2.0.0 and 2.1.0: 377,110 radiographs of 65,379 patients of Beth Israel Deaconess, Boston.

Johnson, Pollard, Berkowitz et al.: MIMIC-CXR, a de-identified publicly available database of chest radiographs with
free-text reports. Scientific Data 6 (2019) 317, doi 10.1038/s41597-019-0322-0; MIMIC-CXR-JPG, arXiv 1901.07042;
PhysioNet, doi 10.13026/jsn5-t979. PhysioNet Credentialed Health Data License 1.5.0 with its course: no sharing, and the
code of publications is to be released.

Read as PhysioNet distributes it, files of release 2.1.0 keeping the name 2.0.0: ``mimic-cxr-2.0.0-metadata.csv.gz``,
``-split``, ``-chexpert``, ``-negbio`` (plain or .gz), ``mimic-cxr-2.1.0-test-set-labeled.csv``, and images as
``files/p10/p10000032/s50414267/<dicom_id>.jpg`` (MIMIC-CXR's own .dcm too), or all in one folder: a ``dicom_id`` is one
image.

Labels are CheXpert's 14 (`_chexpert_labels`) of 227,827 of the 227,835 studies, mined from the reports by CheXpert's
labeller or by NegBio; one radiologist labelled 687 studies of the test part, with ``Airspace Opacity`` for Lung
Opacity. They belong to a study and stand at each of its images. The 8 studies that could not be labelled, and those
whose row is empty (2,414 of CheXpert's), stay unknown under every setting: *study excluded*. Official split, by
patients: train 368,960, validate 2,991, test 5,159 images. Age and sex are not in it (MIMIC-IV has them).

Known errors: about 15,770 films have no ViewPosition; PA, AP and lateral are confused in about one of 1,000; the
procedure's text tells what was ordered, not what was done (22,043 AP films were ordered as "PA AND LAT"), so it never
overrides, and counts only where ViewPosition is empty and it names one view. Turned and inverted films occur. Dates
are shifted by patient.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from cxr_monai.data.columns import find_column, key
from cxr_monai.data.sources import SourceTable
from cxr_monai.data.sources._chexpert_labels import Policies, read_marks, resolve_marks
from cxr_monai.data.sources._files import find_images
from cxr_monai.data.sources._public import resembling_table, wrong_table
from cxr_monai.data.sources._text import refuse_nobody
from cxr_monai.data.sources._trees import TABLE_NAMES, Tree, ask_for, check_found, inside, shown, survey
from cxr_monai.data.tables import read_cells, read_header
from cxr_monai.data.views import AP, LATERAL, PA
from cxr_monai.errors import Code, ManifestError, UsageError
from cxr_monai.plurals import be, counted, have, out_of

_DATASET = "MIMIC-CXR"
_PATIENTS = r"p\d\d"  # the folders of patients whose identifiers begin alike
# labeller: the table of its labels, as a part of its name
_RADIOLOGIST = "test-set-labeled"
MIMIC_LABELLERS = {"chexpert": "chexpert", "negbio": "negbio", "radiologist": _RADIOLOGIST}
_FILES = "files"
_SPLITS = {"train": "train", "validate": "val", "test": "test", "": ""}
_VIEWS = {"PA": PA, "AP": AP, "LATERAL": LATERAL, "LL": LATERAL, "RL": LATERAL}
# words of a procedure that name a view; one that names two, or a decubitus, names none
_ORDERED = {PA: r"\bPA\b", AP: r"\bAP\b", LATERAL: r"\bLAT(?:ERAL)?\b", "": r"\bDECUB|\bOBL|\bLORDOTIC"}
_METADATA = {
    "name": "dicom_id",
    "patient_id": "subject_id",
    "study_id": "study_id",
    "view": "ViewPosition",
    "procedure": "PerformedProcedureStepDescription",
}


def read(
    root: str | Path,
    *,
    images: str | None = None,
    labeller: str = "chexpert",
    uncertain: str | None = None,
    unmentioned: str | None = None,
    available_only: bool = False,
    table_only: bool = False,
) -> SourceTable:
    """Read MIMIC-CXR-JPG's tables and find its images.

    Args:
        root: the folder with the tables and ``files``; the manifest's paths are relative to it.
        images: the folder of the images, relative to ``root``; by default it is found.
        labeller: ``chexpert``, ``negbio``, or ``radiologist``: the 687 studies that a radiologist labelled, alone.
        uncertain: what ``-1`` becomes: ``unknown`` (default), ``positive``, ``negative``, or by finding.
        unmentioned: what an empty cell becomes, in the same words.
        available_only: leave out the images that are not on disk, instead of refusing.
        table_only: look for no files; paths are ``files/p10/p10000032/s50414267/<dicom_id>.jpg``.

    Returns:
        15 findings with unknowns, ``label_version`` ``mimic-chexpert``, ...; the official parts in ``split``.

    Raises:
        ManifestError: ``source-invalid``, ``images-missing`` or ``no-images``.
        UsageError: ``usage`` for a labeller or a policy that is none.
    """
    if labeller not in MIMIC_LABELLERS:
        raise UsageError(Code.USAGE, f"--labeller {labeller}: MIMIC-CXR-JPG has {', '.join(MIMIC_LABELLERS)}.")
    root = Path(os.path.abspath(root))
    policies = Policies.parse(uncertain, unmentioned)
    tree = survey(root, _PATIENTS)
    films = _read_films(root, tree)
    notes = []
    path = _find_table(root, tree, MIMIC_LABELLERS[labeller])
    marks = _read_study_marks(path, films)
    if labeller == "radiologist":
        total = len(films)
        films = films[films["study_id"].isin(marks.index)].reset_index(drop=True)
        notes.append(f"a radiologist labelled {out_of(len(films), total, 'image')}; the others are left out")
    if not table_only:
        places, place_notes = _find_files(films["image"], root, tree, images, path, available_only)
        films = films.loc[places.index].assign(image=places).reset_index(drop=True)
        notes += place_notes
    labels, record, label_notes = resolve_marks(
        marks.reindex(films["study_id"]).reset_index(drop=True),
        policies,
        f"mimic {'2.1.0' if tree.named(_table_pattern(_RADIOLOGIST)) else '2.0.0'}",
        {"labeller": labeller},
    )
    views, view_notes = _views(films["view"], films.pop("procedure"))
    notes += view_notes
    if outside := int((films["split"] == "").sum()):
        notes.append(f"{counted(outside, 'image')} {be(outside)} in no part of the official split")
    notes += ["labels are a study's, and stand at each of its images", *label_notes]
    frame = pd.concat([films.assign(view=views), labels], axis=1)
    return SourceTable(frame, root, f"mimic-{labeller}", tuple(notes), key="name", labels_record=record)


def _table_pattern(kind: str) -> str:
    return rf"mimic-cxr-[\d.]+-{kind}\.csv(\.gz)?"


def _find_table(root: Path, tree: Tree, kind: str) -> Path:
    """Return the table of a kind.

    Raises:
        ManifestError: ``source-invalid`` if it is not there, saying what another table there looks like.
    """
    tables = tree.named(_table_pattern(kind))
    if tables:
        return tables[0]
    version = "2.1.0" if kind == _RADIOLOGIST else "2.0.0"
    raise ManifestError(
        Code.SOURCE_INVALID,
        f"no mimic-cxr-{version}-{kind}.csv is here, plain or .gz"
        f"{resembling_table(root, tree.named(TABLE_NAMES), _DATASET)}.",
        fix="Give the folder of MIMIC-CXR-JPG with its tables as ROOT.",
        where=root,
    )


def _read_films(root: Path, tree: Tree) -> pd.DataFrame:
    """Return the manifest's columns but the findings, and ``procedure``; image (a path) and view are MIMIC's own."""
    path = _find_table(root, tree, "metadata")
    cells = _read_columns(path, _METADATA)
    refuse_nobody(cells["patient_id"], _METADATA["patient_id"], path)
    _refuse_repeats(cells["name"], path)
    patients, studies = cells["patient_id"], cells["study_id"]
    folders = "p" + patients.str[:2] + "/p" + patients + "/s" + studies
    return pd.DataFrame(
        {
            "image": f"{_FILES}/" + folders + "/" + cells["name"] + ".jpg",
            "patient_id": patients,
            "study_id": studies,
            "view": cells["view"],
            "procedure": cells["procedure"],
            "source": "mimic",
            "split": _read_split(_find_table(root, tree, "split"), cells["name"]),
        }
    ).reset_index(drop=True)


def _read_columns(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return columns as stripped text under their keys, indexed by line."""
    names = read_header(path)
    present = {name: find_column(names, (key(column),)) for name, column in columns.items()}
    lacking = [repr(columns[name]) for name, column in present.items() if column is None]
    if lacking:
        raise wrong_table(path, names, f"it lacks {', '.join(lacking)}", _DATASET)
    wide = {present[name] for name in ("name", "patient_id", "study_id") if name in present}
    cells = read_cells(path, types=lambda name: "str" if name in wide else "category")
    if cells.empty:
        raise ManifestError(Code.SOURCE_INVALID, "the table has a header and no row.", where=path)
    return pd.DataFrame({name: cells[column].astype("str").str.strip() for name, column in present.items()})


def _refuse_repeats(names: pd.Series, path: Path) -> None:
    twice = names.duplicated()
    if twice.any():
        line = twice.index[twice][0]
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"{names[line]!r} has several rows ({counted(int(twice.sum()), 'row')} too many).",
            where=f"{path}, line {line}",
        )


def _read_split(path: Path, names: pd.Series) -> pd.Series:
    """Return the official part of each image, ``""`` for those that have none."""
    cells = _read_columns(path, {"name": "dicom_id", "split": "split"})
    _refuse_repeats(cells["name"], path)
    strange = ~cells["split"].isin(list(_SPLITS))
    if strange.any():
        line = strange.index[strange][0]
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"split is {cells['split'][line]!r}, and is train, validate or test.",
            where=f"{path}, line {line}",
        )
    return names.map(cells.set_index("name")["split"].map(_SPLITS)).fillna("")


def _views(positions: pd.Series, procedures: pd.Series) -> tuple[pd.Series, list[str]]:
    """Return PA, AP, LATERAL or ``""``, and notes.

    Args:
        positions: ViewPosition.
        procedures: what was ordered; it counts where ViewPosition is empty and it names one view.
    """
    words = positions.str.upper()
    views = words.map(_VIEWS).fillna("")
    blank = words == ""
    ordered = procedures[blank].map({text: _ordered_view(text) for text in procedures[blank].unique()})
    views = views.mask(blank, ordered.reindex(views.index).fillna(""))
    notes = []
    if blank.any():
        number, named = int(blank.sum()), int((ordered != "").sum())
        notes.append(
            f"{counted(number, 'image')} {have(number)} no ViewPosition: the procedure tells the view of {named:,}, "
            f"that of {number - named:,} is unknown"
        )
    odd = words[~blank & (views == "")]
    if not odd.empty:
        counts = ", ".join(f"{word} {number:,}" for word, number in odd.value_counts().items())
        notes.append(
            f"{counted(len(odd), 'image')} {be(len(odd))} neither PA, AP nor lateral ({counts}): of unknown view"
        )
    return views.astype("str"), notes


def _ordered_view(procedure: str) -> str:
    """Return the one view that a procedure's text names; ``""`` for none or several.

    >>> _ordered_view("CHEST (PORTABLE AP)"), _ordered_view("CHEST (PA AND LAT)")
    ('AP', '')
    """
    named = [view for view, pattern in _ORDERED.items() if re.search(pattern, procedure, re.IGNORECASE)]
    return named[0] if len(named) == 1 else ""


def _read_study_marks(path: Path, films: pd.DataFrame) -> pd.DataFrame:
    """Return the 14 labels by ``study_id``; a study of another patient than the metadata's is refused."""
    names = read_header(path)
    study, patient = find_column(names, ("studyid",)), find_column(names, ("subjectid",))
    if study is None:
        raise wrong_table(path, names, "it lacks 'study_id'", _DATASET)
    cells = read_cells(path, types=lambda name: "str" if name in (study, patient) else "category")
    marks = read_marks(cells, path, _DATASET)
    studies = cells[study].str.strip()
    _refuse_repeats(studies, path)
    if patient is not None:
        patients = studies.map(films.drop_duplicates("study_id").set_index("study_id")["patient_id"])
        other = patients.notna() & (patients != cells[patient].str.strip())
        if other.any():
            line = other.index[other][0]
            raise ManifestError(
                Code.SOURCE_INVALID,
                f"study {studies[line]} is of patient {cells[patient][line]}, and of {patients[line]} in the metadata.",
                fix="Give tables of one release.",
                where=f"{path}, line {line}",
            )
    if not films["study_id"].isin(studies).any():
        raise ManifestError(Code.SOURCE_INVALID, "it has no study of the metadata.", where=path)
    return marks.set_axis(studies.to_numpy(), axis=0)


def _find_files(
    names: pd.Series, root: Path, tree: Tree, images: str | None, path: Path, available_only: bool
) -> tuple[pd.Series, list[str]]:
    """Return the paths of the images that are kept, and notes: in MIMIC's own tree, else by their names anywhere."""
    if not tree.holders and images is None:
        return find_images(names, root, path, available_only, by_name=True)
    holders = inside(root, images, tree.holders)
    places = ask_for(names.str.slice(len(f"{_FILES}/")), root, holders)
    return places.dropna(), check_found(places, names, root, [shown(root, holders)], available_only)
