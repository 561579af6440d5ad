"""Films that came before: within a prediction, or in a training's index.

films = DuplicateFilms()
films.of("b.png", digest, looks).name               # "a.png", if that was the same film
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cxr_monai.errors import Code
from cxr_monai.gate.answer import ACCEPTED, Answer, GateVerdict
from cxr_monai.gate.duplicates import MOST_DIFFERING


@dataclass(frozen=True)
class Duplicate:
    """The film that came before, and the answer; an empty name and acceptance where none did."""

    name: str = ""
    answer: Answer = ACCEPTED


@dataclass
class DuplicateFilms:
    """The films seen so far.

    Attributes:
        training: pixel digest to picture hash of the training's films, of a local index; empty without one.
    """

    training: Mapping[str, str] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    _hashes: list[bytes] = field(default_factory=list)
    _hashed: list[str] = field(default_factory=list)

    def of(self, name: str, digest: str, looks: str) -> Duplicate:
        """Return the film that came before this one, and remember this one.

        Args:
            name: of the film.
            digest, looks: its `pixel_digest` and `picture_hash`.
        """
        earlier, exact = self._names.get(digest, ""), True
        if not earlier:
            earlier, exact = self._alike(looks), False
        self.remember(name, digest, looks)
        if earlier and earlier != name:
            same = "the same pixels as" if exact else "looks like a copy of"
            return Duplicate(
                earlier, _answer(f"The film has {same} {earlier}." if exact else f"The film {same} {earlier}.")
            )
        if digest in self.training:
            return Duplicate("a training film", _answer("The network was trained on this film."))
        return Duplicate()

    def remember(self, name: str, digest: str, looks: str) -> None:
        """Remember a film."""
        self._names.setdefault(digest, name)
        self._hashes.append(bytes.fromhex(looks))
        self._hashed.append(name)

    def _alike(self, looks: str) -> str:
        if not self._hashes:
            return ""
        table = np.frombuffer(b"".join(self._hashes), dtype=np.uint8).reshape(len(self._hashes), -1)
        differing = np.bitwise_count(table ^ np.frombuffer(bytes.fromhex(looks), dtype=np.uint8)).sum(1)
        nearest = int(differing.argmin())
        return self._hashed[nearest] if differing[nearest] <= MOST_DIFFERING else ""


def _answer(sentence: str) -> Answer:
    return Answer(GateVerdict.REVIEW, Code.GATE_DUPLICATE, sentence=sentence)
