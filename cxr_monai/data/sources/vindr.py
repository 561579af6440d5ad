"""VinDr-CXR: 18,000 radiographs of two hospitals in Hanoi, read by 17 radiologists, with boxes.

Nguyen, Lam, Le et al.: VinDr-CXR: An open dataset of chest X-rays with radiologist's annotations. Scientific Data 9,
429 (2022), doi 10.1038/s41597-022-01498-w. From PhysioNet (doi 10.13026/3akn-b287, credentialed) with 22 local and 6
global labels; its training films with 14 local labels are Kaggle's VinBigData competition, under Kaggle's rules.
Official split: 15,000 films for training, each read by three radiologists, and 3,000 for testing, a consensus of five.

Read as people have it. PhysioNet's: ``annotations/image_labels_train.csv`` and ``image_labels_test.csv`` (one of them
is enough), boxes in ``annotations_train.csv`` and ``annotations_test.csv``, images ``train/<image_id>.dicom``.
Kaggle's: ``train.csv``, a row a box, images ``train/<image_id>.dicom``, or copies in PNG or JPEG with
``train_meta.csv``, whose ``dim0`` and ``dim1`` are the originals' rows and columns; boxes are scaled to the copies, and
left out where nothing tells the originals' size.

Three readers become one label by a rule (``readers``), which changes prevalences up to tenfold: Consolidation is on 353
films by ``any``, 121 by ``majority``, 31 by ``all``. With ``all`` a finding that some readers saw is unknown (*readers
disagree*), never 0. The consensus of the test films needs no rule. Single readers' labels come along.

*Nodule/Mass* is the composite ``Mass or Nodule``: its 0 makes ``Mass`` and ``Nodule`` 0, its 1 leaves both unknown.
*Lung Opacity* is the readers' own label and tells nothing of its members. There is no Hernia, and in Kaggle's form no
Edema, Emphysema and Pneumonia. No patient is published: a film is taken for a patient only by ``patient_per_image``.

Known errors. The DICOM files have no Modality: reading them needs ``--any-modality``. Some are MONOCHROME1 or JPEG
2000; most have windows that span the full range. Ages are in part of the headers; one of 0 years is taken for unknown.
All films are PA by description.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from cxr_monai.composites import COMPOSITES
from cxr_monai.data.label_record import LabelRecord, count_unknown
from cxr_monai.data.sources import SourceTable
from cxr_monai.data.sources._files import find_images
from cxr_monai.data.sources._headers import read_image_headers
from cxr_monai.data.sources._text import emptied_notes, parse_ages, parse_sexes
from cxr_monai.data.sources._unions import doubtful_members, with_members
from cxr_monai.data.sources._vindr_tables import NODULE_OR_MASS, find_vindr_tables, read_films, read_original_sizes
from cxr_monai.data.views import PA
from cxr_monai.errors import Code, ManifestError, UsageError
from cxr_monai.labels import NIH14
from cxr_monai.plurals import counted, out_of

ReaderRule = Literal["any", "majority", "all"]

_MEMBERS = COMPOSITES[NODULE_OR_MASS].members
_RULES = {
    NODULE_OR_MASS: f"{COMPOSITES[NODULE_OR_MASS].rule} It is VinDr-CXR's Nodule/Mass: 0 makes Mass and Nodule 0, 1 "
    "leaves both unknown (counted as uncertain).",
    "Lung Opacity": f"{COMPOSITES['Lung Opacity'].rule} It is a label of VinDr-CXR's readers, and tells nothing of its "
    "members.",
}


def read(
    root: str | Path,
    *,
    table: Path | None = None,
    readers: ReaderRule = "majority",
    patient_per_image: bool = False,
    available_only: bool = False,
    table_only: bool = False,
) -> SourceTable:
    """Read VinDr-CXR's tables of either form, and find the images.

    Args:
        root: the folder of the data set, searched with all its folders.
        table: one table of films instead of those in ``root``.
        readers: a finding is present if ``any`` reader, the ``majority``, or ``all`` say so; with ``majority`` a tie is
            unknown, with ``all`` whatever some but not all say.
        patient_per_image: take each image for another patient.
        available_only: leave out the images that are not on disk, instead of refusing.
        table_only: look for no files; paths are ``train/<image_id>.dicom``.

    Returns:
        the table, ``label_version`` ``vindr-<readers>``; single readers' labels; boxes, with the column ``reader``, of
        the findings that the table has as present.

    Raises:
        ManifestError: ``source-invalid``, ``images-missing`` or ``no-images``.
        UsageError: ``usage`` for another rule.
    """
    if readers not in get_args(ReaderRule):
        raise UsageError(Code.USAGE, f"readers is one of {', '.join(get_args(ReaderRule))}, not {readers!r}.")
    root = Path(os.path.abspath(root))
    paths, notes = find_vindr_tables(root, table)
    parts = [read_films(path) for path in paths]
    readings = pd.concat([part.readings for part in parts], ignore_index=True)
    _refuse_two_parts(readings, paths)
    films = readings.drop_duplicates("name").set_index("name")[["split"]]
    films["image"] = films["split"].replace("", "train") + "/" + films.index + ".dicom"
    if not table_only:
        places, place_notes = find_images(films["image"], root, paths[0], available_only, by_name=True)
        films = films.loc[places.index].assign(image=places)
        notes += place_notes
    readings = readings[readings["name"].isin(films.index)]
    labels, disagreeing = combine_readers(readings, _in_order(readings), readers)
    headers = None if table_only else read_image_headers(films["image"], root)
    if headers is not None and headers["dicom"].any():
        notes.append("VinDr-CXR's DICOM files have no Modality: commands that read the images need --any-modality")
    if not patient_per_image:
        notes.append(
            "nobody tells whose films these are: a split by patient is refused (--patient-per-image is your word)"
        )
    boxes, box_notes = _place_boxes(
        pd.concat([part.boxes for part in parts], ignore_index=True), films["image"], labels, headers,
        read_original_sizes(root),
    )  # fmt: skip
    frame, field_notes = _subjects(films, headers)
    labels = with_members(labels, [NODULE_OR_MASS])
    return SourceTable(
        pd.concat([frame, labels.reset_index(drop=True)], axis=1),
        root,
        f"vindr-{readers}",
        (*notes, *box_notes, *field_notes),
        boxes,
        _single_readers(readings, films["image"], list(map(str, labels))),
        key="name",
        patients="assumed" if patient_per_image else "unknown",
        labels_record=_record(f"vindr {parts[0].form}", readers, labels, disagreeing),
    )


def combine_readers(
    readings: pd.DataFrame, findings: Sequence[str], rule: ReaderRule
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return each film's labels by a rule, and where its readers disagree so that the label is unknown.

    Args:
        readings: ``name`` and one float column a finding (1, 0, NaN: nothing was said), a row a film and reader.
        findings: the columns.
        rule: ``any``, ``majority`` or ``all``.

    Returns:
        (float: 1, 0, NaN unknown; bool), both indexed by name in order of appearance, with the findings as columns.

    >>> table = pd.DataFrame({"name": ["a", "a", "a"], "Mass": [1.0, 1.0, 0.0], "Edema": [1.0, 0.0, 0.0]})
    >>> [combine_readers(table, ["Mass", "Edema"], rule)[0].to_numpy().tolist() for rule in ("any", "majority", "all")]
    [[[1.0, 1.0]], [[1.0, 0.0]], [[nan, nan]]]
    """
    share = readings.groupby("name", sort=False)[list(findings)].mean()
    if rule == "any":
        labels = (share > 0).astype(float)
    elif rule == "majority":
        labels = (share > 0.5).astype(float).mask(share == 0.5)
    else:
        labels = (share == 1).astype(float).mask((share > 0) & (share < 1))
    labels = labels.mask(share.isna())
    return labels, share.notna() & labels.isna()


def _refuse_two_parts(readings: pd.DataFrame, paths: Sequence[Path]) -> None:
    """Refuse a film that stands in the tables of training and of testing."""
    parts = readings[["name", "split"]].drop_duplicates()
    twice = parts.loc[parts["name"].duplicated(), "name"]
    if not twice.empty:
        name = twice.iloc[0]
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"{name!r} is in {' and in '.join(path.name for path in paths)}.",
            where=paths[0].parent,
        )


def _in_order(readings: pd.DataFrame) -> list[str]:
    """Return the findings, NIH's first and in NIH's order."""
    findings = [str(name) for name in readings if name not in ("name", "reader", "split")]
    return [name for name in NIH14 if name in findings] + [name for name in findings if name not in NIH14]


def _record(dataset: str, rule: ReaderRule, labels: pd.DataFrame, disagreeing: pd.DataFrame) -> LabelRecord:
    if NODULE_OR_MASS in disagreeing:
        disagreeing = disagreeing.assign(**dict.fromkeys(_MEMBERS, disagreeing[NODULE_OR_MASS]))
    reasons = {
        "readers disagree": disagreeing,
        "uncertain": doubtful_members(labels, [NODULE_OR_MASS]),
        "unmentioned": labels.isna(),
    }
    rules = {name: sentence for name, sentence in _RULES.items() if name in labels}
    return LabelRecord(dataset, {"readers": rule}, count_unknown(labels, reasons), rules)


def _subjects(films: pd.DataFrame, headers: pd.DataFrame | None) -> tuple[pd.DataFrame, list[str]]:
    """Return the manifest's columns but the findings, and notes."""
    frame = pd.DataFrame(
        {
            "image": films["image"],
            "patient_id": films.index,
            "study_id": "",
            "view": PA,
            "age": np.nan,
            "sex": "",
            "source": "vindr",
            "split": films["split"],
        }
    ).reset_index(drop=True)
    if headers is None:
        return frame, []
    ages, bad_ages = parse_ages(headers["age"])
    sexes, bad_sexes = parse_sexes(headers["sex"])
    unborn = ages == 0
    frame["age"], frame["sex"] = ages.mask(unborn).to_numpy(), sexes.to_numpy()
    notes = emptied_notes(bad_ages, bad_sexes)
    if unborn.any():
        notes.append(f"{counted(int(unborn.sum()), 'age')} of 0 years taken for unknown")
    return frame, notes


def _single_readers(readings: pd.DataFrame, images: pd.Series, findings: Sequence[str]) -> pd.DataFrame | None:
    """Return ``image, reader, in_truth`` and the findings; None where there is but a consensus."""
    single = readings[readings["reader"] != ""]
    if single.empty:
        return None
    table = pd.DataFrame({"image": single["name"].map(images), "reader": single["reader"], "in_truth": 1})
    labels = with_members(single[_in_order(single)], [NODULE_OR_MASS])
    return pd.concat([table, labels[list(findings)]], axis=1).reset_index(drop=True)


def _place_boxes(
    boxes: pd.DataFrame,
    images: pd.Series,
    labels: pd.DataFrame,
    headers: pd.DataFrame | None,
    originals: pd.DataFrame | None,
) -> tuple[pd.DataFrame | None, list[str]]:
    """Return the boxes of present findings in pixels of the stored images, and notes.

    Args:
        boxes: of `VindrFilms`.
        images: paths by image_id.
        labels: by image_id.
        headers: of the images by path; None if files are not looked at: sizes are the originals' then.
        originals: sizes of the original images by image_id; None where nothing tells them.
    """
    if boxes.empty:
        return None, []
    here = boxes[boxes["name"].isin(images.index)]
    rows, columns = np.nonzero(labels.to_numpy() == 1)
    present = pd.MultiIndex.from_arrays([labels.index[rows], labels.columns[columns]])
    kept = here[pd.MultiIndex.from_frame(here[["name", "finding"]]).isin(present)]
    sizes = pd.DataFrame(index=images.index, columns=["width", "height"], dtype=float)
    if originals is not None:
        sizes = originals.reindex(images.index).astype(float)
    stored = sizes
    if headers is not None:
        stored = headers[["width", "height"]].set_axis(images.index, axis=0).astype(float)
        sizes = sizes.where(sizes.notna() | ~headers["dicom"].to_numpy()[:, None], stored)
    table = pd.DataFrame({"image": kept["name"].map(images), "finding": kept["finding"], "reader": kept["reader"]})
    for axis, side in (("x", "width"), ("y", "height")):
        original, size = (kept["name"].map(frame[side]).astype(float) for frame in (sizes, stored))
        low, high = ((kept[f"{axis}_{end}"].clip(0, original) * size / original).round(4) for end in ("min", "max"))
        table[axis], table[side], table[f"image_{side}"] = low, (high - low).round(4), size.where(original.notna())
    unsized = table["image_width"].isna()
    without = ~unsized & ~(table[["width", "height"]] > 0).all(axis=1)
    result = table[~unsized & ~without].astype({"image_width": int, "image_height": int})
    order = ["image", "finding", "x", "y", "width", "height", "image_width", "image_height", "reader"]
    notes = [f"kept {out_of(len(result), len(here), 'box')}, on {counted(result['image'].nunique(), 'image')}"]
    if len(kept) < len(here):
        number = len(here) - len(kept)
        notes.append(f"left out {counted(number, 'box')} of findings that the readers together do not see")
    if unsized.any():
        notes.append(
            f"left out {counted(int(unsized.sum()), 'box')}: nothing tells the size of the originals that they are "
            "drawn on (train_meta.csv does, and so do the DICOM files)"
        )
    if without.any():
        notes.append(f"left out {counted(int(without.sum()), 'box')} without an area inside the image")
    return None if result.empty else result[order].reset_index(drop=True), notes
