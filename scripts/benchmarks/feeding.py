"""Images into the training: from the cache, through the random transforms; and how soon it starts."""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import BATCH, BUNDLE, NIH, SIZE, Row, seconds

FIRST_STEP = Path(__file__).with_name("first_step.py")


def measure_feed(arguments: argparse.Namespace) -> Iterator[Row]:
    """One process, one thread: what an image costs whoever reads it."""
    import torch
    from monai.bundle import ConfigParser
    from monai.data import PersistentDataset, set_track_meta

    from cxr_monai.data.dataset import RadiographDataset, manifest_items
    from cxr_monai.data.manifest import read_manifest

    torch.set_num_threads(1)
    set_track_meta(False)  # as a training does (cxr_monai.components.prepare_run), for both
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "train.json"))
    pipeline = parser.get_parsed_content("train#preprocessing")
    steps = pipeline.transforms
    first_random = next(at for at, step in enumerate(steps) if hasattr(step, "set_random_state"))
    from monai.transforms import Compose

    table = read_manifest(arguments.manifest)
    data = manifest_items(table, "train", [table.findings[0]])[:500]
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
    from cxr_monai.transforms.load_radiograph import LoadRadiographd
    from cxr_monai.transforms.quantise import QuantiseRadiographd
    from cxr_monai.transforms.resize_shortest import ResizeShortestd

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
            subprocess.run([sys.executable, str(FIRST_STEP), *words], cwd=folder, check=True, capture_output=True)
            if number:
                taken.append(time.perf_counter() - began)
    yield {
        "what": "until the first step has ended",
        "s": statistics.median(taken),
        "runs": str([round(t, 1) for t in taken]),
    }
