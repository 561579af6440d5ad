"""What a bundle's ``explain.json`` runs: maps of chosen images by every method asked for, and pictures of some.

Under ``OUT/explanations`` are ``maps_<method>`` (for 'cxr-monai maps'), a picture an image, and ``sheet.png``.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cxr_monai.attribution.drawing import Box, Panel, compare_figure, save
from cxr_monai.attribution.explainer import Explainer
from cxr_monai.attribution.map_store import MapStore
from cxr_monai.attribution.panels import Gallery
from cxr_monai.attribution.selection import Example
from cxr_monai.bundle.about import describe_predictions as about_bundle
from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.durable import refuse_taken
from cxr_monai.plurals import counted
from cxr_monai.progress import progress_bar
from cxr_monai.stopping import kept_so_far

logger = logging.getLogger(__name__)

SHEET = 12
"""Rows of the sheet at most."""


class ExplanationRun:
    """Maps and pictures of some images.

    Args:
        network, preprocessing, findings, shape: of the bundle, see ``Explainer``.
        methods: names, or one name, or several with commas between.
        bundle_root, weights: what ``maps.json`` says of the bundle.
        most_probable: findings an image in the pictures; those that its labels say come first.
        pictures: how many images are drawn.
        device: where to compute.
        options: further settings of ``Explainer``.

    Raises:
        SettingError: as ``Explainer``.
    """

    def __init__(
        self,
        network: Any,
        preprocessing: Any,
        findings: Sequence[str],
        shape: Sequence[int],
        methods: Sequence[str] | str,
        bundle_root: str,
        weights: str,
        most_probable: int = 2,
        pictures: int = 8,
        device: Any = "cpu",
        force: bool = False,
        **options: Any,
    ) -> None:
        names = methods.split(",") if isinstance(methods, str) else list(methods)
        told = about_bundle(bundle_root, weights, device, True, options.get("calibration"))
        bundle = {
            "name": Bundle.open(bundle_root).metadata.get("name", ""),
            "digest": told["bundle"],
            "label_scheme": told["label_scheme"],
            "own_weights": told["own_weights"],
        }
        stride = options.pop("map_stride", None)
        self.explainers = {
            name: Explainer(
                network, preprocessing, findings, shape, name, device=device, bundle=bundle,
                map_stride=stride if name == "cam" else None, **options,
            )
            for name in names
        }  # fmt: skip
        self.most_probable, self.pictures, self.force = most_probable, pictures, force

    def run(self, examples: Sequence[Example], output_dir: str | Path) -> Path:
        """Make the maps, draw the pictures and return the folder.

        Files that cannot be read stand in ``explanations.errors.csv``.

        Raises:
            UsageError: ``output-exists`` if other maps are there, or pictures of maps by other methods.
            RadiographError: that of the first file, if none could be read.
        """
        folder = Path(output_dir) / "explanations"
        if {path.name for path in folder.glob("maps_*")} != {f"maps_{name}" for name in self.explainers}:
            refuse_taken([] if self.force else sorted(folder.glob("*.png")), "--force True")
        files, names = [example.path for example in examples], [example.name for example in examples]
        with kept_so_far("the maps that are done"):
            stores = [
                explainer.write_maps(files, names, folder / f"maps_{name}", errors=folder, force=self.force)
                for name, explainer in self.explainers.items()
            ]
        self._draw(stores, examples, folder)
        for note in stores[0].notes.lines(len(stores[0].images)):
            logger.warning("%s", note)
        return folder

    def _draw(self, stores: Sequence[MapStore], examples: Sequence[Example], folder: Path) -> None:
        there = [example for example in examples if example.name in set(stores[0].images)][: self.pictures]
        truth = {key: boxes for example in there for key, boxes in _truth(example, stores[0]).items()}
        gallery = Gallery(stores, truth=truth, paths={example.name: example.path for example in there})
        sheet: list[list[Panel]] = []
        for number, example in enumerate(progress_bar(there, total=len(there), desc="drawing", unit="images")):
            rows = [gallery.row(example.name, finding, _words(example)) for finding in self._shown(stores[0], example)]
            save(compare_figure(rows), folder / f"{number:03d}_{Path(example.name).name.split('.')[0]}.png")
            sheet += rows[: 1 if len(there) > SHEET // 2 else 2]
        if sheet:
            save(compare_figure(sheet[:SHEET]), folder / "sheet.png")
        logger.info(
            "%s explained: %s", counted(len(stores[0].images), "image"), folder / "sheet.png" if sheet else folder
        )

    def _shown(self, store: MapStore, example: Example) -> list[str]:
        """Return the findings that an image is labelled with, then the most probable ones."""
        order = sorted(store.findings, key=lambda finding: -store.probability(example.name, finding))
        labelled = [finding for finding in order if finding in (example.present or ())]
        return list(dict.fromkeys(labelled + order))[: self.most_probable]


def _words(example: Example) -> str:
    if example.present is None:
        return ""
    return f"labelled {', '.join(example.present) or 'with none of the findings'}"


def _truth(example: Example, store: MapStore) -> dict[tuple[str, str], list[Box]]:
    view = store.view(example.name)
    truth: dict[tuple[str, str], list[Box]] = {}
    for finding, x, y, width, height in example.boxes:
        box = (x * view.width, y * view.height, width * view.width, height * view.height)
        truth.setdefault((example.name, finding), []).append(box)
    return truth
