"""What a child takes over from its parent: the network, its weights, and what it is fed.

``follow`` is what the bundle ``cxr_transfer`` calls first: it writes the parent's settings into the configuration that
is being run, where they stand as if they had been given by hand.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxr_monai.bundle.bundle_folder import Bundle, read_json
from cxr_monai.bundle.configuration import same
from cxr_monai.bundle.evaluated import INHERITED
from cxr_monai.bundle.preparation import prepare_run
from cxr_monai.bundle.running import errors_in_one_line, running_parser, settle_bundle_root
from cxr_monai.bundle.setting_checks import check_paths
from cxr_monai.data.dataset import open_manifest
from cxr_monai.errors import BundleError, Code, SettingError, WeightsError
from cxr_monai.finetune.box_comparison import boxed_images
from cxr_monai.finetune.disease import question
from cxr_monai.labels import parse_labels
from cxr_monai.networks.architectures import with_outputs
from cxr_monai.sharing.trust.open_trusted import open_trusted

logger = logging.getLogger(__name__)


def prepare_fine_tuning(
    parent: str | None,
    disease: str | None,
    against: str = "normal",
    trust_folder: bool = False,
    boxes: str | None = None,
    seed: int = 0,
    match_names: bool = False,
) -> None:
    """Take over the parent's settings, then prepare the run (``cxr_monai.bundle.preparation.prepare_run``).

    Args:
        parent: a bundle's folder, or the name of one that is installed.
        disease, against: see ``cxr_monai.finetune.disease.question``.
        trust_folder: see ``cxr_monai.sharing.trust.open_trusted.open_trusted``.
        boxes: looked at before anything trains (``cxr_monai.finetune.box_comparison.boxed_images``).
        seed: of the training.
        match_names: a box is of the image of its file name, whatever their folders.

    Raises:
        SettingError, BundleError, WeightsError: as :func:`open_parent` and ``cxr_monai.finetune.disease.question``.
    """
    errors_in_one_line()
    parser = running_parser()
    settle_bundle_root(parser)
    config, shipped = parser.config, read_json(Path(parser.config["bundle_root"]) / "configs" / "train.json")
    check_paths(config)
    label, scheme = question(disease, against)
    opened = open_parent(parent, config["bundle_root"], trust_folder)
    parser["parent"] = str(opened.root)  # of an installed one, where its weights are
    for key, value in inherited(opened, "$@head_def.outputs").items():
        if same(config.get(key), shipped.get(key)):
            parser[key] = value
        elif not same(config[key], value):
            logger.info("--%s is not the parent's", key)
    if not same(config["labels"], shipped["labels"]) and parse_labels(config["labels"]) != [label]:
        raise SettingError(
            Code.SETTING_INVALID,
            f"--labels {config['labels']!r}: the one label is the disease, {label}.",
            fix="Leave --labels out.",
        )
    if same(config["label_scheme"], shipped["label_scheme"]):
        parser["label_scheme"] = scheme
    parser["labels"] = [label]
    if boxes and config["manifest"]:
        boxed_images(boxes, open_manifest(config["manifest"], config["dataset_dir"], match_names=match_names), label)
    prepare_run(seed, trains=True)


def open_parent(path: str | None, bundle_root: str | Path, trust_folder: bool = False) -> Bundle:
    """Open a bundle that can be a parent of one that is made from ``bundle_root``.

    Args:
        path: its folder, or the name of one that is installed.
        bundle_root: the bundle that trains.
        trust_folder: see ``cxr_monai.sharing.trust.open_trusted.open_trusted``.

    Raises:
        SharingError: it may not be run (``cxr_monai.sharing.trust.open_trusted.open_trusted``).
        SettingError: ``setting-invalid`` if none is named.
        WeightsError: ``weights-missing``.
        BundleError: ``bundle-invalid`` for no bundle, or an ensemble; ``bundle-disagrees`` if it prepares its images in
            another way, so that the child would see something else than its weights were made for.
    """
    if not path:
        raise SettingError(
            Code.SETTING_INVALID, "no parent was named.", fix="Add --parent BUNDLE, such as a training's OUT/bundle."
        )
    parent = Bundle.open(open_trusted(path, trust_folder))
    inference = read_json(parent.root / "configs" / "inference.json")
    if str(inference["network_def"].get("_target_", "")).endswith("Ensemble"):
        raise BundleError(
            Code.BUNDLE_INVALID,
            "a mean of several networks is not fine-tuned.",
            fix="Choose one of its members as --parent.",
            where=parent.root,
        )
    child = read_json(Path(bundle_root) / "configs" / "inference.json")
    if not same(inference.get("preprocessing"), child.get("preprocessing")):
        raise BundleError(
            Code.BUNDLE_DISAGREES,
            "its preprocessing is not that of the bundle to be trained: the network would be fed something else.",
            fix="Change it in a copy ('cxr-monai bundle new cxr_transfer COPY', all four configurations), and train "
            "that one with 'python -m monai.bundle run'.",
            where=parent.root,
        )
    if not parent.weights.is_file():
        raise WeightsError(
            Code.WEIGHTS_MISSING, "the parent has no weights.", fix="Train it first.", where=parent.weights
        )
    return parent


def inherited(parent: Bundle, outputs: int | str) -> dict[str, Any]:
    """Return the parent's settings that its child has, the network with another number of outputs."""
    inference: Mapping[str, Any] = read_json(parent.root / "configs" / "inference.json")
    settings = {key: inference[key] for key in INHERITED if key in inference}
    return settings | {"network_def": with_outputs(settings["network_def"], outputs)}
