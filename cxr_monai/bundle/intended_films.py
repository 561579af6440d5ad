"""Which films a bundle is meant for: ages, views, modalities and devices, as its metadata say.

    intended = IntendedFilms.of(metadata)           # metadata["intended_films"]; None in bundles of before

Read by the gate, the model card and, later, result objects.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cxr_monai.data.formats.dicom_subject import MODALITIES
from cxr_monai.data.views import FRONTAL, VIEWS
from cxr_monai.errors import BundleError, Code

KEY = "intended_films"
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
    def of(cls, metadata: Mapping[str, Any]) -> "IntendedFilms | None":
        """Return what a bundle's metadata say; None where they say nothing.

        Raises:
            BundleError: ``bundle-invalid`` for values that cannot be.
        """
        content = metadata.get(KEY)
        if content is None:
            return None
        try:
            if set(content) - set(cls.__dataclass_fields__):
                raise ValueError(f"it has {', '.join(sorted(set(content) - set(cls.__dataclass_fields__)))}")
            values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in content.items()}
            intended = cls(**values)
            ages = [age for age in (intended.minimum_age, intended.maximum_age) if age is not None]
            if any(isinstance(age, bool) or not 0 <= age <= 130 for age in ages) or ages != sorted(ages):
                raise ValueError(f"ages {ages}")
            if not set(intended.views) <= set(VIEWS) or not intended.views:
                raise ValueError(f"views {list(intended.views)}, of {', '.join(VIEWS)}")
        except (TypeError, ValueError) as error:
            raise BundleError(
                Code.BUNDLE_INVALID,
                f"the metadata's {KEY} is not what it must be ({error}).",
                fix="It has minimum_age, maximum_age (years or null), views, modalities and devices (lists).",
            ) from error
        return intended

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
