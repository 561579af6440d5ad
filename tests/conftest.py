"""Fixtures that every test may use; and threads, since those that spin on busy cores cost far more than they give."""

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

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
