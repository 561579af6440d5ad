"""Whether probabilities and thresholds hold at another place, and what it would gain by moving them.

    calibration_of_cells(cells)           # ECE, slope and intercept of each network at each place
    operating_points_of_cells(cells, Intervals())   # do thresholds reach there what they reached where they were chosen
    recalibration_offers(sample, {"Mass": 0.05})   # leave it, shift the prevalence, move the intercept, the slope too

The offers are those of ``cxr-monai calibrate --recalibrate``. Each is fitted on four fifths of the place's patients and
judged on the others, so that none looks better for having seen the answers.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cxr_monai.evaluation.bootstrap import Intervals, PatientBootstrap, bootstrap_interval, effective_patients
from cxr_monai.evaluation.calibration import calibration_figures, deal_patients
from cxr_monai.evaluation.logistic import log_loss, logit
from cxr_monai.evaluation.recalibration import (
    UPDATES,
    check_operating_points,
    choose_update,
    recalibrate,
    shift_prevalence,
)
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.transfer import HOME, TransferCell

PREVALENCE_SHIFT = "prevalence shift"
OFFERS = ("none", PREVALENCE_SHIFT, "intercept", "slope")
"""From the least that a place has to give (nothing; how many films have the finding) to the most (labelled films)."""
_PARTS = 5


def calibration_of_cells(cells: Sequence[TransferCell], level: float = 0.95) -> pd.DataFrame:
    """Return the calibration of each network at each place, one row a finding.

    Args:
        cells: those without a sample have no row; nor have findings whose scores are no probabilities.
        level: of the intervals over patients.

    Returns:
        ``trained_on, tested_on, relation, finding, calibrated`` and the figures of
        `cxr_monai.evaluation.reliability.calibration_figures`; NaN where undefined.
    """
    rows = [
        {**_place(cell), "finding": name, "calibrated": cell.calibrated}
        | calibration_figures(*sample.column(name), patients=sample.patients, level=level)
        for cell in cells
        if cell.sample is not None and (sample := cell.sample.probabilities())
        for name in sample.findings
    ]
    return pd.DataFrame(rows)


def operating_points_of_cells(cells: Sequence[TransferCell], intervals: Intervals) -> pd.DataFrame:
    """Return whether each network's thresholds hold at each place; empty where none has thresholds.

    Args:
        cells: those without a sample, or of networks without a calibration, have no rows.
        intervals: replicates, level and seed.

    Returns:
        ``trained_on, tested_on, relation`` and the columns of
        `cxr_monai.evaluation.recalibration.check_operating_points`.
    """
    tables = []
    for cell in cells:
        sample, fitted = cell.sample, cell.fitted
        if sample is None or fitted is None:
            continue
        points = {name: fitted.points[name] for name in sample.findings if fitted.points.get(name)}
        if points:
            bootstrap = PatientBootstrap(sample.patients, intervals.replicates, intervals.seed)
            table = check_operating_points(sample, points, fitted.expected, bootstrap, intervals.level)
            tables.append(pd.DataFrame([_place(cell)] * len(table), index=table.index).join(table))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def offers_of_cells(cells: Sequence[TransferCell], intervals: Intervals) -> pd.DataFrame:
    """Return the offers for each network at each place that is not its home; see `recalibration_offers`.

    Args:
        cells: those without a sample have no rows.
        intervals: replicates, level and seed.
    """
    tables = []
    for cell in cells:
        if cell.sample is not None and cell.relation != HOME:
            prevalence = cell.fitted.prevalence if cell.fitted is not None and cell.calibrated else {}
            table = recalibration_offers(cell.sample.probabilities(), prevalence, intervals)
            tables.append(pd.DataFrame([_place(cell)] * len(table), index=table.index).join(table))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def recalibration_offers(
    sample: Sample, prevalence: Mapping[str, float], intervals: Intervals | None = None
) -> pd.DataFrame:
    """Judge what a place can do about probabilities that do not fit it, side by side.

    Each offer is fitted on four fifths of the patients and applied to the others, five times over. The interval of its
    gain draws the patients that it was applied to; it takes the five fits as they are.

    Args:
        sample: of the place, with the network's calibrated probabilities.
        prevalence: of each finding where the network was calibrated; without it there is no prevalence shift.
        intervals: replicates, level and seed.

    Returns:
        one row a finding and offer of `OFFERS`: ``finding, offer, images, positives``; ``log_loss, brier, ece_mass,
        slope, intercept, mean_score, prevalence`` of the probabilities that it gives; ``gain``: the log loss that it
        saves for each image, with ``gain_low, gain_high`` over patients; ``advised``: whether `choose_update` would
        take it with all of these films; ``why`` it cannot be made. NaN where undefined.
    """
    intervals = intervals or Intervals()
    bootstrap = PatientBootstrap(sample.patients, intervals.replicates, intervals.seed)
    rows = []
    for name in sample.findings:
        scores, labels = sample.column(name)
        is_known = ~np.isnan(labels)
        advised, _ = choose_update(scores, labels, sample.patients)
        losses = {}
        for offer in OFFERS:
            offered, why = _offered(scores, labels, sample.patients, offer, prevalence.get(name), intervals.seed)
            losses[offer] = np.full(len(labels), np.nan)
            judged = is_known & ~np.isnan(offered)
            losses[offer][judged] = log_loss(logit(offered[judged]), labels[judged])
            row = {
                "finding": name,
                "offer": offer,
                "images": int(is_known.sum()),
                "positives": int((labels == 1).sum()),
            }
            figures = calibration_figures(offered[judged], labels[judged])
            row |= {figure: math.nan if why else figures[figure] for figure in _FIGURES}
            row |= dict(zip(_GAIN, _gain(losses["none"], losses[offer], bootstrap, intervals.level), strict=True))
            rows.append(row | {"advised": offer == advised and not why, "why": why})
    return pd.DataFrame(rows)


_FIGURES = ("log_loss", "brier", "ece_mass", "slope", "intercept", "mean_score", "prevalence")
_GAIN = ("gain", "gain_low", "gain_high")


def _offered(
    scores: np.ndarray, labels: np.ndarray, patients: np.ndarray, offer: str, prevalence: float | None, seed: int
) -> tuple[np.ndarray, str]:
    """Return the probabilities of an offer ``[N]``, fitted on other patients, and why it can't be made (all NaN)."""
    if offer == "none":
        return scores, ""
    nothing = np.full(len(scores), np.nan)
    if offer == PREVALENCE_SHIFT and (prevalence is None or not 0 < prevalence < 1):
        return nothing, "how frequent it was where the network was calibrated is not recorded"
    fold = deal_patients(patients, labels == 1, _PARTS, seed)
    offered = nothing.copy()
    for part in range(_PARTS):
        inside = fold == part
        if not inside.any():
            continue
        others = labels[~inside]
        if offer in UPDATES:
            step = recalibrate(scores[~inside], others, offer, patients[~inside])
            if step.reason:
                return nothing, step.reason
            offered[inside] = step.apply(scores[inside])
            continue
        share = float(np.nanmean(others)) if (~np.isnan(others)).any() else math.nan
        if not 0 < share < 1:
            return nothing, "none or all of the films here have it"
        offered[inside] = shift_prevalence(scores[inside], float(prevalence or 0), share)
    return offered, ""


def _gain(
    before: np.ndarray, after: np.ndarray, bootstrap: PatientBootstrap, level: float
) -> tuple[float, float, float]:
    """Return the mean of what each image's loss falls by, and its interval over patients."""
    saved = before - after
    is_known = ~np.isnan(saved)
    if not is_known.any():
        return math.nan, math.nan, math.nan
    sums = bootstrap.sums(np.column_stack([saved, is_known]))
    with np.errstate(invalid="ignore"):
        draws = sums[:, 0] / sums[:, 1]
    gain = float(saved[is_known].mean())
    low, high = bootstrap_interval(draws, level, gain, effective=effective_patients(bootstrap.patients, is_known))
    return gain, float(low), float(high)


def _place(cell: TransferCell) -> dict[str, str]:
    return {"trained_on": cell.trained_on, "tested_on": cell.tested_on, "relation": cell.relation}
