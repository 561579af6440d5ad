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
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.bundle_runs import Phantoms, Trained

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if REALDATA.is_dir():
        return
    skip = pytest.mark.skip(reason="the real data (../shared/data beside the checkout) is not here")
    for item in items:
        if item.get_closest_marker("realdata"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real data; tests that use it carry the marker ``realdata``."""
    return REALDATA


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Phantoms:
    """48 phantoms of 64x64 pixels, 24 of them for training."""
    import pandas as pd

    from cxr_monai.cli import main
    from cxr_monai.data.phantom import make_phantoms
    from tests.support.bundle_runs import Phantoms

    root = tmp_path_factory.mktemp("hospital") / "nih-secret-folder"
    make_phantoms(root, 48, 64, seed=1, workers=1, masks=False, progress=False)
    manifest = root.parent / "manifest.csv"
    assert main(["manifest", "nih", str(root), "--out", str(manifest)]) == 0
    # ids that a search finds: NIH's own are bare numbers, which stand in any file
    table = pd.read_csv(manifest, dtype="str", keep_default_na=False)
    for column in ("patient_id", "study_id"):
        table[column] = f"secret-{column}-" + table[column]
    table.to_csv(manifest, index=False)
    assert main(["split", str(manifest), "--scheme", "random", "--fractions", "0.5,0.25,0.25"]) == 0
    return Phantoms(root, manifest)


@pytest.fixture(scope="session")
def trained(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One epoch, all 14 findings, 32x32 pixels, by the command of the README; its source bundle is deleted then."""
    from tests.support.bundle_runs import SHIPPED, Trained, content, monai_bundle

    home, out = tmp_path_factory.mktemp("elsewhere"), tmp_path_factory.mktemp("results") / "OUT"
    source = tmp_path_factory.mktemp("source") / "cxr_nih14"
    shutil.copytree(SHIPPED, source)
    before = content(source)
    process = monai_bundle(
        home, "run",
        "--config_file", str(source / "configs/train.json"), "--meta_file", str(source / "configs/metadata.json"),
        "--bundle_root", str(source), "--manifest", str(phantoms.manifest), "--output_dir", str(out),
        "--epochs", "1", "--image_size", "32", "--batch_size", "8", "--run_name", "tiny",
    )  # fmt: skip
    after = content(source)
    shutil.rmtree(source)
    assert process.returncode == 0, process.stderr
    return Trained(out, out / "bundle", home, source, before, after, process)


@pytest.fixture(scope="session")
def tracking_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One MLflow store for all runs that no test looks at: making one costs seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'shared.db'}"


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
