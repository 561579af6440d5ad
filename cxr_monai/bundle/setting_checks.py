"""Checks of a configuration's settings: ranges, paths, the device, and what the weights mean."""

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from cxr_monai.bundle.configuration import same
from cxr_monai.bundle.evaluated import MEANING
from cxr_monai.bundle.given_network import check_given_network
from cxr_monai.data.ages import OLDEST
from cxr_monai.errors import BundleError, Code, SettingError
from cxr_monai.labels import parse_labels
from cxr_monai.schemes import LabelScheme, label_scheme

logger = logging.getLogger(__name__)

# Settings with a range: type, lowest value allowed, what the value is.
_RANGES: dict[str, tuple[type, float, str]] = {
    "image_size": (int, 32, "pixels"),
    "margin": (float, 1, "times image_size"),
    "epochs": (int, 1, "epochs"),
    "batch_size": (int, 1, "images"),
    "learning_rate": (float, 1e-12, "the step of the optimiser"),
    "num_workers": (int, 0, "processes"),
    "seed": (int, 0, "a seed"),
    "patience": (int, 1, "epochs"),
    "val_interval": (int, 1, "epochs"),
    "count": (int, 1, "images"),
    "replicates": (int, 1, "draws of all patients"),
    "most_probable": (int, 1, "findings"),
    "horizontal_flip": (float, 0, "a probability"),
    "accumulate": (int, 1, "parts of a batch"),
    "mixup": (float, 0, "alpha of the shares"),
    "clip_norm": (float, 0, "the longest gradient"),
    "ema_decay": (float, 0, "a share"),
    "checkpoint_minutes": (float, 0, "minutes"),
    "minimum_age": (float, 0, "years"),
}
_HIGHEST = {"horizontal_flip": 1, "minimum_age": OLDEST}

# Settings that hold paths of this machine.
PATHS = (
    "manifest", "dataset_dir", "boxes", "parent", "output_dir", "bundle_root", "cache_dir", "weights", "images",
    "init_weights",
)  # fmt: skip


def scheme_of(content: Mapping[str, Any]) -> LabelScheme:
    """Return the label scheme of a configuration or of metadata; bundles that name none have the findings.

    Raises:
        SettingError: ``setting-invalid`` or ``scheme-invalid`` if there is no such scheme.
    """
    return label_scheme(content.get("label_scheme", "findings"))


def check_ranges(config: Mapping[str, Any]) -> None:
    """Refuse values out of range, such as ``--epochs 0`` or ``--image_size large``.

    Raises:
        SettingError: ``setting-invalid``.
    """
    for name in ("amp", "any_modality"):
        if name in config and not isinstance(config[name], bool):
            raise SettingError(Code.SETTING_INVALID, f"--{name} {config[name]!r}: it must be True or False.")
    for name, (kind, lowest, unit) in _RANGES.items():
        value = config.get(name)
        if value is None or (isinstance(value, str) and value[:1] in "$@"):
            continue
        right_type = isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)
        highest = _HIGHEST.get(name, math.inf)
        if not right_type or not lowest <= value <= highest:
            raise SettingError(
                Code.SETTING_INVALID,
                f"--{name} {value!r}: it must be a {'number' if kind is float else 'whole number'} ({unit}) "
                f"of at least {lowest:g}" + (f" and at most {highest:g}." if name in _HIGHEST else "."),
            )


def check_paths(config: Mapping[str, Any]) -> None:
    """Refuse paths that MONAI has changed: it rewrites ``#`` to ``::`` in every text of a configuration.

    Raises:
        SettingError: ``setting-invalid``.
    """
    for name in PATHS:
        value = config.get(name)
        value = ",".join(map(str, value)) if name == "manifest" and isinstance(value, list | tuple) else value
        if isinstance(value, str) and value[:1] not in ("$", "@") and "::" in value:
            raise SettingError(
                Code.SETTING_INVALID,
                f"--{name} {value.replace('::', '#')!r}: MONAI cannot take a path with '#' in it.",
                fix="Rename the file or folder, or use a link without '#'.",
            )


def check_gate(config: Mapping[str, Any]) -> None:
    """Refuse ``--gate off`` where the gate is a component, and say where a configuration of before has none.

    Raises:
        SettingError: ``setting-invalid``, with the setting that was meant.
    """
    if "gate_mode" in config and not isinstance(config.get("gate"), Mapping):
        raise SettingError(
            Code.SETTING_INVALID,
            f"--gate {config.get('gate')!r}: the gate is a component of this configuration.",
            fix="Its setting is --gate_mode: refuse, review or off.",
        )
    if "gate" not in config:
        logger.info("this configuration has no gate: no film is refused")


def check_agreement(config: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Compare a configuration's labels, their scheme and image size with the bundle's metadata.

    Raises:
        BundleError: ``bundle-disagrees``, naming both sides. A network's channels are what the metadata says; other
            labels over the same weights would be other findings under the right numbers.
    """
    formats = metadata.get("network_data_format", {})
    channels = formats.get("outputs", {}).get("pred", {}).get("channel_def", {})
    channel_labels = [channels[key] for key in sorted(channels, key=int)]
    if "labels" in config and channel_labels and parse_labels(config["labels"]) != channel_labels:
        configured_labels = ", ".join(parse_labels(config["labels"]))
        raise _disagrees(
            "labels",
            f"the labels are {configured_labels}, but the metadata's channel_def says {', '.join(channel_labels)}.",
        )
    if scheme_of(config) != scheme_of(metadata):
        configured, recorded = (json.dumps(scheme_of(content).to_json()) for content in (config, metadata))
        raise _disagrees("label_scheme", f"the label scheme is {configured}, but the metadata says {recorded}.")
    shape = formats.get("inputs", {}).get("image", {}).get("spatial_shape", [])
    size = config.get("image_size")
    if isinstance(size, int) and shape and list(shape) != [size, size]:
        raise _disagrees("image_size", f"image_size is {size}, but the metadata's spatial_shape says {shape}.")


def check_unchanged(parser: ConfigParser) -> None:
    """Compare what the weights mean with the bundle's own ``inference.json``.

    Raises:
        BundleError: ``bundle-disagrees`` if an override, or another configuration, says something else; a network that
            is given ready made must answer as the bundle's own does (``cxr_monai.bundle.given_network``).
        WeightsError: as ``cxr_monai.networks.weight_loading.load_weights``, for such a network.
    """
    config = parser.config
    file = Path(config["bundle_root"]) / "configs" / "inference.json"
    if not file.is_file():
        raise BundleError(Code.BUNDLE_INVALID, "the file is missing from the bundle.", where=file)
    inference = json.loads(file.read_text(encoding="utf-8"))
    for key in MEANING:
        if key not in config or same(config[key], inference.get(key)):
            continue
        if key == "network_def" and not isinstance(config[key], Mapping):
            check_given_network(parser, file)
            continue
        raise _disagrees(key, f"{key} is {config[key]!r}, but the bundle's inference.json says {inference.get(key)!r}.")


def _disagrees(setting: str, problem: str) -> BundleError:
    return BundleError(
        Code.BUNDLE_DISAGREES,
        problem,
        fix=f"It is part of what the weights mean: train with --{setting}, and use the bundle that this leaves.",
    )


def settle_device(parser: ConfigParser) -> None:
    """Replace a device's name (``--device cpu``) by the device; refuse one that this machine does not have.

    Raises:
        SettingError: ``setting-invalid``.
    """
    setting = parser.config.get("device")
    if setting is None or isinstance(setting, Mapping) or (isinstance(setting, str) and setting[:1] in ("@", "%")):
        return
    expression = isinstance(setting, str) and setting.startswith("$")
    try:
        device = torch.device(parser.get_parsed_content("device") if expression else setting)
        if device.type == "meta":
            raise RuntimeError("it holds no numbers")
        torch.empty(0, device=device)
    except (AssertionError, NotImplementedError, RuntimeError, TypeError) as error:
        devices = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        reason = str(error).partition("\n")[0].rstrip(".")
        raise SettingError(
            Code.SETTING_INVALID,
            f"--device {setting}: this machine cannot compute on it ({reason}).",
            fix=f"Here there is {' and '.join(devices)}; left out, a GPU is taken where there is one.",
        ) from error
    if not expression:
        parser["device"] = f"$torch.device('{device}')"  # an expression that every component of the bundle takes
