"""Images weighed to another site's mix, against scikit-learn on resampled rows and against planted mixes."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cxr_monai.errors import EvaluationError
from cxr_monai.evaluation.bootstrap import Intervals, PatientBootstrap, effective_patients
from cxr_monai.evaluation.reweighting import FEWEST_IN_GROUP, MIXES, Mix, reweight, reweighting_table, weighted_area
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.two_sites import TwoSites, drawn_prevalence, draws_of
from tests.evaluation.drops import drop_between

NAN = np.nan


def site(name: str, seed: int, bedside: float = 0.3, patients: int = 300, **columns: object) -> Sample:
    """Patients with one to three images; a finding is easier to see on a PA film; a few labels are unknown."""
    random = np.random.default_rng(seed)
    owner = np.repeat(np.arange(patients), random.integers(1, 4, patients))
    view = np.where(random.random(owner.size) < bedside, "AP", "PA")
    table = pd.DataFrame({
        "image": [f"{name}/{k}" for k in range(owner.size)], "patient_id": owner.astype(str), "study_id": "",
        "view": view, "age": random.choice([30.0, 50.0, 70.0], patients)[owner],
        "sex": random.choice(["F", "M"], patients)[owner], "source": name, "split": "test",
    }).assign(**columns)  # fmt: skip
    labels = (random.random(owner.size) < 0.3).astype(float)
    scores = np.round(random.normal(size=owner.size) + np.where(view == "AP", 0.3, 2.0) * labels, 1)
    labels[random.random(owner.size) < 0.05] = NAN
    return Sample.of(table, ["Mass"], 1 / (1 + np.exp(-scores[:, None])), labels[:, None])


def by_hand(sites: TwoSites, home_times: np.ndarray, there_times: np.ndarray) -> float:
    """The AUROC there with images weighed by view, of images that occur so often at home and there."""
    home, there = sites.home, sites.there
    home_times = home_times * ~np.isnan(home.labels[:, 0])
    there_times = there_times * ~np.isnan(there.labels[:, 0])
    weights = np.zeros(len(there))
    for view in ("AP", "PA"):
        at = (there.table["view"] == view).to_numpy()
        share = home_times[(home.table["view"] == view).to_numpy()].sum() / home_times.sum()
        weights[at] = there_times[at] * share / there_times[at].sum()
    used = weights > 0
    return roc_auc_score(there.labels[used, 0], there.scores[used, 0], sample_weight=weights[used])


def test_weighted_auroc_is_scikit_learns_and_each_replicate_weighs_anew() -> None:
    sites = TwoSites.of(site("home", 0), site("there", 1, bedside=0.7), Intervals(12))
    mix = Mix.of(sites.home, sites.there, MIXES["view"])
    assert mix.names == ("AP", "PA")
    weighed = reweight(sites, "Mass", mix)
    one = np.ones
    assert weighed.area.value == pytest.approx(by_hand(sites, one(len(sites.home)), one(len(sites.there))), abs=1e-12)
    for draw in range(12):
        times = [draws.counts[draw][draws.patients].astype(float) for draws in (sites.home_draws, sites.there_draws)]
        assert weighed.area.replicates[draw] == pytest.approx(by_hand(sites, *times), abs=1e-12)
    assert weighed.absent == {}


def test_equal_weights_are_the_plain_auroc() -> None:
    sample = site("a", 2)
    bootstrap = PatientBootstrap(sample.patients, 20, 3)
    scores, labels = sample.column("Mass")
    plain = bootstrap.ranking(scores, labels)
    strata = np.arange(len(sample)) % 3
    np.testing.assert_allclose(
        bootstrap.weighted_areas(scores, labels, strata, np.full((20, 3), 0.2)), plain.auroc, atol=1e-12
    )
    value, effective = weighted_area(scores, labels, np.full(len(sample), 0.2), sample.patients)
    known = ~np.isnan(labels)
    assert value == pytest.approx(roc_auc_score(labels[known], scores[known]), abs=1e-12)
    assert effective == pytest.approx(plain.auroc_effective)
    # a stratum of -1 takes no part
    rows = strata != 1
    np.testing.assert_allclose(
        bootstrap.weighted_areas(scores, labels, np.where(rows, 0, -1), np.ones((20, 1))),
        bootstrap.ranking(scores, labels, rows).auroc,
        atol=1e-12,
    )


def test_the_planted_mix_is_undone_and_the_effective_size_is_kishs() -> None:
    home, there = site("home", 0, 0.2, 1500), site("there", 1, 0.8, 1500)
    table = reweighting_table(TwoSites.of(home, there, Intervals(60))).set_index("mix")
    assert table.index.tolist() == list(MIXES)
    view, sex = table.loc["view"], table.loc["sex"]
    assert view["home_auroc"] - view["auroc"] > 0.1
    assert view["change_low"] > 0.05
    assert abs(view["like_with_like"]) < 0.04
    assert view["like_with_like_low"] < 0 < view["like_with_like_high"]
    assert abs(sex["change"]) < 0.01
    assert view["change"] == pytest.approx(view["reweighted"] - view["auroc"])
    known = ~np.isnan(there.labels[:, 0])
    views = there.table["view"].to_numpy()[known]
    shares = {v: (home.table["view"].to_numpy()[~np.isnan(home.labels[:, 0])] == v).mean() for v in ("AP", "PA")}
    weights = np.array([shares[v] / (views == v).mean() for v in views])
    assert view["effective_images"] == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert view["effective_patients"] == pytest.approx(effective_patients(there.patients[known], weights))
    assert view["effective_images"] < 0.6 * known.sum()
    assert (table["note"] == "").all()


def test_groups_that_are_not_there_are_named_and_not_extrapolated() -> None:
    home = site("home", 0, 0.25)
    there = site("there", 1, 0.0, view="PA")
    sites = TwoSites.of(home, there, Intervals(20))
    row = reweighting_table(sites, ["view"]).iloc[0]
    known = ~np.isnan(home.labels[:, 0])
    bedside = (home.table["view"] == "AP").to_numpy()
    assert row["home_covered"] == pytest.approx(1 - bedside[known].mean())
    assert f"without enough images there: AP ({bedside[known].mean():.1%})" in row["note"]
    upright = known & ~bedside
    assert row["home_auroc_covered"] == pytest.approx(roc_auc_score(home.labels[upright, 0], home.scores[upright, 0]))
    assert row["reweighted"] == pytest.approx(row["auroc"], abs=1e-12)
    # a group of fewer patients than the fewest is not weighed either
    few = there.table.copy()
    few.loc[few["patient_id"].isin([str(k) for k in range(FEWEST_IN_GROUP - 1)]), "view"] = "AP"
    few_there = Sample.of(few, there.findings, there.scores, there.labels)
    assert "AP" in reweighting_table(TwoSites.of(home, few_there, Intervals(5)), ["view"]).iloc[0]["note"]


def test_the_unknown_is_a_group_and_an_unknown_attribute_is_left_out() -> None:
    home, there = site("home", 0), site("there", 1, sex="")
    home.table.loc[:9, "view"] = ""
    mix = Mix.of(home, there, ("view", "sex"))
    assert mix.left_out == ("sex",)
    assert mix.names == ("AP", "PA", "unknown")
    assert np.sum(mix.home == 2) == 10
    alone = Mix.of(home, there, ("sex",))
    assert alone.names == ("0",)
    row = reweighting_table(TwoSites.of(home, there, Intervals(5)), ["sex"]).iloc[0]
    assert row["reweighted"] == pytest.approx(row["auroc"], abs=1e-12)
    assert "sex unknown for most images of a site" in row["note"]


def test_weighed_by_label_the_finding_is_as_frequent_in_each_group() -> None:
    sites = TwoSites.of(site("home", 0), site("there", 1, 0.7), Intervals(5))
    mix = Mix.of(sites.home, sites.there, ("view",))
    weights = reweight(sites, "Mass", mix, by_label=True).weights
    for label in (0, 1):
        there, home = sites.there.labels[:, 0] == label, sites.home.labels[:, 0] == label
        share = weights[there & (mix.there == 0)].sum() / weights[there].sum()
        assert share == pytest.approx(np.mean(mix.home[home] == 0))


def test_too_few_are_said() -> None:
    sites = TwoSites.of(site("home", 0), site("there", 1, patients=25), Intervals(5))
    row = reweighting_table(sites, ["view, age and sex"]).iloc[0]
    assert "too few to say" in row["note"]


def test_two_sites() -> None:
    home, there = site("home", 0), site("there", 1)
    sites = TwoSites.of(home, there, Intervals(7, 0.9, 3))
    assert (sites.findings, sites.level, sites.home_draws.replicates) == (("Mass",), 0.9, 7)
    np.testing.assert_array_equal(draws_of(home, Intervals(7, seed=3)).counts, sites.home_draws.counts)
    labels = there.labels[:, 0]
    prevalence = drawn_prevalence(labels, sites.there_draws)
    times = sites.there_draws.counts[2][there.patients]
    known = ~np.isnan(labels)
    assert prevalence[0] == pytest.approx(np.nanmean(labels))
    assert prevalence[3] == pytest.approx((times * (labels == 1)).sum() / times[known].sum())
    other = Sample.of(there.table, ["Edema"], there.scores, there.labels)
    with pytest.raises(EvaluationError, match="no finding in common"):
        TwoSites.of(home, other)
    with pytest.raises(EvaluationError, match="level"):
        TwoSites.of(home, there, Intervals(5, 1.5))
    assert len(drop_between(home, there, Intervals(5))) == 2
