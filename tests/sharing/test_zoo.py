"""The model zoo's layout passes what the zoo's continuous integration asks of a bundle (its ci/verify_bundle.py)."""

import json
import re
import shutil
from hashlib import sha256
from pathlib import Path

import jsonschema
import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export, create_workflow, verify_net_in_out
from monai.networks.nets import DenseNet
from PIL import Image

from cxr_monai.bundle.ensembling import ensemble_bundle
from cxr_monai.cli import main
from cxr_monai.errors import BundleError, Code, UsageError
from cxr_monai.sharing.export import model_zoo
from cxr_monai.sharing.export.model_zoo import zoo_layout
from cxr_monai.sharing.inspection.bundle_inspection import inspect_bundle
from tests.support.bundle_runs import process_as_it_was
from tests.support.tiny_bundles import NETWORK, SIZE, tiny_bundle, tiny_network

SCHEMA = Path(__file__).parents[1] / "bundles" / "meta_schema.json"
URL = "https://hospital.example/weights/"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "bundle", 0)


@pytest.fixture(scope="module", params=["one", "ensemble"])
def laid_out(request: pytest.FixtureRequest, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder ``models`` of the zoo, with the bundle in it, its large files fetched as the zoo's runner does."""
    home = tmp_path_factory.mktemp(request.param)
    source = bundle
    if request.param == "ensemble":
        source = ensemble_bundle([bundle, tiny_bundle(home / "other", 1)], home / "ensemble").root
    folder, uploads = zoo_layout(source, home / "zoo", "cxr_tiny", URL)
    assert uploads == ["model.pt", "model.ts"]
    assert [
        path for path in folder.rglob("*") if path.stat().st_size > model_zoo.ZOO_LIMIT or path.suffix == ".pt"
    ] == []
    for file in ConfigParser.load_config_file(str(folder / "large_files.yml"))["large_files"]:
        assert set(file) == {"path", "url", "hash_val", "hash_type"}
        source = folder.parent / "upload" / file["url"].removeprefix(URL)
        assert file["hash_type"] == "sha256"
        assert sha256(source.read_bytes()).hexdigest() == file["hash_val"]
        shutil.copy(source, folder / file["path"])
    return folder


def test_files_that_must_be_there_are(laid_out: Path) -> None:
    files = {path.relative_to(laid_out).as_posix() for path in laid_out.rglob("*") if path.is_file()}
    assert files >= {"configs/metadata.json", "LICENSE", "models/model.pt", "models/model.ts", "configs/inference.json"}
    assert files >= {"docs/README.md", "docs/data_license.txt", "configs/logging.conf", "large_files.yml"}
    assert "NIH ChestX-ray14" in (laid_out / "docs" / "data_license.txt").read_text()
    assert inspect_bundle(laid_out).refused == ()


def test_metadata_is_of_the_schema_and_the_version_in_the_changelog(laid_out: Path) -> None:
    metadata = json.loads((laid_out / "configs" / "metadata.json").read_text())
    jsonschema.validate(
        metadata, json.loads(SCHEMA.read_text())
    )  # as verify_metadata does (tests/bundles/test_verify.py)
    assert metadata["version"] in metadata["changelog"]
    assert metadata["schema"].startswith("https://github.com/Project-MONAI/")
    required = [f"{name}=={version}" for name, version in metadata["required_packages_version"].items()]
    assert all(re.fullmatch(r"[a-z0-9-]+==\d+(\.\d+)+", line) for line in required)


def test_shape_properties_and_torchscript_are_what_the_zoo_checks(laid_out: Path, tmp_path: Path) -> None:
    meta, inference = laid_out / "configs" / "metadata.json", laid_out / "configs" / "inference.json"
    files = {"meta_file": str(meta), "config_file": str(inference), "bundle_root": str(laid_out)}
    Image.new("L", (40, 40), 99).save(tmp_path / "a.png")
    with process_as_it_was():
        verify_net_in_out(net_id="network_def", **files)
        settings = {"dataset_dir": str(tmp_path), "output_dir": str(tmp_path / "out"), "num_workers": 0}
        workflow = create_workflow(workflow_type="inference", logging_file=False, **files, **settings)
        assert not workflow.check_properties()
        # scripted, not traced, and without our head: the zoo's own export of the checkpoint
        ckpt_export(
            net_id="network_def",
            filepath=str(tmp_path / "scripted.ts"),
            ckpt_file=str(laid_out / "models" / "model.pt"),
            **files,
        )
    batch = torch.rand(3, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        given = torch.jit.load(str(laid_out / "models" / "model.ts"))(batch)
        scripted = torch.jit.load(str(tmp_path / "scripted.ts"))(batch)
    torch.testing.assert_close(given, scripted, rtol=0, atol=1e-4)


def test_small_weights_need_no_url_and_large_ones_do(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["bundle", "export", str(bundle), "--format", "zoo", "--out"]
    assert main([*command, str(tmp_path / "a")]) == 0
    assert "MONAI Label" not in capsys.readouterr().out
    assert main([*command, str(tmp_path / "c"), "--name", "cxr_nih14"]) == 0
    assert (
        "note: MONAI Label takes a folder for a classification only where its name says so" in capsys.readouterr().out
    )
    folder = tmp_path / "a" / "chest_x_ray_14_findings_classification"  # of the metadata's name
    assert [path.name for path in (tmp_path / "a").iterdir()] == [folder.name]
    assert not (folder / "large_files.yml").exists()
    network = DenseNet(**{name: value for name, value in NETWORK.items() if name != "_target_"}).eval()
    network.load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True))
    batch = torch.ones(1, 1, SIZE, SIZE)
    with torch.no_grad():
        assert torch.equal(network(batch), tiny_network(0)(batch))
    monkeypatch.setattr(model_zoo, "ZOO_LIMIT", 1000)
    assert main([*command, str(tmp_path / "b")]) == 2
    told = capsys.readouterr().err
    assert "models/model.pt, models/model.ts: above 1,000 bytes" in told
    assert "--url" in told
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(("name", "url"), [("Chest X", None), ("", None), ("../x", None), ("x", "ftp://a.org/")])
def test_words_that_the_zoo_cannot_take(bundle: Path, tmp_path: Path, name: str, url: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        zoo_layout(bundle, tmp_path / "zoo", name, url)
    assert caught.value.code == Code.USAGE


def test_all_that_the_zoo_would_miss_is_told_at_once(bundle: Path, tmp_path: Path) -> None:
    poor = Path(shutil.copytree(bundle, tmp_path / "poor"))
    (poor / "LICENSE").unlink()
    path = poor / "configs" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": "2.0.0", "schema": ""}))
    with pytest.raises(BundleError) as caught:
        zoo_layout(poor, tmp_path / "zoo", "cxr_tiny")
    assert caught.value.code == Code.BUNDLE_INVALID
    assert "LICENSE, 'schema' in the metadata, the version 2.0.0 in the metadata's changelog" in str(caught.value)
    with pytest.raises(UsageError) as caught:
        zoo_layout(bundle, tmp_path, "cxr_tiny")
    assert caught.value.code == Code.OUTPUT_EXISTS
