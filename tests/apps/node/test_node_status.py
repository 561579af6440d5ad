"""``cxr-monai-node status``, ``retry``, ``forget`` and ``records`` as people and monitoring call them."""

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from apps.node import main
from apps.node.node_status import node_status
from apps.node.settings import read_settings
from apps.node.spool import MAIN, Spool
from apps.node.spooled import FilmAnswer
from cxr_monai.objects import ResultKind, ResultObject

NOW = 1_000_000_000.0
SETTINGS = """
[receive]
reserve_mb = 0
plain_peers = [["10.1.2.3", "CR_ROOM1"]]
[analyse]
bundle = "chest"
[[destination]]
name = "archive"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "node.toml").write_text(SETTINGS)
    return tmp_path / "node.toml"


@pytest.fixture
def spool(config: Path) -> Iterator[Spool]:
    with closing(Spool(config.parent / "spool", lambda: NOW)) as opened:
        for name in ("receive", "analyse", "deliver"):
            opened.note_part(name, "running")
        yield opened


def add_film(spool: Spool, content: bytes, state: str = "", uid: str = "") -> str:
    part = spool.incoming / "film.part"
    part.write_bytes(content)
    spool.take_in(part, "1.2", "1.2.1", "CT1")
    digest = {path.read_bytes(): path.stem for path in spool.films.iterdir()}[content]
    if state:
        spool.take_up(MAIN, "b" * 64, 100, 3)
        objects = [ResultObject(ResultKind.REPORT, uid, "1.2.3", b"report")] if uid else []
        code = "" if state == "answered" else "radiograph-truncated"
        spool.store_answer(digest, MAIN, FilmAnswer(state, code, objects=objects), {"archive": (), "former": ()})
    return digest


def words(config: Path, *command: str) -> list[str]:
    return ["--config", str(config), *command]


def test_status_counts_what_there_is(spool: Spool, config: Path) -> None:
    add_film(spool, b"a", "answered", "2.25.1")
    add_film(spool, b"b", "refused", "2.25.2")
    add_film(spool, b"c", "failed")
    add_film(spool, b"d")
    spool.mark_sent("2.25.1", "archive")
    spool.mark_tried("2.25.2", "archive", "10.0.0.5:104: connection refused", 300)
    later = Spool(config.parent / "spool", lambda: NOW + 1200)
    with closing(later):
        status = node_status(later, read_settings(config))

    main_counts = status.main
    assert (status.received, status.kept, status.shadow) == (4, 4, None)
    assert (main_counts.waiting, main_counts.oldest_waiting_s) == (1, 1200)
    assert (main_counts.answered, main_counts.refused, main_counts.failed) == (1, 1, 1)
    assert main_counts.by_code == {"radiograph-truncated": 2}
    assert main_counts.by_bundle == {"b" * 64: 3}
    archive, former = status.destinations["archive"], status.destinations["former"]
    assert (archive.waiting, archive.oldest_waiting_s, archive.sent, archive.attempts) == (1, 1200, 1, 1)
    assert archive.last_error == "10.0.0.5:104: connection refused"
    assert (former.is_set, former.waiting) == (False, 2)
    assert [sentence.split(":")[0] for sentence in status.attention] == [
        "1 film failed",
        "a film has waited 20 min 0 s for its answer.",
        "archive has waited 20 min 0 s for a result.",
        "former is in the settings no more; results that wait for it",
    ]


def test_status_of_a_node_that_is_well_exits_with_0(
    spool: Spool, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(config, "status")) == 0
    text = capsys.readouterr().out
    assert "receives at 127.0.0.1 port 11112 as CXRNODE, plain text" in text
    assert "without TLS: 10.1.2.3 as CR_ROOM1" in text
    assert text.endswith("all is well\n")
    assert max(map(len, text.splitlines())) <= 80

    assert main(words(config, "status", "--json")) == 0
    content = json.loads(capsys.readouterr().out)
    assert {name: part["state"] for name, part in content["parts"].items()} == dict.fromkeys(
        ("receive", "analyse", "deliver"), "running"
    )
    assert content["main"]["waiting"] == content["destinations"]["archive"]["waiting"] == 0


def test_a_part_that_is_gone_or_cannot_load_needs_attention(
    spool: Spool, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    spool.note_part("deliver", "running", pid=child)
    spool.note_part("analyse", "failed", "bundle-invalid", "no bundle: it has no folder 'configs'.")

    assert main(words(config, "status")) == 1
    text = capsys.readouterr().out
    assert "attention: deliver does not run: gone." in text
    assert "attention: analyse does not run: failed [bundle-invalid]." in text
    assert "  [bundle-invalid] no bundle: it has no folder 'configs'." in text


def test_retry_and_forget_by_key(spool: Spool, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = add_film(spool, b"a", "failed")
    answered = add_film(spool, b"b", "answered", "2.25.1")

    assert main(words(config, "retry")) == 0
    assert capsys.readouterr().out == "1 film is answered anew\n2 results are tried at once\n"
    assert main(words(config, "forget", answered[:12])) == 0
    assert answered[:12] in capsys.readouterr().out
    assert [path.stem for path in spool.films.iterdir()] == [failed]
    assert main(words(config, "forget", answered[:12])) == 2
    assert "error [usage]" in capsys.readouterr().err


def test_records_of_days(spool: Spool, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(config, "records", "--out", str(config.parent / "records"))) == 1
    assert main(words(config, "records", "--out", "x", "--since", "yesterday")) == 2
    assert "'yesterday' is no day" in capsys.readouterr().err


def test_no_spool_is_wrong_use(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(config, "status")) == 2
    assert "there is no spool" in capsys.readouterr().err
    assert not (config.parent / "spool").exists()
