"""Answers about films as DICOM objects: a structured report for machines, a picture for eyes, contours and maps.

    from cxr_monai.objects import FilmResult, ResultKind, result_objects

    for result_object in result_objects(film_result, [ResultKind.REPORT, ResultKind.PICTURE]):
        result_object.uid, result_object.content   # SOP Instance UID; the file, as PS3.10 wants it

Plain values in, no network and no model. highdicom and pydicom are imported when an object is built or a film's header
is read, and not before: a program that only counts digests pays for neither.
"""

from cxr_monai.objects.film_result import (
    FilmResult,
    FindingResult,
    GateResult,
    ModelIdentity,
    ResultKind,
    ResultObject,
    parse_result_kinds,
)
from cxr_monai.objects.result_marks import is_result_of_ours
from cxr_monai.objects.result_objects import result_objects
from cxr_monai.objects.source_film import SourceFilm, film_digest

__all__ = [
    "FilmResult",
    "FindingResult",
    "GateResult",
    "ModelIdentity",
    "ResultKind",
    "ResultObject",
    "SourceFilm",
    "film_digest",
    "is_result_of_ours",
    "parse_result_kinds",
    "result_objects",
]
