"""What an inspection thinks of a file of weights; ``cxr_monai.networks.weights_files`` reads it."""

from pathlib import Path

from cxr_monai.networks import weights_files
from cxr_monai.networks.weights_files import LARGEST_PICKLE as LARGEST_PICKLE
from cxr_monai.sharing.inspection.remarks import Verdict

WeightsRemark = tuple[str, Verdict, str]
"""What was found, the verdict, the reason."""


def remarks_on_weights(path: Path) -> list[WeightsRemark]:
    """Examine one file of weights; an empty list means plain tensors of honest sizes.

    Args:
        path: ``.pt`` or ``.pth`` of torch, ``.ts`` of TorchScript, or ``.safetensors``. A program is refused in the
            first two: what loads weights would run it.
    """
    examined = weights_files.examine_weights(path)
    found = [(text, Verdict.REFUSED, reason) for _, text, reason in examined.objections]
    if examined.program:
        what = "a program that torch.jit runs: the network itself, compiled"
        told: WeightsRemark = ("TorchScript", Verdict.ATTENTION, f"{what}.")
        if path.suffix != ".ts":
            told = ("TorchScript", Verdict.REFUSED, f"{what}; such a file ends in .ts, and this one is for weights.")
        found.insert(0, told)
    return found
