"""The pictures as PNG files, for a paper, a slide or MLflow; the page draws the same shapes itself.

    write_plots(evaluation, "OUT/plots")    # roc.png, precision_recall.png, reliability.png, ...

No state of matplotlib's is touched: figures are made without pyplot, settings hold within this module.
"""

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cxr_monai.durable import write_durably
from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.report.charts import TONES, ChartPanel, ChartPanels, Forest, Mark, Matrix, row_texts, spread_letters
from cxr_monai.report.matrix_charts import (
    comparison_forest,
    confusion_matrix,
    cooccurrence_matrix,
    findings_forest,
    subgroups_forest,
)
from cxr_monai.report.panel_charts import PANELS

_DPI = 130
_COLUMNS = 5  # panels in a row
_INK, _FAINT = "#1F2933", "#D5DAE1"
_SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.parse_math": False,  # a finding may be called anything, '$' included
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": "#9AA3AF",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}


def write_plots(evaluation: Evaluation, folder: str | Path) -> list[Path]:
    """Write every picture that the evaluation has something for.

    Args:
        evaluation: see ``cxr_monai.evaluation.assessment``.
        folder: made if it is not there; pictures of an earlier evaluation that have nothing to show now are removed.

    Returns:
        the files: ``roc.png, precision_recall.png, reliability.png, scores.png, operating_points.png,
        risk_coverage.png`` (a panel a finding), ``auroc.png, subgroups.png, comparison.png`` (intervals),
        ``confusion.png, cooccurrence.png`` (shares).

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    folder = Path(folder)
    makers: dict[str, Any] = {
        **PANELS,
        "auroc": findings_forest,
        "subgroups": subgroups_forest,
        "comparison": comparison_forest,
    }
    makers |= {"confusion": confusion_matrix, "cooccurrence": cooccurrence_matrix}
    written = []
    for name, make in makers.items():
        path = folder / f"{name}.png"
        if write_plot(make(evaluation), path):
            written.append(path)
    return written


def write_plot(shape: ChartPanels | Forest | Matrix | None, path: Path) -> bool:
    """Write one picture and return True; where there is nothing to show, what an earlier one left is removed.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    if shape is None:
        path.unlink(missing_ok=True)
        return False
    with _settings():
        write_durably(path, _png(shape))
    return True


@contextmanager
def _settings() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)  # names in any script of the world
        yield


def _png(shape: ChartPanels | Forest | Matrix) -> bytes:
    if isinstance(shape, ChartPanels):
        figure = _draw_panels(shape)
    elif isinstance(shape, Forest):
        figure = _draw_forest(shape)
    else:
        figure = _draw_matrix(shape)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI, metadata={"Title": shape.title, "Description": shape.about})
    return content.getvalue()


def _figure(
    shape: ChartPanels | Forest | Matrix, wide: float, high: float, head: float = 0.62, foot: float = 0.0
) -> Any:
    """Return a figure with its title and how to read it; the rest, in inches from its edges, is the caller's."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(wide, high + head + foot))
    total = high + head + foot
    figure.text(0.12 / wide, 1 - 0.1 / total, shape.title, fontsize=12, fontweight="bold", va="top")
    figure.text(
        0.12 / wide, 1 - 0.34 / total, _wrapped(shape.about, int(wide * 15)), fontsize=8, va="top", color="#4B5563"
    )
    return figure


def _draw_panels(shape: ChartPanels) -> Any:
    columns = min(_COLUMNS, len(shape.panels))
    rows = math.ceil(len(shape.panels) / columns)
    each = 2.15, 2.25 if shape.square else 1.95
    wide = max(columns * each[0] + 0.35, 5.5)
    lines = _wrapped(shape.about, int(wide * 15)).count("\n") + 1
    head, foot = 0.4 + 0.15 * lines, 0.8
    high = rows * each[1]
    figure = _figure(shape, wide, high, head, foot)
    total = high + head + foot
    edges = {"left": 0.55 / wide, "right": 1 - 0.15 / wide, "top": 1 - (head + 0.32) / total, "bottom": foot / total}
    grid = figure.add_gridspec(rows, columns, wspace=0.24, hspace=0.52, **edges)
    for position, panel in enumerate(shape.panels):
        axes = figure.add_subplot(grid[position // columns, position % columns])
        first, last = position % columns == 0, position + columns >= len(shape.panels)
        _draw_panel(axes, panel, first, last)
    _legend(figure, shape)
    return figure


def _draw_panel(axes: Any, panel: ChartPanel, first: bool, last: bool) -> None:
    above = panel.note or any(mark.letters for mark in panel.marks)
    title = _shortened(panel.title, 24)
    axes.set_title(title, fontsize=8.5, fontweight="bold", loc="left", pad=15 if above else 5)
    if panel.note:
        axes.text(0, 1.035, panel.note, transform=axes.transAxes, fontsize=7.2, color="#4B5563")
    if panel.empty:
        axes.set_axis_off()
        axes.text(0, 0.95, _wrapped(panel.empty, 26), transform=axes.transAxes, fontsize=7.5, color="#4B5563", va="top")
        return
    x, y = panel.x, panel.y
    reach_x, reach_y = (x.high - x.low) * 0.02, (y.high - y.low) * 0.02
    axes.set_xlim(x.low - reach_x, x.high + reach_x)
    axes.set_ylim(y.low - reach_y if y.ticks else y.low, y.high + reach_y)
    axes.set_xticks([place for place, _ in x.ticks], [text for _, text in x.ticks])
    axes.set_yticks([place for place, _ in y.ticks], [text for _, text in y.ticks])
    if not y.ticks:
        axes.spines["left"].set_visible(False)
    axes.grid(visible=True, axis="both" if y.ticks else "x", color=_FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    for mark in panel.marks:
        _draw_mark(axes, mark, panel)
    if last:
        axes.set_xlabel(x.label, fontsize=7.5)
    if first and y.label:
        axes.set_ylabel(y.label, fontsize=7.5)


def _draw_mark(axes: Any, mark: Mark, panel: ChartPanel) -> None:
    colour = TONES[mark.tone]
    style = (0, (3, 2)) if mark.dashed else "solid"
    if mark.kind == "band":
        axes.fill_between(mark.x, mark.low, mark.high, color=colour, alpha=0.22, linewidth=0)
    elif mark.kind == "line":
        axes.plot(mark.x, mark.y, color=colour, linewidth=1.0 if mark.tone == "quiet" else 1.5, linestyle=style)
    elif mark.kind == "area":
        axes.fill_between(mark.x, mark.y, panel.y.low, color=colour, alpha=0.22, linewidth=0)
        axes.plot(mark.x, mark.y, color=colour, linewidth=1.3)
    elif mark.kind == "points":
        if mark.low is not None and mark.high is not None:
            axes.vlines(mark.x, mark.low, mark.high, color=colour, linewidth=0.9, alpha=0.7)
        axes.plot(mark.x, mark.y, "o", color=colour, markersize=4, markeredgecolor="white", markeredgewidth=0.6)
    else:
        for place in mark.x:
            axes.axvline(place, color=colour, linewidth=0.9, linestyle=style)
        gap = (panel.x.high - panel.x.low) * 0.055
        for place, letter in zip(spread_letters(mark.x, gap, panel.x.low, panel.x.high), mark.letters, strict=False):
            axes.text(place, panel.y.high * 1.025, letter, fontsize=6.8, color=colour, ha="center", va="bottom")


def _legend(figure: Any, shape: ChartPanels) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for label, mark in shape.legend():
        colour = TONES[mark.tone]
        if mark.kind in ("band", "area"):
            handles.append(Patch(color=colour, alpha=0.35, linewidth=0, label=label))
        elif mark.kind == "points":
            handles.append(Line2D([], [], color=colour, marker="o", linestyle="none", markersize=5, label=label))
        else:
            style = (0, (3, 2)) if mark.dashed else "solid"
            handles.append(Line2D([], [], color=colour, linestyle=style, linewidth=1.5, label=label))
    if handles:
        figure.legend(handles=handles, loc="lower center", ncols=min(5, len(handles)), frameon=False, fontsize=8)


def _draw_forest(shape: Forest) -> Any:
    rows = list(shape.rows)
    each, left, right, wide = 0.23, 1.9, 2.65, 8.2
    high = each * len(rows) + 0.75
    head = 0.45 + 0.15 * (_wrapped(shape.about, int(wide * 15)).count("\n") + 1)
    figure = _figure(shape, wide, high, head)
    total = high + head
    axes = figure.add_axes((left / wide, 0.5 / total, (wide - left - right) / wide, (high - 0.75) / total))
    span = shape.x.high - shape.x.low
    axes.set_xlim(shape.x.low - span * 0.02, shape.x.high + span * 0.02)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xticks([place for place, _ in shape.x.ticks], [text for _, text in shape.x.ticks])
    axes.grid(visible=True, axis="x", color=_FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.axvline(shape.reference, color=TONES["quiet"], linewidth=1, linestyle=(0, (3, 2)))
    axes.set_xlabel(shape.x.label, fontsize=8)
    beside = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 8, "clip_on": False}
    edge = (wide - left - right, 0.12)
    if shape.counted:
        axes.text(1 + 0.62 / edge[0], -0.95, shape.counted, ha="right", color="#4B5563", **{**beside, "fontsize": 7.2})
    for line, row in enumerate(rows):
        weight = "bold" if row.strong or row.heading else "normal"
        indent = 0.0 if row.heading or not any(other.heading for other in rows) else 0.12
        label = _shortened(row.label, 30)
        axes.text(-(left - edge[1] - indent) / edge[0], line, label, ha="left", fontweight=weight, **beside)
        if row.heading:
            continue
        axes.text(1 + 0.62 / edge[0], line, row.count, ha="right", color="#4B5563", **beside)
        has_value = not math.isnan(row.value)
        estimate, limits = row_texts(shape, row)
        text = f"{estimate} ({limits})" if limits else estimate
        axes.text(1 + 0.74 / edge[0], line, text, ha="left", fontweight=weight, **beside)
        if has_value:
            colour = TONES["first"] if row.strong or not shape.signed else TONES["quiet"]
            axes.plot([row.low, row.high], [line, line], color=colour, linewidth=1.6, solid_capstyle="butt")
            axes.plot(
                [row.value], [line], "s" if row.strong else "o", color=colour, markersize=5, markeredgecolor="white"
            )
    return figure


def _draw_matrix(shape: Matrix) -> Any:
    cell, left, right, top = 0.44, 1.7, 0.75, 1.25
    wide = max(left + cell * len(shape.columns) + right, 5.5)
    high = top + cell * 0.72 * len(shape.rows) + 0.2
    head = 0.4 + 0.15 * (_wrapped(shape.about, int(wide * 15)).count("\n") + 1)
    figure = _figure(shape, wide, high, head)
    total = high + head
    inches = cell * len(shape.columns), cell * 0.72 * len(shape.rows)
    axes = figure.add_axes((left / wide, 0.2 / total, inches[0] / wide, inches[1] / total))
    axes.imshow(np.ma.masked_invalid(shape.values), cmap=_shades(), vmin=0, vmax=1, aspect="auto")
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xticks(range(len(shape.columns)), [_shortened(name, 20) for name in shape.columns], rotation=45, ha="left")
    axes.set_yticks(range(len(shape.rows)), [_shortened(name, 24) for name in shape.rows])
    axes.set_xticks(np.arange(-0.5, len(shape.columns)), minor=True)
    axes.set_yticks(np.arange(-0.5, len(shape.rows)), minor=True)
    axes.grid(which="minor", color="white", linewidth=1.2)
    axes.tick_params(which="minor", length=0)
    for row, count in enumerate(shape.counts):
        axes.text(len(shape.columns) - 0.35, row, f"n = {count:,}", fontsize=7, color="#4B5563", va="center")
        for column in range(len(shape.columns)):
            share = shape.values[row, column]
            text, colour = ("\u2013", "#9AA3AF") if np.isnan(share) else (f"{share * 100:.0f}", _INK)
            axes.text(
                column, row, text, ha="center", va="center", fontsize=7.2, color="white" if share > 0.56 else colour
            )
    return figure


def _shades() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("shares", ["#F3F6F9", "#9CC7E4", TONES["first"], "#003D61"])


def _wrapped(text: str, width: int) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width)) or text


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
