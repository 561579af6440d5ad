"""The report's pictures across findings: who is mistaken for whom, what comes together, gaps and differences.

confusion_matrix(evaluation)        # Matrix: of the images with A alone, the share in which the model reports B
cooccurrence_matrix(evaluation)     # Matrix: of the images with A, the share that has B, too
subgroups_forest(evaluation)        # Forest: each group's mean AUROC against the rest's
comparison_forest(evaluation)       # Forest: second system minus first
"""

from typing import Any

import numpy as np

from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.report import words
from cxr_monai.report.charts import Forest, ForestRow, Matrix, around_axis, unit_axis
from cxr_monai.report.evaluation_rows import (
    chosen_points,
    chosen_rule,
    finding_rows,
    limits_of,
    mean_row,
    records,
    table_of,
    value,
)

ALONE = "no other group"  # stands in the note of a subgroup that has nothing to compare with
_TOO_FEW = "too few to say"
_FEWEST_IMAGES = 10
"""Images that a row of a matrix must rest on to show a share."""
_NONE = "None of them"


def confusion_matrix(evaluation: Evaluation) -> Matrix | None:
    """Return what is reported on images that have one finding alone.

    Row A: images whose label A is 1 and no other label is (others may be unknown). Column B: the share of those in
    which the model reports B at its chosen threshold; so the diagonal is the sensitivity for A alone, and everything
    beside it is reported though no label says so. The last row is of images on which no label is 1. None without
    operating points.
    """
    sample, points = evaluation.sample.probabilities(), chosen_points(evaluation)
    if not points:
        return None
    thresholds = np.array([value(points.get(name, {}), "threshold") for name in sample.findings])
    reported = np.where(np.isnan(thresholds), np.nan, sample.scores >= thresholds)
    present = sample.labels == 1
    alone = present & (present.sum(1) == 1)[:, None]
    members = [*alone.T, ~present.any(1) & ~np.isnan(sample.labels).all(1)]
    counts = tuple(int(rows.sum()) for rows in members)
    values = np.full((len(members), len(sample.findings)), np.nan)
    for column, rows in enumerate(members):
        if counts[column] >= _FEWEST_IMAGES:
            values[column] = reported[rows].mean(0)
    about = (
        "Each row: images with that finding alone, by the labels. Each column: in how many of 100 of them the model "
        f"reports this finding, at the operating point '{chosen_rule(evaluation)}'. On the diagonal it is right. "
        f"A row of fewer than {_FEWEST_IMAGES} images has dashes."
    )
    names = tuple(words.heading(name) for name in sample.findings)
    return Matrix("confusion", "Confusion between findings", about, (*names, _NONE), names, counts, values)


def cooccurrence_matrix(evaluation: Evaluation) -> Matrix | None:
    """Return which labels come together: of the images with A and a known label B, the share that has B."""
    labels = evaluation.sample.labels
    labelled, present = (~np.isnan(labels)).astype(float), (labels == 1).astype(float)
    both, having = present.T @ present, present.T @ labelled
    values = np.where(having >= _FEWEST_IMAGES, both / np.maximum(having, 1), np.nan)
    np.fill_diagonal(values, np.nan)
    if np.isnan(values).all():
        return None
    names = tuple(words.heading(name) for name in evaluation.sample.findings)
    about = (
        "Each row: images with that label. Each column: how many of 100 of them have this label, too. "
        f"A row of fewer than {_FEWEST_IMAGES} images has dashes."
    )
    counts = tuple(int(count) for count in present.sum(0))
    return Matrix("cooccurrence", "Labels that come together", about, names, names, counts, values)


def findings_forest(evaluation: Evaluation) -> Forest | None:
    """Return each finding's AUROC with the interval over patients, best first, the mean last."""
    ordered = sorted(finding_rows(evaluation), key=lambda row: (np.isnan(value(row, "auroc")), -value(row, "auroc")))
    rows = [
        ForestRow(
            words.heading(str(row["finding"])),
            value(row, "auroc"),
            *limits_of(row, "auroc"),
            count=f"{int(row['positives']):,}",
            note="no value" if words.no_value(str(row["finding"]), row) else "",
        )
        for row in ordered
    ]
    mean = mean_row(evaluation)
    rows += [
        ForestRow(
            "Mean", value(row, "auroc"), *limits_of(row, "auroc"), count=f"{int(row['positives']):,}", strong=True
        )
        for row in ([mean] if mean else [])
    ]
    if all(np.isnan(row.value) for row in rows):
        return None
    axis = unit_axis("AUROC")
    if min(row.low for row in rows if row.low == row.low) > 0.5:
        axis = type(axis)("AUROC", 0.5, 1.0, ((0.5, "0.5"), (0.75, "0.75"), (1.0, "1")))
    about = "Of 100 pairs of an image with the label and one without, how many it ranks rightly; 0.5 is guessing."
    return Forest("auroc", "AUROC by finding", about, axis, 0.5, tuple(rows), "with the label", 3, False)


def subgroups_forest(evaluation: Evaluation) -> Forest | None:
    """Return the gap of each group's mean AUROC to the rest's; groups with too few to say stand there without a bar."""
    table = table_of(evaluation, "subgroups")
    if table.empty:
        return None
    table = table[table["finding"] == MEAN]
    rows: list[ForestRow] = []
    for name, part in table.groupby("attribute", sort=False):
        rows.append(ForestRow(group_word(str(name)), heading=True))
        for row in records(part):
            gap, judged = value(row, "gap"), value(row, "p_holm")
            note = "" if not np.isnan(gap) else short_note(row.get("note"))
            limits = value(row, "gap_low"), value(row, "gap_high")
            strong = judged < 1 - evaluation.level
            rows.append(ForestRow(str(row["group"]), gap, *limits, f"{int(row['images']):,}", note, strong))
    if not rows:
        return None
    ends = [number for row in rows for number in (row.low, row.high, row.value)]
    axis = around_axis("gap in mean AUROC: group minus rest", ends, 0.0, 0.04)
    about = (
        "How much better (right) or worse (left) the ranking is within a group than among all others. Bold: more than "
        "chance, after Holm's correction over all gaps of the attribute."
    )
    return Forest("subgroups", "Subgroups", about, axis, 0.0, tuple(rows), "images")


def comparison_forest(evaluation: Evaluation) -> Forest | None:
    """Return the differences in AUROC of two systems, second minus first, with the intervals over patients."""
    table = evaluation.comparison
    if table is None or table.empty:
        return None
    first, second = evaluation.comparison_names or ("first", "second")
    rows = []
    for row in records(table):
        label = "Mean" if row["finding"] == MEAN else words.heading(str(row["finding"]))
        difference, low, high = (value(row, name) for name in ("difference", "patient_low", "patient_high"))
        note = "no value" if np.isnan(difference) else _TOO_FEW if str(row.get("verdict")) == _TOO_FEW else ""
        if note:  # an interval that says nothing would set the scale for all that do
            difference, low, high = np.nan, np.nan, np.nan
        strong = str(row.get("verdict")) in ("better", "worse")
        rows.append(ForestRow(label, difference, low, high, f"{int(row['positives']):,}", note, strong))
    ends = [number for row in rows for number in (row.low, row.high, row.value)]
    axis = around_axis(f"AUROC of {second} minus AUROC of {first}", ends, 0.0, 0.01)
    about = (
        f"Right of the line {second} is better, left of it {first}. Bold: more than chance, after Holm's correction "
        "over the findings."
    )
    return Forest("comparison", f"{second} compared with {first}", about, axis, 0.0, tuple(rows), "with the label", 4)


def group_word(attribute_name: str) -> str:
    """Return an attribute as it stands in a heading."""
    return words.heading({"age": "age in years", "prior_visits": "earlier images"}.get(attribute_name, attribute_name))


def short_note(note: Any) -> str:
    """Return ``too few to say`` of ``too few to say: 3 patients ...``."""
    text = "" if note is None or note != note else str(note)
    if text.startswith(_TOO_FEW):
        return _TOO_FEW
    return "nothing to compare with" if ALONE in text else text or "no value"
