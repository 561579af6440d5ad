"""Attribution methods (class activation maps, gradients, occlusion) by name, behind one interface.

    maps = explain_with("gradcam", network, images, channels=[0, 3])        # [B, C, H, W] -> [B, 2, h, w]

`MAP_METHODS` lists what each can and cannot show. Some read a layer's features (their maps have its grid), others the
pixels. The layer to explain in MONAI's DenseNet is ``class_layers.relu``: ``features`` ends before the last ReLU, and
gives another map. Activations that work in place, as DenseNet's do by default, break the hooks of MONAI and Captum:
every method but ``cam`` therefore works on a copy in which they do not.
"""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from captum.attr import GuidedBackprop, IntegratedGradients, LayerAttribution, LayerGradCam, Occlusion
from monai.visualize import GradCAM, GradCAMpp
from torch import nn

from cxr_monai.attribution.view import PointGrid, weights_at
from cxr_monai.errors import Code, SettingError
from cxr_monai.networks.class_maps import ClassMaps, evaluating, grid_points
from cxr_monai.networks.fixed_batches import evenly
from cxr_monai.networks.heads import INDEPENDENT, Head, with_head

Maps = Callable[[nn.Module, torch.Tensor, Sequence[int], str, Head], torch.Tensor]

LAST, EARLY = "class_layers.relu", "features.transition1.relu"
"""Layers of MONAI's DenseNets: the last features, and those of the first block (a fourth of the input's side)."""
_PATH_STEPS = 16
"""Of the path that Integrated Gradients follow."""
_PATCHES = 14
"""Occlusion's patch is a seventh of the image's side, moved by a fourteenth."""


class Method(StrEnum):
    """Methods by name."""

    CAM = "cam"
    GRADCAM = "gradcam"
    GRADCAM_PP = "gradcam++"
    LAYER_GRADCAM = "layer_gradcam"
    LAYERCAM = "layercam"
    CAM_LAYERCAM = "cam_layercam"
    INTEGRATED_GRADIENTS = "integrated_gradients"
    GUIDED_GRADCAM = "guided_gradcam"
    OCCLUSION = "occlusion"


@dataclass(frozen=True)
class MapMethod:
    """An attribution method and its description.

    Attributes:
        maps: ``(network, images [B, C, H, W], channels, target_layer, head)`` to ``[B, K, h, w]``, at least 0. The head
            is a part of the network that most methods are given; class maps need it apart.
        by: whose code computes it.
        source: where it comes from.
        shows: what its map shows.
        not_shown: what it cannot show.
        layer: the layer that it explains by default, whose grid its maps have; None: it explains none.
    """

    maps: Maps
    by: str
    source: str
    shows: str
    not_shown: str
    layer: str | None = None


def explain_with(
    name: str,
    network: nn.Module,
    images: torch.Tensor,
    channels: Sequence[int],
    target_layer: str | None = None,
    head: Head = INDEPENDENT,
) -> torch.Tensor:
    """Return maps of some labels by a method.

    Args:
        name: a :class:`Method`.
        network: float32; it is put into evaluation mode for the time, and never changed otherwise.
        images: float32 ``[B, C, H, W]``, as the network is given them.
        channels: K of the head's labels.
        target_layer: a module's name, for the methods that explain a layer; the method's own choice where None.
        head: of the network; what is explained are its labels' log-odds.

    Returns:
        float32 ``[B, K, h, w]``, at least 0; 0 everywhere where nothing speaks for a finding. Only ratios within one
        map mean anything, except for ``cam`` of independent labels, whose unit is the logit's (its mean over the grid
        is what it adds to it).

    Raises:
        SettingError: ``setting-invalid`` for an unknown method, layer or channel, or a network without what is needed.
    """
    method = method_named(name)
    if images.ndim != 4:
        raise SettingError(Code.SETTING_INVALID, f"images of shape {tuple(images.shape)}: [B, C, H, W] is needed.")
    layer = target_layer or method.layer or ""
    if method.layer:
        check_layer(network, layer)
    result = network if name == Method.CAM else without_in_place(network)
    with evaluating(result):
        whole = result if name in (Method.CAM, Method.CAM_LAYERCAM) else with_head(result, head)
        maps = method.maps(whole, images.detach().clone().requires_grad_(), list(channels), layer, head)
    return maps.detach().float().clamp(min=0)


def method_named(name: str) -> MapMethod:
    """Return the attribution method of a name.

    Raises:
        SettingError: ``setting-invalid``, listing the methods.
    """
    if name not in MAP_METHODS:
        raise SettingError(Code.SETTING_INVALID, f"there is no method {name!r}; there are {', '.join(MAP_METHODS)}.")
    return MAP_METHODS[name]


def check_layer(network: nn.Module, target_layer: str) -> None:
    """Refuse a layer that the network does not have.

    Args:
        network: any.
        target_layer: a module's name.

    Raises:
        SettingError: ``setting-invalid``, listing the last activations and blocks.
    """
    layers = dict(network.named_modules())
    if target_layer not in layers or not target_layer:
        activations = [name for name, layer in layers.items() if isinstance(layer, nn.ReLU | nn.SiLU | nn.GELU)][-3:]
        blocks = [name for name, layer in layers.items() if name.count(".") == 1 and len(list(layer.children())) > 1]
        names = ", ".join(activations + blocks[-3:]) or "none"
        raise SettingError(
            Code.SETTING_INVALID,
            f"the network has no layer {target_layer!r}.",
            fix=f"Name another with --target_layer; its last activations and blocks are {names}.",
        )


def without_in_place(network: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode in which no activation overwrites its input; its outputs are the same.

    Gradients flow through it and not to its weights, which halves their cost.
    """
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    for layer in copied.modules():
        if getattr(layer, "inplace", False):
            layer.inplace = False  # type: ignore[assignment]
    return copied


def _cam(network: nn.Module, images: torch.Tensor, channels: Sequence[int], layer: str, head: Head) -> torch.Tensor:
    with torch.inference_mode():
        maps = ClassMaps(network, images.shape[1:], head=head)(images)[1][:, channels]
    return maps.clone()


def _monai(kind: type[GradCAM]) -> Maps:
    def maps(network: nn.Module, images: torch.Tensor, channels: Sequence[int], layer: str, head: Head) -> torch.Tensor:
        # on the layer's own grid: MONAI would enlarge and rescale each map
        camera = kind(
            nn_module=network,
            target_layers=layer,
            upsampler=lambda size: nn.Identity(),
            postprocessing=lambda heat: heat,
        )
        # an image at a time: GradCAMpp multiplies by the scores of a whole batch as if it were one image's
        rows = [[camera(x=image, class_idx=channel).detach() for channel in channels] for image in images.split(1)]
        return torch.cat([torch.cat(row, dim=1) for row in rows])

    return maps


def _layer_gradcam(
    network: nn.Module, images: torch.Tensor, channels: Sequence[int], layer: str, head: Head
) -> torch.Tensor:
    camera = LayerGradCam(network, network.get_submodule(layer))
    attributions = [camera.attribute(images, target=channel, relu_attributions=True).detach() for channel in channels]
    return torch.cat(attributions, dim=1)


def _layercam(
    network: nn.Module, images: torch.Tensor, channels: Sequence[int], layer: str, head: Head = INDEPENDENT
) -> torch.Tensor:
    # one forward pass for all channels, and backward passes that end at the layer; Captum would run the network anew
    activations: list[torch.Tensor] = []

    def cut(module: nn.Module, inputs: tuple[torch.Tensor, ...], features: torch.Tensor) -> torch.Tensor:
        activations.append(features.detach().requires_grad_())
        return activations[-1]

    handle = network.get_submodule(layer).register_forward_hook(cut)
    try:
        with torch.enable_grad():
            logits = network(images.detach())
            maps = []
            for channel in channels:
                (gradient,) = torch.autograd.grad(logits[:, channel].sum(), activations[0], retain_graph=True)
                maps.append((gradient.clamp(min=0) * activations[0].detach()).sum(1).clamp(min=0))
    finally:
        handle.remove()
    return torch.stack(maps, dim=1)


def cam_times_layercam(
    class_maps: ClassMaps,
    network: nn.Module,
    images: torch.Tensor,
    channels: Sequence[int],
    layer: str,
    points: PointGrid | None = None,
) -> torch.Tensor:
    """Return class activation maps times LayerCAM of an earlier layer, in shares of their maxima, on the finer grid.

    Args:
        class_maps: of the network, of any stride.
        network, images, channels: as :func:`explain_with`; the network with its head, without activations in place.
        layer: the earlier one.
        points: of its grid (``grid_points``), where they are known already.
    """
    with torch.inference_mode():
        coarse = evenly(class_maps, images)[1][:, channels].clamp(min=0)
    fine = _layercam(network, images, channels, layer)
    first, step = points or grid_points(network, images.shape[1:], fine.shape[-1])
    places = first + step * np.arange(fine.shape[-1])
    between = torch.from_numpy(weights_at(places, coarse.shape[-1], class_maps.points)).to(coarse)
    return _shares(between @ coarse @ between.T) * _shares(fine)


def _shares(maps: torch.Tensor) -> torch.Tensor:
    highest = maps.amax((-2, -1), keepdim=True)
    return maps / highest.where(highest > 0, 1.0)


def _cam_layercam(
    network: nn.Module, images: torch.Tensor, channels: Sequence[int], layer: str, head: Head
) -> torch.Tensor:
    class_maps = ClassMaps(network, images.shape[1:], head=head)
    return cam_times_layercam(class_maps, with_head(network, head), images, channels, layer)


def _integrated_gradients(
    network: nn.Module, images: torch.Tensor, channels: Sequence[int], layer: str, head: Head
) -> torch.Tensor:
    baseline = images.mean(dim=(-2, -1), keepdim=True).expand_as(images)
    method = IntegratedGradients(network)
    attributions = [
        method.attribute(images, baselines=baseline, target=channel, n_steps=_PATH_STEPS, internal_batch_size=max(8,
        len(images))) for channel in channels
    ]  # fmt: skip
    return torch.stack([one.detach().clamp(min=0).sum(1) for one in attributions], dim=1).float()


def _guided_gradcam(
    network: nn.Module, images: torch.Tensor, channels: Sequence[int], layer: str, head: Head
) -> torch.Tensor:
    # Captum's own GuidedGradCam ties both together; apart, the two hooks never meet on one layer
    coarse = _layer_gradcam(network, images, channels, layer, head)
    enlarged = LayerAttribution.interpolate(coarse, tuple(images.shape[-2:]), "bilinear")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU", UserWarning)
        guided = GuidedBackprop(network)
        attributions = [guided.attribute(images, target=channel).detach() for channel in channels]
    return torch.stack([one.clamp(min=0).sum(1) for one in attributions], dim=1) * enlarged


def _occlusion(
    network: nn.Module, images: torch.Tensor, channels: Sequence[int], layer: str, head: Head
) -> torch.Tensor:
    step = max(1, images.shape[-1] // _PATCHES)
    baseline = images.mean(dim=(-2, -1), keepdim=True).expand_as(images)
    method = Occlusion(network)
    maps = [
        method.attribute(
            images,
            sliding_window_shapes=(images.shape[1], 2 * step, 2 * step),
            strides=(1, step, step),
            baselines=baseline,
            target=channel,
            perturbations_per_eval=max(1, 16 // len(images)),
        )
        for channel in channels
    ]
    return torch.stack([one.detach().mean(1) for one in maps], dim=1)


MAP_METHODS: dict[str, MapMethod] = {
    Method.CAM: MapMethod(
        _cam,
        "this package",
        "Zhou et al. 2016, arXiv 1512.04150",
        "What each place of the last feature grid adds to the finding's logit, exactly, in one forward pass for all.",
        "Anything finer than that grid, or what an earlier layer saw; only networks that end in average pooling and "
        "one linear layer have it.",
    ),
    Method.GRADCAM: MapMethod(
        _monai(GradCAM),
        "MONAI",
        "Selvaraju et al. 2017, arXiv 1610.02391",
        "Where a layer's features, weighted by their mean gradient, speak for the finding; any layer of any "
        "convolutional network.",
        "On layers before the last, mean gradients mix what speaks for and against: maps there often fit no finding.",
        LAST,
    ),
    Method.GRADCAM_PP: MapMethod(
        _monai(GradCAMpp),
        "MONAI",
        "Chattopadhay et al. 2018, arXiv 1710.11063",
        "As GradCAM, with positive gradients weighted so that several places of one finding show alike.",
        "What speaks against a finding; its weights rest on an approximation of higher derivatives.",
        LAST,
    ),
    Method.LAYER_GRADCAM: MapMethod(
        _layer_gradcam,
        "Captum",
        "Selvaraju et al. 2017, arXiv 1610.02391",
        "The same as gradcam, by another library: the two agree, which is tested.",
        "As gradcam.",
        LAST,
    ),
    Method.LAYERCAM: MapMethod(
        _layercam,
        "this package",
        "Jiang et al. 2021, doi:10.1109/TIP.2021.3089943",
        "Each place's features weighted by their own positive gradient there: earlier, finer layers become readable.",
        "What speaks against a finding; early layers show edges whatever the finding.",
        EARLY,
    ),
    Method.CAM_LAYERCAM: MapMethod(
        _cam_layercam,
        "this package",
        "docs/heat-maps.md; after Jiang et al. 2021, who fuse layers by their maximum",
        "What an early, fine layer saw, where the last one speaks for the finding: narrower than either.",
        "As layercam; a place that either misses is lost, and only ratios mean anything.",
        EARLY,
    ),
    Method.INTEGRATED_GRADIENTS: MapMethod(
        _integrated_gradients,
        "Captum",
        "Sundararajan et al. 2017, arXiv 1703.01365",
        "Which pixels raise the finding's score above that of an even image of the same mean grey.",
        "Regions: pixels scatter along edges; the result depends on the baseline.",
    ),
    Method.GUIDED_GRADCAM: MapMethod(
        _guided_gradcam,
        "Captum",
        "Selvaraju et al. 2017, arXiv 1610.02391; Springenberg et al. 2014, arXiv 1412.6806",
        "Edges within the region that GradCAM names.",
        "What the network learned: guided backpropagation hardly changes when weights are random (Adebayo et al.).",
        LAST,
    ),
    Method.OCCLUSION: MapMethod(
        _occlusion,
        "Captum",
        "Zeiler and Fergus 2014, arXiv 1311.2901",
        "By how much the score falls when a patch is covered by mean grey: a measurement, without any gradient.",
        "Anything smaller than a patch, or that a covered patch itself looks like; some 200 forward passes an image.",
    ),
}
"""All methods."""
