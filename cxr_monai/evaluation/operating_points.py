"""Operating points: thresholds chosen by a rule, and their figures on other patients.

    threshold = choose_threshold(scores, labels, Rule.parse("sensitivity=0.9"))      # on validation
    operating_table(test, {"Mass": {"sensitivity=0.9": threshold}}, bootstrap)       # on others

An image is called positive where ``score >= threshold``. Rules: ``youden`` (largest sensitivity + specificity - 1),
``f1`` (best F1), ``sensitivity=S`` (the highest threshold that reaches it), ``specificity=S`` (the lowest that reaches
it), ``cost=C`` (lowest cost where a miss costs as much as C false alarms).

Intervals called ``_low, _high`` take every image for an independent one; ``_patient_low, _patient_high`` hold for
patients. All but the likelihood ratios are shares, with Wilson's interval (``cxr_monai.evaluation.proportions``).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.auroc import known
from cxr_monai.evaluation.bootstrap import PatientBootstrap
from cxr_monai.evaluation.proportions import by_patient, effective_trials, ratio_interval, wilson
from cxr_monai.evaluation.sample import Sample

RULE_NAMES = ("youden", "f1", "sensitivity", "specificity", "cost")
SHARES = ("sensitivity", "specificity", "ppv", "npv", "f1", "accuracy")
RATIOS = ("lr_positive", "lr_negative")

ConfusionCounts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""True positives, false positives, true negatives, false negatives."""


@dataclass(frozen=True)
class Rule:
    """How a threshold is chosen.

    Attributes:
        name: one of `RULE_NAMES`.
        value: for ``sensitivity`` and ``specificity`` a share in (0, 1]; for ``cost`` how many false alarms a miss
            costs, above 0; None for ``youden`` and ``f1``.

    Raises:
        EvaluationError: ``evaluation-invalid`` for a rule that there is not.
    """

    name: str
    value: float | None = None

    def __post_init__(self) -> None:
        if self.name in ("youden", "f1"):
            right = self.value is None
        elif self.name in ("sensitivity", "specificity"):
            right = self.value is not None and 0 < self.value <= 1
        else:
            right = self.name == "cost" and self.value is not None and 0 < self.value < math.inf
        if not right:
            raise _no_rule(str(self))

    @classmethod
    def parse(cls, text: "str | Rule") -> "Rule":
        """Read ``youden``, ``sensitivity=0.9`` or ``cost=10`` (also ``cost=10:1``)."""
        name, equals, value = str(text).strip().partition("=")
        amount, colon, unit = value.partition(":")
        try:
            number = float(amount) / (float(unit) if colon else 1.0) if equals else None
        except (ValueError, ZeroDivisionError):
            raise _no_rule(str(text)) from None
        if colon and name.strip() != "cost":
            raise _no_rule(str(text))
        return cls(name.strip().lower(), number)

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={float(self.value)!r}".removesuffix(".0")


def choose_threshold(
    scores: np.ndarray, labels: np.ndarray, rule: Rule | str, prevalence: float | None = None
) -> float:
    """Return the threshold that a rule chooses; O(n log n).

    Only thresholds that change a call are candidates: halfway between two neighbouring scores, so that the last digits
    of a stored score decide nothing; below the lowest halfway to 0 (everything is called), above the highest halfway
    to 1 (nothing is; not if a score is 1). Of equally good ones the lowest is taken: it misses less.

    Args:
        scores: float ``[N]`` in [0, 1].
        labels: float ``[N]``; 1 present, 0 absent, NaN unknown (left out).
        rule: see `Rule`.
        prevalence: for ``f1`` and ``cost``, which depend on it: where the threshold is to be used; in (0, 1). By
            default that of the labels.

    Returns:
        the threshold in [0, 1]; NaN without a positive, without a negative, where all scores are equal, or where a
        specificity cannot be reached because negatives have a score of 1.

    Raises:
        EvaluationError: an unknown rule, a label other than 0, 1, NaN, a score outside [0, 1] or a prevalence outside
            (0, 1).

    >>> scores, labels = np.array([0.1, 0.4, 0.6, 0.9]), np.array([0, 0, 1, 1])
    >>> float(choose_threshold(scores, labels, "youden"))
    0.5
    """
    rule = Rule.parse(rule)
    scores, truth = known(scores, labels)
    _check_share(scores, "a score")
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if prevalence is not None and not 0 < prevalence < 1:
        raise _outside("a prevalence", prevalence, "between 0 and 1")
    if not positives or not negatives or scores.min() == scores.max():
        return math.nan
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # of each run of equal scores
    levels = ordered[last]
    hits = np.append(0, np.cumsum(truth[order])[last])
    alarms = np.append(0, last + 1) - hits
    lowest_called, highest_not = np.append(1.0, levels), np.append(levels, 0.0)
    # neighbours of one another in floating point have no middle
    middle = (lowest_called + highest_not) / 2
    thresholds = np.where(middle > highest_not, middle, lowest_called)
    weight, other = (1.0, 1.0) if prevalence is None else (prevalence / positives, (1 - prevalence) / negatives)
    value = float(rule.value or 0)
    if rule.name == "youden":
        objective = hits * negatives - alarms * positives  # whole numbers: ties are exact
    elif rule.name == "f1":
        objective = 2 * weight * hits / (weight * (hits + positives) + other * alarms)
    elif rule.name == "cost":
        objective = -(value * weight * (positives - hits) + other * alarms)
    elif rule.name == "sensitivity":
        objective = np.where(hits / positives >= value, -np.arange(len(hits)), -np.inf)
    else:
        objective = np.where((negatives - alarms) / negatives >= value, 0, -np.inf)
    if levels[0] == 1:  # no threshold calls nothing
        objective, thresholds = objective[1:], thresholds[1:]
    best = len(objective) - 1 - int(np.argmax(objective[::-1]))  # the last of the best: the lowest threshold
    return float(thresholds[best]) if objective[best] > -np.inf else math.nan


def counts_at(scores: np.ndarray, labels: np.ndarray, threshold: float | np.ndarray) -> ConfusionCounts:
    """Return whether each image is a true or false positive, or a true or false negative, at a threshold.

    Args:
        scores, labels: float, of one shape; the threshold is broadcast against them.
        threshold: called positive where ``score >= threshold``.

    Returns:
        int64 arrays ``tp, fp, tn, fn`` of 0 and 1; where the label is unknown, all are 0.

    >>> counts_at(np.array([0.2, 0.7, 0.9]), np.array([1, 0, 1]), 0.5)
    (array([0, 0, 1]), array([0, 1, 0]), array([0, 0, 0]), array([1, 0, 0]))
    """
    scores, labels = np.asarray(scores, dtype=float), np.asarray(labels, dtype=float)
    called = scores >= threshold
    present, absent = labels == 1, labels == 0
    parts = called & present, called & absent, ~called & absent, ~called & present
    tp, fp, tn, fn = (part.astype(np.int64) for part in parts)
    return tp, fp, tn, fn


def figures(tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> dict[str, np.ndarray]:
    """Return sensitivity, specificity, ppv, npv, f1, accuracy, lr_positive and lr_negative.

    Args:
        tp, fp, tn, fn: counts, broadcast against each other.

    Returns:
        arrays; NaN where a figure is 0 / 0 (no positive, nothing called positive, ...); a likelihood ratio is infinite
        where its denominator alone is 0.
    """
    tp, fp, tn, fn = (np.asarray(part, dtype=float) for part in (tp, fp, tn, fn))
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "sensitivity": tp / (tp + fn),
            "specificity": tn / (tn + fp),
            "ppv": tp / (tp + fp),
            "npv": tn / (tn + fn),
            "f1": 2 * tp / (2 * tp + fp + fn),
            "accuracy": (tp + tn) / (tp + fp + tn + fn),
            "lr_positive": tp * (tn + fp) / (fp * (tp + fn)),
            "lr_negative": fn * (tn + fp) / (tn * (tp + fn)),
        }


def predictive_values_at(
    sensitivity: np.ndarray | float, specificity: np.ndarray | float, prevalence: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """Return PPV and NPV where the finding is as frequent as stated (Bayes); they broadcast.

    It takes sensitivity and specificity for the same at both places. They seldom are where cases are milder.

    Args:
        sensitivity, specificity, prevalence: in [0, 1].

    Returns:
        ppv and npv; NaN where nothing would be called positive (negative), so that there is nothing to predict.

    Raises:
        EvaluationError: a prevalence outside [0, 1].

    >>> [round(float(value), 3) for value in predictive_values_at(0.9, 0.9, 0.01)]
    [0.083, 0.999]
    """
    sensitivity, specificity = np.asarray(sensitivity, dtype=float), np.asarray(specificity, dtype=float)
    prevalence = np.asarray(prevalence, dtype=float)
    _check_share(prevalence[~np.isnan(prevalence)], "a prevalence")
    true_positives, false_negatives = sensitivity * prevalence, (1 - sensitivity) * prevalence
    false_positives, true_negatives = (1 - specificity) * (1 - prevalence), specificity * (1 - prevalence)
    with np.errstate(invalid="ignore", divide="ignore"):
        return true_positives / (true_positives + false_positives), true_negatives / (true_negatives + false_negatives)


def operating_table(
    sample: Sample,
    points: Mapping[str, Mapping[str, float]],
    bootstrap: PatientBootstrap,
    prevalence: Mapping[str, float] | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return the figures of every threshold on a sample, one row a finding and rule; a threshold of NaN has no row.

    Args:
        sample: patients that the thresholds were not chosen on.
        points: thresholds by finding and rule.
        bootstrap: of the sample's patients.
        prevalence: stated ones in [0, 1], by finding.
        level: of the intervals, in (0, 1).

    Returns:
        ``finding, rule, threshold, images`` (with a known label), ``positives, tp, fp, tn, fn, prevalence``; for each
        figure of `figures` and ``flagged_per_1000`` (images called positive) the value and ``_low, _high,
        _patient_low, _patient_high``; ``stated_prevalence``, and there ``ppv_at_prevalence, npv_at_prevalence`` with
        ``_patient_low, _patient_high`` and ``flagged_per_1000_at_prevalence``. NaN where undefined.

    Raises:
        EvaluationError: a finding that the sample has not, a threshold outside [0, 1], a prevalence outside [0, 1].
    """
    rows = [
        (finding, str(rule), float(threshold))
        for finding, rules in points.items()
        for rule, threshold in rules.items()
        if not math.isnan(threshold)
    ]
    missing = [name for name in [*points, *(prevalence or {})] if name not in sample.findings]
    if missing:
        raise EvaluationError(
            Code.UNKNOWN_FINDING,
            f"there are no predictions of {', '.join(missing)}; there are of {', '.join(sample.findings)}.",
        )
    thresholds = np.array([row[2] for row in rows])
    _check_share(thresholds, "a threshold")
    channels = np.array([sample.findings.index(row[0]) for row in rows], dtype=int)
    by_image = np.hstack(counts_at(sample.scores[:, channels], sample.labels[:, channels], thresholds))
    counts = _split(by_image.sum(0))
    draws = _split(bootstrap.sums(by_image))
    patients = _split(by_patient(by_image, sample.patients)) if rows else counts
    tp, fp, tn, fn = counts
    images, positives = tp + fp + tn + fn, tp + fn
    columns: dict[str, object] = {
        "finding": [row[0] for row in rows], "rule": [row[1] for row in rows], "threshold": thresholds,
        "images": images, "positives": positives, "tp": tp, "fp": fp, "tn": tn, "fn": fn,
        "prevalence": np.divide(positives, images, out=np.full(len(rows), np.nan), where=images > 0),
    }  # fmt: skip
    ends = _share_ends(counts, draws, patients, level)
    values = figures(*counts)
    values["flagged_per_1000"] = 1000 * np.divide(tp + fp, images, out=np.full(len(rows), np.nan), where=images > 0)
    for name in (*SHARES, *RATIOS, "flagged_per_1000"):
        columns[name] = values[name]
        for kind in ("", "_patient"):
            columns[f"{name}{kind}_low"], columns[f"{name}{kind}_high"] = ends[name + kind]
    stated = np.array([float((prevalence or {}).get(row[0], math.nan)) for row in rows])
    columns["stated_prevalence"] = stated
    sensitivity, specificity = values["sensitivity"], values["specificity"]
    ppv, npv = predictive_values_at(sensitivity, specificity, stated)
    with np.errstate(invalid="ignore", divide="ignore"):
        # the odds of the finding after a call are those before it, times the likelihood ratio
        odds = stated / (1 - stated)
        ppv_ends = [_share_of_odds(odds * end) for end in ends["lr_positive_patient"]]
        npv_ends = [1 - _share_of_odds(odds * end) for end in reversed(ends["lr_negative_patient"])]
    for name, value, (low, high) in (("ppv", ppv, ppv_ends), ("npv", npv, npv_ends)):
        columns[f"{name}_at_prevalence"] = value
        columns[f"{name}_at_prevalence_patient_low"] = np.where(np.isnan(value), np.nan, low)
        columns[f"{name}_at_prevalence_patient_high"] = np.where(np.isnan(value), np.nan, high)
    flagged = sensitivity * stated + (1 - specificity) * (1 - stated)
    columns["flagged_per_1000_at_prevalence"] = 1000 * flagged
    return pd.DataFrame(columns)


def _share_ends(
    counts: ConfusionCounts, draws: ConfusionCounts, patients: ConfusionCounts, level: float
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the ends of every figure's interval: over images under its name, over patients under ``name_patient``."""
    ends: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    all_hits, all_draws, all_patients = _hits(*counts), _hits(*draws), _hits(*patients)
    for name, (hits, trials) in all_hits.items():
        with np.errstate(invalid="ignore", divide="ignore"):
            share, shares = hits / trials, all_draws[name][0] / all_draws[name][1]
        effective = effective_trials(share, shares, all_patients[name][1], trials)
        ends[name] = wilson(hits, trials, level)
        ends[f"{name}_patient"] = wilson(share * effective, effective, level)
    share_of = figures(*counts)
    for kind in ("", "_patient"):
        low, high = ends.pop(f"overlap{kind}")
        ends[f"f1{kind}"] = 2 * low / (1 + low), 2 * high / (1 + high)
        low, high = ends.pop(f"flagged{kind}")
        ends[f"flagged_per_1000{kind}"] = 1000 * low, 1000 * high
        sensitivity = share_of["sensitivity"], *ends[f"sensitivity{kind}"]
        miss_rate = 1 - sensitivity[0], 1 - sensitivity[2], 1 - sensitivity[1]
        specificity = share_of["specificity"], *ends[f"specificity{kind}"]
        false_alarm_rate = 1 - specificity[0], 1 - specificity[2], 1 - specificity[1]
        ends[f"lr_positive{kind}"] = ratio_interval(*sensitivity, *false_alarm_rate)
        ends[f"lr_negative{kind}"] = ratio_interval(*miss_rate, *specificity)
    return ends


def _hits(tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return each share's hits and trials.

    F1 is 2 s / (1 + s), s being the share of true positives among the images that are positive or called so
    (``overlap``; Hand, Christen, Kirielle 2021, doi:10.1007/s10994-021-05964-1): its interval follows from that of s.
    """
    everything = tp + fp + tn + fn
    return {
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "ppv": (tp, tp + fp),
        "npv": (tn, tn + fn),
        "accuracy": (tp + tn, everything),
        "overlap": (tp, tp + fp + fn),
        "flagged": (tp + fp, everything),
    }


def _split(stacked: np.ndarray) -> ConfusionCounts:
    tp, fp, tn, fn = np.split(stacked, 4, axis=-1)
    return tp, fp, tn, fn


def _share_of_odds(odds: np.ndarray) -> np.ndarray:
    return np.where(np.isinf(odds), 1.0, odds / (1 + odds))


def _check_share(values: np.ndarray, description: str) -> None:
    outside = values[~((values >= 0) & (values <= 1))]
    if outside.size:
        raise _outside(description, float(outside[0]), "from 0 to 1")


def _outside(description: str, value: float, allowed: str) -> EvaluationError:
    return EvaluationError(Code.EVALUATION_INVALID, f"{description} is {value:g}; it must be {allowed}.")


def _no_rule(text: str) -> EvaluationError:
    return EvaluationError(
        Code.EVALUATION_INVALID,
        f"there is no rule {text!r} for an operating point.",
        fix="Rules are youden, f1, sensitivity=S and specificity=S (S above 0, at most 1) and cost=C (C above 0).",
    )
