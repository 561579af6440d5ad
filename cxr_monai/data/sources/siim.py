"""SIIM-ACR Pneumothorax Segmentation 2019: 12,047 radiographs, each pneumothorax outlined by radiologists.

Filice et al.: Crowdsourcing pneumothorax annotations using machine learning annotations on the NIH chest X-ray dataset.
Journal of Digital Imaging 33 (2020), doi 10.1007/s10278-019-00299-9. From Kaggle
(siim-acr-pneumothorax-segmentation), under its rules of the competition.

Read as people have it: ``train-rle.csv`` (10,675 images; its second column is called `` EncodedPixels``, with a blank)
and ``dicom-images-train/<study>/<series>/<ImageId>.dcm``, or ``stage_2_train.csv`` (12,954 rows of 12,047 images) and
``stage_2_images/<ImageId>.dcm``. A cell is ``-1`` for no pneumothorax, else the run-lengths of **one region**: an image
has a row for each of its regions, up to ten, and its mask is the union of all (`cxr_monai.data.run_lengths`). A reader
of the table that takes the rows for images counts 624 of them several times, and keeps one region of each.

The one finding is Pneumothorax, known for every image. Every film is one of NIH ChestX-ray14's, under a new name, and
the set tells no patients: they are unknown unless NIH's table and a mapping tell. There is no official split of the
labelled films. Known errors: wrong outlines and doubled films, reported in the challenge's forum.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.data.label_record import LabelRecord
from cxr_monai.data.run_lengths import box_of_run_lengths
from cxr_monai.data.sources import SourceTable
from cxr_monai.data.sources._files import find_images
from cxr_monai.data.sources._headers import BOX_SIDE, read_image_headers, scale_boxes
from cxr_monai.data.sources._nih_films import FilmOwners, describe_films
from cxr_monai.data.sources._public import find_table, read_columns
from cxr_monai.errors import Code, ManifestError
from cxr_monai.plurals import counted

SIIM_NAME = "SIIM-ACR Pneumothorax"
_TABLES = ("stage_2_train.csv", "train-rle.csv")
_IMAGES = "stage_2_images"
_FINDING = "Pneumothorax"
_NONE = "-1"
_FIELDS = ["view", "age", "sex"]


def read(
    root: str | Path,
    *,
    table: Path | None = None,
    nih_table: Path | None = None,
    mapping: Path | None = None,
    patient_per_image: bool = False,
    available_only: bool = False,
    table_only: bool = False,
) -> SourceTable:
    """Read the table of run-lengths and find the images.

    Args:
        root: the folder of the data set, searched with all its folders.
        table: another table than ``stage_2_train.csv``, else ``train-rle.csv``, in ``root``.
        nih_table: NIH's ``Data_Entry_2017*.csv``: its patients; films that it does not tell are left out.
        mapping: NIH's names by SOPInstanceUID, for ``nih_table``: a table with the columns ``SOPInstanceUID, img_id``.
            None is published for this set. RSNA's JSON is read too; whether its identifiers are SIIM-ACR's for films
            that both sets have is not verified: the counts of films left out tell.
        patient_per_image: your word that every film is of another patient, which SIIM-ACR's are not.
        available_only: leave out the films that are not on disk, instead of refusing.
        table_only: look for no files; paths become ``stage_2_images/<ImageId>.dcm``, and boxes stay in pixels of
            1024x1024.

    Returns:
        the finding Pneumothorax, a box around each region, ``label_version`` ``siim-2019``; patients unknown unless
        told.

    Raises:
        ManifestError: ``source-invalid``, ``images-missing`` or ``no-images``.
        UsageError: ``usage`` for one of ``nih_table`` and ``mapping`` without the other.
    """
    root = Path(os.path.abspath(root))
    owners = FilmOwners(nih_table, mapping, patient_per_image)
    path, notes = find_table(root, table, _TABLES, SIIM_NAME)
    present, regions = read_regions(path)
    films = present.index
    images = pd.Series(f"{_IMAGES}/" + films + ".dcm", index=films, dtype="str")
    fields = pd.DataFrame("", index=films, columns=_FIELDS)
    if not table_only:
        images, place_notes = find_images(images, root, path, available_only, by_name=True)
        notes += place_notes
        fields = read_image_headers(images, root)[_FIELDS].set_axis(images.index, axis=0)
    frame, film_notes = describe_films(images.index, fields, owners, "siim")
    images = images[frame.index]
    frame = frame.assign(image=images, **{_FINDING: present[frame.index].astype(float)})
    boxes = regions.assign(image=regions["film"].map(images), finding=_FINDING)
    boxes = scale_boxes(boxes[boxes["image"].notna()], None if table_only else root)
    notes.append(f"{counted(len(boxes), 'region')} on {counted(boxes['image'].nunique(), 'image')}, a box around each")
    return SourceTable(
        frame.reset_index(drop=True),
        root,
        "siim-2019",
        (*notes, *film_notes),
        boxes,
        key="name",
        patients=owners.patients,
        labels_record=LabelRecord("siim"),
    )


def read_regions(path: Path) -> tuple[pd.Series, pd.DataFrame]:
    """Return whether each film has a pneumothorax (bool, by ImageId), and a box around each region.

    Args:
        path: a table ``ImageId, EncodedPixels``, blanks around the names and the cells or not.

    Returns:
        the films in order of appearance; ``film, x, y, width, height`` in pixels of 1024x1024, a row a region.

    Raises:
        ManifestError: ``source-invalid``: another set's table; a cell that is no region; a film with a region and
            without one; no region at all, as in a sample of a submission.
    """
    cells = read_columns(path, {"film": ("ImageId",), "runs": ("EncodedPixels",)}, SIIM_NAME)
    empty = (cells == "").any(axis=1)
    if empty.any():
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"an empty cell is neither {_NONE} (no pneumothorax) nor a region.",
            where=f"{path}, line {cells.index[empty][0]}",
        )
    positive = cells["runs"] != _NONE
    if not positive.any():
        raise ManifestError(
            Code.SOURCE_INVALID,
            "no film has a region: is this the sample of a submission?",
            fix=f"The labels are in {' or '.join(_TABLES)}.",
            where=path,
        )
    share = positive.groupby(cells["film"], sort=False).mean()
    mixed = share.index[~share.isin([0, 1])]
    if len(mixed):
        raise ManifestError(Code.SOURCE_INVALID, f"{mixed[0]} has a region, and a row with {_NONE}.", where=path)
    boxes = np.array([_box(runs, path, line) for line, runs in cells.loc[positive, "runs"].items()])
    regions = pd.DataFrame(boxes, columns=["x", "y", "width", "height"])
    return share == 1, regions.assign(film=cells.loc[positive, "film"].to_numpy())


def _box(runs: str, path: Path, line: object) -> tuple[int, int, int, int]:
    try:
        return box_of_run_lengths(runs, BOX_SIDE, BOX_SIDE)
    except (ValueError, OverflowError) as error:
        raise ManifestError(Code.SOURCE_INVALID, f"no region: {error}.", where=f"{path}, line {line}") from error
