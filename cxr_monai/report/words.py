"""Numbers in words: natural frequencies with their intervals, and no sentence that says more than its number does.

"Of 100 images like these in which the model reports effusion, 81 have the label (95 % interval 78 to 84)." People who
are given counts out of a hundred draw the right conclusion far more often than from 'PPV 0.81' (Gigerenzer and Hoffrage
1995, doi 10.1037/0033-295X.102.4.684). A share under 2 or over 98 of 100 is told out of 1,000, a smaller one out of
10,000, so that "0 of 100" is only said of a count that is zero.

Every function returns plain text; whoever puts it into a page escapes it, for a finding's name can hold anything.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxr_monai.origins import official_split
from cxr_monai.plurals import counted, have, out_of
from cxr_monai.report import guessing
from cxr_monai.report.evaluation_rows import limits_of, value, why_empty

DASH = "\u2013"
MINUS = "\u2212"
NBSP = "\u00a0"
FEW_PATIENTS = 20
"""Positive patients under which a figure is called a rough hint."""

FEW_IMAGES = 50
"""Images under which a share that was counted in them is called a rough hint."""

NO_THRESHOLD = "No threshold was chosen for it, so the model reports nothing."
RANKS_ONLY = "Its score is made of several outputs: it ranks images, and reports nothing."

# A pair is an image with the label and one without it; the AUROC is the share of pairs that are ranked rightly.
SEPARATION = ((0.9, "very well"), (0.8, "well"), (0.7, "moderately"), (0.5, "weakly"))


@dataclass(frozen=True)
class Frequency:
    """``count`` out of ``total``, with whole-numbered limits (None: no interval)."""

    count: int
    total: int
    low: int | None = None
    high: int | None = None

    def span(self, level: float | None = None) -> str:
        """Return `` (95 % interval 78 to 84)``, without the level `` (78 to 84)``; empty without an interval."""
        if self.low is None or self.high is None:
            return ""
        lead = f"{percent(level)} interval " if level is not None else ""
        return f" ({lead}{self.low:,} to {self.high:,})"


def frequency(share: float, low: float = math.nan, high: float = math.nan, total: float = math.nan) -> Frequency | None:
    """Return `known_frequency`; None if the share is NaN."""
    return None if math.isnan(share) else known_frequency(share, low, high, total)


def known_frequency(share: float, low: float = math.nan, high: float = math.nan, total: float = math.nan) -> Frequency:
    """Return a share as a count out of 100, 1,000 or 10,000.

    Args:
        share: from 0 to 1.
        low, high: its limits.
        total: how many were counted. The count is out of no more than the next of 100, 1,000 and 10,000 above it: a
            share of 22 images is told out of 100.

    >>> known_frequency(0.81, 0.78, 0.84)
    Frequency(count=81, total=100, low=78, high=84)
    >>> known_frequency(0.0041)
    Frequency(count=4, total=1000, low=None, high=None)
    """
    share = _whole(share)
    rare = min(share, 1 - share)
    whole = 100 if rare >= 0.02 or rare <= 0 else 1000 if rare >= 0.002 else 10000
    if not math.isnan(total):
        whole = min(whole, 100 if total <= 100 else 1000 if total <= 1000 else 10000)
    limits = (None, None) if math.isnan(low) or math.isnan(high) else (_round(low * whole), _round(high * whole))
    return Frequency(_round(share * whole), whole, *limits)


def with_label(point: Mapping[str, Any]) -> float:
    """Return how many images of an operating point's row have the label; NaN where it does not say."""
    return value(point, "tp") + value(point, "fn")


def without_label(point: Mapping[str, Any]) -> float:
    """Return how many images do not have it."""
    return value(point, "fp") + value(point, "tn")


def reported(point: Mapping[str, Any]) -> float:
    """Return how many images are reported."""
    return value(point, "tp") + value(point, "fp")


def silent(point: Mapping[str, Any]) -> float:
    """Return how many images are passed over."""
    return value(point, "fn") + value(point, "tn")


def few(counted: float) -> str:
    """Return `` (22 images, too few to say more)`` where a share rests on so few; else nothing."""
    if not 0 < counted < FEW_IMAGES:
        return ""
    return f" Only {counted:.0f} such {'image is' if counted == 1 else 'images are'} here: a rough hint, no more."


def filled_dots(share: float) -> int:
    """Return how many of 100 dots to fill: some and not all of them unless the share is 0 or 1.

    >>> filled_dots(0.001), filled_dots(0.5), filled_dots(1.0)
    (1, 50, 100)
    """
    return round(share) * 100 if share in (0, 1) else min(99, max(1, _round(share * 100)))


def percent(share: float, digits: int = 0) -> str:
    """Return a share in percent; the blank does not break.

    >>> percent(0.95).replace(NBSP, " "), percent(0.1234, 1).replace(NBSP, " ")
    ('95 %', '12.3 %')
    """
    return f"{round(share * 100, 6):.{digits}f}{NBSP}%" if digits else f"{round(share * 100, 6):g}{NBSP}%"


def number(figure: float, digits: int = 3) -> str:
    """Return a number, a dash for NaN, the sign for infinity.

    >>> number(0.88249), number(12345, 0), number(math.nan) == DASH
    ('0.882', '12,345', True)
    """
    if math.isnan(figure):
        return DASH
    if math.isinf(figure):
        return "∞" if figure > 0 else f"{MINUS}∞"
    text = f"{figure:,.{digits}f}"
    return text.replace("-", MINUS)


def between(low: float, high: float, digits: int = 3) -> str:
    """Return an interval; a dash where there is none.

    >>> between(0.871, 0.894)
    '0.871 to 0.894'
    """
    if math.isnan(low) or math.isnan(high):
        return DASH
    return f"{number(low, digits)} to {number(high, digits)}"


def spoken(finding: str) -> str:
    """Return a finding as it stands within a sentence.

    >>> spoken("Pleural_Thickening"), spoken("COPD")
    ('pleural thickening', 'COPD')
    """
    words = finding.replace("_", " ").split(" ")
    return " ".join(
        word.lower() if word.replace("-", "").isalpha() and word in (word.title(), word.capitalize()) else word
        for word in words
    )


def heading(finding: str) -> str:
    """Return a finding as it stands in a heading or a table.

    >>> heading("Pleural_Thickening")
    'Pleural thickening'
    """
    words = spoken(finding)
    return words[:1].upper() + words[1:]


def and_list(names: Sequence[str]) -> str:
    """Return names as an enumeration.

    >>> and_list(["a", "b", "c"])
    'a, b and c'
    """
    return _joined(names, " and ")


def or_list(names: Sequence[str]) -> str:
    """Return names as alternatives.

    >>> or_list(["a", "b", "c"])
    'a, b or c'
    """
    return _joined(names, " or ")


def _joined(names: Sequence[str], last: str) -> str:
    return last.join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def rule_words(rule: str) -> str:
    """Return what a rule of choosing a threshold means, to end 'a threshold that ...'.

    >>> rule_words("sensitivity=0.9")
    'finds 90 of 100 images with the label'
    """
    name, _, given = str(rule).partition("=")
    share = _number_of(given)
    if name == "youden":
        return "makes sensitivity plus specificity largest (Youden)"
    if name == "f1":
        return "makes F1, the balance of sensitivity and PPV, largest"
    if name == "sensitivity" and share is not None:
        return f"finds {_of_hundred(share)} images with the label"
    if name == "specificity" and share is not None:
        return f"passes over {_of_hundred(share)} images without the label"
    if name == "cost" and share is not None:
        return f"costs least if one miss costs as much as {share:g} false alarms"
    return f"follows the rule '{rule}'"


def right_when_reported(finding: str, row: Mapping[str, Any], level: float) -> str:
    """Return what a report of this finding is worth: the PPV."""
    right = frequency(value(row, "ppv"), *limits_of(row, "ppv"), reported(row))
    if right is None:
        return f"The model reports {spoken(finding)} in none of these images, so how often it is right can't be said."
    return (
        f"Of {counted(right.total, 'image')} like these in which the model reports {spoken(finding)}, "
        f"{right.count:,} {have(right.count)} the label{right.span(level)}.{few(reported(row))}"
        + _no_help(row, guessing.predicting(row), "a report does not surely make the label likelier")
    )


def missed(finding: str, row: Mapping[str, Any], level: float | None = None) -> str:
    """Return how many of the images with the label go unreported: one minus the sensitivity."""
    low, high = limits_of(row, "sensitivity")
    misses = frequency(1 - value(row, "sensitivity"), 1 - high, 1 - low, with_label(row))
    if misses is None:
        return f"No image here has the label, so how often it misses {spoken(finding)} can't be said."
    if reported(row) > 0 and silent(row) == 0:
        return (
            f"It reports {spoken(finding)} in every image, with the label or without: that it misses none says nothing."
        )
    return (
        f"Of {counted(misses.total, 'image')} with the label, it misses "
        f"{misses.count:,}{misses.span(level)}.{few(with_label(row))}"
    )


def false_alarms(finding: str, row: Mapping[str, Any]) -> str:
    """Return how many of the images without the label are reported: one minus the specificity."""
    low, high = limits_of(row, "specificity")
    alarms = frequency(1 - value(row, "specificity"), 1 - high, 1 - low, without_label(row))
    if alarms is None:
        return f"No image here is without the label, so false reports of {spoken(finding)} can't be counted."
    hint = few(without_label(row))
    return (
        f"Of {counted(alarms.total, 'image')} without it, it reports {spoken(finding)} "
        f"in {alarms.count:,}{alarms.span()}.{hint}"
    )


def left_when_silent(finding: str, row: Mapping[str, Any]) -> str:
    """Return what the model's silence is worth: one minus the NPV."""
    low, high = limits_of(row, "npv")
    overlooked = frequency(1 - value(row, "npv"), 1 - high, 1 - low, silent(row))
    if overlooked is None:
        return f"It reports {spoken(finding)} in every image, so there is no silence to judge."
    clause = f"{overlooked.count:,} {have(overlooked.count)} the label all the same{overlooked.span()}."
    tail = _no_help(row, guessing.silence(row), "its silence does not surely make the label rarer")
    return f"Of {counted(overlooked.total, 'image')} in which it does not, {clause}{few(silent(row))}{tail}"


def _no_help(row: Mapping[str, Any], standing: guessing.Standing, what: str) -> str:
    """Return, where reports or silence are no better than guessing, that they are, and how often all images have it."""
    if standing in ("better", "unknown"):
        return ""
    having, images = with_label(row), with_label(row) + without_label(row)
    return f" As far as these images show, {what}: of all {images:,.0f}, {having:,.0f} {have(having)} it."


def in_a_thousand(finding: str, row: Mapping[str, Any]) -> str:
    """Return the workload: of 1,000 images, how many are reported, rightly reported and missed."""
    images = value(row, "images")
    if not images > 0:
        return ""
    tp, fp, fn = (_round(1000 * value(row, name) / images) for name in ("tp", "fp", "fn"))
    return (
        f"In 1,000 images like these, {tp + fn:,} {have(tp + fn)} the label. The model reports {spoken(finding)} in "
        f"{tp + fp:,}: {tp:,} rightly, {fp:,} falsely; it misses {fn:,}."
    )


def at_stated_prevalence(finding: str, row: Mapping[str, Any]) -> str:
    """Return both predictive values at the prevalence that the user stated; empty if none was."""
    stated = frequency(value(row, "stated_prevalence"))
    right = frequency(value(row, "ppv_at_prevalence"), *limits_of(row, "ppv_at_prevalence"))
    if stated is None or right is None:
        return ""
    low, high = limits_of(row, "npv_at_prevalence")
    passed = frequency(1 - value(row, "npv_at_prevalence"), 1 - high, 1 - low)
    text = (
        f"Where {out_of(stated.count, stated.total, 'image')} {have(stated.total)} "
        "it (the prevalence stated for this report), "
        f"{out_of(right.count, right.total, 'report')} of {spoken(finding)} would be right{right.span()}"
    )
    if passed is not None:
        text += f", and {out_of(passed.count, passed.total, 'image')} without a report would have it{passed.span()}"
    return text + "."


def pairs(auroc: float, low: float = math.nan, high: float = math.nan, level: float | None = None) -> str:
    """Return an AUROC as pairs of images that are ranked rightly; empty if NaN.

    >>> pairs(0.88, 0.87, 0.89)
    '88 of 100 pairs (87 to 89)'
    """
    ranked = frequency(auroc, low, high)
    return "" if ranked is None else f"{out_of(ranked.count, ranked.total, 'pair')}{ranked.span(level)}"


def separation(low: float) -> str:
    """Return how well a finding is told apart, by the lower limit of its AUROC; empty where guessing does as well.

    >>> separation(0.83), separation(0.5)
    ('well', '')
    """
    return next((words for least, words in SEPARATION if low >= least), "") if low > 0.5 else ""


def no_value(finding: str, row: Mapping[str, Any]) -> str:
    """Return the sentence behind a dash; empty where there is a value."""
    why = why_empty(row)
    return f"{heading(finding)} has no value: {why}." if why else ""


def rough(row: Mapping[str, Any]) -> str:
    """Return a warning where a finding rests on few patients with the label; empty where it doesn't."""
    if "positive_patients" in row:
        count, unit = value(row, "positive_patients"), "patient"
    else:
        count, unit = value(row, "positives"), "image"
    if not 0 < count < FEW_PATIENTS:
        return ""
    plural = "" if count == 1 else "s"
    return f"This rests on {count:.0f} {unit}{plural} with the label: a rough hint, no more."


def split_words(split: Mapping[str, Any] | None, label_version: str = "") -> str:
    """Return what the images were set apart by, as a phrase; whose ``official`` split it is follows from the labels."""
    if not split:
        return "no split: nothing says that these patients were kept out of training"
    if split.get("name"):
        return str(split["name"])
    scheme = str(split.get("scheme") or "")
    seed = "" if split.get("seed") is None else f", seed {split['seed']}"
    phrases = {
        "official": official_split(label_version),
        "random": f"an own random split by patient{seed}",
        "kfold": f"folds by patient{seed}",
        "lists": "a split by lists of images",
        "joined": "each data set's own split",
        "edited": "a split that was edited after it was recorded",
    }
    return phrases.get(scheme.lower(), f"the split '{scheme}'{seed}" if scheme else "a split without a name")


def _whole(share: float) -> float:
    """Return 0 and 1 where only the arithmetic of floats keeps a share from them."""
    nearest = round(share)
    return float(nearest) if abs(share - nearest) < 1e-9 else share


def _round(count: float) -> int:
    """Return the nearest whole number, halves up, so that 84.5 and 85.5 are rounded alike."""
    return math.floor(count + 0.5 + 1e-9)


def _number_of(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _of_hundred(share: float) -> str:
    shown = frequency(share) or Frequency(0, 100)
    return f"{shown.count:,} of {shown.total:,}"
