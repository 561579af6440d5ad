"""A linear classifier of films: discriminant analysis with a shrunk covariance, fitted in closed form.

head = LinearHead.fit(values, classes, ("intact", "mirrored"))
head.log_odds(values)                       # [N, K], up to a constant a film: how well each class fits

Linear discriminant analysis for classes of equal frequency; the covariance within classes, which they share, is shrunk
as Ledoit and Wolf do (2004, doi 10.1016/S0047-259X(03)00096-4), by scikit-learn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from sklearn.covariance import ledoit_wolf


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A fitted classifier of D numbers.

    Attributes:
        classes: K names; the first is that of films as they should be.
        weights: float32 ``[K, D]``.
        intercepts: float32 ``[K]``.
    """

    classes: tuple[str, ...]
    weights: np.ndarray
    intercepts: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray, classes: np.ndarray, names: Sequence[str]) -> "LinearHead":
        """Fit a classifier on films.

        Args:
            values: ``[N, D]``.
            classes: integers ``[N]`` in [0, K): the class of each film; each occurs.
            names: of the K classes.
        """
        values = np.asarray(values, dtype=np.float32)
        mean, scale = values.mean(0), np.maximum(values.std(0), 1e-3)
        standardised = (values - mean) / scale
        centres = np.stack([standardised[classes == position].mean(0) for position in range(len(names))])
        covariance, _ = ledoit_wolf(standardised - centres[classes], assume_centered=True)
        weights = np.linalg.solve(covariance, centres.T).T
        intercepts = -(weights * centres).sum(1) / 2
        weights = weights / scale
        return cls(tuple(names), weights.astype(np.float32), (intercepts - weights @ mean).astype(np.float32))

    def log_odds(self, values: np.ndarray) -> np.ndarray:
        """Return how well each class fits films, ``[N, K]``: log likelihoods up to a constant a film.

        Args:
            values: ``[N, D]``.
        """
        return values @ self.weights.T + self.intercepts

    def against_first(self, values: np.ndarray) -> np.ndarray:
        """Return the log-odds of any other class against the first, ``[N]``.

        Args:
            values: ``[N, D]``.
        """
        scores = self.log_odds(values)
        return logsumexp(scores[:, 1:], axis=1) - scores[:, 0]

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the parameters by name."""
        return {"weights": self.weights, "intercepts": self.intercepts}

    @classmethod
    def from_tensors(cls, classes: Sequence[str], tensors: Mapping[str, np.ndarray]) -> "LinearHead":
        """Return the classifier of :meth:`tensors`.

        Args:
            classes: the names.
            tensors: the parameters.

        Raises:
            ValueError: if shapes do not fit each other.
        """
        head = cls(tuple(classes), **tensors)
        if head.weights.ndim != 2 or len(head.weights) != len(classes) or head.intercepts.shape != (len(classes),):
            raise ValueError("a classifier whose weights do not fit its classes")
        return head
