"""The settings of a bundle's configuration: its top-level ids, their defaults, and their descriptions in its README."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_monai.errors import BundleError, Code
from cxr_monai.sharing.inspection.remarks import shortened
from cxr_monai.strict_json import LARGEST_JSON, parse_strictly

_NOT_SETTINGS = {"imports", "bundle_root", "initialize", "run", "finalize"}
# a row of the README's table: | `epochs`, `batch_size` | 20, 32 | what they mean |
_ROW = re.compile(r"^\|([^|]+)\|[^|]*\|(.+)\|\s*$", re.MULTILINE)
LONGEST_MEANING = 400


@dataclass(frozen=True)
class Setting:
    """One setting: its default as JSON or an expression, and its description in the bundle's README, if any."""

    name: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Settings:
    """The settings of some configurations.

    Attributes:
        descriptions: the ``_desc_`` of each configuration that has one.
        settings: in the order of the configurations.
        sections: the other top-level ids, whose parts are overridden by their paths (``train#trainer#max_epochs``).
    """

    descriptions: tuple[str, ...]
    settings: tuple[Setting, ...]
    sections: tuple[str, ...]


def settings_of(root: Path, files: Sequence[Path]) -> Settings:
    """Read the settings of some configurations, overlays last. Nothing is evaluated.

    Args:
        root: the bundle's folder, whose README describes settings.
        files: the configurations.

    Raises:
        BundleError: ``bundle-invalid`` for a file that is no JSON object.
    """
    merged: dict[str, Any] = {}
    descriptions: list[str] = []
    for file in files:
        config = _read(file)
        if "_desc_" in config:
            descriptions.append(f"{file.name}: {shortened(config['_desc_'], LONGEST_MEANING)}")
        merged |= config
    meanings = _meanings(root / "docs" / "README.md")
    names = [name for name in merged if name not in _NOT_SETTINGS and not name.startswith("_") and "#" not in name]
    plain = [name for name in names if not isinstance(merged[name], Mapping)]
    return Settings(
        tuple(descriptions),
        tuple(Setting(shortened(name), _default(merged[name]), meanings.get(name, "")) for name in plain),
        tuple(shortened(name) for name in names if name not in plain),
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            config = parse_strictly(opened.read(LARGEST_JSON + 1))
        if not isinstance(config, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError) as error:
        raise BundleError(Code.BUNDLE_INVALID, f"it cannot be read: {shortened(error)}.", where=file) from error
    return config


def _default(value: Any) -> str:
    return shortened(value if isinstance(value, str) else json.dumps(value), 60)


def _meanings(readme: Path) -> dict[str, str]:
    """Return the descriptions in a README's table of settings, by the settings' names."""
    if not readme.is_file():
        return {}
    with readme.open("rb") as opened:
        text = opened.read(LARGEST_JSON).decode("utf-8", errors="replace")
    meanings: dict[str, str] = {}
    for names, meaning in _ROW.findall(text):
        settings = re.findall(r"`(\w+)`", names)
        together = f"{', '.join(settings)}: " if len(settings) > 1 else ""  # it speaks of them in this order
        for name in settings:
            meanings.setdefault(name, shortened(together + meaning.strip().replace("`", ""), LONGEST_MEANING))
    return meanings
