"""Objects about real films: Secondary Captures with modality CR, one MONOCHROME1, with odd headers."""

import numpy as np
import pytest

from cxr_monai.objects import FilmResult, FindingResult, ResultKind, SourceFilm, result_objects
from cxr_monai.workflows.dicom_results import film_picture
from tests.conftest import REALDATA
from tests.support.dicom_validators import errors_of_dciodvfy
from tests.support.film_results import ACCEPTED, MODEL, REFUSED

KINDS = (ResultKind.REPORT, ResultKind.PICTURE, ResultKind.CONTOURS, ResultKind.MAPS)


@pytest.mark.hospital
@pytest.mark.realdata
@pytest.mark.parametrize("is_refused", [False, True])
def test_dciodvfy_has_no_error(tmp_path, is_refused):
    films = sorted((REALDATA / "dicom").glob("*.dcm"))
    assert len(films) == 2
    heat = np.zeros((64, 64), np.float32)
    heat[20:40, 10:30] = 1
    findings = [] if is_refused else [FindingResult("Effusion", 0.8, 0.3, True, heat)]
    for film in films:
        gate = REFUSED if is_refused else ACCEPTED
        result = FilmResult(SourceFilm.read(film), MODEL, gate, findings, film_picture(film))
        objects = result_objects(result, KINDS)
        assert [made.kind for made in objects] == list(KINDS[: 2 if is_refused else 4])
        assert {made.kind: errors_of_dciodvfy(made.content, tmp_path) for made in objects} == {
            made.kind: [] for made in objects
        }
