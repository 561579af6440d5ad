"""Which films a bundle is meant for: ages, views, modalities and devices, as its metadata say.

    intended = IntendedFilms.of(metadata)           # metadata["intended_films"]; None in bundles of before
    intended.in_words()                             # [("Ages:", "13 years and over"), ("Views:", "PA, AP"), ...]

A training writes them: the views that it was given (``--views``), the youngest age (``--minimum_age``), and all else as
the bundle says that it starts from, or the parent of a child. Read by the gate, the model card and, later, result
objects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cxr_monai.data.ages import OLDEST
from cxr_monai.data.formats.dicom_subject import MODALITIES
from cxr_monai.data.view_selection import BEST_FRONTAL
from cxr_monai.data.views import FRONTAL, VIEWS, parse_views
from cxr_monai.errors import BundleError, Code

INTENDED_FILMS = "intended_films"
"""Of the metadata."""
MINIMUM_AGE = 13
"""Years; below this a chest has other proportions than the films of adults that networks learn from."""


@dataclass(frozen=True)
class IntendedFilms:
    """The films that a bundle is meant for.

    Attributes:
        minimum_age, maximum_age: in years, both included; None for no limit.
        views: of ``cxr_monai.data.views.VIEWS``.
        modalities: DICOM's.
        devices: manufacturers or models that it was tested with; empty where any.
    """

    minimum_age: float | None = MINIMUM_AGE
    maximum_age: float | None = None
    views: tuple[str, ...] = tuple(FRONTAL)
    modalities: tuple[str, ...] = MODALITIES
    devices: tuple[str, ...] = ()

    @classmethod
    def of(cls, metadata: Mapping[str, Any], where: Path | None = None) -> "IntendedFilms | None":
        """Return what a bundle's metadata say; None where they say nothing.

        Args:
            metadata: of the bundle.
            where: their file, for the error.

        Raises:
            BundleError: ``bundle-invalid`` for values that cannot be.
        """
        content = metadata.get(INTENDED_FILMS)
        if content is None:
            return None
        try:
            if set(content) - set(cls.__dataclass_fields__):
                raise ValueError(f"it has {', '.join(sorted(set(content) - set(cls.__dataclass_fields__)))}")
            values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in content.items()}
            intended = cls(**values)
            intended._check()
        except (TypeError, ValueError) as error:
            raise BundleError(
                Code.BUNDLE_INVALID,
                f"the metadata's {INTENDED_FILMS} is not what it must be ({error}).",
                fix="It has minimum_age, maximum_age (years or null), views, modalities and devices (lists).",
                where=where,
            ) from error
        return intended

    def _check(self) -> None:
        """Raise a ValueError or TypeError for values that cannot be."""
        ages = [age for age in (self.minimum_age, self.maximum_age) if age is not None]
        if any(isinstance(age, bool) or not 0 <= age <= OLDEST for age in ages) or ages != sorted(ages):
            raise ValueError(f"ages {ages}")
        for name in ("views", "modalities", "devices"):
            texts = getattr(self, name)
            if not isinstance(texts, tuple) or not all(isinstance(text, str) and text.strip() for text in texts):
                raise ValueError(f"{name} {texts!r}")
        if not set(self.views) <= set(VIEWS) or not self.views:
            raise ValueError(f"views {list(self.views)}, of {', '.join(VIEWS)}")
        if not self.modalities:
            raise ValueError("modalities []")

    def to_json(self) -> dict[str, Any]:
        """Return what stands in the metadata."""
        return {
            name: list(value) if isinstance(value := getattr(self, name), tuple) else value
            for name in self.__dataclass_fields__
        }

    def covers_age(self, age: float) -> bool:
        """Return whether an age in years is within the limits."""
        below = self.minimum_age is not None and age < self.minimum_age
        return not below and not (self.maximum_age is not None and age > self.maximum_age)

    def as_trained(self, views: str | Sequence[str] | None = None, minimum_age: float | None = None) -> "IntendedFilms":
        """Return what a training makes of them.

        Args:
            views: that it was restricted to (``cxr_monai.data.view_selection.select_views``); None leaves them.
            minimum_age: in years, 0 for no limit; None leaves it.

        >>> IntendedFilms().as_trained("PA", 18).in_words()[:2]
        [('Ages:', '18 years and over'), ('Views:', 'PA')]
        """
        changes: dict[str, Any] = {}
        if views is not None:
            changes["views"] = tuple(FRONTAL) if views == BEST_FRONTAL else parse_views(views)
        if minimum_age is not None:
            changes["minimum_age"] = minimum_age or None
        return replace(self, **changes)

    def common_with(self, other: "IntendedFilms") -> "IntendedFilms":
        """Return the films that two bundles are both meant for, such as the members of an ensemble.

        Raises:
            BundleError: ``bundle-disagrees`` where there are none.
        """
        lowest = [age for age in (self.minimum_age, other.minimum_age) if age is not None]
        highest = [age for age in (self.maximum_age, other.maximum_age) if age is not None]
        devices = tuple(device for device in self.devices if device in other.devices)
        common = IntendedFilms(
            max(lowest, default=None),
            min(highest, default=None),
            tuple(view for view in self.views if view in other.views),
            tuple(modality for modality in self.modalities if modality in other.modalities),
            devices if self.devices and other.devices else self.devices or other.devices,
        )
        try:
            common._check()
            if self.devices and other.devices and not devices:
                raise ValueError("no device")
        except ValueError as error:
            raise BundleError(Code.BUNDLE_DISAGREES, f"no film is meant for both bundles ({error}).") from error
        return common

    def ages_in_words(self) -> str:
        """Return which ages are meant, such as ``13 years and over``."""
        if self.maximum_age is None:
            return f"{self.minimum_age:g} years and over" if self.minimum_age else "any age"
        return f"{self.minimum_age or 0:g} to {self.maximum_age:g} years"

    def in_words(self) -> list[tuple[str, str]]:
        """Return what is meant, a name and a text each."""
        return [
            ("Ages:", self.ages_in_words()),
            ("Views:", ", ".join(self.views)),
            ("Modalities:", ", ".join(self.modalities)),
            ("Devices:", ", ".join(self.devices) or "any"),
        ]
