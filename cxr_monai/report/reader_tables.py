"""Readers beside the model for reading: sentences in counts, the table of points, how far the readers agree.

section = reader_section(evaluation.readers, evaluation.reader_agreement, level=0.95)     # what the pages show
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.evaluation.readers import BY_OTHERS, MODEL_HIGHER, MODEL_LOWER
from cxr_monai.plurals import counted
from cxr_monai.report import words
from cxr_monai.report.cells import Cell, Table, estimate, signed, whole
from cxr_monai.report.charts import Mark
from cxr_monai.report.evaluation_rows import records, value

_OVER_PATIENTS = (("_patient", ""),)
_FEWEST = 10
"""Films with a finding under which no sentence is told of it."""
_NAMED = 3
"""Up to so many readers a sentence tells each one's misses, else the least and the most."""


@dataclass(frozen=True)
class ReaderSection:
    """What a page shows of readers: how they were judged, a sentence a finding, the points, and their agreement."""

    judged: str
    sentences: tuple[str, ...]
    points: Table | None
    agreement: Table | None


def reader_section(readers: pd.DataFrame, agreement: pd.DataFrame, level: float) -> ReaderSection | None:
    """Return what a page shows of readers; None where there are none.

    Args:
        readers: of `cxr_monai.evaluation.readers.compare_readers`; empty without a model.
        agreement: of `cxr_monai.evaluation.readers.reader_agreement`.
        level: of the intervals.
    """
    if readers.empty and agreement.empty:
        return None
    return ReaderSection(
        _judged_by(readers), tuple(reader_sentences(readers)), _points_table(readers), _agreement(agreement, level)
    )


def reader_sentences(readers: pd.DataFrame) -> list[str]:
    """Return one sentence a finding: how many films with it the readers and the model miss, out of 100.

    A finding of fewer than ten films stands in the table alone.

    Args:
        readers: of `cxr_monai.evaluation.readers.compare_readers`.
    """
    if readers.empty:
        return []
    parts = readers.groupby("finding", sort=False)
    return [_sentence(str(finding), part) for finding, part in parts if part["positives"].max() >= _FEWEST]


def reader_points(readers: pd.DataFrame, finding: str) -> list[Mark]:
    """Return the readers of one finding as points of a ROC curve; none where there are none.

    Args:
        readers: of `cxr_monai.evaluation.readers.compare_readers`; may be empty.
        finding: one of its findings.
    """
    part = readers[readers["finding"] == finding] if len(readers) else readers
    if part.empty:
        return []
    label = "readers, each judged by the others" if part["judged_by"].iloc[0] == BY_OTHERS else "readers"
    low, high = (part[f"sensitivity_patient_{end}"].to_numpy(float) for end in ("low", "high"))
    across, up = 1 - part["specificity"].to_numpy(float), part["sensitivity"].to_numpy(float)
    return [Mark("points", across, up, low, high, tone="third", label=label)]


def _sentence(finding: str, part: pd.DataFrame) -> str:
    missed = [words.known_frequency(1 - share, total=100).count for share in part["sensitivity"]]
    by_model = [words.known_frequency(1 - share, total=100).count for share in part["model_sensitivity"]]
    number = len(part)
    who = "the reader" if number == 1 else f"the {number} readers"
    each = "as they" if number == 1 else "as each of them"
    text = (
        f"Of 100 films with {words.spoken(finding)}, {who} missed {_misses(missed)}; the model, with as many false "
        f"alarms {each}, {_misses(by_model)}."
    )
    return f"{text} {_verdict(part)}{words.few(float(part['positives'].max()))}"


def _misses(counts: list[int]) -> str:
    if len(counts) > _NAMED:
        return f"{min(counts)} to {max(counts)}"
    return words.and_list([str(count) for count in counts])


def _verdict(part: pd.DataFrame) -> str:
    better, worse = (int((part["verdict"] == verdict).sum()) for verdict in (MODEL_HIGHER, MODEL_LOWER))
    if not better and not worse:
        return "Who finds more can't be told from these films."
    of_all = f" of the {len(part)} readers" if len(part) > 1 else ""
    counts = [("more", better), ("less", worse)]
    parts = [f"{word} than {count if of_all else 'the reader'}{of_all}" for word, count in counts if count]
    return f"It surely finds {words.and_list(parts)}."


def _judged_by(readers: pd.DataFrame) -> str:
    if readers.empty:
        return "Several readers labelled these films."
    if readers["judged_by"].iloc[0] == BY_OTHERS:
        return (
            "Every reader is part of the truth, so each is judged by the vote of the others on the same film (unknown "
            "where they tie), and so is the model beside that reader."
        )
    return "The readers shown are no part of the truth: they and the model are judged by it alike."


def _points_table(readers: pd.DataFrame) -> Table | None:
    if readers.empty:
        return None
    rows = []
    for row in records(readers):
        low, high = value(row, "patient_low"), value(row, "patient_high")
        ends = () if np.isnan(low) else (f"{signed(low, 3)} to {signed(high, 3)}",)
        figures = (
            estimate(row, name, kinds=_OVER_PATIENTS) for name in ("sensitivity", "specificity", "model_sensitivity")
        )
        verdict = str(row["verdict"])
        rows.append((
            Cell(words.heading(str(row["finding"]))), Cell(str(row["reader"])),
            Cell(whole(value(row, "images")), (f"{whole(value(row, 'positives'))} with it",)), *figures,
            Cell(signed(value(row, "difference"), 3), ends),
            Cell(verdict, strong=verdict in (MODEL_HIGHER, MODEL_LOWER)),
        ))  # fmt: skip
    heads = ("Finding", "Reader", "Films", "Reader's sensitivity", "Reader's specificity", "Model's sensitivity there",
             "Model minus reader", "The model's is")  # fmt: skip
    note = "Paired over the same films and patients. The verdict is corrected by Holm over all rows."
    return Table("Readers and the model at each reader's false alarms", heads, tuple(rows), (note,))


def _agreement(agreement: pd.DataFrame, level: float) -> Table | None:
    if agreement.empty:
        return None
    rows = tuple(_agreement_row(row) for row in records(agreement))
    heads = ("Finding", "Readers", "Films", f"Kappa ({words.percent(level)})")
    notes = ("1: all agree. 0: no more than chance, given how often each says yes. A dash: all say the same.",)
    return Table("How far the readers agree (Fleiss' kappa)", heads, rows, notes)


def _agreement_row(row: Mapping[str, Any]) -> tuple[Cell, ...]:
    images = counted(value(row, "images"), "film").split(" ")[0]
    cells = Cell(words.heading(str(row["finding"]))), Cell(whole(value(row, "readers"))), Cell(images)
    return (*cells, estimate(row, "kappa", digits=2, kinds=_OVER_PATIENTS))
