"""The result objects of one film, of the kinds that are asked for."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec

from cxr_monai.errors import Code, CxrError
from cxr_monai.objects.film_result import DEFAULT_KINDS, FilmResult, ResultKind, ResultObject


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
    check_result_runtime()
    built = (_builder(kind)(result) for kind in kinds)
    return [result_object for result_object in built if result_object is not None]


def check_result_runtime() -> None:
    """Check, before films are read, that result objects can be built here.

    Raises:
        CxrError: ``runtime-missing`` without highdicom.
    """
    if find_spec("highdicom") is None:
        raise CxrError(
            Code.RUNTIME_MISSING,
            "DICOM result objects need highdicom, which is not installed.",
            fix="Install it: pip install 'cxr-monai[dicom-results]'.",
        )


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
