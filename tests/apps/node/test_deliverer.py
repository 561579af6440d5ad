"""The deliverer: an object is sent when its destination has confirmed it, and is tried again until then."""

import logging
import socket
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from apps.node import deliverer
from apps.node.settings import Destination
from apps.node.spool import Spool
from tests.support.archive_stubs import (
    PATIENT,
    StubArchive,
    delivering,
    fill,
    hurry,
    sent,
    small_picture,
    small_report,
    states,
    wait_until,
)
from tests.support.hospital_network import free_port


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliverer, "POLL_S", 0.02)


def test_many_objects_go_over_one_association_as_they_are(spool):
    with StubArchive() as stub:
        results = [*map(small_report, range(5)), small_picture(9)]
        uids = fill(spool, results, [stub.destination()])
        with delivering(spool, stub.destination()):
            wait_until(lambda: sent(spool, "stub") == set(uids))
        assert stub.order == uids
        assert (stub.associations, stub.again) == (1, [])
        assert stub.stored[uids[0]].PatientID == PATIENT["PatientID"]
    assert {row[1:] for row in states(spool, "stub").values()} == {(1, "")}


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007])
def test_a_warning_of_a_stored_object_counts_as_sent_and_is_told(spool, status):
    with StubArchive(lambda number, uid: status) as stub:
        (uid,) = fill(spool, [small_report(1)], [stub.destination()])
        with delivering(spool, stub.destination()):
            wait_until(lambda: sent(spool, "stub"))
    assert f"0x{status:04X}" in states(spool, "stub")[uid][2]


def test_an_archive_that_has_the_object_already_has_it(spool):
    with StubArchive(lambda number, uid: 0x0111) as stub:
        fill(spool, [small_report(1)], [stub.destination()])
        with delivering(spool, stub.destination()):
            wait_until(lambda: sent(spool, "stub"))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0xA700, "out of resources"),
        (0xA7FF, "out of resources"),
        (0xA900, "does not match"),
        (0xC000, "cannot understand"),
        (0xCFFF, "cannot understand"),
        (0x0110, "processing failure"),
        (0x0122, "SOP class not supported"),
        (0x0124, "not authorised"),
        (0xB123, "of its own"),
        (0x0001, "of its own"),
        (0xFE00, "of its own"),
    ],
)
def test_nothing_else_counts_as_sent(spool, status, words):
    answers = [status, status]
    with StubArchive(lambda number, uid: answers.pop() if answers else 0) as stub:
        (uid,) = fill(spool, [small_report(1)], [stub.destination()])
        with delivering(spool, stub.destination()):
            wait_until(lambda: len(stub.order) == 1 and states(spool, "stub")[uid][1])
            state, attempts, error = states(spool, "stub")[uid]
            assert (state, attempts >= 1) == ("waiting", True)
            assert error.startswith(f"[destination-refused] status 0x{status:04X}: ")
            assert words in error
            hurry(spool)
            wait_until(lambda: len(stub.order) == 2)
            wait_until(lambda: states(spool, "stub")[uid][1] > attempts)
            assert sent(spool, "stub") == set()
            hurry(spool)
            wait_until(lambda: sent(spool, "stub") == {uid})
    assert states(spool, "stub")[uid][2] == ""


def test_an_object_that_is_refused_holds_up_no_other(spool):
    uids: list[str] = []
    with StubArchive(lambda number, uid: 0xC000 if uid == uids[0] else 0) as stub:
        uids += fill(spool, [*map(small_report, range(4))], [stub.destination()])
        with delivering(spool, stub.destination()):
            wait_until(lambda: sent(spool, "stub") == set(uids[1:]))
        assert stub.associations == 1


def test_an_object_that_is_too_large_for_a_full_archive_holds_up_no_other(spool):
    uids: list[str] = []
    with StubArchive(lambda number, uid: 0xA700 if uid == uids[0] else 0) as stub:
        uids += fill(spool, [*map(small_report, range(4))], [stub.destination()])
        with delivering(spool, stub.destination()):
            wait_until(lambda: sent(spool, "stub") == set(uids[1:]))
        assert stub.order[:2] == uids[:2]  # the first one is refused, and comes last from then on


def test_a_full_archive_is_not_asked_object_by_object(spool):
    with StubArchive(lambda number, uid: 0xA700) as stub:
        uids = fill(spool, [*map(small_report, range(20))], [stub.destination()])
        with delivering(spool, stub.destination()):
            wait_until(lambda: all(row[1] for row in states(spool, "stub").values()))
            assert len(stub.order) == 1
        assert len({row[2] for row in states(spool, "stub").values()}) == 1
        assert sent(spool, "stub") == set()
        assert set(states(spool, "stub")) == set(uids)


def test_a_class_that_is_not_taken_is_told_and_the_others_go(spool):
    with StubArchive(contexts=[(str(Comprehensive3DSRStorage), [str(ExplicitVRLittleEndian)])]) as stub:
        picture, report = fill(spool, [small_picture(1), small_report(2)], [stub.destination()])
        with delivering(spool, stub.destination()):
            wait_until(lambda: sent(spool, "stub") == {report})
            wait_until(lambda: states(spool, "stub")[picture][1])
        error = states(spool, "stub")[picture][2]
    assert error == "[destination-refused] it does not take Secondary Capture Image Storage."


def test_an_archive_that_takes_nothing_of_ours_says_so(spool):
    with StubArchive(contexts=[("1.2.840.10008.5.1.4.1.1.2", [str(ExplicitVRLittleEndian)])]) as stub:
        (report,) = fill(spool, [small_report(2)], [stub.destination()])
        with delivering(spool, stub.destination()):
            wait_until(lambda: states(spool, "stub")[report][1])
    assert "does not take Comprehensive 3D SR Storage" in states(spool, "stub")[report][2]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless])
def test_an_archive_gets_the_syntax_that_it_takes(spool, syntax):
    contexts = [(str(one), [str(syntax)]) for one in (Comprehensive3DSRStorage, SecondaryCaptureImageStorage)]
    with StubArchive(contexts=contexts) as stub:
        picture, report = fill(spool, [small_picture(1, compressed=True), small_report(2)], [stub.destination()])
        with delivering(spool, stub.destination()):
            wait_until(lambda: picture in sent(spool, "stub"))
            wait_until(lambda: states(spool, "stub")[report][1])
        assert (report in sent(spool, "stub")) == (syntax != RLELossless)
        assert stub.stored[picture].Rows == 16


def test_two_syntaxes_of_one_class_go_in_one_association(spool):
    contexts = [(str(SecondaryCaptureImageStorage), [str(RLELossless), str(ExplicitVRLittleEndian)])]
    with StubArchive(contexts=contexts) as stub:
        uids = fill(spool, [small_picture(1, compressed=True), small_picture(2)], [stub.destination()])
        with delivering(spool, stub.destination()):
            wait_until(lambda: sent(spool, "stub") == set(uids))
        assert stub.associations == 1


def test_an_archive_that_is_away_is_tried_as_a_whole_and_gets_everything_at_last(spool, caplog):
    caplog.set_level(logging.INFO)
    port = free_port()
    away, beside = Destination("away", port=port, ae_title="STUB"), StubArchive()
    with beside:
        uids = fill(spool, [*map(small_report, range(30))], [away, beside.destination("beside")])
        with delivering(spool, away, beside.destination("beside")):
            wait_until(lambda: sent(spool, "beside") == set(uids))  # complete while the other is away
            wait_until(lambda: all(attempts for _, attempts, _ in states(spool, "away").values()))
            error = next(iter(states(spool, "away").values()))[2]
            assert error.startswith(f"[destination-unreachable] 127.0.0.1:{port}: connection refused.")
            with closing(Spool(spool)) as opened:
                count, age = opened.waiting("away")
            assert (count, age > 0) == (30, True)
            lines = [line for line in caplog.messages if "destination away" in line]
            assert "30 object(s) wait, the oldest for" in lines[0]
            with StubArchive(port=port) as back:
                hurry(spool)
                wait_until(lambda: sent(spool, "away") == set(uids))
                assert (set(back.stored), back.again) == (set(uids), [])
            with closing(Spool(spool)) as opened:
                assert opened.waiting("away") == (0, 0.0)


def test_what_arrives_while_an_archive_is_away_does_not_wake_it(spool, monkeypatch):
    attempts = []
    monkeypatch.setattr(deliverer, "pause_after", lambda failures: 300.0)
    with closing(Spool(spool)) as opened:
        destination = Destination("away", port=free_port())
        courier = deliverer.Courier(destination, spool, threading.Event())
        send = courier.sender.send
        courier.sender.send = lambda due: attempts.append(len(due)) or send(due)
        fill(spool, [small_report(1)], [destination])
        assert courier.deliver_due(opened)
        fill(spool, [small_report(2)], [destination])
        assert not courier.deliver_due(opened)
        hurry(spool)  # somebody asks for it
        assert courier.deliver_due(opened)
        opened.now = lambda: time.time() + 301
        assert courier.deliver_due(opened)
    assert attempts == [1, 2, 2]


def test_pauses_double_up_to_five_minutes(spool):
    clock = [1000.0]
    with closing(Spool(spool, now=lambda: clock[0])) as opened:
        destination = Destination("away", port=free_port())
        courier = deliverer.Courier(destination, spool, threading.Event())
        fill(spool, [small_report(1)], [destination])
        pauses = []
        for _ in range(11):
            clock[0] += 0.001
            while not courier.deliver_due(opened):
                clock[0] += 0.5
            row = opened._database.execute("SELECT next_at FROM deliveries").fetchone()
            pauses.append(round(row[0] - clock[0]))
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_a_connection_that_ends_in_the_middle_loses_nothing(spool):
    with StubArchive(lambda number, uid: -1 if number in (3, 4) else 0) as stub:
        uids = fill(spool, [*map(small_report, range(6))], [stub.destination()])
        with delivering(spool, stub.destination()):
            wait_until(lambda: len(stub.order) >= 3 and len(sent(spool, "stub")) == 2)
            assert sent(spool, "stub") == set(uids[:2])
            wait_until(lambda: states(spool, "stub")[uids[2]][1])
            assert "[destination-unreachable]" in states(spool, "stub")[uids[2]][2]
            for _ in range(2):
                hurry(spool)
                time.sleep(0.1)
            wait_until(lambda: hurry(spool) or sent(spool, "stub") == set(uids))
        assert set(stub.stored) == set(uids)


def test_an_archive_that_never_answers_holds_up_no_other_and_is_not_sent(spool):
    release = threading.Event()

    def hang(number: int, uid: str) -> int:
        release.wait(30)
        return 0xC000

    with StubArchive(hang) as hanging, StubArchive() as beside:
        destinations = hanging.destination("hanging", timeout_s=0.5), beside.destination("beside")
        uids = fill(spool, [*map(small_report, range(5))], destinations)
        with delivering(spool, *destinations):
            wait_until(lambda: sent(spool, "beside") == set(uids))
            wait_until(lambda: all(row[1] for row in states(spool, "hanging").values()))
        release.set()
        assert sent(spool, "hanging") == set()
        assert "did not answer in 0.5 s" in states(spool, "hanging")[uids[0]][2]
        assert len(hanging.order) == 1


def test_an_archive_that_reads_nothing_is_given_up(spool):
    """Its window is full: the write itself never ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        connections = []
        destination = Destination("mute", port=server.getsockname()[1], timeout_s=0.5)
        (uid,) = fill(spool, [small_picture(1)], [destination])
        with delivering(spool, destination):
            connections.append(server.accept()[0])
            wait_until(lambda: states(spool, "mute")[uid][1])
        assert "answers no association" in states(spool, "mute")[uid][2]
        for connection in connections:
            connection.close()


def test_a_refused_association_says_which_name_is_unknown(spool):
    with StubArchive() as stub:
        stub.server.ae.require_called_aet = True
        destination = Destination("stub", port=stub.port, ae_title="OTHER")
        (uid,) = fill(spool, [small_report(1)], [destination])
        with delivering(spool, destination):
            wait_until(lambda: states(spool, "stub")[uid][1])
    error = states(spool, "stub")[uid][2]
    assert error.startswith("[destination-unreachable] the association is refused: Called AE title not recognised.")
    assert "OTHER" in error


@pytest.mark.parametrize("damage", ["missing", "changed", "cut", "another"])
def test_a_file_that_is_not_what_was_built_is_told_and_never_sent(spool, damage):
    with StubArchive() as stub:
        damaged, whole = fill(spool, [small_report(1), small_report(2)], [stub.destination()])
        path = spool / "results" / f"{damaged}.dcm"
        content = path.read_bytes()
        if damage == "missing":
            path.unlink()
        elif damage == "changed":
            path.write_bytes(content.replace(b"Nora", b"Nola"))
        elif damage == "cut":
            path.write_bytes(content[:-4])
        else:
            path.write_bytes(small_report(3).content)
        with delivering(spool, stub.destination()):
            wait_until(lambda: sent(spool, "stub") == {whole})
            wait_until(lambda: states(spool, "stub")[damaged][1])
            assert states(spool, "stub")[damaged][2].startswith("[result-incomplete] ")
            path.write_bytes(content)  # from a backup
            hurry(spool)
            wait_until(lambda: sent(spool, "stub") == {whole, damaged})
        assert set(stub.stored) == {whole, damaged}


def test_an_end_comes_between_two_objects(spool):
    started, go_on = threading.Event(), threading.Event()

    def slow(number: int, uid: str) -> int:
        started.set()
        go_on.wait(30)
        return 0

    with StubArchive(slow) as stub:
        uids = fill(spool, [*map(small_report, range(5))], [stub.destination()])
        with delivering(spool, stub.destination()) as thread:
            assert started.wait(30)
            threading.Timer(0.2, go_on.set).start()
        assert not thread.is_alive()
        assert sent(spool, "stub") == set(stub.order) == {uids[0]}  # what was begun is finished, and noted


def test_an_end_does_not_wait_for_an_archive_that_hangs(spool, monkeypatch):
    monkeypatch.setattr(deliverer, "END_S", 0.2)
    started, go_on = threading.Event(), threading.Event()
    with StubArchive(lambda number, uid: started.set() or (go_on.wait(30) and 0)) as stub:
        fill(spool, [small_report(1)], [stub.destination()])
        with delivering(spool, stub.destination()):
            assert started.wait(30)
        go_on.set()
    assert sent(spool, "stub") == set()


def test_a_spool_that_cannot_be_written_is_said_and_tried_again(spool, monkeypatch, caplog):
    import sqlite3

    monkeypatch.setattr(deliverer, "pause_after", lambda failures: 0.01)
    real, problems = Spool.mark_sent, [sqlite3.OperationalError("database or disk is full")]

    def mark_sent(self, *words):
        if problems:
            raise problems.pop()
        real(self, *words)

    monkeypatch.setattr(Spool, "mark_sent", mark_sent)
    with StubArchive() as stub:
        (uid,) = fill(spool, [small_report(1)], [stub.destination()])
        with delivering(spool, stub.destination()):
            wait_until(lambda: sent(spool, "stub"))
        assert (stub.order, list(stub.stored)) == ([uid, uid], [uid])  # sent twice is stored once
    assert "the spool: database or disk is full" in caplog.text


def test_no_log_and_no_status_has_anything_of_a_patient(spool, caplog):
    caplog.set_level(logging.DEBUG)
    answers = [0xC000, 0xA900, -1, 0xA700]
    with StubArchive(lambda number, uid: answers.pop() if answers else 0) as stub:
        uids = fill(spool, [*map(small_report, range(4))], [stub.destination()])
        with delivering(spool, stub.destination()):
            wait_until(lambda: hurry(spool) or sent(spool, "stub") == set(uids))
    text = "\n".join([record.getMessage() for record in caplog.records if record.name.startswith("cxr-monai")])
    assert "destination stub" in text
    for value in (*PATIENT.values(), *uids, "2.25."):
        assert value not in text


def test_without_destinations_it_waits_for_its_end(spool):
    with delivering(spool) as thread:
        assert thread.is_alive()


def test_only_the_kinds_that_a_destination_wants_are_sent(spool):
    with StubArchive() as stub:
        destination = stub.destination(objects=("sr",))
        _, report = fill(spool, [small_picture(1), small_report(2)], [destination])
        with delivering(spool, destination):
            wait_until(lambda: sent(spool, "stub") == {report})
        assert stub.order == [report]
