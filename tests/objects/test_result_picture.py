"""The picture: a Secondary Capture that holds the film, what is over its point, and words; nothing of the patient."""

from dataclasses import replace

import numpy as np
import pytest

from cxr_monai.objects import FindingResult, SourceFilm, is_result_of_ours
from cxr_monai.objects.picture_drawing import draw_picture
from cxr_monai.objects.result_picture import build_picture
from tests.support.dicom_validators import errors_of_dciodvfy
from tests.support.film_results import BARE_HEADER, HEADER, NO_GATE, REFUSED, film_content, film_result

pytest.importorskip("pydicom")


def header_of(result_object):
    return SourceFilm.read(result_object.content).header


def test_the_same_result_has_the_same_bytes():
    result = film_result()
    assert build_picture(result).content == build_picture(result).content
    assert build_picture(result).uid == header_of(build_picture(result)).SOPInstanceUID


def test_patient_and_study_are_the_films_and_the_series_is_not():
    result = film_result()
    header = header_of(build_picture(result))
    for keyword in ("PatientName", "PatientID", "AccessionNumber", "StudyInstanceUID", "StudyDate", "StudyID"):
        assert header[keyword].value == result.source.header[keyword].value
    assert header.SeriesInstanceUID != HEADER["SeriesInstanceUID"]
    assert header.Modality == "OT"
    assert header.ContributingEquipmentSequence[0].SoftwareVersions[1] == result.model.digest
    assert is_result_of_ours(header)


def test_malformed_values_of_the_film_are_copied_byte_by_byte():
    odd = film_content(HEADER).replace(b"19600102", b"1960????").replace("Müller".encode("latin-1"), b"M\xff\xfe\xfder")
    content = build_picture(replace(film_result(), source=SourceFilm.read(odd))).content
    assert b"1960????" in content
    assert b"M\xff\xfe\xfder^J\xf6rg" in content


def test_words_that_are_not_ascii_go_into_utf_8_with_the_patient():
    model = replace(film_result().model, name="Brustkorb für Köln")
    header = header_of(build_picture(film_result(model=model)))
    assert header.ManufacturerModelName == "Brustkorb für Köln"
    assert header.PatientName == "Müller^Jörg"


def test_every_finding_over_its_point_with_a_map_is_a_film_more():
    grid = np.ones((4, 3), np.float32)
    findings = [FindingResult(f"Finding {number}", 0.5, 0.4, True, grid) for number in range(3)]
    pixels = draw_picture(film_result(findings))
    assert pixels.dtype == np.uint8
    coloured = (pixels.max(axis=2).astype(int) - pixels.min(axis=2)) > 60
    one = draw_picture(film_result(findings[:1]))
    assert coloured.sum() > 2 * ((one.max(axis=2).astype(int) - one.min(axis=2)) > 60).sum() / 3


@pytest.mark.hospital
@pytest.mark.parametrize("header", [HEADER, BARE_HEADER, {**HEADER, "PatientName": "NOCARET", "PatientSex": "O"}])
@pytest.mark.parametrize("refused", [False, True])
def test_dciodvfy_has_no_error(tmp_path, header, refused):
    result = film_result([], header, REFUSED) if refused else film_result(header=header, gate=NO_GATE)
    assert errors_of_dciodvfy(build_picture(result).content, tmp_path) == []
