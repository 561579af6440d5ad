"""Every variant is tried before one trains."""

from pathlib import Path
from typing import Any

import pytest
from monai.data.meta_obj import get_track_meta
from torch import are_deterministic_algorithms_enabled

from cxr_monai.errors import CxrError
from cxr_monai.networks.architectures import network_definition
from cxr_monai.studies.checking import check
from cxr_monai.studies.plan import read_study
from tests.studies.fake_studies import BASE, LABELS, empty_images, study_file
from tests.support.bundle_runs import SHIPPED, Phantoms


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return empty_images(tmp_path_factory.mktemp("images"), patients=12)


def test_what_each_will_train_is_told_and_the_process_stays_as_it_was(tmp_path: Path, manifest: Path) -> None:
    before = get_track_meta(), are_deterministic_algorithms_enabled()
    file = study_file(tmp_path, {"two": {}, "one": {"labels": ["Mass"], "network_def#out_channels": 1, "epochs": 7}})
    checked = check(read_study(file, SHIPPED), SHIPPED, manifest)
    assert {name: (one.findings, one.epochs) for name, one in checked.items()} == {
        "two": (LABELS, 2),
        "one": (("Mass",), 7),
    }
    assert checked["two"].settings["epochs"] == "2"
    assert checked["two"].settings["image_size"] == "32"
    assert "seed" not in checked["two"].settings
    assert (get_track_meta(), are_deterministic_algorithms_enabled()) == before
    assert not (Path.cwd() / "output").exists()


@pytest.mark.parametrize(
    ("override", "code", "said"),
    [
        ({"epoch": 3}, "override-unknown", "--epoch. Did you mean --epochs?"),
        ({"epochs": 0}, "setting-invalid", "--epochs 0"),
        ({"normalisation": "imagenette"}, "setting-invalid", "normalisation 'imagenette'"),
        ({"schedule": "cosin"}, "setting-invalid", "--schedule 'cosin'"),
        ({"labels": ["Effusion", "Nodule"]}, "unknown-finding", "Nodule"),
        ({"accumulate": "two"}, "setting-invalid", "--accumulate 'two'"),
        ({"network_def#growth": 1}, "override-unknown", "Did you mean --network_def#growth_rate?"),
        ({"network_def": {"_target_": "Dense"}}, "setting-invalid", "its settings cannot be trained with"),
    ],
)
def test_a_bad_variant_is_named(tmp_path: Path, manifest: Path, override: dict[str, Any], code: str, said: str) -> None:
    file = study_file(tmp_path, {"good": {}, "bad": override})
    with pytest.raises(CxrError) as error:
        check(read_study(file, SHIPPED), SHIPPED, manifest)
    assert (error.value.code, error.value.where) == (code, "bad")
    assert said in str(error.value)


def test_settings_of_the_evaluation_are_looked_at(tmp_path: Path, manifest: Path) -> None:
    file = study_file(tmp_path, {"good": {}}, evaluate_overrides={"batchsize": 8})
    with pytest.raises(CxrError, match="evaluation: nothing reads the setting --batchsize"):
        check(read_study(file, SHIPPED), SHIPPED, manifest)


@pytest.mark.parametrize(
    "override",
    [
        {"weights": "w.pt"}, {"split": "train"}, {"manifest": "m.csv"}, {"output_dir": "x"}, {"run_name": "x"},
        {"labels": ["Mass"]}, {"image_size": 64}, {"head": "softmax"}, {"network_def#in_channels": 3},
    ],
)  # fmt: skip
def test_settings_that_are_not_the_evaluations_own(tmp_path: Path, manifest: Path, override: dict[str, Any]) -> None:
    file = study_file(tmp_path, {"good": {}}, evaluate_overrides=override)
    with pytest.raises(CxrError, match=f"evaluation: evaluate_overrides set {next(iter(override))}") as error:
        check(read_study(file, SHIPPED), SHIPPED, manifest)
    assert error.value.code == "study-invalid"


@pytest.mark.parametrize("first", ["name", "part"])
def test_a_networks_name_and_its_parts_in_both_orders(tmp_path: Path, manifest: Path, first: str) -> None:
    name, parts = {"network_def": "EfficientNet-B0"}, {"network_def#in_channels": 3, "network_def#norm": "instance"}
    one, other = (name, parts) if first == "name" else (parts, name)
    base = {key: value for key, value in BASE.items() if key != "network_def"} | one
    study = read_study(study_file(tmp_path, {"own": other}, base=base), SHIPPED)
    overrides = check(study, SHIPPED, manifest)["own"].overrides
    assert overrides["network_def"] == network_definition("EfficientNet-B0", 32, 3, "$@head_def.outputs") | {
        "norm": "instance"
    }
    assert not set(parts) & set(overrides)
    assert study.variants["own"]["network_def"] == "EfficientNet-B0"  # what people read


def test_an_estimate_grows_with_the_epochs(tmp_path: Path, phantoms: Phantoms) -> None:
    variants = {"short": {}, "long": {"epochs": 400}}
    base = BASE | {"cache_dir": str(tmp_path / "cache"), "batch_size": 4}
    checked = check(
        read_study(study_file(tmp_path, variants, base=base), SHIPPED), SHIPPED, phantoms.manifest, estimate=True
    )
    short, long = (checked[name].seconds or 0 for name in variants)
    assert 0 < 3 * short < long
