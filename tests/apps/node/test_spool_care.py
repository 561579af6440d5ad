"""Retention, forgetting, trying again, and spools of other versions."""

import hashlib
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from apps.node import spool as spool_module
from apps.node.settings import KeepSettings
from apps.node.spool import MAIN, SHADOW, Spool
from apps.node.spool_care import (
    DAY_S,
    Retried,
    film_of_key,
    forget,
    let_go,
    remove_lost_results,
    retry,
)
from apps.node.spool_schema import MIGRATIONS
from apps.node.spooled import FilmAnswer
from cxr_monai.errors import Code, StorageError, UsageError
from cxr_monai.objects import ResultKind, ResultObject

KEEP = KeepSettings(days=7, records_days=400)


class Clock:
    """A time that tests set."""

    def __init__(self) -> None:
        self.time = 1_000_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spool(tmp_path: Path, clock: Clock) -> Iterator[Spool]:
    with closing(Spool(tmp_path / "spool", clock)) as opened:
        yield opened


def take_in(spool: Spool, content: bytes) -> str:
    part = spool.incoming / "film.part"
    part.write_bytes(content)
    spool.take_in(part, "1.2", "1.2.1", "CT1")
    return {path.read_bytes(): path.stem for path in spool.films.iterdir()}[content]


def answer(spool: Spool, digest: str, state: str = "answered", uid: str = "2.25.1") -> None:
    spool.take_up(MAIN, "bundle", 100, 3)
    objects = [ResultObject(ResultKind.REPORT, uid, "1.2.3", b"report")] if state == "answered" else []
    values = {"Mass": 0.5} if state == "answered" else None
    code = "" if state == "answered" else "radiograph-truncated"
    spool.store_answer(digest, MAIN, FilmAnswer(state, code, "why", values, objects=objects), {"archive": ()})


def change(spool: Spool, *statements: str) -> None:
    with spool.transaction() as database:
        for statement in statements:
            database.execute(statement)


def counts(spool: Spool) -> dict[str, int]:
    tables = ("films", "answers", "objects", "deliveries")
    return {table: spool.rows(f"SELECT count(*) FROM {table}")[0][0] for table in tables}


def test_film_and_result_go_together_once_all_is_sent_and_the_record_stays(spool: Spool, clock: Clock) -> None:
    digest = take_in(spool, b"film")
    answer(spool, digest)
    clock.time += 8 * DAY_S
    assert let_go(spool, KEEP) == (0, 0)  # a destination waits for it
    assert spool.film_path(digest).exists()

    spool.mark_sent("2.25.1", "archive")
    assert let_go(spool, KEEP) == (1, 0)
    assert [*spool.films.iterdir(), *spool.results.iterdir()] == []
    assert counts(spool) == {"films": 1, "answers": 1, "objects": 0, "deliveries": 0}
    assert [record.probabilities for record in spool.records(MAIN)] == [{"Mass": 0.5}]

    clock.time += 391 * DAY_S
    assert let_go(spool, KEEP) == (0, 0)
    clock.time += 2 * DAY_S
    assert let_go(spool, KEEP) == (0, 1)
    assert set(counts(spool).values()) == {0}


def test_what_has_no_answer_stays_whatever_its_age(spool: Spool, clock: Clock) -> None:
    take_in(spool, b"waits")
    take_in(spool, b"is taken up")
    spool.take_up(MAIN, "bundle", 1, 3)
    clock.time += 10_000 * DAY_S

    assert let_go(spool, KEEP) == (0, 0)
    assert len([*spool.films.iterdir()]) == 2


def test_young_films_stay_and_refused_ones_go_like_others(spool: Spool, clock: Clock) -> None:
    old = take_in(spool, b"old")
    answer(spool, old, "refused")
    clock.time += 7 * DAY_S + 1
    young = take_in(spool, b"young")
    answer(spool, young, "refused")

    assert let_go(spool, KEEP) == (1, 0)
    assert [path.stem for path in spool.films.iterdir()] == [young]


def test_a_film_that_was_let_go_and_is_sent_again_is_answered_again(spool: Spool, clock: Clock) -> None:
    digest = take_in(spool, b"film")
    answer(spool, digest)
    spool.mark_sent("2.25.1", "archive")
    clock.time += 8 * DAY_S
    let_go(spool, KEEP)

    assert take_in(spool, b"film") == digest
    assert [film.digest for film in spool.take_up(MAIN, "bundle", 8, 3)] == [digest]


def test_a_film_that_arrives_while_it_is_let_go_stays(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver's rename and row are one transaction: whoever lets a film go waits for both, or both wait for it."""
    with closing(Spool(tmp_path / "spool", clock)) as receiver, closing(Spool(tmp_path / "spool", clock)) as other:
        digest = take_in(receiver, b"film")
        answer(receiver, digest)
        receiver.mark_sent("2.25.1", "archive")
        clock.time += 8 * DAY_S
        monkeypatch.setattr(spool_module, "BUSY_S", 0)
        other._database.execute("PRAGMA busy_timeout = 0")
        locked = []

        def let_go_meanwhile(folder: Path) -> None:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                let_go(other, KEEP)
            locked.append(folder)

        monkeypatch.setattr(spool_module, "sync_folder", let_go_meanwhile)
        (receiver.incoming / "film.part").write_bytes(b"film")
        assert receiver.take_in(receiver.incoming / "film.part", "1.2", "1.2.1", "CT1") is False
        assert locked == [receiver.films]
        assert receiver.film_path(digest).exists()


def test_forgetting_leaves_nothing_of_a_film(spool: Spool) -> None:
    kept, gone = take_in(spool, b"kept"), take_in(spool, b"gone")
    answer(spool, kept, uid="2.25.1")
    answer(spool, gone, uid="2.25.2")
    forget(spool, gone)

    assert {path.stem for path in spool.films.iterdir()} == {kept}
    assert {path.stem for path in spool.results.iterdir()} == {"2.25.1"}
    assert counts(spool) == {"films": 1, "answers": 1, "objects": 1, "deliveries": 1}


def test_retry_answers_failed_films_anew_and_tries_waiting_deliveries_at_once(spool: Spool) -> None:
    failed, refused, answered = (take_in(spool, name) for name in (b"failed", b"refused", b"answered"))
    answer(spool, failed, "failed")
    answer(spool, refused, "refused")
    answer(spool, answered)
    spool.mark_tried("2.25.1", "archive", "away", 300)
    assert spool.due("archive") == []

    assert retry(spool) == Retried(1, 1)
    assert [delivery.uid for delivery in spool.due("archive")] == ["2.25.1"]
    assert [film.digest for film in spool.take_up(MAIN, "bundle", 8, 3)] == [failed]


def test_retry_of_one_film_sends_its_results_again_and_answers_a_refused_one_anew(spool: Spool) -> None:
    refused, answered, other = (take_in(spool, name) for name in (b"refused", b"answered", b"other"))
    answer(spool, refused, "refused")
    answer(spool, answered, uid="2.25.1")
    answer(spool, other, uid="2.25.2")
    for uid in ("2.25.1", "2.25.2"):
        spool.mark_sent(uid, "archive")

    assert retry(spool, answered) == Retried(0, 1)
    assert [delivery.uid for delivery in spool.due("archive")] == ["2.25.1"]
    assert retry(spool, refused) == Retried(1, 0)
    assert [film.digest for film in spool.take_up(MAIN, "bundle", 8, 3)] == [refused]


def test_results_that_no_row_tells_of_are_removed(spool: Spool) -> None:
    digest = take_in(spool, b"film")
    answer(spool, digest)
    (spool.results / "2.25.9.dcm").write_bytes(b"its analyser was killed before the row")
    (spool.results / "2.25.8.dcm.123.part").write_bytes(b"or before the file was whole")

    assert remove_lost_results(spool) == 2
    assert [path.name for path in spool.results.iterdir()] == ["2.25.1.dcm"]


def test_a_full_disk_is_told_as_such_and_the_spool_goes_on_once_there_is_room(spool: Spool) -> None:
    pages = spool.rows("PRAGMA page_count")[0][0]
    spool.rows(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        change(spool, *(f"INSERT INTO films VALUES ('{number:064}', 0, 0, '', '', '', 1)" for number in range(10_000)))
    assert counts(spool)["films"] == 0

    spool.rows("PRAGMA max_page_count = 1000000")
    take_in(spool, b"film")
    assert counts(spool)["films"] == 1


def test_a_commit_that_fails_leaves_no_transaction_open(spool: Spool) -> None:
    at_commit = "PRAGMA defer_foreign_keys = ON"
    without_film = "INSERT INTO answers VALUES ('x', 'main', 'b', 'taken', 1, 0, 0, '', '', NULL, NULL, '')"
    with pytest.raises(sqlite3.IntegrityError):
        change(spool, at_commit, without_film)
    take_in(spool, b"film")
    assert counts(spool) == {"films": 1, "answers": 0, "objects": 0, "deliveries": 0}


def test_keys_are_the_beginning_of_one_digest(spool: Spool) -> None:
    digest = take_in(spool, b"film")
    assert (
        film_of_key(spool, digest[:4])
        == film_of_key(spool, digest[:12].upper())
        == film_of_key(spool, digest)
        == digest
    )
    with spool.transaction() as database:
        database.execute("INSERT INTO films VALUES (?, 0, 0, '', '', '', 1)", (digest[:60] + "zzzz",))

    for key, words in (
        (digest[:3], "at least 4"),
        ("x" * 5, "no key"),
        ("0" * 12, "no film's"),
        (digest[:8], "2 films'"),
    ):
        with pytest.raises(UsageError, match=re.escape(words)) as error:
            film_of_key(spool, key)
        assert error.value.code == Code.USAGE


VERSION_1 = MIGRATIONS[0]


def test_no_version_of_the_schema_is_ever_changed() -> None:
    """Spools of it are in hospitals: what is new is a version of its own, whose digest is added here."""
    digests = [hashlib.sha256(script.encode()).hexdigest()[:16] for script in MIGRATIONS]
    assert digests == ["455f591a54296d26", "f5084e39d979454c", "89c483d4fb19ff8a"]


def test_an_older_spool_is_opened_with_all_that_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "node.db")) as database:
        database.executescript(VERSION_1)
        database.execute("INSERT INTO films VALUES ('d1', 5.0, 3, '1.2', '1.2.1', 'CT1', 1)")
        database.execute(
            "INSERT INTO answers VALUES ('d1', 'main', 'b', 'answered', 1, 6.0, 7.0, '', '', '{}', NULL, '')"
        )
        database.execute("INSERT INTO objects (uid, digest, kind, sop_class) VALUES ('2.25.1', 'd1', 'sr', '1.2.3')")
        database.execute("INSERT INTO deliveries VALUES ('2.25.1', 'archive', 'waiting', 2, 7.0, 0, NULL, 'away')")
        database.execute("PRAGMA user_version = 1")
        database.commit()

    with closing(Spool(folder)) as spool:
        assert [(one.uid, one.attempts) for one in spool.due("archive")] == [("2.25.1", 2)]
        assert spool.rows("PRAGMA user_version") == [(len(MIGRATIONS),)]
        assert [record.digest for record in spool.records(MAIN)] == ["d1"]
        assert list(spool.records(SHADOW)) == []
    with closing(Spool(folder)) as spool:  # a second time there is nothing to do
        assert counts(spool)["films"] == 1


def test_a_newer_spool_is_refused_and_not_touched(tmp_path: Path) -> None:
    Spool(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "node.db")) as database:
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(StorageError, match="newer version") as error:
        Spool(tmp_path)
    assert error.value.code == Code.WRITE_FAILED
    with closing(sqlite3.connect(tmp_path / "node.db")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
