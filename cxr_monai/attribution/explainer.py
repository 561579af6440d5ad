"""Files in, maps out: what a bundle's network looked at, for every image and every finding, in a folder of maps.

explainer = Explainer.of_bundle("OUT/bundle", method="cam", map_stride=16)
store = explainer.write_maps(files, names, "maps")           # goes on where an earlier run was interrupted
store.on_image("a.png", "Effusion")                          # [H, W] in the file's own pixels
"""

import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from monai.utils import convert_to_tensor
from torch import nn
from torch.utils.data import Dataset

from cxr_monai.attribution.map_store import MapStore, MapWriter
from cxr_monai.attribution.methods import Method, cam_times_layercam, explain_with, method_named, without_in_place
from cxr_monai.attribution.view import PointGrid, View
from cxr_monai.bundle.about import describe_predictions as about_bundle
from cxr_monai.bundle.bundle_folder import Bundle, head_of
from cxr_monai.bundle.calibrated import calibration_item
from cxr_monai.data.dataset import split_error, take_any_modality
from cxr_monai.data.files import write_errors
from cxr_monai.data.loading import reading_loader
from cxr_monai.errors import Code, RadiographError, SettingError, ours
from cxr_monai.evaluation.carried import calibration_in
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.labels import parse_labels
from cxr_monai.networks.class_maps import ClassMaps, grid_points
from cxr_monai.networks.fixed_batches import evenly
from cxr_monai.networks.fusion import TOLERANCE, largest_difference
from cxr_monai.networks.heads import INDEPENDENT, Head, with_head
from cxr_monai.networks.inferers import autocast_dtype, bfloat16_supported
from cxr_monai.networks.weight_loading import load_weights
from cxr_monai.plurals import counted
from cxr_monai.progress import progress_bar
from cxr_monai.transforms import visible_part

logger = logging.getLogger(__name__)

GRAIN = 4
"""Pixel maps are kept as the means of squares of so many pixels of the network's input."""


class Explainer:
    """A network with what is needed to make maps of it.

    Args:
        network: with its weights, float32.
        preprocessing: the bundle's pipeline, file to network input.
        findings: the labels of the network's head.
        shape: ``[C, H, W]`` of its input.
        method: a name of ``cxr_monai.attribution.methods.METHODS``.
        wanted: findings to make maps of; all where None.
        target_layer: for methods that explain a layer; the method's own choice where None.
        map_stride: pixels of the input between two points of a ``cam``; the network's own where None.
        calibration: the bundle's; probabilities are calibrated and ``rule`` means its operating points.
        rule: which operating points are meant; the first where None.
        reported_only: keep the maps of findings at or over their operating point alone.
        device: where to compute. ``cam`` computes as prediction does; the others in float32, since gradients in
            bfloat16 are too coarse to look at.
        amp: False computes ``cam`` in float32 too.
        bundle: what ``maps.json`` says of the bundle.
        head: of the network.
        any_modality: read DICOM files whatever their headers say they show.

    Raises:
        SettingError: ``setting-invalid`` for an unknown method, layer or stride, or operating points that are not
            there.
        ManifestError: ``unknown-finding``.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Compose,
        findings: Sequence[str],
        shape: Sequence[int],
        method: str = Method.CAM,
        wanted: Sequence[str] | str | None = None,
        target_layer: str | None = None,
        map_stride: int | None = None,
        calibration: Fitted | None = None,
        rule: str | None = None,
        reported_only: bool = False,
        device: torch.device | str = "cpu",
        amp: bool = True,
        bundle: Mapping[str, Any] | None = None,
        head: Head = INDEPENDENT,
        any_modality: bool = False,
    ) -> None:
        made = method_named(method)
        if any_modality:
            take_any_modality(preprocessing)
        self.method, self.device = str(method), torch.device(device)
        self.network, self.head, self.preprocessing = network.eval().to(self.device), head, preprocessing
        self.findings = tuple(findings)
        self.kept = self.findings if wanted is None else tuple(parse_labels(wanted))
        missing = [name for name in self.kept if name not in self.findings]
        if missing:
            raise SettingError(
                Code.SETTING_INVALID,
                f"the network does not know {missing[0]!r}; it knows {', '.join(self.findings)}.",
            )
        self.channels = [self.findings.index(name) for name in self.kept]
        self.target_layer = (target_layer or made.layer) if made.layer else None
        with_class_maps = method in (Method.CAM, Method.CAM_LAYERCAM)
        if map_stride is not None and not with_class_maps:
            raise SettingError(
                Code.SETTING_INVALID,
                f"a stride of {map_stride!r} with the method {method!r}: only class activation maps have one.",
                fix="Leave --map_stride out, or name an earlier layer with --target_layer.",
            )
        self.calibration = calibration
        self.thresholds = operating_points(calibration, rule, self.kept)
        if reported_only and not self.thresholds:
            raise SettingError(
                Code.SETTING_INVALID,
                "there are no operating points, so nothing is over them.",
                fix="'cxr-monai calibrate' writes a bundle that has; or make maps of all findings.",
            )
        self.reported_only = reported_only
        self._class_maps = self._fastest(shape, map_stride, amp) if with_class_maps else None
        if method != Method.CAM:
            self.network = without_in_place(self.network)
        self._whole = with_head(self.network, head)
        self._points: PointGrid | None = None
        tried = torch.zeros(1, *shape, device=self.device)  # whatever is wrong is said before the first file is read
        side = self._maps(tried, self.channels[:1]).shape[-1]
        if method == Method.CAM and self._class_maps is not None:
            self._points = self._class_maps.points
        elif made.layer:
            self._points = grid_points(self.network, shape, side)
        self.about: dict[str, Any] = {
            "findings": list(self.kept),
            "method": self.method,
            "layer": self.target_layer,
            "stride": self._class_maps.stride if self._class_maps else None,
            "points": self._points and list(self._points),
            "image_size": int(shape[-1]),
            "thresholds": self.thresholds,
            "reported_only": reported_only,
            "calibrated": calibration is not None and calibration.calibrates,
            "bundle": dict(bundle or {}),
        }
        self.left_out = 0

    @classmethod
    def of_bundle(cls, bundle: str | Path, weights: str | Path | None = None, **options: Any) -> "Explainer":
        """Open a bundle and load its weights; ``options`` are the constructor's.

        Raises:
            BundleError: if the folder is no valid bundle.
            WeightsError: if the weights are missing or belong to another network.
        """
        opened = Bundle.open(bundle)
        device = torch.device(options.pop("device", None) or ("cuda" if torch.cuda.is_available() else "cpu"))
        path = Path(weights) if weights else opened.weights
        parser = opened.parser()
        network = load_weights(parser.get_parsed_content("network_def"), path, device)
        calibration = calibration_in(opened.root, calibration_item(opened.root), opened.labels, path)
        told = about_bundle(str(opened.root), str(path), device, options.get("amp", True), calibration)
        made_by = {
            "name": opened.metadata.get("name", ""),
            "digest": told["bundle"],
            "label_scheme": told["label_scheme"],
            "own_weights": told["own_weights"],
        }
        return cls(
            network,
            parser.get_parsed_content("preprocessing"),
            opened.labels,
            tuple(parser.get_parsed_content("dataset#shape")),
            calibration=calibration,
            device=device,
            bundle=made_by,
            head=head_of(parser),
            **options,
        )

    def __call__(self, images: torch.Tensor, wanted: torch.Tensor | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Explain some images.

        Args:
            images: float32 ``[B, C, H, W]``, as the network is given them.
            wanted: bool ``[B, K]``: which maps; all where None.

        Returns:
            probabilities ``[B, F]`` and maps ``[B, K, h, w]``, at least 0; NaN where a map is not wanted, or its
            finding is under its operating point and those alone are kept.
        """
        images = images.to(self.device)
        keep = np.ones((len(images), len(self.kept)), bool) if wanted is None else wanted.numpy().copy()
        if self.method == Method.CAM and self._class_maps is not None:
            with torch.inference_mode(), self._autocast():
                images = images.contiguous(memory_format=torch.channels_last)
                logits, made = evenly(self._class_maps, images)
            probabilities = self._probabilities(logits)
            maps = made[:, self.channels].clamp(min=0).cpu().numpy()
            maps[~self._over(probabilities, keep)] = np.nan
            return probabilities, maps
        with torch.inference_mode():
            probabilities = self._probabilities(self._whole(images))
        keep = self._over(probabilities, keep)
        if keep.all():
            return probabilities, self._maps(images, self.channels).numpy()
        each = []
        for image, row in zip(images.split(1), keep, strict=True):  # each map costs: only those that are kept are made
            chosen = np.flatnonzero(row)
            if len(chosen):
                each.append(self._maps(image, [self.channels[at] for at in chosen])[0].numpy())
        side = each[0].shape[-2:] if each else (1, 1)
        if not each:
            side = tuple(self._maps(images[:1], self.channels[:1]).shape[-2:])
        maps = np.full((*keep.shape, *side), np.nan, np.float32)
        maps[keep] = np.concatenate(each) if each else np.empty((0, *side), np.float32)
        return probabilities, maps

    def _maps(self, images: torch.Tensor, channels: Sequence[int]) -> torch.Tensor:
        """Return the maps of some channels ``[B, K, h, w]``."""
        if self.method == Method.CAM_LAYERCAM and self._class_maps is not None:
            pixels = images.detach().clone().requires_grad_()
            maps = cam_times_layercam(
                self._class_maps, self._whole, pixels, channels, str(self.target_layer), self._points
            )
        else:
            maps = explain_with(self.method, self.network, images, channels, self.target_layer, self.head)
        maps = maps.float().cpu()
        return nn.functional.avg_pool2d(maps, GRAIN) if maps.shape[-1] > images.shape[-1] // GRAIN else maps

    def _over(self, probabilities: np.ndarray, keep: np.ndarray) -> np.ndarray:
        """Leave out findings under their operating point, if those over it are all that is kept."""
        if not self.reported_only:
            return keep
        thresholds = np.array([self.thresholds.get(name, np.inf) for name in self.kept])
        return keep & (probabilities[:, self.channels] >= thresholds)

    def write_maps(
        self,
        files: Sequence[str | Path],
        names: Sequence[str],
        out: str | Path,
        batch_size: int = 16,
        num_workers: int | None = None,
        root: str | Path | None = None,
        errors: str | Path | None = None,
        wanted: Mapping[str, Collection[str]] | None = None,
        force: bool = False,
    ) -> MapStore:
        """Write the maps of files that are not there yet; memory does not grow with their number.

        Args:
            files: PNG, JPEG, DICOM or NIfTI.
            names: what each is called in the store.
            out: the store's folder.
            batch_size: images at a time.
            num_workers: files that are read at a time; see ``cxr_monai.data.loading.reading_loader``.
            wanted: findings by name of the image, where not all of them are; images that are not in it have no map.
            errors: ``<errors>.errors.csv`` tells which files were left out; by default beside the store.
            force: other maps that are there may go.
            root: the folder that the names are below, for whoever draws the maps over their images; None: unknown.

        Raises:
            RadiographError: that of the first file, if there is no map at all.
            UsageError: ``output-exists`` if other maps are there.
            StorageError: ``disk-full`` or ``write-failed``; what was written stays.
        """
        given = {"root": None if root is None else str(root), "images": _digest_of(names, wanted)}
        writer = MapWriter(out, self.about | given, force)
        named = [
            (str(file), name)
            for file, name in zip(files, names, strict=True)
            if wanted is None or not set(self.kept).isdisjoint(wanted.get(name, ()))
        ]
        todo = [(file, name) for name, file in {name: file for file, name in named}.items() if name not in writer.done]
        if len(todo) < len(named):
            logger.info("%d of %s have maps already", len(named) - len(todo), counted(len(named), "image"))
        left_out: list[tuple[str, str, str]] = []
        first: RadiographError | None = None
        with progress_bar(total=len(named), initial=len(named) - len(todo), desc="maps", unit="images") as bar:
            for batch in self._batches(todo, batch_size, num_workers):
                probabilities, maps = self(batch["image"], self._asked(batch["name"], wanted))
                read = (batch[key] for key in ("name", "error", "notes", "view"))
                for name, error, notes, numbers, row, made in zip(*read, probabilities, maps, strict=True):
                    if error:
                        left_out.append((name, *split_error(error)))
                        first = first or RadiographError(Code(left_out[0][1]), left_out[0][2], where=name)
                    else:
                        writer.add(name, _view_of(numbers), row[self.channels], made, notes)
                bar.update(len(batch["name"]))
        beside = Path(errors or out)
        beside.parent.mkdir(parents=True, exist_ok=True)
        write_errors(beside, left_out)
        self.left_out = len(left_out)
        if first is not None and not writer.done:
            raise first
        store = writer.finish()
        if left_out:
            logger.warning("%s left out: %s.errors.csv", counted(len(left_out), "file"), beside)
        return store

    def _asked(self, names: Sequence[str], wanted: Mapping[str, Collection[str]] | None) -> torch.Tensor | None:
        """Return which maps of some images are wanted, bool ``[B, K]``; None for all."""
        if wanted is None:
            return None
        return torch.tensor([[finding in wanted.get(name, ()) for finding in self.kept] for name in names])

    def _batches(self, todo: Sequence[tuple[str, str]], size: int, workers: int | None) -> Iterator[dict[str, Any]]:
        if todo:
            yield from reading_loader(_Files(todo, self.preprocessing, self.about["image_size"]), size, workers)

    def _probabilities(self, logits: torch.Tensor) -> np.ndarray:
        values = logits.cpu().double().sigmoid().float().numpy()
        return values if self.calibration is None else self.calibration.apply(values, self.findings).astype("float32")

    def _fastest(self, shape: Sequence[int], stride: int | None, amp: bool) -> ClassMaps:
        low = amp and self.device.type == "cpu" and bfloat16_supported(self.device)
        exact = ClassMaps(self.network, shape, stride, head=self.head).to(self.device)
        self._dtype = autocast_dtype(self.device, amp and self.device.type != "cpu")
        if not low:
            return exact
        try:
            made = ClassMaps(self.network, shape, stride, fast=True, head=self.head)
            whole = with_head(self.network, self.head)
            difference = largest_difference(whole, lambda images: made(images)[0], tuple(shape))
        except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            logger.info("maps with the network as it is: it cannot be folded (%s)", error)
            return exact
        if not difference <= TOLERANCE:
            logger.info("maps with the network as it is: folded, a probability differs by %.3g", difference)
            return exact
        return made

    def _autocast(self) -> Any:
        if self._dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self._dtype)


def operating_points(calibration: Fitted | None, rule: str | None, findings: Sequence[str]) -> dict[str, float]:
    """Return the thresholds of one rule by finding; the first rule where None; none where there are none.

    Raises:
        SettingError: ``setting-invalid`` for a rule that is not among them.
    """
    points = {name: dict(calibration.points.get(name, {})) for name in findings} if calibration else {}
    rules = list(dict.fromkeys(known for of in points.values() for known in of))
    if rule is not None and rule not in rules:
        raise SettingError(
            Code.SETTING_INVALID, f"there is no operating point {rule!r}; there are {', '.join(rules) or 'none'}."
        )
    chosen = rule or (rules[0] if rules else "")
    return {name: float(of[chosen]) for name, of in points.items() if chosen in of}


def root_of(files: Sequence[str | Path], names: Sequence[str]) -> Path | None:
    """Return the folder that all names are below; None if there is none."""
    roots = {_above(Path(file).resolve(), name) for file, name in zip(files, names, strict=True)}
    return roots.pop() if len(roots) == 1 else None


def _above(file: Path, name: str) -> Path | None:
    if Path(name).is_absolute():
        return Path("/") if file == Path(name).resolve() else None
    parts = Path(name).parts
    return file.parents[len(parts) - 1] if file.parts[-len(parts) :] == parts else None


def _digest_of(names: Sequence[str], wanted: Mapping[str, Collection[str]] | None) -> str:
    """Return what tells the images and findings that maps were asked of from others."""
    findings = None if wanted is None else {name: sorted(wanted[name]) for name in sorted(wanted)}
    return sha256(json.dumps([list(names), findings]).encode()).hexdigest()


class _Files(Dataset):
    """Files as :class:`Explainer` needs them: network input, name, where it lies in the file, what was wrong."""

    def __init__(self, files: Sequence[tuple[str, str]], preprocessing: Compose, size: int) -> None:
        self.files, self.preprocessing, self.size = files, preprocessing, size
        self.blank: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path, name = self.files[index]
        try:
            made = self.preprocessing({"image": path})
        except RuntimeError as wrapped:
            cause = ours(wrapped)
            if not isinstance(cause, RadiographError):
                raise
            return {
                "image": self._blank(),
                "name": name,
                "error": f"{cause.code}: {cause.message}",
                "notes": "",
                "view": torch.zeros(8),
            }
        image = convert_to_tensor(made["image"], dtype=torch.float32, track_meta=False).contiguous()
        height, width = made["image_shape"]
        row, column = made["image_spacing"] or (torch.nan, torch.nan)
        part = visible_part(self.preprocessing, height, width)
        view = torch.tensor([height, width, *part, row, column], dtype=torch.float64)
        notes = "\n".join(made.get("image_notes", ()))
        return {"image": image, "name": name, "error": "", "notes": notes, "view": view}

    def _blank(self) -> torch.Tensor:
        channels = next((step.channels for step in self.preprocessing.transforms if hasattr(step, "channels")), 1)
        return torch.zeros(channels, self.size, self.size)


def _view_of(numbers: torch.Tensor) -> View:
    height, width, top, left, rows, columns, row, column = numbers.tolist()
    spacing = None if np.isnan(row) else (row, column)
    return View(int(height), int(width), top, left, rows, columns, spacing)
