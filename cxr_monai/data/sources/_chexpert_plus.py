"""CheXpert Plus: CheXpert's films again, with reports, and CheXbert's labels of each part of a report.

``df_chexpert_plus_240401.csv`` has a row an image with the reports in its cells, so it is read in pieces and without
them. The labels lie beside it, a JSON object a line: ``chexbert_labels/impression_fixed.json``. Smit, Jain, Rajpurkar
et al.: CheXbert. EMNLP 2020, doi 10.18653/v1/2020.emnlp-main.117.
"""

import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from cxr_monai.data.columns import find_column, key
from cxr_monai.data.sources._chexpert_films import LabelledFilms, films_of
from cxr_monai.data.sources._chexpert_labels import label_columns, read_marks
from cxr_monai.data.sources._paths import parts_of_paths
from cxr_monai.data.sources._public import wrong_table
from cxr_monai.data.sources._trees import Tree
from cxr_monai.errors import Code, ManifestError
from cxr_monai.plurals import counted, have

LABELLERS = ("impression", "findings", "report")
"""The parts of a report that were labelled; the first is the one that CheXpert's own labels were mined from."""

_DATASET = "CheXpert Plus"
_COLUMNS = {"path": "path_to_image", "side": "frontal_lateral", "projection": "ap_pa", "age": "age", "sex": "sex"}
_HEAD = 4096  # bytes that hold the header
_ROWS = 20_000  # of a piece


def is_plus(path: Path) -> bool:
    """Return whether a file's first bytes name the columns of CheXpert Plus; False for one that cannot be read."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _COLUMNS["path"].encode() in file.read(_HEAD)
    except (OSError, EOFError):
        return False


def read_plus(path: Path, tree: Tree, labeller: str) -> tuple[LabelledFilms, list[str]]:
    """Return the films of CheXpert Plus and notes.

    Args:
        path: ``df_chexpert_plus_240401.csv``.
        tree: where the labels are looked for, beside the table's own folder.
        labeller: of `LABELLERS`.

    Raises:
        ManifestError: ``source-invalid``: the table or the labels cannot be read, lack a column or are not there.
    """
    cells = _read_table(path)
    paths = cells.pop("path")
    fields = {str(name): cells[name] for name in cells}
    films = films_of(paths, fields, pd.DataFrame(index=cells.index), path)
    file = _find_labels(path, tree, labeller)
    labels = _read_labels(file)
    stems = _stems(films.table["rest"])
    marks = labels.reindex(stems.to_numpy()).set_axis(stems.index, axis=0)
    without = int((~stems.isin(labels.index)).sum())
    notes = [
        f"took {path.name}, and CheXbert's labels of the {labeller} from {file.name}: a study's, at each of its images"
    ]
    if without:
        notes.append(f"{counted(without, 'image')} {have(without)} no line in {file.name}")
    return replace(films, marks=marks), notes


def _read_table(path: Path) -> pd.DataFrame:
    """Return the columns that are needed, as text, without reading the reports into memory."""
    try:
        header = list(map(str, pd.read_csv(path, nrows=0, encoding="utf-8-sig")))
        names = {field: find_column(header, (key(column),)) for field, column in _COLUMNS.items()}
        lacking = [_COLUMNS[field] for field, name in names.items() if name is None]
        if lacking:
            raise wrong_table(path, header, f"it lacks {', '.join(map(repr, lacking))}", _DATASET)
        with pd.read_csv(
            path, usecols=list(names.values()), dtype="str", na_filter=False, encoding="utf-8-sig", chunksize=_ROWS
        ) as pieces:
            table = pd.concat(pieces)
    except (OSError, EOFError, ValueError) as error:
        raise ManifestError(Code.SOURCE_INVALID, f"it cannot be read ({error}).", where=path) from error
    if table.empty:
        raise ManifestError(Code.SOURCE_INVALID, "the table has a header and no row.", where=path)
    table.index = pd.RangeIndex(2, len(table) + 2)
    return pd.DataFrame({field: table[name].str.strip() for field, name in names.items()})


def _find_labels(path: Path, tree: Tree, labeller: str) -> Path:
    name = f"{labeller}_fixed.json"
    beside = [folder / name for folder in (path.parent / "chexbert_labels", path.parent)]
    files = [file for file in (*beside, *tree.named(name.replace(".", r"\."))) if file.is_file()]
    if not files:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"this is CheXpert Plus's table, which has no labels: chexbert_labels/{name} is not here.",
            fix="Unpack chexbert_labels.zip beside the table, or choose another part of the reports with --labeller.",
            where=path,
        )
    return files[0]


def _read_labels(path: Path) -> pd.DataFrame:
    """Return the 14 labels by the image's path from the patient on, without its ending."""
    rows: list[Sequence[object]] = []
    images: list[str] = []
    columns: list[str] = []
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                if not line.strip():
                    continue
                record = dict(json.loads(line))
                columns = columns or list(label_columns(list(record), path, _DATASET).values())
                images.append(record[_COLUMNS["path"]])
                rows.append([record.get(column) for column in columns])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"it is not a JSON object a line with path_to_image and 14 labels ({error!r}).",
            where=f"{path}, line {len(images) + 1}",
        ) from error
    cells = pd.DataFrame(rows, columns=columns, index=pd.RangeIndex(1, len(rows) + 1))
    marks = read_marks(cells, path, _DATASET)
    stems = _stems(parts_of_paths(pd.Series(images, dtype="str"))["rest"])
    marks = marks.set_axis(stems.to_numpy(), axis=0)
    twice = marks.index.duplicated()
    if twice.any():
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"{counted(int(twice.sum()), 'line')} {'repeats' if twice.sum() == 1 else 'repeat'} an image, such as "
            f"{marks.index[twice][0]!r}.",
            where=path,
        )
    return marks


def _stems(rest: pd.Series) -> pd.Series:
    return rest.str.replace(r"\.\w+$", "", regex=True)
