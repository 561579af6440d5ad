"""Delivery to a real Orthanc: away, back, full, killed in the middle; C-STORE and STOW-RS; each object once."""

import json
import os
import random
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from apps.node import deliverer
from apps.node.destination_check import check_destination
from apps.node.settings import Destination
from apps.node.spool import Spool
from cxr_monai.errors import Code, CxrError
from tests.support.archive_stubs import (
    delivering,
    fill,
    hurry,
    sent,
    small_picture,
    small_report,
    states,
    wait_until,
)
from tests.support.hospital_network import Orthanc

pytestmark = pytest.mark.hospital


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliverer, "POLL_S", 0.02)


def by_dicom(archive: Orthanc, name: str) -> Destination:
    return Destination(name, port=archive.dicom_port, ae_title=archive.ae_title)


def by_web(archive: Orthanc, name: str = "web") -> Destination:
    return Destination(name, "dicomweb", url=archive.dicomweb_url)


def results():
    return [*map(small_report, range(6)), *map(small_picture, range(10, 13)), small_picture(20, compressed=True)]


def test_away_and_back_beside_another_that_is_complete(orthanc, spool, tmp_path):
    with Orthanc(tmp_path / "second", "SECOND") as second:
        destinations = by_dicom(orthanc, "away"), by_dicom(second, "beside")
        orthanc.kill()
        uids = fill(spool, results(), destinations)
        with delivering(spool, *destinations):
            wait_until(lambda: sent(spool, "beside") == set(uids))
            assert sent(spool, "away") == set()
            assert second.instances() == sorted(uids)
            wait_until(lambda: all(row[1] for row in states(spool, "away").values()))
            assert all("destination-unreachable" in row[2] for row in states(spool, "away").values())
            orthanc.start()
            hurry(spool)
            wait_until(lambda: sent(spool, "away") == set(uids))
    assert orthanc.instances() == sorted(uids)


@pytest.mark.parametrize("protocol", [by_dicom, by_web])
def test_what_is_sent_twice_is_one_instance(orthanc, spool, protocol):
    destination = protocol(orthanc, "archive")
    uids = fill(spool, results(), [destination])
    for _ in range(2):
        with delivering(spool, destination):
            wait_until(lambda: sent(spool, "archive") == set(uids))
        with closing(Spool(spool)) as opened, opened.transaction() as database:
            database.execute("UPDATE deliveries SET state = 'waiting', next_at = 0")
    assert orthanc.instances() == sorted(uids)


def test_stow_while_it_is_away_and_after(orthanc, spool):
    orthanc.kill()
    uids = fill(spool, results(), [by_web(orthanc)])
    with delivering(spool, by_web(orthanc)):
        wait_until(lambda: all(row[1] for row in states(spool, "web").values()))
        assert {row[2].split("]")[0] for row in states(spool, "web").values()} == {"[destination-unreachable"}
        orthanc.start()
        hurry(spool)
        wait_until(lambda: sent(spool, "web") == set(uids))
    assert orthanc.instances() == sorted(uids)


def test_a_full_disk_of_the_archive_is_never_sent(hospital, spool, tmp_path):
    """The archive's storage is a disk of 6 MB; three pictures of 4 MB cannot all be there."""
    storage = tmp_path / "full" / "storage"
    storage.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(storage)], check=True)
    try:
        index = tmp_path / "index"
        settings = {"IndexDirectory": str(index)}
        with Orthanc(tmp_path / "full", "FULL", settings) as archive:
            destination = by_dicom(archive, "full")
            uids = fill(spool, [small_picture(number, side=2000) for number in range(3)], [destination])
            with delivering(spool, destination):
                wait_until(lambda: len(sent(spool, "full")) == 1 and states(spool, "full")[uids[2]][1])
                assert sent(spool, "full") == set(archive.instances())
                errors = [row[2] for row in states(spool, "full").values() if row[0] == "waiting"]
                assert all("[destination-refused] status 0x" in error for error in errors), errors
                subprocess.run(["mount", "-o", "remount,size=60m", str(storage)], check=True)
                hurry(spool)
                wait_until(lambda: sent(spool, "full") == set(uids))
            assert archive.instances() == sorted(uids)
    finally:
        subprocess.run(["umount", "-l", str(storage)], check=True)


DELIVER = """
import json, sys, threading
from pathlib import Path
from apps.node import deliverer
from apps.node.settings import Destination, NodeSettings
deliverer.POLL_S = 0.02
spool, destinations = sys.argv[1], json.loads(sys.argv[2])
deliverer.run_deliverer(
    NodeSettings(Path(spool), destinations=tuple(Destination(**one) for one in destinations)), threading.Event()
)
"""


def test_a_deliverer_that_is_killed_loses_nothing_and_sends_nothing_twice(orthanc, spool):
    moments = random.Random(19)
    destinations = [
        {"name": "dicom", "port": orthanc.dicom_port, "ae_title": "ORTHANC"},
        {"name": "web", "protocol": "dicomweb", "url": orthanc.dicomweb_url},
    ]
    uids = fill(spool, [*map(small_report, range(120))], [Destination(**one) for one in destinations])
    clone = str(Path(__file__).resolve().parents[3])
    environment = {**os.environ, "PYTHONPATH": clone}
    for kill in range(5):
        before = len(sent(spool, "dicom")) + len(sent(spool, "web"))
        words = [sys.executable, "-c", DELIVER, str(spool), json.dumps(destinations)]
        process = subprocess.Popen(words, cwd=clone, env=environment)
        target = min(before + moments.randint(1, 30), 2 * len(uids)) if kill < 4 else 2 * len(uids)
        try:
            wait_until(lambda target=target: len(sent(spool, "dicom")) + len(sent(spool, "web")) >= target)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        hurry(spool)
    assert sent(spool, "dicom") == sent(spool, "web") == set(uids)
    assert orthanc.instances() == sorted(uids)
    assert orthanc.statistics()["CountInstances"] == len(uids)


def test_a_check_tells_what_answers(orthanc):
    assert check_destination(by_dicom(orthanc, "a")).endswith(
        "it takes Comprehensive 3D SR Storage, Secondary Capture Image Storage"
    )
    assert "QIDO-RS answered (HTTP 200)" in check_destination(by_web(orthanc))
    with pytest.raises(CxrError) as wrong:
        check_destination(Destination("a", "dicomweb", url=f"{orthanc.url}/elsewhere"))
    assert (wrong.value.code, "HTTP 404" in str(wrong.value)) == (Code.DESTINATION_UNREACHABLE, True)
    orthanc.kill()
    for destination in (by_dicom(orthanc, "a"), by_web(orthanc)):
        with pytest.raises(CxrError, match="connection refused") as refused:
            check_destination(destination)
        assert refused.value.code == Code.DESTINATION_UNREACHABLE
