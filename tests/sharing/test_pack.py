"""Packing: the same bytes, nothing missing, nothing private."""

import hashlib
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from cxr_monai.bundle.digest import content_digest
from cxr_monai.cli import main
from cxr_monai.completion import seal
from cxr_monai.data.manifest import Manifest
from cxr_monai.errors import BundleError, EvaluationError, SharingError
from cxr_monai.sharing.package import privacy
from cxr_monai.sharing.package.file_list import FILE_LIST
from cxr_monai.sharing.package.pack import pack_bundle
from tests.sharing.archives import METRICS, Hospital, content_of, edit_metadata, make_bundle
from tests.support.bundle_runs import content


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


def test_same_content_same_bytes(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pack_bundle(bundle, tmp_path / "one", name="a")
    other = tmp_path / "other"
    for name in sorted(content(bundle), reverse=True):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle / name, other / name)
        os.utime(other / name, (1, 1))
        (other / name).chmod(0o600)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    second = pack_bundle(other, tmp_path / "two", name="a")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.digest == hashlib.sha256(first.path.read_bytes()).hexdigest()


def test_archive_holds_the_bundle_and_its_manifest(bundle: Path, tmp_path: Path) -> None:
    before = content(bundle)
    packed = pack_bundle(bundle, tmp_path, name="cxr-a")
    assert packed.path.name == "cxr-a-0.1.0.zip"
    assert content(bundle) == before
    files = content_of(packed.path)
    listed = json.loads(files.pop(FILE_LIST))
    assert {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} == before
    assert listed["files"] == [
        {"name": name, "size": len(files[name]), "sha256": before[name]} for name in sorted(files)
    ]
    assert listed["created_from"] == content_digest(bundle)
    with zipfile.ZipFile(packed.path) as opened:
        kinds = {(e.date_time, e.compress_type, e.external_attr >> 16) for e in opened.infolist()}
    assert kinds == {((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED, 0o100644)}


def test_what_lies_beside_the_bundle_stays_and_is_told(bundle: Path, tmp_path: Path) -> None:
    (bundle / "bundle.patients.json").write_text('{"patients": ["a"]}')
    (bundle / "mlruns").mkdir()
    (bundle / "mlruns" / "x").write_text("x")
    packed = pack_bundle(bundle, tmp_path)
    assert "bundle.patients.json, mlruns" in packed.notes[0]
    assert not {name for name in content_of(packed.path) if "patients" in name or "mlruns" in name}


def test_version_and_change_are_written_into_the_packed_metadata_alone(bundle: Path, tmp_path: Path) -> None:
    packed = pack_bundle(bundle, tmp_path, version="1.2.0", change="fitted to winter")
    metadata = json.loads(content_of(packed.path)["configs/metadata.json"])
    assert metadata["version"] == packed.contents.version == "1.2.0"
    assert metadata["changelog"] == {"1.2.0": "fitted to winter", "0.1.0": "first version"}
    assert json.loads((bundle / "configs" / "metadata.json").read_text())["version"] == "0.1.0"


def test_all_that_is_missing_is_listed_at_once(bundle: Path, tmp_path: Path) -> None:
    for name in ("LICENSE", "docs/README.md", "models/model.pt", "metrics.json"):
        (bundle / name).unlink()
    edit_metadata(bundle, intended_use=" ", network_data_format={"inputs": {"image": {}}, "outputs": {}})
    shutil.rmtree(bundle / "docs")
    shutil.rmtree(bundle / "models")
    with pytest.raises(SharingError) as error:
        pack_bundle(bundle, tmp_path / "share")
    assert error.value.code == "bundle-incomplete"
    for said in ("the intended use", "its outputs", "a licence", "a card", "weights", "metrics", "cxr-monai evaluate"):
        assert said in str(error.value)
    assert "its inputs" not in str(error.value)
    assert list((tmp_path / "share").iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda b: (b / "docs/README.md").write_text("# A card\n\nGood for everything."), "its limits"),
        (lambda b: (b / "metrics.json").write_text('{"findings": [{"finding": "mean"}]}'), "the split"),
        (lambda b: (b / "LICENSE").write_text("\n"), "a licence"),
    ],
)
def test_what_says_nothing_is_missing(bundle: Path, tmp_path: Path, spoil: Callable[[Path], Any], said: str) -> None:
    spoil(bundle)
    with pytest.raises(SharingError, match=said):
        pack_bundle(bundle, tmp_path / "share")


def test_metrics_of_this_bundle_go_in_and_those_of_another_are_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "metrics.json").unlink()
    folder = tmp_path / "evaluation"
    folder.mkdir()
    made = {**METRICS, "book": {**METRICS["book"], "bundle": content_digest(bundle)}, "complete": []}
    (folder / "metrics.json").write_text(json.dumps(made))
    packed = pack_bundle(bundle, tmp_path / "share", metrics=folder)
    assert json.loads(content_of(packed.path)["metrics.json"]) == made
    (bundle / "docs" / "more.md").write_text("another bundle")
    with pytest.raises(BundleError) as error:
        pack_bundle(bundle, tmp_path / "share", metrics=folder)
    assert error.value.code == "bundle-disagrees"


@pytest.mark.parametrize(("complete", "said"), [(None, "interrupted"), (["report.html"], r"missing: report\.html")])
def test_metrics_that_were_not_written_to_their_end_are_refused(
    complete: list[str] | None, said: str, bundle: Path, tmp_path: Path
) -> None:
    made = {**METRICS, "book": {**METRICS["book"], "bundle": content_digest(bundle)}}
    made |= {} if complete is None else {"complete": complete}
    (tmp_path / "metrics.json").write_text(json.dumps(made))
    with pytest.raises(EvaluationError, match=said) as error:
        pack_bundle(bundle, tmp_path / "share", metrics=tmp_path)
    assert error.value.code == "result-incomplete"
    assert not list((tmp_path / "share").glob("*"))


def test_figures_that_were_changed_are_not_packed(bundle: Path, tmp_path: Path) -> None:
    """Whether they come with the bundle or from a folder."""
    made = {**METRICS, "book": {**METRICS["book"], "bundle": content_digest(bundle)}}
    seal(made, tmp_path, [])
    (bundle / "metrics.json").write_text(json.dumps(made))
    pack_bundle(bundle, tmp_path / "share")
    better = json.dumps({**made, "findings": [{"finding": "mean", "auroc": 0.99}]})
    for path, metrics in ((tmp_path / "metrics.json", tmp_path), (bundle / "metrics.json", None)):
        path.write_text(better)
        with pytest.raises(EvaluationError, match="changed since it was written") as error:
            pack_bundle(bundle, tmp_path / "other", metrics=metrics)
        assert error.value.code == "result-incomplete"


def test_an_archive_with_another_content_is_not_overwritten(bundle: Path, tmp_path: Path) -> None:
    first = pack_bundle(bundle, tmp_path / "share")
    before = first.path.read_bytes()
    assert pack_bundle(bundle, tmp_path / "share").digest == first.digest
    (bundle / "docs" / "more.md").write_text("more")
    with pytest.raises(BundleError) as error:
        pack_bundle(bundle, tmp_path / "share")
    assert error.value.code == "output-exists"
    assert first.path.read_bytes() == before
    assert [path.name for path in (tmp_path / "share").iterdir()] == [first.path.name]


@pytest.mark.parametrize("name", ["Cxr", "a b", "../a", "", "con", "-a", "a" * 65])
def test_name_that_is_none_is_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(SharingError) as error:
        pack_bundle(bundle, tmp_path, name=name)
    assert error.value.code == "archive-invalid"


def test_what_an_inspection_refuses_is_not_packed(bundle: Path, tmp_path: Path) -> None:
    (bundle / "configs" / "more.json").write_text('{"a": "$__import__(\'os\')"}')
    with pytest.raises(SharingError, match=r"more\.json") as error:
        pack_bundle(bundle, tmp_path / "share")
    assert error.value.code == "bundle-refused"


PRIVATE = {
    "POSIX path": ("configs/train.json", {"manifest": "/data/hospital/list.csv"}, "/data/hospital/list.csv"),
    "home folder": ("configs/train.json", {"cache_dir": "~/cache"}, "~/cache"),
    "variable": ("configs/train.json", {"cache_dir": "${HOME}/cache"}, "${HOME"),
    "Windows path": ("configs/train.json", {"manifest": "D:\\PACS\\list.csv"}, "D:\\PACS"),
    "share": ("configs/train.json", {"manifest": "\\\\pacs01\\images"}, "\\\\pacs01\\images"),
    "file address": ("configs/train.json", {"manifest": "file:///x"}, "file:///x"),
    "NIH's images": ("docs/card.md", "as in 00000013_005.png", "00000013_005"),
    "image": ("docs/card.md", "see chest20231.dcm", "chest20231.dcm"),
    "DICOM identifier": ("docs/card.md", "study 1.2.840.113619.2.55.3.604688", "1.2.840.113619.2.55.3.604688"),
    "CheXpert's patients": ("docs/card.md", "patient64541/study1", "patient64541"),
    "list of data": ("docs/table.csv", "image,patient_id\na,b\n", "patient_id"),
    "list of patients": ("models/bundle.patients.json", {"patients": []}, "bundle.patients.json"),
    "escaped": ("configs/train.json", '{"manifest": "\\u002fdata\\/hospital\\/list.csv"}', "/data/hospital/list.csv"),
    "key": ("configs/metadata.json", {"/data/hospital/a": 1}, "/data/hospital/a"),
    "within weights": ("models/model.pt", {"/mnt/pacs/patient": 1.0}, "/mnt/pacs/patient"),
}


@pytest.mark.parametrize(("name", "data", "text"), PRIVATE.values(), ids=PRIVATE)
def test_private_texts_are_refused_with_file_and_place(
    bundle: Path, tmp_path: Path, name: str, data: Any, text: str
) -> None:
    path = bundle / name
    if name.endswith(".pt"):
        import torch

        torch.save({key: torch.tensor(value) for key, value in data.items()}, path)
    elif isinstance(data, str):
        path.write_text(data)
    else:
        before = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(before | data))
    with pytest.raises(SharingError) as error:
        pack_bundle(bundle, tmp_path / "share")
    assert error.value.code == "bundle-private"
    assert name in str(error.value)
    assert repr(text) in str(error.value)


def test_names_of_user_and_machine_are_private_unless_they_are_common(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privacy.getpass, "getuser", lambda: "mmustermann")
    monkeypatch.setattr(privacy.platform, "node", lambda: "pacs-node7.hospital.example")
    (bundle / "docs" / "more.md").write_text("Trained by MMustermann on pacs-node7.\n")
    assert {found.text for found in privacy.search_private_texts(bundle)} == {"MMustermann", "pacs-node7."}
    monkeypatch.setattr(privacy.getpass, "getuser", lambda: "ubuntu")
    monkeypatch.setattr(privacy.platform, "node", lambda: "localhost")
    (bundle / "docs" / "more.md").write_text("On Ubuntu, at localhost.\n")
    assert privacy.search_private_texts(bundle) == []


def test_the_packaged_bundle_has_nothing_private(bundle: Path) -> None:
    assert privacy.search_private_texts(bundle) == []


def identifiers(**columns: list[str]) -> privacy.Identifiers:
    table = pd.DataFrame({"study_id": "", "view": "PA"} | columns)
    return privacy.Identifiers.of(Manifest(table, Path(), "own"))


def test_identifiers_of_the_manifest_are_found_as_whole_words(bundle: Path) -> None:
    known = identifiers(image=["in/scan-mueller.png", "in/x.png"], patient_id=["Q-77123", "12"])
    (bundle / "docs" / "more.md").write_text("One, q-77123.\nTwo: (scan-mueller)\nQ-771234 and 12 are others.\n")
    found = [(private.place, private.kind, private.text) for private in privacy.search_private_texts(bundle, known)]
    assert found == [
        ("line 1", "a patient of the manifest", "q-77123."),
        ("line 2", "an image of the manifest", "scan-mueller"),
    ]
    assert known.unsearchable == 2  # x and 12


def test_allowed_texts_are_let_through(bundle: Path, tmp_path: Path) -> None:
    (bundle / "docs" / "more.md").write_text("The demonstration uses 00000001_000 of the phantoms.\n")
    assert pack_bundle(bundle, tmp_path / "share", allow=["00000001_000"]).path.is_file()


def test_pictures_are_named(bundle: Path, tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(bundle / "docs" / "example.png")
    assert any("docs/example.png" in note for note in pack_bundle(bundle, tmp_path).notes)


def test_command_packs_and_says_what_to_do_next(
    hospital: Hospital, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["bundle", "pack", str(hospital.bundle), "--out", str(tmp_path), "--name", "a", "--version", "2.0"]) == 0
    )
    told = capsys.readouterr().out
    assert "a 2.0: 14 files" in told
    assert hashlib.sha256((tmp_path / "a-2.0.zip").read_bytes()).hexdigest() in told
    assert main(["bundle", "pack", str(hospital.bundle), "--change", "x"]) == 2
