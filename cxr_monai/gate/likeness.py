"""Which kinds of films a film is like: the distance to each of them, and how far films of that kind lie.

    likeness = Likeness.fit(values, classes, ("intact", "mirrored", "blurred"))
    likeness.of(values)[:, 0] <= likeness.limits[0]         # [N]: like films as they should be

A reason that a film is not like is no reason: a photograph that looks most like a film turned by 90 degrees, and is far
from those too, was not turned. The kinds share one covariance, as in linear discriminant analysis: principal components
and noise around them (Tipping and Bishop 1999, doi 10.1111/1467-9868.00196), so that what lies outside the components
counts, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from cxr_monai.gate.distance import clipped_deviations

LIKENESS_COMPONENTS = 128
"""Principal components at most; a quarter of the numbers, or of the films, where there are few."""
LIKE = 0.99
"""The share of the films of a kind that lie within its limit."""


@dataclass(frozen=True, eq=False)
class Likeness:
    """Fitted distances of D numbers to C kinds of films.

    Attributes:
        classes: C names; the first is that of films as they should be.
        mean, scale: float32 ``[D]``, taken from the numbers and divided by.
        components: float32 ``[D, K]``.
        variances: float32 ``[K]``, along the components.
        noise: float32 ``[1]``, the variance along every other direction.
        centres: float32 ``[C, D]``, of the kinds.
        limits: float32 ``[C]``: the distance within which 99 % of the films of a kind lie.
    """

    classes: tuple[str, ...]
    mean: np.ndarray
    scale: np.ndarray
    components: np.ndarray
    variances: np.ndarray
    noise: np.ndarray
    centres: np.ndarray
    limits: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray, classes: np.ndarray, names: Sequence[str]) -> tuple["Likeness", float]:
        """Fit the distances on films; the limits on those that lie outside the half of the films that fitted them.

        Args:
            values: ``[N, D]``; the films of each kind in the same order.
            classes: integers ``[N]`` in [0, C): the kind of each film; each occurs twice at least.
            names: of the C kinds.

        Returns:
            the distances, and that to the nearest kind within which 99 % of all films lie.
        """
        values, kinds = np.asarray(values, dtype=np.float32), range(len(names))
        half, distances = np.empty(len(values), dtype=int), np.empty((len(values), len(names)))
        for kind in kinds:
            half[classes == kind] = np.arange((classes == kind).sum()) % 2
        for part in (0, 1):
            fitted = cls._of_films(values[half != part], classes[half != part], names)
            distances[half == part] = fitted.of(values[half == part])
        limits = [np.quantile(distances[classes == kind, kind], LIKE) for kind in kinds]
        likeness = replace(cls._of_films(values, classes, names), limits=np.array(limits, dtype=np.float32))
        return likeness, float(np.quantile(distances.min(1), LIKE))

    @classmethod
    def _of_films(cls, values: np.ndarray, classes: np.ndarray, names: Sequence[str]) -> "Likeness":
        mean, scale = values.mean(0), np.maximum(values.std(0), 1e-3)
        standardised = clipped_deviations(values, mean, scale)
        centres = np.stack([standardised[classes == kind].mean(0) for kind in range(len(names))])
        within = standardised - centres[classes]
        variances, vectors = np.linalg.eigh((within.T @ within / len(within)).astype(np.float64))
        kept = max(1, min(LIKENESS_COMPONENTS, len(values) // 4, values.shape[1] // 4))
        noise = max(float(variances[:-kept].mean()), 1e-6)
        directions, along = vectors[:, ::-1][:, :kept], np.maximum(variances[::-1][:kept], noise)
        numbers = (mean, scale, directions, along, np.array([noise]), centres, np.ones(len(names)))
        return cls(tuple(names), *(array.astype(np.float32) for array in numbers))

    def of(self, values: np.ndarray) -> np.ndarray:
        """Return the distance of films to each kind, float ``[N, C]``, of numbers ``[N, D]``."""
        standardised = clipped_deviations(values, self.mean, self.scale)
        projected, centres = standardised @ self.components, self.centres @ self.components
        weights = 1 / self.variances - 1 / self.noise  # of what lies along the components, beyond the noise's
        squares = _squares(projected, centres, weights) + _squares(standardised, self.centres, 1 / self.noise)
        return np.sqrt(np.maximum(squares, 0))

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the parameters by name."""
        return {name: value for name, value in asdict(self).items() if name != "classes"}

    @classmethod
    def from_tensors(cls, classes: Sequence[str], tensors: Mapping[str, np.ndarray]) -> "Likeness":
        """Return the distances of :meth:`tensors`.

        Args:
            classes: the names.
            tensors: the parameters.

        Raises:
            ValueError: if shapes do not fit each other.
        """
        likeness = cls(tuple(classes), **tensors)
        size, kept = likeness.components.shape
        shapes = {
            "mean": (size,), "scale": (size,), "variances": (kept,), "noise": (1,), "centres": (len(classes), size),
            "limits": (len(classes),),
        }  # fmt: skip
        if any(getattr(likeness, name).shape != shape for name, shape in shapes.items()):
            raise ValueError("distances to kinds of films whose numbers do not fit each other")
        if not all((getattr(likeness, name) > 0).all() for name in ("scale", "variances", "noise")):
            raise ValueError("a distance to kinds of films with a scale that is not positive")
        return likeness


def _squares(values: np.ndarray, centres: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the sums of weighted squared differences ``[N, C]`` of ``[N, D]`` and ``[C, D]``."""
    weighted = (values**2 * weights).sum(1)[:, None] - 2 * (values * weights) @ centres.T
    return weighted + (centres**2 * weights).sum(1)
