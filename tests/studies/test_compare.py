"""The tables of a study against what they must be."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import norm
from scipy.stats import t as student

from cxr_monai.data.manifest import build_manifest
from cxr_monai.evaluation.bootstrap import PatientBootstrap
from cxr_monai.evaluation.comparison import compare
from cxr_monai.evaluation.metrics_table import finding_table
from cxr_monai.evaluation.predictions import PredictionsFile, join
from cxr_monai.studies.compare import Tables, difference_over_seeds, tabulate
from cxr_monai.studies.plan import Experiment, ExperimentResult, Published

FINDINGS = ("Effusion", "Mass", "Hernia")
REPLICATES = 200
PATIENTS = 60


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Two images a patient; nobody has a hernia, and some masses are not known."""
    random = np.random.default_rng(0)
    owner = np.repeat(np.arange(PATIENTS), 2)
    labels = pd.DataFrame({"Effusion": owner % 2, "Mass": owner % 3 == 0, "Hernia": 0}).astype(float)
    labels.loc[random.random(len(labels)) < 0.1, "Mass"] = np.nan
    named = pd.DataFrame({"image": [f"{at}.png" for at in range(len(owner))], "patient_id": owner.astype(str)})
    return pd.concat([named.assign(split="test"), labels], axis=1)


def predicted(truth: pd.DataFrame, skill: float, seed: int) -> pd.DataFrame:
    noise = np.random.default_rng(seed).normal(size=(len(truth), len(FINDINGS)))
    values = expit(skill * truth[list(FINDINGS)].fillna(0.5).to_numpy() + noise)
    return pd.DataFrame(values, columns=list(FINDINGS)).assign(image=truth["image"])[["image", *FINDINGS]]


def result_of(
    truth: pd.DataFrame, predictions: Mapping[str, Sequence[pd.DataFrame]], failed: Mapping[str, str] | None = None
) -> ExperimentResult:
    failed = failed or {}
    variants: dict[str, dict] = {name: {} for name in (*failed, *predictions)}
    seeds = tuple(range(len(next(iter(predictions.values())))))
    plan = Experiment(
        "mine", "Which?", variants, next(iter(variants)), seeds, published={"a": Published("x", {"Mass": 0.9})}
    )
    costs = pd.DataFrame({"variant": list(variants), "seconds": 1.5, "image_passes": 7})
    manifest = build_manifest(truth, Path("/"), "local", check_files=False)
    return ExperimentResult(
        plan, FINDINGS, {name: list(each) for name, each in predictions.items()}, manifest, costs, failed
    )


def row(tables: Tables, variant: str) -> pd.Series:
    return tables.comparison.set_index("variant").loc[variant]


def test_with_one_seed_it_is_the_paired_comparison_of_two_systems(truth: pd.DataFrame) -> None:
    result = result_of(truth, {"a": [predicted(truth, 1, 1)], "b": [predicted(truth, 2, 2)]})
    tables = tabulate(result, "test", REPLICATES)
    first, second = (
        join(PredictionsFile(result.predictions[name][0]), result.truth, "test", FINDINGS)[0] for name in "ab"
    )
    expected = compare(first, second, PatientBootstrap(first.patients, REPLICATES))
    ours = tables.differences[tables.differences["variant"] == "b"].reset_index(drop=True)
    columns = {"second": "auroc", "difference": "difference", "patient_low": "low", "patient_high": "high"}
    columns |= {"patient_p": "p", "patient_p_holm": "p_holm"}
    for theirs, mine in columns.items():
        np.testing.assert_allclose(ours[mine], expected[theirs], rtol=1e-12, err_msg=mine)
    assert row(tables, "b")["mean_auroc"] == expected["second"].iloc[-1]
    assert row(tables, "b")[["low", "high"]].tolist() == ours[["low", "high"]].iloc[-1].tolist()
    assert np.isnan(row(tables, "b")["seed_error"])
    assert row(tables, "a")[["difference", "low", "high", "p"]].isna().all()
    assert any("hold the choice of patients alone" in note for note in tables.notes)


def test_several_seeds_are_means_and_their_spread_widens_the_interval(truth: pd.DataFrame) -> None:
    seeds = {"a": [predicted(truth, 1, at) for at in (1, 2, 3)], "b": [predicted(truth, 1.5, at) for at in (4, 5, 6)]}
    tables = tabulate(result_of(truth, seeds), "test", REPLICATES)
    labels = truth[list(FINDINGS)].to_numpy()
    own = {
        name: np.array([finding_table(each[list(FINDINGS)].to_numpy(), labels, FINDINGS)["auroc"] for each in tables_])
        for name, tables_ in seeds.items()
    }
    got = row(tables, "b")
    assert got["mean_auroc"] == pytest.approx(own["b"][:, -1].mean())
    spread = own["b"][:, -1] - own["a"][:, -1]
    assert got["difference"] == pytest.approx(spread.mean())
    assert got["seed_error"] == pytest.approx(spread.std(ddof=1) / 3**0.5)
    error = np.hypot(got["patient_error"], got["seed_error"])
    freedom = 2 * (error / got["seed_error"]) ** 4
    assert got["high"] - got["difference"] == pytest.approx(error * student.ppf(0.975, freedom))
    per_seed = tables.study[(tables.study["variant"] == "a") & (tables.study["finding"] == "mean")]
    np.testing.assert_allclose(per_seed["auroc"], own["a"][:, -1])
    assert (per_seed["low"] < per_seed["auroc"]).all()
    assert (per_seed["auroc"] < per_seed["high"]).all()
    np.testing.assert_allclose(tables.findings["a"], own["a"].mean(axis=0))


def test_a_finding_without_positives_has_no_figure_and_no_part_in_the_mean(truth: pd.DataFrame) -> None:
    tables = tabulate(result_of(truth, {"a": [predicted(truth, 1, 1)]}), "test", REPLICATES)
    table = tables.findings.set_index("finding")
    assert np.isnan(table.loc["Hernia", "a"])
    assert table.loc["mean", "a"] == pytest.approx(table.loc[["Effusion", "Mass"], "a"].mean())
    assert table.loc[list(FINDINGS), "positives"].tolist() == truth[list(FINDINGS)].sum().tolist()
    assert any("Fewer than 20 patients with, or without: Hernia (0)" in note for note in tables.notes)
    assert tables.published is not None
    assert tables.published.values.tolist() == [["a", "x", "Mass", 0.9]]


def test_only_images_that_every_network_predicts_are_judged(truth: pd.DataFrame) -> None:
    whole, part = predicted(truth, 1, 1), predicted(truth, 2, 2).iloc[10:]
    tables = tabulate(result_of(truth, {"a": [whole], "b": [part]}), "test", REPLICATES)
    alone = tabulate(result_of(truth, {"a": [whole.iloc[10:]]}), "test", REPLICATES)
    pd.testing.assert_series_equal(tables.findings["a"], alone.findings["a"])
    assert tables.notes[0].startswith(f"Judged on the test part: {len(truth) - 10} images of {PATIENTS - 5} patients")


def test_the_same_ranking_is_no_difference(truth: pd.DataFrame) -> None:
    one = predicted(truth, 1, 1)
    got = row(tabulate(result_of(truth, {"a": [one], "b": [one]}), "test", REPLICATES), "b")
    assert got[["difference", "low", "high", "p"]].tolist() == [0, 0, 0, 1]


def test_without_a_baseline_there_are_no_differences(truth: pd.DataFrame) -> None:
    failed = {"base": "first\nerror [disk-full]: it is full."}
    tables = tabulate(result_of(truth, {"a": [predicted(truth, 1, 1)]}, failed), "test", REPLICATES)
    assert tables.comparison["variant"].tolist() == ["base", "a"]
    assert tables.comparison["difference"].isna().all()
    assert tables.comparison["mean_auroc"].isna().tolist() == [True, False]
    assert tables.findings["base"].isna().all()
    assert "base failed and is left out: error [disk-full]: it is full." in tables.notes


def test_p_values_are_corrected_for_the_number_of_variants(truth: pd.DataFrame) -> None:
    made = {
        name: [predicted(truth, skill, seed)] for seed, (name, skill) in enumerate({"a": 1, "b": 2, "c": 1}.items())
    }
    table = tabulate(result_of(truth, made), "test", REPLICATES).comparison.set_index("variant")
    small, large = sorted(table.loc[["b", "c"], "p"])
    assert sorted(table.loc[["b", "c"], "p_holm"]) == [min(1, 2 * small), max(2 * small, large)]


@pytest.mark.parametrize(("seeds", "by_patients", "by_seeds"), [(2, 0.02, 0.02), (3, 0.02, 0.01), (5, 0.001, 0.05)])
def test_intervals_hold_the_true_difference(seeds: int, by_patients: float, by_seeds: float) -> None:
    """20,000 studies whose true difference is 0.01, drawn from the model that the interval assumes."""
    random, studies, truth = np.random.default_rng(seeds), 20_000, 0.01
    of_patients = random.normal(0, by_patients, studies)
    by_seed = truth + of_patients + random.normal(0, by_seeds, (seeds, studies))
    # replicates with exactly that standard deviation
    replicates = np.array([-1.0, 1.0])[:, None] * by_patients / 2**0.5 * np.ones(studies)
    difference, low, high, p, *errors = difference_over_seeds(replicates, by_seed)
    assert 0.94 < np.mean((low <= truth) & (truth <= high)) < 0.985
    np.testing.assert_allclose(errors[0], by_patients)
    excludes = (low > 0) | (high < 0)
    assert np.array_equal(excludes, p < 0.05)
    assert difference.mean() == pytest.approx(truth, abs=0.002)


def test_with_one_seed_the_interval_is_normal() -> None:
    replicates = np.array([[-0.01], [0.01]]) / 2**0.5
    difference, low, high, p, patients, seeds = difference_over_seeds(replicates, np.array([[0.03]]))[:, 0]
    assert (low, high) == pytest.approx((0.03 - norm.ppf(0.975) * 0.01, 0.03 + norm.ppf(0.975) * 0.01))
    assert (difference, p, patients) == pytest.approx((0.03, 2 * norm.sf(3), 0.01))
    assert np.isnan(seeds)
