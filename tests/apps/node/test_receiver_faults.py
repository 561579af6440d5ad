"""Cut connections, full disks, messages that are none, kills: nothing acknowledged is lost, nothing else is kept."""

import errno
import logging
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from io import BytesIO
from pathlib import Path

import pytest
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA

from apps.node import reception, spool
from cxr_monai.objects import film_digest
from tests.support.receivers import (
    CAPTURE,
    DIGITAL,
    VERIFICATION,
    association,
    encoded,
    film,
    rows,
    running_receiver,
    store,
)
from tests.support.small_disks import small_disk

WAIT_S = 60
ROOT = Path(__file__).parents[3]


def wait_until(condition, *arguments) -> None:
    until = time.monotonic() + WAIT_S
    while not condition(*arguments):
        assert time.monotonic() < until
        time.sleep(0.005)


def parts(folder: Path) -> list[Path]:
    return list((folder / "incoming").iterdir())


def sent_fragment(asked, fragment: bytes) -> None:
    primitive = P_DATA()
    primitive.presentation_data_value_list = [[asked.accepted_contexts[0].context_id, fragment]]
    asked.dul.send_pdu(primitive)


def start_film(asked, dataset, length: int) -> None:
    """Send a C-STORE's command and the first bytes of its film."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    request.DataSet = BytesIO(encoded(dataset))
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    fragments = message.encode_msg(asked.accepted_contexts[0].context_id, 1024)
    sent = 0
    while sent < length:
        primitive = next(fragments)
        sent += len(primitive.presentation_data_value_list[0][1])
        asked.dul.send_pdu(primitive)


@pytest.mark.parametrize("how", ["closed", "aborted"])
def test_a_connection_that_is_cut_in_mid_transfer_leaves_nothing(tmp_path, how):
    with running_receiver(tmp_path) as port:
        with association(port, (DIGITAL,)) as asked:
            start_film(asked, film(), 6000)
            wait_until(lambda: any(part.stat().st_size > 4000 for part in parts(tmp_path)))
            if how == "closed":
                asked.dul.socket.close()
            else:
                asked.abort()
            wait_until(lambda: not parts(tmp_path))
        assert rows(tmp_path) == []
        with association(port) as asked:
            assert store(asked, film()) == 0x0000


def test_a_sender_that_stalls_in_mid_transfer_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr("apps.node.receiver.IDLE_S", 0.5)
    with running_receiver(tmp_path) as port, association(port, (DIGITAL,)) as asked:
        start_film(asked, film(), 6000)
        wait_until(lambda: parts(tmp_path))
        wait_until(lambda: not parts(tmp_path) and not asked.is_established)
        assert rows(tmp_path) == []


def test_a_film_is_refused_before_its_data_when_the_reserve_is_not_free(tmp_path, caplog):
    free_mb = shutil.disk_usage(tmp_path).free // 10**6
    with running_receiver(tmp_path, reserve_mb=2 * free_mb) as port, association(port) as asked:
        assert store(asked, film()) == 0xA700
        assert asked.send_c_echo().Status == 0x0000
        assert (rows(tmp_path), parts(tmp_path), list(tmp_path.glob("films/*"))) == ([], [], [])
    assert "in reserve" in caplog.text


def test_a_film_is_refused_in_its_midst_when_others_have_taken_the_reserve(tmp_path, monkeypatch):
    monkeypatch.setattr(reception, "SPACE_CHECKED_EVERY", 1000)
    free = iter([10**12, 0])  # before it, and in it
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(reception.shutil, "disk_usage", lambda folder: usage._replace(free=next(free)))
    with running_receiver(tmp_path) as port, association(port) as asked:
        assert store(asked, film(size=400)) == 0xA700  # three fragments
        assert parts(tmp_path) == []
        free = iter([10**12] * 9)
        assert store(asked, film(size=400)) == 0x0000


def test_a_full_disk_is_no_acknowledgement_and_room_makes_it_one(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    with (
        small_disk(place, 1_500_000),
        running_receiver(place / "spool", reserve_mb=0) as port,
        association(port) as asked,
    ):
        sent = [film(number, size=400) for number in range(6)]  # 320 kB each
        statuses = [store(asked, each) for each in sent]
        assert set(statuses) == {0x0000, 0xA700}
        acknowledged = {film_digest(encoded(each)) for each, status in zip(sent, statuses, strict=True) if not status}
        assert {digest for digest, *_ in rows(place / "spool")} == acknowledged
        assert parts(place / "spool") == []
        for digest in acknowledged:
            path = place / "spool/films" / f"{digest}.dcm"
            assert film_digest(path) == digest
            path.unlink()
        assert store(asked, sent[-1]) == 0x0000


def test_messages_that_are_none_end_their_connection_alone(tmp_path, caplog):
    with running_receiver(tmp_path) as port:
        for fragments in (
            [b"\x03" + b"\xff" * 100],  # no command set
            [b"\x01" + bytes(50_000)] * 2,  # a command without end
            [b"\x00" + bytes(50_000)] * 2,  # data without a command
        ):
            with association(port, (DIGITAL,)) as asked:
                for fragment in fragments:
                    sent_fragment(asked, fragment)
                wait_until(lambda asked=asked: not asked.is_established)
        with association(port) as asked:
            assert asked.send_c_echo().Status == 0x0000
    assert caplog.text.count("is closed: it sent") == 3


def test_who_does_not_wait_for_answers_is_cut_off(tmp_path, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr("apps.node.receiver.refusal_of", lambda *_: go_on.wait(WAIT_S) and None)
    with running_receiver(tmp_path) as port, association(port, (DIGITAL,)) as asked:
        for number in range(reception.MOST_WAITING + 3):
            start_film(asked, film(number), len(encoded(film(number))) + 100)
        wait_until(lambda: not asked.is_established)
        go_on.set()
        wait_until(lambda: not parts(tmp_path))


def test_a_stop_waits_for_the_film_that_is_being_written(tmp_path, monkeypatch):
    is_writing, go_on = threading.Event(), threading.Event()
    take_in = spool.Spool.take_in

    def slow(*arguments):
        is_writing.set()
        go_on.wait(WAIT_S)
        return take_in(*arguments)

    monkeypatch.setattr(spool.Spool, "take_in", slow)
    stop = threading.Event()
    with running_receiver(tmp_path, stop) as port, association(port) as asked:
        sending = threading.Thread(target=store, args=(asked, film()))
        sending.start()
        assert is_writing.wait(WAIT_S)
        stop.set()
        wait_until(lambda: not_listening(port))
        assert rows(tmp_path) == []
        go_on.set()
        sending.join(WAIT_S)
    assert [digest for digest, *_ in rows(tmp_path)] == [film_digest(encoded(film()))]


def noting(monkeypatch, steps: list[str], place, name: str) -> None:
    """Note when a function of a module or class has done its work."""
    function = getattr(place, name)

    def noted(*arguments):
        result = function(*arguments)
        steps.append(name)
        return result

    monkeypatch.setattr(place, name, noted)


def test_the_answer_comes_after_file_folder_and_row_are_synced(tmp_path, monkeypatch):
    steps: list[str] = []
    with running_receiver(tmp_path) as port, association(port) as asked:
        for place, name in ((spool.os, "fsync"), (spool.os, "replace"), (spool.Spool, "take_in")):
            noting(monkeypatch, steps, place, name)
        noting(monkeypatch, steps, spool, "sync_folder")
        noting(monkeypatch, steps, spool.Spool, "_add_film")
        assert store(asked, film()) == 0x0000
        steps.append("answered")
        # the folder's fsync is the second
        assert steps == ["fsync", "replace", "fsync", "sync_folder", "_add_film", "take_in", "answered"]
        spooled = spool.Spool(tmp_path)
        with spooled.transaction() as database:  # commits are synced too: 2 is FULL
            assert database.execute("PRAGMA synchronous").fetchone() == (2,)
        spooled.close()


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_disk_that_fails_is_no_acknowledgement(tmp_path, monkeypatch, name):
    def fails(*arguments):
        raise OSError(errno.EIO, "Input/output error")

    with running_receiver(tmp_path) as port, association(port) as asked:
        monkeypatch.setattr(spool.os, name, fails)
        assert store(asked, film()) == 0xA700
        assert (rows(tmp_path), parts(tmp_path)) == ([], [])
        monkeypatch.undo()
        assert store(asked, film()) == 0x0000


def not_listening(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) != 0


HIDDEN = ("HIDDEN", "1.2.3.77", "1.2.3.78", "1.2.3.79")


def test_no_log_holds_anything_of_a_film(tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    with running_receiver(tmp_path, largest_film_mb=1) as port:
        for sop_class in (DIGITAL, CAPTURE):
            with association(port, (VERIFICATION, sop_class)) as asked:
                caplog.clear()  # what the sender in this process logs of its own association
                logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
                sent = film(1, sop_class)
                content = encoded(sent)
                store(asked, sent)
                store(asked, sent, content.replace(b"1.2.3.78.1", b"1.2.3.78.x"))
                store(asked, sent, content[:300])
                store(asked, sent, AffectedSOPInstanceUID="1.2.3.77.HIDDEN")
                store(asked, film(2, sop_class, size=720))
    assert "received" in caplog.text
    assert [word for word in HIDDEN if word in caplog.text + "".join(capfd.readouterr())] == []


PROGRAM = """
import sys, threading
from pathlib import Path
from apps.node.receiver import run_receiver
from apps.node.settings import NodeSettings, ReceiveSettings
settings = NodeSettings(Path(sys.argv[1]), ReceiveSettings(port=0, reserve_mb=1))
run_receiver(settings, threading.Event(), lambda port: print(port, flush=True))
"""


def started(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM, folder]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_a_film_of_40_megapixels_takes_no_more_memory(tmp_path):
    large = film()
    large.Rows, large.Columns = 7273, 5500
    large.PixelData = bytes(2 * 7273 * 5500)
    with started(tmp_path) as receiver, association(int(receiver.stdout.readline()), (DIGITAL,)) as asked:
        assert store(asked, large) == 0x0000
        status = Path(f"/proc/{receiver.pid}/status").read_text().splitlines()
        receiver.kill()
    peak_kb = int(next(line.split()[1] for line in status if line.startswith("VmHWM")))
    assert peak_kb < 150_000


def test_every_acknowledged_film_survives_kills(tmp_path):
    moments = random.Random(19)
    films = [film(number, size=256) for number in range(48)]
    waiting, acknowledged = films[:], []
    for kill in range(7):
        with started(tmp_path) as receiver, association(int(receiver.stdout.readline()), (DIGITAL,)) as asked:
            killer = threading.Timer(moments.uniform(0.005, 0.1), receiver.kill)
            if kill < 6:
                killer.start()
            while waiting and asked.is_established and store(asked, waiting[0]) == 0x0000:
                acknowledged.append(waiting.pop(0))
            killer.cancel()
            receiver.kill()
    assert waiting == []
    digests = [film_digest(encoded(each)) for each in acknowledged]
    assert len(set(digests)) == len(films)
    assert {digest for digest, *_ in rows(tmp_path)} == set(digests)
    assert {film_digest(tmp_path / "films" / f"{digest}.dcm") for digest in digests} == set(digests)
