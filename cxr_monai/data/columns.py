"""Columns by the names that hospitals and data sets give them: ``Patient ID``, ``patient_id``, ``PatientID``.

find_column(table.columns, PATIENT)     # "Patient ID", or None
"""

import re
from collections.abc import Iterable, Sequence

# column names in use, reduced to letters and digits
IMAGE = ("image", "imageindex", "filename", "file", "path", "imagepath", "filepath", "imageid", "imagename", "dicomid")
PATIENT = ("patientid", "patient", "subjectid", "subject")
STUDY = ("studyid", "study", "studyinstanceuid", "accessionnumber")
VIEW = ("view", "viewposition", "projection")
AGE = ("age", "patientage")
SEX = ("sex", "gender", "patientsex", "patientgender")


def key(name: str) -> str:
    """Return a column's name reduced to its letters and digits, in lower case."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def find_column(columns: Iterable[str], names: Sequence[str]) -> str | None:
    """Return the column whose reduced name is the first match among ``names``, or None.

    Args:
        columns: the names of a table's columns.
        names: reduced names (:func:`key`), the preferred one first.

    >>> find_column(["Patient ID", "File"], ("patientid", "mrn"))
    'Patient ID'
    """
    by_key = {key(str(column)): str(column) for column in reversed(list(columns))}
    return next((by_key[name] for name in names if name in by_key), None)
