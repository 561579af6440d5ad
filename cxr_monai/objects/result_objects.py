"""The result objects of one film, of the kinds that are asked for."""

from collections.abc import Callable, Sequence

from cxr_monai.objects.film_result import DEFAULT_KINDS, FilmResult, ResultKind, ResultObject
from cxr_monai.objects.result_attributes import highdicom_needed


def result_objects(result: FilmResult, kinds: Sequence[ResultKind] = DEFAULT_KINDS) -> list[ResultObject]:
    """Build the DICOM objects of an answer.

    Args:
        result: of one film.
        kinds: to build; contours and maps are left out where no finding at or over its point has a map.

    Returns:
        the objects, in the order of the kinds.

    Raises:
        CxrError: ``runtime-missing`` without highdicom (extra ``dicom-results``).
    """
    from cxr_monai.data.formats.dicom_reader import without_dicom_warnings

    with without_dicom_warnings():  # they would quote the film's UIDs
        built = [_builder(kind)(result) for kind in kinds]
    return [result_object for result_object in built if result_object is not None]


def check_result_runtime(kinds: Sequence[ResultKind]) -> None:
    """Check, before films are read, that objects of these kinds can be built here.

    Raises:
        CxrError: ``runtime-missing`` without highdicom, which reports and maps need.
    """
    if {ResultKind.REPORT, ResultKind.MAPS}.intersection(kinds):
        highdicom_needed()


def _builder(kind: ResultKind) -> Callable[[FilmResult], ResultObject | None]:
    """Return what builds a kind; highdicom is imported here."""
    if kind == ResultKind.REPORT:
        from cxr_monai.objects.structured_report import build_report

        return build_report
    if kind == ResultKind.PICTURE:
        from cxr_monai.objects.result_picture import build_picture

        return build_picture
    if kind == ResultKind.CONTOURS:
        from cxr_monai.objects.contours import build_contours

        return build_contours
    from cxr_monai.objects.fractional_maps import build_fractional_maps

    return build_fractional_maps
