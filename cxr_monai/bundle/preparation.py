"""The first step of every configuration of our bundles: check the settings, choose device and labels, fix the seed.

MONAI accepts any ``--name value`` on the command line. A name that no component reads changes nothing and nobody is
told: ``--epoch 3`` trains the default number of epochs. :func:`prepare_run` refuses it and offers the nearest name.
"""

import logging

from monai.bundle import ConfigParser
from monai.data import set_track_meta
from monai.utils import set_determinism

from cxr_monai.bundle.component_names import refuse_unknown_components
from cxr_monai.bundle.configuration import same
from cxr_monai.bundle.named_network import parts_of_network, training_as_shipped, write_out_network
from cxr_monai.bundle.running import (
    errors_in_one_line,
    running_overrides,
    running_parser,
    settle_bundle_root,
    silence_mlflow,
)
from cxr_monai.bundle.setting_checks import (
    check_agreement,
    check_gate,
    check_paths,
    check_ranges,
    check_unchanged,
    scheme_of,
    settle_device,
)
from cxr_monai.bundle.table_labels import check_labels
from cxr_monai.bundle.unknown_settings import refuse_unknown
from cxr_monai.bundle.warning import explain_warning
from cxr_monai.networks.architectures import check_image_size, image_size_remark

logger = logging.getLogger(__name__)


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
    refuse_unknown_components(parser.config, parser.config.get("_meta_"))
    explain_warning(parser.config)
    if trains:
        write_out_network(parser, parts_of_network(running_overrides()))
    else:
        check_gate(parser.config)
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


def follow_scheme(parser: ConfigParser) -> None:
    """Take the labels of a label scheme that an override names, unless another override names labels.

    Raises:
        SettingError: ``setting-invalid`` or ``scheme-invalid`` if there is no such scheme.
    """
    scheme, shipped = scheme_of(parser.config), training_as_shipped(parser.config)
    overridden = {key for key in ("labels", "label_scheme") if not same(parser.config.get(key), shipped.get(key))}
    if overridden == {"label_scheme"}:
        parser["labels"] = list(scheme.labels)
