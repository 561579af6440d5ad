"""Maps of what a network looked at for one finding: MONAI's GradCAM and Captum's Integrated Gradients.

The layer to explain in MONAI's DenseNet is ``class_layers.relu``: ``features`` ends before the last ReLU, and gives
another map. In-place ReLUs break the hooks of both libraries, so networks are built with
``"act": ["RELU", {"inplace": false}]``.
"""

import copy
from collections.abc import Callable
from enum import StrEnum

import torch
from captum.attr import IntegratedGradients
from monai.visualize import GradCAM
from torch import nn

from cxr_monai.errors import Code, SettingError


class Method(StrEnum):
    """Methods by name."""

    GRADCAM = "gradcam"
    """Where in the last feature grid evidence for the finding lies (Selvaraju et al. 2017, arXiv 1610.02391)."""
    INTEGRATED_GRADIENTS = "integrated_gradients"
    """Which pixels raise the finding's score above a mean-grey image's (Sundararajan et al. 2017, arXiv 1703.01365)."""


def check_network(network: nn.Module, target_layer: str) -> None:
    """Refuse a network whose gradients cannot be explained rightly.

    Raises:
        SettingError: ``setting-invalid`` if the layer does not exist (listing candidates) or a ReLU works in place.
    """
    layers = dict(network.named_modules())
    if target_layer not in layers:
        candidates = [name for name, layer in layers.items() if isinstance(layer, nn.ReLU)][-3:]
        raise SettingError(
            Code.SETTING_INVALID,
            f"the network has no layer {target_layer!r}.",
            fix=f"Name another with --target_layer; its last activations are {', '.join(candidates) or 'none'}.",
        )
    if any(getattr(layer, "inplace", False) for layer in layers.values()):
        raise SettingError(
            Code.SETTING_INVALID,
            "the network has activations that work in place, under which gradients of a layer are wrong.",
            fix='Build it with "act": ["RELU", {"inplace": false}]; the weights stay the same.',
        )


def gradcam(network: nn.Module, image: torch.Tensor, channel: int, target_layer: str) -> torch.Tensor:
    """Return MONAI's GradCAM of one finding.

    Args:
        network: in eval mode; see :func:`check_network`.
        image: float ``[1, C, H, W]``, as the network is given it.
        channel: of the finding.
        target_layer: a module's name.

    Returns:
        float ``[H, W]``, at least 0; 0 everywhere if nothing speaks for the finding.
    """
    # a copy, because MONAI's GradCAM leaves its hooks on the network for good
    camera = GradCAM(nn_module=copy.deepcopy(network), target_layers=target_layer, postprocessing=lambda maps: maps)
    return camera(x=image, class_idx=channel)[0, 0].detach().clamp(min=0)


def integrated_gradients(network: nn.Module, image: torch.Tensor, channel: int, target_layer: str = "") -> torch.Tensor:
    """Return Captum's Integrated Gradients of one finding, positive part, summed over input channels, smoothed 5x5.

    The baseline is the image's own mean grey; 16 steps. Arguments and result as :func:`gradcam`.
    """
    baseline = image.mean(dim=(-2, -1), keepdim=True).expand_as(image)
    attributions = IntegratedGradients(network).attribute(
        image, baselines=baseline, target=channel, n_steps=16, internal_batch_size=8
    )
    positive = attributions.detach().clamp(min=0).sum(1, keepdim=True).float()
    return nn.functional.avg_pool2d(positive, 5, stride=1, padding=2, count_include_pad=False)[0, 0]


METHODS: dict[str, Callable[[nn.Module, torch.Tensor, int, str], torch.Tensor]] = {
    Method.GRADCAM: gradcam,
    Method.INTEGRATED_GRADIENTS: integrated_gradients,
}


def scale_to_maximum(heat: torch.Tensor) -> torch.Tensor:
    """Return a map in [0, 1], 1 at its maximum; all 0 stays all 0."""
    maximum = heat.max()
    return heat / maximum if maximum > 0 else heat
