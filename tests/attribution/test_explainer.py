"""Files in, maps out: what is kept, what is left out, what goes on after an interruption."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from monai.networks.nets import DenseNet
from monai.transforms import CenterSpatialCropd, Compose
from PIL import Image
from torch import nn

from cxr_monai.attribution import map_store as stores
from cxr_monai.attribution.explainer import GRAIN, Explainer, operating_points, root_of
from cxr_monai.attribution.methods import MAP_METHODS
from cxr_monai.errors import Code, CxrError, RadiographError, SettingError, UsageError
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.networks.class_maps import ClassMaps
from cxr_monai.networks.fixed_batches import fixed_batch_size
from cxr_monai.transforms import LoadRadiographd, NormaliseRadiographd, QuantiseRadiographd, ResizeShortestd

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


def fitted(threshold: float) -> Fitted:
    points = {"youden": threshold, "f1": 0.99}
    return Fitted(dict.fromkeys(FINDINGS, ()), {"Mass": points, "Nodule": {"youden": 1.01}}, {}, {})


def test_maps_and_probabilities_are_those_of_the_network_on_the_files(
    network: nn.Module, preprocessing: Compose, files: list[Path], tmp_path: Path
) -> None:
    explainer = Explainer(network, preprocessing, FINDINGS, SHAPE, map_stride=16, amp=False)
    store = explainer.write_maps(files, names(files), tmp_path / "maps", batch_size=2, root=files[0].parent)
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
    explainer = Explainer(network, preprocessing, FINDINGS, SHAPE, amp=False)
    view = explainer.write_maps([files[number]], ["a"], tmp_path / "maps").view("a")
    assert (view.top, view.left) == pytest.approx((4 * scale, 4 * scale))
    assert (view.rows, view.columns) == pytest.approx((64 * scale, 64 * scale))


def test_interrupted_it_goes_on_to_the_same_maps(
    network: nn.Module, preprocessing: Compose, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "PART", 2)
    explainer = Explainer(network, preprocessing, FINDINGS, SHAPE, amp=False)
    whole = explainer.write_maps(files, names(files), tmp_path / "whole", batch_size=1)
    calls = 0

    def killed(images: torch.Tensor, wanted: torch.Tensor | None = None) -> tuple[np.ndarray, np.ndarray]:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return Explainer.__call__(explainer, images, wanted)

    class Killed(Explainer):
        __call__ = staticmethod(killed)  # type: ignore[assignment]

    with pytest.raises(KeyboardInterrupt):
        Killed(network, preprocessing, FINDINGS, SHAPE, amp=False).write_maps(
            files, names(files), tmp_path / "part", batch_size=1, num_workers=0
        )
    assert [path.name for path in sorted((tmp_path / "part").glob("maps_*"))] == ["maps_00000.npz"]
    calls = 10
    seen: list[str] = []
    again = Killed(network, preprocessing, FINDINGS, SHAPE, amp=False)
    again._batches = lambda todo, *rest: seen.extend(name for _, name in todo) or Explainer._batches(again, todo, *rest)  # type: ignore[method-assign, func-returns-value]
    store = again.write_maps(files, names(files), tmp_path / "part", batch_size=1)
    assert seen == names(files)[2:]
    assert store.images == whole.images
    assert store.table.equals(whole.table)
    for name in store.images:
        np.testing.assert_array_equal(store.grid(name), whole.grid(name))


def test_other_settings_do_not_go_on_with_these_maps(
    network: nn.Module, preprocessing: Compose, files: list[Path], tmp_path: Path
) -> None:
    Explainer(network, preprocessing, FINDINGS, SHAPE, amp=False).write_maps(files[:1], ["a"], tmp_path / "maps")
    other = Explainer(network, preprocessing, FINDINGS, SHAPE, map_stride=16, amp=False)
    with pytest.raises(UsageError, match="other maps are here: their") as caught:
        other.write_maps(files[:1], ["a"], tmp_path / "maps")
    assert caught.value.code == Code.OUTPUT_EXISTS


def test_a_bad_file_is_told_of_and_the_rest_is_done(
    network: nn.Module, preprocessing: Compose, files: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"not a picture")
    explainer = Explainer(network, preprocessing, FINDINGS, SHAPE, amp=False)
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
    every = Explainer(network, preprocessing, FINDINGS, SHAPE, method, target_layer=layer, amp=False)
    whole = every.write_maps(files, names(files), tmp_path / "all")
    mass = np.sort(whole.table["Mass"])
    threshold = float(mass[2])  # three of five are at it or over
    some = Explainer(
        network, preprocessing, FINDINGS, SHAPE, method, target_layer=layer, amp=False, calibration=fitted(threshold),
        reported_only=True,
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
    explainer = Explainer(network, preprocessing, FINDINGS, SHAPE, method, wanted="Mass,Effusion", amp=False)
    wanted = {"0.png": {"Effusion"}, "1.png": {"Mass", "Effusion"}, "2.png": {"Nodule"}}
    store = explainer.write_maps(files, names(files), tmp_path / "maps", wanted=wanted)
    assert store.images == ["0.png", "1.png"]
    assert store.findings == ("Mass", "Effusion")
    assert [store.on_image("0.png", finding) is not None for finding in store.findings] == [False, True]
    assert [store.on_image("1.png", finding) is not None for finding in store.findings] == [True, True]


@pytest.mark.parametrize("method", ["cam", "cam_layercam"])
def test_class_maps_are_computed_of_the_same_number_of_images_at_a_time(
    network: nn.Module, preprocessing: Compose, method: str
) -> None:
    explainer = Explainer(network, preprocessing, FINDINGS, SHAPE, method)
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
    explainer = Explainer(network, preprocessing, FINDINGS, SHAPE, method, wanted="Nodule", amp=False)
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
        ({"wanted": "Hernia"}, "does not know 'Hernia'; it knows Mass, Nodule, Effusion"),
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
        Explainer(network, preprocessing, FINDINGS, SHAPE, amp=False, **settings)
    assert isinstance(caught.value, SettingError)
    assert words in str(caught.value)


def test_operating_points_of_a_rule() -> None:
    assert operating_points(fitted(0.4), None, FINDINGS) == {"Mass": 0.4, "Nodule": 1.01}
    assert operating_points(fitted(0.4), "f1", FINDINGS) == {"Mass": 0.99}
    assert operating_points(None, None, FINDINGS) == {}


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
