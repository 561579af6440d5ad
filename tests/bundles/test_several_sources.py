"""Two hospitals in one training: phantoms with the same numbers of patients, other labels, and each its own root."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cxr_monai.errors import SettingError
from cxr_monai.evaluation.patients import patients_trained_on
from cxr_monai.training.checkpoints import digest, read_checkpoint
from cxr_monai.training.journal import Journal
from tests.support.bundle_runs import SHIPPED, Phantoms, few, rewrite, run, train

SETTINGS: dict[str, Any] = {"learning_rate": 0.001, "patience": 50, "labels": ["Effusion", "Mass", "Hernia"]}


@pytest.fixture
def both(phantoms: Phantoms, elsewhere: Path) -> str:
    """The south knows no Mass and no Hernia, and trains on the numbers of the patients that validate in the north."""

    def turned(table: pd.DataFrame) -> pd.DataFrame:
        table = few(table).drop(columns=["Mass", "Hernia"])
        return table.assign(split=table["split"].map({"train": "val", "val": "train"}))

    shutil.copytree(phantoms.root, elsewhere / "south")
    hospitals: dict[str, tuple[Callable, Path]] = {
        "north": (few, phantoms.root),
        "south": (turned, elsewhere / "south"),
    }
    for name, (change, root) in hospitals.items():
        path = rewrite(phantoms.manifest, elsewhere / f"{name}.csv", change)
        record = json.loads(Path(f"{path}.json").read_text())
        Path(f"{path}.json").write_text(json.dumps(record | {"root": str(root)}))
    return "north=north.csv,south=south.csv"


def last(out: str) -> dict[str, Any]:
    return read_checkpoint(Path(out) / "checkpoints" / "last.pt")


def test_a_training_of_two_hospitals_resumed_and_evaluated(
    both: str, elsewhere: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {**SETTINGS, "sampling": "balanced_sources"}
    train(SHIPPED, both, output_dir="whole", epochs=2, **settings)
    train(SHIPPED, both, output_dir="OUT", epochs=1, **settings)
    with caplog.at_level(logging.INFO):
        train(SHIPPED, both, output_dir="OUT", epochs=2, **settings)
    assert digest(last("OUT")) == digest(last("whole"))

    predicted = pd.read_csv("OUT/predictions_val.csv")["image"]
    assert predicted.str.partition("/")[0].value_counts().to_dict() == {"south": 8, "north": 4}
    table = pd.read_csv("OUT/metrics_by_source.csv")
    assert table["source"].unique().tolist() == ["phantom north", "phantom south"]
    images = table.set_index(["source", "finding"])["images"]
    assert images["phantom north", "Mass"] == 4
    assert images["phantom south", "Mass"] == 0  # unknown there, and so in no figure
    assert images["phantom south", "Effusion"] == 8
    epochs = [event for event in Journal(Path("OUT/tracking/training.jsonl")).events if event["key"] == "epoch 2"]
    named = {name for name in epochs[0]["values"] if name.startswith("val_auroc_mean")}
    means = table[(table["finding"] == "mean") & table["auroc"].notna()]["source"]
    assert named == {"val_auroc_mean", *(f"val_auroc_mean_{source}" for source in means)}
    assert "mean AUROC on the validation part by source: phantom north" in caplog.text

    record = json.loads(Path("OUT/bundle/configs/metadata.json").read_text())["trained_on"]
    assert (record["images"], record["synthetic_images"]) == (24, 24)
    number = pd.read_csv("north.csv", dtype=str).query("split == 'train'")["patient_id"].iloc[0]
    trained_on = [f"phantom north\t{number}", f"phantom south\t{number}"]
    assert patients_trained_on(Path("OUT/bundle"), trained_on) == {f"phantom north\t{number}"}

    view = pd.read_csv("south.csv")["view"].iloc[0]
    run(Path("OUT/bundle"), "evaluate", manifest=both, split="val", views=view, output_dir="E", num_workers=0)
    book = json.loads(Path("E/metrics.json").read_text())["book"]
    assert book["views"] == view
    assert book["manifest"] == "north.csv, south.csv"
    assert book["split"]["name"] == "each data set's own split"
    tables = pd.concat([pd.read_csv(f"{name}.csv") for name in ("north", "south")])
    assert book["images"] == int(((tables["split"] == "val") & (tables["view"] == view)).sum())


def test_one_folder_of_images_for_two_hospitals_is_refused(both: str) -> None:
    with pytest.raises(SettingError, match="each with a root of its own"):
        train(SHIPPED, both, dataset_dir="south", **SETTINGS)
