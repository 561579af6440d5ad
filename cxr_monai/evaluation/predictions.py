"""The predictions file: ``image`` and one probability a finding, with what is needed to trust it beside it.

``P.csv`` holds ``image`` and one column a finding, each in [0, 1]; ``P.csv.json`` says which bundle, which precision,
and whether the values are calibrated; ``P.csv.errors.csv`` lists the files that were left out (``image, code,
reason``) and exists only if there are any.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.data.files import write_errors


def write_predictions(
    path: str | Path,
    images: Sequence[str],
    probabilities: np.ndarray,
    findings: Sequence[str],
    about: Mapping[str, Any],
    errors: Sequence[tuple[str, str, str]] = (),
) -> None:
    """Write one predictions file and its companions.

    Args:
        path: of the CSV (``.gz`` is compressed).
        images: N names, unique.
        probabilities: float ``[N, F]`` in [0, 1].
        findings: F names.
        about: what stands in the JSON beside it: bundle, digest, precision, calibrated.
        errors: image, stable code and reason of each file left out.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(probabilities, columns=list(findings))
    table.insert(0, "image", list(images))
    table.to_csv(path, index=False, float_format="%.8g")
    path.with_name(path.name + ".json").write_text(json.dumps(dict(about), indent=2) + "\n", encoding="utf-8")
    write_errors(path, errors)
