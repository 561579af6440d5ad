"""The sheet of a localisation: of each finding the cases that its maps found best, and those that they missed most.

Radiograph, map, its contour and detected box at the threshold that was chosen, and the radiologist's boxes. Cases are
named by their number in ``cases.csv``: neither a patient nor a file stands on the sheet.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxr_monai.errors import RadiographError
from cxr_monai.evaluation.localisation import raster
from cxr_monai.evaluation.metrics import MEAN

if TYPE_CHECKING:
    from cxr_monai.report.localising import Localisation, Part

NAME = "cases.png"
EACH = 3
"""Best and worst cases a finding."""
_INCHES = 1.5
_FOUND = {"edgecolor": "white", "linewidth": 0.9, "linestyle": (0, (4, 2)), "fill": False}


def write_sheet(localisation: "Localisation", part: "Part", root: Path, folder: Path) -> Path | None:
    """Write ``cases.png``.

    Args:
        localisation: of these cases.
        part: the cases that were scored.
        root: where the image files are, if they are anywhere.
        folder: where the sheet goes.

    Returns:
        its path; None, and no sheet, if an image file is missing or cannot be read.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    from cxr_monai.explain.drawing import draw_overlay, save
    from cxr_monai.explain.regions import Threshold

    out = Path(folder) / NAME
    out.unlink(missing_ok=True)  # of an earlier run
    rows = [row for _, cases in localisation.cases.groupby("finding", sort=False) for row in _chosen(cases)]
    try:
        panels = [[_panel(case, part, root) for case in row.to_dict(orient="records")] for row in rows]
    except (RadiographError, OSError):
        return None
    method = localisation.book["method"]
    own = localisation.scores[(localisation.scores["map"] == method) & (localisation.scores["finding"] != MEAN)]
    thresholds = own.set_index("finding")["map_threshold"]
    wide, tall = EACH * 2 * _INCHES + 0.3, len(rows) / 2 * (_INCHES + 0.42) + 0.5
    figure = Figure(figsize=(wide, tall))
    grid = figure.subplots(
        len(rows) // 2, 2 * EACH, squeeze=False,
        gridspec_kw={"left": 0.01, "right": 0.99, "bottom": 0.02, "top": 1 - 0.75 / tall, "wspace": 0.04, "hspace": 0.3},
    )  # fmt: skip
    for axes in grid.flat:
        axes.set_axis_off()
    for number, (row, drawn) in enumerate(zip(rows, panels, strict=True)):
        for column, (case, panel) in enumerate(zip(row.to_dict(orient="records"), drawn, strict=True)):
            axes = grid[number // 2, (number % 2) * EACH + column]
            words = (f"{panel.finding}, case {case['case']}", f"IoU {case['iou']:.2f}, energy {case['energy']:.2f}")
            threshold = Threshold(float(thresholds[panel.finding]))
            draw_overlay(axes, panel, threshold=threshold, boxes=False, caption=words, size=6.0)
            if not np.isnan(case["x"]):
                axes.add_patch(Rectangle((case["x"], case["y"]), case["width"], case["height"], **_FOUND))
    figure.text(0.01, 1 - 0.1 / tall, "Found best", fontsize=9, fontweight="bold", va="top")
    figure.text(0.51, 1 - 0.1 / tall, "Missed most", fontsize=9, fontweight="bold", va="top")
    figure.text(
        0.01, 1 - 0.27 / tall, "Blue: a radiologist's box. White: the map at its threshold; dashed: the detected box.",
        fontsize=6.5, va="top",
    )  # fmt: skip
    save(figure, out)
    return out


def _chosen(cases: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the best and the worst cases by IoU, then by energy; no case is both."""
    ordered = cases.sort_values(["iou", "energy", "case"], ascending=[False, False, True])
    best = ordered.head(min(EACH, (len(ordered) + 1) // 2))
    return best, ordered.iloc[len(best) :].tail(EACH).iloc[::-1]


def _panel(case: dict[str, Any], part: "Part", root: Path) -> Any:
    from cxr_monai.data.radiograph import read_radiograph
    from cxr_monai.explain.drawing import Panel

    image, finding = case["image"], case["finding"]
    view = part.store.view(image)
    path = root / image
    pixels = read_radiograph(path).pixels[0]
    if pixels.shape != (view.height, view.width):
        raise OSError(f"{path} is not the image that was explained")
    heat = part.store.on_image(image, finding, raster(view.height, view.width))
    size = np.array([view.width, view.height, view.width, view.height])
    truth = [
        (left, top, right - left, bottom - top) for left, top, right, bottom in part.boxes[image, finding] * size
    ]
    return Panel(pixels, heat, finding, truth=truth, spacing=view.spacing)
