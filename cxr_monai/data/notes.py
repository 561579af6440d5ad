"""Notes on the images that were read: each kind of note once, with its count and examples.

notes = FilmNotes()
notes.add("b.dcm", ["a lateral view: models here learn from frontal ones"])
notes.lines(120)        # ['1 of 120 images (b.dcm): a lateral view: models here learn from frontal ones']
"""

from collections.abc import Iterable, Mapping
from typing import Any

from cxr_monai.plurals import out_of

__all__ = ["FilmNotes"]

EXAMPLES = 3
"""Images that are remembered of each kind."""


class FilmNotes:
    """How many images have each note, and the first few of them."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, image: str, notes: Iterable[str]) -> None:
        """Add the notes on one image (``provenance["notes"]``).

        Args:
            image: its name.
            notes: sentences.
        """
        for note in dict.fromkeys(notes):
            self._add(note, 1, [image])

    def add_all(self, content: Mapping[str, Any]) -> None:
        """Add the notes on other images.

        Args:
            content: of :meth:`to_json`.
        """
        for note, (count, examples) in content.items():
            self._add(note, count, examples)

    def _add(self, note: str, count: int, examples: Iterable[str]) -> None:
        self._counts[note] = self._counts.get(note, 0) + count
        self._examples[note] = [*self._examples.get(note, []), *examples][:EXAMPLES]

    def counts(self) -> dict[str, int]:
        """Return how many images have each note, the most frequent first; no names."""
        return dict(sorted(self._counts.items(), key=lambda item: (-item[1], item[0])))

    def to_json(self) -> dict[str, Any]:
        """Return counts and examples, for :meth:`add_all`."""
        return {note: [count, self._examples[note]] for note, count in self._counts.items()}

    def lines(self, images: int, examples: int = 1) -> list[str]:
        """Return a sentence for each kind of note, without its full stop, the most frequent first.

        Args:
            images: how many were read.
            examples: how many images are named of each.
        """
        lines = []
        for note, count in self.counts().items():
            names = ", ".join(self._examples[note][:examples])
            such = "such as " if count > min(examples, len(self._examples[note])) else ""
            lines.append(f"{out_of(count, images, 'image')} ({such}{names}): {note}")
        return lines
