"""The whole way: the bundle ``cxr_transfer`` run from Python, as ``python -m monai.bundle run`` does.

result = finetune_network(FineTuneTask("OUT/bundle", "M.csv"), "Pneumonia", "pneumonia", {"epochs": 20})
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cxr_monai.bundle.shipped import shipped
from cxr_monai.finetune.against_parent import FineTuneResult
from cxr_monai.finetune.task import FineTuneTask
from cxr_monai.workflows.run.in_process import run_configuration


def finetune_network(
    task: FineTuneTask, disease: str, out: str | Path, overrides: Mapping[str, Any] | None = None
) -> FineTuneResult:
    """Train a child and judge it; the same call again continues what was interrupted.

    Args:
        task: parent and images.
        disease: a finding.
        out: the child is ``OUT/bundle``.
        overrides: of any other setting of the bundle.

    Raises:
        CxrError: of whatever is wrong, without what MONAI wraps around it.
    """
    given = {
        "disease": disease,
        "output_dir": str(out),
        **{name: str(value) if isinstance(value, Path) else value for name, value in asdict(task).items() if value},
        **(overrides or {}),
    }
    *_, result = run_configuration(shipped("cxr_transfer"), ["train"], given)
    return result
