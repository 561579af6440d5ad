"""What a film's header says against it: a lateral view, another view or age than intended, another kind of picture.

    answer = judge_header(header, intended)                 # ACCEPTED where the header does not contradict

By the header alone, which is often right about what pixels show and sometimes empty: an empty one accepts. Who is not
meant is refused (views, ages). What speaks against the film, and may as well be a fault of the header, is for a person
to look at: raw detector data, another modality or part of the body (which were read because the user said
``--any-modality``), a field of view that no chest has, a device that the bundle does not name. Burned-in text decides
nothing, for it is a matter of privacy: it stands in the evidence.
"""

from collections.abc import Iterator

from cxr_monai.bundle.intended_films import MINIMUM_AGE, IntendedFilms
from cxr_monai.data.film_header import FilmHeader
from cxr_monai.data.formats.dicom_subject import other_part
from cxr_monai.data.views import AP, LATERAL, PA, known_view
from cxr_monai.errors import Code
from cxr_monai.gate.answer import ACCEPTED, Answer, GateVerdict

FIELD_OF_VIEW = (200.0, 500.0)
"""Millimetres of a side of a chest radiograph: detectors have 43 cm at most, and collimation leaves the lungs."""
_FAR = 1.5
"""A side is far from that by this factor. RSNA's adult films have the spacing of larger originals: 14 to 20 cm."""
_CHILDREN = 80.0
"""Millimetres of the smallest side where children under `MINIMUM_AGE` are meant, too."""

# words of View Position (PS3.3 C.8.1.1, CID 4010) for views that are neither frontal nor lateral
_OTHER_VIEWS = {
    **dict.fromkeys(("RLO", "LLO", "RAO", "LAO", "RPO", "LPO", "OBLIQUE", "OBL"), "oblique"),
    **dict.fromkeys(("RLD", "LLD", "DECUB", "DECUBITUS"), "decubitus"),
}


def judge_header(header: FilmHeader | None, intended: IntendedFilms) -> Answer:
    """Return the answer about a film by its header: the first refusal, else the first that is to be reviewed.

    Args:
        header: None for a file without one.
        intended: the films that the bundle is meant for.
    """
    if header is None:
        return ACCEPTED
    return next(_answers(header, intended), ACCEPTED)


def _answers(header: FilmHeader, intended: IntendedFilms) -> Iterator[Answer]:
    """Yield what speaks against a film, refusals first."""
    yield from _by_view(header, intended)
    yield from _by_age(header, intended)
    yield from _by_kind(header, intended)
    yield from _by_field_of_view(header, intended)
    yield from _by_device(header, intended)


def _by_view(header: FilmHeader, intended: IntendedFilms) -> Iterator[Answer]:
    expected = ", ".join(intended.views)
    if header.is_lateral:
        if LATERAL not in intended.views:
            sentence = "The film is a lateral view; this network was made for frontal ones."
            view = header.view or LATERAL
            yield Answer(GateVerdict.REFUSE, Code.GATE_LATERAL, "view", view, expected, sentence)
        return
    words = header.view.split()
    other = next((_OTHER_VIEWS[word] for word in words if word in _OTHER_VIEWS), "")
    view = known_view(header.view) or next((word for word in words if word in (PA, AP)), "")
    if other:
        sentence = f"The film is a view, {other}, that this network was not made for."
        yield Answer(GateVerdict.REFUSE, Code.GATE_VIEW, "view", header.view, expected, sentence)
    elif view and view not in intended.views:
        sentence = f"The film is a view, {view}, that this network was not made for."
        yield Answer(GateVerdict.REFUSE, Code.GATE_VIEW, "view", view, expected, sentence)


def _by_age(header: FilmHeader, intended: IntendedFilms) -> Iterator[Answer]:
    if header.age is None or intended.covers_age(header.age):
        return
    is_younger = intended.minimum_age is not None and header.age < intended.minimum_age
    code, word = (Code.GATE_CHILD, "younger") if is_younger else (Code.GATE_VIEW, "older")
    sentence = f"The patient is {word} than those whom this network was made for."
    value = f"{header.age:g} {'year' if header.age == 1 else 'years'}"
    yield Answer(GateVerdict.REFUSE, code, "age", value, intended.ages_in_words(), sentence)


def _by_kind(header: FilmHeader, intended: IntendedFilms) -> Iterator[Answer]:
    """Yield what speaks against a film that was read because the user wanted any modality."""
    if header.intent == "FOR PROCESSING":
        sentence = "The header says that these are raw data of the detector, not the picture that a reader sees."
        yield _to_review("intent", "FOR PROCESSING", "FOR PRESENTATION", sentence)
    if header.modality and header.modality not in intended.modalities:
        sentence = "The header says that the picture is no radiograph: another kind of device took it."
        yield _to_review("modality", header.modality, ", ".join(intended.modalities), sentence)
    if part := other_part(header.body_part):
        sentence = "The header says that the film is of another part of the body."
        yield _to_review("body_part", part, "a chest", sentence)


def _by_field_of_view(header: FilmHeader, intended: IntendedFilms) -> Iterator[Answer]:
    if header.field_of_view is None:
        return
    smallest, largest = FIELD_OF_VIEW
    if intended.minimum_age is None or intended.minimum_age < MINIMUM_AGE:
        smallest = _CHILDREN
    rows, columns = header.field_of_view
    value, expected = f"{rows / 10:.0f} x {columns / 10:.0f} cm", f"{smallest / 10:.0f} to {largest / 10:.0f} cm a side"
    name = "rows_mm" if rows < columns else "columns_mm"
    if min(rows, columns) < smallest / _FAR:
        sentence = "By its header the film is too small for a chest: it shows a part, or its pixel spacing is wrong."
        yield Answer(GateVerdict.REVIEW, Code.GATE_CROPPED, name, value, expected, sentence)
    elif max(rows, columns) > largest * _FAR:
        sentence = "By its header the film is too large for a chest: it shows more, or its pixel spacing is wrong."
        name = "rows_mm" if rows > columns else "columns_mm"
        yield Answer(GateVerdict.REVIEW, Code.GATE_UNLIKE_TRAINING, name, value, expected, sentence)


def _by_device(header: FilmHeader, intended: IntendedFilms) -> Iterator[Answer]:
    names = [name for name in (header.manufacturer, header.model) if name]
    known = [device.casefold() for device in intended.devices]
    if known and names and not any(name.casefold() in known for name in names):
        sentence = "The film is of a device that this network was not tested with."
        yield _to_review("manufacturer", " ".join(names), ", ".join(intended.devices), sentence)


def _to_review(evidence: str, value: str, expected: str, sentence: str) -> Answer:
    return Answer(GateVerdict.REVIEW, Code.GATE_HEADER, evidence, value, expected, sentence)
