"""A sheet of what the network sees, drawn at the start of every training (the diary's "resize and crop check").

A wrong resize, a crop that cuts the lungs off, an inverted or saturated image are found in seconds by looking, and not
at all in a loss curve. The sheet names no file and no patient, so it may go to MLflow.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from monai.transforms import Compose

from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.durable import write_durably
from cxr_monai.errors import RadiographError
from cxr_monai.transforms.normalisation import Normalisation, NormaliseRadiographd, normalise


def until_normalised(pipeline: Compose) -> Compose:
    """Return a pipeline's transforms before ``NormaliseRadiographd``; their output is in [0, 1]."""
    transforms = []
    for transform in pipeline.transforms:
        if isinstance(transform, NormaliseRadiographd):
            break
        transforms.append(transform)
    return Compose(transforms)


def network_input_sheet(
    items: Sequence[dict[str, Any]],
    fixed: Compose,
    augmented: Compose,
    normalisation: str,
    out: str | Path,
    rows: int = 3,
    any_modality: bool = False,
) -> Path:
    """Draw a few radiographs as read, resized and cropped, augmented, and under each normalisation.

    Args:
        items: dictionaries with ``image`` (a path), spread over by ``rows``.
        fixed: the pipeline of validation and inference.
        augmented: the pipeline of training.
        normalisation: the one in use, marked in the sheet.
        out: of the PNG.
        rows: how many radiographs.
        any_modality: as the pipelines read them.

    Returns:
        ``out``. Files that cannot be read are passed over.
    """
    state = torch.get_rng_state()
    examples = []
    for index in np.linspace(0, len(items) - 1, min(len(items), 3 * rows)).astype(int):
        try:
            examples.append(
                (items[index]["image"], read_radiograph(items[index]["image"], any_modality=any_modality).pixels)
            )
        except RadiographError:
            continue
        if len(examples) == rows:
            break
    modes = [mode for mode in Normalisation if mode == normalisation or mode != Normalisation.XRAY_1024]
    with matplotlib.rc_context({"font.size": 8, "figure.dpi": 110}):
        figure = Figure(figsize=(2.0 * (4 + len(modes)), 2.25 * max(1, len(examples)) + 0.5), layout="constrained")
        axes = figure.subplots(max(1, len(examples)), 4 + len(modes), squeeze=False)
        for row, (path, original) in zip(axes, examples, strict=False):
            _draw_row(row, path, original, until_normalised(fixed), until_normalised(augmented), modes, normalisation)
        figure.suptitle("What the network sees: as read, resized and cropped, two augmentations, each normalisation")
        out = Path(out)
        _save(figure, out)
    torch.set_rng_state(state)
    return out


def _draw_row(
    row: Any, path: str, original: np.ndarray, fixed: Compose, augmented: Compose, modes: list, configured: str
) -> None:
    cropped = torch.as_tensor(fixed({"image": path})["image"])[:1]
    panels = [("as read", original), ("resized, cropped", cropped)]
    panels += [(f"augmented {n}", torch.as_tensor(augmented({"image": path})["image"])[:1]) for n in (1, 2)]
    for axis, (title, pixels) in zip(row, panels, strict=False):
        plane = np.asarray(pixels)[0]
        axis.imshow(plane, cmap="gray", vmin=0, vmax=1)
        axis.set_title(f"{title}\n{plane.shape[1]} x {plane.shape[0]}")
    for axis, mode in zip(row[len(panels) :], modes, strict=False):
        plane = normalise(cropped, mode)[0].numpy()
        # one grey scale for the normalisations with small values, so that the pictures differ as the inputs do
        low, high = (-1024, 1024) if mode == Normalisation.XRAY_1024 else (-2.2, 2.7)
        axis.imshow(plane, cmap="gray", vmin=low, vmax=high)
        used = mode == configured
        axis.set_title(
            f"{mode}{' (in use)' if used else ''}\n{plane.min():.2f} to {plane.max():.2f}, mean {plane.mean():.2f}",
            fontweight="bold" if used else "normal",
        )
    for axis in row:
        axis.set_xticks([])
        axis.set_yticks([])


class NetworkInputSheet:
    """:func:`network_input_sheet` as a component: draws when :meth:`run` is called, and tells the tracker.

    Args:
        data: the items of the training part.
        fixed, augmented: the pipelines of validation and training.
        normalisation: the one in use.
        output_dir: the sheet goes to ``OUT/pictures/network_input.png``.
        any_modality: as the pipelines read them.
    """

    def __init__(
        self,
        data: Sequence[dict],
        fixed: Compose,
        augmented: Compose,
        normalisation: str,
        output_dir: str,
        any_modality: bool = False,
    ) -> None:
        self.any_modality = any_modality
        self.data, self.fixed, self.augmented, self.normalisation = data, fixed, augmented, normalisation
        self.path = Path(output_dir) / "pictures" / "network_input.png"

    def run(self) -> Path:
        return network_input_sheet(
            self.data, self.fixed, self.augmented, self.normalisation, self.path, any_modality=self.any_modality
        )


def training_curves(history: Sequence[dict[str, float]], out: str | Path) -> Path:
    """Draw losses, mean AUROC and learning rate by epoch.

    Args:
        history: one dictionary an epoch with ``epoch`` and any of ``train_loss``, ``val_loss``, ``val_auroc_mean``,
            ``learning_rate``.
        out: of the PNG.
    """
    epochs = [row["epoch"] for row in history]
    with matplotlib.rc_context({"font.size": 9, "figure.dpi": 110}):
        figure = Figure(figsize=(10, 3.2), layout="constrained")
        panels = figure.subplots(1, 3)
        for axis, title, names in zip(
            panels,
            ("loss", "mean AUROC (validation)", "learning rate"),
            (("train_loss", "val_loss"), ("val_auroc_mean",), ("learning_rate",)),
            strict=True,
        ):
            for name in names:
                axis.plot(epochs, [row.get(name, np.nan) for row in history], marker="o", markersize=3, label=name)
            axis.set_title(title)
            axis.set_xlabel("epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.grid(alpha=0.3)
            if len(names) > 1:
                axis.legend()
        panels[2].set_yscale("log")
        _save(figure, Path(out))
    return Path(out)


def _save(figure: Figure, path: Path) -> None:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_durably(path, content.getvalue())
