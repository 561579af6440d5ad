"""Localisation of one case: does a map point at the box that a radiologist drew? Scores, and the centre map.

    scores = score(heat, boxes)                         # heat [h, w] on the whole image, boxes [B, 4] in shares of it
    scores.pointing, scores.energy                      # need no threshold
    scores.iou[s], scores.iobb[s], scores.detected[s]   # of the map cut at MAP_THRESHOLDS[s] of its maximum

A case is one finding in one image. Maps lie on a raster that covers the whole stored image, its longer side at most
`SIDE` pixels (`raster`); boxes are left, top, right, bottom in shares of the image, so that no size enters. For a case
with B boxes of the finding and a map m >= 0:

pointing
    1 if the middle of the pixel with the largest m lies in a box, or at most ``tolerance`` from one, else 0 (Zhang et
    al. 2016, arXiv 1608.00507). Where several pixels share the maximum: the share of them that do.
energy
    sum of m over the union of the boxes / sum of m over the image (Wang et al. 2020, arXiv 1910.01279). A pixel that a
    box cuts counts by the part inside.
detected box
    m is cut at a share of its maximum; of the parts that are left (touching by edge or corner) the one that holds the
    maximum is taken; its smallest upright box is the detected box D.
IoU
    area(D and G) / area(D or G), with the box G for which this is largest.
IoBB
    area(D and G) / area(D), with the box G for which this is largest (Wang et al. 2017, arXiv 1705.02315). A detected
    box that lies wholly in the true one has 1, however small: it is only of use next to the IoU.
accuracy at T
    the share of cases with IoU > T, or with IoBB > T (there: "either IoU > T(IoU) or IoBB > T(IoBB)"). There every part
    of a map gives a box, and false ones are counted; here a map gives one box.

A map that is 0 everywhere points nowhere: it has 0 in every score, and no detected box.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.plurals import counted

SIDE = 256
"""Pixels of the longer side of the raster that maps are scored on."""
CHOOSING_SIDE = 128
"""The same where map thresholds are chosen, in steps that are coarser than what it changes."""
MAP_THRESHOLDS = tuple(step / 20 for step in range(1, 20))
"""Map thresholds to choose from, in shares of the map's maximum."""
FEWEST_CASES = 10
"""A finding with fewer cases to choose its threshold on takes the one chosen on all findings together."""
_REFERENCE = 1024
"""The pointing game's tolerance is in pixels of an image whose longer side has so many (NIH's)."""
POOLED_FINDINGS = "all findings"
_TOUCHING = np.ones((3, 3))


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of one map in one case, at S thresholds.

    Attributes:
        pointing, energy: in [0, 1].
        iou, iobb: float64 ``[S]``, in [0, 1].
        detected: float64 ``[S, 4]``, the detected box in shares of the image; NaN for a map that is 0 everywhere.
    """

    pointing: float
    energy: float
    iou: np.ndarray
    iobb: np.ndarray
    detected: np.ndarray


def raster(height: int, width: int, side: int = SIDE) -> tuple[int, int]:
    """Return rows and columns of the raster of a stored image: its own where it is no larger than ``side``.

    Args:
        height, width: of the stored image, in pixels.
        side: pixels of the raster's longer side, at most.

    >>> raster(2048, 1024), raster(100, 80)
    ((256, 128), (100, 80))
    """
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def score(
    heat: np.ndarray, boxes: np.ndarray, shares: Sequence[float] = MAP_THRESHOLDS, tolerance: float = 0.0
) -> Scores:
    """Score one map against the boxes of its case; see the module's head.

    Args:
        heat: ``[h, w]``, at least 0, over the whole image.
        boxes: ``[B, 4]``: left, top, right, bottom in shares of the image.
        shares: S map thresholds, each in (0, 1].
        tolerance: of the pointing game, in pixels of an image whose longer side has `_REFERENCE`.

    Raises:
        EvaluationError: ``evaluation-invalid`` for a map with negative or undefined values, no box, or a threshold
            outside (0, 1].
    """
    heat, boxes = np.asarray(heat), np.asarray(boxes, dtype=float)
    if heat.ndim != 2 or not heat.size or not (heat >= 0).all() or not len(boxes):
        raise EvaluationError(
            Code.EVALUATION_INVALID, f"a map {heat.shape} and {counted(len(boxes), 'box')} cannot be scored.",
            fix="A map is [h, w] of numbers from 0; a case has at least one box.",
        )  # fmt: skip
    if not all(0 < share <= 1 for share in shares):
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"map thresholds {', '.join(f'{share:g}' for share in shares)}: each is above 0 and at most 1.",
        )
    detected = detected_boxes(heat, shares)
    iou, iobb = overlaps(detected, boxes)
    if not heat.any():
        return Scores(0.0, 0.0, iou, iobb, detected)
    return Scores(_pointing(heat, boxes, tolerance), _energy(heat, boxes), iou, iobb, detected)


def _pointing(heat: np.ndarray, boxes: np.ndarray, tolerance: float) -> float:
    rows, columns = np.nonzero(heat == heat.max())
    middles = np.column_stack([columns + 0.5, rows + 0.5])[:, None]
    size = np.array(heat.shape[::-1], dtype=float)
    outside = np.maximum(np.maximum(boxes[:, :2] * size - middles, middles - boxes[:, 2:] * size), 0)
    near = np.hypot(*np.moveaxis(outside, -1, 0)).min(axis=1) <= tolerance * max(heat.shape) / _REFERENCE
    return float(near.mean())


def _energy(heat: np.ndarray, boxes: np.ndarray) -> float:
    if len(boxes) == 1:  # the mask is a product, and need not be written out
        kind = np.result_type(heat.dtype, np.float32)
        down, across = (_along(boxes, axis, heat.shape[1 - axis])[0].astype(kind) for axis in (1, 0))
        inside = float(down @ heat @ across)
    else:
        inside = float(np.sum(heat * coverage(boxes, heat.shape), dtype=float))
    return min(inside / float(np.sum(heat, dtype=float)), 1.0)


def detected_boxes(heat: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Return the detected box at each threshold: float64 ``[S, 4]`` in shares of the image; NaN if the map is 0.

    Args:
        heat: ``[h, w]``, at least 0; of several largest pixels the first in reading order is taken.
        shares: of the maximum; pixels at the threshold are in.
    """
    rows, columns = heat.shape
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    top, left, bottom, right = 0, 0, rows, columns
    boxes = np.full((len(shares), 4), np.nan)
    if not heat[row, column]:
        return boxes
    for number in np.argsort(shares):
        # the part at a higher threshold lies within that at a lower one: no need to look outside
        inside = heat[top:bottom, left:right] >= shares[number] * heat[row, column]
        parts, _ = ndimage.label(inside, _TOUCHING)
        part = parts == parts[row - top, column - left]
        down, across = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
        top, bottom = top + down[0], top + down[-1] + 1
        left, right = left + across[0], left + across[-1] + 1
        boxes[number] = left / columns, top / rows, right / columns, bottom / rows
    return boxes


def overlaps(detected: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return IoU and IoBB of D detected boxes, with the true box that gives most: ``[D, 4], [B, 4]`` to ``[D]``.

    A detected box that is NaN has 0.

    >>> iou, iobb = overlaps(np.array([[0, 0, 0.5, 1.0]]), np.array([[0, 0, 1.0, 1.0]]))
    >>> float(iou[0]), float(iobb[0])
    (0.5, 1.0)
    """
    corner = np.maximum(detected[:, None, :2], boxes[None, :, :2])
    opposite = np.minimum(detected[:, None, 2:], boxes[None, :, 2:])
    common = np.clip(opposite - corner, 0, None).prod(axis=-1)
    detected_area, true = _areas(detected)[:, None], _areas(boxes)[None]
    iou, iobb = (common / (detected_area + true - common)).max(axis=1), (common / detected_area).max(axis=1)
    return np.fmax(iou, 0), np.fmax(iobb, 0)  # of NaN and 0 the 0


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)


def coverage(boxes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return how much of each pixel the boxes cover: float64 ``[h, w]`` in [0, 1].

    Where boxes overlap, a pixel counts by the one that covers most of it.

    Args:
        boxes: ``[B, 4]``: left, top, right, bottom in shares of the image.
        shape: rows and columns.
    """
    return (_along(boxes, 1, shape[0])[:, :, None] * _along(boxes, 0, shape[1])[:, None, :]).max(axis=0)


def _along(boxes: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Return the covered part of each pixel's extent along one axis: ``[B, size]``."""
    start, end = boxes[:, [axis]] * size, boxes[:, [axis + 2]] * size
    edges = np.arange(size)
    return np.clip(np.minimum(end, edges + 1) - np.maximum(start, edges), 0, 1)


def centre_map(boxes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return how often each place lies in a finding's boxes: float64 ``[h, w]``, the mean of their masks, in [0, 1].

    Args:
        boxes: ``[B, 4]`` of other images than those that the map is scored on, in shares of their images.
        shape: rows and columns.
    """
    return _along(boxes, 1, shape[0]).T @ _along(boxes, 0, shape[1]) / len(boxes)


def centre_boxes(boxes: Mapping[tuple[str, str], np.ndarray], finding: str) -> np.ndarray:
    """Return the boxes of a finding ``[B, 4]``; those of all findings where it has none.

    Args:
        boxes: ``[B, 4]`` by (image, finding).
        finding: its name.
    """
    of_finding = [box_array for (_, name), box_array in boxes.items() if name == finding]
    return np.concatenate(of_finding or list(boxes.values()))


def choose_map_thresholds(
    iou: np.ndarray, findings: Sequence[str], targets: Sequence[str], shares: Sequence[float] = MAP_THRESHOLDS
) -> dict[str, tuple[float, str]]:
    """Choose each finding's map threshold: the one with the largest mean IoU (the lowest of several).

    Args:
        iou: float ``[N, S]`` of N cases of other images than those to be scored.
        findings: of the N cases.
        targets: the findings to choose for; one with fewer than `FEWEST_CASES` cases takes what is best for all N.
        shares: the S thresholds.

    Returns:
        finding to (threshold, what it was chosen on: the finding or `POOLED_FINDINGS`).

    Raises:
        EvaluationError: ``evaluation-invalid`` without a case.
    """
    if not len(iou):
        raise EvaluationError(
            Code.EVALUATION_INVALID, "there is no case to choose map thresholds on.",
            fix="Choose them on other images: --choose-on MAPS --choose-boxes B.csv, or --choose-split val.",
        )  # fmt: skip
    labels, chosen = np.asarray(findings, dtype=object), {}
    for finding in targets:
        of_finding = labels == finding
        rows, source = (
            (of_finding, finding)
            if of_finding.sum() >= FEWEST_CASES
            else (np.ones(len(labels), dtype=bool), POOLED_FINDINGS)
        )
        chosen[finding] = shares[int(iou[rows].mean(axis=0).argmax())], source
    return chosen
