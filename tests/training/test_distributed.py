"""The group of processes is left so that nothing of it is at work when the interpreter ends."""

from pathlib import Path

import pytest
import torch
from torch import nn

from cxr_monai.training.distributed import distribute_network, leave_group

THREADS = Path("/proc/self/task")


def threads_of_group() -> list[str]:
    names = [(thread / "comm").read_text().strip() for thread in THREADS.iterdir()]
    return [name for name in names if "gloo" in name]


class Trainer:
    """What stands in a cycle with its network, as trainers do."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.itself = network, self


@pytest.mark.skipif(not THREADS.is_dir(), reason="needs /proc")
def test_group_that_is_left_has_no_threads_any_more() -> None:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    trainer = Trainer(distribute_network(nn.Linear(3, 2), "none", torch.device("cpu")))
    trainer.network(torch.ones(1, 3)).sum().backward()
    torch.distributed.broadcast_object_list([None], src=0)
    assert threads_of_group()
    del trainer
    leave_group()
    assert not threads_of_group()
    assert not torch.distributed.is_initialized()
