"""The recipes: every override exists, all that decides a training is said and explained, figures are sound."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxr_monai.bundle.named_network import written_out
from cxr_monai.labels import NIH14
from cxr_monai.networks.architectures import network_definition
from cxr_monai.studies.plan import read_study
from tests.support.bundle_runs import SHIPPED, our_errors, process_as_it_was, read, workflow

FOLDER = Path(__file__).resolve().parents[1] / "recipes"
RECIPES = sorted(FOLDER.glob("*.json"))
CATEGORIES = ("Lung", "Cardiomegaly", "Pleural", "Hernia")
LABELS = {
    "findings": NIH14,
    "findings_normal": (*NIH14, "Normal"),
    "categories": CATEGORIES,
    "categories_normal": (*CATEGORIES, "Normal"),
}
# of the machine, the data, or the end of a training, not of the recipe
OPEN = {
    "imports", "bundle_root", "manifest", "dataset_dir", "output_dir", "labels", "num_workers", "seed",
    "checkpoint_minutes", "calibration", "restart", "compile", "cache_dir", "experiment", "run_name", "tracking_uri",
    "initialize", "run", "any_modality", "gate", "gate_promise", "minimum_age",
}  # fmt: skip


def content(recipe: Path) -> dict[str, Any]:
    return json.loads(recipe.read_text(encoding="utf-8"))


def variants(recipe: Path) -> dict[str, dict[str, Any]]:
    """The overrides of each variant."""
    study = content(recipe)
    return {name: {**study["base"], **own} for name, own in study["variants"].items()}


OTHERS = [path for path in RECIPES if path.stem != "few_images"]  # what others trained, and published

VARIANTS = [pytest.param(made, id=f"{path.stem}-{name}") for path in RECIPES for name, made in variants(path).items()]


def test_they_are_there() -> None:
    assert [path.stem for path in RECIPES] == [
        "chexnet", "diary_categories", "diary_categories_normal", "diary_normalisation", "diary_softmax",
        "few_images", "zoogzog",
    ]  # fmt: skip


@pytest.mark.parametrize("overrides", VARIANTS)
def test_a_training_takes_its_settings(overrides: dict[str, Any], tmp_path: Path) -> None:
    with process_as_it_was(), our_errors():
        given = written_out(overrides, [SHIPPED / "configs" / "train.json"])  # as a study gives them
        made = workflow(SHIPPED, "train", output_dir=str(tmp_path / "OUT"), **given)
        made.initialize()
        pipeline = made.parser.get_parsed_content("train#preprocessing").flatten().transforms
        assert pipeline[1].size == round(overrides["image_size"] * pipeline[1].margin)
        assert made.parser.get_parsed_content("input_channels") == overrides.get("network_def#in_channels", 1)


def test_another_network_keeps_the_three_channels() -> None:
    study = read_study(FOLDER / "zoogzog.json", SHIPPED, settings={"network_def": "EfficientNet-B0"})
    made = written_out(study.variants["zoogzog"], [SHIPPED / "configs" / "train.json"])
    assert made["network_def"] == network_definition("EfficientNet-B0", 224, 3, "$@head_def.outputs")


@pytest.mark.parametrize("overrides", VARIANTS)
def test_nothing_is_left_to_our_defaults(overrides: dict[str, Any]) -> None:
    shipped = read(SHIPPED, "train")
    plain = {name for name, value in shipped.items() if not isinstance(value, dict) and not str(value).startswith("$")}
    plain |= {"network_def", "unfreeze"}  # settings that may be objects
    assert {name for name in plain - OPEN if not name.startswith("_")} <= set(overrides)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_setting_has_a_source_and_the_rest_is_off(recipe: Path) -> None:
    told = {name for key in content(recipe)["_desc_"] for name in key.split(", ")}
    off = {
        "label_scheme": "findings", "head": "sigmoid", "loss": "bce", "sampling": "natural", "label_smoothing": 0,
        "mixup": 0, "clip_norm": 0, "ema_decay": 0, "warmup_epochs": 0, "accumulate": 1, "val_interval": 1,
        "unfreeze": {}, "views": None,
    }  # fmt: skip
    for overrides in variants(recipe).values():
        assert {name: value for name, value in overrides.items() if name not in told} == {
            name: value for name, value in off.items() if name not in told
        }


@pytest.mark.parametrize("recipe", OTHERS, ids=lambda path: path.stem)
def test_published_figures(recipe: Path) -> None:
    study, made = content(recipe), variants(recipe)
    assert set(study["published"]) == set(made)
    for name, published in study["published"].items():
        labels, aurocs = LABELS[made[name]["label_scheme"]], dict(published["auroc"])
        mean = aurocs.pop("mean")
        assert published["source"]
        assert all(0.5 < value < 1 for value in (mean, *aurocs.values()))
        if recipe.stem == "diary_softmax":  # the diary has the mean alone
            assert aurocs == {}
        else:
            assert tuple(aurocs) == labels
            assert np.mean(list(aurocs.values())) == pytest.approx(mean, abs=0.001)


def test_recipes_use_overlays_of_the_bundle() -> None:
    overlays = {path.stem: content(path).get("evaluate_overlay") for path in RECIPES}
    assert overlays.pop("chexnet") is None
    assert set(overlays.values()) == {"ten_crop.json"}
    assert (SHIPPED / "configs" / "ten_crop.json").is_file()
