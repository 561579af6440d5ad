"""The time of a step on this machine as it is loaded now, and the number of threads that is fastest, measured.

A first step is slow (libraries choose their algorithms, files are read for the first time), and one that another
program's work falls into as well: the median of several steps after one that warms up is what the next hours are like.

On a busy machine threads that wait for one another are slower than fewer of them. Their number decides the last bits of
sums, so a training keeps the one that it began with (its checkpoint has it); ``OMP_NUM_THREADS`` is never overruled.
"""

import logging
import os
import statistics
import time
from collections.abc import Callable
from typing import TypeVar

import torch

from cxr_monai.environment import usable_cores
from cxr_monai.plurals import counted, out_of

logger = logging.getLogger(__name__)

T = TypeVar("T")

TIMES, BUDGET = 5, 10.0
"""The number of timed runs of a batch after a first one, and the seconds after which no other one is begun."""
GAIN = 0.9
"""Fewer threads are taken where a step lasts at most this share of its time."""


def typical_seconds(
    action: Callable[[], T], times: int = TIMES, budget: float = BUDGET, clock: Callable[[], float] = time.monotonic
) -> tuple[T, float]:
    """Run an action once to warm up, then a few times more; return its last result and the median of those seconds.

    What is cold (decoders, threads, memory) made the first run of a batch up to a hundred times slower than the rest.

    Args:
        action: whatever takes the time.
        times: how often it is timed, at the most.
        budget: seconds after which it is timed no more; it is timed once at the least.
        clock: seconds.
    """
    action()
    began = clock()
    seconds: list[float] = []
    while not seconds or (len(seconds) < times and clock() - began < budget):
        start = clock()
        result = action()
        seconds.append(clock() - start)
    return result, statistics.median(seconds)


def load_if_busy() -> float | None:
    """Return the machine's load, the mean of the last minute, if it is above the number of its cores; else None."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return load if load > usable_cores() else None


def choose_threads(step: Callable[[], object], keep: bool = False) -> float:
    """Return the seconds of a step; on a busy machine with as many threads as are fastest, which are used from now on.

    Args:
        step: of a training, on the processor.
        keep: the number of threads stays as it is.
    """
    threads, load = torch.get_num_threads(), load_if_busy()
    seconds = {threads: typical_seconds(step)[1]}
    if load is None:
        return seconds[threads]
    if "OMP_NUM_THREADS" not in os.environ and not keep:
        fewer = threads // 2
        while fewer:
            torch.set_num_threads(fewer)
            seconds[fewer] = typical_seconds(step)[1]
            fewer //= 2
    fastest = min(seconds, key=lambda count: seconds[count])
    if seconds[fastest] > GAIN * seconds[threads]:
        fastest = threads
    torch.set_num_threads(fastest)
    words = counted(threads, "thread")
    if fastest != threads:
        words = f"{out_of(fastest, threads, 'thread')} are used, which is faster"
    logger.warning(
        "the machine is busy (load %.1f, %s): %s; the estimate holds as long as it stays so",
        load, counted(usable_cores(), "core"), words,
    )  # fmt: skip
    return seconds[fastest]


def go_on_with_threads(threads: int | None) -> None:
    """Use as many threads as the training that is continued began with; its bits depend on them.

    Args:
        threads: None where its checkpoint does not say.
    """
    current = torch.get_num_threads()
    if threads is None or threads == current:
        return
    if "OMP_NUM_THREADS" in os.environ or threads > usable_cores():
        logger.warning(
            "this training began with %s and goes on with %d: right, but not to the same last bits",
            counted(threads, "thread"), current,
        )  # fmt: skip
    else:
        torch.set_num_threads(threads)
