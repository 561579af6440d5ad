"""Where the square that a network sees lies in a stored image, and maps put back there.

    view = View(height=1024, width=1024, top=64, left=64, rows=896, columns=896)
    view.place(grid)                            # [h, w] on the view -> [1024, 1024] in the stored image's pixels

A map is kept on the few points at which the network computes it, and enlarged when it is read.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class View:
    """A rectangle of a stored image, in its pixels.

    Attributes:
        height, width: of the stored image.
        top, left: where the view begins; pixel ``r`` reaches from ``r`` to ``r + 1``.
        rows, columns: of the view; whole numbers or not.
        spacing: (row, column) distance of the stored image's pixel centres in mm, None where it is not known.
    """

    height: int
    width: int
    top: float
    left: float
    rows: float
    columns: float
    spacing: tuple[float, float] | None = None

    def place(self, grid: np.ndarray, edges: bool = False, shape: tuple[int, int] | None = None) -> np.ndarray:
        """Enlarge a map to the stored image, linearly between its points.

        Args:
            grid: ``[h, w]``, covering the view.
            edges: the first and last points lie on the view's borders; else in the middle of ``h`` by ``w`` equal cells.
            shape: rows and columns of the result, over the same extent; the stored image's own where None.

        Returns:
            float32 ``[H, W]``, 0 outside the view.
        """
        down, across = shape or (self.height, self.width)
        rows = _weights(len(grid), down, self.height / down, self.top, self.rows, edges)
        columns = _weights(grid.shape[1], across, self.width / across, self.left, self.columns, edges)
        return (rows @ np.asarray(grid, np.float32) @ columns.T).astype(np.float32)


def _weights(points: int, pixels: int, size: float, start: float, extent: float, edges: bool) -> np.ndarray:
    """Return what each of ``points`` adds to each pixel along one axis: float32 ``[pixels, points]``."""
    share = ((np.arange(pixels) + 0.5) * size - start) / extent
    place = np.clip(share * (points - 1) if edges else share * points - 0.5, 0, points - 1)
    below = np.minimum(place.astype(int), max(points - 2, 0))
    weights = np.zeros((pixels, points), np.float32)
    weights[np.arange(pixels), below] = 1 - (place - below)
    if points > 1:
        weights[np.arange(pixels), below + 1] = place - below
    weights[(share < 0) | (share > 1)] = 0
    return weights
