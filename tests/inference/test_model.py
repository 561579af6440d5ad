"""The Model: one row an image in the order given, bad files reported, the numbers of ``evaluate.json``."""

import json
import pickle
import random
import shutil
import signal
import sys
from copy import deepcopy as copy_of
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cxr_monai.data.dataset import RadiographDataset
from cxr_monai.data.inputs import gather_files
from cxr_monai.data.loading import reading_loader
from cxr_monai.errors import CxrError
from cxr_monai.inference.model import Model, ModelSettings
from cxr_monai.labels import NIH14
from cxr_monai.networks.fixed_batches import FixedBatches, fixed_batch_size
from cxr_monai.networks.inferers import AutocastInferer, autocast_dtype, bfloat16_supported
from tests.support.bundle_runs import Phantoms, code_of, run
from tests.support.tiny_bundles import NETWORK, tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 14 findings, and a network of thousands of weights."""
    network = NETWORK | {"out_channels": len(NIH14)}
    return tiny_bundle(tmp_path_factory.mktemp("model") / "bundle", 0, labels=list(NIH14), network_def=network)


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


@pytest.fixture(scope="module")
def model(bundle: Path) -> Model:
    """The same, in float32."""
    return Model.open(bundle, amp=False)


def test_one_row_an_image_in_the_order_given(model: Model, phantoms: Phantoms) -> None:
    files = phantoms.files("test")[:5][::-1]
    result = model.predict(files, batch_size=2)
    assert list(result.table.columns) == ["image", *NIH14]
    assert list(result.table["image"]) == [str(file) for file in files]
    assert result.errors == []
    values = result.table[list(NIH14)].to_numpy()
    assert ((values >= 0) & (values <= 1)).all()
    assert len(np.unique(values.round(6), axis=0)) == 5  # each image its own row


def test_batches_and_names_change_nothing(model: Model, phantoms: Phantoms) -> None:
    files = phantoms.files("test")[:5]
    one = model.predict(files, batch_size=1)
    all_ = model.predict(files, names=["a", "b", "c", "d", "e"], batch_size=5)
    assert list(all_.table["image"]) == ["a", "b", "c", "d", "e"]
    np.testing.assert_allclose(one.table[list(NIH14)], all_.table[list(NIH14)], rtol=0, atol=1e-6)


@pytest.mark.skipif(not bfloat16_supported(torch.device("cpu")), reason="this processor has no bfloat16 instructions")
def test_in_bfloat16_a_film_has_the_same_bits_whatever_is_beside_it(bundle: Path, phantoms: Phantoms) -> None:
    model, files = Model.open(bundle), phantoms.files("test")[:5]
    network = model._computation.network
    assert isinstance(network, FixedBatches)
    shapes: set[tuple[int, ...]] = set()
    network.network.register_forward_pre_hook(lambda _, given: shapes.add(tuple(given[0].shape)))
    together = model.predict(files, batch_size=5).table[list(NIH14)].to_numpy()
    in_another_order = model.predict(files[::-1], batch_size=3).table[list(NIH14)].to_numpy()[::-1]
    alone = np.concatenate([model.predict([file]).table[list(NIH14)].to_numpy() for file in files])
    np.testing.assert_array_equal(in_another_order, together)
    np.testing.assert_array_equal(alone, together)
    assert shapes == {(network.size, *model.shape)}  # where bits depend on it, all is equal by that


def test_equal_to_evaluation(model: Model, bundle: Path, phantoms: Phantoms, elsewhere: Path) -> None:
    run(bundle, "evaluate", manifest=str(phantoms.manifest), output_dir="out", batch_size=8, amp=False)
    evaluated = pd.read_csv(elsewhere / "out" / "predictions.csv")
    files = phantoms.files("test")
    names = [file.relative_to(phantoms.root).as_posix() for file in files]
    predicted = model.predict(files, names).table
    assert list(predicted["image"]) == list(evaluated["image"])
    np.testing.assert_allclose(predicted[list(NIH14)], evaluated[list(NIH14)], rtol=0, atol=1e-6)
    about = json.loads((elsewhere / "out" / "predictions.csv.json").read_text())
    assert model.about["bundle"] == about["bundle"]
    assert model.about["precision"] == about["precision"] == "float32"


def test_bad_files_are_reported_and_the_rest_is_done(model: Model, phantoms: Phantoms, tmp_path: Path) -> None:
    good = phantoms.files("test")[:2]
    empty, text, cut = tmp_path / "empty.png", tmp_path / "text.png", tmp_path / "cut.png"
    empty.touch()
    text.write_text("not a picture")
    cut.write_bytes(good[0].read_bytes()[:100])
    result = model.predict([empty, good[0], text, tmp_path / "gone.png", good[1], cut], batch_size=4)
    assert list(result.table["image"]) == [str(file) for file in good]
    assert [(name, code) for name, code, _ in result.errors] == [
        (str(empty), "radiograph-empty"),
        (str(text), "radiograph-not-an-image"),
        (str(tmp_path / "gone.png"), "radiograph-not-found"),
        (str(cut), "radiograph-truncated"),
    ]
    assert all(reason for _, _, reason in result.errors)
    alone = model.predict(good).table
    np.testing.assert_allclose(result.table[list(NIH14)], alone[list(NIH14)], rtol=0, atol=1e-6)


def test_nothing_read_gives_an_empty_table(model: Model, tmp_path: Path) -> None:
    result = model.predict([tmp_path / "gone.png"])
    assert result.table.empty
    assert list(result.table.columns) == ["image", *NIH14]
    assert len(result.errors) == 1


def test_bundle_works_from_anywhere_by_a_relative_path(
    copy: Path, phantoms: Phantoms, model: Model, elsewhere: Path
) -> None:
    moved = copy.rename(elsewhere / "moved to another place")
    file = phantoms.files("test")[0]
    result = Model.open(moved.name, amp=False).predict([file])
    np.testing.assert_allclose(result.table[list(NIH14)], model.predict([file]).table[list(NIH14)], atol=1e-6)


def test_network_is_in_eval_mode_and_repeats_itself(bundle: Path, phantoms: Phantoms) -> None:
    made = Model.open(bundle)
    first = made.predict(phantoms.files("test")[:2]).table
    second = made.predict(phantoms.files("test")[:2]).table
    pd.testing.assert_frame_equal(first, second)
    assert not any(module.training for module in made.network.modules())
    assert made.about["precision"] == str(autocast_dtype(torch.device("cpu"), True)).removeprefix("torch.")


def test_missing_weights(copy: Path) -> None:
    (copy / "models" / "model.pt").unlink()
    with pytest.raises(CxrError) as error:
        Model.open(copy)
    assert code_of(error) == "weights-missing"


def test_missing_bundle(tmp_path: Path) -> None:
    with pytest.raises(CxrError, match="OUT/bundle") as error:
        Model.open(tmp_path / "nowhere")
    assert code_of(error) == "bundle-invalid"


# ---------------------------------------------------------------- what is predicted


def test_a_folder_names_files_by_their_path_below_it(phantoms: Phantoms) -> None:
    files, names = gather_files([phantoms.root])
    assert len(files) == 48
    assert names == sorted(phantoms.table["image"])
    assert all(file == phantoms.root / name for file, name in zip(files, names, strict=True))


def test_several_inputs_keep_their_order_and_a_file_given_twice_is_one(phantoms: Phantoms, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        shutil.copy(phantoms.files("test")[0], folder / "a.png")
    assert gather_files([two, one]) == ([two / "a.png", one / "a.png"], ["two/a.png", "one/a.png"])
    files, names = gather_files([two, one, one / "a.png"])
    assert files == [two / "a.png", one / "a.png"]
    assert names[0] == "two/a.png"
    assert len(set(names)) == 2


def test_a_manifest_names_its_images(phantoms: Phantoms) -> None:
    files, names = gather_files([phantoms.manifest])
    assert names == list(phantoms.table["image"])
    assert files[0] == phantoms.root / names[0]


def test_two_folders_of_one_name_give_two_names(phantoms: Phantoms, tmp_path: Path) -> None:
    """Names stand in the table's ``image`` column, which holds each once."""
    for place in ("here", "there"):
        (tmp_path / place / "images").mkdir(parents=True)
        shutil.copy(phantoms.files("test")[0], tmp_path / place / "images" / "a.png")
    _, names = gather_files([tmp_path / "here" / "images", tmp_path / "there" / "images"])
    assert len(set(names)) == 2


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(CxrError) as error:
        gather_files([tmp_path])
    assert code_of(error) == "no-images"


# ---------------------------------------------------------------- crops


class Mean(torch.nn.Module):
    """The mean of each image as its one logit."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(1, 2, 3))[:, None]


def test_crops_give_the_mean_of_their_logits() -> None:
    crops = torch.arange(2 * 10, dtype=torch.float32).reshape(2, 10, 1, 1, 1).expand(2, 10, 1, 4, 4)
    assert AutocastInferer(amp=False)(crops, Mean()).tolist() == [[4.5], [14.5]]
    assert AutocastInferer(amp=False)(crops[:, 0], Mean()).tolist() == [[0.0], [10.0]]


# ---------------------------------------------------------------- faster ways to the same numbers


def test_openvino_gives_the_same_probabilities(bundle: Path, model: Model, phantoms: Phantoms) -> None:
    pytest.importorskip("openvino")
    files = phantoms.files("test")[:5]
    exact = model.predict(files)
    made = Model.open(bundle, amp=False, runtime="openvino").predict(files, batch_size=2)
    np.testing.assert_allclose(made.table[list(NIH14)], exact.table[list(NIH14)], rtol=0, atol=1e-4)
    assert made.about["runtime"] == "openvino"
    assert exact.about["runtime"] == "torch"


@pytest.mark.skipif(not bfloat16_supported(torch.device("cpu")), reason="this processor has no bfloat16")
def test_openvino_computes_in_float32_where_bfloat16_is_too_coarse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("openvino")
    bundle = tiny_bundle(tmp_path / "bundle", 0)
    assert Model.open(bundle, runtime="openvino").about["precision"] == "bfloat16"
    monkeypatch.setattr("cxr_monai.inference.computation.largest_difference", lambda *_: 1.0)
    assert Model.open(bundle, runtime="openvino").about["precision"] == "float32"
    assert "OpenVINO computes in float32" in caplog.text


def test_a_runtime_that_is_not_there_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(CxrError, match=r"cxr-monai\[openvino\]") as error:
        Model.open(bundle, runtime="openvino")
    assert code_of(error) == "runtime-missing"
    with pytest.raises(CxrError, match="torch and openvino"):
        Model.open(bundle, runtime="tensorrt")


@pytest.mark.parametrize("workers", [None, 0, 1, 2])
def test_however_many_read_the_rows_are_those_of_the_files(
    model: Model, phantoms: Phantoms, tmp_path: Path, workers: int | None
) -> None:
    files = [*phantoms.files("test")[:7], tmp_path / "gone.png", phantoms.files("test")[0]]
    names = [str(number) for number in range(9)]
    result = model.predict(files, names, batch_size=2, num_workers=workers)
    assert list(result.table["image"]) == ["0", "1", "2", "3", "4", "5", "6", "8"]
    assert [(name, code) for name, code, _ in result.errors] == [("7", "radiograph-not-found")]
    values = result.table[list(NIH14)].to_numpy()
    np.testing.assert_allclose(values[0], values[-1], rtol=0, atol=1e-6)
    alone = model.predict(files[3:4]).table[list(NIH14)].to_numpy()
    np.testing.assert_allclose(values[3:4], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("workers", [None, 0, 2])
def test_predicting_leaves_the_process_alone(model: Model, phantoms: Phantoms, workers: int | None) -> None:
    def state() -> list[str]:
        states = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()  # noqa: NPY002
        return [str(part) for part in (signal.getsignal(signal.SIGTERM), torch.get_num_threads(), *states)]

    torch.rand(3)
    before = state()
    model.predict(phantoms.files("test")[:3], batch_size=2, num_workers=workers)
    assert state() == before


@pytest.mark.parametrize("workers", [None, 0, 2])
def test_no_row_is_lost_to_an_error_that_is_not_the_file_s(
    model: Model, phantoms: Phantoms, monkeypatch: pytest.MonkeyPatch, workers: int | None
) -> None:
    read = RadiographDataset.__getitem__

    def short_of_memory(dataset: RadiographDataset, index: int) -> dict:
        if index == 3:
            raise MemoryError("no room")
        return read(dataset, index)

    monkeypatch.setattr(RadiographDataset, "__getitem__", short_of_memory)
    with pytest.raises(MemoryError, match="no room"):
        model.predict(phantoms.files("test")[:5], batch_size=2, num_workers=workers)


def test_a_reader_that_ends_early_is_an_error(
    model: Model, phantoms: Phantoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_monai.inference.reading.reading_loader", lambda *told: list(reading_loader(*told))[:-1])
    with pytest.raises(RuntimeError, match="5 files were to be read, 4 came back"):
        model.predict(phantoms.files("test")[:5], batch_size=2)


# ---------------------------------------------------------------- the model itself


def test_a_model_crosses_a_process_boundary_as_its_settings(copy: Path, phantoms: Phantoms, elsewhere: Path) -> None:
    moved = copy.rename(elsewhere / "bundle")
    model = Model.open("bundle", weights=Path("bundle/models/model.pt"), device=torch.device("cpu"), amp=False)
    content = pickle.dumps(model)
    assert len(content) < 2000  # no weights, and folders that are found from anywhere
    assert pickle.loads(pickle.dumps(model.settings)) == model.settings == pickle.loads(content).settings
    assert model.settings.bundle == str(moved)
    assert ModelSettings(str(moved)) == ModelSettings(bundle=str(moved), amp=True, runtime="torch", batch_size=16)
    file = phantoms.files("test")[0]
    pd.testing.assert_frame_equal(pickle.loads(content).predict([file]).table, model.predict([file]).table)


def test_another_network_is_no_bundle_s(model: Model) -> None:
    changed = model.with_network(copy_of(model.network))
    assert changed.provenance == {}
    assert changed.settings.bundle == ""
    images = torch.rand(1, *model.shape, generator=torch.Generator().manual_seed(0))
    again = pickle.loads(pickle.dumps(changed))
    np.testing.assert_array_equal(again.logits(images), model.logits(images))


def test_bytes_and_arrays_are_predicted_as_their_files(model: Model, phantoms: Phantoms) -> None:
    file = phantoms.files("test")[0]
    with Image.open(file) as picture:
        array = np.asarray(picture)
    films = [file, str(file), file.read_bytes(), array, {"image": array, "image_axes": "HW"}, b"", b"none"]
    result = model.predict(films, batch_size=1)
    values = result.table[list(NIH14)].to_numpy()
    np.testing.assert_array_equal(values, np.repeat(values[:1], 5, axis=0))
    assert list(result.table["image"]) == [str(file), str(file), "image 3", "image 4", "image 5"]
    assert [(name, code) for name, code, _ in result.errors] == [
        ("image 6", "radiograph-empty"),
        ("image 7", "radiograph-not-an-image"),
    ]


def test_probabilities_and_maps_are_of_one_forward_pass(model: Model, phantoms: Phantoms) -> None:
    files = phantoms.files("test")[:3]
    (batch,) = model.read(files)
    passes: list[int] = []
    class_maps = model.class_maps()
    handle = class_maps.network.register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    probabilities, maps = model.probabilities_and_maps(batch.images)
    handle.remove()
    assert passes == [fixed_batch_size(model.shape)]
    assert model.class_maps() is class_maps
    assert maps.shape[:2] == probabilities.shape == (3, len(NIH14))
    predicted = model.predict(files).table[list(NIH14)].to_numpy()
    np.testing.assert_allclose(probabilities, predicted, rtol=0, atol=1e-6)
    # a map's mean and the finding's bias are its log-odds (cxr_monai.networks.class_maps)
    logits = maps.mean((-2, -1)) + class_maps.bias
    np.testing.assert_allclose(model.probabilities(logits), probabilities, rtol=0, atol=1e-6)


def test_a_batch_says_what_was_read(model: Model, phantoms: Phantoms) -> None:
    film = np.zeros((40, 60), np.uint8)
    film[:20] = 90  # below 40 % of 255
    (batch,) = model.read([film, "gone.png"], ["dark", "gone"])
    assert (batch.names, batch.readable) == (["dark", "gone"], [0])
    assert [(name, code) for name, code, _ in batch.errors] == [("gone", "radiograph-not-found")]
    assert not batch.images[1].any()
    torch.testing.assert_close(
        batch.geometry, torch.tensor([[40, 60, *[torch.nan] * 2], [torch.nan] * 4]).double(), equal_nan=True
    )
