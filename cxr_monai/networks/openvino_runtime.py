"""A network as an OpenVINO model: the exported runtime of ``cxr-monai predict --runtime openvino``.

OpenVINO (Apache-2.0, optional: ``pip install cxr-monai[openvino]``) compiles the traced graph for the processor;
it has bfloat16, where ONNX Runtime is as fast in float32 only (docs/performance.md). The graph goes through OpenVINO's
PyTorch front end itself, not through ``convert_model``, which reports its use over the network unless told not to.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn

from cxr_monai.errors import Code, SettingError


def openvino_network(network: nn.Module, shape: tuple[int, ...], amp: bool = True) -> nn.Module:
    """Return a network that OpenVINO runs on the processor.

    Args:
        network: in evaluation mode, on the CPU.
        shape: of one image, ``[C, H, W]``.
        amp: bfloat16 where the processor has it; False computes in float32.

    Returns:
        a module that takes float32 ``[B, C, H, W]`` and gives what the network gives: a tensor, or several as a tuple.

    Raises:
        SettingError: ``runtime-missing`` without OpenVINO.
    """
    try:
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    except ImportError as error:
        raise SettingError(
            Code.RUNTIME_MISSING,
            "OpenVINO is not installed.",
            fix="Install it with 'pip install cxr-monai[openvino]', or leave --runtime out.",
        ) from error
    decoder = TorchScriptPythonDecoder(network, example_input=torch.zeros(2, *shape))
    front_end = FrontEndManager().load_by_framework("pytorch")
    model = front_end.convert(front_end.load(decoder))
    model.reshape([-1, *shape])
    settings = {"INFERENCE_PRECISION_HINT": "bf16" if amp else "f32"}
    return _Compiled(_core(openvino).compile_model(model, "CPU", settings))


@lru_cache
def _core(openvino: Any) -> Any:
    """Return the process' one core: each installs a signal stack, and two that are freed leave one that is gone."""
    return openvino.Core()


class _Compiled(nn.Module):
    def __init__(self, model: object) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> Any:
        outputs = self.model(np.ascontiguousarray(images.numpy())).values()  # type: ignore[operator]
        copies = tuple(torch.from_numpy(output.copy()) for output in outputs)
        return copies if len(copies) > 1 else copies[0]
