"""A network that is given ready made, as a TorchScript program or an object, instead of by its definition.

    --network_def "$torch.jit.load('B/models/model.ts')"       # as MONAI's model zoo does for TensorRT

The bundle's labels, calibration and operating points belong to the bundle's weights, so such a network must give what
the bundle's own gives. Whether it does can be seen of its answers alone: a program may have been frozen, folded or
rewritten, and may hold its head, which the inferer would apply once more.
"""

import copy
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from torch import nn

from cxr_monai.errors import BundleError, Code
from cxr_monai.networks.fusion import TOLERANCE, largest_difference
from cxr_monai.networks.heads import INDEPENDENT
from cxr_monai.networks.weight_loading import load_weights


def check_given_network(parser: ConfigParser, inference: Path) -> None:
    """Compare a configuration's ready made ``network_def`` with the bundle's own network under the same weights.

    Two synthetic images are answered by both, on the CPU; a probability may differ by
    ``cxr_monai.networks.fusion.TOLERANCE``. The configuration's ``input_channels`` is then the bundle's own: a frozen
    program has no layer that would tell.

    Args:
        parser: of the configuration that is being run.
        inference: the bundle's own ``inference.json``.

    Raises:
        BundleError: ``bundle-disagrees`` if it is no network, or answers otherwise.
        WeightsError: the weights are missing, or belong to another network.
    """
    network, weights = parser.get_parsed_content("network_def"), parser.get_parsed_content("weights")
    if not isinstance(network, nn.Module):
        raise BundleError(
            Code.BUNDLE_DISAGREES,
            f"network_def is {parser.config['network_def']!r}, which is no network but a {type(network).__name__}.",
            fix="Leave it out, or give a network that holds the bundle's weights.",
        )
    shipped = ConfigParser()
    shipped.read_config(str(inference))
    reference = load_weights(shipped.get_parsed_content("network_def"), weights).eval()
    channels, head = shipped.get_parsed_content("input_channels"), INDEPENDENT
    if "head_def" in shipped:
        head = shipped.get_parsed_content("head_def")
    shape = (channels, *[int(shipped.get_parsed_content("image_size"))] * 2)
    candidate = (
        network if isinstance(network, torch.jit.ScriptModule) else load_weights(copy.deepcopy(network), weights)
    )
    try:
        difference = largest_difference(reference, candidate.cpu().eval(), shape, head)
        reason = f"a probability differs by {difference:.2g}"
    except RuntimeError as error:
        difference, reason = float("inf"), f"it does not take images of {list(shape)} ({str(error).splitlines()[-1]})"
    if not difference <= TOLERANCE:
        raise BundleError(
            Code.BUNDLE_DISAGREES,
            f"the network that network_def gives does not answer as the bundle's own with its weights: {reason}.",
            fix="Export it anew from this bundle ('python -m monai.bundle ckpt_export network_def ...'): a program "
            "that holds its head, or other weights, gives other probabilities.",
        )
    if "input_channels" in parser:
        parser["input_channels"] = channels
