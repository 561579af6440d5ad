"""Outlines of the maps on the film itself, as a Grayscale Softcopy Presentation State (PS3.3 A.33.1).

The line runs around half of each map's maximum, in pixels of the stored film: the corner of the first is (0, 0), that
of the last (Columns, Rows) (PS3.3 C.10.5.1.2). Each finding has a layer of its own. The greys are the film's own: a
presentation state replaces rescaling and windows, and so repeats them (C.11.1, C.11.8).
"""

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from cxr_monai.objects.film_result import FilmResult, FindingResult, ResultKind, ResultObject
from cxr_monai.objects.picture_words import DEVICE_WARNING, finding_words
from cxr_monai.objects.result_attributes import begun, finished, item_of, long_string, pixel_aspect, set_values
from cxr_monai.objects.softcopy_greys import add_greys

if TYPE_CHECKING:
    from pydicom import Dataset

HALF = 0.5
"""Of a map's maximum: what the line surrounds."""
_FINEST = 256
"""Points of the longer side of a map in which lines are looked for: more only make them longer."""
_COLOUR = (60000, 27000, 53000)
"""CIELab of a light yellow, scaled to 16 bits (PS3.3 C.10.7.1.1); a viewer without colours takes nearly white."""


def build_contours(result: FilmResult) -> ResultObject | None:
    """Build the presentation state of a result: outlines of the maps of findings at or over their points.

    Args:
        result: of one film.

    Returns:
        the object; None where no such finding has a map.
    """
    from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage

    mapped = result.mapped
    if not mapped:
        return None
    state = begun(result, ResultKind.CONTOURS, GrayscaleSoftcopyPresentationStateStorage)
    values = {
        "Modality": "PR",
        "ContentLabel": "AI_CONTOURS",
        "ContentDescription": long_string(f"{DEVICE_WARNING}: half of each map's maximum"),
        "ContentCreatorName": None,
        "PresentationCreationDate": "",
        "PresentationCreationTime": "",
        "ReferencedSeriesSequence": [_series(result)],
        "DisplayedAreaSelectionSequence": [_displayed_area(result)],
        "GraphicAnnotationSequence": [_annotation(result, finding, number) for number, finding in enumerate(mapped, 1)],
        "GraphicLayerSequence": [_layer(finding, number) for number, finding in enumerate(mapped, 1)],
    }
    set_values(state, values)
    add_greys(state, result.source.header)
    return finished(state, result, ResultKind.CONTOURS)


def half_lines(heat: np.ndarray, rows: int, columns: int) -> list[np.ndarray]:
    """Return the closed lines around half of a map's maximum, the longest first.

    Args:
        heat: ``[h, w]`` over the whole extent of the film, at least 0 and not 0 everywhere.
        rows, columns: of the stored film.

    Returns:
        float ``[points, 2]`` (column, row) in pixels of the film, each line; the first point is the last.
    """
    from contourpy import contour_generator

    share = min(1.0, _FINEST / max(heat.shape))
    size = (max(1, round(heat.shape[1] * share)), max(1, round(heat.shape[0] * share)))
    small = np.asarray(Image.fromarray(np.asarray(heat, np.float32)).resize(size, Image.Resampling.BOX))
    framed = np.pad(small / small.max(), 1)  # a frame of 0 closes lines at the film's border
    across = (np.arange(framed.shape[1]) - 0.5) * columns / small.shape[1]
    down = (np.arange(framed.shape[0]) - 0.5) * rows / small.shape[0]
    lines = contour_generator(across, down, framed).lines(HALF)
    return sorted((np.asarray(line).clip(0, (columns, rows)) for line in lines), key=len, reverse=True)


def _annotation(result: FilmResult, finding: FindingResult, number: int) -> "Dataset":
    """Return a finding's lines, and its words beside the longest of them."""
    header = result.source.header
    lines = half_lines(np.asarray(finding.class_map), header.Rows, header.Columns)
    highest = lines[0][lines[0][:, 1].argmin()]
    words = item_of(
        UnformattedTextValue=", ".join(finding_words(finding)),
        AnchorPointAnnotationUnits="PIXEL",
        AnchorPoint=[float(value) for value in highest],
        AnchorPointVisibility="N",
    )
    return item_of(
        ReferencedImageSequence=[_image(result)],
        GraphicLayer=_layer_name(number),
        TextObjectSequence=[words],
        GraphicObjectSequence=[_polyline(line) for line in lines],
    )


def _polyline(line: np.ndarray) -> "Dataset":
    return item_of(
        GraphicAnnotationUnits="PIXEL",
        GraphicDimensions=2,
        NumberOfGraphicPoints=len(line),
        GraphicData=[round(value, 2) for value in line.ravel().tolist()],
        GraphicType="POLYLINE",
        GraphicFilled="N",
    )


def _layer(finding: FindingResult, number: int) -> "Dataset":
    return item_of(
        GraphicLayer=_layer_name(number),
        GraphicLayerOrder=number,
        GraphicLayerRecommendedDisplayGrayscaleValue=60000,
        GraphicLayerRecommendedDisplayCIELabValue=list(_COLOUR),
        GraphicLayerDescription=long_string(finding.finding),
    )


def _layer_name(number: int) -> str:
    return f"FINDING_{number}"  # a code string: a finding's own name may not be one


def _series(result: FilmResult) -> "Dataset":
    return item_of(SeriesInstanceUID=result.source.header.SeriesInstanceUID, ReferencedImageSequence=[_image(result)])


def _image(result: FilmResult) -> "Dataset":
    header = result.source.header
    return item_of(ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID)


def _displayed_area(result: FilmResult) -> "Dataset":
    header = result.source.header
    aspect = Fraction(pixel_aspect(header)).limit_denominator(1000)
    return item_of(
        DisplayedAreaTopLeftHandCorner=[1, 1],
        DisplayedAreaBottomRightHandCorner=[header.Columns, header.Rows],
        PresentationSizeMode="SCALE TO FIT",
        PresentationPixelAspectRatio=[aspect.numerator, aspect.denominator],
    )
