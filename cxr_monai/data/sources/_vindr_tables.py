"""VinDr-CXR's tables in PhysioNet's form and in Kaggle's, as readings of films and boxes.

paths, notes = find_vindr_tables(root, None)
read_films(paths[0]).readings       # image_id, reader, one column a finding: a row a film and reader
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.data.columns import key
from cxr_monai.data.sources._public import read_columns, resembling_table, tables_in, tables_near, wrong_table
from cxr_monai.data.sources._text import read_table
from cxr_monai.data.tables import read_header
from cxr_monai.errors import Code, ManifestError

VINDR_NAME = "VinDr-CXR"
NODULE_OR_MASS = "Mass or Nodule"
# VinDr-CXR's labels in its order; with ours where it is another
_LABELS = {
    "Aortic enlargement": "", "Atelectasis": "", "Calcification": "", "Cardiomegaly": "", "Clavicle fracture": "",
    "Consolidation": "", "Edema": "", "Emphysema": "", "Enlarged PA": "", "ILD": "", "Infiltration": "",
    "Lung Opacity": "", "Lung cavity": "", "Lung cyst": "", "Mediastinal shift": "", "Nodule/Mass": NODULE_OR_MASS,
    "Pleural effusion": "Effusion", "Pleural thickening": "Pleural_Thickening", "Pneumothorax": "",
    "Pulmonary fibrosis": "Fibrosis", "Rib fracture": "", "Other lesion": "", "COPD": "", "Lung tumor": "",
    "Pneumonia": "", "Tuberculosis": "", "Other disease": "", "Other diseases": "Other disease",
}  # fmt: skip
_FINDING_OF = {key(label): finding or label for label, finding in _LABELS.items()}
_NORMAL = "nofinding"
_KAGGLE = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Consolidation", "Fibrosis", "ILD",
    "Infiltration", "Lung Opacity", NODULE_OR_MASS, "Other lesion", "Effusion", "Pleural_Thickening", "Pneumothorax",
)  # fmt: skip
_CORNERS = ("x_min", "y_min", "x_max", "y_max")
_BOXED = {"name": ("image_id",), "class": ("class_name",), **{corner: (corner,) for corner in _CORNERS}}
_READER = {"reader": ("rad_id",)}
_CELLS = {"0": 0.0, "0.0": 0.0, "1": 1.0, "1.0": 1.0, "": np.nan}
_PHYSIONET = ("image_labels_train.csv", "image_labels_test.csv")
_META = "train_meta.csv"


@dataclass(frozen=True, eq=False)
class VindrFilms:
    """One table of films.

    Attributes:
        readings: ``name`` (image_id), ``reader`` (``""``: a consensus), ``split`` (``""``: none), then one float column
            a finding: 1, 0, NaN; a row a film and reader.
        boxes: ``name, reader, finding, x_min, y_min, x_max, y_max``, in pixels of the original image.
        form: ``physionet`` or ``kaggle``.
    """

    readings: pd.DataFrame
    boxes: pd.DataFrame
    form: str


def find_vindr_tables(root: Path, table: Path | None) -> tuple[list[Path], list[str]]:
    """Return PhysioNet's tables of labels, or Kaggle's one, and a note if there was a choice.

    Raises:
        ManifestError: ``source-invalid`` if none is there.
    """
    if table is not None:
        return [table], []
    physionet = [places[0] for name in _PHYSIONET if (places := tables_in(root, [name]))]
    kaggle = tables_in(root, ["train.csv"])
    if not physionet and not kaggle:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"no table of {VINDR_NAME} is here; looked for {', '.join(_PHYSIONET)} (PhysioNet) and train.csv (Kaggle), "
            "plain or .gz, in this folder and the folders in it"
            f"{resembling_table(root, tables_near(root), VINDR_NAME)}.",
            fix="Name it with --table FILE.",
            where=root,
        )
    if physionet and kaggle:
        return physionet, [f"took PhysioNet's tables, not Kaggle's {kaggle[0].name} (--table FILE takes it)"]
    return physionet or kaggle[:1], []


def read_films(path: Path) -> VindrFilms:
    """Read a table of films of either form; PhysioNet's boxes from the table beside it.

    Raises:
        ManifestError: ``source-invalid``: another set's table, a cell that is no label, another label.
    """
    columns = {key(name) for name in read_header(path)}
    return _read_kaggle(path) if "classname" in columns else _read_physionet(path)


def read_original_sizes(root: Path) -> pd.DataFrame | None:
    """Return ``width`` and ``height`` of the original images by image_id, from ``train_meta.csv``; None without it.

    Raises:
        ManifestError: ``source-invalid`` for a size that is no number.
    """
    places = tables_in(root, [_META])
    if not places:
        return None
    cells = read_columns(places[0], {"name": ("image_id",), "height": ("dim0",), "width": ("dim1",)}, VINDR_NAME)
    sizes = cells[["width", "height"]].apply(pd.to_numeric, errors="coerce")
    wrong = cells.index[~(sizes > 0).all(axis=1)]
    if not wrong.empty:
        raise ManifestError(Code.SOURCE_INVALID, "no size of an image.", where=f"{places[0]}, line {wrong[0]}")
    return sizes.set_axis(cells["name"], axis=0).groupby(level=0).first()


def _read_kaggle(path: Path) -> VindrFilms:
    """Read Kaggle's table: a row a box, or ``No finding``."""
    cells = read_columns(path, {**_BOXED, **_READER}, VINDR_NAME)
    cells["finding"] = _findings_of_classes(cells["class"], path, _KAGGLE)
    present = cells.drop_duplicates(["name", "reader", "finding"])
    pairs = cells[["name", "reader"]].drop_duplicates()
    indicators = pd.get_dummies(present["finding"], dtype=float).groupby([present["name"], present["reader"]]).max()
    labels = indicators.reindex(columns=list(_KAGGLE), fill_value=0.0).loc[pd.MultiIndex.from_frame(pairs)]
    return VindrFilms(labels.reset_index().assign(split=""), _corners(cells[cells["finding"] != ""]), "kaggle")


def _read_physionet(path: Path) -> VindrFilms:
    """Read ``image_labels_*.csv``: a row a film and reader, or a film, and one column a label."""
    names = read_header(path)
    columns = {name: _FINDING_OF[key(name)] for name in names if key(name) in _FINDING_OF}
    if len(columns) < 2:
        raise wrong_table(path, names, "it has no column of a label such as 'Aortic enlargement'", VINDR_NAME)
    cells = read_columns(path, {"name": ("image_id",)}, VINDR_NAME, optional=_READER)
    raw = read_table(path)
    labels = pd.DataFrame({finding: _values(raw[name], path) for name, finding in columns.items()})
    twice = cells.index[cells.duplicated(["name", "reader"])]
    if not twice.empty:
        name, reader = cells.loc[twice[0], ["name", "reader"]]
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"{name!r} has a second row{f' of the reader {reader}' if reader else ''}.",
            where=f"{path}, line {twice[0]}",
        )
    split = next((part for part in ("train", "test") if path.name.startswith(f"image_labels_{part}")), "")
    beside = path.with_name(path.name.replace("image_labels_", "annotations_"))
    boxes = _read_annotations(beside) if split and beside.is_file() else _corners(_no_boxes())
    return VindrFilms(pd.concat([cells.assign(split=split), labels], axis=1), boxes, "physionet")


def _read_annotations(path: Path) -> pd.DataFrame:
    cells = read_columns(path, _BOXED, VINDR_NAME, optional=_READER)
    cells["finding"] = _findings_of_classes(cells["class"], path, tuple(_FINDING_OF.values()))
    return _corners(cells[cells["finding"] != ""])


def _no_boxes() -> pd.DataFrame:
    return pd.DataFrame(columns=["name", "reader", "finding", *_CORNERS], dtype="str")


def _corners(cells: pd.DataFrame) -> pd.DataFrame:
    """Return boxes with numbers for corners, NaN for what is none."""
    numbers = cells[list(_CORNERS)].apply(pd.to_numeric, errors="coerce").astype(float)
    return pd.concat([cells[["name", "reader", "finding"]], numbers], axis=1).reset_index(drop=True)


def _findings_of_classes(classes: pd.Series, path: Path, allowed: Sequence[str]) -> pd.Series:
    """Return our names of VinDr-CXR's classes, ``""`` for no finding; refuse others."""
    finding_of = {name: "" if key(name) == _NORMAL else _FINDING_OF.get(key(name)) for name in classes.unique()}
    wrong = [name for name, finding in finding_of.items() if finding != "" and finding not in allowed]
    if wrong:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"{wrong[0]!r} is no label of {VINDR_NAME}.",
            where=f"{path}, line {classes.index[classes == wrong[0]][0]}",
        )
    return classes.map(finding_of)


def _values(cells: pd.Series, path: Path) -> pd.Series:
    wrong = cells.index[~cells.isin(list(_CELLS))]
    if not wrong.empty:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"column {cells.name!r}: {cells[wrong[0]]!r} is none of 1 (present), 0 (absent), empty (unknown).",
            where=f"{path}, line {wrong[0]}",
        )
    return cells.map(_CELLS).astype(float)
