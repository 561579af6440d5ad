"""Regions of an image as run-lengths, in the form of the SIIM-ACR challenge: pairs of a gap and a length.

The gap is counted from the end of the run before (the first from pixel 0), pixels run down the columns, from the left
to the right one. One row of the table is one region: the mask of an image is the union of **all** its rows::

    mask = decode_run_lengths(rows, width=1024, height=1024)       # bool [height, width]
    box_of_run_lengths(rows[0], width=1024, height=1024)           # x, y, width, height

Source: the challenge's description of its submissions (kaggle.com/c/siim-acr-pneumothorax-segmentation), whose gaps are
relative, other than those of most challenges.
"""

from collections.abc import Iterable

import numpy as np


def read_runs(text: str, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first pixel and the length of each run.

    Args:
        text: numbers with blanks between: gap, length, gap, length ...
        pixels: of the image.

    Returns:
        two int64 ``[N]``; the pixels are counted down the columns.

    Raises:
        ValueError: it is no such text, is empty, or goes beyond the image.

    >>> read_runs("2 3 1 1", 12)
    (array([2, 6]), array([3, 1]))
    """
    numbers = np.array(text.split(), dtype=np.int64)
    gaps, lengths = numbers[::2], numbers[1::2]
    if not len(numbers) or len(numbers) % 2 or (gaps < 0).any() or (lengths <= 0).any():
        raise ValueError(f"{len(numbers)} numbers are no pairs of a gap (0 or more) and a length (1 or more)")
    ends = np.cumsum(gaps + lengths)
    if ends[-1] > pixels:
        raise ValueError(f"a run ends at pixel {ends[-1]:,} of {pixels:,}")
    return ends - lengths, lengths


def decode_run_lengths(regions: str | Iterable[str], width: int, height: int) -> np.ndarray:
    """Return the mask of an image: the union of its regions.

    Args:
        regions: the run-lengths of one region, or of all of an image; none gives an empty mask.
        width, height: of the image in pixels.

    Returns:
        bool ``[height, width]``, the first row at the top.

    Raises:
        ValueError: as `read_runs`.

    >>> decode_run_lengths("1 2 2 1", width=3, height=4).astype(int)
    array([[0, 0, 0],
           [1, 1, 0],
           [1, 0, 0],
           [0, 0, 0]])
    """
    mask = np.zeros(width * height, dtype=bool)
    for text in [regions] if isinstance(regions, str) else regions:
        for start, length in zip(*read_runs(text, mask.size), strict=True):
            mask[start : start + length] = True
    return mask.reshape(width, height).T


def box_of_run_lengths(region: str, width: int, height: int) -> tuple[int, int, int, int]:
    """Return the smallest box around a region: x, y, width and height in pixels, without making the mask.

    Raises:
        ValueError: as `read_runs`.

    >>> box_of_run_lengths("1 2 2 1", width=3, height=4)
    (0, 1, 2, 2)
    """
    starts, lengths = read_runs(region, width * height)
    last = starts + lengths - 1
    columns, end_columns = starts // height, last // height
    left, right = int(columns.min()), int(end_columns.max())
    if (columns != end_columns).any():  # a run that goes on at the top of the next column
        return left, 0, right - left + 1, height
    top, bottom = int((starts % height).min()), int((last % height).max())
    return left, top, right - left + 1, bottom - top + 1
