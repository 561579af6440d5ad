"""The page "connect it to your archive": its routing script, run by a real Orthanc."""

import re
from pathlib import Path

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from tests.support.archive_stubs import StubArchive, small_picture, small_report, wait_until
from tests.support.hospital_network import Orthanc

PAGE = Path(__file__).resolve().parents[3] / "docs" / "connect-your-archive.md"


def film(path: Path, number: int, modality: str, manufacturer: str) -> bytes:
    path.write_bytes(small_picture(number).content)
    dataset = dcmread(path)
    dataset.SOPClassUID, dataset.Modality, dataset.Manufacturer = (
        ComputedRadiographyImageStorage, modality, manufacturer,
    )  # fmt: skip
    dcmwrite(path, dataset, enforce_file_format=True)
    return path.read_bytes()


@pytest.mark.hospital
def test_films_are_routed_and_results_are_not(hospital, tmp_path):
    script = tmp_path / "route.lua"
    (words,) = re.findall(r"```lua\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    script.write_text(words, encoding="utf-8")
    contexts = [(str(ComputedRadiographyImageStorage), [str(ExplicitVRLittleEndian)])]
    with StubArchive(contexts=contexts) as node:
        settings = {
            "DicomModalities": {"cxrnode": ["STUB", "127.0.0.1", node.port]},
            "LuaScripts": [str(script)],
        }
        with Orthanc(tmp_path / "archive", settings=settings) as archive:
            sent = [
                small_report(1).content,  # SR
                small_picture(2).content,  # OT
                film(tmp_path / "a", 3, "CR", "cxr-monai"),
                film(tmp_path / "b", 4, "CT", "Maker"),
                film(tmp_path / "c", 5, "CR", "Maker"),
                film(tmp_path / "d", 6, "DX", "Maker"),
            ]
            for content in sent:
                archive.request("/instances", content)
            wait_until(lambda: len(node.order) == 2)
            assert len(archive.instances()) == 6
            wait_until(lambda: all(archive.get(f"/jobs/{job}")["State"] == "Success" for job in archive.get("/jobs")))
    assert sorted(node.order) == [small_picture(number).uid for number in (5, 6)]  # Orthanc runs two jobs at a time
