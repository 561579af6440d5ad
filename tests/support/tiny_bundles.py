"""Bundles with weights in milliseconds: the packaged one with a small DenseNet, as if a training had left it."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import DenseNet

from tests.support.bundle_runs import SHIPPED, SMALL_NETWORK

LABELS = ("Effusion", "Mass")
SIZE = 32
NETWORK: dict[str, Any] = {**SMALL_NETWORK, "out_channels": len(LABELS)}


def tiny_network(seed: int, definition: Mapping[str, Any] = NETWORK) -> DenseNet:
    arguments = {name: value for name, value in definition.items() if name != "_target_"}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return DenseNet(**arguments).eval()


def tiny_bundle(folder: Path, seed: int, **settings: Any) -> Path:
    """Write a bundle of two findings at 32x32 pixels with random weights; ``settings`` go into its configurations."""
    shutil.copytree(SHIPPED, folder)
    given = {"labels": list(LABELS), "image_size": SIZE, "network_def": NETWORK} | settings
    for path in (folder / "configs").glob("*.json"):
        config = json.loads(path.read_text())
        config |= {name: value for name, value in given.items() if name in config}
        if path.name == "metadata.json":
            formats = config["network_data_format"]
            formats["inputs"]["image"]["spatial_shape"] = [given["image_size"]] * 2
            formats["outputs"]["pred"]["num_channels"] = len(given["labels"])
            formats["outputs"]["pred"]["channel_def"] = {str(at): name for at, name in enumerate(given["labels"])}
        path.write_text(json.dumps(config))
    (folder / "models").mkdir()
    torch.save(tiny_network(seed, given["network_def"]).state_dict(), folder / "models" / "model.pt")
    return folder


HEADED: dict[str, dict[str, Any]] = {
    "sigmoid": {},
    "softmax": {
        "head": "softmax",
        "labels": ["Lung", "Pleural", "Normal"],
        "label_scheme": "categories_normal",
        "network_def": NETWORK | {"out_channels": 3},
    },
    "hierarchical": {
        "head": "hierarchical",
        "labels": ["Pleural", "Effusion", "Pneumothorax", "Mass"],
        "label_scheme": "hierarchy",
        "network_def": NETWORK | {"out_channels": 4},
    },
}
"""Settings of :func:`tiny_bundle` for each head, the coupled ones with more labels than a pair."""
