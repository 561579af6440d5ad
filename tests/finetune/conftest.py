"""A parent with a tiny network, phantoms enough of whom have the disease, and one child."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cxr_monai.labels import NIH14
from tests.bundles.making import tiny_bundle
from tests.bundles.running import SHIPPED, Phantoms, rewrite, run

pytest_plugins = ["tests.bundles.fixtures"]

TRANSFER = SHIPPED.with_name("cxr_transfer")
QUICK: dict[str, Any] = {"batch_size": 8, "num_workers": 0, "cache_dir": "none", "amp": False}


@dataclass(frozen=True)
class Family:
    parent: Path
    manifest: Path
    out: Path

    @property
    def child(self) -> Path:
        return self.out / "bundle"


def ill(table: pd.DataFrame) -> None:
    """A patient an image; of every three one has an effusion, one a mass, one nothing."""
    table["patient_id"] = [f"secret-patient-{at}" for at in range(len(table))]
    table[list(NIH14)] = "0"
    table.loc[table.index % 3 == 0, "Effusion"] = "1"
    table.loc[table.index % 3 == 1, "Mass"] = "1"


@pytest.fixture(scope="session")
def hospital(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of the phantoms with such labels."""
    return rewrite(phantoms.manifest, tmp_path_factory.mktemp("ill") / "m.csv", ill)


@pytest.fixture(scope="session")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("parent") / "bundle", seed=1)


@pytest.fixture(scope="session")
def family(parent: Path, hospital: Path, tmp_path_factory: pytest.TempPathFactory, tracking_store: str) -> Family:
    """A child of two epochs, for effusion against normal: the classifier, then the top block."""
    out = tmp_path_factory.mktemp("child") / "OUT"
    run(
        TRANSFER, "train", parent=str(parent), disease="effusion", manifest=str(hospital), output_dir=str(out),
        epochs=2, head_epochs=1, tracking_uri=tracking_store, **QUICK,
    )  # fmt: skip
    return Family(parent, hospital, out)
