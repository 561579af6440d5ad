"""Checkpoints under faults: whatever fails and whenever, a whole one is left, and a damaged one is never believed."""

import errno
import logging
import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from cxr_monai.errors import CxrError
from cxr_monai.training.checkpoints import digest, newest_checkpoint, read_checkpoint, save_checkpoint


def content(number: int) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(number)
    return {
        "network": {"weight": torch.randn(20, 10, generator=draw)},
        "optimizer": {
            "state": {0: {"step": torch.tensor(float(number))}},
            "param_groups": [{"lr": 0.1, "fused": None}],
        },
        "progress": {"iteration": number, "ended": False, "score": [float("-inf"), 0.5]},
    }


def saved(folder: Path, *numbers: int) -> Path:
    last = folder / "last.pt"
    for number in numbers:
        save_checkpoint(content(number), last)
    return last


def number_of(found: dict[str, Any] | None) -> int | None:
    """Return which checkpoint it is, having made sure that it is whole."""
    if found is None:
        return None
    number = int(found["progress"]["iteration"])
    assert digest(found) == digest(content(number))
    return number


def test_the_newest_is_read_and_the_one_before_stays(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "previous.pt"]
    assert number_of(newest_checkpoint(tmp_path)) == 3
    assert number_of(read_checkpoint(tmp_path / "previous.pt")) == 2


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("call", range(1, 6))
@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, "disk-full"), (errno.EDQUOT, "disk-full"), (errno.EIO, "write-failed")]
)
def test_a_fault_at_any_step_is_named_and_leaves_a_whole_one(
    function: str, call: int, number: int, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, 1, 2)
    calls, original = [], getattr(os, function)

    def faulty(*words: Any) -> Any:
        calls.append(words)
        if len(calls) == call:
            raise OSError(number, os.strerror(number))
        return original(*words)

    with monkeypatch.context() as patched:
        patched.setattr(os, function, faulty)
        if call > {"fsync": 3, "replace": 3}[function]:  # two files and their folder; three renames
            saved(tmp_path, 3)
            assert len(calls) == 3
        else:
            with pytest.raises(CxrError) as error:
                saved(tmp_path, 3)
            assert error.value.code == code
    assert not list(tmp_path.glob("*.part"))
    assert number_of(newest_checkpoint(tmp_path)) in (2, 3)
    saved(tmp_path, 4)
    assert number_of(newest_checkpoint(tmp_path)) == 4


def test_a_full_disk_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, 1)
    opened = Path.open

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *error: Any) -> None:
            self.file.close()

        def write(self, data: bytes) -> int:
            self.file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda path, mode="r", **rest: Full(opened(path, mode, **rest)))
        with pytest.raises(CxrError) as error:
            saved(tmp_path, 2)
    assert error.value.code == "disk-full"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt"]
    assert number_of(newest_checkpoint(tmp_path)) == 1


@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_one_is_told_and_the_one_before_is_used(
    part: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last = saved(tmp_path, 1, 2)
    whole = last.read_bytes()
    last.write_bytes(whole[: int(part * len(whole))])
    with caplog.at_level(logging.WARNING):
        assert number_of(newest_checkpoint(tmp_path)) == 1
    assert "[checkpoint-damaged]" in caplog.text
    assert last.with_name("last.pt.damaged").exists()
    assert number_of(newest_checkpoint(tmp_path)) == 1  # and again


def test_a_flipped_bit_is_never_believed(tmp_path: Path) -> None:
    draw, whole = random.Random(0), saved(tmp_path / "whole", 1, 2).read_bytes()
    found = set()
    for case in range(60):
        folder = tmp_path / str(case)
        last = saved(folder, 1, 2)
        flipped = bytearray(whole)
        flipped[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        last.write_bytes(flipped)
        found.add(number_of(newest_checkpoint(folder)))
    assert found == {1, 2}  # some bits hold no content (zip's padding and times); the rest is noticed


def test_where_none_is_good_nothing_is_moved(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    for name in ("last.pt", "previous.pt"):
        (tmp_path / name).write_bytes(b"damaged")
    for _ in range(2):  # the second start must not take the folder for a new one
        with pytest.raises(CxrError) as error:
            newest_checkpoint(tmp_path)
        assert error.value.code == "checkpoint-damaged"
        assert "--restart True" in str(error.value)


def test_pickled_objects_are_refused_with_advice(tmp_path: Path) -> None:
    torch.save({"format": 1, "content": {"when": random.Random(0)}}, tmp_path / "last.pt")
    with pytest.raises(CxrError) as error:
        newest_checkpoint(tmp_path)
    assert error.value.code == "weights-unsafe"
    assert "--restart True" in str(error.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.zeros(2, 3), torch.zeros(3, 2)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.zeros(1), 0.0),
        (0, 0.0),
        (1, True),
        ([1, 2], [12]),
        ([[1], 2], [[1, 2]]),
        ({"a": 1}, {"b": 1}),
        ({0: 1}, {"0": 1}),
        (None, "None"),
    ],
)
def test_different_contents_have_different_digests(one: Any, other: Any) -> None:
    assert digest({"x": one}) != digest({"x": other})
