"""Folds: who is tested where, what is gathered, and the one bundle of all networks."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.bundle.ensembling import members_of
from cxr_monai.data.manifest import Manifest, build_manifest, read_manifest, under, write_manifest
from cxr_monai.data.splits import random as random_split
from cxr_monai.errors import BundleError, Code, EvaluationError, SplitError
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.fitted import read_calibration
from cxr_monai.evaluation.patients import patients_trained_on
from cxr_monai.evaluation.predictions import read_predictions, write_predictions
from cxr_monai.schemes import LabelScheme
from cxr_monai.studies.folds import finish_folds, fold_manifest, metrics_by_fold, out_of_fold, prepare_folds
from cxr_monai.studies.plan import Job
from cxr_monai.workflows.evaluate import EvaluationOptions, evaluate_files
from tests.support.bundle_runs import content
from tests.support.tiny_bundles import LABELS, NETWORK, tiny_bundle

FOLDS, PATIENTS = 3, 60


def table_of(root: Path, patients: int = PATIENTS) -> Manifest:
    """Two images a patient; every third has an effusion, the first three patients a mass."""
    owner = np.repeat(np.arange(patients), 2)
    table = pd.DataFrame({"image": [f"{at}.png" for at in range(2 * patients)], "patient_id": owner})
    table["Effusion"], table["Mass"] = owner % 3 == 0, owner < 3
    return build_manifest(table.astype(dict.fromkeys(LABELS, float)), root, "local")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return prepare_folds(table_of(tmp_path_factory.mktemp("images")), FOLDS)[0]


def predict(job: Job, manifest: Manifest, images: pd.Series) -> None:
    """Write what a network of the job would predict: better than chance, another offset a fold and seed."""
    labels = manifest.table.set_index("image").loc[images, list(LABELS)].to_numpy()
    noise = np.random.default_rng([job.seed, job.fold or 0]).normal(size=labels.shape)
    values = expit(labels + noise + (job.fold or 0))
    write_predictions(job.folder / "test" / "predictions.csv", list(images), values, LABELS, {"precision": "float32"})


@pytest.fixture(scope="module")
def jobs(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    """Three folds with two seeds, as the engine leaves them."""
    root = tmp_path_factory.mktemp("trainings")
    made = [Job("base", seed, fold, {}, root / f"{seed}-{fold}") for seed in (0, 1) for fold in range(FOLDS)]
    for at, job in enumerate(made):
        tiny_bundle(job.folder / "train" / "bundle", at)
        predict(job, manifest, manifest.table.loc[manifest.table["fold"] == job.fold, "image"].iloc[::-1])
    return made


@pytest.fixture(scope="module")
def finished(manifest: Manifest, jobs: list[Job], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    files, _ = finish_folds(jobs, manifest, out)
    assert files == [out / "predictions_oof.csv", out / "metrics_by_fold.csv", out / "bundle"]
    return out


def test_every_image_is_tested_once_and_patients_never_cross(manifest: Manifest, tmp_path: Path) -> None:
    tested = []
    for fold in range(FOLDS):
        fold_manifest(manifest, fold, FOLDS, tmp_path / "fold.csv")
        made = read_manifest(tmp_path / "fold.csv", check_files=False)  # refuses a patient on two sides
        sides = made.table.groupby("split")["fold"].unique().map(set)
        assert sides["test"] == {fold}
        assert sides["val"] == {(fold + 1) % FOLDS}
        assert sides["train"] == set(range(FOLDS)) - sides["test"] - sides["val"]
        assert made.split is not None
        assert made.split.scheme == "kfold"
        assert (made.split.details["test_fold"], made.split.details["k"]) == (fold, FOLDS)
        tested += list(made.table.loc[made.table["split"] == "test", "image"])
    assert sorted(tested) == sorted(manifest.table["image"])


def test_folds_that_are_there_are_kept_and_images_without_one_take_no_part(
    manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = manifest.table["fold"].copy()
    own[manifest.table["patient_id"] == "5"] = pd.NA
    given = replace(manifest, table=manifest.table.assign(fold=own))
    made, notes = prepare_folds(given)
    pd.testing.assert_series_equal(made.table["fold"], own)
    assert notes == ["2 of 120 images have no fold and take no part."]
    fold_manifest(made, 0, FOLDS, tmp_path / "fold.csv")
    written = read_manifest(tmp_path / "fold.csv", check_files=False).table
    assert (written.loc[written["patient_id"] == "5", "split"] == "").all()
    assert (written["split"] == "").sum() == 2
    assert notes[0] in caplog.text


def test_five_folds_where_nobody_says_how_many(tmp_path: Path) -> None:
    assert set(prepare_folds(table_of(tmp_path))[0].table["fold"]) == set(range(5))


def test_findings_with_too_few_patients_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        made, notes = prepare_folds(table_of(tmp_path), 5)
    without = sorted(set(range(5)) - set(made.table.loc[made.table["Mass"] == 1, "fold"]))
    assert len(without) == 2  # three patients in five folds
    assert len(notes) == 1
    assert f"Mass (fold {without[0]}, {without[1]})" in notes[0]
    assert "Effusion" not in notes[0]
    assert caplog.messages == notes


def test_a_test_part_is_said_to_be_folded_too(tmp_path: Path) -> None:
    _, notes = prepare_folds(random_split(table_of(tmp_path), (0.5, 0.25, 0.25)), 3)
    assert [note for note in notes if "test part among them" in note]


@pytest.mark.parametrize(
    ("folds", "k", "message"),
    [
        (None, 2, "2 folds: one is tested"),
        (None, 61, "k is 61; it is from 2 to the number of patients, 60"),
        ([0, 1, 3], None, "fold 2 of the manifest is empty; it has 0, 1, 3"),
        ([0, 1], None, "2 folds: one is tested"),
        ([0, 1, 2], 5, "5 folds were asked for, and the manifest's column 'fold' has 3"),
    ],
)
def test_folds_that_cannot_be(tmp_path: Path, folds: list[int] | None, k: int | None, message: str) -> None:
    given = table_of(tmp_path)
    if folds is not None:
        column = pd.array(np.resize(folds, PATIENTS).repeat(2), dtype="Int64")
        given = replace(given, table=given.table.assign(fold=column))
    with pytest.raises(SplitError, match=message) as error:
        prepare_folds(given, k)
    assert error.value.code == Code.SPLIT_INVALID


def test_out_of_fold_is_every_image_in_the_manifests_order(manifest: Manifest, jobs: list[Job]) -> None:
    made = out_of_fold(jobs[:FOLDS], manifest)
    assert list(made["image"]) == list(manifest.table["image"])
    one = read_predictions(jobs[1].folder / "test" / "predictions.csv").table.set_index("image")
    np.testing.assert_array_equal(made.set_index("image").loc[one.index, list(LABELS)], one)


def test_predictions_of_other_folds_are_refused(manifest: Manifest, jobs: list[Job], tmp_path: Path) -> None:
    stale = replace(jobs[0], folder=tmp_path / "stale")
    predict(stale, manifest, manifest.table.loc[manifest.table["fold"] == 2, "image"])
    with pytest.raises(EvaluationError, match="are not in fold 0") as error:
        out_of_fold([stale, *jobs[1:FOLDS]], manifest)
    assert error.value.code == Code.PREDICTIONS_INVALID


def test_several_seeds_are_averaged_as_log_odds(manifest: Manifest, jobs: list[Job], finished: Path) -> None:
    file = read_predictions(finished / "predictions_oof.csv")
    seeds = [out_of_fold(jobs[start : start + FOLDS], manifest)[list(LABELS)] for start in (0, FOLDS)]
    expected = expit((logit(seeds[0]) + logit(seeds[1])) / 2)
    np.testing.assert_allclose(file.table[list(LABELS)], expected, rtol=1e-6)
    assert (file.about["out_of_fold"], file.calibrated, file.about["precision"]) == (True, False, "float32")


def test_metrics_of_each_fold_and_pooled(manifest: Manifest, finished: Path) -> None:
    made = pd.read_csv(finished / "metrics_by_fold.csv").set_index(["fold", "finding"])
    assert list(made.index.unique("fold")) == ["0", "1", "2", "pooled"]
    joined = manifest.table.merge(pd.read_csv(finished / "predictions_oof.csv"), on="image", suffixes=("", "_score"))
    for fold, part in [("1", joined[joined["fold"] == 1]), ("pooled", joined)]:
        expected = roc_auc_score(part["Effusion"], part["Effusion_score"])
        assert made.loc[(fold, "Effusion"), "auroc"] == pytest.approx(expected, abs=1e-4)
        assert made.loc[(fold, "mean"), "images"] == len(part)


def test_a_fold_without_a_positive_has_no_auroc(manifest: Manifest) -> None:
    from cxr_monai.evaluation.sample import Sample

    scores = np.linspace(0, 1, len(manifest))[:, None]
    labels = (manifest.table["fold"] != 1).to_numpy(float)[:, None]
    made = metrics_by_fold(Sample.of(manifest.table, ["Mass"], scores, labels)).set_index(["fold", "finding"])
    assert made.loc[["0", "1", "2"], "auroc"].isna().all()
    assert 0 <= made.loc[("pooled", "Mass"), "auroc"] <= 1


def test_evaluate_takes_the_predictions_as_they_are(manifest: Manifest, finished: Path, tmp_path: Path) -> None:
    # one that says, by its own split, that these images were trained on: each network had not seen them
    write_manifest(replace(manifest, table=manifest.table.assign(split="train")), tmp_path / "m.csv")
    evaluation, _ = evaluate_files(
        finished / "predictions_oof.csv",
        tmp_path / "m.csv",
        tmp_path / "out",
        options=EvaluationOptions(intervals=Intervals(20)),
    )
    assert len(evaluation.sample) == 2 * PATIENTS
    notes = " ".join(evaluation.notes)
    assert "not trained on its patient" in notes
    assert "training part" not in notes


def test_the_bundle_averages_all_networks_and_knows_whom_it_has_seen(
    manifest: Manifest, jobs: list[Job], finished: Path
) -> None:
    bundle = finished / "bundle"
    assert members_of(bundle) == [Bundle.open(job.folder / "train" / "bundle").digest for job in jobs]
    fitted = read_calibration(bundle / "models" / "calibration.json", LABELS)
    assert fitted is not None
    assert (fitted.fitted_on["images"], fitted.fitted_on["out_of_fold"]) == (2 * PATIENTS, True)
    patients = set(manifest.table["patient_id"])
    assert patients_trained_on(bundle, [*patients, "somebody else"]) == patients


def test_finished_again_the_bundle_stays_and_another_network_makes_another(
    manifest: Manifest, jobs: list[Job], tmp_path: Path
) -> None:
    own = [replace(job, folder=Path(shutil.copytree(job.folder, tmp_path / job.folder.name))) for job in jobs[:FOLDS]]
    finish_folds(own, manifest, tmp_path / "out")
    weights = tmp_path / "out" / "bundle" / "models" / "model.pt"
    before = weights.stat().st_mtime_ns
    finish_folds(own, manifest, tmp_path / "out")
    assert weights.stat().st_mtime_ns == before
    metadata = own[0].folder / "train" / "bundle" / "configs" / "metadata.json"
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {"version": "0.1.1"}))
    file = own[0].folder / "test" / "predictions.csv"
    pd.read_csv(file).iloc[1:].to_csv(file, index=False)
    _, notes = finish_folds(own, manifest, tmp_path / "out")
    assert "Images without a prediction, unreadable or of views that are left out: 1." in notes
    assert weights.stat().st_mtime_ns != before
    assert members_of(weights.parents[1])[0] == Bundle.open(own[0].folder / "train" / "bundle").digest


def test_another_bundle_is_not_replaced(manifest: Manifest, jobs: list[Job], tmp_path: Path) -> None:
    own = tiny_bundle(tmp_path / "bundle", 9)
    before = content(own)
    with pytest.raises(BundleError, match="not such a bundle") as error:
        finish_folds(jobs[:FOLDS], manifest, tmp_path)
    assert error.value.code == Code.OUTPUT_EXISTS
    assert content(own) == before


def test_calibrated_findings_stay_within_their_categories(tmp_path: Path) -> None:
    made = LabelScheme("h", {"Lung": LABELS, **{name: (name,) for name in LABELS}}, hierarchy=True, findings=LABELS)
    table = table_of(tmp_path).table
    random = np.random.default_rng(0)
    table[list(LABELS)] = random.random((len(table), 2)) < 0.4
    table = table.astype(dict.fromkeys(LABELS, float))
    manifest = under(prepare_folds(build_manifest(table, tmp_path, "local", check_files=False), FOLDS)[0], made)
    jobs, labels = [Job("base", 0, fold, {}, tmp_path / str(fold)) for fold in range(FOLDS)], list(made.labels)
    settings = {"labels": labels, "label_scheme": made.to_json(), "head": "hierarchical"}
    for job in jobs:
        network = NETWORK | {"out_channels": 3}
        tiny_bundle(job.folder / "train" / "bundle", job.fold or 0, network_def=network, **settings)
        part = manifest.table[manifest.table["fold"] == job.fold]
        category = expit(
            random.normal(size=(len(part), 1)) - 3
        )  # too low, so that calibration raises findings above it
        given = expit(6 * part[list(LABELS)].to_numpy() - 1 + random.normal(size=(len(part), 2)))
        values = np.hstack([category, category * given])
        write_predictions(job.folder / "test" / "predictions.csv", list(part["image"]), values, labels, {})
    finish_folds(jobs, manifest, tmp_path / "out")
    fitted = read_calibration(tmp_path / "out" / "bundle" / "models" / "calibration.json", labels)
    assert fitted is not None
    assert fitted.within == dict.fromkeys(LABELS, "Lung")
    raw = read_predictions(tmp_path / "out" / "predictions_oof.csv").table[labels].to_numpy()
    calibrated = fitted.apply(raw, labels)
    assert not np.allclose(calibrated, raw)
    assert (calibrated[:, 1:] <= calibrated[:, :1]).all()
