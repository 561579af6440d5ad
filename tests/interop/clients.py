"""A calibrated bundle with a small network, a few films, and other people's programs on them in this process.

Test modules take the fixtures by ``pytest_plugins = ["tests.interop.clients"]``.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from cxr_monai.data.phantom import make_phantoms
from cxr_monai.evaluation.calibration import Calibrator
from cxr_monai.evaluation.fitted import Fitted
from tests.bundles.making import LABELS, tiny_bundle
from tests.bundles.running import process_as_it_was
from tests.interop.using import PARTS, Site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    home = tmp_path_factory.mktemp("clients")
    bundle = tiny_bundle(home / "bundle", 3)
    steps = {label: (Calibrator("temperature", {"temperature": 0.4}),) for label in LABELS}
    Fitted(steps, {}, {}, {}).write(bundle / "models" / "calibration.json")
    make_phantoms(home / "films", 16, 48, seed=5, workers=1, masks=False, progress=False)
    films = tuple(sorted((home / "films").rglob("*.png")))[: len(PARTS)]
    table = pd.DataFrame({
        "image": [film.relative_to(home / "films").as_posix() for film in films],
        "patient_id": [f"p{index}" for index in range(len(films))],
        "study_id": [f"s{index}" for index in range(len(films))], "view": "PA", "age": 50, "sex": "F", "source": "",
        "split": PARTS,
        "Effusion": [index % 2 for index in range(len(films))],
        "Mass": [(index // 2) % 2 for index in range(len(films))],
    })  # fmt: skip
    table.to_csv(home / "manifest.csv", index=False)
    (home / "manifest.csv.json").write_text('{"root": "films"}', encoding="utf-8")
    return Site(bundle, films, home / "manifest.csv")


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store of runs for all tests: making one costs seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('runs') / 'mlflow.db'}"


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str) -> Iterator[Path]:
    """A working directory with nothing in it and a store of runs; what a workflow does to the process is undone."""
    monkeypatch.chdir(tmp_path)
    with process_as_it_was():
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
        yield tmp_path
