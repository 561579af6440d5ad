"""What RSNA's radiologists said of a film: one of three classes and boxes, from any of the files that tell it.

    readings = read_readings([Path("stage_2_train_labels.csv"), Path("stage_2_detailed_class_info.csv")])
    readings.classes                       # patientId -> "Normal", ...
    opacity_labels(readings.classes)       # 14 findings and "Pneumonia-like Opacity"

*Lung Opacity* is an opacity suspicious for pneumonia: the composite `OPACITY` of Infiltration, Pneumonia and
Consolidation, of which it says only that one of them is there. *Normal* is 0 for all 14 findings; *No Lung Opacity /
Not Normal* is 0 for the composite and its members, and says nothing of the other findings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.composites import COMPOSITES
from cxr_monai.data.label_record import LabelRecord, count_unknown
from cxr_monai.data.sources._kinds_of_tables import (
    RSNA_ANNOTATIONS,
    RSNA_BOXES,
    RSNA_CLASSES,
    RSNA_MAPPING,
    RSNA_ON_NIH,
    KnownTable,
    read_known,
    require_source,
)
from cxr_monai.data.sources._unions import doubtful_members, with_members
from cxr_monai.errors import Code, ManifestError
from cxr_monai.labels import NIH14
from cxr_monai.plurals import agreeing, be, counted, have

OPACITY = "Pneumonia-like Opacity"
"""The composite that RSNA's Lung Opacity is."""
LABEL_VERSION = "rsna-2018"
LUNG_OPACITY, NOT_NORMAL, NORMAL = "Lung Opacity", "No Lung Opacity / Not Normal", "Normal"
CLASSES = (NORMAL, NOT_NORMAL, LUNG_OPACITY)
NO_OPACITY = "No Lung Opacity"
"""Normal or not: where only the table of boxes is at hand."""
_GROUP = "Calculated"  # of the adjudicated JSON: the label group of the truth; others are single readers' and remarks
_BOX = ["x", "y", "width", "height"]


@dataclass(frozen=True, eq=False)
class Readings:
    """Radiologists' readings by an identifier of the film.

    Attributes:
        classes: of `CLASSES`, or `NO_OPACITY`, indexed by the identifier.
        boxes: ``film, x, y, width, height`` in pixels of 1024x1024.
        notes: sentences for the user.
    """

    classes: pd.Series
    boxes: pd.DataFrame
    notes: tuple[str, ...] = ()


def opacity_labels(classes: pd.Series) -> pd.DataFrame:
    """Return float columns of the 14 findings and `OPACITY`: 1, 0, NaN unknown.

    Args:
        classes: of `CLASSES` or `NO_OPACITY`; the index is kept.

    >>> opacity_labels(pd.Series([LUNG_OPACITY, NOT_NORMAL, NORMAL]))[["Mass", "Pneumonia", OPACITY]].values.tolist()
    [[nan, nan, 1.0], [nan, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    others = (classes == NORMAL).map({True: 0.0, False: np.nan})
    union = (classes == LUNG_OPACITY).astype(float)
    return with_members(pd.DataFrame({**dict.fromkeys(NIH14, others), OPACITY: union}))


def opacity_record(dataset: str, labels: pd.DataFrame) -> LabelRecord:
    """Return the record of RSNA's labels.

    Args:
        dataset: whose, as a record names it.
        labels: of `opacity_labels`, of the manifest's films.
    """
    reasons = {"uncertain": doubtful_members(labels), "unmentioned": labels.isna()}
    return LabelRecord(dataset, {}, count_unknown(labels, reasons), {OPACITY: COMPOSITES[OPACITY].rule})


def has_truth(annotations: KnownTable) -> bool:
    """Return whether a JSON of RSNA's has the label group of the truth (its file of original labels has not)."""
    groups = annotations.content.get("labelGroups")
    return isinstance(groups, list) and any(isinstance(one, dict) and one.get("name") == _GROUP for one in groups)


def read_readings(tables: Sequence[KnownTable]) -> Readings:
    """Return the readings of all tables together, by the identifiers that those have (patientId, or RSNA's UIDs).

    Args:
        tables: of boxes, of classes, or RSNA's adjudicated JSON.

    Raises:
        ManifestError: ``source-invalid``: a row that cannot be read, tables that contradict each other, or none.
    """
    boxes, targets = pd.DataFrame(columns=["film", *_BOX], dtype=float), pd.Series(dtype="str")
    classes, notes = pd.Series(dtype="str"), []
    for table in tables:
        if table.kind is RSNA_BOXES:
            targets, boxes = _read_boxes(table)
        elif table.kind is RSNA_CLASSES:
            classes = _one_class(table.cells["patientid"], table.cells["class"], table.path)
        elif table.kind is RSNA_ANNOTATIONS:
            return _read_annotations(table)
    shared = targets.index.intersection(classes.index)
    differing = shared[(targets[shared] == LUNG_OPACITY).to_numpy() != (classes[shared] == LUNG_OPACITY).to_numpy()]
    if len(differing):
        first = differing[0]
        target = int(targets[first] == LUNG_OPACITY)
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"the tables of boxes and of classes contradict each other in {counted(len(differing), 'film')}: "
            f"{first} is {classes[first]!r} and has the Target {target}.",
            fix="Get both from the same release.",
        )
    only = targets.index.difference(classes.index, sort=False)
    if unclassed := int((targets[only] == NO_OPACITY).sum()):
        notes.append(
            f"{counted(unclassed, 'film')} {have(unclassed)} no class "
            "(stage_2_detailed_class_info.csv tells which are normal): that they show no opacity is all that is known"
        )
    if len(classes) and targets.empty:
        notes.append("no boxes: they stand in stage_2_train_labels.csv")
    return Readings(pd.concat([classes, targets[only]]), boxes, tuple(notes))


def read_by_nih_names(files: Sequence[Path]) -> Readings:
    """Return the readings by NIH's file names.

    Args:
        files: RSNA's tables or its adjudicated JSON with its mapping, or one table that has NIH's names.

    Raises:
        ManifestError: ``source-invalid``: a table of another set, two of one kind, or no mapping.
    """
    tables = [read_known(file) for file in files]
    for table in tables:
        require_source(table, "rsna", "--reference rsna")
    _refuse_two_of_a_kind(tables)
    named = [table for table in tables if table.kind is RSNA_ON_NIH]
    if named:
        return _read_named(named[0])
    mapping = next((table for table in tables if table.kind is RSNA_MAPPING), None)
    if mapping is None or len(tables) == 1:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"nothing tells {'what RSNA said of a film' if mapping else 'which film is which of NIH'}: there "
            f"{be(len(tables))} only {', '.join(table.kind.title for table in tables)}.",
            fix="Add stage_2_train_labels.csv and stage_2_detailed_class_info.csv." if mapping else
            f"Add {RSNA_MAPPING.title}, from RSNA's page of the challenge.",
            where=files[0],
        )  # fmt: skip
    readings = read_readings([table for table in tables if table is not mapping])
    return _rename(readings, read_names(mapping), mapping.path)


def read_names(mapping: KnownTable) -> dict[str, str]:
    """Return NIH's file name by each identifier of RSNA's: patientId, and the UIDs of instance and study.

    NIH names that several films bear are left out: which is which is not clear.
    """
    cells = mapping.cells
    twice = cells["imgid"].duplicated(keep=False) | (cells["imgid"] == "")
    names: dict[str, str] = {}
    for column in ("subsetimgid", "sopinstanceuid", "studyinstanceuid"):
        if column in cells:
            names |= dict(zip(cells.loc[~twice, column], cells.loc[~twice, "imgid"], strict=True))
    names.pop("", None)
    return names


def _rename(readings: Readings, names: dict[str, str], path: Path) -> Readings:
    """Return the readings by NIH's names; films without one are left out."""
    films = pd.Series(readings.classes.index, index=readings.classes.index)
    mapped = films.map(names)
    lost = int(mapped.isna().sum())
    if lost == len(mapped):
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"the mapping has none of the {counted(len(films), 'film')} (first: {films.iloc[0]}).",
            fix="Get the mapping of the same challenge.",
            where=path,
        )
    kept = mapped.notna()
    classes = _one_class(mapped[kept], readings.classes[kept], path)
    boxes = readings.boxes.assign(film=readings.boxes["film"].map(names))
    notes = [*readings.notes]
    if lost:
        notes.append(f"{counted(lost, 'film')} {be(lost)} not clearly in the mapping, and {be(lost)} left out")
    return Readings(classes, boxes[boxes["film"].notna()].reset_index(drop=True), tuple(notes))


def _refuse_two_of_a_kind(tables: Sequence[KnownTable]) -> None:
    kinds = [table.kind for table in tables]
    for table in tables:
        named = RSNA_ON_NIH in kinds and len(kinds) > 1
        if kinds.count(table.kind) > 1 or named or (table.kind is RSNA_BOXES and RSNA_ANNOTATIONS in kinds):
            raise ManifestError(
                Code.SOURCE_INVALID,
                f"several files tell the same: {', '.join(f'{one.path.name} ({one.kind.title})' for one in tables)}.",
                fix="Give one set of them.",
                where=table.path,
            )


def _read_boxes(table: KnownTable) -> tuple[pd.Series, pd.DataFrame]:
    """Return (`LUNG_OPACITY` or `NO_OPACITY` by film, the boxes) of Kaggle's table, one row a box."""
    cells = table.cells
    wrong = ~cells["target"].isin(["0", "1", "0.0", "1.0"]) | (cells["patientid"] == "")
    positive = cells["target"].isin(["1", "1.0"])
    numbers, broken = _box_numbers(cells)
    wrong |= (positive & broken) | (~positive & (cells[_BOX] != "").any(axis=1))
    _refuse_rows(cells, wrong, "a film with Target 1 has a box in each row, one with Target 0 has none", table.path)
    words = pd.Series(np.where(positive, LUNG_OPACITY, NO_OPACITY), index=cells.index, dtype="str")
    boxes = numbers[positive].assign(film=cells.loc[positive, "patientid"])
    return _one_class(cells["patientid"], words, table.path, (LUNG_OPACITY, NO_OPACITY)), boxes.reset_index(drop=True)


def _read_named(table: KnownTable) -> Readings:
    """Return the readings of a table ``image, rsna_class, x, y, width, height``, one row a box or one without."""
    cells = table.cells
    classes = _one_class(cells["image"], cells["rsnaclass"], table.path)
    numbers, broken = _box_numbers(cells)
    filled = (cells[_BOX] != "").any(axis=1)
    wrong = filled != (cells["rsnaclass"] == LUNG_OPACITY)
    _refuse_rows(cells, wrong | (filled & broken), f"a film of the class {LUNG_OPACITY} has a box in each row, another "
                 "none", table.path)  # fmt: skip
    return Readings(classes, numbers[filled].assign(film=cells.loc[filled, "image"]).reset_index(drop=True))


def _read_annotations(table: KnownTable) -> Readings:
    """Return the truth of RSNA's adjudicated JSON, by the UIDs of instances (or of studies, where those are given).

    The truth is the label group `_GROUP`; other groups are single readers' labels, doubts and remarks.
    """
    try:
        groups = [group for group in table.content["labelGroups"] if group["name"] == _GROUP]
        words = {label["id"]: label["name"].strip() for group in groups for label in group["labels"]}
        rows = [
            {
                "film": entry.get("SOPInstanceUID") or entry["StudyInstanceUID"],
                "class": words[entry["labelId"]],
                **{name: (entry.get("data") or {}).get(name) for name in _BOX},
            }
            for dataset in table.content["datasets"]
            for entry in dataset["annotations"]
            if entry["labelId"] in words
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ManifestError(
            Code.SOURCE_INVALID, f"it is not laid out as RSNA's annotations are ({error!r}).", where=table.path
        ) from error
    if not rows:
        raise ManifestError(Code.SOURCE_INVALID, f"it has no label of the group {_GROUP!r}.", where=table.path)
    frame = pd.DataFrame(rows)
    classes = _one_class(frame["film"], frame["class"], table.path)
    boxes = frame.loc[frame["class"] == LUNG_OPACITY, ["film", *_BOX]].reset_index(drop=True)
    numbers, broken = _box_numbers(boxes)
    _refuse_rows(boxes, broken, f"each label {LUNG_OPACITY} has a box", table.path)
    return Readings(classes, numbers.assign(film=boxes["film"]))


def _box_numbers(cells: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Return the boxes' numbers, and which rows have no whole box."""
    numbers = cells[_BOX].apply(pd.to_numeric, errors="coerce").astype(float)
    return numbers, numbers.isna().any(axis=1) | (numbers[["width", "height"]] <= 0).any(axis=1)


def _refuse_rows(cells: pd.DataFrame, wrong: pd.Series, rule: str, path: Path) -> None:
    if wrong.any():
        row = ", ".join(map(str, cells[wrong].iloc[0]))
        count = int(wrong.sum())
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"{rule}; {counted(count, 'row')} {agreeing(count, 'differ')}: {row}.",
            where=f"{path}, line {cells.index[wrong][0]}",
        )


def _one_class(
    films: pd.Series, classes: pd.Series, path: Path, allowed: Sequence[str] = (*CLASSES, NO_OPACITY)
) -> pd.Series:
    """Return the class of each film, which stands once for each of its boxes; contradictions are refused."""
    strange = ~classes.isin(allowed)
    if strange.any():
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"{classes[strange].iloc[0]!r} is no class of RSNA's; they are {', '.join(CLASSES)}.",
            where=path,
        )
    pairs = pd.DataFrame({"film": films.to_numpy(), "class": classes.to_numpy()}).drop_duplicates()
    twice = pairs["film"].duplicated()
    if twice.any():
        film = pairs.loc[twice, "film"].iloc[0]
        both = " and ".join(pairs.loc[pairs["film"] == film, "class"])
        raise ManifestError(Code.SOURCE_INVALID, f"the film {film} is {both}.", where=path)
    return pairs.set_index("film")["class"]
