"""How often each image is drawn: as the data has it, or rare findings more often.

Drawn evenly, a network sees one hernia in five hundred images. ``balanced`` is repeat-factor sampling, made for the
rare categories of LVIS (Gupta et al. 2019, arXiv 1908.03195, section 5.1): the square root lies between the natural
frequencies and equal ones, under which a few images would be seen hundreds of times an epoch and learnt by heart.
``balanced_sources`` draws as many images of each source (a hospital, a data set) as of any other.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from cxr_monai.errors import Code, SettingError

SAMPLINGS = ("natural", "balanced", "balanced_sources")

# Of the largest weight; the smallest is 1, so no image is expected more often than this in an epoch.
MOST = 10.0


def sampling_weights(
    data: Sequence[Mapping[str, Any]], sampling: Literal["natural", "balanced", "balanced_sources"] = "natural"
) -> np.ndarray | None:
    """Return the weights that ``EpochSampler`` draws the items of a data set with; None takes each once an epoch.

    Args:
        data: items with ``label``, ``[F]``, and ``source`` where there are several, as
            ``cxr_monai.data.dataset.manifest_items`` gives them.
        sampling: ``natural`` (None), ``balanced``, see :func:`balanced_weights`, or ``balanced_sources``, see
            :func:`source_weights`.

    Raises:
        SettingError: ``setting-invalid`` for another name, and for ``balanced_sources`` of one source.
    """
    if sampling not in SAMPLINGS:
        raise SettingError(Code.SETTING_INVALID, f"--sampling {sampling!r}: it must be one of {', '.join(SAMPLINGS)}.")
    if sampling == "balanced_sources":
        return source_weights([str(item.get("source", "")) for item in data])
    return None if sampling == "natural" else balanced_weights(np.stack([item["label"] for item in data]))


def source_weights(sources: Sequence[str]) -> np.ndarray:
    """Return a weight for each image with which every source is drawn equally often, with replacement.

    Of n images of a source, the largest source having N, each has N / n, but at most 10: the images of a very small
    source would be learnt by heart.

    Args:
        sources: of the N images.

    Returns:
        float64 ``[N]``, in [1, 10].

    Raises:
        SettingError: ``setting-invalid`` if there is one source alone.

    >>> source_weights(["nih", "nih", "nih", "rsna"])
    array([1., 1., 1., 3.])
    """
    _, places, counts = np.unique(np.asarray(sources, dtype=str), return_inverse=True, return_counts=True)
    if counts.size < 2:
        raise SettingError(
            Code.SETTING_INVALID,
            "--sampling balanced_sources: the training's images are all of one source.",
            fix="Give several manifests (--manifest A.csv,B.csv), or choose another sampling.",
        )
    return (counts.max() / counts).clip(max=MOST)[places]


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
