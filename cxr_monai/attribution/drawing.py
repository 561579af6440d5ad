"""Pictures of maps for people: radiograph, map, finding, probability and operating point, in print and on a screen.

    from dataclasses import replace

    panel = MapPanel(pixels, heat, "Effusion", probability=0.71, operating_point=0.35, truth=[(30, 90, 60, 40)])
    save_picture(compare_figure([[replace(panel, heat=None), panel]]), "effusion.pdf")   # radiograph, map, colour bar
    save_picture(sheet_figure({"Effusion": panels, "Mass": more}), "sheet.pdf")          # four in a row, a page

``draw_overlay`` draws one panel on axes of your own. Colours are the upper half of matplotlib's *inferno*, perceptually
uniform and growing in lightness: a map brightens the lungs by the more, the stronger it is, in a print in grey as well.
It is the more opaque the stronger it is, and lines have a dark rim, so they are seen on any grey. A map is drawn in
shares of its own maximum: how strong it looks says where evidence lies, and nothing about how much there is, which is
what the probability beside it is for.

Places are in pixels of the stored image, the corner of the first being (0, 0). No state of matplotlib's is touched.
"""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke
from PIL import Image

from cxr_monai.attribution.regions import Threshold, above_threshold, connected_regions
from cxr_monai.attribution.text_fitting import fitted_text, wrapped_text
from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, SettingError
from cxr_monai.plurals import be, counted

PixelBox = tuple[float, float, float, float]
"""x, y, width and height in pixels of the stored image."""

PICTURE_DPI = 300
_PAGE_WIDTH = 7.1
"""Inches: the width of a sheet, which fits a page of A4 or letter."""

_HALF = Threshold(0.5)
_OPAQUE = 0.65
"""Of a map's maximum."""
_LUNG = 0.35
"""A grey that lungs have: what the colour bar is drawn on."""
_CONTOUR: dict[str, Any] = {"color": "#FFFFFF", "linewidth": 0.7}
_BOX: dict[str, Any] = {"color": "#FFFFFF", "linewidth": 0.6, "linestyle": (0, (4, 2))}
_TRUTH: dict[str, Any] = {"color": "#56C8FF", "linewidth": 1.0}
_SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same picture on every machine
    "text.parse_math": False,  # a finding may be called anything, '$' included
    "pdf.fonttype": 42,  # text stays text
    "image.composite_image": False,
}
PICTURE_SUFFIXES = (".png", ".pdf")
_LARGEST = 2**16 // PICTURE_DPI
"""Inches: what matplotlib can draw as PNG."""


@dataclass(frozen=True, eq=False)
class MapPanel:
    """One radiograph, with the map of one finding or without.

    Attributes:
        pixels: ``[H, W]`` in [0, 1]; of the stored image, or of its reduction if ``shape`` is given.
        heat: ``[h, w]`` over the same extent, at least 0; None draws the radiograph alone.
        finding: whose map it is.
        probability: of the finding; None where it is not known.
        operating_point: from which probability the finding is reported; None where there is none.
        truth: boxes that a radiologist drew.
        title: a line above: which image, model or method.
        spacing: (row, column) of the stored pixels in mm, for their aspect; None = square.
        shape: rows and columns of the stored image where ``pixels`` are fewer.
    """

    pixels: np.ndarray
    heat: np.ndarray | None = None
    finding: str = ""
    probability: float | None = None
    operating_point: float | None = None
    truth: Sequence[PixelBox] = ()
    title: str = ""
    spacing: tuple[float, float] | None = None
    shape: tuple[int, int] | None = None

    @property
    def stored(self) -> tuple[int, int]:
        """Rows and columns of the stored image."""
        return self.shape or (self.pixels.shape[0], self.pixels.shape[1])

    @property
    def tall(self) -> float:
        """Height of the picture as a multiple of its width."""
        row, column = self.spacing or (1.0, 1.0)
        return self.stored[0] * row / (self.stored[1] * column)

    @property
    def chance(self) -> str:
        """``0.71``; with a third decimal beside an operating point that needs it."""
        return "" if self.probability is None else _number(self.probability, self.operating_point)

    @property
    def reported(self) -> str:
        """``reported from 0.35``."""
        point = self.operating_point
        return "no operating point" if point is None else f"reported from {_number(point, point)}"

    @property
    def likely(self) -> str:
        """``0.71, reported from 0.35``."""
        return f"{self.chance}, {self.reported}" if self.chance else ""


def draw_overlay(
    axes: Axes,
    panel: MapPanel,
    *,
    threshold: Threshold = _HALF,
    contours: bool = True,
    boxes: bool = True,
    caption: Sequence[str] | None = None,
    size: float = 7.0,
) -> None:
    """Draw one panel: radiograph, map, its contour, boxes of its connected parts, annotated boxes, and a caption above.

    Args:
        axes: to draw on; the caption stands above it, in letters as small as its width needs.
        panel: radiograph, map and texts.
        threshold: the part of the map that contours and boxes surround.
        contours, boxes: whether to draw them.
        caption: lines above instead of title, finding and ``0.71, reported from 0.35``.
        size: of the caption, in points, at most.
    """
    height, width = panel.stored
    row, column = panel.spacing or (1.0, 1.0)
    box = axes.get_position()
    inches = box.width * axes.figure.get_figure(root=True).get_size_inches()[0]
    extent = (0, width, height, 0)
    fine = min(1.0, max(0.7, inches / 1.5))  # lines of small panels are thin, or they would hide what they surround
    axes.imshow(_reduced(panel.pixels, inches), cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="antialiased")
    if panel.heat is not None and panel.heat.max() > 0:
        share = panel.heat / panel.heat.max()
        axes.imshow(map_colours(share), extent=extent, interpolation="bilinear")
        across, down = width / panel.heat.shape[1], height / panel.heat.shape[0]
        if contours:
            _contour(axes, panel.heat, threshold, across, down, fine)
        for part in connected_regions(panel.heat, threshold) if boxes else ():
            place = (part.x * across, part.y * down, part.width * across, part.height * down)
            axes.add_patch(_rectangle(place, _BOX, fine))
    for place in panel.truth:
        axes.add_patch(_rectangle(place, _TRUTH, fine))
    axes.set(xlim=(0, width), ylim=(height, 0), aspect=row / column)
    axes.set_axis_off()
    lines = [panel.title, panel.finding, panel.likely] if caption is None else caption
    caption_lines = [line for line in lines if line]
    if caption_lines:
        fitted = [fitted_text(line, inches, size) for line in caption_lines]
        points = min(points for _, points in fitted)
        axes.set_title("\n".join(text for text, _ in fitted), fontsize=points, y=1.0, pad=2.5)


def compare_figure(
    rows: Sequence[Sequence[MapPanel]],
    *,
    threshold: Threshold = _HALF,
    contours: bool = True,
    boxes: bool = True,
    heading: str = "",
    note: str = "",
    inches: float = 2.2,
) -> Figure:
    """Return panels side by side with a colour bar: one image and finding a row, radiograph, models or methods across.

    Args:
        rows: of any lengths.
        threshold, contours, boxes: as `draw_overlay`.
        heading: a line over all.
        note: a line under all, after how to read it.
        inches: a panel's width.

    Raises:
        SettingError: ``setting-invalid`` if the rows are more than a picture can hold.
    """
    columns = max(map(len, rows))
    lines = max(sum(map(bool, (panel.title, panel.finding, panel.likely))) for row in rows for panel in row)
    wide = columns * (inches + 0.1) + 0.75
    foot = _foot([panel for row in rows for panel in row], threshold, contours, boxes, note, wide - 0.2)
    top = 0.25 if heading else 0.05
    heights = [max(panel.tall for panel in row) * inches for row in rows]
    caption_height = 0.125 * lines + 0.07
    tall = top + sum(heights) + len(rows) * caption_height + 0.1 + foot.inches
    if tall > _LARGEST:
        raise SettingError(
            Code.SETTING_INVALID,
            f"{counted(len(rows), 'row')} {be(len(rows))} more than one picture can hold.",
            fix="Show fewer images or findings, or write a picture of each into a folder.",
        )
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(wide, tall))
        if heading:
            text, points = fitted_text(heading, wide - 0.2, 9.0, "bold")
            figure.text(0.1 / wide, 1 - 0.08 / tall, text, fontsize=points, va="top", fontweight="bold")
        y = top
        for row, high in zip(rows, heights, strict=True):
            y += caption_height
            for column, panel in enumerate(row):
                axes = _axes(figure, 0.1 + column * (inches + 0.1), y, inches, high)
                draw_overlay(axes, panel, threshold=threshold, contours=contours, boxes=boxes)
            y += high
        if any(panel.heat is not None for row in rows for panel in row):
            bar = min(sum(heights[:1]), 2.2)
            _colour_bar(_axes(figure, wide - 0.62, top + caption_height + heights[0] - bar, 0.1, bar), threshold)
        foot.draw(figure)
    return figure


def sheet_figure(
    rows: Mapping[str, Sequence[MapPanel]],
    *,
    columns: int = 4,
    threshold: Threshold = _HALF,
    contours: bool = True,
    boxes: bool = False,
    heading: str = "",
    note: str = "",
) -> Figure:
    """Return the sheet: for each finding, and for normal images, some examples in a row; a page of a paper.

    More than eight rows stand in two columns of rows.

    Args:
        rows: heading of a row to its panels; a panel's own finding is written above it where the heading is not it.
        columns: panels a row.
        threshold, contours, boxes: as `draw_overlay`.
        heading: a line over all.
        note: a line under all, after how to read it.
    """
    blocks = 2 if len(rows) > 8 else 1
    deep = math.ceil(len(rows) / blocks)
    every = [panel for panels in rows.values() for panel in panels]
    foot = _foot(every, threshold, contours, boxes, note, _PAGE_WIDTH - 0.2)
    between, edge, bar, apart = 0.2, 0.1, 0.5, 0.05
    block = (_PAGE_WIDTH - 2 * edge - bar - (blocks - 1) * between) / blocks
    inches = (block - (columns - 1) * apart) / columns
    high = max((panel.tall for panel in every), default=1.0) * inches
    captions = {name: [_short(panel, name) for panel in panels[:columns]] for name, panels in rows.items()}
    lines = [max((len(caption) for caption in row), default=1) for row in captions.values()]
    # rows that stand side by side begin at one height
    levels = [0.16 + 0.1 * max(lines[level::deep]) + 0.04 for level in range(deep)]
    tops = np.cumsum([0.3 if heading else 0.08, *(words + high + 0.1 for words in levels)])
    tall = tops[-1] + foot.inches
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(_PAGE_WIDTH, tall))
        if heading:
            text, points = fitted_text(heading, _PAGE_WIDTH - 0.2, 9.0, "bold")
            figure.text(edge / _PAGE_WIDTH, 1 - 0.08 / tall, text, fontsize=points, va="top", fontweight="bold")
        for number, (name, panels) in enumerate(rows.items()):
            left, top = edge + (number // deep) * (block + between), tops[number % deep]
            reported = [
                panel.reported for panel in panels if panel.finding == name and panel.operating_point is not None
            ]
            text, points = fitted_text(", ".join([name, *reported[:1]]), block, 7.5, "bold")
            figure.text(left / _PAGE_WIDTH, 1 - (top + 0.13) / tall, text, fontsize=points, fontweight="bold")
            if not panels:
                figure.text(left / _PAGE_WIDTH, 1 - (top + 0.3) / tall, "no example", fontsize=6)
            # words of a row are of one size
            size = min([5.5, *(fitted_text(line, inches, 5.5)[1] for words in captions[name] for line in words)])
            for column, (panel, caption) in enumerate(zip(panels[:columns], captions[name], strict=True)):
                place = left + column * (inches + apart)
                axes = _axes(figure, place, top + levels[number % deep], inches, high)
                draw_overlay(
                    axes, panel, threshold=threshold, contours=contours, boxes=boxes, caption=caption, size=size
                )
        _colour_bar(_axes(figure, _PAGE_WIDTH - edge - bar + 0.08, tops[0] + levels[0], 0.09, 1.6), threshold)
        foot.draw(figure)
    return figure


def _short(panel: MapPanel, row: str) -> list[str]:
    """Return the caption of a panel of a sheet, without what is in its row's heading."""
    return [line for line in (panel.title, panel.finding if panel.finding != row else "", panel.chance) if line]


def save_picture(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG of 300 dpi or as PDF whose text is text, by the name's suffix; the same bytes every time.

    Args:
        figure: of `compare_figure` or `sheet_figure`.
        path: ending in ``.png`` or ``.pdf``.

    Raises:
        SettingError: ``setting-invalid`` for another suffix than ``.png`` and ``.pdf``.
        StorageError: ``disk-full`` or ``write-failed``.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        raise SettingError(
            Code.SETTING_INVALID,
            f"a picture cannot be written as {suffix or 'a file without suffix'!r}.",
            fix=f"End its name in {' or '.join(PICTURE_SUFFIXES)}.",
            where=path,
        )
    buffer = io.BytesIO()
    undated = {"Software": None} if suffix == ".png" else {"CreationDate": None, "Creator": None, "Producer": None}
    with matplotlib.rc_context(_SETTINGS):
        figure.savefig(buffer, format=suffix[1:], dpi=PICTURE_DPI, metadata=undated)
    write_durably(path, buffer.getvalue())


def map_colours(share: np.ndarray) -> np.ndarray:
    """Return colours with opacity, ``[..., 4]``, for shares of a map's maximum in [0, 1]."""
    return matplotlib.colormaps["inferno"](0.5 + 0.5 * share, alpha=_OPAQUE * share)


def _axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Return axes at a place in inches from the figure's upper left corner."""
    wide, tall = figure.get_size_inches()
    return figure.add_axes((left / wide, 1 - (top + height) / tall, width / wide, height / tall), anchor="N")


def _reduced(pixels: np.ndarray, inches: float) -> np.ndarray:
    """Return the radiograph in no fewer dots than are printed, and not in its millions, which a PDF would hold."""
    factor = max(1, int(min(pixels.shape) / (PICTURE_DPI * inches)))
    return np.asarray(Image.fromarray(pixels).reduce(factor))


def _contour(axes: Axes, heat: np.ndarray, threshold: Threshold, across: float, down: float, fine: float) -> None:
    """Draw the line around `above_threshold`, between the weakest pixel within and the strongest outside."""
    mask = np.pad(above_threshold(heat, threshold), 1)
    if not mask.any():  # a share of the area that is less than a pixel
        return
    framed = np.pad(heat.astype(float), 1)  # a frame of 0 closes lines at the image's border
    inside, outside = framed[mask].min(), framed[~mask].max()
    # equal values may lie on both sides of a share of the area
    values, level = (framed, (inside + outside) / 2) if inside > outside else (mask.astype(float), 0.5)
    rows, columns = heat.shape
    x = ((np.arange(columns + 2) - 0.5) * across).clip(0, columns * across)
    y = ((np.arange(rows + 2) - 0.5) * down).clip(0, rows * down)
    thick = fine * _CONTOUR["linewidth"]
    lines = axes.contour(x, y, values, levels=[level], colors=_CONTOUR["color"], linewidths=thick)
    lines.set(path_effects=_rim(thick, fine), clip_on=False)


def _rectangle(box: PixelBox, style: dict[str, Any], fine: float) -> Rectangle:
    x, y, width, height = box
    thick = fine * style["linewidth"]
    drawn = style | {"linewidth": thick, "path_effects": _rim(thick, fine)}
    return Rectangle((x, y), width, height, fill=False, clip_on=False, **drawn)


def _rim(width: float, fine: float = 1.0) -> list[AbstractPathEffect]:
    """Return the path effects that draw a dark rim around a line, so that it is seen on white as well."""
    return [withStroke(linewidth=width + 0.8 * fine, foreground="#101010")]


def _colour_bar(axes: Axes, threshold: Threshold) -> None:
    """Draw the colours as they look on a lung, since maps are drawn the more opaque the stronger they are."""
    scale = map_colours(np.linspace(0, 1, 256)[:, None])
    mixed = scale[..., :3] * scale[..., 3:] + _LUNG * (1 - scale[..., 3:])
    axes.imshow(mixed, extent=(0, 1, 0, 1), origin="lower", aspect="auto")
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks([0, 0.5, 1])
    axes.tick_params(labelsize=6, width=0.5, length=2, pad=1.5)
    axes.yaxis.set_label_position("right")
    axes.set_ylabel("share of the map's maximum", fontsize=6, labelpad=2)
    if threshold.kind == "maximum":
        axes.axhline(threshold.share, **_CONTOUR, path_effects=_rim(_CONTOUR["linewidth"]))


@dataclass(frozen=True)
class _Foot:
    """How to read a figure: lines with their meaning, then sentences."""

    signs: list[tuple[dict[str, Any], str]]
    sentences: list[str]

    @property
    def inches(self) -> float:
        return 0.05 + 0.14 * len(self.signs) + 0.11 * len(self.sentences)

    def draw(self, figure: Figure) -> None:
        wide, tall = figure.get_size_inches()
        place = self.inches - 0.02
        for style, meaning in self.signs:
            middle = (place - 0.06) / tall
            grey = Rectangle((0.1 / wide, middle - 0.05 / tall), 0.32 / wide, 0.1 / tall, facecolor="0.5")
            figure.add_artist(grey)
            ends = [0.13 / wide, 0.39 / wide]
            figure.add_artist(Line2D(ends, [middle] * 2, **style, path_effects=_rim(style["linewidth"])))
            figure.text(0.48 / wide, middle, meaning, fontsize=6, va="center_baseline")
            place -= 0.14
        for sentence in self.sentences:
            figure.text(0.1 / wide, (place - 0.1) / tall, sentence, fontsize=6, color="#4B5563")
            place -= 0.11


def _foot(
    panels: Sequence[MapPanel], threshold: Threshold, contours: bool, boxes: bool, note: str, inches: float
) -> _Foot:
    signs: list[tuple[dict[str, Any], str]] = []
    mapped = any(panel.heat is not None for panel in panels)
    if mapped and contours:
        signs.append((_CONTOUR, str(threshold)))
    if mapped and boxes:
        signs.append((_BOX, f"box around a connected part of {threshold}"))
    if any(panel.truth for panel in panels):
        signs.append((_TRUTH, "annotated box"))
    read = (
        "Each map is drawn in shares of its own maximum: it shows where, the number says how likely." if mapped else ""
    )
    return _Foot(signs, [line for sentence in (read, note) for line in wrapped_text(sentence, inches, 6.0) if line])


def _number(value: float, point: float | None) -> str:
    """Return a probability in two decimals; in three where the operating point is below 0.1."""
    return f"{value:.2f}" if point is None or point >= 0.1 else f"{value:.3f}"
