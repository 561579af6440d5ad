"""The golden bundle: made once by ``scripts/make_golden.py``, signed, and read by every version that comes after.

It stands for the bundles that hospitals hold: whatever becomes of the library, this one is verified, inspected,
installed, predicts what it did, is evaluated, explained, trained on and fine-tuned. A change that fails here breaks
every bundle that was ever shared; the answer is never to make the bundle anew.
"""

import hashlib
import lzma
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import run as monai_run
from sklearn.metrics import roc_auc_score

from cxr_monai.attribution.map_store import MapStore
from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.cli import main
from cxr_monai.networks.weight_loading import load_state_dict
from cxr_monai.sharing.inspection.bundle_inspection import inspect_bundle
from cxr_monai.sharing.trust.install import install_bundle
from cxr_monai.sharing.trust.keys import trust_key
from cxr_monai.sharing.trust.lineage import read_lineage
from tests.finetune.family import QUICK, TRANSFER, ill
from tests.support.bundle_runs import Phantoms, no_pictures, process_as_it_was, read, rewrite, run

GOLDEN = Path(__file__).parent
EXPECTED = pd.read_csv(GOLDEN / "expected.csv")
TOLERANCE = 2e-5
"""Float32 throughout: processors differ in the order of sums, by some 1e-6 in a probability; bfloat16 by up to 1e-2."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle's folder: its signature was verified and its configurations inspected."""
    home = tmp_path_factory.mktemp("golden")
    (home / "golden.zip").write_bytes(lzma.decompress((GOLDEN / "golden.zip.xz").read_bytes()))
    trust_key(GOLDEN / "golden.pub", "golden", home / "trusted")
    return install_bundle(home / "golden.zip", trusted=home / "trusted", store=home / "bundles").root


@pytest.fixture
def golden(installed: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same for a person who has installed it, in a working directory of their own."""
    monkeypatch.setenv("CXR_MONAI_BUNDLES", str(installed.parents[2]))
    return installed


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder that holds the films alone."""
    (tmp_path / "films").mkdir()
    for name in EXPECTED["image"]:
        shutil.copy(GOLDEN / name, tmp_path / "films")
    return tmp_path / "films"


@pytest.fixture(scope="module")
def manifest(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms enough of whom have an effusion."""
    return rewrite(phantoms.manifest, tmp_path_factory.mktemp("ill") / "m.csv", ill)


def assert_expected(predictions: Path) -> None:
    table = pd.read_csv(predictions)
    assert [Path(name).name for name in table["image"]] == list(EXPECTED["image"])
    assert list(table.columns) == list(EXPECTED.columns)
    labels = list(EXPECTED.columns[1:])
    np.testing.assert_allclose(table[labels].to_numpy(), EXPECTED[labels].to_numpy(), rtol=0, atol=TOLERANCE)


def test_it_is_the_one_that_was_made_first() -> None:
    """Whoever makes it anew, since a component has another name say, breaks bundles, and has to say so here."""
    content = lzma.decompress((GOLDEN / "golden.zip.xz").read_bytes())
    assert hashlib.sha256(content).hexdigest() == "773950abfc7bd8be327cb9083d8984e5ec0911d90cfbaf5c13848daf80b9302b"


def test_it_is_small() -> None:
    kept = [path for path in GOLDEN.iterdir() if path.is_file() and path.suffix != ".py"]
    assert sum(path.stat().st_size for path in kept) < 100_000


def test_it_says_something_of_each_film() -> None:
    """Otherwise its probabilities would prove little."""
    assert (EXPECTED.drop(columns="image").std() > 100 * TOLERANCE).all()


def test_it_is_inspected(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect_bundle(golden).refused == ()
    assert main(["bundle", "inspect", str(golden)]) == 0
    assert " 0 refused" in capsys.readouterr().out


def test_it_predicts_what_it_did(golden: Path, films: Path) -> None:
    assert main(["predict", "golden-classification", str(films), "--float32", "--out", "p.csv"]) == 0
    assert_expected(Path("p.csv"))


def test_it_predicts_the_same_under_monais_own_command(golden: Path, films: Path, elsewhere: Path) -> None:
    """In this process; that the command's own process is the same is proven in test_monai_command_line."""
    configs = golden / "configs"
    with process_as_it_was():
        monai_run(
            config_file=str(configs / "inference.json"), meta_file=str(configs / "metadata.json"),
            bundle_root=str(golden), dataset_dir=str(films), output_dir="OUT", amp=False, num_workers=0,
        )  # fmt: skip
    assert_expected(elsewhere / "OUT" / "predictions.csv")


def test_it_is_evaluated(golden: Path, manifest: Path, elsewhere: Path) -> None:
    run(golden, "evaluate", manifest=str(manifest), output_dir="OUT", replicates=20, num_workers=0)
    table = pd.read_csv(elsewhere / "OUT" / "metrics.csv")
    assert list(table["finding"]) == [*EXPECTED.columns[1:], "mean"]
    truth = pd.read_csv(manifest).query("split == 'test'").set_index("image")["Effusion"]
    effusion = table.set_index("finding").loc["Effusion"]
    assert effusion["images"] == len(truth)
    predicted = pd.read_csv(elsewhere / "OUT" / "predictions.csv").set_index("image")["Effusion"]
    assert effusion["auroc"] == pytest.approx(roc_auc_score(truth, predicted.loc[truth.index]), abs=6e-5)


def test_it_is_explained(golden: Path, films: Path, elsewhere: Path) -> None:
    run(golden, "explain", images=str(films), output_dir="OUT", amp=False)
    assert (elsewhere / "OUT" / "explanations" / "sheet.png").is_file()
    folders = [path.parent for path in (elsewhere / "OUT").rglob("maps.json")]
    assert folders
    expected = EXPECTED.assign(image=[Path(name).name for name in EXPECTED["image"]]).set_index("image")
    for store in map(MapStore.open, folders):
        assert sorted(Path(image).name for image in store.images) == sorted(expected.index)
        for image in store.images:
            probabilities = [store.probability(image, finding) for finding in expected.columns]
            assert probabilities == pytest.approx(list(expected.loc[Path(image).name]), abs=TOLERANCE)
        assert any(np.ptp(store.grid(image)) > 0 for image in store.images)


def test_it_trains_on(golden: Path, manifest: Path, elsewhere: Path) -> None:
    weights = str(golden / "models" / "model.pt")
    with no_pictures():
        run(golden, "train", manifest=str(manifest), output_dir="OUT", init_weights=weights, epochs=1, **QUICK)
    assert read(elsewhere / "OUT" / "bundle", "inference")["labels"] == list(EXPECTED.columns[1:])
    parent, child = (load_state_dict(path) for path in (weights, elsewhere / "OUT" / "bundle" / "models" / "model.pt"))
    assert parent.keys() == child.keys()
    assert all(torch.isfinite(tensor).all() for tensor in child.values())
    kernels = [name for name in parent if parent[name].ndim == 4]
    alike = [torch.cosine_similarity(parent[name].flatten(), child[name].flatten(), 0) for name in kernels]
    assert 0.9 < min(alike) <= max(alike) < 1  # it went on from these weights, and learned; random ones are near 0


def test_it_is_fine_tuned(golden: Path, manifest: Path, elsewhere: Path) -> None:
    settings: dict[str, Any] = {"parent": "golden-classification", "disease": "Effusion", "manifest": str(manifest)}
    with no_pictures():
        run(TRANSFER, "train", output_dir="OUT", epochs=1, head_epochs=1, **settings, **QUICK)
    assert read(elsewhere / "OUT" / "bundle", "inference")["labels"] == ["Effusion"]
    assert read_lineage(elsewhere / "OUT" / "bundle").generation.parents == (Bundle.open(golden).digest,)
