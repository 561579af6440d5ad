"""Whether figures are better than guessing: what every statement of worth in the report and the card asks first.

Guessing reaches an AUROC of 0.5, a likelihood ratio of 1 and a predictive value that is the prevalence. A figure is
better (or worse) only if its whole interval is, the one over patients where there is one; without an interval nothing
is known.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from cxr_monai.report.reading import interval, value

Standing = Literal["better", "guessing", "worse", "unknown"]

CHANCE = 0.5
"""The AUROC of guessing."""


def ranking(row: Mapping[str, Any]) -> Standing:
    """Return how a row's AUROC stands to guessing: ``unknown`` without a value or an interval."""
    return _standing(*interval(row, "auroc"), CHANCE)


def reporting(point: Mapping[str, Any]) -> Standing:
    """Return how the reports at an operating point stand to guessing, by the positive likelihood ratio.

    ``guessing`` also where every image is reported, or none: such reports are the same for whoever has the label.
    """
    if reports_all(point) or reports_none(point):
        return "guessing"
    return _standing(*interval(point, "lr_positive"), 1.0)


def surely_right(point: Mapping[str, Any], least: float = 0.5) -> bool:
    """Tell whether reports are right more often than ``least`` and than the prevalence, by the lower limit of the PPV.

    And whether they inform at all (`reporting`): where most images have the label, so have most of any reports.
    """
    low = interval(point, "ppv")[0]
    prevalence = _prevalence(point)
    return reporting(point) == "better" and low >= least and not math.isnan(prevalence) and low > prevalence


def reports_all(point: Mapping[str, Any]) -> bool:
    """Tell whether no image is passed over."""
    return value(point, "tn") + value(point, "fn") == 0


def reports_none(point: Mapping[str, Any]) -> bool:
    """Tell whether no image is reported."""
    return value(point, "tp") + value(point, "fp") == 0


def _prevalence(point: Mapping[str, Any]) -> float:
    images = sum(value(point, name) for name in ("tp", "fp", "fn", "tn"))
    return (value(point, "tp") + value(point, "fn")) / images if images > 0 else math.nan


def _standing(low: float, high: float, chance: float) -> Standing:
    if math.isnan(low) or math.isnan(high):
        return "unknown"
    if low > chance:
        return "better"
    return "worse" if high < chance else "guessing"
