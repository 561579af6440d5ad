"""The provenance of a predictions file: bundle, label scheme, weights, precision and calibration."""

from pathlib import Path
from typing import Any

import torch

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.networks.inferers import autocast_dtype


def describe_predictions(
    bundle_root: str, weights: str, device: torch.device, amp: bool = True, calibration: Any = None, gate: Any = None
) -> dict[str, Any]:
    """Return the provenance that is written beside a predictions file.

    Args:
        bundle_root: the bundle.
        weights: the file in use; ``own_weights`` says whether it is the bundle's own.
        device, amp: decide the precision.
        calibration: what the probabilities went through (``cxr_monai.evaluation.fitted.Fitted``); None: raw ones.
        gate: that judges the films (``cxr_monai.gate.bundle_gate.Gate``); None: nothing is said of one.
    """
    bundle = Bundle.open(bundle_root)
    calibrated = calibration is not None and calibration.calibrates
    uncalibrated = [name for name, steps in calibration.calibrators.items() if not steps] if calibrated else []
    return {
        "bundle": bundle.digest,
        "bundle_name": bundle.title,
        "label_scheme": bundle.scheme.to_json(),
        "own_weights": Path(weights).resolve() == bundle.weights,
        "precision": str(autocast_dtype(device, amp)).removeprefix("torch."),
        "calibrated": calibrated,
        **({"uncalibrated_findings": uncalibrated} if calibrated and uncalibrated else {}),
        **({"uncalibrated_because": reason} if (reason := _why_not(calibration)) else {}),
        **({"gate": dict(gate.about)} if gate is not None else {}),
    }


def _why_not(calibration: Any) -> str:
    """Return why probabilities are not calibrated; empty where they are, or where raw ones were requested."""
    if calibration is None or calibration.calibrates:
        return ""
    return calibration.lost or " ".join(note for note in calibration.notes if "not calibrated" in note)
