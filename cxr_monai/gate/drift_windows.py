"""Films by the time at which they were taken: windows of days, or of a number of films.

parse_window("7d")                          # WindowLength(days=7)
cut_windows(films, parse_window("7d"))      # list of Window; films has a column ``time`` and is sorted by it
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxr_monai.errors import Code, UsageError

TIME = "time"
"""The column of a films' table that says when a film was taken: no time zone, no film without it."""
FEWEST_OF_WINDOW = 20
"""Films of a window below which it is judged together with the next one."""
_MONDAY = pd.Timestamp("1970-01-05")


@dataclass(frozen=True)
class WindowLength:
    """How long a window is: days, or films."""

    days: int = 0
    films: int = 0

    def __str__(self) -> str:
        return f"{self.days}d" if self.days else str(self.films)


@dataclass(frozen=True, eq=False)
class Window:
    """Films that are judged together.

    Attributes:
        first, last: when the first and the last were taken.
        rows: of the films' table.
        pooled: how many windows it is made of; more than 1 where there were too few films.
    """

    first: pd.Timestamp
    last: pd.Timestamp
    rows: np.ndarray
    pooled: int = 1


def parse_window(text: str) -> WindowLength:
    """Return the length of windows.

    Raises:
        UsageError: ``usage`` for another text.

    >>> parse_window("7d"), parse_window("50")
    (WindowLength(days=7, films=0), WindowLength(days=0, films=50))
    """
    match = re.fullmatch(r"([1-9]\d{0,4})(d?)", text)
    length = int(match[1]) if match else 0
    if not match or (not match[2] and length < FEWEST_OF_WINDOW):
        raise UsageError(
            Code.USAGE,
            f"--window {text}: days, such as 7d, or a number of films of at least {FEWEST_OF_WINDOW}, such as 50.",
        )
    return WindowLength(days=length) if match[2] else WindowLength(films=length)


def cut_windows(films: pd.DataFrame, length: WindowLength) -> tuple[list[Window], int]:
    """Return the windows of films, and how many films at the end are too few to be judged yet.

    Windows of days begin on whole days, and of weeks on Mondays, whenever the first film was taken, so that a longer
    history has the same windows.

    Args:
        films: sorted by :data:`TIME`.
        length: of each window.
    """
    times = films[TIME]
    if length.days:
        number = ((times - _MONDAY) // pd.Timedelta(days=length.days)).to_numpy()
    else:
        number = np.arange(len(films)) // length.films
    windows, rows, pooled = [], np.zeros(0, dtype=int), 0
    for part in np.unique(number):
        rows, pooled = np.concatenate([rows, np.flatnonzero(number == part)]), pooled + 1
        if len(rows) >= FEWEST_OF_WINDOW:
            windows.append(Window(times.iloc[rows[0]], times.iloc[rows[-1]], rows, pooled))
            rows, pooled = np.zeros(0, dtype=int), 0
    return windows, len(rows)
