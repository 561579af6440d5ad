"""Cases to score maps on: a boxed finding in an image that has a map of it and a patient in the manifest.

from cxr_monai.data.manifest import read_manifest

cases, notes = read_boxed_cases("maps", "m.boxes.csv", read_manifest("manifest.csv", check_files=False))
cases.table                             # image, finding, patient_id, split
cases.boxes["00000013_005.png", "Mass"]     # [B, 4]: left, top, right, bottom in shares of the image
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.attribution.map_store import MapStore
from cxr_monai.attribution.reference_boxes import in_shares, read_boxes
from cxr_monai.data.joining import join_on_image
from cxr_monai.data.manifest import Manifest
from cxr_monai.data.overlaps import patient_names
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.plurals import be, counted, have, out_of


@dataclass(frozen=True, eq=False)
class BoxedCases:
    """Cases of one store of maps.

    Attributes:
        table: ``image`` (as the store names it), ``finding, patient_id, split``, one row a case, in the store's order.
        boxes: of each (image, finding), ``[B, 4]`` in shares of the image.
    """

    store: MapStore
    table: pd.DataFrame
    boxes: Mapping[tuple[str, str], np.ndarray]

    def __len__(self) -> int:
        return len(self.table)

    def take(self, rows: np.ndarray) -> "BoxedCases":
        """Return some cases, by a boolean mask; the boxes are those of these cases."""
        table = self.table[np.asarray(rows)].reset_index(drop=True)
        keys = zip(table["image"], table["finding"], strict=True)
        return BoxedCases(self.store, table, {key: self.boxes[key] for key in keys})


def read_boxed_cases(maps: str | Path, boxes: str | Path, manifest: Manifest) -> tuple[BoxedCases, list[str]]:
    """Return the cases that have a box, a map and a patient, and sentences on those that lack one.

    Args:
        maps: a folder of maps.
        boxes: ``M.boxes.csv`` or NIH's list.
        manifest: with the patients of the boxed images.

    Raises:
        EvaluationError: ``maps-invalid`` if no case has a map; ``boxes-invalid``.
        ManifestError: ``manifest-invalid`` if no boxed image is in the manifest.
    """
    store = MapStore.open(maps)
    box_table, remarks = read_boxes(boxes, store.table, store.findings, store.scheme, manifest.by_name)
    boxes_by_case = in_shares(box_table)
    keys = pd.DataFrame(list(boxes_by_case), columns=["stored", "finding"])
    people = manifest.table[["image", "split"]].assign(patient_id=patient_names(manifest.table))
    by_side = join_on_image(people, keys.assign(image=keys["stored"]), by_name=manifest.by_name, root=manifest.roots)
    joined = by_side.table.set_index(["stored", "finding"])
    listed = [key for key in boxes_by_case if key in joined.index]
    notes = list(remarks)
    if by_side.notes("boxed images", "the manifest"):  # cases are counted, images are logged
        left_out = out_of(len(boxes_by_case) - len(listed), len(boxes_by_case), "boxed case")
        notes.append(f"{left_out} {be(len(boxes_by_case))} not in the manifest, and left out.")
    channels = {finding: number for number, finding in enumerate(store.findings)}
    mapped = [key for key in listed if not np.isnan(store.grid(key[0])[channels[key[1]]]).any()]
    if not mapped:
        raise EvaluationError(
            Code.MAPS_INVALID,
            f"none of the {counted(len(listed), 'boxed case')} has a map.",
            fix="Explain these images, and every finding of them, not those over their operating point alone.",
            where=maps,
        )
    if len(mapped) < len(listed):
        left_out = out_of(len(listed) - len(mapped), len(listed), "boxed case")
        notes.append(
            f"{left_out} {have(len(listed))} no map (the finding was under its operating point), and are left out: the "
            "figures are of the others."
        )
    table = joined.loc[pd.MultiIndex.from_tuples(mapped), ["patient_id", "split"]].reset_index()
    table = table.set_axis(["image", "finding", "patient_id", "split"], axis=1)
    return BoxedCases(store, table, {key: boxes_by_case[key] for key in mapped}), notes
