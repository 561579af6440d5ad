"""A study from its file to its page: without trainings where a fake will do, with two real ones at the end."""

import json
import logging
import re
import shutil
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from mlflow import MlflowClient

from cxr_monai.cli import main
from cxr_monai.completion import require_complete
from cxr_monai.environment import usable_cores
from cxr_monai.errors import BundleError, CxrError, EvaluationError, StorageError, StudyError, UsageError
from cxr_monai.evaluation.evaluation_folder import read_evaluation
from cxr_monai.evaluation.predictions import read_predictions
from cxr_monai.labels import NIH14
from cxr_monai.networks.architectures import network_definition
from cxr_monai.plurals import counted
from cxr_monai.studies import checking
from cxr_monai.studies import run_experiment as studies
from cxr_monai.studies.checking import Checked
from cxr_monai.studies.compare import Tables
from cxr_monai.studies.plan import Experiment, ExperimentResult, read_study
from cxr_monai.studies.run_experiment import run_study
from cxr_monai.training.lock import OutputLock
from cxr_monai.training.tracking import PARENT
from tests.studies.fake_studies import LABELS, FakeRunner, empty_images, study_file
from tests.support import bundle_runs
from tests.support.bundle_runs import SHIPPED, Phantoms, content
from tests.support.small_disks import fill, make_room, small_disk
from tests.support.tiny_bundles import tiny_bundle, tiny_network

VARIANTS = {"plain": {}, "fast": {"learning_rate": 0.003}}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return empty_images(tmp_path_factory.mktemp("images"))


TRIED: dict[str, Checked] = {}
"""What `checking` found in a variant: these studies hold the same few again and again (its own tests try each anew)."""


@pytest.fixture(autouse=True)
def each_variant_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    try_variant = checking._try

    def once(
        experiment: Experiment, bundle: Path, overrides: Mapping[str, Any], table: Path, estimate: bool
    ) -> Checked:
        if estimate or "init_weights" in overrides:
            return try_variant(experiment, bundle, overrides, table, estimate)
        key = repr((experiment.files, bundle, json.dumps(overrides, sort_keys=True), table))
        if key not in TRIED:
            TRIED[key] = try_variant(experiment, bundle, overrides, table, estimate)
        return TRIED[key]

    monkeypatch.setattr(checking, "_try", once)


def study(folder: Path, variants: Mapping[str, Any] = VARIANTS, seeds: Sequence[int] = (0,), **more: Any) -> Experiment:
    return read_study(study_file(folder, variants, **more), SHIPPED, seeds=seeds)


def run(one: Experiment, manifest: Path, runner: FakeRunner, **more: Any) -> tuple[ExperimentResult, Tables]:
    return run_study(one, manifest, "OUT", bundle=SHIPPED, runner=runner, **more)


def test_everything_that_a_study_leaves(elsewhere: Path, manifest: Path) -> None:
    published = {"plain": {"source": "Somebody 2017", "auroc": {"Mass": 0.8}}}
    runner = FakeRunner()
    result, tables = run(study(elsewhere, seeds=(0, 1), published=published), manifest, runner)
    assert runner.names[:4] == ["mine plain-seed0", "mine plain-seed0 test", "mine fast-seed0", "mine fast-seed0 test"]
    assert len(runner.calls) == 8
    assert not result.failed
    table = pd.read_csv("OUT/comparison.csv").set_index("variant")
    assert table["difference"].to_dict()["fast"] > 0.05
    # two seeds, two epochs, the images of the training part
    training = int((pd.read_csv(manifest)["split"] == "train").sum())
    assert table["image_passes"].tolist() == [4 * training] * 2
    long = pd.read_csv("OUT/study.csv")
    assert list(long.columns) == ["variant", "seed", "finding", "auroc", "positives", "low", "high"]
    assert len(long) == 2 * 2 * (len(LABELS) + 1)
    diary = Path("OUT/study.md").read_text()
    figures = tables.findings.set_index("finding").loc["Mass"]
    assert f"| Mass | {figures['plain']:.3f} | {figures['fast']:.3f} | {figures['positives']:.0f} |" in diary
    assert "Somebody 2017" in diary
    record = json.loads(Path("OUT/study.json").read_text())
    assert record["variants"]["fast"]["learning_rate"] == 0.003
    assert record["comparison"][1]["difference"] == tables.comparison["difference"][1]
    assert Path("OUT/study.html").stat().st_size > Path("OUT/study.md").stat().st_size
    assert Path("OUT/study.png").read_bytes().startswith(b"\x89PNG")
    again = FakeRunner()
    pd.testing.assert_frame_equal(run(study(elsewhere, seeds=(0, 1)), manifest, again)[1].findings, tables.findings)
    assert again.calls == []


def test_a_variant_that_fails_stops_no_other(
    elsewhere: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variants = {"plain": {}, "bad": {"learning_rate": 9.0}, "fast": {"learning_rate": 0.003}}
    file = study_file(elsewhere, variants)
    failing = FakeRunner(lambda settings, _: 1 if settings.get("learning_rate") == 9 else None)
    monkeypatch.setattr(studies, "run_study", partial(run_study, runner=failing))
    words = ["study", str(file), "--manifest", str(manifest), "--out", "OUT"]
    assert main(words) == 1
    told = capsys.readouterr()
    assert "2 of 3: bad-seed0 FAILED" in told.out
    assert "error [not-finite]: the loss is nan." in told.out
    assert "bad failed; its log.txt tells why" in told.err
    table = pd.read_csv("OUT/comparison.csv").set_index("variant")
    assert table["mean_auroc"].isna().to_dict() == {"plain": False, "bad": True, "fast": False}
    assert "bad failed and is left out: error \\[not-finite\\]" in Path("OUT/study.md").read_text()
    repaired = FakeRunner()
    monkeypatch.setattr(studies, "run_study", partial(run_study, runner=repaired))
    assert main(words) == 0
    assert repaired.names == ["mine bad-seed0", "mine bad-seed0 test"]


def test_where_every_variant_fails_there_is_nothing_to_compare(elsewhere: Path, manifest: Path) -> None:
    with pytest.raises(StudyError, match=r"plain: error .not-finite.: the loss is nan") as error:
        run(study(elsewhere), manifest, FakeRunner(lambda *_: 1))
    assert error.value.code == "study-failed"


def test_interrupted_it_goes_on(elsewhere: Path, manifest: Path) -> None:
    def interrupted(settings: dict, stop: threading.Event) -> int | None:
        if settings["run_name"] != "mine fast-seed0":
            return None
        signal.raise_signal(signal.SIGINT)  # as Ctrl-C does: to the main thread
        return 130 if stop.wait(20) else 1

    runner = FakeRunner(interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(study(elsewhere, {**VARIANTS, "last": {}}), manifest, runner)
    assert runner.names == ["mine plain-seed0", "mine plain-seed0 test", "mine fast-seed0"]
    again = FakeRunner()
    run(study(elsewhere, {**VARIANTS, "last": {}}), manifest, again)
    assert again.names == ["mine fast-seed0", "mine fast-seed0 test", "mine last-seed0", "mine last-seed0 test"]


def test_a_study_is_complete_when_its_json_says_so(elsewhere: Path, manifest: Path) -> None:
    run(study(elsewhere), manifest, FakeRunner())
    content = json.loads(Path("OUT/study.json").read_text())
    require_complete(content, "OUT/study.json", "cxr-monai study")
    tables = {"study.csv", "comparison.csv", "differences.csv"}
    assert set(content["complete"]) == {*tables, "study.md", "study.html", "study.png", "this file"}
    Path("OUT/comparison.csv").write_text("variant,mean_auroc\nfast,0.99\n")
    with pytest.raises(EvaluationError, match=r"cut or changed since it was written: comparison\.csv"):
        require_complete(content, "OUT/study.json", "cxr-monai study")


@pytest.mark.parametrize("change", [lambda text: text[: len(text) // 2], lambda text: text.replace("0.", "0.1"), None])
def test_predictions_that_were_cut_exchanged_or_deleted_are_not_compared(
    elsewhere: Path, manifest: Path, change: Callable[[str], str] | None
) -> None:
    first, _ = run(study(elsewhere), manifest, FakeRunner())
    folder = Path("OUT/trainings/fast-seed0/test")
    if change is None:
        (folder / "predictions.csv").unlink()
    else:
        (folder / "predictions.csv").write_text(change((folder / "predictions.csv").read_text()))
    runner = FakeRunner()
    with pytest.raises(StudyError, match="Delete the folder 'test'") as error:
        run(study(elsewhere), manifest, runner)
    assert (error.value.code, error.value.where) == ("result-incomplete", str((folder / "predictions.csv").resolve()))
    assert runner.calls == []
    shutil.rmtree(folder)
    second, _ = run(study(elsewhere), manifest, runner)
    assert runner.names == ["mine fast-seed0 test"]
    pd.testing.assert_frame_equal(first.predictions["fast"][0], second.predictions["fast"][0])


def test_a_disk_that_fills_during_a_study(elsewhere: Path, manifest: Path) -> None:
    """What has ended is kept; the same command goes on when there is room."""
    (elsewhere / "disk").mkdir()
    with small_disk(elsewhere / "disk", 4 << 20) as disk:

        def filling(settings: dict, stop: threading.Event) -> None:
            if settings["run_name"] == "mine fast-seed0":
                fill(disk)

        one = study(elsewhere, {**VARIANTS, "last": {}})
        with pytest.raises(StorageError, match="No space left on device") as error:
            run_study(one, manifest, disk / "OUT", bundle=SHIPPED, runner=FakeRunner(filling))
        assert error.value.code == "disk-full"
        assert str(error.value.where).startswith(str(disk / "OUT"))
        assert not [path for path in disk.rglob("*") if ".part" in path.name]
        done = (disk / "OUT/trainings/plain-seed0/test/predictions.csv").read_bytes()
        make_room(disk)
        again = FakeRunner()
        _, tables = run_study(one, manifest, disk / "OUT", bundle=SHIPPED, runner=again)
        assert again.names == ["mine fast-seed0", "mine fast-seed0 test", "mine last-seed0", "mine last-seed0 test"]
        assert (disk / "OUT/trainings/plain-seed0/test/predictions.csv").read_bytes() == done
        assert tables.comparison["variant"].tolist() == ["plain", "fast", "last"]


def test_trainings_of_before_there_were_digests_are_kept(elsewhere: Path, manifest: Path) -> None:
    run(study(elsewhere), manifest, FakeRunner())
    for path in Path("OUT/trainings").glob("*/job.json"):
        state = json.loads(path.read_text())
        assert set(state.pop("predicted")) == {"test/predictions.csv", "test/predictions.csv.json"}
        path.write_text(json.dumps(state))
    runner = FakeRunner()
    run(study(elsewhere), manifest, runner)
    assert runner.calls == []


def test_changed_settings_are_named_and_nothing_is_lost(elsewhere: Path, manifest: Path) -> None:
    run(study(elsewhere), manifest, FakeRunner())
    before = content(Path("OUT/trainings"))
    changed = {"plain": {}, "fast": {"learning_rate": 0.004, "optimizer#name": "sgd", "num_workers": 0}}
    with pytest.raises(StudyError) as error:
        run(study(elsewhere, changed), manifest, FakeRunner())
    assert error.value.code == "study-changed"
    assert "1 of its 2 trainings" in str(error.value)
    assert "fast-seed0: learning_rate was 0.003 and is 0.004" in str(error.value)
    assert '--optimizer#name was not there and is "sgd"' in str(error.value)
    assert "num_workers" not in str(error.value)
    assert content(Path("OUT/trainings")) == before
    runner = FakeRunner()
    run(study(elsewhere, changed), manifest, runner, restart=True)
    assert runner.names == ["mine fast-seed0", "mine fast-seed0 test"]
    after = content(Path("OUT/trainings"))
    assert {name.replace("fast-seed0/", "fast-seed0-before-1/"): digest for name, digest in before.items()} == {
        name: digest for name, digest in after.items() if not name.startswith("fast-seed0/")
    }
    more = FakeRunner()
    run(study(elsewhere, {**changed, "new": {}}), manifest, more)
    assert more.names == ["mine new-seed0", "mine new-seed0 test"]


def test_other_weights_under_the_same_name_are_another_study(elsewhere: Path, manifest: Path) -> None:
    torch.save(tiny_network(0).state_dict(), "w.pt")
    variants = {"plain": {}, "begun": {"init_weights": str(elsewhere / "w.pt")}}
    run(study(elsewhere, variants), manifest, FakeRunner())
    torch.save(tiny_network(1).state_dict(), "w.pt")
    with pytest.raises(StudyError, match=r"(?s)1 of its 2 trainings.*begun-seed0: content of init_weights was"):
        run(study(elsewhere, variants), manifest, FakeRunner())


def test_batches_in_other_parts_are_another_study(elsewhere: Path, manifest: Path) -> None:
    run(study(elsewhere), manifest, FakeRunner())
    changed = {**VARIANTS, "plain": {"accumulate": 2}}
    with pytest.raises(StudyError, match="plain-seed0: accumulate was not there and is 2"):
        run(study(elsewhere, changed), manifest, FakeRunner())


@pytest.mark.parametrize("text", ['{"settings": {', '{"colour": 1}', '{"settings": []}', "[]"])
def test_a_damaged_memory_of_a_training_is_named(elsewhere: Path, manifest: Path, text: str) -> None:
    folder = Path("OUT/trainings/plain-seed0")
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(text)
    with pytest.raises(StudyError, match=r"plain-seed0/job\.json: .* is damaged") as error:
        run(study(elsewhere), manifest, FakeRunner())
    assert error.value.code == "study-invalid"


def test_a_process_gets_its_network_written_out(elsewhere: Path, manifest: Path) -> None:
    runner = FakeRunner()
    variants = {"own": {"network_def": "DenseNet121", "network_def#in_channels": 3}}
    base = {"labels": list(LABELS), "image_size": 32, "epochs": 2}
    run(study(elsewhere, variants, base=base), manifest, runner)
    assert runner.calls[0][2]["network_def"] == network_definition("DenseNet121", 32, 3, "$@head_def.outputs")


def test_other_images_are_another_study(elsewhere: Path, manifest: Path) -> None:
    run(study(elsewhere), manifest, FakeRunner())
    fewer = empty_images(elsewhere / "fewer", patients=84)
    with pytest.raises(StudyError, match=r"train part was 90 images .* and is 84 images"):
        run(study(elsewhere), fewer, FakeRunner())


def test_two_studies_at_once_are_refused(elsewhere: Path, manifest: Path) -> None:
    lock = OutputLock("OUT")
    lock.acquire()
    try:
        with pytest.raises(CxrError, match="another training is writing here: process") as error:
            run(study(elsewhere), manifest, FakeRunner())
    finally:
        lock.release()
    assert error.value.code == "output-locked"
    with pytest.raises(UsageError, match=f"{counted(usable_cores(), 'core')} can do them"):
        run(study(elsewhere), manifest, FakeRunner(), at_once=usable_cores() + 1)


def test_without_a_test_part_the_validation_part_is_judged_and_said(
    elsewhere: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = empty_images(elsewhere / "images", test=False)
    with caplog.at_level(logging.WARNING):
        _, tables = run(study(elsewhere), manifest, FakeRunner())
    assert "chose its best epoch" in caplog.text
    assert "chose its best epoch" in tables.notes[0]
    assert tables.notes[1].startswith("Judged on the val part: 30 images")
    with pytest.raises(CxrError, match="no images in the split 'test'"):
        run(study(elsewhere), manifest, FakeRunner(), part="test")


def test_variants_need_a_label_in_common(elsewhere: Path, manifest: Path) -> None:
    one, other = ({"labels": [name], "network_def#out_channels": 1} for name in LABELS)
    with pytest.raises(StudyError, match="no label in common: one has Effusion; other has Mass"):
        run(study(elsewhere, {"one": one, "other": other}), manifest, FakeRunner())
    result, tables = run(study(elsewhere, {"both": {}, "other": other}), manifest, FakeRunner())
    assert result.findings == ("Mass",)
    assert "Not compared, since not every variant has them: both (Effusion)." in tables.notes


def test_with_folds_every_image_is_judged(elsewhere: Path, manifest: Path) -> None:
    runner = FakeRunner()
    result, tables = run(study(elsewhere, folds=3), manifest, runner)
    assert runner.names[4] == "mine plain-seed0-fold2"
    assert any(note.startswith("Judged on out-of-fold predictions (3 folds): 180 images") for note in tables.notes)
    assert set(result.predictions["fast"][0]["image"]) == set(pd.read_csv(manifest)["image"])
    assert tables.comparison["image_passes"].tolist() == [2 * 180] * 2  # each third trains once, for two epochs


def test_the_folds_of_one_variant_leave_a_bundle(elsewhere: Path, manifest: Path) -> None:
    result, _ = run(study(elsewhere, {"plain": {}}, folds="auto"), manifest, FakeRunner(bundles=True))
    assert result.plan.folds == 5
    assert len(read_predictions("OUT/predictions_oof.csv").table) == 180
    assert Path("OUT/bundle/models/model.pt").is_file()


def test_the_folds_replace_no_other_bundle(elsewhere: Path, manifest: Path) -> None:
    runner = FakeRunner(bundles=True)
    own = tiny_bundle(Path("OUT/bundle"), 9)
    before = content(own)
    with pytest.raises(BundleError, match="bundle of all folds goes here") as error:
        run(study(elsewhere, {"plain": {}}, folds=3), manifest, runner)
    assert error.value.code == "output-exists"
    assert runner.calls == []
    assert content(own) == before


def test_a_dry_run_trains_nothing(
    elsewhere: Path, phantoms: Phantoms, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_MONAI_CACHE", str(elsewhere / "cache"))
    file = study_file(elsewhere, VARIANTS)
    words = ["study", str(file), "--manifest", str(phantoms.manifest), "--out", "OUT", "--dry-run"]
    assert main([*words, "--seeds", "0,3", "--set", "epochs=3", "--set", "schedule=cosine"]) == 0
    told = capsys.readouterr().out
    assert '"epochs": 3' in told
    assert '"schedule": "cosine"' in told
    listed = told[told.index("all variants: ") :].splitlines()
    assert [line.split(" about")[0] for line in listed[1:3]] == ["plain: 2 x", "fast: 2 x"]
    assert "4 trainings, 1 at a time: about" in told
    assert not Path("OUT").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "epochs"], "--set 'epochs': it is NAME=VALUE"),
        (["--seeds", "a"], "--seeds 'a': whole numbers"),
        (["--folds", "few"], "--folds 'few': a whole number"),
        (["--folds", "3", "--images", "val"], "with --folds every image is judged"),
        (["--bundle", "cxr_nih15"], "no bundle 'cxr_nih15'"),
        (["--dry-run", "--jobs", "0"], "0 trainings at a time"),
    ],
)
def test_wrong_use(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "losses", "--manifest", "m.csv", "--out", "OUT", *words]) == 2
    assert said in capsys.readouterr().err


def in_this_process(words: Sequence[str], log: Path, environment: Mapping[str, str], stop: threading.Event) -> int:
    """Run a bundle's configuration as its own process would; starting one costs more than all the rest."""
    files = json.loads(words[words.index("--config_file") + 1])
    folder, settings = Path(files[0]).parents[1], json.loads(Path(files[-1]).read_text())
    log.write_text("in this process\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PARENT, environment[PARENT])
        bundle_runs.run(folder, Path(files[0]).stem, **settings)
    return 0


def test_a_real_study_and_its_runs(elsewhere: Path, phantoms: Phantoms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_MONAI_CACHE", str(elsewhere / "cache"))
    one = study(elsewhere, {"only": {"epochs": 1, "batch_size": 12, "calibration": "none"}})
    result, tables = run_study(
        one, phantoms.manifest, "OUT", bundle=SHIPPED, runner=in_this_process, experiment="real study"
    )
    table = result.predictions["only"][0]
    assert len(table) == (phantoms.table["split"] == "test").sum()
    assert tables.comparison["image_passes"].tolist() == [(phantoms.table["split"] == "train").sum()]
    client = MlflowClient()
    experiment = client.get_experiment_by_name("real study")
    assert experiment is not None
    runs = {made.data.tags["kind"]: made for made in client.search_runs([experiment.experiment_id])}
    parent = runs["study"]
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "mine")
    for kind in ("training", "evaluation"):
        assert runs[kind].data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert {"study.html", "study.md", "comparison.csv"} <= {
        item.path for item in client.list_artifacts(parent.info.run_id)
    }
    metrics = {kind: run.data.metrics for kind, run in runs.items()}
    names = re.compile(
        rf"(train_loss|(val|test)_loss|(val|test)_auroc_({'|'.join([*NIH14, 'mean'])})"
        rf"|test_(auroc|average_precision|brier)_({'|'.join([*NIH14, 'mean'])})_patient_(low|high)"
        rf"|test_(average_precision|brier)_({'|'.join([*NIH14, 'mean'])})"
        r"|(test_)?images_per_second|learning_rate|best_epoch|test_auroc_mean/only)"
    )
    assert {name for values in metrics.values() for name in values if not names.fullmatch(name)} == set()
    assert set(metrics["study"]) == {"test_auroc_mean/only"}
    assert metrics["study"]["test_auroc_mean/only"] == pytest.approx(metrics["evaluation"]["test_auroc_mean"])
    folders = Path("OUT/trainings/only-seed0/train"), Path("OUT/trainings/only-seed0/test")
    for folder, figure in zip(folders, ("training", "evaluation"), strict=True):
        part = {"training": "val", "evaluation": "test"}[figure]
        table = read_evaluation(folder).findings.set_index("finding")["auroc"].dropna()
        logged = {name: metrics[figure][f"{part}_auroc_{name}"] for name in table.index}
        assert logged == pytest.approx(table.to_dict())
    shutil.rmtree("OUT/trainings/only-seed0/train/bundle")  # nothing needs it again
    assert run_study(one, phantoms.manifest, "OUT", bundle=SHIPPED, experiment="real study")[1].findings.equals(
        tables.findings
    )
