"""Bundles whose labels are made of findings: cxr_categories as shipped, trained, used; and schemes by override."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cxr_monai.attribution.map_store import MapStore
from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.cli import main
from cxr_monai.errors import CxrError
from cxr_monai.schemes import SCHEMES
from tests.support.bundle_runs import (
    CONFIGS,
    SHIPPED,
    SMALL_NETWORK,
    TINY,
    Phantoms,
    code_of,
    content,
    edit,
    our_errors,
    process_as_it_was,
    read,
    rewrite,
    run,
    train,
    workflow,
)

CATEGORIES = SHIPPED.with_name("cxr_categories")
NORMAL = SCHEMES["categories_normal"]
OWN = {
    "name": "air",
    "groups": {"Air": ["Pneumothorax", "Emphysema"], "Normal": []},
    "leave_out": [name for name in NORMAL.findings if name not in ("Pneumothorax", "Emphysema")],
}


def started(config: str, bundle: Path = SHIPPED, **settings: Any) -> tuple[Any, list[str]]:
    """The configuration and its channels after ``initialize``."""
    with process_as_it_was(), our_errors():
        made = workflow(bundle, config, **settings)
        made.initialize()
        return made.parser.config, made.parser.get_parsed_content("findings")


@pytest.fixture(scope="module")
def trained_categories(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory, tracking_store: str) -> Path:
    """The bundle of a tiny training on the categories; boxes lie beside its manifest, ``m.csv`` beside the bundle."""
    home = tmp_path_factory.mktemp("categories")
    manifest = rewrite(phantoms.manifest, home / "m.csv", lambda table: table)
    (home / "boxes.csv").write_bytes(phantoms.manifest.with_name("manifest.boxes.csv").read_bytes())
    train(CATEGORIES, manifest, output_dir=str(home / "OUT"), tracking_uri=tracking_store, network_def=SMALL_NETWORK)
    return home / "OUT" / "bundle"


# ---------------------------------------------------------------- as shipped


def test_the_bundles_are_in_step() -> None:
    script = SHIPPED.parents[1] / "scripts" / "sync_bundles.py"
    checked = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_categories_as_shipped() -> None:
    bundle = Bundle.open(CATEGORIES)
    assert bundle.labels == NORMAL.labels == ("Lung", "Cardiomegaly", "Pleural", "Hernia", "Normal")
    assert bundle.scheme == NORMAL
    assert read(CATEGORIES, "metadata")["label_scheme"] == NORMAL.to_json()
    assert Bundle.open(SHIPPED).scheme == SCHEMES["findings"]
    assert set(content(CATEGORIES)) == set(content(SHIPPED))


@pytest.mark.parametrize("config", CONFIGS)
def test_every_setting_of_the_categories_is_read(config: str, elsewhere: Path) -> None:
    assert started(config, CATEGORIES)[1] == list(NORMAL.labels)
    with pytest.raises(CxrError) as error:
        started(config, CATEGORIES, label_schem="findings")
    assert code_of(error) == "override-unknown"
    assert error.value.fix == "Did you mean --label_scheme?"


# ---------------------------------------------------------------- overrides


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        ({"label_scheme": "categories"}, ["Lung", "Cardiomegaly", "Pleural", "Hernia"]),
        ({"label_scheme": "Pneumonia_vs_normal"}, ["Pneumonia"]),
        ({"label_scheme": OWN}, ["Air", "Normal"]),
        ({"label_scheme": "categories", "labels": "Pleural,Lung"}, ["Pleural", "Lung"]),
        ({"labels": "Mass"}, ["Mass"]),
    ],
)
def test_labels_follow_the_scheme_unless_they_are_given(given: dict[str, Any], labels: list[str]) -> None:
    config, channels = started("train", **given)
    assert channels == labels
    if "labels" not in given:
        assert config["labels"] == labels


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ({"label_scheme": "categorie"}, "setting-invalid", "no label scheme"),
        ({"label_scheme": {"groups": {"A": ["Mass"], "B": ["Mass"]}}}, "scheme-invalid", "Mass stands in A and B"),
        ({"label_scheme": "categories", "labels": "Lung,Mass"}, "setting-invalid", "has no Mass"),
        ({"labels": "Pneumonia"}, "setting-invalid", "'categories_normal' has no Pneumonia"),
    ],
)
def test_what_no_training_starts_with(given: dict[str, Any], code: str, said: str) -> None:
    with pytest.raises(CxrError, match=said) as error:
        started("train", CATEGORIES, **given)
    assert code_of(error) == code


# ---------------------------------------------------------------- trained


def test_the_trained_bundle_holds_its_scheme_whole(trained_categories: Path) -> None:
    for config in (*CONFIGS, "metadata"):
        assert read(trained_categories, config)["label_scheme"] == NORMAL.to_json()
    assert Bundle.open(trained_categories).scheme == NORMAL


def test_another_scheme_over_the_same_weights(trained_categories: Path, tmp_path: Path) -> None:
    with pytest.raises(CxrError, match="the label scheme is") as error:
        started("evaluate", trained_categories, label_scheme="findings_normal")
    assert code_of(error) == "bundle-disagrees"
    copy = tmp_path / "copy"
    assert main(["bundle", "new", "cxr_categories", str(copy)]) == 0
    edit(copy, "metadata", lambda content: content.update(label_scheme="findings"))
    with pytest.raises(CxrError, match="but the metadata says") as error:
        Bundle.open(copy)
    assert code_of(error) == "bundle-disagrees"


def test_evaluated_on_labels_derived_from_findings(
    trained_categories: Path, phantoms: Phantoms, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(trained_categories, "evaluate", manifest=str(phantoms.manifest), output_dir="out", replicates=20, **TINY)
    table = pd.read_csv("out/metrics.csv").set_index("finding")
    part = phantoms.table.query("split == 'test'")
    wanted = {label: part[list(members)].max(axis=1).sum() for label, members in NORMAL.groups.items() if members}
    wanted["Normal"] = (part[list(NORMAL.findings)] == 0).all(axis=1).sum()
    assert table["positives"].drop("mean").to_dict() == wanted
    assert json.loads(Path("out/predictions.csv.json").read_text())["label_scheme"] == NORMAL.to_json()
    assert "Labels are of the scheme" in json.loads(Path("out/metrics.json").read_text())["notes"][0]
    # the same from the command line, which finds the scheme in the bundle
    words = ["--manifest", str(phantoms.manifest), "--bundle", str(trained_categories), "--replicates", "20"]
    assert main(["evaluate", "--predictions", "out/predictions.csv", *words, "--out", "again"]) == 0
    again = pd.read_csv("again/metrics.csv").set_index("finding")
    pd.testing.assert_series_equal(again["auroc"], table["auroc"])
    words = ["--predictions", str(trained_categories.parent / "predictions_val.csv"), "--method", "none"]
    assert main(["calibrate", str(trained_categories), "--manifest", str(phantoms.manifest), "--out", "c", *words]) == 0
    assert "Pleural" in capsys.readouterr().out


def test_maps_of_categories_against_boxes_of_findings(trained_categories: Path, elsewhere: Path) -> None:
    home = trained_categories.parents[1]
    boxes, manifest = str(home / "boxes.csv"), str(home / "m.csv")
    assert main(["explain", str(trained_categories), manifest, "--boxes", boxes, "--out", "maps"]) == 0
    store = MapStore.open("maps")
    assert store.findings == NORMAL.labels
    assert store.scheme == NORMAL
    table = pd.read_csv(boxes)
    pairs = zip(table["image"], table["finding"], strict=True)
    boxed = {(image, NORMAL.labels_of(finding)[0]) for image, finding in pairs}
    maps = {image: zip(store.findings, store.grid(image), strict=True) for image in store.images}
    made = {(image, label) for image, of in maps.items() for label, grid in of if not np.isnan(grid).any()}
    assert made == boxed
    words = ["--boxes", boxes, "--manifest", manifest, "--seen", "allow", "--replicates", "20", "--draws", "1"]
    assert main(["maps", "localise", "maps", *words, "--out", "localised"]) == 0
    cases = pd.read_csv("localised/cases.csv")
    assert set(zip(cases["image"], cases["finding"], strict=True)) <= boxed
    assert {"Lung", "Pleural"} <= set(cases["finding"])


def test_explained_with_the_boxes_of_a_categorys_findings(trained_categories: Path, elsewhere: Path) -> None:
    manifest = trained_categories.parents[1] / "m.csv"
    run(trained_categories, "explain", manifest=str(manifest), output_dir="out", count=2, methods="cam", split="train")
    assert Path("out/explanations/sheet.png").is_file()
