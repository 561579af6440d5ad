"""What is drawn, without saying with what: small multiples, intervals in rows, tables of shades.

`figures` makes these from an evaluation. `plots` draws them with matplotlib into PNG files, `svg` and the template put
them into the page; so a picture in the folder and the one on the page cannot disagree.

    Panels("roc", ...)      one small panel a finding: lines, bands, points
    Forest("subgroups", ...) one row an estimate with its interval, around a reference
    Matrix("confusion", ...) rows by columns, each cell a share
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.special import logit

Tone = Literal["first", "second", "third", "fourth", "quiet"]

# Okabe and Ito's colours (jfly.uni-koeln.de/color), told apart with every kind of colour vision; the purple is darker
# than theirs, for contrast on white. The page has its own shades for a dark screen.
TONES: dict[str, str] = {
    "first": "#0072B2",
    "second": "#D55E00",
    "third": "#00845F",
    "fourth": "#A8447F",
    "quiet": "#6B7280",
}


@dataclass(frozen=True)
class Axis:
    """One axis: what it shows, from where to where, and which positions carry a text."""

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, eq=False)
class Mark:
    """One mark in a panel.

    Attributes:
        kind: ``line`` through ``(x, y)``; ``area`` below it; ``band`` between ``low`` and ``high``; ``points`` with
            error bars where ``low`` and ``high`` are given; ``verticals`` at each ``x``, with a letter each.
        x, y, low, high: float ``[K]``; points with a NaN are left out.
        tone: its colour.
        label: for the legend; empty: none.
        dashed: a line that is told apart without colour as well.
        letters: of verticals.
    """

    kind: Literal["line", "area", "band", "points", "verticals"]
    x: np.ndarray
    y: np.ndarray = field(default_factory=lambda: np.zeros(0))
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    tone: Tone = "first"
    label: str = ""
    dashed: bool = False
    letters: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ChartPanel:
    """One small picture; ``empty`` says why there is nothing to draw, and is shown instead."""

    title: str
    note: str
    x: Axis
    y: Axis
    marks: tuple[Mark, ...] = ()
    empty: str = ""


@dataclass(frozen=True, eq=False)
class ChartPanels:
    """Small multiples: the same picture of each finding. ``about`` says how to read one, in a sentence or two."""

    name: str
    title: str
    about: str
    panels: tuple[ChartPanel, ...]
    square: bool = False

    def legend(self) -> list[tuple[str, Mark]]:
        """Return each label once, with a mark that carries it, in the order met."""
        marks: dict[str, Mark] = {}
        for panel in self.panels:
            for mark in panel.marks:
                if mark.label:
                    marks.setdefault(mark.label, mark)
        return list(marks.items())


@dataclass(frozen=True)
class ForestRow:
    """One row of a forest; a heading has a label alone. ``note`` stands where there is no value (NaN)."""

    label: str
    value: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    count: str = ""
    note: str = ""
    strong: bool = False
    heading: bool = False


@dataclass(frozen=True)
class Forest:
    """Estimates with intervals, one a row, around a reference value. ``digits``: of the numbers beside the bars."""

    name: str
    title: str
    about: str
    x: Axis
    reference: float
    rows: tuple[ForestRow, ...]
    counted: str = ""
    digits: int = 3
    signed: bool = True


@dataclass(frozen=True, eq=False)
class Matrix:
    """Shares, 0 to 1, of rows by columns. NaN: no value. ``counts``: how many images each row rests on."""

    name: str
    title: str
    about: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: tuple[int, ...]
    values: np.ndarray


# probabilities to mark on an axis of log-odds, the most telling first
_ODDS = (
    *((0.5, ".5"), (0.1, ".1"), (0.01, ".01"), (0.001, ".001")),
    *((0.9, ".9"), (0.99, ".99"), (1e-4, "10⁻⁴"), (1e-5, "10⁻⁵")),
)


def row_texts(forest: Forest, row: ForestRow) -> tuple[str, str]:
    """Return a row's value and its limits as texts, ``+0.012`` and ``+0.003 to +0.021``; its note where it has none."""
    if math.isnan(row.value):
        return row.note, ""
    sign = "+" if forest.signed else ""
    texts = [f"{figure:{sign}.{forest.digits}f}".replace("-", "\u2212") for figure in (row.value, row.low, row.high)]
    return texts[0], "" if math.isnan(row.low) or math.isnan(row.high) else f"{texts[1]} to {texts[2]}"


def unit_axis(label: str) -> Axis:
    """Return an axis from 0 to 1."""
    return Axis(label, 0.0, 1.0, ((0.0, "0"), (0.5, "0.5"), (1.0, "1")))


def zoomed_axis(label: str, largest: float) -> Axis:
    """Return an axis from 0 to the next round number above ``largest``, at most 1.

    >>> zoomed_axis("share", 0.07).ticks
    ((0.0, '0'), (0.05, '0.05'), (0.1, '0.1'))
    """
    steps = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
    high = next((step for step in steps if largest <= step), 1.0)
    return Axis(label, 0.0, high, ((0.0, "0"), (high / 2, f"{high / 2:g}"), (high, f"{high:g}")))


def logit_axis(label: str, low: float, high: float) -> Axis:
    """Return an axis of log-odds whose ticks are probabilities; ``low`` and ``high`` are probabilities too."""
    start, end = float(logit(low)), float(logit(high))
    ticks: list[tuple[float, str]] = []
    for share, text in _ODDS:
        place = float(logit(share))
        # texts nearer than this would run into each other on a phone
        if start <= place <= end and all(abs(place - other) >= 0.17 * (end - start) for other, _ in ticks):
            ticks.append((place, text))
    return Axis(label, start, end, tuple(sorted(ticks)))


def spread_letters(places: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Return places moved apart until neighbours are ``gap`` from each other, for letters that stand at them.

    The order stays, and so does the middle of those that are moved, save where they would leave ``[low, high]``.
    """
    order = np.argsort(places, kind="stable")
    moved = np.asarray(places, dtype=float)[order].copy()
    for _ in range(50):  # a few letters: converges in less
        apart = np.diff(moved)
        tight = apart < gap * 0.999
        if not tight.any():
            break
        push = np.where(tight, (gap - apart) / 2, 0.0)
        moved[:-1] -= push
        moved[1:] += push
        moved = np.clip(moved, low, high)
    result = np.empty_like(moved)
    result[order] = moved
    return result


def around_axis(label: str, values: Sequence[float] | np.ndarray, reference: float, least: float) -> Axis:
    """Return an axis symmetric about ``reference`` that holds every finite value, at least ``least`` to each side."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    reach = max(least, float(np.abs(finite - reference).max(initial=0.0)))
    step = next((step for step in (0.5, 0.2, 0.1, 0.05, 0.02, 0.01) if step <= reach), 0.005)
    ticks = tuple((reference + k * step, _tick(reference, k * step)) for k in range(-2, 3))
    shown = tuple(tick for tick in ticks if abs(tick[0] - reference) <= reach * 1.0001)
    return Axis(label, reference - reach, reference + reach, shown)


def _tick(reference: float, step: float) -> str:
    return f"{reference + step:+g}".replace("-", "\u2212") if step else f"{reference:g}"
