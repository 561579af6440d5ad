"""Studies without trainings: a manifest of empty files, and a runner that leaves what a training would."""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from cxr_monai.data.manifest import build_manifest, read_manifest, write_manifest
from cxr_monai.evaluation.predictions import write_predictions
from cxr_monai.training.journal import Journal
from tests.support.tiny_bundles import LABELS, NETWORK, tiny_bundle

BASE: dict[str, Any] = {"labels": list(LABELS), "image_size": 32, "epochs": 2, "network_def": NETWORK}
"""Of a network that is made in milliseconds."""


def empty_images(folder: Path, patients: int = 90, test: bool = True) -> Path:
    """Write a manifest of two images a patient, none of which can be read: half train, a sixth validate."""
    owner = np.repeat(np.arange(patients), 2)
    table = pd.DataFrame({"image": [f"{at}.png" for at in range(2 * patients)], "patient_id": owner.astype(str)})
    table["split"] = np.array(["train", "val", "test" if test else "train", "train", "train", "test"])[owner % 6]
    if not test:
        table["split"] = table["split"].replace("test", "train")
    table["Effusion"], table["Mass"] = (owner % 5 < 2).astype(float), (owner % 7 < 2).astype(float)
    folder.mkdir(parents=True, exist_ok=True)
    for image in table["image"]:
        (folder / image).touch()
    write_manifest(build_manifest(table, folder, "local"), folder / "m.csv")
    return folder / "m.csv"


def study_file(folder: Path, variants: Mapping[str, Any], **more: Any) -> Path:
    """Write a study over `BASE`."""
    path = folder / "mine.json"
    path.write_text(json.dumps({"question": "Which?", "base": BASE, "variants": variants} | more))
    return path


class FakeRunner:
    """Leaves what a training or an evaluation would; ``learning_rate`` decides how good a network is.

    Args:
        instead: asked before each process, with its settings; a number is its exit status, and nothing else happens.
        bundles: leave real bundles.

    Attributes:
        calls: ``(run name, environment, settings)`` of each process.
    """

    def __init__(self, instead: Callable[[dict, threading.Event], int | None] | None = None, bundles: bool = False):
        self.instead, self.bundles = instead, bundles
        self.calls: list[tuple[str, Mapping[str, str], dict[str, Any]]] = []

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.calls]

    def __call__(self, words: Sequence[str], log: Path, environment: Mapping[str, str], stop: threading.Event) -> int:
        settings = json.loads(Path(json.loads(words[words.index("--config_file") + 1])[-1]).read_text())
        self.calls.append((settings["run_name"], environment, settings))
        status = self.instead(settings, stop) if self.instead else None
        if status is not None:
            with log.open("a") as file:
                file.write("progress\rmore\nerror [not-finite]: the loss is nan.\n")
            return status
        out = Path(settings["output_dir"])
        if "split" in settings:
            self.evaluate(settings, out)
        else:
            self.train(settings, out)
        return 0

    def train(self, settings: Mapping[str, Any], out: Path) -> None:
        journal = Journal(out / "tracking" / "training.jsonl")
        for epoch in range(1, settings["epochs"] + 1):
            journal.append(f"epoch {epoch}", "metrics", values={}, step=epoch)
        (out / "checkpoints").mkdir(parents=True, exist_ok=True)
        (out / "settings.json").write_text(json.dumps(settings))
        if self.bundles:
            tiny_bundle(out / "bundle", settings["seed"])

    def evaluate(self, settings: Mapping[str, Any], out: Path) -> None:
        trained = json.loads((out.parent / "train" / "settings.json").read_text())
        part = read_manifest(settings["manifest"]).part(settings["split"])
        findings = trained.get("labels", list(LABELS))
        labels = part.labels(findings)
        noise = np.random.default_rng(trained["seed"]).normal(size=labels.shape)
        values = expit(1000 * trained.get("learning_rate", 0.001) * np.nan_to_num(labels) + noise)
        about = {"precision": "float32"}
        write_predictions(out / "predictions.csv", list(part.table["image"]), values, findings, about)
