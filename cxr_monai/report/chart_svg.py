"""The page's drawings: small SVG pieces that follow the page's colours (light, dark, print) and need no file beside it.

    panel_svg(panel)                   # one small multiple
    bar_svg(row, forest)               # one interval, to stand in a table's cell
    hundred_dots(81)                   # a hundred dots, 81 of them filled

Texts that come from data are escaped; colours are classes (``first``, ``second``, ...) that the page's style defines.
"""

import math
from collections.abc import Callable

import numpy as np
from markupsafe import Markup, escape

from cxr_monai.report.charts import Axis, ChartPanel, Forest, ForestRow, Mark, spread_letters

_WIDE, _HIGH = 190, 160
_LEFT, _RIGHT, _TOP, _BOTTOM = 26, 8, 18, 30
_ENDS = 8, 92  # of a bar's axis, in percent of its width
_POINTS = 110  # of a curve: more cannot be seen at this size


def panel_svg(panel: ChartPanel, square: bool = False) -> Markup:
    """Return one panel as an SVG; its text alternative is its title and note."""
    high = _HIGH + 24 if square else _HIGH
    frame = _Frame(panel.x, panel.y, high)
    parts = [_axes(panel, frame)]
    parts += [_mark(mark, frame) for mark in panel.marks]
    name = escape(". ".join(text for text in (panel.title, panel.note) if text))
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        _WIDE, high, name, Markup("").join(parts)
    )


def bar_svg(row: ForestRow, forest: Forest) -> Markup:
    """Return an interval with its estimate and the reference line, as wide as the cell that it stands in."""
    if math.isnan(row.value):
        return Markup("")
    place = _scale(forest.x, *_ENDS)
    tone = "first" if row.strong or not forest.signed else "quiet"
    reference = place(forest.reference)
    parts = [Markup('<path class="line reference" d="M{0:.1f} 0V20"/>').format(reference)]
    if not (math.isnan(row.low) or math.isnan(row.high)):
        parts.append(
            Markup('<path class="line {} interval" d="M{:.1f} 10H{:.1f}"/>').format(
                tone, place(row.low), place(row.high)
            )
        )
    # a line without length and with round ends is a dot that keeps its shape while the drawing is stretched
    parts.append(Markup('<path class="dot {}" d="M{:.1f} 10h0"/>').format(tone, place(row.value)))
    return Markup(
        '<svg class="bar" viewBox="0 0 100 20" preserveAspectRatio="none" aria-hidden="true">{}</svg>'
    ).format(Markup("").join(parts))


def percent_of(axis: Axis, value: float) -> float:
    """Return where on a bar a value stands, in percent of its width."""
    return _scale(axis, *_ENDS)(value)


def hundred_dots(filled: int, tone: str = "first") -> Markup:
    """Return a hundred dots in rows of ten, ``filled`` of them in a colour; the words beside it say the same."""
    places = [f"M{5 + 10 * (number % 10)} {5 + 10 * (number // 10)}h0" for number in range(100)]
    return Markup(
        '<svg class="dots" viewBox="0 0 100 100" aria-hidden="true"><path class="rest" d="{}"/>'
        '<path class="{}" d="{}"/></svg>'
    ).format("".join(places[filled:]), tone, "".join(places[:filled]))


def legend_key(mark: Mark) -> Markup:
    """Return the sample of a mark that stands in a legend."""
    body = {
        "line": Markup('<path class="line {}{}" d="M1 6H23"/>'),
        "verticals": Markup('<path class="line {}{}" d="M1 6H23"/>'),
        "points": Markup('<circle class="point {}{}" cx="12" cy="6" r="4"/>'),
    }.get(mark.kind, Markup('<rect class="band {}{}" x="1" y="1" width="22" height="10"/>'))
    shape = body.format(mark.tone, " dashed" if mark.dashed else "")
    return Markup('<svg class="key" viewBox="0 0 24 12" aria-hidden="true">{}</svg>').format(shape)


class _Frame:
    """Turns data into places within a panel; what lies outside the axes is moved to their edge."""

    def __init__(self, x: Axis, y: Axis, high: int) -> None:
        self.bottom = high - _BOTTOM
        self._x, self._y = _scale(x, _LEFT, _WIDE - _RIGHT), _scale(y, self.bottom, _TOP)
        self.low, self.high = x.low, x.high

    def x(self, value: float) -> float:
        return self._x(value)

    def y(self, value: float) -> float:
        return self._y(value)

    def path(self, x: np.ndarray, y: np.ndarray) -> str:
        """Return ``M x y L x y ...``; a gap where a value is NaN; points that fall together are drawn once."""
        points, pieces, last, lifted = _thinned(x, y), [], "", True
        for across, up in points:
            if math.isnan(across) or math.isnan(up):
                lifted = True
                continue
            place = f"{self.x(across):.1f} {self.y(up):.1f}"
            if lifted or place != last:
                pieces.append(("M" if lifted else "L") + place)
            last, lifted = place, False
        return "".join(pieces)


def _scale(axis: Axis, start: float, end: float) -> Callable[[float], float]:
    span = (axis.high - axis.low) or 1.0

    def place(value: float) -> float:
        return start + (end - start) * min(1.0, max(0.0, (value - axis.low) / span))

    return place


def _thinned(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    indices = np.arange(len(x))
    if len(x) > _POINTS:
        indices = np.unique(np.linspace(0, len(x) - 1, _POINTS).round().astype(int))
    return [(float(x[i]), float(y[i])) for i in indices]


def _axes(panel: ChartPanel, frame: _Frame) -> Markup:
    parts = []
    for value, text in panel.x.ticks:
        place = frame.x(value)
        parts.append(Markup('<path class="grid" d="M{0:.1f} {1}V{2}"/>').format(place, _TOP, frame.bottom))
        parts.append(
            Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(place, frame.bottom + 12, text)
        )
    for value, text in panel.y.ticks:
        place = frame.y(value)
        parts.append(Markup('<path class="grid" d="M{0} {2:.1f}H{1}"/>').format(_LEFT, _WIDE - _RIGHT, place))
        parts.append(Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(_LEFT - 4, place + 3.5, text))
    middle = (_LEFT + _WIDE - _RIGHT) / 2
    parts.append(
        Markup('<text class="label" x="{:.0f}" y="{}" text-anchor="middle">{}</text>').format(
            middle, frame.bottom + 26, panel.x.label
        )
    )
    parts.append(Markup('<path class="axis" d="M{0} {1}V{2}H{3}"/>').format(_LEFT, _TOP, frame.bottom, _WIDE - _RIGHT))
    if panel.y.label:
        parts.append(Markup('<text class="label" x="{}" y="{}">{}</text>').format(2, _TOP - 8, panel.y.label))
    return Markup("").join(parts)


def _mark(mark: Mark, frame: _Frame) -> Markup:
    tone = mark.tone + (" dashed" if mark.dashed else "")
    if mark.kind == "band" and mark.low is not None and mark.high is not None:
        defined = ~(np.isnan(mark.low) | np.isnan(mark.high))
        upper = frame.path(mark.x[defined], mark.high[defined])
        lower = frame.path(mark.x[defined][::-1], mark.low[defined][::-1])
        return Markup('<path class="band {}" d="{}L{}Z"/>').format(tone, upper, lower[1:]) if upper else Markup("")
    if mark.kind == "line":
        return Markup('<path class="line {}" d="{}"/>').format(tone, frame.path(mark.x, mark.y))
    if mark.kind == "area":
        line = frame.path(mark.x, mark.y)
        ends = f"L{frame.x(mark.x[-1]):.1f} {frame.bottom}L{frame.x(mark.x[0]):.1f} {frame.bottom}Z"
        return Markup('<path class="band {0}" d="{1}{2}"/><path class="line {0}" d="{1}"/>').format(tone, line, ends)
    if mark.kind == "points":
        return Markup("").join(_points(mark, frame))
    parts = [Markup('<path class="line {} thin" d="M{:.1f} {}V{}"/>').format(tone, frame.x(x), _TOP, frame.bottom)
             for x in mark.x]  # fmt: skip
    gap = (frame.high - frame.low) * 0.06
    for place, letter in zip(spread_letters(mark.x, gap, frame.low, frame.high), mark.letters, strict=False):
        across = frame.x(float(place))
        parts.append(Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(across, _TOP - 4, letter))
    return Markup("").join(parts)


def _points(mark: Mark, frame: _Frame) -> list[Markup]:
    parts = []
    for number, (x, y) in enumerate(zip(mark.x, mark.y, strict=True)):
        if math.isnan(x) or math.isnan(y):
            continue
        if mark.low is not None and mark.high is not None and not np.isnan(mark.low[number] + mark.high[number]):
            ends = frame.x(x), frame.y(mark.low[number]), frame.y(mark.high[number])
            parts.append(Markup('<path class="line {} thin" d="M{:.1f} {:.1f}V{:.1f}"/>').format(mark.tone, *ends))
        place = frame.x(x), frame.y(y)
        parts.append(Markup('<circle class="point {}" cx="{:.1f}" cy="{:.1f}" r="3.2"/>').format(mark.tone, *place))
    return parts
