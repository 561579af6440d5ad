"""Localisation of many cases as tables: each finding and their mean, next to controls, with intervals over patients.

    scored = Scored(findings, channels, patients, ("cam", "random", "centre"), values)  # values [N, M maps, Q scores]
    tables = localisation_tables(scored, replicates=1000)
    tables.scores               # one row a finding and map: pointing, energy, iou, iobb, iou_above_0.1, ...
    tables.gains                # one row a finding, control and score: the map's minus the control's, paired

Shares of cases (the pointing game, accuracies) have Wilson's interval at as many independent cases as the bootstrap of
whole patients shows them to be worth (``evaluation.proportions``); a gain in a share is put together from the two
intervals (`paired_difference`). Where all cases of a sample agree the bootstrap alone shows no variation, and its
interval would have no width. Means (energy, IoU, IoBB) and gains in them have the bootstrap's percentiles. In a small
simulation (8 to 40 patients a finding, shares 0.1 to 0.95) 95 % intervals held the truth in 92 to 99 % of the samples.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxr_monai.attribution.localisation import Scores
from cxr_monai.evaluation.auroc import check_level
from cxr_monai.evaluation.bootstrap import PatientBootstrap, effective_patients, interval
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.proportions import by_patient, effective_trials, wilson

LEVELS = tuple(step / 10 for step in range(1, 10))
"""IoU and IoBB above which a case counts as found."""
MEANS = ("energy", "iou", "iobb")
SHARES_OF_CASES = ("pointing", *(f"{kind}_above_{level}" for kind in ("iou", "iobb") for level in LEVELS))
SCORES = ("pointing", *MEANS, *SHARES_OF_CASES[1:])
"""The Q scores, in the order of `values_of` and of the tables."""
FEWEST = 6
"""Patients below which a finding's means and gains have no interval, and which it needs to be part of the mean: even if
all five of five patients agree, a sign test gives p = 0.06."""
_ROUNDING = 1e-9  # 0.3 is not above 0.3, however it was computed


@dataclass(frozen=True, eq=False)
class Scored:
    """Cases with what each map is worth in them.

    Attributes:
        findings: the F names, each with at least one case.
        channels: int ``[N]``, each case's finding by its number.
        patients: int ``[N]``, codes 0 to P - 1.
        maps: names of the M maps; the first is the one to be judged, the others are its controls.
        values: float64 ``[N, M, Q]``, see `SCORES`.
    """

    findings: tuple[str, ...]
    channels: np.ndarray
    patients: np.ndarray
    maps: tuple[str, ...]
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Tables:
    """What `localisation_tables` makes.

    Attributes:
        scores: one row a finding and map, then one a map with the finding ``mean``: ``finding, map, cases, patients``
            and of each score its value, ``_low`` and ``_high`` (NaN: too few patients).
        gains: ``finding, over, score, gain, low, high``; a gain is the map's score minus that of the control ``over``.
        in_mean: the findings that the mean is over.
    """

    scores: pd.DataFrame
    gains: pd.DataFrame
    in_mean: tuple[str, ...]


def values_of(scores: Scores, at: int = 0) -> np.ndarray:
    """Return the Q scores of one map in one case, float64 ``[Q]``, at the threshold number ``at``."""
    iou, iobb = scores.iou[at], scores.iobb[at]
    above = [float(value > level + _ROUNDING) for value in (iou, iobb) for level in LEVELS]
    return np.array([scores.pointing, scores.energy, iou, iobb, *above])


def localisation_tables(scored: Scored, replicates: int = 1000, level: float = 0.95, seed: int = 0) -> Tables:
    """Return figures of each finding, and their mean over the findings that have enough patients.

    Args:
        scored: at least one case.
        replicates, seed: of the bootstrap over patients.
        level: of the intervals, in (0, 1).

    Raises:
        EvaluationError: ``evaluation-invalid``.
    """
    check_level(level)
    of = (scored.channels[:, None] == np.arange(len(scored.findings))).astype(float)  # [N, F]
    patients = np.array([np.unique(scored.patients[column > 0]).size for column in of.T])
    enough = patients >= FEWEST
    # what each case adds to each finding's figure, and to the mean's, where all findings weigh the same
    weights = of / of.sum(axis=0)
    weights = np.column_stack([weights, weights[:, enough].sum(axis=1)])  # [N, F + 1]
    bootstrap = PatientBootstrap(scored.patients, replicates, seed)
    value, draws = _figures(of, scored.values, bootstrap, enough)
    ends = _ends(value, draws, weights, scored.patients, level)
    few = np.append(~enough, not enough.any())
    is_mean = np.isin(SCORES, MEANS)
    for end in ends:
        end[few[:, None, None] & is_mean & np.ones(end.shape, dtype=bool)] = np.nan

    gain, gain_draws = value[:, :1] - value[:, 1:], draws[:, :, :1] - draws[:, :, 1:]
    gain_ends = _percentiles(gain, gain_draws, weights, scored.patients, level)
    related = _correlation(draws[:, :, :1], draws[:, :, 1:])
    own, control = ((value[:, at], ends[0][:, at], ends[1][:, at]) for at in (slice(0, 1), slice(1, None)))
    for end, share in zip(gain_ends, paired_difference(own, control, related), strict=True):
        end[..., ~is_mean] = share[..., ~is_mean]
        end[few] = np.nan

    member = of[:, enough].any(axis=1)
    cases = [*of.sum(axis=0), member.sum()]
    people = [*patients, np.unique(scored.patients[member]).size]
    rows, gains = [], []
    for f, finding in enumerate([*scored.findings, MEAN]):
        for m, name in enumerate(scored.maps):
            row = {"finding": finding, "map": name, "cases": int(cases[f]), "patients": int(people[f])}
            for q, figure in enumerate(SCORES):
                row |= {figure: value[f, m, q], f"{figure}_low": ends[0][f, m, q], f"{figure}_high": ends[1][f, m, q]}
            rows.append(row)
        for c, name in enumerate(scored.maps[1:]):
            for q, figure in enumerate(SCORES):
                low, high = (end[f, c, q] for end in gain_ends)
                gains.append((finding, name, figure, gain[f, c, q], low, high))
    gained = pd.DataFrame(gains, columns=["finding", "over", "score", "gain", "low", "high"])
    return Tables(pd.DataFrame(rows), gained, tuple(np.array(scored.findings)[enough].tolist()))


def _figures(
    of: np.ndarray, values: np.ndarray, bootstrap: PatientBootstrap, enough: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return each finding's figures and their mean's: ``[F + 1, M, Q]``, and in each replicate ``[R, F + 1, M, Q]``.

    A replicate without a case of a rare finding has no value for it; in the mean the finding's own figure stands in.
    """
    each = of[:, :, None, None] * values[:, None]  # [N, F, M, Q]
    counted = bootstrap.sums(of)[:, :, None, None]
    value = each.sum(axis=0) / of.sum(axis=0)[:, None, None]
    sums = bootstrap.sums(each.reshape(len(of), -1)).reshape(-1, *value.shape)
    draws = np.divide(sums, counted, out=np.full(sums.shape, np.nan), where=counted > 0)
    mean, mean_draws = np.full(value.shape[1:], np.nan), np.full(draws[:, 0].shape, np.nan)
    if enough.any():
        mean = value[enough].mean(axis=0)
        mean_draws = np.where(np.isnan(draws), value, draws)[:, enough].mean(axis=1)
    return np.append(value, mean[None], axis=0), np.append(draws, mean_draws[:, None], axis=1)


def _ends(
    value: np.ndarray, draws: np.ndarray, weights: np.ndarray, patients: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return low and high of every figure: Wilson's of shares, percentiles of means."""
    low, high = _percentiles(value, draws, weights, patients, level)
    shares = np.isin(SCORES, SHARES_OF_CASES)
    of = value[..., shares]
    held = np.repeat(by_patient(weights, patients), of[0].size, axis=1)
    images = np.repeat((weights > 0).sum(axis=0), of[0].size)
    worth = effective_trials(of.ravel(), draws[..., shares].reshape(len(draws), -1), held, images)
    for end, share in zip((low, high), wilson(of.ravel() * worth, worth, level), strict=True):
        end[..., shares] = share.reshape(of.shape)
    return low, high


def _percentiles(
    value: np.ndarray, draws: np.ndarray, weights: np.ndarray, patients: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    rests_on = np.array([effective_patients(patients, column) for column in weights.T])[:, None, None]
    return interval(draws, level, value, effective=np.broadcast_to(rests_on, value.shape))


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the correlations of replicates along axis 0, those with a NaN left out; 0 where one does not vary."""
    there = ~np.isnan(first) & ~np.isnan(second)
    count = np.maximum(there.sum(axis=0), 1)
    apart = [np.where(there, part, 0) for part in np.broadcast_arrays(first, second)]
    apart = [np.where(there, part - part.sum(axis=0) / count, 0) for part in apart]
    spread = np.sqrt(np.prod([(part**2).sum(axis=0) for part in apart], axis=0))
    moving = spread > _ROUNDING
    return np.where(moving, (apart[0] * apart[1]).sum(axis=0) / np.where(moving, spread, 1), 0)


def paired_difference(
    first: tuple[np.ndarray, np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray, np.ndarray],
    correlation: np.ndarray | float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of first minus second from their own (square-and-add, MOVER).

    Of two shares of the same cases with Wilson's intervals it is Newcombe's (1998, Statistics in Medicine 17:2635-2650,
    method 10).

    Args:
        first, second: the figure, its low and its high end, broadcast against each other.
        correlation: of the two figures, in [-1, 1].

    Returns:
        low and high; NaN where a part is.
    """

    def reach(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        # rounding alone can bring a sum that is 0 below it
        return np.sqrt(np.clip(ours**2 + theirs**2 - 2 * correlation * ours * theirs, 0, None))

    (a, a_low, a_high), (b, b_low, b_high) = first, second
    return a - b - reach(a - a_low, b_high - b), a - b + reach(a_high - a, b - b_low)
