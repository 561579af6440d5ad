"""A training's bundle as an MLflow model: opened by ``mlflow.pyfunc`` in another process, it predicts the same."""

import json
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.errors import CxrError, SharingError
from cxr_monai.inference.model import Model
from cxr_monai.mlflow_model import BundleModel
from tests.interop.site import Site
from tests.support.bundle_runs import code_of, edit, no_pictures, plain_environment, process_as_it_was, run
from tests.support.tiny_bundles import LABELS

LOAD = """
import json, sys
import mlflow.pyfunc
import pandas as pd

model = mlflow.pyfunc.load_model(sys.argv[1])
print(json.dumps(model.predict(pd.DataFrame({"image": sys.argv[2:]})).to_dict("list")))
"""


@dataclass(frozen=True)
class Logged:
    """A training whose run is in the tracking_store, and what ``predict`` says with the bundle that it left."""

    out: Path
    uri: str
    expected: pd.DataFrame


@pytest.fixture(scope="module")
def logged(site: Site, tmp_path_factory: pytest.TempPathFactory, tracking_store: str) -> Logged:
    out = tmp_path_factory.mktemp("training") / "OUT"
    with process_as_it_was(), no_pictures():
        run(
            site.bundle, "train", manifest=str(site.manifest), output_dir=str(out), epochs=1, batch_size=4,
            num_workers=0, tracking_uri=tracking_store, experiment="models", run_name="the model",
        )  # fmt: skip
    client = MlflowClient(tracking_store)
    experiment = client.get_experiment_by_name("models")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    predicted = Model.open(out / "bundle").predict(site.films)
    return Logged(out, f"runs:/{found.info.run_id}/bundle", predicted.table)


@pytest.fixture
def model(logged: Logged, away: Path, tracking_store: str) -> Any:
    mlflow.set_tracking_uri(tracking_store)
    yield mlflow.pyfunc.load_model(logged.uri)
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


def same_values(table: pd.DataFrame, logged: Logged, films: int) -> None:
    expected = logged.expected[list(LABELS)].astype("float64").iloc[:films].reset_index(drop=True)
    pd.testing.assert_frame_equal(table[list(LABELS)].reset_index(drop=True), expected, atol=1e-6, rtol=0)


def test_another_process_opens_it_and_predicts_what_predict_does(
    logged: Logged, site: Site, tmp_path: Path, tracking_store: str
) -> None:
    environment = plain_environment() | {"MLFLOW_TRACKING_URI": tracking_store}
    process = subprocess.run(
        [sys.executable, "-c", LOAD, logged.uri, *map(str, site.films)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    table = pd.DataFrame(json.loads(process.stdout.splitlines()[-1]))
    assert list(table.columns) == [*LABELS, "error"]
    same_values(table, logged, len(site.films))
    assert set(table["error"]) == {""}


def test_the_bundle_is_there_once_and_as_it_was_signed(logged: Logged, tmp_path: Path, tracking_store: str) -> None:
    local = Path(mlflow.artifacts.download_artifacts(logged.uri, dst_path=str(tmp_path), tracking_uri=tracking_store))
    assert Bundle.open(local).digest == Bundle.open(logged.out / "bundle").digest
    run_id = logged.uri.split("/")[1]
    weights = [path for path in _files(MlflowClient(tracking_store), run_id) if path.endswith((".pt", ".pkl", ".pth"))]
    assert weights == ["bundle/models/model.pt"]
    beside = {path.name for path in local.iterdir() if path.is_file()} - {"LICENSE"}
    assert beside == {"MLmodel", "python_env.yaml", "requirements.txt"}
    assert not (logged.out / "bundle" / "MLmodel").exists()


def _files(client: MlflowClient, run_id: str, path: str | None = None) -> list[str]:
    found = []
    for item in client.list_artifacts(run_id, path):
        found += _files(client, run_id, item.path) if item.is_dir else [item.path]
    return found


def test_what_it_needs_is_named_with_the_versions_in_use(
    model: Any, logged: Logged, tmp_path: Path, tracking_store: str
) -> None:
    local = Path(mlflow.artifacts.download_artifacts(logged.uri, dst_path=str(tmp_path), tracking_uri=tracking_store))
    flavour = yaml.safe_load((local / "MLmodel").read_text())["flavors"]["python_function"]
    assert flavour["loader_module"] == "cxr_monai.mlflow_model"
    assert {"python_model", "code", "artifacts"}.isdisjoint(flavour)
    lines = (local / "requirements.txt").read_text().splitlines()
    assert f"mlflow=={mlflow.__version__}" in lines
    assert {line.partition("==")[0] for line in lines} >= {"cxr-monai", "monai", "torch"}
    assert model.metadata.get_output_schema().input_names() == [*LABELS, "error"]


@pytest.mark.parametrize(
    "given",
    [
        lambda films: pd.DataFrame({"image": [str(film) for film in films]}),
        lambda films: pd.DataFrame({"image": [film.read_bytes() for film in films]}),
        lambda films: pd.DataFrame({"image": [str(films[0]), films[1].read_bytes(), str(films[2])]}, index=[7, 3, 9]),
    ],
    ids=["paths", "bytes", "both"],
)
def test_paths_and_contents_give_the_same(given: Any, model: Any, logged: Logged, site: Site) -> None:
    data = given(site.films[:3])
    table = model.predict(data)
    same_values(table, logged, 3)
    assert list(table.index) == list(data.index)


def test_what_cannot_be_read_has_its_row_and_its_reason(model: Any, logged: Logged, site: Site) -> None:
    images = [str(site.films[0]), "gone.png", b"no picture", str(site.films[1])]
    table = model.predict(pd.DataFrame({"image": images}))
    same_values(table.iloc[[0, 3]], logged, 2)
    assert table.iloc[1:3][list(LABELS)].isna().all(axis=None)
    codes = [error.partition(":")[0] for error in table["error"]]
    assert codes == ["", "radiograph-not-found", "radiograph-not-an-image", ""]


@pytest.mark.parametrize("data", [pd.DataFrame({"path": ["a.png"]}), [3.5]])
def test_what_is_no_image_is_refused(data: Any, logged: Logged) -> None:
    made = BundleModel(Model.open(logged.out / "bundle"))
    with pytest.raises(CxrError) as error:
        made.predict(data)
    assert code_of(error) == "setting-invalid"


def test_a_logged_bundle_that_was_changed_into_a_program_is_not_opened(
    logged: Logged, tmp_path: Path, tracking_store: str
) -> None:
    local = Path(mlflow.artifacts.download_artifacts(logged.uri, dst_path=str(tmp_path), tracking_uri=tracking_store))
    edit(local, "inference", lambda content: content.update(extra="$__import__('os').system('true')"))
    with pytest.raises(SharingError) as error:
        mlflow.pyfunc.load_model(str(local))
    assert code_of(error) == "bundle-refused"


def test_a_server_that_is_away_gets_the_model_later(site: Site, away: Path, tracking_store: str) -> None:
    from cxr_monai.training.journal import Journal
    from cxr_monai.training.tracking import MLflowTracker

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{free.getsockname()[1]}"
    (away / "OUT").mkdir()
    tracker = MLflowTracker("later", str(away / "OUT"), tracking_uri=gone, configuration={})
    bundle = away / "OUT" / "bundle"
    bundle.symlink_to(site.bundle)
    tracker.start()
    tracker.bundle(bundle)
    tracker.finish()
    client = MlflowClient(tracking_store)
    Journal(away / "OUT" / "tracking" / "training.jsonl").send(client, tracking_store, (away / "files").as_uri())
    experiment = client.get_experiment_by_name("later")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    mlflow.set_tracking_uri(tracking_store)
    opened = mlflow.pyfunc.load_model(f"runs:/{found.info.run_id}/bundle")
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    table = opened.predict(pd.DataFrame({"image": [str(site.films[0])]}))
    expected = Model.open(site.bundle).predict(site.films[:1]).table
    assert table["Mass"].tolist() == pytest.approx(expected["Mass"].tolist(), abs=1e-6)
