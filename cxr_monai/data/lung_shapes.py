"""A simple segmentation of the lungs of a frontal radiograph: the pair of lung-shaped outlines that is darkest.

    lungs, contrast = segment_lungs(pixels)       # bool [H, W]; how much darker than their rims, in ranks of greys

It needs no weights and no training. An outline of each lung, drawn once by hand on the unit square, is moved and
stretched over a grid of places and sizes. Greys are replaced by their ranks, so that exposure and contrast do not
matter; an outline's contrast is the mean of the rim around it minus the mean inside it. The pair is chosen whose
contrast is greatest, less a penalty for places and sizes that are unusual, and for two lungs that differ. A lung that
is opaque, the air beside a patient and a film that shows more than the chest mislead it: ``docs/shortcuts.md`` says how
often. A segmentation by a trained network (CheXmask) is better wherever there is one.
"""

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation, gaussian_filter

# outlines as (x, y) on the unit square, x to the right of the image, y downwards; the patient's right lung comes first
_OUTLINES = (
    ((0.41, 0.11), (0.34, 0.13), (0.27, 0.20), (0.22, 0.32), (0.18, 0.45), (0.16, 0.58), (0.155, 0.74), (0.24, 0.70),
     (0.36, 0.66), (0.395, 0.56), (0.42, 0.45), (0.43, 0.30), (0.44, 0.16)),
    ((0.59, 0.11), (0.66, 0.13), (0.73, 0.20), (0.78, 0.32), (0.82, 0.45), (0.84, 0.58), (0.845, 0.74), (0.77, 0.70),
     (0.72, 0.66), (0.70, 0.56), (0.63, 0.43), (0.58, 0.35), (0.57, 0.16)),
)  # fmt: skip
_GRID = 48
"""Rows and columns that a film is reduced to."""
_ACROSS, _DOWN = np.arange(-0.09, 0.091, 0.03), np.arange(-0.12, 0.121, 0.03)  # moves, in widths of the film
_WIDTHS, _HEIGHTS = (0.65, 0.8, 0.95, 1.1, 1.25), (0.55, 0.7, 0.85, 1.0, 1.15, 1.3)  # stretches
_USUAL = np.array([0.06, 0.08, 0.2, 0.25])  # spread of the moves and of the stretches' logarithms
_UNUSUAL, _UNEQUAL, _LARGER = 0.006, 0.006, 0.1  # weights of the penalties; power of the area that contrasts grow with
_CANDIDATES = 150  # outlines of each side that are paired


@dataclass(frozen=True, eq=False)
class _Bank:
    """The outlines of one side.

    Attributes:
        masks: bool ``[K, G, G]``.
        weights: float32 ``[K, G * G]``; times a film, the contrast of each.
        places: float ``[K, 4]``: moves and logarithms of stretches, in units of their usual spread.
    """

    masks: np.ndarray
    weights: np.ndarray
    places: np.ndarray


def segment_lungs(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """Return both lungs of a frontal radiograph.

    Args:
        pixels: float ``[H, W]``, bright = dense, upright.

    Returns:
        the mask, bool ``[H, W]``, and the contrast of the lung that has less of it: by how much its rim is brighter
        than its inside, in ranks of greys from 0 to 1. Well-seen lungs have 0.2 to 0.45.

    >>> from cxr_monai.data.phantom import draw_phantom
    >>> phantom = draw_phantom(seed=1, size=96)
    >>> lungs, contrast = segment_lungs(phantom.pixels)
    >>> bool(2 * (lungs & phantom.lungs).sum() > 0.8 * (lungs.sum() + phantom.lungs.sum())), contrast > 0.1
    (True, True)
    """
    film = Image.fromarray(pixels.astype(np.float32)).resize((_GRID, _GRID), Image.Resampling.BOX)
    smooth = gaussian_filter(np.asarray(film), 0.5).ravel()
    ranks = smooth.argsort().argsort().astype(np.float32) / smooth.size
    banks = [_bank(side) for side in range(2)]
    contrasts = [bank.weights @ ranks for bank in banks]
    scores = [
        contrast * (bank.masks.mean((1, 2)) / 0.1) ** _LARGER - _UNUSUAL * (bank.places**2).sum(1)
        for bank, contrast in zip(banks, contrasts, strict=True)
    ]
    best = [np.argpartition(-score, _CANDIDATES)[:_CANDIDATES] for score in scores]
    right, left = (bank.places[chosen] for bank, chosen in zip(banks, best, strict=True))
    # two lungs are mirror images of each other: where one lies further to the right, the other lies further to the left
    unequal = ((right[:, None, 1:] - left[None, :, 1:]) ** 2).sum(2) + (right[:, None, 0] + left[None, :, 0]) ** 2
    pairs = scores[0][best[0]][:, None] + scores[1][best[1]][None] - _UNEQUAL * unequal
    chosen = [int(of[at]) for of, at in zip(best, np.unravel_index(pairs.argmax(), pairs.shape), strict=True)]
    lungs = banks[0].masks[chosen[0]] | banks[1].masks[chosen[1]]
    contrast = min(float(values[at]) for values, at in zip(contrasts, chosen, strict=True))
    return resize_mask(lungs, pixels.shape), contrast


def resize_mask(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask at another size, bool.

    Args:
        mask: bool ``[h, w]``.
        shape: ``(H, W)``.
    """
    if mask.shape == tuple(shape):
        return mask
    resized = Image.fromarray(mask.astype(np.float32)).resize(shape[::-1], Image.Resampling.BILINEAR)
    return np.asarray(resized) > 0.5


@cache
def _bank(side: int) -> _Bank:
    outline = np.array(_OUTLINES[side])
    centre = outline.mean(0)
    masks, weights, places = [], [], []
    for across, down, wide, high in itertools.product(_ACROSS, _DOWN, _WIDTHS, _HEIGHTS):
        points = ((outline - centre) * (wide, high) + centre + (across, down)) * _GRID
        drawing = Image.new("L", (_GRID, _GRID))
        ImageDraw.Draw(drawing).polygon([(x, y) for x, y in points.tolist()], fill=1)
        mask = np.asarray(drawing, dtype=bool)
        edge = binary_dilation(mask, np.ones((3, 3), dtype=bool))
        rim = binary_dilation(edge, np.ones((3, 3), dtype=bool), iterations=2) & ~edge
        masks.append(mask)
        weights.append(rim / np.float32(rim.sum()) - mask / np.float32(mask.sum()))
        places.append(np.array([across, down, np.log(wide), np.log(high)]) / _USUAL)
    return _Bank(np.stack(masks), np.stack(weights).reshape(len(masks), -1).astype(np.float32), np.stack(places))
