"""Keys, signatures, and who is named."""

import shutil
import stat
from pathlib import Path

import pytest

from cxr_monai.bundle.digest import content_digest, file_digest
from cxr_monai.cli import main
from cxr_monai.errors import BundleError, SettingError, SharingError
from cxr_monai.sharing.package.file_list import SIGNATURE
from cxr_monai.sharing.package.pack import pack_bundle
from cxr_monai.sharing.trust import sign as signing
from cxr_monai.sharing.trust.keys import make_key, read_signer, trust_key, trusted_signers
from cxr_monai.sharing.trust.sign import sign_archive
from cxr_monai.sharing.trust.verify import verify_bundle
from tests.sharing.archives import Hospital, content_of, signed_version


def test_signature_is_added_and_verified_and_its_signer_named(hospital: Hospital, tmp_path: Path) -> None:
    unsigned = pack_bundle(hospital.bundle, tmp_path, name="cxr-a", version="1.0.0").path
    files = content_of(hospital.archive)
    assert set(files) - set(content_of(unsigned)) == {SIGNATURE}
    assert {name: data for name, data in files.items() if name != SIGNATURE} == content_of(unsigned)
    verified = verify_bundle(hospital.archive, hospital.trusted)
    assert (verified.contents.name, verified.contents.version) == ("cxr-a", "1.0.0")
    assert verified.signer.name == "hospital-a"
    assert verified.signer.fingerprint == read_signer(hospital.keys / "hospital-a.pub").fingerprint


def test_digest_is_that_of_the_bundle_as_predictions_name_it(hospital: Hospital, tmp_path: Path) -> None:
    packed = pack_bundle(hospital.bundle, tmp_path, name="a")  # nothing is changed by packing
    sign_archive(packed.path, hospital.key)
    assert verify_bundle(packed.path, hospital.trusted).digest == content_digest(hospital.bundle)


def test_signed_twice_is_refused_and_the_archive_left_as_it_was(hospital: Hospital) -> None:
    before = file_digest(hospital.archive)
    with pytest.raises(BundleError) as error:
        sign_archive(hospital.archive, hospital.key)
    assert error.value.code == "output-exists"
    assert file_digest(hospital.archive) == before


def test_no_archive_to_sign(hospital: Hospital, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such archive") as error:
        sign_archive(tmp_path / "gone" / "a.zip", hospital.key)
    assert error.value.code == "bundle-invalid"


def test_keys_are_private_and_never_overwritten(tmp_path: Path) -> None:
    signer = make_key("hospital-c", tmp_path / "keys")
    private = tmp_path / "keys" / "hospital-c.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    assert b"PRIVATE" not in signer.path.read_bytes()
    with pytest.raises(BundleError) as error:
        make_key("hospital-c", tmp_path / "keys")
    assert error.value.code == "output-exists"


def test_key_with_a_password_signs_with_it_alone(hospital: Hospital, tmp_path: Path) -> None:
    signer = make_key("careful", tmp_path / "keys", password="a long one")
    trust_key(signer.path, "careful", tmp_path / "trusted")
    archive = pack_bundle(hospital.bundle, tmp_path).path
    for wrong in ("another", None):
        with pytest.raises(SharingError) as error:
            sign_archive(archive, tmp_path / "keys" / "careful.pem", wrong)
        assert error.value.code == "key-invalid"
    sign_archive(archive, tmp_path / "keys" / "careful.pem", "a long one")
    assert verify_bundle(archive, tmp_path / "trusted").signer.name == "careful"


def test_private_key_that_others_can_read_is_refused(hospital: Hospital, tmp_path: Path) -> None:
    key = Path(shutil.copy(hospital.key, tmp_path / "open.pem"))
    key.chmod(0o640)
    with pytest.raises(SharingError, match="others can read") as error:
        sign_archive(hospital.archive, key)
    assert error.value.code == "key-invalid"


RSA = """-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALg1IZUX2jXo3SghzaTyYqcZxO3l7WbF
qX5nBOnRQh0s3zjvUdyUuFJ2jX7a7mgLYdlxDD1kKmxbV7gVqTfaXQUCAwEAAQ==
-----END PUBLIC KEY-----
"""


@pytest.mark.parametrize("text", ["", "no key", RSA, "-----BEGIN PRIVATE KEY-----\n", "x" * 70_000])
def test_what_is_no_public_key_of_the_kind_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.pub").write_text(text)
    with pytest.raises(SharingError) as error:
        trust_key(tmp_path / "a.pub", "a", tmp_path / "trusted")
    assert error.value.code == "key-invalid"
    assert trusted_signers(tmp_path / "trusted") == []


def test_one_key_has_one_name_and_one_name_one_key(hospital: Hospital, tmp_path: Path) -> None:
    trust_key(hospital.keys / "hospital-a.pub", "a", tmp_path)
    assert trust_key(hospital.keys / "hospital-a.pub", "a", tmp_path).name == "a"  # again changes nothing
    with pytest.raises(SharingError, match="trusted already, as 'a'"):
        trust_key(hospital.keys / "hospital-a.pub", "b", tmp_path)
    with pytest.raises(BundleError, match="has another key"):
        trust_key(hospital.keys / "stranger.pub", "a", tmp_path)
    shutil.copy(hospital.keys / "hospital-a.pub", tmp_path / "z.pub")
    with pytest.raises(SharingError, match="one signer has one name"):
        verify_bundle(hospital.archive, tmp_path)


def test_nobody_is_trusted_at_first(hospital: Hospital, tmp_path: Path) -> None:
    with pytest.raises(SharingError, match="nobody yet") as error:
        verify_bundle(hospital.archive, tmp_path / "trusted")
    assert error.value.code == "signer-unknown"


def test_missing_library_is_named(hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    archive = pack_bundle(hospital.bundle, tmp_path).path
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(SettingError, match=r"cxr-monai\[sharing\]") as error:
        signing.sign_archive(archive, hospital.key)
    assert error.value.code == "runtime-missing"


def test_commands_from_keys_to_verification(
    hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("CXR_MONAI_TRUSTED", str(tmp_path / "trusted"))
    monkeypatch.setenv("CXR_MONAI_KEY_PASSWORD", "secret")
    archive = str(pack_bundle(hospital.bundle, tmp_path, name="b", version="1.0").path)
    assert main(["bundle", "sign", archive]) == 1
    assert "'cxr-monai bundle keys NAME' makes one" in capsys.readouterr().err
    assert main(["bundle", "keys", "hospital-b", "--password"]) == 0
    told = capsys.readouterr().out
    assert main(["bundle", "sign", archive, "--key", "nobody"]) == 1
    assert main(["bundle", "sign", archive]) == 0
    assert file_digest(Path(archive)) in capsys.readouterr().out
    assert main(["bundle", "verify", archive]) == 0
    assert "signed by: hospital-b" in capsys.readouterr().out
    # another hospital, which was told the fingerprint
    fingerprint = told.split("fingerprint: ")[1].split()[0]
    public = str(next((tmp_path / "data").rglob("hospital-b.pub")))
    there = ["--trusted", str(tmp_path / "other")]
    assert main(["bundle", "verify", archive, *there]) == 1
    assert main(["bundle", "trust", public, "--name", "b", "--fingerprint", "0" * 16, *there]) == 1
    assert main(["bundle", "trust", public, "--name", "b", "--fingerprint", "0123", *there]) == 2
    assert main(["bundle", "trust", public, *there]) == 2
    assert main(["bundle", "verify", archive, *there]) == 1
    assert main(["bundle", "trust", public, "--name", "b", "--fingerprint", fingerprint, *there]) == 0
    assert main(["bundle", "verify", archive, *there]) == 0
    capsys.readouterr()
    assert main(["bundle", "trust", *there]) == 0
    assert capsys.readouterr().out.startswith(f"b  {fingerprint}")


def test_command_refuses_a_version_older_than_the_installed_one(
    hospital: Hospital, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = signed_version(hospital, tmp_path, "1.10.0")
    places = ["--trusted", str(hospital.trusted), "--store", str(tmp_path / "store")]
    assert main(["bundle", "install", str(newer), *places]) == 0
    assert main(["bundle", "verify", str(hospital.archive), *places]) == 1
    assert "error [bundle-older]" in capsys.readouterr().err
    assert main(["bundle", "verify", str(hospital.archive), *places, "--allow-downgrade"]) == 0
