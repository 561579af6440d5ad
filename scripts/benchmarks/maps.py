"""Heat maps of all findings: against one forward pass, and against MONAI's GradCAM once a finding."""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import BATCH, CORES, SIZE, Row, densenet, seconds

FINDINGS = 14


def measure_maps(arguments: argparse.Namespace) -> Iterator[Row]:
    """The network alone, 16 images: plain forward passes, and all 14 maps of each image in several ways."""
    import torch
    from monai.visualize import GradCAM

    from cxr_monai.attribution.methods import explain_with
    from cxr_monai.networks.class_maps import ClassMaps
    from cxr_monai.networks.fusion import for_prediction
    from cxr_monai.networks.inferers import bfloat16_supported

    torch.set_num_threads(CORES)
    network = densenet().eval()
    shape = (1, SIZE, SIZE)
    images = torch.randn(BATCH, *shape).contiguous(memory_format=torch.channels_last)
    ways = {"one forward pass, float32": (network, "float32")}
    for stride in (32, 16, 8):
        ways[f"14 class maps, float32, a point every {stride} pixels"] = (ClassMaps(network, shape, stride), "float32")
    if bfloat16_supported(torch.device("cpu")):
        ways["one forward pass, as predict computes"] = (for_prediction(network, shape), "bfloat16")
        for stride in (32, 16, 8):
            made = ClassMaps(network, shape, stride, fast=True)
            ways[f"14 class maps, as predict computes, a point every {stride} pixels"] = (made, "bfloat16")
    taken: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        for repeat in range(arguments.repeats + 1):  # in turns; the first round warms up
            for name, (way, _) in ways.items():
                began = time.perf_counter()
                way(images)
                taken[name] += [time.perf_counter() - began] if repeat else []
    plain: dict[str, float] = {}
    for name, (_, precision) in ways.items():
        median = sorted(taken[name])[len(taken[name]) // 2] / BATCH
        plain.setdefault(precision, median)
        yield {"what": name, "ms an image": 1e3 * median, "times a forward pass": median / plain[precision]}
    camera = GradCAM(nn_module=network, target_layers="class_layers.relu")

    def each() -> None:
        for channel in range(FINDINGS):
            camera(x=images[:1], class_idx=channel)

    slow = seconds(each, arguments.repeats)
    yield {
        "what": "MONAI's GradCAM, once a finding, an image", "ms an image": 1e3 * slow,
        "times a forward pass": slow / plain["float32"],
    }  # fmt: skip
    for method, count in (("layercam", FINDINGS), ("cam_layercam", FINDINGS), ("integrated_gradients", 1)):
        slow = seconds(lambda: explain_with(method, network, images[:1], range(count)), 1, warm=0)  # noqa: B023
        yield {
            "what": f"{method}, {count} findings, an image", "ms an image": 1e3 * slow,
            "times a forward pass": slow / plain["float32"],
        }  # fmt: skip


def measure_explain(arguments: argparse.Namespace) -> Iterator[Row]:
    """``cxr-monai explain`` on every image of the manifest, all findings, decoding and writing included."""
    from cxr_monai.attribution.explainer import Explainer
    from cxr_monai.data.inputs import gather_files
    from cxr_monai.inference.model import Model

    files, names = gather_files([arguments.manifest])
    explainer = Explainer(Model.open(arguments.bundle, gate="off"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for count in (len(files) // 4, len(files)):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            explainer.write_maps(files[:count], names[:count], folder)
            taken = time.perf_counter() - began
            size = sum(path.stat().st_size for path in Path(folder).glob("*.npz"))
        yield {
            "images": count, "maps": count * len(explainer.findings), "seconds": taken, "images/s": count / taken,
            "bytes an image": size / count,
            "peak memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, "before, MB": before / 1e3,
        }  # fmt: skip
