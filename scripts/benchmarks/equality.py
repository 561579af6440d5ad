"""What the probabilities of a film depend on besides the film: batch, order, threads, process, processor."""

import argparse
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import BATCH, CORES, SIZE, Row, densenet

INSTRUCTION_SETS = ("AVX2", "AVX512_CORE", "AVX512_CORE_BF16", "AVX512_CORE_AMX")
"""oneDNN's names (``ONEDNN_MAX_CPU_ISA``): what it may use at most, as on an older processor."""


def measure_equality(arguments: argparse.Namespace) -> Iterator[Row]:
    """The network alone, 16 images, weights of ``--bundle`` where one is given (else random ones)."""
    import numpy as np

    def other(**settings: Any) -> dict[str, Any]:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(_in_a_process, (arguments.bundle, settings))

    here = _in_a_process(arguments.bundle, {"details": True})
    others = {"another process": other(), "one thread": other(threads=1)}
    others |= {f"instructions up to {name}": other(instructions=name) for name in INSTRUCTION_SETS}
    for precision, results in here.items():
        for what, difference in results["differences"].items():
            yield {"precision": precision, "what": what, "largest difference": difference}
        for what, theirs in others.items():
            if precision in theirs:
                difference = float(np.abs(theirs[precision]["probabilities"] - results["probabilities"]).max())
                yield {"precision": precision, "what": what, "largest difference": difference}


def _in_a_process(bundle: Path | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Return by precision the probabilities of the images, and how they differ within this process."""
    if "instructions" in settings:
        os.environ["ONEDNN_MAX_CPU_ISA"] = settings["instructions"]  # oneDNN reads it at its first use
    import torch

    from cxr_monai.bundle.bundle_folder import Bundle
    from cxr_monai.networks.fixed_batches import FixedBatches
    from cxr_monai.networks.fusion import fused
    from cxr_monai.networks.inferers import AutocastInferer, bfloat16_supported
    from cxr_monai.networks.weight_loading import load_weights

    torch.set_num_threads(settings.get("threads", CORES))
    network, shape = densenet().eval(), (1, SIZE, SIZE)
    if bundle is not None:
        parser = Bundle.open(bundle).parser()
        network = load_weights(parser.get_parsed_content("network_def"), Bundle.open(bundle).weights).eval()
        shape = tuple(parser.get_parsed_content("dataset#shape"))[-3:]
    coarse = torch.randn(2 * BATCH, shape[0], 24, 24, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(coarse, shape[1:], mode="bilinear")
    ways: dict[str, Callable[[], Any]] = {"float32": lambda: (AutocastInferer(False), network)}
    if bfloat16_supported(torch.device("cpu")):
        ways |= {
            "bfloat16, autocast": lambda: (AutocastInferer(), network),
            "bfloat16, folded": lambda: (AutocastInferer(False), fused(network)),
            "bfloat16, as predict computes": lambda: (AutocastInferer(False), FixedBatches(fused(network), shape)),
        }
    results: dict[str, Any] = {}
    for name, way in ways.items():
        inferer, prepared = way()

        def probabilities(some: Any, inferer: Any = inferer, prepared: Any = prepared) -> Any:
            with torch.inference_mode():
                return inferer(some, prepared).double().sigmoid().float()

        first = probabilities(images[:BATCH])
        results[name] = {"probabilities": first.numpy()}
        if settings.get("details"):
            results[name]["differences"] = dict(_differences(probabilities, images, first))
    return results


def _differences(probabilities: Callable[[Any], Any], images: Any, first: Any) -> Iterator[tuple[str, float]]:
    import torch

    def largest(theirs: Any, ours: Any) -> float:
        return float((theirs - ours).abs().max())

    yield "again", largest(probabilities(images[:BATCH]), first)
    for size in (1, 3, 6, 8):
        parts = torch.cat([probabilities(part) for part in images[:BATCH].split(size)])
        yield f"in batches of {size} instead of {BATCH}", largest(parts, first)
    yield "in another order", largest(probabilities(images[:BATCH].flip(0)).flip(0), first)
    half = BATCH // 2
    beside = torch.cat([images[:half], images[-half:]])
    yield "beside other images", largest(probabilities(beside)[:half], first[:half])
