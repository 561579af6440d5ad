"""How frequent is a finding at a site without labels, and may that estimate be believed?

    table = label_shift(TwoSites.of(home, there))
    table[["finding", "home_prevalence", "estimated", "low", "high", "believable", "why"]]

If images with a finding look the same at both places, and those without it, too, then the scores there are a mixture of
home's two kinds of scores, and only the share differs. The estimate is the share of the greatest likelihood (Saerens et
al. 2002, doi:10.1162/089976602753284446, find it by expectation and maximisation; the likelihood is concave, so there
is one answer, found here by bisection), on probabilities calibrated at home by temperature and bias (Alexandari et al.
2020, arXiv:1901.06852), which for one finding is Platt's scaling.

The assumption can be tested in part: does that mixture give the distribution of scores there? The distance is the
largest difference of the two cumulative distributions (Kolmogorov), its own distribution without any shift that of
replicates around the sample's (a centred bootstrap of both sites' patients, prevalence and calibration estimated again
in each). What the test cannot see: a scanner that lifts all scores as a higher prevalence would. Nor
does it see most mixes of views: simulated, 75 % instead of 30 % bedside films, on which the finding is harder to see,
gave 18 % for a prevalence of 26 %, and the test noticed it in one of five data sets. So an estimate is not believed
where the mix of view, age or sex is another one, whatever the test says. Agreement is no proof; where labels are at
hand, the table has the observed prevalence beside the estimate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from cxr_monai.evaluation.bootstrap import PatientBootstrap, bootstrap_interval
from cxr_monai.evaluation.comparison import MINIMUM_PATIENTS, TOO_FEW, holm
from cxr_monai.evaluation.logistic import fit_line, logit
from cxr_monai.evaluation.reweighting import Mix
from cxr_monai.evaluation.two_sites import TwoSites, drawn_prevalence
from cxr_monai.plurals import counted

SEEN_FROM = 0.1
"""A test that would not notice a distance of this size has too few patients to speak for the estimate."""
MIX_DIFFERS = 0.1
"""Share of the images that would have to change their group for equal mixes of an attribute."""
SIGNIFICANT = 0.05
_BINS = 400  # of the scores; every score of its own where there are fewer
_NEWTON, _BISECTIONS = 30, 40
_COLUMNS = [
    "finding", "images", "home_prevalence", "estimated", "low", "high", "distance", "noticed_from", "p", "p_holm",
    "believable", "why", "observed", "observed_low", "observed_high", "difference", "difference_low", "difference_high",
    "agrees",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Shift:
    """Estimates of one finding, on the samples (row 0) and in each replicate: ``[1 + R]``; NaN where undefined.

    Attributes:
        estimated: prevalence there.
        distance: of the mixture from the scores there: of the samples in row 0, around it in each replicate.
    """

    estimated: np.ndarray
    distance: np.ndarray


def label_shift(sites: TwoSites) -> pd.DataFrame:
    """Return each finding's prevalence there as the scores alone tell it, and whether they may be believed.

    Args:
        sites: home with labels; there with labels or without (NaN): its labels enter ``observed`` and ``difference``
            alone.

    Returns:
        one row a finding:

        - ``images`` there; ``home_prevalence`` (share of home's images with a known label);
        - ``estimated, low, high``: prevalence there of all its images, patient-bootstrap interval;
        - ``distance``: largest difference of the cumulative distributions of the scores there and of the mixture;
          ``noticed_from``: the distance from which on the test rejects at 5 %; ``p``, ``p_holm`` over the findings;
        - ``believable``: ``no`` where ``p_holm < 0.05``; ``too few to say`` where home has fewer than 20 patients with
          or without the finding, or the site fewer than 20 patients, where ``noticed_from`` is above `SEEN_FROM`, or
          where ``p`` is below 0.05 and ``p_holm`` is not: a correction for many tests makes a fault harder to prove,
          which is no reason to trust; ``no`` also where view, age or sex are mixed otherwise there (more than
          `MIX_DIFFERS`); else ``yes``; ``why``, a sentence;
        - ``observed, observed_low, observed_high`` and ``difference`` (estimated minus observed) ``_low, _high``: on
          the images there with a known label; NaN without any; ``agrees``: ``yes`` where the interval of the
          difference holds 0, ``no`` where it does not, else empty. ``believable`` is judged without it.
    """
    rows = [_row(sites, finding) for finding in sites.findings]
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"].to_numpy(float))
    other_mixes = [name for name in ("view", "age", "sex") if _differs(sites, name)]
    verdicts = [_verdict(row, other_mixes) for row in table.to_dict("records")]
    table["believable"], table["why"] = zip(*verdicts, strict=True)
    within = (table["difference_low"] <= 0) & (table["difference_high"] >= 0)
    table["agrees"] = np.where(table["difference_low"].isna(), "", np.where(within, "yes", "no"))
    return table[_COLUMNS]


def _row(sites: TwoSites, finding: str) -> dict[str, float | str]:
    labels = sites.there.column(finding)[1]
    is_known = ~np.isnan(labels)
    truth = sites.home.column(finding)[1]
    row: dict[str, float | str] = {
        "finding": finding,
        "images": len(labels),
        "home_prevalence": float(np.mean(truth[~np.isnan(truth)])) if (~np.isnan(truth)).any() else np.nan,
        "few": _few(sites, truth),
    }
    shift = None if row["few"] else _estimate(sites, finding, np.ones(len(labels), dtype=bool))
    row |= _interval("estimated", shift.estimated if shift else None, sites.level)
    row["low"], row["high"] = row.pop("estimated_low"), row.pop("estimated_high")
    row |= dict.fromkeys(("distance", "noticed_from", "p"), np.nan)
    if shift:
        drawn = shift.distance[1:][~np.isnan(shift.distance[1:])]
        if drawn.size >= 0.9 * (shift.distance.size - 1):
            row["distance"] = shift.distance[0]
            row["noticed_from"] = float(np.quantile(drawn, 1 - SIGNIFICANT))
            row["p"] = float((1 + np.sum(drawn >= shift.distance[0])) / (1 + drawn.size))
    observed = difference = None
    if is_known.any():
        observed = drawn_prevalence(labels, sites.there_draws)
        if shift:
            same = shift if is_known.all() else _estimate(sites, finding, is_known)
            difference = same.estimated - observed
    return row | _interval("observed", observed, sites.level) | _interval("difference", difference, sites.level)


def _interval(name: str, values: np.ndarray | None, level: float) -> dict[str, float | str]:
    if values is None:
        return {name: np.nan, f"{name}_low": np.nan, f"{name}_high": np.nan}
    low, high = bootstrap_interval(values[1:], level, values[0])
    return {name: float(values[0]), f"{name}_low": float(low), f"{name}_high": float(high)}


def _few(sites: TwoSites, truth: np.ndarray) -> str:
    home = sites.home.patients
    counts = {
        "with the finding at home": np.unique(home[truth == 1]).size,
        "without it at home": np.unique(home[truth == 0]).size,
        "there": np.unique(sites.there.patients).size,
    }
    few = [f"{counted(count, 'patient')} {place}" for place, count in counts.items() if count < MINIMUM_PATIENTS]
    return f"{' and '.join(few)}; at least {MINIMUM_PATIENTS} are needed" if few else ""


def _differs(sites: TwoSites, attribute: str) -> bool:
    """Return whether the mixes of an attribute differ by more than `MIX_DIFFERS` (total variation)."""
    mix = Mix.of(sites.home, sites.there, (attribute,))
    counts = [np.bincount(codes, minlength=len(mix.names)) for codes in (mix.home, mix.there)]
    shares = [count / count.sum() for count in counts]
    return bool(np.abs(shares[0] - shares[1]).sum() / 2 > MIX_DIFFERS)


def _verdict(row: dict, other_mixes: Sequence[str]) -> tuple[str, str]:
    if row["few"]:
        return TOO_FEW, row["few"]
    if np.isnan(row["p"]):
        return TOO_FEW, "home's scores do not tell the finding, so that nothing can be estimated from them"
    if row["p_holm"] < SIGNIFICANT:
        return "no", (
            "no share of home's images with and without the finding gives the scores there: they are"
            f" {row['distance']:.2f} away, more than chance: images with the finding or without it look different there"
        )
    if other_mixes:
        return "no", (
            f"the mix of {' and '.join(other_mixes)} is another one there, so images with the finding need not look as"
            " at home"
        )
    if row["noticed_from"] > SEEN_FROM:
        return TOO_FEW, f"a distance below {row['noticed_from']:.2f} would not be noticed with so few patients"
    if row["p"] < SIGNIFICANT:
        return TOO_FEW, (
            f"the scores there are {row['distance']:.2f} away from such a mixture: more than chance for one finding,"
            " not for so many findings"
        )
    return "yes", (
        f"the scores there are such a mixture as far as can be seen (a distance from {row['noticed_from']:.2f} would be"
        " noticed); a change that lifts all scores as a higher prevalence does cannot be seen without labels"
    )


def _estimate(sites: TwoSites, finding: str, rows: np.ndarray) -> _Shift:
    """Estimate the prevalence among some images there, on the samples and in each replicate."""
    scores, truth = sites.home.column(finding)
    z_home, z_there = logit(scores), logit(sites.there.column(finding)[0])
    edges = _edges(np.concatenate([z_home, z_there]))
    home_bins, there_bins = (np.searchsorted(edges, z, side="right") for z in (z_home, z_there))
    size = edges.size + 1
    pooled = np.bincount(np.concatenate([home_bins, there_bins]), minlength=size)
    sums = np.bincount(np.concatenate([home_bins, there_bins]), np.concatenate([z_home, z_there]), size)
    centres = sums / np.maximum(pooled, 1)

    def tallied(bins: np.ndarray, chosen: np.ndarray, draws: PatientBootstrap) -> np.ndarray:
        return np.vstack([np.bincount(bins[chosen], minlength=size), draws.tallies(np.where(chosen, bins, -1), size)])

    positives = tallied(home_bins, truth == 1, sites.home_draws)
    negatives = tallied(home_bins, truth == 0, sites.home_draws)
    images = tallied(there_bins, rows, sites.there_draws)
    start = fit_line(z_home[~np.isnan(truth)], truth[~np.isnan(truth)])
    p = np.clip(expit(_lines(centres, positives, negatives, start)), 1e-12, 1 - 1e-12)
    prevalence = positives.sum(axis=1) / (positives.sum(axis=1) + negatives.sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = p / prevalence[:, None], (1 - p) / (1 - prevalence[:, None])
        estimated = likeliest_prevalence(*ratios, images)
        kinds = [counts / counts.sum(axis=1, keepdims=True) for counts in (images, positives, negatives)]
    mixture = estimated[:, None] * kinds[1] + (1 - estimated[:, None]) * kinds[2]
    gaps = np.cumsum(kinds[0] - mixture, axis=1)
    gaps[1:] -= gaps[0]
    return _Shift(estimated, np.abs(gaps).max(axis=1))


def _edges(z: np.ndarray) -> np.ndarray:
    """Return what separates the bins: all scores of their own where they are few, else quantiles."""
    values = np.unique(z)
    if values.size > _BINS:
        values = np.unique(np.quantile(z, np.linspace(0, 1, _BINS + 1)))
    return values[1:]


def _lines(z: np.ndarray, positives: np.ndarray, negatives: np.ndarray, start: tuple[float, float]) -> np.ndarray:
    """Return Platt-scaled logits ``[1 + R, B]``: a logistic regression a row by Newton's method; NaN without an answer.

    Args:
        z: float ``[B]``.
        positives, negatives: ``[1 + R, B]``, images in each bin.
        start: slope and intercept to start from, those of the samples; NaN if there are none.
    """
    rows, centre = len(positives), z.mean()
    x, images = z - centre, positives + negatives
    slope, intercept = np.full(rows, start[0]), np.full(rows, start[1] + start[0] * centre)
    step = np.full(rows, np.inf)
    for _ in range(_NEWTON):
        p = expit(slope[:, None] * x + intercept[:, None])
        rest, weight = positives - images * p, images * p * (1 - p)
        g0, g1 = rest.sum(axis=1), rest @ x
        h0, h1, h2 = weight.sum(axis=1), weight @ x, weight @ x**2
        with np.errstate(divide="ignore", invalid="ignore"):
            determinant = h0 * h2 - h1**2
            d0, d1 = (h2 * g0 - h1 * g1) / determinant, (h0 * g1 - h1 * g0) / determinant
        intercept, slope = intercept + d0, slope + d1
        step = np.maximum(np.abs(d0), np.abs(d1))
        if np.nanmax(step, initial=0) < 1e-8:
            break
    lines = slope[:, None] * x + intercept[:, None]
    lines[~((step < 1e-6) & (slope > 0))] = np.nan
    return lines


def likeliest_prevalence(present: np.ndarray, absent: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return the share of positives of the greatest likelihood in each row ``[1 + R]``.

    Args:
        present, absent: ``[1 + R, B]``, likelihood of each bin with the finding and without it, up to one factor.
        images: ``[1 + R, B]``, images in each bin.
    """
    low, high = np.zeros(len(images)), np.ones(len(images))
    for _ in range(_BISECTIONS):
        share = (low + high) / 2
        mixture = share[:, None] * present + (1 - share[:, None]) * absent
        rises = (images * (present - absent) / mixture).sum(axis=1) > 0
        low, high = np.where(rises, share, low), np.where(rises, high, share)
    share = np.where(low == 0, 0.0, np.where(high == 1, 1.0, (low + high) / 2))
    share[np.isnan(present).any(axis=1)] = np.nan
    return share
