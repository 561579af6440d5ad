"""A calibrated bundle with a small network and a few films, and bundles of every head with every export."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from cxr_monai.data.phantom import make_phantoms
from cxr_monai.evaluation.calibration import Calibrator
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.sharing.export.model_zoo import zoo_layout
from cxr_monai.sharing.export.network_export import export
from tests.interop.exported import CASES, Exported, exchanged, headed_bundle, make_films, probabilities
from tests.interop.site import PARTS, Site
from tests.support.bundle_runs import process_as_it_was
from tests.support.once import once
from tests.support.tiny_bundles import LABELS, tiny_bundle


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


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracking_store: str) -> Iterator[Path]:
    """A working directory with nothing in it and a store of runs; what a workflow does to the process is undone."""
    monkeypatch.chdir(tmp_path)
    with process_as_it_was():
        monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_store)
        yield tmp_path


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return once(tmp_path_factory, "films", make_films)


@pytest.fixture(scope="session", params=CASES)
def exported(request: pytest.FixtureRequest, films: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A bundle of each head, sent to another hospital, with every export that is made there."""

    def make(home: Path) -> Exported:
        bundle = headed_bundle(request.param, home)
        installed = exchanged(bundle, home)
        export(installed, home / "files")
        zoo, _ = zoo_layout(installed, home / "zoo", "cxr_tiny_classification")
        return Exported(bundle, home / "files", zoo, probabilities(bundle, films))

    return once(tmp_path_factory, f"exported-{request.param}", make)
