"""What MONAI's model zoo does with a bundle in its continuous integration, on ours.

Stand-ins that follow Project-MONAI/model-zoo: ``ci/verify_bundle.py`` (018b313), ``ci/verify_properties.py`` (371b779),
``ci/verify_tensorrt.py`` (0ab3be0) and ``ci/unit_tests/test_endoscopic_inbody_classification.py`` (1a197bb), the
zoo's classification, with MONAI 1.6.1's name of ``workflow_type``. Its layout is checked in tests/sharing/test_zoo.py.
"""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, create_workflow, verify_net_in_out

from tests.interop.site import Site
from tests.support.bundle_runs import SHIPPED, our_errors

BUNDLES = ("cxr_nih14", "cxr_categories", "cxr_transfer")


@pytest.mark.realdata
@pytest.mark.parametrize("name", [*BUNDLES, "trained"])
def test_metadata_is_of_monais_schema(name: str, site: Site, realdata: Path) -> None:
    """``verify_metadata_format``: the file of 2024-07-25 that every metadata.json names as its schema."""
    schema = json.loads((realdata / "monai" / "meta_schema_20240725.json").read_text(encoding="utf-8"))
    bundle = site.bundle if name == "trained" else SHIPPED.with_name(name)
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    jsonschema.validate(metadata, schema)
    assert metadata["schema"].endswith("/meta_schema_20240725.json")
    for key in ("version", "network_data_format", "monai_version"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({name: value for name, value in metadata.items() if name != key}, schema)


@pytest.mark.parametrize("name", [*BUNDLES, "trained"])
def test_version_stands_in_the_changelog_and_requirements_are_exact(name: str, site: Site) -> None:
    """``verify_version_changes``, and what ``ci/get_bundle_requirements.py`` writes for pip."""
    bundle = site.bundle if name == "trained" else SHIPPED.with_name(name)
    metadata = ConfigParser.load_config_file(str(bundle / "configs" / "metadata.json"))
    assert metadata["version"] in metadata["changelog"]
    for key in ("monai_version", "pytorch_version", "numpy_version", "required_packages_version"):
        assert metadata[key], key


def test_the_checks_of_one_bundle(site: Site, away: Path) -> None:
    """``verify_data_shape`` and ``verify_torchscript``, with the zoo's default ids and files."""
    root = site.bundle
    files = {"meta_file": site.config("metadata"), "config_file": site.config("inference"), "bundle_root": str(root)}
    verify_net_in_out(net_id="network_def", **files)
    ckpt_export(net_id="network_def", filepath="verify_model.ts", ckpt_file=str(root / "models" / "model.pt"), **files)
    program, own = torch.jit.load("verify_model.ts"), torch.load(root / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(tensor, own[name]) for name, tensor in program.state_dict().items())


def test_the_properties_of_apps(site: Site, away: Path) -> None:
    """``check_apps_bundle_properties``, with the bundle's own logging; ours also asks which images there are."""
    made = create_workflow(
        workflow_type="infer",
        config_file=site.config("inference"),
        meta_file=site.config("metadata"),
        logging_file=str(site.bundle / "configs" / "logging.conf"),
        bundle_root=str(site.bundle),
        dataset_dir=str(site.films[0].parent),
    )
    assert made.check_properties() == []


def zoo_workflow(site: Site, kind: str, *configs: str, **override: Any) -> ConfigWorkflow:
    files = [site.config(name) for name in configs]
    data = {"manifest": str(site.manifest), "output_dir": "OUT", "bundle_root": str(site.bundle)}
    made = ConfigWorkflow(
        workflow_type=kind, config_file=files if len(files) > 1 else files[0],
        logging_file=str(site.bundle / "configs" / "logging.conf"), meta_file=site.config("metadata"),
        **(data | override),
    )  # fmt: skip
    with our_errors():
        made.initialize()
        assert made.check_properties() == []
        made.run()
        made.finalize()
    return made


def test_the_unit_tests_of_a_classification(site: Site, away: Path) -> None:
    """``test_train_eval_config`` and ``test_infer_config``, with the overrides that they set."""
    override = {
        "train#trainer#max_epochs": 2, "train#dataloader#num_workers": 0, "validate#dataloader#num_workers": 0,
        "batch_size": 4,
    }  # fmt: skip
    trained = zoo_workflow(site, "train", "train", **override)
    assert trained.trainer.state.epoch == 2
    evaluated = {"dataloader#num_workers": 0, "replicates": 20, "output_dir": "EVAL"}
    zoo_workflow(site, "train", "train", "evaluate", **override, **evaluated)
    metrics = pd.read_csv(away / "EVAL" / "metrics.csv")
    assert metrics["images"].tolist() == [4, 4, 4]
    zoo_workflow(
        site, "infer", "inference", output_dir="INFER", amp=False, **{"handlers#0#_disabled_": True},
        **{"dataloader#num_workers": 0},
    )  # fmt: skip
    table = pd.read_csv(away / "INFER" / "predictions.csv")
    table.index = [Path(image).name for image in table.pop("image")]
    expected = site.predict().loc[table.index]
    assert (table - expected.to_numpy()).abs().max(axis=None) < 1e-5


def test_a_configuration_that_was_merged_and_written_elsewhere_runs(site: Site, away: Path) -> None:
    """``export_overrided_config`` of the zoo's tests on several GPUs: a file of another folder, all overrides in it."""
    parser = ConfigParser()
    parser.read_config([site.config("train"), site.config("evaluate")])
    parser.update({
        "bundle_root": str(site.bundle), "manifest": str(site.manifest), "output_dir": "OUT", "replicates": 20,
        "num_workers": 0, "train#trainer#max_epochs": 1,
    })  # fmt: skip
    ConfigParser.export_config_file(parser.config, "override.json", indent=4)
    made = ConfigWorkflow("override.json", meta_file=site.config("metadata"), logging_file=False, workflow_type="train")
    with our_errors():
        made.initialize()
        made.run()
    assert (away / "OUT" / "metrics.csv").is_file()
