"""How many positive patients does fine-tuning need? AUROC by their number, against training from random weights.

    python scripts/transfer_curve.py --manifest M.csv --out curve --dry-run           # what it would take
    python scripts/transfer_curve.py --manifest M.csv --out curve                     # classifiers on kept features
    python scripts/transfer_curve.py --manifest M.csv --out curve --ways head full random --slow-draws 3

1. A parent is trained on the training part without the disease's labels (or given: --parent; it must not know it).
2. For each number of positive patients, some are drawn from the training part, ten times; all negatives stay, and the
   validation part keeps its share of positives: whoever has ten patients to train on does not have a hundred to choose
   the epoch by. Negatives are normal chests, or all others (--against others).
3. From each draw: ``head``, a classifier on the parent's frozen features; ``full``, cxr_transfer with its defaults;
   ``random``, the same network from random weights. All are judged on the whole test part.

Every prediction is kept in OUT/predictions, so the same command goes on where it was interrupted, and adds what new
options ask for; predictions of another manifest, parent, comparison or number of epochs are refused. Writes
OUT/curve.csv, OUT/curve.md and OUT/curve.png. Intervals (95 %) hold the choice of test patients and of draws; those of
differences to ``random`` are paired.
"""

import argparse
import io
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from cxr_monai.bundle.bundle_folder import Bundle, read_json
from cxr_monai.bundle.digest import file_digest
from cxr_monai.bundle.shipped import shipped
from cxr_monai.data.dataset import label_counts
from cxr_monai.data.manifest import Manifest, read_manifest, under, write_manifest
from cxr_monai.durable import write_durably
from cxr_monai.evaluation.auroc import auroc
from cxr_monai.evaluation.bootstrap import PatientBootstrap
from cxr_monai.evaluation.predictions import PredictionsFile, about_file, join, read_predictions, write_predictions
from cxr_monai.finetune.disease import AGAINST, LEAST_VALIDATION, question
from cxr_monai.finetune.features import FeatureBatches
from cxr_monai.finetune.linear_probe import ProbeSettings, train_probe
from cxr_monai.finetune.task import FineTuneTask
from cxr_monai.finetune.whole_network import finetune_network
from cxr_monai.inference.model import Model
from cxr_monai.inference.pooled_features import Features, features_of
from cxr_monai.labels import NIH14
from cxr_monai.networks.weight_loading import set_prior
from cxr_monai.plurals import counted
from cxr_monai.progress import duration, progress_bar
from cxr_monai.schemes import label_scheme
from cxr_monai.studies.compare import difference_over_seeds

WAYS = ("head", "full", "random")
ALL = "all"


def draw(manifest: Manifest, label: str, count: int | None, seed: int) -> Manifest:
    """Return a manifest with some of the positive patients of training, and as large a part of validation's.

    Args:
        manifest: the label known for each image.
        label: the disease.
        count: positive patients of the training part; None keeps all.
        seed: of the draw.
    """
    if count is None:
        return manifest
    table, rng = manifest.table, np.random.default_rng(seed)
    gone: set[str] = set()
    share = count / _positive(table, label, "train").size
    for part in ("train", "val"):
        patients = _positive(table, label, part)
        wanted = count if part == "train" else max(LEAST_VALIDATION, round(share * patients.size))
        gone |= set(patients) - set(rng.choice(patients, min(wanted, patients.size), replace=False))
    left = ~(table["patient_id"].isin(gone) & table["split"].isin(["train", "val"]))
    return replace(manifest, table=table[left].reset_index(drop=True))


def _positive(table: pd.DataFrame, label: str, part: str) -> np.ndarray:
    rows = (table["split"] == part) & (table[label] == 1)
    return np.sort(table.loc[rows, "patient_id"].unique())


def head(features: Features, drawn: Manifest, label: str, images: Sequence[str], seed: int) -> np.ndarray:
    """Return probabilities ``[N]`` of a classifier that starts anew on kept features."""
    torch.manual_seed(seed)
    linear = torch.nn.Linear(features.values.shape[1], 1)
    settings = ProbeSettings.of({"seed": seed})
    train = FeatureBatches(features, drawn, "train", label, settings.batch_size, seed)
    set_prior(linear, [float(train.labels.mean())])
    val = FeatureBatches(features, drawn, "val", label)
    train_probe(linear, train, val, settings, label_counts(drawn, "train", [label]))
    values, _ = features.of(images)
    with torch.no_grad():
        return linear(values).sigmoid()[:, 0].numpy()


def network(way: str, parent: Bundle, drawn: Manifest, label: str, folder: Path, seed: int, given: Any) -> np.ndarray:
    """Return probabilities ``[N]`` of a whole network: fine-tuned, or trained from random weights."""
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(drawn, folder / "m.csv")
    common = {"seed": seed, "tracking_uri": f"sqlite:///{given.out.resolve() / 'mlflow.db'}", "epochs": given.epochs}
    if way == "full":
        task = FineTuneTask(parent.root, folder / "m.csv", given.against)
        finetune_network(task, label, folder / "OUT", common)
    else:
        inference = read_json(parent.root / "configs" / "inference.json")
        same = {key: inference[key] for key in ("image_size", "normalisation", "margin")}
        name = question(label, given.against)[1]
        more = {"labels": [label], "label_scheme": name, "manifest": str(folder / "m.csv")}
        train({**same, **more, **common, "output_dir": str(folder / "OUT")})
    part = drawn.part("test")
    predicted = Model.open(folder / "OUT" / "bundle", gate="off").predict(part.paths(), list(part.table["image"])).table
    shutil.rmtree(folder)
    return predicted.set_index("image")[label].reindex(part.table["image"]).to_numpy()


def train(overrides: Mapping[str, Any]) -> None:
    """Train cxr_nih14; a training that was interrupted goes on."""
    root = shipped("cxr_nih14")
    workflow = ConfigWorkflow(
        config_file=str(root / "configs" / "train.json"),
        meta_file=str(root / "configs" / "metadata.json"),
        logging_file=str(root / "configs" / "logging.conf"),
        workflow_type="train",
        bundle_root=str(root),
        **overrides,
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def jobs(counts: Sequence[int | None], given: argparse.Namespace) -> list[tuple[str, int | None, int]]:
    """Return what is to be done: way, number of positive patients, draw."""
    draws = {way: given.draws if way == "head" else given.slow_draws for way in given.ways}
    return [(way, count, number) for way in given.ways for count in counts for number in range(draws[way])]


def path_of(out: Path, way: str, count: int | None, number: int) -> Path:
    return out / "predictions" / f"{way}-{ALL if count is None else count}-{number}.csv"


def origin(way: str, parent: Bundle, given: argparse.Namespace) -> dict[str, Any]:
    """Return what a prediction was made by; with any other value it is another one."""
    made_by = {"bundle": parent.digest, "manifest": file_digest(given.manifest), "against": given.against}
    return made_by if way == "head" else made_by | {"epochs": given.epochs}


def changed(kept: Sequence[tuple[str, int | None, int]], parent: Bundle, given: argparse.Namespace) -> str:
    """Return which kept prediction was made by what else, as a sentence; "" if none was."""
    wanted = {way: origin(way, parent, given) for way in given.ways}
    for job in kept:
        path = path_of(given.out, *job)
        about = read_json(about_file(path))
        if differing := [name for name, value in wanted[job[0]].items() if about.get(name) != value]:
            return f"{path} was made with another {' and another '.join(differing)}; choose another --out"
    return ""


def step_seconds(size: int) -> float:
    """Return the seconds of a training step of DenseNet121, an image."""
    config = read_json(shipped("cxr_nih14") / "configs" / "train.json")["network_def"] | {"out_channels": 1}
    made = ConfigParser({"network_def": config}).get_parsed_content("network_def")
    images, taken = torch.randn(8, 1, size, size), []
    for _ in range(3):
        began = time.perf_counter()
        made(images).mean().backward()
        taken.append(time.perf_counter() - began)
    return min(taken) / len(images)


def curve(manifest: Manifest, label: str, given: argparse.Namespace, counts: Sequence[int | None]) -> pd.DataFrame:
    """Return one row a way and number: ``way, positives, draws, auroc, low, high, spread``, and, of the draws that
    ``random`` has too, ``difference, difference_low, difference_high``; ``spread`` is the draws' standard deviation."""
    keys = jobs(counts, given)
    tables = {key: read_predictions(path_of(given.out, *key)).table for key in keys}
    common = set.intersection(*(set(table["image"]) for table in tables.values()))
    values, drawn, bootstrap = {}, {}, None
    for key, table in tables.items():
        kept = table[table["image"].isin(common)].reset_index(drop=True)
        sample, _ = join(PredictionsFile(kept), manifest, "test", [label])
        bootstrap = bootstrap or PatientBootstrap(sample.patients)
        scores, truth = sample.column(label)
        values[key], drawn[key] = auroc(scores, truth), bootstrap.ranking(scores, truth).auroc
    rows = []
    for way in given.ways:
        for count in counts:
            these = [key for key in keys if key[:2] == (way, count)]
            own = difference_over_seeds(_mean(drawn, these), np.array([[values[key]] for key in these]))[:, 0]
            row = {"way": way, "positives": ALL if count is None else count, "draws": len(these)}
            row |= {"auroc": own[0], "low": own[1], "high": own[2], "spread": np.std([values[key] for key in these])}
            both = [key for key in these if ("random", *key[1:]) in values]
            if way != "random" and both:
                other = [("random", *key[1:]) for key in both]
                by_draw = np.array([[values[one] - values[two]] for one, two in zip(both, other, strict=True)])
                paired = difference_over_seeds(_mean(drawn, both) - _mean(drawn, other), by_draw)[:, 0]
                row |= {"difference": paired[0], "difference_low": paired[1], "difference_high": paired[2]}
            rows.append(row)
    return pd.DataFrame(rows)


def _mean(drawn: Mapping[Any, np.ndarray], keys: Sequence[Any]) -> np.ndarray:
    return np.mean([drawn[key] for key in keys], axis=0).reshape(-1, 1)


def figure(table: pd.DataFrame, label: str, path: Path, everybody: int) -> None:
    """Draw AUROC by the number of positive patients, with intervals."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(6, 4), layout="constrained")
    axes = made.add_subplot()
    for shift, (way, own) in enumerate(table.groupby("way", sort=False)):
        x = own["positives"].replace(ALL, everybody).astype(float) * 1.04**shift
        ends = np.abs(own[["low", "high"]].to_numpy().T - own["auroc"].to_numpy())
        axes.errorbar(x, own["auroc"], ends, marker="o", capsize=3, label=str(way))
    axes.set_xscale("log")
    ticks = [everybody if one == ALL else int(one) for one in dict.fromkeys(table["positives"])]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.axhline(0.5, color="0.7", linewidth=1)
    axes.set(xlabel=f"patients with {label} to train on", ylabel="AUROC, test part")
    axes.legend(frameon=False)
    content = io.BytesIO()
    made.savefig(content, format="png", dpi=150)
    write_durably(path, content.getvalue())


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True, help="with train, val and test")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--disease", default="Pneumonia")
    parser.add_argument("--against", choices=AGAINST, default="normal")
    parser.add_argument("--counts", default="10,30,100,all", help="positive patients (default: %(default)s)")
    parser.add_argument("--draws", type=int, default=10, help="of head (default: %(default)s)")
    parser.add_argument("--slow-draws", type=int, default=3, help="of full and random (default: %(default)s)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["head"])
    parser.add_argument("--parent", type=Path, help="instead of training one")
    parser.add_argument("--image-size", type=int, default=128, help="of the parent (default: %(default)s)")
    parser.add_argument("--parent-epochs", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=12, help="of full and random (default: %(default)s)")
    parser.add_argument("--init-weights", default="none", help="of the parent (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and how long it takes")
    given = parser.parse_args(words)
    label, name = question(given.disease, given.against)
    base = read_manifest(given.manifest)
    manifest = under(base, label_scheme(name))
    manifest = replace(manifest, table=manifest.table[manifest.table[label].notna()].reset_index(drop=True))
    everybody = _positive(manifest.table, label, "train").size
    counts = [None if one == ALL else int(one) for one in given.counts.split(",")]
    counts = [count for count in counts if count is None or count < everybody]
    todo = [job for job in jobs(counts, given) if not path_of(given.out, *job).is_file()]
    root = given.parent or given.out / "parent" / "bundle"
    estimate(base, manifest, label, todo, given, root)
    if given.dry_run:
        return 0
    if given.parent is None:
        others = [finding for finding in base.findings if finding in NIH14 and finding != label]
        train({
            "manifest": str(given.manifest), "labels": others, "output_dir": str(given.out / "parent"),
            "image_size": given.image_size, "epochs": given.parent_epochs, "init_weights": given.init_weights,
            "tracking_uri": f"sqlite:///{given.out.resolve() / 'mlflow.db'}",
        })  # fmt: skip
    parent = Bundle.open(root)
    if label in parent.labels:
        parser.error(f"{root} has been trained on {label}; give a parent that does not know it")
    if problem := changed([job for job in jobs(counts, given) if job not in todo], parent, given):
        parser.error(problem)
    features = (
        features_of(Model.open(parent.root, gate="off"), manifest) if any(way == "head" for way, *_ in todo) else None
    )
    part = manifest.part("test")
    for way, count, number in progress_bar(todo, total=len(todo), desc="draws", unit="draws"):
        drawn = draw(manifest, label, count, number)
        images = list(part.table["image"])
        if way == "head" and features is not None:
            images = [image for image in images if image in set(features.images)]
            scores = head(features, drawn, label, images, number)
        else:
            scores = network(way, parent, drawn, label, given.out / "work" / f"{way}-{count}-{number}", number, given)
        good = np.isfinite(scores)
        about = {**origin(way, parent, given), "way": way, "positives": count or ALL, "draw": number}
        kept = [image for image, there in zip(images, good, strict=True) if there]
        write_predictions(path_of(given.out, way, count, number), kept, scores[good][:, None], [label], about)
    table = curve(manifest, label, given, counts)
    write_durably(given.out / "curve.csv", table.to_csv(index=False, float_format="%.4f").encode())
    columns = list(table.columns)
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for _, row in table.iterrows():
        cells = [f"{row[one]:.3f}" if isinstance(row[one], float) else str(row[one]) for one in columns]
        lines.append(f"| {' | '.join(cells)} |")
    write_durably(given.out / "curve.md", ("\n".join(lines).replace("nan", "") + "\n").encode())
    figure(table, label, given.out / "curve.png", everybody)
    print("\n".join(lines))
    return 0


def estimate(
    base: Manifest, manifest: Manifest, label: str, todo: Sequence[Any], given: argparse.Namespace, root: Path
) -> None:
    """Print what is left to do, and about how long it takes on this machine, threads as they are."""
    step = step_seconds(given.image_size)
    count = {part: int((base.table["split"] == part).sum()) for part in ("train", "val", "test")}
    seconds = 0.0
    if not root.exists():
        seconds += given.parent_epochs * step * (count["train"] + count["val"] / 3)
    if any(way == "head" for way, *_ in todo):
        seconds += len(manifest) * step / 3 + sum(3.0 for way, *_ in todo if way == "head")
    normal = int(((manifest.table["split"] == "train") & (manifest.table[label] == 0)).sum())
    for way, positives, _ in todo:
        if way != "head":
            positives = _positive(manifest.table, label, "train").size if positives is None else positives
            seconds += 20 + given.epochs * step * (normal + positives + count["val"] / 3)
    print(f"{counted(len(todo), 'draw')} to do, about {duration(seconds)} (early stopping is not in it)", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
