"""What all measurements share."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "cxr_nih14"
SIZE, BATCH, NIH = 224, 16, 112_120
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
Row = dict[str, Any]


def seconds(call: Callable[[], Any], repeats: int, warm: int = 1) -> float:
    """Return the median duration of a call."""
    for _ in range(warm):
        call()
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def thread_counts() -> list[int]:
    return sorted({1, max(1, CORES // 2), CORES})


def densenet() -> Any:
    import torch
    from monai.networks.nets import DenseNet121

    torch.manual_seed(0)
    return DenseNet121(spatial_dims=2, in_channels=1, out_channels=14, act=("RELU", {"inplace": False}))
