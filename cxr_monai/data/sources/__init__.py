"""Data sources: what the world has, turned into the manifest's columns.

One module a source, each with ``read(root, ...) -> SourceTable``, its labels in this package's vocabulary and, where it
is a public data set, a docstring that is the set's card: what it is, where it comes from, its terms, citation, official
split and known errors. `load` imports a source only when it is asked for::

    source = load("nih").read("/data/nih", available_only=True)
    source.table, source.notes
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from cxr_monai.errors import Code, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from cxr_monai.data.label_record import LabelRecord
    from cxr_monai.data.manifest_record import Key, Patients

# source: one line of help; its module is the one of the same name in this package (with _ for -)
SOURCES: dict[str, str] = {
    "nih": "NIH ChestX-ray14, in NIH's own layout (phantoms too)",
    "chexpert": "CheXpert (v1.0, small, validation, test) or CheXpert Plus",
    "mimic": "MIMIC-CXR-JPG 2.0.0 or 2.1.0",
    "folder": "a folder of images and a CSV of labels",
    "dicom": "a tree of DICOM files, with or without a CSV of labels",
    "padchest": "PadChest, its table and its folders 0 to 54 or one folder",
    "rsna": "RSNA Pneumonia Detection Challenge 2018, Kaggle's layout or RSNA's",
    "siim": "SIIM-ACR Pneumothorax Segmentation, nested or flat",
    "vindr": "VinDr-CXR, PhysioNet's files or Kaggle's (VinBigData)",
    "openi": "Open-i (Indiana University), NLM's files or Kaggle's",
    "nlm-tb": "NLM's tuberculosis sets of Shenzhen and Montgomery",
}


@dataclass(frozen=True, eq=False)
class SourceTable:
    """What a source gives, not yet validated: `cxr_monai.data.manifest.build_manifest` does that.

    Attributes:
        table: the manifest's columns as far as the source knows them, then one float column a finding: 1, 0, NaN
            unknown.
        root: the folder that ``image`` is relative to.
        label_version: whose labels these are.
        notes: sentences for the user: what was chosen, left out or emptied, with counts.
        boxes: ``image, finding, x, y, width, height, image_width, image_height`` in pixels of the stored image,
            or None.
        readers: single readers' labels: ``image, reader, in_truth`` (1: the reader is part of the table's labels), then
            one float column a finding: 1, 0, NaN where that reader said nothing; or None.
        errors: ``image, code, reason`` of the files that could not be read, or None.
        key: ``name`` if a file name is one image, whatever its folder; see `cxr_monai.data.manifest.Manifest`.
        patients: ``unknown`` if the set does not tell whose films they are (``patient_id`` is then one per image);
            ``assumed`` if it does not and the user says that each is of another patient.
        labels_record: what was done with labels that are neither 1 nor 0, with counts.
    """

    table: "pd.DataFrame"
    root: Path
    label_version: str
    notes: tuple[str, ...] = ()
    boxes: "pd.DataFrame | None" = None
    readers: "pd.DataFrame | None" = None
    errors: "pd.DataFrame | None" = None
    key: "Key" = "path"
    patients: "Patients" = "known"
    labels_record: "LabelRecord | None" = None


def load(name: str) -> ModuleType:
    """Return the source's module.

    Raises:
        UsageError: ``usage``, listing the sources that exist.
    """
    if name not in SOURCES:
        raise UsageError(Code.USAGE, f"there is no source {name!r}; the sources are {', '.join(SOURCES)}.")
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
