"""What the report asks of an evaluation: the operating point that it speaks about, the better interval, why a gap.

chosen_rule(evaluation)                 # "youden"
chosen_points(evaluation)["Mass"]       # the row of that rule
limits_of(row, "ppv")                   # (low, high): over patients, else over images, else (NaN, NaN)
"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.plurals import counted, have


def rules_in(evaluation: Evaluation) -> list[str]:
    """Return the rules of the evaluation's operating points, in the table's order."""
    table = evaluation.operating_points
    return [] if table.empty else [str(rule) for rule in table["rule"].unique()]


def chosen_rule(evaluation: Evaluation) -> str | None:
    """Return the rule that sentences and panels speak of: ``book["rule"]`` where that is one, else the table's first.

    None where the evaluation has no operating points.
    """
    available = rules_in(evaluation)
    wanted = str(evaluation.book.get("rule"))
    return wanted if wanted in available else next(iter(available), None)


def chosen_points(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """Return the row of the chosen rule by finding; empty where there are no operating points."""
    table = evaluation.operating_points
    if table.empty:
        return {}
    table = table[(table["rule"].astype("str") == chosen_rule(evaluation)) & (table["finding"] != MEAN)]
    return {str(row["finding"]): row for row in records(table)}


def finding_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the rows of the table of findings without its mean."""
    return records(evaluation.findings[evaluation.findings["finding"] != MEAN])


def mean_row(evaluation: Evaluation) -> dict[str, Any]:
    """Return the mean's row of the table of findings; empty if there is none."""
    return next(iter(records(evaluation.findings[evaluation.findings["finding"] == MEAN])), {})


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows."""
    return [{str(key): entry for key, entry in row.items()} for row in table.to_dict(orient="records")]


def value(row: Mapping[str, Any], name: str) -> float:
    """Return a number of a row; NaN where the column is missing or empty."""
    entry = row.get(name)
    return math.nan if entry is None or entry is pd.NA else float(entry)


def limits_of(row: Mapping[str, Any], figure: str) -> tuple[float, float]:
    """Return the interval over patients, which is the honest one where patients have several images; else the other."""
    for kind in ("_patient", ""):
        low, high = value(row, f"{figure}{kind}_low"), value(row, f"{figure}{kind}_high")
        if not (math.isnan(low) or math.isnan(high)):
            return low, high
    return math.nan, math.nan


def why_empty(row: Mapping[str, Any]) -> str:
    """Return why a finding has no AUROC, as the end of a sentence; empty if it has one."""
    if not math.isnan(value(row, "auroc")):
        return ""
    images, positives = int(row["images"]), int(row["positives"])
    if images == 0:
        return "its label is unknown for every image"
    if positives == 0:
        return f"none of the {counted(images, 'image')} with a known label has it"
    if positives == images:
        return (
            f"all {counted(images, 'image')} with a known label {have(images)} it, so there is none to tell them from"
        )
    return "it could not be computed"


def table_of(evaluation: Evaluation, name: str) -> pd.DataFrame:
    """Return a table of the evaluation; an empty one where it has none."""
    table = getattr(evaluation, name, None)
    return pd.DataFrame() if table is None else table
