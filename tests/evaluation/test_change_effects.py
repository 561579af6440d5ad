"""The effect of changed films, by hand."""

import numpy as np
import pandas as pd
import pytest

from cxr_monai.evaluation.bootstrap import Intervals, PatientBootstrap
from cxr_monai.evaluation.change_effects import change_effects
from cxr_monai.evaluation.comparison import compare
from cxr_monai.evaluation.sample import Sample

RNG = np.random.default_rng(3)


def sample_of(scores: np.ndarray, labels: np.ndarray, findings: tuple[str, ...]) -> Sample:
    patients = [str(row // 2) for row in range(len(scores))]
    table = pd.DataFrame({"image": [f"{row}.png" for row in range(len(scores))], "patient_id": patients})
    return Sample.of(table, findings, scores, labels)


def test_by_hand() -> None:
    scores = np.array([[0.1, 0.5], [0.4, 0.5], [0.35, 0.5], [0.8, 0.5]])
    labels = np.array([[0, np.nan], [0, np.nan], [1, np.nan], [1, np.nan]])
    changed = {"half": scores / 2, "upside down": 1 - scores}
    effects = change_effects(sample_of(scores, labels, ("Mass", "Hernia")), changed, Intervals(replicates=50))
    assert effects["finding"].tolist() == ["Mass", "Hernia", "mean"] * 2
    half, _, mean, turned, unlabelled, _ = (row for _, row in effects.iterrows())
    assert (half["images"], half["positives"], half["auroc"], half["auroc_changed"]) == (4, 2, 0.75, 0.75)
    assert half["difference"] == 0
    assert half["probability_change"] == pytest.approx(-0.20625)
    assert half["probability_change_absolute"] == pytest.approx(0.20625)
    assert (turned["auroc_changed"], turned["difference"]) == (0.25, -0.5)
    assert turned["probability_change"] == pytest.approx(0.175)
    assert turned["probability_change_absolute"] == pytest.approx(np.abs(1 - 2 * scores[:, 0]).mean())
    assert np.isnan(unlabelled["auroc"])
    assert unlabelled["probability_change_absolute"] == 0
    assert mean["auroc_changed"] == 0.75  # of the one finding that has labels


def test_the_paired_interval_is_that_of_a_comparison() -> None:
    labels = (RNG.random((160, 2)) < 0.4).astype(float)
    first = np.clip(labels * 0.3 + RNG.random((160, 2)) * 0.7, 0, 1)
    second = np.clip(first + RNG.normal(0, 0.2, first.shape), 0, 1)
    sample = sample_of(first, labels, ("Mass", "Nodule"))
    effects = change_effects(sample, {"noisy": second}, Intervals(replicates=200))
    expected = compare(sample, sample.with_scores(second), PatientBootstrap(sample.patients, 200))
    for name, other in (
        ("difference", "difference"),
        ("difference_low", "patient_low"),
        ("difference_high", "patient_high"),
    ):
        np.testing.assert_allclose(effects[name], expected[other], atol=1e-12)
    inside = effects["auroc_changed"].between(effects["auroc_changed_low"], effects["auroc_changed_high"])
    assert inside.all()


def test_the_mean_of_one_finding_has_its_interval() -> None:
    labels = np.column_stack([(RNG.random(60) < 0.3).astype(float), np.full(60, np.nan)])
    scores = np.clip(labels[:, :1] * 0.3 + RNG.random((60, 2)) * 0.7, 0, 1)
    effects = change_effects(sample_of(scores, labels, ("Mass", "Hernia")), {"none": scores})
    ends = effects.set_index("finding")[["auroc_changed_low", "auroc_changed_high"]]
    np.testing.assert_allclose(ends.loc["mean"], ends.loc["Mass"], atol=1e-12)
