"""What every configuration of our bundles calls first: refuse unknown overrides, fix the seed, speak plainly.

MONAI accepts any ``--name value`` on the command line. A name that no component reads changes nothing and nobody is
told: ``--epoch 3`` trains the default number of epochs. :func:`prepare_run` refuses it and offers the nearest name.
"""

import copy
import json
import logging
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data import set_track_meta
from monai.utils import set_determinism

from cxr_monai.bundle.configuration import running_parser, same, settle_bundle_root
from cxr_monai.bundle.evaluated import MEANING
from cxr_monai.bundle.given_network import check_given_network
from cxr_monai.bundle.table_labels import check_labels
from cxr_monai.bundle.unknown_settings import refuse_unknown
from cxr_monai.bundle.warning import explain_warning
from cxr_monai.errors import BundleError, Code, SettingError, ours
from cxr_monai.labels import parse_labels
from cxr_monai.networks.architectures import check_image_size, definition, image_size_remark, in_channels_of
from cxr_monai.schemes import LabelScheme, label_scheme
from cxr_monai.stopping import as_interrupted, install

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
}
_HIGHEST = {"horizontal_flip": 1}

# Settings that hold paths of this machine.
PATHS = (
    "manifest", "dataset_dir", "boxes", "parent", "output_dir", "bundle_root", "cache_dir", "weights", "images",
    "init_weights",
)  # fmt: skip


def prepare_run(seed: int = 0, trains: bool = False) -> None:
    """Check the settings of the configuration that calls this, then prepare the process to run it.

    Args:
        seed: of Python, NumPy, PyTorch and MONAI's random transforms. Deterministic algorithms are chosen with it, so
            ``cudnn.benchmark`` stays off.
        trains: a training may change labels and image size (it writes a new bundle); anything else must agree with
            the bundle's metadata.

    Raises:
        SettingError: ``override-unknown`` for a setting that no component reads; ``setting-invalid`` for a value out
            of range, or a network that does not exist; ``scheme-invalid``.
        BundleError: ``bundle-disagrees`` if configuration and metadata name other labels or another image size.
        ManifestError: ``unknown-finding`` if a training's table lacks labels, with the setting that it needs.
    """
    errors_in_one_line()
    silence_mlflow()
    parser = running_parser()
    settle_bundle_root(parser)
    explain_warning(parser.config)
    if trains:
        write_out_network(parser, _parts_of_network(_overrides_of_the_run()))
    refuse_unknown(parser)
    check_ranges(parser.config)
    check_paths(parser.config)
    settle_device(parser)
    check_image_size(parser.config.get("network_def"), parser.config.get("image_size"))
    if trains:
        if remark := image_size_remark(parser.config.get("image_size")):
            logger.warning(remark)
        follow_scheme(parser)
        check_labels(parser.config, scheme_of(parser.config))
    else:
        check_agreement(parser.config, parser.config.get("_meta_", {}))
        check_unchanged(parser)
    set_determinism(seed)
    set_track_meta(False)  # nothing here needs MONAI's tensors with metadata, and they cost time in every transform


def _overrides_of_the_run() -> Mapping[str, Any]:
    """Return the words of ``python -m monai.bundle run``, in their order; none where a workflow was made otherwise.

    MONAI keeps no record of them, so this looks for its function among the calls that led here, as for the parser.
    """
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "run" and frame.f_globals.get("__name__") == "monai.bundle.scripts":
            return dict(frame.f_locals.get("override", {}))
        frame = frame.f_back  # type: ignore[assignment]
    return {}


def _parts_of_network(overrides: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in overrides.items() if re.match("network_def(#|::)", key)}


def write_out_network(parser: ConfigParser, parts: Mapping[str, Any] | None = None) -> None:
    """Put a definition in the place of a network's name, as if it had stood there: ``--network_def ResNet50``.

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
    own = _shipped(parser.config).get("network_def")
    parts = {key.replace("::", "#"): value for key, value in (parts or {}).items()}
    channels = parts.pop("network_def#in_channels", in_channels_of(own) if isinstance(own, Mapping) else 1)
    needed = "$@head_def.outputs" if "head_def" in parser.config else "$len(@findings)"
    outputs = parts.pop("network_def#out_channels", needed)
    parser["network_def"] = definition(name, image_size, channels, outputs)  # MONAI reads all anew after this
    parser.update(parts)


def _is_name(network_def: Any) -> bool:
    """Tell whether a setting names a network, rather than define it or refer to it."""
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
    parser, given = ConfigParser(), copy.deepcopy(dict(overrides))  # MONAI changes what it is given
    parser.read_config([str(file) for file in files])
    parser.update({key: given[key] for key in ("image_size", "network_def") if key in given})
    parser["bundle_root"] = str(Path(files[0]).parents[1])
    named, parts = _is_name(parser.config.get("network_def")), _parts_of_network(given)
    write_out_network(parser, parts)
    if not named or _is_name(parser.config["network_def"]):
        return given
    return {key: value for key, value in given.items() if key not in parts} | {
        "network_def": parser.config["network_def"]
    }


def _shipped(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bundle's training configuration without overrides; nothing where it has none."""
    file = Path(str(config.get("bundle_root", "."))) / "configs" / "train.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def follow_scheme(parser: ConfigParser) -> None:
    """Take the labels of a label scheme that an override names, unless another override names labels.

    Raises:
        SettingError: ``setting-invalid`` or ``scheme-invalid`` if there is no such scheme.
    """
    made, shipped = scheme_of(parser.config), _shipped(parser.config)
    overridden = {key for key in ("labels", "label_scheme") if not same(parser.config.get(key), shipped.get(key))}
    if overridden == {"label_scheme"}:
        parser["labels"] = list(made.labels)


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
    for name, (kind, lowest, what) in _RANGES.items():
        value = config.get(name)
        if value is None or (isinstance(value, str) and value[:1] in "$@"):
            continue
        right_type = isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)
        highest = _HIGHEST.get(name, math.inf)
        if not right_type or not lowest <= value <= highest:
            raise SettingError(
                Code.SETTING_INVALID,
                f"--{name} {value!r}: it must be a {'number' if kind is float else 'whole number'} ({what}) "
                f"of at least {lowest:g}" + (f" and at most {highest:g}." if name in _HIGHEST else "."),
            )


def check_paths(config: Mapping[str, Any]) -> None:
    """Refuse paths that MONAI has changed: it rewrites ``#`` to ``::`` in every text of a configuration.

    Raises:
        SettingError: ``setting-invalid``.
    """
    for name in PATHS:
        value = config.get(name)
        if isinstance(value, str) and value[:1] not in ("$", "@") and "::" in value:
            raise SettingError(
                Code.SETTING_INVALID,
                f"--{name} {value.replace('::', '#')!r}: MONAI cannot take a path with '#' in it.",
                fix="Rename the file or folder, or use a link without '#'.",
            )


def check_agreement(config: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Compare a configuration's labels, their scheme and image size with the bundle's metadata.

    Raises:
        BundleError: ``bundle-disagrees``, naming both sides. A network's channels are what the metadata says; other
            labels over the same weights would be other findings under the right numbers.
    """
    formats = metadata.get("network_data_format", {})
    channels = formats.get("outputs", {}).get("pred", {}).get("channel_def", {})
    theirs = [channels[key] for key in sorted(channels, key=int)]
    if "labels" in config and theirs and parse_labels(config["labels"]) != theirs:
        ours = ", ".join(parse_labels(config["labels"]))
        raise _disagrees("labels", f"the labels are {ours}, but the metadata's channel_def says {', '.join(theirs)}.")
    if scheme_of(config) != scheme_of(metadata):
        own, written = (json.dumps(scheme_of(content).to_json()) for content in (config, metadata))
        raise _disagrees("label_scheme", f"the label scheme is {own}, but the metadata says {written}.")
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
    own = json.loads(file.read_text(encoding="utf-8"))
    for key in MEANING:
        if key not in config or same(config[key], own.get(key)):
            continue
        if key == "network_def" and not isinstance(config[key], Mapping):
            check_given_network(parser, file)
            continue
        raise _disagrees(key, f"{key} is {config[key]!r}, but the bundle's inference.json says {own.get(key)!r}.")


def _disagrees(setting: str, problem: str) -> BundleError:
    return BundleError(
        Code.BUNDLE_DISAGREES,
        problem,
        fix=f"It is part of what the weights mean: train with --{setting}, and use the bundle that this leaves.",
    )


def settle_device(parser: ConfigParser) -> None:
    """Make a device of the one that is named (``--device cpu``), and refuse one that this machine has not.

    Raises:
        SettingError: ``setting-invalid``.
    """
    given = parser.config.get("device")
    if given is None or isinstance(given, Mapping) or (isinstance(given, str) and given[:1] in ("@", "%")):
        return
    expression = isinstance(given, str) and given.startswith("$")
    try:
        device = torch.device(parser.get_parsed_content("device") if expression else given)
        if device.type == "meta":
            raise RuntimeError("it holds no numbers")
        torch.empty(0, device=device)
    except (AssertionError, NotImplementedError, RuntimeError, TypeError) as error:
        devices = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        reason = str(error).partition("\n")[0].rstrip(".")
        raise SettingError(
            Code.SETTING_INVALID,
            f"--device {given}: this machine cannot compute on it ({reason}).",
            fix=f"Here there is {' and '.join(devices)}; left out, a GPU is taken where there is one.",
        ) from error
    if not expression:
        parser["device"] = f"$torch.device('{device}')"  # what every component of the bundle takes


def silence_mlflow() -> None:
    """Switch MLflow's usage reporting off, also where MONAI has imported MLflow already (importing sends nothing)."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    if "mlflow.telemetry" in sys.modules:
        sys.modules["mlflow.telemetry"].set_telemetry_client()


def errors_in_one_line() -> None:
    """Under ``python -m monai.bundle``, end with our error instead of MONAI's chain of wrappers around it.

    Signals end it so as well, see ``cxr_monai.stopping``.
    """
    main = sys.modules.get("__main__")
    if getattr(getattr(main, "__spec__", None), "name", "") != "monai.bundle.__main__":
        return
    sys.excepthook = _excepthook
    install()


def _excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if isinstance(error, KeyboardInterrupt):
        interrupted = as_interrupted(error)
        sys.stdout.flush()
        print(f"\n{interrupted}", file=sys.stderr)
        raise SystemExit(interrupted.status)
    cause = ours(error)
    if cause is None or os.environ.get("CXR_MONAI_TRACEBACK"):
        sys.__excepthook__(kind, error, traceback)
    if cause is not None:
        sys.stdout.flush()
        print(f"\nerror [{cause.code}]: {cause}", file=sys.stderr)
