"""An external validation in words for a physician: what a network is worth in other patients, and why, or that this
is not known.

    for sentence in place_sentences(validation, "A", "ours"): ...

A sentence is only made where a whole interval supports it: a loss where the interval of the drop is above 0, a cause
where that of its part is, a threshold that no longer holds where `check_operating_points` says no. Everything else is
said to be unknown. The figures are of the mean over findings, which is one test; single findings stand in the tables,
and their intervals are not corrected for their number.
"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from cxr_monai.evaluation.drop_causes import (
    AGE_AND_SEX_MIX,
    ANOTHER_PREVALENCE,
    DROP,
    FINDING_BY_GROUP,
    LABEL_DEFINITION,
    UNEXPLAINED,
    VIEW_MIX,
)
from cxr_monai.evaluation.external_result import ExternalValidation
from cxr_monai.evaluation.metadata_only import ALL_TOGETHER
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.transfer import (
    EXTERNAL,
    HIGHER,
    HOME,
    INTERNAL,
    LOWER,
    NO_EVIDENCE,
    OTHER_PATIENTS,
    UNVERIFIED,
)
from cxr_monai.plurals import be, counted
from cxr_monai.report import words
from cxr_monai.report.evaluation_rows import records, value

RELATIONS: dict[str, str] = {
    HOME: "the source that the network learned from, other patients",
    EXTERNAL: "another source, and no shared films are known of",
    OTHER_PATIENTS: "films of the same collection, shown to be of other patients; the institution is the same",
    INTERNAL: "films of the same collection, whose patients may be the network's: no external test",
    UNVERIFIED: "it isn't recorded whose films one of the two has: that the test is external is not verified",
}
"""What each relation of a cell means."""
_CAUSE_PHRASES = {
    VIEW_MIX: "another mix of views",
    AGE_AND_SEX_MIX: "another mix of ages and sexes",
    FINDING_BY_GROUP: "how often each group of patients has the finding here",
    LABEL_DEFINITION: "another meaning of the labels",
}
_ATTRIBUTES = {ALL_TOGETHER: "all that is known of patient and film together"}


def place_sentences(validation: ExternalValidation, network: str, place: str) -> list[str]:
    """Return what a physician at one place should know of one network.

    Args:
        validation: the result.
        network, place: of a cell that is not the network's home.

    Returns:
        sentences in the order of reading; the first alone where nothing could be judged.
    """
    mean = _cell(validation.matrix, network, place, MEAN)
    if math.isnan(value(mean, "auroc")):
        why = str(mean.get("why") or "there is no figure")
        return [f"What {network} is worth in these patients can't be said: {why}."]
    sentences = [_standing(mean, validation.level, network)]
    sentences += [
        *_against_home(validation, network, place, int(value(mean, "findings"))),
        *_without_picture(validation, place),
        *_probabilities(validation, network, place),
        *_thresholds(validation, network, place),
    ]
    relation = str(mean["relation"])
    if relation in (INTERNAL, UNVERIFIED):
        sentences.append(f"Mind: {RELATIONS[relation]}.")
    return sentences


def _standing(mean: Mapping[str, Any], level: float, network: str) -> str:
    low, high = value(mean, "low"), value(mean, "high")
    ranked = words.pairs(value(mean, "auroc"), low, high, level)
    over = int(value(mean, "findings"))
    what = "of one finding" if over == 1 else f"on average over {over} findings"
    text = (
        f"In these patients {network} puts a film with the finding before one without it in {ranked}, {what}; 50 of "
        "100 is guessing"
    )
    if math.isnan(low):
        return f"{text}. There are too few patients to say how sure that is."
    return f"{text}." if low > 0.5 else f"{text}, and as far as these films show it may be no better."


def _against_home(validation: ExternalValidation, network: str, place: str, findings: int) -> list[str]:
    drop = _cell(validation.drops, network, place, MEAN)
    if not drop:
        return ["What it loses away from its home isn't known: no films of its home were judged."]
    home = f"at its home ({drop['home']})"
    evidence, over = str(drop["evidence"]), int(value(drop, "findings"))
    same = "" if over == findings == 1 else f" on the {counted(over, 'finding')} that both have"
    if evidence == NO_EVIDENCE:
        low, high = value(drop, "low"), value(drop, "high")
        return [
            f"There is no evidence that it is worse or better here than {home}{same}: it may lose as much as "
            f"{_pairs(max(high, 0))}, or gain {_pairs(max(-low, 0))}."
        ]
    if not over:
        return [f"What it loses can't be said: no finding has patients enough both here and {home}."]
    if evidence not in (LOWER, HIGHER):
        return [f"Whether it is worse here than {home} can't be said: there are too few patients."]
    size = abs(value(drop, "drop"))
    ends = sorted((abs(value(drop, "low")), abs(value(drop, "high"))))
    than = "fewer" if evidence == LOWER else "more"
    ends_text = f"{_points(ends[0])} to {_points(ends[1])}"
    sentence = f"That is {_pairs(size)} {than} ({ends_text}) than {home}{same}, more than chance explains."
    return [sentence, *(_because(validation, network, place) if evidence == LOWER else [])]


def _because(validation: ExternalValidation, network: str, place: str) -> list[str]:
    """Return which causes the intervals support, or that they support none."""
    rows = _cells(validation.causes, network, place, MEAN)
    if not rows:
        return ["Why was not looked at."]
    causes = [row for row in rows if row["cause"] not in (DROP, UNEXPLAINED, ANOTHER_PREVALENCE)]
    supported = [row for row in causes if value(row, "low") > 0]
    judged = [row for row in causes if not math.isnan(value(row, "low"))]
    sentences = []
    if supported:
        parts = [
            f"{_phrase(row)} ({_pairs(value(row, 'part'))}, {_points(value(row, 'low'))} to "
            f"{_points(value(row, 'high'))})"
            for row in supported
        ]
        sentences.append(f"Because: a part of the loss comes with {words.and_list(parts)}.")
    elif judged:
        looked = words.or_list([_phrase(row) for row in judged])
        sentences.append(f"There is no evidence that it comes from {looked}.")
    known = {str(row["cause"]) for row in judged}
    rest = next((row for row in rows if row["cause"] == UNEXPLAINED), {})
    if value(rest, "low") > 0:
        sentences.append(
            f"{_pairs(value(rest, 'part'))} of the loss are explained by none of the causes that were looked at: other "
            f"equipment, milder cases{'' if LABEL_DEFINITION in known else ', or labels that mean something else'}."
        )
    if len(judged) < len(causes):
        lacking = words.and_list([_phrase(row) for row in causes if math.isnan(value(row, "low"))])
        sentences.append(f"Not judged: {lacking}.")
    return sentences


def _without_picture(validation: ExternalValidation, place: str) -> list[str]:
    """Return which finding is best told by who the patient is, and how the film was taken, without the picture."""
    table = validation.metadata_only
    rows = [] if table.empty else records(table[table["tested_on"] == place])
    told: dict[str, tuple[float, str]] = {}
    for row in rows:
        auroc, finding = value(row, "auroc"), str(row["finding"])
        if value(row, "auroc_low") > 0.6 and auroc > told.get(finding, (0.0, ""))[0]:
            told[finding] = auroc, str(row["attribute"])
    if not told:
        return []
    finding, (auroc, attribute) = max(told.items(), key=lambda entry: entry[1][0])
    name = _ATTRIBUTES.get(attribute, f"the {attribute}")
    alone = "" if attribute in _ATTRIBUTES else " alone"
    fairer = " The figure within one view is the fairer one." if attribute in ("view", ALL_TOGETHER) else ""
    ranking = f"{name}{alone} ranks {words.spoken(finding)} in {words.pairs(auroc)} here"
    return [f"Part of it needs no picture: {ranking}.{fairer}"]


def _probabilities(validation: ExternalValidation, network: str, place: str) -> list[str]:
    rows = _cells(validation.calibration, network, place)
    if not rows or not all(bool(row["calibrated"]) for row in rows):
        return ["Its probabilities are not calibrated: read them as an order of films, and not as frequencies."]
    high = [words.spoken(str(row["finding"])) for row in rows if value(row, "intercept_high") < 0]
    low = [words.spoken(str(row["finding"])) for row in rows if value(row, "intercept_low") > 0]
    parts = [f"too high for {words.and_list(high)}"] if high else []
    parts += [f"too low for {words.and_list(low)}"] if low else []
    if not parts:
        return []
    sentences = [f"By the interval of each, its probabilities are {' and '.join(parts)}."]
    offers = _cells(validation.offers, network, place)
    better = [
        words.spoken(str(row["finding"]))
        for row in offers
        if bool(row["advised"]) and row["offer"] != "none" and value(row, "gain_low") > 0
    ]
    if better:
        sentences.append(f"A recalibration with films of this place makes them better for {words.and_list(better)}.")
    return sentences


def _thresholds(validation: ExternalValidation, network: str, place: str) -> list[str]:
    every = _cells(validation.operating_points, network, place)
    first = {str(row["finding"]): str(row["rule"]) for row in reversed(every)}
    rows = [row for row in every if first[str(row["finding"])] == str(row["rule"])]
    if not rows:
        return []
    broken = {str(row["finding"]): str(row["why"]) for row in rows if row["holds"] == "no"}
    held = [row for row in rows if row["holds"] == "yes"]
    sentences = []
    if broken:
        named = words.and_list([words.spoken(finding) for finding in broken])
        sentences.append(
            f"By the interval of each, thresholds do not do here what they did where they were chosen for {named}: a "
            "report, or its silence, means something else than its figures promise."
        )
    unknown = len(rows) - len(held) - sum(row["holds"] == "no" for row in rows)
    if unknown:
        sentences.append(f"Of {counted(len(rows), 'threshold')}, {unknown:,} {be(unknown)} not judged: too few films.")
    return sentences


def _cells(table: pd.DataFrame, network: str, place: str, finding: str | None = None) -> list[dict[str, Any]]:
    if table.empty:
        return []
    rows = table[(table["trained_on"] == network) & (table["tested_on"] == place)]
    return records(rows if finding is None else rows[rows["finding"] == finding])


def _cell(table: pd.DataFrame, network: str, place: str, finding: str) -> dict[str, Any]:
    return next(iter(_cells(table, network, place, finding)), {})


def _phrase(row: Mapping[str, Any]) -> str:
    return _CAUSE_PHRASES.get(str(row["cause"]), str(row["cause"]))


def _points(auroc: float) -> str:
    """Return a difference of AUROCs as pairs of a hundred, with one decimal where it is small."""
    pairs = 100 * auroc
    return f"{pairs:.1f}" if pairs < 9.95 else f"{pairs:.0f}"


def _pairs(auroc: float) -> str:
    return f"{_points(auroc)} of 100 pairs"
