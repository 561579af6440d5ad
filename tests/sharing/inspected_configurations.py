"""Configurations for the inspection: an honest one, and what speaks against any."""

import json
from pathlib import Path
from typing import Any

from cxr_monai.sharing.inspection.bundle_inspection import inspect_bundle
from cxr_monai.sharing.inspection.remarks import Remark

LOAD = {"_target_": "cxr_monai.components.LoadRadiographd", "keys": "image"}
HONEST: dict[str, Any] = {
    "imports": ["$import os"],
    "bundle_root": ".",
    "output_dir": "output",
    "dataset_dir": None,
    "image_size": 32,
    "network_def": {"_target_": "DenseNet121", "spatial_dims": 2, "in_channels": 1, "out_channels": 1},
    "head_def": {"_target_": "cxr_monai.components.classification_head", "name": "sigmoid", "labels": ["Mass"]},
    "preprocessing": {"_target_": "Compose", "transforms": [LOAD]},
    "dataset": {"_target_": "Dataset", "data": [], "shape": [1, "@image_size", "@image_size"]},
}
"""Passes, and every entry of what commands evaluate is there."""


def refused(folder: Path, **configurations: Any) -> tuple[Remark, ...]:
    """Return what speaks against a bundle of these configurations, within the budget."""
    root = folder / "bundle"
    (root / "configs").mkdir(parents=True, exist_ok=True)
    for name, config in configurations.items():
        (root / "configs" / f"{name}.json").write_text(json.dumps(config))
    found = inspect_bundle(root).refused
    assert "time" not in {remark.kind for remark in found}, "the budget was spent"
    assert all(remark.reason.endswith(".") for remark in found)
    return found
