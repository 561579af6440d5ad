"""What comes to a hospital of phantoms besides the frontal films of adults, and when: laterals, children, a period.

FilmMix(laterals=0.1, children=0.1, first_day=date(2026, 3, 2), days=28)
"""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np

from cxr_monai.errors import Code, SettingError

CHILD_AGES = (0, 12)
"""Years, both included: the ages of the children that are added."""
_HOURS = (7, 19)
"""Of the day, in which films are taken."""


@dataclass(frozen=True)
class FilmMix:
    """Shares of other films; the usual phantoms without arguments.

    Attributes:
        laterals: share in [0, 1] of the images that are lateral views in the place of frontal ones.
        children: share in [0, 1] of the patients who are 0 to 12 years old; where it is above 0, everyone under 18 is
            drawn with the proportions of their age (`cxr_monai.data.phantom.child_anatomy`).
        first_day: of the period in which DICOM files say that they were taken; None for days that follow from the
            patient's number.
        days: of that period, at least 1.

    Raises:
        SettingError: ``setting-invalid``.
    """

    laterals: float = 0.0
    children: float = 0.0
    first_day: date | None = None
    days: int = 1

    def __post_init__(self) -> None:
        for name in ("laterals", "children"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise SettingError(Code.SETTING_INVALID, f"the share of {name} is {share}; allowed are 0 to 1.")
        if self.days < 1:
            raise SettingError(Code.SETTING_INVALID, f"a period of {self.days} days: it must have at least 1.")

    def times(self, rng: np.random.Generator, count: int) -> list[str]:
        """Return when so many films of a patient were taken, in their order, ISO 8601; empty texts without a period."""
        if self.first_day is None:
            return [""] * count
        start = datetime.combine(self.first_day, time(_HOURS[0]))
        days, seconds = rng.integers(0, self.days, count), rng.integers(0, 3600 * (_HOURS[1] - _HOURS[0]), count)
        taken = sorted(
            start + timedelta(days=int(day), seconds=int(second)) for day, second in zip(days, seconds, strict=True)
        )
        return [moment.isoformat() for moment in taken]

    def settings(self) -> dict[str, Any]:
        """Return what differs from the usual phantoms, for ``phantom.json``."""
        described: dict[str, Any] = {name: value for name in ("laterals", "children") if (value := getattr(self, name))}
        if self.first_day is not None:
            described |= {"from": self.first_day.isoformat(), "days": self.days}
        return described
