"""How a viewer makes greys of a film's stored values, repeated in a presentation state that refers to it.

A presentation state replaces what stands in the film (PS3.4 N.2): without its own rescaling and windows, the film would
be shown in other greys.
"""

import math
from typing import TYPE_CHECKING

from cxr_monai.data.formats.dicom_values import first_number, items_of, numbers, text
from cxr_monai.objects.result_attributes import item_of

if TYPE_CHECKING:
    from pydicom import Dataset


def add_greys(state: "Dataset", header: "Dataset") -> None:
    """Add the modules Modality LUT, Softcopy VOI LUT and Softcopy Presentation LUT.

    Args:
        state: the presentation state; it is changed.
        header: of the film; attributes that cannot be used are left out, as viewers leave them.
    """
    slope, intercept = (first_number(header, keyword) for keyword in ("RescaleSlope", "RescaleIntercept"))
    tables = _usable_tables(header)
    if "ModalityLUTSequence" in tables:
        state.ModalityLUTSequence = tables["ModalityLUTSequence"]
    elif slope and intercept is not None and math.isfinite(slope) and math.isfinite(intercept):
        state.RescaleSlope, state.RescaleIntercept = _decimal(slope), _decimal(intercept)
        state.RescaleType = text(header, "RescaleType") or "US"
    values = _voi(header, tables)
    if values:
        state.SoftcopyVOILUTSequence = [values]
    # INVERSE is what MONOCHROME1 is (PS3.3 C.8.11.3): the photometric interpretation itself is passed over (PS3.4 N.2)
    inverted = (
        text(header, "PhotometricInterpretation") == "MONOCHROME1" or text(header, "PresentationLUTShape") == "INVERSE"
    )
    state.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"


def _voi(header: "Dataset", tables: "Dataset") -> "Dataset":
    """Return the item of the Softcopy VOI LUT Sequence: the tables, else the first window; empty without either."""
    if "VOILUTSequence" in tables:
        return item_of(VOILUTSequence=tables["VOILUTSequence"])
    windows = (
        (center, width)
        for center, width in zip(numbers(header, "WindowCenter"), numbers(header, "WindowWidth"), strict=False)
        if math.isfinite(center) and 1 <= width < math.inf
    )
    window = next(windows, None)
    if window is None:
        return item_of()
    item = item_of(WindowCenter=_decimal(window[0]), WindowWidth=_decimal(window[1]))
    function = text(header, "VOILUTFunction")
    if function in ("LINEAR_EXACT", "SIGMOID"):
        item.VOILUTFunction = function
    return item


def _usable_tables(header: "Dataset") -> "Dataset":
    """Return the header's look-up tables, as they can be written beside other attributes."""
    from pydicom import Dataset
    from pydicom.filewriter import correct_ambiguous_vr

    tables = Dataset()
    for keyword in ("ModalityLUTSequence", "VOILUTSequence"):
        items = items_of(header, keyword)
        if items and header.original_encoding[1] is not False:  # words of big endian, which is retired
            setattr(tables, keyword, items)
    # the kind of a table's first value depends on whether pixels have a sign, which a presentation state does not say
    tables.PixelRepresentation = int(first_number(header, "PixelRepresentation") or 0)
    return correct_ambiguous_vr(tables, True)


def _decimal(value: float) -> str:
    """Return a number as a decimal string of at most 16 letters (PS3.5 6.2: DS)."""
    return f"{value:.9g}"
