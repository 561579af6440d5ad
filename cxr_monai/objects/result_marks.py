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
    equipment = header.get("ContributingEquipmentSequence") or ()
    return any(str(item.get("Manufacturer", "")) == MANUFACTURER for item in (header, *equipment))
