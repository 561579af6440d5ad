"""A gate that belongs to another network is an error of its bundle, before or at the first film; never a pass."""

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cxr_monai.bundle.digest import file_digest
from cxr_monai.completion import seal
from cxr_monai.errors import Code, GateError
from cxr_monai.gate.fitted_gate import FittedGate
from cxr_monai.gate.storage import GATE, GATE_TENSORS, read_gate, write_gate
from cxr_monai.inference.model import Model
from tests.support.bundle_runs import Phantoms
from tests.support.tiny_bundles import tiny_bundle, tiny_network
from tests.support.tiny_gates import FEATURES, tiny_gate


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "bundle", 0)


def gated(bundle: Path, gate: FittedGate) -> Path:
    write_gate(bundle, gate, file_digest(bundle / "models" / "model.pt"))
    return bundle


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(GateError) as caught:
        action()
    assert caught.value.code == Code.GATE_INVALID
    return str(caught.value)


def test_weights_that_were_exchanged_under_it(bundle: Path) -> None:
    gated(bundle, tiny_gate())
    torch.save(tiny_network(9).state_dict(), bundle / "models" / "model.pt")
    assert "other weights than the bundle's own" in refused(lambda: Model.open(bundle))
    assert Model.open(bundle, gate="off").gate.fitted is None


def test_weights_that_a_user_names_are_predicted_and_that_is_said(bundle: Path, tmp_path: Path) -> None:
    gated(bundle, tiny_gate())
    torch.save(tiny_network(9).state_dict(), tmp_path / "other.pt")
    gate = Model.open(bundle, weights=tmp_path / "other.pt").gate
    assert gate.fitted is None
    assert "other weights" in gate.missing


def test_layers_that_the_network_does_not_have(bundle: Path) -> None:
    gated(bundle, replace(tiny_gate(), layers=("features.denseblock9", "features")))
    assert "features.denseblock9" in refused(lambda: Model.open(bundle))


def test_features_that_are_more_or_fewer(bundle: Path, phantoms: Phantoms) -> None:
    model = Model.open(gated(bundle, tiny_gate()))
    assert f"it knows {FEATURES} features" in refused(lambda: model.predict(phantoms.files("test")[:2]))


@pytest.mark.parametrize("part", ["outside", "precision"])
def test_a_distance_without_a_part_of_its_numbers(part: str, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    write_gate(tmp_path, tiny_gate(), "ab" * 32)
    path = tmp_path / GATE_TENSORS
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, numbers = json.loads(content[8 : 8 + length]), content[8 + length :]
    begin, end = header.pop(f"distances.thumbnail_distance.{part}")["data_offsets"]
    for span in header.values():
        span["data_offsets"] = [place - (end - begin) * (place > begin) for place in span["data_offsets"]]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + numbers[:begin] + numbers[end:])
    description = json.loads((tmp_path / GATE).read_text())
    description.pop("complete")
    seal(description, tmp_path / "models", ["gate.safetensors"])
    (tmp_path / GATE).write_text(json.dumps(description))
    assert "lacks a part" in refused(lambda: read_gate(tmp_path))
