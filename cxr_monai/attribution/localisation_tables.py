"""Localisation of many cases as tables: each finding and their mean, next to controls, with intervals over patients.

    scored = ScoredCases(findings, channels, patients, ("cam", "random", "centre"), values)     # values [N, M, Q]
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
from cxr_monai.evaluation.bootstrap import PatientBootstrap, bootstrap_interval, effective_patients
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.proportions import by_patient, effective_trials, wilson

OVERLAP_LEVELS = tuple(step / 10 for step in range(1, 10))
"""IoU and IoBB above which a case counts as found."""
_MEANS = ("energy", "iou", "iobb")
_SHARES = ("pointing", *(f"{kind}_above_{level}" for kind in ("iou", "iobb") for level in OVERLAP_LEVELS))
SCORES = ("pointing", *_MEANS, *_SHARES[1:])
"""The Q scores, in the order of `score_row` and of the tables."""
FEWEST_PATIENTS = 6
"""Patients below which a finding's means and gains have no interval, and which it needs to be part of the mean: even if
all five of five patients agree, a sign test gives p = 0.06."""
_ROUNDING = 1e-9  # 0.3 is not above 0.3, however it was computed


@dataclass(frozen=True, eq=False)
class ScoredCases:
    """The scores of some maps in each of N cases.

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
class LocalisationTables:
    """The result of `localisation_tables`.

    Attributes:
        scores: one row a finding and map, then one a map with the finding ``mean``: ``finding, map, cases, patients``
            and of each score its value, ``_low`` and ``_high`` (NaN: too few patients).
        gains: ``finding, over, score, gain, low, high``; a gain is the map's score minus that of the control ``over``.
        in_mean: the findings that the mean is over.
    """

    scores: pd.DataFrame
    gains: pd.DataFrame
    in_mean: tuple[str, ...]


def score_row(scores: Scores, threshold: int = 0) -> np.ndarray:
    """Return the Q `SCORES` of one map in one case: float64 ``[Q]``.

    Args:
        scores: at S thresholds.
        threshold: which of them, 0 to S - 1.
    """
    iou, iobb = scores.iou[threshold], scores.iobb[threshold]
    above = [float(overlap > level + _ROUNDING) for overlap in (iou, iobb) for level in OVERLAP_LEVELS]
    return np.array([scores.pointing, scores.energy, iou, iobb, *above])


def localisation_tables(
    scored: ScoredCases, replicates: int = 1000, level: float = 0.95, seed: int = 0
) -> LocalisationTables:
    """Return the scores of each finding, and their mean over the findings that have enough patients.

    Args:
        scored: at least one case.
        replicates, seed: of the bootstrap over patients.
        level: of the intervals, in (0, 1).

    Raises:
        EvaluationError: ``evaluation-invalid``.

    Eight cases of eight patients, of which the map points at six and its control at two:

    >>> values = np.zeros((8, 2, len(SCORES)))
    >>> values[:6, 0, 0] = values[:2, 1, 0] = 1
    >>> scored = ScoredCases(("Mass",), np.zeros(8, int), np.arange(8), ("cam", "random"), values)
    >>> tables = localisation_tables(scored, replicates=100)
    >>> print(tables.scores[["finding", "map", "cases", "pointing"]].to_string(index=False))
    finding    map  cases  pointing
       Mass    cam      8      0.75
       Mass random      8      0.25
       mean    cam      8      0.75
       mean random      8      0.25
    >>> print(tables.gains.head(1)[["finding", "over", "score", "gain"]].to_string(index=False))
    finding   over    score  gain
       Mass random pointing   0.5
    """
    check_level(level)
    member = (scored.channels[:, None] == np.arange(len(scored.findings))).astype(float)  # [N, F]
    patients = np.array([np.unique(scored.patients[column > 0]).size for column in member.T])
    enough = patients >= FEWEST_PATIENTS
    # the weight of each case in each finding's figure, and in the mean's, where all findings weigh the same
    weights = member / member.sum(axis=0)
    weights = np.column_stack([weights, weights[:, enough].sum(axis=1)])  # [N, F + 1]
    bootstrap = PatientBootstrap(scored.patients, replicates, seed)
    figures, draws = _figures(member, scored.values, bootstrap, enough)
    ends = _score_ends(figures, draws, weights, scored.patients, level)
    gains = figures[:, :1] - figures[:, 1:]
    gain_ends = _gain_ends(figures, draws, ends, weights, scored.patients, level)
    too_few = np.append(~enough, not enough.any())
    for end, gain_end in zip(ends, gain_ends, strict=True):
        end[np.ix_(too_few, np.ones(len(scored.maps), dtype=bool), np.isin(SCORES, _MEANS))] = np.nan
        gain_end[too_few] = np.nan

    in_mean = member[:, enough].any(axis=1)
    cases = [*member.sum(axis=0), in_mean.sum()]
    people = [*patients, np.unique(scored.patients[in_mean]).size]
    names = [*scored.findings, MEAN]
    rows = [
        {"finding": name, "map": map_name, "cases": int(cases[f]), "patients": int(people[f])}
        | {
            f"{figure}{end}": array[f, m, q]
            for q, figure in enumerate(SCORES)
            for end, array in (("", figures), ("_low", ends[0]), ("_high", ends[1]))
        }
        for f, name in enumerate(names)
        for m, map_name in enumerate(scored.maps)
    ]
    gain_rows = [
        (name, control, figure, gains[f, c, q], gain_ends[0][f, c, q], gain_ends[1][f, c, q])
        for f, name in enumerate(names)
        for c, control in enumerate(scored.maps[1:])
        for q, figure in enumerate(SCORES)
    ]
    gain_table = pd.DataFrame(gain_rows, columns=["finding", "over", "score", "gain", "low", "high"])
    return LocalisationTables(pd.DataFrame(rows), gain_table, tuple(np.array(scored.findings)[enough].tolist()))


def _figures(
    member: np.ndarray, values: np.ndarray, bootstrap: PatientBootstrap, enough: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return each finding's figures and their mean's: ``[F + 1, M, Q]``, and in each replicate ``[R, F + 1, M, Q]``.

    A replicate without a case of a rare finding has no value for it; in the mean the finding's own figure stands in.
    """
    by_finding = member[:, :, None, None] * values[:, None]  # [N, F, M, Q]
    figures = by_finding.sum(axis=0) / member.sum(axis=0)[:, None, None]
    sums = bootstrap.sums(by_finding.reshape(len(member), -1)).reshape(-1, *figures.shape)
    cases = bootstrap.sums(member)[:, :, None, None]
    draws = np.divide(sums, cases, out=np.full(sums.shape, np.nan), where=cases > 0)
    mean, mean_draws = np.full(figures.shape[1:], np.nan), np.full(draws[:, 0].shape, np.nan)
    if enough.any():
        mean = figures[enough].mean(axis=0)
        mean_draws = np.where(np.isnan(draws), figures, draws)[:, enough].mean(axis=1)
    return np.append(figures, mean[None], axis=0), np.append(draws, mean_draws[:, None], axis=1)


def _score_ends(
    figures: np.ndarray, draws: np.ndarray, weights: np.ndarray, patients: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return low and high of every figure: Wilson's of shares of cases, percentiles of means."""
    low, high = _percentiles(figures, draws, weights, patients, level)
    is_share = np.isin(SCORES, _SHARES)
    shares = figures[..., is_share]
    by_patients = np.repeat(by_patient(weights, patients), shares[0].size, axis=1)
    cases = np.repeat((weights > 0).sum(axis=0), shares[0].size)
    trials = effective_trials(shares.ravel(), draws[..., is_share].reshape(len(draws), -1), by_patients, cases)
    for end, share in zip((low, high), wilson(shares.ravel() * trials, trials, level), strict=True):
        end[..., is_share] = share.reshape(shares.shape)
    return low, high


def _gain_ends(
    figures: np.ndarray,
    draws: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    weights: np.ndarray,
    patients: np.ndarray,
    level: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return low and high of the first map's figures minus the controls': ``[F + 1, M - 1, Q]``."""
    gains, gain_draws = figures[:, :1] - figures[:, 1:], draws[:, :, :1] - draws[:, :, 1:]
    low, high = _percentiles(gains, gain_draws, weights, patients, level)
    correlation = _correlation(draws[:, :, :1], draws[:, :, 1:])
    scored_map, controls = (
        (figures[:, maps], ends[0][:, maps], ends[1][:, maps]) for maps in (slice(1), slice(1, None))
    )
    is_share = np.isin(SCORES, _SHARES)
    for end, share in zip((low, high), paired_difference(scored_map, controls, correlation), strict=True):
        end[..., is_share] = share[..., is_share]
    return low, high


def _percentiles(
    figures: np.ndarray, draws: np.ndarray, weights: np.ndarray, patients: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    effective = np.array([effective_patients(patients, column) for column in weights.T])[:, None, None]
    return bootstrap_interval(draws, level, figures, effective=np.broadcast_to(effective, figures.shape))


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the correlations of replicates along axis 0, those with a NaN left out; 0 where one does not vary."""
    defined = ~np.isnan(first) & ~np.isnan(second)
    count = np.maximum(defined.sum(axis=0), 1)
    pair = [np.where(defined, draws, 0) for draws in np.broadcast_arrays(first, second)]
    pair = [np.where(defined, draws - draws.sum(axis=0) / count, 0) for draws in pair]
    spread = np.sqrt(np.prod([(draws**2).sum(axis=0) for draws in pair], axis=0))
    varies = spread > _ROUNDING
    return np.where(varies, (pair[0] * pair[1]).sum(axis=0) / np.where(varies, spread, 1), 0)


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
