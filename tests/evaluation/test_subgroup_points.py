"""Sensitivity and specificity by group, by hand and against textbook intervals."""

import numpy as np
import pandas as pd
import pytest

from cxr_monai.errors import EvaluationError
from cxr_monai.evaluation.bootstrap import PatientBootstrap
from cxr_monai.evaluation.comparison import holm
from cxr_monai.evaluation.proportions import patient_wilson
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.subgroup_points import FIGURES, subgroup_points

NAN = np.nan


def sample(patients: list[int], sexes: list[str], scores: list[list[float]], labels: list[list[float]]) -> Sample:
    table = pd.DataFrame({"image": [f"{k}.png" for k in range(len(patients))], "patient_id": patients, "sex": sexes})
    table = table.astype("str").assign(study_id="", view="", source="", split="test", age=NAN)
    findings = ["Mass", "Edema"][: len(scores[0])]
    return Sample.of(table, findings, np.array(scores), np.array(labels))


def images(patients: int = 80, seed: int = 0, shift: float = 0.0) -> Sample:
    """Patients with one to three images; women's scores of positives are lower by ``shift``."""
    random = np.random.default_rng(seed)
    codes = np.repeat(np.arange(patients), random.integers(1, 4, patients))
    sexes = random.choice(["F", "M"], patients)[codes]
    labels = (random.random((codes.size, 2)) < 0.4).astype(float)
    latent = 1.2 * labels + random.normal(size=(patients, 2))[codes] + random.normal(size=labels.shape)
    latent -= shift * labels * (sexes == "F")[:, None]
    return sample(codes.tolist(), sexes.tolist(), (1 / (1 + np.exp(-latent))).tolist(), labels.tolist())


def test_by_hand() -> None:
    # women: 2 of 3 positives found, 1 of 2 negatives left alone; men: 1 of 2, and 3 of 3; one sex, one label unknown
    scores = [0.5, 0.9, 0.1, 0.7, 0.2, 0.6, 0.3, 0.0, 0.1, 0.2, 0.9, 0.9]
    labels = [1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1, NAN]
    sexes = ["F"] * 5 + ["M"] * 5 + ["", "F"]
    one = sample(list(range(12)), sexes, [[s] for s in scores], [[y] for y in labels])
    table = subgroup_points(one, PatientBootstrap(one.patients, 50), {"Mass": 0.5}, ["sex"], minimum_positives=2)
    assert table["group"].tolist() == ["F", "M"]
    assert (table["threshold"] == 0.5).all()
    assert table["sensitivity"].tolist() == [2 / 3, 1 / 2]
    assert table["rest_sensitivity"].tolist() == [1 / 2, 2 / 3]
    assert table["sensitivity_gap"].tolist() == pytest.approx([1 / 6, -1 / 6], abs=1e-15)
    assert table["specificity"].tolist() == [1 / 2, 1]
    assert table["rest_specificity"].tolist() == [1, 1 / 2]
    assert table["specificity_gap"].tolist() == [-1 / 2, 1 / 2]


def test_the_minimum_is_of_the_patients_that_the_figure_is_about() -> None:
    # four patients with the finding a sex (women: eight images), six without it
    patients = [0, 0, 1, 1, 2, 2, 3, 3, *range(4, 10), *range(10, 20)]
    sexes = ["F"] * 14 + ["M"] * 10
    labels = [1] * 8 + [0] * 6 + [1] * 4 + [0] * 6
    one = sample(patients, sexes, [[0.5 + 0.01 * k % 0.3] for k in range(24)], [[y] for y in labels])
    bootstrap = PatientBootstrap(one.patients, 50)
    for minimum, judged in ((4, (True, True)), (5, (False, True)), (7, (False, False))):
        table = subgroup_points(one, bootstrap, {"Mass": 0.6}, ["sex"], minimum)
        for figure, expected in zip(FIGURES, judged, strict=True):
            for part in ("gap", "gap_low", "gap_high", "p", "p_holm"):
                assert table[f"{figure}_{part}"].notna().tolist() == [expected] * 2
            assert table[figure].notna().all()


def test_intervals_are_the_patients() -> None:
    one = images()
    bootstrap = PatientBootstrap(one.patients, 200)
    table = subgroup_points(one, bootstrap, {"Mass": 0.6, "Edema": 0.4}, ["sex"], minimum_positives=5)
    for group, part in table.groupby("group"):
        rows = (one.table["sex"] == group).to_numpy()[:, None]
        called = one.scores >= [0.6, 0.4]
        for figure, counted, right in (
            ("sensitivity", rows & (one.labels == 1), called),
            ("specificity", rows & (one.labels == 0), ~called),
        ):
            low, high = patient_wilson(counted & right, counted, bootstrap)
            np.testing.assert_allclose(part[f"{figure}_patient_low"], low, rtol=1e-12)
            np.testing.assert_allclose(part[f"{figure}_patient_high"], high, rtol=1e-12)
    women, men = (table[table["group"] == sex].reset_index(drop=True) for sex in ("F", "M"))
    for figure in FIGURES:
        np.testing.assert_allclose(women[f"{figure}_gap"], -men[f"{figure}_gap"], rtol=0, atol=1e-15)
        np.testing.assert_allclose(women[f"{figure}_gap_low"], -men[f"{figure}_gap_high"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(women[f"{figure}_p"], men[f"{figure}_p"], rtol=1e-9)
        np.testing.assert_array_equal(women[f"{figure}_p_holm"], holm(women[f"{figure}_p"].to_numpy()))


def test_findings_without_a_threshold_have_no_rows() -> None:
    one = images()
    bootstrap = PatientBootstrap(one.patients, 20)
    table = subgroup_points(one, bootstrap, {"Edema": 0.5, "Mass": NAN, "Other": 0.1}, ["sex"])
    assert table["finding"].tolist() == ["Edema", "Edema"]
    assert subgroup_points(one, bootstrap, {}, ["sex"]).columns.equals(table.columns)


def test_more_missed_in_one_group_is_found() -> None:
    one = images(patients=400, shift=1.0)
    table = subgroup_points(one, PatientBootstrap(one.patients, 100), {"Mass": 0.5, "Edema": 0.5}, ["sex"])
    women = table[table["group"] == "F"]
    assert (women["sensitivity_gap_high"] < 0).all()
    assert (women["sensitivity_p_holm"] < 1e-3).all()
    assert (women["specificity_p_holm"] > 0.05).all()


def test_another_level_is_refused() -> None:
    one = images()
    with pytest.raises(EvaluationError, match="95"):
        subgroup_points(one, PatientBootstrap(one.patients, 20), {"Mass": 0.5}, ["sex"], level=95)


def test_the_size_of_the_gaps_test() -> None:
    """No gap, few misses and several images a patient: about one in twenty is called one, not more."""
    p, held = [], []
    for seed in range(100):
        one = images(patients=70, seed=seed)
        points = {"Mass": 0.4, "Edema": 0.3}
        row = subgroup_points(one, PatientBootstrap(one.patients, 100, seed), points, ["sex"], 10).head(2)
        p += [*row["sensitivity_p"], *row["specificity_p"]]
        held += [*((row["sensitivity_gap_low"] <= 0) & (row["sensitivity_gap_high"] >= 0))]
    # 400 and 200 draws
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.085
    assert np.mean(held) >= 0.91
