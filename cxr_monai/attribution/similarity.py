"""Similarity of two maps: rank correlation, overlap above a threshold (IoU), structural similarity (SSIM).

    rank_correlation(first, second)             # [..., P], [..., P] -> [...]: 1 same order, 0 unrelated, -1 reversed
    map_overlap(first, second, share=0.5)           # IoU of what is at least half of each map's maximum
    similarity(first, second)                   # [N, h, w], [N, h, w] -> [N]: SSIM

None depends on a map's unit: two methods, or two networks, may be compared. In a map that is 0 everywhere nothing
speaks for the finding: with any other map it has the similarity 0, and two such maps have none (NaN).
"""

import numpy as np
import torch
from monai.metrics import SSIMMetric
from scipy.stats import rankdata

from cxr_monai.errors import Code, SettingError

_SIDE = 64
"""Rows and columns on which the structure of maps is compared."""


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation of the last axis; ties have their mean rank.

    Args:
        first, second: float ``[..., P]``, the same P places.

    Returns:
        float64 ``[...]`` in [-1, 1]; 0 where one is the same everywhere (it has no order to agree with), NaN where both
        are, or where one is NaN.
    """
    centred = []
    for maps in (first, second):
        ranks = rankdata(maps, axis=-1, nan_policy="propagate")
        centred.append(ranks - ranks.mean(-1, keepdims=True))
    product = (centred[0] * centred[1]).sum(-1)
    squares = [(ranks**2).sum(-1) for ranks in centred]
    size = np.sqrt(squares[0] * squares[1])
    empty = (squares[0] == 0) & (squares[1] == 0)
    correlation = np.divide(product, size, out=np.zeros(np.shape(product)), where=size != 0)
    return np.where(empty, np.nan, np.clip(correlation, -1, 1))


def map_overlap(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Return the intersection over the union of what is at least ``share`` of each map's own maximum.

    Args:
        first, second: float ``[..., P]``, at least 0, the same P places.
        share: of the maximum, in (0, 1].

    Returns:
        float64 ``[...]`` in [0, 1]; 0 where one map is 0 everywhere, NaN where both are, or where one is NaN.

    Raises:
        SettingError: ``setting-invalid`` for another share.

    >>> float(map_overlap(np.array([0.0, 1.0, 2.0]), np.array([4.0, 4.0, 1.0]), share=0.5))
    0.3333333333333333
    """
    if not 0 < share <= 1:
        raise SettingError(
            Code.SETTING_INVALID, f"a threshold of {share}: it is a share of a map's maximum, above 0 and up to 1."
        )
    highest = [maps.max(-1, keepdims=True) for maps in (first, second)]
    above = [(maps >= share * top) & (top > 0) for maps, top in zip((first, second), highest, strict=True)]
    union = (above[0] | above[1]).sum(-1)
    iou = np.divide((above[0] & above[1]).sum(-1), union, out=np.full(np.shape(union), np.nan), where=union > 0)
    return np.where(np.isnan(highest[0] + highest[1])[..., 0], np.nan, iou)


def similarity(first: np.ndarray, second: np.ndarray, raster: int = _SIDE) -> np.ndarray:
    """Return MONAI's structural similarity (SSIM, Wang et al. 2004, doi:10.1109/TIP.2003.819861; Gaussian window of
    11).

    Args:
        first, second: float ``[N, h, w]``, at least 0, the same N maps of any grids. Each is divided by its maximum and
            enlarged linearly to ``raster`` by ``raster``.
        raster: at least 11.

    Returns:
        float64 ``[N]`` in [-1, 1]; 1 for equal maps. Smooth maps have much in common whatever they show: compare it
        with others of its kind.
    """
    pair = [_on_raster(maps, raster) for maps in (first, second)]
    return SSIMMetric(spatial_dims=2, data_range=1.0, reduction="none")(*pair)[:, 0].double().numpy()


def _on_raster(maps: np.ndarray, raster: int) -> torch.Tensor:
    highest = maps.max((-2, -1), keepdims=True)
    shares = torch.from_numpy((maps / np.where(highest > 0, highest, 1)).astype(np.float32))
    return torch.nn.functional.interpolate(shares[:, None], (raster, raster), mode="bilinear", antialias=True)
