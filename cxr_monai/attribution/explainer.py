"""Explanation of a bundle's predictions: maps of every image and every finding, in a folder of maps.

explainer = Explainer(Model.open("OUT/bundle"), method="cam", map_stride=16)
store = explainer.write_maps(files, names, "maps")           # goes on where an earlier run was interrupted
store.on_image("a.png", "Effusion")                          # [H, W] in the file's own pixels
"""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cxr_monai.attribution.map_store import MapStore, MapWriter
from cxr_monai.attribution.methods import Method, cam_times_layercam, explain_with, method_named, without_in_place
from cxr_monai.attribution.view import PointGrid, View
from cxr_monai.data.files import write_errors
from cxr_monai.errors import Code, SettingError
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.gate.evidence_file import evidence_rows, remember_films, write_evidence
from cxr_monai.inference.model import Model
from cxr_monai.inference.reading import first_error
from cxr_monai.labels import parse_labels
from cxr_monai.networks.class_maps import grid_points
from cxr_monai.networks.heads import with_head
from cxr_monai.plurals import counted
from cxr_monai.transforms.visibility import visible_part

logger = logging.getLogger(__name__)

GRAIN = 4
"""Pixel maps are kept as the means of squares of so many pixels of the network's input."""


class Explainer:
    """A model and an attribution method that maps what its network looked at.

    Args:
        model: the network, its preprocessing and calibration; where it is calibrated, ``rule`` means its operating
            points. ``cam`` computes as the model's prediction does; the other methods in float32, since gradients in
            bfloat16 are too coarse to look at.
        method: a name of ``cxr_monai.attribution.methods.MAP_METHODS``.
        findings: to make maps of; all of the model's labels where None.
        target_layer: for methods that explain a layer; the method's own choice where None.
        map_stride: pixels of the input between two points of a ``cam``; the network's own where None.
        rule: the operating points to use; the first rule where None.
        reported_only: keep the maps of findings at or over their operating point alone.

    Raises:
        SettingError: ``setting-invalid`` for an unknown method, finding, layer or stride, or operating points that are
            not there.
        ManifestError: ``unknown-finding``.
    """

    def __init__(
        self,
        model: Model,
        method: str = Method.CAM,
        findings: Sequence[str] | str | None = None,
        target_layer: str | None = None,
        map_stride: int | None = None,
        rule: str | None = None,
        reported_only: bool = False,
    ) -> None:
        default_layer = method_named(method).layer
        self.model, self.method = model, str(method)
        self.findings = model.labels if findings is None else tuple(parse_labels(findings))
        unknown = [name for name in self.findings if name not in model.labels]
        if unknown:
            raise SettingError(
                Code.SETTING_INVALID,
                f"the network does not know {unknown[0]!r}; it knows {', '.join(model.labels)}.",
            )
        self.channels = [model.labels.index(name) for name in self.findings]
        self.target_layer = (target_layer or default_layer) if default_layer else None
        with_class_maps = method in (Method.CAM, Method.CAM_LAYERCAM)
        if map_stride is not None and not with_class_maps:
            raise SettingError(
                Code.SETTING_INVALID,
                f"a stride of {map_stride!r} with the method {method!r}: only class activation maps have one.",
                fix="Leave --map_stride out, or name an earlier layer with --target_layer.",
            )
        self.thresholds = thresholds_of_rule(model.calibration, rule, self.findings)
        if reported_only and not self.thresholds:
            raise SettingError(
                Code.SETTING_INVALID,
                "there are no operating points, so nothing is over them.",
                fix="'cxr-monai calibrate' writes a bundle that has; or make maps of all findings.",
            )
        self.reported_only, self.map_stride = reported_only, map_stride
        self._class_maps = model.class_maps(map_stride) if with_class_maps else None
        self._network = model.network if method == Method.CAM else without_in_place(model.network)
        self._with_head = with_head(self._network, model.head)
        self._points: PointGrid | None = None
        blank = torch.zeros(
            1, *model.shape, device=model.device
        )  # errors of method and layer are raised before the first file is read
        side = self._maps(blank, self.channels[:1]).shape[-1]
        if method == Method.CAM and self._class_maps is not None:
            self._points = self._class_maps.points
        elif default_layer:
            self._points = grid_points(self._network, model.shape, side)
        self.about: dict[str, Any] = {
            "findings": list(self.findings),
            "method": self.method,
            "layer": self.target_layer,
            "stride": self._class_maps.stride if self._class_maps else None,
            "points": self._points and list(self._points),
            "image_size": int(model.shape[-1]),
            "thresholds": self.thresholds,
            "reported_only": reported_only,
            "calibrated": model.calibration is not None and model.calibration.calibrates,
            "bundle": dict(model.provenance),
            "gate": dict(model.gate.about),
        }
        self.left_out = 0

    def __call__(self, images: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Explain some images.

        Args:
            images: float32 ``[B, C, H, W]``, as the network is given them.
            mask: bool ``[B, K]``: the maps to compute; all where None.

        Returns:
            probabilities ``[B, F]`` and maps ``[B, K, h, w]``, at least 0; NaN where the mask is False, or the
            finding is under its operating point and those alone are kept.
        """
        images = images.to(self.model.device)
        shown = np.ones((len(images), len(self.findings)), bool) if mask is None else mask.numpy().copy()
        if self.method == Method.CAM:
            probabilities, class_maps = self.model.probabilities_and_maps(images, self.map_stride)
            maps = class_maps[:, self.channels].clamp(min=0).cpu().numpy()
            maps[~self._over_threshold(probabilities, shown)] = np.nan
            return probabilities, maps
        with torch.inference_mode():
            probabilities = self.model.probabilities(self._with_head(images))
        shown = self._over_threshold(probabilities, shown)
        if shown.all():
            return probabilities, self._maps(images, self.channels).numpy()
        shown_maps = []
        for image, row in zip(images.split(1), shown, strict=True):  # each map costs: only those that are shown
            channels = [self.channels[column] for column in np.flatnonzero(row)]
            shown_maps += [self._maps(image, channels)[0].numpy()] if channels else []
        side = shown_maps[0].shape[-2:] if shown_maps else tuple(self._maps(images[:1], self.channels[:1]).shape[-2:])
        maps = np.full((*shown.shape, *side), np.nan, np.float32)
        maps[shown] = np.concatenate(shown_maps) if shown_maps else np.empty((0, *side), np.float32)
        return probabilities, maps

    def _maps(self, images: torch.Tensor, channels: Sequence[int]) -> torch.Tensor:
        """Return the maps of some channels ``[B, K, h, w]``."""
        if self.method == Method.CAM_LAYERCAM and self._class_maps is not None:
            pixels = images.detach().clone().requires_grad_()
            maps = cam_times_layercam(
                self._class_maps, self._with_head, pixels, channels, str(self.target_layer), self._points
            )
        else:
            maps = explain_with(self.method, self._network, images, channels, self.target_layer, self.model.head)
        maps = maps.float().cpu()
        return nn.functional.avg_pool2d(maps, GRAIN) if maps.shape[-1] > images.shape[-1] // GRAIN else maps

    def _over_threshold(self, probabilities: np.ndarray, shown: np.ndarray) -> np.ndarray:
        """Return the mask without findings under their operating point, if only those over it are reported."""
        if not self.reported_only:
            return shown
        thresholds = np.array([self.thresholds.get(name, np.inf) for name in self.findings])
        return shown & (probabilities[:, self.channels] >= thresholds)

    def write_maps(
        self,
        films: Sequence[Any],
        names: Sequence[str],
        out: str | Path,
        root: str | Path | None = None,
        errors: str | Path | None = None,
        findings_by_image: Mapping[str, Collection[str]] | None = None,
        force: bool = False,
    ) -> MapStore:
        """Write the maps of files that have none in the folder yet; memory does not grow with the maps' number.

        Where the model has a gate, every film is judged: one that is refused gets no map, and stands in the list of
        errors. The evidence of every film stands in ``<out>.gate.csv``. Films with maps keep theirs in the store over
        an interruption; refused ones are judged again.

        Args:
            films: files (PNG, JPEG, DICOM or NIfTI), or items, as ``FilmReader.read`` takes them.
            names: of the images in the store.
            out: the store's folder.
            root: the folder that the names are relative to, to find the images again; None: unknown.
            errors: ``<errors>.errors.csv`` lists the files that were left out, ``<errors>.gate.csv`` has the gate's
                evidence; by default beside the store.
            findings_by_image: the findings to map, by name of the image; an image that is not in it gets no map. None:
                all findings of every image.
            force: overwrite other maps in the folder.

        Raises:
            RadiographError: that of the first file, if there is no map at all.
            UsageError: ``output-exists`` if other maps are in the folder.
            StorageError: ``disk-full`` or ``write-failed``; what was written before stays.
        """
        inputs = {"root": None if root is None else str(root), "images": _digest_of(names, findings_by_image)}
        writer = MapWriter(out, self.about | inputs, force)
        films_by_name = {
            name: film
            for film, name in zip(films, names, strict=True)
            if findings_by_image is None or not set(self.findings).isdisjoint(findings_by_image.get(name, ()))
        }
        todo = [name for name in films_by_name if name not in writer.done]
        if len(todo) < len(films_by_name):
            logger.info(
                "%d of %s have maps already", len(films_by_name) - len(todo), counted(len(films_by_name), "image")
            )
        left_out: list[tuple[str, str, str]] = []
        refused: dict[str, str] = {}
        earlier = self.model.gate.earlier_films()
        remember_films(earlier, writer.evidence.values())
        todo_films, done = [films_by_name[name] for name in todo], len(films_by_name) - len(todo)
        with closing(self.model.read(todo_films, todo, "maps", done)) as batches:
            for batch in batches:
                answers = self.model.judge(batch, earlier=earlier)
                evidence = {} if answers is None else evidence_rows(answers.table)
                errors_of_batch = [*batch.errors, *([] if answers is None else answers.errors())]
                without = {name for name, _, _ in errors_of_batch}
                refused |= {name: line for name, line in evidence.items() if name in without}
                probabilities, maps = self(batch.images, self._map_mask(batch.names, findings_by_image, without))
                for position in batch.readable:
                    name = batch.names[position]
                    if name not in without:
                        writer.add(
                            name,
                            self.view_of(batch.geometry[position]),
                            probabilities[position][self.channels],
                            maps[position],
                            batch.remarks[position],
                            evidence.get(name, ""),
                        )
                left_out += errors_of_batch
        errors_path = Path(errors or out)
        errors_path.parent.mkdir(parents=True, exist_ok=True)
        places = {name: place for place, name in enumerate(films_by_name)}
        left_out.sort(key=lambda error: places[error[0]])  # batches divide otherwise after an interruption
        write_errors(errors_path, left_out)
        lines = writer.evidence | refused
        write_evidence(errors_path, [lines[name] for name in films_by_name if name in lines])
        self.left_out = len(left_out)
        if left_out and not writer.done:
            raise first_error(left_out)
        store = writer.finish()
        if left_out:
            logger.warning("%s left out: %s.errors.csv", counted(len(left_out), "file"), errors_path)
        return store

    def _map_mask(
        self, names: Sequence[str], findings_by_image: Mapping[str, Collection[str]] | None, without: set[str]
    ) -> torch.Tensor | None:
        """Return the maps to compute of some images, bool ``[B, K]``, none of those ``without``; None for all."""
        if findings_by_image is None and without.isdisjoint(names):
            return None
        by_image = dict.fromkeys(names, self.findings) if findings_by_image is None else findings_by_image
        return torch.tensor(
            [[name not in without and finding in by_image.get(name, ()) for finding in self.findings] for name in names]
        )

    @property
    def points(self) -> PointGrid | None:
        """Where the points of its maps lie on a view (:meth:`View.place`)."""
        return self._points

    def view_of(self, geometry: torch.Tensor) -> View:
        """Return where the network's input lies in a stored image.

        Args:
            geometry: float64 ``[4]`` of ``FilmBatch.geometry``: rows, columns and their spacing in mm.
        """
        height, width, row, column = geometry.tolist()
        part = visible_part(self.model.preprocessing, int(height), int(width))
        return View(int(height), int(width), *part, None if np.isnan(row) else (row, column))


def rule_in_use(calibration: Fitted | None, rule: str | None, findings: Sequence[str]) -> str:
    """Return the rule whose operating points are used; empty without operating points.

    Args:
        calibration: of the bundle; None where it is not calibrated.
        rule: such as ``youden``; the first where None.
        findings: that may have operating points.

    Raises:
        SettingError: ``setting-invalid`` for a rule that the calibration does not have.
    """
    points = calibration.points if calibration else {}
    rules = list(dict.fromkeys(name for finding in findings for name in points.get(finding, {})))
    if rule is not None and rule not in rules:
        raise SettingError(
            Code.SETTING_INVALID, f"there is no operating point {rule!r}; there are {', '.join(rules) or 'none'}."
        )
    return rule or (rules[0] if rules else "")


def thresholds_of_rule(calibration: Fitted | None, rule: str | None, findings: Sequence[str]) -> dict[str, float]:
    """Return the thresholds of one rule by finding; empty without operating points.

    Args:
        calibration, rule, findings: as of :func:`rule_in_use`.

    Raises:
        SettingError: as :func:`rule_in_use`.
    """
    chosen = rule_in_use(calibration, rule, findings)
    points = calibration.points if calibration else {}
    return {name: float(points[name][chosen]) for name in findings if chosen in points.get(name, {})}


def root_of(files: Sequence[str | Path], names: Sequence[str]) -> Path | None:
    """Return the folder that all names are relative to; None if there is no such folder.

    Args:
        files: paths of the images.
        names: of the same images.
    """
    roots = {_above(Path(file).resolve(), name) for file, name in zip(files, names, strict=True)}
    return roots.pop() if len(roots) == 1 else None


def _above(file: Path, name: str) -> Path | None:
    if Path(name).is_absolute():
        return Path("/") if file == Path(name).resolve() else None
    parts = Path(name).parts
    return file.parents[len(parts) - 1] if file.parts[-len(parts) :] == parts else None


def _digest_of(names: Sequence[str], findings_by_image: Mapping[str, Collection[str]] | None) -> str:
    """Return the SHA-256 of the names of the images and of the findings to map."""
    sorted_findings = (
        None
        if findings_by_image is None
        else {name: sorted(findings_by_image[name]) for name in sorted(findings_by_image)}
    )
    return sha256(json.dumps([list(names), sorted_findings]).encode()).hexdigest()
