"""Where the square that a network sees lies in a stored image, and maps put back there.

    view = View(height=1024, width=1024, top=64, left=64, rows=896, columns=896)
    view.place(grid)                            # [h, w] on the view -> [1024, 1024] in the stored image's pixels

A map is kept on the few points at which the network computes it, and enlarged when it is read.
"""

from dataclasses import dataclass

import numpy as np

PointGrid = tuple[float, float]
"""The place of a map's first point and the distance to the next, both in shares of the view's side."""


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

    def place(
        self, grid: np.ndarray, points: PointGrid | None = None, shape: tuple[int, int] | None = None
    ) -> np.ndarray:
        """Enlarge a map to the stored image, linearly between its points.

        Args:
            grid: ``[h, w]``, on the view.
            points: where its points lie; in the middle of ``h`` by ``w`` equal cells that cover the view where None.
            shape: rows and columns of the result, over the same extent; the stored image's own where None.

        Returns:
            float32 ``[H, W]``, 0 outside the view.
        """
        down, across = shape or (self.height, self.width)
        rows = _weights(len(grid), down, self.height / down, self.top, self.rows, points)
        columns = _weights(grid.shape[1], across, self.width / across, self.left, self.columns, points)
        return (rows @ np.asarray(grid, np.float32) @ columns.T).astype(np.float32)


def _weights(count: int, pixels: int, size: float, start: float, extent: float, points: PointGrid | None) -> np.ndarray:
    """Return the weight of each of ``count`` points in each pixel along one axis: float32 ``[pixels, count]``."""
    places = ((np.arange(pixels) + 0.5) * size - start) / extent
    weights = weights_at(places, count, points)
    weights[(places < 0) | (places > 1)] = 0
    return weights


def weights_at(places: np.ndarray, count: int, points: PointGrid | None = None) -> np.ndarray:
    """Return the weights of ``count`` points along an axis in places between them, by linear interpolation.

    Args:
        places: ``[P]``, in shares of the view's side; beyond the first and last point their values go on.
        count: of points.
        points: where they lie; see :meth:`View.place`.

    Returns:
        float32 ``[P, count]``; every row adds up to 1.
    """
    first, step = points or (0.5 / count, 1 / count)
    positions = np.clip((np.asarray(places) - first) / step, 0, count - 1)
    below = np.minimum(positions.astype(int), max(count - 2, 0))
    weights = np.zeros((len(positions), count), np.float32)
    weights[np.arange(len(positions)), below] = 1 - (positions - below)
    if count > 1:
        weights[np.arange(len(positions)), below + 1] = positions - below
    return weights
