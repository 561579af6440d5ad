"""The gate's evidence beside predictions: ``P.csv.gate.csv``, a row for every film that could be read.

table = read_gate_evidence("p.csv.gate.csv")
counts = GateCounts()
counts.add(table)
counts.to_json()                                    # {"accept": 95, "review": 3, "refuse": 2}
"""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_monai.errors import Code, EvaluationError

__all__ = ["TEXT_EVIDENCE"]

TEXT_EVIDENCE = (
    "image", "gate", "code", "taken_on", "mended", "mendable", "modality", "body_part", "view", "intent",
    "burned_in_annotation", "manufacturer", "pixel_digest", "picture_hash", "duplicate_of",
)  # fmt: skip
"""The columns that are text; all others are numbers."""
VERDICTS = ("accept", "review", "refuse")
_EXAMPLES = 5
_NUMBER = "%.6g"


def gate_file(result: str | Path) -> Path:
    """Return the path of the gate's evidence beside a result: ``P.csv.gate.csv``."""
    return Path(f"{result}.gate.csv")


def gate_rows(table: pd.DataFrame, header: bool = False) -> bytes:
    """Return evidence as CSV.

    Args:
        table: a row a film.
        header: begin with the line of the columns' names.
    """
    return table.to_csv(index=False, header=header, float_format=_NUMBER, lineterminator="\n").encode()


def read_gate_evidence(source: str | Path | bytes, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read evidence.

    Args:
        source: the file, or rows of it without their header as bytes.
        columns: of rows without their header.

    Returns:
        the table: text columns empty where nothing is known, numbers float64 and NaN there.

    Raises:
        EvaluationError: ``predictions-invalid`` for a file that is none or damaged.
    """
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    names = None if columns is None else list(columns)
    try:
        table = pd.read_csv(stream, names=names, dtype=str, keep_default_na=False, encoding="utf-8")
        if not {"image", "gate", "code"} <= {*table.columns}:
            raise ValueError("it has no columns image, gate and code")
        for name in table.columns:
            if name not in TEXT_EVIDENCE:
                table[name] = pd.to_numeric(table[name].where(table[name] != "")).astype("float64")
    except (OSError, ValueError) as error:
        raise EvaluationError(
            Code.PREDICTIONS_INVALID,
            f"it is no evidence of a gate ({error}).",
            fix="'cxr-monai predict' writes it beside predictions.",
            where=None if isinstance(source, bytes) else source,
        ) from error
    return table


class GateCounts:
    """How many films got each answer, what was undone and what could be, and the first that were not accepted.

    Attributes:
        verdicts: films by answer.
        mended: films by what was undone, such as ``rotation``.
        mendable: refused films by what would undo it.
        examples: the first films that are for review, and that are refused, each with its code and a clause on why.
    """

    def __init__(self) -> None:
        self.verdicts: Counter[str] = Counter()
        self.mended: Counter[str] = Counter()
        self.mendable: Counter[str] = Counter()
        self.examples: dict[str, list[tuple[str, str, str]]] = {verdict: [] for verdict in VERDICTS[1:]}

    def add(self, table: pd.DataFrame) -> None:
        """Add films by their evidence."""
        verdicts = table["gate"].tolist()
        self.verdicts.update(verdicts)
        self.mended.update(filter(None, table["mended"].tolist()))
        self.mendable.update(filter(None, table["mendable"].tolist()))
        for verdict, examples in self.examples.items():
            if verdict not in verdicts or len(examples) == _EXAMPLES:
                continue
            films = table[table["gate"] == verdict].head(_EXAMPLES - len(examples))
            columns = (films[name] for name in ("image", "code", "duplicate_of", "score"))
            for image, code, earlier, score in zip(*columns, strict=True):
                why = f"its worst score is {score:.2f} of the limit for refusal"
                if earlier and code == Code.GATE_DUPLICATE:
                    why = f"the same film as {earlier}"
                elif code in (Code.GATE_HEADER, Code.GATE_VIEW) or (verdict == "refuse" and not score > 1):
                    why = "by its header, or by the manifest"
                examples.append((image, code, why))

    def to_json(self) -> dict[str, Any]:
        """Return the counts, as they stand beside predictions."""
        counts: dict[str, Any] = {verdict: self.verdicts[verdict] for verdict in VERDICTS}
        return counts | ({"mended": dict(sorted(self.mended.items()))} if self.mended else {})


def with_gate_counts(about: Mapping[str, Any], counts: GateCounts) -> dict[str, Any]:
    """Return the JSON beside predictions with the counts in its ``gate``; as it is where no film was judged.

    Args:
        about: that JSON.
        counts: of its films.
    """
    gate = {"gate": {**about.get("gate", {}), "films": counts.to_json()}} if counts.verdicts else {}
    return {**about, **gate}
