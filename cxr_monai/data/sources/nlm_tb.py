"""NLM's two tuberculosis sets: Shenzhen (662 radiographs, 336 with tuberculosis) and Montgomery (138, 58).

Jaeger, Candemir, Antani, Wáng, Lu, Thoma: Two public chest X-ray datasets for computer-aided screening of pulmonary
diseases. Quantitative Imaging in Medicine and Surgery 4 (2014) 475-477, doi 10.3978/j.issn.2223-4292.2014.11.20. From
https://lhncbc.nlm.nih.gov/LHC-downloads/downloads.html, in the public domain. There is no official split.

Read as people have it: images of both sets or of one, anywhere below ROOT, told by their names
(``CHNCXR_0001_0.png``, ``MCUCXR_0001_1.png``: the last digit is 1 where there is tuberculosis), and the folders
``ClinicalReadings`` with a text a film (``male 45yrs``; ``Patient's Age: 027Y``). Files in folders of masks are no
films: ``ManualMask/leftMask`` and ``rightMask`` of Montgomery, ``mask`` and ``Annotations-2`` of Shenzhen.

A normal film has none of the 14 findings. Of a film with tuberculosis they are unknown (reason *unmentioned*): the
readings name some of them, in free text that is not read. ``Tuberculosis`` is a column of its own. All films are PA;
each is of another patient.

Known errors. torchxrayvision's documentation says 80 cases for Montgomery, which is the number of normal films. Some
films are of children. TBX11K holds both sets: a network trained on that is not tested externally here.
"""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.data.ages import age_in_years
from cxr_monai.data.label_record import LabelRecord, count_unknown
from cxr_monai.data.sources import SourceTable
from cxr_monai.data.sources._files import (
    images_below,
    left_out_note,
    refuse_copies,
    report_missing,
    require_any,
    require_folder,
    walk,
)
from cxr_monai.data.views import PA
from cxr_monai.errors import Code, ManifestError
from cxr_monai.labels import NIH14
from cxr_monai.plurals import counted, out_of

TUBERCULOSIS = "Tuberculosis"
_SETS = {"CHNCXR": ("shenzhen", 662), "MCUCXR": ("montgomery", 138)}
_FILM = re.compile(r"((?:CHNCXR|MCUCXR)_\d+_[01])")
_MASKS = re.compile(r"(?:manual|left|right|lung)?_?masks?|annotations.*")  # folders that hold no films
_SEX = re.compile(r"\b(female|male|[FM])\b", re.IGNORECASE)
_AGE = re.compile(r"(?<![\d.])(\d{1,3})(?:\.\d+)?\s*([ymwd])", re.IGNORECASE)
_CHILD = 18


def read(
    root: str | Path,
    *,
    images: str | None = None,
    available_only: bool = False,
    table_only: bool = False,
) -> SourceTable:
    """Read the films and readings of Shenzhen, Montgomery, or both.

    Args:
        root: the folder of the data sets, searched with all its folders.
        images: the folder of the images, relative to ``root``, where films are there more than once.
        available_only: leave out the films that have a reading and no image, instead of refusing.
        table_only: look for no image files: the films are those that have a reading, at ``CXR_png/<name>.png``.

    Returns:
        14 findings in NIH's order and ``Tuberculosis``, ``source`` ``shenzhen`` or ``montgomery``, ``label_version``
        ``nlm-tb``.

    Raises:
        ManifestError: ``no-images``, ``images-missing`` or ``source-invalid``.
    """
    root = Path(os.path.abspath(root))
    require_folder(root)
    readings = _find_readings(root)
    if table_only:
        films = pd.Series({film: f"CXR_png/{film}.png" for film in readings}, dtype="str")
        notes: list[str] = []
    else:
        films, notes = _find_films(root, images, list(readings), available_only)
    if films.empty:
        raise ManifestError(
            Code.NO_IMAGES,
            "no film of Shenzhen or Montgomery is here; they are named CHNCXR_0001_0.png and MCUCXR_0001_0.png"
            + (", and their readings CHNCXR_0001_0.txt." if table_only else "."),
            where=root,
        )
    people = pd.DataFrame([_read_person(readings.get(film)) for film in films.index], columns=["age", "sex"])
    frame = pd.DataFrame(
        {
            "image": films.to_numpy(),
            "patient_id": films.index,
            "study_id": "",
            "view": PA,
            "age": people["age"],
            "sex": people["sex"],
            "source": [_SETS[film.partition("_")[0]][0] for film in films.index],
        }
    )
    sick = np.array([film.endswith("_1") for film in films.index])
    labels = pd.DataFrame({finding: np.where(sick, np.nan, 0.0) for finding in NIH14})
    labels[TUBERCULOSIS] = sick.astype(float)
    record = LabelRecord("nlm-tb", {}, count_unknown(labels, {"unmentioned": labels.isna()}))
    return SourceTable(
        pd.concat([frame, labels], axis=1),
        root,
        "nlm-tb",
        (*notes, *_notes(frame, [film in readings for film in films.index])),
        key="name",
        labels_record=record,
    )


def _find_readings(root: Path) -> dict[str, Path]:
    """Return film -> its text of ``ClinicalReadings``."""
    texts = {}
    for name in walk(root):
        match = re.fullmatch(rf"(?:.*/)?{_FILM.pattern}\.txt", name)
        if match:
            texts[match[1]] = root / name
    return dict(sorted(texts.items()))


def _find_films(
    root: Path, images: str | None, readings: list[str], available_only: bool
) -> tuple[pd.Series, list[str]]:
    """Return film -> path of its image, and notes."""
    every = images_below(root, images)
    files = pd.Series([path for path in every if _film_of(path) and not _is_mask(path)], dtype="str")
    masks = sum(1 for path in every if _is_mask(path))
    films = files.map(_film_of)
    refuse_copies(files, films, root)
    places = pd.Series(files.to_numpy(), index=films.to_numpy(), dtype="str").sort_index()
    notes = [f"{counted(masks, 'file')} in folders of masks taken for no film"] if masks else []
    sets = {film.partition("_")[0] for film in places.index}
    missing = [film for film in readings if film not in places.index and film.partition("_")[0] in sets]
    if places.empty or not missing:
        return places, notes
    if not available_only:
        report_missing(missing, len(places) + len(missing), [images or "ROOT or its folders"], root)
    require_any(len(places), root, [])
    return places, [*notes, left_out_note(len(places), len(missing))]


def _film_of(path: str) -> str:
    """Return the film that a file shows by its name, ``""`` for none."""
    match = _FILM.fullmatch(path.rpartition("/")[2].partition(".")[0])
    return match[1] if match else ""


def _is_mask(path: str) -> bool:
    return any(_MASKS.fullmatch(folder) for folder in path.lower().split("/")[:-1])


def _read_person(reading: Path | None) -> tuple[float, str]:
    """Return age in years (NaN unknown) and sex of a reading: ``male 45yrs``, or Montgomery's two lines."""
    if reading is None:
        return np.nan, ""
    lines = reading.read_bytes().decode("utf-8", errors="replace").splitlines()
    fields = [line.partition(":")[2] for line in lines if line.startswith("Patient's")]
    text = " ".join(fields or lines[:1])  # further lines tell what is seen
    sex, age = _SEX.search(text), _AGE.search(text)
    return age_in_years(f"{age[1]}{age[2]}") if age else np.nan, sex[1][0].upper() if sex else ""


def _notes(frame: pd.DataFrame, read_ones: list[bool]) -> list[str]:
    notes = []
    for name, total in _SETS.values():
        number = int((frame["source"] == name).sum())
        if 0 < number < total:
            notes.append(f"{out_of(number, total, 'film')} of {name.capitalize()}")
    unread = len(read_ones) - sum(read_ones)
    if unread:
        notes.append(f"{counted(unread, 'film')} without a reading: age and sex are empty")
    if young := int((frame["age"] < _CHILD).sum()):
        notes.append(f"{counted(young, 'film')} of patients under {_CHILD}")
    return notes
