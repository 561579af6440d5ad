"""The whole way: the bundle ``cxr_transfer`` run from Python, as ``python -m monai.bundle run`` does.

judged = finetune_network("OUT/bundle", "Pneumonia", "M.csv", "pneumonia", overrides={"epochs": 20})
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from cxr_monai.bundle.shipped import shipped
from cxr_monai.errors import ours
from cxr_monai.finetune.against_parent import Judged


def finetune_network(
    parent: str | Path,
    disease: str,
    manifest: str | Path,
    out: str | Path,
    against: str = "normal",
    dataset_dir: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    trust_folder: bool = False,
    boxes: str | Path | None = None,
    match_names: bool = False,
    any_modality: bool = False,
) -> Judged:
    """Train a child and judge it; the same call again continues what was interrupted.

    Args:
        parent: the parent bundle's folder, or the name of an installed one.
        disease: a finding.
        manifest: with a split.
        out: the child is ``OUT/bundle``.
        against: ``normal`` or ``others``.
        dataset_dir: root of the images; the manifest's own where None.
        overrides: of any other setting of the bundle.
        trust_folder: see ``cxr_monai.sharing.trust.open_trusted.open_trusted``.
        boxes: to compare where child and parent look.
        match_names: a box is of the image of its file name, whatever their folders.
        any_modality: read DICOM files whatever their headers say they show.

    Raises:
        CxrError: of whatever is wrong, without what MONAI wraps around it.
    """
    root = shipped("cxr_transfer")
    given = {
        "parent": str(parent),
        "disease": disease,
        "manifest": str(manifest),
        "output_dir": str(out),
        "against": against,
        "trust_folder": trust_folder,
        "match_names": match_names,
        **({"any_modality": True} if any_modality else {}),
        **({"dataset_dir": dataset_dir} if dataset_dir else {}),
        **({"boxes": str(boxes)} if boxes else {}),
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
        *_, judged = workflow.run()
        workflow.finalize()
    except Exception as error:
        cause = ours(error)
        if cause is None:
            raise
        raise cause from None
    return judged
