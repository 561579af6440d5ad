"""Is the child better than its parent? Both judged on the same patients, whom neither was fitted on.

    judged = judge(child, parent, base, label, scheme)
    judged.verdict          # better, not distinguishable, worse, too few to say; none without a parent that knows it
    judged.lines()          # what a reader is told

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
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.auroc import delong
from cxr_monai.evaluation.bootstrap import PatientBootstrap
from cxr_monai.evaluation.calibration import calibration_figures
from cxr_monai.evaluation.comparison import BETTER, NOT_DISTINGUISHABLE, TOO_FEW, WORSE, compare
from cxr_monai.evaluation.patients import trained_on
from cxr_monai.evaluation.predictions import PredictionsFile, join
from cxr_monai.evaluation.sample import Sample
from cxr_monai.finetune.box_comparison import Localised
from cxr_monai.finetune.disease import held_out
from cxr_monai.plurals import counted
from cxr_monai.schemes import FINDINGS, LabelScheme

_CALIBRATION = ("ece_mass", "brier", "slope", "intercept")


@dataclass(frozen=True)
class Comparison:
    """Parent and child asked one question.

    Attributes:
        asked: ``normal`` or ``others``, what the disease is told from.
        images, positives, patients: that are judged; ``positive_patients`` of them have the disease.
        child, parent: AUROC; the parent's NaN where it does not know the disease.
        low, high: of the difference child minus parent, by patients; of the child's AUROC where there is no parent's.
        verdict: of ``cxr_monai.evaluation.comparison``; empty where there is no parent's.
        calibration: ``ece_mass, brier, slope, intercept`` of ``child`` and ``parent``.
    """

    asked: str
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

    def line(self, label: str) -> str:
        """Return the comparison as a sentence."""
        told = f"{label} against {'normal chests' if self.asked == 'normal' else 'all other images'}"
        on = (
            f"{counted(self.images, 'image')} of {counted(self.patients, 'patient')}, "
            f"{self.positive_patients:,} with it"
        )
        if math.isnan(self.child):
            return f"{told} ({on}): no AUROC, which needs images with it and without."
        if not self.verdict:
            return (
                f"{told} ({on}): AUROC {self.child:.3f} [{self.low:.3f}, {self.high:.3f}]; the parent does not know it."
            )
        return (
            f"{told} ({on}): AUROC {self.child:.3f}, the parent's {self.parent:.3f}, difference {self.difference:+.3f} "
            f"[{self.low:+.3f}, {self.high:+.3f}]: {self.verdict}."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the figures for ``lineage.json``, those that are defined."""
        content = {
            "against": self.asked,
            "images": self.images,
            "positives": self.positives,
            "patients": self.patients,
            "positive_patients": self.positive_patients,
            "auroc": self.child,
            "parent_auroc": self.parent,
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
            "verdict": self.verdict or "the parent does not know the disease",
        }
        content |= {f"{who}_{name}": value for who, own in self.calibration.items() for name, value in own.items()}
        return {key: value for key, value in content.items() if not isinstance(value, float) or math.isfinite(value)}


@dataclass(frozen=True)
class FineTuneResult:
    """What came of a fine-tuning.

    Attributes:
        label: the disease.
        part: of the manifest that was judged.
        comparisons: the child's own question first.
        notes: sentences that a reader must know.
        localised: where the two look, if there were boxes.
    """

    label: str
    part: str
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]
    localised: Localised | None = None

    @property
    def verdict(self) -> str:
        return self.comparisons[0].verdict

    @property
    def conclusion(self) -> str:
        """What to do about it, as a sentence."""
        return {
            BETTER: "The child is better than its parent.",
            WORSE: "THE CHILD IS WORSE THAN ITS PARENT: use the parent.",
            NOT_DISTINGUISHABLE: "The child cannot be told from its parent by these patients: nothing speaks for it.",
            TOO_FEW: "There are too few patients to say whether the child is better than its parent.",
            "": "There is nothing to compare the child with: its parent does not know this disease.",
        }[self.verdict]

    def lines(self) -> list[str]:
        looked = [] if self.localised is None else self.localised.lines(self.label)
        return [self.conclusion, *(one.line(self.label) for one in self.comparisons), *looked, *self.notes]


def judge(
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
    theirs = parent if parent is not None and label in parent else None
    questions = [("normal" if scheme.against_normal else "others", scheme)]
    if scheme.against_normal:
        questions.append(("others", FINDINGS))
    comparisons = []
    for asked, made in questions:
        manifest = under(base, made) if made.derived else base
        samples = [_sample(table, manifest, part, label) for table in (child, child if theirs is None else theirs)]
        comparisons.append(_compare(asked, *_common(*samples), theirs is not None, replicates))
    if theirs is not None and parent_root is not None:
        notes += _seen(parent_root, set(base.part(part).table["patient_id"]))
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


def _compare(asked: str, child: Sample, parent: Sample, knows: bool, replicates: int) -> Comparison:
    row = compare(parent, child, PatientBootstrap(parent.patients, replicates)).iloc[0]
    own = delong(*child.column(child.findings[0]))
    figures = {"child": _calibration(child)} | ({"parent": _calibration(parent)} if knows else {})
    return Comparison(
        asked,
        len(child),
        int(row["positives"]),
        int(child.patients.max()) + 1,
        int(row["positive_patients"]),
        float(row["second"]),
        float(row["first"]) if knows else math.nan,
        float(row["patient_low"]) if knows else own.low,
        float(row["patient_high"]) if knows else own.high,
        str(row["verdict"]) if knows else "",
        figures,
    )


def _calibration(sample: Sample) -> dict[str, float]:
    figures = calibration_figures(*sample.column(sample.findings[0]))
    return {name: figures[name] for name in _CALIBRATION}


def _seen(parent_root: Path, patients: set[str]) -> list[str]:
    seen = trained_on(parent_root, patients)
    if seen is None:
        return ["Whether the parent was trained on some of these patients is not known: no list lies beside it."]
    if seen:
        return [
            f"The parent was trained on {len(seen):,} of these {counted(len(patients), 'patient')}: "
            "it looks better than it is."
        ]
    return []
