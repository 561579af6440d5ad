"""Fine-tune from Python: a child bundle for one disease, and whether it is better than its parent, as one object.

child = fine_tune("OUT/bundle", "Pneumonia", "manifest.csv", "pneumonia", epochs=5)
child.verdict, child.bundle
"""

from dataclasses import dataclass
from functools import cached_property
from html import escape
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.data.manifest import Manifest
from cxr_monai.finetune.against_parent import FineTuneResult
from cxr_monai.finetune.linear_probe import train_linear_probes
from cxr_monai.finetune.task import FineTuneTask
from cxr_monai.finetune.whole_network import finetune_network
from cxr_monai.workflows.python_inputs import manifest_file, refuse_given


@dataclass(frozen=True)
class ChildResult:
    """A child bundle and its judgement.

    Attributes:
        root: the child's folder.
        judged: child and parent on the same held-out patients.
    """

    root: Path
    judged: FineTuneResult

    @cached_property
    def bundle(self) -> Bundle:
        """The child: complete, calibrated, with ``docs/card.md`` and ``lineage.json``."""
        return Bundle.open(self.root)

    @property
    def verdict(self) -> str:
        """``better``, ``not distinguishable``, ``worse``, ``too few to say``; empty if the parent lacks the disease."""
        return self.judged.verdict

    @property
    def comparisons(self) -> pd.DataFrame:
        """One row a question (against normal chests, against all others): AUROC of child and parent, and difference."""
        return pd.DataFrame([comparison.to_json() for comparison in self.judged.comparisons])

    def _repr_html_(self) -> str:
        first, *others = map(escape, self.judged.lines())
        return f"<p><b>{first}</b></p><ul>{''.join(f'<li>{line}</li>' for line in others)}</ul>"


def fine_tune(
    parent: str | PathLike[str],
    disease: str,
    manifest: str | Path | Manifest,
    out: str | Path,
    *,
    against: str = "normal",
    head_only: bool = False,
    dataset_dir: str | Path | None = None,
    boxes: str | Path | None = None,
    match_names: bool = False,
    any_modality: bool = False,
    track: bool = True,
    trust_folder: bool = False,
    **settings: Any,
) -> ChildResult:
    """Fine-tune a parent bundle for one disease, and judge the child against it on the same held-out patients.

    Args:
        parent: a trained bundle: its folder, an opened bundle, or the name of an installed one.
        disease: a finding.
        manifest: labels, patients and a split with a test part: a file, or a table in memory (written into ``out``).
        out: a folder; the child is ``OUT/bundle``, with ``head_only`` ``OUT/DISEASE/bundle``.
        against: negatives: ``normal`` (images without any finding) or ``others`` (all other images).
        head_only: train the classifier alone, on features that are computed once.
        dataset_dir: root of the images; the manifest's own where None.
        boxes: a table of boxes, to compare where child and parent look.
        match_names: a box is of the image of its file name, whatever their folders.
        any_modality: read DICOM files whatever their headers say they show.
        track: log the training in MLflow (one of the head alone is not logged).
        trust_folder: run the parent's folder although an inspection refuses it.
        settings: any other setting of the bundle ``cxr_transfer``: ``head_epochs=5, blocks=1``.

    Returns:
        the child, the verdict and the figures.

    Raises:
        CxrError: ``too-few-patients``, ``split-invalid``, ``override-unknown``, ``bundle-untrusted`` ...

    >>> fine_tune("OUT/bundle", "Pneumonia", "manifest.csv", "pneumonia").verdict  # doctest: +SKIP
    """
    folder, root = Path(out), None if dataset_dir is None else str(dataset_dir)
    refuse_given(settings)
    manifest = manifest_file(manifest, folder)
    rest = against, root, boxes, trust_folder, match_names, any_modality
    task = FineTuneTask(fspath(parent), str(manifest), *rest)
    if head_only:
        amp = bool(settings.pop("amp", True))
        children, refused = train_linear_probes(task, [disease], folder, settings, amp)
        for error in refused.values():
            raise error
        ((label, judged),) = children.items()
        return ChildResult(folder / label / "bundle", judged)
    if not track:
        settings["tracker#enabled"] = False
    return ChildResult(folder / "bundle", finetune_network(task, disease, folder, settings))
