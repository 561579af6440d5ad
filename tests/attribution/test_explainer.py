"""Files in, maps out: what is kept, what is left out, what goes on after an interruption."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from monai.networks.nets import DenseNet
from monai.transforms import CenterSpatialCropd, Compose
from PIL import Image
from torch import nn

from cxr_monai.attribution import map_store as stores
from cxr_monai.attribution.explainer import GRAIN, Explainer, root_of, thresholds_of_rule
from cxr_monai.attribution.methods import MAP_METHODS
from cxr_monai.errors import Code, CxrError, RadiographError, SettingError, UsageError
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.inference.model import Model, ModelSettings
from cxr_monai.inference.reading import FilmBatch
from cxr_monai.networks.class_maps import ClassMaps
from cxr_monai.networks.fixed_batches import fixed_batch_size
from cxr_monai.transforms.load_radiograph import LoadRadiographd
from cxr_monai.transforms.normalisation import NormaliseRadiographd
from cxr_monai.transforms.quantise import QuantiseRadiographd
from cxr_monai.transforms.resize_shortest import ResizeShortestd

SIZE = 64
SHAPE = (1, SIZE, SIZE)
FINDINGS = ("Mass", "Nodule", "Effusion")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = DenseNet(2, 1, 3, init_features=8, growth_rate=4, block_config=(2, 2, 2, 2)).eval()
        nn.init.normal_(made.class_layers.out.weight)
    return made


@pytest.fixture(scope="module")
def preprocessing() -> Compose:
    return Compose([
        LoadRadiographd("image"), ResizeShortestd("image", SIZE, 8 / 7), QuantiseRadiographd("image"),
        CenterSpatialCropd("image", (SIZE, SIZE)), NormaliseRadiographd("image", "imagenet"),
    ])  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number, shape in enumerate([(80, 80), (80, 120), (100, 70), (73, 73), (90, 90)]):
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def names(files: list[Path]) -> list[str]:
    return [file.name for file in files]


def explainer_of(
    network: nn.Module,
    preprocessing: Compose,
    method: str = "cam",
    calibration: Fitted | None = None,
    kind: type[Explainer] = Explainer,
    amp: bool = False,
    batch_size: int = 16,
    num_workers: int | None = None,
    **options: Any,
) -> Explainer:
    settings = ModelSettings(device="cpu", amp=amp, batch_size=batch_size, num_workers=num_workers)
    return kind(
        Model(network, preprocessing, FINDINGS, SHAPE, calibration=calibration, settings=settings), method, **options
    )


def fitted(threshold: float) -> Fitted:
    points = {"youden": threshold, "f1": 0.99}
    return Fitted(dict.fromkeys(FINDINGS, ()), {"Mass": points, "Nodule": {"youden": 1.01}}, {}, {})


def test_maps_and_probabilities_are_those_of_the_network_on_the_files(
    network: nn.Module, preprocessing: Compose, files: list[Path], tmp_path: Path
) -> None:
    explainer = explainer_of(network, preprocessing, map_stride=16, batch_size=2)
    store = explainer.write_maps(files, names(files), tmp_path / "maps", root=files[0].parent)
    assert store.images == names(files)
    maps_of = ClassMaps(network, SHAPE, 16)
    assert store.points == pytest.approx(maps_of.points)
    for file in files:
        with torch.inference_mode():
            logits, maps = maps_of(torch.as_tensor(preprocessing({"image": str(file)})["image"])[None])
        kept = maps[0].clamp(min=0).numpy()
        np.testing.assert_allclose(store.grid(file.name), kept, rtol=1e-3, atol=1e-3 * kept.max())
        given = [store.probability(file.name, finding) for finding in FINDINGS]
        np.testing.assert_allclose(given, logits[0].sigmoid(), rtol=0, atol=1e-6)
        with Image.open(file) as picture:
            assert (store.view(file.name).width, store.view(file.name).height) == picture.size
    about = json.loads((tmp_path / "maps" / "maps.json").read_text())
    assert (about["method"], about["stride"], about["root"]) == ("cam", 16, str(files[0].parent))
    assert list(pd.read_csv(tmp_path / "maps" / "maps.csv")["image"]) == names(files)


@pytest.mark.parametrize(("number", "scale"), [(0, 80 / 73), (3, 1.0)])
def test_the_view_is_the_centre_by_hand(
    network: nn.Module, preprocessing: Compose, files: list[Path], tmp_path: Path, number: int, scale: float
) -> None:
    # 64 * 8 / 7 is 73: the shorter side is made 73 pixels, of which the middle 64 begin at 73 // 2 - 32 = 4
    explainer = explainer_of(network, preprocessing)
    view = explainer.write_maps([files[number]], ["a"], tmp_path / "maps").view("a")
    assert (view.top, view.left) == pytest.approx((4 * scale, 4 * scale))
    assert (view.rows, view.columns) == pytest.approx((64 * scale, 64 * scale))


def test_interrupted_it_goes_on_to_the_same_maps(
    network: nn.Module, preprocessing: Compose, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_IMAGES_PER_FILE", 2)
    explainer = explainer_of(network, preprocessing, batch_size=1)
    whole = explainer.write_maps(files, names(files), tmp_path / "whole")
    calls = 0

    class Killed(Explainer):
        def __call__(self, images: torch.Tensor, wanted: torch.Tensor | None = None) -> tuple[np.ndarray, np.ndarray]:
            nonlocal calls
            calls += 1
            if calls == 4:
                raise KeyboardInterrupt
            return super().__call__(images, wanted)

    with pytest.raises(KeyboardInterrupt):
        explainer_of(network, preprocessing, kind=Killed, batch_size=1, num_workers=0).write_maps(
            files, names(files), tmp_path / "part"
        )
    assert [path.name for path in sorted((tmp_path / "part").glob("maps_*"))] == ["maps_00000.npz"]
    read, seen = Model.read, []

    def watched(model: Model, films: list[Path], named: list[str], *others: Any) -> Iterator[FilmBatch]:
        seen.extend(named)
        return read(model, films, named, *others)

    monkeypatch.setattr(Model, "read", watched)
    store = explainer.write_maps(files, names(files), tmp_path / "part")
    assert seen == names(files)[2:]
    assert store.images == whole.images
    assert store.table.equals(whole.table)
    for name in store.images:
        np.testing.assert_array_equal(store.grid(name), whole.grid(name))


def test_other_settings_do_not_go_on_with_these_maps(
    network: nn.Module, preprocessing: Compose, files: list[Path], tmp_path: Path
) -> None:
    explainer_of(network, preprocessing).write_maps(files[:1], ["a"], tmp_path / "maps")
    other = explainer_of(network, preprocessing, map_stride=16)
    with pytest.raises(UsageError, match="other maps are here: their") as caught:
        other.write_maps(files[:1], ["a"], tmp_path / "maps")
    assert caught.value.code == Code.OUTPUT_EXISTS


def test_a_bad_file_is_told_of_and_the_rest_is_done(
    network: nn.Module, preprocessing: Compose, files: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"not a picture")
    explainer = explainer_of(network, preprocessing)
    store = explainer.write_maps([files[0], bad, files[1]], ["a", "bad", "b"], tmp_path / "maps")
    assert store.images == ["a", "b"]
    assert explainer.left_out == 1
    errors = pd.read_csv(tmp_path / "maps.errors.csv")
    assert errors[["image", "code"]].to_numpy().tolist() == [["bad", "radiograph-not-an-image"]]
    with pytest.raises(RadiographError) as caught:
        explainer.write_maps([bad], ["bad"], tmp_path / "none")
    assert caught.value.code == Code.RADIOGRAPH_NOT_AN_IMAGE


@pytest.mark.parametrize("method", ["cam", "layercam"])
def test_only_what_is_reported_is_kept(
    network: nn.Module, preprocessing: Compose, files: list[Path], tmp_path: Path, method: str
) -> None:
    layer = None if method == "cam" else "features.transition1.relu"
    every = explainer_of(network, preprocessing, method, target_layer=layer)
    whole = every.write_maps(files, names(files), tmp_path / "all")
    mass = np.sort(whole.table["Mass"])
    threshold = float(mass[2])  # three of five are at it or over
    some = explainer_of(
        network, preprocessing, method, fitted(threshold), target_layer=layer, reported_only=True
    ).write_maps(files, names(files), tmp_path / "some")  # fmt: skip
    assert some.about["thresholds"] == {"Mass": threshold, "Nodule": 1.01}
    for name in names(files):
        there = whole.probability(name, "Mass") >= threshold
        assert [some.on_image(name, finding) is not None for finding in FINDINGS] == [there, False, False]
        if there:
            np.testing.assert_allclose(some.grid(name)[0], whole.grid(name)[0], rtol=1e-3)
    assert sum(some.on_image(name, "Mass") is not None for name in names(files)) == 3


@pytest.mark.parametrize("method", ["cam", "cam_layercam"])
def test_only_what_is_asked_for_is_made(
    network: nn.Module, preprocessing: Compose, files: list[Path], tmp_path: Path, method: str
) -> None:
    explainer = explainer_of(network, preprocessing, method, findings="Mass,Effusion")
    wanted = {"0.png": {"Effusion"}, "1.png": {"Mass", "Effusion"}, "2.png": {"Nodule"}}
    store = explainer.write_maps(files, names(files), tmp_path / "maps", findings_by_image=wanted)
    assert store.images == ["0.png", "1.png"]
    assert store.findings == ("Mass", "Effusion")
    assert [store.on_image("0.png", finding) is not None for finding in store.findings] == [False, True]
    assert [store.on_image("1.png", finding) is not None for finding in store.findings] == [True, True]


@pytest.mark.parametrize("method", ["cam", "cam_layercam"])
def test_class_maps_are_computed_of_the_same_number_of_images_at_a_time(
    network: nn.Module, preprocessing: Compose, method: str
) -> None:
    explainer = explainer_of(network, preprocessing, method, amp=True)
    assert explainer._class_maps is not None
    shapes: list[tuple[int, ...]] = []
    explainer._class_maps.register_forward_pre_hook(lambda _, given: shapes.append(tuple(given[0].shape)))
    images = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    explainer(images)
    explainer(images[:1])
    assert shapes == [(fixed_batch_size(SHAPE), *SHAPE)] * 2


@pytest.mark.parametrize("method", list(MAP_METHODS))
def test_every_method_makes_a_store(
    network: nn.Module, preprocessing: Compose, files: list[Path], tmp_path: Path, method: str
) -> None:
    explainer = explainer_of(network, preprocessing, method, findings="Nodule")
    store = explainer.write_maps(files[1:2], ["a"], tmp_path / "maps")
    grid = store.grid("a")
    assert np.isfinite(grid).all()
    assert grid.min() >= 0
    assert grid.max() > 0
    assert grid.shape[-1] <= SIZE // GRAIN
    heat = store.on_image("a", "Nodule")
    assert heat is not None
    assert heat.shape == (80, 120)
    assert heat[:, :15].max() == 0  # left of the square that the network sees


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "grad"}, "there is no method 'grad'; there are cam"),
        ({"findings": "Hernia"}, "does not know 'Hernia'; it knows Mass, Nodule, Effusion"),
        ({"method": "gradcam", "target_layer": "features.norm9"}, "no layer 'features.norm9'"),
        ({"map_stride": 5}, "32, 16, 8, 4"),
        ({"method": "gradcam", "map_stride": 16}, "only class activation maps have one"),
        ({"reported_only": True}, "there are no operating points"),
        ({"rule": "f1"}, "there is no operating point 'f1'; there are none"),
        ({"rule": "f2", "calibration": fitted(0.5)}, "there is no operating point 'f2'; there are youden, f1"),
    ],
)
def test_what_is_wrong_is_said_before_the_first_file(
    network: nn.Module, preprocessing: Compose, settings: dict, words: str
) -> None:
    with pytest.raises(CxrError) as caught:
        explainer_of(network, preprocessing, **settings)
    assert isinstance(caught.value, SettingError)
    assert words in str(caught.value)


def test_operating_points_of_a_rule() -> None:
    assert thresholds_of_rule(fitted(0.4), None, FINDINGS) == {"Mass": 0.4, "Nodule": 1.01}
    assert thresholds_of_rule(fitted(0.4), "f1", FINDINGS) == {"Mass": 0.99}
    assert thresholds_of_rule(None, None, FINDINGS) == {}


@pytest.mark.parametrize(
    ("files", "given", "root"),
    [
        (["/a/b/c.png", "/a/b/d.png"], ["c.png", "d.png"], "/a/b"),
        (["/a/b/c.png", "/a/d/e.png"], ["b/c.png", "d/e.png"], "/a"),
        (["/a/b/c.png", "/a/d/c.png"], ["c.png", "c.png"], None),
        (["/a/b/c.png"], ["/a/b/c.png"], "/"),
        (["/a/b/c.png"], ["other.png"], None),
    ],
)
def test_root_of(files: list[str], given: list[str], root: str | None) -> None:
    assert root_of(files, given) == (None if root is None else Path(root))
