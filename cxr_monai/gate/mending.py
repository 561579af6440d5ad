"""Undoing what was done to a film, where a user says so: ``--mend rotation,inversion``.

Nothing is turned or inverted silently. Mirroring is never undone: a heart on the right side may be the patient's.
"""

from collections.abc import Sequence

from cxr_monai.errors import Code, SettingError

MENDS = ("rotation", "inversion")
"""What can be undone."""


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
