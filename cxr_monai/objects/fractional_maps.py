"""The maps themselves, as a fractional Segmentation (PS3.3 A.51): for software that draws them in its own way.

A segment a finding at or over its point, in as many pixels as the film, since nothing else says where on a radiograph
they lie. Values are hundredths of the map's own maximum. The standard knows two meanings of a fraction, and a class map
has neither; OCCUPANCY is the one that nobody takes for a probability (PS3.3 C.8.20.2.3).
"""

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from cxr_monai.objects.film_result import FilmResult, FindingResult, ResultKind, ResultObject
from cxr_monai.objects.finding_codes import code_of_finding
from cxr_monai.objects.result_attributes import (
    finished,
    highdicom_needed,
    long_string,
    private_coding_scheme,
    refer_to,
    reference_film,
    series_arguments,
)
from cxr_monai.objects.result_uids import derived_uid

if TYPE_CHECKING:
    from pydicom import Dataset

_STEPS = 100
"""Values between 0 and a map's maximum; fewer make longer runs of equal pixels."""
_DESCRIPTION = "share of the map's maximum: where evidence lies; neither its probability nor its extent"


def build_fractional_maps(result: FilmResult) -> ResultObject | None:
    """Build the Segmentation of a result: the maps of findings at or over their points.

    Args:
        result: of one film.

    Returns:
        the object, its pixels in run lengths (RLE Lossless); None where no such finding has a map.

    Raises:
        CxrError: ``runtime-missing`` without highdicom.
    """
    if not result.mapped:
        return None
    highdicom_needed()
    from highdicom.seg import Segmentation
    from pydicom.uid import RLELossless

    from cxr_monai.data.formats.dicom_values import values_of

    header = result.source.header
    planes = [_plane(finding, header.Rows, header.Columns) for finding in result.mapped]
    segmentation = Segmentation(
        [reference_film(result.source)],
        np.stack(planes, axis=-1)[np.newaxis],
        "FRACTIONAL",
        [_segment(result, finding, number) for number, finding in enumerate(result.mapped, 1)],
        fractional_type="OCCUPANCY",
        max_fractional_value=_STEPS,
        transfer_syntax_uid=RLELossless,
        content_label="AI_MAPS",
        content_description="shares of class activation maps' maxima",
        coding_schemes=[private_coding_scheme()],
        **series_arguments(result, ResultKind.MAPS),
    )
    orientation = values_of(header, "PatientOrientation")
    segmentation.PatientOrientation = list(map(str, orientation)) if len(orientation) == 2 else ""
    for element in segmentation.iterall():
        if element.keyword == "DimensionOrganizationUID":  # highdicom's is random
            element.value = derived_uid("dimensions", result.uid_of(ResultKind.MAPS))
    refer_to(segmentation, result.source)
    return finished(segmentation, result, ResultKind.MAPS)


def _plane(finding: FindingResult, rows: int, columns: int) -> np.ndarray:
    """Return a map over a film's pixels, float32 ``[rows, columns]`` in [0, 1]."""
    heat = np.asarray(finding.class_map, np.float32)
    plane = Image.fromarray(heat / heat.max()).resize((columns, rows), Image.Resampling.BILINEAR)
    return np.asarray(plane).clip(0, 1)


def _segment(result: FilmResult, finding: FindingResult, number: int) -> "Dataset":
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription

    from cxr_monai.data.formats.dicom_library import ConceptCode, codes

    algorithm = AlgorithmIdentificationSequence(
        long_string(result.model.name),
        codes.DCM.ArtificialIntelligence,
        long_string(result.model.version),
        "cxr-monai",
        {"sha256": result.model.digest},
    )
    segment = SegmentDescription(
        number,
        long_string(finding.finding),
        codes.SCT.MorphologicallyAbnormalStructure,
        ConceptCode(*code_of_finding(finding.finding)),
        "AUTOMATIC",
        algorithm,
    )
    segment.SegmentDescription = _DESCRIPTION
    return segment
