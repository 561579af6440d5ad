"""What Google's radiologists said of NIH's films: four adjudicated findings of 4,376, or all 14 of 810.

    readings = read_four([Path("validation_labels.csv"), Path("test_labels.csv"), Path("individual_readers.csv")])
    readings = read_fourteen([Path("test_labels.csv"), Path("test_individual_readers.csv")])
    readings.labels, readings.readers

Two of the four are unions: *Nodule or mass* is the composite ``Mass or Nodule``, *Airspace opacity* ``Airspace
Opacity``; where they are absent, so are their members. *Fracture* keeps its name. The published truth of the 14 is the
majority of three readers, `TRUTH_READERS`; it is read, never computed. ``Abnormal`` and ``Other`` are no findings, and
are left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.data.columns import find_column, key
from cxr_monai.data.sources._kinds_of_tables import (
    GOOGLE,
    GOOGLE_14,
    GOOGLE_14_READERS,
    GOOGLE_READERS,
    KnownTable,
    TableKind,
    read_known,
    require_source,
)
from cxr_monai.data.sources._unions import with_members
from cxr_monai.errors import Code, ManifestError
from cxr_monai.labels import NIH14
from cxr_monai.plurals import counted

TRUTH_READERS = ("4343882785", "4343883593", "4343883996")
"""The readers of the 14 findings whose majority is the published truth (Nabulsi et al. 2021)."""
_IMAGES = ("imageindex", "imageid", "image")
_SPLITS = ("setid", "set")
_FOUR = {
    "Pneumothorax": ("pneumothorax",),
    "Mass or Nodule": ("noduleormass", "nodulemass"),
    "Airspace Opacity": ("airspaceopacity",),
    "Fracture": ("fracture",),
}
_FOURTEEN = {finding: (key(finding),) for finding in NIH14}
_HEDGE = "hedge"  # a reader's "uncertain"
_WORDS = {"yes": 1.0, "1": 1.0, "1.0": 1.0, "no": 0.0, "0": 0.0, "0.0": 0.0, "": np.nan, _HEDGE: np.nan}


@dataclass(frozen=True, eq=False)
class Findings:
    """Radiologists' findings by NIH's file names.

    Attributes:
        labels: one float column a finding or composite: 1, 0, NaN unknown; indexed by image.
        uncertain: bool, of the same form: the truth itself hedges.
        splits: ``val`` or ``test`` by image; ``""`` where the tables do not say.
        readers: ``image, reader, in_truth`` and findings, or None.
    """

    labels: pd.DataFrame
    uncertain: pd.DataFrame
    splits: pd.Series
    readers: pd.DataFrame | None


def read_four(files: Sequence[Path]) -> Findings:
    """Read the four adjudicated findings (Majkowska et al. 2020): validation, test or both, and single readers.

    Raises:
        ManifestError: ``source-invalid``: a table of another set, no truth, a cell that is no answer, an image twice.
    """
    truth, readers = _read(files, "google", GOOGLE, GOOGLE_READERS)
    marks, uncertain = _values(truth, _FOUR)
    keys = ["image", "reader", "in_truth"]
    if readers is not None:
        singles = with_members(_values(readers, _FOUR)[0])
        readers = pd.concat([readers[keys[:2]].assign(in_truth=1), singles], axis=1).reset_index(drop=True)
    column = find_column(truth.columns, _SPLITS)
    splits = truth[column].str.lower().where(lambda cells: cells.isin(["val", "test"]), "") if column else ""
    labels = with_members(marks)
    hedged = uncertain.reindex(columns=labels.columns, fill_value=False)
    return _by_image(truth["image"], labels, hedged, splits, readers)


def read_fourteen(files: Sequence[Path]) -> Findings:
    """Read all 14 findings (Nabulsi et al. 2021): the truth, and the five readers where they are given.

    Raises:
        ManifestError: as `read_four`.
    """
    truth, readers = _read(files, "google-14", GOOGLE_14, GOOGLE_14_READERS)
    marks, uncertain = _values(truth, _FOURTEEN)
    if readers is not None:
        singles = _values(readers, _FOURTEEN)[0]
        part = readers["reader"].isin(TRUTH_READERS).astype(int)
        readers = pd.concat([readers[["image", "reader"]].assign(in_truth=part), singles], axis=1)
    return _by_image(truth["image"], marks, uncertain, "test", readers)


def _read(
    files: Sequence[Path], source: str, truth_kind: TableKind, readers_kind: TableKind
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return (the truth's cells, the readers' cells or None), each with ``image`` and one row an image (and reader)."""
    tables = [read_known(file) for file in files]
    for table in tables:
        require_source(table, source, f"--reference {source}")
    truth = [_keyed(table, ["image"]) for table in tables if table.kind is truth_kind]
    readers = [_keyed(table, ["image", "reader"]) for table in tables if table.kind is readers_kind]
    if not truth:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"there are only single readers here, no truth ({readers_kind.title}).",
            fix=f"Add {truth_kind.title}: the published truth is read, not computed.",
            where=files[0],
        )
    whole = pd.concat(truth, ignore_index=True)
    _refuse_twice(whole, ["image"], files)
    singles = pd.concat(readers, ignore_index=True) if readers else None
    if singles is not None:
        _refuse_twice(singles, ["image", "reader"], files)
    return whole, singles


def _keyed(table: KnownTable, keys: Sequence[str]) -> pd.DataFrame:
    names = {"image": _IMAGES, "reader": ("readerid",)}
    columns = {name: find_column(table.cells.columns, names[name]) for name in keys}
    cells = table.cells.rename(columns={str(column): name for name, column in columns.items()})
    empty = (cells[list(keys)] == "").any(axis=1)
    if empty.any():
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"a row names no {' or no '.join(keys)}.",
            where=f"{table.path}, line {cells.index[empty][0]}",
        )
    wrong = ~cells[[name for name in cells if _is_finding(str(name))]].apply(
        lambda column: column.str.lower().isin(_WORDS)
    )
    if wrong.any(axis=None):
        line = cells.index[wrong.any(axis=1)][0]
        column = next(name for name in wrong if wrong.loc[line, name])
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"{column!r} is {cells.loc[line, column]!r}, and is YES, NO, HEDGE, 1, 0 or empty.",
            where=f"{table.path}, line {line}",
        )
    return cells


def _is_finding(name: str) -> bool:
    return any(name in names for names in (*_FOUR.values(), *_FOURTEEN.values()))


def _refuse_twice(cells: pd.DataFrame, keys: list[str], files: Sequence[Path]) -> None:
    twice = cells[keys].duplicated()
    if twice.any():
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"{counted(int(twice.sum()), 'row')} of {' and '.join(file.name for file in files)} repeat an image, first "
            f"{', '.join(cells.loc[twice, keys].iloc[0])}.",
            fix="Give each table once.",
        )


def _values(cells: pd.DataFrame, findings: Mapping[str, Sequence[str]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (1, 0, NaN) of each finding, and where it was hedged."""
    words = pd.DataFrame({finding: cells[find_column(cells.columns, names)] for finding, names in findings.items()})
    words = words.apply(lambda column: column.str.lower())
    return words.apply(lambda column: column.map(_WORDS).astype(float)), words == _HEDGE


def _by_image(
    images: pd.Series,
    labels: pd.DataFrame,
    uncertain: pd.DataFrame,
    splits: pd.Series | str,
    readers: pd.DataFrame | None,
) -> Findings:
    """Return the findings by image, without the images of which nothing is said."""
    read = (labels.notna() | uncertain).any(axis=1).to_numpy()
    names = pd.Index(images[read], name="image")
    places = pd.Series(splits, index=images.index, dtype="str")
    return Findings(
        labels[read].set_axis(names, axis=0),
        uncertain[read].set_axis(names, axis=0),
        places[read].set_axis(names, axis=0),
        readers,
    )
