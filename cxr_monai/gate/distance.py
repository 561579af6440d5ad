"""How far a film lies from the training's: Mahalanobis' distance on principal components, the covariance shrunk.

After Lee et al. 2018 (arXiv 1807.03888) and Wollek et al. 2023 (doi 10.1002/mp.16790), who found it best for chest
radiographs; the shrinkage is Ledoit and Wolf's (2004, doi 10.1016/S0047-259X(03)00096-4), as scikit-learn has it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from sklearn.covariance import LedoitWolf

MOST_COMPONENTS = 64
"""Principal components at most; a quarter of the films where there are few."""


@dataclass(frozen=True, eq=False)
class Distance:
    """A fitted distance of D numbers.

    Attributes:
        mean, scale: float32 ``[D]``, taken from the numbers and divided by.
        components: float32 ``[D, K]``.
        centre: float32 ``[K]``.
        precision: float32 ``[K, K]``, the inverse of the shrunk covariance.
    """

    mean: np.ndarray
    scale: np.ndarray
    components: np.ndarray
    centre: np.ndarray
    precision: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray, components: int = MOST_COMPONENTS) -> "Distance":
        """Fit a distance on films.

        Args:
            values: ``[N, D]``.
            components: how many principal components at most.
        """
        values = values.astype(np.float64)
        mean, scale = values.mean(0), np.maximum(values.std(0), 1e-6)
        standardised = (values - mean) / scale
        kept = max(1, min(components, len(values) // 4, values.shape[1]))
        _, vectors = np.linalg.eigh(standardised.T @ standardised)
        directions = vectors[:, ::-1][:, :kept]
        fitted = LedoitWolf().fit(standardised @ directions)
        return cls(*(a.astype(np.float32) for a in (mean, scale, directions, fitted.location_, fitted.precision_)))

    def of(self, values: np.ndarray) -> np.ndarray:
        """Return the distances of films, float32 ``[N]``, at least 0, of numbers ``[N, D]``."""
        projected = ((values - self.mean) / self.scale) @ self.components - self.centre
        return np.sqrt(np.maximum(np.einsum("nk,kl,nl->n", projected, self.precision, projected), 0))

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
        if distance.centre.shape != (kept,) or precise != (kept, kept):
            raise ValueError("a distance whose precision does not fit its components")
        return distance
