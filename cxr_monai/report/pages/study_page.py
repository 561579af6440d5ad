"""What came out of a study, for reading: ``study.html`` and ``study.png``, made of plain tables.

    write_study_page("OUT", title="losses", question="Which loss ...?", findings=..., comparison=..., published=None,
                     notes=[])

The picture has each variant's mean AUROC minus the baseline's; the page has it with the diary's table (finding by
variant), the costs, and what others published. Differences are shown as numbers, not by colour alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.durable import write_durably
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.progress import duration
from cxr_monai.report import words
from cxr_monai.report.cells import Cell, Table, heading_of, p_value, signed, whole
from cxr_monai.report.chart_png import write_plot
from cxr_monai.report.charts import Axis, Forest, ForestRow, around_axis
from cxr_monai.report.evaluation_rows import records, value
from cxr_monai.report.pages.evaluation_page import drawn_forest
from cxr_monai.report.rendering import template
from cxr_monai.report.words import number

_PAGE, _PICTURE = "study.html", "study.png"
_NO_RESULT = "no result"
_DEEPEST = 0.05
"""The difference in AUROC from which a cell has its full shade."""
_LONGEST = 22
"""Letters of a variant's name that stand upright over a column."""


def write_study_page(
    folder: str | Path,
    *,
    title: str,
    question: str,
    findings: pd.DataFrame,
    comparison: pd.DataFrame,
    published: pd.DataFrame | None,
    notes: Sequence[str],
    baseline: str | None = None,
    level: float = 0.95,
) -> Path:
    """Write the page and the picture.

    Args:
        folder: of the study.
        title, question: its name, and one sentence.
        findings: one row a finding (and ``mean``, if it is there): ``finding, positives`` and a column a variant, its
            AUROC; NaN where there is none. A variant that failed may lack its column.
        comparison: one row a variant: ``variant, mean_auroc, difference, low, high, seconds, image_passes``; the
            difference to the baseline with its interval, NaN where there is none; ``p_holm``, if it is known.
        published: ``variant, source, finding, auroc``; None: nothing is.
        notes: sentences.
        baseline: a variant; the first where None.
        level: of the intervals.

    Returns:
        the page. Without a variant that has a result there is no picture.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    folder, rows = Path(folder), records(comparison)
    base = str(rows[0]["variant"]) if baseline is None else baseline
    forest = difference_forest(rows, base, level) if len(rows) > 1 else finding_forest(findings, base)
    write_plot(forest, folder / _PICTURE)
    content = template("study.html.j2").render(
        title=title,
        question=question,
        baseline=base,
        says=study_sentences(rows, base, level),
        forest=drawn_forest(forest),
        tables=[variants_table(rows, base, level), auroc_by_variant_table(findings, rows, base)],
        published=[] if published is None else published_tables(published, findings),
        notes=list(notes),
        level=words.percent(level),
    )
    write_durably(folder / _PAGE, content.encode())
    return folder / _PAGE


def difference_forest(rows: Sequence[Mapping[str, Any]], baseline: str, level: float) -> Forest | None:
    """Return each variant's mean AUROC minus the baseline's; None where no variant has one."""
    if all(np.isnan(value(row, "mean_auroc")) for row in rows):
        return None
    forest_rows = []
    for row in rows:
        name, auroc = str(row["variant"]), value(row, "mean_auroc")
        if name == baseline:
            forest_rows.append(ForestRow(name, count=number(auroc), note="baseline"))
            continue
        gain, low, high = (value(row, column) for column in ("difference", "low", "high"))
        note = "" if gain == gain else _NO_RESULT if np.isnan(auroc) else "nothing to compare with"
        forest_rows.append(ForestRow(name, gain, low, high, number(auroc), note, strong=low > 0 or high < 0))
    ends = [end for row in forest_rows for end in (row.low, row.high, row.value)]
    axis = around_axis(f"mean AUROC minus that of {baseline}", ends, 0.0, 0.01)
    axis = replace(axis, ticks=axis.ticks[:: 2 if len(axis.ticks) > 3 else 1])  # more do not fit on a phone
    about = (
        f"Right of the line a variant is better than {baseline}, left of it worse. Intervals at "
        f"{words.percent(level)}, paired: the same patients are drawn for both. Bold: the interval excludes 0."
    )
    return Forest("study", "What each variant changes", about, axis, 0.0, tuple(forest_rows), "mean AUROC")


def finding_forest(findings: pd.DataFrame, variant: str) -> Forest | None:
    """Return one variant's AUROC by finding, best first, the mean last; None where there is none."""
    if variant not in findings or findings[variant].isna().all():
        return None
    ordered = findings.sort_values(variant, ascending=False, na_position="last", kind="stable")
    rows = records(pd.concat([ordered[ordered["finding"] != MEAN], ordered[ordered["finding"] == MEAN]]))
    forest_rows = [
        ForestRow(
            heading_of(row["finding"]),
            value(row, variant),
            count=whole(value(row, "positives")),
            note="no value" if np.isnan(value(row, variant)) else "",
            strong=row["finding"] == MEAN,
        )
        for row in rows
    ]
    low = 0.5 if findings[variant].min() > 0.5 else 0.0
    axis = Axis("AUROC", low, 1.0, ((low, f"{low:g}"), ((1 + low) / 2, f"{(1 + low) / 2:g}"), (1.0, "1")))
    about = "Of 100 pairs of an image with the label and one without, how many it ranks rightly; 0.5 is guessing."
    return Forest(
        "study", f"AUROC by finding: {variant}", about, axis, 0.5, tuple(forest_rows), "with the label", 3, False
    )


def study_sentences(rows: Sequence[Mapping[str, Any]], baseline: str, level: float) -> list[str]:
    """Return which variants are better than the baseline, which are not, and whether their costs are alike."""
    by_verdict: dict[str, list[str]] = {}
    for row in rows:
        name, low, high = str(row["variant"]), value(row, "low"), value(row, "high")
        if np.isnan(value(row, "mean_auroc")):
            verdict = "No result"
        elif name == baseline:
            continue
        elif np.isnan(low + high):
            verdict = f"Not to be compared with {baseline}"
        else:
            how = "Better than" if low > 0 else "Worse than" if high < 0 else "Not distinguishable from"
            verdict = f"{how} {baseline}"
        by_verdict.setdefault(verdict, []).append(name)
    sentences = [f"{verdict}: {', '.join(names)}." for verdict, names in by_verdict.items()]
    passes = sorted({int(count) for row in rows if not np.isnan(count := value(row, "image_passes"))})
    if len(passes) > 1:
        sentences.append(
            f"The variants were not trained on equally many images ({passes[0]:,} to {passes[-1]:,} image passes): a "
            "difference may be one of effort."
        )
    return sentences


def variants_table(rows: Sequence[Mapping[str, Any]], baseline: str, level: float) -> Table:
    """Return means, differences and costs, a row a variant."""
    table_rows, compared = [], len(rows) > 1
    for row in rows:
        name, gain, low, high = str(row["variant"]), *(value(row, column) for column in ("difference", "low", "high"))
        cells = [Cell(name), Cell(number(value(row, "mean_auroc")))]
        if compared and name == baseline:
            cells += [Cell("baseline"), Cell("")]
        elif compared:
            ends = () if np.isnan(low + high) else (f"{signed(low, 3)} to {signed(high, 3)}",)
            text = words.DASH if np.isnan(gain) else signed(gain, 3)
            cells += [Cell(text, ends, strong=low > 0 or high < 0), Cell(p_value(value(row, "p_holm")))]
        seconds = value(row, "seconds")
        cells += [Cell(words.DASH if np.isnan(seconds) else duration(seconds)), Cell(whole(value(row, "image_passes")))]
        table_rows.append(tuple(cells))
    notes = ["Time: of training and evaluation, all seeds and folds. Image passes: epochs run times training images."]
    if compared:
        notes.append(
            f"Bold: the {words.percent(level)} interval excludes 0. Intervals are each variant's own; p is corrected "
            "for the number of variants (Holm 1979)."
        )
    heads = ("Variant", "Mean AUROC", *((f"Minus {baseline}", "p (Holm)") if compared else ()), "Time", "Image passes")
    return Table("Means, differences, costs" if compared else "Mean and cost", heads, tuple(table_rows), tuple(notes))


def auroc_by_variant_table(findings: pd.DataFrame, rows: Sequence[Mapping[str, Any]], baseline: str) -> Table:
    """Return AUROC by finding and variant with the number of labels, shaded by the difference to the baseline."""
    variants = [str(row["variant"]) for row in rows]
    table_rows = []
    for row in records(findings):
        strong, base = row["finding"] == MEAN, value(row, baseline)
        cells = [Cell(heading_of(row["finding"]), strong=strong), Cell(whole(value(row, "positives")))]
        for variant in variants:
            auroc = value(row, variant)
            share = float(np.clip((auroc - base) / _DEEPEST, -1, 1))
            shaded = None if variant == baseline or np.isnan(share) else share
            cells.append(Cell(number(auroc), strong=strong, share=shaded))
        table_rows.append(tuple(cells))
    heads = ("Finding", "Labels", *(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in variants))
    note = (
        f"Blue: above {baseline}; orange: below it; the full shade stands for {_DEEPEST:g}. Much of it may be chance."
    )
    compared = len(variants) > 1
    return Table("AUROC by finding", heads, tuple(table_rows), (note,) if compared else (), matrix=compared)


def published_tables(published: pd.DataFrame, findings: pd.DataFrame) -> list[Table]:
    """Return what others reported next to what came out here, a table for each variant and source."""
    tables = []
    by_finding = {str(row["finding"]): row for row in records(findings)}
    for (variant, source), part in published.groupby(["variant", "source"], sort=False):
        rows = []
        for row in records(part):
            here, reported = value(by_finding.get(str(row["finding"]), {}), str(variant)), value(row, "auroc")
            gap = Cell(words.DASH if np.isnan(here - reported) else signed(here - reported, 3))
            strong = row["finding"] == MEAN
            cells = (Cell(heading_of(row["finding"]), strong=strong), Cell(number(here)), Cell(number(reported)), gap)
            rows.append(cells)
        note = f"Published: {source}. Other images, other labels or another split make another figure."
        heads = ("Finding", "Here", "Published", "Difference")
        tables.append(Table(f"{variant}, here and published", heads, tuple(rows), (note,)))
    return tables
