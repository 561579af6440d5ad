"""Picture quality in numbers: what is clipped, how much of the range is used, how sharp and noisy, what borders.

    values = picture_statistics(plane)                  # float32 [S]
    dict(zip(STATISTICS, values))["sharpness_1"]

Each is one number of the plane as the network's preprocessing keeps it, so that a film at its full resolution and the
same film reduced are judged alike.
"""

import math

import numpy as np
from PIL import Image

STATISTICS = (
    "aspect",
    "black_share",
    "white_share",
    "at_black",
    "at_white",
    "near_black",
    "near_white",
    "level_p01",
    "level_p10",
    "level_p25",
    "level_p50",
    "level_p75",
    "level_p90",
    "level_p99",
    "mean",
    "deviation",
    "levels_used",
    "sharpness_1",
    "sharpness_2",
    "sharpness_4",
    "sharpness_8",
    "noise",
    "detail_dark",
    "detail_bright",
    "border_top",
    "border_bottom",
    "border_left",
    "border_right",
    "symmetry",
)
"""The numbers, in their order:

``aspect``: logarithm of columns / rows. ``black_share``, ``white_share``: share of pixels in the lowest and highest
percent of the range. ``at_black``, ``at_white``: logarithm of the share in the lowest and highest grey level of 256;
``near_black``, ``near_white``: in the fifth to twentieth from that end, of which a film that was cut off there has
many. ``level_pNN``: percentiles of the grey levels, in [0, 1]. ``mean``, ``deviation`` (standard): of
the grey levels. ``levels_used``: share of 64 grey levels that any pixel has. ``sharpness_N``: logarithm of the mean
absolute difference of neighbouring blocks of N pixels, relative to the deviation (Haar's details). ``noise``: logarithm
of the median absolute diagonal detail, relative to the deviation (Donoho and Johnstone 1994, doi
10.1093/biomet/81.3.425). ``detail_dark``, ``detail_bright``: logarithm of the mean detail of the darkest and of the
brightest third of the picture, relative to the whole's: a wrong exposure flattens one of them.
``border_SIDE``: share of the rows or columns, counted from that side, that are of one grey.
``symmetry``: correlation of the film with its mirror image.
"""

_LEVELS = 256
_COARSE_LEVELS = 64
_PERCENTILES = (0.01, 0.10, 0.25, 0.50, 0.75, 0.90, 0.99)
_LEAST = 1e-4
"""Added before each logarithm: a twentieth of a grey level of 8 bits, relative to the deviation."""
_ONE_GREY = 1.5 / 255
"""Standard deviation of a row below which it counts as of one grey."""


def grey_level_counts(plane: np.ndarray) -> np.ndarray:
    """Return how many pixels have each of 256 grey levels, integers ``[256]``, of a plane ``[H, W]`` in [0, 1]."""
    return np.array(Image.fromarray((plane * (_LEVELS - 1) + 0.5).astype(np.uint8)).histogram())


def picture_statistics(plane: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """Return the numbers of :data:`STATISTICS`.

    Args:
        plane: float32 ``[H, W]`` in [0, 1], at least 32 pixels each way.
        counts: its :func:`grey_level_counts`; counted where None.

    Returns:
        float32 ``[S]``, all finite.
    """
    height, width = plane.shape
    counts = grey_level_counts(plane) if counts is None else counts
    shares = np.cumsum(counts) / plane.size
    percentiles = np.searchsorted(shares, _PERCENTILES) / (_LEVELS - 1)
    mean = float(plane.mean())
    centred = plane - mean
    power = float(np.vdot(centred, centred))
    deviation = math.sqrt(power / plane.size)
    scale = deviation + 1 / _LEVELS
    details, noise, *by_brightness = _details(plane)
    return np.array(
        [
            math.log(width / height),
            counts[:3].sum() / plane.size,
            counts[-3:].sum() / plane.size,
            *np.log(np.array([counts[0], counts[-1], counts[4:20].sum(), counts[-20:-4].sum()]) / plane.size + 1e-3),
            *percentiles,
            mean,
            deviation,
            np.count_nonzero(counts.reshape(_COARSE_LEVELS, -1).sum(1)) / _COARSE_LEVELS,
            *(math.log(detail / scale + _LEAST) for detail in details),
            math.log(noise / scale + _LEAST),
            *by_brightness,
            *_borders(centred),
            float(np.vdot(centred, centred[:, ::-1])) / power if power > 0 else 1.0,
        ],
        dtype=np.float32,
    )


def _details(plane: np.ndarray) -> tuple[list[float], float, float, float]:
    """Return the mean absolute differences of neighbouring blocks of 1, 2, 4 and 8 pixels, the noise, and the details
    of the darkest and brightest third (of blocks of 4 pixels)."""
    details, noise, dark, bright = [], 0.0, 0.0, 0.0
    blocks = plane
    for step in range(4):
        rows, columns = (side // 2 * 2 for side in blocks.shape)
        blocks = blocks[:rows, :columns]
        upper, lower = blocks[::2], blocks[1::2]
        sums, differences = upper + lower, upper - lower
        vertical, horizontal = np.abs(differences), np.abs(sums[:, ::2] - sums[:, 1::2])
        detail = float(vertical.mean()) / 2 + float(horizontal.mean()) / 4
        details.append(detail)
        if step == 0:
            noise = float(np.median(np.abs(differences[:, ::2] - differences[:, 1::2]))) / 2
        blocks = (sums[:, ::2] + sums[:, 1::2]) / 4
        if step == 1:
            local = (vertical[:, ::2] + vertical[:, 1::2] + horizontal) / 4
            ordered, third = np.partition(blocks, [blocks.size // 3, -(blocks.size // 3)], axis=None), blocks.size // 3
            dark, bright = (
                math.log((float(local[some].mean()) + _LEAST) / (detail + _LEAST))
                for some in (blocks <= ordered[third], blocks >= ordered[-third])
            )
    return details, noise, dark, bright


def _borders(plane: np.ndarray) -> list[float]:
    """Return the shares of rows from the top, the bottom, and of columns from the left, the right, of one grey."""
    squares, shares = plane * plane, []
    for axis in (1, 0):
        is_plain = squares.mean(axis) - plane.mean(axis) ** 2 < _ONE_GREY**2
        first, last = (len(is_plain) if is_plain.all() else int(np.argmin(each)) for each in (is_plain, is_plain[::-1]))
        shares += [first / len(is_plain), last / len(is_plain)]
    return shares
