"""The facts of a DICOM header by which a network may judge a film or not (``cxr_monai.data.film_header``).

    film_header(header).age                     # 36.0 of "036Y", else of the dates of birth and study

An attribute that is missing, malformed or impossible is a fact less, never an error: a film is refused by its pixels
where its header says nothing. Free text other than the device's names is not taken, so nobody is named.
"""

import math
import re
from datetime import datetime

import numpy as np

from cxr_monai.data.ages import age_by_dates, age_in_years
from cxr_monai.data.film_header import FilmHeader
from cxr_monai.data.formats.dicom_library import Dataset
from cxr_monai.data.formats.dicom_subject import (
    MODALITIES,
    is_for_processing,
    is_lateral,
    other_body_part,
    view_of,
)
from cxr_monai.data.formats.dicom_values import first_number, numbers, plain_text, text, values_of

AGE_TAGS = ["PatientAge", "PatientBirthDate", "StudyDate"]
"""The attributes that :func:`age_text` reads."""

_TIMES = ("Acquisition", "Content", "Series", "Study")
_FIRST_DIGITAL = 1980  # an earlier year stands for none: RSNA's headers say 1901, of others 1900 or 1970 is known
_NO_SPACING = (1.0, 1.0)


def film_header(header: Dataset) -> FilmHeader:
    """Return the facts of a header.

    Args:
        header: a data set; whatever its attributes hold, nothing is raised.
    """
    lateral, age = is_lateral(header), age_in_years(age_text(header))
    return FilmHeader(
        modality=_modality(header),
        body_part=_body_part(header),
        view=view_of(header) or ("LATERAL" if lateral else ""),
        is_lateral=lateral,
        age=None if math.isnan(age) else age,
        intent=_intent(header),
        has_burned_in_annotation={"YES": True, "NO": False}.get(text(header, "BurnedInAnnotation")),
        field_of_view=_field_of_view(header),
        manufacturer=plain_text(header, "Manufacturer"),
        model=plain_text(header, "ManufacturerModelName"),
        taken_on=taken_on(header),
    )


def age_text(header: Dataset) -> str:
    """Return Patient Age; completed years between Patient's Birth Date and Study Date where it is empty or 000Y.

    000Y stands for an unknown age in some headers; without both dates it stays, since a child must not pass for none.
    """
    age, dates = text(header, "PatientAge"), (text(header, "PatientBirthDate"), text(header, "StudyDate"))
    return age if age not in ("", "000Y") else age_by_dates(*dates) or age


def pixel_spacing(header: Dataset) -> tuple[tuple[float, float] | None, str | None]:
    """Return (row, column) spacing in mm (PS3.3 10.7.1.3) and its attribute: calibrated, at the detector, of a scan."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        values = numbers(header, keyword)
        if len(values) == 2 and np.isfinite(values).all() and min(values) > 0:
            return (values[0], values[1]), keyword
    return None, None


def taken_on(header: Dataset) -> str:
    """Return when a film was taken, ISO 8601, in the device's own time; empty where no attribute tells a day.

    Acquisition DateTime, else date and time of acquisition, content, series or study (PS3.3 C.7.6.1, C.7.3.1, C.7.2.1),
    the first whose date is one; the day alone where its time is missing or malformed. Zones and fractions are left out.
    """
    stamp = text(header, "AcquisitionDateTime")
    pairs = [(stamp[:8], re.split(r"[.+-]", stamp[8:])[0])]
    pairs += [(text(header, f"{what}Date"), text(header, f"{what}Time")) for what in _TIMES]
    return next((moment for pair in pairs if (moment := _moment(*pair))), "")


def _moment(date: str, time: str) -> str:
    """Return a day (DA, with the dots of ACR-NEMA, too) and a time (TM, with its colons, too) in ISO 8601."""
    day = re.fullmatch(r"(\d{4})(\.?)(\d\d)\2(\d\d)", date, re.ASCII)
    if day is None or int(day[1]) < _FIRST_DIGITAL:
        return ""
    clock = re.fullmatch(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.\d{0,6})?)?)?", time, re.ASCII)
    try:
        moment = datetime(int(day[1]), int(day[3]), int(day[4]))
        if clock is None:
            return moment.date().isoformat()
        hour, minute, second = (int(part or 0) for part in clock.groups())
        if hour > 23 or minute > 59 or second > 60:
            return moment.date().isoformat()
        # a leap second is the 60th (PS3.5 6.2), which Python does not have
        return moment.replace(hour=hour, minute=minute, second=min(second, 59)).isoformat()
    except ValueError:  # there is no such day
        return ""


def _modality(header: Dataset) -> str:
    """Return a radiograph's Modality where one of the values is one, else the first; empty for what is no code."""
    values = [str(value).strip(" \0").upper() for value in values_of(header, "Modality")]
    codes = [value for value in values if re.fullmatch(r"[A-Z]{1,6}", value)]
    return next((value for value in codes if value in MODALITIES), codes[0] if codes else "")


def _body_part(header: Dataset) -> str:
    """Return the part that is not the chest where an attribute names one (`dicom_subject`), else Body Part Examined."""
    return other_body_part(header)[1] or plain_text(header, "BodyPartExamined").upper()


def _intent(header: Dataset) -> str:
    if is_for_processing(header):
        return "FOR PROCESSING"
    intent = text(header, "PresentationIntentType")
    return intent if intent == "FOR PRESENTATION" else ""


def _field_of_view(header: Dataset) -> tuple[float, float] | None:
    """Return (rows, columns) in mm; None without a spacing, or with 1 mm, which stands for an unknown one."""
    spacing, _ = pixel_spacing(header)
    rows, columns = (first_number(header, keyword) or math.nan for keyword in ("Rows", "Columns"))
    if spacing is None or spacing == _NO_SPACING:
        return None
    field = (round(rows * spacing[0], 1), round(columns * spacing[1], 1))
    return field if all(math.isfinite(side) and side > 0 for side in field) else None
