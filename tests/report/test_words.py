"""Numbers in words: each sentence against counts made by hand."""

import math
from typing import Any

import pytest

from cxr_monai.report import words
from cxr_monai.report.words import NBSP, Frequency

NAN = float("nan")


@pytest.mark.parametrize(
    ("share", "low", "high", "expected"),
    [
        (0.81, 0.78, 0.84, Frequency(81, 100, 78, 84)),
        (0.5, NAN, NAN, Frequency(50, 100)),
        (0.845, 0.8, 0.855, Frequency(85, 100, 80, 86)),  # halves go up, both of them
        (0.02, 0.01, 0.03, Frequency(2, 100, 1, 3)),
        (0.019, 0.01, 0.03, Frequency(19, 1000, 10, 30)),  # too rare for a hundred
        (0.985, 0.97, 0.99, Frequency(985, 1000, 970, 990)),  # never "99 of 100" that was 98.5
        (0.0004, 0.0, 0.001, Frequency(4, 10000, 0, 10)),
        (0.9995, 0.99, 1.0, Frequency(9995, 10000, 9900, 10000)),
        (0.0, 0.0, 0.04, Frequency(0, 100, 0, 4)),  # zero is zero
        (1.0, 0.96, 1.0, Frequency(100, 100, 96, 100)),
        (NAN, NAN, NAN, None),
        (0.3, NAN, 0.4, Frequency(30, 100)),  # half an interval is none
    ],
)
def test_a_share_as_a_count(share: float, low: float, high: float, expected: Frequency | None) -> None:
    assert words.frequency(share, low, high) == expected


@pytest.mark.parametrize(
    ("share", "filled"), [(0.0, 0), (1.0, 100), (0.81, 81), (0.001, 1), (0.999, 99), (0.995, 99), (0.014, 1)]
)
def test_dots_are_all_or_none_only_if_the_share_is(share: float, filled: int) -> None:
    assert words.filled_dots(share) == filled


@pytest.mark.parametrize(
    ("name", "within", "alone"),
    [
        ("Effusion", "effusion", "Effusion"),
        ("Pleural_Thickening", "pleural thickening", "Pleural thickening"),
        ("COPD", "COPD", "COPD"),
        ("Air-Trapping", "air-trapping", "Air-trapping"),
        ("No Finding", "no finding", "No finding"),
        ("mass", "mass", "Mass"),
        ("Stage IIb", "stage IIb", "Stage IIb"),
        ('A<b>&"x"', 'A<b>&"x"', 'A<b>&"x"'),
        ("Грыжа", "грыжа", "Грыжа"),
        ("", "", ""),
    ],
)
def test_a_findings_name_in_a_sentence_and_in_a_heading(name: str, within: str, alone: str) -> None:
    assert words.spoken(name) == within
    assert words.heading(name) == alone


def point(**changes: Any) -> dict[str, Any]:
    """An operating point of 1,000 images: 100 with the label, 88 of them found, 21 false reports."""
    row: dict[str, Any] = {
        "images": 1000, "tp": 88, "fp": 21, "fn": 12, "tn": 879,
        "sensitivity": 0.88, "sensitivity_low": 0.8, "sensitivity_high": 0.95,
        "sensitivity_patient_low": 0.85, "sensitivity_patient_high": 0.90,
        "specificity": 0.977, "specificity_patient_low": 0.96, "specificity_patient_high": 0.98,
        "ppv": 0.807, "ppv_patient_low": 0.78, "ppv_patient_high": 0.84,
        "npv": 0.9865, "npv_patient_low": 0.98, "npv_patient_high": 0.99,
        "stated_prevalence": 0.01, "ppv_at_prevalence": 0.278, "ppv_at_prevalence_patient_low": 0.2,
        "ppv_at_prevalence_patient_high": 0.35, "npv_at_prevalence": 0.9988,
        "npv_at_prevalence_patient_low": 0.998, "npv_at_prevalence_patient_high": 0.999,
    }  # fmt: skip
    return row | changes


def test_what_a_report_is_worth() -> None:
    text = words.right_when_reported("Effusion", point(), 0.95)
    expected = "Of 100 images like these in which the model reports effusion, 81 have the label"
    assert text == f"{expected} (95{NBSP}% interval 78 to 84)."


def test_the_interval_over_patients_goes_first_and_the_other_stands_in_for_it() -> None:
    assert words.missed("Effusion", point()) == "Of 100 images with the label, it misses 12 (10 to 15)."
    bare = point(sensitivity_patient_low=NAN, sensitivity_patient_high=NAN)
    assert words.missed("Effusion", bare) == "Of 100 images with the label, it misses 12 (5 to 20)."
    assert words.missed("Effusion", {"sensitivity": 0.88}) == "Of 100 images with the label, it misses 12."
    assert words.missed("X", point(), 0.9).endswith(f"it misses 12 (90{NBSP}% interval 10 to 15).")


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (words.false_alarms("Mass", point()), "Of 100 images without it, it reports mass in 2 (2 to 4)."),
        (
            words.left_when_silent("Mass", point()),
            "Of 1,000 images in which it does not, 14 have the label all the same (10 to 20).",
        ),
        (
            words.in_a_thousand("Mass", point()),
            "In 1,000 images like these, 100 have the label. The model reports mass in 109: 88 rightly, 21 falsely; "
            "it misses 12.",
        ),
        (
            words.at_stated_prevalence("Mass", point()),
            "Where 10 of 1,000 images have it (the prevalence stated for this report), 28 of 100 reports of mass would "
            "be right (20 to 35), and 12 of 10,000 images without a report would have it (10 to 20).",
        ),
        (words.at_stated_prevalence("Mass", point(stated_prevalence=NAN)), ""),
        (words.at_stated_prevalence("Mass", {}), ""),
    ],
)
def test_the_other_counts(made: str, expected: str) -> None:
    assert made == expected


def test_one_is_singular() -> None:
    assert "5 of 100" not in words.right_when_reported("Mass", point(ppv=0.05), 0.95)
    assert ", 1 has the label (" in words.right_when_reported(
        "Mass", {"ppv": 0.0001, "ppv_low": 0, "ppv_high": 0.1}, 0.9
    )


@pytest.mark.parametrize(
    ("sentence", "missing", "expected"),
    [
        (lambda row: words.right_when_reported("Mass", row, 0.95), "ppv", "reports mass in none of these images"),
        (lambda row: words.missed("Mass", row), "sensitivity", "No image here has the label"),
        (lambda row: words.false_alarms("Mass", row), "specificity", "No image here is without the label"),
        (lambda row: words.left_when_silent("Mass", row), "npv", "It reports mass in every image"),
    ],
)
def test_what_cannot_be_said_is_said(sentence: Any, missing: str, expected: str) -> None:
    text = sentence(point(**{missing: NAN, f"{missing}_patient_low": NAN, f"{missing}_patient_high": NAN}))
    assert expected in text
    assert "nan" not in text


@pytest.mark.parametrize(
    ("low", "expected"),
    [
        (0.95, "very well"),
        (0.9, "very well"),
        (0.8999, "well"),
        (0.7, "moderately"),
        (0.51, "weakly"),
        (0.5, ""),
        (0.31, ""),
    ],
)
def test_praise_goes_by_the_lower_limit(low: float, expected: str) -> None:
    assert words.separation(low) == expected


def test_pairs() -> None:
    assert words.pairs(0.883, 0.87, 0.894) == "88 of 100 pairs (87 to 89)"
    assert words.pairs(0.883) == "88 of 100 pairs"
    assert words.pairs(NAN) == ""


@pytest.mark.parametrize(
    ("images", "positives", "why"),
    [
        (0, 0, "Mass has no value: its label is unknown for every image."),
        (1200, 0, "Mass has no value: none of the 1,200 images with a known label has it."),
        (7, 7, "Mass has no value: all 7 images with a known label have it, so there is none to tell them from."),
        (7, 3, "Mass has no value: it could not be computed."),
    ],
)
def test_a_dash_has_its_reason(images: int, positives: int, why: str) -> None:
    assert words.no_value("Mass", {"images": images, "positives": positives, "auroc": NAN}) == why
    assert words.no_value("Mass", {"images": images, "positives": positives, "auroc": 0.7}) == ""


@pytest.mark.parametrize(
    ("row", "warned"),
    [
        ({"positive_patients": 0, "positives": 0}, ""),
        ({"positive_patients": 1, "positives": 30}, "This rests on 1 patient with the label: a rough hint, no more."),
        (
            {"positive_patients": 19, "positives": 30},
            "This rests on 19 patients with the label: a rough hint, no more.",
        ),
        ({"positive_patients": 20, "positives": 30}, ""),
        ({"positives": 19}, "This rests on 19 images with the label: a rough hint, no more."),
    ],
)
def test_few_patients_are_a_rough_hint(row: dict[str, Any], warned: str) -> None:
    assert words.rough(row) == warned


@pytest.mark.parametrize(
    ("figure", "digits", "text"),
    [
        (0.88249, 3, "0.882"), (-0.5, 2, "\u22120.50"), (NAN, 3, "\u2013"), (math.inf, 2, "∞"), (22433.0, 0, "22,433"),
        (-math.inf, 2, "\u2212∞"),
    ],
)  # fmt: skip
def test_numbers(figure: float, digits: int, text: str) -> None:
    assert words.number(figure, digits) == text


def test_an_interval_without_an_end_is_a_dash() -> None:
    assert words.between(0.1, NAN) == words.DASH
    assert words.between(0.1, 0.25) == "0.100 to 0.250"


@pytest.mark.parametrize(("share", "text"), [(0.95, "95"), (0.9, "90"), (0.975, "97.5"), (0.29, "29")])
def test_percent(share: float, text: str) -> None:
    assert words.percent(share) == f"{text}{NBSP}%"


@pytest.mark.parametrize(
    ("rule", "meaning"),
    [
        ("youden", "makes sensitivity plus specificity largest (Youden)"),
        ("sensitivity=0.9", "finds 90 of 100 images with the label"),
        ("specificity=0.995", "passes over 995 of 1,000 images without the label"),
        ("cost=10", "costs least if one miss costs as much as 10 false alarms"),
        ("f1", "makes F1, the balance of sensitivity and PPV, largest"),
        ("something=else", "follows the rule 'something=else'"),
    ],
)
def test_rules_in_words(rule: str, meaning: str) -> None:
    assert words.rule_words(rule) == meaning


@pytest.mark.parametrize(
    ("split", "text"),
    [
        ({"scheme": "official", "name": "NIH's official split"}, "NIH's official split"),
        ({"scheme": "official"}, "the split of two lists that lay with the images"),
        ({"scheme": "random", "seed": 3}, "an own random split by patient, seed 3"),
        ({"scheme": "lists", "seed": None}, "a split by lists of images"),
        ({"scheme": "new"}, "the split 'new'"),
        ({"scheme": None}, "a split without a name"),
        (None, "no split: nothing says that these patients were kept out of training"),
    ],
)
def test_the_split_in_words(split: dict[str, Any] | None, text: str) -> None:
    assert words.split_words(split) == text


@pytest.mark.parametrize(
    ("names", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_lists(names: list[str], text: str) -> None:
    assert words.and_list(names) == text
