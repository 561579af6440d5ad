"""A bundle's calibration in its folder: the file beside the weights, and the same numbers in the configurations.

    write_calibration("OUT/bundle", fitted)     # models/calibration.json, configs/inference.json and explain.json

Whoever opens a configuration without the folder (``cxr_monai.evaluation.carried`` tells who) has the calibration all
the same.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from cxr_monai.bundle.bundle_folder import change_configurations
from cxr_monai.bundle.digest import CALIBRATION

COMPONENT = "cxr_monai.components.bundle_calibration"
_COMPONENTS = (COMPONENT, "cxr_monai.components.read_calibration")
_CONFIGS = ("inference.json", "explain.json")


class _Calibration(Protocol):
    def write(self, path: str | Path) -> None: ...
    def carried(self) -> dict[str, Any]: ...


def write_calibration(root: str | Path, fitted: _Calibration) -> None:
    """Write a calibration into a bundle's folder; its configurations carry it from then on.

    Args:
        root: the bundle's folder.
        fitted: ``cxr_monai.evaluation.fitted.Fitted``.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    # in this order a kill leaves a file without its copies, never copies that disagree with the file
    carry_calibration(root, None)
    fitted.write(Path(root) / CALIBRATION)
    carry_calibration(root, fitted.carried())


def carry_calibration(root: str | Path, values: Mapping[str, Any] | None, lost: str | None = None) -> None:
    """Write the calibration, or the reason why there is none, into a bundle's configurations.

    Args:
        root: the bundle's folder.
        values: the calibration's parameters (``Fitted.carried``); None where there is none.
        lost: why there is none, or None.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    change_configurations(root, _CONFIGS, lambda config: with_calibration(config, values, lost))


def with_calibration(
    config: Mapping[str, Any], values: Mapping[str, Any] | None, lost: str | None = None, **more: Any
) -> dict[str, Any]:
    """Return a configuration with a calibration; unchanged where it has no ``calibration`` item of this package.

    Args:
        config: of a bundle.
        values: the calibration, or None.
        lost: why there is none, or None.
        more: other arguments of the component, as ``cxr_monai.components.bundle_calibration`` takes them.
    """
    section = config.get("calibration")
    if not isinstance(section, Mapping) or section.get("_target_") not in _COMPONENTS:
        return dict(config)
    changed = {key: value for key, value in section.items() if key not in ("values", "lost")} | more
    changed |= {key: value for key, value in {"values": values, "lost": lost}.items() if value is not None}
    if (
        more or "values" in changed or "lost" in changed
    ):  # the component of older bundles takes none of these, and no None
        changed["_target_"] = COMPONENT
    return dict(config) | {"calibration": changed}


def carries(root: str | Path) -> bool:
    """Return whether a bundle is calibrated, by its file or its ``inference.json``."""
    return bool(calibration_item(root).get("values")) or (Path(root) / CALIBRATION).is_file()


def calibration_item(root: str | Path) -> dict[str, Any]:
    """Return the item ``calibration`` of a bundle's ``inference.json``; empty where it has none."""
    path = Path(root) / "configs" / "inference.json"
    item = json.loads(path.read_text(encoding="utf-8")).get("calibration") if path.is_file() else None
    return dict(item) if isinstance(item, Mapping) else {}
