"""What will a recipe take on one GPU? Hours and gigabytes, estimated without a GPU. Nothing here was measured on one.

    python scripts/estimate_cost.py recipes/zoogzog.json --gpu A100
    python scripts/estimate_cost.py recipes/zoogzog.json --tflops 165 --bandwidth 1008 --memory 24

Time. The network takes one training step without data (tensors without memory, PyTorch's meta device). Each operation
takes as long as its products do at the GPU's peak, or its numbers at the GPU's memory bandwidth, whichever is longer
(Williams et al. 2009, doi 10.1145/1498765.1498785), both from its maker's data sheet. Networks reach a part of that:
30 %, which is what zoogzog's 22 hours on a P100 come to. Images a second are further limited by reading: a processor
core decodes and reduces an image in 12 ms, once, and changes it for each epoch in 2 ms (docs/performance.md).

Memory. What the forward pass keeps for the backward pass, counted where PyTorch saves it, times the batch, times 1.4
for what allocators and libraries take (as measured on a processor); 16 bytes a weight (weight, gradient, Adam's two
moments), 4 more for an average; 1.5 GB for CUDA itself.

Hours are those of all epochs; a training that stops early takes less.
"""

import argparse
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from monai.bundle import ConfigWorkflow
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from cxr_monai.bundle.named_network import written_out
from cxr_monai.studies.plan import read_study

CONFIGS = Path(__file__).resolve().parent.parent / "bundles" / "cxr_nih14" / "configs"

IMAGES = (78_468, 11_219, 22_433)  # for training, validation and test, in the lists of zoogzog/chexnet
CROPS = {None: 1, "ten_crop.json": 10, "flip.json": 2}

EFFICIENCY = 0.3
DECODING, CHANGING = 0.012, 0.002  # seconds of a core
ALLOCATED, SCRATCH = 1.4, 1.5e9


@dataclass(frozen=True)
class Gpu:
    """A GPU's data sheet.

    Attributes:
        tflops: 10^12 floating-point operations a second; without sparsity, and those of 16 bits where ``width`` is 2.
        bandwidth: of its memory, 10^9 bytes a second.
        memory: 10^9 bytes.
        width: bytes of a number in training: 2 for bfloat16 or float16 autocast, 4 for float32.
    """

    tflops: float
    bandwidth: float
    memory: float
    width: int = 2


GPUS = {
    "P100": Gpu(9.3, 732, 16, width=4),  # PCIe, 16 GB, in float32 as zoogzog used it
    "T4": Gpu(65, 320, 16),
    "V100": Gpu(125, 900, 16),  # SXM2
    "A100": Gpu(312, 1555, 40),  # 40 GB
}


@dataclass(frozen=True)
class Work:
    """What one image costs in a pass through a network.

    Attributes:
        operations: (floating-point operations, bytes read and written) of each.
        kept: bytes that the forward pass leaves for the backward pass.
    """

    operations: tuple[tuple[float, float], ...]
    kept: float

    def seconds(self, gpu: Gpu) -> float:
        """Return how long it takes at the GPU's peak and bandwidth."""
        return sum(max(flops / (gpu.tflops * 1e12), size / (gpu.bandwidth * 1e9)) for flops, size in self.operations)


class _Count(TorchDispatchMode):
    """Note the floating-point operations and the bytes of everything that PyTorch computes."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[float, float]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if not func.is_view:
            count = flop_registry.get(func.overloadpacket)
            flops = count(*args, **(kwargs or {}), out_val=made) if count else 0
            tensors = [leaf for leaf in tree_leaves((args, kwargs, made)) if isinstance(leaf, torch.Tensor)]
            self.operations.append((flops, sum(tensor.nbytes for tensor in tensors)))
        return made


def work(network: torch.nn.Module, shape: tuple[int, ...], trains: bool, batch: int = 8) -> Work:
    """Count a pass forward, and backward if it trains, of a network on the meta device.

    Args:
        network: its weights have the numbers' type.
        shape: ``[C, H, W]``.
        trains: whether there is a backward pass.
        batch: images at once; the result is that of one of them.
    """
    network.train(trains)
    kept: dict[int, int] = {}
    weights = {tensor.untyped_storage()._cdata for tensor in (*network.parameters(), *network.buffers())}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage.nbytes()
        return tensor  # so that its storage lives on, and no other gets its address

    images = torch.empty(batch, *shape, device="meta", dtype=next(network.parameters()).dtype)
    with (
        _Count() as count,
        torch.set_grad_enabled(trains),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        made = network(images)
        if trains:
            made.sum().backward()
    return Work(tuple((flops / batch, size / batch) for flops, size in count.operations), sum(kept.values()) / batch)


def estimate(
    overrides: Mapping[str, Any], crops: int, gpu: Gpu, images: tuple[int, int, int] = IMAGES, workers: int = 8
) -> dict[str, Any]:
    """Return what one variant takes.

    Args:
        overrides: of train.json; a network may have a name, and its parts stand before or after it.
        crops: views of a test image.
        gpu: which.
        images: for training, validation and test.
        workers: processor cores that read.
    """
    workflow = ConfigWorkflow(
        str(CONFIGS / "train.json"), str(CONFIGS / "metadata.json"), logging_file=False, workflow_type="train",
        bundle_root=str(CONFIGS.parent), **written_out(overrides, [CONFIGS / "train.json"]),
    )  # fmt: skip
    workflow.initialize()  # as a training does: settings are checked, names replaced by what they stand for
    parser = workflow.parser
    if not parser["amp"]:
        raise SystemExit("amp is False: only trainings with autocast are estimated.")
    with torch.device("meta"):
        network = parser.get_parsed_content("network_def").to(torch.float32 if gpu.width == 4 else torch.bfloat16)
    size, batch, epochs = (int(parser[name]) for name in ("image_size", "batch_size", "epochs"))
    shape = (int(parser["network_def"]["in_channels"]), size, size)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    training, forward = work(network, shape, trains=True), work(network, shape, trains=False)
    step = 7 * 4 * parameters / (gpu.bandwidth * 1e9) / batch  # Adam reads four numbers a weight and writes three
    reading = CHANGING / workers
    train_seconds = max((training.seconds(gpu) + step) / EFFICIENCY, reading)
    seconds = forward.seconds(gpu) / EFFICIENCY
    total = epochs * (images[0] * train_seconds + images[1] * max(seconds, reading))
    total += images[2] * crops * seconds + sum(images) * DECODING / workers
    memory = parameters * (20 if parser["ema_decay"] else 16) + SCRATCH
    memory += ALLOCATED * training.kept * batch / int(parser["accumulate"])
    side = {
        part: round(size * parser.get_parsed_content(f"{part}#preprocessing#transforms#1#margin"))
        for part in ("train", "validate")
    }
    return {
        "images/s": 1 / train_seconds,
        "epochs": epochs,
        "hours": total / 3600,
        "memory_GB": memory / 1e9,
        "fits": memory <= gpu.memory * 1e9,
        "cache_GB": (images[0] * side["train"] ** 2 + images[1] * side["validate"] ** 2) / 1e9,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, nargs="+", help="a study's JSON file")
    parser.add_argument("--gpu", choices=GPUS, default="A100", help="(default: %(default)s)")
    parser.add_argument("--tflops", type=float, help="of another GPU: 10^12 operations a second with 16 bits")
    parser.add_argument("--bandwidth", type=float, help="of another GPU: GB/s")
    parser.add_argument("--memory", type=float, help="of another GPU: GB")
    parser.add_argument("--images", default="78468,11219,22433", help="train, val, test (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=8, help="processor cores that read (default: %(default)s)")
    arguments = parser.parse_args()
    logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)  # it warns that there is no logging file
    own = (arguments.tflops, arguments.bandwidth, arguments.memory)
    if any(own) and not all(own):
        parser.error("another GPU needs --tflops, --bandwidth and --memory")
    gpu = Gpu(*own) if all(own) else GPUS[arguments.gpu]
    train, val, test = map(int, arguments.images.split(","))
    rows = []
    for path in arguments.recipe:
        recipe = read_study(path, CONFIGS.parent)
        crops = CROPS[next((file.name for file in recipe.evaluate_files), None)]
        for variant, overrides in recipe.variants.items():
            row = estimate(overrides, crops, gpu, (train, val, test), arguments.workers)
            rows.append({"recipe": path.stem, "variant": variant, **row})
    print("Estimates, not measurements; --help tells how they are made.\n")
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda value: f"{value:.1f}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
