"""The spool as the analyser uses it: what is taken up next, put back, forgotten; records; how the parts are."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.node.spool import MAIN, SHADOW, Spool
from apps.node.spooled import FilmAnswer
from cxr_monai.objects import ResultKind, ResultObject


class Clock:
    """A time that goes on by one second whenever somebody asks."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 1
        return self.seconds


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool", Clock())
    yield opened
    opened.close()


def receive(spool: Spool, *contents: bytes) -> list[str]:
    """Take in files of these contents and return their digests."""
    before = {path.stem for path in spool.films.iterdir()}
    digests = []
    for content in contents:
        part = spool.incoming / "part"
        part.write_bytes(content)
        assert spool.take_in(part, "1.2", "1.2.1", "CT1")
        digests += sorted({path.stem for path in spool.films.iterdir()} - before)
        before.update(digests)
    return digests


def take(spool: Spool, limit: int = 8) -> list[tuple[str, int]]:
    return [(film.digest, film.attempts) for film in spool.take_up(MAIN, "bundle", limit, 3)]


def test_the_first_received_comes_first_and_a_film_that_was_tried_alone(spool: Spool) -> None:
    a, b, c, d = receive(spool, b"a", b"b", b"c", b"d")

    assert take(spool, 2) == [(a, 1), (b, 1)]
    # whoever took these two up died: those that waited as long come first, then one by one what was tried
    assert take(spool) == [(c, 1), (d, 1)]
    assert take(spool) == [(a, 2)]
    assert take(spool) == [(b, 2)]


def test_a_film_that_was_tried_does_not_wait_for_films_that_come_later(spool: Spool) -> None:
    [a] = receive(spool, b"a")
    take(spool)
    [b] = receive(spool, b"b")

    assert take(spool) == [(a, 2)]
    assert take(spool) == [(b, 1)]


def test_a_film_that_was_put_back_has_not_been_tried(spool: Spool) -> None:
    a, b, c = receive(spool, b"a", b"b", b"c")
    take(spool)
    spool.put_back(MAIN, [b, c])

    assert take(spool) == [(b, 1), (c, 1)]
    assert take(spool) == [(a, 2)]
    spool.put_back(MAIN, [a])
    spool.store_answer(b, MAIN, FilmAnswer("answered"), {})
    spool.put_back(MAIN, [b])
    assert take(spool) == [(c, 2)]
    assert take(spool) == [(a, 2)]
    assert [record.digest for record in spool.records(MAIN)] == [b]


def test_of_a_film_that_was_forgotten_nothing_is_stored(spool: Spool) -> None:
    [a] = receive(spool, b"a")
    take(spool)
    with spool.transaction() as database:
        database.execute("DELETE FROM films")
    spool.store_answer(
        a, MAIN, FilmAnswer("answered", objects=[ResultObject(ResultKind.REPORT, "2.25.1", "1", b"")]), {}
    )

    assert list(spool.results.iterdir()) == []
    assert list(spool.records(MAIN)) == []


def test_records_are_of_a_role_a_bundle_and_a_time(spool: Spool) -> None:
    digests = receive(spool, b"a", b"b", b"c", b"d")
    received = [2.0 * place + 1 for place in range(4)]
    take(spool, 2)
    for digest in digests[:2]:
        answer = FilmAnswer(
            "answered", probabilities={"Mass": 0.5}, evidence={"gate": "accept", "age": None}, remarks="x"
        )
        spool.store_answer(digest, MAIN, answer, {})
    spool.take_up(MAIN, "newer", 2, 3)
    spool.store_answer(digests[2], MAIN, FilmAnswer("refused", "gate-lateral", "lateral"), {})
    with spool.transaction() as database:
        database.executemany("UPDATE films SET received_at = ? WHERE digest = ?", zip(received, digests, strict=True))

    assert [record.digest for record in spool.records(MAIN)] == digests[:3]
    assert [record.digest for record in spool.records(MAIN, "newer")] == [digests[2]]
    assert [record.digest for record in spool.records(MAIN, last=2)] == digests[1:3]
    assert [record.digest for record in spool.records(MAIN, since=3, until=5)] == [digests[1]]
    assert list(spool.records(SHADOW)) == []
    first = next(spool.records(MAIN))
    assert (first.probabilities, first.evidence, first.remarks) == ({"Mass": 0.5}, {"gate": "accept", "age": None}, "x")


def test_a_part_is_as_it_said_last_and_since_when(spool: Spool) -> None:
    spool.note_part("analyse", "loading")
    since = spool.parts()[0].since
    spool.note_part("analyse", "loading", text="a bundle")

    assert [(part.name, part.state, part.since, part.text) for part in spool.parts()] == [
        ("analyse", "loading", since, "a bundle")
    ]
    spool.note_part("analyse", "running")
    assert spool.parts()[0].since > since


def test_whoever_waits_sees_that_another_one_wrote(spool: Spool) -> None:
    other = Spool(spool.folder)
    version = spool.data_version
    spool.note_part("analyse", "ready")
    assert spool.data_version == version
    other.note_part("receive", "ready")
    other.close()
    assert spool.data_version != version
