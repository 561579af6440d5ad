"""Whether figures are better than guessing: what every statement of worth in the report and the card asks first.

Guessing reaches an AUROC of 0.5, likelihood ratios of 1, and predictive values that are the prevalence and one minus
it. A figure is better (or worse) only if its whole interval is, the one over patients where there is one; without an
interval nothing is known.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from cxr_monai.report.evaluation_rows import limits_of, value

Standing = Literal["better", "guessing", "worse", "unknown"]

CHANCE = 0.5
"""The AUROC of guessing."""


def ranking(row: Mapping[str, Any]) -> Standing:
    """Return how a row's AUROC stands to guessing: ``unknown`` without a value or an interval."""
    return _standing(*limits_of(row, "auroc"), CHANCE)


def reporting(point: Mapping[str, Any]) -> Standing:
    """Return how the reports at an operating point stand to guessing, by the positive likelihood ratio.

    ``guessing`` also where every image is reported, or none: such reports are the same for whoever has the label.
    """
    if reports_all(point) or reports_none(point):
        return "guessing"
    return _standing(*limits_of(point, "lr_positive"), 1.0)


def silence(point: Mapping[str, Any]) -> Standing:
    """Return how passing an image over stands to guessing, by the negative likelihood ratio and the NPV.

    ``better`` only if the whole interval of the ratio is below 1 and that of the NPV above one minus the prevalence:
    where few images have the label, few of any that are passed over have it. ``guessing`` also as of `reporting`.
    """
    if reports_all(point) or reports_none(point):
        return "guessing"
    low, high = limits_of(point, "lr_negative")
    standing = _standing(-high, -low, -1.0)  # the smaller, the better
    if standing == "better" and not limits_of(point, "npv")[0] > 1 - prevalence(point):
        return "guessing"
    return standing


def predicting(point: Mapping[str, Any]) -> Standing:
    """Return how the predictive value of reports stands to guessing: as `reporting`, or by the PPV and the prevalence.

    The two say the same of the values; of their intervals, the surer one counts.
    """
    standing = reporting(point)
    whole = not (reports_all(point) or reports_none(point))
    return "better" if whole and limits_of(point, "ppv")[0] > prevalence(point) else standing


def surely_right(point: Mapping[str, Any], least: float = 0.5) -> bool:
    """Tell whether reports are right more often than ``least`` and than the prevalence, by the lower limit of the PPV.

    And whether they inform at all (`reporting`): where most images have the label, so have most of any reports.
    """
    low = limits_of(point, "ppv")[0]
    return reporting(point) == "better" and low >= least and low > prevalence(point)


def reports_all(point: Mapping[str, Any]) -> bool:
    """Tell whether no image is passed over."""
    return value(point, "tn") + value(point, "fn") == 0


def reports_none(point: Mapping[str, Any]) -> bool:
    """Tell whether no image is reported."""
    return value(point, "tp") + value(point, "fp") == 0


def prevalence(point: Mapping[str, Any]) -> float:
    """Return the share of the images that have the label; NaN without any."""
    images = sum(value(point, name) for name in ("tp", "fp", "fn", "tn"))
    return (value(point, "tp") + value(point, "fn")) / images if images > 0 else math.nan


def _standing(low: float, high: float, chance: float) -> Standing:
    if math.isnan(low) or math.isnan(high):
        return "unknown"
    if low > chance:
        return "better"
    return "worse" if high < chance else "guessing"
