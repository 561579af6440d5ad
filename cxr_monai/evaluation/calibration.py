"""Calibration of probabilities: fitted on validation patients, one finding at a time, the order of images preserved.

    calibrator = fit_calibrator("auto", scores, labels, patients)     # validation
    calibrator.apply(p)                                               # later probabilities
    calibration_figures(p, labels), reliability(p, labels)            # before and after, on other patients

On the logit scale (p held between 1e-7 and 1 - 1e-7): ``temperature`` divides by T (Guo et al. 2017, arXiv:1706.04599),
``platt`` is ``slope * logit + intercept`` (Platt 1999). ``isotonic`` is the best non-decreasing step function
(Zadrozny and Elkan 2002, doi:10.1145/775047.775151), drawn out to lines between its steps. The first two leave the
order of images as it was; the third makes ties.

All are fitted to Platt's targets, (n1 + 1) / (n1 + 2) and 1 / (n0 + 2) for n1 positives and n0 negatives, so nothing
becomes 0 or 1 and scores that separate a small sample do not become certain. A finding with too few images
(`FEWEST_TO_CALIBRATE`) or with scores that speak against its labels is left as it is, with the reason.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import expit

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.auroc import known
from cxr_monai.evaluation.logistic import fit_line, fit_slope, log_loss, logit
from cxr_monai.evaluation.reliability import calibration_figures, reliability
from cxr_monai.plurals import counted

__all__ = [
    "CALIBRATION_METHODS", "FEWEST_TO_CALIBRATE", "Calibrator", "calibration_figures", "choose_method",
    "fit_calibrator", "reliability",
]  # fmt: skip

CALIBRATION_METHODS = ("none", "temperature", "platt", "isotonic")
"""From the simplest to the freest."""
FEWEST_TO_CALIBRATE = {"none": 0, "temperature": 10, "platt": 20, "isotonic": 100}
"""How many positives, and how many negatives, a method needs: ten a number that is fitted; isotonic fits many."""
FOLDS = 5
_NUMBERS = {"none": (), "temperature": ("temperature",), "platt": ("slope", "intercept"), "isotonic": ("x", "y")}


@dataclass(frozen=True)
class Calibrator:
    """A non-decreasing map from probabilities to probabilities; its parameters are checked when it is made.

    Attributes:
        method: one of `CALIBRATION_METHODS`.
        parameters: ``temperature`` > 0; or ``slope`` > 0 and ``intercept``; or the knots ``x`` (increasing) and ``y``
            (non-decreasing, not all equal), each in [0, 1].
        reason: why the method is ``none``; empty where that method was given.

    Raises:
        EvaluationError: ``calibration-invalid`` for an unknown method or invalid parameters.
    """

    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    def __post_init__(self) -> None:
        if self.method not in CALIBRATION_METHODS:
            raise _invalid(f"the method is {self.method!r}; it must be one of {', '.join(CALIBRATION_METHODS)}")
        if not isinstance(self.parameters, Mapping) or set(self.parameters) != set(_NUMBERS[self.method]):
            needed = ", ".join(_NUMBERS[self.method]) or "nothing"
            raise _invalid(f"{self.method} has the parameters {_short(self.parameters)}; it needs {needed}")
        if not isinstance(self.reason, str) or (self.reason and self.method != "none"):
            raise _invalid("only the method 'none' has a reason, a sentence")
        if self.method == "isotonic":
            _check_knots(self.parameters["x"], self.parameters["y"])
            return
        for name, value in self.parameters.items():
            if not _is_number(value):
                raise _invalid(f"{name} is {_short(value)}; it must be a finite number")
            if name != "intercept" and value <= 0:
                raise _invalid(f"{name} is {value}; it must be above 0, or the order of images would turn round")

    def apply(self, p: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities.

        Args:
            p: float in [0, 1], of any shape; NaN stays NaN.

        Returns:
            float64 in [0, 1], of the same shape.

        Raises:
            EvaluationError: ``evaluation-invalid`` for a value outside [0, 1].
        """
        p = np.asarray(p, dtype=float)
        if np.any((p < 0) | (p > 1)):
            wrong = p[(p < 0) | (p > 1)].flat[0]
            raise EvaluationError(
                Code.EVALUATION_INVALID,
                f"{wrong:g} is no probability, so it cannot be calibrated.",
                fix="Give values from 0 to 1 (of logits, the sigmoid).",
            )
        if self.method == "temperature":
            return expit(logit(p) / self.parameters["temperature"])
        if self.method == "platt":
            return expit(self.parameters["slope"] * logit(p) + self.parameters["intercept"])
        if self.method == "isotonic":
            return np.interp(p, self.parameters["x"], self.parameters["y"])
        return p.copy()

    def to_json(self) -> dict[str, Any]:
        """Return the calibrator as JSON for `from_json`: plain numbers, lists and text."""
        content: dict[str, Any] = {"method": self.method, "parameters": dict(self.parameters)}
        return content | ({"reason": self.reason} if self.reason else {})

    @classmethod
    def from_json(cls, content: Any) -> "Calibrator":
        """Return the calibrator that `to_json` described.

        Raises:
            EvaluationError: ``calibration-invalid``.
        """
        if not isinstance(content, Mapping) or not {"method", "parameters"} <= set(content) <= {
            "method", "parameters", "reason",
        }:  # fmt: skip
            raise _invalid(f"{_short(content)} is no object with method and parameters")
        if not isinstance(content["method"], str):
            raise _invalid(
                f"the method is {_short(content['method'])}; it must be one of {', '.join(CALIBRATION_METHODS)}"
            )
        return cls(content["method"], content["parameters"], content.get("reason", ""))


def fit_calibrator(
    method: str, scores: np.ndarray, labels: np.ndarray, patients: np.ndarray | None = None
) -> Calibrator:
    """Fit one finding's calibration.

    Args:
        method: one of `CALIBRATION_METHODS`, or ``auto``: see `choose_method`.
        scores: float ``[N]`` in [0, 1].
        labels: float ``[N]``; 1 present, 0 absent, NaN unknown (left out).
        patients: int ``[N]``; kept together by ``auto``. By default each image is a patient of its own.

    Returns:
        the calibrator; of the method ``none``, with the reason, where there are fewer positives or negatives than
        `FEWEST_TO_CALIBRATE`, where the fitted map would not be increasing, or where ``auto`` finds nothing better.

    Raises:
        EvaluationError: ``evaluation-invalid`` for an unknown method, a label other than 0, 1, NaN or a score outside
            [0, 1].

    >>> scores, labels = np.array([0.6, 0.7, 0.8, 0.9] * 25), np.array([0, 1, 0, 1] * 25)
    >>> calibrator = fit_calibrator("platt", scores, labels)
    >>> bool(calibrator.apply(np.array([0.9]))[0] < 0.9)
    True
    """
    if method == "auto":
        method, losses = choose_method(scores, labels, patients)
        if method == "none":
            few = _too_few("temperature", known(scores, labels)[1])
            return Calibrator("none", {}, few or (
                "no method predicts other patients better than the probabilities as they are"
                if len(losses) > 1 else "no method could be fitted on every part of the patients"
            ))  # fmt: skip
    if method not in CALIBRATION_METHODS:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"there is no method {method!r} of calibration.",
            fix=f"Methods are auto, {', '.join(CALIBRATION_METHODS)}.",
        )
    scores, truth = _probabilities(scores, labels)
    return _fit(method, scores, truth) if not (few := _too_few(method, truth)) else Calibrator("none", {}, few)


def choose_method(
    scores: np.ndarray, labels: np.ndarray, patients: np.ndarray | None = None, folds: int = FOLDS, seed: int = 0
) -> tuple[str, dict[str, float]]:
    """Choose a calibration method by log loss on held-out patients (cross-validation over patients).

    Of those that keep the order of images the one with the lowest loss is taken; ``isotonic``, which makes ties, only
    where its loss is lower still by more than one standard error (over patients). The patients with a positive are
    dealt to the folds first, to have some in each.

    Args:
        scores, labels, patients: as in `fit_calibrator`.
        folds: parts of the patients.
        seed: of the dealing.

    Returns:
        the method, and the mean loss of each method that could be fitted in every fold.
    """
    is_known = ~np.isnan(np.asarray(labels, dtype=float))
    scores, truth = _probabilities(scores, labels)
    codes = (
        np.arange(len(truth)) if patients is None else np.unique(np.asarray(patients)[is_known], return_inverse=True)[1]
    )
    fold = deal_patients(codes, truth, folds, seed)
    losses: dict[str, np.ndarray] = {}
    for method in CALIBRATION_METHODS:
        if _too_few(method, truth):
            continue
        loss = np.full(len(truth), np.nan)
        for part in range(folds):
            inside = fold == part
            fitted = _fit(method, scores[~inside], truth[~inside]) if inside.any() else None
            if fitted is not None and fitted.method == method:
                loss[inside] = log_loss(logit(fitted.apply(scores[inside])), truth[inside])
        if not np.isnan(loss).any():
            losses[method] = loss
    means = {method: float(loss.mean()) for method, loss in losses.items() if loss.size}
    if not means:
        return "none", means
    best = min((method for method in means if method != "isotonic"), key=means.__getitem__)
    if "isotonic" in losses:
        gain = losses[best] - losses["isotonic"]
        by_patient = np.bincount(codes, weights=gain - gain.mean())
        if gain.sum() > np.sqrt(np.sum(by_patient**2)):
            return "isotonic", means
    return best, means


def _fit(method: str, scores: np.ndarray, truth: np.ndarray) -> Calibrator:
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if method == "none":
        return Calibrator("none")
    values = scores if method == "isotonic" else logit(scores)
    if values.size == 0 or values.min() == values.max():
        return Calibrator("none", {}, "all its scores are equal")
    targets = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        steps = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(values, targets)
        x, y = steps.X_thresholds_, steps.y_thresholds_
        if y[0] < y[-1]:
            return Calibrator("isotonic", {"x": x.tolist(), "y": y.tolist()})
        return Calibrator("none", {}, "its scores do not rise with its labels, so calibrated they would all be equal")
    if method == "temperature":
        slope, intercept = fit_slope(values, targets), 0.0
    else:
        slope, intercept = fit_line(values, targets)
    if not slope > 0 or not math.isfinite(intercept):
        return Calibrator(
            "none", {}, f"the slope fitted by {method} is not above 0: its scores speak against its labels"
        )
    if method == "temperature":
        return Calibrator("temperature", {"temperature": 1 / slope})
    return Calibrator("platt", {"slope": slope, "intercept": intercept})


def deal_patients(codes: np.ndarray, truth: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return each image's fold ``[N]``: patients in random order, those with a positive first, dealt like cards.

    Args:
        codes: int ``[N]``, the patient of each image.
        truth: bool ``[N]``, whether it is positive.
        folds: how many parts.
        seed: of the order.
    """
    count = int(codes.max()) + 1 if codes.size else 0
    positive = np.bincount(codes, weights=truth, minlength=count) > 0
    order = np.lexsort((np.random.default_rng(seed).random(count), ~positive))
    fold_of_patient = np.empty(count, dtype=int)
    fold_of_patient[order] = np.arange(count) % folds
    return fold_of_patient[codes]


def _too_few(method: str, truth: np.ndarray) -> str:
    positives, negatives = int(truth.sum()), int((~truth).sum())
    need = FEWEST_TO_CALIBRATE[method]
    if min(positives, negatives) >= need:
        return ""
    return (
        f"{method} needs {counted(need, 'positive')} and {counted(need, 'negative')}, "
        f"and there are {positives} and {negatives}"
    )


def _probabilities(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, truth = known(scores, labels)
    outside = scores[(scores < 0) | (scores > 1)]
    if outside.size:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"{outside[0]:g} is no probability, so nothing can be fitted.",
            fix="Give values from 0 to 1 (of logits, the sigmoid).",
        )
    return scores, truth


def _check_knots(x: Any, y: Any) -> None:
    for name, values in (("x", x), ("y", y)):
        if not isinstance(values, list | tuple) or not all(_is_number(value) and 0 <= value <= 1 for value in values):
            raise _invalid(f"the knots {name} must be a list of numbers from 0 to 1")
    if len(x) != len(y) or len(x) < 2:
        raise _invalid(f"there are {len(x)} knots x and {len(y)} y; there must be as many, at least two")
    if np.any(np.diff(x) <= 0):
        raise _invalid("the knots x must increase")
    if np.any(np.diff(y) < 0) or y[0] == y[-1]:
        raise _invalid("the knots y must not decrease, and not all be equal")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _invalid(reason: str) -> EvaluationError:
    return EvaluationError(
        Code.CALIBRATION_INVALID, f"this is no calibration: {reason}.", fix="'cxr-monai calibrate' writes a new one."
    )
