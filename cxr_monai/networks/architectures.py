"""MONAI's networks by name: ``--network_def ResNet50`` is short for a whole definition.

    network_definition("ResNet50", image_size=224, in_channels=1, outputs=14)
    # {"_target_": "ResNet", "block": "bottleneck", ..., "n_input_channels": 1, "num_classes": 14}

A definition names a class of MONAI and its arguments, nothing of this package, so the weights load without it. Any
other network is given as such a dictionary. docs/networks.md tells what works for which.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from cxr_monai.errors import Code, SettingError

PATCH = 16
"""Pixels of the side of ViT's patches."""

# heat maps that read a layer need ReLUs that do not overwrite it
_ACT: dict[str, Any] = {"act": ["RELU", {"inplace": False}]}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "DenseNet121": {"_target_": "DenseNet121", **_ACT},
    "DenseNet169": {"_target_": "DenseNet169", **_ACT},
    "DenseNet201": {"_target_": "DenseNet201", **_ACT},
    # as He et al. describe it: MONAI's own default keeps the first convolution's stride at 1, and adds biases
    "ResNet50": {
        "_target_": "ResNet",
        "block": "bottleneck",
        "layers": [3, 4, 6, 3],
        "block_inplanes": [64, 128, 256, 512],
        "conv1_t_stride": 2,
        "bias_downsample": False,
        **_ACT,
    },
    "SEResNet50": {"_target_": "SEResNet50"},
    **{
        f"EfficientNet-B{size}": {
            "_target_": "EfficientNetBN",
            "model_name": f"efficientnet-b{size}",
            "pretrained": False,
        }
        for size in range(5)
    },
    # ViT-B/16; "none" means no activation after the classifier, where MONAI's default is a tanh
    "ViT": {"_target_": "ViT", "patch_size": PATCH, "classification": True, "post_activation": "none"},
}
"""Definitions by name, without the numbers of inputs and outputs and without ViT's image size."""

# arguments of MONAI's classes for the channels of input and output, where not in_channels and out_channels
_ARGUMENTS = {
    "ResNet": ("n_input_channels", "num_classes"),
    "SEResNet50": ("in_channels", "num_classes"),
    "EfficientNetBN": ("in_channels", "num_classes"),
    "ViT": ("in_channels", "num_classes"),
}


def network_definition(name: str, image_size: int, in_channels: int, outputs: int | str) -> dict[str, Any]:
    """Return the definition of a network of MONAI, as it stands in a bundle's configurations.

    Args:
        name: one of :data:`ARCHITECTURES`, whatever the case.
        image_size: rows and columns of an image; a multiple of 16 for ViT, whose weights know their places.
        in_channels: of an image.
        outputs: how many, or an expression of the configuration that says so.

    Raises:
        SettingError: ``setting-invalid`` for another name, listing those there are, or a size that ViT does not take;
            ``runtime-missing`` for ViT without the package that MONAI's needs.

    >>> network_definition("DenseNet121", 224, 1, 14)["_target_"]
    'DenseNet121'
    """
    names = {key.lower(): key for key in ARCHITECTURES}
    if name.lower() not in names:
        raise SettingError(
            Code.SETTING_INVALID,
            f"--network_def {name!r}: by name there are {', '.join(ARCHITECTURES)}.",
            fix="Give any other network of MONAI as its definition: \"{'_target_': 'DenseNet264', 'spatial_dims': 2, "
            "'in_channels': 1, 'out_channels': '$len(@findings)'}\".",
        )
    definition = {**ARCHITECTURES[names[name.lower()]], "spatial_dims": 2}
    for argument, value in zip(_arguments(definition), (in_channels, outputs), strict=True):
        definition[argument] = value
    if definition["_target_"] == "ViT":
        if find_spec("einops") is None:
            raise SettingError(
                Code.RUNTIME_MISSING, "MONAI's ViT needs the package einops.", fix="Install it: pip install einops."
            )
        if image_size % PATCH:
            raise SettingError(
                Code.SETTING_INVALID,
                f"--image_size {image_size}: ViT reads patches of {PATCH}x{PATCH} pixels, and takes multiples of it.",
                fix=f"Choose {max(image_size // PATCH, 2) * PATCH}.",
            )
        definition["img_size"] = [image_size, image_size]
    return definition


def in_channels_of(network_def: Mapping[str, Any]) -> int:
    """Return how many channels a definition takes; 1 where it does not say so in figures."""
    value = network_def.get(_arguments(network_def)[0])
    return value if isinstance(value, int) else 1


def with_outputs(network_def: Mapping[str, Any], outputs: int | str) -> dict[str, Any]:
    """Return a copy of a network's definition with another number of outputs.

    Args:
        network_def: a network's definition.
        outputs: their number, or an expression of the configuration for it.

    >>> with_outputs({"_target_": "DenseNet121", "in_channels": 1, "out_channels": 14}, 1)
    {'_target_': 'DenseNet121', 'in_channels': 1, 'out_channels': 1}
    """
    return {**network_def, _arguments(network_def)[1]: outputs}


def _arguments(network_def: Mapping[str, Any]) -> tuple[str, str]:
    return _ARGUMENTS.get(str(network_def["_target_"]), ("in_channels", "out_channels"))


def check_image_size(network_def: Any, image_size: Any) -> None:
    """Refuse an image size that differs from that of a network with position embeddings (ViT).

    Args:
        network_def: the network's definition; any without ``img_size`` passes.
        image_size: rows and columns of an image, in pixels.

    Raises:
        SettingError: ``setting-invalid``, naming both sizes.
    """
    size = network_def.get("img_size") if isinstance(network_def, Mapping) else None
    if isinstance(size, list) and all(isinstance(side, int) for side in size) and set(size) != {image_size}:
        raise SettingError(
            Code.SETTING_INVALID,
            f"image_size is {image_size}, but the network is made for {size}: it has weights for each place.",
            fix=f"Leave image_size at {size[0]}, or start a new network: --network_def ViT.",
        )


STRIDE = 32
"""Pixels of the image behind one place of the last grid of DenseNet, ResNet and their like."""


def image_size_remark(image_size: Any) -> str:
    """Return a remark on an image size that is no multiple of 32 pixels; empty for others (docs/heat-maps.md).

    >>> image_size_remark(224)
    ''
    """
    if not isinstance(image_size, int) or image_size % STRIDE == 0:
        return ""
    near = sorted({max(1, image_size // STRIDE) * STRIDE, (image_size // STRIDE + 1) * STRIDE})
    return (
        f"image_size {image_size} is no multiple of {STRIDE}: the network drops the last rows and columns of its grid "
        "and learns to show what it sees up and left of where it is, so heat maps are displaced; better "
        f"{' or '.join(map(str, near))}"
    )


def input_channels(network: nn.Module) -> int:
    """Return how many channels a network takes: those of its first convolution, as a program's weights show it too.

    Raises:
        SettingError: ``setting-invalid`` for a network without a convolution.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            return layer.in_channels
    if isinstance(network, torch.jit.ScriptModule):
        for weights in network.parameters():
            if weights.ndim == 4:
                return int(weights.shape[1])
    raise SettingError(
        Code.SETTING_INVALID,
        f"{type(network).__name__} has no convolution that would tell how many channels it takes.",
        fix="Choose a network that reads images; by name there are " + ", ".join(ARCHITECTURES) + ".",
    )
