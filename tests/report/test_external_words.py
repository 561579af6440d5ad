"""What a physician is told of a network in other patients: nothing that an interval does not support."""

import math
from typing import Any

import pandas as pd
import pytest

from cxr_monai.evaluation.external_result import ExternalValidation
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.transfer import EXTERNAL, HOME, INTERNAL, evidence_of
from cxr_monai.report.external_words import place_sentences

PLACE = {"trained_on": "A", "tested_on": "N", "relation": EXTERNAL}
NAN = math.nan
NOT_CALIBRATED = "Its probabilities are not calibrated: read them as an order of films, and not as frequencies."


def cell(auroc: float, low: float, high: float, finding: str = MEAN, **more: Any) -> dict[str, Any]:
    counts = {"images": 400, "positives": 90, "positive_patients": 80, "patients": 300, "findings": 3, "why": ""}
    return {**PLACE, "finding": finding, **counts, "auroc": auroc, "low": low, "high": high, **more}


def drop(value: float, low: float, high: float, findings: int = 3) -> dict[str, Any]:
    figures = {"home_auroc": 0.85, "there_auroc": 0.85 - value, "drop": value, "low": low, "high": high}
    return {**PLACE, "home": "M", "finding": MEAN, "findings": findings, **figures, "evidence": evidence_of(low, high)}


def cause(name: str, part: float, low: float, high: float) -> dict[str, Any]:
    return {**PLACE, "finding": MEAN, "cause": name, "part": part, "low": low, "high": high, "evidence": ""}


def validation(
    mean: dict[str, Any], loss: dict[str, Any] | None = None, **tables: list[dict[str, Any]]
) -> ExternalValidation:
    frames = {name: pd.DataFrame(rows) for name, rows in tables.items()}
    return ExternalValidation(
        pd.DataFrame([mean]), pd.DataFrame([loss] if loss else []), 0.95, 1000, **frames  # type: ignore[arg-type]
    )  # fmt: skip


def told(*arguments: Any, **tables: Any) -> str:
    return " ".join(place_sentences(validation(*arguments, **tables), "A", "N")).replace("\u00a0", " ")


def test_a_loss_is_told_with_its_interval_and_its_causes() -> None:
    causes = [
        cause("drop", 0.1, 0.04, 0.16), cause("view mix", 0.04, 0.01, 0.07),
        cause("age and sex mix", 0.01, -0.01, 0.03), cause("label definition", NAN, NAN, NAN),
        cause("prevalence", 0, 0, 0),
        cause("rest", 0.05, 0.02, 0.09),
    ]  # fmt: skip
    text = told(cell(0.75, 0.7, 0.8), drop(0.1, 0.04, 0.16), causes=causes)
    assert "in 75 of 100 pairs (95 % interval 70 to 80), on average over 3 findings; 50 of 100 is guessing." in text
    assert "That is 10 of 100 pairs fewer (4.0 to 16) than at its home (M) on the 3 findings that both have" in text
    assert "a part of the loss comes with another mix of views (4.0 of 100 pairs, 1.0 to 7.0)." in text
    assert "ages" not in text
    assert "5.0 of 100 pairs of the loss are explained by none of the causes that were looked at" in text
    assert "Not judged: another meaning of the labels." in text


def test_causes_that_no_interval_supports_are_no_because() -> None:
    causes = [
        cause("view mix", 0.01, -0.01, 0.07),
        cause("age and sex mix", -0.01, -0.02, 0.03),
        cause("rest", 0.1, -0.02, 0.2),
    ]
    text = told(cell(0.75, 0.7, 0.8), drop(0.1, 0.04, 0.16), causes=causes)
    assert "There is no evidence that it comes from another mix of views or another mix of ages and sexes." in text
    assert "Because" not in text
    assert "explained by none" not in text


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (drop(0.02, -0.01, 0.05), "There is no evidence that it is worse or better here than at its home (M) on the 3 "
         "findings that both have: it may lose as much as 5.0 of 100 pairs, or gain 1.0 of 100 pairs."),
        (drop(-0.06, -0.1, -0.02), "That is 6.0 of 100 pairs more (2.0 to 10) than at its home (M)"),
        (drop(0.1, NAN, NAN), "Whether it is worse here than at its home (M) can't be said: there are too few"),
        (drop(0.1, 0.04, 0.16, 1), "than at its home (M) on the 1 finding that both have, more than chance explains."),
        (None, "What it loses away from its home isn't known: no films of its home were judged."),
    ],
)  # fmt: skip
def test_what_is_not_known_is_said(loss: dict[str, Any] | None, words: str) -> None:
    text = told(cell(0.83, 0.79, 0.86), loss, causes=[cause("view mix", 0.01, -0.01, 0.07)])
    assert words in text
    assert "Because" not in text


def test_guessing_is_called_so_and_nothing_is_said_of_nothing() -> None:
    assert "and as far as these films show it may be no better." in told(cell(0.55, 0.48, 0.6))
    assert told(cell(NAN, NAN, NAN, why="no finding is known to both")) == (
        "What A is worth in these patients can't be said: no finding is known to both."
    )


def test_an_internal_test_is_no_external_one() -> None:
    text = told(cell(0.83, 0.79, 0.86, relation=INTERNAL))
    assert "Mind: films of the same collection, whose patients may be the network's: no external test." in text
    assert "Mind" not in told(cell(0.83, 0.79, 0.86, relation=EXTERNAL))


def test_probabilities_and_thresholds_speak_where_their_intervals_do() -> None:
    def row(finding: str, low: float, high: float) -> dict[str, Any]:
        return {**PLACE, "finding": finding, "calibrated": True, "intercept_low": low, "intercept_high": high}

    calibration = [row("Mass", -1.0, -0.2), row("Edema", 0.1, 0.9), row("Pleural_Thickening", -0.2, 0.3)]
    points = [
        {**PLACE, "finding": "Mass", "rule": "youden", "holds": "yes", "why": ""},
        {**PLACE, "finding": "Mass", "rule": "f1", "holds": "no", "why": "sensitivity lower"},
        {**PLACE, "finding": "Edema", "rule": "youden", "holds": "no", "why": "sensitivity lower"},
        {**PLACE, "finding": "Pleural_Thickening", "rule": "youden", "holds": "too few to say", "why": ""},
    ]
    offers = [
        {**PLACE, "finding": "Mass", "offer": "intercept", "advised": True, "gain_low": 0.01},
        {**PLACE, "finding": "Edema", "offer": "intercept", "advised": True, "gain_low": -0.01},
        {**PLACE, "finding": "Edema", "offer": "slope", "advised": False, "gain_low": 0.01},
    ]
    text = told(cell(0.83, 0.79, 0.86), calibration=calibration, operating_points=points, offers=offers)
    assert "its probabilities are too high for mass and too low for edema." in text
    assert "A recalibration with films of this place makes them better for mass." in text
    assert "what they did where they were chosen for edema: a report" in text
    assert "Of 3 thresholds, 1 is not judged: too few films." in text
    raw = [entry | {"calibrated": False} for entry in calibration]
    assert "Its probabilities are not calibrated" in told(cell(0.83, 0.79, 0.86), calibration=raw)


def test_what_needs_no_picture() -> None:
    def row(attribute: str, auroc: float, low: float) -> dict[str, Any]:
        return {"tested_on": "N", "finding": "Effusion", "attribute": attribute, "auroc": auroc, "auroc_low": low}

    text = told(cell(0.83, 0.79, 0.86), metadata_only=[row("view", 0.71, 0.68), row("age", 0.75, 0.55)])
    assert "Part of it needs no picture: the view alone ranks effusion in 71 of 100 pairs here." in text
    text = told(cell(0.83, 0.79, 0.86), metadata_only=[row("view", 0.71, 0.68), row("all together", 0.74, 0.7)])
    assert "all that is known of patient and film together ranks effusion in 74 of 100 pairs" in text
    text = told(cell(0.83, 0.79, 0.86), metadata_only=[row("age", 0.71, 0.68)])
    assert text.endswith("the age alone ranks effusion in 71 of 100 pairs here. " + NOT_CALIBRATED)  # no word of views
    assert "picture" not in told(cell(0.83, 0.79, 0.86), metadata_only=[row("view", 0.58, 0.52)])


def test_home_is_no_place_to_warn_of() -> None:
    mean = cell(0.9, 0.87, 0.93, relation=HOME)
    assert place_sentences(validation(mean), "A", "N")[0].startswith("In these patients A puts")
