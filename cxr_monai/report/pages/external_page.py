"""The page of an external validation: a paragraph for physicians; matrix, drops, causes and labels for reviewers.

    write_external_page(validation, "OUT")     # OUT/report.html, and OUT/report.md beside it

The page needs nothing beside it. Its words are those of `cxr_monai.report.external_words`, which only states what the
intervals support; its tables those of `cxr_monai.report.external_tables`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cxr_monai.durable import write_durably
from cxr_monai.evaluation.external_result import ExternalValidation
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.transfer import FEWEST_IN_MEAN, HOME
from cxr_monai.report import external_tables, words
from cxr_monai.report.auroc_table import escaped, line
from cxr_monai.report.cells import Table, signed
from cxr_monai.report.evaluation_rows import records, value
from cxr_monai.report.external_gate import gate_there, place_gates
from cxr_monai.report.external_words import RELATIONS, place_sentences
from cxr_monai.report.pages.evaluation_page import drawn_forest
from cxr_monai.report.rendering import template

_NETWORKS = {
    "network": "Network", "title": "Name and version", "digest": "Digest", "learned_from": "Learned from",
    "calibrated": "Calibrated", "findings": "Findings",
}  # fmt: skip
_SITES = {
    "manifest": "Manifest", "part": "Part", "images": "Films", "patients": "Patients",
    "patients_known": "Patients known", "sources": "Sources", "label_version": "Labels",
    "settings": "Settings of labels", "views": "Views", "age_median": "Median age", "women": "Share of women",
}  # fmt: skip
_RELATIONS = {"trained_on": "Network", "tested_on": "Films", "relation": "Relation", "sentence": "How it is known"}
_UNKNOWN = {"manifest": "Manifest", "finding": "Finding", "reason": "Why unknown", "images": "Films"}
_POSITIVES = {
    "trained_on": "Network", "tested_on": "Films", "finding": "Finding", "images": "With a known label",
    "positives": "Positive", "positive_patients": "Patients with it", "patients": "Patients",
}  # fmt: skip


def write_external_page(validation: ExternalValidation, folder: str | Path) -> Path:
    """Write ``report.html`` and ``report.md`` into a folder; return the page.

    Args:
        validation: the result.
        folder: where.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    folder = Path(folder)
    write_durably(folder / "report.md", external_markdown(validation).encode())
    write_durably(folder / "report.html", render_external(validation).encode())
    return folder / "report.html"


def paragraphs(validation: ExternalValidation) -> Iterator[tuple[str, str]]:
    """Yield a title and a paragraph for each network away from its home."""
    means = validation.matrix[validation.matrix["finding"] == MEAN]
    for row in records(means):
        if row["relation"] != HOME:
            network, place = str(row["trained_on"]), str(row["tested_on"])
            sentences = [
                *place_sentences(validation, network, place),
                *gate_there(validation, network, place),
            ]
            yield f"{network} in the patients of {place}", " ".join(sentences)


def render_external(validation: ExternalValidation) -> str:
    """Return the page."""
    tables = external_tables
    calibration = [
        ("Slope, intercept and error of the probabilities", tables.calibration_there_table(validation)),
        ("Whether thresholds hold", tables.points_there_table(validation)),
        ("What a recalibration could do", tables.offers_table(validation)),
    ]
    counts = validation.matrix[validation.matrix["images"] > 0]
    films = [
        tables.frame_table("The networks", validation.networks, _NETWORKS),
        tables.frame_table("The films", validation.sites, _SITES),
        tables.frame_table("How the films stand to those of the training", validation.relations, _RELATIONS),
        tables.frame_table("Films and patients with each finding", counts, _POSITIVES),
        tables.frame_table("Unknown labels", validation.unknown_labels, _UNKNOWN),
    ]
    content: dict[str, Any] = {
        "networks": words.and_list(list(validation.networks["network"])),
        "places": words.and_list(list(validation.sites["manifest"])),
        "date": validation.provenance.get("date"),
        "level": words.percent(validation.level),
        "replicates": validation.replicates,
        "fewest": FEWEST_IN_MEAN,
        "paragraphs": [{"title": title, "text": text} for title, text in paragraphs(validation)],
        "notes": validation.notes,
        "matrix": tables.matrix_table(validation),
        "matrices": tables.finding_matrices(validation),
        "relations": RELATIONS,
        "drops": drawn_forest(tables.drops_forest(validation)),
        "causes": tables.causes_table(validation),
        "shift": tables.label_shift_table(validation),
        "metadata": tables.metadata_table(validation),
        "within": tables.within_view_table(validation),
        "shortcuts": tables.shortcut_tables(validation),
        "gates": place_gates(validation),
        "calibration": [(title, table) for title, table in calibration if table is not None],
        "films": [table for table in films if table is not None],
        "dash": words.DASH,
    }
    return template("external.html.j2").render(**content)


def external_markdown(validation: ExternalValidation) -> str:
    """Return the paragraphs, the matrix of means and the drops as Markdown."""
    parts = [f"**{escaped(title)}.** {escaped(text)}" for title, text in paragraphs(validation)]
    parts.append(_markdown(external_tables.matrix_table(validation)))
    drops = validation.drops[validation.drops["finding"] == MEAN]
    if not drops.empty:
        heads = ("Network", "Home", "There", "Findings", "Home minus there", "Evidence")
        lines = [line(heads), line(["---"] * len(heads))]
        for row in records(drops):
            ends = f"{signed(value(row, 'low'), 3)} to {signed(value(row, 'high'), 3)}"
            figure = f"{signed(value(row, 'drop'), 3)} ({ends})" if value(row, "findings") else words.DASH
            cells = [row["trained_on"], row["home"], row["tested_on"], row["findings"], figure, row["evidence"]]
            lines.append(line(escaped(str(cell)) for cell in cells))
        parts.append("\n".join(lines))
    if validation.notes:
        parts.append("\n".join(f"- {escaped(note)}" for note in validation.notes))
    return "\n\n".join(parts) + "\n"


def _markdown(table: Table) -> str:
    rows = [line(map(escaped, table.heads)), line(["---"] * len(table.heads))]
    rows += [line(escaped(" ".join([cell.text, *cell.small])) for cell in row) for row in table.rows]
    return "\n".join([*rows, *(f"\n{escaped(note)}" for note in table.notes)])
