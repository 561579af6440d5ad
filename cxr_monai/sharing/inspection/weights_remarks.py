"""Verdicts of an inspection on a weights file, which ``cxr_monai.networks.weights_files`` reads."""

from pathlib import Path

from cxr_monai.networks import weights_files
from cxr_monai.networks.weights_files import LARGEST_PICKLE as LARGEST_PICKLE
from cxr_monai.sharing.inspection.remarks import Verdict

WeightsRemark = tuple[str, Verdict, str]
"""The text found in the file, the verdict, the reason."""


def remarks_on_weights(path: Path) -> list[WeightsRemark]:
    """Return the remarks on one weights file; none for plain tensors of plausible sizes.

    Args:
        path: ``.pt`` or ``.pth`` of torch, ``.ts`` of TorchScript, or ``.safetensors``. A program is refused in the
            first two: what loads weights would run it.
    """
    examined = weights_files.examine_weights(path)
    remarks = [(text, Verdict.REFUSED, reason) for _, text, reason in examined.objections]
    if examined.program:
        description = "a program that torch.jit runs: the network itself, compiled"
        program: WeightsRemark = ("TorchScript", Verdict.ATTENTION, f"{description}.")
        if path.suffix != ".ts":
            reason = f"{description}; such a file ends in .ts, and this one is for weights."
            program = ("TorchScript", Verdict.REFUSED, reason)
        remarks.insert(0, program)
    return remarks
