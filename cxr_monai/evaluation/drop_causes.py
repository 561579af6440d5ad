"""Why the AUROC drops at another site: the drop divided among causes, each with its interval and a sentence.

    table = drop_causes(TwoSites.of(home, there))
    table[table["finding"] == "Effusion"][["cause", "part", "low", "high", "evidence"]]

A part is what the AUROC there loses by a cause, home minus there: positive parts lower it. For a mix of view, age and
sex, let home's AUROC and the AUROC there weighed to home's mix (`cxr_monai.evaluation.reweighting`), on the groups that
both sites have, be compared like with like; what this comparison leaves of the drop the mix explains. The mixes of view
and of age and sex overlap: each gets the mean of what it explains alone and after the other (Shapley's value for two).
Then positives and negatives are weighed apart, which makes the finding as frequent in each group as at home; then,
where labels of home's kind exist for the images there, the difference that the labels make on the same images. What
remains is the rest: other scanners and processing, harder cases, other labels.

Parts and rest sum to the drop. A cause that cannot be judged stays in the rest. A division of a difference, not an
experiment: an attribute that stands for another (bedside films for intensive care) takes its part.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.assessment import mean_of_findings
from cxr_monai.evaluation.auroc import auroc
from cxr_monai.evaluation.bootstrap import bootstrap_interval, effective_patients
from cxr_monai.evaluation.comparison import TOO_FEW
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.reweighting import MIXES, Mix, enough, reweight, unweighted
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.two_sites import Figure, TwoSites, drawn_prevalence
from cxr_monai.plurals import counted
from cxr_monai.progress import progress_bar

DROP, VIEW_MIX, AGE_AND_SEX_MIX, FINDING_BY_GROUP = (
    "drop",
    "view mix",
    "age and sex mix",
    "finding by view, age and sex",
)
ANOTHER_PREVALENCE, LABEL_DEFINITION, UNEXPLAINED = "prevalence", "label definition", "rest"
CAUSES = (DROP, VIEW_MIX, AGE_AND_SEX_MIX, FINDING_BY_GROUP, ANOTHER_PREVALENCE, LABEL_DEFINITION, UNEXPLAINED)
MOST_ABSENT = 0.5
"""Share of home's images: where more are of groups too small to weigh positives and negatives apart, no judgement."""
_JOINT = "view, age and sex"
_NO_LABELS = "not measured: the images there have no labels of home's kind; what these would explain is in the rest"


@dataclass(frozen=True, eq=False)
class _Division:
    """One finding's drop and parts; a cause without a figure could not be judged.

    Attributes:
        areas: the AUROC at home and there.
        figures: by cause.
        words: what stands in the evidence, by cause: before the figure's own words, or the reason why there is none.
    """

    areas: tuple[Figure, Figure]
    figures: dict[str, Figure] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)


def drop_causes(sites: TwoSites, relabelled: Sample | None = None, progress: bool = False) -> pd.DataFrame:
    """Return the drop of each finding's AUROC from home to there, divided among causes.

    Args:
        sites: home and there; home's images are not those that the model was trained on.
        relabelled: the images there, in the same order, with labels of home's kind (NaN where there is none): the part
            of the label definition. Without it that part is not measured.
        progress: show a bar.

    Returns:
        a row a finding and cause (`CAUSES`, in this order), and rows ``mean`` over the findings that have a drop:

        - ``finding, cause``;
        - ``part, low, high``: AUROC lost there by the cause, with its patient-bootstrap interval; NaN where it cannot
          be judged (it is in the rest then). The parts of a finding below ``drop`` sum to it. Prevalence is 0 by
          definition;
        - ``evidence``: a sentence; it begins with ``no evidence`` where the interval holds 0.

    Raises:
        EvaluationError: ``evaluation-invalid`` if ``relabelled`` is not of the images there.
    """
    _check_same_images(sites.there, relabelled)
    mixes = {name: Mix.of(sites.home, sites.there, MIXES[name]) for name in ("view", "age and sex", _JOINT)}
    divisions = {
        finding: _divide(sites, finding, mixes, relabelled)
        for finding in progress_bar(
            sites.findings, total=len(sites.findings), desc="causes", unit="findings", show=progress
        )
    }
    rows = [row for finding, division in divisions.items() for row in _rows(finding, division, sites.level)]
    dropped = [division for division in divisions.values() if not np.isnan(division.figures[DROP].value)]
    if dropped:
        rows += _rows(MEAN, _mean(dropped), sites.level)
    return pd.DataFrame(rows, columns=["finding", "cause", "part", "low", "high", "evidence"])


def _divide(sites: TwoSites, finding: str, mixes: Mapping[str, Mix], relabelled: Sample | None) -> _Division:
    home, there = (unweighted(sites, finding, place) for place in ("home", "there"))
    division = _Division(
        (home, there), {DROP: home - there}, {DROP: f"{home.value:.3f} at home, {there.value:.3f} there"}
    )
    division.words[ANOTHER_PREVALENCE] = _prevalence_words(sites, finding)
    division.figures[ANOTHER_PREVALENCE] = Figure(0.0, np.zeros(there.replicates.shape), np.inf)
    explained: dict[str, Figure] = {}
    reasons: dict[str, str] = {}

    def explain(name: str, mix: Mix, by_label: bool) -> None:
        weighed = reweight(sites, finding, mix, by_label)
        few = enough(sites.there, finding, weighed.weights)
        absent = sum(weighed.absent.values())
        if by_label and absent > MOST_ABSENT:
            few = [
                f"{TOO_FEW}: {absent:.0%} of home's images are of groups with too few patients there with it or without"
            ]
        if few or np.isnan(weighed.home.value):
            reasons[name] = "; ".join(few) or f"{TOO_FEW}: home has no images of the groups that there are there"
            return
        explained[name] = Figure.combined([(1, home), (-1, there), (-1, weighed.home), (1, weighed.area)])
        division.words[name] = (
            f"weighed to home's mix it would be {weighed.area.value:.3f} there, on"
            f" {effective_patients(sites.there.patients, weighed.weights):,.0f} effective patients"
        )
        if weighed.absent:
            division.words[name] += (
                f"; {absent:.0%} of home's images are of groups that are not there:"
                f" without them it is {weighed.home.value:.3f} at home"
            )

    for name, mix in mixes.items():
        if set(mix.left_out) >= set(MIXES[name]):
            reasons[name] = f"not known: {' and '.join(mix.left_out)} of most images of a site"
        else:
            explain(name, mix, by_label=False)
    if _JOINT in explained:
        explain(FINDING_BY_GROUP, mixes[_JOINT], by_label=True)
    _share_out(division, explained, reasons)
    if relabelled is None or finding not in relabelled.findings:
        division.words[LABEL_DEFINITION] = _NO_LABELS
    else:
        _add_labels(division, sites, finding, relabelled)
    parts = [(-1.0, figure) for cause, figure in division.figures.items() if cause != DROP]
    division.figures[UNEXPLAINED] = Figure.combined([(1.0, division.figures[DROP]), *parts])
    return division


def _share_out(division: _Division, explained: Mapping[str, Figure], reasons: Mapping[str, str]) -> None:
    """Divide what the mixes explain between view, age and sex, and the finding's frequency in the groups."""
    alone = {VIEW_MIX: "view", AGE_AND_SEX_MIX: "age and sex"}
    both = [name for name in alone.values() if name in explained]
    for cause, name in alone.items():
        other = next(word for word in alone.values() if word != name)
        if name not in explained:
            division.words[cause] = reasons[name]
        elif _JOINT in explained and other in explained:
            terms = [(0.5, explained[name]), (0.5, explained[_JOINT]), (-0.5, explained[other])]
            division.figures[cause], division.words[cause] = Figure.combined(terms), division.words[name]
        elif len(both) == 1 or name == "view":
            division.figures[cause], division.words[cause] = explained[name], division.words[name]
        else:
            division.words[cause] = reasons[_JOINT]
    if FINDING_BY_GROUP in explained:
        division.figures[FINDING_BY_GROUP] = explained[FINDING_BY_GROUP] - explained[_JOINT]
    else:
        division.words[FINDING_BY_GROUP] = reasons.get(FINDING_BY_GROUP) or reasons[_JOINT]


def _add_labels(division: _Division, sites: TwoSites, finding: str, relabelled: Sample) -> None:
    scores, own = sites.there.column(finding)
    _, homes = relabelled.column(finding)
    both = ~np.isnan(own) & ~np.isnan(homes)
    few = enough(sites.there, finding, both.astype(float))
    kinds = []
    for labels in (homes, own):
        drawn = sites.there_draws.ranking(scores, labels, both)
        kinds.append(
            Figure(auroc(scores[both], labels[both]), drawn.auroc, float(np.nan_to_num(drawn.auroc_effective)))
        )
    if few or any(np.isnan(kind.value) for kind in kinds):
        division.words[LABEL_DEFINITION] = "; ".join(few) or f"{TOO_FEW}: labels of home's kind are all alike"
        return
    division.figures[LABEL_DEFINITION] = kinds[0] - kinds[1]
    division.words[LABEL_DEFINITION] = (
        f"on the same {counted(int(both.sum()), 'image')} it is {kinds[0].value:.3f} by labels of home's kind,"
        f" {kinds[1].value:.3f} by the site's"
    )


def _rows(finding: str, division: _Division, level: float) -> list[dict]:
    rows = []
    for cause in CAUSES:
        figure = division.figures.get(cause)
        row = {"finding": finding, "cause": cause, "part": np.nan, "low": np.nan, "high": np.nan}
        words = division.words.get(cause, "")
        if figure is not None and cause != ANOTHER_PREVALENCE:
            low, high = figure.interval(level)
            row |= {"part": figure.value, "low": low, "high": high}
            words = f"{_judged(cause, figure.value, low, high)}{': ' if words else ''}{words}"
        elif cause == ANOTHER_PREVALENCE:
            row |= {"part": 0.0, "low": 0.0, "high": 0.0}
        rows.append(row | {"evidence": words})
    return rows


def _judged(cause: str, value: float, low: float, high: float) -> str:
    """Return the verdict's words on one figure."""
    if np.isnan(low):
        return TOO_FEW
    size = f"{abs(value):.3f} ({min(abs(low), abs(high)):.3f} to {max(abs(low), abs(high)):.3f})"
    if low <= 0 <= high:
        subject = {DROP: "of a drop", UNEXPLAINED: "that anything remains unexplained"}.get(cause, "that it matters")
        return f"no evidence {subject} (the interval {low:+.3f} to {high:+.3f} holds 0)"
    if cause == DROP:
        return f"{'lower' if value > 0 else 'higher'} there by {size}"
    if cause == UNEXPLAINED:
        return f"{size} {'of the drop' if value > 0 else 'in favour of the site'} is explained by none of these"
    return f"makes it {'lower' if value > 0 else 'higher'} there by {size}"


def _prevalence_words(sites: TwoSites, finding: str) -> str:
    """Return what another prevalence does, since it does nothing to the AUROC."""
    shares = [
        drawn_prevalence(sample.column(finding)[1], draws)
        for sample, draws in ((sites.home, sites.home_draws), (sites.there, sites.there_draws))
    ]
    home, there = (float(share[0]) for share in shares)
    words = f"{home:.1%} of the images at home, {there:.1%} there; the AUROC does not depend on it"
    low, high = bootstrap_interval(shares[1][1:] - shares[0][1:], sites.level, there - home)
    if not low <= 0 <= high and 0 < home < 1 and 0 < there < 1:
        odds = there / (1 - there) / (home / (1 - home))
        half, direction = odds / (1 + odds), "high" if odds < 1 else "low"
        return (
            f"{words}, but what is right half the time at home is right in {half:.0%} there, and probabilities"
            f" calibrated at home are too {direction}"
        )
    return f"no evidence that it differs: {words}" if not np.isnan(low) else f"{TOO_FEW}: {words}"


def _mean(divisions: list[_Division]) -> _Division:
    """Return the mean of findings; a part that one of them lacks is in its rest and counts as 0."""
    count = len(divisions)
    areas = _mean_figure([each.areas[0] for each in divisions]), _mean_figure([each.areas[1] for each in divisions])
    mean = _Division(areas, {}, {ANOTHER_PREVALENCE: "the AUROC does not depend on it"})
    for cause in CAUSES:
        figures = [division.figures[cause] for division in divisions if cause in division.figures]
        if not figures:
            mean.words[cause] = f"{TOO_FEW} or not measured for every finding"
            continue
        share = len(figures) / count
        # the drop is that of the matrix's means
        mean.figures[cause] = areas[0] - areas[1] if cause == DROP else _mean_figure(figures).times(share)
        if cause != ANOTHER_PREVALENCE:
            mean.words[cause] = f"mean of {counted(count, 'finding')}" + (
                f", {count - len(figures)} of them without this part" if len(figures) < count else ""
            )
    return mean


def _mean_figure(figures: list[Figure]) -> Figure:
    values, rests_on = (np.array([getattr(each, name) for each in figures]) for name in ("value", "effective"))
    draws = np.column_stack([each.replicates for each in figures])
    return Figure(*mean_of_findings(values, draws, rests_on, np.ones(len(figures))))


def _check_same_images(there: Sample, relabelled: Sample | None) -> None:
    if relabelled is None or np.array_equal(there.table["image"].to_numpy(), relabelled.table["image"].to_numpy()):
        return
    raise EvaluationError(
        Code.EVALUATION_INVALID,
        f"the {counted(len(relabelled), 'image')} with labels of home's kind are not the "
        f"{counted(len(there), 'image')} there, in order.",
        fix="Join both label tables to one table of predictions and take the same images of both.",
    )
