"""Tables of how far two folders of maps agree, and of how much of their disagreement is just the seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cxr_monai.attribution.agreement import RANK
from cxr_monai.attribution.case_means import mean_table, share_table
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.metrics_table import MEAN


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far two folders of maps agree.

    Attributes:
        findings: one row a finding and one ``mean``: ``finding, cases, patients, only_first, only_second, empty`` (maps
            of one alone; both 0 everywhere) and of each measure its mean, ``_low`` and ``_high``.
        seeds: one row a measure and finding, and ``all``: disagreement between the models, within the seeds, and what
            share of the first is just the seed; None without seeds.
        cases: one row an image and finding; ``shown`` is its row in the sheet.
        provenance: of the figures: bundles, methods, images, intervals.
        notes: remarks, in full sentences.
    """

    findings: pd.DataFrame
    seeds: pd.DataFrame | None
    cases: pd.DataFrame
    provenance: dict[str, Any]
    notes: tuple[str, ...]


def agreement_table(
    cases: pd.DataFrame, measures: Sequence[str], patients: pd.Series, intervals: Intervals, order: Sequence[str]
) -> pd.DataFrame:
    """Return `Agreement.findings` of the cases that `compare_maps` returned.

    Args:
        cases: one row an image and finding.
        measures: columns.
        patients: of each image, indexed by image.
        intervals: over patients.
        order: of the findings.
    """
    rank = {name: number for number, name in enumerate(order)}
    by_finding = cases.sort_values("finding", key=lambda column: column.map(rank), kind="stable")
    table = mean_table(by_finding, "finding", measures, patients, intervals, mean=True)
    counts = pd.DataFrame(
        {
            "only_first": cases["kept"] == "first",
            "only_second": cases["kept"] == "second",
            "empty": (cases["kept"] == "both") & cases[RANK].isna(),
        }
    )
    counts = counts.groupby(cases["finding"]).sum()
    counts.loc[MEAN] = counts.sum()
    counts = counts.loc[table["finding"]].reset_index(drop=True)
    return pd.concat([table.iloc[:, :3], counts, table.iloc[:, 3:]], axis=1)


def seed_share_table(
    disagreements: pd.DataFrame, measures: Sequence[str], patients: pd.Series, intervals: Intervals
) -> pd.DataFrame:
    """Return `Agreement.seeds`: what share of the disagreement between two models is due to the seed.

    Args:
        disagreements: of `seed_cases`.
        measures: columns, without ``between_`` or ``within_``.
        patients: of each image, indexed by image.
        intervals: over patients.
    """
    tables = []
    for name in measures:
        renamed = disagreements.rename(columns={f"between_{name}": "between", f"within_{name}": "within"})
        table = share_table(renamed, "finding", "within", "between", patients, intervals)
        table.insert(0, "measure", name)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
