"""Strangers' bytes at the receiver's port: it goes on, keeps its memory, and writes nothing of theirs anywhere.

What is refused in the ordinary way stands in test_receiver.py, TLS in test_receiver_peers.py, full disks
and endless messages in test_receiver_faults.py; here is what was made to do harm.
"""

import random
import resource
import socket
import struct
from pathlib import Path

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tests.support.receivers import DIGITAL, VERIFICATION, association, encoded, film, rows, running_receiver, store

SEED = 19
DEEP = 1000
PDU_TYPES = range(1, 8)


@pytest.fixture
def port(tmp_path: Path):
    with running_receiver(tmp_path / "spool") as number:
        yield number


def is_alive(port: int) -> bool:
    with association(port) as asked:
        return asked.is_established and asked.send_c_echo().Status == 0


def spray(port: int, content: bytes) -> None:
    """Send bytes and leave; the other side may have closed meanwhile."""
    with socket.create_connection(("127.0.0.1", port)) as peer:
        try:
            peer.sendall(content)
        except OSError:
            return


def associate_request() -> bytes:
    """Return a small, valid A-ASSOCIATE-RQ (PS3.8 9.3.2), for Verification."""
    context = b"\x20\x00" + struct.pack(">H", 4 + 21 + 21) + b"\x01\x00\x00\x00"
    context += b"\x30\x00" + struct.pack(">H", 17) + b"1.2.840.10008.1.1" + b"\x40\x00" + struct.pack(">H", 17)
    context += b"1.2.840.10008.1.2"
    user = b"\x50\x00" + struct.pack(">H", 8) + b"\x51\x00" + struct.pack(">HI", 4, 16384)
    name = b"\x10\x00" + struct.pack(">H", 21) + b"1.2.840.10008.3.1.1.1"
    body = struct.pack(">HH", 1, 0) + b"CXRNODE".ljust(16) + b"FUZZ".ljust(16) + bytes(32) + name + context + user
    return b"\x01\x00" + struct.pack(">I", len(body)) + body


def test_requests_that_were_changed_at_random_end_their_connection_alone(port: int) -> None:
    chance, request = random.Random(SEED), associate_request()
    for _ in range(60):
        changed = bytearray(request)
        for _ in range(chance.randint(1, 8)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        spray(port, bytes(changed[: chance.randint(7, len(changed))]))

    assert is_alive(port)


def test_pdus_of_every_type_at_any_time_end_their_connection_alone(port: int) -> None:
    chance = random.Random(SEED)
    for kind in PDU_TYPES:
        junk = chance.randbytes(300)
        pdu = bytes([kind, 0]) + struct.pack(">I", len(junk)) + junk
        spray(port, pdu)
        spray(port, associate_request() + pdu)

    assert is_alive(port)


def test_declared_lengths_take_no_memory(port: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for kind in PDU_TYPES:
        spray(port, bytes([kind, 0]) + struct.pack(">I", 0xFFFFFFFF) + bytes(1 << 20))

    assert is_alive(port)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_hundreds_of_connections_one_after_the_other_leave_room_for_a_film(port: int, tmp_path: Path) -> None:
    for _ in range(100):
        spray(port, b"")

    with association(port) as asked:
        assert store(asked, film()) == 0
    assert len(rows(tmp_path / "spool")) == 1


def test_deflated_data_sets_are_not_accepted(port: int) -> None:
    """A bomb of them would have to be expanded before anything is known of it."""
    from pynetdicom import AE

    entity = AE(ae_title="BOMB")
    entity.add_requested_context(DIGITAL, DeflatedExplicitVRLittleEndian)
    entity.add_requested_context(VERIFICATION)
    asked = entity.associate("127.0.0.1", port, ae_title="CXRNODE")

    assert [context.abstract_syntax for context in asked.rejected_contexts] == [DIGITAL]
    asked.release()


def deep_sequences(depth: int) -> bytes:
    """Return a private sequence within a private sequence and so on, of undefined lengths (PS3.5 7.5)."""
    begin = bytes.fromhex("0900 1110") + b"SQ\0\0\xff\xff\xff\xff" + bytes.fromhex("feff00e0 ffffffff")
    return begin * depth + (bytes.fromhex("feff0de0 00000000") + bytes.fromhex("feffdde0 00000000")) * depth


@pytest.mark.parametrize("depth", [DEEP, 100 * DEEP])
def test_sequences_a_thousand_deep_are_answered(port: int, tmp_path: Path, depth: int) -> None:
    whole = encoded(film())
    place = whole.index(bytes.fromhex("1000 1000"))  # before the patient's name
    with association(port) as asked:
        status = store(asked, film(), whole[:place] + deep_sequences(depth) + whole[place:])
        assert status in (0x0000, 0xC000)
        assert store(asked, film(2)) == 0
    assert len(rows(tmp_path / "spool")) == 1 + (status == 0)


HARMFUL = {
    "SOPInstanceUID": "../../../tmp/escaped",
    "StudyInstanceUID": "/etc/passwd",
    "SeriesInstanceUID": "a\x1b[31m\nb",
    "PatientName": "\x1b]0;owned\x07^\nreceive INFO forged",
    "PatientID": "$(touch escaped)`id`",
    "AccessionNumber": "'; DROP TABLE films; --",
}


def test_names_in_a_film_are_neither_paths_nor_lines_of_a_log(
    port: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sent = film()
    for keyword, value in HARMFUL.items():
        setattr(sent, keyword, value)
    with association(port) as asked:
        assert store(asked, sent) == 0

    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert len(rows(tmp_path / "spool")) == 1
    assert len([name for name in files if name.startswith("spool/films/")]) == 1
    assert not any(word in name for name in files for word in ("escaped", "passwd", "etc", "owned"))
    assert not any(value in record.getMessage() for record in caplog.records for value in HARMFUL.values())
    assert not any("forged" in record.getMessage() for record in caplog.records)


def test_a_small_film_that_claims_to_be_huge_is_stored_and_takes_no_memory(port: int, tmp_path: Path) -> None:
    from cxr_monai.data.radiograph import read_radiograph
    from cxr_monai.errors import RadiographError

    bomb = film()
    bomb.Rows = bomb.Columns = 65535
    bomb.PixelData = bytes(1000)
    with association(port) as asked:
        assert store(asked, bomb) == 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (path,) = (tmp_path / "spool" / "films").iterdir()

    with pytest.raises(RadiographError):  # what the analyser does with it
        read_radiograph(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
