"""Boxes that radiologists drew, read for the images that there are maps of, in pixels of the stored images.

    boxes, notes = read_boxes("m.boxes.csv", store.table, store.findings, store.scheme)     # image, finding, x, y, ...
    for (image, finding), drawn in in_shares(boxes).items(): ...            # [B, 4] left, top, right, bottom

``M.boxes.csv`` stands beside ``M.csv``: ``image, finding, x, y, width, height, image_width, image_height``, where ``x``
and ``y`` are the upper left corner. NIH's own ``BBox_List_2017.csv`` is read, too, and scaled from its 1024x1024.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.data.boxes import (
    COLUMNS,
    NUMBERS,
    REFUSED,
    box_numbers,
    broken_boxes,
    by_line,
    read_box_cells,
    refuse_boxes,
)
from cxr_monai.data.joining import join_on_image
from cxr_monai.data.manifest import file_names
from cxr_monai.data.sources.nih import _read_boxes as read_nih_boxes
from cxr_monai.data.tables import read_cells, read_header
from cxr_monai.errors import Code, EvaluationError, ManifestError
from cxr_monai.labels import NIH14, spelling
from cxr_monai.plurals import be, counted, out_of
from cxr_monai.schemes import FINDINGS, LabelScheme

_BOX = COLUMNS[2:6]
_NIH_HEADER = "Image Index"
_ROUNDING = 0.01  # pixels that a box may reach over the edge: tables hold four decimals


def read_boxes(
    path: str | Path,
    stored: pd.DataFrame,
    findings: Sequence[str],
    scheme: LabelScheme = FINDINGS,
    by_name: bool = False,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read boxes and keep those of images and findings that there are maps of.

    Args:
        path: ``M.boxes.csv`` or ``BBox_List_2017.csv``, plain or .gz.
        stored: ``image``, ``height`` and ``width`` in pixels, one row an image; a map store's table.
        findings: that there are maps of.
        scheme: whose labels these are; a box of a finding is a box of every label that the finding makes true.
        by_name: file names are identities, whatever their folders; a manifest's ``by_name``.

    Returns:
        the columns of `COLUMNS`, ``image`` as ``stored`` names it, sorted by ``stored`` and then as in the file; and
        sentences on what was left out.

    Raises:
        EvaluationError: ``boxes-invalid``, naming all problems: columns missing, no numbers, an unknown
            finding, a box outside its image, an image of another size than the stored one, a box twice.
        ManifestError: ``manifest-invalid`` if no box is of a stored image; ``images-ambiguous`` if it is not clear of
            which; ``source-invalid`` for a file that is not
            there or no text, and, as ``unknown-finding``, for an NIH list that is none.
    """
    path = Path(path)
    sizes = stored[["image"]].assign(stored_width=stored["width"], stored_height=stored["height"])
    if _NIH_HEADER in _header(path):
        table, left_out = _nih(path, sizes)
    else:
        table, left_out = _own(path, sizes, findings, by_name)
    notes = list(left_out)
    table = table.assign(finding=table["finding"].map(scheme.labels_of)).explode("finding")
    table = table.drop_duplicates(["image", "finding", *_BOX])  # of two findings, now of one label
    without = ~table["finding"].isin(list(findings))
    if without.any():
        names = ", ".join(sorted(set(table.loc[without, "finding"])))
        notes.append(f"{counted(without.sum(), 'box')} of findings without maps {be(without.sum())} left out: {names}.")
    table = table[~without]
    if table.empty:
        raise EvaluationError(
            Code.BOXES_INVALID,
            f"no box is of a finding that there are maps of: {', '.join(findings)}.",
            fix="Explain the findings that the boxes are of.",
            where=path,
        )
    order = table["image"].map({name: row for row, name in enumerate(stored["image"])})
    table = table.iloc[np.argsort(order.to_numpy(), kind="stable")]
    return table[list(COLUMNS)].reset_index(drop=True), tuple(notes)


def in_shares(boxes: pd.DataFrame) -> dict[tuple[str, str], np.ndarray]:
    """Return the boxes of each (image, finding), float64 ``[B, 4]``: left, top, right, bottom in shares of it."""
    across, down = boxes["image_width"].to_numpy(float), boxes["image_height"].to_numpy(float)
    left, top = boxes["x"].to_numpy(float) / across, boxes["y"].to_numpy(float) / down
    right, bottom = left + boxes["width"].to_numpy(float) / across, top + boxes["height"].to_numpy(float) / down
    edges = np.clip(np.column_stack([left, top, right, bottom]), 0, 1)
    rows: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(zip(boxes["image"], boxes["finding"], strict=True)):
        rows.setdefault(key, []).append(row)
    return {key: edges[row] for key, row in rows.items()}


def _nih(path: Path, sizes: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    names = file_names(sizes["image"])
    if names.duplicated().any():
        raise EvaluationError(
            Code.BOXES_INVALID,
            f"this list names images by their file names, and several maps are of {names[names.duplicated()].iloc[0]}.",
            fix="Give a table of boxes with the images' paths, as 'cxr-monai manifest nih' writes it.",
            where=path,
        )
    table, note = read_nih_boxes(path, sizes["image"], None)
    if table.empty:
        raise EvaluationError(
            Code.BOXES_INVALID,
            f"no box is of an image that there are maps of ({len(sizes):,}, such as {sizes['image'].iloc[0]!r}).",
            where=path,
        )
    table = table.merge(sizes, on="image")
    for axis, size in (("x", "width"), ("y", "height")):
        scale = table[f"stored_{size}"] / table[f"image_{size}"]
        table[axis], table[size] = table[axis] * scale, table[size] * scale
        table[f"image_{size}"] = table[f"stored_{size}"]
    refuse_boxes([problem for _, problem in (*_outside(table), *_doubled(table))], path)
    return table, [f"Boxes: {note}."]


def _own(path: Path, sizes: pd.DataFrame, findings: Sequence[str], by_name: bool) -> tuple[pd.DataFrame, list[str]]:
    table = _read(path)
    numbers, broken = box_numbers(table)
    problems = broken_boxes(table, broken)
    table = table[["image"]].assign(finding=table["finding"].map(spelling)).join(numbers)
    allowed = list(dict.fromkeys([*findings, *NIH14]))
    strange = ~table["finding"].isin(allowed)
    problems += [
        (line, f"there is no finding {name!r}; the findings are {', '.join(allowed)}")
        for line, name in zip(table.index[strange], table.loc[strange, "finding"], strict=True)
    ]
    problems += _outside(table[~broken]) + _doubled(table[~broken])
    try:
        usable = table[~broken & ~strange].assign(line=table.index[~broken & ~strange])
        by_side = join_on_image(sizes, usable, by_name=by_name, path=path)
    except ManifestError:
        refuse_boxes(by_line(problems), path)
        raise
    joined = by_side.table
    other = (joined["stored_width"] != joined["image_width"]) | (joined["stored_height"] != joined["image_height"])
    columns = ["line", "image", "image_width", "image_height", "stored_width", "stored_height"]
    problems += [
        (line, f"{image} is {width:g}x{height:g} here; the maps are of an image of {stored_width}x{stored_height}")
        for line, image, width, height, stored_width, stored_height in joined.loc[other, columns].itertuples(
            index=False, name=None
        )
    ]
    refuse_boxes(by_line(problems), path)
    absent = len(table) - len(joined)
    by_side.notes("boxed images", "the maps")  # for the log
    return joined, [
        f"{out_of(absent, len(table), 'box')} {be(len(table))} of images without maps, and left out."
    ] if absent else []


def _header(path: Path) -> list[str]:
    if not path.is_file():
        raise ManifestError(Code.SOURCE_INVALID, "there is no such table of boxes.", where=path)
    return read_header(path, REFUSED)


def _read(path: Path) -> pd.DataFrame:
    """Return a table of boxes of our own form as text, indexed by line."""
    table = read_box_cells(path)
    if table.empty:
        raise EvaluationError(Code.BOXES_INVALID, "the table has a header and no box.", where=path)
    return table


def _outside(table: pd.DataFrame) -> list[tuple[int, str]]:
    beyond = (table[["x", "y"]] < -_ROUNDING).any(axis=1)
    beyond |= table["x"] + table["width"] > table["image_width"] + _ROUNDING
    beyond |= table["y"] + table["height"] > table["image_height"] + _ROUNDING
    return [
        (row, f"the box {x:g}, {y:g}, {width:g}, {height:g} (x, y, width, height) leaves {image}, {wide:g}x{high:g}")
        for row, image, x, y, width, height, wide, high in table.loc[beyond, ["image", *NUMBERS]].itertuples(name=None)
    ]


def _doubled(table: pd.DataFrame) -> list[tuple[int, str]]:
    twice = table.duplicated(["image", "finding", *_BOX])
    return [
        (row, f"the same box of {finding} in {image} a second time")
        for row, image, finding in table.loc[twice, ["image", "finding"]].itertuples(name=None)
    ]


def boxed_findings(
    path: str | Path, images: Sequence[str], scheme: LabelScheme = FINDINGS, by_name: bool = False
) -> tuple[dict[str, set[str]], list[str]]:
    """Return which labels are boxed in each of some images, by the images' names, and sentences on what is left out.

    Args:
        path: ``M.boxes.csv`` or ``BBox_List_2017.csv``, plain or .gz.
        images: their names.
        scheme: of the labels; a box of a finding is a box of every label that the finding makes true.
        by_name: file names are identities, whatever their folders.

    Images without a box are not in it. Nothing else of the table is read: :func:`read_boxes` judges it.

    Raises:
        EvaluationError: ``boxes-invalid`` for what is no table of boxes.
        ManifestError: ``source-invalid`` for a file that is not there; ``manifest-invalid`` if no box is of one of the
            images; ``images-ambiguous``.
    """
    path = Path(path)
    if _NIH_HEADER in _header(path):
        table = read_cells(path, REFUSED).rename(columns={_NIH_HEADER: "image", "Finding Label": "finding"})
    else:
        table = _read(path)
    table = table[["image", "finding"]].assign(finding=table["finding"].map(spelling))
    by_side = join_on_image(pd.DataFrame({"image": list(images)}), table, by_name=by_name, path=path)
    labels = {
        str(image): {label for finding in rows["finding"] for label in scheme.labels_of(finding)}
        for image, rows in by_side.table.groupby("image", sort=False)
    }
    return labels, by_side.notes("boxed images", "the images to be explained")
