"""The fastest way to a network's outputs on a device that agrees with the network itself.

On a CPU with bfloat16 instructions that is a fused copy (``cxr_monai.networks.fusion``) in batches of one size; where
that differs too much from the network in float32, and on every other device, the network as it is.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cxr_monai.errors import Code, SettingError
from cxr_monai.networks.class_maps import ClassMaps
from cxr_monai.networks.fixed_batches import FixedBatches
from cxr_monai.networks.fusion import TOLERANCE, for_prediction, largest_difference
from cxr_monai.networks.heads import Head, with_head
from cxr_monai.networks.inferers import AutocastInferer, bfloat16_supported
from cxr_monai.networks.openvino_runtime import openvino_network
from cxr_monai.networks.pooled_depths import WithPooledFeatures

logger = logging.getLogger(__name__)

RUNTIMES = ("torch", "openvino")


def check_runtime(runtime: str, device: torch.device) -> None:
    """Refuse a runtime that does not exist, or that the device lacks.

    Raises:
        SettingError: ``setting-invalid``.
    """
    if runtime not in RUNTIMES or (runtime != "torch" and device.type != "cpu"):
        raise SettingError(
            Code.SETTING_INVALID,
            f"runtime {runtime!r} on {device.type}: there are {' and '.join(RUNTIMES)}, the latter on CPUs.",
        )


@dataclass(frozen=True, eq=False)
class Computation:
    """A network made ready for prediction.

    Attributes:
        network: gives the outputs ``[B, K]`` of images ``[B, C, H, W]``; with layers, their pooled features, too.
        inferer: runs it in the right precision and applies the head: log-odds ``[B, F]``.
        amp: bfloat16 is used where the device has it.
        layers: whose pooled features the network gives (``cxr_monai.networks.pooled_depths``); empty for none.
    """

    network: nn.Module
    inferer: AutocastInferer
    amp: bool
    layers: tuple[str, ...] = ()

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return the labels' log-odds, float32 ``[B, F]``, for images ``[B, C, H, W]`` on the device."""
        return self.logits_and_features(images)[0]

    def logits_and_features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return log-odds as :meth:`logits`, and the pooled features, float32 ``[B, D]``; None without layers."""
        if not self.layers:
            return self.inferer(images, self.network), None
        features: list[torch.Tensor] = []

        def outputs_of(batch: torch.Tensor) -> torch.Tensor:
            outputs, pooled = self.network(batch)
            features.append(pooled)
            return outputs

        return self.inferer(images, outputs_of), features[0]


def fastest_computation(
    network: nn.Module,
    shape: Sequence[int],
    head: Head,
    device: torch.device,
    runtime: str,
    amp: bool,
    layers: Sequence[str] = (),
) -> Computation:
    """Return the fastest computation of a network's log-odds.

    Args:
        network: in evaluation mode, float32, on the device.
        shape: ``[C, H, W]`` of an image.
        head: of the network.
        device: a CPU or GPU.
        runtime: ``torch`` or ``openvino``.
        amp: bfloat16 where the device has it.
        layers: whose pooled features are wanted beside the log-odds.

    Raises:
        SettingError: ``runtime-missing`` without OpenVINO; ``setting-invalid`` as :func:`check_runtime`.
    """
    check_runtime(runtime, device)
    low, size, layers = amp and bfloat16_supported(device), tuple(shape[-3:]), tuple(layers)

    def with_features(computed: nn.Module) -> nn.Module:
        return WithPooledFeatures(computed, layers) if layers else computed

    if runtime == "openvino":
        wanted = with_features(network)
        compiled = openvino_network(wanted, size, low)
        if low and not largest_difference(network, lambda images: _outputs(compiled(images)), size, head) <= TOLERANCE:
            logger.warning("OpenVINO computes in float32: in bfloat16 its probabilities differ too much")
            compiled, amp = openvino_network(wanted, size, False), False
        return Computation(compiled, AutocastInferer(False, head), amp, layers)
    if device.type == "cpu" and low:
        fused = for_prediction(network, size, head)
        inferer = AutocastInferer(fused is network, head)
        return Computation(FixedBatches(with_features(fused), size), inferer, amp, layers)
    return Computation(with_features(network), AutocastInferer(amp, head), amp, layers)


def _outputs(given: Any) -> torch.Tensor:
    """Return a network's outputs, without features."""
    return given[0] if isinstance(given, tuple) else given


def fastest_class_maps(
    network: nn.Module, shape: Sequence[int], stride: int | None, head: Head, device: torch.device, amp: bool
) -> ClassMaps:
    """Return the fastest computation of log-odds and class activation maps; arguments as `fastest_computation`.

    Args:
        stride: pixels of the input between two points of a map; the network's own where None.

    Raises:
        SettingError: ``setting-invalid`` as ``cxr_monai.networks.class_maps.ClassMaps``.
    """
    exact = ClassMaps(network, shape, stride, head=head).to(device)
    if not (amp and device.type == "cpu" and bfloat16_supported(device)):
        return exact
    try:
        fused = ClassMaps(network, shape, stride, fast=True, head=head)
        difference = largest_difference(with_head(network, head), lambda images: fused(images)[0], tuple(shape))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        logger.info("maps with the network as it is: it cannot be folded (%s)", error)
        return exact
    if not difference <= TOLERANCE:
        logger.info("maps with the network as it is: folded, a probability differs by %.3g", difference)
        return exact
    return fused
