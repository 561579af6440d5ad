"""Where better than guessing begins: the limits themselves, which drawn models never hit."""

import math
from typing import Any

import pytest

from cxr_monai.report import guessing, summary, words


def point(**changes: Any) -> dict[str, Any]:
    """Return an operating point that is surely right: 100 images, 40 with the label."""
    counts = {"tp": 30, "fp": 10, "fn": 10, "tn": 50}
    return counts | {"lr_positive_low": 1.5, "lr_positive_high": 3.0, "ppv_low": 0.6, "ppv_high": 0.9} | changes


@pytest.mark.parametrize(
    ("low", "high", "standing"),
    [(0.5, 0.9, "guessing"), (0.501, 0.9, "better"), (0.1, 0.5, "guessing"), (0.1, 0.499, "worse")],
)
def test_an_interval_that_touches_chance_is_guessing(low: float, high: float, standing: str) -> None:
    assert guessing.ranking({"auroc_low": low, "auroc_high": high}) == standing


@pytest.mark.parametrize("counts", [{"tn": 0, "fn": 0}, {"tp": 0, "fp": 0}])
def test_all_or_nothing_reported_is_guessing_whatever_the_ratio_says(counts: dict[str, int]) -> None:
    assert guessing.reporting(point()) == "better"
    assert guessing.reporting(point(**counts)) == "guessing"


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({}, True),
        ({"ppv_low": 0.5}, True),  # at least half
        ({"ppv_low": 0.499}, False),
        ({"tp": 50, "fn": 10, "fp": 10, "tn": 30, "ppv_low": 0.6}, False),  # no more than the prevalence, 0.6
        ({"tp": 50, "fn": 10, "fp": 10, "tn": 30, "ppv_low": 0.601}, True),
        ({"lr_positive_low": 1.0}, False),
        ({"tp": 0, "fp": 0, "fn": 0, "tn": 0}, False),  # no image at all
    ],
)
def test_reports_that_can_be_built_on(changes: dict[str, float], right: bool) -> None:
    assert guessing.surely_right(point(**changes)) is right


@pytest.mark.parametrize(
    ("changes", "standing"),
    [
        ({}, "better"),
        ({"lr_negative_high": 1.0}, "guessing"),
        ({"lr_negative_low": 1.0, "lr_negative_high": 2.0}, "guessing"),
        ({"lr_negative_low": 1.01, "lr_negative_high": 2.0}, "worse"),
        ({"lr_negative_low": float("nan")}, "unknown"),
        ({"npv_low": 0.6}, "guessing"),  # no more than one minus the prevalence, 0.6
        ({"npv_low": 0.601}, "better"),
        ({"tn": 0, "fn": 0}, "guessing"),
        ({"tp": 0, "fp": 0}, "guessing"),
    ],
)
def test_silence_that_makes_a_label_rarer(changes: dict[str, float], standing: str) -> None:
    quiet = {"lr_negative_low": 0.2, "lr_negative_high": 0.6, "npv_low": 0.7, "npv_high": 0.95}
    assert guessing.silence(point(**{**quiet, **changes})) == standing


@pytest.mark.parametrize(
    ("changes", "said"), [({}, False), ({"lr_negative_high": 1.5}, True), ({"npv_low": 0.5}, True)]
)
def test_a_silence_that_tells_nothing_is_told_with_the_prevalence(changes: dict[str, float], said: bool) -> None:
    row = point(lr_negative_low=0.2, lr_negative_high=0.6, npv=50 / 60, npv_low=0.7, npv_high=0.95)
    sentence = words.left_when_silent("Mass", row | changes)
    assert sentence.startswith("Of 100 images in which it does not, 17 have the label all the same")
    tail = " As far as these images show, its silence does not surely make the label rarer: of all 100, 40 have it."
    assert sentence.endswith(tail) == said


@pytest.mark.parametrize(
    ("low", "ppv_low", "said"), [(1.5, 0.4, False), (1.0, 0.41, False), (1.0, 0.4, True), (0.5, 0.3, True)]
)
def test_reports_that_tell_nothing_are_told_with_the_prevalence(low: float, ppv_low: float, said: bool) -> None:
    row = point(ppv=0.75, lr_positive_low=low, ppv_low=ppv_low)
    sentence = words.right_when_reported("Mass", row, 0.95)
    assert ("a report does not surely make the label likelier: of all 100, 40 have it." in sentence) == said


def test_a_prevalence_needs_an_image() -> None:
    assert math.isnan(guessing.prevalence(dict.fromkeys(("tp", "fp", "fn", "tn"), 0)))
    assert guessing.prevalence({"tp": 1, "fp": 0, "fn": 0, "tn": 0}) == 1
    assert guessing.prevalence(point()) == 0.4


@pytest.mark.parametrize(
    ("attribute", "group", "said"),
    [
        ("prior_visits", "none", "no earlier images"),
        ("prior_visits", "1-3", "1-3 earlier images"),
        ("sex", "F", "sex F"),
    ],
)
def test_how_a_group_is_called(attribute: str, group: str, said: str) -> None:
    assert summary._group({"attribute": attribute, "group": group}) == said
