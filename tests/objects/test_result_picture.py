"""The picture: a Secondary Capture that holds the film, what is over its point, and words; nothing of the patient."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

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


@pytest.mark.parametrize("charset", [b"ISO_IR 100", b"ISO_IR 192", b"ISO_IR 999", b"          "])
@pytest.mark.parametrize("is_implicit", [True, False])
def test_malformed_values_of_the_film_are_copied_byte_by_byte(charset, is_implicit, caplog):
    content = film_content({**HEADER, "PatientName": "M____^J"}, is_implicit)
    for value, malformed in ((b"ISO_IR 100", charset), (b"19600102", b"1960xxxx"), (b"M____", b"M\xff\x1b\xfdl")):
        content = content.replace(value, malformed)
    picture = build_picture(replace(film_result(), source=SourceFilm.read(content))).content
    assert b"M\xff\x1b\xfdl^J" in picture
    assert b"1960xxxx" in picture
    assert caplog.text == ""  # nothing of the patient


def test_words_that_are_not_ascii_go_into_utf_8_with_the_patient():
    model = replace(film_result().model, name="Brustkorb für Köln")
    header = header_of(build_picture(film_result(model=model)))
    assert header.ManufacturerModelName == "Brustkorb für Köln"
    assert header.PatientName == "Müller^Jörg"


def coloured(pixels):
    return (pixels.max(axis=2).astype(int) - pixels.min(axis=2)) > 60


def large_parts(mask):
    """How many parts of a mask that hang together have 2,000 pixels or more, which no word has."""
    sizes = np.bincount(ndimage.label(ndimage.binary_closing(mask, iterations=3))[0].ravel())[1:]
    return int((sizes >= 2000).sum())


def test_every_finding_over_its_point_with_a_map_is_a_film_more():
    heat = np.zeros((40, 30), np.float32)
    heat[10:30, 10:20] = 1
    words = coloured(draw_picture(film_result([]))).sum()  # "Not a medical device"
    one, four = (
        coloured(draw_picture(film_result([FindingResult(f"Finding {number}", 0.5, 0.4, True, heat)] * number)))
        for number in (1, 4)
    )
    assert one.sum() > 10 * words
    assert one[:, : one.shape[1] // 2].sum() < words  # the film itself stands first, without a map
    assert [large_parts(picture) for picture in (one, four)] == [1, 4]


def test_a_map_covers_its_place_and_leaves_the_rest_of_the_film():
    heat = np.zeros((100, 100), np.float32)
    heat[40:60, 40:60] = 1
    result = replace(film_result([FindingResult("Mass", 0.5, 0.4, True, heat)]), picture=np.full((100, 100), 90, "u1"))
    pixels = draw_picture(result)
    film = (pixels == 90).all(axis=2)
    rows, columns = (np.flatnonzero(film.sum(axis=axis) > 300) for axis in (1, 0))
    right = pixels[rows[0] : rows[-1] + 1, pixels.shape[1] // 2 + 8 : columns[-1] + 1]  # the film under the map
    side = len(right)
    assert right.shape[1] == side
    middle, corner = right[side // 2, side // 2], right[side // 5, side // 5]
    assert corner.tolist() == [90, 90, 90]
    assert middle.max() - middle.min() > 50
    assert (right == 255).all(axis=2).any(axis=0).sum() == pytest.approx(side / 5, rel=0.15)  # the line around half


@pytest.mark.parametrize("shape", [(500, 1), (1, 500), (64, 64), (1024, 2600), (2600, 1024), (1, 1)])
@pytest.mark.parametrize("count", [0, 1, 14])
def test_films_of_every_shape_fit(shape, count):
    rng = np.random.default_rng(0)
    findings = [FindingResult(f"F{number}", 0.5, 0.4, True, rng.random(shape, np.float32)) for number in range(count)]
    picture = rng.integers(0, 255, shape).astype(np.uint8)
    pixels = draw_picture(replace(film_result(findings), picture=picture))
    assert 1024 <= pixels.shape[1] <= 1600
    assert pixels.nbytes < 9e6


@pytest.mark.parametrize("name", ["气胸", "x" * 300, "Zustand nach " * 20, "\n", "a\\b", "\U0001f600"])
def test_a_finding_may_be_called_anything(name):
    finding = FindingResult(name, 0.5, 0.4, False, np.ones((4, 3), np.float32))
    result = film_result([finding, replace(finding, threshold=None), replace(finding, class_map=None)])
    assert is_result_of_ours(header_of(build_picture(result)))


def test_a_value_is_seen_however_long_the_name_before_it():
    one, other = (
        draw_picture(film_result([FindingResult("x" * 300, value, None), FindingResult("Mass", 0.5, None)]))
        for value in (0.33, 0.44)
    )
    assert not np.array_equal(one, other)


def test_letters_that_the_font_lacks_are_told_apart():
    one, other = (
        draw_picture(film_result([FindingResult(name, 0.5, 0.4, False, np.ones((4, 3), np.float32))]))
        for name in ("气胸", "心胸")
    )
    assert not np.array_equal(one, other)


def test_nothing_of_the_patient_is_drawn():
    one = film_result()
    other = film_result(header={**HEADER, "PatientName": "Other^Name", "PatientID": "2", "AccessionNumber": "3"})
    assert np.array_equal(draw_picture(one), draw_picture(other))


def test_what_the_film_says_of_its_pixels_is_handed_on():
    result = film_result(header={**HEADER, "BurnedInAnnotation": "YES", "LossyImageCompression": "01"})
    header = header_of(build_picture(result))
    assert (header.BurnedInAnnotation, header.LossyImageCompression) == ("YES", "01")


def test_what_the_film_does_not_say_of_its_pixels_is_not_denied():
    header = header_of(build_picture(film_result()))  # a scanned film may have a name in it
    assert "BurnedInAnnotation" not in header
    assert "LossyImageCompression" not in header


def test_pixels_that_are_not_square_are_drawn_as_they_are():
    square = draw_picture(film_result([]))
    tall = draw_picture(film_result([], {**HEADER, "ImagerPixelSpacing": ["0.4", "0.1"]}))
    widths = [np.ptp(np.flatnonzero((pixels[300] > 20).any(axis=1))) for pixels in (square, tall)]
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.02)  # of the same height


@pytest.mark.hospital
@pytest.mark.parametrize("header", [HEADER, BARE_HEADER, {**HEADER, "PatientName": "NOCARET"}])
@pytest.mark.parametrize("refused", [False, True])
def test_dciodvfy_has_no_error(tmp_path, header, refused):
    result = film_result([], header, REFUSED) if refused else film_result(header=header, gate=NO_GATE)
    assert errors_of_dciodvfy(build_picture(result).content, tmp_path) == []
