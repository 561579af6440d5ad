"""The maps as a fractional Segmentation: a segment a finding, as many pixels as the film, shares of the maximum."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest

from cxr_monai.objects import FindingResult, SourceFilm
from cxr_monai.objects.fractional_maps import build_fractional_maps
from tests.support.dicom_validators import errors_of_dciodvfy
from tests.support.film_results import HEADER, REFUSED, film_content, film_result

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

MAP = np.zeros((20, 15), np.float32)
MAP[5:10, 5:10] = 0.25
MAP[7, 7] = 0.5


def maps_of(result):
    return pydicom.dcmread(BytesIO(build_fractional_maps(result).content))


def with_header(**values):
    return replace(film_result(), source=SourceFilm.read(film_content({**HEADER, **values})))


def test_a_segment_is_a_map_in_the_films_pixels_by_its_maximum():
    findings = [FindingResult("Mass", 0.9, 0.1, True, MAP), FindingResult("Nodule", 0.9, 0.1, True, 7 * MAP)]
    maps = maps_of(film_result([*findings, FindingResult("Hernia", 0.01, 0.1, True, MAP)]))
    assert (maps.SegmentationType, maps.SegmentationFractionalType, maps.MaximumFractionalValue) == (
        "FRACTIONAL", "OCCUPANCY", 100,
    )  # fmt: skip
    assert [segment.SegmentLabel for segment in maps.SegmentSequence] == ["Mass", "Nodule"]
    codes = [segment.SegmentedPropertyTypeCodeSequence[0].CodeValue for segment in maps.SegmentSequence]
    assert codes == ["4147007", "27925004"]
    assert maps.pixel_array.shape == (2, 40, 30)
    first, second = maps.pixel_array
    assert np.array_equal(first, second)
    assert first.max() == pytest.approx(100, abs=25)  # the top is smoothed by the larger film
    assert first[12:18, 12:18].min() >= 50
    assert first[:8].max() == 0


def test_it_is_read_by_highdicom_and_refers_to_the_film():
    from highdicom.seg import segread

    result = with_header(SOPClassUID="1.2.840.10008.5.1.4.1.1.7.2")  # a class whose films have frames
    maps = segread(BytesIO(build_fractional_maps(result).content))
    assert maps.number_of_segments == 1
    assert "1.2.840.10008.5.1.4.1.1.7.2" in {
        element.value for element in maps.iterall() if element.keyword == "ReferencedSOPClassUID"
    }
    assert str(maps.PatientName) == "Müller^Jörg"


def test_the_same_result_has_the_same_bytes():
    result = film_result()
    assert build_fractional_maps(result).content == build_fractional_maps(result).content


def test_without_a_map_there_is_none():
    assert build_fractional_maps(film_result([], gate=REFUSED)) is None
    assert build_fractional_maps(film_result([FindingResult("Mass", 0.9, 0.1, True, np.zeros_like(MAP))])) is None


@pytest.mark.hospital
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"PatientOrientation": ["L", "F"], "Laterality": "U", "FrameOfReferenceUID": "1.2.3.4.5"},
        {"PatientOrientation": "L", "PixelSpacing": ["0.2", "0.2"], "Modality": "CR"},
    ],
)
def test_dciodvfy_has_no_error(tmp_path, values):
    assert errors_of_dciodvfy(build_fractional_maps(with_header(**values)).content, tmp_path) == []
