"""What a table on the page is made of: cells with small lines below them, and how figures become their texts.

    estimate(row, "auroc")     # Cell("0.882", ("images 0.876 to 0.889", "patients 0.874 to 0.891"))
    p_value(0.0004)            # "< 0.001"

Nothing is markup here: the template escapes all of it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.report import words
from cxr_monai.report.evaluation_rows import value
from cxr_monai.report.words import between, number

INTERVAL_KINDS = (("", "images"), ("_patient", "patients"))
"""Which intervals a figure has: what its column's name adds, and what is taken for independent."""


@dataclass(frozen=True)
class Cell:
    """One cell: its text, small lines below it, and whether it stands out. ``share`` shades it, in [-1, 1]."""

    text: str
    small: tuple[str, ...] = ()
    strong: bool = False
    share: float | None = None


@dataclass(frozen=True)
class Table:
    """Heads and rows of equal length; the first column names the row. ``notes`` are sentences below it."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    matrix: bool = False


def estimate(
    row: Mapping[str, Any],
    name: str,
    digits: int = 3,
    kinds: Sequence[tuple[str, str]] = INTERVAL_KINDS,
    strong: bool = False,
) -> Cell:
    """Return a figure with its intervals below it, each named after what it takes for independent."""
    lines = []
    for kind, what in kinds:
        ends = value(row, f"{name}{kind}_low"), value(row, f"{name}{kind}_high")
        if not math.isnan(ends[0] + ends[1]):
            lines.append(f"{what} {between(*ends, digits)}".strip())
    return Cell(number(value(row, name), digits), tuple(lines), strong)


def p_value(p: float) -> str:
    """Return a p-value with as many digits as it bears; a dash for NaN.

    >>> p_value(0.0004), p_value(0.0213), p_value(0.34)
    ('< 0.001', '0.021', '0.34')
    """
    if math.isnan(p):
        return words.DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def signed(figure: float, digits: int) -> str:
    """Return a number with its sign; none where it is rounded to 0.

    >>> signed(0.0123, 3), signed(-0.0001, 3)
    ('+0.012', '0.000')
    """
    text = f"{figure:+.{digits}f}".replace("-", words.MINUS)
    return text[1:] if float(f"{figure:.{digits}f}") == 0 else text


def whole(count: float) -> str:
    """Return a count with commas; a dash for NaN."""
    return number(count, 0)


_FIGURES = {
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "brier": "Brier score",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
    "lr_positive": "LR+",
    "lr_negative": f"LR{words.MINUS}",
    "ece_width": "ECE, equal width",
    "ece_mass": "ECE, equal mass",
    "log_loss": "Log loss",
}


def figure_name(name: str) -> str:
    """Return a figure as it stands over a column.

    >>> figure_name("ppv"), figure_name("sensitivity")
    ('PPV', 'Sensitivity')
    """
    return _FIGURES.get(str(name), words.heading(str(name)))


def heading_of(finding: Any) -> str:
    """Return a finding as tables show it."""
    return "Mean" if str(finding) == MEAN else words.heading(str(finding))


def count_of(frequency: words.Frequency) -> str:
    """Return a frequency without its interval: ``81 of 100``."""
    return f"{frequency.count:,} of {frequency.total:,}"


def share_text(share: float) -> str:
    """Return a share in percent with one decimal, two below 1 %; a dash for NaN."""
    return (
        words.DASH if math.isnan(share) else words.percent(share, 0 if share in (0, 1) else 1 if share >= 0.01 else 2)
    )


def with_ends(row: Mapping[str, Any], name: str, ends: tuple[str, str], digits: int = 3) -> Cell:
    """Return a figure with the interval over patients below it, whose two columns are ``ends``."""
    low, high = (value(row, end) for end in ends)
    return Cell(
        number(value(row, name), digits), () if math.isnan(low + high) else (f"patients {between(low, high, digits)}",)
    )


def share_cell(row: Mapping[str, Any], share: str, ends: tuple[str, str]) -> Cell:
    """Return a share in percent with its interval, whose two columns are ``ends``, below it."""
    low, high = (value(row, end) for end in ends)
    return Cell(
        share_text(value(row, share)), () if math.isnan(low + high) else (f"{share_text(low)} to {share_text(high)}",)
    )
