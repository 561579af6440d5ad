"""The folder of an evaluation: ``metrics.csv``, ``metrics.json`` and the long tables, written and read.

    write_evaluation(evaluation, "OUT")      # of 'cxr-monai evaluate', of a bundle's evaluate.json, of a training
    read_evaluation("OUT").findings

``metrics.csv`` has one schema, whoever writes it. A training's folder has no other table than the means.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.completion import require_complete, seal
from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.sample import Sample

EVALUATION_FILE = "metrics.json"
"""The file that is written last: where it is, the evaluation is complete."""
EVALUATION_TABLES = (
    "operating_points", "calibration", "reliability", "conformal", "risk_coverage", "subgroups", "studies", "means",
    "prevalence", "site", "readers", "reader_agreement", "gate_codes", "gate_findings", "gate_groups", "gate_figures",
    "comparison",
)  # fmt: skip
"""The long tables beside ``metrics.csv``; each becomes a CSV of its name if it has a row."""
_GATE = tuple(name for name in EVALUATION_TABLES if name.startswith("gate_"))
"""Tables that stand in the JSON only where a gate judged films."""
_LATER = ("readers", "reader_agreement", *_GATE)
"""Tables that evaluations written by earlier versions do not have."""


def write_evaluation(evaluation: Evaluation, folder: str | Path) -> list[Path]:
    """Write ``metrics.csv`` (four decimals), ``metrics.json`` (everything, full precision) and the long tables.

    Args:
        evaluation: of ``cxr_monai.evaluation.assessment``.
        folder: where; tables of an earlier evaluation that are empty now are deleted.

    Returns:
        the files that were written, ``metrics.json`` last.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    folder = Path(folder)
    tables = {"metrics": evaluation.findings} | {name: getattr(evaluation, name) for name in EVALUATION_TABLES}
    written = []
    for name, table in tables.items():
        path = folder / f"{name}.csv"
        if table is None or table.empty:
            path.unlink(missing_ok=True)  # of an earlier evaluation
            continue
        text = table.to_csv(index=False, float_format="%.4f" if name == "metrics" else "%.6g")
        write_durably(path, text.encode())
        written.append(path)
    content: dict[str, Any] = {
        "level": evaluation.level,
        "replicates": evaluation.replicates,
        "book": dict(evaluation.book),
        "notes": list(evaluation.notes),
        **{
            "findings" if name == "metrics" else name: json_rows(table)
            for name, table in tables.items()
            if name not in _GATE or len(table)
        },
    }
    seal(content, folder, [path.name for path in written])
    path = folder / EVALUATION_FILE
    write_durably(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
    return [*written, path]


def read_evaluation(folder: str | Path) -> Evaluation:
    """Read a folder that `write_evaluation` wrote; its sample has the findings and no images, and there are no curves.

    Raises:
        EvaluationError: ``evaluation-invalid`` if the folder holds none, ``result-incomplete``.
    """
    path = Path(folder) / EVALUATION_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        tables: dict[str, Any] = {
            name: _table([] if name in _LATER and name not in content else content[name])
            for name in ("findings", *EVALUATION_TABLES)
        }
        names = [name for name in tables["findings"]["finding"] if name != MEAN]
        nobody = pd.DataFrame({"patient_id": pd.Series(dtype="str")})
        evaluation = Evaluation(
            Sample.of(
                nobody, names, np.empty((0, len(names))), np.empty((0, len(names))),
                content["book"].get("ranking_only") or (),
            ),
            float(content["level"]), int(content["replicates"]), **tables, book=content["book"],
            notes=tuple(content["notes"]),
        )  # fmt: skip
    except (RecursionError, OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"no evaluation is here ({type(error).__name__}: {error}).",
            fix="'cxr-monai evaluate --predictions P.csv --manifest M.csv --split test --out DIR' makes one.",
            where=folder,
        ) from error
    require_complete(content, path, "cxr-monai evaluate")
    return evaluation


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return a table from its rows in JSON; a column of numbers is one again, with NaN and infinities."""
    table = pd.DataFrame(rows)
    for name in table:
        entries = [entry for entry in table[name].tolist() if entry is not None and entry == entry]
        if all(entry in ("inf", "-inf") or type(entry) in (int, float) for entry in entries):
            table[name] = table[name].astype(float)
    return table


def json_rows(table: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Return a table's rows as JSON: null where there is no value, "inf" where a ratio has no bound.

    Args:
        table: any; None has no rows.
    """
    if table is None:
        return []
    rows = table.astype(object).where(table.notna(), None).to_dict(orient="records")
    return [{str(key): _plain(value) for key, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return ("inf" if value > 0 else "-inf") if isinstance(value, float) and math.isinf(value) else value
