"""One part of a manifest as a data set in MLflow's sense: digest, counts and prevalences, without a name."""

import json
from hashlib import sha256
from typing import Any

from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset import Dataset
from mlflow.types import ColSpec, Schema

from cxr_monai.data.manifest import Manifest, split_digest
from cxr_monai.data.overlaps import patient_names


class ManifestDataset(Dataset):
    """One part of a manifest, as MLflow shows it: counts of images, patients and positives of each finding, the split.

    Args:
        manifest: the whole table.
        split: the part.
        findings: the labels in use.
    """

    def __init__(self, manifest: Manifest, split: str, findings: list[str]) -> None:
        self._part = manifest.part(split)
        self._manifest, self._split, self._findings = manifest, split, findings
        super().__init__(source=CodeDatasetSource({"label_version": manifest.label_version}), name=split)

    def _compute_digest(self) -> str:
        # MLflow keeps one record for a name and digest, so whatever the record shows is in the digest
        shown = [split_digest(self._part.table), self._manifest.label_version, *self._findings]
        total = sha256("\n".join(shown).encode())
        total.update(self._part.labels(self._findings).tobytes())
        return total.hexdigest()[:32]

    @property
    def profile(self) -> dict[str, Any]:
        """Counts, known labels, positives and prevalences."""
        labels = self._part.table[self._findings]
        record = self._manifest.split
        return {
            "images": len(labels),
            "patients": int(patient_names(self._part.table).nunique()),
            "positives": {name: int(labels[name].sum()) for name in self._findings},
            "unknown": {name: int(labels[name].isna().sum()) for name in self._findings},
            "prevalence": {name: round(float(labels[name].mean()), 6) for name in self._findings},
            "label_version": self._manifest.label_version,
            "split_scheme": record.scheme if record else None,
            "split_seed": record.seed if record else None,
            "split_digest": record.digest if record else None,
        }

    @property
    def schema(self) -> Schema:
        """One column a finding."""
        return Schema([ColSpec("float", name) for name in self._findings])

    def to_dict(self) -> dict[str, str]:
        """MLflow's record of the data set."""
        return super().to_dict() | {
            "schema": json.dumps({"mlflow_colspec": self.schema.to_dict()}),
            "profile": json.dumps(self.profile),
        }
