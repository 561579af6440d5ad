"""``report.html`` of ``cxr-monai labels compare``: two sources, in counts and in tables.

write_label_page(comparison, "OUT")
"""

from pathlib import Path
from typing import Any

from cxr_monai.durable import write_durably
from cxr_monai.evaluation.label_agreement import MEMBER, LabelComparison
from cxr_monai.plurals import counted
from cxr_monai.report import words
from cxr_monai.report.cells import Cell, Table, estimate, p_value, signed, whole
from cxr_monai.report.charts import Forest, ForestRow, around_axis
from cxr_monai.report.evaluation_rows import limits_of, records, value
from cxr_monai.report.pages.evaluation_page import drawn_forest
from cxr_monai.report.reader_tables import reader_section
from cxr_monai.report.rendering import flat, template

_OVER_PATIENTS = (("_patient", ""),)
"""Intervals, all of them over patients: the text above says so."""
_CEILING = (
    "A model can't be seen to be better than the labels that it is judged by. Where two sources disagree, at least one "
    "of them is wrong, or they answer different questions; neither is the truth because of its name."
)


def write_label_page(comparison: LabelComparison, folder: str | Path) -> Path:
    """Write ``report.html``: one file, nothing is loaded from anywhere.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    page = Path(folder) / "report.html"
    write_durably(page, template("labels.html.j2").render(**_page_content(comparison)).encode())
    return page


def label_sentences(comparison: LabelComparison) -> list[str]:
    """Return what the tables say, in counts: a sentence a comparison, with the model's part where there is one.

    Single members of a composite stand in the table alone.
    """
    sentences = []
    for row in records(comparison.agreement):
        if row["rule"] != MEMBER and (sentence := _in_counts(comparison, row)):
            sentences.append(sentence + _model(comparison, row))
    return sentences


def _in_counts(comparison: LabelComparison, row: dict[str, Any]) -> str:
    first, second = comparison.names
    label, reference = (words.spoken(str(row[name])) for name in ("first_label", "second_label"))
    named_of = words.frequency(
        value(row, "sensitivity"), *limits_of(row, "sensitivity"), value(row, "both") + value(row, "second_only")
    )
    right = words.frequency(value(row, "ppv"), *limits_of(row, "ppv"), value(row, "both") + value(row, "first_only"))
    if named_of is None:
        return ""
    named = "it" if label == reference else label
    text = (
        f"Of {counted(named_of.total, 'film')} with {reference} by {second}, {first} names {named} in "
        f"{named_of.count:,}{named_of.span(comparison.level)}"
    )
    if right is not None:
        text += (
            f"; of {counted(right.total, 'film')} in which {first} does, {second} agrees in "
            f"{right.count:,}{right.span()}"
        )
    return f"{text}.{words.few(value(row, 'both') + value(row, 'second_only'))}"


def _model(comparison: LabelComparison, labels: dict[str, Any]) -> str:
    """Return what a model is worth by each source of one label, as a sentence; empty where it has no score for it."""
    if comparison.auroc is None:
        return ""
    wanted = {name: labels[name] for name in ("first_label", "second_label")} | {"score": labels["finding"]}
    same = [row for row in records(comparison.auroc) if wanted.items() <= row.items()]
    if not same or value(same[0], "difference") != value(same[0], "difference"):
        return ""
    areas = [words.number(value(same[0], f"{side}_auroc")) for side in ("first", "second")]
    low, high = value(same[0], "patient_low"), value(same[0], "patient_high")
    doubt = "" if low > 0 or high < 0 else "; the difference may be chance"
    doubt = "; there are too few films to compare the two" if low != low else doubt
    return f" The model's AUROC is {areas[0]} by {comparison.names[0]} and {areas[1]} by {comparison.names[1]}{doubt}."


def label_agreement_table(comparison: LabelComparison) -> Table:
    """Return the counts and figures of each pair of labels."""
    first, second = comparison.names
    counts = {"first_only": f"{first} alone", "second_only": f"{second} alone", "neither": "neither"}
    rows = []
    for row in records(comparison.agreement):
        others = tuple(f"{what} {whole(value(row, name))}" for name, what in counts.items())
        figures = (estimate(row, name, kinds=_OVER_PATIENTS) for name in ("sensitivity", "ppv", "specificity", "kappa"))
        rows.append((
            Cell(words.heading(str(row["first_label"]))),
            Cell(words.heading(str(row["second_label"])), (str(row["rule"]),)),
            Cell(whole(value(row, "images")), (counted(value(row, "patients"), "patient"),)),
            Cell(whole(value(row, "both")), others), *figures,
        ))  # fmt: skip
    heads = (f"{first} says", f"{second} says", "Films", "Both", "Sensitivity", "PPV", "Specificity", "Kappa")
    return Table(f"{first} judged by {second}", heads, tuple(rows))


def source_auroc_table(comparison: LabelComparison) -> Table | None:
    """Return one model's AUROC by each source with the paired difference; None without predictions."""
    if comparison.auroc is None:
        return None
    first, second = comparison.names
    rows = []
    for row in records(comparison.auroc):
        low, high = value(row, "patient_low"), value(row, "patient_high")
        difference = value(row, "difference")
        ends = () if low != low else (f"{signed(low, 3)} to {signed(high, 3)}",)
        positives = (f"{whole(value(row, f'{side}_positives'))} with the label" for side in ("first", "second"))
        areas = [estimate(row, f"{side}_auroc", kinds=_OVER_PATIENTS) for side in ("first", "second")]
        areas = [Cell(cell.text, (*cell.small, count)) for cell, count in zip(areas, positives, strict=True)]
        rows.append((
            Cell(words.heading(str(row["score"]))), Cell(words.heading(str(row["first_label"]))), areas[0],
            Cell(words.heading(str(row["second_label"]))), areas[1],
            Cell(words.DASH if difference != difference else signed(difference, 3), ends, low > 0 or high < 0),
            Cell(p_value(value(row, "patient_p_holm"))), Cell(whole(value(row, "images"))),
        ))  # fmt: skip
    sides = (f"{side}: {what}" for side in (first, second) for what in ("label", "AUROC"))
    heads = ("The model's score", *sides, "Difference", "p (Holm)", "Films")
    note = "A dash: no film with, or none without, the label. Bold: the interval excludes zero."
    return Table(f"One model by {first} and by {second}", heads, tuple(rows), (note,))


def source_forest(comparison: LabelComparison) -> Forest | None:
    """Return the differences in AUROC with their intervals; None where there is none."""
    rows = []
    for row in records(comparison.auroc) if comparison.auroc is not None else ():
        low, high = value(row, "patient_low"), value(row, "patient_high")
        if low != low:
            continue
        label = words.heading(str(row["score"]))
        if row["second_label"] != row["score"]:
            label += f" for {words.spoken(str(row['second_label']))}"
        strong = low > 0 or high < 0
        rows.append(ForestRow(label, value(row, "difference"), low, high, whole(value(row, "images")), "", strong))
    if not rows:
        return None
    first, second = comparison.names
    ends = [end for row in rows for end in (row.low, row.high)]
    axis = around_axis(f"AUROC by {second} minus AUROC by {first}", ends, 0.0, 0.05)
    about = (
        f"Right of the line the model does better by {second}, left of it by {first}. Bold: the interval excludes zero."
    )
    return Forest("difference", "The same model by two sources", about, axis, 0.0, tuple(rows), "films", 3)


def _page_content(comparison: LabelComparison) -> dict[str, Any]:
    book = comparison.book
    images, patients = counted(int(book["images"]), "film"), counted(int(book["patients"]), "patient")
    first, second = comparison.names
    lead = (
        f"{first} and {second} label the same {images} of {patients}. The numbers in brackets are "
        f"{words.percent(comparison.level)} intervals over patients."
    )
    return {
        "names": comparison.names,
        "judged_on": f"{images} of {patients}",
        "book": book,
        "lead": lead,
        "sentences": label_sentences(comparison),
        "ceiling": _CEILING,
        "notes": comparison.notes,
        "level": words.percent(comparison.level),
        "agreement": label_agreement_table(comparison),
        "auroc": source_auroc_table(comparison),
        "difference": drawn_forest(source_forest(comparison)),
        "readers": [
            (name, section)
            for name, tables in comparison.readers.items()
            if (section := reader_section(*tables, comparison.level)) is not None
        ],
        "bookkeeping": flat(book),
        "dash": words.DASH,
    }
