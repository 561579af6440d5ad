"""An export holds the network alone, and says that it has no gate."""

import json
import zipfile
from pathlib import Path
from typing import Any

import onnx
import pytest

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.bundle.carried_gate import GATE_COMPONENT
from cxr_monai.bundle.digest import file_digest
from cxr_monai.gate.storage import GATE, has_gate, write_gate
from cxr_monai.sharing.export.model_zoo import zoo_layout
from cxr_monai.sharing.export.network_export import export, exported_configuration
from tests.support.tiny_bundles import tiny_bundle
from tests.support.tiny_gates import tiny_gate


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose configurations name its gate, as a training leaves it."""
    bundle = tiny_bundle(tmp_path_factory.mktemp("gated") / "bundle", 0)
    for name in ("inference.json", "explain.json"):
        path = bundle / "configs" / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"gate": {"_target_": GATE_COMPONENT}}))
    write_gate(bundle, tiny_gate(), file_digest(bundle / "models" / "model.pt"))
    assert gate_item(bundle / "configs" / "inference.json")["digest"] == file_digest(bundle / GATE)
    return bundle


def gate_item(path: Path) -> dict[str, Any]:
    item: dict[str, Any] = json.loads(path.read_text())["gate"]
    return item


def test_files_say_it_wherever_they_go(gated: Path, tmp_path: Path) -> None:
    export(gated, tmp_path / "out")
    stated = json.loads((tmp_path / "out" / "contract.json").read_text())["gate"]
    assert (stated["included"], stated["bundle_has_one"]) == (False, True)
    assert "no gate" in stated["means"]
    with zipfile.ZipFile(tmp_path / "out" / "model.ts") as archive:
        embedded = {name.rpartition("/")[2]: archive.read(name) for name in archive.namelist() if "extra/" in name}
    assert json.loads(embedded["contract.json"])["gate"] == stated
    assert json.loads(embedded["metadata.json"])["exported"]["gate"] == stated
    properties = {entry.key: entry.value for entry in onnx.load(str(tmp_path / "out" / "model.onnx")).metadata_props}
    assert json.loads(properties["gate"]) == stated


def test_an_exported_configuration_names_no_gate_that_is_not_there(gated: Path) -> None:
    assert exported_configuration(Bundle.open(gated))["gate"] == {
        "_target_": GATE_COMPONENT,
        "missing": "an export holds the network alone",
    }


def test_a_bundle_without_one_is_told_apart(tmp_path: Path) -> None:
    export(tiny_bundle(tmp_path / "bundle", 0), tmp_path / "out", ["torchscript"])
    stated = json.loads((tmp_path / "out" / "contract.json").read_text())["gate"]
    assert (stated["included"], stated["bundle_has_one"]) == (False, False)


def test_the_zoo_gets_none(gated: Path, tmp_path: Path) -> None:
    folder, _ = zoo_layout(gated, tmp_path / "zoo", "cxr_tiny")
    assert not has_gate(folder)
    for name in ("inference.json", "explain.json"):
        assert "digest" not in gate_item(folder / "configs" / name)
    assert "## No gate" in (folder / "docs" / "README.md").read_text()
    assert has_gate(gated)
