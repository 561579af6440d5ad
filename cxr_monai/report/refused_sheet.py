"""What a gate did with films, as one picture: each film with the answer, the code and the sentence.

    picture = gate_sheet(films, heading="21 of 35 films predicted, 1 of them for review; 14 left out")     # PNG

No state of matplotlib's is touched.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from cxr_monai.attribution.text_fitting import fitted_text, wrapped_text

UNREADABLE = "unreadable"
"""The answer about a file that is no radiograph at all, and so was not judged."""

_DPI = 100
_TILE, _GAP, _TEXT, _HEAD = 1.5, 0.16, 0.80, 0.42  # inches: a film's side, between films, below a film, above all
_LETTERS = 6.8
_MOST_LINES = 4
_INK, _FAINT = "#1F2933", "#6B7480"
_COLOURS = {"accept": "#2B7A4B", "review": "#B26A00", "refuse": "#B3261E", UNREADABLE: "#6B7480"}
_WORDS = {"accept": "accepted", "review": "for review", "refuse": "refused", UNREADABLE: "not read"}
_SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "text.parse_math": False,  # a file may be called anything, '$' included
    "text.color": _INK,
    "figure.facecolor": "white",
}


@dataclass(frozen=True, eq=False)
class SheetFilm:
    """A film in the picture.

    Attributes:
        name: of the film.
        answer: ``accept``, ``review``, ``refuse``, or :data:`UNREADABLE`.
        code: why; empty for an accepted film.
        sentence: for a person; may be empty.
        plane: float32 ``[H, W]`` in [0, 1]; None where the file cannot be read.
    """

    name: str
    answer: str
    code: str = ""
    sentence: str = ""
    plane: np.ndarray | None = None


def gate_sheet(films: Sequence[SheetFilm], heading: str, columns: int = 7) -> bytes:
    """Return the picture of some films as a PNG; the same bytes every time.

    Args:
        films: in the order in which they are shown.
        heading: above all.
        columns: films in a row.
    """
    columns = max(1, min(columns, len(films)))
    rows = -(-len(films) // columns)
    wide = columns * (_TILE + _GAP) + _GAP
    tall = _HEAD + rows * (_TILE + _TEXT + _GAP)
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(wide, tall), dpi=_DPI)
        text, points = fitted_text(heading, wide - 2 * _GAP, 9.5, "bold")
        figure.text(_GAP / wide, 1 - 0.26 / tall, text, fontsize=points, weight="bold")
        for number, film in enumerate(films):
            left = _GAP + number % columns * (_TILE + _GAP)
            top = _HEAD + number // columns * (_TILE + _TEXT + _GAP)
            _draw(figure, film, left, top)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return _with_few_colours(buffer.getvalue())


def _draw(figure: Figure, film: SheetFilm, left: float, top: float) -> None:
    wide, tall = figure.get_size_inches()
    colour = _COLOURS[film.answer]
    axes = figure.add_axes((left / wide, 1 - (top + _TILE) / tall, _TILE / wide, _TILE / tall))
    axes.set(xticks=[], yticks=[], facecolor="#E4E7EB")
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=2)
    if film.plane is None:
        axes.text(0.5, 0.5, "no picture", ha="center", va="center", fontsize=8, color=_FAINT)
    else:
        axes.imshow(_squared(_reduced(film.plane)), cmap="gray", vmin=0, vmax=1)
    word, code = _WORDS[film.answer], film.code.removeprefix("gate-").removeprefix("radiograph-")
    text, points = fitted_text(f"{word}: {code}" if code else word, _TILE, 7.6, "bold")
    place: dict[str, Any] = {"va": "top", "transform": axes.transAxes}
    axes.text(0, -0.045, text, fontsize=points, weight="bold", color=colour, **place)
    name, points = fitted_text(film.name, _TILE, 6.2)
    axes.text(0, -0.135, name, fontsize=points, color=_FAINT, **place)
    lines = wrapped_text(film.sentence, _TILE, _LETTERS) if film.sentence else []
    if len(lines) > _MOST_LINES:
        lines = [*lines[: _MOST_LINES - 1], lines[_MOST_LINES - 1].rstrip(".,;:") + " …"]
    axes.text(0, -0.215, "\n".join(lines), fontsize=_LETTERS, linespacing=1.2, **place)


def _reduced(plane: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    return np.asarray(picture.reduce(max(1, round(max(plane.shape) / (_DPI * _TILE)))))


def _squared(plane: np.ndarray) -> np.ndarray:
    """Return a picture in the middle of a square that is NaN around it."""
    side = max(plane.shape)
    square = np.full((side, side), np.nan, np.float32)
    top, left = (side - plane.shape[0]) // 2, (side - plane.shape[1]) // 2
    square[top : top + plane.shape[0], left : left + plane.shape[1]] = plane
    return square


def _with_few_colours(png: bytes) -> bytes:
    """Return the picture in 128 colours, a third of the bytes."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
