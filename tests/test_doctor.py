"""What ``cxr_monai.doctor`` finds on machines that have, lack or hide things."""

import http.server
import importlib.metadata
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import cxr_monai
from cxr_monai import doctor
from cxr_monai.doctor import CheckResult, CheckStatus


def named(results: Iterator[CheckResult]) -> dict[str, CheckResult]:
    return {result.name: result for result in results}


def only(results: Iterator[CheckResult]) -> CheckResult:
    (result,) = results
    return result


# -- the whole


def test_a_check_that_fails_is_unknown_and_the_others_go_on() -> None:
    def broken() -> Iterator[CheckResult]:
        yield CheckResult("first", CheckStatus.OK, "there")
        raise OSError("no such device")

    def good() -> Iterator[CheckResult]:
        yield CheckResult("second", CheckStatus.OK, "there")

    results = list(doctor.run_checks({"broken": broken, "good": good}))
    assert [(result.name, result.status) for result in results] == [
        ("first", CheckStatus.OK),
        ("broken", CheckStatus.UNKNOWN),
        ("second", CheckStatus.OK),
    ]
    assert results[1].found == "could not be looked at (OSError: no such device)"


def test_results_come_one_by_one() -> None:
    def late() -> Iterator[CheckResult]:
        raise AssertionError("must not run yet")

    def first() -> Iterator[CheckResult]:
        yield CheckResult("first", CheckStatus.OK, "")

    assert next(doctor.run_checks({"first": first, "late": late})).name == "first"


def test_this_machine_is_examined_without_an_unknown() -> None:
    results = list(doctor.run_checks())
    assert [result for result in results if result.status == CheckStatus.UNKNOWN] == []
    names = [result.name for result in results]
    assert len(set(names)) == len(names)
    assert {"code", "Python", "packages", "torch", "threads", "memory", "MLflow", "bfloat16"} <= set(names)
    assert all(result.found for result in results)
    assert all(result.advice for result in results if result.status in (CheckStatus.WARN, CheckStatus.MISSING))


def test_summary_counts() -> None:
    ok, warn, missing = (
        CheckResult("n", status, "") for status in (CheckStatus.OK, CheckStatus.WARN, CheckStatus.MISSING)
    )
    assert doctor.checks_summary([ok, warn, warn]) == "Nothing required is missing; 2 worth a look."
    assert doctor.checks_summary([ok, warn, missing]) == "1 required missing, 1 worth a look."


# -- packages and code

REQUIREMENTS = ["pytest>=1", "numpy>=999", "no-such-package>=2", "no-such-extra; extra == 'dicom'"]


def fake_distribution(monkeypatch: pytest.MonkeyPatch, python: str) -> None:
    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: {"Requires-Python": python})
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: REQUIREMENTS)


def test_packages_that_lack_or_are_too_old_are_missing_and_extras_are_not_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_distribution(monkeypatch, ">=3.11")
    results = named(doctor._packages())
    assert set(results) == {"Python", "packages", "numpy", "no-such-package"}
    assert results["Python"].status == CheckStatus.OK
    assert results["packages"].found == f"pytest {pytest.__version__}"
    assert results["numpy"].status == results["no-such-package"].status == CheckStatus.MISSING
    assert results["no-such-package"].found == "not installed"
    assert results["numpy"].advice == "Install it: pip install 'numpy>=999'."


def test_an_old_python_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_distribution(monkeypatch, ">=4")
    python = named(doctor._packages())["Python"]
    assert (python.status, python.advice) == (CheckStatus.MISSING, "Make an environment with Python >=4.")


def test_not_being_installed_is_a_warning() -> None:
    result = only(doctor._packages("no-such-distribution"))
    assert (result.status, result.found) == (CheckStatus.WARN, "no-such-distribution is not installed")


def test_code_names_the_version() -> None:
    assert only(doctor._code()).found.startswith(f"cxr-monai {cxr_monai.__version__}, ")


# -- processor


@pytest.mark.parametrize(
    ("threads", "available", "status"), [(1, 2, CheckStatus.OK), (2, 2, CheckStatus.OK), (8, 2, CheckStatus.WARN)]
)
def test_more_threads_than_cores(
    monkeypatch: pytest.MonkeyPatch, threads: int, available: int, status: CheckStatus
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(doctor, "usable_cores", lambda: available)
    result = named(doctor._torch())["threads"]
    assert (result.status, result.found) == (status, f"{threads} of torch on {available} cores")
    assert ("export OMP_NUM_THREADS=2" in result.advice) == (status == CheckStatus.WARN)


@pytest.mark.parametrize(
    ("environment", "on_gpu", "status", "found"),
    [
        ({}, False, CheckStatus.WARN, "not set"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, False, CheckStatus.WARN, "not set, OMP_WAIT_POLICY is ACTIVE"),
        ({"OMP_WAIT_POLICY": "passive"}, False, CheckStatus.OK, "not set, OMP_WAIT_POLICY is passive"),
        ({"GOMP_SPINCOUNT": "10000"}, False, CheckStatus.OK, "10000"),
        ({}, True, CheckStatus.OK, "not set"),
    ],
)
def test_wait_policy(environment: dict[str, str], on_gpu: bool, status: CheckStatus, found: str) -> None:
    result = only(doctor._waiting(environment, on_gpu))
    assert (result.status, result.found) == (status, found)
    assert result.advice.startswith("export GOMP_SPINCOUNT=10000") == (status == CheckStatus.WARN)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="only Linux tells what a process was started with")
def test_the_initial_environment_is_the_shells_not_what_was_set_since() -> None:
    program = (
        "import os; os.environ['GOMP_SPINCOUNT'] = '10000'; os.environ.pop('KEPT')\n"
        "from cxr_monai.doctor import initial_environment\n"
        "print(initial_environment().get('GOMP_SPINCOUNT'), initial_environment()['KEPT'])"
    )
    environment = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"} | {"KEPT": "a=b"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "None a=b\n"


@pytest.mark.parametrize(("load", "status"), [(1.9, CheckStatus.OK), (2.0, CheckStatus.OK), (2.1, CheckStatus.WARN)])
def test_load(monkeypatch: pytest.MonkeyPatch, load: float, status: CheckStatus) -> None:
    monkeypatch.setattr(doctor, "usable_cores", lambda: 2)
    assert only(doctor._load(load)).status == status


@pytest.mark.parametrize(("supported", "status"), [(True, CheckStatus.OK), (False, CheckStatus.WARN)])
def test_bfloat16(monkeypatch: pytest.MonkeyPatch, supported: bool, status: CheckStatus) -> None:
    monkeypatch.setattr("cxr_monai.networks.inferers.bfloat16_supported", lambda device: supported)
    monkeypatch.setattr(doctor, "_has_gpu", lambda: False)
    result = only(doctor._bfloat16())
    assert result.status == status
    assert bool(result.advice) == (not supported)


def test_a_driver_without_a_torch_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert only(doctor._gpus()).found == "none: everything runs on the processor"
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert only(doctor._gpus()).status == CheckStatus.WARN


def test_each_gpu_with_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = namedtuple("properties", "name total_memory major")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    cards = [properties("new", 24 * 10**9, 8), properties("old", 8 * 10**9, 7)]
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: cards[number])
    results = named(doctor._gpus())
    assert results["GPU 0"].found == "new, 24.0 GB, bfloat16"
    assert results["GPU 1"].found == "old, 8.0 GB, no bfloat16"


# -- memory and disk

Usage = namedtuple("Usage", "total used free")


def test_memory_is_judged_by_the_containers_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_container_limits", lambda: [3 * 10**9])
    result = only(doctor._memory())
    assert result.status == CheckStatus.WARN
    assert re.search(r"3\.0 GB$", result.found)


@pytest.mark.parametrize(
    ("size", "status", "found"), [(64 * 2**20, CheckStatus.WARN, "0.07 GB"), (2 * 10**9, CheckStatus.OK, "2.0 GB")]
)
def test_shared_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int, status: CheckStatus, found: str
) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: Usage(size, 0, size))
    result = only(doctor._shared_memory(tmp_path))
    assert (result.status, result.found) == (status, found)
    assert only(doctor._shared_memory(tmp_path / "none")).status == CheckStatus.OK


def test_little_disk_space_here_and_for_temporary_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    free = {tmp_path: 10**9, Path(tempfile.gettempdir()): 10**11}
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: Usage(10**12, 0, free[place]))
    results = named(doctor._disk())
    assert results["disk here"].status == CheckStatus.WARN
    assert results["disk here"].found == f"1.0 GB free in {tmp_path}"
    assert results["disk for temporary files"].status == CheckStatus.OK


def test_imagenets_weights_are_looked_for_and_checked_without_a_download(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("nothing is downloaded"))
    absent = only(doctor._imagenet())
    assert (absent.status, absent.found) == (CheckStatus.WARN, f"not in {tmp_path / 'checkpoints'}")
    file = tmp_path / "checkpoints" / "densenet121-a639ec97.pth"
    file.parent.mkdir()
    file.write_bytes(b"damaged")
    damaged = only(doctor._imagenet())
    assert damaged.status == CheckStatus.WARN
    assert str(file) in damaged.advice
    monkeypatch.setattr("cxr_monai.networks.weight_loading._verify", lambda *_: None)
    assert only(doctor._imagenet()) == CheckResult("ImageNet weights", CheckStatus.OK, str(file))


# -- DICOM


def test_whether_answers_can_become_dicom_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    (result,) = doctor._result_objects()
    version = doctor.importlib.metadata.version("highdicom")
    assert (result.found, result.advice) == (f"highdicom {version}: predict --dicom-out writes objects", "")

    def missing(name: str) -> str:
        raise doctor.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.importlib.metadata, "version", missing)
    (result,) = doctor._result_objects()
    assert result.status == "ok"  # an extra
    assert "pip install 'cxr-monai[dicom-results]'" in result.advice


def test_decoders_are_those_that_reading_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.uid import UID

    from cxr_monai.data.formats.dicom_pixels import decoders

    for result, uid in zip(doctor._decoders(), doctor.TRANSFER_SYNTAXES.values(), strict=True):
        assert result.found == "read by " + ", then ".join(decoders(UID(uid))).replace(", then ", ", ").replace(
            ", ", ", then ", 1
        )
    monkeypatch.setattr("pydicom.pixels.decoders.base.Decoder.available_plugins", ())
    monkeypatch.setattr("cxr_monai.data.formats.dicom_pixels.gdcm_is_installed", lambda: False)
    for result in doctor._decoders():
        assert result.status == CheckStatus.WARN
        assert "pip install 'cxr-monai[dicom]'" in result.advice


# -- MLflow


def test_the_default_store_is_the_trainings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from cxr_monai.environment import default_tracking_uri

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert named(doctor._mlflow())["MLflow tracking"].found == default_tracking_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    assert named(doctor._mlflow())["MLflow tracking"].found == default_tracking_uri()


@pytest.mark.parametrize("uri", ["mlruns", "file:///somewhere/mlruns", "./store"])
def test_a_plain_folder_is_advised_against(uri: str) -> None:
    result = doctor._tracking(uri)
    assert result.status == CheckStatus.WARN
    assert "sqlite:///FILE" in result.advice


def test_a_place_that_does_not_exist_cannot_be_written(tmp_path: Path) -> None:
    assert doctor._tracking(f"sqlite:///{tmp_path}/none/mlflow.db").status == CheckStatus.WARN
    assert doctor._tracking(f"sqlite:///{tmp_path}/mlflow.db").status == CheckStatus.OK


@pytest.fixture
def server() -> Iterator[tuple[str, list[int], list[str]]]:
    """A local server: its address, the status that it answers with (to be changed), the paths that were asked for."""
    status, asked = [200], []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status[0])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{listening.server_port}", status, asked
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "status"), [(200, CheckStatus.OK), (401, CheckStatus.OK), (404, CheckStatus.OK), (503, CheckStatus.WARN)]
)
def test_a_server_is_asked_once_and_its_password_not_shown(
    server: tuple[str, list[int], list[str]], answer: int, status: CheckStatus
) -> None:
    address, answers, asked = server
    answers[0] = answer
    result = doctor._tracking(f"http://user:secret@{address}/mlflow/")
    assert result.status == status
    assert asked == ["/mlflow/health"]
    assert "secret" not in result.found + result.advice
    assert f"http://{address}/mlflow/" in result.found


def test_a_server_that_is_away_or_silent_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:  # takes connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(doctor, "SERVER_SECONDS", 0.2)
        result = doctor._tracking(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert (result.status, "does not answer (timed out)" in result.found) == (CheckStatus.WARN, True)
        port = silent.getsockname()[1]
    result = doctor._tracking(f"http://127.0.0.1:{port}")
    assert (result.status, "refused" in result.found) == (CheckStatus.WARN, True)
