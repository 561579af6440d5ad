"""Heat maps of a bundle's network: `explain_images`, and the component that a bundle's ``explain.json`` runs.

`explain_images` is what ``cxr-monai explain`` does. `Explanation` makes maps of chosen images by every method asked
for, and pictures of some: ``OUT/explanations`` then holds ``maps_<method>`` (for 'cxr-monai maps'), a picture an image,
and ``sheet.png``.
"""

import io
import logging
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from cxr_monai.attribution.drawing import MapPanel, PixelBox, compare_figure, save_picture
from cxr_monai.attribution.explainer import Explainer, root_of
from cxr_monai.attribution.gallery import Gallery
from cxr_monai.attribution.map_pictures import PICTURE_COLUMNS
from cxr_monai.attribution.map_store import MapStore
from cxr_monai.attribution.reference_boxes import boxed_findings
from cxr_monai.attribution.selection import Example
from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.data.inputs import film_item, names_are_identities
from cxr_monai.data.manifest import Manifest
from cxr_monai.durable import refuse_taken
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.gate.answer import GateMode
from cxr_monai.gate.bundle_gate import Gate
from cxr_monai.inference.model import Model, ModelSettings
from cxr_monai.labels import spelling
from cxr_monai.networks.heads import INDEPENDENT, Head
from cxr_monai.plurals import counted
from cxr_monai.progress import progress_bar
from cxr_monai.sharing.trust.open_trusted import open_trusted
from cxr_monai.stopping import kept_so_far
from cxr_monai.workflows.predict import Images, films_named

logger = logging.getLogger(__name__)

SHEET = 12
"""Rows of the sheet at most."""


class ExplanationRun:
    """Maps and pictures of some images.

    Args:
        network, preprocessing, findings, shape, head, calibration, amp, any_modality: of the bundle, as of
            ``cxr_monai.inference.model.Model``.
        methods: names, or one name, or several with commas between.
        bundle_root, weights: what ``maps.json`` says of the bundle.
        most_probable: findings an image in the pictures; those that its labels say come first.
        pictures: how many images are drawn.
        device: where to compute.
        map_stride: of ``cam``, as of ``Explainer``.
        gate: of the bundle, as of ``Model``; None judges no film.
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
        head: Head = INDEPENDENT,
        calibration: Fitted | None = None,
        amp: bool = True,
        any_modality: bool = False,
        map_stride: int | None = None,
        gate: Gate | None = None,
        **options: Any,
    ) -> None:
        settings = ModelSettings(weights=weights, device=str(device), amp=amp, any_modality=any_modality)
        bundle, labels = Bundle.open(bundle_root), tuple(findings)
        if gate is not None and gate.missing:
            logger.warning("%s", gate.missing)
        model = Model(network, preprocessing, labels, tuple(shape), head, calibration, settings, bundle, gate or Gate())
        self.explainers = {
            name: Explainer(model, name, map_stride=map_stride if name == "cam" else None, **options)
            for name in (methods.split(",") if isinstance(methods, str) else methods)
        }
        self.most_probable, self.pictures, self.force = most_probable, pictures, force

    def run(self, examples: Sequence[Example], output_dir: str | Path) -> Path:
        """Make the maps, draw the pictures and return the folder.

        Files that cannot be read, and films that the gate refuses, are listed in ``explanations.errors.csv``; the
        gate's evidence of every film is ``explanations.gate.csv``.

        Args:
            examples: the images.
            output_dir: the folder that gets ``explanations``.

        Raises:
            UsageError: ``output-exists`` if other maps are there, or pictures of maps by other methods.
            RadiographError: that of the first file, if none could be read.
        """
        folder = Path(output_dir) / "explanations"
        if {path.name for path in folder.glob("maps_*")} != {f"maps_{name}" for name in self.explainers}:
            refuse_taken([] if self.force else sorted(folder.glob("*.png")), "--force True")
        films = [film_item(example.path, example.facts) for example in examples]
        names = [example.name for example in examples]
        with kept_so_far("the maps that are done"):
            stores = [
                explainer.write_maps(films, names, folder / f"maps_{name}", errors=folder, force=self.force)
                for name, explainer in self.explainers.items()
            ]
        self._draw(stores, examples, folder)
        for note in stores[0].notes.lines(len(stores[0].images)):
            logger.warning("%s", note)
        return folder

    def _draw(self, stores: Sequence[MapStore], examples: Sequence[Example], folder: Path) -> None:
        drawn_examples = [example for example in examples if example.name in set(stores[0].images)][: self.pictures]
        truth = {key: boxes for example in drawn_examples for key, boxes in _truth(example, stores[0]).items()}
        gallery = Gallery(stores, truth=truth, paths={example.name: example.path for example in drawn_examples})
        sheet: list[list[MapPanel]] = []
        for number, example in enumerate(
            progress_bar(drawn_examples, total=len(drawn_examples), desc="drawing", unit="images")
        ):
            rows = [gallery.row(example.name, finding, _words(example)) for finding in self._shown(stores[0], example)]
            save_picture(compare_figure(rows), folder / f"{number:03d}_{Path(example.name).name.split('.')[0]}.png")
            sheet += rows[: 1 if len(drawn_examples) > SHEET // 2 else 2]
        if sheet:
            save_picture(compare_figure(sheet[:SHEET]), folder / "sheet.png")
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


def _truth(example: Example, store: MapStore) -> dict[tuple[str, str], list[PixelBox]]:
    view = store.view(example.name)
    truth: dict[tuple[str, str], list[PixelBox]] = {}
    for finding, x, y, width, height in example.boxes:
        box = (x * view.width, y * view.height, width * view.width, height * view.height)
        truth.setdefault((example.name, finding), []).append(box)
    return truth


@dataclass(frozen=True)
class ExplainedImages:
    """Maps of what a network looked at, of some images.

    Attributes:
        store: the maps: ``store.images``, ``store.on_image(image, finding)``, ``store.table`` with the probabilities.
        findings: those that maps were asked of.
        left_out: how many files could not be read or were refused; ``<out>.errors.csv`` says which and why.
        notes: sentences on what was left out.
    """

    store: MapStore
    findings: tuple[str, ...]
    left_out: int
    notes: tuple[str, ...] = ()

    @property
    def table(self) -> pd.DataFrame:
        """One row an image: its size, where the network looked at it, and one probability a finding."""
        return self.store.table

    def show(self, image: str | None = None, findings: Sequence[str] = ()) -> "MapPicture":
        """Return a picture of one image: the radiograph, and a map for each finding.

        Args:
            image: its name in ``table``, or a part of it that is unique; the first where None.
            findings: those; where none are named, the reported ones, or the most probable.

        Raises:
            EvaluationError: ``maps-invalid`` for an image that was not explained.
            SettingError: ``setting-invalid`` for a finding without maps.
        """
        gallery = Gallery([self.store])
        panels, words = gallery.picture(gallery.find(image or self.store.images[0]), findings)
        rows = [panels[start : start + PICTURE_COLUMNS] for start in range(0, len(panels), PICTURE_COLUMNS)]
        return MapPicture(compare_figure(rows, heading=gallery.titles[0], note=words))


@dataclass(frozen=True)
class MapPicture:
    """A figure that a notebook shows by itself, and that ``save`` writes as PNG or PDF."""

    figure: Figure

    def save(self, path: str | Path) -> None:
        """Write the figure, as PNG of 300 dpi or as PDF, by the path's suffix."""
        save_picture(self.figure, path)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=120)
        return buffer.getvalue()


def explain_images(
    bundle: str | PathLike[str],
    images: Images,
    out: str | Path | None = None,
    *,
    split: str | None = None,
    method: str = "cam",
    findings: Sequence[str] | None = None,
    map_stride: int | None = None,
    target_layer: str | None = None,
    rule: str | None = None,
    reported_only: bool = False,
    boxes: str | Path | None = None,
    match_names: bool = False,
    weights: str | Path | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    amp: bool = True,
    any_modality: bool = False,
    gate: str | None = None,
    trust_folder: bool = False,
    force: bool = False,
) -> ExplainedImages:
    """Make a map of what a bundle's network looked at, for every image and every finding.

    Args:
        bundle: a folder such as ``OUT/bundle``, an opened bundle, or the name of an installed one.
        images: PNG, JPEG, DICOM or NIfTI files, a folder of them, or a manifest (its path, or the table).
        out: where the maps go; an interrupted call goes on there. A folder that lives as long as the result where None.
        split: this part of a manifest alone.
        method: ``cam``, ``gradcam``, ``layercam``, ``integrated_gradients``, ``occlusion`` ..., see
            ``cxr_monai.attribution.methods``.
        findings: maps of these alone.
        map_stride: of ``cam``: pixels of the network's input between two points of a map; smaller is finer and slower.
        target_layer: of methods that explain a layer.
        rule: which operating point is meant; the bundle's first where None.
        reported_only: keep the maps of findings at their operating point or over it.
        boxes: a table of boxes: only the maps of the boxed findings of boxed images.
        match_names: a file name alone tells which image a box is of.
        weights: instead of the bundle's own.
        batch_size: images at a time.
        workers: files that are read at a time; decided by the machine where None.
        amp: compute in bfloat16 where that is faster and close enough.
        any_modality: read DICOM files whatever their headers say they show.
        gate: what is done with films that are not for this network: ``refuse`` makes no map of them, ``review`` maps
            and marks them, ``off`` judges none. ``refuse`` where None, but ``review`` with ``boxes``: maps that are to
            be scored lose no film.
        trust_folder: run the folder although an inspection refuses it.
        force: other maps in ``out`` may go.

    Returns:
        the maps; ``.show()`` draws one image's.

    Raises:
        CxrError: ``no-images``, ``bundle-invalid``, ``setting-invalid``, ``output-exists``; that of the first file, if
            none can be read.

    >>> explain_images("OUT/bundle", "radiograph.png").show()  # doctest: +SKIP
    """
    films = films_named(images, split)
    root, boxed, notes = open_trusted(bundle, trust_folder), None, list[str]()
    if boxes is not None:
        by_name = match_names or _named_uniquely(images)
        boxed, notes = boxed_findings(boxes, films.names, Bundle.open(root).scheme, by_name)
        films = films.named(boxed)
    model = Model.open(
        root,
        weights=weights,
        amp=amp,
        any_modality=any_modality,
        batch_size=batch_size,
        num_workers=workers,
        gate=gate or (GateMode.REFUSE if boxes is None else GateMode.REVIEW),
    )
    notes += [model.gate.missing] if model.gate.missing else []
    finding_names = None if findings is None else [spelling(name) for name in findings]
    explainer = Explainer(model, method, finding_names, target_layer, map_stride, rule, reported_only)
    temporary = None
    if out is None:
        temporary = tempfile.mkdtemp(prefix="cxr-monai-maps-")  # of mode 0700
        out = Path(temporary) / "maps"
    try:
        above = root_of(films.files, films.names)
        store = explainer.write_maps(films.items(), films.names, Path(out), above, findings_by_image=boxed, force=force)
    except BaseException:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    if temporary is not None:  # with what stands beside the maps, such as the list of files that were left out
        weakref.finalize(store, shutil.rmtree, temporary, ignore_errors=True)
    return ExplainedImages(store, explainer.findings, explainer.left_out, tuple(notes))


def _named_uniquely(images: Images) -> bool:
    """Return whether the images are those of manifests whose file names are identities."""
    if isinstance(images, Manifest):
        return images.by_name
    return names_are_identities([images] if isinstance(images, str | Path) else images)
