"""``cxr-monai-node check``: what is as it must be, and what is not, before films arrive."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.node import main
from tests.support.archive_stubs import StubArchive
from tests.support.bundle_runs import Trained
from tests.support.hospital_network import free_port


@pytest.fixture
def archive() -> Iterator[StubArchive]:
    with StubArchive() as stub:
        yield stub


def write_settings(folder: Path, bundle: Path | str, archive_port: int, port: int) -> list[str]:
    (folder / "node.toml").write_text(
        f'[receive]\nport = {port}\nreserve_mb = 1\n[analyse]\nbundle = "{bundle}"\n[[destination]]\nname = "archive"\n'
        f'port = {archive_port}\nae_title = "STUB"\ntimeout_s = 10\n'
    )
    return ["--config", str(folder / "node.toml"), "check"]


def test_all_is_well(
    tmp_path: Path, archive: StubArchive, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    words = write_settings(tmp_path, trained.bundle, archive.destination().port, free_port())

    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["spool", "port", "bundle", "archive"]
    assert "digest" in lines[2]
    assert "C-ECHO answered" in lines[3]
    assert archive.stored == {}


def test_an_archive_is_asked_for_every_kind_that_is_built(
    tmp_path: Path, archive: StubArchive, capsys: pytest.CaptureFixture[str]
) -> None:
    words = write_settings(tmp_path, "nowhere", archive.destination().port, free_port())
    path = tmp_path / "node.toml"
    path.write_text(path.read_text().replace("[analyse]", '[analyse]\nobjects = ["sr", "seg"]'))

    assert main(words) == 1
    assert capsys.readouterr().out.splitlines()[3].endswith("it does not take Segmentation Storage.")


def test_everything_that_is_wrong_is_told_with_its_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        words = write_settings(tmp_path, "nowhere", free_port(), taken.getsockname()[1])
        assert main(words) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].split() for line in lines[1:]] == [
        ["port", "error", "[setting-invalid]"],
        ["bundle", "error", "[bundle-invalid]"],
        ["archive", "error", "[destination-unreachable]"],
    ]
    assert "Does the node run already?" in lines[1]
