"""Reading films: what is switched for the time of it is put back, however its reader ends."""

import os
from contextlib import closing

import numpy as np
import pytest
import torch
from monai.data.meta_obj import get_track_meta
from monai.transforms import Compose, Resized

from cxr_monai import progress
from cxr_monai.inference.reading import FilmReader
from cxr_monai.transforms.load_radiograph import LoadRadiographd, plain_tensors

FILMS = [np.full((8, 8), value, np.uint8) for value in range(0, 240, 40)]


def reader(num_workers: int) -> FilmReader:
    steps = Compose([LoadRadiographd(keys="image"), Resized(keys="image", spatial_size=(4, 4))])
    return FilmReader(steps, (1, 4, 4), batch_size=1, num_workers=num_workers)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_reader_that_ends_early_leaves_nothing_behind(num_workers: int) -> None:
    with closing(reader(num_workers).read(FILMS)) as batches:
        assert type(next(batches).images) is torch.Tensor
        assert len(progress._REPORTER.bars()) == 1
    assert get_track_meta()
    assert progress._REPORTER.bars() == []


def test_readers_that_take_turns_read_plain_tensors() -> None:
    first, second = reader(0).read(FILMS), reader(2).read(FILMS)
    for one, other in zip(first, second, strict=True):
        assert type(one.images) is type(other.images) is torch.Tensor
        assert torch.equal(one.images, other.images)
    assert get_track_meta()


def test_between_two_batches_the_switch_is_the_callers() -> None:
    with closing(reader(0).read(FILMS)) as batches:
        next(batches)
        assert get_track_meta()


def test_who_leaves_last_puts_the_switch_back() -> None:
    first, second = plain_tensors(), plain_tensors()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not get_track_meta()
    second.__exit__(None, None, None)
    assert get_track_meta()


def test_a_forked_process_has_the_switch_of_before() -> None:
    with plain_tensors():
        child = os.fork()
        if child == 0:
            os._exit(0 if get_track_meta() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not get_track_meta()
