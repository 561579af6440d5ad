"""The picture of a film's result."""

from cxr_monai.objects.film_result import FilmResult, ResultObject


def build_picture(result: FilmResult) -> ResultObject | None:
    """Build it.

    Args:
        result: of one film.
    """
    raise NotImplementedError(result)
