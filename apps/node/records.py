"""What the node said of its films, as ``cxr-monai predict`` writes it: for ``cxr-monai evaluate`` and ``drift``.

    write_records(spool, "records")                     # records/main-0123456789ab/predictions.csv and its companions
    write_records(spool, "records", SHADOW)             # records/shadow-ba9876543210/...

A set a bundle: two networks' probabilities are no stream. ``image`` is ``DIGEST.dcm``, the film's name in the spool, by
which ``cxr-monai manifest dicom SPOOL/films`` knows it too. ``received.csv`` has the time of each film, for those whose
header has none: ``cxr-monai drift ... --time-column received --manifest received.csv``.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.data.notes import FilmNotes
from cxr_monai.durable import write_durably
from cxr_monai.evaluation.gate_evidence import TEXT_EVIDENCE
from cxr_monai.evaluation.streaming import PredictionRows

from .spool import MAIN, Spool
from .spooled import FilmRecord

PREDICTIONS, RECEIVED = "predictions.csv", "received.csv"
_AT_A_TIME = 500


@dataclass(frozen=True)
class WrittenRecords:
    """The records of one bundle.

    Attributes:
        predictions: the file.
        bundle: digest.
        answered: films with probabilities.
        others: films that were refused or have failed.
    """

    predictions: Path
    bundle: str
    answered: int
    others: int

    @property
    def films(self) -> int:
        """All of them."""
        return self.answered + self.others


def write_records(
    spool: Spool,
    out: str | Path,
    role: str = MAIN,
    since: float = 0.0,
    until: float = math.inf,
    force: bool = False,
) -> list[WrittenRecords]:
    """Write what was said of films, a folder a bundle, and return what was written.

    Args:
        spool: opened.
        out: the folder of the folders.
        role: ``main``, or ``shadow``.
        since, until: when a film was received, seconds since 1970; ``until`` is not included.
        force: earlier records may be written over.

    Raises:
        UsageError: ``output-exists``.
        TrainingError: ``output-locked`` while another process writes them.
        StorageError: ``disk-full`` or ``write-failed``.
    """
    written = []
    for bundle, about in spool.bundles().items():
        columns, total = _columns_and_number(spool.records(role, bundle, since, until))
        if not total:
            continue
        labels = about.pop("labels")
        path = Path(out) / f"{role}-{bundle[:12]}" / PREDICTIONS
        head = {**about, "role": role, "since": since, "until": str(until), "written_at": spool.now()}
        rows = PredictionRows.open(path, labels, head, total, force, columns)
        records = islice(spool.records(role, bundle, since, until), total)
        times = ["image,received\n"]
        while some := list(islice(records, _AT_A_TIME)):
            _add(rows, some, labels, columns)
            times += [f"{_name(record)},{_local_time(record.received_at)}\n" for record in some]
        write_durably(path.with_name(RECEIVED), "".join(times).encode())
        rows.finish(about)
        written.append(WrittenRecords(path, bundle, rows.predicted, len(rows.errors)))
    return written


def _columns_and_number(records: Iterator[FilmRecord]) -> tuple[list[str], int]:
    """Return the columns of the gate's evidence, and how many films there are."""
    columns: list[str] = []
    number = 0
    for record in records:
        number += 1
        columns = columns or [*(record.evidence or {})]
    return columns, number


def _add(rows: PredictionRows, records: Sequence[FilmRecord], labels: Sequence[str], columns: Sequence[str]) -> None:
    answered = [record for record in records if record.probabilities is not None]
    values = np.array([[(record.probabilities or {})[name] for name in labels] for record in answered])
    notes = FilmNotes()
    for record in answered:
        notes.add(_name(record), record.remarks.splitlines())
    errors = [(_name(record), record.code, record.reason) for record in records if record.probabilities is None]
    judged = [record.evidence for record in records if record.evidence is not None]
    evidence = _evidence_table(judged, columns) if judged else None
    rows.add([_name(record) for record in answered], values.reshape(-1, len(labels)), errors, notes, evidence)


def _evidence_table(evidence: Sequence[Any], columns: Sequence[str]) -> pd.DataFrame:
    table = pd.DataFrame(list(evidence), columns=list(columns))
    numbers = [name for name in columns if name not in TEXT_EVIDENCE]
    return table.astype(dict.fromkeys(numbers, "float64"))


def _local_time(seconds: float) -> str:
    """Return a time as headers have it: local, without its zone."""
    return datetime.fromtimestamp(seconds).isoformat(timespec="seconds")


def _name(record: FilmRecord) -> str:
    return f"{record.digest}.dcm"
