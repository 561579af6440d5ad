"""``report.md``: the table that the diary of this project has always kept, with intervals beside the bare numbers.

| Finding | AUROC | 95 % interval, images | 95 % interval, patients | #Labels |
"""

import re
from collections.abc import Iterable

from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.plurals import counted
from cxr_monai.report import words
from cxr_monai.report.evaluation_rows import finding_rows, records, value
from cxr_monai.report.finding_notes import combine_notes


def auroc_markdown(evaluation: Evaluation) -> str:
    """Return the table as Markdown: finding, AUROC, both intervals, number of images with the label; the mean last."""
    level = words.percent(evaluation.level).replace(words.NBSP, " ")
    heads = ("Finding", "AUROC", f"{level} interval, images (DeLong)", f"{level} interval, patients", "#Labels")
    lines = [line(heads), "| --- | :---: | :---: | :---: | ---: |"]
    for row in records(evaluation.findings):
        mean = row["finding"] == MEAN
        cells = [
            "Mean" if mean else words.heading(str(row["finding"])),
            words.number(value(row, "auroc")),
            words.between(value(row, "auroc_low"), value(row, "auroc_high")),
            words.between(value(row, "auroc_patient_low"), value(row, "auroc_patient_high")),
            words.number(value(row, "positives"), 0),
        ]
        lines.append(line([f"**{escaped(cell)}**" for cell in cells]) if mean else line(map(escaped, cells)))
    images, patients = len(evaluation.sample), int(evaluation.sample.patients.max(initial=-1)) + 1
    book = evaluation.book
    split = words.split_words(book.get("split"), str(book.get("label_version")))
    about = f"{counted(images, 'image')} of {counted(patients, 'patient')}; {split}"
    about += f"; labels {book.get('label_version', 'unknown')}."
    empty = [note for row in finding_rows(evaluation) if (note := words.no_value(str(row["finding"]), row))]
    notes = [f"- {escaped(note)}" for note in combine_notes([*empty, *evaluation.notes])]
    return "\n".join([*lines, "", escaped(about), *(["", *notes] if notes else [])]) + "\n"


def line(cells: Iterable[str]) -> str:
    """Return a row of a Markdown table.

    >>> line(["Mass", "0.812"])
    '| Mass | 0.812 |'
    """
    return "| " + " | ".join(cells) + " |"


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is.

    >>> escaped("a<b|c")
    'a&lt;b\\\\|c'
    """
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#$~])", r"\\\1", text)
