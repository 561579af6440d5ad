"""How often each image is drawn: as the data has it, or rare findings more often.

Drawn evenly, a network sees one hernia in five hundred images. ``balanced`` is repeat-factor sampling, made for the
rare categories of LVIS (Gupta et al. 2019, arXiv 1908.03195, section 5.1): the square root lies between the natural
frequencies and equal ones, under which a few images would be seen hundreds of times an epoch and learnt by heart.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from cxr_monai.errors import Code, SettingError

SAMPLINGS = ("natural", "balanced")

# Of the largest weight; the smallest is 1, so no image is expected more often than this in an epoch.
MOST = 10.0


def sampling_weights(
    data: Sequence[Mapping[str, Any]], sampling: Literal["natural", "balanced"] = "natural"
) -> np.ndarray | None:
    """Return the weights that ``EpochSampler`` draws the items of a data set with; None takes each once an epoch.

    Args:
        data: items with ``label``, ``[F]``, as ``cxr_monai.data.dataset.manifest_items`` gives them.
        sampling: ``natural`` (None), or ``balanced``, see :func:`balanced_weights`.

    Raises:
        SettingError: ``setting-invalid`` for another name.
    """
    if sampling not in SAMPLINGS:
        raise SettingError(Code.SETTING_INVALID, f"--sampling {sampling!r}: it must be one of {', '.join(SAMPLINGS)}.")
    return None if sampling == "natural" else balanced_weights(np.stack([item["label"] for item in data]))


def balanced_weights(labels: np.ndarray) -> np.ndarray:
    """Return a weight for each image, larger where its findings are rare, for sampling with replacement.

    An image belongs to each finding that it shows, and to "no finding" if it shows none of those that are known. A
    category of n images, the largest having N, asks for a weight of sqrt(N / n). An image has the largest that one of
    its categories asks for, but at most 10. So all weights are in [1, 10], and an image is expected less often than 10
    times an epoch.

    The network then meets findings more often than they occur and its probabilities are too high until they are
    calibrated; what ranks images (AUROC) is not concerned.

    Args:
        labels: ``[N, F]``, 0 absent, 1 present, NaN unknown.

    Returns:
        float64 ``[N]``. Images without a known label have 1.

    Raises:
        SettingError: ``setting-invalid`` if the labels are no table.

    >>> balanced_weights(np.array([[1, 0], [0, 0], [0, 0], [0, 0]])).round(2)
    array([1.73, 1.  , 1.  , 1.  ])
    """
    labels = np.asarray(labels)
    if labels.ndim != 2:
        raise SettingError(Code.SETTING_INVALID, f"labels must be images x findings, not of shape {labels.shape}.")
    present = labels == 1
    none = ~present.any(axis=1) & ~np.isnan(labels).all(axis=1)
    belongs = np.column_stack([present, none])
    counts = belongs.sum(axis=0)
    category_weights = np.sqrt(counts.max(initial=1) / counts.clip(min=1)).clip(1, MOST)
    return np.where(belongs, category_weights, 1.0).max(axis=1)
