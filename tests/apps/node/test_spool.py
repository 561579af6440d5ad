"""The spool between processes: several at once, and one that is killed between any two steps."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from apps.node import spool as spool_module
from apps.node.spool import MAIN, Spool
from apps.node.spooled import FilmAnswer
from cxr_monai.objects import ResultKind, ResultObject

CLONE = Path(__file__).resolve().parents[3]


def take_in(spool: Spool, content: bytes) -> bool:
    part = spool.incoming / f"{os.getpid()}.part"
    part.write_bytes(content)
    return spool.take_in(part, "1.2", "1.2.1", "CR1")


def test_two_processes_take_every_film_up_once(tmp_path: Path) -> None:
    with closing(Spool(tmp_path)) as spool:
        for number in range(40):
            assert take_in(spool, b"%d" % number)
        worker = (
            "import sys\nfrom apps.node.spool import Spool\nspool = Spool(sys.argv[1])\n"
            "while films := spool.take_up('main', 'b' * 64, 1, 100):\n"
            "    if films[0].attempts > 1: break\n"
            "    print(films[0].digest)\n"
        )
        workers = [
            subprocess.Popen([sys.executable, "-c", worker, tmp_path], cwd=CLONE, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        taken = [line for process in workers for line in process.communicate()[0].split()]

        assert [process.returncode for process in workers] == [0, 0]
        assert sorted(taken) == sorted(digest for (digest,) in spool.rows("SELECT digest FROM films"))


def test_two_processes_take_in_at_once_and_the_same_film_has_one_row(tmp_path: Path) -> None:
    Spool(tmp_path).close()
    sender = (
        "import os, sys\nfrom apps.node.spool import Spool\nspool = Spool(sys.argv[1])\n"
        "for number in range(30):\n"
        "    part = spool.incoming / f'{os.getpid()}.part'\n"
        "    part.write_bytes(b'%d' % number)\n"
        "    print(number, spool.take_in(part, '1.2', '1.2.1', 'CR1'))\n"
    )
    senders = [
        subprocess.Popen([sys.executable, "-c", sender, tmp_path], cwd=CLONE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    lines = [line for process in senders for line in process.communicate()[0].splitlines()]

    assert sorted(lines) == sorted(f"{number} {is_new}" for number in range(30) for is_new in (True, False))
    with closing(Spool(tmp_path)) as spool:
        assert spool.rows("SELECT count(*) FROM films") == [(30,)]
        assert spool.films_without_row() == []


STEPS = ("os.fsync", "os.replace", "sync_folder", "film_row", "store_file", "store_rows", "none")


def interrupt(step: str) -> None:
    """End this process by SIGKILL where a step begins."""

    def killed(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if step in ("os.fsync", "os.replace"):
        setattr(os, step[3:], killed)
    elif step == "sync_folder":
        spool_module.sync_folder = killed
    elif step == "film_row":
        Spool._add_film = killed  # type: ignore[method-assign]
    elif step == "store_file":
        spool_module.write_durably = killed
    elif step == "store_rows":
        write = spool_module.write_durably

        def write_and_be_killed(*words: object, **more: object) -> None:
            write(*words, **more)  # type: ignore[arg-type]
            killed()

        spool_module.write_durably = write_and_be_killed


def work(folder: str, step: str) -> None:
    """Take a film in, take it up and answer it; be killed at a step."""
    spool = Spool(folder)
    part = spool.incoming / "film.part"
    part.write_bytes(b"film")
    interrupt(step)
    spool.take_in(part, "1.2", "1.2.1", "CR1")
    print("acknowledged", flush=True)
    (film,) = spool.take_up(MAIN, "b" * 64, 8, 3)
    result = ResultObject(ResultKind.REPORT, "2.25.7", "1.2.3", b"report")
    spool.store_answer(film.digest, MAIN, FilmAnswer("answered", objects=[result]), {"archive": ()})


@pytest.mark.parametrize("step", STEPS)
def test_whoever_is_killed_at_a_step_leaves_what_the_next_one_completes(tmp_path: Path, step: str) -> None:
    worker = f"from tests.apps.node.test_spool import work\nwork({str(tmp_path)!r}, {step!r})"
    ran = subprocess.run([sys.executable, "-c", worker], cwd=CLONE, capture_output=True, text=True)
    assert ran.returncode == (0 if step == "none" else -signal.SIGKILL), ran.stderr

    with closing(Spool(tmp_path)) as spool:
        for path in spool.films_without_row():
            spool.adopt(path, "1.2", "1.2.1")
        spool.sweep()
        assert list(spool.incoming.iterdir()) == []
        rows = spool.rows("SELECT digest FROM films")
        assert [path.stem for path in spool.films.iterdir()] == [digest for (digest,) in rows]
        if "acknowledged" in ran.stdout:
            assert len(rows) == 1
        for film in spool.take_up(MAIN, "b" * 64, 8, 3):
            result = ResultObject(ResultKind.REPORT, "2.25.7", "1.2.3", b"report")
            spool.store_answer(film.digest, MAIN, FilmAnswer("answered", objects=[result]), {"archive": ()})
        due = spool.due("archive")
        assert [delivery.path.read_bytes() for delivery in due] == [b"report"] * len(rows)


def test_a_delivery_waits_is_tried_and_is_sent(tmp_path: Path) -> None:
    clock = [1000.0]
    with closing(Spool(tmp_path, lambda: clock[0])) as spool:
        take_in(spool, b"film")
        (film,) = spool.take_up(MAIN, "b" * 64, 8, 3)
        objects = [
            ResultObject(kind, f"2.25.{number}", "1.2.3", b"content")
            for number, kind in enumerate((ResultKind.REPORT, ResultKind.PICTURE))
        ]
        answer = FilmAnswer("answered", objects=objects)
        spool.store_answer(film.digest, MAIN, answer, {"archive": (), "reports": ("sr",)})

        assert [one.uid for one in spool.due("archive")] == ["2.25.0", "2.25.1"]
        assert [one.uid for one in spool.due("reports")] == ["2.25.0"]
        spool.mark_tried("2.25.0", "archive", "away", 60)
        assert [one.uid for one in spool.due("archive")] == ["2.25.1"]
        clock[0] += 60
        assert [(one.uid, one.attempts) for one in spool.due("archive")] == [("2.25.0", 1), ("2.25.1", 0)]
        spool.mark_sent("2.25.0", "archive")
        assert [one.uid for one in spool.due("archive")] == ["2.25.1"]
        assert [one.uid for one in spool.due("reports")] == ["2.25.0"]  # each destination by itself
        assert spool.due("archive", limit=0) == []


def test_a_file_that_is_not_what_its_name_says_is_not_adopted(tmp_path: Path) -> None:
    with closing(Spool(tmp_path)) as spool:
        (spool.films / f"{'0' * 64}.dcm").write_bytes(b"film")
        (lost,) = spool.films_without_row()
        with pytest.raises(ValueError, match="damaged"):
            spool.adopt(lost, "1.2", "1.2.1")
        assert spool.rows("SELECT * FROM films") == []


def test_a_spool_of_no_database_is_an_error_with_a_code(tmp_path: Path) -> None:
    (tmp_path / "node.db").write_bytes(b"no database" * 100)

    with pytest.raises(spool_module.StorageError, match="cannot be opened"):
        Spool(tmp_path)
