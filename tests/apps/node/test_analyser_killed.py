"""The analyser in a process of its own, killed at seeded moments, and over films that end the process."""

import multiprocessing
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pydicom
import pytest

from apps.node.settings import Destination, NodeSettings
from apps.node.spool import MAIN, SHADOW, Spool
from tests.support.node_films import POISONED, analyse_for_ever, answer_all, node_settings, receive

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_S = 240
# one process imports everything once, and those that are killed are forked from it
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.support.node_films"])


def start(settings: NodeSettings, log: Path, poison: str = "") -> BaseProcess:
    process = FORKS.Process(target=analyse_for_ever, args=(settings, log, poison))
    process.start()
    return process


def answers(spool: Spool) -> list[tuple]:
    with spool.transaction() as database:
        return database.execute("SELECT digest, role, state, probabilities FROM answers ORDER BY 1, 2").fetchall()


def objects(spool: Spool) -> list[tuple]:
    with spool.transaction() as database:
        return database.execute("SELECT digest, kind, uid FROM objects ORDER BY 1, 2").fetchall()


def wait_for(spool: Spool, process: BaseProcess, number: int) -> bool:
    """Wait until so many answers are done; return False if the process ended before."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if sum(state != "taken" for _, _, state, _ in answers(spool)) >= number:
            return True
        if not process.is_alive():
            return False
        time.sleep(0.02)
    raise AssertionError("it takes too long")


def variants(films: Sequence[Path], folder: Path, number: int) -> list[Path]:
    """Copies of films with other bytes; their header names a patient whom no log may name."""
    folder.mkdir()
    for place in range(number):
        film = pydicom.dcmread(films[place % len(films)])
        film.PatientName, film.PatientID, film.AccessionNumber = "Doe^Jane", f"SECRET{place}", f"ACC{place}X"
        film.save_as(folder / f"{place:02}.dcm")
    return sorted(folder.iterdir())


def test_killed_at_any_moment_every_film_has_one_answer(tmp_path: Path, films: list[Path], bundles: Path) -> None:
    sent, log = variants(films, tmp_path / "sent", 12), tmp_path / "log.txt"
    shadow = {"shadow_bundle": str(bundles / "second"), "batch_size": 3, "attempts": 10, "objects": ("sr", "sc")}
    settings = node_settings(tmp_path / "killed", bundles / "first", [Destination("archive")], **shadow)
    spool = Spool(settings.spool)
    digests = receive(spool, sent)
    moments = random.Random(19)
    for number in (1, 4, 8, 13, 18):  # answers that are done; the last ones are the shadow's
        process = start(settings, log)
        assert wait_for(spool, process, number)
        time.sleep(moments.uniform(0, 0.05))
        process.kill()
        process.join()
    process = start(settings, log)
    assert wait_for(spool, process, 2 * len(sent))
    process.terminate()
    process.join(DEADLINE_S)
    assert process.exitcode == 0

    calm = Spool(tmp_path / "calm" / "spool")
    receive(calm, sent)
    answer_all(replace(settings, spool=calm.folder))
    assert [row[:3] for row in answers(spool)] == [
        (digest, role, "answered") for digest in sorted(digests) for role in (MAIN, SHADOW)
    ]
    assert [row[:3] for row in answers(calm)] == [row[:3] for row in answers(spool)]
    assert objects(spool) == objects(calm)
    assert sorted(path.name for path in spool.results.iterdir()) == sorted(f"{uid}.dcm" for _, _, uid in objects(spool))
    for role in (MAIN, SHADOW):
        for killed, undisturbed in zip(spool.records(role), calm.records(role), strict=True):
            assert killed.probabilities == pytest.approx(undisturbed.probabilities, abs=1e-4)
    lines = log.read_text()
    assert digests[0][:12] in lines
    private = [value for path in sent for value in identifying_values(path)]
    assert [value for value in private if value in lines] == []
    spool.close()
    calm.close()


def identifying_values(path: Path) -> list[str]:
    header = pydicom.dcmread(path, stop_before_pixels=True)
    names = ("PatientName", "PatientID", "AccessionNumber", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    return [str(header[name].value) for name in names]


def test_a_film_that_ends_the_process_has_failed_and_its_batch_mates_are_answered(
    tmp_path: Path, films: list[Path], bundles: Path
) -> None:
    settings = node_settings(tmp_path, bundles / "first")
    spool = Spool(settings.spool)
    digests = receive(spool, films[:3])
    exits = []
    process = start(settings, tmp_path / "log.txt", digests[1])
    while not wait_for(spool, process, 3):
        process.join()
        exits.append(process.exitcode)
        process = start(settings, tmp_path / "log.txt", digests[1])
    process.kill()
    process.join()

    assert [state for _, _, state, _ in answers(spool)] == [
        "failed" if digest == digests[1] else "answered" for digest in sorted(digests)
    ]
    assert exits == [POISONED] * 3
    [failed] = [record for record in spool.records(MAIN) if record.state == "failed"]
    assert (failed.code, failed.reason) == ("system-error", "the analysis ended 3 times over this film")
    spool.close()


def test_a_film_that_takes_for_ever_ends_the_process() -> None:
    program = (
        "import time; from apps.node import film_watch; film_watch.HANG_S = 0.2\n"
        "with film_watch.film_watch() as go_on:\n    go_on(); time.sleep(300)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S
    )

    assert ended.returncode == 1
    assert 'File "<string>", line 3 in <module>' in ended.stderr


def test_a_film_in_time_ends_nothing() -> None:
    program = (
        "import time; from apps.node import film_watch; film_watch.HANG_S = 0.2\n"
        "with film_watch.film_watch():\n    pass\ntime.sleep(0.5)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=DEADLINE_S).returncode == 0
