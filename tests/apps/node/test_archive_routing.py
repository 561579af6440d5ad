"""Films from a real Orthanc to the node and its results back, as docs/connect-your-archive.md says; with TLS, too."""

import json
import re
import subprocess
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from apps.node import deliverer
from apps.node.destination_check import check_destination
from apps.node.settings import Destination
from apps.node.spool import Spool
from cxr_monai.errors import Code, CxrError
from tests.support.archive_stubs import delivering, fill, sent, small_report, wait_until
from tests.support.certificates import Authority
from tests.support.hospital_network import Orthanc, free_port
from tests.support.node_films import answer_all, node_settings
from tests.support.receivers import film, running_receiver

pytestmark = pytest.mark.hospital
PAGE = Path(__file__).resolve().parents[3] / "docs" / "connect-your-archive.md"
ENDS = ("Failure", "Success")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliverer, "POLL_S", 0.02)


def of_page(language: str) -> str:
    """The page's first block of a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]


def orthanc_settings(folder: Path, port: int) -> dict[str, Any]:
    """The page's settings and script, with a node at another port."""
    settings = json.loads(of_page("json"))
    settings["DicomModalities"]["cxrnode"][2] = port
    script = folder / "route.lua"
    script.write_text(of_page("lua"), encoding="utf-8")
    return settings | {"LuaScripts": [str(script)]}


def received(spool: Path) -> int:
    with closing(Spool(spool)) as opened:
        return opened.rows("SELECT count(*) FROM films")[0][0]


def jobs(archive: Orthanc) -> list[str]:
    """States of Orthanc's jobs."""
    return [job["State"] for job in archive.get("/jobs?expand")]


def test_films_go_round_once(hospital: None, tmp_path: Path, films: list[Path], bundles: Path):
    port, contents = free_port(), [path.read_bytes() for path in films[:3]]
    with Orthanc(tmp_path / "archive", "ARCHIVE", orthanc_settings(tmp_path, port)) as archive:
        archive.request("/instances", contents[0])
        wait_until(lambda: jobs(archive) == ["Failure"])  # the node is away, and that can be seen
        place = Destination("archive", port=archive.dicom_port, ae_title="ARCHIVE")
        settings = node_settings(tmp_path, bundles / "first", [place], objects=("sr", "sc"))
        with running_receiver(settings.spool, port=port, calling_ae_titles=("ARCHIVE",)):
            words = of_page("sh").replace("8042", str(archive.http_port)).replace("20261201-", "19000101-")
            subprocess.run(["sh", "-c", words.replace("curl ", "curl --noproxy '*' ")], check=True, timeout=60)
            wait_until(lambda: received(settings.spool) == 1)
            archive.request("/instances", contents[1])
            wait_until(lambda: received(settings.spool) == 2)
            answer_all(settings)
            with delivering(settings.spool, place):
                wait_until(lambda: len(sent(settings.spool, "archive")) == 4)
            archive.request("/instances", contents[2])  # behind the results: Orthanc's script takes one after another
            wait_until(lambda: received(settings.spool) == 3)
            wait_until(lambda: set(jobs(archive)) == {"Failure", "Success"})
        assert sorted(jobs(archive)) == ["Failure", *["Success"] * 3]  # and none for a result
        assert sorted(one["MainDicomTags"]["Modality"] for one in archive.find("Series")) == [
            "DX", "DX", "DX", "OT", "OT", "SR", "SR",
        ]  # fmt: skip
        studies = {dcmread(BytesIO(content)).StudyInstanceUID for content in contents[:2]}
        for study in studies:
            modalities = {one["MainDicomTags"]["Modality"] for one in archive.find("Series", StudyInstanceUID=study)}
            assert modalities == {"DX", "OT", "SR"}


def test_tls_in_both_directions(hospital: None, tmp_path: Path):
    authority, port, spool = Authority(tmp_path, "hospital"), free_port(), tmp_path / "spool"
    own, archives, received_tls = (authority.issue(name) for name in ("deliverer", "archive", "receiver"))
    settings = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(archives.certificate),
        "DicomTlsPrivateKey": str(archives.key),
        "DicomTlsTrustedCertificates": str(authority.path),
        "DicomModalities": {
            name: {"AET": "CXRNODE", "Host": "127.0.0.1", "Port": port, "UseDicomTls": is_secure}
            for name, is_secure in (("cxrnode", True), ("plain", False))
        },
    }
    with Orthanc(tmp_path / "archive", settings=settings) as archive:
        place = Destination("archive", port=archive.dicom_port, ae_title="ORTHANC", tls=own, timeout_s=10)
        assert "C-ECHO answered (0x0000)" in check_destination(place)
        (uid,) = fill(spool, [small_report(1)], [place])
        with delivering(spool, place):
            wait_until(lambda: sent(spool, "archive") == {uid})
        assert archive.instances() == [uid]
        plain = Destination("archive", port=archive.dicom_port, ae_title="ORTHANC", timeout_s=10)
        with pytest.raises(CxrError) as refused:
            check_destination(plain)
        assert refused.value.code is Code.DESTINATION_UNREACHABLE
        with running_receiver(tmp_path / "films", port=port, tls=received_tls), BytesIO() as stream:
            film(1).save_as(stream, enforce_file_format=True)
            stored = json.loads(archive.request("/instances", stream.getvalue()))["ID"]
            for name, count in (("plain", 0), ("cxrnode", 1)):
                job = {"Resources": [stored], "Synchronous": False}
                identifier = json.loads(archive.request(f"/modalities/{name}/store", job))["ID"]
                wait_until(lambda identifier=identifier: archive.get(f"/jobs/{identifier}")["State"] in ENDS)
                assert archive.get(f"/jobs/{identifier}")["State"] == ENDS[count]
                assert received(tmp_path / "films") == count
