"""The gates of networks at the places of a matrix: what each refuses there, and matrix and drops without those films.

    gates = gates_of_cells(cells, intervals)
    gates.places            # a row a network and place: shares refused and to be reviewed, mean AUROC with and without
    gates.matrix            # as `cxr_monai.evaluation.transfer.transfer_tables`, of the films that are let through

A mean with and without is over the same findings: those that have enough patients among the films that are let through.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.gate_effects import LET_THROUGH, gate_tables
from cxr_monai.evaluation.gate_table import REFUSE, REVIEW, JudgedFilms
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.transfer import TransferCell, findings_in_mean, transfer_tables

_FIGURES = ["all", "without", "difference", "patient_low", "patient_high", "verdict"]


@dataclass(frozen=True, eq=False)
class PlaceGates:
    """What gates do at places; a table is empty where no film was judged.

    Attributes:
        places: ``trained_on, tested_on, relation, images, refused, refused_share, refused_low, refused_high``, the same
            of ``reviewed``, ``reasons`` (the codes of refused films, the commonest first), ``findings`` (how many the
            mean is over), ``all, without, difference, patient_low, patient_high, verdict`` of the mean AUROC.
        codes, findings, groups, figures: of `cxr_monai.evaluation.gate_effects.GateTables`, with ``trained_on,
            tested_on``.
        matrix, drops: of the films that are let through; empty where every film is, or refused ones were not predicted.
    """

    places: pd.DataFrame = field(default_factory=pd.DataFrame)
    codes: pd.DataFrame = field(default_factory=pd.DataFrame)
    findings: pd.DataFrame = field(default_factory=pd.DataFrame)
    groups: pd.DataFrame = field(default_factory=pd.DataFrame)
    figures: pd.DataFrame = field(default_factory=pd.DataFrame)
    matrix: pd.DataFrame = field(default_factory=pd.DataFrame)
    drops: pd.DataFrame = field(default_factory=pd.DataFrame)


def gates_of_cells(cells: Sequence[TransferCell], intervals: Intervals) -> PlaceGates:
    """Return what each network's gate does at each place.

    Args:
        cells: of a matrix; those whose films no gate judged have no rows.
        intervals: of the bootstrap over patients.
    """
    places: list[dict[str, Any]] = []
    tables: dict[str, list[pd.DataFrame]] = {"codes": [], "findings": [], "groups": [], "figures": []}
    for cell in cells:
        if cell.judged is None or cell.sample is None:
            continue
        films = cell.judged.with_scores_of(cell.sample)
        thresholds = {} if cell.fitted is None else {
            name: next(iter(rules.values())) for name, rules in cell.fitted.points.items() if rules
        }  # fmt: skip
        of_cell = gate_tables(films, thresholds, intervals)
        place = {"trained_on": cell.trained_on, "tested_on": cell.tested_on}
        for name, parts in tables.items():
            table = getattr(of_cell, name)
            parts.append(pd.DataFrame([place] * len(table), index=table.index).join(table))
        places.append({**place, "relation": cell.relation, **_shares(of_cell.codes), **_means(films, intervals)})
    without = [_let_through(cell) for cell in cells]
    is_other = any(one is not other for one, other in zip(cells, without, strict=True))
    transfer = transfer_tables(without, intervals) if is_other else None
    return PlaceGates(
        pd.DataFrame(places),
        **{name: pd.concat(parts, ignore_index=True) if parts else pd.DataFrame() for name, parts in tables.items()},
        matrix=pd.DataFrame() if transfer is None else transfer.matrix,
        drops=pd.DataFrame() if transfer is None else transfer.drops,
    )


def _let_through(cell: TransferCell) -> TransferCell:
    """Return a cell without the films that its network's gate refuses; the same where none of them is predicted."""
    if cell.judged is None or cell.sample is None:
        return cell
    refused = cell.judged.sample.table["image"][cell.judged.is_refused]
    is_kept = ~cell.sample.table["image"].isin(set(refused)).to_numpy()
    if is_kept.all():
        return cell
    if not is_kept.any():
        return replace(cell, sample=None, why="the gate refuses every film")
    return replace(cell, sample=cell.sample.take(is_kept))


def _shares(codes: pd.DataFrame) -> dict[str, Any]:
    whole = codes[codes["code"] == ""].set_index("gate")
    row: dict[str, Any] = {"images": int(whole["images"].sum())}
    for name, verdict in (("refused", REFUSE), ("reviewed", REVIEW)):
        row |= {name: int(whole["images"][verdict]), f"{name}_share": float(whole["share"][verdict])}
        row |= {f"{name}_{end}": float(whole[end][verdict]) for end in ("low", "high")}
    reasons = codes[(codes["gate"] == REFUSE) & (codes["code"] != "")]
    return row | {"reasons": "; ".join(f"{code} {images:,}" for code, images in
                                       zip(reasons["code"], reasons["images"], strict=True))}  # fmt: skip


def _means(films: JudgedFilms, intervals: Intervals) -> dict[str, Any]:
    """Return the mean AUROC with and without the refused films, over findings with enough patients in both."""
    nothing: dict[str, Any] = {"findings": 0, **dict.fromkeys(_FIGURES[:-1], np.nan), "verdict": ""}
    if not films.is_predicted.all() or not films.is_refused.any() or films.is_refused.all():
        return nothing
    findings = findings_in_mean(films.sample.take(~films.is_refused))
    if not findings:
        return nothing
    figures = gate_tables(replace(films, sample=films.sample.of_findings(findings)), intervals=intervals).figures
    mean = figures[(figures["kept"] == LET_THROUGH) & (figures["finding"] == MEAN) & (figures["figure"] == "auroc")]
    return {"findings": len(findings), **{name: mean[name].iloc[0] for name in _FIGURES}}
