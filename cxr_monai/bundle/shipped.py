"""The bundles that come with this package; light, so that ``cxr-monai bundle list`` answers at once."""

from importlib import resources
from pathlib import Path

from cxr_monai.errors import Code, UsageError


def shipped_bundles() -> dict[str, Path]:
    """Return the folders of the bundles that come with this package, by name."""
    places = [Path(str(resources.files("cxr_monai"))) / "bundles", Path(__file__).parents[2] / "bundles"]
    return {
        folder.name: folder
        for place in places
        if place.is_dir()
        for folder in sorted(place.iterdir())
        if (folder / "configs").is_dir()
    }


def shipped(name: str) -> Path:
    """Return the folder of one bundle that comes with this package.

    Raises:
        UsageError: ``usage``, listing those that exist.
    """
    bundles = shipped_bundles()
    if name not in bundles:
        raise UsageError(Code.USAGE, f"no bundle {name!r} comes with this package; there are {', '.join(bundles)}.")
    return bundles[name]
