"""A sample to evaluate: probabilities, labels and patients of the same images, aligned once.

from cxr_monai.evaluation.predictions import join

sample = join(predictions, manifest)
sample.take(sample.table["sex"] == "F")     # a part of it

Row i is the same image everywhere; every function of this package takes a `Sample` or arrays of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cxr_monai.data.overlaps import patient_names


@dataclass(frozen=True, eq=False)
class Sample:
    """Probabilities next to labels.

    Attributes:
        table: RangeIndex N; the manifest's columns ``image, patient_id, study_id, view, age, sex, source, split`` (text
            with ``""`` for unknown, ``age`` in years with NaN for unknown).
        findings: the F names.
        scores: float64 ``[N, F]``, in [0, 1], never NaN.
        labels: float64 ``[N, F]``: 1 present, 0 absent, NaN unknown.
        patients: int64 ``[N]``: codes 0 to P - 1 of ``patient_id``; where there are several collections of films, of
            both (`cxr_monai.data.overlaps.patient_names`).
        ranking_only: those of the findings whose scores rank images and are no probabilities, see
            `cxr_monai.evaluation.composite_scores`.
    """

    table: pd.DataFrame
    findings: tuple[str, ...]
    scores: np.ndarray
    labels: np.ndarray
    patients: np.ndarray
    ranking_only: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        table: pd.DataFrame,
        findings: Sequence[str],
        scores: np.ndarray,
        labels: np.ndarray,
        ranking_only: Sequence[str] = (),
    ) -> "Sample":
        """Return a sample; patients are numbered by their first row.

        Args:
            table: N rows with ``patient_id``, and perhaps ``source``; see `Sample`.
            findings: F names.
            scores, labels: ``[N, F]``.
            ranking_only: of the findings.
        """
        table = table.reset_index(drop=True)
        codes = pd.factorize(patient_names(table))[0].astype(np.int64)
        return cls(
            table, tuple(findings), np.asarray(scores, float), np.asarray(labels, float), codes, tuple(ranking_only)
        )

    def __len__(self) -> int:
        return len(self.table)

    def take(self, rows: np.ndarray | pd.Series) -> "Sample":
        """Return some rows, by a boolean mask ``[N]`` or by positions; patients are numbered anew."""
        rows = np.asarray(rows)
        scores, labels = self.scores[rows], self.labels[rows]
        return Sample.of(self.table.iloc[rows], self.findings, scores, labels, self.ranking_only)

    def with_scores(self, scores: np.ndarray) -> "Sample":
        """Return the same images with other probabilities ``[N, F]``."""
        return replace(self, scores=np.asarray(scores, float))

    def of_findings(self, findings: Sequence[str]) -> "Sample":
        """Return the same images with some of the findings, in the order given."""
        columns = [self.findings.index(name) for name in findings]
        ranking_only = tuple(name for name in findings if name in self.ranking_only)
        return replace(
            self,
            findings=tuple(findings),
            scores=self.scores[:, columns],
            labels=self.labels[:, columns],
            ranking_only=ranking_only,
        )

    def probabilities(self) -> "Sample":
        """Return the same images with the findings whose scores are probabilities; itself where all are."""
        if not self.ranking_only:
            return self
        return self.of_findings([name for name in self.findings if name not in self.ranking_only])

    def column(self, finding: str) -> tuple[np.ndarray, np.ndarray]:
        """Return one finding's scores and labels ``[N]``."""
        index = self.findings.index(finding)
        return self.scores[:, index], self.labels[:, index]
