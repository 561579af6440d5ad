"""Tables of boxes of our own form, ``M.boxes.csv``: their columns, their numbers, and how they are refused.

table = read_box_cells("m.boxes.csv")               # text; the index is the line in the file
numbers, broken = box_numbers(table)
refuse_boxes(by_line(broken_boxes(table, broken)), "m.boxes.csv")
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.data.tables import Refusal, read_cells
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.plurals import be, counted

COLUMNS = ("image", "finding", "x", "y", "width", "height", "image_width", "image_height")
NUMBERS = list(COLUMNS[2:])
REFUSED: Refusal = partial(EvaluationError, Code.BOXES_INVALID)
_SHOWN = 10


def read_box_cells(path: Path) -> pd.DataFrame:
    """Return a table of boxes as text, at least the columns of `COLUMNS`, indexed by line.

    Raises:
        EvaluationError: ``boxes-invalid`` if it is no table, or columns are missing.
    """
    table = read_cells(path, REFUSED)
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise EvaluationError(
            Code.BOXES_INVALID,
            f"columns are missing: {', '.join(missing)}; it has {', '.join(map(str, table.columns))}.",
            fix=f"A table of boxes has {', '.join(COLUMNS)}, or is NIH's BBox_List_2017.csv.",
            where=path,
        )
    return table


def box_numbers(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Return the numbers of boxes in pixels, float64 with the columns `NUMBERS`, and which rows are not a box (bool).

    No box: a number is missing or none (NaN in the result), infinite, or a size is not above 0.

    Args:
        table: text cells of `read_box_cells`.
    """
    numbers = table[NUMBERS].apply(pd.to_numeric, errors="coerce").astype(float)
    sizes = numbers[["width", "height", "image_width", "image_height"]]
    return numbers, ~np.isfinite(numbers).all(axis=1) | (sizes <= 0).any(axis=1)


def broken_boxes(table: pd.DataFrame, broken: pd.Series) -> list[tuple[int, str]]:
    """Return the line number and the reason for each row that is not a box.

    Args:
        table: text cells, indexed by line (:func:`read_box_cells`).
        broken: bool, of the same index (:func:`box_numbers`).
    """
    cells = table.loc[broken, NUMBERS].to_numpy()
    return [(line, f"no box: {', '.join(row)}") for line, row in zip(table.index[broken], cells, strict=True)]


def by_line(problems: Sequence[tuple[int, str]]) -> list[str]:
    """Return problems as sentences, in the order of their lines.

    Args:
        problems: line number and reason of each.
    """
    return [f"line {line}: {problem}" for line, problem in sorted(problems)]


def refuse_boxes(problems: Sequence[str], path: Path) -> None:
    """Raise one error for all problems of a table of boxes.

    Args:
        problems: sentences; none: nothing happens.
        path: the table, for the message.

    Raises:
        EvaluationError: ``boxes-invalid``, with the first problems.
    """
    if not problems:
        return
    more = f"\n  and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
    raise EvaluationError(
        Code.BOXES_INVALID,
        f"{counted(len(problems), 'box')} {be(len(problems))} wrong:\n  "
        + "\n  ".join(problems[:_SHOWN])
        + f"{more}\n",
        fix="Boxes are in pixels of the stored images; 'cxr-monai manifest nih' writes them for images of any size.",
        where=path,
    )
