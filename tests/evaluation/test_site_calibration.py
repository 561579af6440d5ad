"""Offers of recalibration at another place, each judged on patients that it was not fitted on."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.fitted import fit_calibration
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.site_calibration import (
    OFFERS,
    PREVALENCE_SHIFT,
    calibration_of_cells,
    offers_of_cells,
    operating_points_of_cells,
    recalibration_offers,
)
from cxr_monai.evaluation.transfer import EXTERNAL, HOME, TransferCell

DRAWS = Intervals(replicates=200)


def place(
    intercept: float = 0.0, slope: float = 1.0, count: int = 3000, seed: int = 0, finding: str = "Mass"
) -> Sample:
    """Probabilities p of a finding whose true log-odds are ``intercept + slope * logit(p)``."""
    random = np.random.default_rng(seed)
    logits = random.normal(-2, 1.5, count)
    labels = (random.random(count) < expit(intercept + slope * logits)).astype(float)
    table = pd.DataFrame({"image": [f"{seed}-{at}" for at in range(count)], "patient_id": np.arange(count).astype(str)})
    return Sample.of(table, [finding], expit(logits)[:, None], labels[:, None])


def by_offer(sample: Sample, prevalence: float | None = 0.2) -> pd.DataFrame:
    stated = {} if prevalence is None else {"Mass": prevalence}
    return recalibration_offers(sample, stated, DRAWS).set_index("offer")


def test_right_probabilities_are_left_alone() -> None:
    table = by_offer(place())
    assert list(table.index) == list(OFFERS)
    assert table.index[table["advised"]].tolist() == ["none"]
    assert (table.loc["none", ["gain", "gain_low", "gain_high"]] == 0).all()
    assert table.loc["intercept", "gain_low"] < 0 < table.loc["intercept", "gain_high"]


def test_a_moved_intercept_is_set_right_by_the_intercept_alone() -> None:
    table = by_offer(place(intercept=1.5))
    assert table.index[table["advised"]].tolist() == ["intercept"]
    assert table.loc["none", "intercept"] == pytest.approx(1.5, abs=0.15)
    assert table.loc["intercept", "intercept"] == pytest.approx(0, abs=0.05)
    assert table.loc["intercept", "gain_low"] > 0
    assert table.loc["slope", "gain"] == pytest.approx(table.loc["intercept", "gain"], abs=0.002)


def test_a_wrong_slope_needs_the_slope() -> None:
    table = by_offer(place(intercept=-1, slope=0.4))
    assert table.index[table["advised"]].tolist() == ["slope"]
    assert table.loc["slope", "slope"] == pytest.approx(1, abs=0.1)
    assert table.loc["slope", "gain"] > table.loc["intercept", "gain"] + 0.005


def test_a_shift_of_prevalence_is_right_where_that_is_all() -> None:
    """Positives are drawn four times as often; what is known of the place is how often they occur."""
    everyone = place(count=12_000)
    positive = everyone.labels[:, 0] == 1
    keep = positive | (np.random.default_rng(1).random(len(everyone)) < 0.25)
    table = by_offer(everyone.take(keep), prevalence=float(positive.mean()))
    assert table.loc[PREVALENCE_SHIFT, "intercept"] == pytest.approx(0, abs=0.1)
    assert table.loc[PREVALENCE_SHIFT, "slope"] == pytest.approx(1, abs=0.1)
    assert table.loc[PREVALENCE_SHIFT, "gain_low"] > 0


def test_what_cannot_be_offered_says_why() -> None:
    table = by_offer(place(count=12), prevalence=None)
    assert table.loc[PREVALENCE_SHIFT, "why"] == "how frequent it was where the network was calibrated is not recorded"
    assert table.loc["slope", "why"].startswith("a new slope needs 20 patients")
    assert table.loc[[PREVALENCE_SHIFT, "slope"], ["gain", "log_loss"]].isna().all(axis=None)
    nothing = place(count=30)
    labels = np.zeros_like(nothing.labels)
    table = by_offer(Sample.of(nothing.table, ["Mass"], nothing.scores, labels))
    assert table.loc[PREVALENCE_SHIFT, "why"] == "none or all of the films here have it"


def test_cells() -> None:
    fitted = fit_calibration(place(seed=5, count=600))
    cells = [
        TransferCell("a", "M", HOME, place(seed=1, count=400), fitted=fitted, calibrated=True),
        TransferCell("a", "N", EXTERNAL, place(1.5, seed=2, count=400), fitted=fitted, calibrated=True),
        TransferCell("a", "O", EXTERNAL, None, "no finding is known to both"),
        TransferCell("b", "N", EXTERNAL, place(seed=3, count=400)),
        TransferCell("a", "P", EXTERNAL, place(seed=3, count=400, finding="Lung Opacity"), fitted=fitted),
    ]
    calibration = calibration_of_cells(cells).set_index(["trained_on", "tested_on"])
    assert calibration.index.tolist() == [("a", "M"), ("a", "N"), ("b", "N"), ("a", "P")]
    assert calibration.loc[("a", "N"), "intercept_low"] > 0 > calibration.loc[("a", "M"), "intercept_low"]
    points = operating_points_of_cells(cells, DRAWS)
    assert points[["trained_on", "tested_on"]].drop_duplicates().to_numpy().tolist() == [["a", "M"], ["a", "N"]]
    assert "no" in set(points.loc[points["tested_on"] == "N", "holds"])
    offers = offers_of_cells(cells, DRAWS)
    assert offers["tested_on"].unique().tolist() == ["N", "P"]  # home needs none
    assert offers[offers["trained_on"] == "b"].set_index("offer").loc[PREVALENCE_SHIFT, "why"] != ""
    assert operating_points_of_cells(cells[3:], DRAWS).empty
