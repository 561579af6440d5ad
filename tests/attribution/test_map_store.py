"""A folder of maps: what is written is read, whole parts alone are there, and what does not fit is refused."""

import errno
import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cxr_monai.attribution import map_store as module
from cxr_monai.attribution.map_store import MAPS_CSV, MAPS_JSON, MapStore, MapWriter
from cxr_monai.attribution.view import View
from cxr_monai.errors import Code, EvaluationError, StorageError, UsageError

FINDINGS = ("Mass", "Pleural_Thickening", "Hernia")
WHAT: dict[str, Any] = {
    "findings": list(FINDINGS),
    "points": None,
    "method": "cam",
    "bundle": {"name": "b", "digest": "d", "own_weights": True},
    "root": "/images",
}
NAN = float("nan")


def view(number: int) -> View:
    return View(20 + number, 30, 1.5, 2.25, 12, 24.5, (0.2, 0.1) if number % 2 else None)


def maps(number: int) -> np.ndarray:
    """Return maps ``[3, 4, 5]`` in very different units, the second one 0, the third not kept in every third image."""
    made = np.random.default_rng(number).random((3, 4, 5), dtype=np.float32)
    made[0] *= 1e-6
    made[1] = 0
    made[2] *= 4e5  # beyond float16
    if number % 3 == 2:
        made[2] = np.nan
    return made


def add(writer: MapWriter, numbers: Iterable[int]) -> None:
    for number in numbers:
        writer.add(f"a/{number}.png", view(number), np.array([0.1, 0.5, number / 100], np.float32), maps(number))


def written(folder: Path, images: int = 5, **changes: Any) -> MapStore:
    writer = MapWriter(folder, WHAT | changes)
    add(writer, range(images))
    return writer.finish()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def parts_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IMAGES_PER_FILE", 2)


def refused(folder: Path) -> EvaluationError:
    with pytest.raises(EvaluationError) as caught:
        MapStore.open(folder)
    assert caught.value.code == Code.MAPS_INVALID
    assert "cut or changed" not in caught.value.message  # the content is refused, whatever the mark says of it
    return caught.value


@pytest.mark.usefixtures("parts_of_two")
def test_what_is_written_is_read(tmp_path: Path) -> None:
    written(tmp_path / "maps")
    store = MapStore.open(tmp_path / "maps")
    assert len(store.parts) == 3  # two, two, one
    assert store.findings == FINDINGS
    assert store.points is None
    assert store.about["bundle"] == WHAT["bundle"]
    assert store.images == store.table["image"].tolist() == [f"a/{number}.png" for number in range(5)]
    for number in (4, 0, 3, 1, 2):  # in any order
        image, expected = f"a/{number}.png", maps(number)
        assert store.view(image) == view(number)
        grid = store.grid(image)
        assert grid.dtype == np.float32
        for kept, made in zip(grid, expected, strict=True):
            # float16 of shares of the maximum: half of its last of eleven bits
            np.testing.assert_allclose(kept, made, rtol=2**-11, atol=1e-7 * np.nan_to_num(made).max())
        assert store.probability(image, "Hernia") == pytest.approx(number / 100)
        assert store.probability(image, "Mass") == pytest.approx(0.1)


def test_the_maximum_is_exact(tmp_path: Path) -> None:
    store = written(tmp_path, images=2)
    np.testing.assert_array_equal(store.grid("a/1.png").max((1, 2)), maps(1).max((1, 2)))


def test_a_map_that_was_not_kept_is_nan_and_its_neighbours_are_not(tmp_path: Path) -> None:
    store = written(tmp_path)
    assert np.isnan(store.grid("a/2.png")).all((1, 2)).tolist() == [False, False, True]
    assert not np.isnan(store.grid("a/2.png")[:2]).any()
    assert store.on_image("a/2.png", "Hernia") is None
    assert store.probability("a/2.png", "Hernia") == pytest.approx(0.02)  # known all the same
    nothing = store.on_image("a/2.png", "Pleural_Thickening")  # kept and 0 is not the same as not kept
    assert nothing is not None
    assert not nothing.any()


@pytest.mark.parametrize("points", [None, (0.0, 0.3), (-0.013392857142857123, 0.07142857142857142)])
@pytest.mark.parametrize("shape", [None, (7, 9)])
def test_on_image_is_the_grid_placed(
    tmp_path: Path, points: tuple[float, float] | None, shape: tuple[int, int] | None
) -> None:
    written(tmp_path, points=points and list(points))
    store = MapStore.open(tmp_path)
    assert store.points == points
    placed = store.on_image("a/1.png", "Mass", shape)
    assert placed is not None
    assert placed.shape == (shape or (21, 30))
    np.testing.assert_allclose(placed, view(1).place(store.grid("a/1.png")[0], points, shape), rtol=1e-6)
    assert placed.max() > 0


def test_the_table(tmp_path: Path) -> None:
    store = written(tmp_path)
    columns = ["image", "height", "width", "top", "left", "rows", "columns", "row_spacing", "column_spacing"]
    assert list(store.table) == [*columns, *FINDINGS]
    assert store.table["height"].tolist() == [20, 21, 22, 23, 24]
    assert store.table["height"].dtype.kind == store.table["width"].dtype.kind == "i"
    assert store.table["row_spacing"].isna().tolist() == [True, False, True, False, True]
    for_people = pd.read_csv(tmp_path / MAPS_CSV)
    pd.testing.assert_frame_equal(for_people.drop(columns="no_map"), store.table, check_dtype=False)


def test_the_folder_above_opens_too(tmp_path: Path) -> None:
    written(tmp_path / "explanations" / "maps")
    assert MapStore.open(tmp_path / "explanations").folder == tmp_path / "explanations" / "maps"


def test_no_image_at_all(tmp_path: Path) -> None:
    written(tmp_path, images=0)
    store = MapStore.open(tmp_path)
    assert store.images == []
    assert len(store.table) == 0
    assert list(store.table)[-3:] == list(FINDINGS)


@pytest.mark.usefixtures("parts_of_two")
def test_a_writer_goes_on_after_the_last_whole_part(tmp_path: Path) -> None:
    writer = MapWriter(tmp_path, WHAT)
    add(writer, range(3))  # killed here: the third was in memory
    again = MapWriter(tmp_path, WHAT)
    assert again.done == {"a/0.png", "a/1.png"}
    first = (tmp_path / "maps_00000.npz").read_bytes()
    add(again, range(2, 5))
    store = again.finish()
    assert (tmp_path / "maps_00000.npz").read_bytes() == first
    assert store.images == [f"a/{number}.png" for number in range(5)]
    np.testing.assert_allclose(store.grid("a/4.png")[0], maps(4)[0], rtol=2**-11)
    # and once more with nothing to do
    assert MapWriter(tmp_path, WHAT).finish().images == store.images
    assert len(list(tmp_path.glob("maps_*.npz"))) == 3


@pytest.mark.usefixtures("parts_of_two")
def test_no_part_is_written_over_where_one_was_deleted(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "maps_00000.npz").unlink()
    again = MapWriter(tmp_path, WHAT)
    assert again.done == {"a/2.png", "a/3.png", "a/4.png"}
    add(again, range(2))
    assert sorted(again.finish().images) == [f"a/{number}.png" for number in range(5)]


def test_the_images_may_move_meanwhile(tmp_path: Path) -> None:
    written(tmp_path)
    assert len(MapWriter(tmp_path, WHAT | {"root": "/elsewhere"}).done) == 5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"method": "gradcam"}, "method is 'cam', not 'gradcam'"),
        ({"findings": ["Mass"]}, "findings"),
        ({"points": [0.0, 0.25]}, "points is None"),
        ({"bundle": {"name": "b", "digest": "e", "own_weights": True}}, "bundle"),
        ({"stride": 8}, "stride is None, not 8"),
    ],
)
def test_other_settings_are_refused_and_nothing_is_changed(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    written(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="other maps are here") as caught:
        MapWriter(tmp_path, WHAT | change)
    assert caught.value.code == Code.OUTPUT_EXISTS
    assert named in str(caught.value)
    assert "--out" in str(caught.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", [MAPS_JSON, MAPS_CSV, "maps_00000.npz"])
def test_a_file_of_that_name_that_is_no_map_is_refused_and_goes_if_forced(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"somebody's")
    (tmp_path / "notes.txt").write_bytes(b"mine")
    with pytest.raises(UsageError, match="--force") as caught:
        MapWriter(tmp_path, WHAT)
    assert caught.value.code == Code.OUTPUT_EXISTS
    assert contents(tmp_path) == {name: b"somebody's", "notes.txt": b"mine"}
    writer = MapWriter(tmp_path, WHAT, force=True)
    assert writer.done == set()
    assert writer.finish().images == []
    assert {path.name for path in tmp_path.iterdir()} == {MAPS_JSON, MAPS_CSV, "notes.txt"}


@pytest.mark.usefixtures("parts_of_two")
def test_other_maps_go_if_forced_when_the_first_part_is_there(tmp_path: Path) -> None:
    written(tmp_path)
    before = contents(tmp_path)
    writer = MapWriter(tmp_path, WHAT | {"method": "gradcam"}, force=True)
    assert writer.done == set()
    add(writer, range(7, 8))
    assert contents(tmp_path) == before
    assert len(MapStore.open(tmp_path).images) == 5
    add(writer, range(8, 9))
    assert set(contents(tmp_path)) == {MAPS_JSON, "maps_00000.npz"}
    assert MapStore.open(tmp_path, unfinished=True).images == ["a/7.png", "a/8.png"]
    store = writer.finish()
    assert store.about["method"] == "gradcam"
    assert MapStore.open(tmp_path).images == ["a/7.png", "a/8.png"]


@pytest.mark.usefixtures("parts_of_two")
@pytest.mark.parametrize("failing", ["maps_00000.npz", MAPS_JSON])
def test_a_disk_that_is_full_leaves_the_other_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    written(tmp_path)
    before = contents(tmp_path)
    writer = MapWriter(tmp_path, WHAT | {"method": "gradcam"}, force=True)
    add(writer, range(1))
    opened = Path.open

    def full(path: Path, mode: str = "r", *options: Any, **more: Any) -> Any:
        if mode == "wb" and path.name.startswith(failing):
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, mode, *options, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StorageError) as caught:
        add(writer, range(1, 2))
    assert caught.value.code == Code.DISK_FULL
    monkeypatch.undo()
    assert contents(tmp_path) == before
    assert len(MapStore.open(tmp_path).images) == 5


def test_a_store_that_is_complete_lists_its_files_with_digests(tmp_path: Path) -> None:
    written(tmp_path)
    mark = json.loads((tmp_path / MAPS_JSON).read_text())["complete"]
    assert set(mark) == {MAPS_CSV, "maps_00000.npz", "this file"}
    assert mark[MAPS_CSV] == hashlib.sha256((tmp_path / MAPS_CSV).read_bytes()).hexdigest()
    assert "complete" not in MapStore.open(tmp_path).about


@pytest.mark.parametrize("name", [MAPS_JSON, MAPS_CSV, "maps_00000.npz"])
def test_a_file_that_was_exchanged_is_refused(name: str, tmp_path: Path) -> None:
    """What takes its place is whole: another store's."""
    written(tmp_path / "ours")
    written(tmp_path / "theirs", images=4, root="/elsewhere")
    shutil.copy(tmp_path / "theirs" / name, tmp_path / "ours" / name)
    with pytest.raises(EvaluationError, match="cut or changed") as caught:
        MapStore.open(tmp_path / "ours")
    assert caught.value.code == Code.MAPS_INVALID
    assert caught.value.where.startswith(str(tmp_path / "ours"))
    again = tmp_path / "ours"
    if name != MAPS_CSV:  # nor does a writer take the part for its own: one of the two is not what it was
        with pytest.raises(EvaluationError, match="Delete it"):
            MapWriter(again, WHAT)
        (again / "maps_00000.npz").unlink()
    writer = MapWriter(again, WHAT)
    add(writer, [number for number in range(5) if f"a/{number}.png" not in writer.done])
    assert len(writer.finish().images) == 5
    assert len(MapStore.open(again).images) == 5


def test_a_part_that_is_missing_makes_it_incomplete(tmp_path: Path) -> None:
    written(tmp_path).parts[0].unlink()
    with pytest.raises(EvaluationError, match="deleted") as caught:
        MapStore.open(tmp_path)
    assert caught.value.code == Code.RESULT_INCOMPLETE


@pytest.mark.usefixtures("parts_of_two")
def test_while_more_is_added_there_is_no_mark(tmp_path: Path) -> None:
    written(tmp_path)
    writer = MapWriter(tmp_path, WHAT)
    add(writer, range(5, 7))
    with pytest.raises(EvaluationError) as caught:
        MapStore.open(tmp_path)
    assert caught.value.code == Code.RESULT_INCOMPLETE
    assert "complete" not in json.loads((tmp_path / MAPS_JSON).read_text())
    assert len(writer.finish().images) == 7


def test_a_store_of_before_there_were_marks_is_read_and_marked_by_its_command(tmp_path: Path) -> None:
    written(tmp_path)
    about = json.loads((tmp_path / MAPS_JSON).read_text())
    del about["complete"]
    (tmp_path / MAPS_JSON).write_text(json.dumps(about))
    assert len(MapStore.open(tmp_path).images) == 5
    MapWriter(tmp_path, WHAT).finish()
    assert "complete" in json.loads((tmp_path / MAPS_JSON).read_text())
    (tmp_path / MAPS_CSV).unlink()
    with pytest.raises(EvaluationError, match="interrupted"):
        MapStore.open(tmp_path)


def test_points_that_are_a_pair_of_any_kind_are_the_same_settings(tmp_path: Path) -> None:
    written(tmp_path, points=(0.0, 0.25))
    assert len(MapWriter(tmp_path, WHAT | {"points": [0.0, 0.25]}).done) == 5


def test_a_folder_without_maps_says_how_they_are_made(tmp_path: Path) -> None:
    assert "cxr-monai explain" in str(refused(tmp_path))
    assert str(tmp_path / "nowhere") in str(refused(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "7", '"maps"', '{"format": 1}', '{"format": 2, "findings": [], "points": null}',
     '{"format": 1, "findings": ["Mass"], "points": 3}', '{"findings": ["Mass"], "points": null}', "\x00\x01"],
)  # fmt: skip
def test_a_damaged_description(tmp_path: Path, content: str) -> None:
    written(tmp_path)
    (tmp_path / MAPS_JSON).write_text(content)
    refused(tmp_path)


def test_a_description_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / MAPS_JSON).write_bytes(b"\xff\xfe\x00")
    refused(tmp_path)


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flipped(content: bytes) -> bytes:
    middle = content.index(b"view.npy") + 60
    return content[:middle] + bytes(255 - byte for byte in content[middle : middle + 20]) + content[middle + 20 :]


@pytest.mark.parametrize(
    "damage",
    [lambda content: b"", lambda content: b"not a zip", _cut, _flipped],
    ids=["empty", "text", "cut", "flipped"],
)
def test_a_damaged_part(tmp_path: Path, damage: Any) -> None:
    part = written(tmp_path).parts[0]
    part.write_bytes(damage(part.read_bytes()))
    refused(tmp_path)


def test_a_damaged_map_among_whole_ones_is_named_when_it_is_read(tmp_path: Path) -> None:
    part = written(tmp_path).parts[0]
    content = part.read_bytes()
    start = content.index(b"maps.npy") + 200
    part.write_bytes(
        content[:start] + bytes(255 - byte for byte in content[start : start + 40]) + content[start + 40 :]
    )
    with pytest.raises(EvaluationError) as caught:
        MapStore.open(tmp_path).grid("a/0.png")
    assert caught.value.code == Code.MAPS_INVALID


def test_parts_that_lack_a_table_or_have_other_findings(tmp_path: Path) -> None:
    part = written(tmp_path).parts[0]
    with np.load(part) as content:
        kept = dict(content)
    np.savez(part, **{name: values for name, values in kept.items() if name != "probabilities"})
    refused(tmp_path)
    np.savez(part, **kept | {"probabilities": kept["probabilities"][:, :2]})
    refused(tmp_path)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    part = written(tmp_path).parts[0]
    with np.load(part) as content:
        kept = dict(content)
    np.savez(part, **kept | {"images": np.array([{"a": 1}] * 5, dtype=object)})
    refused(tmp_path)


@pytest.mark.parametrize("image", ["a/5.png", "0.png", ""])
def test_an_unknown_image_names_one_that_is_there(tmp_path: Path, image: str) -> None:
    store = written(tmp_path)
    for ask in (
        store.view,
        store.grid,
        lambda name: store.on_image(name, "Mass"),
        lambda n: store.probability(n, "Mass"),
    ):
        with pytest.raises(EvaluationError, match=r"5 images, such as a/0\.png") as caught:
            ask(image)
        assert caught.value.code == Code.MAPS_INVALID
        assert repr(image) in str(caught.value)


def test_an_unknown_finding_lists_those_that_are_there(tmp_path: Path) -> None:
    store = written(tmp_path)
    for ask in (store.on_image, store.probability):
        with pytest.raises(EvaluationError, match="Mass, Pleural_Thickening, Hernia") as caught:
            ask("a/0.png", "Edema")
        assert caught.value.code == Code.MAPS_INVALID
        assert "'Edema'" in str(caught.value)


def test_compact(tmp_path: Path) -> None:
    written(tmp_path, images=50)
    raw = 50 * 3 * 4 * 5 * 4
    with np.load(tmp_path / "maps_00000.npz") as content:
        assert content["maps"].dtype == np.float16
        assert content["maps"].nbytes == raw / 2


def test_it_is_the_same_every_time(tmp_path: Path) -> None:
    one, two = written(tmp_path / "one"), written(tmp_path / "two")
    assert json.loads((one.folder / MAPS_JSON).read_text()) == json.loads((two.folder / MAPS_JSON).read_text())
    for before, after in zip(one.parts, two.parts, strict=True):
        with np.load(before) as a, np.load(after) as b:
            assert sorted(a.files) == sorted(b.files)
            for name in a.files:
                np.testing.assert_array_equal(a[name], b[name])
