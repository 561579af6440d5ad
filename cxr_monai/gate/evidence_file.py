"""The evidence of every film beside a result: ``<result>.gate.csv``, as lines that an interrupted run can keep.

rows = evidence_rows(answers.table)                     # {"a.png": "a.png,accept,...\\n"}
write_evidence("explained", rows.values())              # explained.gate.csv
"""

import csv
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cxr_monai.durable import write_durably
from cxr_monai.evaluation.gate_evidence import gate_file, gate_rows
from cxr_monai.gate.bundle_gate import GATE_COLUMNS
from cxr_monai.gate.duplicate_films import DuplicateFilms


def evidence_rows(table: pd.DataFrame) -> dict[str, str]:
    """Return the evidence of films as lines of CSV, by name.

    Args:
        table: of `cxr_monai.gate.bundle_gate.FilmAnswers`, with the columns GATE_COLUMNS.
    """
    lines = [gate_rows(table.iloc[[row]]).decode() for row in range(len(table))]
    return dict(zip(table["image"], lines, strict=True))


def write_evidence(result: str | Path, lines: Iterable[str]) -> Path:
    """Write ``<result>.gate.csv``, or remove an old one where no film was judged; returns its path.

    Args:
        result: the path of the result.
        lines: of :func:`evidence_rows`, in their order.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    path, content = gate_file(result), "".join(lines)
    if content:
        write_durably(path, f"{','.join(GATE_COLUMNS)}\n{content}".encode())
    else:
        path.unlink(missing_ok=True)
    return path


def remember_films(duplicates: DuplicateFilms, lines: Iterable[str]) -> None:
    """Remember films by their lines of :func:`evidence_rows`, so that a copy is noticed after an interruption, too."""
    for row in csv.reader("".join(lines).splitlines(keepends=True)):
        film = dict(zip(GATE_COLUMNS, row, strict=True))
        duplicates.remember(film["image"], film["pixel_digest"], film["picture_hash"])
