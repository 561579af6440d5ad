"""From items to batches: in which order, and by how many processes, so that a training can be repeated and resumed.

The order of an epoch, and the random view of every image in it, depend on (seed, epoch, index) alone: not on what was
drawn before, nor on how many processes read. A sampler therefore yields :class:`Draw`, an epoch beside the index, and
``RadiographDataset`` seeds its random transforms with it.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import DataLoader, list_data_collate
from monai.data.utils import worker_init_fn
from torch.utils.data import BatchSampler, Dataset

from cxr_monai.environment import usable_cores
from cxr_monai.stopping import ignore_signals


class Draw(NamedTuple):
    """One image of one epoch: what a training's data set is asked for; ``again`` counts, where it is drawn twice."""

    epoch: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of three numbers
    again: int = 0


class EpochSampler:
    """The batches of an epoch, drawn from (seed, epoch); each of several processes takes its part of every batch.

    A batch holds ``batch_size * world`` images of one order that all processes know; process ``rank`` takes every
    ``world``-th of them. What is left over at the end of an epoch is dropped (one image has no batch statistics),
    unless it is the only batch.

    Args:
        count: images.
        batch_size: images a batch and process.
        seed: of the order.
        weights: how often each image is drawn (with replacement), ``[count]``; None takes each once.
        share: which part of every batch is this process's: its rank, and how many there are.

    Call :meth:`start` before an epoch; ``skip`` leaves out batches that were trained on before an interruption.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int = 0,
        weights: Sequence[float] | np.ndarray | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.weights = None if weights is None else torch.as_tensor(weights, dtype=torch.float64)
        self.rank, self.world = share
        self.epoch, self.skip = 0, 0

    @property
    def total_batch(self) -> int:
        """Return the images a step, over all processes."""
        return self.batch_size * self.world

    def start(self, epoch: int, skip: int = 0) -> None:
        """Set the epoch of the next iteration.

        Args:
            epoch: from 0.
            skip: batches of it to leave out.
        """
        self.epoch, self.skip = epoch, skip

    def order(self, epoch: int) -> list[int]:
        """Return the indices of an epoch, of all processes together.

        Args:
            epoch: from 0.
        """
        generator = torch.Generator().manual_seed(seed_of(self.seed, epoch))
        if self.weights is None:
            return torch.randperm(self.count, generator=generator).tolist()
        return torch.multinomial(self.weights, self.count, replacement=True, generator=generator).tolist()

    def __len__(self) -> int:
        return max(1, self.count // self.total_batch)

    def __iter__(self) -> Iterator[list[Draw]]:
        draws, skip, self.skip = self._draws(self.order(self.epoch)), self.skip, 0
        for batch in range(skip, len(self)):
            yield draws[batch * self.total_batch : (batch + 1) * self.total_batch][self.rank :: self.world]

    def _draws(self, order: list[int]) -> list[Draw]:
        """Return the draws of an epoch; an image that is drawn several times gets another view each time."""
        before: Counter[int] = Counter()
        draws = []
        for index in order:
            draws.append(Draw(self.epoch, index, before[index]))
            before[index] += 1
        return draws


def seed_of(*key: int) -> int:
    """Return a seed below 2**32 for a key such as (seed, epoch, index); other keys, other seeds (NumPy's hash)."""
    return int(np.random.SeedSequence((len(key), *key)).generate_state(1)[0])


def data_loader(
    dataset: Dataset,
    batch_size: int,
    num_workers: int | None = None,
    sampler: Any = None,
) -> DataLoader:
    """Return MONAI's loader with a number of workers that suits the machine.

    Args:
        dataset: what to load, in order.
        batch_size: images a batch.
        num_workers: processes that read; None = none without a GPU (the training already uses every core, and worker
            threads that spin on busy cores make it many times slower), else up to eight.
        sampler: decides the order instead: an :class:`EpochSampler` (which makes whole batches), or another sampler.
    """
    if num_workers is None:
        num_workers = min(8, usable_cores()) if torch.cuda.is_available() else 0
    batches = sampler if isinstance(sampler, EpochSampler | BatchSampler) else None
    order: dict[str, Any] = {"batch_sampler": batches} if batches else {"batch_size": batch_size, "sampler": sampler}
    return DataLoader(
        dataset,
        worker_init_fn=_begin_worker,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        **order,
    )


def _begin_worker(number: int) -> None:
    """Prepare a worker process as MONAI does; it ends with its parent, whatever a terminal sends both of them."""
    ignore_signals()
    worker_init_fn(number)


def reading_loader(dataset: Dataset, batch_size: int, num_workers: int | None = None) -> Iterable[dict[str, Any]]:
    """Return batches of files that are read once, in order, as in prediction.

    Without a GPU, threads read the next images while the network computes: decoders release Python's lock, and no
    process has to start. The data set must have no random transform: threads share it. What goes wrong in a thread is
    raised here. (MONAI's ``ThreadDataLoader`` ends quietly instead, and PyTorch's worker loop in it takes over the
    process' signal handlers, random states and number of threads.) The process' random states stay as they are.

    Args:
        dataset, batch_size: as for :func:`data_loader`.
        num_workers: files that are read at a time; as many as there are cores where None; with 0 the caller reads.
    """
    if num_workers == 0:
        return _read_here(dataset, batch_size)
    if torch.cuda.is_available():
        batches = data_loader(dataset, batch_size, num_workers)
        batches.generator = torch.Generator()  # else the processes' seed is drawn from everybody's
        return batches
    return _read_ahead(dataset, batch_size, num_workers or usable_cores())


def _read_here(dataset: Any, batch_size: int) -> Iterator[dict[str, Any]]:
    """Yield batches without a loader: MONAI's sets the process' generator back to its first seed."""
    for start in range(0, len(dataset), batch_size):
        yield list_data_collate([dataset[index] for index in range(start, min(start + batch_size, len(dataset)))])


def _read_ahead(dataset: Any, batch_size: int, threads: int) -> Iterator[dict[str, Any]]:
    """Yield batches; two of them are read ahead, so memory does not grow with the number of files."""
    indices = iter(range(len(dataset)))
    pool = ThreadPoolExecutor(threads)
    try:
        pending = deque(pool.submit(dataset.__getitem__, index) for index in islice(indices, 2 * batch_size))
        items = []
        while pending:
            items.append(pending.popleft().result())
            pending.extend(pool.submit(dataset.__getitem__, index) for index in islice(indices, 1))
            if len(items) == batch_size or not pending:
                yield list_data_collate(items)
                items = []
    finally:
        pool.shutdown(cancel_futures=True)
