"""How far a film lies from the training's: Mahalanobis' distance on principal components, and what lies outside them.

After Lee et al. 2018 (arXiv 1807.03888) and Wollek et al. 2023 (doi 10.1002/mp.16790), who found it best for chest
radiographs; the shrinkage is Ledoit and Wolf's (2004, doi 10.1016/S0047-259X(03)00096-4), as scikit-learn has it. Along
all other directions the covariance is that of noise (probabilistic principal components: Tipping and Bishop 1999, doi
10.1111/1467-9868.00196): pictures that are no radiographs differ there most. Numbers beyond eight standard deviations
count as eight, so that one that hardly varies does not outweigh all others.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
from sklearn.covariance import LedoitWolf

MOST_COMPONENTS = 64
"""Principal components at most; a quarter of the films where there are few."""
MOST_DEVIATIONS = 8.0
"""Standard deviations from the mean beyond which a number is not followed."""


@dataclass(frozen=True, eq=False)
class Distance:
    """A fitted distance of D numbers.

    Attributes:
        mean, scale: float32 ``[D]``, taken from the numbers and divided by.
        components: float32 ``[D, K]``.
        centre: float32 ``[K]``.
        precision: float32 ``[K, K]``, the inverse of the shrunk covariance.
        outside: float32 ``[1]``, the inverse of the variance along every other direction; 0 leaves these out.
    """

    mean: np.ndarray
    scale: np.ndarray
    components: np.ndarray
    centre: np.ndarray
    precision: np.ndarray
    outside: np.ndarray = field(default_factory=lambda: np.zeros(1, dtype=np.float32))

    @classmethod
    def fit(cls, values: np.ndarray, components: int = MOST_COMPONENTS) -> "Distance":
        """Fit a distance on films.

        Args:
            values: ``[N, D]``.
            components: how many principal components at most.
        """
        values = values.astype(np.float64)
        mean, scale = values.mean(0), np.maximum(values.std(0), 1e-6)
        standardised = clipped_deviations(values, mean, scale)
        kept = max(1, min(components, len(values) // 4, values.shape[1]))
        variances, vectors = np.linalg.eigh(np.cov(standardised.T, bias=True).reshape(values.shape[1], -1))
        directions, others = vectors[:, ::-1][:, :kept], variances[:-kept]
        fitted = LedoitWolf().fit(standardised @ directions)
        outside = np.array([1 / max(float(others.mean()), 1e-6) if len(others) else 0.0])
        numbers = (mean, scale, directions, fitted.location_, fitted.precision_, outside)
        return cls(*(array.astype(np.float32) for array in numbers))

    def of(self, values: np.ndarray) -> np.ndarray:
        """Return the distances of films, float ``[N]``, at least 0, of numbers ``[N, D]``."""
        standardised = clipped_deviations(values, self.mean, self.scale)
        projected = standardised @ self.components - self.centre
        along = np.einsum("nk,kl,nl->n", projected, self.precision, projected)
        if self.outside[0] == 0:
            return np.sqrt(np.maximum(along, 0))
        rest = standardised - (projected + self.centre) @ self.components.T
        return np.sqrt(np.maximum(along, 0) + self.outside[0] * (rest * rest).sum(1))

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the parameters by name."""
        return asdict(self)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> "Distance":
        """Return the distance of :meth:`tensors`.

        Raises:
            ValueError: if shapes do not fit each other.
        """
        distance = cls(**tensors)
        (size, kept), precise = distance.components.shape, distance.precision.shape
        if distance.mean.shape != (size,) or distance.scale.shape != (size,) or not (distance.scale > 0).all():
            raise ValueError("a distance whose mean and scale do not fit its components")
        if distance.centre.shape != (kept,) or precise != (kept, kept) or distance.outside.shape != (1,):
            raise ValueError("a distance whose precision does not fit its components")
        return distance


def clipped_deviations(values: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return numbers ``[N, D]`` as deviations from a mean ``[D]`` in units of a scale ``[D]``, within -8 and 8."""
    return np.clip((values - mean) / scale, -MOST_DEVIATIONS, MOST_DEVIATIONS)
