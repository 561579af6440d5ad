"""Bundles of every head with every export, once a session: ``pytest_plugins = ["tests.interop.fixtures"]``."""

from pathlib import Path

import pytest

from cxr_monai.sharing.export.model_zoo import zoo_layout
from cxr_monai.sharing.export.network_export import export
from tests.interop.exported import CASES, Exported, exchanged, headed_bundle, make_films, probabilities


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_films(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="session", params=CASES)
def exported(request: pytest.FixtureRequest, films: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A bundle of each head, sent to another hospital, with every export that is made there."""
    home = tmp_path_factory.mktemp(request.param)
    bundle = headed_bundle(request.param, home)
    installed = exchanged(bundle, home)
    export(installed, home / "files")
    zoo, _ = zoo_layout(installed, home / "zoo", "cxr_tiny_classification")
    return Exported(bundle, home / "files", zoo, probabilities(bundle, films))
