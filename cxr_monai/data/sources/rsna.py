"""RSNA Pneumonia Detection Challenge 2018: 26,684 radiographs in training, opacities boxed by radiologists.

Shih et al.: Augmenting the National Institutes of Health Chest Radiograph Dataset with Expert Annotations of Possible
Pneumonia. Radiology: Artificial Intelligence 1 (2019), doi 10.1148/ryai.2019180041. From rsna.org, which allows
"academic research and education, and other commercial or non-commercial purposes" with attribution (and Wang et al.
2017 for the films), or from Kaggle, whose copy keeps Kaggle's rules.

Read as people have it: Kaggle's ``stage_2_train_labels.csv`` (a row a box), ``stage_2_detailed_class_info.csv`` and
``stage_2_train_images/<patientId>.dcm``; or RSNA's own folders of studies with its adjudicated JSON. Tables are told by
their columns, images found by their names. What a class means: `cxr_monai.data.sources._rsna_readings`.

Every film is one of NIH ChestX-ray14's, and ``patientId`` is a **film**, not a patient: the 26,684 are of some 11,400
patients, and a split by it leaks. NIH's table and RSNA's mapping tell who they are. To use NIH's lists, its images and
its other labels, lay these labels over NIH's images instead: ``cxr-monai manifest nih --reference rsna``.

There is no official split of the labelled films. Known errors: five ages of 148 to 155 years, as in NIH's table of
2017, are emptied; the table of classes repeats a row for each box; the view alone predicts an opacity with an AUROC of
0.71, since 4,664 of the 6,012 films with one are AP.
"""

import os
from pathlib import Path

import pandas as pd

from cxr_monai.data.sources import SourceTable
from cxr_monai.data.sources._files import find_images
from cxr_monai.data.sources._headers import read_image_headers, scale_boxes
from cxr_monai.data.sources._kinds_of_tables import (
    RSNA_ANNOTATIONS,
    RSNA_BOXES,
    RSNA_CLASSES,
    RSNA_HEADERS,
    KnownTable,
    known_in,
)
from cxr_monai.data.sources._nih_films import FilmOwners, describe_films
from cxr_monai.data.sources._public import resembling_table, tables_near
from cxr_monai.data.sources._rsna_readings import (
    LABEL_VERSION,
    OPACITY,
    has_truth,
    opacity_labels,
    opacity_record,
    read_readings,
)
from cxr_monai.errors import Code, ManifestError

_IMAGES = "stage_2_train_images"


def read(
    root: str | Path,
    *,
    nih_table: Path | None = None,
    mapping: Path | None = None,
    patient_per_image: bool = False,
    available_only: bool = False,
    table_only: bool = False,
) -> SourceTable:
    """Read the tables in ``root`` and find the images.

    Args:
        root: the folder of the data set: tables in it, images in it or in its folders.
        nih_table: NIH's ``Data_Entry_2017*.csv``: its patients (and age, sex and view where the headers lack them);
            films that it does not tell are left out.
        mapping: RSNA's JSON of NIH's names, for ``nih_table``.
        patient_per_image: your word that every film is of another patient, which RSNA's are not.
        available_only: leave out the films that are not on disk, instead of refusing.
        table_only: look for no files; paths become ``stage_2_train_images/<patientId>.dcm``, and boxes stay in pixels
            of 1024x1024.

    Returns:
        the composite ``Pneumonia-like Opacity`` and the 14 findings (0 or unknown), and its boxes; ``label_version``
        ``rsna-2018``; patients unknown unless told.

    Raises:
        ManifestError: ``source-invalid``, ``images-missing`` or ``no-images``.
        UsageError: ``usage`` for one of ``nih_table`` and ``mapping`` without the other.
    """
    root = Path(os.path.abspath(root))
    owners = FilmOwners(nih_table, mapping, patient_per_image)
    known = known_in(root, "rsna")
    tables = _choose(known, root)
    readings = read_readings(tables)
    films = readings.classes.index
    images = pd.Series(f"{_IMAGES}/" + films + ".dcm", index=films, dtype="str")
    notes = [*readings.notes]
    if not table_only:
        images, place_notes = find_images(images, root, tables[0].path, available_only, by_name=True)
        notes += place_notes
    fields = _fields(known, images, None if table_only else root)
    frame, film_notes = describe_films(images.index, fields, owners, "rsna")
    labels = opacity_labels(readings.classes[frame.index])
    images = images[frame.index]
    boxes = readings.boxes.assign(image=readings.boxes["film"].map(images), finding=OPACITY)
    table = pd.concat([frame.assign(image=images), labels], axis=1).reset_index(drop=True)
    return SourceTable(
        table,
        root,
        LABEL_VERSION,
        (*notes, *film_notes),
        scale_boxes(boxes[boxes["image"].notna()], None if table_only else root),
        key="name",
        patients=owners.patients,
        labels_record=opacity_record("rsna", labels),
    )


def _choose(known: list[KnownTable], root: Path) -> list[KnownTable]:
    """Return the tables of labels: Kaggle's, else RSNA's adjudicated JSON; two of a kind are refused."""
    kaggle = [table for table in known if table.kind in (RSNA_BOXES, RSNA_CLASSES)]
    tables = kaggle or [table for table in known if table.kind is RSNA_ANNOTATIONS and has_truth(table)]
    if not tables:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"no table of RSNA's labels is here; looked for {RSNA_BOXES.title}, {RSNA_CLASSES.title} and "
            f"{RSNA_ANNOTATIONS.title}, told by their columns"
            f"{resembling_table(root, tables_near(root), 'RSNA Pneumonia')}.",
            fix="Put them into this folder: they are beside the images on Kaggle, and on RSNA's page.",
            where=root,
        )
    for kind in {table.kind for table in tables}:
        twice = [table.path.name for table in tables if table.kind is kind]
        if len(twice) > 1:
            raise ManifestError(
                Code.SOURCE_INVALID,
                f"{' and '.join(twice)} are both {kind.title}.",
                fix="Leave one in this folder.",
                where=root,
            )
    return tables


def _fields(known: list[KnownTable], images: pd.Series, root: Path | None) -> pd.DataFrame:
    """Return ``view, age, sex`` by film: of a table of DICOM headers where one is there, else of the files."""
    columns = {"viewposition": "view", "patientage": "age", "patientsex": "sex"}
    headers = next((table for table in known if table.kind is RSNA_HEADERS), None)
    if headers is not None:
        cells = headers.cells.drop_duplicates("patientid").set_index("patientid")
        return cells[list(columns)].rename(columns=columns)
    if root is None:
        return pd.DataFrame("", index=images.index, columns=list(columns.values()))
    return read_image_headers(images, root)[list(columns.values())].set_axis(images.index, axis=0)
