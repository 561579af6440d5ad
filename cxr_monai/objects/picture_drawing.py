"""The picture of a film's result: the film, the film under the map of each finding at or over its point, and words.

pixels = draw_picture(result)     # uint8 [h, w, 3]

Films stand in a grid on black, as large as they go into :data:`_GRID`, words below in DejaVu Sans, which comes with
matplotlib: the same picture on every machine.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from cxr_monai.objects.film_result import FilmResult, FindingResult
from cxr_monai.objects.picture_words import (
    DEVICE_WARNING,
    Emphasis,
    Line,
    finding_words,
    picture_words,
)
from cxr_monai.objects.result_attributes import pixel_aspect

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

_GRID = (1440, 1024)
"""Width and height of the films together, at most."""
_LARGEST = 1024
"""Pixels of a film's shorter side, at most."""
_NARROWEST_CELL, _NARROWEST_PICTURE = 264, 1024
"""Pixels that words need, however narrow the film."""
_MARGIN = 16
_HALF = 0.5
"""Of a map's maximum: what the line surrounds."""
_COLOURS = {
    Emphasis.STRONG: (255, 255, 255),
    Emphasis.PLAIN: (225, 225, 225),
    Emphasis.WARNING: (255, 196, 84),
    Emphasis.SMALL: (180, 180, 180),
}
"""Light enough to be read on a monitor without colours."""


def draw_picture(result: FilmResult) -> np.ndarray:
    """Return the picture of a result, uint8 ``[h, w, 3]``.

    Args:
        result: of one film.
    """
    findings = [None, *result.mapped]
    rows, columns = result.picture.shape
    grid = _grid(rows * pixel_aspect(result.source.header), columns, len(findings))
    width = max(_NARROWEST_PICTURE, grid.columns * (grid.cell + _MARGIN) + _MARGIN)
    letters, small = _Letters(max(20, width // 60)), _Letters(max(16, min(20, grid.cell // 26)))
    captions = [_caption(finding, small, grid.cell) for finding in findings]
    caption_height = max(map(len, captions)) * small.line_height + 4
    top = letters.line_height + 2 * _MARGIN
    foot = top + grid.rows * (caption_height + grid.height + _MARGIN)
    words = letters.placed(picture_words(result), width - 2 * _MARGIN)
    bottom = foot + max(y for _, y, _ in words) + letters.line_height + _MARGIN
    canvas = Image.new("RGB", (width, bottom))
    draw = ImageDraw.Draw(canvas)
    _draw_heading(draw, letters, result.model.name, width)
    film = np.asarray(Image.fromarray(result.picture).resize((grid.width, grid.height), Image.Resampling.BILINEAR))
    left = (width - grid.columns * (grid.cell + _MARGIN) + _MARGIN) // 2
    for number, (finding, caption) in enumerate(zip(findings, captions, strict=True)):
        x = left + number % grid.columns * (grid.cell + _MARGIN)
        y = top + number // grid.columns * (caption_height + grid.height + _MARGIN) + caption_height
        for level, line in enumerate(reversed(caption), 1):
            small.draw(draw, x, y - 4 - level * small.line_height, line, grid.cell)
        panel = np.repeat(film[..., None], 3, axis=2) if finding is None else _under_map(film, finding)
        canvas.paste(Image.fromarray(panel), (x, y))
    for x, y, line in words:
        letters.draw(draw, _MARGIN + x, foot + y, line, width - 2 * _MARGIN - x)
    return np.asarray(canvas)


def _draw_heading(draw: ImageDraw.ImageDraw, letters: "_Letters", model: str, width: int) -> None:
    warning = Line(DEVICE_WARNING, Emphasis.WARNING)
    place = (width - letters.width(warning)) // 2  # viewers write over the corners
    letters.draw(draw, _MARGIN, _MARGIN, Line(f"AI result: {model}", Emphasis.STRONG), place - 3 * _MARGIN)
    letters.draw(draw, place, _MARGIN, warning, width)


def _caption(finding: FindingResult | None, letters: "_Letters", width: int) -> list[Line]:
    """Return the lines above a film: the name, cut where it is too long, and what the model says, which is not cut."""
    if finding is None:
        return [Line("The film", Emphasis.STRONG)]
    name, statement = finding_words(finding)
    whole = Line(statement)
    parts = [whole] if letters.width(whole) <= width else [Line(part) for part in statement.split(", ")]
    return [Line(name, Emphasis.STRONG), *parts]


@dataclass(frozen=True)
class _Grid:
    """Where films stand: pixels of each, columns and rows of cells."""

    width: int
    height: int
    columns: int
    rows: int

    @property
    def cell(self) -> int:
        return max(self.width, _NARROWEST_CELL)


def _grid(rows: float, columns: int, count: int) -> _Grid:
    """Return the grid in which so many films of a shape are the largest."""
    limit = _LARGEST / min(rows, columns)

    def scale(across: int) -> float:
        down = math.ceil(count / across)
        return min(limit, _GRID[0] / across / columns, _GRID[1] / down / rows)

    most = min(count, max(1, _GRID[0] // (_NARROWEST_CELL + _MARGIN)))
    across = max(range(1, most + 1), key=lambda across: (scale(across), -across))
    size = scale(across)
    return _Grid(max(1, round(columns * size)), max(1, round(rows * size)), across, math.ceil(count / across))


def _under_map(film: np.ndarray, finding: FindingResult) -> np.ndarray:
    """Return a film ``[h, w]`` under a finding's map and the line around its half, in colours ``[h, w, 3]``."""
    from scipy import ndimage

    colours, opacity = _palette()
    height, width = film.shape
    heat = np.asarray(finding.class_map, np.float32)
    share = Image.fromarray(heat / heat.max()).resize((width, height), Image.Resampling.BILINEAR)
    level = np.rint(np.asarray(share).clip(0, 1) * 255).astype(np.uint8)
    panel = np.rint(film[..., None] * (1 - opacity[level]) + colours[level]).astype(np.uint8)
    inside = np.pad(level >= 255 * _HALF, 1)
    line = ndimage.binary_dilation(inside, iterations=1) & ~ndimage.binary_erosion(inside, iterations=1)
    rim = ndimage.binary_dilation(line) & ~line
    panel[rim[1:-1, 1:-1]] = 16
    panel[line[1:-1, 1:-1]] = 255
    return panel


@cache
def _palette() -> tuple[np.ndarray, np.ndarray]:
    """Return what a map of each of 256 strengths adds to a film, and how much of the film it covers."""
    from cxr_monai.attribution.drawing import map_colours

    scale = map_colours(np.linspace(0, 1, 256)).astype(np.float32)
    opacity = scale[:, 3:]
    return 255 * scale[:, :3] * opacity, opacity


class _Letters:
    """Letters of a size, in pixels."""

    def __init__(self, size: int) -> None:
        self.font, self.bold = _font("DejaVuSans.ttf", size), _font("DejaVuSans-Bold.ttf", size)
        self.line_height = round(size * 1.35)

    def width(self, line: Line) -> int:
        """Return the width of a line."""
        return math.ceil(self._font(line).getlength(_drawable(line.text)))

    def wrapped(self, line: Line, width: int) -> list[Line]:
        """Return a line broken between words where it would be too wide."""
        lines: list[Line] = []
        for word in line.text.split():
            longer = Line(f"{lines[-1].text} {word}", line.emphasis) if lines else line
            if lines and self.width(longer) <= width:
                lines[-1] = longer
            else:
                lines.append(Line(word, line.emphasis))
        return lines

    def placed(self, sentences: Sequence[Line], width: int) -> list[tuple[int, int, Line]]:
        """Return where lines stand (x, y): sentences one below the other, entries of a table in columns if they fit."""
        places, y = [], 0
        for is_entry, group in groupby(sentences, lambda line: line.is_entry):
            lines = list(group)
            column = max(map(self.width, lines)) + 2 * _MARGIN
            if is_entry and column <= width:
                across = width // column
                down = math.ceil(len(lines) / across)
                places += [
                    (number // down * column, y + number % down * self.line_height, line)
                    for number, line in enumerate(lines)
                ]
                y += down * self.line_height
                continue
            for line in [part for sentence in lines for part in self.wrapped(sentence, width)]:
                places.append((0, y, line))
                y += self.line_height
        return places

    def draw(self, draw: ImageDraw.ImageDraw, x: int, y: int, line: Line, width: int) -> None:
        """Draw a line, cut where it is too wide."""
        text = _drawable(line.text)
        if self.width(line) > width:
            while text and self._font(line).getlength(f"{text}\u2026") > width:
                text = text[:-1]
            text = f"{text}\u2026"
        draw.text((x, y), text, fill=_COLOURS[line.emphasis], font=self._font(line))

    def _font(self, line: Line) -> "FreeTypeFont":
        return self.bold if line.emphasis in (Emphasis.STRONG, Emphasis.WARNING) else self.font


@cache
def _font(name: str, size: int) -> "FreeTypeFont":
    from PIL import ImageFont

    # the basic layout: the other needs a library that not every machine has, and sets letters otherwise
    return ImageFont.truetype(str(_fonts() / name), size, layout_engine=ImageFont.Layout.BASIC)


def _fonts() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@cache
def _letters_of_the_font() -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(_fonts() / "DejaVuSans.ttf")).get_charmap())


def _drawable(text: str) -> str:
    """Return a text whose letters the font has; others, which would all be the same empty box, by their numbers."""
    known = _letters_of_the_font()
    return "".join(
        letter if ord(letter) in known else letter.encode("ascii", "backslashreplace").decode() for letter in text
    )
