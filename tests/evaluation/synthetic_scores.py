"""Small made-up systems and manifests for the tests of the evaluation."""

from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.data.manifest import Manifest, SplitRecord, build_manifest, split_digest, write_manifest
from cxr_monai.evaluation.sample import Sample

FINDINGS = ("Mass", "Edema", "Hernia")


def made_table(patients: int = 120, images: int = 3, seed: int = 0, split: str = "test") -> pd.DataFrame:
    """A manifest's table: ``patients`` with ``images`` each; Hernia is unknown for all, Edema for some."""
    random = np.random.default_rng(seed)
    count = patients * images
    patient = np.repeat(np.arange(patients), images)
    table = pd.DataFrame({
        "image": [f"{split}/{at:05d}.png" for at in range(count)],
        "patient_id": [f"{split}-{number}" for number in patient],
        "study_id": [f"s{number}" for number in patient],
        "view": random.choice(["PA", "AP"], count),
        "age": random.integers(10, 90, patients)[patient].astype(str),
        "sex": random.choice(["F", "M"], patients)[patient],
        "source": "made",
        "split": split,
        "Mass": (random.random(count) < 0.3).astype(float),
        "Edema": np.where(random.random(count) < 0.1, np.nan, random.random(count) < 0.2),
        "Hernia": np.nan,
    })  # fmt: skip
    return table


def made_scores(table: pd.DataFrame, seed: int = 1, gain: float = 1.5) -> pd.DataFrame:
    """Probabilities that are too sure of themselves: their logits are far too large."""
    random = np.random.default_rng(seed)
    made = pd.DataFrame({"image": table["image"]})
    for name in FINDINGS:
        logit = gain * (table[name].fillna(0) - 0.5) * 2 + random.normal(size=len(table)) * 1.2 - 1
        made[name] = 1 / (1 + np.exp(-5 * logit))
    return made


def made_manifest(*tables: pd.DataFrame, label_version: str = "local") -> Manifest:
    """A manifest of several parts, its split recorded."""
    manifest = build_manifest(pd.concat(tables, ignore_index=True), ".", label_version)
    record = SplitRecord("random", 0, split_digest(manifest.table))
    return Manifest(manifest.table, manifest.root, label_version, record)


def made_sample(patients: int = 120, images: int = 3, seed: int = 0, split: str = "test") -> Sample:
    """The two next to each other."""
    manifest = made_manifest(made_table(patients, images, seed, split))
    scores = made_scores(manifest.table, seed + 1)
    return Sample.of(manifest.table, FINDINGS, scores[list(FINDINGS)].to_numpy(), manifest.labels(FINDINGS))


def on_disk(folder: Path, **sizes: int) -> Path:
    """Write ``manifest.csv``, ``val.csv`` and ``test.csv`` (predictions), ready for the command; returns the folder."""
    val, test = (made_table(sizes.get("patients", 120), 3, seed, split) for seed, split in ((3, "val"), (4, "test")))
    write_manifest(made_manifest(val, test), folder / "manifest.csv")
    for name, table in (("val", val), ("test", test)):
        made_scores(table, 5).to_csv(folder / f"{name}.csv", index=False)
    return folder
