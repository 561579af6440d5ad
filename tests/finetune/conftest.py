"""A parent with a tiny network, phantoms enough of whom have the disease, and one child."""

from pathlib import Path

import pytest

from cxr_monai.bundle.intended_films import IntendedFilms
from cxr_monai.bundle.trained import write_intended_films
from tests.finetune.family import QUICK, TRANSFER, Family, ill
from tests.support.bundle_runs import Phantoms, rewrite, run
from tests.support.tiny_bundles import tiny_bundle


@pytest.fixture(scope="session")
def hospital(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of the phantoms with such labels."""
    return rewrite(phantoms.manifest, tmp_path_factory.mktemp("ill") / "m.csv", ill)


@pytest.fixture(scope="session")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tiny_bundle(tmp_path_factory.mktemp("parent") / "bundle", seed=1)
    write_intended_films(root, IntendedFilms(16, views=("PA", "AP")))
    return root


@pytest.fixture(scope="session")
def family(parent: Path, hospital: Path, tmp_path_factory: pytest.TempPathFactory, tracking_store: str) -> Family:
    """A child of two epochs, for effusion against normal: the classifier, then the top block."""
    out = tmp_path_factory.mktemp("child") / "OUT"
    run(
        TRANSFER, "train", parent=str(parent), disease="effusion", manifest=str(hospital), output_dir=str(out),
        epochs=2, head_epochs=1, tracking_uri=tracking_store, **QUICK,
    )  # fmt: skip
    return Family(parent, hospital, out)
