"""The evidence of a film as a picture: the film, the gate's answer, a bar a score with the limits marked.

    picture = evidence_picture(film, plane)             # PNG, for a physician and for whoever looks after the devices

A film that looks turned, inverted or mirrored is shown beside what it would be undone. No state of matplotlib's is
touched.
"""

import io

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from cxr_monai.attribution.text_fitting import wrapped_text
from cxr_monai.gate.answer import GateVerdict
from cxr_monai.gate.film_evidence import SCORE_WORDS, WIDEST, FilmEvidence, times_limit
from cxr_monai.gate.fitted_gate import AP_VIEW

_DPI = 130
_LABELS = 2.55
"""Inches for the scores' names, beside the bars."""
_MOST_PIXELS = 700
"""Of the film's longer side in the picture."""
_INK, _FAINT = "#1F2933", "#6B7480"
_COLOURS = {GateVerdict.ACCEPT: "#2B7A4B", GateVerdict.REVIEW: "#B26A00", GateVerdict.REFUSE: "#B3261E"}
_WORDS = {GateVerdict.ACCEPT: "accepted", GateVerdict.REVIEW: "for review", GateVerdict.REFUSE: "refused"}
_SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.parse_math": False,  # a file may be called anything, '$' included
    "text.color": _INK,
    "axes.edgecolor": "#9AA3AF",
    "figure.facecolor": "white",
}


def evidence_picture(film: FilmEvidence, plane: np.ndarray) -> bytes:
    """Return the evidence of a film as a PNG; the same bytes every time.

    Args:
        film: its evidence.
        plane: float32 ``[H, W]`` in [0, 1]: the film as it came.
    """
    panels = [("as it came", plane)]
    if film.alteration is not None and film.alteration.undo is not None:
        title = "turned over, to compare" if "mirrored" in film.alteration.name else "undone"
        panels.append((title, film.alteration.undo(plane)))
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(5.2 + 3.2 * len(panels), 4.4), dpi=_DPI)
        films = 3.2 * len(panels) / figure.get_figwidth()
        for number, (title, pixels) in enumerate(panels):
            share = films / len(panels)
            axes = figure.add_axes((0.01 + number * share, 0.04, share - 0.015, 0.76))
            axes.imshow(_reduced(pixels), cmap="gray", vmin=0, vmax=1)
            axes.set_title(title, fontsize=8, color=_FAINT, pad=3)
            axes.set_axis_off()
        _head(figure, film)
        left = films + 0.02
        beside = left + _LABELS / figure.get_figwidth()
        _bars(figure.add_axes((beside, 0.43, 0.985 - beside, 0.38)), film)
        _foot(figure, film, left)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _reduced(pixels: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(np.ascontiguousarray(pixels, dtype=np.float32))
    return np.asarray(picture.reduce(max(1, max(pixels.shape) // _MOST_PIXELS)))


def _head(figure: Figure, film: FilmEvidence) -> None:
    answer = film.answer
    code = f"  {answer.code}" if answer.code else ""
    figure.text(0.012, 0.945, _WORDS[answer.verdict] + code, fontsize=13, weight="bold", color=_COLOURS[answer.verdict])
    figure.text(0.988, 0.945, _last(film.name), fontsize=8, color=_FAINT, ha="right")
    sentence = answer.sentence or "Like the films that the network was trained on, as far as the gate sees."
    figure.text(0.012, 0.885, sentence, fontsize=9.5)
    figure.add_artist(matplotlib.lines.Line2D([0.012, 0.988], [0.865, 0.865], color="#D5DAE1", linewidth=0.8))


def _last(name: str) -> str:
    return name if len(name) <= 60 else f"…{name[-59:]}"


def _bars(axes: Axes, film: FilmEvidence) -> None:
    for place, (name, value) in enumerate(film.scores.items()):
        beyond = GateVerdict.REFUSE if value > 1 else GateVerdict.REVIEW if value > film.review else GateVerdict.ACCEPT
        colour = "#B8C0CA" if name == AP_VIEW else _COLOURS[beyond]
        axes.barh(place, min(max(value, 0), WIDEST), height=0.55, color=colour)
        axes.text(-0.04, place, SCORE_WORDS[name], fontsize=7.2, va="center", ha="right")
        words = axes.text(min(max(value, 0), WIDEST) + 0.03, place, times_limit(value), fontsize=6.8, va="center")
        words.set(color=_FAINT, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6}, zorder=3)
    bottom = len(film.scores) - 0.4
    for limit, word in ((film.review, "review"), (1.0, "refuse")):
        axes.axvline(limit, color=_INK, linewidth=0.9, linestyle=(0, (3, 2)) if limit < 1 else "-")
        axes.text(limit, bottom, word, fontsize=7, ha="right" if limit < 1 else "left", va="top", color=_FAINT)
    axes.set(xlim=(0, WIDEST * 1.2), ylim=(bottom, -0.6), yticks=[], xticks=[])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def _foot(figure: Figure, film: FilmEvidence, left: float) -> None:
    texts = [f"looks like: {film.looks_like}"]
    if film.unusual:
        texts.append(f"unusual: {film.unusual_words}")
    if film.header:
        texts.append("header: " + ", ".join(f"{name} {value}" for name, value in film.header.items()))
    if film.answer.mend:
        texts.append(f"--mend {','.join(film.answer.mend)} would undo it and predict.")
    if film.duplicate_of:
        texts.append(f"repeats: {_last(film.duplicate_of)}")
    inches = (0.985 - left) * figure.get_figwidth()
    lines = [line for text in texts for line in wrapped_text(text, inches, 7.2)]
    figure.text(left, 0.34, "\n".join(lines[:12]), fontsize=7.2, va="top", linespacing=1.35)
