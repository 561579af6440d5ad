"""The statistics of an evaluation: draws of patients, and the whole of ``cxr-monai evaluate``."""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import Row, seconds


def measure_bootstrap(arguments: argparse.Namespace) -> Iterator[Row]:
    """The baseline is measured on a few replicates and stated a replicate; it is the same work in each."""
    import numpy as np
    from sklearn.metrics import average_precision_score, roc_auc_score

    from cxr_monai.evaluation.bootstrap import PatientBootstrap

    images, patients, findings, replicates = 22_433, 5_606, 14, 1000
    random = np.random.default_rng(0)
    codes = np.concatenate([np.arange(patients), random.integers(0, patients, images - patients)])
    truth = random.random((images, findings)) < np.geomspace(0.002, 0.18, findings)
    scores = 1 / (1 + np.exp(-random.normal(1.3 * truth - 2)))
    labels = truth.astype(float)
    columns = [(truth[:, f].copy(), scores[:, f].copy()) for f in range(findings)]
    drawn = PatientBootstrap(codes, arguments.repeats).counts.astype(float)

    def weighted(weights: np.ndarray) -> list[Any]:
        used = weights > 0
        kept = weights[used]
        return [
            (
                roc_auc_score(y[used], s[used], sample_weight=kept),
                average_precision_score(y[used], s[used], sample_weight=kept),
            )
            for y, s in columns
        ]

    def taken(weights: np.ndarray) -> list[Any]:
        rows = np.repeat(np.arange(images), weights.astype(int))
        return [(roc_auc_score(y[rows], s[rows]), average_precision_score(y[rows], s[rows])) for y, s in columns]

    def together(weights: np.ndarray) -> list[Any]:
        used = weights > 0
        y, s, kept = truth[used], scores[used], weights[used]
        return [
            roc_auc_score(y, s, average=None, sample_weight=kept),
            average_precision_score(y, s, average=None, sample_weight=kept),
        ]

    ways = {"weights": weighted, "rows taken": taken, "weights, all findings in one call": together}
    each: dict[str, list[float]] = {name: [] for name in ways}
    for draw in drawn:  # in turns
        for name, way in ways.items():
            each[name].append(seconds(lambda way=way, draw=draw: way(draw[codes]), 1, warm=0))  # type: ignore[misc]
    best = min(statistics.median(taken) for taken in each.values())
    for name, times in each.items():
        yield {
            "what": f"scikit-learn, {name}",
            "replicates": len(times),
            "ms a replicate": 1e3 * statistics.median(times),
        }
    ours = seconds(lambda: PatientBootstrap(codes, replicates).rankings(scores, labels), arguments.repeats)
    yield {
        "what": "cxr-monai, draws included",
        "replicates": replicates,
        "ms a replicate": 1e3 * ours / replicates,
        "seconds": ours,
        "times faster": best * replicates / ours,
    }


def measure_evaluate(arguments: argparse.Namespace) -> Iterator[Row]:
    """As many images as the CheXNet split's test part has; thresholds from other patients, all subgroups and plots."""
    import numpy as np
    import pandas as pd

    from cxr_monai.data.manifest import build_manifest, write_manifest
    from cxr_monai.labels import NIH14

    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables = []
        for split, images, patients in (("val", 11_219, 3_080), ("test", 22_433, 6_187)):
            codes = np.sort(np.concatenate([np.arange(patients), random.integers(0, patients, images - patients)]))
            visit = pd.Series(codes).groupby(codes).cumcount()
            table = pd.DataFrame({
                "image": [f"{split}{at:05d}.png" for at in range(images)],
                "patient_id": [f"{split}{code}" for code in codes],
                "study_id": [f"{split}{code}_{number:03d}" for code, number in zip(codes, visit, strict=True)],
                "view": random.choice(["PA", "AP"], images),
                "age": random.integers(5, 90, patients)[codes].astype(str),
                "sex": random.choice(["F", "M"], patients)[codes],
                "source": "nih",
                "split": split,
            })  # fmt: skip
            truth = random.random((images, 14)) < np.geomspace(0.002, 0.18, 14)
            scores = 1 / (1 + np.exp(-random.normal(1.3 * truth - 2)))
            tables.append(pd.concat([table, pd.DataFrame(truth.astype(float), columns=list(NIH14))], axis=1))
            made = pd.DataFrame(scores, columns=list(NIH14))
            made.insert(0, "image", table["image"])
            made.to_csv(folder / f"{split}.csv", index=False)
        write_manifest(build_manifest(pd.concat(tables, ignore_index=True), folder, "made"), folder / "m.csv")
        words = [
            sys.executable, "-m", "cxr_monai.cli", "evaluate", "--predictions", str(folder / "test.csv"), "--fit",
            str(folder / "val.csv"), "--manifest", str(folder / "m.csv"), "--out", str(folder / "out"),
        ]  # fmt: skip
        taken = seconds(lambda: subprocess.run(words, check=True, capture_output=True), arguments.repeats, warm=0)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    yield {"what": "cxr-monai evaluate", "images": 22_433, "replicates": 1000, "s": taken, "peak GB": peak}
