"""What a file says of its film besides the pixels: the facts of a DICOM header by which a network may judge it or not.

    radiograph.header                                    # of a Radiograph; None for PNG and others without a header
    header.view, header.age, header.taken_on             # "AP", 63.0, "2026-11-23T09:14:05"

Nothing that names a person is among them.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any


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
