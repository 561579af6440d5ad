"""The tables and drawings of an external validation's page: matrices with words, drops in rows, and what stands beside.

matrix_table(validation)             # Table: networks by places, each cell a figure, its interval, and what it is
drops_forest(validation)             # Forest: home minus there, around 0
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.evaluation.drop_causes import DROP
from cxr_monai.evaluation.external_result import ExternalValidation
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.transfer import HIGHER, HOME, LOWER, NO_EVIDENCE, NO_VALUE
from cxr_monai.plurals import counted
from cxr_monai.report import words
from cxr_monai.report.cells import Cell, Table, heading_of, share_text, signed, whole
from cxr_monai.report.charts import Forest, ForestRow, around_axis
from cxr_monai.report.evaluation_rows import records, value
from cxr_monai.report.words import between, number

_CHANCE = 0.5


def matrix_table(validation: ExternalValidation, finding: str = MEAN) -> Table:
    """Return one finding's AUROCs, or the means, networks in rows and places in columns, shaded and in words.

    Args:
        validation: the result.
        finding: or ``mean``.
    """
    table = validation.matrix[validation.matrix["finding"] == finding]
    places = list(dict.fromkeys(table["tested_on"]))
    rows, reasons = [], []
    for network, part in table.groupby("trained_on", sort=False):
        by_place = {str(row["tested_on"]): row for row in records(part)}
        cells = [Cell(str(network))]
        for place in places:
            cell = by_place.get(place, {})
            cells.append(_matrix_cell(cell, finding))
            if cell.get("why"):
                reasons.append(f"{network} on {place}: {cell['why']}.")
        rows.append(tuple(cells))
    title = "Mean AUROC over what both know" if finding == MEAN else f"AUROC of {words.spoken(finding)}"
    heads = ("Trained on", *(f"tested on {place}" for place in places))
    return Table(title, heads, tuple(rows), tuple(reasons))


def _matrix_cell(row: Mapping[str, Any], finding: str) -> Cell:
    auroc, relation = value(row, "auroc"), str(row.get("relation") or "")
    if math.isnan(auroc):
        return Cell(words.DASH, (relation,) if relation else ())
    low = value(row, "low")
    worth = words.separation(low) if not math.isnan(low) else ""
    told = f"tells apart {worth}" if worth else "no better than guessing" if low <= _CHANCE else ""
    over = counted(value(row, "findings"), "finding") if finding == MEAN else ""
    counts = f"{whole(value(row, 'positives'))} of {counted(value(row, 'images'), 'film')}"
    lines = (f"({between(low, value(row, 'high'))})", relation, told, over or counts)
    share = float(np.clip((auroc - _CHANCE) / (1 - _CHANCE), -1, 1))
    return Cell(number(auroc), tuple(line for line in lines if line), relation == HOME, share)


def finding_matrices(validation: ExternalValidation) -> list[Table]:
    """Return the matrix of each finding, in the order of the tables."""
    findings = [name for name in dict.fromkeys(validation.matrix["finding"]) if name != MEAN]
    return [matrix_table(validation, finding) for finding in findings]


def drops_forest(validation: ExternalValidation) -> Forest | None:
    """Return the drops of the means, and of each finding below them; None where no network has a home."""
    table = validation.drops
    if table.empty or table["drop"].isna().all():
        return None
    positives = validation.matrix.set_index(["trained_on", "tested_on", "finding"])["positives"].to_dict()
    rows: list[ForestRow] = []
    for (network, home, place), part in table.groupby(["trained_on", "home", "tested_on"], sort=False):
        rows.append(ForestRow(f"{network}: {home} minus {place}", heading=True))
        ordered = sorted(records(part), key=lambda row: row["finding"] != MEAN)
        for row in ordered:
            drop, low, high = (value(row, name) for name in ("drop", "low", "high"))
            if math.isnan(drop) and row["finding"] != MEAN:
                continue
            evidence = str(row["evidence"])
            mean = f"Mean of {counted(value(row, 'findings'), 'finding')}"
            label = mean if row["finding"] == MEAN else heading_of(row["finding"])
            count = whole(positives.get((network, place, row["finding"]), math.nan))
            rows.append(
                ForestRow(
                    f"{label}: {evidence}", drop, low, high, count, NO_VALUE if math.isnan(drop) else "",
                    evidence in (LOWER, HIGHER),
                )
            )  # fmt: skip
    axis = around_axis("AUROC lost", [end for row in rows for end in (row.low, row.high, row.value)], 0.0, 0.02)
    about = (
        "Right of the line the network is worse there than at home, left of it better. Intervals at "
        f"{words.percent(validation.level)}, of independent draws of both places' patients; '{NO_EVIDENCE}' where they "
        "hold 0. They are not corrected for the number of rows: the mean is one test. Findings without a figure at "
        "both places are left out; drops.csv has them."
    )
    return Forest("drops", "What is lost away from home", about, axis, 0.0, tuple(rows), "with the label")


def causes_table(validation: ExternalValidation) -> Table | None:
    """Return why it drops, a line a cause; the mean's first."""
    table = validation.causes
    if table.empty:
        return None
    rows = []
    for row in _means_first(table[table["cause"] != DROP]):
        low, high = value(row, "low"), value(row, "high")
        part = Cell(words.DASH) if math.isnan(value(row, "part")) else _signed_cell(row, "part", low, high)
        finding = heading_of(row["finding"])
        place = f"{row['trained_on']} on {row['tested_on']}"
        rows.append((Cell(str(row["cause"]).capitalize(), (), row["finding"] == MEAN), Cell(finding, (place,)), part,
                     Cell("", (str(row["evidence"]),))))  # fmt: skip
    notes = (
        "AUROC that the cause takes away there; below 0, that it adds. Parts and rest sum to the drop. A division of a "
        "difference, and no experiment.",
    )
    return Table("Why it drops", ("Cause", "Finding", "Part", "What is known"), tuple(rows), notes)


def _signed_cell(row: Mapping[str, Any], name: str, low: float, high: float) -> Cell:
    ends = () if math.isnan(low) else (f"{signed(low, 3)} to {signed(high, 3)}",)
    return Cell(signed(value(row, name), 3), ends, low > 0 or high < 0)


def label_shift_table(validation: ExternalValidation) -> Table | None:
    """Return each finding's prevalence there as the scores alone tell it, beside the observed one."""
    table = validation.label_shift
    if table.empty:
        return None
    rows = []
    for row in records(table):
        cells = [Cell(heading_of(row["finding"])), Cell(f"{row['trained_on']} on {row['tested_on']}")]
        cells.append(Cell(share_text(value(row, "home_prevalence"))))
        for name, ends in (("estimated", ("low", "high")), ("observed", ("observed_low", "observed_high"))):
            low, high = (value(row, end) for end in ends)
            lines = () if math.isnan(low + high) else (f"({share_text(low)} to {share_text(high)})",)
            cells.append(Cell(share_text(value(row, name)), lines))
        rows.append((*cells, Cell(str(row["believable"]), (str(row["why"]),), str(row["believable"]) == "no")))
    heads = ("Finding", "Network and place", "At home", "Estimated there", "Observed there", "May it be believed")
    note = (
        "The share of films with the finding, estimated there without a label: right only where films with it, and "
        "films without it, look alike at both places."
    )
    return Table("Prevalence there, from the scores alone", heads, tuple(rows), (note,))


def metadata_table(validation: ExternalValidation) -> Table | None:
    """Return how well who the patient is, and how the film was taken, tell each finding without the picture."""
    table = validation.metadata_only
    if table.empty:
        return None
    attributes = list(dict.fromkeys(table["attribute"]))
    rows, notes = [], []
    for (place, finding), part in table.groupby(["tested_on", "finding"], sort=False):
        by_name = {str(row["attribute"]): row for row in records(part)}
        cells = [Cell(heading_of(finding), (), False), Cell(str(place))]
        cells += [_auroc_cell(by_name.get(name, {})) for name in attributes]
        rows.append(tuple(cells))
        note = next((str(row["note"]) for row in by_name.values() if row.get("note")), "")
        notes += [f"{heading_of(finding)}, {place}: {note}."] if note else []
    heads = ("Finding", "Place", *(str(name).capitalize() for name in attributes))
    about = "AUROC of the attribute alone, by logistic regression on other patients. What it reaches needs no picture."
    return Table("What knows the answer without the picture", heads, tuple(rows), (about, *notes))


def within_view_table(validation: ExternalValidation) -> Table | None:
    """Return each network's AUROC pooled, within each view, and over pairs of the same view."""
    table = validation.within_view
    if table.empty:
        return None
    groups = list(dict.fromkeys(table["group"]))
    rows = []
    for (network, place, finding), part in table.groupby(["trained_on", "tested_on", "finding"], sort=False):
        by_group = {str(row["group"]): row for row in records(part)}
        cells = [_auroc_cell(by_group.get(name, {}), counts=True) for name in groups]
        rows.append((Cell(heading_of(finding)), Cell(f"{network} on {place}"), *cells))
    heads = ("Finding", "Network and place", *(_group_name(name) for name in groups))
    note = "Within: over pairs of films of the same view, so that the view cannot help."
    return Table("AUROC within a view, beside the pooled one", heads, tuple(rows), (note,))


def _group_name(name: str) -> str:
    return {"pooled": "Pooled", "within": "Within views"}.get(name, name)


def _auroc_cell(row: Mapping[str, Any], counts: bool = False) -> Cell:
    low, high = value(row, "auroc_low"), value(row, "auroc_high")
    lines: tuple[str, ...] = () if math.isnan(low + high) else (f"({between(low, high)})",)
    if counts and value(row, "images") > 0:
        lines += (f"{whole(value(row, 'positives'))} of {counted(value(row, 'images'), 'film')}",)
    return Cell(number(value(row, "auroc")), lines)


def calibration_there_table(validation: ExternalValidation) -> Table | None:
    """Return ECE, slope and intercept of each network at each place."""
    table = validation.calibration
    if table.empty:
        return None
    rows = []
    for row in records(table):
        state = "calibrated" if bool(row["calibrated"]) else "not calibrated"
        cells = [Cell(heading_of(row["finding"])), Cell(f"{row['trained_on']} on {row['tested_on']}", (state,))]
        cells += [Cell(share_text(value(row, "mean_score"))), Cell(share_text(value(row, "prevalence")))]
        for name, right in (("slope", 1.0), ("intercept", 0.0)):
            low, high = value(row, f"{name}_low"), value(row, f"{name}_high")
            ends = () if math.isnan(low + high) else (between(low, high, 2),)
            cells.append(Cell(number(value(row, name), 2), ends, low > right or high < right))
        rows.append((*cells, Cell(number(value(row, "ece_mass")))))
    heads = ("Finding", "Network and place", "Mean probability", "Prevalence", "Slope", "Intercept", "ECE")
    note = "Slope 1 and intercept 0 are right; bold where the interval excludes it. An intercept below 0: too high."
    return Table("Calibration there", heads, tuple(rows), (note,))


def points_there_table(validation: ExternalValidation) -> Table | None:
    """Return whether thresholds hold at each place."""
    table = validation.operating_points
    if table.empty:
        return None
    rows = []
    for row in records(table):
        cells = [
            Cell(heading_of(row["finding"]), (str(row["rule"]),)),
            Cell(f"{row['trained_on']} on {row['tested_on']}"),
        ]
        for name in ("sensitivity", "specificity"):
            ends = between(value(row, f"observed_{name}_low"), value(row, f"observed_{name}_high"))
            promised = number(value(row, f"expected_{name}"))
            cells.append(Cell(number(value(row, f"observed_{name}")), (ends, f"promised {promised}")))
        why = str(row.get("why") or "")
        rows.append((*cells, Cell(str(row["holds"]), (why,) if why else (), str(row["holds"]) == "no")))
    heads = ("Finding and rule", "Network and place", "Sensitivity", "Specificity", "Holds")
    note = "Thresholds as they were chosen, applied here. The rows are not corrected for their number."
    return Table("Thresholds there", heads, tuple(rows), (note,))


def offers_table(validation: ExternalValidation) -> Table | None:
    """Return what a recalibration could do, the offers side by side."""
    table = validation.offers
    if table.empty:
        return None
    offers = list(dict.fromkeys(table["offer"]))
    rows = []
    for (network, place, finding), part in table.groupby(["trained_on", "tested_on", "finding"], sort=False):
        by_offer = {str(row["offer"]): row for row in records(part)}
        cells = [_offer_cell(by_offer[offer]) for offer in offers]
        rows.append((Cell(heading_of(finding)), Cell(f"{network} on {place}"), *cells))
    heads = ("Finding", "Network and place", "As it is", *(str(offer).capitalize() for offer in offers[1:]))
    notes = (
        "Log loss of films whose patients the offer was not fitted on, and what it saves with its interval; smaller is "
        "better. Bold: advised by the closed test of 'cxr-monai calibrate --recalibrate auto' with all films here. A "
        "shift of the prevalence needs to know how many have the finding here; the others need labelled films.",
    )
    return Table("What a recalibration could do", heads, tuple(rows), notes)


def _offer_cell(row: Mapping[str, Any]) -> Cell:
    if row.get("why"):
        return Cell(words.DASH, (str(row["why"]),))
    low, high = value(row, "gain_low"), value(row, "gain_high")
    saved = f"saves {signed(value(row, 'gain'), 4)} ({signed(low, 4)} to {signed(high, 4)})"
    lines = () if row["offer"] == "none" or math.isnan(low) else (saved,)
    return Cell(number(value(row, "log_loss"), 4), lines, bool(row["advised"]))


def shortcut_tables(validation: ExternalValidation) -> list[Table]:
    """Return which findings are flagged, what each change does, and what the features tell of who and where."""
    parts = (
        _flags_table(validation.shortcut_verdicts),
        _changes_table(validation.shortcuts),
        frame_table("What the features tell of who and where", validation.probes, _PROBES),
    )
    return [table for table in parts if table is not None]


def _flags_table(verdicts: pd.DataFrame) -> Table | None:
    if verdicts.empty:
        return None
    rows = []
    for row in records(verdicts):
        flagged = row["flagged"]
        answer = "too few to say" if pd.isna(flagged) else "yes" if flagged else "no"
        place = f"{row['trained_on']} on {row['tested_on']}"
        seen = Cell("", (str(row["sentence"]),))
        rows.append((Cell(heading_of(row["finding"])), Cell(place), Cell(answer, (), answer == "yes"), seen))
    note = "A flag is a reason to look, and no proof: blanked lungs leave an outline that some diseases change."
    heads = ("Finding", "Network and place", "Flagged", "What was seen")
    return Table("Is it told without what it is told by?", heads, tuple(rows), (note,))


def _changes_table(effects: pd.DataFrame) -> Table | None:
    if effects.empty:
        return None
    rows = []
    for row in records(effects):
        low, high = value(row, "auroc_changed_low"), value(row, "auroc_changed_high")
        ends = () if math.isnan(low + high) else (f"({between(low, high)})",)
        change = _signed_cell(row, "difference", value(row, "difference_low"), value(row, "difference_high"))
        undefined = math.isnan(value(row, "difference"))
        cells = (
            Cell(heading_of(row["finding"]), (str(row["change"]),)),
            Cell(f"{row['trained_on']} on {row['tested_on']}"),
            Cell(number(value(row, "auroc"))),
            Cell(number(value(row, "auroc_changed")), ends),
            Cell(words.DASH) if undefined else change,
            Cell(number(value(row, "baseline_auroc_changed")), (f"of {number(value(row, 'baseline_auroc'))}",)),
        )
        rows.append(cells)
    note = "Phantoms: the same on drawn films whose only cue is the lesion; what is kept there, the change leaves."
    heads = ("Finding and change", "Network and place", "As they are", "Changed", "Change", "Phantoms")
    return Table("What each change does to the AUROC", heads, tuple(rows), (note,))


_PROBES = {
    "trained_on": "Network", "attribute": "Attribute", "groups": "Groups", "images": "Films", "auroc": "AUROC",
    "auroc_low": "from", "auroc_high": "to", "accuracy": "Accuracy", "majority": "Of guessing", "note": "Remark",
}  # fmt: skip


def frame_table(caption: str, table: pd.DataFrame, heads: Mapping[str, str], notes: Sequence[str] = ()) -> Table | None:
    """Return some columns of a table as they are; None where it has no row.

    Args:
        caption: of the table.
        table: the rows.
        heads: column -> its head; columns that the table lacks are left out.
        notes: sentences below it.
    """
    columns = [name for name in heads if name in table]
    if table.empty or not columns:
        return None
    rows = [tuple(Cell(_text(row[name])) for name in columns) for row in records(table)]
    return Table(caption, tuple(heads[name] for name in columns), tuple(rows), tuple(notes))


def _text(entry: Any) -> str:
    if isinstance(entry, bool | np.bool_):
        return "yes" if entry else "no"
    if isinstance(entry, int | np.integer):
        return whole(float(entry))
    if isinstance(entry, float):
        return number(entry)
    return str(entry) or words.DASH


def _means_first(table: pd.DataFrame) -> list[dict[str, Any]]:
    is_mean = table["finding"] == MEAN
    return records(pd.concat([table[is_mean], table[~is_mean]]))
