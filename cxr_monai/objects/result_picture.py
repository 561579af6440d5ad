"""The picture of a film's result as a Secondary Capture (PS3.3 A.8): for eyes, in every viewer that shows images.

Its modality is OT: software that judges films by their modality, this one among it, takes it for none. Pixels are not
compressed (explicit little endian, which every archive takes): films do not get smaller by run lengths.
"""

from typing import TYPE_CHECKING

import numpy as np

from cxr_monai.objects.film_result import FilmResult, ResultKind, ResultObject
from cxr_monai.objects.result_attributes import begun, finished, set_values

if TYPE_CHECKING:
    from pydicom import Dataset


def build_picture(result: FilmResult) -> ResultObject:
    """Build the Secondary Capture of a result: the film, maps of the findings at or over their points, and words.

    Args:
        result: of one film; of one that the gate refused, the film and the reason stand in it.

    Returns:
        the object, RGB, of a few MB; nothing of the patient is drawn into it.
    """
    from cxr_monai.objects.picture_drawing import draw_picture

    return finished(_capture(result, draw_picture(result)), result, ResultKind.PICTURE)


def _capture(result: FilmResult, pixels: np.ndarray) -> "Dataset":
    """Return a Secondary Capture without patient, study and equipment."""
    from pydicom.uid import SecondaryCaptureImageStorage

    from cxr_monai.data.formats.dicom_values import text

    header = result.source.header
    capture = begun(result, ResultKind.PICTURE, SecondaryCaptureImageStorage)
    values = {
        "ImageType": ["DERIVED", "SECONDARY"],
        "Modality": "OT",
        "ConversionType": "WSD",
        "DerivationDescription": "film, class activation maps and words of an AI model; not for diagnosis",
        "PatientOrientation": "",  # several films and words have none
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "PlanarConfiguration": 0,
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PixelData": pixels.tobytes() + bytes(pixels.size % 2),
    }
    set_values(capture, values)
    # the words are nothing of the patient: what the film says of its pixels holds, and where it says nothing, neither
    # does the picture (PS3.3 C.7.6.1.1.2: absent means that there may be annotations)
    for keyword, known in (("BurnedInAnnotation", ("YES", "NO")), ("LossyImageCompression", ("00", "01"))):
        if text(header, keyword) in known:
            setattr(capture, keyword, text(header, keyword))
    return capture
