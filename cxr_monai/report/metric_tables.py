"""The reviewers' tables: every figure with its intervals, a dash where there is no value, ready for the page.

    table = metrics_table(evaluation)      # Table: heads, rows of cells, notes
    for rule, table in operating_tables(evaluation): ...

Cells and their texts are those of `cells`.
"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.plurals import counted
from cxr_monai.report import words
from cxr_monai.report.cells import (
    INTERVAL_KINDS,
    Cell,
    Table,
    count_of,
    estimate,
    figure_name,
    heading_of,
    p_value,
    share_text,
    signed,
    whole,
    with_ends,
)
from cxr_monai.report.evaluation_rows import chosen_points, finding_rows, records, rules_in, table_of, value
from cxr_monai.report.matrix_charts import group_word
from cxr_monai.report.words import number

_SET = "set"  # the row of the image-level sets in the conformal table
_PREVALENCES = (0.01, 0.05, 0.2)
"""Prevalences at which the physicians' table tells what a report would be worth."""


def metrics_table(evaluation: Evaluation) -> Table:
    """Return ``metrics.csv`` for reading: counts, AUROC, average precision, Brier score, each with its intervals."""
    rows = []
    for row in records(evaluation.findings):
        mean = row["finding"] == MEAN
        patients = value(row, "positive_patients")
        rows.append(
            (
                Cell(heading_of(row["finding"]), strong=mean),
                estimate(row, "auroc", strong=mean),
                estimate(row, "average_precision", strong=mean),
                estimate(row, "brier", digits=4, strong=mean),
                Cell(whole(value(row, "images"))),
                Cell(whole(value(row, "positives")), (counted(patients, "patient"),) if patients == patients else ()),
                Cell(share_text(value(row, "prevalence"))),
            )
        )
    notes = [note for row in finding_rows(evaluation) if (note := words.no_value(str(row["finding"]), row))]
    notes += [f"{heading_of(row['finding'])}: {note}" for row in finding_rows(evaluation) if (note := words.rough(row))]
    notes += [f"{heading_of(name)}: {words.RANKS_ONLY}" for name in evaluation.sample.ranking_only]
    heads = ("Finding", "AUROC", "Average precision", "Brier score", "Images", "With the label", "Prevalence")
    return Table("Each finding, and the mean over those that have a value", heads, tuple(rows), tuple(notes))


def means_table(evaluation: Evaluation) -> Table | None:
    """Return macro and positive-weighted means; None if there are none."""
    table = table_of(evaluation, "means")
    if table.empty:
        return None
    figures = list(dict.fromkeys(table["figure"]))
    rows = []
    for kind, part in table.groupby("mean", sort=False):
        by_figure = {row["figure"]: row for row in records(part)}
        cells = [with_ends(by_figure[name], "value", ("patient_low", "patient_high")) for name in figures]
        rows.append((Cell(str(kind).capitalize()), *cells))
    return Table("Means over findings", ("Mean", *map(figure_name, figures)), tuple(rows))


def operating_tables(evaluation: Evaluation) -> list[tuple[str, Table]]:
    """Return (rule, table) of each rule: counts and every figure at its thresholds."""
    shown = ("sensitivity", "specificity", "ppv", "npv", "f1", "lr_positive", "lr_negative")
    table, tables = evaluation.operating_points, []
    for rule in rules_in(evaluation):
        rows = []
        for row in records(table[table["rule"].astype("str") == rule]):
            tp, fp, tn, fn = (whole(value(row, name)) for name in ("tp", "fp", "tn", "fn"))
            counts = (f"{tp} right, {fp} false", f"{fn} missed, {tn} passed over")
            rows.append(
                (
                    Cell(heading_of(row["finding"])),
                    Cell(number(value(row, "threshold"), 4)),
                    Cell(whole(value(row, "flagged_per_1000")), counts),
                    *(estimate(row, name, digits=2 if name.startswith("lr") else 3) for name in shown),
                )
            )
        with_threshold = {str(name) for name in table[table["rule"].astype("str") == rule]["finding"]}
        missing = [
            heading_of(row["finding"])
            for row in finding_rows(evaluation)
            if str(row["finding"]) not in {*with_threshold, *evaluation.sample.ranking_only}
        ]
        notes = (
            (f"No threshold was chosen for {words.and_list(missing)}: too few labels of one kind.",) if missing else ()
        )
        heads = ("Finding", "Threshold", "Reported of 1,000", *map(figure_name, shown))
        tables.append((rule, Table(f"At the threshold that {words.rule_words(rule)}", heads, tuple(rows), notes)))
    return tables


def elsewhere_table(evaluation: Evaluation) -> Table | None:
    """Return how many of 100 reports would be right at other prevalences; sensitivity and specificity held fixed."""
    from cxr_monai.evaluation.operating_points import predictive_values_at

    rows = []
    for name, row in chosen_points(evaluation).items():
        sensitivity, specificity = value(row, "sensitivity"), value(row, "specificity")
        here = words.frequency(value(row, "ppv"))
        if here is None or math.isnan(sensitivity + specificity):
            continue
        cells = []
        for prevalence in _PREVALENCES:
            right = words.frequency(float(predictive_values_at(sensitivity, specificity, prevalence)[0]))
            cells.append(Cell(words.DASH if right is None else count_of(right)))
        prevalence_here = words.frequency(value(row, "prevalence"))
        among = (f"{count_of(prevalence_here)} have it",) if prevalence_here else ()
        rows.append((Cell(heading_of(name)), Cell(count_of(here), among), *cells))
    if not rows:
        return None
    heads = ("Reports that are right", "Here", *(f"{share * 100:g} of 100 have it" for share in _PREVALENCES))
    return Table("If the finding is rarer or more frequent where you work", heads, tuple(rows))


def calibration_table(evaluation: Evaluation) -> Table | None:
    """Return calibration before and after, two lines a finding where there are two states."""
    table = table_of(evaluation, "calibration")
    if table.empty:
        return None
    wanted = ("mean_score", "prevalence", "slope", "intercept", "ece_width", "ece_mass", "brier", "log_loss")
    shown = [name for name in wanted if name in table.columns]
    rows = [
        (
            Cell(heading_of(row["finding"]), strong=row["finding"] == MEAN),
            Cell(str(row["state"])),
            *(Cell(number(value(row, name), 2 if name in ("slope", "intercept") else 4)) for name in shown),
        )
        for row in records(table)
    ]
    return Table("Calibration", ("Finding", "Probabilities", *map(figure_name, shown)), tuple(rows))


def coverage_table(evaluation: Evaluation) -> Table | None:
    """Return coverage reached against coverage promised, and how often the answer is withheld."""
    table = table_of(evaluation, "conformal")
    if table.empty:
        return None
    shares = (
        "reached_positives",
        "reached_negatives",
        "abstained",
        "present",
        "absent",
        "present_right",
        "absent_right",
    )
    rows, notes = [], []
    for row in records(table):
        if row["finding"] == _SET:
            notes.append(_set_note(row))
            continue
        cells = [estimate(row, name, kinds=INTERVAL_KINDS[1:]) for name in shares]
        rows.append((Cell(heading_of(row["finding"])), Cell(share_text(value(row, "promised"))), *cells))
    heads = (
        *("Finding", "Promised", "Reached, with the label", "Reached, without it", "Answer 'don't know'"),
        *("Answer 'present'", "Answer 'absent'", "'Present' is right", "'Absent' is right"),
    )
    return Table("Answers with a stated coverage", heads, tuple(rows), tuple(note for note in notes if note))


def studies_table(evaluation: Evaluation) -> Table | None:
    """Return figures by study, a column for each way of joining a study's images."""
    table = table_of(evaluation, "studies")
    if table.empty:
        return None
    ways = [str(how) for how in table["how"].unique()]
    rows = []
    for finding, part in table.groupby("finding", sort=False):
        by_way = {str(row["how"]): row for row in records(part)}
        first = next(iter(by_way.values()))
        areas = [estimate(by_way.get(how, {}), "auroc", kinds=INTERVAL_KINDS[1:]) for how in ways]
        precisions = [estimate(by_way.get(how, {}), "average_precision", kinds=INTERVAL_KINDS[1:]) for how in ways]
        cells = Cell(whole(value(first, "studies"))), Cell(whole(value(first, "positives")))
        rows.append((Cell(heading_of(finding), strong=finding == MEAN), *cells, *areas, *precisions))
    named = [_WAYS.get(how, how) for how in ways]
    heads = (*(f"AUROC, {how}" for how in named), *(f"Average precision, {how}" for how in named))
    return Table("By study", ("Finding", "Studies", "With the label", *heads), tuple(rows))


def subgroup_matrix(evaluation: Evaluation) -> Table | None:
    """Return the gap in AUROC of each finding in each group; a dot where there are too few to say."""
    return _gaps(evaluation, table_of(evaluation, "subgroups"), "", "AUROC")


def sensitivity_matrix(evaluation: Evaluation) -> Table | None:
    """Return the gap in sensitivity at the chosen threshold: below 0, more is missed in the group than in the rest."""
    table = table_of(evaluation, "subgroup_points")
    table = table_of(evaluation, "subgroups") if table.empty else table
    return _gaps(evaluation, table, "sensitivity_", "sensitivity")


def _gaps(evaluation: Evaluation, table: pd.DataFrame, prefix: str, figure: str) -> Table | None:
    if table.empty or f"{prefix}gap" not in table.columns or table[f"{prefix}gap"].isna().all():
        return None
    columns = list(dict.fromkeys(zip(table["attribute"].astype("str"), table["group"].astype("str"), strict=True)))
    groups = [attribute for attribute, _ in columns]
    columns = [column for column in columns if groups.count(column[0]) > 1]  # one alone has no rest
    rows = []
    by_place = {(str(row["attribute"]), str(row["group"]), str(row["finding"])): row for row in records(table)}
    judged_at_all = table[table[f"{prefix}gap"].notna() | (table["finding"] != MEAN)]
    for finding in dict.fromkeys(judged_at_all["finding"].astype("str")):
        cells = []
        for attribute, group in columns:
            row = by_place.get((attribute, group, finding), {})
            gap, judged = value(row, f"{prefix}gap"), value(row, f"{prefix}p_holm")
            if math.isnan(gap):
                cells.append(Cell("·"))
                continue
            shade = max(-1.0, min(1.0, gap / 0.15))
            cells.append(Cell(signed(gap, 2), strong=judged < 1 - evaluation.level, share=shade))
        rows.append((Cell(heading_of(finding), strong=finding == MEAN), *cells))
    heads = ("Finding", *(f"{group_word(attribute)}: {group}" for attribute, group in columns))
    notes = ("A dot: too few to say. Bold: more than chance, after Holm's correction.",)
    return Table(f"Gaps in {figure}: group minus rest", heads, tuple(rows), notes, matrix=True)


def systems_table(evaluation: Evaluation) -> Table | None:
    """Return both systems side by side, the difference with both intervals and both tests."""
    table = table_of(evaluation, "comparison")
    if table.empty:
        return None
    first, second = evaluation.comparison_names or ("first", "second")
    held = "non_inferior" in table.columns and bool(table["non_inferior"].notna().any())
    rows = []
    for row in records(table):
        cells = [
            Cell(heading_of(row["finding"]), strong=row["finding"] == MEAN),
            Cell(number(value(row, "first"))),
            Cell(number(value(row, "second"))),
            estimate(row | {f"difference{end}": row.get(end.strip("_")) for end in _DIFFERENCE_ENDS}, "difference", 4),
            Cell(p_value(value(row, "p_holm"))),
            Cell(p_value(value(row, "patient_p_holm"))),
            Cell(str(row.get("verdict", "")), strong=row.get("verdict") in ("better", "worse")),
            with_ends(row, "average_precision_difference", _PRECISION_ENDS, 4),
        ]
        if held:
            answer = row.get("non_inferior")
            cells.append(Cell(words.DASH if answer is None or answer is pd.NA else "yes" if answer else "no"))
        rows.append(tuple(cells))
    heads = ("Finding", first, second, "Difference in AUROC", "p (DeLong, Holm)", "p (patients, Holm)", "The second is")
    heads += ("Difference in average precision", *(("Not inferior",) if held else ()))
    return Table(f"{second} minus {first}", heads, tuple(rows))


def site_table(evaluation: Evaluation) -> Table | None:
    """Return whether the old operating points still hold here."""
    table = table_of(evaluation, "site")
    if table.empty:
        return None
    rows = []
    for row in records(table):
        cells = [Cell(heading_of(row["finding"])), Cell(str(row["rule"])), Cell(number(value(row, "threshold"), 4))]
        for name in ("sensitivity", "specificity"):
            cells.append(Cell(number(value(row, f"expected_{name}"))))
            ends = f"observed_{name}_low", f"observed_{name}_high"
            cells.append(with_ends(row, f"observed_{name}", ends))
        why = str(row.get("why") or "")
        cells.append(Cell(str(row["holds"]), (why,) if why else (), strong=str(row["holds"]) == "no"))
        rows.append(tuple(cells))
    answer_counts = table["holds"].astype("str").value_counts()
    answers = [f"{answer_counts.get(answer, 0):,} {what}" for answer, what in _HOLDS]
    notes = (f"Of {len(table):,} thresholds, {words.and_list(answers)}. The rows are not corrected for their number.",)
    heads = ("Finding", "Rule", "Threshold", "Sensitivity then", "now", "Specificity then", "now", "Holds")
    return Table("Do the operating points still hold?", heads, tuple(rows), notes)


def prevalence_table(evaluation: Evaluation) -> Table | None:
    """Return what a probability becomes at the stated prevalence."""
    table = table_of(evaluation, "prevalence")
    if table.empty:
        return None
    given = list(dict.fromkeys(table["probability"].astype(float)))
    rows = []
    for finding, part in table.groupby("finding", sort=False):
        at_stated = {float(row["probability"]): value(row, "probability_there") for row in records(part)}
        ends = [share_text(float(part[name].iloc[0])) for name in ("prevalence", "stated_prevalence")]
        shares = [Cell(share_text(at_stated.get(share, math.nan))) for share in given]
        rows.append((Cell(heading_of(finding)), *map(Cell, ends), *shares))
    heads = ("Finding", "Prevalence here", "Stated", *(f"{share_text(share)} becomes" for share in given))
    return Table("What a probability becomes at the stated prevalence", heads, tuple(rows))


def _set_note(row: Mapping[str, Any]) -> str:
    """Return what the sets of a whole image reach, as a sentence."""
    promised, reached = (words.frequency(value(row, name)) for name in ("promised", "reached"))
    if promised is None or reached is None:
        return ""
    low, high = value(row, "reached_patient_low"), value(row, "reached_patient_high")
    span = "" if math.isnan(low + high) else f" ({share_text(low)} to {share_text(high)})"
    return (
        f"One set of findings for the whole image, promised to hold everything present in {count_of(promised)} images, "
        f"held it in {count_of(reached)}{span}; it names {number(value(row, 'mean_size'), 1)} of them on average."
    )


_DIFFERENCE_ENDS = ("_low", "_high", "_patient_low", "_patient_high")
_PRECISION_ENDS = ("average_precision_patient_low", "average_precision_patient_high")
_HOLDS = (("yes", "hold"), ("no", "don't"), ("too few to say", "rest on too few images to say"))
_WAYS = {"max": "highest score", "mean": "mean score", "frontal": "frontal view"}
