"""The order of a training: what it depends on, and what it does not; reading ahead, and what it leaves alone."""

import random
import signal
import threading

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from cxr_monai.data.loading import Draw, EpochSampler, data_loader, reading_loader, seed_of


def indices(sampler: EpochSampler, epoch: int, skip: int = 0) -> list[list[int]]:
    sampler.start(epoch, skip)
    batches = list(sampler)
    assert all(draw.epoch == epoch for batch in batches for draw in batch)
    return [[draw.index for draw in batch] for batch in batches]


def test_an_epoch_takes_each_image_once_and_drops_the_rest() -> None:
    batches = indices(EpochSampler(10, 3), 1)
    taken = [index for batch in batches for index in batch]
    assert [len(batch) for batch in batches] == [3, 3, 3]
    assert len(set(taken)) == 9
    assert set(taken) <= set(range(10))


def test_the_only_batch_is_kept_however_small() -> None:
    sampler = EpochSampler(2, 8)
    assert len(sampler) == 1
    assert sorted(indices(sampler, 1)[0]) == [0, 1]


def test_the_order_is_that_of_seed_and_epoch_whatever_came_before() -> None:
    one, other = EpochSampler(50, 5, seed=3), EpochSampler(50, 5, seed=3)
    indices(one, 1)
    assert indices(one, 2) == indices(other, 2)
    assert indices(other, 1) != indices(other, 2)
    assert indices(EpochSampler(50, 5, seed=4), 2) != indices(one, 2)


@pytest.mark.parametrize("skip", range(5))
def test_skipping_leaves_out_the_first_batches_once(skip: int) -> None:
    sampler = EpochSampler(20, 4)
    whole = indices(sampler, 7)
    assert indices(sampler, 7, skip) == whole[skip:]
    assert [[draw.index for draw in batch] for batch in sampler] == whole


@pytest.mark.parametrize("weights", [None, np.arange(1, 25)])
def test_processes_share_every_batch_without_duplicates(weights: np.ndarray | None) -> None:
    alone = indices(EpochSampler(24, 6, weights=weights), 3)
    parts = [indices(EpochSampler(24, 2, weights=weights, share=(rank, 3)), 3) for rank in range(3)]
    for whole, *shares in zip(alone, *parts, strict=True):
        assert [index for group in zip(*shares, strict=True) for index in group] == whole


def test_weights_decide_how_often_an_image_is_drawn() -> None:
    sampler = EpochSampler(4, 1, weights=[0, 1, 3, 0])
    counts = np.zeros(4)
    for epoch in range(500):
        for (index,) in indices(sampler, epoch):
            counts[index] += 1
    assert counts[[0, 3]].tolist() == [0, 0]
    assert counts[2] / counts.sum() == pytest.approx(0.75, abs=0.03)  # 2,000 draws: a standard error of 0.01


def test_seeds_differ_in_each_part_of_the_key() -> None:
    keys = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0), (0, 1)]
    seeds = {seed_of(*key) for key in keys}
    assert len(seeds) == len(keys)
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert seed_of(5, 6, 7) == seed_of(5, 6, 7)


class Echo:
    """A data set that gives what it is asked for."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, key: Draw) -> dict[str, int]:
        return {"epoch": key.epoch, "index": key.index}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_whatever_reads_them(workers: int) -> None:
    sampler = EpochSampler(12, 4, seed=1)
    made = data_loader(Echo(), 4, num_workers=workers, sampler=sampler)  # type: ignore[arg-type]
    for epoch in (1, 2):
        expected = indices(sampler, epoch)
        sampler.start(epoch)
        batches = list(made)
        assert [batch["index"].tolist() for batch in batches] == expected
        assert {int(value) for batch in batches for value in batch["epoch"]} == {epoch}


def test_an_image_that_is_drawn_again_in_an_epoch_says_so() -> None:
    sampler = EpochSampler(8, 4, weights=[1, 0, 0, 0, 0, 0, 0, 1])
    sampler.start(3)
    draws = [draw for batch in sampler for draw in batch]
    for index in (0, 7):
        counts = [draw.again for draw in draws if draw.index == index]
        assert counts == list(range(len(counts)))
    assert len(draws) == 8


class Numbers(Dataset):
    """Items 0 to 9, or more; the seventh raises ``broken``."""

    def __init__(self, broken: BaseException | None = None, count: int = 10) -> None:
        self.broken, self.count = broken, count
        self.asked: list[int] = []
        self.by: set[threading.Thread] = set()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        self.asked.append(index)
        self.by.add(threading.current_thread())
        if self.broken and index == 7:
            raise self.broken
        return {"image": torch.full((1,), float(index)), "name": str(index)}


def process_state() -> list[str]:
    """Return what belongs to the whole process: signal handlers, number of threads, random states."""
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))  # a new thread takes the default
    thread.start()
    thread.join()
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGSEGV)]
    states = [random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()]  # noqa: NPY002
    return [str(part) for part in (handlers, torch.get_num_threads(), seen, *states)]


@pytest.mark.parametrize("workers", [None, 0, 1, 3])
def test_reading_keeps_order_and_leaves_the_process_alone(workers: int | None) -> None:
    torch.rand(3)  # a generator that is set back to its first seed is not where it was
    before = process_state()
    numbers = Numbers()
    batches = list(reading_loader(numbers, 4, workers))
    assert [batch["name"] for batch in batches] == [list("0123"), list("4567"), list("89")]
    assert [batch["image"].flatten().tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert process_state() == before
    assert (threading.current_thread() in numbers.by) == (workers == 0)
    assert not any(thread.is_alive() for thread in numbers.by - {threading.current_thread()})


@pytest.mark.parametrize("workers", [None, 0, 1, 3])
@pytest.mark.parametrize("error", [MemoryError("no room"), ValueError("no room")])
def test_what_goes_wrong_while_reading_is_raised(workers: int | None, error: Exception) -> None:
    numbers = Numbers(error)
    batches = []
    with pytest.raises(type(error), match="no room"):
        batches.extend(reading_loader(numbers, 4, workers))
    assert not any(thread.is_alive() for thread in numbers.by - {threading.current_thread()})


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_item_that_stops_an_iteration_does_not_end_the_reading(workers: int) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(reading_loader(Numbers(StopIteration()), 4, workers))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_little_is_read_ahead_and_leaving_early_ends_the_threads(workers: int) -> None:
    numbers = Numbers(count=1000)
    for batch in reading_loader(numbers, 4, workers):
        assert batch["name"] == list("0123")
        break
    assert len(numbers.asked) <= (12 if workers else 4)
    assert not any(thread.is_alive() for thread in numbers.by - {threading.current_thread()})
