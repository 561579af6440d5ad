"""A few hundred damaged files give nothing but pictures and coded errors (the script reads 20,000)."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from cxr_monai.data.radiograph import read_radiograph
from scripts.fuzz_radiographs import Limits, fuzz, outcome
from tests.data.fuzzing import file_of, valid_files

SEEDS = valid_files()


@pytest.mark.parametrize("kind", SEEDS)
def test_every_file_is_valid_before_it_is_damaged(kind, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(SEEDS[kind])
    assert read_radiograph(tmp_path / "file").pixels.shape[0] == 1


def test_every_kind_is_damaged_in_every_way_and_in_the_same_one_again() -> None:
    made = [file_of(7, number, SEEDS) for number in range(300)]
    assert {kind.rpartition(", ")[0] for kind, _, _ in made} == set(SEEDS)
    assert {kind.rpartition(", ")[2] for kind, _, _ in made} == {"bytes", "words", "both"}
    assert made == [file_of(7, number, SEEDS) for number in range(300)]
    assert made != [file_of(8, number, SEEDS) for number in range(300)]


def test_damaged_files_give_pictures_or_coded_errors() -> None:
    result = fuzz(400, 11)
    assert result.found == []
    assert result.counts.total() == 400
    assert result.counts["picture"] > 60
    assert result.counts["radiograph-undecodable"] > 60


ABORTS, HANGS, SWELLS = (file_of(3, number, SEEDS)[1] for number in (1, 3, 4))


def fail(path: Path, any_modality: bool) -> str:
    """As decoders in C do."""
    content = path.read_bytes()
    if content == ABORTS:
        os.abort()
    if content == HANGS:
        time.sleep(600)
    if content == SWELLS:
        try:
            np.ones(2**31)  # 17 GB
        except MemoryError:
            return "FINDING MemoryError"
    return "picture"


def test_a_process_that_ends_hangs_or_swells_is_a_finding_and_the_next_file_is_read(tmp_path: Path) -> None:
    result = fuzz(6, 3, limits=Limits(seconds=5), judge=fail, keep=tmp_path / "kept")
    assert [(number, what) for number, _, what in result.found] == [
        (1, "FINDING the process ended with -6"),
        (3, "FINDING no answer in time"),
        (4, "FINDING MemoryError"),
    ]
    assert result.counts == {"picture": 3, "FINDING": 3}
    assert (tmp_path / "kept" / "3_1").read_bytes() == ABORTS


def test_what_escapes_and_what_warns_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path, **_: object) -> object:
        raise KeyError("x")

    assert outcome(tmp_path / "nothing", False) == "radiograph-not-found"
    monkeypatch.setattr("scripts.fuzz_radiographs.read_radiograph", broken)
    assert outcome(tmp_path / "a", False) == "FINDING KeyError: 'x'"
