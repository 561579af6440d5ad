"""A gate goes with its bundle, under digest and signature; a damaged one stays where it is; indexes stay at home."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from cxr_monai.errors import Code, GateError, SharingError
from cxr_monai.gate.storage import GATE, GATE_TENSORS, read_gate, write_gate
from cxr_monai.sharing.inspection.bundle_inspection import inspect_bundle
from cxr_monai.sharing.inspection.remarks import Verdict
from cxr_monai.sharing.package.pack import pack_bundle
from cxr_monai.sharing.trust.install import install_bundle
from cxr_monai.sharing.trust.sign import sign_archive
from tests.sharing.archives import Hospital, content_of
from tests.support.tiny_gates import tiny_gate


@pytest.fixture
def gated(hospital: Hospital, tmp_path: Path) -> Path:
    bundle = Path(shutil.copytree(hospital.bundle, tmp_path / "gated"))
    write_gate(bundle, tiny_gate(), "ab" * 32)
    return bundle


def test_it_goes_along_and_is_installed(gated: Path, hospital: Hospital, tmp_path: Path) -> None:
    packed = pack_bundle(gated, tmp_path / "share", name="cxr-a", version="2.0.0")
    assert {GATE, GATE_TENSORS} <= set(content_of(packed.path))
    sign_archive(packed.path, hospital.key)
    root = install_bundle(packed.path, trusted=hospital.trusted, store=tmp_path / "store").root
    read = read_gate(root)
    assert read is not None
    assert read[0].limits == tiny_gate().limits


def test_what_an_inspection_says(gated: Path) -> None:
    inspection = inspect_bundle(gated)
    assert inspection.refused == ()
    (remark,) = [remark for remark in inspection.remarks if remark.kind == "gate"]
    assert remark.verdict == Verdict.ALLOWED
    assert remark.text == (
        "a gate, refuses at most 1.00% of films like those it was fitted on, 12 films of 12 patients"
    )


@pytest.mark.parametrize("gone", [GATE, GATE_TENSORS])
def test_half_a_gate_is_refused(gone: str, gated: Path, tmp_path: Path) -> None:
    (gated / gone).unlink()
    assert [remark.kind for remark in inspect_bundle(gated).refused] == ["gate"]
    with pytest.raises(GateError):
        pack_bundle(gated, tmp_path / "share")


def test_a_gate_that_was_changed_is_refused(gated: Path, tmp_path: Path) -> None:
    text = (gated / GATE).read_text()
    (gated / GATE).write_text(text.replace('"refuse": 1.5', '"refuse": 8.5'))
    (remark,) = inspect_bundle(gated).refused
    assert "changed since it was written" in remark.reason
    with pytest.raises(GateError) as caught:
        pack_bundle(gated, tmp_path / "share")
    assert caught.value.code == Code.GATE_INVALID
    (gated / GATE).write_text(json.dumps({"promise": 0.01}))
    assert "does not say that it is whole" in inspect_bundle(gated).refused[0].reason


INDEX = "preprocessing,pixel_digest,picture_hash\n0123,4567,89ab\n"
TABLES = {
    "training.index.csv": INDEX.encode(),
    "docs/notes/list.txt": INDEX.encode(),
    "models/index.csv.gz": gzip.compress(INDEX.encode()),
    "docs/films.json": json.dumps([{"picture_hash": "89ab"}]).encode(),
    "somewhere/p.csv.gate.csv": b"image,gate,code,pixel_digest\na.png,accept,,4567\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_an_index_of_training_films_is_not_sent(name: str, gated: Path, tmp_path: Path) -> None:
    path = gated / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(TABLES[name])
    with pytest.raises(SharingError) as caught:
        pack_bundle(gated, tmp_path / "share")
    assert caught.value.code == Code.BUNDLE_PRIVATE
    assert path.name in str(caught.value)
    assert not list((tmp_path / "share").glob("*.zip"))


def test_digests_in_a_page_are_private_texts(gated: Path, tmp_path: Path) -> None:
    page = gated / "docs" / "README.md"
    page.write_text(page.read_text() + "\n    pixel_digest: 4567\n")
    with pytest.raises(SharingError) as caught:
        pack_bundle(gated, tmp_path / "share")
    assert caught.value.code == Code.BUNDLE_PRIVATE
