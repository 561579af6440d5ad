"""Would it be as good there with home's patients? Images of another site weighed to home's mix of view, age and sex.

    table = reweighting_table(TwoSites.of(home, there))
    table[table["mix"] == "view"][["finding", "auroc", "reweighted", "change_low", "change_high", "effective_patients"]]

A site with more bedside films, or with older patients, is another task, whatever the network. Each image there gets the
weight (share of its group at home) / (share of its group there), and the AUROC is computed with these weights
(post-stratification; for cohorts of patients: Stuart et al. 2011, doi:10.1111/j.1467-985X.2010.00673.x). A replicate
draws the patients of both sites and computes its own weights, so the intervals hold the uncertainty of the mixes, too.

Nothing is extrapolated. A group of home's without images there (or with fewer than `FEWEST_IN_GROUP` patients) cannot
be weighed: it is named, with its share of home's images, and home's AUROC without it stands beside. What is unknown (no
age, no view) is a group of its own; an attribute that is unknown for more than half of the images of a site is used in
no mix. Weights cost patients: as many equal patients as `effective_patients` would tell as much.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxr_monai.evaluation.auroc import known
from cxr_monai.evaluation.bootstrap import effective_patients
from cxr_monai.evaluation.comparison import MINIMUM_PATIENTS, TOO_FEW
from cxr_monai.evaluation.groups import groups
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.two_sites import Figure, TwoSites

MIXES = {
    "view": ("view",),
    "age": ("age",),
    "sex": ("sex",),
    "age and sex": ("age", "sex"),
    "view, age and sex": ("view", "age", "sex"),
}
UNKNOWN_GROUP = "unknown"
FEWEST_IN_GROUP = 5  # patients there: the weight of fewer would rest on who happened to come
_COLUMNS = [
    "finding", "mix", "images", "positives", "home_auroc", "auroc", "reweighted", "reweighted_low", "reweighted_high",
    "change", "change_low", "change_high", "effective_images", "effective_patients", "effective_positive_patients",
    "home_covered", "home_auroc_covered", "like_with_like", "like_with_like_low", "like_with_like_high", "note",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Mix:
    """The groups of two sites' images by some attributes.

    Attributes:
        names: S texts, ``AP, 65+, F``; ``unknown`` stands for what is not known.
        home, there: int ``[N]`` and ``[M]``, each image's group.
        left_out: attributes that are unknown for most images of a site.
    """

    names: tuple[str, ...]
    home: np.ndarray
    there: np.ndarray
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, home: Sample, there: Sample, attributes: Sequence[str]) -> "Mix":
        """Return the groups by view, age band and sex of `groups.groups`, or some of the three."""
        sides = [pd.DataFrame(groups(sample, attributes)) for sample in (home, there)]
        left_out = tuple(name for name in attributes if any((side[name] == "").mean() > 0.5 for side in sides))
        used = [name for name in attributes if name not in left_out]
        words = pd.concat(sides, ignore_index=True)[used].replace("", UNKNOWN_GROUP)
        joined = words[used[0]].str.cat(words[used[1:]], ", ") if used else words.index * 0
        codes, names = pd.factorize(joined, sort=True)
        return cls(tuple(map(str, names)), codes[: len(home)], codes[len(home) :], left_out)


@dataclass(frozen=True, eq=False)
class Reweighted:
    """One finding there, weighed to a mix of home's.

    Attributes:
        area: the weighted AUROC there.
        home: home's AUROC on the groups that there are there.
        weights: float ``[M]`` of the images there; 0 where the label is unknown or the group is not weighed.
        absent: share of home's images (known label) by the name of each group that cannot be weighed.
    """

    area: Figure
    home: Figure
    weights: np.ndarray
    absent: dict[str, float]


def reweighting_table(sites: TwoSites, mixes: Sequence[str] = tuple(MIXES)) -> pd.DataFrame:
    """Return the AUROC there with images weighed to home's mix, a row a finding and mix.

    Args:
        sites: home and there.
        mixes: of `MIXES`.

    Returns:
        - ``finding, mix``; ``images, positives`` there, with a known label;
        - ``home_auroc, auroc``: as they are, at home and there;
        - ``reweighted, reweighted_low, reweighted_high``; ``change`` from ``auroc`` to it ``_low, _high``;
        - ``effective_images`` (Kish: the squared sum of the weights over the sum of their squares),
          ``effective_patients``, ``effective_positive_patients``;
        - ``home_covered``: share of home's images in groups that could be weighed, ``home_auroc_covered`` on them;
        - ``like_with_like``: ``home_auroc_covered - reweighted`` ``_low, _high``: what the mix does not explain;
        - ``note``: groups that could not be weighed with their share of home's images, attributes that are unknown, and
          ``too few to say`` where fewer than 20 effective patients with or without the finding remain.
    """
    mix_by_name = {name: Mix.of(sites.home, sites.there, MIXES[name]) for name in mixes}
    rows = []
    for finding in sites.findings:
        at_home, as_is = (unweighted(sites, finding, place) for place in ("home", "there"))
        for name, mix in mix_by_name.items():
            weighed = reweight(sites, finding, mix)
            rows.append({"finding": finding, "mix": name, "home_auroc": at_home.value, "auroc": as_is.value})
            rows[-1] |= _figures(sites, weighed, as_is, finding)
            rows[-1]["note"] = "; ".join([*_notes(weighed, mix), *enough(sites.there, finding, weighed.weights)])
    return pd.DataFrame(rows, columns=_COLUMNS)


def unweighted(sites: TwoSites, finding: str, place: str, rows: np.ndarray | None = None) -> Figure:
    """Return a finding's AUROC at ``home`` or ``there`` as it is, of some rows (bool ``[N]``) or all."""
    sample, draws = (sites.home, sites.home_draws) if place == "home" else (sites.there, sites.there_draws)
    scores, labels = sample.column(finding)
    chosen = ~np.isnan(labels) & (True if rows is None else rows)
    drawn = draws.ranking(scores, labels, chosen)
    value, _ = weighted_area(scores, labels, chosen.astype(float), sample.patients)
    return Figure(value, drawn.auroc, float(np.nan_to_num(drawn.auroc_effective)))


def reweight(sites: TwoSites, finding: str, mix: Mix, by_label: bool = False) -> Reweighted:
    """Weigh the images there to home's mix.

    Args:
        sites: home and there.
        finding: one of ``sites.findings``.
        mix: the groups.
        by_label: weigh positives to home's positives and negatives to home's negatives: then the finding is as frequent
            in each group as at home, too. A group needs `FEWEST_IN_GROUP` patients with and as many without it.
    """
    scores, labels = sites.there.column(finding)
    home_codes = _strata(mix.home, sites.home.column(finding)[1], by_label)
    codes = _strata(mix.there, labels, by_label)
    size = len(mix.names) * (2 if by_label else 1)
    at_home = np.bincount(home_codes[home_codes >= 0], minlength=size).astype(float)
    patients = [np.unique(sites.there.patients[codes == code]).size for code in range(size)]
    weighed = (np.array(patients) >= FEWEST_IN_GROUP) | (at_home == 0)
    if by_label:
        weighed = np.repeat(weighed.reshape(-1, 2).all(axis=1), 2)
    at_home_drawn = sites.home_draws.tallies(home_codes, size)
    there_drawn = sites.there_draws.tallies(codes, size)
    here = np.bincount(codes[codes >= 0], minlength=size).astype(float)
    stacked = _ratio(np.vstack([at_home, at_home_drawn]) * weighed, np.vstack([here, there_drawn]))
    weights = np.where(codes >= 0, stacked[0][codes], 0.0)
    value, effective = weighted_area(scores, labels, weights, sites.there.patients)
    replicates = sites.there_draws.weighted_areas(scores, labels, codes, stacked[1:])
    total = max(at_home.sum(), 1)
    absent = np.where(weighed, 0, at_home)
    if by_label:
        absent = absent.reshape(-1, 2).sum(axis=1)
    home = unweighted(sites, finding, "home", (home_codes >= 0) & weighed[home_codes])
    by_name = {name: float(count / total) for name, count in zip(mix.names, absent, strict=True) if count}
    return Reweighted(Figure(value, replicates, effective), home, weights, by_name)


def weighted_area(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray, patients: np.ndarray
) -> tuple[float, float]:
    """Return the AUROC of weighted images and how many equal patients it rests on.

    Args:
        scores, labels: float ``[N]``; 1 present, 0 absent, NaN unknown (left out).
        weights: float ``[N]``, not negative.
        patients: int ``[N]``.

    Returns:
        the weighted share of pairs in the right order, a tie counting half (scikit-learn's ``roc_auc_score`` with
        ``sample_weight``), and the effective patients as `bootstrap.Ranking` counts them; NaN and 0 without weight on
        a positive or on a negative.

    >>> weighted_area(np.array([0.9, 0.4, 0.5]), np.array([1, 1, 0]), np.array([3.0, 1.0, 1.0]), np.arange(3))[0]
    0.75
    """
    used = ~np.isnan(labels) & (weights > 0)
    scores, truth = known(scores[used], labels[used])
    weights, patients = weights[used], patients[used]
    if not truth.any() or truth.all():
        return np.nan, 0.0
    positives, negatives = weights[truth], weights[~truth]
    lost = positives * _above(scores[truth], scores[~truth], negatives)
    won = negatives * _above(scores[~truth], scores[truth], positives)
    effective = min(effective_patients(patients[truth], lost), effective_patients(patients[~truth], won))
    return float(won.sum() / (positives.sum() * negatives.sum())), effective


def enough(sample: Sample, finding: str, weights: np.ndarray) -> list[str]:
    """Return a sentence where fewer than 20 effective patients with or without a finding remain, else none.

    Args:
        sample: N images.
        finding: one of its findings.
        weights: float ``[N]`` of the images.
    """
    labels = sample.column(finding)[1]
    sizes = {
        word: effective_patients(sample.patients, weights * (labels == value))
        for word, value in (("with", 1), ("without", 0))
    }
    few = [f"{size:.0f} effective patients {word} the finding" for word, size in sizes.items()
           if round(size, 6) < MINIMUM_PATIENTS]  # fmt: skip
    return [f"{TOO_FEW}: {' and '.join(few)}; at least {MINIMUM_PATIENTS} are needed"] if few else []


def _figures(sites: TwoSites, weighed: Reweighted, as_is: Figure, finding: str) -> dict[str, float]:
    there, labels = sites.there, sites.there.column(finding)[1]
    change, gap = weighed.area - as_is, weighed.home - weighed.area
    squares = float(np.sum(weighed.weights**2))
    row: dict[str, float] = {
        "images": int((~np.isnan(labels)).sum()),
        "positives": int((labels == 1).sum()),
        "effective_images": float(weighed.weights.sum() ** 2 / squares) if squares else 0.0,
        "effective_patients": effective_patients(there.patients, weighed.weights),
        "effective_positive_patients": effective_patients(there.patients, weighed.weights * (labels == 1)),
        "home_covered": 1 - sum(weighed.absent.values()),
        "home_auroc_covered": weighed.home.value,
    }
    for name, figure in (("reweighted", weighed.area), ("change", change), ("like_with_like", gap)):
        row[name] = figure.value
        row[f"{name}_low"], row[f"{name}_high"] = figure.interval(sites.level)
    return row


def _notes(weighed: Reweighted, mix: Mix) -> list[str]:
    notes = []
    if weighed.absent:
        words = ", ".join(f"{name} ({share:.1%})" for name, share in weighed.absent.items())
        notes.append(
            f"{sum(weighed.absent.values()):.1%} of home's images are of groups without enough images there: {words}"
        )
    if mix.left_out:
        notes.append(f"{' and '.join(mix.left_out)} unknown for most images of a site: in no group")
    return notes


def _strata(codes: np.ndarray, labels: np.ndarray, by_label: bool) -> np.ndarray:
    """Return the stratum of each image; -1 for an unknown label."""
    is_known = ~np.isnan(labels)
    return np.where(is_known, codes * 2 + (labels == 1) if by_label else codes, -1)


def _ratio(at_home: np.ndarray, here: np.ndarray) -> np.ndarray:
    """Return the weights of strata ``[..., S]`` from images at home and there; their mean over images there is 1."""
    weights = np.divide(at_home, here, out=np.zeros(here.shape), where=here > 0)
    total = (weights * here).sum(axis=-1, keepdims=True)
    return np.divide(weights * here.sum(axis=-1, keepdims=True), total, out=weights, where=total > 0)


def _above(scores: np.ndarray, others: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return for each score the weight of the others above it, ties half."""
    order = np.argsort(others)
    total = np.append(0.0, np.cumsum(weights[order]))
    lower, upper = (np.searchsorted(others[order], scores, side) for side in ("left", "right"))
    return total[-1] - (total[lower] + total[upper]) / 2
