"""A bundle of several: complete, told of what, and used as any other."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cxr_monai.attribution.explainer import Explainer
from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.bundle.ensembling import ensemble_bundle, members_of
from cxr_monai.errors import BundleError, Code, UsageError, WeightsError
from cxr_monai.inference.model import Model
from tests.support.bundle_runs import run
from tests.support.tiny_bundles import LABELS, tiny_bundle


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("members")
    return [tiny_bundle(root / str(seed), seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def made(bundles: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return ensemble_bundle(bundles, tmp_path_factory.mktemp("out") / "bundle")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    for at, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (3, 48, 40), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / f"{at}.png")
    return sorted(folder.iterdir())


def odds(bundle: Path, files: list[Path]) -> np.ndarray:
    values = Model.open(bundle, raw=True, amp=False).predict(files, num_workers=0).table[list(LABELS)].to_numpy(float)
    return np.log(values / (1 - values))


def test_predict_averages_the_networks(bundles: list[Path], made: Bundle, files: list[Path]) -> None:
    each = [odds(bundle, files) for bundle in bundles]
    np.testing.assert_allclose(odds(made.root, files), (each[0] + each[1]) / 2, atol=1e-5)
    assert np.abs(each[0] - each[1]).max() > 0.01


def test_it_is_complete_and_says_what_it_is(bundles: list[Path], made: Bundle) -> None:
    names = {path.name for path in (made.root / "configs").iterdir()}
    # nothing of a training
    kept = {"evaluate", "inference", "explain", "metadata", "ten_crop", "flip"}
    assert names == {*(f"{name}.json" for name in kept), "logging.conf"}
    assert {path.name for path in made.root.iterdir()} == {"configs", "docs", "models", "LICENSE"}
    assert [path.name for path in (made.root / "models").iterdir()] == ["model.pt"]
    assert members_of(made.root) == [Bundle.open(bundle).digest for bundle in bundles]
    assert made.metadata["name"].endswith("mean of 2 networks")
    assert "## An ensemble" in (made.root / "docs" / "README.md").read_text()
    assert members_of(bundles[0]) == members_of(made.root / "nowhere") == []


@pytest.mark.parametrize("overlay", [[], ["ten_crop"], ["flip"]])
def test_its_configurations_run(
    bundles: list[Path], made: Bundle, files: list[Path], tmp_path: Path, overlay: list[str]
) -> None:
    for at, bundle in enumerate([*bundles, made.root]):
        settings = {"dataset_dir": str(files[0].parent), "output_dir": str(tmp_path / str(at)), "num_workers": 0}
        run(bundle, "inference", *overlay, amp=False, **settings)
    tables = [np.loadtxt(tmp_path / str(at) / "predictions.csv", delimiter=",", skiprows=1, usecols=(1, 2))
              for at in range(3)]  # fmt: skip
    logits = [np.log(values / (1 - values)) for values in tables]
    np.testing.assert_allclose(logits[2], (logits[0] + logits[1]) / 2, atol=1e-4)


def test_it_is_explained(made: Bundle, files: list[Path], tmp_path: Path) -> None:
    explainer = Explainer(Model.open(made.root, amp=False, num_workers=0))
    store = explainer.write_maps(files, [file.name for file in files], tmp_path / "maps")
    assert list(store.images) == [file.name for file in files]


@pytest.mark.parametrize(
    ("name", "value"), [("normalisation", "zero_one"), ("labels", ["Mass", "Effusion"]), ("image_size", 64)]
)
def test_bundles_that_mean_something_else_are_refused(
    bundles: list[Path], tmp_path: Path, name: str, value: object
) -> None:
    other = tiny_bundle(tmp_path / "other", 2, **{name: value})
    with pytest.raises(BundleError, match=f"^.*{name} is ") as error:
        ensemble_bundle([bundles[0], other], tmp_path / "bundle")
    assert error.value.code == Code.BUNDLE_DISAGREES
    assert str(value) in error.value.message
    assert not (tmp_path / "bundle").exists()


def test_other_weights_leave_nothing_behind(bundles: list[Path], tmp_path: Path) -> None:
    other = tiny_bundle(tmp_path / "other", 2)
    torch.save({"conv.weight": torch.zeros(1)}, other / "models" / "model.pt")
    with pytest.raises(WeightsError) as error:
        ensemble_bundle([bundles[0], other], tmp_path / "bundle")
    assert error.value.code == Code.WEIGHTS_MISMATCH
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_one_bundle_is_no_ensemble_and_nothing_is_overwritten(bundles: list[Path], tmp_path: Path) -> None:
    with pytest.raises(BundleError) as error:
        ensemble_bundle(bundles[:1], tmp_path / "bundle")
    assert error.value.code == Code.BUNDLE_INVALID
    (tmp_path / "bundle").mkdir()
    with pytest.raises(UsageError) as error:
        ensemble_bundle(bundles, tmp_path / "bundle")
    assert error.value.code == Code.OUTPUT_EXISTS
    assert json.loads((ensemble_bundle(bundles, tmp_path / "bundle", replace=True).root / "configs" / "metadata.json")
                      .read_text())["ensemble"]["mean_of"] == "outputs"  # fmt: skip
