"""PadChest: 160,861 radiographs of 67,625 patients of one hospital in Alicante, 2007 to 2017, 193 labels.

Bustos, Pertusa, Salinas, de la Iglesia-Vayá: PadChest: A large chest x-ray image dataset with multi-label annotated
reports. Medical Image Analysis 66 (2020) 101797, doi 10.1016/j.media.2020.101797. From BIMCV
(https://bimcv.cipf.es/bimcv-projects/padchest) under its research agreement, for non-commercial use; about 1 TB of
16-bit PNG in 52 archives. There is no official split.

Physicians labelled 39,053 films' reports, a recurrent network the others'. Read as people have it: the table
``PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv`` (or ``chest_x_ray_images_labels_160K_01.02.19.csv``, plain or
.gz), images in the folders ``0`` to ``54`` that its column ``ImageDir`` names, or all in one.

A list of labels names what is present, and what it does not name counts as absent, but for lists that prove nothing:
those with ``exclude`` or ``suboptimal study`` (reason *study excluded*), and ``unchanged`` (the report compares with an
earlier one), empty or missing lists (reason *unmentioned*). Of the 14 findings these films have what is listed, and
all else is unknown; most papers count it as absent (``unmentioned="negative"`` does so for the second kind).

Known errors. Labels carry blanks and capitals. 21 images are missing or damaged in BIMCV's copies: they are missing
images here too (``available_only``). ``Pediatric`` flags 270 of the 7,186 films of patients under 18: filter by age.
Ages are the year of the study less the year of birth, so up to a year too high. A network told 15,126 projections.
Pixels have 10 or 12 bits in files of 16. One study identifier stands for two patients.
"""

import ast
import os
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.data.label_record import LabelRecord, count_unknown
from cxr_monai.data.sources import SourceTable
from cxr_monai.data.sources._files import find_images
from cxr_monai.data.sources._public import find_table, read_columns
from cxr_monai.data.sources._text import emptied_notes, parse_ages, parse_sexes, refuse_nobody
from cxr_monai.data.views import AP, AP_SUPINE, LATERAL, PA
from cxr_monai.errors import Code, ManifestError, UsageError
from cxr_monai.labels import NIH14
from cxr_monai.plurals import be, counted, was

PADCHEST_TABLES = (
    "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv",
    "chest_x_ray_images_labels_160K_01.02.19.csv",
)
# finding: PadChest's labels that say so, each compared as a whole: "pseudonodule" is no nodule
PADCHEST_LABELS: dict[str, tuple[str, ...]] = {
    "Atelectasis": (
        "atelectasis", "laminar atelectasis", "lobar atelectasis", "segmental atelectasis", "total atelectasis",
        "round atelectasis", "atelectasis basal",
    ),
    "Cardiomegaly": ("cardiomegaly",),
    "Effusion": (
        "pleural effusion", "loculated pleural effusion", "loculated fissural effusion", "hydropneumothorax",
    ),
    "Infiltration": (
        "infiltrates", "interstitial pattern", "reticular interstitial pattern",
        "reticulonodular interstitial pattern", "ground glass pattern", "alveolar pattern",
    ),
    "Mass": ("mass", "pulmonary mass"),
    "Nodule": ("nodule", "multiple nodules"),
    "Pneumonia": ("pneumonia", "atypical pneumonia"),
    "Pneumothorax": ("pneumothorax", "hydropneumothorax"),
    "Consolidation": ("consolidation", "air bronchogram"),
    "Edema": ("pulmonary edema", "kerley lines"),
    "Emphysema": ("emphysema",),
    "Fibrosis": ("pulmonary fibrosis",),
    "Pleural_Thickening": ("pleural thickening", "apical pleural thickening", "calcified pleural thickening"),
    "Hernia": ("hiatal hernia",),
}  # fmt: skip
_EXCLUDED = {"exclude", "suboptimal study"}
_COMPARED = "unchanged"
_MISSING = ("", "nan")
# PadChest's projections; COSTAL shows ribs, and EXCLUDE and UNK are no view
_VIEWS = {"PA": PA, "AP": AP, "AP_HORIZONTAL": AP_SUPINE, "L": LATERAL}
_RIBS = "COSTAL"
_COLUMNS = {
    "name": ("ImageID",),
    "folder": ("ImageDir",),
    "date": ("StudyDate_DICOM",),
    "study_id": ("StudyID",),
    "patient_id": ("PatientID",),
    "born": ("PatientBirth",),
    "sex": ("PatientSex_DICOM",),
    "projection": ("Projection",),
    "method": ("MethodLabel",),
    "labels": ("Labels",),
}
_ADULT = 18


def read(
    root: str | Path,
    *,
    table: Path | None = None,
    labeller: str = "all",
    unmentioned: str = "unknown",
    available_only: bool = False,
    table_only: bool = False,
) -> SourceTable:
    """Read PadChest's table and find its images.

    Args:
        root: the folder of the data set, searched with all its folders.
        table: another table than the one in ``root``.
        labeller: ``all``, or ``physician``: leave out the films whose report a network labelled.
        unmentioned: what films without a list that proves absence have of findings that are not listed: ``unknown`` or
            ``negative``. Excluded films stay unknown.
        available_only: leave out the images that are not on disk, instead of refusing.
        table_only: look for no files; paths are ``<ImageDir>/<ImageID>``.

    Returns:
        14 findings in NIH's order, ``label_version`` ``padchest`` or ``padchest-physician``.

    Raises:
        ManifestError: ``source-invalid``, ``images-missing`` or ``no-images``.
        UsageError: ``usage`` for another value of a setting.
    """
    for option, value, options in (
        ("labeller", labeller, ("all", "physician")),
        ("unmentioned", unmentioned, ("unknown", "negative")),
    ):
        if value not in options:
            raise UsageError(Code.USAGE, f"{option} is {' or '.join(options)}, not {value!r}.")
    root = Path(os.path.abspath(root))
    path, notes = find_table(root, table, PADCHEST_TABLES, "PadChest")
    cells = read_columns(path, _COLUMNS, "PadChest")
    _check_identifiers(cells, path)
    labels, excluded, silent = read_label_lists(cells["labels"], path)
    if unmentioned == "negative":
        labels = labels.mask(labels.isna() & ~excluded.to_numpy()[:, None], 0.0)
    kept, kept_notes = _keep(cells, labeller)
    cells = cells[kept]
    cells["image"] = cells["folder"] + "/" + cells["name"]
    if not table_only:
        places, place_notes = find_images(cells["image"], root, path, available_only, by_name=True)
        cells = cells.loc[places.index].assign(image=places)
        kept_notes += place_notes
    labels, excluded, silent = labels.loc[cells.index], excluded[cells.index], silent[cells.index]
    frame, field_notes = _subjects(cells)
    record = LabelRecord(
        "padchest",
        {"labeller": labeller, "unmentioned": unmentioned, "excluded": "unknown"},
        count_unknown(
            labels,
            {
                "study excluded": pd.DataFrame(dict.fromkeys(NIH14, excluded)),
                "unmentioned": pd.DataFrame(dict.fromkeys(NIH14, silent)),
            },
        ),
    )
    return SourceTable(
        pd.concat([frame, labels], axis=1).reset_index(drop=True),
        root,
        "padchest" if labeller == "all" else "padchest-physician",
        (*notes, *kept_notes, *field_notes),
        key="name",
        labels_record=record,
    )


def read_label_lists(cells: pd.Series, path: Path) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """Return the 14 findings of PadChest's lists, and where a list proves no absence.

    Args:
        cells: the column ``Labels``, indexed by line: ``['cardiomegaly', ' pleural effusion']``.
        path: the table, for messages.

    Returns:
        (one float column a finding: 1, 0, NaN unknown; bool: the film is excluded; bool: the list is silent, being
        empty, missing or a comparison with an earlier report).

    Raises:
        ManifestError: ``source-invalid``, with the line of a cell that is no list.
    """
    codes, texts = pd.factorize(cells)
    lists = [_parse_list(text) for text in texts]
    if None in lists:
        text = texts[lists.index(None)]
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"no list of labels: {text[:80]!r}.",
            fix="A cell of 'Labels' reads ['cardiomegaly', 'pleural effusion'].",
            where=f"{path}, line {cells.index[cells == text][0]}",
        )
    tokens_of = [tokens for tokens in lists if tokens is not None]
    listed = np.array([[not tokens.isdisjoint(PADCHEST_LABELS[name]) for name in NIH14] for tokens in tokens_of])
    excluded = np.array([not tokens.isdisjoint(_EXCLUDED) for tokens in tokens_of])
    silent = np.array([_COMPARED in tokens or not tokens for tokens in tokens_of])
    values = np.where(listed, 1.0, np.where((excluded | silent)[:, None], np.nan, 0.0))
    return (
        pd.DataFrame(values[codes], index=cells.index, columns=list(NIH14)),
        pd.Series(excluded[codes], index=cells.index),
        pd.Series(silent[codes], index=cells.index),
    )


def _parse_list(text: str) -> set[str] | None:
    """Return the labels of a list in small letters, without blanks and empty ones; None if it is no list."""
    if text in _MISSING:
        return set()
    try:
        labels = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        return None
    return {label.strip().lower() for label in labels} - {""}


def _check_identifiers(cells: pd.DataFrame, path: Path) -> None:
    """Refuse patients without a name, identifiers that a spreadsheet rounded, and images that stand twice."""
    refuse_nobody(cells["patient_id"], "PatientID", path)
    for column, name in (("patient_id", "PatientID"), ("study_id", "StudyID")):
        rounded = cells.index[cells[column].str.fullmatch(r"\d(?:\.\d+)?[eE]\+?\d+")]
        if not rounded.empty:
            raise ManifestError(
                Code.SOURCE_INVALID,
                f"{name} {cells[column][rounded[0]]!r} has lost its digits ({counted(len(rounded), 'row')}): patients "
                "would be taken for one another.",
                fix="A spreadsheet saved numbers of 36 digits as floats; take BIMCV's own file.",
                where=f"{path}, line {rounded[0]}",
            )
    twice = cells.index[cells["name"].duplicated()]
    if not twice.empty:
        name = cells["name"][twice[0]]
        raise ManifestError(Code.SOURCE_INVALID, f"{name!r} has a second row.", where=f"{path}, line {twice[0]}")


def _keep(cells: pd.DataFrame, labeller: str) -> tuple[pd.Series, list[str]]:
    """Return which rows are kept, and notes on the others."""
    ribs = cells["projection"].str.upper() == _RIBS
    notes = [f"left out {counted(int(ribs.sum()), 'film')} of the ribs (Projection {_RIBS})"] if ribs.any() else []
    if labeller == "all":
        return ~ribs, notes
    network = ~ribs & (cells["method"].str.lower() != "physician")
    if (ribs | network).all():
        raise ManifestError(
            Code.SOURCE_INVALID, "no film's report is labelled by a physician.", fix="Leave out --labeller physician."
        )
    return ~ribs & ~network, [*notes, f"left out {counted(int(network.sum()), 'film')} whose labels a network made"]


def _subjects(cells: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the manifest's columns but the findings, and notes."""
    views = cells["projection"].str.upper().map(_VIEWS).fillna("")
    birth, date = (pd.to_numeric(cells[name], errors="coerce") for name in ("born", "date"))
    years = date // 10_000 - birth
    ages, bad_ages = parse_ages(years.map(lambda year: "" if np.isnan(year) else f"{year:.0f}"))
    sexes, bad_sexes = parse_sexes(cells["sex"].mask(cells["sex"].isin(_MISSING), ""))
    several = cells.groupby("study_id")["patient_id"].transform("nunique") > 1
    studies = cells["study_id"].mask(several, cells["study_id"] + "_" + cells["patient_id"])
    notes = emptied_notes(bad_ages, bad_sexes)
    if unseen := int((views == "").sum()):
        notes.append(f"{counted(unseen, 'film')} {be(unseen)} of no known view")
    if several.any():
        shared = cells["study_id"][several].nunique()
        notes.append(f"{counted(shared, 'study identifier')} {be(shared)} of several patients and {was(shared)} parted")
    if young := int((ages < _ADULT).sum()):
        notes.append(f"{counted(young, 'film')} {be(young)} of patients under {_ADULT} by their age; PadChest's own "
                     "column Pediatric misses most of them")  # fmt: skip
    return pd.DataFrame(
        {
            "image": cells["image"],
            "patient_id": cells["patient_id"],
            "study_id": studies,
            "view": views,
            "age": ages,
            "sex": sexes,
            "source": "padchest",
        }
    ), notes
