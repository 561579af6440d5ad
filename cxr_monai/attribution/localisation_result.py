"""The result of scoring maps against boxes, and its files.

write_localisation(localisation, "localisation")    # localisation.csv, gains.csv, cases.csv, localisation.json
read_localisation("localisation").scores
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.attribution.result_tables import write_result_tables
from cxr_monai.completion import require_complete, seal
from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, EvaluationError

LOCALISATION = "localisation.json"
"""The file that is written last: where it is, the localisation is complete."""


@dataclass(frozen=True, eq=False)
class Localisation:
    """The scores of maps against boxes.

    Attributes:
        scores: ``localisation.csv``: `localisation_tables`' scores with ``map_threshold`` (in shares of the map's
            maximum), ``chosen_on`` (the finding, or all findings) and ``empty`` (cases whose map is 0 everywhere).
        gains: ``gains.csv``.
        cases: ``cases.csv``, one row a case; its box is the detected one in pixels of the stored image.
        level: of all intervals.
        provenance: what is needed to judge the figures: bundle, method, cases, settings.
        notes: remarks, in full sentences.
    """

    scores: pd.DataFrame
    gains: pd.DataFrame
    cases: pd.DataFrame
    level: float
    provenance: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def write_localisation(localisation: Localisation, folder: str | Path) -> list[Path]:
    """Write ``localisation.csv``, ``gains.csv``, ``cases.csv`` (four decimals), ``localisation.json`` (all digits).

    Args:
        localisation: of ``cxr_monai.attribution.localisation_scoring``.
        folder: where; made if it does not exist.

    Returns:
        the files, ``localisation.json`` last.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    folder = Path(folder)
    tables = {"localisation": localisation.scores, "gains": localisation.gains, "cases": localisation.cases}
    written = write_result_tables(tables, folder)
    content: dict[str, Any] = {
        "level": localisation.level,
        "book": dict(localisation.provenance),
        "notes": list(localisation.notes),
        "scores": _json_rows(localisation.scores),
        "gains": _json_rows(localisation.gains),
    }
    seal(content, folder, [path.name for path in written])
    path = folder / LOCALISATION
    write_durably(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    return [*written, path]


def read_localisation(folder: str | Path) -> Localisation:
    """Read a folder that `write_localisation` wrote; the table of cases is left empty.

    Raises:
        EvaluationError: ``evaluation-invalid`` if the folder holds none, ``result-incomplete``.
    """
    path = Path(folder) / LOCALISATION
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        scores, gains = (pd.DataFrame(content[name]) for name in ("scores", "gains"))
        scores, gains = (table.fillna(np.nan).infer_objects() for table in (scores, gains))
        localisation = Localisation(
            scores, gains, pd.DataFrame(), float(content["level"]), content["book"], tuple(content["notes"])
        )
    except (RecursionError, OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"no localisation is here ({error}).",
            fix="'cxr-monai maps localise MAPS --boxes B.csv --manifest M.csv --out DIR' makes one.",
            where=folder,
        ) from error
    require_complete(content, path, "cxr-monai maps localise")
    return localisation


def _json_rows(table: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return the rows of a table with None where a cell is empty."""
    return table.astype(object).where(table.notna(), None).to_dict(orient="records")
