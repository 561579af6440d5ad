"""What an inspection says of a bundle's gate: that it is whole, what it promises, on how many films it was fitted.

Only its seal is looked at (`cxr_monai.completion`): the numbers are checked by whoever opens the gate
(`cxr_monai.gate.storage`), which loads a library that an inspection does without.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxr_monai.completion import COMPLETE, OWN_JSON, altered_files, missing_files
from cxr_monai.plurals import counted
from cxr_monai.sharing.inspection.remarks import Verdict

TENSORS_OF_GATE = "gate.safetensors"


def remark_on_gate(content: Mapping[str, Any], folder: Path) -> tuple[str, Verdict, str]:
    """Return text, verdict and reason for a gate.

    Args:
        content: of ``gate.json``.
        folder: that it lies in.
    """
    mark = content.get(COMPLETE)
    if not isinstance(mark, Mapping) or set(mark) != {TENSORS_OF_GATE, OWN_JSON}:
        return "gate.json", Verdict.REFUSED, "it is no gate of this package: it does not say that it is whole."
    if missing_files(content, folder):
        return TENSORS_OF_GATE, Verdict.REFUSED, "it is missing, and the gate's numbers are in it."
    if altered := altered_files(content, folder):
        names = ["gate.json" if name == OWN_JSON else name for name in altered]
        return ", ".join(names), Verdict.REFUSED, "the gate was cut or changed since it was written."
    return _summary(content), Verdict.ALLOWED, ""


def _summary(content: Mapping[str, Any]) -> str:
    promise, fitted_on = content.get("promise"), content.get("fitted_on")
    films = fitted_on.get("films") if isinstance(fitted_on, Mapping) else None
    patients = fitted_on.get("patients") if isinstance(fitted_on, Mapping) else None
    parts = ["a gate"]
    if type(promise) in (int, float):
        parts.append(f"refuses at most {promise:.2%} of films like those it was fitted on")
    if type(films) is int and type(patients) is int:
        parts.append(f"{counted(films, 'film')} of {counted(patients, 'patient')}")
    return ", ".join(parts)
