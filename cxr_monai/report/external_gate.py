"""What the gates refuse at each place, for the page of an external validation: a table, sentences, the matrix without.

section = place_gates(validation)           # what the page shows; says so where no film was judged
gate_there(validation, "A", "ours")         # a sentence for the physicians of one place
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cxr_monai.evaluation.external_result import ExternalValidation
from cxr_monai.evaluation.gate_effects import MORE_OFTEN, NOT_SHOWN
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.transfer import HOME
from cxr_monai.plurals import counted
from cxr_monai.report import words
from cxr_monai.report.cells import Cell, Table, share_cell, signed, whole
from cxr_monai.report.evaluation_rows import records, value
from cxr_monai.report.external_tables import matrix_table
from cxr_monai.report.gate_section import gate_harms, reason_words


@dataclass(frozen=True)
class PlaceGateSection:
    """What the page shows: sentences, the table of places, and the matrix of the films that are let through."""

    sentences: tuple[str, ...]
    places: Table | None = None
    matrix: Table | None = None


def place_gates(validation: ExternalValidation) -> PlaceGateSection:
    """Return what the page shows of the gates."""
    judged = set(validation.gate_places["trained_on"]) if len(validation.gate_places) else set()
    networks = list(dict.fromkeys(validation.matrix["trained_on"]))
    without = [str(name) for name in networks if name not in judged]
    sentences = [f"No film was judged by a gate of {words.or_list(without)}." for _ in without[:1]]
    if not judged:
        return PlaceGateSection(tuple(sentences))
    sentences += [
        "The matrix above is of all films that have a prediction. A gate that refuses many films at a place finds them "
        "unlike those that its network learned from, and nobody knows what the network is worth on such films."
    ]
    matrix = None
    if len(validation.gated_matrix):
        table = matrix_table(replace(validation, matrix=validation.gated_matrix))
        matrix = replace(table, caption="Mean AUROC of the films that the gates let through")
    return PlaceGateSection(tuple(sentences), _places_table(validation), matrix)


def place_harms(validation: ExternalValidation) -> list[str]:
    """Return a sentence for each finding that a gate refuses more often at a place."""
    if validation.gate_findings.empty:
        return []
    return [
        f"{network} on {place}: {sentence}"
        for (network, place), part in validation.gate_findings.groupby(["trained_on", "tested_on"], sort=False)
        for sentence in gate_harms(part[part["verdict"] == MORE_OFTEN])
    ]


def gate_there(validation: ExternalValidation, network: str, place: str) -> list[str]:
    """Return how many of a place's films a network's gate refuses, beside its home's; nothing where none is judged."""
    rows = {str(row["tested_on"]): row for row in records(validation.gate_places) if row["trained_on"] == network}
    if place not in rows:
        return []
    there = _refused(rows[place])
    home = next((row for row in rows.values() if row["relation"] == HOME), None)
    beside = "" if home is None else f"; at home {_refused(home)}"
    return [f"Its gate refuses {there} of the films here{beside}."]


def _refused(row: Mapping[str, Any]) -> str:
    share, low, high, films = (value(row, name) for name in ("refused_share", "refused_low", "refused_high", "images"))
    refused = words.known_frequency(share, low, high, films)
    return f"{refused.count:,} of {refused.total:,}{refused.span()}"


def _places_table(validation: ExternalValidation) -> Table:
    rows = []
    for row in records(validation.gate_places):
        reasons = [reason for reason in str(row["reasons"]).split("; ") if reason]
        shown = ", ".join(reason_words(reason) for reason in reasons[:3]) + (", ..." if len(reasons) > 3 else "")
        with_gate, drop = _drops(validation, row)
        rows.append((
            Cell(str(row["trained_on"]), (f"on {row['tested_on']}",), row["relation"] == HOME),
            Cell(whole(value(row, "images"))),
            share_cell(row, "refused_share", ("refused_low", "refused_high")),
            Cell(shown or words.DASH),
            share_cell(row, "reviewed_share", ("reviewed_low", "reviewed_high")),
            *_mean_cells(row), drop, with_gate,
        ))  # fmt: skip
    heads = ("Network", "Films", "Refused", "Why", "To be reviewed", "Mean AUROC, all films", "Without the refused",
             "Home minus there, all films", "Without the refused")  # fmt: skip
    note = (
        "Both means of a row are over the same findings; the difference is paired over the same patients. A dash: "
        "nothing is refused, or refused films were not predicted, or the place is home."
    )
    return Table("What the gates refuse", heads, tuple(rows), (note,))


def _mean_cells(row: Mapping[str, Any]) -> tuple[Cell, Cell]:
    if math.isnan(value(row, "without")):
        return Cell(words.DASH), Cell(words.DASH)
    ends = f"{signed(value(row, 'patient_low'), 3)} to {signed(value(row, 'patient_high'), 3)}"
    lines = (f"{signed(value(row, 'difference'), 3)} ({ends})", str(row["verdict"]))
    over = (counted(value(row, "findings"), "finding"),)
    return Cell(words.number(value(row, "all")), over), Cell(
        words.number(value(row, "without")), lines, row["verdict"] != NOT_SHOWN
    )


def _drops(validation: ExternalValidation, row: Mapping[str, Any]) -> tuple[Cell, Cell]:
    """Return the drop of the mean without the refused films, and of all films."""
    cells = []
    place = row["trained_on"], row["tested_on"]
    for table in (validation.gated_drops, validation.drops):
        means = [each for each in records(table) if each["finding"] == MEAN]
        drop = next((each for each in means if (each["trained_on"], each["tested_on"]) == place), {})
        if math.isnan(value(drop, "drop")):
            cells.append(Cell(words.DASH))
            continue
        ends = f"{signed(value(drop, 'low'), 3)} to {signed(value(drop, 'high'), 3)}"
        cells.append(Cell(signed(value(drop, "drop"), 3), (ends, str(drop["evidence"]))))
    return cells[0], cells[1]
