"""What the model can and can't do: the page's first screen, every sentence of it drawn from the evaluation.

Praise goes by the lower limit of an interval, so few images earn none; a weakness goes by the value itself. What can't
be said (no label, too few images, another hospital) stands beside what can.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from cxr_monai.report import words
from cxr_monai.report.reading import (
    MEAN,
    chosen_points,
    finding_rows,
    interval,
    mean_row,
    records,
    table_of,
    value,
    why_empty,
)
from cxr_monai.report.relations import ALONE

if TYPE_CHECKING:
    from cxr_monai.evaluation.evaluate import Evaluation

READABLE = 1.25
"""A probability counts as readable if mean and slope are right within this factor."""


@dataclass(frozen=True)
class Point:
    """One thing that it can or can't do: a few words, then the sentence with the numbers."""

    lead: str
    text: str


def can(evaluation: "Evaluation") -> list[Point]:
    """Return what the figures allow to say in the model's favour; may be empty."""
    points = [_sorts(evaluation), _best_reports(evaluation), _probabilities(evaluation, readable=True)]
    points += [_abstains(evaluation)]
    return [point for point in points if point is not None]


def cannot(evaluation: "Evaluation") -> list[Point]:
    """Return what the model can't do and what this report can't say."""
    points = [
        _rules_out(evaluation),
        _false_reports(evaluation),
        _probabilities(evaluation, readable=False),
        _gaps(evaluation),
        _nothing_known(evaluation),
        Point(
            "It knows nothing else.",
            f"It answers for {_count(len(evaluation.sample.findings), 'finding')} and passes over every other disease.",
        ),
        Point(
            "It is not tested where you are.",
            "The figures hold for images like these. With other machines, patients or prevalences they will differ: "
            "judge it on local images first. It is not a medical device.",
        ),
    ]
    return [point for point in points if point is not None]


def levels(evaluation: "Evaluation") -> list[tuple[str, list[str]]]:
    """Return how well findings are told apart: (words, names), best first, by the lower limits of the AUROCs.

    Findings of too few patients are in none: their intervals may be too narrow.
    """
    named: dict[str, list[str]] = {text: [] for _, text in words.SEPARATION}
    rows = [row for row in finding_rows(evaluation) if not why_empty(row) and not words.rough(row)]
    for row in sorted(rows, key=lambda row: -value(row, "auroc")):
        low, _ = interval(row, "auroc")
        if not math.isnan(low):
            named[words.separation(low)].append(words.spoken(str(row["finding"])))
    return [(text, names) for text, names in named.items() if names]


def final_state(evaluation: "Evaluation") -> pd.DataFrame:
    """Return the calibration rows of the probabilities as they are used: calibrated if they were, else as predicted."""
    table = table_of(evaluation, "calibration")
    if table.empty:
        return table
    table = table[table["finding"] != MEAN]
    state = "calibrated" if (table["state"] == "calibrated").any() else "as predicted"
    return table[table["state"] == state]


def _sorts(evaluation: "Evaluation") -> Point | None:
    row = mean_row(evaluation)
    low, high = interval(row, "auroc")
    mean = words.pairs(value(row, "auroc"), low, high, evaluation.level)
    groups = "; ".join(f"{text} for {words.listed(names)}" for text, names in levels(evaluation))
    if not mean or not groups:
        return None
    return Point(
        "It sorts images by how likely a finding is.",
        f"Shown an image with the label and one without, it gives the first the higher score in {mean}, on average "
        f"over the findings; guessing would in 50. It does so {groups}.",
    )


def _best_reports(evaluation: "Evaluation") -> Point | None:
    points = chosen_points(evaluation)
    trusted = [(interval(row, "ppv")[0], name, row) for name, row in points.items()]
    trusted = sorted((item for item in trusted if item[0] >= 0.5), key=lambda item: -item[0])
    if not trusted:
        return None
    _, name, row = trusted[0]
    others = words.listed([words.spoken(name) for _, name, _ in trusted[1:]])
    also = f" More than half of its reports are right for {others}, too." if others else ""
    return Point("Some of its reports can be built on.", words.right_when_reported(name, row, evaluation.level) + also)


def _probabilities(evaluation: "Evaluation", readable: bool) -> Point | None:
    table = final_state(evaluation)
    rough = {words.spoken(str(row["finding"])) for row in finding_rows(evaluation) if words.rough(row)}
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
        fits = 1 / READABLE <= ratio <= READABLE and 1 / READABLE <= slope <= READABLE
        (good if fits else bad).append(name)
        if not fits and abs(math.log(ratio)) > abs(math.log(worst[0])):
            worst = (ratio, name)
    if readable:
        if not good:
            return None
        but = f" but {words.listed(bad)}" if bad else ""
        which = words.listed(good) if len(bad) > len(good) / 3 else f"all findings that can be judged{but}"
        return Point(
            "Its probabilities can be read as frequencies",
            f"for {which}: of 100 images given 10{words.NBSP}%, about 10 have the label.",
        )
    if not bad:
        return None
    ratio, name = worst
    off = ""
    if max(ratio, 1 / ratio) > READABLE:
        off = f" For {name} they are {max(ratio, 1 / ratio):.1f} times too {'high' if ratio > 1 else 'low'} on average."
    return Point("Its probabilities are no frequencies", f"for {words.listed(bad)}: use them to rank, no more.{off}")


def _abstains(evaluation: "Evaluation") -> Point | None:
    table = table_of(evaluation, "conformal")
    if table.empty or "abstained" not in table.columns:
        return None
    judged = [str(row["finding"]) for row in finding_rows(evaluation) if not why_empty(row)]
    shares = table[table["finding"].isin(judged)]["abstained"].dropna()
    if shares.empty or not shares.max() > 0:
        return None
    least, most = words.frequency(float(shares.min())), words.frequency(float(shares.max()))
    if least is None or most is None:
        return None
    return Point(
        "It can say 'I don't know'.",
        "Asked for answers that are right as often as promised, it gives none in "
        f"{least.count:,}{'' if least.of == most.of else f' of {least.of:,}'} to {most.count:,} of {most.of:,} images, "
        "depending on the finding.",
    )


def _rules_out(evaluation: "Evaluation") -> Point | None:
    rough = {str(row["finding"]) for row in finding_rows(evaluation) if words.rough(row)}
    missed = [(1 - value(row, "sensitivity"), name) for name, row in chosen_points(evaluation).items()]
    missed = sorted(miss for miss in missed if not math.isnan(miss[0]))
    misses = [miss for miss in missed if miss[1] not in rough] or missed
    if not misses:
        return None
    least, most = words.frequency(misses[0][0]), words.frequency(misses[-1][0])
    if least is None or most is None:
        return None
    text = f"Of {least.of:,} images with the label it misses {least.count:,} ({words.spoken(misses[0][1])})"
    if len(misses) > 1:
        of = "" if most.of == least.of else f" of {most.of:,}"
        text += f" to {most.count:,}{of} ({words.spoken(misses[-1][1])})"
    return Point("It can't rule a finding out.", f"{text}, at the operating points of this report.")


def _false_reports(evaluation: "Evaluation") -> Point | None:
    right = [(value(row, "ppv"), name) for name, row in chosen_points(evaluation).items()]
    right = sorted(item for item in right if not math.isnan(item[0]))
    wrong = [item for item in right if item[0] < 0.5]
    if not wrong:
        return None
    which = [words.spoken(name) for _, name in wrong]
    named = "every finding" if len(wrong) == len(right) > 1 else words.listed(which)
    worst = words.frequency(wrong[0][0])
    tail = "" if worst is None else f" Worst: {which[0]}, {worst.count:,} right of {worst.of:,} reports."
    return Point(
        "A report is a reason to look, not a diagnosis.",
        f"More than half of its reports lack the label for {named}.{tail} Rare findings fare worst, however good a "
        "model is.",
    )


def _gaps(evaluation: "Evaluation") -> Point | None:
    table = table_of(evaluation, "subgroups")
    if table.empty or "gap" not in table.columns:
        return None
    means = table[table["finding"] == MEAN]
    worse = means[(means["p_holm"] < 1 - evaluation.level) & (means["gap"] < 0)].sort_values("gap", kind="stable")
    asked = [row for row in records(table) if row["finding"] != MEAN and ALONE not in str(row.get("note"))]
    silent = sum(math.isnan(value(row, "gap")) for row in asked)
    unsaid = ""
    if silent:
        unsaid = f" For {silent:,} of {len(asked):,} pairs of a group and a finding there are too few images to say."
    unsaid = _missed_more(evaluation, asked) + unsaid
    if worse.empty:
        text = "No group's mean AUROC is surely lower than the rest's; that doesn't prove that all are served alike."
        return Point("It may serve some patients worse.", text + unsaid)
    named = [f"{_group(row)} (by {words.number(-value(row, 'gap'), 3)})" for row in records(worse)]
    return Point(
        "It serves some patients worse.",
        f"Its mean AUROC is lower than in the rest for {words.listed(named)}.{unsaid}",
    )


def _missed_more(evaluation: "Evaluation", rows: Sequence[Mapping[str, Any]]) -> str:
    """Return where one threshold for all misses surely more than in the rest; empty if nowhere."""
    surely = [row for row in rows if value(row, "sensitivity_p_holm") < 1 - evaluation.level]
    more = sorted((row for row in surely if value(row, "sensitivity_gap") < 0), key=lambda row: row["sensitivity_gap"])
    most = words.frequency(-value(more[0], "sensitivity_gap")) if more else None
    if most is None:
        return ""
    pairs = "one pair" if len(more) == 1 else f"{len(more):,} pairs"
    where = f"{words.spoken(str(more[0]['finding']))}, {_group(more[0])}"
    return (
        f" At one threshold for all it surely misses more than in the rest for {pairs} of a group and a finding; most: "
        f"{where} ({most.count:,} more of {most.of:,} with the label)."
    )


def _nothing_known(evaluation: "Evaluation") -> Point | None:
    rows = finding_rows(evaluation)
    empty = [words.spoken(str(row["finding"])) for row in rows if why_empty(row)]
    few = [words.spoken(str(row["finding"])) for row in rows if not why_empty(row) and words.rough(row)]
    said = [f"nothing can be said about {words.listed(empty)}"] if empty else []
    said += [f"what is said about {words.listed(few)} rests on fewer than {words.FEW} patients"] if few else []
    if not said:
        return None
    text = "; ".join(said)
    return Point("This report leaves gaps:", f"{text}.")


def _group(row: Any) -> str:
    if row["attribute"] == "prior_visits":
        return f"{'no' if row['group'] == 'none' else row['group']} earlier images"
    return f"{str(row['attribute']).replace('_', ' ')} {row['group']}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
