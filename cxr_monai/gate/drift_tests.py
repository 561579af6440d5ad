"""Has one window of films another distribution than the reference? A test a stream, to be corrected for their number.

    p = window_tests(streams, reference, window, dependence)    # float [S]

Numbers: Kolmogorov and Smirnov's test, by its limiting distribution with Stephens' correction (1970, doi
10.1111/j.2517-6161.1970.tb00821.x).
Shares: the exact test of two binomial shares (Fisher's; the binomial test where the reference is large), its smaller
tail doubled: the reference is a sample, too. Levels: chi-square where five films of each are expected (Cochran 1954,
doi 10.2307/3001616), else the exact test of each level, corrected for their number.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import kolmogorov, ndtr, ndtri
from scipy.stats import chi2_contingency, hypergeom

from cxr_monai.gate.drift_streams import Stream

_EXPECTED = 5


def window_tests(
    streams: Sequence[Stream], reference: np.ndarray, window: np.ndarray, dependence: np.ndarray
) -> np.ndarray:
    """Return a p-value a stream, float ``[S]``; 1 where a side has no values.

    Args:
        streams: S of them.
        reference: ``[N, S]`` of `cxr_monai.gate.drift_streams.stream_values`.
        window: ``[n, S]`` alike.
        dependence: ``[S]``, by which factor the variance of a mean is larger than with independent films.
    """
    p = np.ones(len(streams))
    for place, stream in enumerate(streams):
        known, fresh = (side[np.isfinite(side[:, place]), place] for side in (reference, window))
        if not known.size or not fresh.size:
            continue
        if stream.scale == "number":
            p[place] = kolmogorov_smirnov(known, fresh)
        else:
            size = len(stream.levels) + 1 if stream.scale == "levels" else 2
            counts = [np.bincount(side.astype(int), minlength=size) for side in (fresh, known)]
            p[place] = _levels_test(np.array(counts)) if size > 2 else float(share_test(*np.array(counts)[:, ::-1].T))
    return softened(p, dependence)


def kolmogorov_smirnov(reference: np.ndarray, window: np.ndarray) -> float:
    """Return the two-sample test's p-value of samples ``[N]`` and ``[n]`` without NaN."""
    reference, window = np.sort(reference), np.sort(window)
    everywhere = np.concatenate([reference, window])
    shares = [np.searchsorted(side, everywhere, side="right") / len(side) for side in (reference, window)]
    root = np.sqrt(len(reference) * len(window) / (len(reference) + len(window)))
    distance = np.abs(shares[0] - shares[1]).max()
    return float(kolmogorov((root + 0.12 + 0.11 / root) * distance))


def tails(count: np.ndarray, films: np.ndarray, reference_count: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the chance of fewer, as many and more positives among a window's films, ``[3, K]``, given those of both.

    Args:
        count, films: positives and films of the window, whole numbers ``[K]``.
        reference_count, reference: those of the reference.
    """
    cases = np.stack([count, films, reference_count, reference], axis=-1).astype(np.int64)
    unique, back = np.unique(cases.reshape(-1, 4), axis=0, return_inverse=True)
    x, n, known, size = unique.T
    arguments = (size + n, known + x, n)
    chances = [hypergeom.cdf(x - 1, *arguments), hypergeom.pmf(x, *arguments), hypergeom.sf(x, *arguments)]
    return np.stack(chances)[:, back.ravel()].reshape(3, *cases.shape[:-1])


def share_test(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Return the exact test's p-value of two shares; both arguments are of the window and the reference, ``[2, ...]``.

    >>> float(share_test(np.array([0, 0]), np.array([50, 400])))
    1.0
    """
    fewer, same, more = tails(positives[0], positives[0] + negatives[0], positives[1], positives[1] + negatives[1])
    return np.minimum(2 * (np.minimum(fewer, more) + same), 1)


def softened(p: np.ndarray, dependence: np.ndarray) -> np.ndarray:
    """Return two-sided p-values as they are if variances are larger by a factor, as with films that depend on others.

    The first-order correction of Rao and Scott (1984, doi 10.1214/aos/1176346391), on the scale of normal deviates.
    """
    return np.where(dependence > 1, 2 * ndtr(ndtri(np.maximum(p, 1e-300) / 2) / np.sqrt(dependence)), p)


def _levels_test(counts: np.ndarray) -> float:
    """Return the p-value of a table ``[2, K]``: the window's films of each level, and the reference's."""
    counts = counts[:, counts.sum(0) > 0]
    if counts.shape[1] < 2:
        return 1.0
    tested = chi2_contingency(counts, correction=False)
    if tested.expected_freq.min() >= _EXPECTED:
        return float(tested.pvalue)
    p = share_test(counts, counts.sum(1, keepdims=True) - counts)
    return float(min(p.min() * counts.shape[1], 1))
