"""The bundle that a training writes to ``OUT/bundle``: complete, its configurations consistent.

Every override that changes what the weights mean (labels, what they are made of, image size, normalisation, network) is
written into all configurations and the metadata, so that ``evaluate``, ``inference`` and ``explain`` need none of them
again.
"""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from cxr_monai.bundle.bundle_folder import CONFIGS, METADATA, read_json, write_json
from cxr_monai.bundle.calibrated import with_calibration
from cxr_monai.bundle.carried_gate import remove_gate, with_gate
from cxr_monai.bundle.configuration import same
from cxr_monai.bundle.evaluated import MEANING
from cxr_monai.bundle.intended_films import INTENDED_FILMS, IntendedFilms
from cxr_monai.bundle.running import running_parser
from cxr_monai.bundle.setting_checks import scheme_of
from cxr_monai.bundle.writing import CONFIGURATION, copy_parts
from cxr_monai.durable import make_folder, write_durably
from cxr_monai.errors import BundleError, Code
from cxr_monai.labels import parse_labels
from cxr_monai.networks.architectures import input_channels

# What the network is given under each normalisation, rounded outwards (cxr_monai.transforms.normalisation.normalise).
_VALUE_RANGES = {"imagenet": [-2.2, 2.7], "zero_one": [0, 1], "minus_one_one": [-1, 1], "xray_1024": [-1024, 1024]}


class TrainedBundle:
    """Copies ``bundle_root`` to ``OUT/bundle`` with the settings of the configuration that is being run.

    Args:
        bundle_root: the bundle that the training was started from; never written to.
        output_dir: the training's folder.
        views: of the films that it is trained on, and meant for (``IntendedFilms.as_trained``).
        minimum_age: in years, that it is meant for.
        parent: the folder of a child's parent, whose intended films hold where those two say nothing; ``bundle_root``'s
            where None. A bundle of before, that states none, stands for the default.

    Raises:
        SettingError: ``setting-invalid`` for views that are none.
        BundleError: ``bundle-disagrees`` if the validation pipeline was overridden, since ``inference.json`` would then
            feed the network something else; ``output-exists`` if ``OUT/bundle`` lies in ``bundle_root``, or holds it.
    """

    def __init__(
        self,
        bundle_root: str,
        output_dir: str,
        views: str | Sequence[str] | None = None,
        minimum_age: float | None = None,
        parent: str | None = None,
    ) -> None:
        self.source, self.root = Path(bundle_root).resolve(), Path(output_dir).resolve() / "bundle"
        if self.root.is_relative_to(self.source) or self.source.is_relative_to(self.root):
            raise BundleError(
                Code.OUTPUT_EXISTS,
                "training would write into the bundle that it starts from.",
                fix="Choose an --output_dir outside of it.",
                where=self.source,
            )
        parser = running_parser()
        self.meaning = _meaning(parser)
        self.channels = input_channels(parser.get_parsed_content("network_def"))
        self.intended = intended_films_in(parent or self.source).as_trained(views, minimum_age)
        _check_pipeline(self.source, parser.config.get("validate", {}).get("preprocessing"))

    @property
    def weights(self) -> Path:
        """The file for the weights of the best epoch."""
        return self.root / "models" / "model.pt"

    def write(self) -> None:
        """Write everything but the weights; those of an earlier training go, since they mean something else now."""
        for earlier in (self.weights, self.weights.with_name("calibration.json")):
            earlier.unlink(missing_ok=True)
        remove_gate(self.root)
        copy_parts(self.source, self.root, CONFIGURATION)
        make_folder(self.weights.parent)
        write_meaning(self.root, self.meaning, self.channels)
        write_intended_films(self.root, self.intended)

    def save_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Write a state dictionary, whole or not at all.

        Raises:
            StorageError: ``disk-full`` or ``write-failed``; the weights that were there are untouched.
        """
        save_weights(self.weights, weights)


def save_weights(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Write a state dictionary, whole or not at all.

    Args:
        path: the file.
        weights: tensors by name, on any device.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``; an earlier file is untouched.
    """
    buffer = io.BytesIO()  # in memory first: on a full disk torch raises errors of its own kind
    torch.save(dict(weights), buffer)
    write_durably(path, buffer.getvalue())


def write_meaning(root: Path, meaning: Mapping[str, Any], channels: int) -> None:
    """Write what the weights mean into all configurations and the metadata of a bundle's folder.

    Args:
        root: the folder; what its configurations do not have is not added.
        meaning: values of ``MEANING``'s settings.
        channels: of the network's input.
    """
    for name in CONFIGS:
        path = root / "configs" / name
        if not path.is_file():
            continue
        config = json.loads(path.read_text(encoding="utf-8"))
        # a user's copy may name this machine's data; the bundle that is left must not
        config |= {key: None for key in ("manifest", "dataset_dir", "images") if key in config}
        config |= {key: value for key, value in meaning.items() if key in config}
        # another network's calibration and gate would not be these weights'
        write_json(path, with_gate(with_calibration(config, None)))
    path = root / "configs" / "metadata.json"
    write_json(path, _metadata(json.loads(path.read_text(encoding="utf-8")), meaning, channels))


def intended_films_in(root: str | Path) -> IntendedFilms:
    """Return the films that a bundle's folder is meant for; the default where its metadata do not say.

    Raises:
        BundleError: ``bundle-invalid``.
    """
    path = Path(root) / METADATA
    return IntendedFilms.of(read_json(path), path) or IntendedFilms()


def write_intended_films(root: Path, intended: IntendedFilms) -> None:
    """Write into the metadata of a bundle's folder which films it is meant for.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    write_json(root / METADATA, read_json(root / METADATA) | {INTENDED_FILMS: intended.to_json()})


def _check_pipeline(source: Path, pipeline: Any) -> None:
    """Compare the validation's pipeline with those of the other configurations, before anything is written."""
    for name in CONFIGS:
        path = source / "configs" / name
        if name == "train.json" or not path.is_file():
            continue
        if not same(json.loads(path.read_text(encoding="utf-8")).get("preprocessing"), pipeline):
            raise BundleError(
                Code.BUNDLE_DISAGREES,
                f"validate#preprocessing is not the preprocessing of {name}: the trained network would be fed "
                "something else than it was validated on.",
                fix="Change all of them in a copy of the bundle ('cxr-monai bundle new').",
            )


def _meaning(parser: ConfigParser) -> dict[str, Any]:
    config = parser.config
    meaning = {key: config[key] for key in MEANING if key in config}
    meaning["labels"] = parse_labels(config["labels"])
    meaning["label_scheme"] = scheme_of(config).to_json()
    meaning["network_def"] = _literal(parser, config["network_def"], "network_def")
    return meaning


def _literal(parser: ConfigParser, value: Any, item_id: str) -> Any:
    """Return a component's arguments as plain JSON: ``$len(@findings)`` becomes 14."""
    if isinstance(value, Mapping):
        return {key: _literal(parser, item, f"{item_id}::{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_literal(parser, item, f"{item_id}::{index}") for index, item in enumerate(value)]
    return parser.get_parsed_content(item_id) if isinstance(value, str) and value[:1] in ("$", "@") else value


def _metadata(metadata: dict[str, Any], meaning: Mapping[str, Any], channels: int) -> dict[str, Any]:
    labels, size = meaning["labels"], meaning["image_size"]
    image = metadata["network_data_format"]["inputs"]["image"]
    image["spatial_shape"] = [size, size]
    image["num_channels"] = channels
    image["channel_def"] = {str(index): "radiograph" for index in range(channels)}
    image["value_range"] = _VALUE_RANGES[meaning["normalisation"]]
    pred = metadata["network_data_format"]["outputs"]["pred"]
    pred["num_channels"] = len(labels)
    pred["channel_def"] = {str(index): label for index, label in enumerate(labels)}
    return metadata | {"label_scheme": meaning["label_scheme"]}


def plain_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return a network's tensors on the CPU, contiguous, without the prefix of a distributed wrapper."""
    network = getattr(network, "module", network)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
