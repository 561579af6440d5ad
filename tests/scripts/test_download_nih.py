"""The NIH downloader against a server on the loopback that can be told to misbehave."""

import hashlib
import http.server
import importlib.util
import io
import os
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cxr_monai.errors import Code, DownloadError, UsageError

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "download_nih.py"
BODY = np.random.default_rng(0).bytes(300_000)


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("download_nih", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["download_nih"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["download_nih"]


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files``; ``seen`` holds each request's path, Range and If-Range; ``plan`` how the next ones go wrong."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.plan: list[dict] = []
        self.seen: list[tuple[str, str | None, str | None]] = []
        self.ranges = True
        self.etag: str | None = '"one"'

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        wanted, guard = self.headers.get("Range"), self.headers.get("If-Range")
        server.seen.append((self.path.lstrip("/"), wanted, guard))
        plan = server.plan.pop(0) if server.plan else {}
        body = server.files.get(self.path.lstrip("/"))
        status = plan.get("status") or (200 if body is not None else 404)
        if status != 200 or body is None:
            self.send_response(status)
            for name, value in plan.get("headers", {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = 0
        if wanted and server.ranges and (guard is None or guard == server.etag):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            told = plan.get("content_range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Range", told)
        else:
            self.send_response(200)
        if server.etag:
            self.send_header("ETag", server.etag)
        self.send_header("Content-Type", plan.get("type", "application/gzip"))
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : plan.get("stop", len(body))])  # a stop before the end: the line breaks
        self.close_connection = True


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def archive(script, server):
    server.files["a.tar.gz"] = BODY
    return script.Archive("a.tar.gz", f"{server.url}/a.tar.gz", len(BODY), hashlib.md5(BODY).hexdigest())


def quick(script, archive, folder: Path, **options):
    return script.fetch(archive, folder, **{"retries": 3, "timeout": 5.0, "pause": 0.001, **options})


def test_a_plain_download(script, server, archive, tmp_path):
    assert quick(script, archive, tmp_path) == tmp_path / "a.tar.gz"
    assert (tmp_path / "a.tar.gz").read_bytes() == BODY
    assert server.seen == [("a.tar.gz", None, None)]
    assert sorted(os.listdir(tmp_path)) == ["a.tar.gz"]
    quick(script, archive, tmp_path)
    assert len(server.seen) == 1, "what is there and right is not fetched again"


def test_a_break_in_mid_file_is_resumed_from_there(script, server, archive, tmp_path):
    server.plan = [{"stop": 100_000}, {"stop": 250_000}]
    quick(script, archive, tmp_path)
    assert (tmp_path / "a.tar.gz").read_bytes() == BODY
    assert server.seen == [
        ("a.tar.gz", None, None),
        ("a.tar.gz", "bytes=100000-", '"one"'),
        ("a.tar.gz", "bytes=250000-", '"one"'),
    ]
    assert sorted(os.listdir(tmp_path)) == ["a.tar.gz"]


def test_a_later_run_goes_on_where_the_first_gave_up(script, server, archive, tmp_path):
    server.plan = [{"stop": 100_000}]
    with pytest.raises(DownloadError, match="100,000 of 300,000") as caught:
        quick(script, archive, tmp_path, retries=0)
    assert caught.value.code == Code.DOWNLOAD_FAILED
    assert (tmp_path / "a.tar.gz.part").stat().st_size == 100_000
    quick(script, archive, tmp_path)
    assert server.seen[-1] == ("a.tar.gz", "bytes=100000-", '"one"')
    assert (tmp_path / "a.tar.gz").read_bytes() == BODY


def test_breaks_with_progress_are_not_counted(script, server, archive, tmp_path):
    server.plan = [{"stop": stop} for stop in range(30_000, 300_000, 30_000)]
    quick(script, archive, tmp_path, retries=1)
    assert len(server.seen) == 10
    assert (tmp_path / "a.tar.gz").read_bytes() == BODY


def test_a_file_that_changed_meanwhile_is_fetched_whole(script, server, archive, tmp_path):
    (tmp_path / "a.tar.gz.part").write_bytes(b"of an older file")
    (tmp_path / "a.tar.gz.part.etag").write_text('"zero"')
    quick(script, archive, tmp_path)
    assert server.seen == [("a.tar.gz", "bytes=16-", '"zero"')]
    assert (tmp_path / "a.tar.gz").read_bytes() == BODY


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_etag_no_guard_is_sent(script, server, archive, tmp_path, etag):
    server.etag = etag
    server.plan = [{"stop": 100_000}]
    quick(script, archive, tmp_path)
    assert server.seen[-1] == ("a.tar.gz", "bytes=100000-", None)
    assert (tmp_path / "a.tar.gz").read_bytes() == BODY


def test_a_server_without_ranges_sends_all_again(script, server, archive, tmp_path):
    server.ranges = False
    server.plan = [{"stop": 100_000}]
    quick(script, archive, tmp_path)
    assert server.seen[-1][1] == "bytes=100000-"
    assert (tmp_path / "a.tar.gz").read_bytes() == BODY


def test_a_server_without_ranges_that_always_breaks_is_given_up(script, server, archive, tmp_path):
    server.ranges = False
    server.plan = [{"stop": stop} for stop in (100_000, 90_000, 100_000, 95_000, 100_000, 100_000)]
    with pytest.raises(DownloadError, match="4 attempts in a row"):
        quick(script, archive, tmp_path)
    assert len(server.seen) == 4


def test_a_wrong_range_is_refused(script, server, archive, tmp_path):
    server.plan = [{"stop": 100_000}, {"content_range": "bytes 0-299999/300000"}]
    with pytest.raises(DownloadError, match="asked for the bytes from 100000"):
        quick(script, archive, tmp_path)


def test_a_part_longer_than_the_file_starts_anew(script, server, archive, tmp_path):
    (tmp_path / "a.tar.gz.part").write_bytes(BODY + b"more")
    quick(script, script.replace(archive, size=None), tmp_path)
    assert [wanted for _, wanted, _ in server.seen] == ["bytes=300004-", None]
    assert (tmp_path / "a.tar.gz").read_bytes() == BODY


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_final_answer_is_not_tried_again(script, server, archive, tmp_path, status):
    server.plan = [{"status": status}]
    with pytest.raises(DownloadError, match=f"answers {status}") as caught:
        quick(script, archive, tmp_path)
    assert caught.value.code == Code.DOWNLOAD_FAILED
    assert len(server.seen) == 1
    assert os.listdir(tmp_path) == []


def test_a_busy_server_is_waited_for(script, server, archive, tmp_path, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(script.time, "sleep", waits.append)
    server.plan = [{"status": 503}, {"status": 429, "headers": {"Retry-After": "7"}}, {"status": 500}]
    quick(script, archive, tmp_path, pause=1.0)
    assert waits == [1.0, 7.0, 4.0]
    assert (tmp_path / "a.tar.gz").read_bytes() == BODY


def test_nobody_there(script, server, archive, tmp_path):
    server.server_close()
    with pytest.raises(DownloadError, match="no connection"):
        quick(script, script.replace(archive, url="http://127.0.0.1:9/a.tar.gz"), tmp_path, retries=1)


def test_a_web_page_is_not_an_archive(script, server, archive, tmp_path):
    server.plan = [{"type": "text/html; charset=utf-8"}]
    with pytest.raises(DownloadError, match="a web page"):
        quick(script, archive, tmp_path)
    assert os.listdir(tmp_path) == []


def test_another_size_is_refused_before_it_is_fetched(script, server, archive, tmp_path):
    with pytest.raises(DownloadError, match=r"offers 300,000 bytes, a\.tar\.gz has 300,001"):
        quick(script, script.replace(archive, size=300_001), tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_wrong_checksum_keeps_the_file_aside(script, server, archive, tmp_path):
    wrong = script.replace(archive, checksum="0" * 32)
    with pytest.raises(DownloadError, match=hashlib.md5(BODY).hexdigest()) as caught:
        quick(script, wrong, tmp_path)
    assert caught.value.code == Code.CHECKSUM_MISMATCH
    assert (tmp_path / "a.tar.gz.bad").read_bytes() == BODY
    assert not (tmp_path / "a.tar.gz").exists()
    assert not (tmp_path / "a.tar.gz.part").exists()


def test_a_complete_file_that_rotted_is_found(script, server, archive, tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"x" + BODY[1:])
    with pytest.raises(DownloadError) as caught:
        quick(script, archive, tmp_path)
    assert caught.value.code == Code.CHECKSUM_MISMATCH
    quick(script, archive, tmp_path)
    assert (tmp_path / "a.tar.gz").read_bytes() == BODY


def test_sha256_is_told_by_its_length(script, server, archive, tmp_path):
    quick(script, script.replace(archive, checksum=hashlib.sha256(BODY).hexdigest().upper()), tmp_path)
    assert (tmp_path / "a.tar.gz").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk(script, server, archive, tmp_path):
    (tmp_path / "a.tar.gz.part").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match="disk is full") as caught:
        quick(script, archive, tmp_path)
    assert caught.value.code == Code.DISK_FULL


def test_space_is_looked_at_before(script, tmp_path, monkeypatch):
    archives = [script.Archive("a", "", 3 * 10**9, None), script.Archive("b", "", 2 * 10**9, None)]
    (tmp_path / "a.part").write_bytes(b"")
    os.truncate(tmp_path / "a.part", 10**9)  # sparse: one of the three gigabytes is here
    needed = 4 * 10**9 + script.RESERVE
    monkeypatch.setattr(script.shutil, "disk_usage", lambda _: SimpleNamespace(free=needed))
    script.require_space(archives, tmp_path, extracting=False)
    with pytest.raises(DownloadError, match=r"9\.0 GB are still to come and to unpack") as caught:
        script.require_space(archives, tmp_path, extracting=True)
    assert caught.value.code == Code.DISK_FULL
    monkeypatch.setattr(script.shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    with pytest.raises(DownloadError, match=r"4\.0 GB are still to come,"):
        script.require_space(archives, tmp_path, extracting=False)


def tar_of(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def test_extract(script, tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(tar_of({"images/1.png": b"one", "images/2.png": b"two"}))
    assert script.extract(path, tmp_path) == 2
    assert (tmp_path / "images/2.png").read_bytes() == b"two"
    (tmp_path / "images/1.png").write_bytes(b"o")  # as an interrupted run leaves it
    before = (tmp_path / "images/2.png").stat().st_mtime_ns
    assert script.extract(path, tmp_path) == 2
    assert (tmp_path / "images/1.png").read_bytes() == b"one"
    assert (tmp_path / "images/2.png").stat().st_mtime_ns == before


def test_extract_stays_inside(script, tmp_path):
    (tmp_path / "inside").mkdir()
    path = tmp_path / "a.tar.gz"
    path.write_bytes(tar_of({"../outside.png": b"evil"}))
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        script.extract(path, tmp_path / "inside")
    assert not (tmp_path / "outside.png").exists()


def test_extract_refuses_what_is_damaged(script, tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(tar_of({"images/1.png": BODY})[:-1000])
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        script.extract(path, tmp_path)


@pytest.fixture
def twelve(script, server, tmp_path) -> Path:
    """A mirror of all twelve, small, and its checksum file."""
    for number in range(1, 13):
        server.files[f"nih/images_{number:03d}.tar.gz"] = tar_of({f"images/{number:08d}_000.png": b"%d" % number})
    sums = tmp_path / "sums.txt"
    lines = [f"{hashlib.sha256(body).hexdigest()} *{name}" for name, body in server.files.items()]
    sums.write_text("\n".join(lines) + "\n")
    return sums


def test_the_whole_script(script, server, twelve, tmp_path, capsys):
    out = tmp_path / "out"
    words = [str(out), "--mirror", f"{server.url}/nih/", "--checksums", str(twelve), "--extract"]
    assert script.main([*words, "--only", "3, 1"]) == 0
    assert sorted(os.listdir(out / "images")) == ["00000001_000.png", "00000003_000.png"]
    printed = capsys.readouterr().out
    assert "2 of 2 archives are in" in printed
    assert "Data_Entry_2017_v2020.csv" in printed
    assert script.main(words) == 0
    assert len(os.listdir(out / "images")) == 12


def test_one_that_fails_does_not_stop_the_others(script, server, twelve, tmp_path, capsys):
    del server.files["nih/images_002.tar.gz"]
    words = [str(tmp_path / "out"), "--mirror", f"{server.url}/nih", "--checksums", str(twelve), "--only", "1,2,3"]
    assert script.main(words) == 1
    printed = capsys.readouterr()
    assert "error [download-failed]" in printed.err
    assert "404" in printed.err
    assert "2 of 3 archives" in printed.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "13"], "no archive '13'"),
        (["--only", "1,x"], "no archive 'x'"),
        (["--mirror", "file:///etc"], "no http:// or https://"),
        (["--checksums", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_wrong_use(script, tmp_path, words, said, capsys):
    assert script.main([str(tmp_path / "out"), *words]) == 2
    printed = capsys.readouterr().err
    assert "error [usage]" in printed
    assert said in printed
    assert not (tmp_path / "out").exists()


def test_out_that_is_a_file(script, tmp_path, capsys):
    (tmp_path / "out").write_text("")
    assert script.main([str(tmp_path / "out")]) == 2
    assert "cannot be made" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["abc  images_001.tar.gz", "0" * 32, "z" * 32 + "  images_001.tar.gz"])
def test_checksum_files_are_read_strictly(script, tmp_path, line):
    (tmp_path / "sums").write_text(f"\n{line}\n")
    with pytest.raises(UsageError, match="line 2"):
        script.read_checksums(tmp_path / "sums")


def test_checksums_must_cover_what_is_fetched(script, tmp_path):
    (tmp_path / "sums").write_text(f"{'0' * 32}  images_001.tar.gz\n")
    with pytest.raises(UsageError, match=r"no line for images_002\.tar\.gz"):
        script.choose("1,2", None, tmp_path / "sums")


def test_the_facts_are_whole(script, capsys):
    assert [archive.name for archive in script.ARCHIVES] == [f"images_{n:03d}.tar.gz" for n in range(1, 13)]
    assert len({archive.url for archive in script.ARCHIVES}) == 12
    assert len({archive.checksum for archive in script.ARCHIVES}) == 12
    assert all(len(archive.checksum) == 32 for archive in script.ARCHIVES)
    assert script.main(["--list"]) == 0
    assert "45.08" in capsys.readouterr().out
