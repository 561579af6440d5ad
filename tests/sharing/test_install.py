"""Installing: whole or not at all, the newest unless told, from a file, a folder or an address."""

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxr_monai.bundle.digest import content_digest
from cxr_monai.cli import main
from cxr_monai.errors import BundleError, CxrError, DownloadError, SharingError, UsageError
from cxr_monai.sharing.package import download
from cxr_monai.sharing.trust.install import install_bundle
from cxr_monai.sharing.trust.installed import find_installed, installed_bundles
from cxr_monai.sharing.trust.open_trusted import ONLY_INSTALLED, open_trusted
from tests.sharing.archives import Hospital, content_of, make_bundle, signed_version
from tests.support.bundle_runs import content


@pytest.fixture(scope="module")
def newer(hospital: Hospital, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1.10.0, which comes after 1.9 and before 2."""
    return signed_version(hospital, tmp_path_factory.mktemp("newer"), "1.10.0")


def test_installed_bundle_is_the_signed_files_and_says_who_signed(hospital: Hospital, tmp_path: Path) -> None:
    made = install_bundle(hospital.archive, trusted=hospital.trusted, store=tmp_path)
    assert made.root == tmp_path / "cxr-a" / "1.0.0" / "bundle"
    files = {name: hashlib.sha256(data).hexdigest() for name, data in content_of(hospital.archive).items()}
    assert content(made.root) == files
    record = json.loads((made.root.parent / "record.json").read_text())
    assert record["signer"] == "hospital-a"
    assert record["digest"] == content_digest(made.root)
    assert record["source"] == hospital.archive.name
    assert record["installed"].endswith("+00:00")
    assert (
        installed_bundles(tmp_path)
        == [made]
        == [find_installed(tmp_path, "cxr-a")]
        == [find_installed(tmp_path, "cxr-a@1.0.0")]
    )


def test_unpacked_folder_is_installed_as_well(hospital: Hospital, tmp_path: Path) -> None:
    with zipfile.ZipFile(hospital.archive) as opened:
        opened.extractall(tmp_path / "received")
    made = install_bundle(tmp_path / "received", trusted=hospital.trusted, store=tmp_path / "store")
    assert content(made.root) == content(tmp_path / "received")
    assert made.record.source == "received"


def test_name_means_the_newest_and_an_older_one_comes_only_if_told(
    hospital: Hospital, newer: Path, tmp_path: Path
) -> None:
    install_bundle(hospital.archive, trusted=hospital.trusted, store=tmp_path)
    install_bundle(newer, trusted=hospital.trusted, store=tmp_path)
    assert find_installed(tmp_path, "cxr-a").record.version == "1.10.0"
    assert [one.record.version for one in installed_bundles(tmp_path)] == ["1.0.0", "1.10.0"]
    # one that is there already is no downgrade, and changes nothing
    install_bundle(hospital.archive, trusted=hospital.trusted, store=tmp_path)
    assert find_installed(tmp_path, "cxr-a").record.version == "1.10.0"
    shutil.rmtree(tmp_path / "cxr-a" / "1.0.0")
    with pytest.raises(SharingError, match=r"1\.0\.0 is older than 1\.10\.0") as error:
        install_bundle(hospital.archive, trusted=hospital.trusted, store=tmp_path)
    assert error.value.code == "bundle-older"
    install_bundle(hospital.archive, trusted=hospital.trusted, store=tmp_path, allow_downgrade=True)
    assert find_installed(tmp_path, "cxr-a").record.version == "1.0.0"


def test_one_version_is_one_content(hospital: Hospital, tmp_path: Path) -> None:
    install_bundle(hospital.archive, trusted=hospital.trusted, store=tmp_path / "store")
    before = content(tmp_path / "store")
    other = signed_version(hospital, tmp_path, "1.0.0", lambda bundle: (bundle / "docs" / "more.md").write_text("more"))
    with pytest.raises(SharingError, match="a version is one content") as error:
        install_bundle(other, trusted=hospital.trusted, store=tmp_path / "store", allow_downgrade=True)
    assert error.value.code == "bundle-older"
    assert content(tmp_path / "store") == before


def test_digest_of_a_file_is_compared(hospital: Hospital, tmp_path: Path) -> None:
    with pytest.raises(DownloadError) as error:
        install_bundle(hospital.archive, sha256="0" * 64, trusted=hospital.trusted, store=tmp_path)
    assert error.value.code == "checksum-mismatch"
    digest = hashlib.sha256(hospital.archive.read_bytes()).hexdigest()
    assert install_bundle(
        hospital.archive, sha256=digest.upper(), trusted=hospital.trusted, store=tmp_path
    ).root.is_dir()


def test_nothing_to_install(hospital: Hospital, tmp_path: Path) -> None:
    with pytest.raises(BundleError) as error:
        install_bundle(tmp_path / "nothing", trusted=hospital.trusted, store=tmp_path / "store")
    assert error.value.code == "bundle-invalid"


# killed


KILLS = """
import os, sys
from pathlib import Path
from cxr_monai.sharing.trust.install import install_bundle
import model_signing.verifying

archive, trusted, store, newest = sys.argv[1:]
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree", "tempfile.mkdtemp")

def killed_at(step):
    child = os.fork()
    if child == 0:
        count = 0
        def audit(event, arguments):
            nonlocal count
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if event in CHANGES or writes:
                count += 1
                if count == step:
                    os._exit(9)
        sys.addaudithook(audit)
        install_bundle(archive, trusted=trusted, store=store)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

step = 0
while True:
    step += 1
    status = killed_at(step)
    names = sorted(p.name for p in (Path(store) / "cxr-a").iterdir())
    current = (Path(store) / "cxr-a" / "current.json").read_text()
    print(step, status, newest in current, *names, flush=True)
    if status != 9:
        sys.exit(status)
    if newest in names:  # this installation is over; the next steps are those of one more
        import shutil
        shutil.rmtree(Path(store) / "cxr-a" / newest)
        (Path(store) / "cxr-a" / "current.json").write_text('{"version": "1.0.0"}')
"""


def test_killed_at_any_step_leaves_the_old_version_or_the_new_one(
    hospital: Hospital, newer: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    old = install_bundle(hospital.archive, trusted=hospital.trusted, store=store)
    before = content(old.root.parent)
    words = [str(newer), str(hospital.trusted), str(store), "1.10.0"]
    process = subprocess.run([sys.executable, "-c", KILLS, *words], capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    steps = [line.split() for line in process.stdout.splitlines()]
    assert len(steps) > 40  # every file that is unpacked, every rename
    for _, status, is_new, *names in steps:
        assert set(names) - {"1.10.0"} <= {"1.0.0", "current.json"} | {n for n in names if n.endswith(".part")}
        assert "1.0.0" in names
        if is_new == "True":
            assert "1.10.0" in names
        assert status in ("9", "0")
    # the name means the new one from one step on, and what is there is whole
    assert steps[-1][1:3] == ["0", "True"]
    assert any("1.10.0" in names and is_new == "False" for _, _, is_new, *names in steps)
    assert content(old.root.parent) == before
    assert content(find_installed(store, "cxr-a").root) == {
        name: hashlib.sha256(data).hexdigest() for name, data in content_of(newer).items()
    }
    assert sorted(path.name for path in store.iterdir()) == [".lock", "cxr-a"]
    assert sorted(path.name for path in (store / "cxr-a").iterdir()) == ["1.0.0", "1.10.0", "current.json"]


# addresses


class Server(http.server.BaseHTTPRequestHandler):
    archive = b""

    def do_GET(self) -> None:
        if self.path.startswith("/again/"):
            left = int(self.path.rsplit("/", 1)[1])
            self.redirect(f"/again/{left - 1}" if left else "/a.zip")
        elif self.path == "/file":
            self.redirect("file:///etc/passwd")
        elif self.path == "/missing":
            self.send_error(404)
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(1 << 16))
            except OSError:
                pass
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.archive)))
            self.end_headers()
            self.wfile.write(self.archive[: 10_000 if self.path == "/short" else None])

    def redirect(self, to: str) -> None:
        self.send_response(302)
        self.send_header("Location", to)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(hospital: Hospital) -> Iterator[str]:
    Server.archive = hospital.archive.read_bytes()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def digest(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return hashlib.sha256(hospital.archive.read_bytes()).hexdigest()


@pytest.mark.parametrize("path", ["/a.zip", "/again/1"])
def test_download_with_its_digest_is_installed(
    path: str, hospital: Hospital, tmp_path: Path, address: str, digest: str
) -> None:
    made = install_bundle(address + path, sha256=digest, trusted=hospital.trusted, store=tmp_path)
    assert made.record.source == address + path
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "cxr-a"]


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("/missing", "download-failed", "404"),
        ("/again/9", "download-failed", "redirect"),
        ("/file", "download-failed", "file:"),
        ("/short", "download-failed", "it ended after 10,000 bytes; [0-9]+ were announced"),
        ("/endless", "download-failed", "larger than 1,048,576 bytes"),
        ("/wrong", "checksum-mismatch", "another file"),
    ],
)
def test_download_that_is_not_what_was_announced_is_refused(
    path: str,
    code: str,
    message: str,
    hospital: Hospital,
    tmp_path: Path,
    address: str,
    digest: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(download.fetch_file, "__defaults__", (1 << 20,))
    wrong = digest if path != "/wrong" else "0" * 64
    with pytest.raises(DownloadError, match=message) as error:
        install_bundle(address + path, sha256=wrong, trusted=hospital.trusted, store=tmp_path)
    assert error.value.code == code
    assert error.value.where == address + path
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    "source", ["ftp://example.org/a.zip", "file:///tmp/a.zip", "data://text/plain,a", "https://me:secret@example.org/"]
)
def test_other_kinds_of_addresses_are_wrong_use(source: str, hospital: Hospital, tmp_path: Path, digest: str) -> None:
    with pytest.raises(UsageError, match="https://") as error:
        install_bundle(source, sha256=digest, trusted=hospital.trusted, store=tmp_path)
    assert "secret" not in str(error.value)


def test_address_without_a_digest_is_wrong_use(hospital: Hospital, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--sha256"):
        install_bundle("https://example.org/a.zip", trusted=hospital.trusted, store=tmp_path)


# run guarded


def code_of(bundle: Path | str, **words: object) -> str:
    with pytest.raises(CxrError) as error:
        open_trusted(bundle, **words)  # type: ignore[arg-type]
    return str(error.value.code)


def test_installed_bundle_is_opened_by_name_until_it_is_changed(hospital: Hospital, tmp_path: Path) -> None:
    store = tmp_path / "store"
    made = install_bundle(hospital.archive, trusted=hospital.trusted, store=store)
    for words in ("cxr-a", "cxr-a@1.0.0", made.root, os.path.relpath(made.root)):
        assert open_trusted(words, store=store) == made.root
    assert code_of("cxr-b", store=store) == "bundle-invalid"
    assert code_of("cxr-a@2.0", store=store) == "bundle-invalid"
    assert code_of("../cxr-a", store=store) == "bundle-invalid"
    (made.root / "torch.py").write_text("")
    assert code_of("cxr-a", store=store) == "bundle-altered"
    assert code_of(made.root, store=store, trust_folder=True) == "bundle-altered"
    (made.root / "torch.py").unlink()
    manifest = made.root / "bundle.manifest.json"
    manifest.write_text(manifest.read_text().replace("cxr-a", "cxr-z"))
    assert code_of("cxr-a", store=store) == "bundle-altered"


def test_folder_is_opened_if_nothing_speaks_against_it(
    hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = make_bundle(tmp_path / "own")
    assert open_trusted(own, store=tmp_path / "store") == own
    received = tmp_path / "received"
    with zipfile.ZipFile(hospital.archive) as opened:
        opened.extractall(received)
    assert code_of(received, store=tmp_path / "store") == "bundle-untrusted"
    assert open_trusted(received, trust_folder=True, store=tmp_path / "store") == received
    monkeypatch.setenv(ONLY_INSTALLED, "1")
    assert code_of(own, store=tmp_path / "store") == "bundle-untrusted"
    monkeypatch.setenv(ONLY_INSTALLED, "0")
    (own / "configs" / "more.json").write_text('{"a": "$__import__(\'os\')"}')
    assert code_of(own, store=tmp_path / "store") == "bundle-refused"
    assert open_trusted(own, trust_folder=True, store=tmp_path / "store") == own


def test_commands_install_and_list(
    hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXR_MONAI_BUNDLES", str(tmp_path / "store"))
    monkeypatch.setenv("CXR_MONAI_TRUSTED", str(hospital.trusted))
    assert main(["bundle", "install", str(hospital.archive)]) == 0
    assert "cxr-a 1.0.0, signed by hospital-a" in capsys.readouterr().out
    assert main(["bundle", "list"]) == 0
    assert f"cxr-a@1.0.0  {tmp_path / 'store' / 'cxr-a' / '1.0.0' / 'bundle'}" in capsys.readouterr().out
    assert main(["bundle", "install", str(hospital.archive), "--trusted", str(tmp_path)]) == 1
    assert "error [signer-unknown]" in capsys.readouterr().err
    assert main(["bundle", "install", "https://example.org/a.zip"]) == 2
