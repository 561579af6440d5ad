"""Files to probabilities, and the network alone under several runtimes."""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import BATCH, CORES, SIZE, Row, densenet, seconds, thread_counts


def measure_predict(arguments: argparse.Namespace) -> Iterator[Row]:
    import numpy as np
    import torch

    from cxr_monai.evaluation.metrics_table import finding_table
    from cxr_monai.inference.model import Model

    files, labels, findings = large_files(arguments)
    few = [str(file) for file in files[: 4 * BATCH]]
    baseline, sweep = baseline_predictor(arguments.bundle), {}
    for workers in sorted({0, 1, CORES}):
        for threads in thread_counts():
            torch.set_num_threads(threads)
            taken = seconds(lambda workers=workers: baseline(few, workers), arguments.repeats)  # type: ignore[misc]
            sweep[workers, threads] = len(few) / taken
            yield {"what": "MONAI, float32", "workers": workers, "threads": threads, "files/s": sweep[workers, threads]}
    workers, threads = max(sweep, key=lambda key: sweep[key])
    ways: dict[str, Callable[[], np.ndarray]] = {"MONAI, float32, at its best": lambda: baseline(files, workers)}
    for name, settings in {
        "cxr-monai predict": {},
        "cxr-monai predict --float32": {"amp": False},
        "cxr-monai predict --runtime openvino": {"runtime": "openvino"},
        "cxr-monai predict --runtime openvino --float32": {"runtime": "openvino", "amp": False},
    }.items():
        model = Model.open(arguments.bundle, gate="review", **settings)  # type: ignore[arg-type]
        ways[name] = lambda model=model: model.predict(files).table[findings].to_numpy()  # type: ignore
    rates: dict[str, list[float]] = {name: [] for name in ways}
    made: dict[str, np.ndarray] = {}
    for _ in range(arguments.repeats):  # in turns: what disturbs the machine disturbs all
        for name, way in ways.items():
            torch.set_num_threads(threads if name.startswith("MONAI") else CORES)
            began = time.perf_counter()
            made[name] = way()
            rates[name].append(len(files) / (time.perf_counter() - began))
    exact = next(iter(ways))
    size = statistics.mean(Path(file).stat().st_size for file in files) / 1e3
    auroc = {name: finding_table(values, labels, findings)["auroc"].to_numpy() for name, values in made.items()}
    for name in ways:
        rate = statistics.median(rates[name])
        ratio = rate / statistics.median(rates[exact])
        yield {
            "what": name, "files": len(files), "mean KB": size, "files/s": rate, "ratio": ratio,
            "largest difference": float(np.abs(made[name] - made[exact]).max()),
            "largest AUROC difference": float(np.nanmax(np.abs(auroc[name] - auroc[exact]))),
            "mean AUROC": float(auroc[name][-1]),
        }  # fmt: skip


def large_files(arguments: argparse.Namespace) -> tuple[list[Path], Any, list[str]]:
    """Return the test part as 1024x1024 PNG files, labels and findings.

    Files of that size are taken as they are. Others are enlarged and get grain of 0.6 grey levels, with which they are
    as large on the disk as NIH's (370 to 400 KB) and take as long to decode (9 ms); smooth ones have 230 KB, and with
    more grain PNG finds nothing to compress and they decode faster again.
    """
    import numpy as np
    from PIL import Image

    from cxr_monai.bundle.bundle_folder import Bundle
    from cxr_monai.data.manifest import read_manifest

    findings = list(Bundle.open(arguments.bundle).labels)
    part = read_manifest(arguments.manifest).part("test")
    folder, files = arguments.out / "images_with_grain", []
    folder.mkdir(exist_ok=True)
    for number, path in enumerate(part.paths()):
        with Image.open(path) as image:
            if image.size == (1024, 1024):
                files.append(Path(path))
                continue
            files.append(folder / f"{number:06d}.png")
            if not files[-1].exists():
                enlarged = np.asarray(image.convert("L").resize((1024, 1024), Image.Resampling.LANCZOS), dtype=float)
                grain = np.random.default_rng(number).normal(0, 0.6, enlarged.shape)
                grey = (enlarged + grain).round().clip(0, 255).astype(np.uint8)
                Image.fromarray(grey).save(files[-1])
    return files, part.labels(findings), findings


def baseline_predictor(bundle: Path) -> Callable[[Sequence[Any], int], Any]:
    """Return what predicts files with MONAI's own parts in float32, in the bundle's geometry and normalisation."""
    import torch
    from monai.data import DataLoader, Dataset, PILReader
    from monai.inferers import SimpleInferer
    from monai.transforms import CenterSpatialCrop, Compose, LoadImage, NormalizeIntensity, Resize, ScaleIntensityRange

    from cxr_monai.bundle.bundle_folder import Bundle
    from cxr_monai.networks.weight_loading import load_weights
    from cxr_monai.transforms.normalisation import IMAGENET_MEAN, IMAGENET_STD

    opened = Bundle.open(bundle)
    network = load_weights(
        opened.parser().get_parsed_content("network_def"), opened.weights, torch.device("cpu")
    ).eval()
    mean, std = sum(IMAGENET_MEAN) / 3, sum(IMAGENET_STD) / 3
    transform = Compose([
        LoadImage(PILReader(reverse_indexing=False), image_only=True, ensure_channel_first=True),
        ScaleIntensityRange(0, 255, 0, 1), Resize((round(SIZE * 8 / 7),) * 2), CenterSpatialCrop((SIZE, SIZE)),
        NormalizeIntensity(mean, std),
    ])  # fmt: skip
    infer = SimpleInferer()

    def predict(files: Sequence[Any], workers: int) -> Any:
        made, data = [], Dataset([str(file) for file in files], transform)
        with torch.no_grad():
            for images in DataLoader(data, num_workers=workers, batch_size=BATCH):
                made.append(infer(images.as_tensor(), network).sigmoid())
        return torch.cat(made).numpy()

    return predict


def measure_runtime(arguments: argparse.Namespace) -> Iterator[Row]:
    import torch

    from cxr_monai.networks.fusion import fused
    from cxr_monai.networks.inferers import AutocastInferer
    from cxr_monai.networks.openvino_runtime import openvino_network

    torch.set_num_threads(CORES)
    network, images, autocast = densenet().eval(), torch.randn(BATCH, 1, SIZE, SIZE), AutocastInferer()
    ways: dict[str, Callable] = {
        "PyTorch, float32": network, "PyTorch, bfloat16 autocast": lambda images: autocast(images, network),
        "PyTorch, folded for prediction": fused(network),
        "OpenVINO, float32": openvino_network(network, (1, SIZE, SIZE), amp=False),
        "OpenVINO, bfloat16": openvino_network(network, (1, SIZE, SIZE)),
    }  # fmt: skip
    try:
        ways["ONNX Runtime, float32"] = onnx_runtime(network, images)
    except ImportError as error:
        yield {"what": "ONNX Runtime", "not measured": str(error)}
    with torch.inference_mode():
        exact = network(images).sigmoid()
        differences = {name: float((way(images).sigmoid() - exact).abs().max()) for name, way in ways.items()}
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(2 * arguments.repeats):
            for name, way in ways.items():
                rates[name].append(BATCH / seconds(lambda way=way: way(images), 1))  # type: ignore[misc]
    first = statistics.median(rates["PyTorch, float32"])
    for name, measured in rates.items():
        rate = statistics.median(measured)
        yield {"what": name, "images/s": rate, "ratio": rate / first, "largest difference": differences[name]}


def onnx_runtime(network: Any, images: Any) -> Callable:
    import onnxruntime
    import torch

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        batch = {0: torch.export.Dim("batch")}
        torch.onnx.export(network, (images[:2],), path, input_names=["image"], dynamic_shapes=[batch], verbose=False)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"image": images.numpy()})[0])
