"""Probabilities through a bundle's calibration."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform


class CalibrateProbabilitiesd(MapTransform):
    """Probabilities through a bundle's calibration; as they are where it has none.

    For the key ``pred``, ``pred_calibrated`` tells whether they went through one; where they ought to have and did not,
    ``pred_uncalibrated_because`` tells why.

    Args:
        keys: tensors ``[..., F]`` in [0, 1].
        calibration: something with ``apply(probabilities [N, F], findings)``
            (``cxr_monai.evaluation.fitted.Fitted``), or None.
        findings: the F names.
    """

    def __init__(self, keys: KeysCollection, calibration: Any, findings: Sequence[str]) -> None:
        super().__init__(keys)
        self.calibration, self.findings = calibration, list(findings)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[f"{key}_calibrated"] = bool(getattr(self.calibration, "calibrates", self.calibration is not None))
            if lost := getattr(self.calibration, "lost", ""):
                result[f"{key}_uncalibrated_because"] = lost
            if self.calibration is None:
                continue
            raw = torch.as_tensor(result[key])
            rows = raw.detach().cpu().double().reshape(-1, len(self.findings)).numpy()
            result[key] = torch.from_numpy(self.calibration.apply(rows, self.findings)).reshape(raw.shape).to(raw)
        return result
