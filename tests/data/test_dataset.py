"""From files to batches: what is kept, what is read anew, what happens to a bad file."""

import errno
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from monai.transforms import CenterSpatialCropd, Compose, Lambdad, RandLambdad, ScaleIntensityRanged
from PIL import Image

from cxr_monai.data.dataset import (
    RadiographDataset,
    inference_items,
    items_of_files,
    label_counts,
    manifest_items,
    open_manifest,
)
from cxr_monai.data.loading import Draw, EpochSampler, data_loader
from cxr_monai.data.manifest import build_manifest, write_manifest
from cxr_monai.errors import Code, ManifestError, SettingError, SplitError, StorageError
from cxr_monai.transforms.exposure import RandExposured
from cxr_monai.transforms.load_radiograph import LoadRadiographd
from cxr_monai.transforms.normalisation import NormaliseRadiographd
from cxr_monai.transforms.quantise import QuantiseRadiographd
from cxr_monai.transforms.resize_shortest import ResizeShortestd

SHAPE = (1, 32, 32)


def draw(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, SHAPE[1:], dtype=np.uint8)).save(path)
    return path


def pipeline(mode: str = "zero_one") -> Compose:
    before = [LoadRadiographd("image"), ResizeShortestd("image", 32), QuantiseRadiographd("image")]
    return Compose([*before, NormaliseRadiographd("image", mode)])


def item(path: Path, label: tuple[float, ...] = (1, 0)) -> dict:
    return {"image": str(path), "label": np.array(label, dtype=np.float32), "name": path.name}


def dataset(*paths: Path, cache: Path | None = None, mode: str = "zero_one") -> RadiographDataset:
    return RadiographDataset([item(path) for path in paths], pipeline(mode), SHAPE, cache)


def stored(path: Path) -> torch.Tensor:
    """What a file's image must be, read by Pillow alone."""
    return torch.from_numpy(np.asarray(Image.open(path), np.float32) / 255)[None]


class Counting(LoadRadiographd):
    """The reader, with a note of each file that it opened."""

    __slots__ = ("opened",)  # not among what makes a preparation another one

    def __init__(self) -> None:
        super().__init__("image")
        self.opened: list[str] = []

    def __call__(self, data: dict) -> dict:
        self.opened.append(Path(data["image"]).name)
        return super().__call__(data)


# -- one item


@pytest.mark.parametrize("cached", [False, True])
def test_an_item_has_image_label_name_and_no_error(tmp_path: Path, cached: bool) -> None:
    path = draw(tmp_path / "a.png", 0)
    for _ in range(2):  # read, then kept
        result = dataset(path, cache=tmp_path / "cache" if cached else None)[0]
        assert set(result) == {"image", "label", "name", "error"}
        assert type(result["image"]) is torch.Tensor
        assert result["image"].dtype == result["label"].dtype == torch.float32
        torch.testing.assert_close(result["image"], stored(path), rtol=0, atol=1e-6)
        assert result["label"].tolist() == [1, 0]
        assert (result["name"], result["error"]) == ("a.png", "")


def test_the_label_is_a_copy(tmp_path: Path) -> None:
    data = dataset(draw(tmp_path / "a.png", 0))
    data[0]["label"].fill_(7)
    assert data[0]["label"].tolist() == [1, 0]


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "radiograph-empty"), (b"no image", "radiograph-not-an-image"), (None, "radiograph-not-found")],
)
def test_a_bad_file_is_blank_with_unknown_labels_and_its_code(
    tmp_path: Path, content: bytes | None, code: str, cached: bool
) -> None:
    good, bad = draw(tmp_path / "good.png", 0), tmp_path / "bad.png"
    if content is not None:
        bad.write_bytes(content)
    data = dataset(good, bad, good, cache=tmp_path / "cache" if cached else None)
    for _ in range(2):
        result = data[1]
        assert torch.equal(result["image"], torch.zeros(SHAPE))
        assert result["label"].shape == (2,)
        assert result["label"].isnan().all()
        assert result["name"] == "bad.png"
        assert result["error"].startswith(f"{code}: ")
        assert str(tmp_path) not in result["error"]
    batch = next(iter(data_loader(data, 3)))
    assert [bool(error) for error in batch["error"]] == [False, True, False]
    assert batch["image"].shape == (3, *SHAPE)


def fail(image: torch.Tensor) -> torch.Tensor:
    raise ZeroDivisionError


def test_an_error_of_the_program_is_not_taken_for_a_bad_file(tmp_path: Path) -> None:
    transform = Compose([LoadRadiographd("image"), Lambdad("image", fail)])
    with pytest.raises(RuntimeError, match="applying transform"):
        RadiographDataset([item(draw(tmp_path / "a.png", 0))], transform, SHAPE)[0]


# -- what is kept


def test_with_and_without_a_cache_an_item_has_the_same_bits_and_a_kept_file_is_not_opened(tmp_path: Path) -> None:
    paths, reader = [draw(tmp_path / f"{n}.png", n) for n in range(3)], Counting()
    steps = [ResizeShortestd("image", 24), QuantiseRadiographd("image"), NormaliseRadiographd("image", "imagenet")]
    read = RadiographDataset([item(path) for path in paths], Compose([LoadRadiographd("image"), *steps]), SHAPE)
    kept = RadiographDataset([item(path) for path in paths], Compose([reader, *steps]), SHAPE, tmp_path / "cache")
    assert kept.unprepared() == 3
    kept.prepare()
    assert (kept.unprepared(), reader.opened) == (0, ["0.png", "1.png", "2.png"])
    for index in range(3):
        assert torch.equal(kept[index]["image"], read[index]["image"])
        assert kept[index]["label"].tolist() == [1, 0]
    assert len(reader.opened) == 3
    again = Counting()
    other = RadiographDataset([item(path) for path in paths], Compose([again, *steps]), SHAPE, tmp_path / "cache")
    other.prepare()
    assert torch.equal(other[2]["image"], read[2]["image"])
    assert again.opened == []


def test_before_it_is_prepared_and_without_a_cache_a_file_is_opened_each_time(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png", 0)
    for cache in (None, tmp_path / "cache"):
        reader = Counting()
        data = RadiographDataset([item(path)], Compose([reader, QuantiseRadiographd("image")]), SHAPE, cache)
        assert torch.equal(data[0]["image"], data[0]["image"])
        assert reader.opened == ["a.png", "a.png"]


def test_a_file_replaced_during_a_training_is_not_noticed_until_the_next(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png", 0)
    old = stored(path)
    data = dataset(path, cache=tmp_path / "cache")
    data.prepare()
    draw(path, 1)
    torch.testing.assert_close(data[0]["image"], old, rtol=0, atol=1e-6)
    later = dataset(path, cache=tmp_path / "cache")
    assert later.unprepared() == 1
    later.prepare()
    torch.testing.assert_close(later[0]["image"], stored(path), rtol=0, atol=1e-6)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EIO])
def test_a_cache_that_may_not_be_written_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def refuse(folder: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("cxr_monai.data.cache.pixels._private", refuse)
    path = draw(tmp_path / "a.png", 0)
    data = dataset(path, cache=tmp_path / "cache")
    data.prepare()
    assert "--cache_dir" in caplog.text
    torch.testing.assert_close(data[0]["image"], stored(path), rtol=0, atol=1e-6)


def test_a_full_disk_stops_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("cxr_monai.data.cache.pixels._private", refuse)
    with pytest.raises(StorageError) as caught:
        dataset(draw(tmp_path / "a.png", 0), cache=tmp_path / "cache").prepare()
    assert caught.value.code == Code.DISK_FULL


def test_a_deep_image_has_the_same_bits_from_the_cache(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 2**16, SHAPE[1:], dtype=np.uint16)
    path = tmp_path / "deep.png"
    Image.fromarray(levels).save(path)
    read, kept = dataset(path), dataset(path, cache=tmp_path / "cache")
    assert kept.plane_bytes() == 2 * levels.size
    kept.prepare()
    assert kept.unprepared() == 0
    path.write_bytes(b"")  # from the cache, then
    image = kept[0]["image"]
    torch.testing.assert_close(image, torch.from_numpy(levels / np.float32(65535))[None], rtol=0, atol=1e-7)
    assert len(image.unique()) > 256
    Image.fromarray(levels).save(path)
    assert torch.equal(read[0]["image"], image)


@pytest.mark.parametrize("content", [b"no database" * 500, b""], ids=["garbage", "empty"])
def test_a_damaged_index_is_unprepared_and_repaired(tmp_path: Path, content: bytes) -> None:
    path = draw(tmp_path / "a.png", 0)
    data = dataset(path, cache=tmp_path / "cache")
    data.prepare()
    assert data.cache is not None
    data.cache.index_path.write_bytes(content)
    assert data.unprepared() == 1
    data.prepare()
    assert data.unprepared() == 0


def test_a_plane_is_measured_by_the_first_file_that_can_be_read(tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.touch()
    assert dataset(bad, draw(tmp_path / "a.png", 0), cache=tmp_path / "cache").plane_bytes() == 32 * 32
    assert dataset(bad, cache=tmp_path / "cache").plane_bytes() == 0


def test_a_bad_file_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"")
    data = dataset(path, draw(tmp_path / "b.png", 1), cache=tmp_path / "cache")
    data.prepare()
    assert data[0]["error"]
    assert data[1]["error"] == ""
    draw(path, 0)
    assert data[0]["error"] == ""


def test_sizes_have_entries_of_their_own_and_what_follows_shares_them(tmp_path: Path) -> None:
    path, cache = draw(tmp_path / "a.png", 0), tmp_path / "cache"
    plain, stretched = dataset(path, cache=cache), dataset(path, cache=cache, mode="minus_one_one")
    plain.prepare()
    assert stretched.unprepared() == 0
    stretched.prepare()
    torch.testing.assert_close(stretched[0]["image"], plain[0]["image"] * 2 - 1)
    steps = [LoadRadiographd("image"), ResizeShortestd("image", 24), QuantiseRadiographd("image")]
    assert RadiographDataset([item(path)], Compose(steps), SHAPE, cache).unprepared() == 1


def test_what_is_random_is_not_kept_and_a_pipeline_without_whole_levels_keeps_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = draw(tmp_path / "a.png", 0)
    added = iter([1.0, 2.0])
    steps = [QuantiseRadiographd("image"), RandLambdad("image", lambda image: image + next(added), prob=1.0)]
    data = RadiographDataset([item(path)], Compose([LoadRadiographd("image"), *steps]), SHAPE, tmp_path / "cache")
    data.prepare()
    first, second = data[0]["image"], data[0]["image"]
    torch.testing.assert_close(second - first, torch.ones(SHAPE))
    with caplog.at_level("INFO"):
        plain = RadiographDataset([item(path)], Compose([LoadRadiographd("image")]), SHAPE, tmp_path / "cache")
    assert "QuantiseRadiographd" in caplog.text
    plain.prepare()
    assert plain.unprepared() == 1
    assert plain[0]["error"] == ""


# -- items


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    names = [f"{n}.png" for n in range(4)]
    for n, name in enumerate(names):
        draw(tmp_path / "images" / name, n)
    table = pd.DataFrame({"image": names, "patient_id": range(4), "split": ["train", "train", "val", ""]})
    table = table.assign(Mass=[0, 1, np.nan, 1], Edema=[1, 0, 0, 1])
    write_manifest(build_manifest(table, tmp_path / "images", "local"), tmp_path / "m.csv")
    return tmp_path / "m.csv"


def test_items_of_a_split_in_the_networks_order(manifest: Path) -> None:
    found = manifest_items(open_manifest(str(manifest)), "train", ["Edema", "Mass"])
    assert [(one["name"], one["label"].tolist()) for one in found] == [("0.png", [1, 0]), ("1.png", [0, 1])]
    assert found[0]["image"] == str(manifest.parent / "images" / "0.png")
    assert found[0]["label"].dtype == np.float32
    everything = manifest_items(open_manifest(str(manifest)), None, ["Mass"])
    assert [one["name"] for one in everything] == ["0.png", "1.png", "2.png", "3.png"]
    assert np.isnan(everything[2]["label"][0])


def test_items_refuse_what_the_manifest_lacks(manifest: Path, tmp_path: Path) -> None:
    table = open_manifest(str(manifest))
    with pytest.raises(ManifestError, match="'Nodule'"):
        manifest_items(table, "train", ["Nodule"])
    with pytest.raises(SplitError, match="'test'"):
        manifest_items(table, "test", ["Mass"])
    with pytest.raises(SettingError, match="--manifest"):
        open_manifest(None)
    with pytest.raises(ManifestError) as caught:
        open_manifest(str(manifest), str(tmp_path / "elsewhere"))
    assert caught.value.code == Code.IMAGES_MISSING


def test_inference_items_of_a_manifest_or_a_folder_have_unknown_labels(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "images" / "notes.txt").touch()
    draw(tmp_path / "images" / "sub" / "9.PNG", 9)
    of_manifest = inference_items(str(manifest), None, ["Mass", "Edema"])
    of_folder = inference_items(None, str(tmp_path / "images"), ["Mass", "Edema"])
    assert [one["name"] for one in of_manifest] == ["0.png", "1.png", "2.png", "3.png"]
    assert [one["name"] for one in of_folder] == ["0.png", "1.png", "2.png", "3.png", "sub/9.PNG"]
    for one in of_manifest + of_folder:
        assert np.isnan(one["label"]).all()
        assert one["label"].shape == (2,)
        assert Path(one["image"]).is_file()


def test_inference_goes_on_where_a_manifests_image_is_gone(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "images" / "1.png").unlink()
    found = inference_items(str(manifest), None, ["Mass"])
    data = RadiographDataset(found, pipeline(), SHAPE)
    assert [data[n]["error"][:20] for n in range(4)] == ["", "radiograph-not-found", "", ""]


def test_inference_needs_something_to_read(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="--dataset_dir"):
        inference_items(None, None, ["Mass"])
    with pytest.raises(ManifestError) as caught:
        inference_items(None, str(tmp_path), ["Mass"])
    assert caught.value.code == Code.NO_IMAGES


# -- batches


class Numbers(torch.utils.data.Dataset):
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index


def batches(count: int, size: int, **settings: object) -> list[list[int]]:
    return [batch.tolist() for batch in data_loader(Numbers(count), size, **settings)]  # type: ignore[arg-type]


def test_without_a_sampler_every_image_comes_once_in_order() -> None:
    assert batches(5, 2) == [[0, 1], [2, 3], [4]]
    sampler = torch.utils.data.SequentialSampler(Numbers(5))
    assert batches(5, 2, sampler=sampler) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_random_view_depends_on_seed_epoch_and_index_alone(tmp_path: Path, workers: int) -> None:
    files = [draw(tmp_path / f"{n}.png", n) for n in range(6)]
    transform = Compose([LoadRadiographd("image"), RandExposured("image", prob=0.9)])
    data = RadiographDataset([item(path) for path in files], transform, SHAPE, seed=5)
    sampler = EpochSampler(6, 2, seed=5)
    loading = data_loader(data, 2, num_workers=workers, sampler=sampler)
    seen = {}
    for epoch in (1, 2):
        sampler.start(epoch)
        for batch in loading:
            seen |= {(epoch, name): image for name, image in zip(batch["name"], batch["image"], strict=True)}
    for (epoch, name), image in seen.items():
        alone = RadiographDataset([item(path) for path in files], transform, SHAPE, seed=5)
        assert torch.equal(alone[Draw(epoch, int(name[0]))]["image"], image)
    assert any(not torch.equal(seen[1, f"{n}.png"], seen[2, f"{n}.png"]) for n in range(6))


@pytest.mark.parametrize(
    ("asked", "gpu", "cores", "workers"),
    [(None, False, 8, 0), (None, True, 4, 4), (None, True, 64, 8), (3, False, 4, 3)],
)
def test_workers_suit_the_machine(
    monkeypatch: pytest.MonkeyPatch, asked: int | None, gpu: bool, cores: int, workers: int
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    loading = data_loader(Numbers(4), 2, num_workers=asked)
    assert loading.num_workers == workers
    assert loading.persistent_workers == (workers > 0)
    assert loading.pin_memory == gpu


def test_items_of_files_keep_names_and_order() -> None:
    found = items_of_files([Path("b.png"), "a.png"], ["second", "first"], ["Mass"])
    assert [(one["image"], one["name"]) for one in found] == [("b.png", "second"), ("a.png", "first")]


class With(LoadRadiographd):
    """A step that was given something."""

    def __init__(self, given: object) -> None:
        super().__init__("image")
        self.given = given


@pytest.mark.parametrize(
    "step",
    [
        RandLambdad("image", prob=1.0, func=abs),
        Lambdad("image", func=lambda image: image),
        With(torch.zeros(2)),
        With(np.zeros(2)),
        With(np.random.RandomState(0)),
        With({"inside": [RandExposured("image")]}),
        With(iter([1])),
    ],
    ids=["random", "nameless", "tensor", "array", "generator", "random inside", "iterator"],
)
def test_nothing_is_kept_of_a_step_that_is_random_or_cannot_be_named(
    step: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    steps = [LoadRadiographd("image"), ResizeShortestd("image", 32), step, QuantiseRadiographd("image")]
    made = RadiographDataset([item(draw(tmp_path / "a.png", 0))], Compose(steps), SHAPE, tmp_path / "cache")
    assert made.cache is None
    assert "no decoded image is kept" in caplog.text


def key(step: object, folder: Path) -> str:
    made = RadiographDataset([], Compose([step, QuantiseRadiographd("image")]), SHAPE, folder)
    assert made.cache is not None
    return made.cache.folder.name


def test_steps_with_objects_are_told_apart_by_what_these_hold_in_every_process(tmp_path: Path) -> None:
    def scaled(top: float) -> str:
        return key(ScaleIntensityRanged("image", 0, top, 0, 1), tmp_path)

    assert scaled(1) == scaled(1) != scaled(0.5)
    code = (
        "from pathlib import Path; from monai.transforms import ScaleIntensityRanged\n"
        "from tests.data.test_dataset import key\n"
        f"print(key(ScaleIntensityRanged('image', 0, 1, 0, 1), Path({str(tmp_path)!r})))"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert there.stdout.split()[-1] == scaled(1)


def test_what_a_step_was_given_tells_it_apart(tmp_path: Path) -> None:
    given: list[object] = [
        None, True, 1, 1.0, "1", b"1", (1, 2), [1, 2], {1, 2}, {1: 2}, torch.float32, np.float32, np.dtype("f4"),
        np.float32(1), Code.DISK_FULL, abs, draw, partial(draw, seed=1), partial(draw, seed=2), QuantiseRadiographd,
        QuantiseRadiographd("image"), QuantiseRadiographd("other"), ["1, 2"], ["1", "2"],
    ]  # fmt: skip
    keys = [key(With(one), tmp_path) for one in given]
    assert len(set(keys)) == len(given)
    assert keys == [key(With(one), tmp_path) for one in given]
    assert key(With({"a": 1, "b": 2}), tmp_path) == key(With({"b": 2, "a": 1}), tmp_path)


def test_counts_are_of_known_labels_in_one_part(tmp_path: Path) -> None:
    rows = [("a", "train", "1", "0"), ("b", "train", "0", ""), ("c", "train", "1", ""), ("d", "val", "1", "1")]
    table = pd.DataFrame(rows, columns=["image", "split", "Mass", "Hernia"]).assign(patient_id=list("abcd"))
    manifest = build_manifest(table, tmp_path, "local")
    assert label_counts(manifest, "train", ["Hernia", "Mass"]) == [(0, 1), (2, 1)]


def test_films_in_memory_are_read_as_files_are_and_not_kept(tmp_path: Path) -> None:
    levels = np.random.default_rng(1).integers(0, 256, (40, 52), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    given = [item(tmp_path / "a.png"), item(tmp_path / "a.png") | {"image": levels}]
    given.append(given[1] | {"image": levels.astype(np.int16), "image_bits": 8})
    given.append(given[1] | {"image": levels.astype(np.int16)})
    steps = [ResizeShortestd("image", 32), QuantiseRadiographd("image"), CenterSpatialCropd("image", roi_size=(32, 32))]
    dataset(tmp_path / "a.png", cache=tmp_path / "cache").prepare()  # an index, in which no array can be looked up
    data = RadiographDataset(given, Compose([LoadRadiographd("image"), *steps]), SHAPE, tmp_path / "cache")
    assert (data.unprepared(), data.plane_bytes()) == (4, 0)
    data.prepare()
    assert data.cache is None
    first, second, third, refused = (data[at] for at in range(4))
    assert torch.equal(first["image"], second["image"])
    assert torch.equal(first["image"], third["image"])
    assert (first["error"], second["error"], third["error"]) == ("", "", "")
    assert refused["error"].startswith("radiograph-ambiguous: ")


@pytest.mark.parametrize("quantised", [True, False])
def test_what_an_item_says_of_its_film_reaches_every_pipeline(quantised: bool) -> None:
    levels = np.random.default_rng(1).integers(0, 4096, (40, 32), dtype=np.int16)
    stated = [{"image_bits": 12}, {"image_value_range": [0, 4095]}, {"image_bits": 12, "image_axes": "WH"}]
    films = [{"image": levels.T if "image_axes" in words else levels, **words} for words in stated]
    steps = [QuantiseRadiographd("image")] if quantised else []
    pipeline = Compose([LoadRadiographd("image"), *steps, CenterSpatialCropd("image", roi_size=(40, 32))])
    data = RadiographDataset(films, pipeline, (1, 40, 32))
    read = [data[at] for at in range(3)]
    assert [film["error"] for film in read] == [""] * 3
    expected = torch.from_numpy(levels / 4095).float()[None]
    for film in read:
        assert torch.allclose(film["image"], expected, atol=2**-13)


@pytest.mark.parametrize("quantised", [True, False])
def test_what_reading_says_is_told_by_every_pipeline(tmp_path: Path, quantised: bool) -> None:
    dark = np.random.default_rng(1).integers(0, 64, SHAPE[1:], dtype=np.uint8)
    Image.fromarray(dark).save(tmp_path / "dark.png")
    steps = [QuantiseRadiographd("image")] if quantised else []
    pipeline = Compose([LoadRadiographd("image"), *steps])
    data = RadiographDataset([item(tmp_path / "dark.png")], pipeline, SHAPE, with_notes=True)
    assert data[0]["notes"].startswith("nearly black")


@pytest.mark.parametrize("label", [[1, 0], (1.0, 0.0), np.array([1, 0], np.float64), torch.tensor([1.0, 0.0])])
def test_a_label_may_be_of_any_kind_of_numbers(tmp_path: Path, label: object) -> None:
    data = RadiographDataset([{"image": draw(tmp_path / "a.png", 0), "label": label}], pipeline(), SHAPE)
    assert data[0]["label"].dtype == torch.float32
    assert data[0]["label"].tolist() == [1, 0]
