"""Trained here, tested there: the matrix of AUROCs, and what is lost between the home of a network and another place.

    cells = [TransferCell("A", "M", HOME, sample), TransferCell("A", "N", EXTERNAL, other), ...]
    transfer = transfer_tables(cells)
    transfer.matrix      # one row a network, place and finding, and 'mean': AUROC, its interval, or why none
    transfer.drops       # home minus there, with the interval of a difference of independent draws

A cell is one network on the films of one manifest. The mean of a cell is over what both know: the findings that the
network predicts and the manifest labels, with at least `FEWEST_IN_MEAN` patients who have it and as many who have not:
a finding of two patients would make the mean jump, and its interval would not show by how much. Means of different
findings must not be subtracted, so a drop's mean is over those that are in the mean at home and there.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from cxr_monai.evaluation.assessment import joint_effective, mean_of_findings
from cxr_monai.evaluation.auroc import auroc, check_level
from cxr_monai.evaluation.bootstrap import Intervals, bootstrap_interval
from cxr_monai.evaluation.comparison import patients_with
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.evaluation.gate_table import JudgedFilms
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.two_sites import draws_of
from cxr_monai.plurals import counted
from cxr_monai.progress import progress_bar

HOME, EXTERNAL, OTHER_PATIENTS, INTERNAL, UNVERIFIED = "home", "external", "other patients", "internal", "unverified"
"""How a manifest's films stand to those that a network learned from, see `TransferCell`."""
LOWER, HIGHER, NO_EVIDENCE, NO_VALUE = "lower there", "higher there", "no evidence", "no value"
"""What the interval of a drop supports."""
FEWEST_IN_MEAN = 10
"""Patients with a finding, and patients without it, for it to enter a mean. Intervals of fewer were not simulated."""


@dataclass(frozen=True, eq=False)
class TransferCell:
    """One network on the films of one manifest.

    Attributes:
        trained_on: the network's name.
        tested_on: the manifest's name.
        relation: ``home``: the source that the network learned from, other patients; ``external``: another source, and
            none of its films are known to be among the network's; ``other patients``: the same collection of films,
            shown to hold none of the network's patients; ``internal``: the same collection, and its patients may be the
            network's; ``unverified``: it isn't recorded whose films one of the two has.
        sample: probabilities next to labels; None where there is none.
        why: why there is none, as the end of a sentence.
        predicts: the findings that the network predicts.
        labelled: the findings that the manifest labels.
        fitted: the network's calibration and operating points; None where it has none.
        calibrated: whether the sample's probabilities are calibrated.
        judged: the films that the network's gate judged, refused ones too; None where it judged none.
    """

    trained_on: str
    tested_on: str
    relation: str
    sample: Sample | None = None
    why: str = ""
    predicts: tuple[str, ...] = ()
    labelled: tuple[str, ...] = ()
    fitted: Fitted | None = None
    calibrated: bool = False
    judged: JudgedFilms | None = None

    def why_missing(self, finding: str) -> str:
        """Return why a finding has no AUROC here, as the end of a sentence; empty where it has one."""
        if self.sample is None:
            return self.why
        if finding not in self.sample.findings:
            if self.labelled and finding not in self.labelled:
                return "its label is not known here"
            return "the network does not predict it"
        labels = self.sample.column(finding)[1]
        images, positives = int((~np.isnan(labels)).sum()), int((labels == 1).sum())
        if not images:
            return "its label is unknown for every image"
        if not positives:
            return f"none of the {counted(images, 'image')} with a known label has it"
        return f"all {counted(images, 'image')} with a known label have it" if positives == images else ""


@dataclass(frozen=True, eq=False)
class Transfer:
    """What came out; see `transfer_tables` for the columns."""

    matrix: pd.DataFrame
    drops: pd.DataFrame
    level: float

    def wide(self, finding: str = MEAN) -> pd.DataFrame:
        """Return one finding's AUROCs, networks in rows and manifests in columns; NaN where there is none."""
        rows = self.matrix[self.matrix["finding"] == finding]
        table = rows.pivot_table("auroc", "trained_on", "tested_on", aggfunc="first", dropna=False)
        return table.loc[list(dict.fromkeys(rows["trained_on"])), list(dict.fromkeys(rows["tested_on"]))]


@dataclass(frozen=True, eq=False)
class AurocDraws:
    """The AUROCs of one sample with their replicates over patients.

    Attributes:
        findings: F names.
        values: float ``[F]``; NaN without a positive or a negative.
        draws: float ``[R, F]``.
        effective: float ``[F]``, how many equal patients each rests on.
        fewest: int ``[F]``, patients with the finding, or those without it, whichever are fewer.
    """

    findings: tuple[str, ...]
    values: np.ndarray
    draws: np.ndarray
    effective: np.ndarray
    fewest: np.ndarray

    @classmethod
    def of(cls, sample: Sample, intervals: Intervals) -> "AurocDraws":
        """Draw a sample's patients (`two_sites.draws_of`), in whatever order cells come."""
        ranking = draws_of(sample, intervals).rankings(sample.scores, sample.labels)
        values = np.array([auroc(*sample.column(name)) for name in sample.findings])
        return cls(sample.findings, values, ranking.auroc, ranking.auroc_effective, _fewest_patients(sample))

    @cached_property
    def defined(self) -> tuple[str, ...]:
        """The findings that have a value."""
        return tuple(name for name, value in zip(self.findings, self.values, strict=True) if not math.isnan(value))

    @cached_property
    def in_mean(self) -> tuple[str, ...]:
        """The findings that a mean is over."""
        enough = zip(self.findings, self.fewest >= FEWEST_IN_MEAN, strict=True)
        return tuple(name for name, is_enough in enough if is_enough)

    def of_findings(self, findings: Sequence[str]) -> tuple[float, np.ndarray, float]:
        """Return the mean over some findings, its replicates ``[R]`` and how many patients it rests on.

        Args:
            findings: one or more that this sample has.
        """
        columns = [self.findings.index(name) for name in findings]
        if len(columns) == 1:
            column = columns[0]
            return float(self.values[column]), self.draws[:, column], float(self.effective[column])
        parts = self.values[columns], self.draws[:, columns], self.effective[columns]
        return mean_of_findings(*parts, np.ones(len(columns)))


def transfer_tables(cells: Sequence[TransferCell], intervals: Intervals | None = None) -> Transfer:
    """Compute the matrix trained on x tested on, and the drops from each network's home.

    Args:
        cells: one for each network and manifest; at most one home for each network.
        intervals: replicates, level and seed of the bootstrap over patients.

    Returns:
        ``matrix``: ``trained_on, tested_on, relation, finding`` (every finding of any cell, then ``mean``), ``images,
        positives, positive_patients, patients``, ``findings`` (how many the figure is over), ``auroc, low, high`` and
        ``why`` a cell is empty. ``drops``: see `drop_rows`; empty where no network has a home among the manifests.

    Raises:
        EvaluationError: ``evaluation-invalid`` for a level outside (0, 1).
    """
    intervals = intervals or Intervals()
    check_level(intervals.level)
    findings = list(dict.fromkeys(name for cell in cells if cell.sample for name in cell.sample.findings))
    draws: dict[tuple[str, str], AurocDraws] = {}
    for cell in progress_bar(cells, total=len(cells), desc="drawing patients", unit="cells"):
        if cell.sample is not None and len(cell.sample):
            draws[cell.trained_on, cell.tested_on] = AurocDraws.of(cell.sample, intervals)
    matrix = [row for cell in cells for row in _matrix_rows(cell, findings, draws, intervals.level)]
    homes = {cell.trained_on: cell for cell in cells if cell.relation == HOME}
    drops = []
    for cell in cells:
        home = homes.get(cell.trained_on)
        if home is None or cell is home:
            continue
        pair = [draws.get((each.trained_on, each.tested_on)) for each in (home, cell)]
        if pair[0] is None or pair[1] is None:
            continue
        place = {"trained_on": cell.trained_on, "home": home.tested_on, "tested_on": cell.tested_on}
        rows = drop_rows(pair[0], pair[1], intervals.level)
        drops += [{**place, "relation": cell.relation, **row} for row in rows]
    return Transfer(
        pd.DataFrame(matrix, columns=MATRIX_COLUMNS), pd.DataFrame(drops, columns=DROP_COLUMNS), intervals.level
    )


MATRIX_COLUMNS = [
    *("trained_on", "tested_on", "relation", "finding", "images", "positives", "positive_patients", "patients"),
    *("findings", "auroc", "low", "high", "why"),
]
DROP_COLUMNS = [
    *("trained_on", "home", "tested_on", "relation", "finding", "findings"),
    *("home_auroc", "there_auroc", "drop", "low", "high", "evidence"),
]


def _matrix_rows(
    cell: TransferCell, findings: Sequence[str], draws: dict[tuple[str, str], AurocDraws], level: float
) -> Iterable[dict]:
    """Yield the rows of one cell, the mean last."""
    place = {"trained_on": cell.trained_on, "tested_on": cell.tested_on, "relation": cell.relation}
    drawn = draws.get((cell.trained_on, cell.tested_on))
    for name in findings:
        row = {**place, "finding": name, **_counts(cell.sample, [name]), "why": cell.why_missing(name)}
        yield row | (_figure(drawn, [name], level) if drawn and name in drawn.defined else _NOTHING)
    mean = {**place, "finding": MEAN, **_counts(cell.sample, findings), "why": ""}
    if drawn and drawn.in_mean:
        yield mean | _figure(drawn, drawn.in_mean, level)
    else:
        few = f"no finding has {FEWEST_IN_MEAN} patients with it and {FEWEST_IN_MEAN} without"
        yield mean | _NOTHING | {"why": cell.why or few}


_NOTHING = {"findings": 0, "auroc": math.nan, "low": math.nan, "high": math.nan}


def _counts(sample: Sample | None, findings: Sequence[str]) -> dict[str, int]:
    """Return how many images have a known label of any of some findings, are positive for one, and of whom."""
    if sample is None:
        return dict.fromkeys(("images", "positives", "positive_patients", "patients"), 0)
    columns = [sample.findings.index(name) for name in findings if name in sample.findings]
    is_known = (~np.isnan(sample.labels[:, columns])).any(axis=1, keepdims=True)
    positive = (sample.labels[:, columns] == 1).any(axis=1, keepdims=True)
    return {
        "images": int(is_known.sum()),
        "positives": int(positive.sum()),
        "positive_patients": int(patients_with(positive, sample.patients)[0]),
        "patients": int(patients_with(is_known, sample.patients)[0]),
    }


def _fewest_patients(sample: Sample) -> np.ndarray:
    return np.minimum(*(patients_with(sample.labels == label, sample.patients) for label in (0, 1)))


def findings_in_mean(*samples: Sample) -> tuple[str, ...]:
    """Return the findings that have `FEWEST_IN_MEAN` patients with them and without them in each of some samples.

    Args:
        samples: one or more; the findings are in the first's order.
    """
    enough = [
        {name for name, count in zip(sample.findings, _fewest_patients(sample), strict=True) if count >= FEWEST_IN_MEAN}
        for sample in samples
    ]
    return tuple(name for name in samples[0].findings if all(name in names for names in enough))


def _figure(drawn: AurocDraws, findings: Sequence[str], level: float) -> dict[str, float]:
    value, replicates, effective = drawn.of_findings(findings)
    low, high = bootstrap_interval(replicates, level, value, effective=effective)
    return {"findings": len(findings), "auroc": value, "low": float(low), "high": float(high)}


def drop_rows(home: AurocDraws, there: AurocDraws, level: float = 0.95) -> list[dict]:
    """Return home minus there, one row a finding that both have, and ``mean`` over those in the mean at both places.

    The interval is that of a difference of independent draws: percentiles of the differences of replicates, widened as
    the interval of either is for few patients (`bootstrap_interval`), with Welch and Satterthwaite's number of them
    (doi 10.2307/3002019). ``scripts/simulate_drops.py`` counts how often it holds the true drop.

    Args:
        home, there: drawn independently.
        level: of the intervals.

    Returns:
        ``finding, findings`` (how many the row is over), ``home_auroc, there_auroc, drop, low, high, evidence``:
        ``lower there`` where the whole interval is above 0, ``higher there`` where it is below, ``no evidence`` where
        it holds 0 (it may have dropped as far as ``high`` all the same), ``no value`` where there is no interval.
    """
    both = [name for name in home.in_mean if name in there.in_mean]
    rows = [_drop_row(name, [name], home, there, level) for name in home.findings if name in there.findings]
    return [*rows, _drop_row(MEAN, both, home, there, level)] if rows else []


def _drop_row(label: str, findings: Sequence[str], home: AurocDraws, there: AurocDraws, level: float) -> dict:
    row: dict = {"finding": label, "findings": len(findings)}
    if not findings:
        empty = ("home_auroc", "there_auroc", "drop", "low", "high")
        return row | dict.fromkeys(empty, math.nan) | {"evidence": NO_VALUE}
    first, first_draws, first_effective = home.of_findings(findings)
    second, second_draws, second_effective = there.of_findings(findings)
    variances = np.array([np.nanvar(each) if not np.isnan(each).all() else 0.0 for each in (first_draws, second_draws)])
    effective = joint_effective(variances, np.nan_to_num(np.array([first_effective, second_effective])))
    drop = first - second
    ends = bootstrap_interval(first_draws - second_draws, level, drop, effective=effective)
    low, high = (float(np.clip(end, -1, 1)) for end in ends)
    figures = {"home_auroc": first, "there_auroc": second, "drop": drop, "low": low, "high": high}
    return row | figures | {"evidence": evidence_of(low, high)}


def evidence_of(low: float, high: float) -> str:
    """Return what an interval of a drop supports.

    >>> evidence_of(0.01, 0.05), evidence_of(-0.01, 0.05), evidence_of(-0.05, -0.01), evidence_of(math.nan, math.nan)
    ('lower there', 'no evidence', 'higher there', 'no value')
    """
    if math.isnan(low) or math.isnan(high):
        return NO_VALUE
    return LOWER if low > 0 else HIGHER if high < 0 else NO_EVIDENCE
