"""Recalibration at another site with a few hundred local images, and a check whether the old thresholds still hold.

    step = recalibrate(scores, labels, "auto", patients)          # to be applied after the bundle's own calibration
    shift_prevalence(p, old_prevalence=0.12, new_prevalence=0.03)
    check_operating_points(sample, points, expected, bootstrap)   # holds: yes, no, too few to say

Little data decides little. The intercept alone sets the mean right; the slope, which says whether scores are too
extreme, needs more images, and is drawn toward 1. `choose_update` moves neither without evidence.
"""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import chi2

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.auroc import known
from cxr_monai.evaluation.bootstrap import PatientBootstrap
from cxr_monai.evaluation.calibration import Calibrator
from cxr_monai.evaluation.logistic import fit_intercept, fit_line, logit
from cxr_monai.evaluation.operating_points import operating_table
from cxr_monai.evaluation.sample import Sample
from cxr_monai.plurals import counted

UPDATES = ("none", "intercept", "slope")
FEWEST_TO_RECALIBRATE = {"none": 0, "intercept": 5, "slope": 20}
"""How many positive patients, and how many negative ones, an update needs."""
PENALTY = 16.0
"""On the squared distance of the slope from 1: a normal prior with a standard deviation of 1/4."""
SIGNIFICANCE = 0.05
MARGIN = 0.1
"""How far sensitivity and specificity may be from what was expected for an operating point to hold."""


def recalibrate(
    scores: np.ndarray, labels: np.ndarray, how: str = "auto", patients: np.ndarray | None = None
) -> Calibrator:
    """Adapt calibrated probabilities of one finding to a site.

    ``intercept`` moves all logits by one number, so that the mean probability becomes the observed share. ``slope``
    also stretches them, by maximum likelihood less `PENALTY` / 2 times the squared distance of the slope from 1
    (Steyerberg et al. 2004, doi:10.1002/sim.1844, compare such updates). ``auto``: see `choose_update`.

    Args:
        scores: float ``[N]`` in [0, 1].
        labels: float ``[N]``; 1 present, 0 absent, NaN unknown (left out).
        how: ``intercept``, ``slope``, ``auto`` or ``none``.
        patients: int ``[N]``; by default each image is a patient of its own, which overstates what is known where
            patients have several.

    Returns:
        a calibrator of the method ``platt``, or ``none`` with the reason: too few (`FEWEST_TO_RECALIBRATE`), no
        evidence, or a slope that is not above 0.

    Raises:
        EvaluationError: ``evaluation-invalid`` for another ``how``, a label other than 0, 1, NaN, or a score outside
            [0, 1].
    """
    if how not in ("auto", *UPDATES):
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"a recalibration by {how!r} does not exist.",
            fix=f"Use auto, {', '.join(UPDATES)}.",
        )
    z, truth, codes = _checked(scores, labels, patients)
    reason = ""
    if how == "auto":
        how, reason = _choose(z, truth, codes)
    elif few := _too_few(how, truth, codes):
        how, reason = "none", few
    if how == "none":
        return Calibrator("none", {}, reason)
    if how == "intercept":
        return Calibrator("platt", {"slope": 1.0, "intercept": fit_intercept(z, truth)})
    slope, intercept = fit_line(z, truth.astype(float), PENALTY)
    if not slope > 0:
        return Calibrator(
            "none", {}, "the slope fitted is not above 0: at this site its scores speak against its labels"
        )
    return Calibrator("platt", {"slope": slope, "intercept": intercept})


def choose_update(scores: np.ndarray, labels: np.ndarray, patients: np.ndarray | None = None) -> tuple[str, str]:
    """Choose ``none``, ``intercept`` or ``slope`` by a closed test of what the data support.

    Vergouwe et al. 2017, doi:10.1002/sim.7179: first, does anything speak against the probabilities as they are; if
    so, does anything speak against moving the intercept alone; if so, the slope moves, too. Each is a score test at 5 %
    that takes a patient's images together. With fewer than `FEWEST_TO_RECALIBRATE` positive (or negative) patients a
    step is not tried. So few images change nothing unless they are far off, and a change that was not made is no
    proof that none is needed.

    Args:
        scores, labels, patients: as in `recalibrate`.

    Returns:
        the update and, for ``none``, the reason.
    """
    return _choose(*_checked(scores, labels, patients))


def shift_prevalence(p: np.ndarray, old_prevalence: float, new_prevalence: float) -> np.ndarray:
    """Return calibrated probabilities shifted to another prevalence of the finding.

    The odds are multiplied by the ratio of the prevalences' odds (Saerens et al. 2002,
    doi:10.1162/089976602753284446). That is right if images with the finding, and those without, look the same at both
    places, and only their shares differ.

    Args:
        p: float in [0, 1], of any shape, calibrated at the old prevalence; NaN stays NaN.
        old_prevalence, new_prevalence: in (0, 1).

    Returns:
        float64 of the same shape; 0 stays 0 and 1 stays 1.

    Raises:
        EvaluationError: a prevalence outside (0, 1), or a value outside [0, 1].

    >>> shift_prevalence(np.array([0.5]), 0.5, 0.1).round(3)
    array([0.1])
    """
    for name, value in (("old", old_prevalence), ("new", new_prevalence)):
        if not 0 < value < 1:
            raise EvaluationError(
                Code.EVALUATION_INVALID,
                f"the {name} prevalence is {value:g}; it must lie between 0 and 1, without them.",
            )
    p = np.asarray(p, dtype=float)
    if np.any((p < 0) | (p > 1)):
        raise EvaluationError(Code.EVALUATION_INVALID, f"{p[(p < 0) | (p > 1)].flat[0]:g} is no probability.")
    present = p * (new_prevalence / old_prevalence)
    return present / (present + (1 - p) * ((1 - new_prevalence) / (1 - old_prevalence)))


def check_operating_points(
    sample: Sample,
    points: Mapping[str, Mapping[str, float]],
    expected: Mapping[str, Mapping[str, Mapping[str, float]]],
    bootstrap: PatientBootstrap,
    level: float = 0.95,
    margin: float = MARGIN,
) -> pd.DataFrame:
    """Test whether thresholds reach at another site the sensitivity and specificity of where they were chosen.

    ``yes``: the intervals of sensitivity and of specificity lie within ``margin`` of what was expected. ``no``: one of
    them excludes it and reaches beyond the margin. ``too few to say``: anything else; the expected value is possible,
    and so is one beyond the margin. The expected values are taken as promised, without an uncertainty of their own, and
    the rows are not corrected for their number: of many that hold, some are judged not to.

    Args:
        sample: of the site.
        points: thresholds by finding and rule.
        expected: sensitivity and specificity by finding and rule; missing ones are not judged.
        bootstrap: of the sample's patients.
        level: of the intervals.
        margin: in (0, 1).

    Returns:
        ``finding, rule, threshold, images, positives``; for sensitivity and specificity ``expected_, observed_`` and
        the latter's patient-level ``_low, _high``; ``holds``; ``why``, a few words (``sensitivity lower``).

    Raises:
        EvaluationError: as `operating_table`, or a margin outside (0, 1).
    """
    if not 0 < margin < 1:
        raise EvaluationError(Code.EVALUATION_INVALID, f"the margin is {margin:g}; it must lie between 0 and 1.")
    table = operating_table(sample, points, bootstrap, None, level)
    verdict_table = table[["finding", "rule", "threshold", "images", "positives"]].copy()
    promised = [
        dict(expected.get(finding, {}).get(rule, {}))
        for finding, rule in zip(verdict_table["finding"], verdict_table["rule"], strict=True)
    ]
    verdicts: list[list[tuple[str, str]]] = [[] for _ in promised]
    for name in ("sensitivity", "specificity"):
        verdict_table[f"expected_{name}"] = [float(row.get(name, math.nan)) for row in promised]
        verdict_table[f"observed_{name}"] = table[name]
        for end in ("low", "high"):
            verdict_table[f"observed_{name}_{end}"] = table[f"{name}_patient_{end}"]
        columns = (f"expected_{name}", f"observed_{name}", f"observed_{name}_low", f"observed_{name}_high")
        for verdict, values in zip(verdicts, verdict_table[list(columns)].to_numpy(dtype=float), strict=True):
            verdict.append(_judge(name, values, margin))
    verdict_table["holds"] = [_worst([holds for holds, _ in verdict]) for verdict in verdicts]
    verdict_table["why"] = [
        ", ".join(why for holds, why in verdict if why and holds == worst)
        for verdict, worst in zip(verdicts, verdict_table["holds"], strict=True)
    ]
    return verdict_table


def _judge(name: str, values: np.ndarray, margin: float) -> tuple[str, str]:
    expected, observed, low, high = (float(value) for value in values)
    if math.isnan(expected) or math.isnan(low):
        missing = "not expected to be anything" if math.isnan(expected) else "not observed"
        return "too few to say", f"{name} {missing}"
    if expected - margin <= low and high <= expected + margin:
        return "yes", ""
    if low > expected or high < expected:
        return "no", f"{name} {'higher' if observed > expected else 'lower'}"
    return "too few to say", f"{name} within {low:.2f} to {high:.2f}"


def _worst(verdicts: list[str]) -> str:
    return next(word for word in ("no", "too few to say", "yes") if word in verdicts)


def _choose(z: np.ndarray, truth: np.ndarray, codes: np.ndarray) -> tuple[str, str]:
    if few := _too_few("intercept", truth, codes):
        return "none", few
    slope_too = not _too_few("slope", truth, codes)
    scores = np.column_stack([np.ones(len(z)), z - z.mean()])[:, : 1 + slope_too] * (truth - expit(z))[:, None]
    if _score_test(scores, codes) > SIGNIFICANCE:
        return "none", (
            f"nothing in {counted(len(z), 'image')}, {int(truth.sum()):,} of them positive, speaks clearly against the "
            "probabilities as they are"
        )
    if not slope_too:
        return "intercept", ""
    p = expit(z + fit_intercept(z, truth))
    weight = p * (1 - p)
    # the part of the slope's score that the intercept does not explain
    across = (z - np.sum(weight * z) / np.sum(weight)) * (truth - p)
    return ("intercept" if _score_test(across[:, None], codes) > SIGNIFICANCE else "slope"), ""


def _score_test(scores: np.ndarray, codes: np.ndarray) -> float:
    """Return p of the hypothesis that the scores ``[N, K]`` have a mean of 0, patients being independent."""
    by_patient = np.column_stack([np.bincount(codes, weights=column) for column in scores.T])
    total, variance = by_patient.sum(0), by_patient.T @ by_patient
    return float(chi2.sf(total @ np.linalg.pinv(variance, hermitian=True) @ total, scores.shape[1]))


def _too_few(how: str, truth: np.ndarray, codes: np.ndarray) -> str:
    positive, negative = np.unique(codes[truth]).size, np.unique(codes[~truth]).size
    need = FEWEST_TO_RECALIBRATE[how]
    if min(positive, negative) >= need:
        return ""
    update = "a recalibration" if how == "intercept" else "a new slope"
    return (
        f"{update} needs {counted(need, 'patient')} with it and {need} without, and there are {positive} and {negative}"
    )


def _checked(
    scores: np.ndarray, labels: np.ndarray, patients: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    is_known = ~np.isnan(np.asarray(labels, dtype=float))
    scores, truth = known(scores, labels)
    if np.any((scores < 0) | (scores > 1)):
        raise EvaluationError(Code.EVALUATION_INVALID, f"{scores[(scores < 0) | (scores > 1)][0]:g} is no probability.")
    codes = (
        np.arange(len(truth)) if patients is None else np.unique(np.asarray(patients)[is_known], return_inverse=True)[1]
    )
    return logit(scores), truth, codes
