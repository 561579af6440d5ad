"""Results as they are built, in a real archive: byte by byte, twice is once; none of them while its quota is full."""

import hashlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless

from apps.node import deliverer
from apps.node.settings import Destination
from cxr_monai.objects import ResultKind, ResultObject, result_objects
from tests.support.archive_stubs import delivering, fill, hurry, sent, small_report, states, wait_until
from tests.support.film_results import film_result, nih_findings
from tests.support.hospital_network import Orthanc

pytestmark = pytest.mark.hospital


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliverer, "POLL_S", 0.02)


@pytest.fixture(scope="module")
def results() -> list[ResultObject]:
    """Report, picture and maps of a film."""
    return [*result_objects(film_result([nih_findings()[0]]), [ResultKind.REPORT, ResultKind.PICTURE, ResultKind.MAPS])]


def by_dicom(archive: Orthanc) -> Destination:
    return Destination("dicom", port=archive.dicom_port, ae_title=archive.ae_title)


def by_web(archive: Orthanc) -> Destination:
    return Destination("web", "dicomweb", url=archive.dicomweb_url)


def wait_until_sent(spool: Path, uids: Sequence[str], *places: Destination) -> None:
    wait_until(lambda: all(sent(spool, place.name) == {*uids} for place in places))


def data_set(content: bytes) -> tuple[str, str]:
    """UID, and SHA-256 of what stands behind the file meta information."""
    length = int.from_bytes(content[140:144], "little")  # of group 0002 (PS3.10 7.1)
    return str(dcmread(BytesIO(content)).SOPInstanceUID), hashlib.sha256(content[144 + length :]).hexdigest()


def test_what_is_sent_is_there_byte_by_byte_and_twice_is_once(
    hospital: None, tmp_path: Path, results: Sequence[ResultObject]
):
    expected = dict(data_set(result.content) for result in results)
    with Orthanc(tmp_path / "one") as one, Orthanc(tmp_path / "other") as other:
        places = [by_dicom(one), by_web(other)]
        for attempt in ("first", "again"):  # a spool that was lost, say: all is built and sent again
            uids = fill(tmp_path / attempt, results, places)
            with delivering(tmp_path / attempt, *places):
                wait_until_sent(tmp_path / attempt, uids, *places)
            for archive in (one, other):
                contents = [archive.content(instance["ID"]) for instance in archive.find("Instance")]
                assert len(contents) == 3
                assert dict(map(data_set, contents)) == expected
        assert sorted(series["MainDicomTags"]["Modality"] for series in one.find("Series")) == ["OT", "SEG", "SR"]
        (maps,) = one.find("Instance", SOPInstanceUID=uids[2])
        arrived = dcmread(BytesIO(one.content(maps["ID"])))
    assert arrived.file_meta.TransferSyntaxUID == RLELossless
    assert np.array_equal(arrived.pixel_array, dcmread(BytesIO(results[2].content)).pixel_array)


def test_an_archive_whose_quota_is_full_has_nothing_that_counts_as_sent(hospital: None, tmp_path: Path):
    """It answers 0xA700 to C-STORE; to STOW 200 (OK), with empty lists of what was stored and of what failed."""
    spool = tmp_path / "spool"
    with Orthanc(tmp_path / "orthanc", settings={"MaximumPatientCount": 1}) as archive:
        archive.request("/instances", another_patient())
        (patient,) = archive.get("/patients")
        archive.request(f"/patients/{patient}/protected", b"1", "PUT")
        places = [by_dicom(archive), by_web(archive)]
        uids = fill(spool, [*map(small_report, range(3))], places)
        with delivering(spool, *places):
            wait_until(
                lambda: all(attempts for place in places for _, attempts, _ in states(spool, place.name).values())
            )
            assert sent(spool, "dicom") == sent(spool, "web") == set()
            assert "status 0xA700: out of resources" in states(spool, "dicom")[uids[0]][2]
            assert states(spool, "web")[uids[0]][2].endswith("its answer does not say that the object was stored.")
            assert not {*uids} & {*archive.instances()}
            archive.request(f"/patients/{patient}/protected", b"0", "PUT")
            wait_until(lambda: hurry(spool) or sent(spool, "dicom") == sent(spool, "web") == set(uids))
        assert archive.instances() == sorted(uids)


def another_patient() -> bytes:
    dataset = dcmread(BytesIO(small_report(10**6).content))
    dataset.PatientID = "ANOTHER"
    with BytesIO() as stream:
        dataset.save_as(stream, enforce_file_format=True)
        return stream.getvalue()
