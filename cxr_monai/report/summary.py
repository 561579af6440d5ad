"""What the model can and can't do: the page's first screen, every sentence of it drawn from the evaluation.

Praise goes by the lower limit of an interval, so few images earn none, and asks first whether the figure is better than
guessing (`cxr_monai.report.guessing`); where it is not, that is said. A weakness goes by the value itself. What can't
be said (no label, too few images, another hospital) stands beside what can.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.plurals import counted, out_of
from cxr_monai.report import guessing, words
from cxr_monai.report.evaluation_rows import (
    chosen_points,
    finding_rows,
    limits_of,
    mean_row,
    records,
    table_of,
    value,
    why_empty,
)
from cxr_monai.report.matrix_charts import ALONE

_OPEN = 0.7
"""An interval of the AUROC that holds 0.5 and reaches this says that there are too few images, not that it guesses."""

_READABLE = 1.25
"""A probability counts as readable if mean and slope are right within this factor."""


@dataclass(frozen=True)
class SummaryPoint:
    """One thing that it can or can't do: a few words, then the sentence with the numbers."""

    lead: str
    text: str


def abilities(evaluation: Evaluation) -> list[SummaryPoint]:
    """Return what the figures allow to say in the model's favour; may be empty."""
    points = [_sorts(evaluation), _best_reports(evaluation), _probabilities(evaluation, readable=True)]
    points += [_abstains(evaluation)]
    return [point for point in points if point is not None]


def limits(evaluation: Evaluation) -> list[SummaryPoint]:
    """Return what the model can't do and what this report can't say."""
    points = [
        _guesses(evaluation),
        _backwards(evaluation),
        _tells_nothing(evaluation),
        _rules_out(evaluation),
        _false_reports(evaluation),
        _probabilities(evaluation, readable=False),
        _gaps(evaluation),
        _nothing_known(evaluation),
        SummaryPoint(
            "It knows nothing else.",
            f"It answers for {counted(len(evaluation.sample.probabilities().findings), 'finding')} and passes over "
            "every other disease.",
        ),
        SummaryPoint(
            "It is not tested where you are.",
            "The figures hold for images like these. With other machines, patients or prevalences they will differ: "
            "judge it on local images first. It is not a medical device.",
        ),
    ]
    return [point for point in points if point is not None]


def separation_levels(evaluation: Evaluation) -> list[tuple[str, list[str]]]:
    """Return how well findings are told apart: (words, names), best first, by the lower limits of the AUROCs.

    Findings of too few patients are in none: their intervals may be too narrow. Nor are those that guessing would tell
    apart as well.
    """
    named: dict[str, list[str]] = {text: [] for _, text in words.SEPARATION}
    rows = [row for row in _judged(evaluation) if guessing.ranking(row) == "better"]
    for row in sorted(rows, key=lambda row: -value(row, "auroc")):
        named[words.separation(limits_of(row, "auroc")[0])].append(words.spoken(str(row["finding"])))
    return [(text, names) for text, names in named.items() if names]


def final_state(evaluation: Evaluation) -> pd.DataFrame:
    """Return the calibration rows of the probabilities as they are used: calibrated if they were, else as predicted."""
    table = table_of(evaluation, "calibration")
    if table.empty:
        return table
    table = table[table["finding"] != MEAN]
    state = "calibrated" if (table["state"] == "calibrated").any() else "as predicted"
    return table[table["state"] == state]


def _judged(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the rows of the findings that have a value and enough patients."""
    return [row for row in finding_rows(evaluation) if not why_empty(row) and not words.rough(row)]


def _sorts(evaluation: Evaluation) -> SummaryPoint | None:
    row = mean_row(evaluation)
    groups = "; ".join(f"{text} for {words.and_list(names)}" for text, names in separation_levels(evaluation))
    if not groups:
        return None
    if guessing.ranking(row) != "better":
        return SummaryPoint(
            "It sorts images for some findings.",
            "Shown an image with the label and one without, it gives the first the higher score more often than "
            f"guessing would {groups}.",
        )
    mean = words.pairs(value(row, "auroc"), *limits_of(row, "auroc"), evaluation.level)
    return SummaryPoint(
        "It sorts images by how likely a finding is.",
        f"Shown an image with the label and one without, it gives the first the higher score in {mean}, on average "
        f"over the findings; guessing would in 50. It does so {groups}.",
    )


def _guesses(evaluation: Evaluation) -> SummaryPoint | None:
    rows = [row for row in _judged(evaluation) if guessing.ranking(row) == "guessing"]
    mean = mean_row(evaluation) if len(finding_rows(evaluation)) > 1 else {}
    if not rows and guessing.ranking(mean) != "guessing":
        return None
    average = ""
    if guessing.ranking(mean) == "guessing":
        pairs = words.pairs(value(mean, "auroc"), *limits_of(mean, "auroc"), evaluation.level)
        average = f" On average over the findings, it ranks {pairs} rightly; guessing would 50."
    if not rows:
        return SummaryPoint("It does no better than guessing", f"on average over the findings.{average}")
    names = words.and_list([words.spoken(str(row["finding"])) for row in rows])
    wide = [row for row in rows if limits_of(row, "auroc")[1] >= _OPEN]
    unsure = (
        f" For {words.and_list([words.spoken(str(row['finding'])) for row in wide])} there are too few images to tell."
    )
    return SummaryPoint(
        "It does no better than guessing",
        f"for {names}, as far as these images show: the interval of the AUROC holds 0.5."
        f"{unsure if wide else ''}{average}",
    )


def _backwards(evaluation: Evaluation) -> SummaryPoint | None:
    rows = [row for row in _judged(evaluation) if guessing.ranking(row) == "worse"]
    if not rows:
        return None
    row = min(rows, key=lambda row: value(row, "auroc"))
    pairs = words.pairs(value(row, "auroc"), *limits_of(row, "auroc"), evaluation.level)
    names = words.and_list([words.spoken(str(row["finding"])) for row in rows])
    return SummaryPoint(
        "It does worse than guessing",
        f"for {names}: images without the label get the higher score more often than those with it. Lowest: "
        f"{words.spoken(str(row['finding']))}, {pairs} ranked rightly.",
    )


def _tells_nothing(evaluation: Evaluation) -> SummaryPoint | None:
    """Say where reports do not depend on the label: every image is reported, none is, or both kinds alike."""
    points = chosen_points(evaluation)
    everything = [words.spoken(name) for name, point in points.items() if guessing.reports_all(point)]
    nothing = [words.spoken(name) for name, point in points.items() if guessing.reports_none(point)]
    alike = [name for name, point in points.items() if guessing.reporting(point) == "guessing"]
    enough = {str(row["finding"]) for row in _judged(evaluation)}
    alike = [
        name
        for name in map(words.spoken, (name for name in alike if name in enough))
        if name not in {*everything, *nothing}
    ]
    wrong = [words.spoken(name) for name, point in points.items() if guessing.reporting(point) == "worse"]
    statements = [f"it reports {words.and_list(everything)} in every image"] if everything else []
    statements += [f"it reports {words.and_list(nothing)} in no image"] if nothing else []
    statements += [f"it reports {words.and_list(alike)} about as often with the label as without it"] if alike else []
    statements += [f"it reports {words.and_list(wrong)} less often with the label than without it"] if wrong else []
    if not statements:
        return None
    text = "; ".join(statements)
    return SummaryPoint("Some of its reports tell nothing:", f"{text}.")


def _best_reports(evaluation: Evaluation) -> SummaryPoint | None:
    judged = {str(row["finding"]) for row in _judged(evaluation) if guessing.ranking(row) == "better"}
    points = chosen_points(evaluation)
    trusted = [(limits_of(row, "ppv")[0], name, row) for name, row in points.items() if name in judged]
    trusted = sorted((item for item in trusted if guessing.surely_right(item[2])), key=lambda item: -item[0])
    if not trusted:
        return None
    _, name, row = trusted[0]
    others = words.and_list([words.spoken(name) for _, name, _ in trusted[1:]])
    also = f" More than half of its reports are right for {others}, too." if others else ""
    return SummaryPoint(
        "Some of its reports can be built on.", words.right_when_reported(name, row, evaluation.level) + also
    )


def _probabilities(evaluation: Evaluation, readable: bool) -> SummaryPoint | None:
    table = final_state(evaluation)
    rough = {words.spoken(str(row["finding"])) for row in finding_rows(evaluation) if words.rough(row)}
    ranked = {words.spoken(str(row["finding"])) for row in _judged(evaluation) if guessing.ranking(row) == "better"}
    good: list[str] = []
    bad: list[str] = []
    worst = (1.0, "")
    for row in records(table):
        mean, prevalence, slope = (value(row, name) for name in ("mean_score", "prevalence", "slope"))
        if not (mean > 0 and prevalence > 0) or math.isnan(slope):
            continue
        name, ratio = words.spoken(str(row["finding"])), mean / prevalence
        if name in rough:
            continue
        fits = 1 / _READABLE <= ratio <= _READABLE and 1 / _READABLE <= slope <= _READABLE
        if fits and name not in ranked:
            continue  # the same probability for all, say: right on average, and of no use
        (good if fits else bad).append(name)
        if not fits and abs(math.log(ratio)) > abs(math.log(worst[0])):
            worst = (ratio, name)
    if readable:
        if not good:
            return None
        but = f" but {words.and_list(bad)}" if bad else ""
        which = words.and_list(good) if len(bad) > len(good) / 3 else f"all findings that can be judged{but}"
        return SummaryPoint(
            "Its probabilities can be read as frequencies",
            f"for {which}: of 100 images given 10{words.NBSP}%, about 10 have the label.",
        )
    if not bad:
        return None
    ratio, name = worst
    off = ""
    if max(ratio, 1 / ratio) > _READABLE:
        off = f" For {name} they are {max(ratio, 1 / ratio):.1f} times too {'high' if ratio > 1 else 'low'} on average."
    return SummaryPoint(
        "Its probabilities are no frequencies", f"for {words.and_list(bad)}: use them to rank, no more.{off}"
    )


def _abstains(evaluation: Evaluation) -> SummaryPoint | None:
    table = table_of(evaluation, "conformal")
    if table.empty or "abstained" not in table.columns:
        return None
    judged = [str(row["finding"]) for row in _judged(evaluation) if guessing.ranking(row) == "better"]
    shares = table[table["finding"].isin(judged)]["abstained"].dropna()
    if shares.empty or not shares.max() > 0:
        return None
    least, most = words.known_frequency(float(shares.min())), words.known_frequency(float(shares.max()))
    share = out_of(most.count, most.total, "image")
    if (least.count, least.total) != (most.count, most.total):
        total = "" if least.total == most.total else f" of {least.total:,}"
        share = f"{least.count:,}{total} to {share}, depending on the finding"
    return SummaryPoint(
        "It can say 'I don't know'.",
        f"Asked for answers that are right as often as promised, it gives none in {share}.",
    )


def _rules_out(evaluation: Evaluation) -> SummaryPoint | None:
    """Say how much is missed; where every image is reported nothing can be, and `_tells_nothing` says so."""
    rough = {str(row["finding"]) for row in finding_rows(evaluation) if words.rough(row)}
    points = {name: row for name, row in chosen_points(evaluation).items() if not guessing.reports_all(row)}
    shares = [(1 - value(row, "sensitivity"), name) for name, row in points.items()]
    missed = sorted(miss for miss in shares if not math.isnan(miss[0]))
    misses = [miss for miss in missed if miss[1] not in rough] or missed
    if not misses:
        return None
    least, most = (
        words.known_frequency(share, total=words.with_label(points[name])) for share, name in (misses[0], misses[-1])
    )
    text = f"Of {counted(least.total, 'image')} with the label it misses {least.count:,} ({words.spoken(misses[0][1])})"
    if len(misses) > 1:
        total = "" if most.total == least.total else f" of {most.total:,}"
        text += f" to {most.count:,}{total} ({words.spoken(misses[-1][1])})"
    return SummaryPoint("It can't rule a finding out.", f"{text}, at the operating points of this report.")


def _false_reports(evaluation: Evaluation) -> SummaryPoint | None:
    points = chosen_points(evaluation)
    right = [(value(row, "ppv"), name) for name, row in points.items()]
    right = sorted(item for item in right if not math.isnan(item[0]))
    wrong = [item for item in right if item[0] < 0.5]
    if not wrong:
        return None
    which = [words.spoken(name) for _, name in wrong]
    named = "every finding" if len(wrong) == len(right) > 1 else words.and_list(which)
    worst = words.known_frequency(wrong[0][0], total=words.reported(points[wrong[0][1]]))
    tail = f" Worst: {which[0]}, {worst.count:,} right of {counted(worst.total, 'report')}."
    return SummaryPoint(
        "A report is a reason to look, not a diagnosis.",
        f"More than half of its reports lack the label for {named}.{tail} Rare findings fare worst, however good a "
        "model is.",
    )


def _gaps(evaluation: Evaluation) -> SummaryPoint | None:
    table = table_of(evaluation, "subgroups")
    if table.empty or "gap" not in table.columns:
        return None
    means = table[table["finding"] == MEAN]
    worse = means[(means["p_holm"] < 1 - evaluation.level) & (means["gap"] < 0)].sort_values("gap", kind="stable")
    asked = [row for row in records(table) if row["finding"] != MEAN and ALONE not in str(row.get("note"))]
    silent = sum(math.isnan(value(row, "gap")) for row in asked)
    unsaid = ""
    if silent:
        unsaid = f" For {out_of(silent, len(asked), 'pair')} of a group and a finding there are too few images to say."
    unsaid = _missed_more(evaluation, asked) + unsaid
    if worse.empty:
        text = "No group's mean AUROC is surely lower than the rest's; that doesn't prove that all are served alike."
        return SummaryPoint("It may serve some patients worse.", text + unsaid)
    named = [f"{_group(row)} (by {words.number(-value(row, 'gap'), 3)})" for row in records(worse)]
    return SummaryPoint(
        "It serves some patients worse.",
        f"Its mean AUROC is lower than in the rest for {words.and_list(named)}.{unsaid}",
    )


def _missed_more(evaluation: Evaluation, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return where one threshold for all misses surely more than in the rest; empty if nowhere."""
    surely = [row for row in rows if value(row, "sensitivity_p_holm") < 1 - evaluation.level]
    more = sorted((row for row in surely if value(row, "sensitivity_gap") < 0), key=lambda row: row["sensitivity_gap"])
    if not more:
        return ""
    most = words.known_frequency(-value(more[0], "sensitivity_gap"))
    pairs = "one pair" if len(more) == 1 else counted(len(more), "pair")
    where = f"{words.spoken(str(more[0]['finding']))}, {_group(more[0])}"
    return (
        f" At one threshold for all it surely misses more than in the rest for {pairs} of a group and a finding; most: "
        f"{where} ({most.count:,} more of {most.total:,} with the label)."
    )


def _nothing_known(evaluation: Evaluation) -> SummaryPoint | None:
    rows = finding_rows(evaluation)
    empty = [words.spoken(str(row["finding"])) for row in rows if why_empty(row)]
    few = [words.spoken(str(row["finding"])) for row in rows if not why_empty(row) and words.rough(row)]
    statements = [f"nothing can be said about {words.and_list(empty)}"] if empty else []
    statements += (
        [f"what is said about {words.and_list(few)} rests on fewer than {words.FEW_PATIENTS} patients"] if few else []
    )
    if not statements:
        return None
    text = "; ".join(statements)
    return SummaryPoint("This report leaves gaps:", f"{text}.")


def _group(row: Any) -> str:
    if row["attribute"] == "prior_visits":
        return f"{'no' if row['group'] == 'none' else row['group']} earlier images"
    return f"{str(row['attribute']).replace('_', ' ')} {row['group']}"
