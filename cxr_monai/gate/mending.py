"""Undoing what was done to a film, where a user says so: ``--mend rotation,inversion``.

    if can_mend(answer, ("rotation", "inversion")):
        upright = undo_alteration(pixels, answer.alteration)

Nothing is turned or inverted silently. Mirroring is never undone: a heart on the right side may be the patient's.
"""

from collections.abc import Sequence

import numpy as np

from cxr_monai.errors import Code, SettingError
from cxr_monai.gate.alterations import GEOMETRY
from cxr_monai.gate.answer import Answer, GateVerdict

MENDS = ("rotation", "inversion")
"""What can be undone."""
_UNDO = {alteration.name: alteration.undo for alteration in GEOMETRY if alteration.undo is not None}


def parse_mends(mends: str | Sequence[str]) -> tuple[str, ...]:
    """Return what shall be undone, in the order of :data:`MENDS`.

    Args:
        mends: names, or one text with commas between; empty for nothing.

    Raises:
        SettingError: ``setting-invalid`` for another name.

    >>> parse_mends("inversion,rotation")
    ('rotation', 'inversion')
    """
    names = [name.strip() for name in mends.split(",") if name.strip()] if isinstance(mends, str) else list(mends)
    unknown = [name for name in names if name not in MENDS]
    if unknown:
        raise SettingError(
            Code.SETTING_INVALID,
            f"--mend {unknown[0]!r}: what can be undone is {' and '.join(MENDS)}.",
            fix="A mirrored film is left to a person: the heart may lie on the right."
            if unknown[0] == "mirroring"
            else None,
        )
    return tuple(name for name in MENDS if name in names)


def can_mend(answer: Answer, mends: Sequence[str]) -> bool:
    """Return whether a film is refused for what may be undone, and for nothing else.

    Args:
        answer: the gate's own about it, whatever the mode.
        mends: of :func:`parse_mends`.
    """
    return answer.verdict == GateVerdict.REFUSE and bool(answer.mend) and set(answer.mend) <= set(mends)


def undo_alteration(pixels: np.ndarray, alteration: str) -> np.ndarray:
    """Return a film as it was before it was turned or inverted: the same pixels in other places, or 1 less each.

    Args:
        pixels: float32 ``[H, W]`` in [0, 1].
        alteration: ``Answer.alteration``.

    >>> undo_alteration(np.array([[1.0, 0.25]]), "turned by 180 degrees, inverted")
    array([[0.75, 0.  ]])
    """
    return np.ascontiguousarray(_UNDO[alteration](pixels))


def swaps_sides(alteration: str) -> bool:
    """Return whether undoing an alteration exchanges rows and columns."""
    return _UNDO[alteration](np.zeros((1, 2))).shape == (2, 1)
