"""Means of maps' figures with intervals over patients, ratios of sums, and what MLflow is told."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.data.manifest import build_manifest
from cxr_monai.errors import Code, ManifestError
from cxr_monai.report.map_tables import few_note, figures_of, means, patients_of, shares, write_tables

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
    made = means(table, "finding", ["x"], patients, 50, mean=True)
    assert made["finding"].tolist() == ["Mass", "Hernia", "mean"]
    assert made["cases"].tolist() == [3, 1, 4]  # what is not known, or of nobody, is left out
    assert made["patients"].tolist() == [2, 1, 2]
    assert made["x"].tolist() == [3, 5, 4]  # the mean over findings, not over cases
    assert made[["x_low", "x_high"]].isna().all(axis=None)  # of so few patients
    assert few_note(made["patients"]) == ["Where a figure rests on fewer than 6 patients, it has no interval."]
    assert few_note(pd.Series([6, 80])) == []


def test_intervals_are_about_those_of_the_normal_distribution() -> None:
    table, patients = cases(60)
    made = means(table, "finding", ["x", "y"], patients, 2000).set_index("finding")
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
        made = means(of, "finding", ["x"], patients, 1000)
        return float((made["x_high"] - made["x_low"]).iloc[0])

    assert width(copies, same) == pytest.approx(width(table, own), rel=0.1)
    assert width(copies, apart) < 0.5 * width(table, own)


def test_a_group_without_any_value() -> None:
    table, patients = cases(10)
    table.loc[table["finding"] == "Hernia", "x"] = NAN
    made = means(table, "finding", ["x"], patients, 50, mean=True).set_index("finding")
    assert made.loc["Hernia", ["cases", "patients"]].tolist() == [0, 0]
    assert np.isnan(made.loc["Hernia", "x"])
    assert made.loc["mean", "x"] == made.loc["Mass", "x"]
    assert made.loc["mean", "cases"] == 10


def test_shares_are_ratios_of_sums() -> None:
    table, patients = cases(30)
    made = shares(table, "finding", "x", "y", patients, 500).set_index("finding")
    assert made.index.tolist() == ["Mass", "Hernia", "all"]
    mass = table[table["finding"] == "Mass"]
    assert made.loc["Mass", "share"] == pytest.approx(mass["x"].sum() / mass["y"].sum())
    assert made.loc["Mass", ["x", "y"]].tolist() == pytest.approx([mass["x"].mean(), mass["y"].mean()])
    assert made.loc["all", "share"] == pytest.approx(table["x"].sum() / table["y"].sum())
    assert made.loc["all", ["cases", "patients"]].tolist() == [60, 30]
    assert (made["low"] < made["share"]).all()
    assert (made["share"] < made["high"]).all()
    # pairs stay together: a ratio that is the same in every case is known exactly
    exact = shares(table.assign(x=2 * table["y"]), "finding", "x", "y", patients, 100)
    np.testing.assert_allclose(exact[["share", "low", "high"]], 2)


def test_patients_of_a_manifest() -> None:
    table = pd.DataFrame({"image": ["a.png", "b.png", "c.png"], "patient_id": ["1", "1", "2"], "Mass": [0, 1, 0]})
    manifest = build_manifest(table, "/nowhere", "local")
    patients, told, notes = patients_of(["c.png", "a.png", "c.png", "x.png"], manifest)
    assert patients.to_dict() == {"c.png": "2", "a.png": "1"}
    assert told == "patients"
    assert notes == ["1 of 3 images are not in the manifest and are left out."]
    # by file name, where the paths differ
    assert patients_of(["other/b.png"], manifest)[0].to_dict() == {"other/b.png": "1"}
    with pytest.raises(ManifestError) as caught:
        patients_of(["x.png"], manifest)
    assert caught.value.code == Code.MANIFEST_INVALID


def test_without_a_manifest_each_image_is_a_patient() -> None:
    patients, told, _ = patients_of(["a", "b", "a"], None)
    assert patients.to_dict() == {"a": "a", "b": "b"}
    assert told.startswith("images: no manifest was given")


def test_tables_and_figures(tmp_path: Path) -> None:
    table = pd.DataFrame({"method": ["cam", "gradcam++"], "x": [1 / 3, NAN], "x_low": [0.1, NAN], "x_high": [0.5, NAN]})
    written = write_tables({"one": table}, tmp_path / "new" / "folder")
    assert [path.name for path in written] == ["one.csv"]
    assert written[0].read_text() == "method,x,x_low,x_high\ncam,0.3333,0.1000,0.5000\ngradcam++,,,\n"
    figures = figures_of(table, "method", ["x"])
    assert figures["x_cam"] == 1 / 3
    assert figures["x_cam_high"] == 0.5
    assert np.isnan(figures["x_gradcam++"])
