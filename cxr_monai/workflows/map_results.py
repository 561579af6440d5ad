"""Shared by the commands on maps: which patient each image is of, and the JSON of a result.

patients, intervals_over, notes = image_patients(images, manifest)
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_monai.data.joining import join_on_image
from cxr_monai.data.manifest import Manifest
from cxr_monai.data.overlaps import patient_names
from cxr_monai.durable import write_durably


def manifest_rows(images: Sequence[str], manifest: Manifest) -> tuple[pd.DataFrame, list[str]]:
    """Return the manifest's rows, indexed by the images' own names and in their order, and remarks on those it lacks.

    Raises:
        ManifestError: ``manifest-invalid`` if it has none of them; ``images-ambiguous``.
    """
    table = pd.DataFrame({"image": list(dict.fromkeys(images))})
    by_side = join_on_image(
        manifest.table, table.assign(named=table["image"]), by_name=manifest.by_name, root=manifest.roots
    )
    rows = by_side.table.set_index("named").rename_axis("image").drop(columns="image")
    return rows.loc[[name for name in table["image"] if name in rows.index]], by_side.notes("images", "the manifest")


def image_patients(images: Sequence[str], manifest: Manifest | None) -> tuple[pd.Series, str, list[str]]:
    """Return the patient of each image, indexed by image; what intervals hold for, in words; and remarks.

    Without a manifest each image counts as a patient of its own. Images that a manifest lacks are left out.

    Args:
        images: paths, as results name them.
        manifest: tells the patients; None: each image is a patient of its own.

    Raises:
        ManifestError: as `manifest_rows`.
    """
    if manifest is None:
        names = list(dict.fromkeys(images))
        unit = "images: no manifest was given, so several of one patient are taken for independent"
        return pd.Series(names, index=pd.Index(names, name="image"), name="patient_id"), unit, []
    rows, notes = manifest_rows(images, manifest)
    return rows.assign(patient_id=patient_names(rows))["patient_id"], "patients", notes


def write_provenance(path: Path, level: float, provenance: Mapping[str, Any], notes: Sequence[str]) -> None:
    """Write the provenance of figures as JSON; `result_folder` puts the mark of completion into it.

    Args:
        path: the file.
        level: of the confidence intervals, such as 0.95.
        provenance: by name, as JSON holds it.
        notes: remarks, a sentence each.
    """
    content = {"level": level, "book": dict(provenance), "notes": list(notes)}
    write_durably(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
