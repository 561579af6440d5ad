"""How a network is run: bfloat16 where the processor has the instructions, and several crops as one answer.

MONAI's engines hard-code ``torch.autocast("cuda")``, so their ``amp`` does nothing on a CPU. The forward pass happens
in the inferer, which is where this belongs: loss and backward pass stay outside, as PyTorch recommends.
"""

import logging
from typing import Any

import torch
from monai.inferers import Inferer

logger = logging.getLogger(__name__)


def bfloat16_supported(device: torch.device) -> bool:
    """Tell whether the device computes in bfloat16 natively (AVX512-BF16 or AMX on x86; Ampere and later of NVIDIA)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast_dtype(device: torch.device, amp: bool) -> torch.dtype:
    """Return the type that the forward pass computes in."""
    return torch.bfloat16 if amp and bfloat16_supported(device) else torch.float32


class AutocastInferer(Inferer):
    """Run a network in bfloat16 where the device has it, else in float32 (said once in the log).

    Args:
        amp: False computes in float32 everywhere.

    Returns float32 logits ``[B, F]`` for images ``[B, C, H, W]``; crops ``[B, N, C, H, W]`` (``TenCropd``) give the
    mean of their logits.
    """

    def __init__(self, amp: bool = True) -> None:
        super().__init__()
        self.amp = amp
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
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = network(images, *args, **kwargs)
        logits = logits.float()
        return logits.unflatten(0, (-1, crops)).mean(1) if crops else logits
