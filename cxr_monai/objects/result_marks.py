"""The marks by which a result object of ours is known: who sends it back to be analysed makes a loop."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

MANUFACTURER = "cxr-monai"
"""Manufacturer (0008,0070) of result objects, and of their equipment."""


def is_result_of_ours(header: "Dataset") -> bool:
    """Return whether a data set is a result object that this software built, of whatever model and version.

    Args:
        header: without its pixels.
    """
    from cxr_monai.data.formats.dicom_values import items_of, values_of

    equipment = items_of(header, "ContributingEquipmentSequence")
    return any(values_of(item, "Manufacturer")[:1] == [MANUFACTURER] for item in (header, *equipment))
