"""One remark of an inspection: an item of a bundle, its location, and the verdict on it."""

from dataclasses import dataclass
from enum import StrEnum

LONGEST_REMARK = 160


class Verdict(StrEnum):
    """Verdict on one item of a bundle, from harmless to refused."""

    ALLOWED = "allowed"
    """Known, and neither writes files nor opens connections."""
    ATTENTION = "attention"
    """Known, and does something that a reader should know of, such as writing its results."""
    REFUSED = "refused"
    """Unknown, or known to be able to run code, to load programs or to leave the bundle."""


@dataclass(frozen=True)
class Remark:
    """Something in a bundle that would be executed, read, or that is data with a known danger.

    Attributes:
        file: its name within the bundle, ``/`` between folders; like ``where`` and ``text`` it comes from the bundle,
            and so is shortened, on one line, without characters that move a terminal's cursor.
        where: the id within a configuration (``train#trainer#_target_``), or a place in a file; empty for all of it.
        kind: ``callable``, ``argument``, ``expression``, ``import``, ``reference``, ``address``, ``file``, ``weights``,
            ``json``.
        text: the item itself.
        verdict: on it.
        reason: one sentence.
    """

    file: str
    where: str
    kind: str
    text: str
    verdict: Verdict
    reason: str

    def __post_init__(self) -> None:
        for name in ("file", "where", "text", "reason"):
            limit = 4 * LONGEST_REMARK if name == "reason" else LONGEST_REMARK
            object.__setattr__(self, name, shortened(getattr(self, name), limit))


def shortened(text: object, longest: int = LONGEST_REMARK) -> str:
    """Return a text on one line, without characters that move a terminal's cursor.

    Args:
        text: any object, shown as ``str`` does.
        longest: characters of the result; a longer one ends in ``…``.

    >>> shortened("a\\nb" + 200 * "c", 8)
    'a\\\\x0abc…'
    """
    shown = str(text)[: longest + 1]
    shown = "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in shown)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"
