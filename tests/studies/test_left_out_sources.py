"""Leave one source out: who is left out with whom, what trains, and the table by source."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.cli import main
from cxr_monai.data.manifest import Manifest, build_manifest, read_manifest, write_manifest
from cxr_monai.errors import Code, SplitError, StudyError
from cxr_monai.evaluation.predictions import read_predictions
from cxr_monai.studies.left_out_sources import prepare_sources, source_groups, source_manifest
from cxr_monai.studies.plan import read_study
from cxr_monai.studies.run_experiment import run_study
from tests.studies.fake_studies import FakeRunner, empty_images, study_file
from tests.support.bundle_runs import SHIPPED


def table_of(sources: list[str], splits: list[str]) -> Manifest:
    rows = {"image": [f"{n}.png" for n in range(len(sources))], "patient_id": [str(n) for n in range(len(sources))]}
    return build_manifest(pd.DataFrame({**rows, "source": sources, "split": splits, "Mass": 0}), ".", "local")


def hospitals(folder: Path) -> str:
    """Two hospitals of the same table of empty images; the south does not label Mass."""
    for name in ("north", "south"):
        path = empty_images(folder / name)
        manifest = read_manifest(path)
        table = manifest.table.drop(columns=["Mass"] if name == "south" else [])
        write_manifest(build_manifest(table, manifest.root, "local"), path)
    return f"north={folder}/north/m.csv,south={folder}/south/m.csv"


@pytest.mark.parametrize(
    ("sources", "groups"),
    [
        (["nih", "chexpert", "rsna"], [("nih", "rsna"), ("chexpert",)]),
        (["a", "b"], [("a",), ("b",)]),
        (["mimic", "nih", "padchest", "cxr-lt"], [("mimic", "nih", "padchest", "cxr-lt")]),
        (["shenzhen", "x", "tbx11k", "montgomery"], [("shenzhen", "tbx11k", "montgomery"), ("x",)]),
    ],
)
def test_sources_that_share_films_are_left_out_together(sources: list[str], groups: list[tuple[str, ...]]) -> None:
    assert source_groups(sources) == groups


def test_what_is_left_out_is_tested_and_the_others_test_part_trains_nothing(tmp_path: Path) -> None:
    manifest, notes = prepare_sources(
        table_of(["nih", "nih", "rsna", "b", "b", "b"], ["train", "val", "test", "train", "val", "test"])
    )
    assert manifest.table["fold"].tolist() == [0, 0, 0, 1, 1, 1]
    assert notes[:2] == [
        "Left out in turn: nih and rsna, b.",
        "nih and rsna are left out together, since they have films in common.",
    ]
    for fold, expected in enumerate((["test"] * 3 + ["train", "val", ""], ["train", "val", ""] + ["test"] * 3)):
        source_manifest(manifest, fold, 2, tmp_path / "fold.csv")
        made = read_manifest(tmp_path / "fold.csv", check_files=False)
        assert made.table["split"].tolist() == expected
        assert made.split is not None
        assert made.split.scheme == "leave-one-source-out"


@pytest.mark.parametrize(
    ("sources", "splits", "message"),
    [
        (["nih", "rsna"], ["train", "val"], "all images are of nih and rsna"),
        (["a", "a", "b"], ["train", "val", "train"], "without a the manifests have no images in the split val"),
        (["a", "b"], ["", ""], "without a the manifests have no images in the split train and val"),
    ],
)
def test_what_cannot_be_left_out(sources: list[str], splits: list[str], message: str) -> None:
    with pytest.raises(SplitError, match=message) as error:
        prepare_sources(table_of(sources, splits))
    assert error.value.code == Code.SPLIT_INVALID


def test_a_study_of_two_hospitals(elsewhere: Path) -> None:
    manifests = hospitals(elsewhere)
    one = read_study(study_file(elsewhere, {"plain": {}}), SHIPPED, leave_out="source")
    runner = FakeRunner(bundles=True)
    result, tables = run_study(one, manifests, "OUT", bundle=SHIPPED, runner=runner)
    assert runner.names == [f"mine plain-seed0-fold{fold}{end}" for fold in (0, 1) for end in ("", " test")]
    assert not result.failed
    predicted = read_predictions("OUT/predictions_held_out.csv").table["image"]
    assert predicted.str.partition("/")[0].value_counts().to_dict() == {"north": 180, "south": 180}
    for fold, (tested, trained) in enumerate((("north", "south"), ("south", "north"))):
        table = read_manifest(Path(f"OUT/folds/fold{fold}.csv")).table
        sides = table.groupby("split")["source"].unique().map(list).to_dict()
        assert sides["test"] == [tested]
        assert sides["train"] == sides["val"] == [trained]
    metrics = pd.read_csv("OUT/metrics_by_source.csv").set_index(["source", "finding"])
    assert metrics.loc[("north", "Effusion"), "images"] == 180
    assert metrics.loc[("south", "Mass"), "images"] == 0  # not labelled there
    assert np.isnan(metrics.loc[("south", "Mass"), "auroc"])
    assert metrics.loc[("north", "mean"), "auroc"] > 0.5
    assert any(note.startswith("plain, south left out: mean AUROC") for note in tables.notes)
    assert any(note.startswith("Judged on every source, predicted by networks") for note in tables.notes)
    assert tables.comparison["image_passes"].tolist() == [2 * 180]  # half of each hospital trains, for two epochs
    assert not Path("OUT/bundle").exists()
    again = FakeRunner(bundles=True)
    run_study(one, manifests, "OUT", bundle=SHIPPED, runner=again)
    assert again.calls == []


def test_as_a_question_and_what_cannot_go_together(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert read_study("sources", SHIPPED).leave_out == "source"
    assert read_study("folds", SHIPPED, leave_out="source").folds == "auto"
    with pytest.raises(StudyError, match="it can do one of them"):
        read_study(study_file(elsewhere, {"a": {}}, folds=3), SHIPPED, leave_out="source")
    with pytest.raises(StudyError, match="leave_out is 'hospital'"):
        read_study(study_file(elsewhere, {"a": {}}, leave_out="hospital"), SHIPPED)
    command = ["study", "sources", "--manifest", "m.csv", "--out", "O", "--leave-out", "source", "--folds", "3"]
    assert main(command) == 2
    assert "--leave-out source: it has no --folds" in capsys.readouterr().err
