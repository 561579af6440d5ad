"""What a file says of its film besides the pixels: the facts of a DICOM header by which a network may judge it or not.

    radiograph.header                                    # of a Radiograph; None for PNG and others without a header
    header.view, header.age, header.taken_on             # "AP", 63.0, "2026-11-23T09:14:05"

Nothing that names a person is among them. A manifest's ``view`` and ``age`` are facts of its films, too, also of PNG
files; the header's count where both say something::

    FilmHeader(age=63.0).completed(FilmFacts("AP", 64.0))       # view AP, age 63
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from cxr_monai.data.views import LATERAL, view_name

if TYPE_CHECKING:
    import pandas as pd


class FilmFacts(NamedTuple):
    """What a manifest says of a film; empty or None where it does not say.

    Attributes:
        view: as ``cxr_monai.data.views.view_name`` spells it, or a word of the hospital's own.
        age: in years.
    """

    view: str = ""
    age: float | None = None


NO_FACTS = FilmFacts()


def facts_of_films(table: "pd.DataFrame") -> Sequence[FilmFacts]:
    """Return what a manifest says of each of its films.

    Args:
        table: with the columns ``view`` (text) and ``age`` (years, NaN unknown).

    >>> import pandas as pd
    >>> facts_of_films(pd.DataFrame({"view": ["PA", ""], "age": [float("nan"), 4.0]}))
    [FilmFacts(view='PA', age=None), FilmFacts(view='', age=4.0)]
    """
    rows = zip(table["view"], table["age"], strict=True)
    return [FilmFacts(view_name(view), age if age == age else None) for view, age in rows]  # NaN differs from itself


@dataclass(frozen=True)
class FilmHeader:
    """Facts of a header; empty or None where it does not say.

    Attributes:
        modality: such as ``DX``.
        body_part: Body Part Examined, in capitals.
        view: in capitals (`cxr_monai.data.formats.dicom_subject.view_of`), ``LATERAL`` where only another attribute
            says so.
        is_lateral: by the view, the series' description or the patient's orientation.
        age: in years.
        intent: Presentation Intent Type.
        has_burned_in_annotation: None where the header does not say.
        field_of_view: (rows, columns) in mm.
        manufacturer, model: of the device.
        taken_on: date and time of the acquisition, ISO 8601; empty where unknown.
    """

    modality: str = ""
    body_part: str = ""
    view: str = ""
    is_lateral: bool = False
    age: float | None = None
    intent: str = ""
    has_burned_in_annotation: bool | None = None
    field_of_view: tuple[float, float] | None = None
    manufacturer: str = ""
    model: str = ""
    taken_on: str = ""

    def completed(self, facts: FilmFacts) -> "FilmHeader":
        """Return the header with a manifest's facts where it says nothing itself.

        Args:
            facts: of the same film.

        >>> FilmHeader(age=63.0).completed(FilmFacts("LATERAL", 64.0)).is_lateral
        True
        """
        view = self.view or facts.view
        is_lateral = self.is_lateral or (not self.view and view == LATERAL)
        return replace(self, view=view, is_lateral=is_lateral, age=facts.age if self.age is None else self.age)

    def to_text(self) -> str:
        """Return the facts as one line of JSON, which a batch of films can hold."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "FilmHeader | None":
        """Return the facts of :meth:`to_text`; None of an empty text."""
        if not text:
            return None
        content: dict[str, Any] = json.loads(text)
        field_of_view = content.pop("field_of_view")
        return cls(**content, field_of_view=None if field_of_view is None else tuple(field_of_view))
