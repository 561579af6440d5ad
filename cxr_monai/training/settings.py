"""The settings that decide the course of a training, so that no other training is taken for its continuation."""

import json
from collections.abc import Iterator, Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_monai.bundle.setting_checks import PATHS
from cxr_monai.data.manifest import Manifest, split_digest

FREE = {*PATHS, "checkpoint_minutes", "epochs", "experiment", "num_workers", "restart", "run_name", "tracking_uri"}
FREE |= {"calibration", "gate", "gate_promise"}  # they come after the last step
FREE |= {"batch_size", "accumulate"}  # how the images of a step are divided among processes; their number is the same
FREE |= {"views"}  # the parts that they choose are compared
FREE |= {"minimum_age"}  # says whom the bundle is meant for
FREE -= {"init_weights", "parent"}
"""May differ between a training and its continuation: where things are, how fast, what is told."""

# Parts that decide the course and are not plain settings.
_PARTS = (
    "label_scheme",
    "network_def",
    "loss_function",
    "optimizer",
    "scheduler",
    "unfreeze",
    "train::preprocessing",
    "validate::preprocessing",
)


def course(
    config: Mapping[str, Any], manifest: Manifest, findings: list[str], step_images: int, init_weights: str = "none"
) -> dict[str, str]:
    """Return, by name, the settings that must be equal for a training to be continued.

    Args:
        config: the configuration that is being run, overrides applied.
        manifest: the table; the images, labels and parts in it count, not where it lies.
        findings: the labels in use.
        step_images: images a step, over all processes.
        init_weights: where the weights come from, references resolved; of a file its content counts as well.
    """
    settings = {
        name: json.dumps(value)
        for name, value in config.items()
        if name not in FREE and not name.startswith("_") and _is_plain(value)
    }
    settings["images a step"] = str(step_images)
    if Path(init_weights).is_file():
        with Path(init_weights).open("rb") as file:
            settings["content of init_weights"] = file_digest(file, "sha256").hexdigest()[:12]
    for name in _PARTS:
        if name in settings:  # one that has a name, and is plain
            continue
        part: Any = config
        for key in name.split("::"):
            part = part.get(key, {}) if isinstance(part, Mapping) else {}
        settings[name.replace("::", "#")] = _short_digest(json.dumps(part, sort_keys=True, default=str).encode())
        # a schedule that falls over all epochs is another one where there are more of them
        if "@epochs" in set(_strings(part)) and config.get("schedule") not in ("plateau", "constant"):
            settings["epochs"] = json.dumps(config.get("epochs"))
    for split in ("train", "val"):
        part = manifest.part(split)
        images = _short_digest(part.labels(findings).tobytes() + split_digest(part.table).encode())
        settings[f"{split} part"] = f"{len(part.table)} images ({images})"
    if config.get("sampling") == "balanced_sources":  # which images are of one source, whatever it is called
        settings["sources"] = _short_digest(pd.factorize(manifest.part("train").table["source"])[0].tobytes())
    return settings


def _short_digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:12]


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, str):
        return value[:1] not in ("$", "@")
    return value is None or isinstance(value, bool | int | float)


def _strings(config: Any) -> Iterator[str]:
    if isinstance(config, str):
        yield config
    elif isinstance(config, Mapping | list):
        for value in config.values() if isinstance(config, Mapping) else config:
            yield from _strings(value)
