"""Prevalence from scores alone: against expectation and maximisation by hand, and shifts not to be believed."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.label_shift import label_shift
from cxr_monai.evaluation.logistic import logit
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.two_sites import TwoSites


def site(
    name: str, seed: int, prevalence: float, patients: int = 800, lift: float = 0.0, spread: float = 1.0,
    findings: int = 1,
) -> Sample:  # fmt: skip
    """Patients with two images; a finding lifts the logit by 2; ``lift`` and ``spread`` change how all images look."""
    random = np.random.default_rng(seed)
    owner = np.repeat(np.arange(patients), 2)
    table = pd.DataFrame({"image": [f"{name}/{k}" for k in range(owner.size)], "patient_id": owner.astype(str)})
    table = table.assign(study_id="", view="PA", age=50.0, sex="F", source=name, split="test")
    labels = (random.random((owner.size, findings)) < prevalence).astype(float)
    # probabilities that are not calibrated at all: the estimate has to calibrate them
    logits = spread * random.normal(size=labels.shape) + 2 * labels + lift + 1
    return Sample.of(table, [f"finding {k}" for k in range(findings)], expit(3 * logits), labels)


def by_em(home: Sample, there: Sample) -> float:
    """Saerens, Latinne and Decaestecker's iteration on scikit-learn's logistic regression."""
    z, labels = logit(home.scores), home.labels[:, 0]
    p = LogisticRegression(C=1e8, tol=1e-10, max_iter=1000).fit(z, labels).predict_proba(logit(there.scores))[:, 1]
    old = share = labels.mean()
    for _ in range(5000):
        present = share / old * p
        share = np.mean(present / (present + (1 - share) / (1 - old) * (1 - p)))
    return share


def test_the_estimate_is_that_of_expectation_and_maximisation() -> None:
    home, there = site("home", 0, 0.3, 150), site("there", 1, 0.1, 100)
    row = label_shift(TwoSites.of(home, there, Intervals(20))).iloc[0]
    assert row["estimated"] == pytest.approx(by_em(home, there), abs=2e-4)
    assert row["low"] < row["estimated"] < row["high"]


@pytest.mark.parametrize("prevalence", [0.05, 0.5])
def test_another_prevalence_alone_is_found_and_may_be_believed(prevalence: float) -> None:
    row = label_shift(TwoSites.of(site("home", 2, 0.2), site("there", 3, prevalence), Intervals(100))).iloc[0]
    assert row["home_prevalence"] == pytest.approx(0.2, abs=0.03)
    assert row["low"] < row["observed"] < row["high"]
    assert row["observed"] == pytest.approx(prevalence, abs=0.03)
    assert row["difference"] == pytest.approx(row["estimated"] - row["observed"])
    assert row["difference_low"] <= 0 <= row["difference_high"]
    assert (row["believable"], row["agrees"]) == ("yes", "yes")
    assert "cannot be seen without labels" in row["why"]


def test_images_that_look_different_are_not_believed() -> None:
    row = label_shift(TwoSites.of(site("home", 4, 0.2), site("there", 5, 0.2, spread=1.6), Intervals(100))).iloc[0]
    assert (row["believable"], row["agrees"]) == ("no", "no")
    assert row["p_holm"] < 0.05
    assert row["distance"] > row["noticed_from"]
    assert "look different there" in row["why"]


def test_a_lift_of_all_scores_is_taken_for_a_prevalence_and_only_labels_tell() -> None:
    """What the page has to say: the estimate is far off, and the distance is no larger than chance allows."""
    home, there = site("home", 6, 0.3, 200), site("there", 7, 0.3, 200, lift=0.3)
    row = label_shift(TwoSites.of(home, there, Intervals(100))).iloc[0]
    assert row["estimated"] > row["observed"] + 0.05
    assert (row["believable"], row["agrees"]) == ("yes", "no")


def test_the_test_holds_its_level() -> None:
    """Of 40 sites that differ in prevalence alone, not more than 7 are called different (99.9 % of tests at 5 %)."""
    pairs = [(site("home", 2 * k, 0.25, 150), site("there", 2 * k + 1, 0.1, 100)) for k in range(100, 140)]
    p = [label_shift(TwoSites.of(*pair, Intervals(59)))["p"][0] for pair in pairs]
    assert np.sum(np.array(p) <= 0.05) <= 7
    assert 0.3 < np.mean(p) < 0.8


def test_without_labels_there_nothing_is_observed_and_holm_counts_all_findings() -> None:
    home, there = site("home", 8, 0.2, findings=3), site("there", 9, 0.2, findings=3)
    labels = np.full_like(there.labels, np.nan)
    labels[:, 2] = there.labels[:, 2]
    labels[::3, 2] = np.nan
    home.labels[:, 1] = np.where(np.arange(len(home)) < 30, home.labels[:, 1], np.nan)
    sites = TwoSites.of(home, Sample.of(there.table, there.findings, there.scores, labels), Intervals(60))
    table = label_shift(sites)
    assert table["observed"].isna().tolist() == [True, True, False]
    assert table["agrees"].tolist()[:2] == ["", ""]
    assert table["believable"][1] == "too few to say"
    assert "patients with the finding at home" in table["why"][1]
    assert np.isnan(table["estimated"][1])
    tested = table["p"][[0, 2]]
    assert table["p_holm"].min() == pytest.approx(min(2 * tested.min(), 1))
    # observed and difference are of the images with a label; estimated is of all
    assert table["observed"][2] == pytest.approx(np.nanmean(labels[:, 2]))
    assert table["difference"][2] != pytest.approx(table["estimated"][2] - table["observed"][2], abs=1e-9)


def test_scores_that_speak_against_the_labels_estimate_nothing() -> None:
    home, there = site("home", 10, 0.3), site("there", 11, 0.3)
    against = home.with_scores(1 - home.scores)
    row = label_shift(TwoSites.of(against, there, Intervals(20))).iloc[0]
    assert np.isnan(row["estimated"])
    assert row["believable"] == "too few to say"
    assert "do not tell the finding" in row["why"]


def test_a_distance_that_only_the_correction_for_many_findings_excuses_is_not_believed() -> None:
    home, there = site("home", 14, 0.3, findings=10), site("there", 15, 0.3, findings=10, patients=400)
    z = logit(there.scores[:, 0])
    there.scores[:, 0] = expit(1.185 * (z - z.mean()) + z.mean())
    table = label_shift(TwoSites.of(home, there, Intervals(200)))
    row = table.iloc[0]
    assert row["p"] < 0.05 <= row["p_holm"]
    assert row["believable"] == "too few to say"
    assert "more than chance for one finding" in row["why"]
    assert (table["believable"][1:] == "yes").sum() >= 7


def test_no_image_like_the_positives_is_a_prevalence_of_0() -> None:
    home, there = site("home", 16, 0.3), site("there", 17, 0.0, lift=-1)
    assert label_shift(TwoSites.of(home, there, Intervals(20)))["estimated"][0] == 0


def test_another_mix_of_views_is_reason_enough() -> None:
    """The scores are the same mixture; that bedside films are more frequent there is known without a label."""
    home, there = site("home", 18, 0.3), site("there", 19, 0.3)
    home.table["view"] = np.where(np.arange(len(home)) % 4 == 0, "AP", "PA")
    there.table["view"] = np.where(np.arange(len(there)) % 3 == 0, "AP", "PA")
    home.table["sex"] = ""
    row = label_shift(TwoSites.of(home, there, Intervals(60))).iloc[0]
    assert row["believable"] == "yes"  # 25 and 33 %
    there.table["view"] = np.where(np.arange(len(there)) % 2 == 0, "AP", "PA")
    row = label_shift(TwoSites.of(home, there, Intervals(60))).iloc[0]
    assert row["p"] > 0.05
    assert row["believable"] == "no"
    assert row["why"].startswith("the mix of view is another one there")


def test_a_small_site_does_not_speak_for_the_estimate() -> None:
    row = label_shift(TwoSites.of(site("home", 12, 0.3), site("there", 13, 0.2, 30), Intervals(60))).iloc[0]
    assert row["believable"] == "too few to say"
    assert "would not be noticed" in row["why"]
