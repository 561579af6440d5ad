"""Which settings train best on these images? Every setting on the same patient-grouped folds, next to a base.

    cxr-monai split manifest.csv --scheme kfold --out folds.csv
    python scripts/compare_settings.py folds.csv settings.json --out comparison --jobs 2

SETTINGS.json is one table: {"base": {}, "cosine": {"schedule": "cosine", "warmup_epochs": 1}}; every entry holds
overrides of the bundle's train.json; "base" is what the others are compared with, and they have its overrides too.

Fold k is predicted by the network of a training that saw neither it nor fold k + 1, on which that training chose its
best epoch. Prints, and writes as comparison.csv, the mean AUROC over the findings of the pooled predictions and its
difference to the base with a 95 % interval (patients drawn with replacement, the same for both). The interval
holds the choice of patients, not that of random weights: --seed another one, and see what else changes.

Interrupted, it goes on where it was: trainings resume, finished ones are kept. One whose overrides have changed since
(those of the base count for all) is done again; what there was is set aside as NAME-seedS-foldK-before-1. Where one
fails, those that are running are finished and no other is started.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.data.manifest import Manifest, read_manifest, write_manifest
from cxr_monai.durable import write_durably
from cxr_monai.evaluation.metrics import MEAN, finding_table

BUNDLE = Path(__file__).resolve().parent.parent / "bundles" / "cxr_nih14"
BASE = "base"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, help="with a 'fold' column: cxr-monai split --scheme kfold")
    parser.add_argument("settings", type=Path, help="a JSON table of names and overrides")
    parser.add_argument("--out", type=Path, default=Path("comparison"), help="results (default: %(default)s)")
    parser.add_argument("--folds", nargs="+", help="which to predict (default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of every training (default: %(default)s)")
    arguments = parser.parse_args()
    settings = json.loads(arguments.settings.read_text())
    if BASE not in settings:
        parser.error(f"{arguments.settings}: one entry must be called {BASE!r}")
    manifest = read_manifest(arguments.manifest)
    there = sorted(manifest.table["fold"].astype(str).unique())
    if "" in there or len(there) < 3:
        parser.error(
            f"{arguments.manifest}: not every image has one of at least three folds; run 'cxr-monai split' first"
        )
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    folds = arguments.folds or there
    for fold in folds:
        write_fold(manifest, fold, there[(there.index(fold) + 1) % len(there)], out / f"fold{fold}.csv")
    # whole settings one after the other, so that what is there when it is interrupted can be compared
    run_all(
        [
            partial(train_and_predict, out, name, fold, settings[BASE] | settings[name], arguments)
            for name in settings
            for fold in folds
        ],
        arguments.jobs,
    )
    result = compare(manifest, {name: gather(out, name, folds, arguments.seed) for name in settings})
    result.to_csv(out / "comparison.csv", index=False, float_format="%.4f")
    print(result.to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    return 0


def run_all(work: list[Callable[[], None]], jobs: int) -> None:
    """Call each, some at a time, in order; after an error nothing more is started, and the first is raised."""
    failed = threading.Event()

    def call(one: Callable[[], None]) -> None:
        if failed.is_set():
            return
        try:
            one()
        except BaseException:
            failed.set()
            raise

    try:
        with ThreadPoolExecutor(jobs) as pool:
            made = [pool.submit(call, one) for one in work]
    except BaseException:  # Ctrl-C
        failed.set()
        raise
    for one in made:
        one.result()


def write_fold(manifest: Manifest, fold: str, following: str, path: Path) -> None:
    """Write the manifest in which ``fold`` is tested, the one that follows it validates, and the others train."""
    split = manifest.table["fold"].astype(str).map({fold: "test", following: "val"}).fillna("train")
    write_manifest(replace(manifest, table=manifest.table.assign(split=split), split=None), path)


def train_and_predict(
    out: Path, name: str, fold: str, overrides: dict[str, Any], arguments: argparse.Namespace
) -> None:
    """Train and evaluate one setting on one fold, unless that was done with the same overrides; prints the seconds."""
    folder, began = out / f"{name}-seed{arguments.seed}-fold{fold}", time.monotonic()
    kept = folder / "overrides.json"
    if folder.exists() and not (kept.exists() and json.loads(kept.read_text()) == overrides):
        aside = (folder.with_name(f"{folder.name}-before-{number}") for number in count(1))
        folder.rename(next(path for path in aside if not path.exists()))
    if not folder.exists():
        write_durably(kept, json.dumps(overrides, indent=2).encode() + b"\n")
    if not (folder / "test" / "metrics.json").is_file():
        common = {"manifest": out / f"fold{fold}.csv", "experiment": "comparison", "run_name": folder.name}
        made = {"output_dir": folder / "train", "seed": arguments.seed, **overrides}
        bundle_run(folder, BUNDLE, "train", common | made, arguments.jobs)
        bundle_run(
            folder, folder / "train" / "bundle", "evaluate", common | {"output_dir": folder / "test"}, arguments.jobs
        )
    print(f"{name}, fold {fold}: {time.monotonic() - began:.0f} s", flush=True)


def bundle_run(folder: Path, bundle: Path, config: str, overrides: dict[str, Any], jobs: int) -> None:
    """Run one configuration as a user would; its words go into ``folder/log.txt``."""
    folder.mkdir(parents=True, exist_ok=True)
    configs = bundle / "configs"
    words = [
        sys.executable, "-m", "monai.bundle", "run", "--config_file", str(configs / f"{config}.json"),
        "--meta_file", str(configs / "metadata.json"), "--bundle_root", str(bundle),
        *(f"--{name}={value}" for name, value in overrides.items()),
    ]  # fmt: skip
    environment = dict(os.environ)
    if jobs > 1:
        environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // jobs))
    with (folder / "log.txt").open("a") as log:
        done = subprocess.run(words, cwd=folder, stdout=log, stderr=subprocess.STDOUT, env=environment)
    if done.returncode:
        raise SystemExit(f"{config} of {folder.name} failed: see {folder / 'log.txt'}")


def gather(out: Path, name: str, folds: list[str], seed: int) -> pd.DataFrame:
    """Return the predictions of all folds' held-out images."""
    parts = [pd.read_csv(out / f"{name}-seed{seed}-fold{fold}" / "test" / "predictions.csv") for fold in folds]
    return pd.concat(parts)


def compare(manifest: Manifest, predictions: dict[str, pd.DataFrame], draws: int = 500) -> pd.DataFrame:
    """Return one row a setting: its mean AUROC, the difference to the base, and that difference's interval."""
    names = list(predictions[BASE].columns[1:])
    ordered = {setting: made.set_index("image").sort_index()[names] for setting, made in predictions.items()}
    truth = manifest.table.set_index("image").loc[ordered[BASE].index]
    labels = truth[names].to_numpy(dtype=float)
    rows_of = list(truth.reset_index(drop=True).groupby("patient_id").indices.values())
    random = np.random.default_rng(0)
    drawn = [
        np.concatenate([rows_of[i] for i in random.integers(len(rows_of), size=len(rows_of))]) for _ in range(draws)
    ]
    means = {
        setting: np.array([mean_auroc(made.to_numpy(), labels, names, rows) for rows in [slice(None), *drawn]])
        for setting, made in ordered.items()
    }
    rows = []
    for setting, values in means.items():
        low, high = np.quantile((values - means[BASE])[1:], [0.025, 0.975])
        difference = values[0] - means[BASE][0]
        rows.append({"setting": setting, "mean_auroc": values[0], "difference": difference, "low": low, "high": high})
    return pd.DataFrame(rows)


def mean_auroc(scores: np.ndarray, labels: np.ndarray, names: list[str], rows: Any) -> float:
    """Return the mean over the findings that have a positive and a negative among the rows."""
    made = finding_table(scores[rows], labels[rows], names)
    return float(made.loc[made["finding"] == MEAN, "auroc"].iloc[0])


if __name__ == "__main__":
    sys.exit(main())
