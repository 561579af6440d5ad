"""Texts in pictures: as wide as their place, by the letters of DejaVu Sans, which comes with matplotlib."""

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path


def _width(text: str, points: float, weight: str = "normal") -> float:
    """Return how wide a text is, in inches, with a margin for the rounding of its letters to dots."""
    font = FontProperties(family=["DejaVu Sans"], weight=weight, size=points)
    return 1.03 * text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def fitted_text(
    text: str, inches: float, points: float, weight: str = "normal", least: float = 4.0
) -> tuple[str, float]:
    """Return a text and its size such that it fits a width: in smaller letters, then cut.

    Args:
        text: one line.
        inches: the width, at most.
        points: the size, at most.
        weight: of the font, such as ``bold``.
        least: the smallest size, in points.
    """
    # a hundredth smaller than what just fits: rounding must not cut it
    points = max(least, min(points, 0.99 * points * inches / max(_width(text, points, weight), 1e-6)))
    short = text
    while _width(short, points, weight) > inches and len(short) > 2:
        short = short[:-2].rstrip() + "…"
    return short, points


def wrapped_text(text: str, inches: float, points: float) -> list[str]:
    """Return the lines of a text that is broken between words where it would be too wide.

    Args:
        text: one paragraph.
        inches: the width, at most; a longer word stands alone.
        points: the size of the letters.

    >>> wrapped_text("one two", 0.3, 6.0)
    ['one', 'two']
    """
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _width(longer, points) > inches:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
