"""Decoded once: what is served, what a kill, a flipped bit, a full disk or a cap leave, and who can look."""

import errno
import os
import pickle
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from cxr_monai.cli import main
from cxr_monai.data.cache import pixels as caching
from cxr_monai.data.cache.eviction import cache_root, clear, limit_bytes, preparations
from cxr_monai.data.cache.pixels import PixelCache
from cxr_monai.errors import Code, RadiographError, SettingError, StorageError

SIZE = 40


def plane(path: str) -> np.ndarray:
    """Make a plane of a file that holds a number: deep if it is odd, unreadable if it is negative."""
    number = int(Path(path).read_text())
    if number < 0:
        raise RadiographError(Code.RADIOGRAPH_EMPTY, "nothing")
    kind: Any = np.uint16 if number % 2 else np.uint8
    return np.random.default_rng(number).integers(0, np.iinfo(kind).max, (SIZE, SIZE + number % 3), dtype=kind)


def files(folder: Path, *numbers: int) -> list[str]:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        (folder / f"{number}.txt").write_text(str(number))
    return [str(folder / f"{number}.txt") for number in numbers]


def served(cache: PixelCache, paths: list[str]) -> list[np.ndarray | None]:
    return [None if entry is None else cache.read(entry) for entry in cache.find(paths)]


def assert_whole(cache: PixelCache, paths: list[str]) -> None:
    for path, made in zip(paths, served(cache, paths), strict=True):
        assert made is not None
        expected = plane(path)
        assert made.dtype == expected.dtype
        np.testing.assert_array_equal(made, expected)


# -- what is served


def test_planes_come_back_whole_eight_and_sixteen_bits_in_any_order(tmp_path: Path) -> None:
    paths, cache = files(tmp_path / "in", *range(9)), PixelCache(tmp_path / "cache", "a")
    assert cache.find(paths) == [None] * 9
    cache.build(paths, plane)
    assert_whole(cache, paths)
    assert_whole(PixelCache(tmp_path / "cache", "a"), paths[::-1])
    other = PixelCache(tmp_path / "cache", "b")
    assert other.find(paths) == [None] * 9
    pixels = sum(plane(path).nbytes for path in paths)
    assert cache.pixels_path.stat().st_size == pixels


def test_nothing_is_prepared_twice_wherever_it_lies(tmp_path: Path) -> None:
    paths, cache = files(tmp_path / "in", 1, 2, 3), PixelCache(tmp_path / "cache", "a")
    cache.build([*paths, paths[0]], plane)
    size = cache.pixels_path.stat().st_size

    def never(path: str) -> np.ndarray:
        raise AssertionError(path)

    (tmp_path / "in").rename(tmp_path / "moved")
    moved = [path.replace("/in/", "/moved/") for path in paths]
    assert None not in cache.build(moved, never)
    assert_whole(cache, moved)
    assert cache.pixels_path.stat().st_size == size


def test_a_replaced_file_is_prepared_again_also_at_the_same_size(tmp_path: Path) -> None:
    paths, cache = files(tmp_path / "in", 2, 4), PixelCache(tmp_path / "cache", "a")
    cache.build(paths, plane)
    Path(paths[0]).write_text("6")
    os.utime(paths[0], ns=(1, 1))
    assert [entry is None for entry in cache.find(paths)] == [True, False]
    cache.build(paths, plane)
    assert_whole(cache, paths)


def test_a_bad_or_missing_file_has_no_entry_and_stops_nothing(tmp_path: Path) -> None:
    paths, cache = [*files(tmp_path / "in", 2, -1, 4), str(tmp_path / "gone")], PixelCache(tmp_path / "cache", "a")
    assert [entry is None for entry in cache.build(paths, plane)] == [False, True, False, True]
    assert_whole(cache, [paths[0], paths[2]])


def test_several_processes_prepare_and_a_copy_in_another_process_maps_the_file_itself(tmp_path: Path) -> None:
    paths, cache = files(tmp_path / "in", *range(200)), PixelCache(tmp_path / "cache", "a")
    cache.build(paths, plane, workers=2)
    assert_whole(cache, paths)
    assert len(pickle.dumps(cache)) < 1000
    assert_whole(pickle.loads(pickle.dumps(cache)), paths[:3])


# -- faults


def test_a_flipped_bit_is_not_served_and_made_good_by_the_next_build(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths, cache = files(tmp_path / "in", 2, 4, 6), PixelCache(tmp_path / "cache", "a")
    (_, entry, _) = cache.build(paths, plane)
    assert entry is not None
    with cache.pixels_path.open("r+b") as pixels:
        pixels.seek(entry.start + 7)
        pixels.write(bytes([plane(paths[1]).tobytes()[7] ^ 16]))
    assert cache.read(entry) is None
    assert "damaged" in caplog.text
    cache.forget(entry)
    assert [found is None for found in cache.find(paths)] == [False, True, False]
    cache.build(paths, plane)
    assert_whole(cache, paths)


@pytest.mark.parametrize("left", [0, 1, 100])
def test_pixels_that_were_cut_off_are_not_served(tmp_path: Path, left: int) -> None:
    paths, cache = files(tmp_path / "in", 2, 4), PixelCache(tmp_path / "cache", "a")
    entries = cache.build(paths, plane)
    os.truncate(cache.pixels_path, left)
    fresh = PixelCache(tmp_path / "cache", "a")
    assert [fresh.read(entry) for entry in entries if entry] == [None, None]


def test_an_index_that_is_no_index_is_thrown_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths, cache = files(tmp_path / "in", 2, 4), PixelCache(tmp_path / "cache", "a")
    cache.build(paths, plane)
    cache.index_path.write_bytes(b"no index at all" * 100)
    cache.build(paths, plane)
    assert "damaged" in caplog.text
    assert_whole(cache, paths)


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from tests.data.cache.test_pixels import plane
from cxr_monai.data.cache import pixels
pixels._TOGETHER = 3000
def slow(path):
    time.sleep(0.01)
    return plane(path)
print("ready", flush=True)
pixels.PixelCache({root!r}, "a").build([str(p) for p in sorted(Path({files!r}).iterdir())], slow, workers=2)
"""


def test_a_build_that_is_killed_anywhere_serves_nothing_half_and_goes_on(tmp_path: Path) -> None:
    paths = files(tmp_path / "in", *range(150))
    cache = PixelCache(tmp_path / "cache", "a")
    code = KILLED.format(tests=str(Path(__file__).parents[3]), root=str(cache.root), files=str(tmp_path / "in"))
    kept: list[str] = []
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
        assert child.stdout is not None
        child.stdout.readline()
        before, give_up = len(kept), time.monotonic() + 60
        while sum(entry is not None for entry in cache.find(paths)) == before and time.monotonic() < give_up:
            time.sleep(0.01)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        kept = [path for path, entry in zip(paths, cache.find(paths), strict=True) if entry]
        assert before < len(kept) < 150
        assert_whole(cache, kept)
    prepared: list[str] = []

    def noted(path: str) -> np.ndarray:
        prepared.append(path)
        return plane(path)

    cache.build(paths, noted, workers=0)
    assert sorted(prepared) == sorted(set(paths) - set(kept))
    assert_whole(cache, paths)


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, Code.DISK_FULL), (errno.EIO, Code.WRITE_FAILED)])
def test_a_disk_that_fails_is_a_named_error_and_what_was_kept_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: Code
) -> None:
    paths, cache = files(tmp_path / "in", *range(12)), PixelCache(tmp_path / "cache", "a")
    cache.build(paths[:6], plane)

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(caching.os, "fsync", fail)
        with pytest.raises(StorageError) as caught:
            cache.build(paths, plane)
    assert caught.value.code == code
    assert [entry is None for entry in cache.find(paths)] == [False] * 6 + [True] * 6
    assert_whole(cache, paths[:6])
    cache.build(paths, plane)
    assert_whole(cache, paths)


def test_a_process_that_waits_finds_everything_done(tmp_path: Path) -> None:
    paths = files(tmp_path / "in", *range(30))
    code = KILLED.format(tests=str(Path(__file__).parents[3]), root=str(tmp_path / "cache"), files=str(tmp_path / "in"))
    children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    cache = PixelCache(tmp_path / "cache", "a")
    assert_whole(cache, paths)
    assert cache.pixels_path.stat().st_size == sum(plane(path).nbytes for path in paths)


# -- place, cap, manners


def test_only_the_owner_can_look(tmp_path: Path) -> None:
    cache = PixelCache(tmp_path / "new" / "cache", "a")
    cache.build(files(tmp_path / "in", 2), plane)
    for folder in (cache.root, cache.folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert b"2.txt" not in cache.index_path.read_bytes()


def test_the_place_is_the_users_cache_unless_another_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CXR_MONAI_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "cxr-monai"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root("auto") == Path.home() / ".cache" / "cxr-monai"
    monkeypatch.setenv("CXR_MONAI_CACHE", str(tmp_path / "own"))
    assert cache_root("auto") == tmp_path / "own"
    assert cache_root(tmp_path / "here") == tmp_path / "here"
    assert cache_root("None") is None
    assert cache_root(None) is None


def test_a_cap_makes_others_go_first_then_leaves_images_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    paths = files(tmp_path / "in", *range(0, 60, 6))  # ten planes of 1,600 bytes
    old, new = PixelCache(tmp_path / "cache", "old"), PixelCache(tmp_path / "cache", "new")
    old.build(paths, plane)
    used = sum(file.stat().st_size for file in old.folder.iterdir())
    monkeypatch.setenv("CXR_MONAI_CACHE_GB", str((used + 3 * 1600) / 1e9))
    new.build(paths[:3], plane)
    assert_whole(old, paths)
    new.build(paths, plane)
    assert not old.folder.exists()
    assert_whole(new, paths)
    monkeypatch.setenv("CXR_MONAI_CACHE_GB", str(4 * 1600 / 1e9))
    least = PixelCache(tmp_path / "cache", "least")
    least.build(paths, plane)
    assert [entry is None for entry in least.find(paths)] == [False] * 4 + [True] * 6
    assert "6 images must be decoded again in every epoch" in caplog.text


@pytest.mark.parametrize("given", ["0", "-1", "much", "nan"])
def test_a_cap_is_a_number_above_0(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("CXR_MONAI_CACHE_GB", given)
    with pytest.raises(SettingError, match="CXR_MONAI_CACHE_GB"):
        limit_bytes()


def test_info_and_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CXR_MONAI_CACHE", str(tmp_path / "cache"))
    assert main(["cache", "info"]) == 0
    assert "0.00 of at most 50 GB" in capsys.readouterr().out
    cache = PixelCache(tmp_path / "cache", "a")
    paths = files(tmp_path / "in", 2, 4)
    entries = cache.build(paths, plane)
    assert main(["cache", "info"]) == 0
    assert "2 images" in capsys.readouterr().out
    assert main(["cache", "clear", "--unused-for", "1"]) == 0
    assert [one.images for one in preparations(cache.root)] == [2]
    assert entries[0] is not None
    assert cache.read(entries[0]) is not None  # mapped now
    assert main(["cache", "clear"]) == 0
    assert preparations(cache.root) == []
    assert entries[1] is not None
    assert cache.read(entries[1]) is not None  # a training that has it mapped goes on
    assert cache.find(paths) == [None, None]
    assert clear(tmp_path / "nowhere") == 0
    assert main(["cache", "clear", "--cache-dir", "none"]) == 2


def test_an_index_is_readable_while_another_process_adds(tmp_path: Path) -> None:
    paths, cache = files(tmp_path / "in", 2, 4), PixelCache(tmp_path / "cache", "a")
    cache.build(paths, plane)
    with sqlite3.connect(cache.index_path) as writing:
        writing.execute("DELETE FROM files")
        assert None not in cache.find(paths)
        writing.rollback()
    writing.close()


@pytest.mark.parametrize("damage", ["garbage", "empty", "one table"])
def test_looking_into_a_damaged_index_finds_nothing_and_the_next_build_makes_it_good(
    tmp_path: Path, damage: str
) -> None:
    cache, paths = PixelCache(tmp_path / "cache", "x"), files(tmp_path / "data", 2, 3)
    cache.build(paths, plane, workers=0)
    cache.index_path.unlink()
    if damage == "garbage":
        cache.index_path.write_bytes(b"no database" * 500)
    elif damage == "empty":
        cache.index_path.touch()
    else:  # killed between making the two tables
        with sqlite3.connect(cache.index_path) as index:
            index.execute("CREATE TABLE files (path BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, content BLOB)")
        index.close()
    assert cache.find(paths) == [None, None]
    cache.build(paths, plane, workers=0)
    assert_whole(cache, paths)


def test_a_folder_of_somebody_else_is_not_cleared(tmp_path: Path) -> None:
    theirs = tmp_path / "project"
    theirs.mkdir()
    with sqlite3.connect(theirs / "index.sqlite") as index:
        index.execute("CREATE TABLE images (x)")
    index.close()
    (theirs / "thesis.txt").write_text("years of work")
    assert preparations(tmp_path) == []
    assert clear(tmp_path) == 0
    assert (theirs / "thesis.txt").exists()
    theirs = theirs.rename(tmp_path / "0123456789abcdef")  # named as ours are
    clear(tmp_path)
    assert (theirs / "thesis.txt").read_text() == "years of work"


def test_what_a_full_cap_cannot_keep_is_not_decoded_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "limit_bytes", lambda: 2 * SIZE * (SIZE + 2))
    decoded: list[str] = []

    def counted(path: str) -> np.ndarray:
        decoded.append(path)
        return plane(path)

    cache = PixelCache(tmp_path / "cache", "x")
    entries = cache.build(files(tmp_path / "data", *range(0, 40, 2)), counted, workers=0)
    kept = sum(entry is not None for entry in entries)
    assert 0 < kept <= 2
    assert len(decoded) == kept + 1


def test_what_is_being_built_is_neither_cleared_nor_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache, paths = PixelCache(tmp_path / "cache", "x"), files(tmp_path / "data", 2)
    cache.build(paths, plane, workers=0)
    monkeypatch.setattr(caching, "limit_bytes", lambda: SIZE * (SIZE + 2) + 1)
    with FileLock(cache.folder / "build.lock"):
        assert clear(tmp_path / "cache") == 0
        assert "is being built and stays" in caplog.text
        assert PixelCache(tmp_path / "cache", "y").build(paths, plane, workers=0) == [None]
    assert_whole(cache, paths)
    assert clear(tmp_path / "cache") > 0
    assert not cache.folder.exists()


def test_a_folder_that_others_could_look_into_is_closed(tmp_path: Path) -> None:
    cache = PixelCache(tmp_path / "cache", "x")
    cache.folder.mkdir(parents=True, mode=0o755)
    cache.build(files(tmp_path / "data", 2), plane, workers=0)
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_closed_to_others_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path, mode: int) -> None:
        raise PermissionError(errno.EPERM, "not yours")

    cache = PixelCache(tmp_path / "cache", "x")
    cache.folder.mkdir(parents=True)
    os.chmod(cache.folder, 0o755)
    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(StorageError, match="others can look into it") as caught:
        cache.build(files(tmp_path / "data", 2), plane, workers=0)
    assert caught.value.code == Code.WRITE_FAILED


def test_after_a_clear_the_new_files_images_are_served_and_stay_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths, cache = files(tmp_path / "in", 2, 4, 6), PixelCache(tmp_path / "cache", "a")
    (old, *_) = cache.build(paths, plane)
    assert old is not None
    assert cache.read(old) is not None  # the old file is mapped
    clear(cache.root)
    other = PixelCache(tmp_path / "cache", "a")  # another training, in another order
    other.build(paths[::-1], plane)
    assert_whole(cache, paths)
    assert caplog.text == ""
    assert cache.read(old) is None  # told once, however often it is asked
    assert cache.read(old) is None
    cache.forget(old)
    assert caplog.text.count("was made anew") == 1
    assert_whole(cache, paths)


def test_what_is_gone_is_told_once_and_prepared_anew_by_the_next_build(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths, cache = files(tmp_path / "in", 2, 4, 6), PixelCache(tmp_path / "cache", "a")
    entries = cache.build(paths, plane)
    cache.pixels_path.unlink()
    for entry in entries:
        assert entry is not None
        assert cache.read(entry) is None
        cache.forget(entry)
    assert caplog.text.count("was cleared") == 1
    cache.build(paths, plane)
    assert_whole(cache, paths)


def test_a_file_that_is_replaced_while_it_is_prepared_is_not_kept_this_time(tmp_path: Path) -> None:
    paths, cache = files(tmp_path / "in", 2), PixelCache(tmp_path / "cache", "a")

    def replaced(path: str) -> np.ndarray:
        Path(path).write_text("40")
        return plane(path)

    assert cache.build(paths, replaced, workers=0) == [None]
    cache.build(paths, plane, workers=0)
    assert_whole(cache, paths)


def test_a_disk_that_is_full_for_the_index_is_named_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(PixelCache, "_add", full)
    with pytest.raises(StorageError) as caught:
        PixelCache(tmp_path / "cache", "a").build(files(tmp_path / "in", 2), plane)
    assert caught.value.code == Code.DISK_FULL


def test_what_another_process_deletes_meanwhile_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = PixelCache(tmp_path / "cache", "a")
    cache.build(files(tmp_path / "in", 2), plane)
    gone = cache.root / "0123456789abcdef" / "index.sqlite"
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: [cache.index_path, gone])
    assert [one.folder for one in preparations(cache.root)] == [cache.folder]
