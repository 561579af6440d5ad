"""What comes from elsewhere takes no more room than it may, and says what a person should know of it."""

import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from cxr_monai.cli import main
from cxr_monai.errors import BundleError, SharingError, StorageError, UsageError
from cxr_monai.sharing.inspection.bundle_inspection import inspect_bundle
from cxr_monai.sharing.inspection.remarks import Verdict
from cxr_monai.sharing.inspection.weights_remarks import remarks_on_weights
from cxr_monai.sharing.package import archive as archives
from cxr_monai.sharing.package.archive import inspect_archive
from cxr_monai.sharing.package.file_list import SIGNATURE
from cxr_monai.sharing.trust import install as installing
from cxr_monai.sharing.trust.install import install_bundle
from cxr_monai.sharing.trust.installed import find_installed, installed_bundles
from cxr_monai.sharing.trust.keys import read_signer, trust_key
from cxr_monai.sharing.trust.sign import sign_archive
from cxr_monai.sharing.trust.verify import verify_bundle
from tests.sharing.archives import Hospital, rewritten, signed_version


def unpacked(hospital: Hospital, root: Path) -> Path:
    with zipfile.ZipFile(hospital.archive) as opened:
        opened.extractall(root)
    return root


def test_signature_of_400_megabytes_is_not_copied(
    hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = unpacked(hospital, tmp_path / "received")
    with (root / SIGNATURE).open("r+b") as file:
        file.truncate(400 << 20)  # a hole: it takes no room here
    monkeypatch.setattr(installing, "verify_folder", lambda *words: pytest.fail("it was copied"))
    with pytest.raises(SharingError) as error:
        install_bundle(root, trusted=hospital.trusted, store=tmp_path / "store")
    assert error.value.code == "signature-invalid"


def test_folder_that_grows_meanwhile_is_copied_no_further_than_it_said(
    hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = unpacked(hospital, tmp_path / "received")
    copied = []

    def grows(folder: Path, contents: object) -> None:
        with (root / "LICENSE").open("r+b") as file:
            file.truncate(400 << 20)
        (root / "docs" / "README.md").unlink()
        os.mkfifo(root / "docs" / "README.md")

    def verified(folder: Path, trusted: object) -> None:
        copied.append(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
        raise SharingError("bundle-altered", "it is another now.")  # type: ignore[arg-type]

    before = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    monkeypatch.setattr(installing, "refuse_altered_files", grows)
    monkeypatch.setattr(installing, "verify_folder", verified)
    with pytest.raises(SharingError):
        install_bundle(root, trusted=hospital.trusted, store=tmp_path / "store")
    assert 0 < copied[0] <= before


def test_digest_of_a_folder_is_wrong_use(hospital: Hospital, tmp_path: Path) -> None:
    root = unpacked(hospital, tmp_path / "received")
    with pytest.raises(UsageError, match="--sha256"):
        install_bundle(root, sha256="f" * 64, trusted=hospital.trusted, store=tmp_path / "store")
    assert installed_bundles(tmp_path / "store") == []


@pytest.mark.parametrize("call", [install_bundle, verify_bundle, lambda path, trusted: inspect_archive(path)])
def test_pipe_is_no_archive(call: object, hospital: Hospital, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BundleError) as error:
        call(tmp_path / "pipe", trusted=hospital.trusted)  # type: ignore[operator]
    assert error.value.code == "bundle-invalid"


def test_full_disk_is_said_and_nothing_is_left(
    hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(archive: Path, into: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(archives.tempfile, "tempdir", None)
    for module in (archives, installing):
        monkeypatch.setattr(module, "unpack", full)
    for call in (
        lambda: verify_bundle(hospital.archive, hospital.trusted),
        lambda: inspect_archive(hospital.archive),
        lambda: install_bundle(hospital.archive, trusted=hospital.trusted, store=tmp_path / "store"),
    ):
        with pytest.raises(StorageError) as error:
            call()
        assert error.value.code == "disk-full"
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert [path.name for path in (tmp_path / "store").iterdir()] == [".lock"]


# what a person is told


def reaching(bundle: Path) -> None:
    path = bundle / "configs" / "reaching.json"
    path.write_text(json.dumps({"x": {"_target_": "MLFlowHandler", "tags": {"server": "https://tracking.example"}}}))


def test_what_it_may_write_or_reach_is_told_once_and_each_time_it_is_installed(
    hospital: Hospital, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = signed_version(hospital, tmp_path, "3.0.0", reaching)
    words = ["bundle", "install", str(archive), "--trusted", str(hospital.trusted), "--store", str(tmp_path / "store")]
    for _ in range(2):
        assert main(words) == 0
        told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("attention: ")]
        assert [line for line in told if "https://tracking.example  (configs/reaching.json, x#tags#server)" in line]
        (writing,) = (line for line in told if "these write files or may use the network" in line)
    remarks = [r for r in inspect_bundle(tmp_path / "bundle-3.0.0").remarks if r.verdict == Verdict.ATTENTION]
    named = writing.split(": ")[2].split(";")[0].split(", ")
    assert named == sorted({r.text.split(".")[-1] for r in remarks if r.kind == "callable"})
    assert "MLFlowHandler" in named
    assert len(told) == 1 + len({r.text for r in remarks if r.kind != "callable"})


def test_another_signer_of_the_same_name_is_told(hospital: Hospital, tmp_path: Path) -> None:
    shutil.copytree(hospital.trusted, tmp_path / "trusted")
    trust_key(hospital.keys / "stranger.pub", "hospital-b", tmp_path / "trusted")
    first = install_bundle(hospital.archive, trusted=tmp_path / "trusted", store=tmp_path / "store")
    assert not [remark for remark in first.attention if remark.kind == "signer"]
    other = signed_version(hospital, tmp_path, "2.0.0")
    again = rewritten(other, tmp_path / "again.zip", lambda files: files.pop(SIGNATURE) and None)
    sign_archive(again, hospital.keys / "stranger.pem")
    made = install_bundle(again, trusted=tmp_path / "trusted", store=tmp_path / "store")
    (told,) = (remark for remark in made.attention if remark.kind == "signer")
    assert (told.text, told.reason) == ("hospital-b", "cxr-a 1.0.0, which is installed, was signed by hospital-a.")
    assert made == find_installed(tmp_path / "store", "cxr-a")


def test_one_version_in_two_spellings_is_no_newer(hospital: Hospital, tmp_path: Path) -> None:
    install_bundle(hospital.archive, trusted=hospital.trusted, store=tmp_path / "store")
    with pytest.raises(SharingError, match=r"cxr-a 1\.0 is no newer than 1\.0\.0") as error:
        install_bundle(signed_version(hospital, tmp_path, "1.0"), trusted=hospital.trusted, store=tmp_path / "store")
    assert error.value.code == "bundle-older"


def test_store_is_listed_while_another_installation_is_at_work(hospital: Hospital, tmp_path: Path) -> None:
    made = install_bundle(hospital.archive, trusted=hospital.trusted, store=tmp_path)
    shutil.copytree(made.root.parent, tmp_path / ".incoming-x" / "version")
    assert installed_bundles(tmp_path) == [made]


# an archive that is only looked at


def test_archive_is_inspected_and_said_to_be_unverified(
    hospital: Hospital, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(archives.tempfile, "tempdir", None)
    inspection = inspect_archive(hospital.archive)
    (tmp_path / "root").mkdir()
    assert inspection.remarks == inspect_bundle(unpacked(hospital, tmp_path / "root")).remarks
    assert inspection.root == hospital.archive
    assert main(["bundle", "inspect", str(hospital.archive)]) == 0
    assert "not verified" in capsys.readouterr().out.splitlines()[-1]
    evil = rewritten(hospital.archive, tmp_path / "evil.zip", lambda files: files.update({"captum.py": b"import os"}))
    assert main(["bundle", "inspect", str(evil)]) == 1
    assert "captum.py" in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / "other.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("configs/train.json", "{}")
    assert main(["bundle", "inspect", str(tmp_path / "other.zip")]) == 1
    assert "other.zip" in (said := capsys.readouterr().err)
    assert "[archive-invalid]" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.zip", "other.zip", "root"]


# weights and keys


def test_program_is_told_in_its_own_kind_of_file_and_refused_where_weights_are_loaded(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), buffer)
    for name, verdict in (("model.ts", "attention"), ("model.pt", "refused"), ("model.pth", "refused")):
        (tmp_path / name).write_bytes(buffer.getvalue())
        assert [(text, said) for text, said, _ in remarks_on_weights(tmp_path / name)] == [("TorchScript", verdict)]


def test_key_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / "a.pub").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(SharingError) as error:
        read_signer(tmp_path / "a.pub")
    assert error.value.code == "key-invalid"
