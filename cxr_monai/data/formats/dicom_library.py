"""pydicom, imported so that nothing in the working directory is taken for a part of it.

``import pydicom`` imports GDCM where that is installed, and GDCM tries ``import dl`` and ``import DLFCN``, modules that
Python 3 no longer has. Under ``python -m`` the working directory is searched too: a folder ``dl`` there is a module
without anything in it, and the import ends in an AttributeError. Here the two names are out of reach while pydicom is
imported, and what an earlier attempt left behind (MONAI and nibabel try as well) is cleared away first.

Every module of the package takes pydicom from here.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_NOT_PYTHONS = ("dl", "DLFCN")
_PARTS = ("pydicom", "gdcm")


@contextmanager
def _out_of_reach(names: tuple[str, ...]) -> Iterator[None]:
    """Make these modules impossible to import for a while."""
    before = {name: sys.modules[name] for name in names if name in sys.modules}
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]  # None: import raises ModuleNotFoundError
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(before)


def _clear_failed_imports(names: tuple[str, ...]) -> None:
    """Forget the parts of a package whose own import failed: they would be taken for parts of the next attempt."""
    failed = [name for name in names if name not in sys.modules]
    for module in list(sys.modules):
        if module.partition(".")[0] in failed:
            del sys.modules[module]


_clear_failed_imports(_PARTS)
with _out_of_reach(_NOT_PYTHONS):
    from pydicom import Dataset, dcmread
    from pydicom.config import disable_value_validation
    from pydicom.dataelem import RawDataElement
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.encaps import get_frame
    from pydicom.errors import BytesLengthException
    from pydicom.filereader import read_dataset
    from pydicom.pixels import get_decoder
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code as ConceptCode
    from pydicom.uid import (
        UID,
        DeflatedExplicitVRLittleEndian,
        DigitalXRayImageStorageForPresentation,
        ExplicitVRBigEndian,
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        RLELossless,
        generate_uid,
    )
    from pydicom.valuerep import DA, TM

__all__ = [
    "DA",
    "TM",
    "UID",
    "BytesLengthException",
    "ConceptCode",
    "Dataset",
    "DeflatedExplicitVRLittleEndian",
    "DigitalXRayImageStorageForPresentation",
    "ExplicitVRBigEndian",
    "ExplicitVRLittleEndian",
    "FileDataset",
    "FileMetaDataset",
    "ImplicitVRLittleEndian",
    "RLELossless",
    "RawDataElement",
    "codes",
    "dcmread",
    "disable_value_validation",
    "generate_uid",
    "get_decoder",
    "get_frame",
    "read_dataset",
]
