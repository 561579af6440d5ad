"""The gate's answer about one film: accept, review or refuse, with a stable code and a sentence for a physician."""

from dataclasses import dataclass
from enum import StrEnum

from cxr_monai.errors import Code, SettingError


class GateVerdict(StrEnum):
    """What the gate says of a film."""

    ACCEPT = "accept"
    """Like the films that the network was trained on, as far as the gate sees."""
    REVIEW = "review"
    """Predicted, but a person should look at the film first."""
    REFUSE = "refuse"
    """Not predicted: not a film for this network, or not in this state."""


class GateMode(StrEnum):
    """What is done with the answers: ``--gate``."""

    REFUSE = "refuse"
    """Refused films are left out, with their reason."""
    REVIEW = "review"
    """Nothing is left out: what would be refused is marked for review."""
    OFF = "off"
    """No film is judged."""


def parse_gate_mode(mode: str) -> GateMode:
    """Return a mode by its name.

    Raises:
        SettingError: ``setting-invalid`` for another.
    """
    if mode not in list(GateMode):
        raise SettingError(Code.SETTING_INVALID, f"--gate {mode!r}: it is one of {', '.join(GateMode)}.")
    return GateMode(mode)


@dataclass(frozen=True)
class Answer:
    """The gate's answer about one film.

    Attributes:
        verdict: accept, review or refuse.
        code: such as ``gate-lateral``; None for an accepted film.
        evidence: the column of the evidence that decided; empty for an accepted film.
        value, expected: of that evidence, in words: what it is, and what it should be.
        sentence: for a physician, in plain words.
        mend: what would make it a film as it should be, of :data:`cxr_monai.gate.mending.MENDS`; empty where nothing
            would.
        alteration: what was done to it, the name of one of `cxr_monai.gate.alterations`; empty where nothing was.
    """

    verdict: GateVerdict
    code: Code | None = None
    evidence: str = ""
    value: str = ""
    expected: str = ""
    sentence: str = ""
    mend: tuple[str, ...] = ()
    alteration: str = ""

    @property
    def reason(self) -> str:
        """The sentence with the value, what was expected and what would undo it, for lists of errors."""
        detail = f" ({self.evidence}: {self.value}; expected {self.expected})" if self.evidence else ""
        offer = f" --mend {','.join(self.mend)} would undo it." if self.mend else ""
        return f"{self.sentence.rstrip('.')}{detail}.{offer}"


ACCEPTED = Answer(GateVerdict.ACCEPT)
