"""Small stores of maps with their images, for tests of what is made of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from cxr_monai.attribution.map_store import MapStore, MapWriter
from cxr_monai.attribution.view import View
from cxr_monai.data.manifest import Manifest, build_manifest

FINDINGS = ("Effusion", "Mass", "Hernia")
SIDE = 48
POINTS = {"Effusion": 0.3, "Mass": 0.5}
"""Operating points of what `made_store` makes; Hernia has none."""


def made_images(root: Path, names: Sequence[str], shape: tuple[int, int] = (SIDE, SIDE)) -> None:
    """Write PNG images, each with another grey square on a gradient."""
    for number, name in enumerate(names):
        pixels = np.tile(np.linspace(0, 120, shape[1], dtype=np.uint8), (shape[0], 1))
        pixels[number % 20 : number % 20 + 9, 5:14] = 200
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name)


def made_store(
    folder: Path,
    probabilities: Mapping[str, Sequence[float]],
    *,
    without: Sequence[tuple[str, str]] = (),
    empty: Sequence[tuple[str, str]] = (),
    shape: tuple[int, int] = (SIDE, SIDE),
    spacing: tuple[float, float] | None = None,
    **about: object,
) -> MapStore:
    """Write a store of 6x6 maps over the whole image, hot at a place of the finding's own.

    Args:
        folder: of the store.
        probabilities: by image, one a finding of ``about["findings"]`` (by default `FINDINGS`).
        without: images and findings whose maps are not kept.
        empty: those whose maps are 0 everywhere.
        shape: of the images.
        spacing: of their pixels.
        about: what ``maps.json`` says instead of the defaults.
    """
    told = {
        "findings": list(FINDINGS), "points": None, "bundle": {"name": "A bundle"}, "method": "cam", "layer": None,
        "stride": 32, "thresholds": POINTS, **about,
    }  # fmt: skip
    findings = list(told["findings"])  # type: ignore[call-overload]
    writer = MapWriter(folder, told)
    for image, row in probabilities.items():
        maps = np.zeros((len(findings), 6, 6), np.float32)
        for channel, finding in enumerate(findings):
            maps[channel, channel + 1, 4] = 2.5
            if (image, finding) in without:
                maps[channel] = np.nan
            if (image, finding) in empty:
                maps[channel] = 0
        writer.add(image, View(*shape, 0, 0, *shape, spacing), np.array(row, np.float32), maps)
    return writer.finish()


def made_manifest(root: Path, rows: Sequence[tuple[str, str, Sequence[float]]]) -> Manifest:
    """Return a manifest of image, patient and a label a finding of `FINDINGS` (NaN: unknown)."""
    table = pd.DataFrame([(image, patient, *labels) for image, patient, labels in rows])
    return build_manifest(table.set_axis(["image", "patient_id", *FINDINGS], axis=1), root, "local")
