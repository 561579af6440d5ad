"""What the session's fixtures make: a hospital's phantoms with their manifest, and a training on them."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_monai.cli import main
from cxr_monai.data.phantom import make_phantoms
from tests.support.bundle_runs import SHIPPED, SMALL_NETWORK, TINY, Phantoms, Trained, content, monai_bundle, run

GATED: dict[str, Any] = {
    **TINY,
    "labels": ["Effusion", "Infiltration"],
    "epochs": 1,
    "network_def": SMALL_NETWORK,
    "gate_promise": 0.05,  # 37 films are enough for it
}


def make_hospital(folder: Path) -> Phantoms:
    """Draw 48 phantoms of 64x64 pixels and split them, 24 for training."""
    root, manifest = folder / "nih-secret-folder", folder / "manifest.csv"
    make_phantoms(root, 48, 64, seed=1, workers=1, masks=False, progress=False)
    assert main(["manifest", "nih", str(root), "--out", str(manifest)]) == 0
    # ids that a search finds: NIH's own are bare numbers, which stand in any file
    table = pd.read_csv(manifest, dtype="str", keep_default_na=False)
    for column in ("patient_id", "study_id"):
        table[column] = f"secret-{column}-" + table[column]
    table.to_csv(manifest, index=False)
    assert main(["split", str(manifest), "--scheme", "random", "--fractions", "0.5,0.25,0.25"]) == 0
    return Phantoms(root, manifest)


def train_with_gate(folder: Path, phantoms: Phantoms) -> Path:
    """Train a small network for two findings and fit its gate; return the training's folder."""
    store = f"sqlite:///{folder / 'mlflow.db'}"
    run(SHIPPED, "train", manifest=str(phantoms.manifest), output_dir=str(folder / "OUT"), tracking_uri=store, **GATED)
    return folder / "OUT"


def train_by_command(folder: Path, phantoms: Phantoms) -> Trained:
    """Train one epoch by the command of the README, and delete the bundle that it began from."""
    home, out, source = folder / "elsewhere", folder / "results" / "OUT", folder / "source" / "cxr_nih14"
    home.mkdir()
    shutil.copytree(SHIPPED, source)
    before = content(source)
    process = monai_bundle(
        home, "run",
        "--config_file", str(source / "configs/train.json"), "--meta_file", str(source / "configs/metadata.json"),
        "--bundle_root", str(source), "--manifest", str(phantoms.manifest), "--output_dir", str(out),
        "--epochs", "1", "--image_size", "32", "--batch_size", "8", "--run_name", "tiny",
    )  # fmt: skip
    after = content(source)
    shutil.rmtree(source)
    assert process.returncode == 0, process.stderr
    return Trained(out, out / "bundle", home, source, before, after, process)
