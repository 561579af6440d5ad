"""Films with a part taken away: without the lungs, with nothing but them, without corners or borders, blurred.

    for change, film in changed_films(pixels, lungs).items():
        ...                                          # CHANGES, in their order

What is taken away is filled with the mean grey of what is left: not with the film's, which would tell how bright the
part was that is gone. The filled area still has an outline: that of the lungs tells where heart and diaphragm are.
"""

from collections.abc import Mapping

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

LUNG_MARGIN = 0.03
"""Around the lungs that goes with them, of the film's smaller side: pleura, and what a mask misses."""
CORNER = 0.15
"""Height and width of a blanked corner, of the film's."""
BORDER = 0.10
"""Width of the border, of the film's height and width."""
BLURRED = 32
"""Pixels of the longer side that a blurred film is reduced to."""

WITHOUT_LUNGS, ONLY_LUNGS = "without the lungs", "only the lungs"
WITHOUT_CORNERS, ONLY_BORDER = "without the corners", "only the border"
CHANGES: Mapping[str, str] = {
    WITHOUT_LUNGS: f"the lungs and {LUNG_MARGIN:.0%} around them are filled with the mean grey of the rest",
    ONLY_LUNGS: f"all but the lungs and {LUNG_MARGIN:.0%} around them is filled with their mean grey",
    WITHOUT_CORNERS: f"four corners of {CORNER:.0%} of height and width are filled, with most side markers",
    "without the border": f"the outer {BORDER:.0%} on each side is filled",
    ONLY_BORDER: f"all but the outer {BORDER:.0%} on each side is filled",
    "blurred": f"reduced to {BLURRED} pixels on the longer side and enlarged again",
}
"""What each change does, in words."""


def changed_films(pixels: np.ndarray, lungs: np.ndarray) -> dict[str, np.ndarray]:
    """Return a film in each of its changes, by their names in the order of `CHANGES`.

    Args:
        pixels: float32 ``[H, W]``.
        lungs: bool ``[H, W]``.

    Returns:
        float32 ``[H, W]`` each.

    >>> film = np.arange(100, dtype=np.float32).reshape(10, 10)
    >>> lungs = np.zeros((10, 10), dtype=bool)
    >>> lungs[4, 5] = True
    >>> changed = changed_films(film, lungs)
    >>> changed["only the lungs"][4, 4:7].tolist(), changed["without the lungs"][4, 4:7].round(2).tolist()
    ([45.0, 45.0, 45.0], [44.0, 49.54999923706055, 46.0])
    """
    height, width = pixels.shape
    around = distance_transform_edt(~lungs) <= LUNG_MARGIN * min(height, width) if lungs.any() else lungs
    top, left = round(CORNER * height), round(CORNER * width)
    corners = np.zeros(pixels.shape, dtype=bool)
    for rows in (slice(0, top), slice(height - top, height)):
        for columns in (slice(0, left), slice(width - left, width)):
            corners[rows, columns] = True
    border = np.ones(pixels.shape, dtype=bool)
    down, across = round(BORDER * height), round(BORDER * width)
    border[down : height - down, across : width - across] = False
    filled = [_without(pixels, away) for away in (around, ~around, corners, border, ~border)]
    return dict(zip(CHANGES, [*filled, _blurred(pixels)], strict=True))


def _without(pixels: np.ndarray, away: np.ndarray) -> np.ndarray:
    kept = pixels[~away]
    mean = (kept if kept.size else pixels).mean(dtype=np.float64)
    return np.where(away, np.float32(mean), pixels).astype(np.float32)


def _blurred(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape
    scale = min(1.0, BLURRED / max(height, width))
    small = max(1, round(width * scale)), max(1, round(height * scale))
    film = Image.fromarray(pixels.astype(np.float32))
    reduced = film.resize(small, Image.Resampling.BOX)
    return np.asarray(reduced.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)
