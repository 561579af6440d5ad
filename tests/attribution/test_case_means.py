"""Means over cases with intervals over patients, and ratios of sums."""

import numpy as np
import pandas as pd
import pytest

from cxr_monai.attribution.case_means import few_note, mean_table, share_table
from cxr_monai.evaluation.bootstrap import Intervals

NAN = float("nan")


def cases(count: int = 40, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    """Return cases of two findings, and each image's own patient."""
    random = np.random.default_rng(seed)
    images = [f"{number}.png" for number in range(count)]
    table = pd.DataFrame(
        {
            "image": images * 2,
            "finding": ["Mass"] * count + ["Hernia"] * count,
            "x": random.normal(1, 0.2, 2 * count),
            "y": random.random(2 * count),
        }
    )
    return table, pd.Series(images, index=images)


def test_means_by_hand() -> None:
    table = pd.DataFrame(
        {
            "image": ["a", "a", "b", "b", "c", "lost"],
            "finding": ["Mass", "Hernia", "Mass", "Hernia", "Mass", "Mass"],
            "x": [1.0, 5.0, 2.0, NAN, 6.0, 100.0],
        }
    )
    patients = pd.Series({"a": "p", "b": "p", "c": "q"})
    made = mean_table(table, "finding", ["x"], patients, Intervals(50), mean=True)
    assert made["finding"].tolist() == ["Mass", "Hernia", "mean"]
    assert made["cases"].tolist() == [3, 1, 4]  # what is not known, or of nobody, is left out
    assert made["patients"].tolist() == [2, 1, 2]
    assert made["x"].tolist() == [3, 5, 4]  # the mean over findings, not over cases
    assert made[["x_low", "x_high"]].isna().all(axis=None)  # of so few patients
    assert few_note(made["patients"]) == ["Where a figure rests on fewer than 6 patients, it has no interval."]
    assert few_note(pd.Series([6, 80])) == []


def test_intervals_are_about_those_of_the_normal_distribution() -> None:
    table, patients = cases(60)
    made = mean_table(table, "finding", ["x", "y"], patients, Intervals(2000)).set_index("finding")
    for finding, of in table.groupby("finding"):
        for name in ("x", "y"):
            half = 2.0 * of[name].std() / 60**0.5  # Student's t of 59: 2.0
            assert made.loc[finding, f"{name}_low"] == pytest.approx(of[name].mean() - half, abs=0.2 * half)
            assert made.loc[finding, f"{name}_high"] == pytest.approx(of[name].mean() + half, abs=0.2 * half)


def test_images_of_one_patient_are_no_independent_evidence() -> None:
    table, own = cases(20)
    copies = pd.concat([table.assign(image=table["image"] + str(copy)) for copy in range(9)], ignore_index=True)
    same = pd.Series({image: image[:-1] for image in copies["image"].unique()})
    apart = pd.Series({image: image for image in copies["image"].unique()})

    def width(of: pd.DataFrame, patients: pd.Series) -> float:
        made = mean_table(of, "finding", ["x"], patients, Intervals(1000))
        return float((made["x_high"] - made["x_low"]).iloc[0])

    assert width(copies, same) == pytest.approx(width(table, own), rel=0.1)
    assert width(copies, apart) < 0.5 * width(table, own)


def test_a_group_without_any_value() -> None:
    table, patients = cases(10)
    table.loc[table["finding"] == "Hernia", "x"] = NAN
    made = mean_table(table, "finding", ["x"], patients, Intervals(50), mean=True).set_index("finding")
    assert made.loc["Hernia", ["cases", "patients"]].tolist() == [0, 0]
    assert np.isnan(made.loc["Hernia", "x"])
    assert made.loc["mean", "x"] == made.loc["Mass", "x"]
    assert made.loc["mean", "cases"] == 10


def test_shares_are_ratios_of_sums() -> None:
    table, patients = cases(30)
    made = share_table(table, "finding", "x", "y", patients, Intervals(500)).set_index("finding")
    assert made.index.tolist() == ["Mass", "Hernia", "all"]
    mass = table[table["finding"] == "Mass"]
    assert made.loc["Mass", "share"] == pytest.approx(mass["x"].sum() / mass["y"].sum())
    assert made.loc["Mass", ["x", "y"]].tolist() == pytest.approx([mass["x"].mean(), mass["y"].mean()])
    assert made.loc["all", "share"] == pytest.approx(table["x"].sum() / table["y"].sum())
    assert made.loc["all", ["cases", "patients"]].tolist() == [60, 30]
    assert (made["low"] < made["share"]).all()
    assert (made["share"] < made["high"]).all()
    # pairs stay together: a ratio that is the same in every case is known exactly
    exact = share_table(table.assign(x=2 * table["y"]), "finding", "x", "y", patients, Intervals(100))
    np.testing.assert_allclose(exact[["share", "low", "high"]], 2)
