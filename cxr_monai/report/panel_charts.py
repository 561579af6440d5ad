"""The report's small multiples: one panel a finding, made from an evaluation as `shapes`, drawn by `plots` and `svg`.

    for make in PANELS.values():
        picture = make(evaluation)      # Panels, or None where the evaluation has nothing for it

The panels of one picture share their axes, save where that would hide what matters (a rare finding's reliability).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.report import words
from cxr_monai.report.charts import Axis, ChartPanel, ChartPanels, Mark, Tone, logit_axis, unit_axis, zoomed_axis
from cxr_monai.report.evaluation_rows import (
    chosen_points,
    chosen_rule,
    finding_rows,
    limits_of,
    rules_in,
    table_of,
    value,
)
from cxr_monai.report.reader_tables import reader_points

_CLIP = 1e-5
"""Scores nearer to 0 or 1 than this are drawn there: a logit axis has no end."""
_BINS = 45
_STEPS = 160
_TRADED: Mapping[str, tuple[str, Tone, bool]] = {
    "sensitivity": ("sensitivity", "first", False),
    "specificity": ("specificity", "second", False),
    "ppv": ("PPV", "third", True),
    "npv": ("NPV", "fourth", True),
}


def roc_chart(evaluation: Evaluation) -> ChartPanels | None:
    """ROC curves with bands over patients, and the chosen operating point."""
    points, panels = chosen_points(evaluation), []
    axes = unit_axis("false alarms (1 \u2212 specificity)"), unit_axis("found (sensitivity)")
    for name, row in _findings(evaluation):
        note = f"{words.number(value(row, 'auroc'))} ({words.between(*limits_of(row, 'auroc'))})"
        curve = evaluation.curves.get(name)
        if curve is None:
            panels.append(_nothing(name, row, *axes))
            continue
        marks = [
            Mark("line", np.array([0.0, 1.0]), np.array([0.0, 1.0]), tone="quiet", label="guessing", dashed=True),
            *_curve(curve, "fpr", "tpr", evaluation.level),
        ]
        if name in points:
            point = points[name]
            x, y = np.array([1 - value(point, "specificity")]), np.array([value(point, "sensitivity")])
            marks.append(Mark("points", x, y, tone="second", label=f"operating point ({chosen_rule(evaluation)})"))
        marks += reader_points(evaluation.readers, name)
        panels.append(ChartPanel(words.heading(name), note, *axes, tuple(marks)))
    about = "How many images with the label are found, against the false alarms paid for it. Above each: AUROC."
    return _panels("roc", "ROC curves", about, panels, square=True)


def precision_recall_chart(evaluation: Evaluation) -> ChartPanels | None:
    """Precision-recall curves with bands, and the prevalence, which is what guessing reaches."""
    points, panels = chosen_points(evaluation), []
    axes = unit_axis("found (recall)"), unit_axis("right reports (precision)")
    for name, row in _findings(evaluation):
        average = words.number(value(row, "average_precision"))
        note = f"{average} ({words.between(*limits_of(row, 'average_precision'))})"
        curve = evaluation.curves.get(name)
        if curve is None:
            panels.append(_nothing(name, row, *axes))
            continue
        prevalence = np.full(2, value(row, "prevalence"))
        marks = [
            Mark("line", np.array([0.0, 1.0]), prevalence, tone="quiet", label="guessing (prevalence)", dashed=True),
            *_curve(curve, "recall", "precision", evaluation.level),
        ]
        if name in points:
            point = points[name]
            x, y = np.array([value(point, "sensitivity")]), np.array([value(point, "ppv")])
            marks.append(Mark("points", x, y, tone="second", label=f"operating point ({chosen_rule(evaluation)})"))
        panels.append(ChartPanel(words.heading(name), note, *axes, tuple(marks)))
    about = (
        "How many reports are right, against how many images with the label are found. Above each: average precision."
    )
    return _panels("precision_recall", "Precision-recall curves", about, panels, square=True)


def reliability_chart(evaluation: Evaluation) -> ChartPanels | None:
    """What was observed against what was promised, before and after calibration; each panel has its own range."""
    table = table_of(evaluation, "reliability")
    if table.empty:
        return None
    tones: dict[str, tuple[Tone, bool]] = {"as predicted": ("second", True), "calibrated": ("first", False)}
    panels = []
    for name, row in _probabilities(evaluation):
        bins = table[(table["finding"] == name) & (table["images"] > 0)]
        largest = float(np.nanmax([bins["mean_score"].max(), bins["observed"].max(), 0.0])) if len(bins) else 0.0
        axes = zoomed_axis("given probability", largest), zoomed_axis("share with the label", largest)
        if bins.empty or not value(row, "positives") > 0:
            panels.append(_nothing(name, row, *axes))
            continue
        ends = np.array([0.0, axes[0].high])
        marks = [Mark("line", ends, ends, tone="quiet", label="perfect", dashed=True)]
        for state, (tone, dashed) in tones.items():
            part = bins[bins["state"] == state].sort_values("mean_score")
            if part.empty:
                continue
            x, y = part["mean_score"].to_numpy(float), part["observed"].to_numpy(float)
            low, high = part["observed_low"].to_numpy(float), part["observed_high"].to_numpy(float)
            marks.append(Mark("line", x, y, tone=tone, dashed=dashed))
            marks.append(Mark("points", x, y, low, high, tone=tone, label=state))
        panels.append(ChartPanel(words.heading(name), f"0 to {axes[0].high:g}", *axes, tuple(marks)))
    about = (
        "Of the images that are given a probability of 30 %, 30 of 100 should have the label: a point on the dashes. "
        "Each panel ends at its own probability."
    )
    return _panels("reliability", "Reliability", about, panels, square=True)


def score_chart(evaluation: Evaluation) -> ChartPanels | None:
    """How scores of images with and without the label are distributed, on a scale of log-odds."""
    sample, points = evaluation.sample, chosen_points(evaluation)
    axis = _score_axis(evaluation)
    edges = np.linspace(axis.low, axis.high, _BINS + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    panels = []
    for name, row in _probabilities(evaluation):
        given, labels = sample.column(name)
        places = np.clip(logit(np.clip(given, _CLIP, 1 - _CLIP)), axis.low, axis.high)
        shares = [_shares(places[labels == truth], edges) for truth in (0, 1)]
        top = max(float(share.max(initial=0.0)) for share in shares) or 1.0
        y = Axis("share of images", 0.0, top * 1.05, ())
        if not (labels == 0).any() and not (labels == 1).any():
            panels.append(_nothing(name, row, axis, y))
            continue
        looks: tuple[tuple[Tone, str], ...] = (("quiet", "without the label"), ("first", "with the label"))
        marks = [
            Mark("area", middles, share, tone=tone, label=label)
            for share, (tone, label) in zip(shares, looks, strict=True)
            if share.any()
        ]
        threshold = value(points.get(name, {}), "threshold")
        if 0 <= threshold <= 1:
            place = np.clip(logit(np.clip([threshold], _CLIP, 1 - _CLIP)), axis.low, axis.high)
            label = f"threshold ({chosen_rule(evaluation)})"
            marks.append(Mark("verticals", place, tone="second", label=label, dashed=True))
        note = f"{value(row, 'positives'):,.0f} with, {value(row, 'images') - value(row, 'positives'):,.0f} without"
        panels.append(ChartPanel(words.heading(name), note, axis, y, tuple(marks)))
    about = "Each curve has the same area, however many images it stands for. The less they overlap, the better."
    return _panels("scores", "Score distributions", about, panels)


def trade_off_chart(evaluation: Evaluation) -> ChartPanels | None:
    """What each threshold would give, with the chosen ones."""
    sample, table = evaluation.sample, evaluation.operating_points
    letters = rule_letters(evaluation)
    x, y = _score_axis(evaluation), unit_axis("")
    places = np.linspace(x.low, x.high, _STEPS)
    panels = []
    for name, row in _probabilities(evaluation):
        given, labels = sample.column(name)
        curves = trade_off(given, labels, 1 / (1 + np.exp(-places)))
        if curves is None:
            panels.append(_nothing(name, row, x, y))
            continue
        marks = [
            Mark("line", places, curves[key], tone=tone, label=label, dashed=dashed)
            for key, (label, tone, dashed) in _TRADED.items()
        ]
        if not table.empty:
            chosen = table[(table["finding"] == name) & table["threshold"].between(0, 1)]
            if len(chosen):
                chosen_places = logit(np.clip(chosen["threshold"].to_numpy(float), _CLIP, 1 - _CLIP))
                names = tuple(letters[str(rule)] for rule in chosen["rule"])
                marks.append(Mark("verticals", np.clip(chosen_places, x.low, x.high), tone="quiet", letters=names))
        panels.append(ChartPanel(words.heading(name), "", x, y, tuple(marks)))
    about = "What each threshold gives on these images. PPV and NPV hold for their prevalence."
    if letters:
        about += " Chosen: " + ", ".join(f"{letter} {rule}" for rule, letter in letters.items()) + "."
    return _panels("operating_points", "Trade-offs of the threshold", about, panels)


def abstention_chart(evaluation: Evaluation) -> ChartPanels | None:
    """How the error falls as the least certain images are left to others."""
    table = table_of(evaluation, "risk_coverage")
    if table.empty:
        return None
    x = Axis("share answered", 0.0, 1.0, ((0.0, "0"), (0.5, "0.5"), (1.0, "1")))
    panels = []
    for name, row in _probabilities(evaluation):
        curve = table[table["finding"] == name].sort_values("share_answered")
        if curve.empty or curve["error_rate"].isna().all():
            panels.append(_nothing(name, row, x, zoomed_axis("wrong answers", 1.0)))
            continue
        answered, wrong = curve["share_answered"].to_numpy(float), curve["error_rate"].to_numpy(float)
        y = zoomed_axis("wrong answers", float(np.nanmax(wrong)))
        mark = Mark("line", answered, wrong, label="error rate")
        panels.append(ChartPanel(words.heading(name), f"0 to {y.high:g}", x, y, (mark,)))
    about = "The share of wrong answers if only the most certain images are answered. Each panel ends at its own error."
    return _panels("risk_coverage", "Abstaining: error against images answered", about, panels)


PANELS: Mapping[str, Callable[[Evaluation], ChartPanels | None]] = {
    "roc": roc_chart,
    "precision_recall": precision_recall_chart,
    "reliability": reliability_chart,
    "scores": score_chart,
    "operating_points": trade_off_chart,
    "risk_coverage": abstention_chart,
}
"""By the name of the file."""


def rule_letters(evaluation: Evaluation) -> dict[str, str]:
    """Return a letter for each rule: its own first letter where that is free, else the next free one."""
    letters: dict[str, str] = {}
    for rule in rules_in(evaluation):
        wanted = [*rule.upper(), *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
        letters[rule] = next((c for c in wanted if c.isalpha() and c not in letters.values()), "?")
    return letters


def trade_off(scores: np.ndarray, labels: np.ndarray, thresholds: np.ndarray) -> dict[str, np.ndarray] | None:
    """Return sensitivity, specificity, PPV and NPV ``[T]`` at thresholds ``[T]``; NaN where undefined.

    An image is called positive from the threshold on. None where no label is known.
    """
    with_label, without = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    if not with_label.size and not without.size:
        return None
    fn, tn = np.searchsorted(with_label, thresholds), np.searchsorted(without, thresholds)
    tp, fp = with_label.size - fn, without.size - tn
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "sensitivity": tp / np.where(with_label.size, with_label.size, np.nan),
            "specificity": tn / np.where(without.size, without.size, np.nan),
            "ppv": tp / np.where(tp + fp, tp + fp, np.nan),
            "npv": tn / np.where(tn + fn, tn + fn, np.nan),
        }


def _findings(evaluation: Evaluation) -> list[tuple[str, Mapping[str, Any]]]:
    return [(str(row["finding"]), row) for row in finding_rows(evaluation)]


def _probabilities(evaluation: Evaluation) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the findings whose scores are probabilities: the others have no threshold and promise nothing."""
    return [(name, row) for name, row in _findings(evaluation) if name not in evaluation.sample.ranking_only]


def _curve(curve: Mapping[str, np.ndarray], x: str, y: str, level: float) -> list[Mark]:
    low, high = curve.get(f"{y}_low"), curve.get(f"{y}_high")
    along = np.asarray(curve[x], float)
    band = [Mark("band", along, low=np.asarray(low), high=np.asarray(high), label=f"{words.percent(level)} band")]
    return [*(band if low is not None and high is not None else []), Mark("line", along, np.asarray(curve[y], float))]


def _nothing(name: str, row: Mapping[str, Any], x: Axis, y: Axis) -> ChartPanel:
    why = words.no_value(name, row).partition(": ")[2] or "There is nothing to draw."
    return ChartPanel(words.heading(name), "", x, y, empty=why[:1].upper() + why[1:])


def _panels(name: str, title: str, about: str, panels: list[ChartPanel], square: bool = False) -> ChartPanels | None:
    return ChartPanels(name, title, about, tuple(panels), square) if any(not panel.empty for panel in panels) else None


def _score_axis(evaluation: Evaluation) -> Axis:
    """Return one axis for all findings: that holds all scores of each but one in a thousand at each end."""
    given = np.clip(evaluation.sample.probabilities().scores, _CLIP, 1 - _CLIP)
    ends = np.quantile(given, [0.001, 0.999], axis=0).ravel() if given.size else np.zeros(0)
    marked = evaluation.operating_points.get("threshold", pd.Series(dtype=float)).to_numpy(float)
    marked = np.clip(marked[(marked >= 0) & (marked <= 1)], _CLIP, 1 - _CLIP)
    shown = np.concatenate([ends, marked, [0.1, 0.6]])
    low, high = float(shown.min()), float(shown.max())
    return logit_axis("probability", max(low * 0.8, _CLIP), min(1 - (1 - high) * 0.8, 1 - _CLIP))


def _shares(places: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return a histogram as shares, smoothed a little: a curve is looked at, not its bins."""
    counts = np.histogram(places, edges)[0].astype(float)
    if not counts.any():
        return counts
    padded = np.pad(counts, 1, mode="edge")
    return (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4 / counts.sum()
