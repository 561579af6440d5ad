"""Outlines of the maps on the film: where half of the maximum is, in the stored film's pixels, in the film's greys."""

import shutil
import subprocess
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from cxr_monai.objects import FindingResult, SourceFilm
from cxr_monai.objects.contours import build_contours, half_lines
from cxr_monai.workflows.dicom_results import film_picture
from tests.support.dicom_validators import errors_of_dciodvfy
from tests.support.film_results import HEADER, NO_GATE, REFUSED, film_content, film_result

pydicom = pytest.importorskip("pydicom")

SQUARE = np.zeros((40, 30), np.float32)
SQUARE[10:20, 5:15] = 0.5


def state_of(result):
    return pydicom.dcmread(BytesIO(build_contours(result).content))


def with_header(result, **values):
    return replace(result, source=SourceFilm.read(film_content({**HEADER, **values})))


def test_the_line_runs_around_half_of_the_maximum_in_the_films_own_pixels():
    (line,) = half_lines(SQUARE, 400, 300)  # the film has ten times as many pixels as the map
    assert np.array_equal(line[0], line[-1])
    left, top, right, bottom = *line.min(axis=0), *line.max(axis=0)
    assert (left, top, right, bottom) == pytest.approx((50, 100, 150, 200))


def test_a_map_to_the_films_border_is_closed_there():
    (line,) = half_lines(np.ones((4, 3), np.float32), 40, 30)
    assert (*line.min(axis=0), *line.max(axis=0)) == (0, 0, 30, 40)


def test_of_two_parts_the_longer_line_comes_first():
    heat = np.zeros((60, 60), np.float32)
    heat[5:10, 5:10] = 1
    heat[20:50, 20:50] = 0.8
    lines = half_lines(heat, 60, 60)
    assert len(lines) == 2
    assert lines[0].min() > 15


def test_each_finding_with_a_map_has_a_layer_and_words():
    findings = [
        FindingResult("Effusion", 0.71, 0.35, True, SQUARE),
        FindingResult("Mass", 0.2, 0.35, True, SQUARE),  # below its point
        FindingResult("Ein Befund des Hauses, länger als sechzehn Zeichen", 0.5, 0.1, False, SQUARE),
        FindingResult("Nodule", 0.9, 0.1, True, np.zeros_like(SQUARE)),
    ]
    state = state_of(film_result(findings))
    texts = [annotation.TextObjectSequence[0].UnformattedTextValue for annotation in state.GraphicAnnotationSequence]
    assert texts == [
        "Effusion, probability 0.71, operating point 0.35",
        "Ein Befund des Hauses, länger als sechzehn Zeichen, score 0.50 (not calibrated), operating point 0.10",
    ]
    assert [layer.GraphicLayer for layer in state.GraphicLayerSequence] == ["FINDING_1", "FINDING_2"]
    assert state.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4"
    line = state.GraphicAnnotationSequence[0].GraphicObjectSequence[0]
    assert line.NumberOfGraphicPoints * 2 == len(line.GraphicData)


@pytest.mark.parametrize("heat", [None, np.zeros((40, 30), np.float32)])
def test_without_a_map_there_are_no_contours(heat):
    assert build_contours(film_result([FindingResult("Mass", 0.9, 0.1, True, heat)])) is None
    assert build_contours(film_result([], gate=REFUSED)) is None


def test_the_greys_are_the_films():
    window = {"WindowCenter": ["100", "2000.123456789"], "WindowWidth": ["0", "300"], "VOILUTFunction": "SIGMOID"}
    greys = {"RescaleSlope": "2", "RescaleIntercept": "-5", "PhotometricInterpretation": "MONOCHROME1", **window}
    state = state_of(with_header(film_result(), **greys))
    assert (state.RescaleSlope, state.RescaleIntercept, state.RescaleType) == (2, -5, "US")
    voi = state.SoftcopyVOILUTSequence[0]
    assert (voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction) == (pytest.approx(2000.12346), 300, "SIGMOID")
    assert state.PresentationLUTShape == "INVERSE"


def test_a_table_of_the_film_is_repeated():
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "SS", [2, -1, 16])
    item.add_new("LUTData", "OW", b"\0\0\1\0")
    result = with_header(film_result(), VOILUTSequence=[item], PixelRepresentation=1, RescaleSlope="1")
    state = state_of(result)
    table = state.SoftcopyVOILUTSequence[0].VOILUTSequence[0]
    assert (table["LUTDescriptor"].VR, table.LUTDescriptor, table.LUTData) == ("SS", [2, -1, 16], b"\0\0\1\0")
    assert "RescaleSlope" not in state  # without an intercept, no rescaling


def test_pixels_that_are_not_square_are_shown_as_they_are():
    area = state_of(with_header(film_result(), PixelSpacing=["0.2", "0.1"])).DisplayedAreaSelectionSequence[0]
    assert area.PresentationPixelAspectRatio == [2, 1]


@pytest.mark.hospital
@pytest.mark.parametrize("values", [{}, {"PixelSpacing": ["0.2", "0.1"], "Modality": "CR", "WindowCenter": "5"}])
def test_dciodvfy_has_no_error(tmp_path, values):
    result = with_header(replace(film_result(), gate=NO_GATE), **values)
    assert errors_of_dciodvfy(build_contours(result).content, tmp_path) == []


WINDOW = {"WindowCenter": "800", "WindowWidth": "900"}


@pytest.mark.hospital
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("values", [{}, WINDOW, {**WINDOW, "RescaleSlope": "2", "RescaleIntercept": "-300"}, None])
def test_dcmtk_shows_the_film_under_the_state_as_we_show_it_without(tmp_path, photometric, values):
    if shutil.which("dcmp2pgm") is None:
        pytest.skip("dcmtk is not installed")
    if values is None:
        table = pydicom.Dataset()
        table.add_new("LUTDescriptor", "US", [1024, 0, 8])
        table.add_new("LUTData", "US", [round(255 * (level / 1023) ** 2) for level in range(1024)])
        values = {**WINDOW, "VOILUTSequence": [table]}  # a table goes before a window
    bits = {
        "Columns": 36,
        "BitsAllocated": 16,
        "BitsStored": 10,
        "HighBit": 9,
        "PixelRepresentation": 0,
        "SamplesPerPixel": 1,
    }
    pixels = np.random.default_rng(0).integers(0, 1024, (40, 36)).astype("<u2").tobytes()
    header = {**HEADER, **bits, "SamplesPerPixel": 1, "PhotometricInterpretation": photometric, **values}
    film, state, shown = (tmp_path / name for name in ("film.dcm", "state.dcm", "shown.pgm"))
    film.write_bytes(film_content({**header, "PixelData": pixels}))
    state.write_bytes(build_contours(replace(film_result(), source=SourceFilm.read(film))).content)
    subprocess.run(["dcmp2pgm", "-p", state, film, shown], check=True, capture_output=True, timeout=60)
    assert np.abs(np.asarray(Image.open(shown)).astype(int) - film_picture(film)).max() <= 1
