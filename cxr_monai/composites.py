"""Composite labels: unions of findings that a data set names as one, and that are none of their members.

CheXpert's *Lung Lesion*, VinDr-CXR's *Nodule/Mass* and Google's *Nodule or mass* are "a mass or a nodule"; a film that
has one is not known to have a mass. So a manifest holds such a label under a name of its own, and a network of the 14
findings is judged on it by the probability that any member is present::

    COMPOSITES["Mass or Nodule"].members        # ("Mass", "Nodule")
    union_score(probabilities)                  # [N, M] of the members to [N]: 1 - (1 - p1)(1 - p2)...

That probability would be right only if the members were independent given the film, which they are not: it ranks films,
and has to be calibrated by itself. What a data set says about a composite tells about its members in one direction
alone: 0 makes each member 0, 1 makes none of them 1.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Composite:
    """A label that is the union of findings.

    Attributes:
        name: its column in a manifest.
        members: findings of `cxr_monai.labels.NIH14`, any of which makes it 1.
        meaning: whose label it is, for the sentence that states the rule.
    """

    name: str
    members: tuple[str, ...]
    meaning: str

    @property
    def rule(self) -> str:
        """How a network of the members is judged on it, as a sentence.

        >>> COMPOSITES["Mass or Nodule"].rule
        'Mass or Nodule is scored by 1 - (1 - Mass)(1 - Nodule): a ranking of films, not a calibrated probability.'
        """
        product = "".join(f"(1 - {member})" for member in self.members)
        return f"{self.name} is scored by 1 - {product}: a ranking of films, not a calibrated probability."


COMPOSITES: dict[str, Composite] = {
    composite.name: composite
    for composite in (
        Composite(
            "Mass or Nodule",
            ("Mass", "Nodule"),
            "CheXpert's and MIMIC-CXR's Lung Lesion, VinDr-CXR's Nodule/Mass, Google's Nodule or mass",
        ),
        Composite(
            "Lung Opacity",
            ("Atelectasis", "Infiltration", "Mass", "Nodule", "Pneumonia", "Consolidation", "Edema"),
            "CheXpert's, MIMIC-CXR's and VinDr-CXR's Lung Opacity, the parent of several findings",
        ),
        Composite(
            "Airspace Opacity",
            ("Atelectasis", "Infiltration", "Pneumonia", "Consolidation", "Edema"),
            "Google's Airspace opacity",
        ),
        Composite(
            "Pneumonia-like Opacity",
            ("Infiltration", "Pneumonia", "Consolidation"),
            "RSNA's Lung Opacity: an opacity that is suspicious for pneumonia",
        ),
    )
}
"""By their names; members in NIH's order."""


def union_score(probabilities: np.ndarray) -> np.ndarray:
    """Return the score of "any of them is present": 1 less the product of the complements.

    Args:
        probabilities: float ``[..., M]`` in [0, 1]; NaN stays NaN.

    Returns:
        float64 ``[...]`` in [0, 1].

    >>> union_score(np.array([[0.5, 0.5], [0.0, 0.2]])).round(2).tolist()
    [0.75, 0.2]
    """
    return 1 - np.prod(1 - np.asarray(probabilities, dtype=float), axis=-1)
