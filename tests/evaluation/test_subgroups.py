"""AUROC by group and its gap to the rest, against scikit-learn on resampled rows."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, t
from sklearn.metrics import roc_auc_score

from cxr_monai.errors import EvaluationError
from cxr_monai.evaluation.auroc import delong
from cxr_monai.evaluation.bootstrap import PatientBootstrap, bootstrap_interval
from cxr_monai.evaluation.comparison import holm
from cxr_monai.evaluation.disparity import share_gap
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.subgroup_points import subgroup_points
from cxr_monai.evaluation.subgroups import subgroup_table

NAN = np.nan
FINDINGS = ("Mass", "Edema", "Hernia")
Z = norm.ppf(0.975)


def images(patients: int = 60, seed: int = 0) -> Sample:
    """Patients with one to four images; view by image, sex by patient, some of both unknown; two images with Hernia."""
    random = np.random.default_rng(seed)
    codes = np.repeat(np.arange(patients), random.integers(1, 5, patients))
    size = (codes.size, len(FINDINGS))
    table = pd.DataFrame({"image": [f"{k}.png" for k in range(codes.size)], "patient_id": codes.astype(str)})
    table = table.assign(
        study_id="", view=random.choice(["PA", "AP", "LATERAL", ""], codes.size, p=[0.45, 0.3, 0.2, 0.05]),
        sex=random.choice(["F", "M", ""], patients, p=[0.5, 0.4, 0.1])[codes], source="local", split="test",
    ).astype("str").assign(age=NAN)  # fmt: skip
    labels = (random.normal(size=(patients, 3))[codes] + random.normal(size=size) > [0.3, 0.8, 99]).astype(float)
    labels[:2, 2] = 1
    scores = labels + random.normal(size=(patients, 3))[codes] + random.normal(size=size)
    labels[random.random(size) < 0.05] = NAN
    return Sample.of(table, FINDINGS, 1 / (1 + np.exp(-scores)), labels)


def area(sample: Sample, column: int, at: np.ndarray) -> float:
    labels, scores = sample.labels[at, column], sample.scores[at, column]
    known = ~np.isnan(labels)
    return roc_auc_score(labels[known], scores[known]) if 0 < labels[known].sum() < known.sum() else NAN


@pytest.mark.parametrize("attribute", ["sex", "view"])
def test_against_scikit_learn_on_resampled_rows(attribute: str) -> None:
    sample = images()
    bootstrap = PatientBootstrap(sample.patients, replicates=25, seed=2)
    table, _ = subgroup_table(sample, bootstrap, [attribute], minimum_positives=5)
    names = sample.table[attribute].to_numpy()
    assert set(table["group"]) == set(names) - {""}
    for group, part in table.groupby("group"):
        part = part.set_index("finding")
        assert part.index.tolist() == [*FINDINGS, "mean"]
        draws = [np.ones(len(sample), int), *bootstrap.counts[:, sample.patients]]
        both = []
        for times in draws:
            at = np.repeat(np.arange(len(sample)), times)
            # the unknown are in no rest
            sides = at[names[at] == group], at[(names[at] != group) & (names[at] != "")]
            both.append([[*(of := [area(sample, c, side) for c in range(2)]), np.mean(of)] for side in sides])
        both = np.array(both)  # [1 + R, 2, 3]
        judged = part.loc[["Mass", "Edema", "mean"]]
        np.testing.assert_allclose(judged["auroc"], both[0, 0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(judged["rest_auroc"], both[0, 1], rtol=0, atol=1e-12)
        effective, scarcer = [], []
        for side in ((names == group), (names != group) & (names != "")):
            effective.append(bootstrap.rankings(sample.scores, sample.labels, rows=side).auroc_effective[:2])
            kinds = [[np.bincount(sample.patients[side & (sample.labels[:, c] == k)]) for k in (0, 1)] for c in (0, 1)]
            kish = [min(n.sum() ** 2 / (n**2).sum() for n in kind) for kind in kinds]
            scarcer.append([*kish, min(kish)])
        variance, degrees = both[1:].var(axis=0, ddof=1), np.array(effective) - 1
        of_means = variance[:, :2].sum(axis=1) ** 2 / (variance[:, :2] ** 2 / degrees).sum(axis=1)
        degrees = np.column_stack([degrees, of_means])
        low, high = bootstrap_interval(both[1:, 0], 0.95, both[0, 0], effective=degrees[0] + 1)
        np.testing.assert_allclose(judged["auroc_patient_low"], low, rtol=0, atol=1e-10)
        np.testing.assert_allclose(judged["auroc_patient_high"], high, rtol=0, atol=1e-10)
        of_gap = variance.sum(axis=0) ** 2 / (variance**2 / degrees).sum(axis=0)
        worth = both[0] * (1 - both[0]) / variance * degrees / (degrees + 1) * (Z / t.ppf(0.975, of_gap)) ** 2
        worth = np.maximum(worth, scarcer)
        together = [np.corrcoef(both[1:, 0, c], both[1:, 1, c])[0, 1] for c in range(3)]
        low, high, p = share_gap(*both[0], *worth, np.array(together))
        np.testing.assert_allclose(judged["gap"], both[0, 0] - both[0, 1], rtol=0, atol=1e-12)
        np.testing.assert_allclose(judged["gap_low"], low, rtol=0, atol=1e-10)
        np.testing.assert_allclose(judged["gap_high"], high, rtol=0, atol=1e-10)
        np.testing.assert_allclose(judged["p"], p, rtol=1e-8)


def test_delong_and_counts() -> None:
    sample = images()
    table, _ = subgroup_table(sample, PatientBootstrap(sample.patients, 20), ["view"])
    for group, part in table.groupby("group"):
        rows = (sample.table["view"] == group).to_numpy()
        labels, patients = sample.labels[rows], sample.patients[rows]
        for column, row in enumerate(part.head(3).itertuples()):
            one = delong(sample.scores[rows, column], labels[:, column])
            np.testing.assert_array_equal([row.auroc, row.auroc_low, row.auroc_high], [one.value, one.low, one.high])
            assert (row.images, row.positives) == (one.images, one.positives)
            assert row.patients == len(set(patients[~np.isnan(labels[:, column])]))
            assert row.positive_patients == len(set(patients[labels[:, column] == 1]))
        mean = part.iloc[3]
        expected = [len(labels), len(set(patients)), (labels == 1).sum(), len(set(patients[(labels == 1).any(1)]))]
        assert mean[["images", "patients", "positives", "positive_patients"]].tolist() == expected
        assert np.isnan([mean["auroc_low"], mean["auroc_high"]]).all()


def test_two_groups_are_one_comparison() -> None:
    sample = images()
    table, _ = subgroup_table(sample, PatientBootstrap(sample.patients, 40), ["sex"], minimum_positives=5)
    women, men = (table[table["group"] == sex].reset_index(drop=True) for sex in ("F", "M"))
    np.testing.assert_array_equal(women["gap"], -men["gap"])
    np.testing.assert_allclose(women["gap_low"], -men["gap_high"], rtol=0, atol=1e-14)
    np.testing.assert_allclose(women["p"], men["p"], rtol=1e-12)
    np.testing.assert_array_equal(women["p_holm"], holm(women["p"].to_numpy()))
    np.testing.assert_array_equal(men["p_holm"], women["p_holm"])


def test_several_groups_are_corrected_together_and_attributes_apart() -> None:
    sample = images()
    bootstrap = PatientBootstrap(sample.patients, 40)
    table, _ = subgroup_table(sample, bootstrap, ["sex", "view"], minimum_positives=5)
    view = table[table["attribute"] == "view"]
    assert view["group"].unique().tolist() == ["PA", "AP", "LATERAL"]
    np.testing.assert_array_equal(view["p_holm"], holm(view["p"].to_numpy()))
    alone, _ = subgroup_table(sample, bootstrap, ["view"], minimum_positives=5)
    pd.testing.assert_frame_equal(view.reset_index(drop=True), alone)


def test_too_few_patients_are_not_judged_and_the_mean_leaves_them_out() -> None:
    sample = images()
    table, _ = subgroup_table(sample, PatientBootstrap(sample.patients, 40), ["sex"], minimum_positives=5)
    part = table[table["group"] == "F"].set_index("finding")
    hernia = part.loc["Hernia"]
    rare = hernia["positive_patients"]
    assert hernia["note"].startswith(f"too few to say: {rare} patient")
    assert hernia["note"].endswith("; at least 5 are needed")
    assert hernia[["gap", "gap_low", "gap_high", "p", "p_holm"]].isna().all()
    assert part.loc["mean", "note"] == "mean of 2 of 3 findings, too few of Hernia"
    for name in ("auroc", "rest_auroc", "gap"):
        assert part.loc["mean", name] == pytest.approx(part.loc[["Mass", "Edema"], name].mean(), abs=1e-15)
    assert (part.loc[["Mass", "Edema"], "note"] == "").all()


def test_where_nothing_reaches_the_minimum_nothing_is_said() -> None:
    sample = images()
    table, _ = subgroup_table(sample, PatientBootstrap(sample.patients, 20), ["sex"], minimum_positives=1000)
    assert table["note"].str.startswith("too few to say").all()
    assert table[["gap", "gap_low", "gap_high", "p", "p_holm"]].isna().all(axis=None)
    means = table[table["finding"] == "mean"]
    assert means["note"].tolist() == ["too few to say: no finding has enough patients"] * 2
    assert means[["auroc", "rest_auroc", "auroc_patient_low"]].isna().all(axis=None)


@pytest.mark.parametrize("kind", [1, 0])
@pytest.mark.parametrize("short", ["F", "M"])
def test_the_minimum_is_of_patients_with_and_without_on_both_sides(kind: int, short: str) -> None:
    sample = images(patients=200)
    labels = sample.labels.copy()
    rows = (sample.table["sex"] == short).to_numpy() & (labels[:, 0] == kind)
    kept = np.unique(sample.patients[rows])[:7]
    labels[rows & ~np.isin(sample.patients, kept), 0] = NAN
    sample = Sample.of(sample.table, FINDINGS, sample.scores, labels)
    bootstrap = PatientBootstrap(sample.patients, 40)
    for minimum, judged in ((7, True), (8, False)):
        table, _ = subgroup_table(sample, bootstrap, ["sex"], minimum)
        mass = table[table["finding"] == "Mass"]
        assert mass["gap"].notna().tolist() == [judged, judged]
        for group, note in zip(mass["group"], mass["note"], strict=True):
            word = "with the finding" if kind else "without it"
            place = "group" if group == short else "rest"
            said = f"too few to say: 7 patients {word} in the {place}; at least 8 are needed"
            assert note == ("" if judged else said)


def test_one_group_alone_has_no_gap() -> None:
    sample = images()
    table, notes = subgroup_table(sample, PatientBootstrap(sample.patients, 20), ["source"], minimum_positives=5)
    assert table["group"].tolist() == ["local"] * 4
    assert table["note"].str.endswith("no other group to compare with").all()
    assert table[["rest_auroc", "gap", "gap_low", "gap_high", "p", "p_holm"]].isna().all(axis=None)
    assert table["auroc"].iloc[3] == pytest.approx(table["auroc"].iloc[:2].mean(), abs=1e-15)
    assert notes == ["By source there is one group alone, 'local': there is nothing to compare it with."]


def test_what_is_unknown_for_all_has_no_rows() -> None:
    sample = images()
    bootstrap = PatientBootstrap(sample.patients, 20)
    table, notes = subgroup_table(sample, bootstrap, ["age", "prior_visits"], points={"Mass": 0.5})
    assert table.empty
    assert {"attribute", "gap", "note", "sensitivity"} <= set(table.columns)
    assert [note.split(" is ")[0].split(" are ")[0] for note in notes] == [
        "The age of all images",
        "The prior visits of all images",
    ]


def test_the_same_twice() -> None:
    sample = images()
    tables = [subgroup_table(sample, PatientBootstrap(sample.patients, 30, 4))[0] for _ in range(2)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_points_join_the_table() -> None:
    sample = images()
    bootstrap = PatientBootstrap(sample.patients, 30)
    plain, _ = subgroup_table(sample, bootstrap, ["sex", "view"])
    table, _ = subgroup_table(sample, bootstrap, ["sex", "view"], points={"Mass": 0.5})
    pd.testing.assert_frame_equal(table[plain.columns], plain)
    points = subgroup_points(sample, bootstrap, {"Mass": 0.5}, ["sex", "view"])
    mass = table[table["finding"] == "Mass"].reset_index(drop=True)
    pd.testing.assert_frame_equal(mass[points.columns], points)
    assert table.loc[table["finding"] != "Mass", "sensitivity"].isna().all()


def test_what_is_refused() -> None:
    sample = images()
    bootstrap = PatientBootstrap(sample.patients, 20)
    with pytest.raises(EvaluationError, match="'weight'"):
        subgroup_table(sample, bootstrap, ["weight"])
    with pytest.raises(EvaluationError, match="level"):
        subgroup_table(sample, bootstrap, level=95)


def test_the_size_of_the_gaps_test() -> None:
    """Groups of one distribution, by patient and by image: about one gap in twenty is called one."""
    p: list[float] = []
    for seed in range(100):
        sample = images(patients=60, seed=seed)
        table = sample.table.assign(view=sample.table["view"].replace("LATERAL", ""))
        sample = Sample.of(table, FINDINGS[:2], sample.scores[:, :2], sample.labels[:, :2])
        gaps, _ = subgroup_table(sample, PatientBootstrap(sample.patients, 100, seed), ["sex", "view"], 5)
        p += gaps.loc[gaps["group"].isin(["F", "PA"]) & (gaps["finding"] != "mean"), "p"].dropna().tolist()
    # 400 draws of 0.05: a standard error of 0.011
    assert len(p) > 390
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.075
    assert 0.4 <= np.mean(np.array(p) < 0.5) <= 0.6
