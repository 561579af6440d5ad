"""An evaluation of synthetic scores, made by plain arithmetic: what the report's tests read and look at.

    evaluation = make_evaluation()                          # everything in it
    evaluation = make_evaluation(comparison=False, site=False, points=False)

Intervals are normal approximations, the ones over patients a fifth wider: their widths are not what is tested here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from sklearn.metrics import average_precision_score, roc_auc_score

from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.evaluation.sample import Sample

ODD = 'A<b>&"x" $y$ |z|'
FINDINGS = ("Effusion", "Pleural_Thickening", "COPD", "Hernia", "No_Case", "Unknown_All", ODD)
"""No_Case has no positive, Unknown_All no known label, COPD some unknown ones, Hernia few positives."""
PREVALENCES = (0.2, 0.05, 0.1, 0.006, 0.0, 0.1, 0.08)
RULES = ("youden", "sensitivity=0.9", "cost=10")
STATED = 0.02
NAN = float("nan")


def make_sample(patients: int = 400, findings: tuple[str, ...] = FINDINGS, seed: int = 0) -> Sample:
    """Return three images a patient of seven findings (or of the first ones, repeated in their prevalences)."""
    random = np.random.default_rng(seed)
    size, images = len(findings), 3 * patients
    owner = np.repeat(np.arange(patients), 3)
    prevalences = np.resize(PREVALENCES, size)
    sick = random.random((patients, size)) < prevalences
    labels = (sick[owner] & (random.random((images, size)) < 0.8)).astype(float)
    strength = np.linspace(2.6, 1.0, size)
    raw = expit(logit(np.clip(prevalences, 0.01, 1)) + labels * strength + random.normal(0, 1, (images, size)))
    for column, finding in enumerate(findings):
        if finding == "COPD":
            labels[random.random(images) < 0.2, column] = NAN
        elif finding == "Unknown_All":
            labels[:, column] = NAN
    table = pd.DataFrame({
        "image": [f"{at:08d}.png" for at in range(images)],
        "patient_id": [str(code) for code in owner],
        "study_id": [f"{code}_{at % 3}" for at, code in enumerate(owner)],
        "view": np.where(random.random(images) < 0.4, "AP", "PA"),
        "age": random.integers(5, 90, images).astype(float),
        "sex": np.where(owner % 2 == 0, "F", "M"),
        "source": "nih",
        "split": "test",
    })  # fmt: skip
    return Sample.of(table, findings, raw, labels)


def make_evaluation(
    sample: Sample | None = None,
    *,
    points: bool = True,
    calibrated: bool = True,
    conformal: bool = True,
    subgroups: bool = True,
    comparison: bool = True,
    site: bool = True,
    book: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Return an evaluation with the tables of ``cxr_monai.evaluation.assessment``; parts can be left out."""
    sample = make_sample() if sample is None else sample
    findings = _findings(sample)
    judged = [name for name, area in zip(findings["finding"], findings["auroc"], strict=True) if area == area]
    with_mean = pd.concat([findings, pd.DataFrame([_mean(findings, len(sample))])], ignore_index=True)
    table = _operating_points(sample, judged) if points else pd.DataFrame()
    return Evaluation(
        sample=sample,
        level=0.95,
        replicates=1000,
        findings=with_mean,
        means=_means(with_mean),
        operating_points=table,
        calibration=_calibration(sample, calibrated),
        reliability=_reliability(sample, calibrated),
        conformal=_conformal(judged) if conformal else pd.DataFrame(),
        risk_coverage=_risk_coverage(sample, judged) if points else pd.DataFrame(),
        subgroups=_subgroups(sample, judged) if subgroups else pd.DataFrame(),
        studies=_studies(with_mean),
        prevalence=_prevalence(judged),
        site=_site(table) if site and points else None,
        comparison=_comparison(with_mean) if comparison else None,
        comparison_names=("one & <first>", "two") if comparison else None,
        curves={name: _curve(*sample.column(name)) for name in judged},
        book=_book(sample) | dict(book or {}),
        notes=("120 images of <the> split 'test' have no prediction & are left out.",),
    )


def _known(sample: Sample, finding: str) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = sample.column(finding)
    known = ~np.isnan(labels)
    return scores[known], labels[known]


def _limits(value: float, error: float) -> dict[str, float]:
    """Image-level and patient-level limits of a share."""
    ends = {"_low": -1.96, "_high": 1.96, "_patient_low": -2.35, "_patient_high": 2.35}
    return {name: float(np.clip(value + z * error, 0, 1)) if value == value else NAN for name, z in ends.items()}


def _findings(sample: Sample) -> pd.DataFrame:
    rows = []
    for column, finding in enumerate(sample.findings):
        scores, labels = _known(sample, finding)
        defined = 0 < labels.sum() < labels.size
        fewer = max(1.0, min(labels.sum(), labels.size - labels.sum())) if labels.size else 1.0
        row: dict[str, Any] = {
            "finding": finding,
            "images": labels.size,
            "positives": int(labels.sum()),
            "positive_patients": np.unique(sample.patients[sample.labels[:, column] == 1]).size,
            "prevalence": labels.mean() if labels.size else NAN,
        }
        figures = {
            "auroc": roc_auc_score(labels, scores) if defined else NAN,
            "average_precision": average_precision_score(labels, scores) if defined else NAN,
            "brier": float(np.mean((scores - labels) ** 2)) if labels.size else NAN,
        }
        for name, value in figures.items():
            limits = _limits(value, 0.3 / np.sqrt(fewer))
            row[name] = value
            row |= {f"{name}{end}": limit for end, limit in limits.items() if name == "auroc" or "patient" in end}
        rows.append(row)
    return pd.DataFrame(rows)


def _mean(findings: pd.DataFrame, images: int) -> dict[str, Any]:
    row: dict[str, Any] = {"finding": "mean", "images": images, "positives": int(findings["positives"].sum())}
    for name in ("auroc", "average_precision", "brier"):
        value = findings[name].mean()
        row |= {name: value, f"{name}_patient_low": value - 0.01, f"{name}_patient_high": value + 0.01}
    return row


def _means(findings: pd.DataFrame) -> pd.DataFrame:
    mean = findings.iloc[-1]
    return pd.DataFrame([
        {
            "mean": kind, "figure": name, "value": mean[name], "patient_low": mean[f"{name}_patient_low"],
            "patient_high": mean[f"{name}_patient_high"],
        }
        for kind in ("macro", "positive-weighted") for name in ("auroc", "average_precision", "brier")
    ])  # fmt: skip


def _operating_points(sample: Sample, judged: list[str]) -> pd.DataFrame:
    rows = []
    for finding in judged:
        scores, labels = _known(sample, finding)
        for rule, share in zip(RULES, (0.8, 0.9, 0.7), strict=True):
            threshold = float(np.quantile(scores[labels == 1], 1 - share))
            called = scores >= threshold
            tp, fp = float((called & (labels == 1)).sum()), float((called & (labels == 0)).sum())
            fn, tn = labels.sum() - tp, (labels == 0).sum() - fp
            sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
            figures = {
                "sensitivity": (sensitivity, tp + fn),
                "specificity": (specificity, tn + fp),
                "ppv": (tp / (tp + fp), tp + fp),
                "npv": (tn / (tn + fn), tn + fn),
                "f1": (2 * tp / (2 * tp + fp + fn), tp + fn),
                "accuracy": ((tp + tn) / labels.size, labels.size),
                "lr_positive": (sensitivity / (1 - specificity) if fp else float("inf"), 50.0),
                "lr_negative": ((1 - sensitivity) / specificity, 50.0),
            }
            row: dict[str, Any] = {
                "finding": finding, "rule": rule, "threshold": threshold, "images": labels.size,
                "positives": int(labels.sum()), "tp": tp, "fp": fp, "tn": tn, "fn": fn, "prevalence": labels.mean(),
                "stated_prevalence": STATED, "flagged_per_1000": 1000 * (tp + fp) / labels.size,
            }  # fmt: skip
            right = sensitivity * STATED / (sensitivity * STATED + (1 - specificity) * (1 - STATED))
            silent = specificity * (1 - STATED) / (specificity * (1 - STATED) + (1 - sensitivity) * STATED)
            elsewhere = {"ppv_at_prevalence": (right, tp + fp), "npv_at_prevalence": (silent, tn + fn)}
            for name, (value, count) in (figures | elsewhere).items():
                row[name] = value
                limits = _limits(value, np.sqrt(max(value * (1 - value), 0) / count) if value <= 1 else 0.1)
                row |= {name + end: limit for end, limit in limits.items() if name in figures or "patient" in end}
            rows.append(row)
    return pd.DataFrame(rows)


def _states(sample: Sample, calibrated: bool) -> list[tuple[str, np.ndarray]]:
    raw = expit(0.6 * logit(np.clip(sample.scores, 1e-6, 1 - 1e-6)) + 0.5)
    return [("as predicted", raw), ("calibrated", sample.scores)] if calibrated else [("as predicted", sample.scores)]


def _calibration(sample: Sample, calibrated: bool) -> pd.DataFrame:
    rows = []
    for column, finding in enumerate(sample.findings):
        for state, scores in _states(sample, calibrated):
            known = ~np.isnan(sample.labels[:, column])
            labels, given = sample.labels[known, column], scores[known, column]
            defined = 0 < labels.sum() < labels.size
            prevalence = labels.mean() if labels.size else NAN
            brier = np.mean((given - labels) ** 2) if labels.size else NAN
            rows.append({
                "finding": finding, "state": state, "brier": brier,
                "brier_skill": 1 - brier / (prevalence * (1 - prevalence)) if defined else NAN,
                "log_loss": -np.mean(np.where(labels == 1, np.log(given), np.log(1 - given))) if labels.size else NAN,
                "ece_width": abs(given.mean() - prevalence) if labels.size else NAN,
                "ece_mass": abs(given.mean() - prevalence) if labels.size else NAN,
                "slope": (1.05 if state == "calibrated" else 1.7) if defined else NAN,
                "intercept": (-0.02 if state == "calibrated" else -1.1) if defined else NAN,
                "mean_score": given.mean() if labels.size else NAN, "prevalence": prevalence,
            })  # fmt: skip
    return pd.DataFrame(rows)


def _reliability(sample: Sample, calibrated: bool, bins: int = 8) -> pd.DataFrame:
    rows = []
    for column, finding in enumerate(sample.findings):
        known = ~np.isnan(sample.labels[:, column])
        for state, scores in _states(sample, calibrated):
            given, labels = scores[known, column], sample.labels[known, column]
            for at, part in enumerate(np.array_split(np.argsort(given), bins)):
                share = labels[part].mean() if part.size else NAN
                half = 1.96 * np.sqrt(max(share * (1 - share), 0.002) / max(part.size, 1))
                rows.append({
                    "finding": finding, "state": state, "bin": at, "low": given[part].min() if part.size else NAN,
                    "high": given[part].max() if part.size else NAN, "images": part.size,
                    "mean_score": given[part].mean() if part.size else NAN, "observed": share,
                    "observed_low": max(share - half, 0), "observed_high": min(share + half, 1),
                })  # fmt: skip
    return pd.DataFrame(rows)


def _conformal(judged: list[str]) -> pd.DataFrame:
    rows = []
    for at, finding in enumerate(judged):
        row: dict[str, Any] = {"finding": finding, "promised": 0.9, "images": 1200, "positives": 100}
        shares = {"reached_positives": 0.905, "reached_negatives": 0.91, "reached": 0.91, "abstained": 0.3 + 0.05 * at}
        shares |= {"present": 0.1, "absent": 0.6 - 0.05 * at, "present_right": 0.4, "absent_right": 0.99}
        for name, share in shares.items():
            row |= {name: share, f"{name}_patient_low": share - 0.02, f"{name}_patient_high": share + 0.02}
        rows.append(row)
    rows.append({"finding": "set", "promised": 0.9, "reached": 0.91, "reached_patient_low": 0.9,
                 "reached_patient_high": 0.92, "mean_size": 2.4})  # fmt: skip
    return pd.DataFrame(rows)


def _risk_coverage(sample: Sample, judged: list[str]) -> pd.DataFrame:
    parts = []
    for finding in judged:
        answered = np.linspace(0.05, 1, 20)
        error = sample.column(finding)[1][~np.isnan(sample.column(finding)[1])].mean() * answered
        parts.append(pd.DataFrame({"finding": finding, "share_answered": answered, "error_rate": error,
                                   "sensitivity": 1 - error, "specificity": 1 - error}))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _subgroups(sample: Sample, judged: list[str]) -> pd.DataFrame:
    table, rows = sample.table, []
    members = {
        ("sex", "F"): table["sex"] == "F",
        ("sex", "M"): table["sex"] == "M",
        ("age", "<18"): table["age"] < 18,
        ("age", "18+"): table["age"] >= 18,
        ("view", "PA"): table["view"] == "PA",
        ("view", "AP"): table["view"] == "AP",
        ("source", "nih"): table["source"] == "nih",
    }
    for (attribute, group), inside in members.items():
        for at, finding in enumerate([*judged, "mean"]):
            few = attribute == "source" or finding == "Hernia"
            gap = NAN if few else {"AP": -0.06, "PA": 0.06, "F": 0.004, "M": -0.004}.get(group, 0.02 * (at % 3 - 1))
            note = "" if not few else "too few to say: 3 patients with the finding in the group; at least 20 are needed"
            note = "no other group to compare with" if attribute == "source" else note
            rows.append({
                "attribute": attribute, "group": group, "finding": finding, "images": int(inside.sum()),
                "patients": 100, "positives": 30, "positive_patients": 20, "auroc": 0.8, "auroc_low": 0.75,
                "auroc_high": 0.85, "auroc_patient_low": 0.74, "auroc_patient_high": 0.86, "rest_auroc": 0.8 - gap,
                "gap": gap, "gap_low": gap - 0.03, "gap_high": gap + 0.03,
                "p": NAN if few else 0.001 if abs(gap) > 0.05 else 0.4,
                "p_holm": NAN if few else 0.004 if abs(gap) > 0.05 else 1.0, "note": note,
                "sensitivity_gap": NAN if few or finding == "mean" else 3 * gap,
                "sensitivity_p_holm": NAN if few or finding == "mean" else 0.004 if abs(gap) > 0.05 else 1.0,
            })  # fmt: skip
    return pd.DataFrame(rows)


def _studies(findings: pd.DataFrame) -> pd.DataFrame:
    columns = [
        "finding", "positives", "auroc", "auroc_patient_low", "auroc_patient_high", "average_precision",
        "average_precision_patient_low", "average_precision_patient_high",
    ]  # fmt: skip
    return pd.concat(
        [findings[columns].assign(how=how, studies=findings["images"]) for how in ("max", "mean", "frontal")],
        ignore_index=True,
    )


def _prevalence(judged: list[str]) -> pd.DataFrame:
    return pd.DataFrame([
        {"finding": name, "prevalence": 0.1, "stated_prevalence": STATED, "probability": p, "probability_there": p / 4}
        for name in judged for p in (0.01, 0.5, 0.9)
    ])  # fmt: skip


def _site(points: pd.DataFrame) -> pd.DataFrame:
    table = points[["finding", "rule", "threshold"]].copy()
    for name in ("sensitivity", "specificity"):
        table[f"expected_{name}"] = points[name] - 0.01
        table[f"observed_{name}"] = points[name]
        table[f"observed_{name}_low"] = points[f"{name}_patient_low"]
        table[f"observed_{name}_high"] = points[f"{name}_patient_high"]
    table["why"] = np.resize(["", "", "sensitivity lower", ""], len(table))
    table["holds"] = np.resize(["yes", "yes", "no", "too few to say"], len(table))
    return table


def _comparison(findings: pd.DataFrame) -> pd.DataFrame:
    table = findings[["finding", "images", "positives"]].copy()
    table["positive_patients"] = findings["positive_patients"]
    table["first"] = findings["auroc"]
    table["difference"] = np.where(findings["auroc"].isna(), NAN, np.resize([0.03, -0.02, 0.001], len(table)))
    table["second"] = table["first"] + table["difference"]
    for kind, half in (("", 0.01), ("patient_", 0.015)):
        table[f"{kind}low"], table[f"{kind}high"] = table["difference"] - half, table["difference"] + half
        table[f"{kind}p"] = np.where(table["difference"].abs() > half, 0.001, 0.6)
        table[f"{kind}p_holm"] = table[f"{kind}p"]
    table["verdict"] = np.select(
        [table["difference"].isna(), table["patient_low"] > 0, table["patient_high"] < 0],
        ["too few to say", "better", "worse"],
        "not distinguishable",
    ).astype(object)
    table["non_inferior"] = pd.array(table["patient_low"] > -0.02, dtype="boolean")
    for name, shift in (("first", 0.0), ("second", 0.01)):
        table[f"average_precision_{name}"] = findings["average_precision"] + shift
    table["average_precision_difference"] = 0.01
    table["average_precision_patient_low"], table["average_precision_patient_high"] = -0.01, 0.03
    return table


def _curve(scores: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    grid = np.linspace(0, 1, 101)
    with_label, without = np.sort(scores[labels == 1])[::-1], np.sort(scores[labels == 0])[::-1]
    threshold = np.quantile(without, 1 - grid)
    rate = (with_label[:, None] >= threshold).mean(0)
    at = with_label[np.minimum((grid * with_label.size).astype(int), with_label.size - 1)]
    tp, fp = (with_label[:, None] >= at).sum(0), (without[:, None] >= at).sum(0)
    precision = tp / (tp + fp)
    return {
        "fpr": grid, "tpr": rate, "tpr_low": np.clip(rate - 0.05, 0, 1), "tpr_high": np.clip(rate + 0.05, 0, 1),
        "recall": grid, "precision": precision, "precision_low": np.clip(precision - 0.08, 0, 1),
        "precision_high": np.clip(precision + 0.08, 0, 1),
    }  # fmt: skip


def _book(sample: Sample) -> dict[str, Any]:
    return {
        "predictions": "predictions <1>.csv",
        "bundle": {"name": "cxr_nih14", "digest": "0123456789abcdef" * 4},
        "precision": "bfloat16",
        "calibrated": False,
        "calibration_applied": True,
        "manifest": "manifest.csv",
        "split": {
            "scheme": "official", "seed": None, "digest": "fedcba9876543210" * 4, "name": "NIH's official split",
            "parts": {"test": len(sample)},
        },
        "label_version": "nih-v2020",
        "images": len(sample),
        "patients": int(sample.patients.max()) + 1,
        "studies": None,
        "left_out": {"predicted but not judged": 12},
        "fitted_on": {
            "images": 900, "patients": 300, "parts": {"val": 900}, "split": {"scheme": "official", "digest": "fe" * 32},
            "label_version": "nih-v2020", "patients_digest": "ab" * 32, "predictions": "predictions_val.csv",
        },
        "date": "2025-01-31",
        "versions": {"cxr-monai": "0.1.0", "numpy": "2.4.6"},
    }  # fmt: skip
