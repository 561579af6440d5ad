"""What the processor can do, and a training step: ours and MONAI's."""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from benchmarks.common import BATCH, CORES, SIZE, Row, densenet, seconds, thread_counts


def measure_peak(arguments: argparse.Namespace) -> Iterator[Row]:
    import torch

    torch.set_num_threads(CORES)
    side = 2048
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.randn(side, side).to(dtype), torch.randn(side, side).to(dtype)
        taken = seconds(lambda a=a, b=b: a @ b, 5 * arguments.repeats, warm=3)  # type: ignore[misc]
        yield {"what": f"matrix product, {str(dtype)[6:]}", "TFLOP/s": 2 * side**3 / taken / 1e12}


def measure_step(arguments: argparse.Namespace) -> Iterator[Row]:
    """Each with its own best number of threads and batch."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter:
        densenet()(torch.zeros(1, 1, SIZE, SIZE)).sum().backward()
    flops = counter.get_total_flops()
    best: dict[str, Row] = {}
    for name, trainer in {"MONAI": monai_trainer, "cxr-monai": our_trainer, "cxr-monai, compiled": compiled}.items():
        for threads in thread_counts():
            for batch in (BATCH, 2 * BATCH) if threads == CORES else (BATCH,):
                torch.set_num_threads(threads)
                try:
                    rate = batch / step_seconds(trainer, batch, arguments.repeats)
                except Exception as error:
                    yield {"what": name, "threads": threads, "batch": batch, "failed": str(error).splitlines()[0]}
                    continue
                row = {
                    "what": name,
                    "threads": threads,
                    "batch": batch,
                    "images/s": rate,
                    "TFLOP/s": rate * flops / 1e12,
                }
                yield row
                if rate > best.get(name, {"images/s": 0})["images/s"]:
                    best[name] = row
    for name, row in best.items():
        yield {
            "what": f"best of {name}",
            "images/s": row["images/s"],
            "ratio": row["images/s"] / best["MONAI"]["images/s"],
        }


def step_seconds(trainer: Callable, batch: int, repeats: int) -> float:
    """Return the median duration of an iteration of a trainer, after two."""
    import torch
    from ignite.engine import Events

    draw = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 1, SIZE, SIZE, generator=draw)
    labels = torch.randint(0, 2, (batch, 14), generator=draw).float()
    engine = trainer([{"image": images, "label": labels}] * (2 + 2 * repeats))
    ends: list[float] = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: ends.append(time.perf_counter()))
    engine.run()
    return statistics.median(later - before for before, later in pairwise(ends[1:]))


def monai_trainer(batches: Sequence[Any]) -> Any:
    """Return it as MONAI's classification bundles have it: Adam, SimpleInferer, amp (which a CPU does not heed)."""
    import torch
    from monai.engines import SupervisedTrainer
    from monai.inferers import SimpleInferer

    network = densenet()
    return SupervisedTrainer(
        max_epochs=1, device=torch.device("cpu"), train_data_loader=batches, network=network,
        loss_function=torch.nn.BCEWithLogitsLoss(), optimizer=torch.optim.Adam(network.parameters(), 1e-5),
        inferer=SimpleInferer(), amp=True,
    )  # fmt: skip


def our_trainer(batches: Sequence[Any], compiled: bool = False) -> Any:
    """Return it as the bundle's train.json has it."""
    import torch
    from monai.engines import SupervisedTrainer

    from cxr_monai.losses import MaskedBCEWithLogitsLoss
    from cxr_monai.networks.inferers import AutocastInferer
    from cxr_monai.networks.weight_loading import initialise_network
    from cxr_monai.training.optimisers import training_optimizer
    from cxr_monai.training.step import TrainingStep

    network = initialise_network(densenet(), "none", device=torch.device("cpu"), compile=compiled)
    return SupervisedTrainer(
        max_epochs=1, device=torch.device("cpu"), train_data_loader=batches, network=network,
        loss_function=MaskedBCEWithLogitsLoss(), optimizer=training_optimizer(network, 3e-4, 0.0, "adamw"),
        inferer=AutocastInferer(), iteration_update=TrainingStep(), optim_set_to_none=True,
    )  # fmt: skip


def compiled(batches: Sequence[Any]) -> Any:
    return our_trainer(batches, compiled=True)
