"""Open-i, the Indiana University collection: 7,470 radiographs of 3,851 reports, frontal and lateral, freely available.

Demner-Fushman, Kohli, Rosenman et al.: Preparing a collection of radiology examinations for distribution and retrieval.
Journal of the American Medical Informatics Association 23 (2016) 304-310, doi 10.1093/jamia/ocv080. From
https://openi.nlm.nih.gov/faq (``NLMCXR_reports.tgz``, ``NLMCXR_png.tgz``, ``NLMCXR_dcm.tgz``); the reports name their
licence: CC BY-NC-ND 4.0. There is no official split.

Read as people have it. NLM's: the archive of reports or its XML files, images in PNG (``CXR1_1_IM-0001-3001.png``) or
DICOM (``1_IM-0001-3001.dcm``). Kaggle's: ``indiana_reports.csv`` and ``indiana_projections.csv``, images
``1_IM-0001-3001.dcm.png``. These are one name.

Labels are the headings that people gave each report (``major``), not the automatic ones, and hold for all its films.
What a report's headings do not name is absent; those with ``no indexing`` (95) or ``technical quality of image
unsatisfactory`` (86) prove no absence: what they do not name is unknown (reason *study excluded*). Each report is a
patient's only one.

Views: the DICOM headers', or of a table of them in the folder (``nlmcxr_dicom_metadata.csv``), else Kaggle's
projection where it is Lateral, else a table made by clustering (``nlmcxr_tsne_pa.csv``). Kaggle's Frontal does not tell
PA from AP: without another source the view is empty.

Known errors. A third of the headers have no View Position, and where one source has a film as frontal and another as
lateral (180 films called PA look lateral by the clustering) the view is left empty. 104 reports have no image. PNG
files are RGB. Half of the DICOM files are MONOCHROME1. Sex is nowhere. Ages are not taken: nothing documents that the
birth dates in the headers are the patients' own.
"""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.data.files import DICOM_SUFFIXES
from cxr_monai.data.label_record import LabelRecord, count_unknown
from cxr_monai.data.sources import SourceTable
from cxr_monai.data.sources._files import images_below, left_out_note, refuse_copies, report_missing, require_any
from cxr_monai.data.sources._headers import read_image_headers
from cxr_monai.data.sources._openi_reports import OPENI, Reports, find_reports, read_reports
from cxr_monai.data.sources._public import read_columns, tables_in
from cxr_monai.data.views import LATERAL, known_view
from cxr_monai.errors import Code, ManifestError
from cxr_monai.labels import NIH14
from cxr_monai.plurals import be, counted, was

# finding: the headings, before their qualifiers, that say so
OPENI_HEADINGS: dict[str, tuple[str, ...]] = {
    "Atelectasis": ("pulmonary atelectasis",),
    "Cardiomegaly": ("cardiomegaly",),
    "Effusion": ("pleural effusion", "hydropneumothorax", "hemopneumothorax"),
    "Infiltration": ("infiltrate",),
    "Mass": ("mass",),
    "Nodule": ("nodule",),
    "Pneumonia": ("pneumonia",),
    "Pneumothorax": ("pneumothorax", "hydropneumothorax", "hemopneumothorax"),
    "Consolidation": ("consolidation",),
    "Edema": ("pulmonary edema",),
    "Emphysema": ("emphysema", "pulmonary emphysema", "bullous emphysema"),
    "Fibrosis": ("pulmonary fibrosis",),
    "Pleural_Thickening": ("thickening/pleura",),
    "Hernia": ("hernia, hiatal", "hernia, diaphragmatic"),
}
_EXCLUDED = ("no indexing", "technical quality of image unsatisfactory")
_NAME = re.compile(r"^(?:CXR)?(\d+)(?:_\1)?_")
_DICOM_TABLE, _CLUSTERS = "nlmcxr_dicom_metadata.csv", "nlmcxr_tsne_pa.csv"
_LATERALS = ("LARGE LATERAL", "L")  # as a header and the clustering have it


def read(
    root: str | Path,
    *,
    table: Path | None = None,
    images: str | None = None,
    available_only: bool = False,
    table_only: bool = False,
) -> SourceTable:
    """Read Open-i's reports of either form, and find the images.

    Args:
        root: the folder of the data set, searched with all its folders.
        table: the reports: NLM's archive, a folder of its XML files, or Kaggle's ``indiana_reports.csv`` (with the
            projections beside it).
        images: the folder of the images, relative to ``root``, where they are there in two formats.
        available_only: leave out the images that are not on disk, instead of refusing.
        table_only: look for no files; paths are ``NLMCXR_png/<name>.png``.

    Returns:
        14 findings in NIH's order, ``label_version`` ``openi-mesh``.

    Raises:
        ManifestError: ``source-invalid``, ``images-missing`` or ``no-images``.
    """
    root = Path(os.path.abspath(root))
    path, notes = find_reports(root, table)
    reports = read_reports(path)
    films = reports.images.assign(key=reports.images["name"].map(film_key))
    _refuse_doubled(films, path)
    without = len(set(reports.headings) - set(films["uid"]))
    if without:
        notes.append(f"left out {counted(without, 'report')} without an image")
    if table_only:
        films["image"] = "NLMCXR_png/" + films["name"].str.replace(r"(?:\.dcm|\.png)+$", "", regex=True) + ".png"
    else:
        films, image_notes = _find_films(films, root, images, available_only)
        notes += image_notes
    films["view"], view_notes = _views(films, root, table_only)
    labels, excluded, silent = read_headings(reports, films["uid"])
    record = LabelRecord(
        f"openi {reports.form}",
        {"excluded": "unknown"},
        count_unknown(
            labels,
            {
                "study excluded": pd.DataFrame(dict.fromkeys(NIH14, excluded)),
                "unmentioned": pd.DataFrame(dict.fromkeys(NIH14, silent)),
            },
        ),
    )
    frame = pd.DataFrame(
        {
            "image": films["image"],
            "patient_id": films["uid"],
            "study_id": films["uid"],
            "view": films["view"],
            "age": np.nan,
            "sex": "",
            "source": "openi",
        }
    )
    return SourceTable(
        pd.concat([frame, labels], axis=1).reset_index(drop=True),
        root,
        "openi-mesh",
        (*notes, *view_notes),
        key="name",
        labels_record=record,
    )


def film_key(name: str) -> str:
    """Return what a film's names in NLM's reports, archives and Kaggle's tables have in common.

    >>> {film_key(name) for name in ("CXR1_1_IM-0001-3001", "1/1_IM-0001-3001.dcm", "1_IM-0001-3001.dcm.png")}
    {'1_IM-0001-3001'}
    """
    stem = re.sub(r"(?:\.(?:dcm|dicom|png|jpe?g))+$", "", name.rpartition("/")[2], flags=re.IGNORECASE)
    return _NAME.sub(r"\1_", stem)


def read_headings(reports: Reports, uids: pd.Series) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """Return each film's findings by its report's headings, and where these prove no absence.

    Args:
        reports: of either form.
        uids: the film's report; the index is kept.

    Returns:
        (one float column a finding: 1, 0, NaN unknown; bool: the report is excluded; bool: it has no heading).
    """
    rows, excluded = {}, {}
    for uid, headings in reports.headings.items():
        starts = ["/".join(part.strip() for part in heading.lower().split("/")) + "/" for heading in headings]
        excluded[uid] = any(start.startswith(f"{word}/") for start in starts for word in _EXCLUDED)
        absent = np.nan if excluded[uid] or not starts else 0.0
        present = {
            finding
            for finding, words in OPENI_HEADINGS.items()
            if any(start.startswith(f"{word}/") for start in starts for word in words)
        }
        rows[uid] = [1.0 if finding in present else absent for finding in NIH14]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(NIH14))
    silent = uids.map({uid: not headings for uid, headings in reports.headings.items()}).astype(bool)
    return table.loc[uids].set_axis(uids.index, axis=0), uids.map(excluded).astype(bool), silent


def _refuse_doubled(films: pd.DataFrame, path: Path) -> None:
    """Refuse reports without any film, a film without a name, and one that stands twice."""
    twice = films.loc[films["key"].duplicated() | (films["key"] == ""), "name"]
    if films.empty or not twice.empty:
        reason = "no report names an image" if films.empty else f"the image {twice.iloc[0]!r} stands twice"
        raise ManifestError(Code.SOURCE_INVALID, f"{reason}.", where=path)


def _find_films(
    films: pd.DataFrame, root: Path, images: str | None, available_only: bool
) -> tuple[pd.DataFrame, list[str]]:
    """Return the films that are kept, with the paths of their images, and notes."""
    files = pd.Series(images_below(root, images), dtype="str")
    keys = files.map(film_key)
    keys = keys[keys.isin(films["key"])]
    files = files[keys.index]
    refuse_copies(files, keys, root)
    places = films["key"].map(dict(zip(keys, files, strict=True)))
    missing = films.loc[places.isna(), "name"].tolist()
    kept = films.assign(image=places)[places.notna()].reset_index(drop=True)
    if not available_only:
        report_missing(missing, len(films), [images or "ROOT or its folders"], root)
        return kept, []
    require_any(len(kept), root, [])
    return kept, [left_out_note(len(kept), len(missing))]


def _views(films: pd.DataFrame, root: Path, table_only: bool) -> tuple[pd.Series, list[str]]:
    """Return each film's view, ``""`` where nothing tells it or two sources disagree, and notes."""
    views = _column(films["key"], root, _DICOM_TABLE, "View Position")
    dicoms = films["image"].str.lower().str.endswith(DICOM_SUFFIXES) & (views == "") & (not table_only)
    if dicoms.any():
        headers = read_image_headers(films.loc[dicoms, "image"], root)
        views = views.mask(dicoms, films["image"].map(headers["view"]))
    views = views.map(_view_of_word)
    clusters = _column(films["key"], root, _CLUSTERS, "tsne-view").map(_view_of_word)
    sides = pd.concat([views, films["projection"], clusters], axis=1)
    lateral = sides == LATERAL
    against = lateral.any(axis=1) & ((sides != "") & ~lateral).any(axis=1)
    views = views.mask(views == "", films["projection"].map(known_view))
    clustered = (views == "") & (clusters != "") & ~against
    views = views.mask(clustered, clusters).mask(against, "")
    notes = []
    if clustered.any():
        notes.append(f"{counted(int(clustered.sum()), 'view')} {be(int(clustered.sum()))} by clustering ({_CLUSTERS})")
    if against.any():
        number = int(against.sum())
        notes.append(
            f"{counted(number, 'view')} {was(number)} emptied: header, projection or {_CLUSTERS} disagree on whether "
            "it is lateral"
        )
    if (views == "").any():
        number = int((views == "").sum())
        frontal = " (Kaggle's Frontal does not tell PA from AP)" if (films["projection"] == "FRONTAL").any() else ""
        notes.append(f"{counted(number, 'film')} {be(number)} of no known view{frontal}")
    return views, notes


def _view_of_word(word: str) -> str:
    """Return the view that a header or the clustering names, ``""`` for none."""
    return LATERAL if word.strip().upper() in _LATERALS else known_view(word)


def _column(keys: pd.Series, root: Path, file: str, column: str) -> pd.Series:
    """Return each film's cell in a table of films in ROOT; ``""`` where that does not have it, or is not there."""
    values: dict[str, str] = {}
    if places := tables_in(root, [file]):
        cells = read_columns(places[0], {"name": ("imageid",), "value": (column,)}, OPENI)
        values = dict(zip(cells["name"].map(film_key), cells["value"], strict=True))
    return pd.Series([values.get(key, "") for key in keys], index=keys.index, dtype="str")
