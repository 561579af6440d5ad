"""Files in, maps out: what a bundle's network looked at, for every image and every finding, in a folder of maps.

explainer = Explainer.of_bundle("OUT/bundle", method="cam", map_stride=16)
store = explainer.write_maps(files, names, "maps")           # goes on where an earlier run was interrupted
store.on_image("a.png", "Effusion")                          # [H, W] in the file's own pixels
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from monai.utils import convert_to_tensor
from torch import nn
from torch.utils.data import Dataset
from tqdm import tqdm

from cxr_monai.bundle.about import about as about_bundle
from cxr_monai.bundle.folder import Bundle
from cxr_monai.data.dataset import split_error
from cxr_monai.data.files import write_errors
from cxr_monai.data.loading import reading_loader
from cxr_monai.errors import Code, RadiographError, SettingError, ours
from cxr_monai.evaluation.fitted import Fitted, read_fitted
from cxr_monai.explain.methods import DENSENET_LAYER, Method, explain_with, method_named
from cxr_monai.explain.store import MapStore, MapWriter
from cxr_monai.explain.view import View
from cxr_monai.labels import parse
from cxr_monai.networks.class_maps import ClassMaps
from cxr_monai.networks.folding import TOLERANCE
from cxr_monai.networks.inferers import autocast_dtype, bfloat16_supported
from cxr_monai.networks.weights import load_weights
from cxr_monai.transforms import visible_part

logger = logging.getLogger(__name__)

GRAIN = 4
"""Pixel maps are kept as the means of squares of so many pixels of the network's input."""


class Explainer:
    """A network with what is needed to make maps of it.

    Args:
        network: with its weights, float32.
        preprocessing: the bundle's pipeline, file to network input.
        findings: the network's channels.
        shape: ``[C, H, W]`` of its input.
        method: a name of ``cxr_monai.explain.methods.METHODS``.
        wanted: findings to make maps of; all where None.
        target_layer: for methods that explain a layer.
        map_stride: pixels of the input between two points of a ``cam``; the network's own where None.
        calibration: the bundle's; probabilities are calibrated and ``rule`` means its operating points.
        rule: which operating points are meant; the first where None.
        reported_only: keep the maps of findings at or over their operating point alone.
        device: where to compute. ``cam`` computes as prediction does; the others in float32, since gradients in bfloat16
            are too coarse to look at.
        amp: False computes ``cam`` in float32 too.
        bundle: what ``maps.json`` says of the bundle.

    Raises:
        SettingError: ``setting-invalid`` for an unknown method, layer or stride, or operating points that are not there.
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
        target_layer: str = DENSENET_LAYER,
        map_stride: int | None = None,
        calibration: Fitted | None = None,
        rule: str | None = None,
        reported_only: bool = False,
        device: torch.device | str = "cpu",
        amp: bool = True,
        bundle: Mapping[str, Any] | None = None,
    ) -> None:
        made = method_named(method)
        self.method, self.device = str(method), torch.device(device)
        self.network, self.preprocessing = network.eval().to(self.device), preprocessing
        self.findings = tuple(findings)
        self.kept = self.findings if wanted is None else tuple(parse(wanted))
        missing = [name for name in self.kept if name not in self.findings]
        if missing:
            raise SettingError(
                Code.SETTING_INVALID,
                f"the network does not know {missing[0]!r}; it knows {', '.join(self.findings)}.",
            )
        self.channels = [self.findings.index(name) for name in self.kept]
        self.target_layer = target_layer if made.layered else ""
        if map_stride is not None and method != Method.CAM:
            raise SettingError(
                Code.SETTING_INVALID,
                f"a stride of {map_stride!r} with the method {method!r}: only 'cam' can make its grid finer.",
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
        self._class_maps: ClassMaps | None = None
        if method == Method.CAM:
            self._class_maps = self._fastest(shape, map_stride, amp)
        else:  # whatever is wrong with it is said before the first file is read
            explain_with(self.method, self.network, torch.zeros(1, *shape, device=self.device), [0], target_layer)
        self.about: dict[str, Any] = {
            "findings": list(self.kept),
            "method": self.method,
            "layer": self.target_layer or None,
            "stride": self._class_maps.stride if self._class_maps else None,
            "edges": self._class_maps.edges if self._class_maps else False,
            "image_size": int(shape[-1]),
            "thresholds": self.thresholds,
            "reported_only": reported_only,
            "calibrated": calibration is not None,
            **dict(bundle or {}),
        }

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
        calibration = read_fitted(opened.root / "models" / "calibration.json", opened.labels, False, path)
        told = about_bundle(str(opened.root), str(path), device, options.get("amp", True), calibration)
        return cls(
            network,
            parser.get_parsed_content("preprocessing"),
            opened.labels,
            tuple(parser.get_parsed_content("dataset#shape")),
            calibration=calibration,
            device=device,
            bundle={"bundle": told["bundle"]},
            **options,
        )

    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits ``[B, F]`` and maps ``[B, K, h, w]``, at least 0, of images ``[B, C, H, W]``."""
        images = images.to(self.device)
        if self._class_maps is not None:
            with torch.inference_mode(), self._autocast():
                logits, maps = self._class_maps(images.contiguous(memory_format=torch.channels_last))
                return logits.cpu(), maps[:, self.channels].clamp(min=0).cpu()
        with torch.inference_mode():
            logits = self.network(images).cpu()
        maps = explain_with(self.method, self.network, images, self.channels, self.target_layer).cpu()
        if maps.shape[-2:] == images.shape[-2:]:
            maps = nn.functional.avg_pool2d(maps, GRAIN)
        return logits, maps

    def write_maps(
        self,
        files: Sequence[str | Path],
        names: Sequence[str],
        out: str | Path,
        batch_size: int = 16,
        num_workers: int | None = None,
    ) -> MapStore:
        """Write the maps of files that are not there yet; memory does not grow with their number.

        Args:
            files: PNG, JPEG, DICOM or NIfTI.
            names: what each is called in the store.
            out: the store's folder; ``<out>.errors.csv`` tells which files were left out.
            batch_size: images at a time.
            num_workers: files that are read at a time; see ``cxr_monai.data.loading.reading_loader``.

        Raises:
            RadiographError: that of the first file, if there is no map at all.
            EvaluationError: ``maps-invalid`` if other maps are there.
            StorageError: ``disk-full`` or ``write-failed``; what was written stays.
        """
        writer = MapWriter(out, self.about)
        todo = [(str(file), name) for file, name in zip(files, names, strict=True) if name not in writer.done]
        if len(todo) < len(names):
            logger.info("%d of %d images have their maps already", len(names) - len(todo), len(names))
        left_out: list[tuple[str, str, str]] = []
        first: RadiographError | None = None
        with tqdm(total=len(names), initial=len(names) - len(todo), desc="maps", unit=" images", disable=None) as bar:
            for batch in self._batches(todo, batch_size, num_workers):
                logits, maps = self(batch["image"])
                probabilities = self._probabilities(logits)
                rows = zip(batch["name"], batch["error"], batch["view"], probabilities, maps.numpy(), strict=True)
                for name, error, numbers, row, made in rows:
                    if error:
                        left_out.append((name, *split_error(error)))
                        first = first or RadiographError(Code(left_out[0][1]), left_out[0][2], where=name)
                    else:
                        writer.add(name, _view_of(numbers), row[self.channels], self._kept_maps(row, made))
                bar.update(len(batch["name"]))
        write_errors(Path(out), left_out)
        store = writer.finish()
        if first is not None:
            if not store.images:
                raise first
            logger.warning("%d files were left out: %s.errors.csv", len(left_out), out)
        return store

    def _batches(self, todo: Sequence[tuple[str, str]], size: int, workers: int | None) -> Iterator[dict[str, Any]]:
        if todo:
            yield from reading_loader(_Files(todo, self.preprocessing, self.about["image_size"]), size, workers)

    def _probabilities(self, logits: torch.Tensor) -> np.ndarray:
        values = logits.float().sigmoid().numpy()
        return values if self.calibration is None else self.calibration.apply(values, self.findings).astype("float32")

    def _kept_maps(self, probabilities: np.ndarray, maps: np.ndarray) -> np.ndarray:
        if self.reported_only:
            for row, name in enumerate(self.kept):
                if not probabilities[self.channels[row]] >= self.thresholds.get(name, np.inf):
                    maps[row] = np.nan
        return maps

    def _fastest(self, shape: Sequence[int], stride: int | None, amp: bool) -> ClassMaps:
        low = amp and self.device.type == "cpu" and bfloat16_supported(self.device)
        exact = ClassMaps(self.network, shape, stride).to(self.device)
        self._dtype = autocast_dtype(self.device, amp and self.device.type != "cpu")
        if not low:
            return exact
        try:
            made = ClassMaps(self.network, shape, stride, fast=True)
            images = nn.functional.interpolate(
                torch.randn(2, shape[0], 8, 8, generator=torch.Generator().manual_seed(0)), tuple(shape[1:]), mode="bilinear"
            )
            with torch.inference_mode():
                difference = float((made(images)[0].sigmoid() - exact(images)[0].sigmoid()).abs().max())
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
            return {"image": self._blank(), "name": name, "error": f"{cause.code}: {cause.message}", "view": torch.zeros(8)}
        image = convert_to_tensor(made["image"], dtype=torch.float32, track_meta=False).contiguous()
        height, width = made["image_shape"]
        row, column = made["image_spacing"] or (torch.nan, torch.nan)
        part = visible_part(self.preprocessing, height, width)
        view = torch.tensor([height, width, *part, row, column], dtype=torch.float64)
        return {"image": image, "name": name, "error": "", "view": view}

    def _blank(self) -> torch.Tensor:
        channels = next((step.channels for step in self.preprocessing.transforms if hasattr(step, "channels")), 1)
        return torch.zeros(channels, self.size, self.size)


def _view_of(numbers: torch.Tensor) -> View:
    height, width, *place, row, column = numbers.tolist()
    return View(int(height), int(width), *place, None if np.isnan(row) else (row, column))
