"""How fast is it, next to MONAI's own ways on the same machine, in the same run?

    python scripts/benchmark.py --manifest manifest.csv --bundle OUT/bundle --out benchmark
    python scripts/benchmark.py --only step peak          (these need neither manifest nor bundle)

The manifest has a split; the bundle was trained on it at 224 pixels. Each figure stands next to its baseline, measured
in turns with it; the baseline is taken at its best over workers and threads, and the whole sweep is printed. Figures
are medians. Leave the machine alone meanwhile. Writes benchmark.json and benchmark.md.

  peak     matrix multiplication in float32 and bfloat16: what the processor can do
  step     a training step of DenseNet121 at 224x224 (baseline: MONAI's SupervisedTrainer, Adam, float32)
  predict  1024x1024 PNG files to probabilities (baseline: MONAI's LoadImage, Resize, SimpleInferer in float32)
  runtime  the network alone: float32, autocast, folded, OpenVINO, and ONNX Runtime where it is installed
  feed     an image from the second epoch on (baseline: MONAI's PersistentDataset over the same transforms)
  cache    decoded once: bytes on the disk and time to open, for 10,000 files and, by proportion, 112,120
  startup  from the command to the end of the first training step, cache warm
"""

import argparse
import json
import os
import platform
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "10000")
SECTIONS = ("peak", "step", "predict", "runtime", "feed", "cache", "startup")
BUNDLE = Path(__file__).resolve().parent.parent / "bundles" / "cxr_nih14"
SIZE, BATCH, NIH = 224, 16, 112_120
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
Row = dict[str, Any]


def main() -> int:
    if sys.argv[1:2] == ["first-step"]:
        return until_first_step(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="some of it")
    parser.add_argument("--manifest", type=Path, help="with a split; its test part is predicted")
    parser.add_argument("--bundle", type=Path, help="a trained one")
    parser.add_argument("--out", type=Path, default=Path("benchmark"), help="results (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="of every measurement (default: %(default)s)")
    arguments = parser.parse_args()
    needed = {"predict", "feed", "startup"} & set(arguments.only)
    if needed and not (arguments.manifest and arguments.bundle):
        parser.error(f"{', '.join(sorted(needed))} need --manifest and --bundle; or choose with --only")
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "benchmark.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    for section in arguments.only:
        print(f"== {section}", flush=True)
        results[section] = []
        for row in globals()[f"measure_{section}"](arguments):
            results[section].append(row)
            print("  " + "  ".join(f"{name} {shown(value)}" for name, value in row.items()), flush=True)
        results["machine"] = machine()
        file.write_text(json.dumps(results, indent=2) + "\n")
    (arguments.out / "benchmark.md").write_text(as_markdown(results))
    print(f"\n{arguments.out / 'benchmark.md'}")
    return 0


def shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def machine() -> Row:
    import torch

    return {"processor": platform.processor() or platform.machine(), "cores": CORES, "torch": torch.__version__}


def as_markdown(results: dict[str, Any]) -> str:
    """Return one table a section."""
    lines = [f"Machine: {results['machine']}"]
    for section, rows in results.items():
        if section == "machine" or not rows:
            continue
        columns = list(dict.fromkeys(name for row in rows for name in row))
        lines += ["", f"## {section}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        lines += [f"| {' | '.join(shown(row.get(name, '')) for name in columns)} |" for row in rows]
    return "\n".join(lines) + "\n"


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


def measure_peak(arguments: argparse.Namespace) -> Iterator[Row]:
    import torch

    torch.set_num_threads(CORES)
    side = 2048
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.randn(side, side).to(dtype), torch.randn(side, side).to(dtype)
        taken = seconds(lambda a=a, b=b: a @ b, 5 * arguments.repeats, warm=3)  # type: ignore[misc]
        yield {"what": f"matrix product, {str(dtype)[6:]}", "TFLOP/s": 2 * side**3 / taken / 1e12}


# -- the training step


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
    from cxr_monai.networks.weights import initialise
    from cxr_monai.training.optimisers import optimizer
    from cxr_monai.training.step import TrainingStep

    network = initialise(densenet(), "none", device=torch.device("cpu"), compile=compiled)
    return SupervisedTrainer(
        max_epochs=1, device=torch.device("cpu"), train_data_loader=batches, network=network,
        loss_function=MaskedBCEWithLogitsLoss(), optimizer=optimizer(network, 3e-4, 0.0, "adamw"),
        inferer=AutocastInferer(), iteration_update=TrainingStep(), optim_set_to_none=True,
    )  # fmt: skip


def compiled(batches: Sequence[Any]) -> Any:
    return our_trainer(batches, compiled=True)


# -- prediction


def measure_predict(arguments: argparse.Namespace) -> Iterator[Row]:
    import numpy as np
    import torch

    from cxr_monai.evaluation.metrics import finding_table
    from cxr_monai.predict import Predictor

    files, labels, findings = large_files(arguments)
    few = [str(file) for file in files[: 4 * BATCH]]
    sweep = {}
    for workers in sorted({0, 1, CORES}):
        for threads in thread_counts():
            torch.set_num_threads(threads)
            began = time.perf_counter()
            baseline_probabilities(arguments.bundle, few, workers)
            sweep[workers, threads] = len(few) / (time.perf_counter() - began)
            yield {"what": "MONAI, float32", "workers": workers, "threads": threads, "files/s": sweep[workers, threads]}
    workers, threads = max(sweep, key=lambda key: sweep[key])
    ways: dict[str, Callable[[], np.ndarray]] = {
        "MONAI, float32, at its best": lambda: baseline_probabilities(arguments.bundle, files, workers)
    }
    for name, settings in {
        "cxr-monai predict": {},
        "cxr-monai predict --float32": {"amp": False},
        "cxr-monai predict --runtime openvino": {"runtime": "openvino"},
        "cxr-monai predict --runtime openvino --float32": {"runtime": "openvino", "amp": False},
    }.items():
        predictor = Predictor(arguments.bundle, **settings)  # type: ignore[arg-type]
        ways[name] = lambda predictor=predictor: predictor.predict(files).table[findings].to_numpy()  # type: ignore
    rates: dict[str, list[float]] = {name: [] for name in ways}
    made: dict[str, np.ndarray] = {}
    for _ in range(arguments.repeats):  # in turns: what disturbs the machine disturbs all
        for name, way in ways.items():
            torch.set_num_threads(threads if name.startswith("MONAI") else CORES)
            began = time.perf_counter()
            made[name] = way()
            rates[name].append(len(files) / (time.perf_counter() - began))
    exact = next(iter(ways))
    auroc = {name: finding_table(values, labels, findings)["auroc"].to_numpy() for name, values in made.items()}
    for name in ways:
        rate = statistics.median(rates[name])
        yield {
            "what": name, "files": len(files), "files/s": rate, "ratio": rate / statistics.median(rates[exact]),
            "largest difference": float(np.abs(made[name] - made[exact]).max()),
            "largest AUROC difference": float(np.nanmax(np.abs(auroc[name] - auroc[exact]))),
            "mean AUROC": float(auroc[name][-1]),
        }  # fmt: skip


def large_files(arguments: argparse.Namespace) -> tuple[list[Path], Any, list[str]]:
    """Return the test part as 1024x1024 PNG files (enlarged where they are smaller), labels and findings."""
    from PIL import Image

    from cxr_monai.bundle.folder import Bundle
    from cxr_monai.data.manifest import read_manifest

    findings = list(Bundle.open(arguments.bundle).labels)
    part = read_manifest(arguments.manifest).part("test")
    folder, files = arguments.out / "images", []
    folder.mkdir(exist_ok=True)
    for number, path in enumerate(part.paths()):
        files.append(folder / f"{number:06d}.png")
        if not files[-1].exists():
            Image.open(path).convert("L").resize((1024, 1024), Image.Resampling.LANCZOS).save(files[-1])
    return files, part.labels(findings), findings


def baseline_probabilities(bundle: Path, files: Sequence[Any], workers: int) -> Any:
    """Predict with MONAI's own parts in float32, in the bundle's geometry and normalisation."""
    import torch
    from monai.data import DataLoader, Dataset, PILReader
    from monai.inferers import SimpleInferer
    from monai.transforms import CenterSpatialCrop, Compose, LoadImage, NormalizeIntensity, Resize, ScaleIntensityRange

    from cxr_monai.bundle.folder import Bundle
    from cxr_monai.networks.weights import load_weights
    from cxr_monai.transforms import IMAGENET_MEAN, IMAGENET_STD

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
    made, infer = [], SimpleInferer()
    with torch.no_grad():
        for images in DataLoader(Dataset([str(f) for f in files], transform), num_workers=workers, batch_size=BATCH):
            made.append(infer(images.as_tensor(), network).sigmoid())
    return torch.cat(made).numpy()


def measure_runtime(arguments: argparse.Namespace) -> Iterator[Row]:
    import torch

    from cxr_monai.networks.folding import folded
    from cxr_monai.networks.inferers import AutocastInferer
    from cxr_monai.networks.openvino_runtime import openvino_network

    torch.set_num_threads(CORES)
    network, images, autocast = densenet().eval(), torch.randn(BATCH, 1, SIZE, SIZE), AutocastInferer()
    ways: dict[str, Callable] = {
        "PyTorch, float32": network, "PyTorch, bfloat16 autocast": lambda images: autocast(images, network),
        "PyTorch, folded for prediction": folded(network),
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


# -- feeding


def measure_feed(arguments: argparse.Namespace) -> Iterator[Row]:
    """One process, one thread: what an image costs whoever reads it."""
    import torch
    from monai.bundle import ConfigParser
    from monai.data import PersistentDataset

    from cxr_monai.data.dataset import RadiographDataset, items
    from cxr_monai.data.manifest import read_manifest

    torch.set_num_threads(1)
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "train.json"))
    pipeline = parser.get_parsed_content("train#preprocessing")
    steps = pipeline.transforms
    first_random = next(at for at, step in enumerate(steps) if hasattr(step, "set_random_state"))
    from monai.transforms import Compose

    table = read_manifest(arguments.manifest)
    data = items(table, "train", [table.findings[0]])[:500]
    with tempfile.TemporaryDirectory() as folder:
        for what, chosen in {"before the random transforms": steps[:first_random], "with them": steps}.items():
            ours = RadiographDataset(data, Compose(chosen), (1, SIZE, SIZE), Path(folder) / "ours")
            ours.prepare()
            theirs = PersistentDataset(data, Compose(chosen), cache_dir=Path(folder) / what)
            datasets = {"cxr-monai": ours, "MONAI PersistentDataset": theirs}
            taken: dict[str, list[float]] = {name: [] for name in datasets}
            for _ in range(1 + arguments.repeats):
                for name, dataset in datasets.items():
                    began = time.perf_counter()
                    for index in range(len(data)):
                        dataset[index]
                    taken[name].append((time.perf_counter() - began) / len(data) * 1e3)
            medians = {name: statistics.median(values[1:]) for name, values in taken.items()}
            for name, value in medians.items():
                ratio = medians["MONAI PersistentDataset"] / value
                yield {"what": f"{name}, {what}", "images": len(data), "ms/image": value, "ratio": ratio}


def measure_cache(arguments: argparse.Namespace) -> Iterator[Row]:
    import numpy as np
    from monai.transforms import Compose
    from PIL import Image

    from cxr_monai.data.dataset import RadiographDataset, items_of_files
    from cxr_monai.transforms import LoadRadiographd, QuantiseRadiographd, ResizeShortestd

    count, side = 10_000, round(SIZE * 8 / 7)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "files" / f"{number:05d}.png" for number in range(count)]
        files[0].parent.mkdir()
        draw = np.random.default_rng(0)
        for file in files:
            coarse = draw.integers(0, 256, (16, 16), dtype=np.uint8)
            Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(file, compress_level=1)
        data = items_of_files(files, [file.name for file in files], ["Mass"])
        pipeline = Compose(
            [LoadRadiographd("image"), ResizeShortestd("image", SIZE, 8 / 7), QuantiseRadiographd("image")]
        )
        dataset = RadiographDataset(data, pipeline, (1, side, side), Path(folder) / "cache")
        began = time.perf_counter()
        dataset.prepare()
        built = time.perf_counter() - began
        size = sum(file.stat().st_size for file in (Path(folder) / "cache").rglob("*") if file.is_file())
        opened = seconds(dataset.prepare, arguments.repeats)
        yield {
            "files": count, "pixels": f"{side}x{side}", "GB": size / 1e9, "open, s": opened, "build, s": built,
            "GB of 112,120": size / 1e9 * NIH / count, "open 112,120, s": opened * NIH / count,
        }  # fmt: skip


# -- starting


def measure_startup(arguments: argparse.Namespace) -> Iterator[Row]:
    """The first run fills the cache."""
    taken = []
    for number in range(1 + arguments.repeats):
        with tempfile.TemporaryDirectory() as folder:
            configs = BUNDLE / "configs"
            words = [
                "--config_file", str(configs / "train.json"), "--meta_file", str(configs / "metadata.json"),
                "--bundle_root", str(BUNDLE), "--manifest", str(arguments.manifest.resolve()), "--output_dir", "OUT",
                "--cache_dir", str(arguments.out.resolve() / "cache"), "--batch_size", str(BATCH),
            ]  # fmt: skip
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, __file__, "first-step", *words], cwd=folder, check=True, capture_output=True
            )
            if number:
                taken.append(time.perf_counter() - began)
    yield {
        "what": "until the first step has ended",
        "s": statistics.median(taken),
        "runs": str([round(t, 1) for t in taken]),
    }


def until_first_step(words: list[str]) -> int:
    """Run ``python -m monai.bundle run`` and leave the process after one step."""
    from cxr_monai.training import step

    original = step.TrainingStep.__call__

    def once(self: Any, engine: Any, batch: Any) -> Any:
        original(self, engine, batch)
        os._exit(0)

    step.TrainingStep.__call__ = once  # type: ignore
    sys.argv = ["monai.bundle", "run", *words]
    runpy.run_module("monai.bundle", run_name="__main__")
    return 1


if __name__ == "__main__":
    sys.exit(main())
