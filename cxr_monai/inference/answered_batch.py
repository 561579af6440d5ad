"""A batch of films with everything that one pass through the network says of them: what predictions are made of.

for answered in model.answer_batches(films, names):
    answered.batch.names, answered.kept, answered.probabilities, answered.answers
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cxr_monai.gate.bundle_gate import FilmAnswers
from cxr_monai.inference.reading import FilmBatch


@dataclass(frozen=True, eq=False)
class AnsweredBatch:
    """The answers about some films.

    Attributes:
        batch: the B films, as the network took them.
        films: their files or items, B of them.
        kept: the positions of the K films that have probabilities, in their order.
        probabilities: of those, float32 ``[K, F]`` in [0, 1].
        answers: the gate's, about the readable films; None where none is judged.
        mended: what was undone of a film before it was predicted, by its position; the batch's image of such a film is
            the one before.
    """

    batch: FilmBatch
    films: Sequence[Any]
    kept: Sequence[int]
    probabilities: np.ndarray
    answers: FilmAnswers | None = None
    mended: Mapping[int, str] = field(default_factory=dict)

    @property
    def errors(self) -> list[tuple[str, str, str]]:
        """Name, stable code and reason of the films without probabilities: unreadable ones, then refused ones."""
        return [*self.batch.errors, *([] if self.answers is None else self.answers.errors())]
