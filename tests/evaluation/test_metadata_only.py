"""What ranks without a picture: planted and absent signals, and RSNA's view by its published tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cxr_monai.errors import EvaluationError
from cxr_monai.evaluation.bootstrap import Intervals, PatientBootstrap
from cxr_monai.evaluation.metadata_only import (
    ALL_IMAGES,
    ALL_TOGETHER,
    WITHIN,
    attributes_from_features,
    metadata_only,
    within_groups,
)
from cxr_monai.evaluation.sample import Sample

NAN = np.nan
FEW_DRAWS = Intervals(40)


def sample_of(labels: np.ndarray, scores: np.ndarray | None = None, **columns: object) -> Sample:
    """Patients with two images each."""
    count = len(labels)
    table = pd.DataFrame(
        {"image": [f"{k}.png" for k in range(count)], "patient_id": (np.arange(count) // 2).astype(str)}
    )
    table = table.assign(study_id="", view="PA", age=NAN, sex="", source="a", split="test").assign(**columns)
    scores = np.zeros(count) if scores is None else scores
    return Sample.of(table, ["Mass"], np.asarray(scores)[:, None], np.asarray(labels, float)[:, None])


def test_each_attribute_finds_its_own_signal() -> None:
    random = np.random.default_rng(0)
    count = 3000
    view, sex = random.choice(["PA", "AP"], count), random.choice(["F", "M"], count // 2).repeat(2)
    age = random.uniform(1, 90, count // 2).repeat(2)
    chance = 0.1 + 0.25 * (view == "AP") + 0.3 * (np.abs(age - 45) > 30)
    labels = (random.random(count) < chance).astype(float)
    sample = sample_of(labels, view=view, sex=sex, age=age)
    sizes = pd.Series(np.where(random.random(count) < 0.5, "1024x1024", "2048x2048"))
    table = metadata_only(sample, FEW_DRAWS, {"image_size": sizes}).set_index("attribute")
    # one source alone tells nothing and is no row
    assert table.index.tolist() == ["view", "age", "sex", "image_size", ALL_TOGETHER]
    direct = roc_auc_score(labels, view == "AP")
    assert table.loc["view", "in_sample"] == pytest.approx(direct, abs=1e-12)
    assert table.loc["view", "auroc"] == pytest.approx(direct, abs=0.005)
    # both the young and the old: an age enters with its square
    assert table.loc["age", "auroc_low"] > 0.55
    assert table.loc[ALL_TOGETHER, "auroc"] > max(table.loc["view", "auroc"], table.loc["age", "auroc"])
    for nothing in ("sex", "image_size"):
        assert table.loc[nothing, "auroc_low"] < 0.51
    assert (table["auroc_low"] < table["auroc"]).all()
    assert (table["images"] == count).all()


def test_no_signal_is_a_half_on_average_not_below() -> None:
    """Pooled over folds it would be about 0.46 here, as each fold's constant speaks against its own positives."""
    values = []
    for seed in range(30):
        random = np.random.default_rng(seed)
        sample = sample_of(random.random(120) < 0.4, view=random.choice(["PA", "AP"], 120))
        values.append(metadata_only(sample, Intervals(1)).iloc[0]["auroc"])
    assert np.mean(values) == pytest.approx(0.5, abs=3 * np.std(values) / np.sqrt(30))


def test_patients_stay_together() -> None:
    """Each patient has an age of its own and both images the same label: only other patients' images may be learned."""
    random = np.random.default_rng(1)
    labels = (random.random(300) < 0.5).repeat(2)
    names = pd.Series([f"ward {k // 30}" for k in range(600)])  # wards of 15 patients
    table = metadata_only(sample_of(labels), FEW_DRAWS, {"ward": names})
    assert table["in_sample"][0] > 0.55
    assert table["auroc"][0] < 0.56


def test_unknown_values_and_labels_and_too_few() -> None:
    random = np.random.default_rng(2)
    labels = (random.random(400) < 0.3).astype(float)
    age = np.where(labels == 1, NAN, 50.0)  # unknown only in the sick: that itself tells
    labels[:50] = NAN
    table = metadata_only(sample_of(labels, age=age), FEW_DRAWS).set_index("attribute")
    assert table.index.tolist() == ["age"]
    assert table.loc["age", "auroc"] == 1
    assert table.loc["age", "images"] == 350
    few = metadata_only(sample_of(np.where(np.arange(400) < 10, 1.0, 0.0), age=age), FEW_DRAWS)
    assert few["note"][0] == "too few to say: 5 patients with the finding; at least 20 are needed"
    assert few[["auroc", "in_sample"]].isna().all(axis=None)
    with pytest.raises(EvaluationError, match="no attribute 'weight'"):
        metadata_only(sample_of(labels), FEW_DRAWS, attributes=["weight"])
    with pytest.raises(EvaluationError, match="ward has 3 values for 400 images"):
        metadata_only(sample_of(labels), FEW_DRAWS, {"ward": pd.Series(["a", "b", "c"])})


def test_within_groups_compares_images_of_one_view_alone() -> None:
    random = np.random.default_rng(3)
    view = random.choice(["PA", "AP", ""], 900, p=[0.5, 0.4, 0.1])
    labels = (random.random(900) < np.where(view == "AP", 0.6, 0.1)).astype(float)
    labels[::17] = NAN
    scores = (view == "AP") + 0.1 * random.random(900)  # knows the view alone
    sample = sample_of(labels, scores, view=view)
    table = within_groups(sample, FEW_DRAWS).set_index("group")
    assert table.index.tolist() == [ALL_IMAGES, "PA", "AP", WITHIN]
    known = ~np.isnan(labels)
    assert table.loc[ALL_IMAGES, "auroc"] == pytest.approx(roc_auc_score(labels[known], scores[known]))
    assert table.loc[ALL_IMAGES, "auroc_low"] > 0.7
    pairs, areas = [], []
    for name in ("PA", "AP"):
        rows = known & (view == name)
        areas.append(roc_auc_score(labels[rows], scores[rows]))
        pairs.append((labels[rows] == 1).sum() * (labels[rows] == 0).sum())
        assert table.loc[name, "auroc"] == pytest.approx(areas[-1])
        assert table.loc[name, ["images", "positives"]].tolist() == [rows.sum(), (labels[rows] == 1).sum()]
    assert table.loc[WITHIN, "auroc"] == pytest.approx(np.average(areas, weights=pairs))
    assert table.loc[WITHIN, "auroc_low"] < 0.5 < table.loc[WITHIN, "auroc_high"]
    drawn = PatientBootstrap(sample.patients, 40).ranking(scores, labels, view == "AP").auroc
    assert drawn.min() <= table.loc["AP", "auroc_low"] <= table.loc["AP", "auroc_high"] <= drawn.max()


def test_features_tell_what_is_in_them() -> None:
    random = np.random.default_rng(4)
    count = 800
    table = pd.DataFrame({
        "view": random.choice(["PA", "AP"], count), "sex": random.choice(["F", "M"], count),
        "age": random.choice([10.0, 30.0, 50.0, 70.0], count, p=[0.01, 0.3, 0.3, 0.39]), "source": "a",
        "study_id": "",
    })  # fmt: skip
    features = random.normal(size=(count, 12))
    features[:, 0] += 2 * (table["view"] == "AP")
    features[:, 1] += table["age"] / 20
    patients = np.arange(count) // 2
    rows = attributes_from_features(features, table, patients, FEW_DRAWS).set_index("attribute")
    assert rows.index.tolist() == ["view", "age", "sex", "source"]
    assert rows.loc["view", "groups"] == "PA | AP"
    direct = roc_auc_score(table["view"] == "AP", features[:, 0])
    assert rows.loc["view", "auroc"] == pytest.approx(direct, abs=0.02)
    assert rows.loc["view", "accuracy"] > 0.8
    # fewer than 20 patients below 18: no group; the mean is over one group against the rest
    assert rows.loc["age", "groups"] == "18-39 | 40-64 | 65+"
    assert rows.loc["age", "images"] == (table["age"] > 18).sum()
    assert rows.loc["age", "auroc_low"] > 0.6
    assert rows.loc["age", "accuracy"] > rows.loc["age", "majority"]
    assert rows.loc["sex", "auroc_low"] < 0.5 < rows.loc["sex", "auroc_high"]
    assert rows.loc["source", "note"] == "too few to say: 1 group with 20 patients or more"
    with pytest.raises(EvaluationError, match="do not fit"):
        attributes_from_features(features[:3], table, patients, FEW_DRAWS)


def nih_table(realdata: Path, images: pd.Series) -> pd.DataFrame:
    nih = pd.read_csv(realdata / "nih" / "Data_Entry_2017_v2020.csv.gz").set_index("Image Index").loc[images]
    sex = next(name for name in nih.columns if name in ("Patient Sex", "Patient Gender"))
    return pd.DataFrame({
        "image": images.to_numpy(), "patient_id": nih["Patient ID"].astype(str).to_numpy(), "study_id": "",
        "view": nih["View Position"].to_numpy(), "age": nih["Patient Age"].to_numpy(float), "sex": nih[sex].to_numpy(),
        "source": "nih", "split": "test",
    })  # fmt: skip


@pytest.mark.publictables
def test_the_view_alone_ranks_rsnas_opacities(public_tables: Path) -> None:
    """All 26,684 images: 4,664 of 12,173 AP and 1,348 of 14,511 PA films have an opacity."""
    headers = pd.read_csv(public_tables / "kaggle_stage_2_train_images_dicom_headers.csv.gz").set_index("PatientID")
    targets = pd.read_csv(public_tables / "kaggle_stage_2_train_labels.csv.zip").groupby("patientId")["Target"].max()
    headers = headers.loc[targets.index]
    table = pd.DataFrame({
        "image": targets.index, "patient_id": targets.index, "study_id": "", "view": headers["ViewPosition"].to_numpy(),
        "age": headers["PatientAge"].to_numpy(float), "sex": headers["PatientSex"].to_numpy(), "source": "rsna",
        "split": "",
    })  # fmt: skip
    sample = Sample.of(table, ["Lung Opacity"], np.zeros((26_684, 1)), targets.to_numpy(float)[:, None])
    row = metadata_only(sample, Intervals(20), attributes=["view"]).iloc[0]
    assert (row["images"], row["positives"]) == (26_684, 6_012)
    expected = 0.5 + (4664 / 6012 - (12_173 - 4664) / 20_672) / 2
    assert row["in_sample"] == pytest.approx(expected, abs=1e-12)
    assert row["in_sample"] == pytest.approx(0.706, abs=0.0005)
    assert row["auroc"] == pytest.approx(0.706, abs=0.0005)


@pytest.mark.realdata
def test_the_view_alone_on_rsnas_images_that_have_a_name_of_nihs(realdata: Path) -> None:
    """26,462 images with NIH's own view and patients."""
    rsna = pd.read_csv(realdata / "expert" / "rsna_on_nih.csv.gz").drop_duplicates("image")
    opacity = (rsna["rsna_class"] == "Lung Opacity").to_numpy(float)[:, None]
    sample = Sample.of(nih_table(realdata, rsna["image"]), ["Lung Opacity"], np.zeros_like(opacity), opacity)
    row = metadata_only(sample, Intervals(20), attributes=["view"]).iloc[0]
    assert row["images"] == 26_462
    assert (row["in_sample"], row["auroc"]) == (pytest.approx(0.707, abs=0.0005), pytest.approx(0.707, abs=0.0005))


@pytest.mark.realdata
def test_consolidation_within_a_view_is_not_what_it_is_pooled(realdata: Path) -> None:
    """The network of ``predictions`` against RSNA's radiologists, 5,244 images of 2,261 patients."""
    rsna = pd.read_csv(realdata / "expert" / "rsna_on_nih.csv.gz").drop_duplicates("image").set_index("image")
    scores = pd.read_csv(realdata / "predictions" / "reproduce_chexnet_test_preds.csv.gz").set_index("Image Index")
    images = pd.Series(scores.index[scores.index.isin(rsna.index)])
    opacity = (rsna.loc[images, "rsna_class"] == "Lung Opacity").to_numpy(float)[:, None]
    probabilities = scores.loc[images, ["prob_Consolidation"]].to_numpy()
    sample = Sample.of(nih_table(realdata, images), ["Consolidation"], probabilities, opacity)
    table = within_groups(sample, Intervals(100)).set_index("group")
    assert table.loc[ALL_IMAGES, ["images", "positives"]].tolist() == [5_244, 1_093]
    assert sample.patients.max() + 1 == 2_261
    pinned = {ALL_IMAGES: 0.825, "PA": 0.817, "AP": 0.738, WITHIN: 0.764}
    for group, value in pinned.items():
        assert table.loc[group, "auroc"] == pytest.approx(value, abs=0.0006), group
    assert table.loc[WITHIN, "auroc_high"] < table.loc[ALL_IMAGES, "auroc_low"]
