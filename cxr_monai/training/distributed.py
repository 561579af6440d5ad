"""Several processes under ``torchrun``: nccl on GPUs, gloo on CPUs; what ``multi_gpu_train.json`` refers to."""

import atexit
import gc
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ignite.distributed as idist
import torch
import torch.distributed.nn  # before a group is joined: its functions' default arguments would hold that to the end
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cxr_monai.errors import Code, CxrError, UsageError
from cxr_monai.networks.weight_loading import initialise_network

T = TypeVar("T")


def gather_processes(part: Any) -> list[Any]:
    """Return what every process holds, in order; all of them must call it."""
    if idist.get_world_size() == 1:
        return [part]
    parts: list[Any] = [None] * idist.get_world_size()
    torch.distributed.all_gather_object(parts, part)
    return parts


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
        atexit.register(leave_group)
    if idist.get_rank() != 0:
        logging.disable(logging.INFO)  # one process tells; warnings and errors of all are shown
    if not on_gpu:
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


def leave_group() -> None:
    """Leave the group of processes, if this one is in it, and wait for the group's threads.

    gloo's threads let go of the last collective's tensors by themselves, for which they need Python's lock. One that
    asks for it when the interpreter is ending is unwound, and the process aborted ("terminate called without an active
    exception"). They are joined where nothing holds the group any more: neither a network that is distributed, which
    stands in cycles with its trainer, nor default arguments.
    """
    if torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.destroy_process_group()


def is_main_process(device: torch.device) -> bool:
    """Return whether this is the process that writes and tracks; ``device`` makes sure the group was joined."""
    return idist.get_rank() == 0


def rank_and_world_size(device: torch.device) -> tuple[int, int]:
    """Return this process' rank and how many there are; ``device`` makes sure the group was joined."""
    return idist.get_rank(), idist.get_world_size()


def distribute_network(
    network: nn.Module,
    init_weights: str,
    device: torch.device,
    prevalences: Sequence[float] | None = None,
    findings: Sequence[str] | None = None,
    compile: bool = False,
    find_unused_parameters: bool = False,
    head: str = "sigmoid",
) -> nn.Module:
    """Load a network's initial weights (see ``initialise_network``) and wrap it: all processes take the same steps.

    Args:
        network: is wrapped after its weights are set.
        init_weights, device, prevalences, findings, compile, head: as of ``initialise_network``.
        find_unused_parameters: True where layers are frozen at first.

    Returns:
        PyTorch's ``DistributedDataParallel`` around the network.
    """
    network = initialise_network(network, init_weights, device, prevalences, findings, compile=compile, head=head)
    return DistributedDataParallel(
        network,
        device_ids=[device] if device.type == "cuda" else None,
        find_unused_parameters=find_unused_parameters,  # where layers are frozen at first
    )


def highest(*numbers: int) -> list[int]:
    """Return the highest value of each number over all processes; all of them must call it."""
    if idist.get_world_size() == 1:
        return list(numbers)
    return [int(number) for number in idist.all_reduce(torch.tensor(numbers, device=idist.device()), op="MAX")]


def from_main(produce: Callable[[], T]) -> T:
    """Call a function in the first process and return its result in all of them; its error is raised in all."""
    if idist.get_world_size() == 1:
        return produce()
    answer: list[Any] = [None, None]
    if idist.get_rank() == 0:
        try:
            answer[0] = produce()
        except CxrError as error:
            answer[1] = error
    torch.distributed.broadcast_object_list(answer, src=0)
    if answer[1] is not None:
        raise answer[1]
    return answer[0]
