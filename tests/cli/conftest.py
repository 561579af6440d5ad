"""A bundle that commands work with in a fraction of a second."""

from pathlib import Path

import pytest

from cxr_monai.labels import NIH14
from tests.support.bundle_runs import SMALL_NETWORK
from tests.support.tiny_bundles import tiny_bundle


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 14 findings by a network of thousands of weights: for tests that do not look at what a training leaves."""
    network = {**SMALL_NETWORK, "out_channels": len(NIH14)}
    return tiny_bundle(tmp_path_factory.mktemp("small") / "bundle", 14, labels=list(NIH14), network_def=network)
