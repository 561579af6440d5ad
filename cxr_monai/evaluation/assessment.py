"""The evaluation of one system's probabilities on one set of images, as tables.

evaluation = evaluate(sample, fitted=fitted, book=book)
evaluation.findings              # one row a finding and a mean: AUROC, average precision, Brier score, intervals
evaluation.operating_points      # sensitivity, specificity, predictive values, ... at thresholds chosen elsewhere

All patient-level intervals come from the same draws of whole patients, so differences are paired.
``cxr_monai.evaluation.evaluation_folder`` writes the tables; ``cxr_monai.report`` draws them and makes the page.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.auroc import check_level, delong
from cxr_monai.evaluation.bootstrap import Intervals, PatientBootstrap, Ranking, bootstrap_interval, effective_patients
from cxr_monai.evaluation.calibration import calibration_figures, reliability
from cxr_monai.evaluation.comparison import compare
from cxr_monai.evaluation.conformal import conformal_table, risk_coverage
from cxr_monai.evaluation.curves import curves
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.evaluation.gate_effects import gate_metrics
from cxr_monai.evaluation.groups import ATTRIBUTES
from cxr_monai.evaluation.metric_names import metric_values, part_name
from cxr_monai.evaluation.metrics_table import MEAN, as_text
from cxr_monai.evaluation.operating_points import operating_table
from cxr_monai.evaluation.per_study import HOW, by_study, study_notes
from cxr_monai.evaluation.recalibration import check_operating_points, shift_prevalence
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.subgroups import subgroup_table
from cxr_monai.plurals import counted
from cxr_monai.progress import progress_bar

_FEW_PATIENTS = 20
"""With fewer positive patients than this a note warns that a finding's figures mean little."""
_INTERVALS = Intervals()
AS_PREDICTED, CALIBRATED = "as predicted", "calibrated"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of `evaluate`; a table is empty where it does not apply.

    Attributes:
        sample: the evaluated images (calibrated probabilities where a calibration was given).
        level: of all intervals.
        replicates: of the bootstrap over patients.
        findings: ``metrics.csv``.
        means: macro and positive-weighted, of AUROC, average precision and Brier score.
        operating_points, calibration, reliability, conformal, risk_coverage, subgroups, studies, prevalence, site:
            long tables; see the functions that compute them.
        readers, reader_agreement: single readers beside the model, see `cxr_monai.evaluation.readers`.
        gate_codes, gate_findings, gate_groups, gate_figures: what a gate refuses, and the figures with and without
            those films, see `cxr_monai.evaluation.gate_effects.GateTables`; empty where no film was judged.
        comparison: with a second system; None without.
        comparison_names: names of the two systems.
        curves: by finding, see ``cxr_monai.evaluation.curves``.
        book: provenance of the figures: split, labels, bundle, counts.
        notes: warnings, in full sentences.
    """

    sample: Sample
    level: float
    replicates: int
    findings: pd.DataFrame
    means: pd.DataFrame
    operating_points: pd.DataFrame = field(default_factory=pd.DataFrame)
    calibration: pd.DataFrame = field(default_factory=pd.DataFrame)
    reliability: pd.DataFrame = field(default_factory=pd.DataFrame)
    conformal: pd.DataFrame = field(default_factory=pd.DataFrame)
    risk_coverage: pd.DataFrame = field(default_factory=pd.DataFrame)
    subgroups: pd.DataFrame = field(default_factory=pd.DataFrame)
    studies: pd.DataFrame = field(default_factory=pd.DataFrame)
    prevalence: pd.DataFrame = field(default_factory=pd.DataFrame)
    site: pd.DataFrame | None = None
    readers: pd.DataFrame = field(default_factory=pd.DataFrame)
    reader_agreement: pd.DataFrame = field(default_factory=pd.DataFrame)
    gate_codes: pd.DataFrame = field(default_factory=pd.DataFrame)
    gate_findings: pd.DataFrame = field(default_factory=pd.DataFrame)
    gate_groups: pd.DataFrame = field(default_factory=pd.DataFrame)
    gate_figures: pd.DataFrame = field(default_factory=pd.DataFrame)
    comparison: pd.DataFrame | None = None
    comparison_names: tuple[str, str] | None = None
    curves: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    book: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def metrics(self) -> dict[str, float]:
        """Return the figures that MLflow gets, by name: ``test_auroc_Mass``, ``test_auroc_Mass_patient_low``, ..."""
        figures, ends = ("auroc", "average_precision", "brier"), ("patient_low", "patient_high")
        part = part_name(self.sample.table["split"].unique())
        gate = gate_metrics(self.gate_codes, self.gate_figures, part)
        return metric_values(self.findings, "finding", figures, ends, part) | gate

    def text(self) -> str:
        """Return the table of the findings for a terminal."""
        ends = ["auroc_patient_low", "auroc_patient_high"]
        return as_text(self.findings[["finding", "images", "positives", "auroc", *ends, "average_precision"]])


def evaluate_findings(
    sample: Sample,
    *,
    intervals: Intervals = _INTERVALS,
    book: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Compute ``metrics.csv`` and the means alone, as a training does on its validation part.

    Args:
        sample, intervals, book: as of `evaluate`, whose figures these are.

    Raises:
        EvaluationError: ``evaluation-invalid`` for a level outside (0, 1).
    """
    check_level(intervals.level)
    bootstrap = PatientBootstrap(sample.patients, intervals.replicates, intervals.seed)
    ranking = bootstrap.rankings(sample.scores, sample.labels)
    findings, means = _findings(sample, bootstrap, ranking, intervals.level)
    return Evaluation(
        sample, intervals.level, intervals.replicates, findings, means, book=book or {}, notes=(*_warnings(findings),)
    )


def evaluate(
    sample: Sample,
    *,
    fitted: Fitted | None = None,
    calibrated: bool = False,
    second: Sample | None = None,
    names: tuple[str, str] = ("first", "second"),
    margin: float | None = None,
    prevalence: Mapping[str, float] | None = None,
    intervals: Intervals = _INTERVALS,
    book: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Evaluation:
    """Evaluate one system, and compare it with a second one on the same images.

    Args:
        sample: probabilities and labels of images whose patients nothing was fitted on.
        fitted: calibration and thresholds from other patients; without, there are no operating points.
        calibrated: the sample's probabilities are calibrated by ``fitted`` already.
        second: the same images in the same order, by another system.
        names: of the two systems.
        margin: of AUROC, for non-inferiority of the second.
        prevalence: in (0, 1), by finding: the prevalence at another site, for predictive values there.
        intervals: replicates, level and seed of the bootstrap over patients.
        book: provenance, stored with the result.
        notes: remarks, stored before those of the evaluation.

    Returns:
        all tables; see `Evaluation`.

    Raises:
        EvaluationError: ``evaluation-invalid`` for a level or prevalence outside (0, 1), a prevalence of an unknown
            finding, or two systems that are not of the same images, labels and findings.
    """
    replicates, level, seed = intervals.replicates, intervals.level, intervals.seed
    check_level(level)
    _check_prevalences(prevalence or {}, sample.probabilities().findings)
    raw = sample
    ranked = set(sample.ranking_only)
    applied = fitted is not None and fitted.calibrates and not calibrated
    if fitted is not None and applied:
        sample = sample.with_scores(fitted.apply(sample.scores, sample.findings))
    stages = 7 + (second is not None)
    with progress_bar(total=stages, desc="evaluating", unit="parts") as bar:

        @contextmanager
        def part(name: str) -> Iterator[None]:
            bar.set_postfix_str(name)
            yield
            bar.update()

        with part("bootstrap of patients"):
            bootstrap = PatientBootstrap(sample.patients, replicates, seed)
            ranking = bootstrap.rankings(sample.scores, sample.labels)
            findings, means = _findings(sample, bootstrap, ranking, level)
        with part("operating points"):
            points = fitted.points if fitted else {}
            points = {name: points[name] for name in sample.findings if points.get(name) and name not in ranked}
            at_points = operating_table(sample, points, bootstrap, prevalence, level) if points else pd.DataFrame()
            site = None
            if fitted is not None and points:
                site = check_operating_points(sample, points, fitted.expected, bootstrap, level)
        with part("calibration"):
            states = [(AS_PREDICTED, raw), (CALIBRATED, sample)] if applied else [
                (CALIBRATED if calibrated else AS_PREDICTED, sample)
            ]  # fmt: skip
            calibration = pd.DataFrame([
                {"finding": name, "state": state}
                | calibration_figures(*state_sample.column(name), patients=state_sample.patients, level=level)
                for name in sample.probabilities().findings
                for state, state_sample in states
            ])  # fmt: skip
            bins = [
                _reliability(state_sample, name, state, level)
                for name in sample.probabilities().findings
                for state, state_sample in states
            ]
        with part("sets and abstention"):
            sets = pd.DataFrame()
            if fitted is not None and fitted.conformal is not None and len(ranked) < len(sample.findings):
                sets = conformal_table(sample.probabilities(), fitted.conformal, bootstrap)
            abstention = _risk_coverage(sample, points)
        with part("subgroups"):
            subgroups, subgroup_notes = subgroup_table(
                sample, bootstrap, ATTRIBUTES, level=level, points=_first(points)
            )
        with part("studies"):
            studies, notes_by_study = _studies(sample, replicates, level, seed)
        with part("curves"):
            drawn = {name: curves(*sample.column(name), bootstrap, level) for name in sample.findings}
        comparison = None
        if second is not None:
            with part("comparison"):
                comparison = compare(raw, second, bootstrap, level, margin)
    return Evaluation(
        sample, level, replicates, findings, means, at_points, calibration,
        pd.concat(bins, ignore_index=True) if bins else pd.DataFrame(), sets,
        abstention, subgroups, studies, _prevalence(sample, prevalence or {}), site, comparison=comparison,
        comparison_names=names if second is not None else None,
        curves={name: curve for name, curve in drawn.items() if curve is not None},
        book=dict(book or {}),
        notes=(*notes, *(fitted.notes if fitted else ()), *_warnings(findings), *subgroup_notes, *notes_by_study),
    )  # fmt: skip


def _findings(
    sample: Sample, bootstrap: PatientBootstrap, ranking: Ranking, level: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return ``metrics.csv`` and the means."""
    is_known = ~np.isnan(sample.labels)
    # a score that only ranks has no distance to its label
    is_judged = is_known & ~np.isin(sample.findings, sample.ranking_only)
    squares = np.where(is_judged, (sample.scores - np.nan_to_num(sample.labels)) ** 2, 0)
    counted = bootstrap.sums(np.hstack([squares, is_judged]))
    size = len(sample.findings)
    with np.errstate(invalid="ignore"):
        brier_draws = counted[:, :size] / counted[:, size:]
        brier = squares.sum(0) / is_judged.sum(0)
    areas = [delong(*sample.column(name), level) for name in sample.findings]
    values = {
        "auroc": np.array([area.value for area in areas]),
        "average_precision": np.array([_average_precision(*sample.column(name)) for name in sample.findings]),
        "brier": brier,
    }
    draws = {"auroc": ranking.auroc, "average_precision": ranking.average_precision, "brier": brier_draws}
    # how many equal patients each figure rests on: with few its interval is wider than the draws are
    rests_on = {
        "auroc": ranking.auroc_effective,
        "average_precision": ranking.average_precision_effective,
        "brier": np.array([effective_patients(sample.patients, column) for column in is_judged.T]),
    }
    positive = sample.labels == 1
    table = pd.DataFrame({
        "finding": sample.findings,
        "images": is_known.sum(0),
        "positives": positive.sum(0),
        "positive_patients": [np.unique(sample.patients[column]).size for column in positive.T],
        "prevalence": positive.sum(0) / np.where(is_known.any(0), is_known.sum(0), np.nan),
        "auroc": values["auroc"],
        "auroc_low": [area.low for area in areas],
        "auroc_high": [area.high for area in areas],
    })  # fmt: skip
    for name, replicates in draws.items():
        if name not in table:
            table[name] = values[name]
        table[f"{name}_patient_low"], table[f"{name}_patient_high"] = bootstrap_interval(
            replicates, level, values[name], effective=rests_on[name]
        )
    weights = {"macro": np.ones(size), "positive-weighted": positive.sum(0).astype(float)}
    rows = []
    for kind, weight in weights.items():
        for name, replicates in draws.items():
            value, low, high = mean_interval(values[name], replicates, rests_on[name], weight, level)
            rows.append({"mean": kind, "figure": name, "value": value, "patient_low": low, "patient_high": high})
    means = pd.DataFrame(rows)
    macro = means[means["mean"] == "macro"].set_index("figure")
    mean: dict[str, Any] = {"finding": MEAN, "images": len(sample), "positives": int(positive.sum())}
    mean["positive_patients"] = np.unique(sample.patients[positive.any(1)]).size
    for name in draws:
        mean[name] = macro.loc[name, "value"]
        mean[f"{name}_patient_low"] = macro.loc[name, "patient_low"]
        mean[f"{name}_patient_high"] = macro.loc[name, "patient_high"]
    return pd.concat([table, pd.DataFrame([mean])], ignore_index=True), means


def mean_interval(
    values: np.ndarray, draws: np.ndarray, rests_on: np.ndarray, weights: np.ndarray, level: float
) -> tuple[float, float, float]:
    """Return a weighted mean over the findings that have a value, with its interval.

    Args:
        values, draws, rests_on, weights: as of `mean_of_findings`.
        level: of the interval.

    Returns:
        the mean, low and high; NaN where no finding has a value.
    """
    value, mean_draws, effective = mean_of_findings(values, draws, rests_on, weights)
    low, high = bootstrap_interval(mean_draws, level, value, effective=effective)
    return value, float(low), float(high)


def mean_of_findings(
    values: np.ndarray, draws: np.ndarray, rests_on: np.ndarray, weights: np.ndarray
) -> tuple[float, np.ndarray, float]:
    """Return a weighted mean over the findings that have a value, its replicates, and how many patients it rests on.

    A replicate without a positive of a rare finding has no value for it; there the finding's estimate stands in, since
    leaving it out would compare means of different findings. How many equal patients the mean rests on follows from
    its parts as Welch and Satterthwaite's degrees of freedom do (doi 10.2307/3002019).

    Args:
        values: float ``[F]``, each finding's figure; NaN where undefined.
        draws: float ``[R, F]``, its replicates.
        rests_on: float ``[F]``, how many equal patients each figure rests on (`effective_patients`).
        weights: float ``[F]``, at least 0.

    Returns:
        the mean, its replicates ``[R]`` and the effective number of patients; NaN where no finding has a value.
    """
    defined = ~np.isnan(values) & (weights > 0)
    if not defined.any():
        return math.nan, np.full(len(draws), np.nan), math.nan
    weights = weights[defined] / weights[defined].sum()
    filled = np.where(np.isnan(draws[:, defined]), values[defined], draws[:, defined])
    effective = joint_effective(np.var(filled, axis=0) * weights**2, rests_on[defined])
    return float(values[defined] @ weights), filled @ weights, effective


def joint_effective(variances: np.ndarray, rests_on: np.ndarray) -> float:
    """Return how many equal patients a sum of independent figures rests on (Welch and Satterthwaite).

    Args:
        variances: float ``[K]``, of each figure.
        rests_on: float ``[K]``, how many equal patients each rests on.

    Returns:
        at least 1; infinity where no figure varies.

    >>> round(joint_effective(np.array([1.0, 1.0]), np.array([11.0, 11.0])))
    21
    """
    denominator = np.sum(variances**2 / np.maximum(rests_on - 1, 1))
    return float(1 + variances.sum() ** 2 / denominator) if denominator else math.inf


def _average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    is_known = ~np.isnan(labels)
    truth = labels[is_known] == 1
    return float(average_precision_score(truth, scores[is_known])) if 0 < truth.sum() < truth.size else math.nan


def _reliability(sample: Sample, finding: str, state: str, level: float) -> pd.DataFrame:
    table = reliability(*sample.column(finding), bins=10, how="mass")
    table.insert(0, "state", state)
    table.insert(0, "finding", finding)
    return table


def _risk_coverage(sample: Sample, points: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    parts = []
    for name, thresholds in points.items():
        table = risk_coverage(*sample.column(name), next(iter(thresholds.values())))
        table.insert(0, "finding", name)
        parts.append(table)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _first(points: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the threshold of each finding's first rule."""
    return {name: next(iter(thresholds.values())) for name, thresholds in points.items()}


def _studies(sample: Sample, replicates: int, level: float, seed: int) -> tuple[pd.DataFrame, list[str]]:
    """Return AUROC and average precision by study, for each way to join a study's images, and notes on the studies."""
    table = sample.table.assign(patient=sample.patients)
    several = table.duplicated(["patient", "study_id"]) & (table["study_id"] != "")
    if not several.any():
        return pd.DataFrame(), study_notes(sample)
    rows = []
    for how in HOW:
        studies = by_study(sample, how)
        bootstrap = PatientBootstrap(studies.patients, replicates, seed)
        ranking = bootstrap.rankings(studies.scores, studies.labels)
        table, _ = _findings(studies, bootstrap, ranking, level)
        table = table.rename(columns={"images": "studies"})
        table.insert(0, "how", how)
        rows.append(table)
    return pd.concat(rows, ignore_index=True), study_notes(sample)


def _prevalence(sample: Sample, stated: Mapping[str, float]) -> pd.DataFrame:
    """Return some probabilities and what they become where the finding is as frequent as stated, one row each."""
    rows = []
    for name, stated_prevalence in stated.items():
        labels = sample.column(name)[1]
        sample_prevalence = float(np.nanmean(labels)) if (~np.isnan(labels)).any() else math.nan
        probabilities = np.array([0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9])
        shifted = (
            shift_prevalence(probabilities, sample_prevalence, stated_prevalence)
            if 0 < sample_prevalence < 1
            else np.full(probabilities.size, np.nan)
        )
        row = {"finding": name, "prevalence": sample_prevalence, "stated_prevalence": stated_prevalence}
        rows += [
            row | {"probability": p, "probability_there": shifted_p}
            for p, shifted_p in zip(probabilities, shifted, strict=True)
        ]
    return pd.DataFrame(rows)


def _warnings(findings: pd.DataFrame) -> list[str]:
    warnings = []
    for row in findings[findings["finding"] != MEAN].to_dict(orient="records"):
        name, positives, patients = row["finding"], row["positives"], row["positive_patients"]
        if np.isnan(row["auroc"]):
            few = "no positive" if not positives else "no negative"
            shortage = few if row["images"] else "no image with a known label"
            warnings.append(f"{name} has {shortage}, so its ranking cannot be judged: empty cells, not part of means.")
        elif patients < _FEW_PATIENTS:
            warnings.append(
                f"{name} has {counted(positives, 'positive')} of {counted(patients, 'patient')}: "
                "its figures mean little, and its intervals "
                "may be too narrow."
            )
    return warnings


def _check_prevalences(stated: Mapping[str, float], findings: Sequence[str]) -> None:
    for name, value in stated.items():
        if name not in findings or not 0 < value < 1:
            raise EvaluationError(
                Code.EVALUATION_INVALID,
                f"prevalence {name}={value}: a finding of {', '.join(findings)}, and a number between 0 and 1.",
            )
