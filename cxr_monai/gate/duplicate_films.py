"""Films that came before: within a prediction, or in a training's index.

    films = DuplicateFilms()
    films.of("b.png", digest, looks).name               # "a.png", if that was the same film

The same pixels are noticed whenever they came before; a film that only looks like a copy, among the last ones: hashes
of different chests agree in so many bits (`cxr_monai.gate.duplicates`) that in a million films some would by chance.
"""

from dataclasses import dataclass

import numpy as np

from cxr_monai.errors import Code
from cxr_monai.gate.answer import ACCEPTED, Answer, GateVerdict
from cxr_monai.gate.duplicates import MOST_DIFFERING, differing_bits, hash_words
from cxr_monai.gate.training_index import NO_TRAINING, TrainingIndex

LAST_FILMS = 10_000
"""Among how many films, the last ones, a copy that is not the same pixel by pixel is looked for."""


@dataclass(frozen=True)
class Duplicate:
    """The film that came before, and the answer; an empty name and acceptance where none did."""

    name: str = ""
    answer: Answer = ACCEPTED


class DuplicateFilms:
    """The films of one prediction so far; about 130 bytes a film.

    Args:
        training: the films that the network was trained on; nothing is known of them by default.
    """

    def __init__(self, training: TrainingIndex = NO_TRAINING) -> None:
        self.training = training
        self._names: dict[int, str] = {}
        self._hashes = np.zeros((4, LAST_FILMS), dtype=np.uint64)
        self._hashed: list[str] = []
        self._next = 0

    def of(self, name: str, digest: str, looks: str) -> Duplicate:
        """Return the film that came before this one, and remember this one.

        Args:
            name: of the film.
            digest, looks: its `pixel_digest` and `picture_hash`.
        """
        trained_on = self.training.find(digest, looks)
        exact = self._names.get(int(digest, 16), "")
        earlier = exact or self._alike(looks)
        self.remember(name, digest, looks)
        if trained_on:
            return Duplicate(f"training: {trained_on}", _answer("The network was trained on this film."))
        if earlier and earlier != name:
            sentence = f"The film has the same pixels as {earlier}." if exact else f"The film looks like {earlier}."
            return Duplicate(earlier, _answer(sentence))
        return Duplicate()

    def remember(self, name: str, digest: str, looks: str) -> None:
        """Remember a film."""
        self._names.setdefault(int(digest, 16), name)
        self._hashes[:, self._next] = hash_words(looks)
        self._hashed[self._next : self._next + 1] = [name]
        self._next = (self._next + 1) % LAST_FILMS

    def _alike(self, looks: str) -> str:
        if not self._hashed:
            return ""
        differing = differing_bits(self._hashes[:, : len(self._hashed)], looks)
        nearest = int(differing.argmin())
        return self._hashed[nearest] if differing[nearest] <= MOST_DIFFERING else ""


def _answer(sentence: str) -> Answer:
    return Answer(GateVerdict.REVIEW, Code.GATE_DUPLICATE, sentence=sentence)
