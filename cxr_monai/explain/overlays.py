"""Overlays for people: the radiograph, the map, the finding, how likely it is, and the true box where one is known."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from monai.transforms import Compose
from monai.utils import convert_to_tensor
from torch import nn
from tqdm import tqdm

from cxr_monai.data.files import write_errors
from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.errors import Code, CxrError, RadiographError, SettingError, ours
from cxr_monai.explain.maps import METHODS, check_network, scale_to_maximum
from cxr_monai.explain.selection import Example

logger = logging.getLogger(__name__)


class Explainer:
    """Write one picture an image: its most probable findings by every method, and a sheet of all.

    Args:
        network: with its weights; put into eval mode.
        preprocessing: the bundle's pipeline, dictionary in, ``image`` out.
        findings: the network's channels.
        methods: names of ``cxr_monai.explain.maps.METHODS``.
        target_layer: of GradCAM.
        most_probable: how many findings an image; those that its labels say come first.
        device: where to compute (float32: gradients in bfloat16 are too coarse to look at).

    Raises:
        SettingError: ``setting-invalid`` for an unknown method or layer.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Compose,
        findings: Sequence[str],
        methods: Sequence[str] = ("gradcam",),
        target_layer: str = "class_layers.relu",
        most_probable: int = 2,
        device: torch.device | str = "cpu",
    ) -> None:
        methods = methods.split(",") if isinstance(methods, str) else list(methods)
        unknown = [name for name in methods if name not in METHODS]
        if unknown:
            raise SettingError(
                Code.SETTING_INVALID, f"there is no method {unknown[0]!r}; there are {', '.join(METHODS)}."
            )
        check_network(network, target_layer)
        self.network, self.preprocessing, self.findings = network.eval(), preprocessing, list(findings)
        self.methods, self.target_layer = methods, target_layer
        self.most_probable, self.device = most_probable, torch.device(device)

    def explain(self, example: Example) -> dict[str, Any]:
        """Return the network's view, and for each finding shown its probability and maps.

        The keys are ``image`` (``[h, w]`` in [0, 1], in the file's resolution), ``size`` (of the maps), ``channels``
        (shown), ``probabilities`` (``[F]``) and ``maps`` (``(channel, method)`` to ``[size, size]`` in [0, 1]).

        Raises:
            RadiographError: if the file cannot be read.
        """
        inputs = self._preprocess(example.path).to(self.device)
        with torch.no_grad():
            probabilities = self.network(inputs)[0].sigmoid().cpu()
        order = [int(channel) for channel in probabilities.argsort(descending=True)]
        labelled = [channel for channel in order if self.findings[channel] in (example.present or ())]
        shown = list(dict.fromkeys(labelled + order))[: self.most_probable]
        maps = {
            (channel, method): scale_to_maximum(METHODS[method](self.network, inputs, channel, self.target_layer)).cpu()
            for channel in shown
            for method in self.methods
        }
        return {
            "image": self._view(example.path, int(inputs.shape[-1])),
            "size": int(inputs.shape[-1]),
            "channels": shown,
            "probabilities": probabilities.numpy(),
            "maps": maps,
        }

    def _view(self, path: Path, size: int) -> np.ndarray:
        """Return the part of the stored image that the network sees, in the image's own resolution."""
        pixels = read_radiograph(path).pixels[0]
        side = min(pixels.shape) * size / self._resampled(size)
        top, left = ((extent - side) / 2 for extent in pixels.shape)
        return pixels[round(top) : round(top + side), round(left) : round(left + side)]

    def _resampled(self, size: int) -> int:
        """Return the shorter side after resampling, before the centre crop."""
        return next((step.size for step in self.preprocessing.transforms if hasattr(step, "margin")), size)

    def _preprocess(self, path: Path) -> torch.Tensor:
        try:
            return convert_to_tensor(
                self.preprocessing({"image": str(path)})["image"], dtype=torch.float32, track_meta=False
            )[None]
        except RuntimeError as wrapped:
            cause = ours(wrapped)
            if not isinstance(cause, RadiographError):
                raise
            raise cause from None

    def run(self, examples: Sequence[Example], output_dir: str | Path) -> Path:
        """Explain every example and return the path of the sheet.

        Writes ``explanations/<n>_<stem>.png`` and ``explanations/sheet.png``; files that cannot be read stand in
        ``explanations.errors.csv``.

        Raises:
            RadiographError: that of the first file, if none could be read.
        """
        folder = Path(output_dir) / "explanations"
        folder.mkdir(parents=True, exist_ok=True)
        done: list[tuple[Example, dict[str, Any]]] = []
        errors: list[CxrError] = []
        left_out: list[tuple[str, str, str]] = []
        for number, example in enumerate(tqdm(examples, desc="explaining", unit=" images", disable=None)):
            try:
                explained = self.explain(example)
            except RadiographError as error:
                errors.append(error)
                left_out.append((example.name, str(error.code), error.message))
                continue
            done.append((example, explained))
            self._draw([done[-1]], folder / f"{number:03d}_{Path(example.name).name.split('.')[0]}.png")
        write_errors(folder, left_out)
        if left_out:
            logger.warning("%d files were left out: %s.errors.csv", len(left_out), folder)
        if not done:
            raise errors[0]
        sheet = folder / "sheet.png"
        self._draw(done[:12], sheet)
        logger.info("%d images explained: %s", len(done), sheet)
        return sheet

    def _draw(self, rows: Sequence[tuple[Example, dict[str, Any]]], out: Path) -> None:
        columns = 1 + self.most_probable * len(self.methods)
        with matplotlib.rc_context({"font.size": 8, "figure.dpi": 110}):
            figure = Figure(figsize=(2.3 * columns, 2.65 * len(rows)), layout="constrained")
            grid = figure.subplots(len(rows), columns, squeeze=False)
            for axes, (example, explained) in zip(grid, rows, strict=True):
                self._draw_row(axes, example, explained)
            figure.savefig(out)

    def _draw_row(self, axes: Any, example: Example, explained: dict[str, Any]) -> None:
        extent = (0, explained["size"], explained["size"], 0)  # picture, maps and boxes share the network's pixels
        for axis in axes:
            axis.set_axis_off()
            axis.imshow(explained["image"], cmap="gray", vmin=0, vmax=1, extent=extent)
        truth = "labels unknown" if example.present is None else "\n".join(example.present) or "No Finding"
        axes[0].set_title(truth, fontsize=7)
        panels = [(channel, method) for channel in explained["channels"] for method in self.methods]
        boxes = self._boxes_in_view(example, explained["size"])
        for axis, (channel, method) in zip(axes[1:], panels, strict=False):
            heat, finding = explained["maps"][channel, method].numpy(), self.findings[channel]
            if heat.max() > 0:
                alpha = np.clip(heat, 0, 1) * 0.6
                axis.imshow(heat, cmap="inferno", alpha=alpha, vmin=0, vmax=1, extent=extent, interpolation="bilinear")
            for name, x, y, width, high in boxes:
                if name == finding:
                    axis.add_patch(Rectangle((x, y), width, high, fill=False, edgecolor="deepskyblue", linewidth=1.2))
            present = "" if example.present is None else (" (present)" if finding in example.present else " (absent)")
            axis.set_title(f"{finding}{present}\n{explained['probabilities'][channel]:.2f}, {method}", fontsize=7)

    def _boxes_in_view(self, example: Example, size: int) -> list[tuple[str, float, float, float, float]]:
        """Map boxes from shares of the image to pixels of the network's view (resampled, centre cropped)."""
        if not example.boxes:
            return []
        height, width = read_radiograph(example.path).pixels.shape[1:]
        scale = self._resampled(size) / min(height, width)
        wide, high = width * scale, height * scale
        left, top = (wide - size) / 2, (high - size) / 2
        return [(name, x * wide - left, y * high - top, w * wide, h * high) for name, x, y, w, h in example.boxes]
