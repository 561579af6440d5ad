"""Answers that may be "I don't know", with a stated coverage, and sets of findings that miss none too often.

    sets = fit_conformal(validation, coverage=0.9)
    answers(sets, scores)                       # present, absent or abstain, [N, F]
    findings_in_set(sets, scores)               # bool [N, F]
    conformal_table(test, sets, bootstrap)      # promised against reached

*Per finding* (split conformal prediction for each label by itself; Vovk 2012, arXiv:1209.2673): 90 % of images with the
finding are not answered "absent", and 90 % of those without it are not answered "present". What fits both is left open:
abstain. *Per image*: a set holds every finding whose probability reaches one threshold; in 90 % of images with a
finding, all that are present are in it.

Both are one and the same computation, conformal risk control (Angelopoulos et al. 2022, arXiv:2208.02814) with patients
as the units, since a patient's images are alike: a patient's loss is the share of their images that go wrong, and of m
patients the losses may sum up to ``(1 - coverage) * (m + 1) - 1``. That promise, for one image of a new patient, is
exact on average over validation samples; with m patients one sample's coverage varies by about
``sqrt(coverage * (1 - coverage) / m)``. Patients with many images are often sicker and harder, so the same is asked
with every image weighing the same (there it holds approximately), and the more cautious of the two thresholds is taken.
With fewer than ``coverage / (1 - coverage)`` patients (9 for 90 %) nothing can be promised but by never excluding the
label.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.abstention import risk_coverage, risk_coverage_area
from cxr_monai.evaluation.bootstrap import PatientBootstrap, bootstrap_interval
from cxr_monai.evaluation.proportions import patient_wilson
from cxr_monai.evaluation.sample import Sample
from cxr_monai.plurals import counted

__all__ = [
    "ConformalSets", "answers", "conformal_table", "findings_in_set", "fit_conformal", "risk_coverage",
    "risk_coverage_area",
]  # fmt: skip

PRESENT, ABSENT, ABSTAIN = "present", "absent", "abstain"
SET = "set"
"""The row of the image-level set in `conformal_table`."""


@dataclass(frozen=True)
class ConformalSets:
    """Thresholds with a stated coverage, checked when they are made.

    Attributes:
        coverage: promised, in (0, 1).
        findings: F names.
        present: ``[F]`` in [0, 1]; "present" is possible from here up.
        absent: ``[F]`` in [0, 1], not below `present`; "absent" is possible up to here. Between the two both are.
        set_threshold: a finding is in an image's set from here up.
        positive_patients, negative_patients: ``[F]``, how many patients each threshold comes from.
        set_patients: the same for the set.

    Raises:
        EvaluationError: ``calibration-invalid``.
    """

    coverage: float
    findings: tuple[str, ...]
    present: tuple[float, ...]
    absent: tuple[float, ...]
    set_threshold: float
    positive_patients: tuple[int, ...]
    negative_patients: tuple[int, ...]
    set_patients: int

    def __post_init__(self) -> None:
        _check_coverage(self.coverage, Code.CALIBRATION_INVALID)
        columns = (self.present, self.absent, self.positive_patients, self.negative_patients)
        if any(len(column) != len(self.findings) for column in columns) or len(set(self.findings)) != len(
            self.findings
        ):
            raise _invalid("it must have every threshold once for every finding")
        for value in (*self.present, *self.absent, self.set_threshold):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise _invalid(f"a threshold is {value!r}; it must be a number from 0 to 1")
        for value in (*self.positive_patients, *self.negative_patients, self.set_patients):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise _invalid(f"a number of patients is {value!r}; it must be a whole number")
        for finding, low, high in zip(self.findings, self.present, self.absent, strict=True):
            if high < low:
                raise _invalid(f"{finding}: 'absent' ends at {high}, below {low}, where 'present' begins")

    def to_json(self) -> dict[str, Any]:
        """Return the sets as JSON for `from_json`: plain numbers and text."""
        columns = zip(self.present, self.absent, self.positive_patients, self.negative_patients, strict=True)
        return {
            "coverage": self.coverage,
            "findings": {
                finding: dict(zip(_COLUMNS, values, strict=True))
                for finding, values in zip(self.findings, columns, strict=True)
            },
            "set": {"threshold": self.set_threshold, "patients": self.set_patients},
        }

    @classmethod
    def from_json(cls, content: Any) -> "ConformalSets":
        """Return the sets that `to_json` described.

        Raises:
            EvaluationError: ``calibration-invalid``.
        """
        try:
            rows = content["findings"]
            columns = [tuple(row[name] for row in rows.values()) for name in _COLUMNS]
            of_set = content["set"]
            return cls(
                content["coverage"], tuple(rows), columns[0], columns[1], of_set["threshold"], columns[2], columns[3],
                of_set["patients"],
            )  # fmt: skip
        except (KeyError, TypeError, AttributeError) as error:
            raise _invalid(f"something is missing or of another kind ({error!r})") from error


_COLUMNS = ("present", "absent", "positive_patients", "negative_patients")


def fit_conformal(sample: Sample, coverage: float = 0.9) -> ConformalSets:
    """Fit the thresholds of conformal prediction sets on validation patients.

    Where a finding is separated so well that no answer would keep to its promise between the two thresholds, both are
    set halfway: either promise is then more than kept, and nothing is left open.

    Args:
        sample: patients that nothing else is reported on; unknown labels are left out. Images without a known finding
            do not count for the set: they could only make its promise easier.
        coverage: in (0, 1).

    Raises:
        EvaluationError: ``evaluation-invalid`` for a coverage outside (0, 1).
    """
    _check_coverage(coverage, Code.EVALUATION_INVALID)
    present, absent, positives, negatives = [], [], [], []
    for scores, labels in zip(sample.scores.T, sample.labels.T, strict=True):
        has, has_not = labels == 1, labels == 0
        low = max(_lowest(scores[has], sample.patients[has], coverage), 0.0)
        high = min(-_lowest(-scores[has_not], sample.patients[has_not], coverage), 1.0)
        if high < low:
            low = high = (low + high) / 2
        present.append(low)
        absent.append(high)
        positives.append(np.unique(sample.patients[has]).size)
        negatives.append(np.unique(sample.patients[has_not]).size)
    ill = (sample.labels == 1).any(1)
    least = np.where(sample.labels == 1, sample.scores, np.inf).min(1, initial=np.inf)[ill]
    patients = sample.patients[ill]
    threshold = max(_lowest(least, patients, coverage), 0.0)
    return ConformalSets(
        float(coverage), sample.findings, tuple(present), tuple(absent), threshold,
        tuple(positives), tuple(negatives), int(np.unique(patients).size),
    )  # fmt: skip


def answers(sets: ConformalSets, scores: np.ndarray) -> np.ndarray:
    """Return ``present``, ``absent`` or ``abstain`` for each image and finding.

    Args:
        sets: see `fit_conformal`.
        scores: float ``[N, F]``, the findings in the order of the sets'.

    Returns:
        text ``[N, F]``.
    """
    scores = _columns(sets, scores)
    may_be, may_not_be = scores >= np.array(sets.present), scores <= np.array(sets.absent)
    # no image fits neither, since "absent" never ends below where "present" begins
    return np.where(may_be & may_not_be, ABSTAIN, np.where(may_be, PRESENT, ABSENT))


def findings_in_set(sets: ConformalSets, scores: np.ndarray) -> np.ndarray:
    """Return which findings each image's set holds: bool ``[N, F]``.

    Args:
        sets: see `fit_conformal`.
        scores: float ``[N, F]``, the findings in the order of the sets'.
    """
    return _columns(sets, scores) >= sets.set_threshold


def conformal_table(
    sample: Sample, sets: ConformalSets, bootstrap: PatientBootstrap, level: float = 0.95
) -> pd.DataFrame:
    """Return promised and reached coverage on patients that the thresholds were not fitted on.

    Args:
        sample: with findings that the sets have.
        sets: see `fit_conformal`.
        bootstrap: of the sample's patients.
        level: of the intervals.

    Returns:
        one row a finding, then one called ``set``: ``finding, promised, images`` (with a known label), ``positives``;
        ``reached_positives, reached_negatives, reached``: the share not answered wrongly among images with the finding,
        without it, and of both, every patient weighing the same; ``_by_image`` of each: every image weighing the same;
        ``abstained, present, absent``: shares of all images; ``present_right, absent_right``: the share of those
        answers that is true, which depends on the prevalence and is not promised. Each with ``_patient_low,
        _patient_high``. Row ``set``: ``images`` and ``reached`` are of images with any known label, ``positives`` and
        ``reached_positives`` of those with a finding, and ``mean_size`` (with interval) is how many findings a set
        holds. NaN where undefined.

    Raises:
        EvaluationError: ``unknown-finding`` where the sets do not have a finding of the sample.
    """
    missing = [name for name in sample.findings if name not in sets.findings]
    if missing:
        raise EvaluationError(
            Code.UNKNOWN_FINDING,
            f"the conformal sets do not know {', '.join(missing)}; they know {', '.join(sets.findings)}.",
        )
    channels = [sets.findings.index(name) for name in sample.findings]
    scores, labels, patients = sample.scores, sample.labels, sample.patients
    may_be, may_not_be = scores >= np.array(sets.present)[channels], scores <= np.array(sets.absent)[channels]
    has, has_not = labels == 1, labels == 0
    covered = (has & may_be) | (has_not & may_not_be)
    inside = scores >= sets.set_threshold
    ill, known_any = has.any(1)[:, None], (has | has_not).any(1)[:, None]
    complete = ~(has & ~inside).any(1)[:, None]  # nothing present is missing
    all_images = np.ones(scores.shape, dtype=bool)
    no_images = np.zeros((len(sample), 1), dtype=bool)
    answered = {"abstained": may_be & may_not_be, "present": ~may_not_be, "absent": ~may_be}
    # each figure's hits and trials [N, F + 1], and whether every patient weighs the same
    parts = {
        "reached_positives": (np.hstack([covered, complete]), np.hstack([has, ill]), True),
        "reached_negatives": (np.hstack([covered, no_images]), np.hstack([has_not, no_images]), True),
        "reached": (np.hstack([covered, complete]), np.hstack([has | has_not, known_any]), True),
    }
    parts |= {f"{name}_by_image": (hits, trials, False) for name, (hits, trials, _) in parts.items()}
    parts |= {
        **{
            name: (np.hstack([mask, no_images]), np.hstack([all_images, no_images]), False)
            for name, mask in answered.items()
        },
        "present_right": (
            np.hstack([has, no_images]),
            np.hstack([answered["present"] & (has | has_not), no_images]),
            False,
        ),
        "absent_right": (
            np.hstack([has_not, no_images]),
            np.hstack([answered["absent"] & (has | has_not), no_images]),
            False,
        ),
    }
    columns: dict[str, Any] = {
        "finding": [*sample.findings, SET],
        "promised": sets.coverage,
        "images": parts["reached"][1].sum(0),
        "positives": parts["reached_positives"][1].sum(0),
    }
    for name, (hits, trials, equally) in parts.items():
        weights = _equal_patients(trials, patients) if equally else trials.astype(float)
        hits = hits & trials
        with np.errstate(invalid="ignore"):
            columns[name] = (hits * weights).sum(0) / weights.sum(0)
        columns[f"{name}_patient_low"], columns[f"{name}_patient_high"] = patient_wilson(
            hits * weights, weights, bootstrap, level
        )
    sizes = inside.sum(1)
    draws = bootstrap.sums(np.column_stack([sizes, np.ones(len(sample))]))
    size = (sizes.mean(), *bootstrap_interval(draws[:, 0] / draws[:, 1], level, sizes.mean()))
    for name, value in zip(("mean_size", "mean_size_patient_low", "mean_size_patient_high"), size, strict=True):
        columns[name] = [math.nan] * len(sample.findings) + [float(value)]
    return pd.DataFrame(columns)


def _lowest(scores: np.ndarray, patients: np.ndarray, coverage: float) -> float:
    """Return the highest threshold below which the allowed loss is not exceeded, by patients and by images.

    Minus infinity where there are too few patients for the coverage.
    """
    if not scores.size:
        return -math.inf
    _, codes, images = np.unique(patients, return_inverse=True, return_counts=True)
    count = len(images)
    allowed = (1 - coverage) * (count + 1) - 1 + 1e-9  # 0.1 * 10 is to be 1, though 1 - 0.9 is less than 0.1
    if allowed < 0:
        return -math.inf
    levels, level_of_image = np.unique(scores, return_inverse=True)
    # in either case the patients' weights sum up to their number
    weights = 1 / images[codes], np.full(len(codes), count / len(codes))
    up_to_level = np.maximum(*(np.cumsum(np.bincount(level_of_image, weights=weight)) for weight in weights))
    below_level = np.append(0, up_to_level[:-1])
    return float(levels[np.searchsorted(below_level, allowed, side="right") - 1])


def _equal_patients(trials: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Return weights ``[N, K]``: each patient's trials share a weight of 1."""
    weights = np.zeros(trials.shape)
    for column, has_trial in enumerate(trials.T):
        images = np.bincount(patients[has_trial], minlength=int(patients.max()) + 1)
        weights[has_trial, column] = 1 / images[patients[has_trial]]
    return weights


def _columns(sets: ConformalSets, scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 2 or scores.shape[1] != len(sets.findings):
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"scores of shape {scores.shape} do not fit conformal sets of {counted(len(sets.findings), 'finding')}.",
            fix=f"Pass a column for each of {', '.join(sets.findings)}, in this order.",
        )
    return scores


def _check_coverage(coverage: float, code: Code) -> None:
    if isinstance(coverage, bool) or not isinstance(coverage, int | float) or not 0 < coverage < 1:
        raise EvaluationError(code, f"the coverage is {coverage!r}; it must lie between 0 and 1.")


def _invalid(reason: str) -> EvaluationError:
    return EvaluationError(
        Code.CALIBRATION_INVALID,
        f"these are no conformal sets: {reason}.",
        fix="'cxr-monai calibrate' writes new ones.",
    )
