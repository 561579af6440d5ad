"""What the gate refuses, for reading: sentences that fit the figures, a chart of shares, and the tables.

section = gate_section(evaluation)                  # what the report shows; says so where no film was judged
harms = gate_harms(evaluation.gate_findings)        # a sentence a finding whose films are refused more often
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.evaluation.comparison import TOO_FEW
from cxr_monai.evaluation.gate_effects import ANY_FINDING, FALLS, LESS_OFTEN, LET_THROUGH, MORE_OFTEN, NOT_SHOWN, RISES
from cxr_monai.evaluation.gate_table import ACCEPT, REFUSE, REVIEW
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.plurals import be, counted
from cxr_monai.report import words
from cxr_monai.report.cells import Cell, Table, figure_name, heading_of, p_value, share_cell, share_text, signed, whole
from cxr_monai.report.charts import Forest, ForestRow, zoomed_axis
from cxr_monai.report.evaluation_rows import records, value
from cxr_monai.report.matrix_charts import group_word

_FEW_REFUSED = 10
"""Refused films under which a sentence says that they are few."""
_ANSWERS = {ACCEPT: "accepted", REVIEW: "to be reviewed", REFUSE: "refused"}


@dataclass(frozen=True)
class GateSection:
    """What a page shows of a gate: sentences, those of a harm first and apart; a chart; tables."""

    sentences: tuple[str, ...]
    harms: tuple[str, ...] = ()
    chart: Forest | None = None
    tables: tuple[Table, ...] = ()


def gate_section(evaluation: Evaluation) -> GateSection:
    """Return what the report shows of the gate; a sentence alone where no film was judged."""
    if evaluation.gate_codes.empty:
        return GateSection((_not_judged(evaluation.book.get("gate")),))
    sentences = [
        _refused(evaluation.gate_codes, evaluation.level),
        *_without_predictions(evaluation.book.get("gate") or {}),
        *_sick_or_not(evaluation.gate_findings),
        *gate_figure_sentences(evaluation.gate_figures),
    ]
    tables = (_codes_table(evaluation), _findings_table(evaluation), _figures_table(evaluation))
    return GateSection(
        tuple(sentences),
        tuple(gate_harms(evaluation.gate_findings)),
        _refused_forest(evaluation),
        tuple(table for table in tables if table is not None),
    )


def gate_harms(findings: pd.DataFrame) -> list[str]:
    """Return a sentence for each finding whose films the gate refuses more often than films without it.

    Args:
        findings: `cxr_monai.evaluation.gate_effects.GateTables.findings`; may be empty.
    """
    return [_harm(row) for row in records(findings) if row["verdict"] == MORE_OFTEN]


def gate_figure_sentences(figures: pd.DataFrame) -> list[str]:
    """Return sentences on how the figures change without the films that the gate refuses.

    Args:
        figures: `cxr_monai.evaluation.gate_effects.GateTables.figures`; may be empty.
    """
    if figures.empty:
        return []
    part = figures[figures["kept"] == LET_THROUGH]
    if part.empty:
        return ["No film is refused, so no figure changes."]
    mean = next((row for row in records(part) if row["finding"] == MEAN and row["figure"] == "auroc"), None)
    sentences = [] if mean is None or math.isnan(value(mean, "difference")) else [_mean_sentence(mean)]
    changed = [row for row in records(part) if row["finding"] != MEAN and row["verdict"] in (RISES, FALLS)]
    for verdict in (RISES, FALLS):
        names = [f"{_figure(row)} of {words.spoken(str(row['finding']))} ({_difference(row)})"
                 for row in changed if row["verdict"] == verdict]  # fmt: skip
        if names:
            sentences.append(f"{verdict.capitalize()} without the refused films: {words.and_list(names)}.")
    if not changed:
        sentences.append(
            "No evidence that the AUROC of a finding, or its operating point, changes without the refused films."
        )
    return sentences


def _not_judged(about: Any) -> str:
    missing = str(about.get("missing") or "") if isinstance(about, Mapping) else ""
    why = f" ({missing.rstrip('.')})" if missing else ""
    return (
        f"No film was judged by a gate{why}: the figures are of all films that could be read, whatever they show. "
        "'cxr-monai predict --gate review' writes what a bundle's gate says of each film beside the predictions."
    )


def _refused(codes: pd.DataFrame, level: float) -> str:
    all_of = {str(row["gate"]): row for row in records(codes) if not row["code"]}
    films, refused = sum(int(row["images"]) for row in all_of.values()), all_of[REFUSE]
    share, low, high = (share_text(value(refused, name)) for name in ("share", "low", "high"))
    text = (
        f"The gate was asked about {counted(films, 'labelled film')}. It refuses {int(refused['images']):,} ({share}; "
        f"{words.percent(level)} interval {low} to {high})"
    )
    reasons = [f"{reason_words(str(row['code']))} {int(row['images']):,}" for row in records(codes)
               if row["gate"] == REFUSE and row["code"]]  # fmt: skip
    text += f": {', '.join(reasons)}." if reasons else "."
    return f"{text} It wants a person to look at {counted(int(all_of[REVIEW]['images']), 'further film')} first."


def reason_words(code: str) -> str:
    """Return a code as a few words.

    >>> reason_words("gate-not-a-radiograph"), reason_words("gate-unlike-training")
    ('not a radiograph', "unlike the training's")
    """
    return code.removeprefix("gate-").replace("-", " ").replace("unlike training", "unlike the training's")


def _without_predictions(about: Mapping[str, Any]) -> list[str]:
    count = int(about.get("refused without a prediction") or 0)
    if not count:
        return []
    return [
        f"{counted(count, 'refused film')} {be(count)} without a prediction, so every figure of this report is of the "
        "films that were let through. Predict with --gate review to see the figures with them."
    ]


def _sick_or_not(findings: pd.DataFrame) -> list[str]:
    rows = records(findings)
    refused = sum(int(row[f"{side}_refused"]) for row in rows for side in ("positives", "negatives")
                  if row["finding"] == ANY_FINDING)  # fmt: skip
    if not refused:
        return []
    sentences = []
    by_verdict: dict[str, list[str]] = {}
    for row in rows:
        if row["finding"] != ANY_FINDING:
            by_verdict.setdefault(str(row["verdict"]), []).append(words.spoken(str(row["finding"])))
    if less := by_verdict.get(LESS_OFTEN):
        sentences.append(f"Films with {words.and_list(less)} are refused less often than films without.")
    if (unknown := by_verdict.get(NOT_SHOWN)) and not by_verdict.get(MORE_OFTEN):
        sentences.append(
            f"No evidence that films with {words.or_list(unknown)} are refused more, or less, often than films without."
        )
    total = next(row for row in rows if row["finding"] == ANY_FINDING)
    sentences.append(f"Of films with any finding {_share_of(total, 'positives')}, of films with none "
                     f"{_share_of(total, 'negatives')}.")  # fmt: skip
    if refused < _FEW_REFUSED:
        sentences.append(
            f"Only {counted(refused, 'film')} {be(refused)} refused: a gate that refuses some findings more often "
            "could look the same here."
        )
    if few := by_verdict.get(TOO_FEW):
        sentences.append(f"Too few films to say: {words.and_list(few)}.")
    return sentences


def _points(difference: float) -> str:
    """Return a difference of shares in percent, with its sign."""
    return f"{signed(100 * difference, 1)}{words.NBSP}%"


def _share_of(row: Mapping[str, Any], side: str) -> str:
    refused, films = int(row[f"{side}_refused"]), int(row[side])
    share = value(row, f"{side}_share")
    return f"{refused:,} of {films:,} {be(refused)} refused" + ("" if math.isnan(share) else f" ({share_text(share)})")


def _harm(row: Mapping[str, Any]) -> str:
    what = "a finding" if row["finding"] == ANY_FINDING else words.spoken(str(row["finding"]))
    ends = f"{_points(value(row, 'patient_low'))} to {_points(value(row, 'patient_high'))}"
    return (
        f"The gate refuses films with {what} more often: {_share_of(row, 'positives')}, of films without "
        f"{_share_of(row, 'negatives')}; a difference of {_points(value(row, 'difference'))} ({ends}). Those "
        "patients are left to others, and the figures of the remaining films do not show it."
    )


def _mean_sentence(row: Mapping[str, Any]) -> str:
    text = (
        f"Without the refused films the mean AUROC is {words.number(value(row, 'without'))} instead of "
        f"{words.number(value(row, 'all'))} ({_difference(row)})"
    )
    if row["verdict"] == NOT_SHOWN:
        return f"{text}: no evidence of a difference."
    return f"{text}: too few to say more." if row["verdict"] == TOO_FEW else f"{text}: it is {row['verdict']}."


def _difference(row: Mapping[str, Any]) -> str:
    low, high = (signed(value(row, end), 3) for end in ("patient_low", "patient_high"))
    return f"{signed(value(row, 'difference'), 3)}, {low} to {high}"


def _figure(row: Mapping[str, Any]) -> str:
    return "AUROC" if row["figure"] == "auroc" else str(row["figure"])


def _refused_forest(evaluation: Evaluation) -> Forest | None:
    codes, findings, groups = evaluation.gate_codes, evaluation.gate_findings, evaluation.gate_groups
    row = codes[(codes["gate"] == REFUSE) & (codes["code"] == "")].iloc[0]
    overall = float(row["share"])
    if not overall:
        return None
    films = int(codes.loc[codes["code"] == "", "images"].sum())
    rows = [ForestRow("All films", overall, float(row["low"]), float(row["high"]), f"{films:,}", strong=True)]
    for finding in records(
        findings[findings["verdict"].isin([MORE_OFTEN, LESS_OFTEN]) | (findings["finding"] == ANY_FINDING)]
    ):
        rows.append(ForestRow(_heading(finding["finding"]), heading=True))
        for side, label in (("positives", "with it"), ("negatives", "without it")):
            ends = value(finding, f"{side}_low"), value(finding, f"{side}_high")
            note = "no film" if math.isnan(value(finding, f"{side}_share")) else ""
            strong = side == "positives" and finding["verdict"] in (MORE_OFTEN, LESS_OFTEN)
            rows.append(
                ForestRow(label, value(finding, f"{side}_share"), *ends, f"{int(finding[side]):,}", note, strong)
            )
    for attribute, part in groups.groupby("attribute", sort=False) if len(groups) else ():
        rows.append(ForestRow(group_word(str(attribute)), heading=True))
        for group in records(part):
            ends = value(group, "refused_low"), value(group, "refused_high")
            rows.append(ForestRow(str(group["group"]), value(group, "refused_share"), *ends, f"{group['images']:,}"))
    largest = max(row.value for row in rows if not math.isnan(row.value))
    axis = zoomed_axis("share refused", min(1.0, 2 * largest))
    about = (
        "The share of films that the gate refuses, with intervals over patients; the line is at that of all films. "
        "Intervals that reach beyond the axis are cut off. Bold: refused more, or less, often than films without the "
        "finding, by Holm's correction over the findings."
    )
    return Forest("gate", "Refused films", about, axis, overall, tuple(rows), "films", 3, False)


def _heading(finding: Any) -> str:
    return "Any finding" if finding == ANY_FINDING else words.heading(str(finding))


def _codes_table(evaluation: Evaluation) -> Table | None:
    rows = [
        (Cell(reason_words(str(row["code"])) if row["code"] else "all", strong=not row["code"]),
         Cell(_ANSWERS[row["gate"]]), Cell(whole(value(row, "images"))), share_cell(row, "share", ("low", "high")))
        for row in records(evaluation.gate_codes)
    ]  # fmt: skip
    return Table("What the gate says, and why", ("Reason", "Answer", "Films", "Share"), tuple(rows))


def _findings_table(evaluation: Evaluation) -> Table | None:
    rows = []
    for row in records(evaluation.gate_findings):
        counts = (
            Cell(f"{row[f'{side}_refused']:,} of {row[side]:,}",
                 share_cell(row, f"{side}_share", (f"{side}_low", f"{side}_high")).small)
            for side in ("positives", "negatives")
        )  # fmt: skip
        ends = tuple(_points(value(row, end)) for end in ("patient_low", "patient_high"))
        difference = value(row, "difference")
        rows.append((
            Cell(_heading(row["finding"])), *counts,
            Cell(words.DASH if math.isnan(difference) else _points(difference),
                 () if math.isnan(value(row, "patient_low")) else (" to ".join(ends),)),
            Cell(p_value(value(row, "p_holm"))),
            Cell(share_text(value(row, "prevalence")),
                 (f"let through {share_text(value(row, 'prevalence_let_through'))}",)),
            Cell(str(row["verdict"]), strong=row["verdict"] in (MORE_OFTEN, LESS_OFTEN)),
        ))  # fmt: skip
    heads = ("Finding", "Refused of films with it", "Refused of films without", "Difference", "p", "Prevalence",
             "Films with it are")  # fmt: skip
    note = (
        "p: Fisher's exact test over films, corrected by Holm over the findings (any finding is one test). A "
        "difference is called so where the test and the interval over patients agree."
    )
    return Table("Does it refuse the sick?", heads, tuple(rows), (note,))


def _figures_table(evaluation: Evaluation) -> Table | None:
    if evaluation.gate_figures.empty:
        return None
    rows = [
        (Cell(heading_of(row["finding"])), Cell(figure_name(str(row["figure"]))),
         Cell("all but refused" if row["kept"] == LET_THROUGH else "accepted alone",
              (f"{int(row['kept_images']):,} of {int(row['images']):,}",)),
         Cell(f"{int(row['positives_lost']):,} of {int(row['positives']):,}"),
         Cell(words.number(value(row, "all"))), Cell(words.number(value(row, "without"))),
         Cell(signed(value(row, "difference"), 3), () if math.isnan(value(row, "patient_low")) else
              (f"{signed(value(row, 'patient_low'), 3)} to {signed(value(row, 'patient_high'), 3)}",)),
         Cell(str(row["verdict"]), strong=row["verdict"] in (RISES, FALLS)))
        for row in records(evaluation.gate_figures)
    ]  # fmt: skip
    heads = ("Finding", "Figure", "Films", "Lost, with the label", "All films", "Without", "Difference", "It is")
    note = "Paired: both figures from the same resampled patients; corrected by Holm over the findings."
    return Table("Figures of all films, and without those that the gate holds back", heads, tuple(rows), (note,))
