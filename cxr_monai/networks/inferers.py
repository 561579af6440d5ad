"""Inferers, which run networks: in bfloat16 where the processor has the instructions, several crops as one image.

MONAI's engines hard-code ``torch.autocast("cuda")``, so their ``amp`` does nothing on a CPU. The forward pass happens
in the inferer, which is where this belongs: loss and backward pass stay outside, as PyTorch recommends.
"""

import logging
from typing import Any

import torch
from monai.inferers import Inferer

from cxr_monai.networks.heads import INDEPENDENT, Head

logger = logging.getLogger(__name__)


def bfloat16_supported(device: torch.device) -> bool:
    """Return whether a device computes in bfloat16 natively (AVX512-BF16 or AMX on x86; NVIDIA's Ampere and later)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast_dtype(device: torch.device, amp: bool) -> torch.dtype:
    """Return the type that the forward pass computes in: bfloat16, float16 on GPUs without it, else float32.

    Args:
        device: where the network computes.
        amp: False gives float32.

    Gradients of float16 need scaling, which the training's step does.
    """
    if not amp:
        return torch.float32
    if bfloat16_supported(device):
        return torch.bfloat16
    return torch.float16 if device.type == "cuda" else torch.float32


class AutocastInferer(Inferer):
    """Run a network in bfloat16 where the device has it (float16 on older GPUs), else in float32 (the log says so).

    Args:
        amp: False computes in float32 everywhere.
        head: makes the labels' log-odds of the network's outputs, in float32.

    Returns float32 log-odds ``[B, F]`` for images ``[B, C, H, W]``. Of crops ``[B, N, C, H, W]`` (``TenCropd``) the
    network's outputs are averaged before the head, so that what it promises (probabilities that add up to 1, or that
    don't contradict each other) holds for the mean too.
    """

    def __init__(self, amp: bool = True, head: Head = INDEPENDENT) -> None:
        super().__init__()
        self.amp, self.head = amp, head
        self._said = False

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        dtype = autocast_dtype(inputs.device, self.amp)
        if not self._said:
            self._said = True
            if self.amp and dtype == torch.float32:
                logger.info("amp: this %s has no bfloat16 instructions, computing in float32", inputs.device.type)
        crops = inputs.shape[1] if inputs.ndim == 5 else None
        images = inputs.flatten(0, 1) if crops else inputs
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(inputs.device.type, dtype=dtype, enabled=dtype != torch.float32):
            logits = network(images, *args, **kwargs)
        logits = logits.float()
        return self.head(logits.unflatten(0, (-1, crops)).mean(1) if crops else logits)
