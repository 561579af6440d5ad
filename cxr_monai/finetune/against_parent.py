"""Is the child better than its parent? Both judged on the same patients, whom neither was fitted on.

    result = compare_with_parent(child, parent, base, label, scheme)
    result.verdict          # better, not distinguishable, worse, too few to say; none without a parent that knows it
    result.lines()          # what a reader is told

The question is the child's own: where it was trained against normal chests, the AUROC is that of the disease against
normal. What it is worth among images with other findings stands beside it, because that is what it will meet.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.data.manifest import Manifest, under
from cxr_monai.data.overlaps import patient_keys
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.auroc import delong
from cxr_monai.evaluation.bootstrap import PatientBootstrap
from cxr_monai.evaluation.calibration import calibration_figures
from cxr_monai.evaluation.comparison import compare
from cxr_monai.evaluation.patients import patients_trained_on
from cxr_monai.evaluation.predictions import PredictionsFile, join
from cxr_monai.evaluation.sample import Sample
from cxr_monai.finetune.box_comparison import MapComparison
from cxr_monai.finetune.disease import held_out
from cxr_monai.plurals import counted
from cxr_monai.report.fine_tuning import UNKNOWN_TO_PARENT, result_sentences, verdict_sentence
from cxr_monai.schemes import FINDINGS, LabelScheme

_CALIBRATION = ("ece_mass", "brier", "slope", "intercept")


@dataclass(frozen=True)
class ParentComparison:
    """Parent and child asked one question.

    Attributes:
        against: ``normal`` or ``others``, what the disease is told from.
        images, positives, patients: that are judged; ``positive_patients`` of them have the disease.
        child, parent: AUROC; the parent's NaN where it does not know the disease.
        low, high: of the difference child minus parent, by patients; of the child's AUROC where there is no parent's.
        verdict: of ``cxr_monai.evaluation.comparison``; empty where there is no parent's.
        calibration: ``ece_mass, brier, slope, intercept`` of ``child`` and ``parent``.
    """

    against: str
    images: int
    positives: int
    patients: int
    positive_patients: int
    child: float
    parent: float
    low: float
    high: float
    verdict: str
    calibration: Mapping[str, Mapping[str, float]]

    @property
    def difference(self) -> float:
        return self.child - self.parent

    def to_json(self) -> dict[str, Any]:
        """Return the figures for ``lineage.json``, those that are defined."""
        content = {
            "against": self.against,
            "images": self.images,
            "positives": self.positives,
            "patients": self.patients,
            "positive_patients": self.positive_patients,
            "auroc": self.child,
            "parent_auroc": self.parent,
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
            "verdict": self.verdict or UNKNOWN_TO_PARENT,
        }
        content |= {
            f"{who}_{name}": value for who, figures in self.calibration.items() for name, value in figures.items()
        }
        return {key: value for key, value in content.items() if not isinstance(value, float) or math.isfinite(value)}


@dataclass(frozen=True)
class FineTuneResult:
    """What came of a fine-tuning.

    Attributes:
        label: the disease.
        part: of the manifest that was judged.
        comparisons: the child's own question first.
        notes: sentences that a reader must know.
        maps: where the two look, if there were boxes.
    """

    label: str
    part: str
    comparisons: tuple[ParentComparison, ...]
    notes: tuple[str, ...]
    maps: MapComparison | None = None

    @property
    def verdict(self) -> str:
        return self.comparisons[0].verdict

    @property
    def conclusion(self) -> str:
        """What to do about it, as a sentence."""
        return verdict_sentence(self.verdict or UNKNOWN_TO_PARENT)

    def measured(self) -> dict[str, Any]:
        """Return the figures for ``lineage.json``: the child's own question first, ``against_others``, the maps."""
        own, *others = self.comparisons
        content = {"part": self.part, **own.to_json(), **{f"against_{one.against}": one.to_json() for one in others}}
        content |= {"localisation": self.maps.to_json()} if self.maps is not None else {}
        return content | ({"notes": list(self.notes)} if self.notes else {})

    def lines(self) -> list[str]:
        """Return what came of it, as sentences, the conclusion first."""
        return result_sentences(self.label, self.measured())


def compare_with_parent(
    child: pd.DataFrame,
    parent: pd.DataFrame | None,
    base: Manifest,
    label: str,
    scheme: LabelScheme,
    parent_root: Path | None = None,
    replicates: int = 1000,
) -> FineTuneResult:
    """Compare the predictions of two bundles on the part of a manifest that was held out.

    Args:
        child, parent: ``image`` and a column ``label`` each, calibrated where the bundle is; None, or no such column,
            for a parent that does not know the disease.
        base: the manifest as it was read, without a scheme.
        label, scheme: of the child.
        parent_root: the parent's folder; the list of its patients beside it tells whether it has seen these.
        replicates: of the bootstrap.

    Raises:
        EvaluationError: ``predictions-invalid`` if no image is common to both.
    """
    part, notes = held_out(base)
    parents = parent if parent is not None and label in parent else None
    questions = [("normal" if scheme.against_normal else "others", scheme)]
    if scheme.against_normal:
        questions.append(("others", FINDINGS))
    comparisons = []
    for against, labels in questions:
        manifest = under(base, labels) if labels.derived else base
        samples = [_sample(table, manifest, part, label) for table in (child, child if parents is None else parents)]
        comparisons.append(_compare(against, *_common(*samples), parents is not None, replicates))
    if parents is not None and parent_root is not None:
        notes += _seen(parent_root, set(patient_keys(base.part(part).table)))
    return FineTuneResult(label, part, tuple(comparisons), tuple(notes))


def _sample(table: pd.DataFrame, manifest: Manifest, part: str, label: str) -> Sample:
    sample, _ = join(PredictionsFile(table[["image", label]]), manifest, part, [label])
    return sample.take(~np.isnan(sample.labels[:, 0]))


def _common(child: Sample, parent: Sample) -> tuple[Sample, Sample]:
    both = set(child.table["image"]) & set(parent.table["image"])
    if not both:
        raise EvaluationError(
            Code.PREDICTIONS_INVALID,
            "no image with a known label was predicted by both, child and parent.",
            fix="Look at the files: 'cxr-monai check MANIFEST --pixels'.",
        )
    first, second = (one.take(one.table["image"].isin(both)) for one in (child, parent))
    return first, second


def _compare(against: str, child: Sample, parent: Sample, knows: bool, replicates: int) -> ParentComparison:
    row = compare(parent, child, PatientBootstrap(parent.patients, replicates)).iloc[0]
    interval = delong(*child.column(child.findings[0]))
    figures = {"child": _calibration(child)} | ({"parent": _calibration(parent)} if knows else {})
    return ParentComparison(
        against,
        len(child),
        int(row["positives"]),
        int(child.patients.max()) + 1,
        int(row["positive_patients"]),
        float(row["second"]),
        float(row["first"]) if knows else math.nan,
        float(row["patient_low"]) if knows else interval.low,
        float(row["patient_high"]) if knows else interval.high,
        str(row["verdict"]) if knows else "",
        figures,
    )


def _calibration(sample: Sample) -> dict[str, float]:
    figures = calibration_figures(*sample.column(sample.findings[0]))
    return {name: figures[name] for name in _CALIBRATION}


def _seen(parent_root: Path, patients: set[str]) -> list[str]:
    seen = patients_trained_on(parent_root, patients)
    if seen is None:
        return ["Whether the parent was trained on some of these patients is not known: no list lies beside it."]
    if seen:
        return [
            f"The parent was trained on {len(seen):,} of these {counted(len(patients), 'patient')}: "
            "it looks better than it is."
        ]
    return []
