"""What a spool takes and gives: a film taken up, an answer, its record, a delivery, the state of a part of the node."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxr_monai.objects import ResultObject


@dataclass(frozen=True)
class SpooledFilm:
    """A film that was taken up.

    Attributes:
        digest: of its bytes; names it everywhere.
        path: of the file.
        attempts: at it, this one included.
    """

    digest: str
    path: Path
    attempts: int


@dataclass(frozen=True)
class FilmAnswer:
    """What the analyser says of a film.

    Attributes:
        state: ``answered``, ``refused`` or ``failed``.
        code, reason: of those that are not answered.
        probabilities: by finding; None without any.
        evidence: the gate's, by column; None without a gate.
        remarks: what is odd about the film.
        objects: to send.
    """

    state: str
    code: str = ""
    reason: str = ""
    probabilities: Mapping[str, float] | None = None
    evidence: Mapping[str, Any] | None = None
    remarks: str = ""
    objects: Sequence[ResultObject] = field(default_factory=tuple)


@dataclass(frozen=True)
class FilmRecord:
    """What is kept of a film's answer, for evaluation and drift.

    Attributes:
        digest: of the film.
        state: ``answered``, ``refused`` or ``failed``.
        code, reason: of those that are not answered.
        probabilities, evidence: as of :class:`FilmAnswer`.
        remarks: what is odd about the film, one a line.
        received_at: seconds since 1970.
    """

    digest: str
    state: str
    code: str
    reason: str
    probabilities: Mapping[str, float] | None
    evidence: Mapping[str, Any] | None
    remarks: str
    received_at: float


@dataclass(frozen=True)
class PartState:
    """How a part of the node is.

    Attributes:
        name, state, code, text: as of :meth:`Spool.note_part`.
        since: when it became so, seconds since 1970.
    """

    name: str
    state: str
    code: str
    text: str
    since: float


@dataclass(frozen=True)
class Delivery:
    """A result object that waits for a destination.

    Attributes:
        uid, sop_class: of the object.
        path: of its file.
        attempts: so far; each of the destination counts, too.
        film: digest of the film that it is about.
        content_digest: SHA-256 of the file as it was built; empty if an older version built it.
    """

    uid: str
    sop_class: str
    path: Path
    attempts: int
    film: str = ""
    content_digest: str = ""
