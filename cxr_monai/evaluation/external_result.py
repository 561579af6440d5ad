"""What an external validation leaves: tables, and ``external.json`` with all of them at full precision.

write_external(validation, "OUT")     # matrix.csv, drops.csv, ..., external.json
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_monai.durable import write_durably
from cxr_monai.evaluation.evaluation_folder import json_rows

EXTERNAL_FILE = "external.json"
"""The file that is written last: where it is, the result is complete."""
EXTERNAL_TABLES = (
    "matrix", "drops", "causes", "label_shift", "metadata_only", "within_view", "calibration", "operating_points",
    "offers", "shortcuts", "shortcut_verdicts", "probes", "relations", "networks", "sites", "unknown_labels",
    "gate_places", "gate_codes", "gate_findings", "gate_groups", "gate_figures", "gated_matrix", "gated_drops",
)  # fmt: skip
"""Each becomes a CSV of its name if it has a row."""
_GATES = tuple(name for name in EXTERNAL_TABLES if name.startswith("gate"))
"""Tables that stand in the JSON only where a gate judged films."""


@dataclass(frozen=True, eq=False)
class ExternalValidation:
    """The result of an external validation; a table is empty where it does not apply.

    Attributes:
        matrix, drops: see `cxr_monai.evaluation.transfer.transfer_tables`.
        causes: why it drops, one line a cause (`cxr_monai.evaluation.drop_causes`).
        label_shift: prevalence there by the scores alone, and whether it may be believed.
        metadata_only: how well view, age, sex, source or size alone tell each finding.
        within_view: AUROC of each finding within each view, beside the pooled one.
        calibration, operating_points, offers: see `cxr_monai.evaluation.site_calibration`.
        shortcuts, shortcut_verdicts: what is left without lungs, corners or detail, and which findings that flags.
        probes: what the features tell of who is shown, and where.
        relations: ``trained_on, tested_on, relation, sentence``: how the films stand to those of the training.
        networks: ``network, title, digest, learned_from, calibrated, findings``.
        sites: ``manifest, part, images, patients, patients_known, sources, label_version, views, age_median, women,
            settings``.
        unknown_labels: ``manifest, finding, reason, images``: why labels are unknown.
        gate_places, gate_codes, gate_findings, gate_groups, gate_figures, gated_matrix, gated_drops: what the networks'
            gates refuse, and the matrix and drops without those films (`cxr_monai.evaluation.transfer_gate`).
        level, replicates: of all intervals.
        provenance: the date, the seed and the part of the splits.
        notes: sentences.
    """

    matrix: pd.DataFrame
    drops: pd.DataFrame
    level: float
    replicates: int
    causes: pd.DataFrame = field(default_factory=pd.DataFrame)
    label_shift: pd.DataFrame = field(default_factory=pd.DataFrame)
    metadata_only: pd.DataFrame = field(default_factory=pd.DataFrame)
    within_view: pd.DataFrame = field(default_factory=pd.DataFrame)
    calibration: pd.DataFrame = field(default_factory=pd.DataFrame)
    operating_points: pd.DataFrame = field(default_factory=pd.DataFrame)
    offers: pd.DataFrame = field(default_factory=pd.DataFrame)
    shortcuts: pd.DataFrame = field(default_factory=pd.DataFrame)
    shortcut_verdicts: pd.DataFrame = field(default_factory=pd.DataFrame)
    probes: pd.DataFrame = field(default_factory=pd.DataFrame)
    relations: pd.DataFrame = field(default_factory=pd.DataFrame)
    networks: pd.DataFrame = field(default_factory=pd.DataFrame)
    sites: pd.DataFrame = field(default_factory=pd.DataFrame)
    unknown_labels: pd.DataFrame = field(default_factory=pd.DataFrame)
    gate_places: pd.DataFrame = field(default_factory=pd.DataFrame)
    gate_codes: pd.DataFrame = field(default_factory=pd.DataFrame)
    gate_findings: pd.DataFrame = field(default_factory=pd.DataFrame)
    gate_groups: pd.DataFrame = field(default_factory=pd.DataFrame)
    gate_figures: pd.DataFrame = field(default_factory=pd.DataFrame)
    gated_matrix: pd.DataFrame = field(default_factory=pd.DataFrame)
    gated_drops: pd.DataFrame = field(default_factory=pd.DataFrame)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def write_external(validation: ExternalValidation, folder: str | Path) -> list[Path]:
    """Write each table that has a row as CSV, and ``external.json``.

    Args:
        validation: the result.
        folder: where.

    Returns:
        the files, ``external.json`` last.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    folder = Path(folder)
    tables = {name: getattr(validation, name) for name in EXTERNAL_TABLES}
    written = []
    for name, table in tables.items():
        if not table.empty:
            written.append(folder / f"{name}.csv")
            write_durably(written[-1], table.to_csv(index=False, float_format="%.6g").encode())
    content = {
        "level": validation.level,
        "replicates": validation.replicates,
        "provenance": dict(validation.provenance),
        "notes": list(validation.notes),
        **{name: json_rows(table) for name, table in tables.items() if name not in _GATES or len(table)},
    }
    path = folder / EXTERNAL_FILE
    write_durably(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
    return [*written, path]
