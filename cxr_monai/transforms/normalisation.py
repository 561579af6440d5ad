"""Pixels in [0, 1] to the values that a network is given."""

from collections.abc import Hashable, Mapping
from enum import StrEnum
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from cxr_monai.errors import Code, SettingError
from cxr_monai.plurals import counted


class Normalisation(StrEnum):
    """The three normalisations of the diary (its entry of 5 December 2019) and TorchXRayVision's, by name."""

    IMAGENET = "imagenet"
    """Mean and standard deviation of ImageNet, what networks pre-trained there have seen."""
    ZERO_ONE = "zero_one"
    """Pixels as they are read, in [0, 1]."""
    MINUS_ONE_ONE = "minus_one_one"
    """Pixels stretched to [-1, 1]."""
    XRAY_1024 = "xray_1024"
    """Pixels stretched to [-1024, 1024], what TorchXRayVision's networks have seen (Cohen et al., arXiv 2111.00595)."""


# Means and standard deviations of ImageNet's red, green and blue (the constants of torchvision's models).
IMAGENET_MEAN = (0.485, 0.456, 0.406)


IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise(pixels: torch.Tensor, mode: str, channels: int = 1) -> torch.Tensor:
    """Map a radiograph in [0, 1] to what a network is given.

    Args:
        pixels: float ``[..., 1, H, W]`` in [0, 1].
        mode: a :class:`Normalisation`.
        channels: 1, or 3 to repeat the grey channel for networks that take RGB. ImageNet's constants are per channel
            with 3, their mean over the channels with 1.

    Returns:
        float ``[..., channels, H, W]``; ``imagenet`` about [-2.1, 2.6], ``zero_one`` [0, 1], ``minus_one_one`` [-1, 1],
        ``xray_1024`` [-1024, 1024].

    Raises:
        SettingError: ``setting-invalid`` for another mode or number of channels.
    """
    if mode not in list(Normalisation):
        raise SettingError(
            Code.SETTING_INVALID,
            f"normalisation {mode!r} does not exist; choose one of {', '.join(Normalisation)}.",
        )
    if channels not in (1, 3):
        raise SettingError(
            Code.SETTING_INVALID, f"{counted(channels, 'channel')}: a radiograph is given as 1 or 3 channels."
        )
    if channels == 3:
        pixels = pixels.expand(*pixels.shape[:-3], 3, *pixels.shape[-2:])
    if mode == Normalisation.ZERO_ONE:
        return pixels.clone() if channels == 3 else pixels
    if mode == Normalisation.MINUS_ONE_ONE:
        return pixels * 2 - 1
    if mode == Normalisation.XRAY_1024:
        return pixels * 2048 - 1024
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    if channels == 1:
        mean, std = mean.mean(), std.mean()
    return (pixels - mean.reshape(-1, 1, 1)) / std.reshape(-1, 1, 1)


class NormaliseRadiographd(MapTransform):
    """Map [0, 1] to what the network is given; see :func:`normalise`."""

    def __init__(self, keys: KeysCollection, mode: str, channels: int = 1, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        normalise(torch.zeros(1, 1, 1), mode, channels)  # refuse a wrong name now, not in a worker process
        self.mode, self.channels = mode, channels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = normalise(result[key], self.mode, self.channels)
        return result
