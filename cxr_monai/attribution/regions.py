"""The strongest part of a map: thresholds, connected parts and the boxes around them.

    threshold = parse_threshold("0.5")          # at least half of the map's maximum
    threshold = parse_threshold("area=0.1")     # the strongest tenth of the image
    for part in connected_regions(heat, threshold):     # the strongest part first
        part.x, part.y, part.width, part.height

A share of the maximum says what belongs to the peak, and may be a dot or half of the image. A share of the area is as
large in every image, whatever the map says. Where a map is 0 nothing speaks for the finding, and no threshold takes it.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from cxr_monai.errors import Code, SettingError

ThresholdKind = Literal["maximum", "area"]


@dataclass(frozen=True)
class Threshold:
    """Which pixels of a map count.

    Attributes:
        share: in (0, 1].
        kind: what it is a share of: of the map's ``maximum`` (those at least as strong), or of the image's ``area``
            (the strongest that make up this share).

    Raises:
        SettingError: ``setting-invalid`` for another share or kind.
    """

    share: float
    kind: ThresholdKind = "maximum"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or self.kind not in ("maximum", "area"):
            raise SettingError(
                Code.SETTING_INVALID,
                f"there is no map threshold of {self.share!r} of the {self.kind}.",
                fix="Give a share above 0 and at most 1, of the maximum (0.5) or of the area (area=0.1).",
            )

    def __str__(self) -> str:
        if self.kind == "maximum":
            return f"at least {self.share:g} of the maximum"
        return f"the strongest {100 * self.share:g} % of the image"


@dataclass(frozen=True)
class MapRegion:
    """One connected part of a thresholded map, in the map's pixels.

    Attributes:
        x, y: the first column and row of the box around it.
        width, height: of that box; the columns ``x`` to ``x + width - 1`` belong to it.
        maximum: the map's largest value in it.
        pixels: how many it has.
    """

    x: int
    y: int
    width: int
    height: int
    maximum: float
    pixels: int


def parse_threshold(text: str) -> Threshold:
    """Return the threshold that an argument of the command line means.

    >>> parse_threshold("0.5"), parse_threshold("area=0.1").kind
    (Threshold(share=0.5, kind='maximum'), 'area')

    Raises:
        SettingError: ``setting-invalid`` for another text or a share outside (0, 1].

    >>> parse_threshold("area=0.1")
    Threshold(share=0.1, kind='area')
    """
    kind: ThresholdKind = "area" if text.startswith("area=") else "maximum"
    try:
        return Threshold(float(text.removeprefix("area=")), kind)
    except ValueError:
        raise SettingError(
            Code.SETTING_INVALID,
            f"{text!r} is no map threshold.",
            fix="Give a share of the maximum (0.5) or of the area (area=0.1).",
        ) from None


def above_threshold(heat: np.ndarray, threshold: Threshold) -> np.ndarray:
    """Return which pixels of a map count.

    Args:
        heat: ``[H, W]``, finite, at least 0.
        threshold: by the maximum: pixels ``>= share * maximum``. By the area: exactly ``floor(share * H * W)`` pixels;
            of equal ones at the border those that come first in reading order, so the share is never exceeded, and
            fewer only where the map has fewer that are not 0.

    Returns:
        bool ``[H, W]``; nothing where the map is 0.

    >>> above_threshold(np.array([[0.1, 0.6], [1.0, 0.2]]), Threshold(0.5))
    array([[False,  True],
           [ True, False]])
    """
    if threshold.kind == "maximum":
        return (heat > 0) & (heat >= threshold.share * heat.max())
    # the small addition: 0.29 * 100 is 28.999999999999996
    count = math.floor(threshold.share * heat.size + 1e-9)
    mask = np.zeros(heat.size, dtype=bool)
    mask[np.argsort(-heat, axis=None, kind="stable")[:count]] = True
    return mask.reshape(heat.shape) & (heat > 0)


def connected_regions(heat: np.ndarray, threshold: Threshold) -> list[MapRegion]:
    """Return the connected parts (8 neighbours) of what a threshold leaves of a map ``[H, W]``, the strongest first.

    Parts of the same maximum come the larger first, then in reading order. A map that is 0 everywhere has none.

    Args:
        heat: float ``[H, W]``, at least 0.
        threshold: see `above_threshold`.
    """
    labels, count = ndimage.label(above_threshold(heat, threshold), structure=np.ones((3, 3)))
    numbers = np.arange(1, count + 1)
    maxima, sizes = ndimage.maximum(heat, labels, numbers), np.bincount(labels.ravel(), minlength=count + 1)[1:]
    regions = [
        MapRegion(
            columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start, float(maximum), int(pixels)
        )
        for (rows, columns), maximum, pixels in zip(ndimage.find_objects(labels), maxima, sizes, strict=True)
    ]
    return sorted(regions, key=lambda part: (-part.maximum, -part.pixels))
