"""What a model says of one film, as plain values: the input of every result object.

FilmResult(source, model, gate, findings, picture)     # of a film that was answered
FilmResult(source, model, gate, (), picture)           # of one that the gate refused: the reason, no probability
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from cxr_monai import __version__
from cxr_monai.errors import Code, SettingError
from cxr_monai.objects.result_uids import derived_uid, device_uid

if TYPE_CHECKING:
    from cxr_monai.objects.source_film import SourceFilm


class ResultKind(StrEnum):
    """The kinds of result objects, by the names of ``--dicom-objects``."""

    REPORT = "sr"
    """Comprehensive 3D SR, TID 1500: for machines."""
    PICTURE = "sc"
    """Secondary Capture: film, maps and words, for eyes."""
    CONTOURS = "gsps"
    """Grayscale Softcopy Presentation State: outlines on the film."""
    MAPS = "seg"
    """Segmentation, FRACTIONAL: the maps as values."""


DEFAULT_KINDS: tuple[ResultKind, ...] = (ResultKind.REPORT, ResultKind.PICTURE)


def parse_result_kinds(kinds: str | Sequence[str]) -> tuple[ResultKind, ...]:
    """Return kinds by their names, each once, in the order of :class:`ResultKind`.

    Args:
        kinds: names, or one text with commas between.

    Raises:
        SettingError: ``setting-invalid`` for another name, or none.

    >>> parse_result_kinds("sc, sr")
    (<ResultKind.REPORT: 'sr'>, <ResultKind.PICTURE: 'sc'>)
    """
    names = [name.strip() for name in kinds.split(",") if name.strip()] if isinstance(kinds, str) else list(kinds)
    unknown = [name for name in names if name not in list(ResultKind)]
    if unknown or not names:
        asked = repr(unknown[0]) if unknown else "none"
        raise SettingError(
            Code.SETTING_INVALID, f"kinds of DICOM objects are {', '.join(ResultKind)}; {asked} was asked for."
        )
    return tuple(kind for kind in ResultKind if kind in names)


WEIGHTS_SETTING = "weights="
"""Begins the setting of a model whose weights are not the bundle's own; their digest follows."""


@dataclass(frozen=True)
class ModelIdentity:
    """Which model answered.

    Attributes:
        name, version: of the bundle.
        digest: SHA-256 of the bundle's contents, 64 hexadecimal digits.
        rule: of the operating points, such as ``youden``; empty without any.
        settings: what else decides its answers, such as ``raw`` or the digest of other weights; empty as it comes.
        library: version of cxr-monai.
    """

    name: str
    version: str
    digest: str
    rule: str = ""
    settings: tuple[str, ...] = ()
    library: str = __version__

    @property
    def device_uid(self) -> str:
        """The Device UID: another one for another bundle, and for a bundle with other weights."""
        return device_uid(self.digest, *(part for part in self.settings if part.startswith(WEIGHTS_SETTING)))


@dataclass(frozen=True)
class GateResult:
    """The gate's answer about a film.

    Attributes:
        verdict: ``accept``, ``review`` or ``refuse``; empty where no film is judged.
        code: such as ``gate-lateral``; empty for an accepted film.
        sentence: why, for a physician; where no film is judged, why not; empty for an accepted film.
        evidence: what decided, its value and what was expected, in words; empty without.
        mode: ``refuse``, ``review`` or ``off``: what is done with a refused film.
    """

    verdict: str = ""
    code: str = ""
    sentence: str = ""
    evidence: str = ""
    mode: str = "off"


@dataclass(frozen=True, eq=False)
class FindingResult:
    """The answer about one finding.

    Attributes:
        finding: its name, one of NIH's 14 or a site's own.
        probability: in [0, 1].
        threshold: of the operating point, on the same scale; None where there is none.
        is_calibrated: whether the probability may be read as a frequency.
        class_map: float32 ``[h, w]``, at least 0, over the whole extent of the film (0 outside of what the network
            saw); None where no map was made, and all 0 where nothing speaks for the finding.
    """

    finding: str
    probability: float
    threshold: float | None = None
    is_calibrated: bool = False
    class_map: np.ndarray | None = None

    @property
    def is_reached(self) -> bool | None:
        """Whether the probability is at or over the operating point; None without one."""
        return None if self.threshold is None else self.probability >= self.threshold

    @property
    def has_map(self) -> bool:
        """Whether there is anything to draw: a map was made, and it is not 0 everywhere."""
        return self.class_map is not None and bool(self.class_map.max(initial=0) > 0)


@dataclass(frozen=True, eq=False)
class FilmResult:
    """The answer about one film.

    Attributes:
        source: the film that was received.
        model: that answered.
        gate: its gate's answer.
        findings: in the order of the model's labels; none of a film that was refused.
        picture: uint8 ``[h, w]``, 255 is white (bone): the whole film, for eyes; any resolution. Empty where no kind
            that is asked for shows it.
        remarks: sentences on what is odd about the film.
        no_maps: why no finding has a map, as a sentence; empty where maps were asked for and can be made.
    """

    source: "SourceFilm"
    model: ModelIdentity
    gate: GateResult
    findings: Sequence[FindingResult]
    picture: np.ndarray
    remarks: Sequence[str] = field(default_factory=tuple)
    no_maps: str = ""

    @property
    def is_refused(self) -> bool:
        """Whether the film has no probabilities, since the gate refused it."""
        return not self.findings

    @property
    def reached(self) -> list[FindingResult]:
        """The findings at or over their operating points."""
        return [finding for finding in self.findings if finding.is_reached]

    @property
    def mapped(self) -> list[FindingResult]:
        """Those of them that have a map."""
        return [finding for finding in self.reached if finding.has_map]

    @property
    def settings(self) -> tuple[str, ...]:
        """What else decides an answer of the same film by the same bundle: rule, mode of the gate, the model's own."""
        return (self.model.rule, self.gate.mode, *self.model.settings)

    def uid_of(self, kind: ResultKind) -> str:
        """Return the SOP Instance UID of the object of a kind; the same for the same bytes, bundle and settings."""
        return derived_uid("object", self.source.digest, self.model.digest, str(kind), *self.settings)


@dataclass(frozen=True)
class ResultObject:
    """A DICOM object.

    Attributes:
        kind: of :class:`ResultKind`.
        uid: SOP Instance UID; the same for the same received bytes, bundle, settings and kind.
        sop_class: SOP Class UID.
        content: the file (PS3.10), explicit little endian unless its pixels are compressed.
    """

    kind: ResultKind
    uid: str
    sop_class: str
    content: bytes
