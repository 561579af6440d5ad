"""Detection of components that a configuration names and this version of the package does not have."""

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from pydoc import ErrorDuringImport, locate
from typing import Any

from cxr_monai.errors import BundleError, Code

COMPONENTS = "cxr_monai.components"
"""The module whose names a bundle may call."""
_PATH = re.compile(r"(?<![\w.'\"])cxr_monai(?:\.[A-Za-z_]\w*)+")


def refuse_unknown_components(config: Any, metadata: Any, bundle: Path | None = None) -> None:
    """Refuse a configuration that names components which this version does not have.

    Args:
        config: or a part of it; nothing of it is made.
        metadata: of the bundle, which tells the version that made it.
        bundle: the bundle, for the message.

    Raises:
        BundleError: ``bundle-incompatible``, with the names, the version that made the bundle, and what to do.
    """
    if names := unknown_components(config):
        raise incompatible(names, metadata, bundle)


def unknown_components(config: Any) -> list[str]:
    """Return the names of this package in a configuration that do not exist, each once, in their order."""
    components = import_module(COMPONENTS).__all__
    return [name for name in dict.fromkeys(_names(config)) if not _exists(name, components)]


def incompatible(names: list[str], metadata: Any, bundle: Path | None = None) -> BundleError:
    """Return the error of a bundle that names components which this version does not have.

    Args:
        names: of the missing components, in full.
        metadata: of the bundle, which tells the version that made it.
        bundle: its folder, for the message.
    """
    installed, made_with = version("cxr-monai"), _version(metadata)
    return BundleError(
        Code.BUNDLE_INCOMPATIBLE,
        f"this version of cxr-monai, {installed}, does not know "
        f"{', '.join(name.removeprefix(COMPONENTS + '.') for name in names)}; the bundle was made with "
        f"{f'cxr-monai {made_with}' if made_with else 'a version that its metadata does not tell'}.",
        fix=(
            f"Install that version ('pip install cxr-monai=={made_with}')"
            if made_with and made_with != installed
            else "Install the version that its sender uses"
        )
        + ", or ask the sender for a bundle of this version.",
        where=bundle,
    )


def _version(metadata: Any) -> str:
    packages = metadata.get("required_packages_version") if isinstance(metadata, Mapping) else None
    version = packages.get("cxr-monai") if isinstance(packages, Mapping) else None
    return version if isinstance(version, str) and re.fullmatch(r"\d[\w.+-]{0,40}", version) else ""


def _names(config: Any) -> Iterator[str]:
    """Yield the names of this package that a configuration calls, as components and in expressions."""
    if isinstance(config, Mapping | list):
        for key, value in config.items() if isinstance(config, Mapping) else enumerate(config):
            if key == "_target_" and isinstance(value, str):
                yield from _PATH.findall(value)
            else:
                yield from _names(value)
    elif isinstance(config, str) and config.startswith("$"):
        yield from _PATH.findall(config)


def _exists(name: str, components: list[str]) -> bool:
    if name.startswith(f"{COMPONENTS}."):  # what is below a component goes by it, and nothing is imported to know
        return name.removeprefix(f"{COMPONENTS}.").split(".")[0] in components
    try:
        return locate(name) is not None
    except ErrorDuringImport:
        return False
