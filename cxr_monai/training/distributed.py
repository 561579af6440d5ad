"""Several processes under ``torchrun``: nccl on GPUs, gloo on CPUs; what ``multi_gpu_train.json`` refers to."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cxr_monai.errors import Code, UsageError
from cxr_monai.networks.weights import initialise


def local_device() -> torch.device:
    """Join the group of processes and return this one's device.

    Raises:
        UsageError: ``usage`` if ``torchrun`` did not start this process.
    """
    if "LOCAL_RANK" not in os.environ:
        raise UsageError(
            Code.USAGE,
            "multi_gpu_train.json is for several processes, and torchrun did not start this one.",
            fix="Start with 'torchrun --nproc_per_node=2 -m monai.bundle run ...', or leave the overlay out.",
        )
    on_gpu = torch.cuda.is_available()
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if on_gpu else "gloo")
    if idist.get_rank() != 0:
        logging.disable(logging.INFO)  # one process tells; warnings and errors of all are shown
    if not on_gpu:
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


def is_main(device: torch.device) -> bool:
    """Tell whether this is the process that writes and tracks; ``device`` makes sure the group was joined."""
    return idist.get_rank() == 0


def distribute(
    network: nn.Module, init_weights: str, device: torch.device, prevalences: Sequence[float] | None = None
) -> nn.Module:
    """Give a network its first weights (see ``initialise``) and wrap it, so that every process steps alike."""
    network = initialise(network, init_weights, device, prevalences)
    return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)


class ShuffleEachEpoch:
    """Tell a distributed sampler the epoch, without which every epoch has the same order."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, lambda e: self.sampler.set_epoch(e.state.epoch))
