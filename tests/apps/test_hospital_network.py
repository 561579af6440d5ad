"""The network and the archive that other tests stand on: apart from everything, and real."""

import os
import socket
from pathlib import Path

import pytest

from tests.support.hospital_network import Orthanc, hospital_network


def interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


@pytest.mark.hospital
def test_the_network_is_a_loopback_alone_and_ends():
    before = os.readlink("/proc/thread-self/ns/net"), interfaces()
    with hospital_network():
        assert os.readlink("/proc/thread-self/ns/net") != before[0]
        assert interfaces() == ["lo"]
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=10).close()
    assert (os.readlink("/proc/thread-self/ns/net"), interfaces()) == before


@pytest.mark.hospital
def test_the_network_ends_after_an_error_too():
    before = os.readlink("/proc/thread-self/ns/net")
    with pytest.raises(KeyError), hospital_network():
        raise KeyError
    assert os.readlink("/proc/thread-self/ns/net") == before


@pytest.mark.hospital
def test_the_archive_keeps_what_it_has_over_a_kill(orthanc: Orthanc):
    from pynetdicom import AE

    entity = AE()
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate("127.0.0.1", orthanc.dicom_port, ae_title="ORTHANC")
    assert association.is_established
    assert association.send_c_echo().Status == 0
    association.release()

    orthanc.request("/tools/create-dicom", {"Tags": {"PatientID": "x", "Modality": "OT"}})
    (instance,) = orthanc.find(Modality="OT")
    assert orthanc.tags(instance["ID"])["PatientID"] == "x"
    assert orthanc.content(instance["ID"])[128:132] == b"DICM"
    port, uids = orthanc.dicom_port, orthanc.instances()
    orthanc.kill()
    orthanc.start()
    assert (orthanc.dicom_port, orthanc.instances()) == (port, uids)
    assert orthanc.statistics()["CountInstances"] == 1
    assert orthanc.get("/system")["DicomAet"] == "ORTHANC"
    orthanc.delete_all()
    assert orthanc.instances() == []


@pytest.mark.hospital
def test_what_does_not_start_says_why(hospital: None, tmp_path: Path):
    with pytest.raises(RuntimeError, match="must be an integer"):
        Orthanc(tmp_path, settings={"DicomPort": "no-integer"}).start()


@pytest.mark.parametrize(("value", "outcome"), [("", "skipped"), ("required", "failed")])
def test_an_absent_archive_is_a_skip_with_a_word_or_a_failure(value, outcome, monkeypatch):
    from tests.conftest import pytest_runtest_setup
    from tests.support import hospital_network as module

    class Item:
        def get_closest_marker(self, name):
            return name == "hospital"

    monkeypatch.setenv("CXR_MONAI_HOSPITAL", value)
    monkeypatch.setattr(module, "hospital_absent", lambda: "orthanc is not here")
    kind = {"skipped": pytest.skip.Exception, "failed": pytest.fail.Exception}[outcome]
    with pytest.raises(kind, match="orthanc is not here"):
        pytest_runtest_setup(Item())


def test_a_missing_program_is_named(monkeypatch):
    from tests.support import hospital_network as module

    monkeypatch.setattr(module.shutil, "which", lambda program, path: None if program == "dciodvfy" else program)
    assert module.hospital_absent.__wrapped__().endswith("dicom3tools") or not module.PLUGIN.is_file()
