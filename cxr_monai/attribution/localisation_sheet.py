"""The sheet of a localisation: of each finding the cases that its maps found best, and those that they missed most.

Radiograph, map, its contour and detected box at the threshold that was chosen, and the drawn boxes. Cases are
named by their number in ``cases.csv``: neither a patient nor a file stands on the sheet.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cxr_monai.attribution.boxed_cases import BoxedCases
from cxr_monai.attribution.drawing import MapPanel, draw_overlay
from cxr_monai.attribution.localisation import raster
from cxr_monai.attribution.localisation_result import Localisation
from cxr_monai.attribution.regions import Threshold
from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.durable import write_durably
from cxr_monai.errors import RadiographError
from cxr_monai.evaluation.metrics_table import MEAN

_NAME = "cases.png"
_EACH = 3
"""Best and worst cases a finding."""
_INCHES = 1.5
_DPI = 160
_MARGINS = {"left": 0.01, "right": 0.99, "bottom": 0.02, "wspace": 0.04, "hspace": 0.3}
_FOUND: dict[str, Any] = {"edgecolor": "white", "linewidth": 0.9, "linestyle": (0, (4, 2)), "fill": False}


def write_case_sheet(localisation: Localisation, part: BoxedCases, root: Path, folder: Path) -> Path | None:
    """Write ``cases.png``.

    Args:
        localisation: of these cases.
        part: the cases that were scored.
        root: of the manifest; the images are looked for where they were explained, then there.
        folder: where the sheet goes.

    Returns:
        its path; None, and no sheet, if an image file is missing or cannot be read.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    out = Path(folder) / _NAME
    out.unlink(missing_ok=True)  # of an earlier run
    method = localisation.provenance["method"]
    of_method = localisation.scores[(localisation.scores["map"] == method) & (localisation.scores["finding"] != MEAN)]
    thresholds = dict(zip(of_method["finding"], of_method["map_threshold"], strict=True))
    wide, tall = _EACH * 2 * _INCHES + 0.3, len(thresholds) * (_INCHES + 0.42) + 0.5
    figure = Figure(figsize=(wide, tall))
    grid = figure.subplots(len(thresholds), 2 * _EACH, squeeze=False, gridspec_kw=_MARGINS | {"top": 1 - 0.75 / tall})
    for axes in grid.flat:
        axes.set_axis_off()
    for line, (finding, share) in zip(grid, thresholds.items(), strict=True):
        sides = _chosen(localisation.cases[localisation.cases["finding"] == finding])
        places = [
            (case, column + _EACH * side)
            for side, cases in enumerate(sides)
            for column, case in enumerate(cases.to_dict(orient="records"))
        ]
        for case, column in places:
            axes = line[column]
            try:
                panel = _panel(case, part, root)
            except (RadiographError, OSError):
                return None
            words = (f"{finding}, case {case['case']}", f"IoU {case['iou']:.2f}, energy {case['energy']:.2f}")
            draw_overlay(axes, panel, threshold=Threshold(float(share)), boxes=False, caption=words, size=6.0)
            if not np.isnan(case["x"]):
                axes.add_patch(Rectangle((case["x"], case["y"]), case["width"], case["height"], **_FOUND))
    figure.text(0.01, 1 - 0.1 / tall, "Found best", fontsize=9, fontweight="bold", va="top")
    figure.text(0.51, 1 - 0.1 / tall, "Missed most", fontsize=9, fontweight="bold", va="top")
    figure.text(
        0.01, 1 - 0.27 / tall, "Blue: a box that was drawn. White: the map at its threshold; dashed: the detected box.",
        fontsize=6.5, va="top",
    )  # fmt: skip
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI)
    write_durably(out, content.getvalue())
    return out


def _chosen(cases: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the best and the worst cases by IoU, then by energy; no case is both."""
    ordered = cases.sort_values(["iou", "energy", "case"], ascending=[False, False, True])
    best = ordered.head(min(_EACH, (len(ordered) + 1) // 2))
    return best, ordered.iloc[len(best) :].tail(_EACH).iloc[::-1]


def _panel(case: dict[Any, Any], cases: BoxedCases, root: Path) -> Any:
    image, finding = case["image"], case["finding"]
    view = cases.store.view(image)
    path = Path(cases.store.about.get("root") or root) / image
    path = path if path.is_file() else root / image
    pixels = read_radiograph(path, any_modality=True).pixels[0]
    if pixels.shape != (view.height, view.width):
        raise OSError(f"{path} is not the image that was explained")
    heat = cases.store.on_image(image, finding, raster(view.height, view.width))
    size = np.array([view.width, view.height, view.width, view.height])
    truth = [(left, top, right - left, bottom - top) for left, top, right, bottom in cases.boxes[image, finding] * size]
    return MapPanel(pixels, heat, finding, truth=truth, spacing=view.spacing)
