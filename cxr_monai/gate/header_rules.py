"""What a film's header says against it: a lateral view, another view than intended, a child, raw detector data.

    answer = judge_header(header, intended)                 # ACCEPTED where the header does not contradict

By the header alone, which is often right about what pixels show and sometimes empty: an empty one accepts.
"""

from cxr_monai.bundle.intended_films import IntendedFilms
from cxr_monai.data.film_header import FilmHeader
from cxr_monai.data.views import LATERAL, known_view
from cxr_monai.errors import Code
from cxr_monai.gate.answer import ACCEPTED, Answer, GateVerdict


def judge_header(header: FilmHeader | None, intended: IntendedFilms) -> Answer:
    """Return the answer about a film by its header.

    Args:
        header: None for a file without one.
        intended: the films that the bundle is meant for.
    """
    if header is None:
        return ACCEPTED
    if header.is_lateral and LATERAL not in intended.views:
        return Answer(
            GateVerdict.REFUSE,
            Code.GATE_LATERAL,
            "view",
            header.view or "lateral",
            ", ".join(intended.views),
            "The film is a lateral view; this network was made for frontal ones.",
        )
    if (view := known_view(header.view)) and view not in intended.views:
        return Answer(
            GateVerdict.REFUSE,
            Code.GATE_VIEW,
            "view",
            view,
            ", ".join(intended.views),
            f"The film is of a view, {view}, that this network was not made for.",
        )
    if header.age is not None and not intended.covers_age(header.age):
        limits = [f"{intended.minimum_age:g}" if intended.minimum_age is not None else "0"]
        limits += [f"{intended.maximum_age:g}"] if intended.maximum_age is not None else []
        return Answer(
            GateVerdict.REFUSE,
            Code.GATE_CHILD if intended.minimum_age and header.age < intended.minimum_age else Code.GATE_VIEW,
            "age",
            f"{header.age:g} years",
            f"{' to '.join(limits)} years" if len(limits) == 2 else f"{limits[0]} years and over",
            "The patient is of an age that this network was not made for.",
        )
    return ACCEPTED
