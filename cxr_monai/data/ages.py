"""Ages as DICOM headers and tables of hospitals write them, in completed years: one rule for headers and manifests.

age_in_years("058Y"), age_in_years("018M")      # 58.0, 1.0
age_by_dates("19620514", "20261130")            # "64"
"""

import math
import re

OLDEST = 120
"""Years; more is a slip of the pen, such as NIH's 414."""

_PER_YEAR = {"": 1.0, "Y": 1.0, "M": 12.0, "W": 52.1775, "D": 365.2425}  # DICOM's AS (PS3.5 6.2), letter optional


def age_in_years(text: str) -> float:
    """Return completed years from ``58``, ``058Y``, ``018M``, ``013D``; NaN for anything else, and beyond `OLDEST`.

    >>> age_in_years("058Y"), age_in_years("018M"), age_in_years("unknown")
    (58.0, 1.0, nan)
    """
    match = re.fullmatch(r"(\d{1,4})(?:\.0+)?([YMWD]?)", text.strip().upper(), re.ASCII)
    if match is None:
        return math.nan
    years = float(int(match[1]) / _PER_YEAR[match[2]] // 1)
    return years if years <= OLDEST else math.nan


def age_by_dates(born: str, studied: str) -> str:
    """Return completed years between two dates (DA, PS3.5 6.2: YYYYMMDD), empty if one is missing or malformed.

    >>> age_by_dates("20100630", "20260629"), age_by_dates("20100630", "2026")
    ('15', '')
    """
    if not all(re.fullmatch(r"\d{8}", date, re.ASCII) for date in (born, studied)):
        return ""
    return str(int(studied[:4]) - int(born[:4]) - (studied[4:] < born[4:]))
