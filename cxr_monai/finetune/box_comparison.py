"""Where do child and parent look? Their class maps scored against boxes of the same held-out images.

    boxed_images("m.boxes.csv", base, "Nodule")                 # before anything trains: is there anything to score?
    found = localise_both(child, parent, "m.boxes.csv", base, "Nodule", "OUT")
    found.lines("Nodule")

Scored are the pointing game and the energy inside the boxes (``cxr_monai.attribution.localisation``): neither needs a
map threshold, which would have to be chosen on still other boxed images.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.attribution.boxed_cases import BoxedCases, read_boxed_cases
from cxr_monai.attribution.explainer import Explainer
from cxr_monai.attribution.localisation import raster, score
from cxr_monai.attribution.localisation_tables import ScoredCases, localisation_tables, score_row
from cxr_monai.attribution.reference_boxes import boxed_findings
from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.data.manifest import Manifest
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.finetune.disease import held_out
from cxr_monai.inference.model import Model
from cxr_monai.report.fine_tuning import MAP_FIGURES

_FIGURES = tuple(MAP_FIGURES)


@dataclass(frozen=True)
class MapComparison:
    """What boxes say of child and parent.

    Attributes:
        cases, patients: boxed images of the disease that both have a map of, and whose they are.
        figures: ``pointing`` and ``energy`` of ``child``, and of ``parent`` where it knows the disease, in [0, 1].
        differences: child minus parent, ``(value, low, high)`` by patients; NaN where there are too few of them.
    """

    cases: int
    patients: int
    figures: Mapping[str, Mapping[str, float]]
    differences: Mapping[str, tuple[float, float, float]]

    def to_json(self) -> dict[str, Any]:
        """Return the figures for ``lineage.json``, those that are defined."""
        content: dict[str, Any] = {"cases": self.cases, "patients": self.patients}
        content |= {f"{who}_{name}": value for who, figures in self.figures.items() for name, value in figures.items()}
        for name, ends in self.differences.items():
            content |= {f"{name}_{end}": value for end, value in zip(("difference", "low", "high"), ends, strict=True)}
        return {key: value for key, value in content.items() if not isinstance(value, float) or np.isfinite(value)}


def boxed_images(boxes: str | Path, base: Manifest, label: str) -> list[str]:
    """Return the held-out images on which the disease is boxed.

    Args:
        boxes: ``M.boxes.csv`` or NIH's list.
        base: the manifest as it was read.
        label: the disease.

    Raises:
        ManifestError: if the file is none.
        EvaluationError: ``boxes-invalid`` if there is no such image.
    """
    part = base.part(held_out(base)[0])
    images = list(part.table["image"])
    boxed, _ = boxed_findings(boxes, images, by_name=base.by_name)  # other parts have boxes too
    images_of_label = [image for image in images if label in boxed.get(image, ())]
    if not images_of_label:
        raise EvaluationError(
            Code.BOXES_INVALID,
            f"no image of the held-out part has a box of {label}.",
            fix="Leave the boxes out, or split so that boxed images are in the test part.",
            where=boxes,
        )
    return images_of_label


def boxed_labels(boxes: str | Path, base: Manifest, labels: Sequence[str]) -> list[str]:
    """Return the diseases with a boxed held-out image; errors as of `boxed_images`, if there is none at all."""
    boxed: list[str] = []
    refused: list[EvaluationError] = []
    for label in labels:
        try:
            boxed_images(boxes, base, label)
            boxed.append(label)
        except EvaluationError as error:
            refused.append(error)
    if refused and not boxed:
        raise refused[0]
    return boxed


def localise_both(
    child: Path,
    parent: Path,
    boxes: str | Path,
    base: Manifest,
    label: str,
    out: str | Path,
    amp: bool = True,
    any_modality: bool = False,
) -> MapComparison:
    """Write class maps of both below ``out`` (``maps_child``, ``maps_parent``) and score them.

    Args:
        child, parent: the bundles.
        boxes, base, label: as for `boxed_images`.
        out: a folder; maps of an earlier run in it are replaced.
        amp: compute in bfloat16 where the device has it.
        any_modality: read DICOM files whatever their headers say they show.

    Raises:
        EvaluationError: as `boxed_images`; ``maps-invalid`` if none of them can be read.
    """
    images = boxed_images(boxes, base, label)
    boxed = replace(base, table=base.table[base.table["image"].isin(images)].reset_index(drop=True))
    parts: dict[str, BoxedCases] = {}
    for who, root in (("child", child), ("parent", parent)):
        if label not in Bundle.open(root).labels:
            continue
        folder = Path(out) / f"maps_{who}"
        shutil.rmtree(folder, ignore_errors=True)
        explainer = Explainer(Model.open(root, amp=amp, any_modality=any_modality, gate="off"), findings=[label])
        explainer.write_maps(boxed.paths(), list(boxed.table["image"]), folder)
        parts[who] = read_boxed_cases(folder, boxes, base)[0]
    return scored(parts, label)


def scored(parts: Mapping[str, BoxedCases], label: str) -> MapComparison:
    """Score maps of ``child``, and of ``parent`` if it is there, in the cases that all have."""
    tables = {who: part.table.set_index("image") for who, part in parts.items()}
    common = [image for image in tables["child"].index if all(image in table.index for table in tables.values())]
    values = np.array([[_values(part, image, label) for part in parts.values()] for image in common])
    patients = pd.factorize(tables["child"].loc[common, "patient_id"])[0]
    cases = ScoredCases((label,), np.zeros(len(common), dtype=int), patients, tuple(parts), values)
    localised = localisation_tables(cases)
    scores, gains = (table[table["finding"] == label] for table in (localised.scores, localised.gains))
    scores = scores.set_index("map")[list(_FIGURES)].astype(float)
    gains = gains.set_index("score")[["gain", "low", "high"]].astype(float)
    return MapComparison(
        len(common),
        int(patients.max()) + 1,
        {who: {name: float(scores[name][who]) for name in _FIGURES} for who in parts},
        {name: (gains["gain"][name], gains["low"][name], gains["high"][name]) for name in _FIGURES if len(gains)},
    )


def _values(part: BoxedCases, image: str, label: str) -> np.ndarray:
    store, view = part.store, part.store.view(image)
    heat = view.place(
        store.grid(image)[list(store.findings).index(label)], store.points, raster(view.height, view.width)
    )
    return score_row(score(heat, part.boxes[image, label], (0.5,)))
