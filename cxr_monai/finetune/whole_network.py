"""The whole way: the bundle ``cxr_transfer`` run from Python, as ``python -m monai.bundle run`` does.

result = finetune_network(FineTuneTask("OUT/bundle", "M.csv"), "Pneumonia", "pneumonia", {"epochs": 20})
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from cxr_monai.bundle.shipped import shipped
from cxr_monai.errors import ours
from cxr_monai.finetune.against_parent import FineTuneResult
from cxr_monai.finetune.task import FineTuneTask


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
    root = shipped("cxr_transfer")
    given = {
        "disease": disease,
        "output_dir": str(out),
        **{name: str(value) if isinstance(value, Path) else value for name, value in asdict(task).items() if value},
        **(overrides or {}),
    }
    workflow = ConfigWorkflow(
        config_file=str(root / "configs" / "train.json"),
        meta_file=str(root / "configs" / "metadata.json"),
        logging_file=str(root / "configs" / "logging.conf"),
        workflow_type="train",
        bundle_root=str(root),
        **given,
    )
    try:
        workflow.initialize()
        *_, result = workflow.run()
        workflow.finalize()
    except Exception as error:
        cause = ours(error)
        if cause is None:
            raise
        raise cause from None
    return result
