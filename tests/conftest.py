"""Fixtures that every test may use; and threads, since those that spin on busy cores cost far more than they give.

What is made once a session: tiny phantoms with their manifest, and one tiny training that all tests look at. The
library is imported by the fixtures that need it, so that a test which needs none of them starts in a second.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.bundle_runs import Phantoms, Trained
    from tests.support.hospital_network import Orthanc

os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("MPLBACKEND", "Agg")

# not the user's own cache of decoded images
os.environ["CXR_MONAI_CACHE"] = tempfile.mkdtemp(prefix="cxr-monai-tests-")
atexit.register(shutil.rmtree, os.environ["CXR_MONAI_CACHE"], ignore_errors=True)
# nor the user's installed bundles and trusted keys
os.environ["CXR_MONAI_BUNDLES"] = os.path.join(os.environ["CXR_MONAI_CACHE"], "bundles")
os.environ["CXR_MONAI_TRUSTED"] = os.path.join(os.environ["CXR_MONAI_CACHE"], "trusted")

# where the tests are started in the background a shell has these ignored, and so would every command that they start
for number in (signal.SIGINT, signal.SIGHUP) if hasattr(signal, "SIGHUP") else (signal.SIGINT,):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

REALDATA = Path(__file__).resolve().parents[2] / "shared" / "data"
PUBLIC_TABLES = Path(
    os.environ.get("CXR_MONAI_PUBLIC_TABLES") or Path(__file__).resolve().parents[1] / "build" / "public_tables"
)


# the files that take longest, the longest first: a process that began one of them last would end long after the other
LONG = (
    "test_workflows", "test_methods", "test_resume", "test_two_hospitals", "test_tracking", "test_installed",
    "test_interrupted", "test_evaluate", "test_run_experiment", "test_localise", "test_model",
    "test_predict", "test_architectures", "test_explain", "test_monai_command_line", "test_calibration_carried",
    "test_images_in_memory", "test_configs", "test_freezing", "test_phantom", "test_storage", "test_resuming",
    "test_several_processes", "test_mlflow_model", "test_budget", "test_splits", "test_settings",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = {name: number for number, name in enumerate(LONG)}
        items.sort(key=lambda item: place.get(item.path.stem, len(LONG)))
    absent = {}
    if not REALDATA.is_dir():
        absent["realdata"] = "the real data (../shared/data beside the checkout) is not here"
    if not PUBLIC_TABLES.is_dir():
        absent["publictables"] = "the public tables are not here (python scripts/fetch_public_tables.py)"
    for item in items:
        for marker, reason in absent.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("hospital"):
        from tests.support.hospital_network import REQUIRED, hospital_absent

        if absent := hospital_absent():
            (pytest.fail if os.environ.get(REQUIRED) == "required" else pytest.skip)(absent)


@pytest.fixture(scope="module")
def hospital() -> Iterator[None]:
    """A network that the tests of one module have for themselves; they carry the marker ``hospital``."""
    from tests.support.hospital_network import hospital_network

    with hospital_network():
        yield


@pytest.fixture
def orthanc(hospital: None, tmp_path: Path) -> Iterator[Orthanc]:
    """A real, empty archive that answers; AE title ORTHANC."""
    from tests.support.hospital_network import Orthanc

    with Orthanc(tmp_path / "orthanc") as archive:
        yield archive


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real data; tests that use it carry the marker ``realdata``."""
    return REALDATA


@pytest.fixture(scope="session")
def public_tables() -> Path:
    """The folder of public label tables; tests that use it carry the marker ``publictables``."""
    return PUBLIC_TABLES


@pytest.fixture(scope="session")
def chexnet_manifest(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 112,120 rows of NIH's table in CheXNet's split, and ``manifest.boxes.csv`` beside it, by the commands."""
    from tests.support.once import once

    def make(folder: Path) -> Path:
        from cxr_monai.cli import main

        nih, manifest = realdata / "nih", folder / "manifest.csv"
        assert main(["manifest", "nih", str(nih), "--table-only", "--out", str(manifest)]) == 0
        parts = ("train", "val", "test")
        lists = [word for part in parts for word in (f"--{part}", str(nih / f"chexnet_split/{part}_list.txt.gz"))]
        assert main(["split", str(manifest), "--scheme", "lists", *lists]) == 0
        return manifest

    return once(tmp_path_factory, "chexnet", make)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Phantoms:
    """48 phantoms of 64x64 pixels, 24 of them for training."""
    from tests.support.first_training import make_hospital
    from tests.support.once import once

    return once(tmp_path_factory, "hospital", make_hospital)


@pytest.fixture(scope="session")
def trained(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One epoch, all 14 findings, 32x32 pixels, by the command of the README; its source bundle is deleted then."""
    from tests.support.first_training import train_by_command
    from tests.support.once import once

    return once(tmp_path_factory, "first-training", lambda folder: train_by_command(folder, phantoms))


@pytest.fixture(scope="session")
def gated(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one tiny training of two findings that ended with a gate."""
    from tests.support.first_training import train_with_gate
    from tests.support.once import once

    return once(tmp_path_factory, "gated", lambda folder: train_with_gate(folder, phantoms))


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's SQLite file with its tables and no run: making one costs a second, a copy nothing."""
    from tests.support.once import once

    def make(folder: Path) -> Path:
        from mlflow import MlflowClient

        MlflowClient(f"sqlite:///{folder / 'empty.db'}").search_experiments()
        return folder / "empty.db"

    return once(tmp_path_factory, "mlflow", make)


@pytest.fixture(scope="session")
def tracking_store(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One MLflow store for all runs that no test looks at."""
    return f"sqlite:///{shutil.copy(empty_store, tmp_path_factory.mktemp('mlflow') / 'shared.db')}"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracking_store: str) -> Path:
    """A working directory of the test's own, away from bundle and data; runs go to the shared store."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_store)
    return home


@pytest.fixture
def copy(trained: Trained, tmp_path: Path) -> Path:
    """A copy of the trained bundle that a test may spoil."""
    return Path(shutil.copytree(trained.bundle, tmp_path / "copy"))


@pytest.fixture
def shipped_copy(tmp_path: Path) -> Path:
    """A copy of the packaged bundle that a test may spoil."""
    from tests.support.bundle_runs import SHIPPED

    return Path(shutil.copytree(SHIPPED, tmp_path / "shipped"))
