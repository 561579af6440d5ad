"""Calibration, operating points and conformal thresholds, fitted on validation (``models/calibration.json``).

fitted = fit_calibration(sample)                  # calibration, operating points, conformal thresholds
fitted.write("OUT/bundle/models/calibration.json")
fitted = read_calibration("OUT/bundle/models/calibration.json", findings)
probabilities = fitted.apply(raw, findings)       # what ``predict`` gives

Thresholds lie on the calibrated scale. They belong to the patients they were chosen on, so those patients may not be
reported on; their identifiers are never in the file (`cxr_monai.evaluation.patients`).
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cxr_monai.data.manifest import Manifest
from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.calibration import Calibrator, fit_calibrator
from cxr_monai.evaluation.conformal import ConformalSets, fit_conformal
from cxr_monai.evaluation.operating_points import Rule, choose_threshold, counts_at, figures
from cxr_monai.evaluation.patients import patients_of
from cxr_monai.evaluation.recalibration import recalibrate
from cxr_monai.evaluation.sample import Sample
from cxr_monai.plurals import be, out_of
from cxr_monai.strict_json import parse_strictly

logger = logging.getLogger(__name__)

_FORMAT = 1
DEFAULT_RULES = ("youden", "f1", "sensitivity=0.9", "specificity=0.9", "cost=10")
"""The default operating points; the first is the one that reports use."""
COVERAGE = 0.9

Points = dict[str, dict[str, float]]
"""Thresholds by finding and rule."""


@dataclass(frozen=True)
class Fitted:
    """Calibration, operating points and conformal thresholds of some findings.

    Attributes:
        calibrators: by finding, applied one after the other; none leaves the probabilities as they are.
        points: thresholds on the calibrated scale, by finding and rule.
        expected: sensitivity and specificity at each of them, on the images that they were chosen on.
        prevalence: positives among the known labels there, by finding.
        conformal: sets with a stated coverage; None where they were not fitted.
        fitted_on: how many images and patients, which part of which split, whose labels; no names.
        notes: a sentence for everything that could not be fitted.
        within: for each finding that can't be more probable than another one (its category), that other one. Each is
            calibrated by itself, which may turn them around; a finding is then lowered to its category's probability.
        lost: why a bundle that ought to have a calibration has none, else empty (``cxr_monai.evaluation.carried``).
    """

    calibrators: Mapping[str, tuple[Calibrator, ...]]
    points: Points
    expected: Mapping[str, Mapping[str, Mapping[str, float]]]
    prevalence: Mapping[str, float]
    conformal: ConformalSets | None = None
    fitted_on: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    within: Mapping[str, str] = field(default_factory=dict)
    lost: str = ""

    @property
    def findings(self) -> tuple[str, ...]:
        """The findings."""
        return tuple(self.calibrators)

    @property
    def calibrates(self) -> bool:
        """Whether it changes any probability."""
        return any(self.calibrators.values())

    def apply(self, scores: np.ndarray, findings: Sequence[str]) -> np.ndarray:
        """Return calibrated probabilities.

        Args:
            scores: raw probabilities ``[N, F]``.
            findings: of the columns; those without a calibrator stay as they are.

        Returns:
            float64 ``[N, F]`` in [0, 1].
        """
        calibrated = np.array(scores, dtype=float)
        for column, finding in enumerate(findings):
            for calibrator in self.calibrators.get(finding, ()):
                calibrated[:, column] = calibrator.apply(calibrated[:, column])
        columns = {finding: column for column, finding in enumerate(findings)}
        for finding, category in self.within.items():
            if finding in columns and category in columns:
                calibrated[:, columns[finding]] = np.minimum(
                    calibrated[:, columns[finding]], calibrated[:, columns[category]]
                )
        return calibrated

    def shortages(self) -> list[str]:
        """Return a sentence on the findings that are not calibrated, and on those without operating points."""
        missing = {
            "not calibrated": [finding for finding, steps in self.calibrators.items() if not steps],
            "without operating points": [finding for finding in self.findings if not self.points.get(finding)],
        }
        return [
            f"{out_of(len(names), len(self.findings), 'finding')} {be(len(self.findings))} {lack}: {', '.join(names)}"
            for lack, names in missing.items()
            if names
        ]

    def carried(self) -> dict[str, Any]:
        """Return the part that `apply` needs as JSON, which a bundle's configuration carries."""
        return {
            "findings": {
                name: [calibrator.to_json() for calibrator in steps] for name, steps in self.calibrators.items()
            },
            "within": dict(self.within),
        }

    def write(self, path: str | Path) -> None:
        """Write the calibration as JSON, whole or not at all.

        Raises:
            StorageError: ``disk-full`` or ``write-failed``.
        """
        content = {
            "_desc_": "Fitted by cxr-monai on validation predictions: calibration, operating points (thresholds of "
            "calibrated probabilities), conformal thresholds.",
            "format": _FORMAT,
            "findings": {
                finding: {
                    "calibration": [calibrator.to_json() for calibrator in self.calibrators[finding]],
                    "operating_points": {
                        rule: {"threshold": threshold, **self.expected.get(finding, {}).get(rule, {})}
                        for rule, threshold in self.points.get(finding, {}).items()
                    },
                    "prevalence": self.prevalence.get(finding),
                }
                for finding in self.findings
            },
            "within": dict(self.within),
            "conformal": self.conformal.to_json() if self.conformal else None,
            "fitted_on": dict(self.fitted_on),
            "notes": list(self.notes),
        }
        write_durably(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def read_calibration(
    path: str | Path, findings: Sequence[str], raw: bool = False, weights: str | Path | None = None
) -> Fitted | None:
    """Read ``models/calibration.json``; None where a bundle has none, or it is of other weights (logged).

    Args:
        path: of the file.
        findings: the bundle's; the file must be of the same.
        raw: True reads nothing: probabilities stay the network's.
        weights: those in use; a calibration is of the ``model.pt`` beside it and of no others.

    Raises:
        EvaluationError: ``calibration-invalid`` for a damaged file, or one of other findings.
    """
    path = Path(path)
    if raw:
        return None
    if weights is not None and Path(weights).resolve() != path.with_name("model.pt").resolve():
        logger.log(
            logging.WARNING if path.is_file() else logging.INFO,
            "these are not the bundle's own weights, so its calibration is left out",
        )
        return None
    if not path.is_file() and weights is not None and is_elsewhere(path, weights):
        logger.warning("not calibrated: bundle_root (%s) is not the bundle's folder", path.parent.parent)
        return None
    if not path.is_file():
        logger.info("this bundle is not calibrated (it has no %s)", path.name)
        return None
    try:
        content = parse_strictly(path.read_bytes())
        if content["format"] != _FORMAT:
            raise ValueError(f"its format is {content['format']!r}, not {_FORMAT}")
        rows = content["findings"]
        if set(rows) != set(findings):
            raise ValueError(f"it is of {', '.join(rows)}, the bundle of {', '.join(findings)}")
        points = {name: rows[name]["operating_points"] for name in findings}
        return Fitted(
            {name: tuple(map(Calibrator.from_json, rows[name]["calibration"])) for name in findings},
            {name: {rule: _probability(point["threshold"]) for rule, point in points[name].items()} for name in points},
            {
                name: {
                    rule: {key: float(value) for key, value in point.items() if key != "threshold"}
                    for rule, point in points[name].items()
                }
                for name in points
            },
            {name: float(rows[name]["prevalence"]) for name in findings if rows[name]["prevalence"] is not None},
            ConformalSets.from_json(content["conformal"]) if content["conformal"] else None,
            content["fitted_on"],
            tuple(content["notes"]),
            _within(content.get("within", {}), findings),
        )
    except (ValueError, LookupError, ArithmeticError, TypeError, AttributeError, OSError, EvaluationError) as error:
        raise EvaluationError(
            Code.CALIBRATION_INVALID,
            f"this is not a calibration of this bundle ({error}).",
            fix="'cxr-monai calibrate' writes a new one into a copy of the bundle; --raw predicts without.",
            where=path,
        ) from error


def is_elsewhere(path: Path, weights: str | Path) -> bool:
    """Return whether the folder of a calibration file is no bundle, such as a wrong ``bundle_root``.

    Args:
        path: of ``models/calibration.json``.
        weights: of the network; where they exist, the folder is taken for a bundle.
    """
    return not Path(weights).is_file() and not (path.parent.parent / "configs").is_dir()


def fit_calibration(
    sample: Sample,
    method: str = "auto",
    rules: Sequence[str] = DEFAULT_RULES,
    coverage: float = COVERAGE,
    fitted_on: Mapping[str, Any] | None = None,
    within: Mapping[str, str] | None = None,
) -> Fitted:
    """Fit calibration, operating points and conformal thresholds on raw probabilities.

    A finding with too few positives or negatives for a calibration or an operating point gets none, and a note.

    Args:
        sample: validation patients.
        method: ``auto`` (chosen by cross-validation over patients), ``temperature``, ``platt``, ``isotonic``, ``none``.
        rules: ``youden``, ``f1``, ``sensitivity=S``, ``specificity=S``, ``cost=C`` (a miss costs C false alarms).
        coverage: of the conformal sets, between 0 and 1.
        fitted_on: see :func:`describe_sample`.
        within: of the network's head, see :class:`Fitted`.

    Raises:
        EvaluationError: ``evaluation-invalid`` for an unknown method, rule or coverage.
    """
    calibrators: dict[str, tuple[Calibrator, ...]] = {}
    notes: list[str] = []
    for finding in sample.findings:
        calibrator = fit_calibrator(method, *sample.column(finding), patients=sample.patients)
        calibrators[finding] = () if calibrator.method == "none" else (calibrator,)
        if calibrator.reason:
            notes.append(f"{finding} is not calibrated: {calibrator.reason.rstrip('.')}.")
    fitted = Fitted(calibrators, {}, {}, {}, None, dict(fitted_on or {}), within=dict(within or {}))
    return _with_points(fitted, sample, rules, coverage, notes)


def refit(
    fitted: Fitted,
    sample: Sample,
    how: str = "auto",
    points: str = "keep",
    rules: Sequence[str] = DEFAULT_RULES,
    coverage: float = COVERAGE,
    fitted_on: Mapping[str, Any] | None = None,
) -> Fitted:
    """Adapt a calibration to another site with few images: move the intercept, or the slope too.

    Args:
        fitted: the bundle's own.
        sample: the site's images, raw probabilities.
        how: ``intercept``, ``slope`` or ``auto`` (by the amount of data); see ``cxr_monai.evaluation.recalibration``.
        points: ``keep`` moves the thresholds with the scale, so that every decision stays what it was (but for findings
            that `Fitted.within` lowers now, or did before); ``choose`` chooses them anew.
        rules, coverage, fitted_on: as in :func:`fit_calibration`.
    """
    sample_calibrated = sample.with_scores(fitted.apply(sample.scores, sample.findings))
    calibrators, moved = (
        dict(fitted.calibrators),
        {name: dict(thresholds) for name, thresholds in fitted.points.items()},
    )
    notes: list[str] = []
    for finding in sample.findings:
        step = recalibrate(*sample_calibrated.column(finding), how, sample.patients)
        if step.reason:
            notes.append(f"{finding} is not recalibrated: {step.reason.rstrip('.')}.")
        if step.method == "none":
            continue
        calibrators[finding] = (*calibrators.get(finding, ()), step)
        for rule, threshold in moved.get(finding, {}).items():
            moved[finding][rule] = float(step.apply(np.array([threshold]))[0])
    adapted = replace(
        fitted, calibrators=calibrators, points=moved, fitted_on=dict(fitted_on or {}), notes=tuple(notes)
    )
    if points == "choose":
        return _with_points(adapted, sample, rules, coverage, notes)
    calibrated = sample.with_scores(adapted.apply(sample.scores, sample.findings))
    return replace(adapted, conformal=fit_conformal(calibrated, coverage))


def _with_points(fitted: Fitted, sample: Sample, rules: Sequence[str], coverage: float, notes: list[str]) -> Fitted:
    """Return the calibration with thresholds and conformal sets chosen on the calibrated probabilities."""
    calibrated = sample.with_scores(fitted.apply(sample.scores, sample.findings))
    points: Points = {}
    expected: dict[str, dict[str, dict[str, float]]] = {}
    prevalence: dict[str, float] = {}
    for finding in sample.findings:
        scores, labels = calibrated.column(finding)
        is_known = ~np.isnan(labels)
        if is_known.any():
            prevalence[finding] = float(labels[is_known].mean())
        points[finding], expected[finding] = {}, {}
        for rule in map(Rule.parse, rules):
            threshold = choose_threshold(scores, labels, rule)
            if np.isnan(threshold):
                continue
            points[finding][str(rule)] = threshold
            values = figures(*(part.sum() for part in counts_at(scores, labels, threshold)))
            expected[finding][str(rule)] = {key: float(values[key]) for key in ("sensitivity", "specificity")}
        if not points[finding]:
            notes.append(f"{finding} has no operating points: its labels are all of one kind, or unknown.")
    return replace(
        fitted,
        points=points,
        expected=expected,
        prevalence=prevalence,
        conformal=fit_conformal(calibrated, coverage),
        notes=tuple(notes),
    )


def describe_sample(sample: Sample, manifest: Manifest, **more: Any) -> dict[str, Any]:
    """Return a description of the fitted images that identifies nobody: counts, split, label version, a digest.

    Args:
        sample: the images.
        manifest: where they come from.
        more: further entries.
    """
    parts = sample.table["split"].replace("", "no split").value_counts()
    return {
        "images": len(sample),
        "patients": int(sample.patients.max()) + 1,
        "parts": {str(name): int(count) for name, count in sorted(parts.items())},
        "split": {"scheme": manifest.split.scheme, "digest": manifest.split.digest} if manifest.split else None,
        "label_version": manifest.label_version,
        "patients_digest": hashlib.sha256("\n".join(patients_of(sample)).encode()).hexdigest(),
        **({} if manifest.patients == "known" else {"patients_known": False}),
        **more,
    }


def _within(content: Mapping[str, str], findings: Sequence[str]) -> dict[str, str]:
    unknown = sorted({*content.keys(), *content.values()} - set(findings))
    if unknown:
        raise ValueError(f"within names {', '.join(unknown)}")
    return dict(content)


def _probability(value: Any) -> float:
    if not isinstance(value, int | float) or not value >= 0:
        raise ValueError(f"a threshold is {value!r}")
    return float(value)
