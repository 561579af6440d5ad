"""What the gate looks at in a film: statistics of the picture, a thumbnail, directions of its edges, grey levels.

    values = observe(plane)                             # float32 [OBSERVED], a fraction of a millisecond
    statistics, thumbnails, edges, levels = parts_of(np.stack([values]))

Made while a film is read, of the plane that the network's preprocessing keeps, before the centre is cut out: a film
whose borders are missing shows it there. A few hundred numbers, and no picture that a person could be recognised by.
"""

from typing import NamedTuple

import numpy as np

from cxr_monai.gate.picture_statistics import STATISTICS, grey_level_counts, picture_statistics
from cxr_monai.transforms.resize_shortest import resize

THUMBNAIL = 32
"""Rows and columns of the thumbnail, whatever the film's shape."""
CELLS = 8
"""Rows and columns of the grid of edge directions."""
DIRECTIONS = 8
"""Directions of edges; opposite ones count apart, since an inverted film has them exchanged."""
_EDGES_SIDE = 64
_CELL_OF = np.repeat(np.eye(CELLS, dtype=np.float32), _EDGES_SIDE // CELLS, axis=0) * CELLS / _EDGES_SIDE

GREY_BINS = 32
"""Bins of the grey levels."""
_LEAST_SHARE = 1e-3
"""Added to the share of a bin before the logarithm."""

OBSERVED = len(STATISTICS) + THUMBNAIL**2 + CELLS**2 * DIRECTIONS + GREY_BINS
"""How many numbers an observation has."""


class Parts(NamedTuple):
    """Observations by their parts.

    Attributes:
        statistics: float32 ``[N, S]``, see `cxr_monai.gate.picture_statistics`.
        thumbnails: float32 ``[N, THUMBNAIL, THUMBNAIL]``, each with mean 0 and standard deviation 1.
        edges: float32 ``[N, CELLS * CELLS * DIRECTIONS]``, see :func:`edge_directions`.
        levels: float32 ``[N, GREY_BINS]``: logarithms of the share of pixels in each bin of grey levels.
    """

    statistics: np.ndarray
    thumbnails: np.ndarray
    edges: np.ndarray
    levels: np.ndarray


def observe(plane: np.ndarray) -> np.ndarray:
    """Return what the gate looks at in one film.

    Args:
        plane: float32 ``[H, W]`` in [0, 1], bright = dense, at least 32 pixels each way.

    Returns:
        float32 ``[OBSERVED]``.
    """
    small = resize(np.ascontiguousarray(plane, dtype=np.float32), _EDGES_SIDE, _EDGES_SIDE)
    thumbnail = (small[::2, ::2] + small[::2, 1::2] + small[1::2, ::2] + small[1::2, 1::2]) / 4
    centred = thumbnail - thumbnail.mean()
    counts = grey_level_counts(plane)
    levels = np.log(counts.reshape(GREY_BINS, -1).sum(1) / plane.size + _LEAST_SHARE)
    looks = (centred / (centred.std() + 1e-3)).ravel()
    return np.concatenate([picture_statistics(plane, counts), looks, edge_directions(small), levels], dtype=np.float32)


def parts_of(observations: np.ndarray) -> Parts:
    """Return the parts of observations ``[N, OBSERVED]``."""
    first, second = len(STATISTICS), len(STATISTICS) + THUMBNAIL**2
    thumbnails = observations[:, first:second].reshape(-1, THUMBNAIL, THUMBNAIL)
    edges, levels = observations[:, second:-GREY_BINS], observations[:, -GREY_BINS:]
    return Parts(observations[:, :first], thumbnails, edges, levels)


def edge_directions(picture: np.ndarray) -> np.ndarray:
    """Return how much of each direction the edges in each cell have, after Dalal and Triggs (CVPR 2005).

    The strength of an edge is shared out among the directions near its own by the square of the cosine. Relative to the
    film's mean, so that contrast does not matter, and as square roots.

    Args:
        picture: float32 ``[64, 64]``.

    Returns:
        float32 ``[DIRECTIONS * CELLS * CELLS]``.
    """
    down, right = np.zeros_like(picture), np.zeros_like(picture)
    down[1:-1] = picture[2:] - picture[:-2]
    right[:, 1:-1] = picture[:, 2:] - picture[:, :-2]
    strength = np.sqrt(down * down + right * right) + 1e-9
    angles = 2 * np.pi * np.arange(DIRECTIONS // 2, dtype=np.float32) / DIRECTIONS
    along = np.cos(angles)[:, None, None] * right + np.sin(angles)[:, None, None] * down
    shared = along * along / strength
    forwards = np.where(along > 0, shared, 0)
    sums = np.concatenate([forwards, shared - forwards]) @ _CELL_OF
    cells = _CELL_OF.T @ sums
    return np.sqrt(cells / (cells.mean() + 1e-6)).ravel()


def mirrored_edges(edges: np.ndarray) -> np.ndarray:
    """Return the :func:`edge_directions` that films' mirror images have, ``[N, ...]`` of ``[N, ...]``.

    Args:
        edges: of the films as they are.
    """
    of_mirror = [(DIRECTIONS // 2 - direction) % DIRECTIONS for direction in range(DIRECTIONS)]
    grid = edges.reshape(-1, DIRECTIONS, CELLS, CELLS)
    return grid[:, of_mirror, :, ::-1].reshape(edges.shape)
