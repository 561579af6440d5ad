"""A network that a setting names, ``--network_def ResNet50``, written out as the definition that MONAI runs."""

import copy
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from cxr_monai.networks.architectures import in_channels_of, network_definition


def write_out_network(parser: ConfigParser, parts: Mapping[str, Any] | None = None) -> None:
    """Replace a network's name in a configuration (``--network_def ResNet50``) by its definition.

    It takes as many channels as the network that the bundle has, and gives as many outputs as its
    head needs, or as there are findings.

    Args:
        parser: of the configuration, overrides applied.
        parts: overrides of the definition (``network_def#dropout_prob``), which the name has wiped out. ``in_channels``
            and ``out_channels`` are understood for networks that call them otherwise.

    Raises:
        SettingError: ``setting-invalid`` for an unknown name, or a size of image that the network does not take.
    """
    name, image_size = parser.config.get("network_def"), parser.config.get("image_size")
    if not _is_name(name) or not isinstance(image_size, int):
        return
    shipped = training_as_shipped(parser.config).get("network_def")
    parts = {key.replace("::", "#"): value for key, value in (parts or {}).items()}
    channels = parts.pop("network_def#in_channels", in_channels_of(shipped) if isinstance(shipped, Mapping) else 1)
    needed = "$@head_def.outputs" if "head_def" in parser.config else "$len(@findings)"
    outputs = parts.pop("network_def#out_channels", needed)
    parser["network_def"] = network_definition(name, image_size, channels, outputs)  # MONAI reads all anew after this
    parser.update(parts)


def _is_name(network_def: Any) -> bool:
    """Return whether a setting names a network, rather than define it or refer to it."""
    return isinstance(network_def, str) and network_def[:1] not in ("$", "@", "%")


def written_out(overrides: Mapping[str, Any], files: Sequence[Path]) -> dict[str, Any]:
    """Return overrides in which a network's name is its definition, its parts applied, wherever they stood.

    MONAI takes overrides one after the other: a part (``network_def#in_channels``) before a name is wiped out with the
    definition that was there, and after a name there is nothing that it could be a part of.

    Args:
        overrides: of a training; returned as they are where no network is named.
        files: its configurations, the first one a bundle's ``train.json``.

    Raises:
        SettingError: as :func:`write_out_network`.
    """
    parser, settings = ConfigParser(), copy.deepcopy(dict(overrides))  # MONAI changes what it is given
    parser.read_config([str(file) for file in files])
    parser.update({key: settings[key] for key in ("image_size", "network_def") if key in settings})
    parser["bundle_root"] = str(Path(files[0]).parents[1])
    is_named, parts = _is_name(parser.config.get("network_def")), parts_of_network(settings)
    write_out_network(parser, parts)
    if not is_named or _is_name(parser.config["network_def"]):
        return settings
    return {key: value for key, value in settings.items() if key not in parts} | {
        "network_def": parser.config["network_def"]
    }


def training_as_shipped(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bundle's training configuration without overrides; nothing where it has none."""
    file = Path(str(config.get("bundle_root", "."))) / "configs" / "train.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def parts_of_network(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overrides of parts of a network's definition, such as ``network_def#dropout_prob``."""
    return {key: value for key, value in overrides.items() if re.match("network_def(#|::)", key)}
