"""Where better than guessing begins: the limits themselves, which drawn models never hit."""

from typing import Any

import pytest

from cxr_monai.report import worth


def point(**changes: Any) -> dict[str, Any]:
    """Return an operating point that is surely right: 100 images, 40 with the label."""
    counts = {"tp": 30, "fp": 10, "fn": 10, "tn": 50}
    return counts | {"lr_positive_low": 1.5, "lr_positive_high": 3.0, "ppv_low": 0.6, "ppv_high": 0.9} | changes


@pytest.mark.parametrize(
    ("low", "high", "standing"),
    [(0.5, 0.9, "guessing"), (0.501, 0.9, "better"), (0.1, 0.5, "guessing"), (0.1, 0.499, "worse")],
)
def test_an_interval_that_touches_chance_is_guessing(low: float, high: float, standing: str) -> None:
    assert worth.ranking({"auroc_low": low, "auroc_high": high}) == standing


@pytest.mark.parametrize("counts", [{"tn": 0, "fn": 0}, {"tp": 0, "fp": 0}])
def test_all_or_nothing_reported_is_guessing_whatever_the_ratio_says(counts: dict[str, int]) -> None:
    assert worth.reporting(point()) == "better"
    assert worth.reporting(point(**counts)) == "guessing"


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
    assert worth.surely_right(point(**changes)) is right
