"""What two processes of a training hold, and what each holds after a checkpoint of the first is loaded by both.

    python two_processes.py FOLDER

Importing costs seconds and a fork none: two children of this process meet by gloo. Prints a list, one item a rank.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine

from cxr_monai.training.averaging import WeightAveraging
from cxr_monai.training.distributed import highest
from cxr_monai.training.handlers import UnreadableFiles
from cxr_monai.training.ignite_metrics import MeanLoss

STEPS = {0: [(1.0, 2), (2.0, 2), (4.0, 2)], 1: [(5.0, 1), (8.0, 2), (16.0, 2)]}
"""Of each rank: loss and images of three steps."""


def batch(rank: int, step: int) -> dict[str, list[str]]:
    """Two files a step; the first of the second process cannot be read."""
    names = [f"{rank}{step}a.png", f"{rank}{step}b.png"]
    return {"name": names, "error": ["decode-failed: torn" if (rank, step) == (1, 0) else "", ""]}


def steps(rank: int, numbers: range, mean: MeanLoss, left_out: UnreadableFiles) -> None:
    """Count some steps as a training does."""
    for number in numbers:
        loss, images = STEPS[rank][number]
        mean.update((torch.tensor(loss), [None] * images))
        engine = Engine(lambda *_: None)
        engine.state.batch = batch(rank, number)
        left_out._collect(engine)


def work(rank: int, folder: Path) -> dict[str, Any]:
    """Two steps, a checkpoint of the first process, and a third step of what both have loaded."""
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    mean, left_out = MeanLoss(), UnreadableFiles(str(folder), most=1.0)
    steps(rank, range(2), mean, left_out)
    states: list[Any] = [mean.state_dict(), left_out.state_dict()]  # all call it, the first one's is written
    own = [dict(state) for state in states]
    torch.distributed.broadcast_object_list(states, src=0)
    again, left_again = MeanLoss(), UnreadableFiles(str(folder), most=1.0)
    again.load_state_dict(states[0])
    again.reset()  # as at an epoch's start
    left_again.load_state_dict(states[1])
    for counted, files in ((mean, left_out), (again, left_again)):
        steps(rank, range(2, 3), counted, files)
    seen, errors = left_again._together()
    network = torch.nn.BatchNorm1d(1)
    average = WeightAveraging(network, 0.5)
    network.running_mean.fill_(1.0 + rank)
    average(Engine(lambda *_: None))
    before = float(average.network.running_mean)
    average._share_buffers()
    found = {
        "states": own,
        "uninterrupted": mean.compute(),
        "resumed": again.compute(),
        "seen": seen,
        "errors": sorted(errors),
        "average": [before, float(average.network.running_mean)],
        "highest": highest(15 * rank, 1 - rank),
    }
    torch.distributed.destroy_process_group()
    return found


def main(folder: Path) -> None:
    """Fork, wait, print."""
    children = []
    for rank in (0, 1):
        child = os.fork()
        if not child:
            (folder / f"{rank}.json").write_text(json.dumps(work(rank, folder)))
            os._exit(0)
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    assert statuses == [0, 0], statuses
    print(json.dumps([json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
