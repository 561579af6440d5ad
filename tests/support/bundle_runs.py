"""Run a bundle's workflow inside the test process, as ``python -m monai.bundle run`` does in its own.

A new Python process costs about eight seconds of imports, so most tests stay in this one. What a workflow changes for
the whole process (random states, determinism, MONAI's metadata tracking, environment, search path) is put back after.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.data import set_track_meta
from monai.data.meta_obj import get_track_meta
from monai.utils import set_determinism
from PIL import Image

from cxr_monai.errors import CxrError, ours
from cxr_monai.training.input_sheet import NetworkInputSheet

SHIPPED = Path(__file__).resolve().parents[2] / "bundles" / "cxr_nih14"
CONFIGS = ("train", "evaluate", "inference", "explain")
# the smallest that DenseNet121 takes, so that a workflow lasts seconds
TINY: dict[str, Any] = {"image_size": 32, "batch_size": 8, "num_workers": 0}
# a network of thousands of weights instead of millions, of as many outputs as the training has labels
SMALL_NETWORK: dict[str, Any] = {
    "_target_": "DenseNet",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": "$@head_def.outputs",
    "init_features": 8,
    "growth_rate": 4,
    "block_config": [2, 2],
    "act": ["RELU", {"inplace": False}],
}


def workflow(bundle: Path, *configs: str, kind: str = "train", tracking: Any = None, **settings: Any) -> ConfigWorkflow:
    """Return MONAI's workflow of a bundle's configuration and its overlays; ``--logging_file`` is left out.

    Args:
        bundle: its folder.
        configs: names below ``configs``, without ``.json``.
        kind: ``train`` or ``infer``, whose properties MONAI checks.
        tracking: MONAI's ``--tracking``.
        settings: overrides.
    """
    files = [str(bundle / "configs" / f"{name}.json") for name in configs]
    return ConfigWorkflow(
        config_file=files,
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type=kind,
        tracking=tracking,
        **deepcopy({"bundle_root": str(bundle), **settings}),  # MONAI writes overrides into what it is given
    )


def run(bundle: Path, *configs: str, tracking: Any = None, **settings: Any) -> ConfigWorkflow:
    """Run a workflow to its end and return it; our own error comes without the errors that MONAI wraps around it.

    An evaluation draws twenty bootstrap replicates unless the test says how many: a thousand take most of its time.
    """
    if "evaluate" in configs:
        settings = {"replicates": 20, **settings}
    with process_as_it_was(), our_errors():
        made = workflow(bundle, *configs, tracking=tracking, **settings)
        made.initialize()
        made.run()
        made.finalize()
        return made


@contextmanager
def our_errors() -> Iterator[None]:
    """Raise the `CxrError` behind MONAI's wrappers instead of them."""
    try:
        yield
    except Exception as error:
        cause = ours(error)
        if cause is None:
            raise
        raise cause from None


@contextmanager
def process_as_it_was() -> Iterator[None]:
    """Put back what a workflow changes for the whole process."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002  what MONAI seeds
    environment, path, tracked = dict(os.environ), list(sys.path), get_track_meta()
    try:
        yield
    finally:
        set_determinism(None)
        set_track_meta(tracked)
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:] = path


def code_of(error: Any) -> str:
    """Return the stable code of the error that ``pytest.raises`` caught."""
    assert isinstance(error.value, CxrError)
    return str(error.value.code)


def content(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, by its path there."""
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read(bundle: Path, config: str) -> dict[str, Any]:
    """Return one of a bundle's JSON files."""
    return json.loads((bundle / "configs" / f"{config}.json").read_text(encoding="utf-8"))


def edit(bundle: Path, config: str, change: Any) -> None:
    """Rewrite one of a bundle's JSON files after ``change(content)``."""
    parsed = read(bundle, config)
    change(parsed)
    (bundle / "configs" / f"{config}.json").write_text(json.dumps(parsed, indent=2), encoding="utf-8")


def rewrite(manifest: Path, out: Path, change: Any) -> Path:
    """Write ``out``, the manifest's table after ``change(table)``, over the same images."""
    table = pd.read_csv(manifest, dtype="str", keep_default_na=False)
    changed = change(table)
    (table if changed is None else changed).to_csv(out, index=False)
    record = json.loads(manifest.with_name(manifest.name + ".json").read_text(encoding="utf-8"))
    root = manifest.parent / record["root"]
    out.with_name(out.name + ".json").write_text(json.dumps(record | {"root": str(root)}), encoding="utf-8")
    return out


@dataclass(frozen=True)
class Phantoms:
    """Radiographs in NIH's layout and their manifest, split."""

    root: Path
    manifest: Path

    @property
    def table(self) -> pd.DataFrame:
        """The manifest's table, findings as numbers."""
        return pd.read_csv(self.manifest)

    def files(self, split: str) -> list[Path]:
        """Return the files of one part, in the manifest's order."""
        table = self.table
        return [self.root / image for image in table.loc[table["split"] == split, "image"]]


@dataclass(frozen=True)
class Trained:
    """What ``python -m monai.bundle run`` left behind.

    Attributes:
        out: the training's folder.
        bundle: ``out/bundle``.
        home: the working directory, which held no file of ours.
        source: the bundle it was started from; deleted afterwards.
        source_before, source_after: digests of the source's files.
        process: the finished process, with its output.
    """

    out: Path
    bundle: Path
    home: Path
    source: Path
    source_before: Mapping[str, str]
    source_after: Mapping[str, str]
    process: subprocess.CompletedProcess[str]


def plain_environment() -> dict[str, str]:
    """Return the environment of a person's shell: no pytest, no CI, one thread a process."""
    hidden = ("PYTEST", "MLFLOW", "CI", "GITHUB_ACTIONS", "DO_NOT_TRACK")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}


def monai_bundle(cwd: Path, *words: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run ``python -m monai.bundle`` in a process of its own, from ``cwd``."""
    command = [sys.executable, "-m", *launcher, *(() if launcher else ("monai.bundle",)), *words]
    return subprocess.run(command, cwd=cwd, env=plain_environment(), capture_output=True, text=True, timeout=300)


def few(table: pd.DataFrame) -> pd.DataFrame:
    """Eight images to train on and four to validate on: enough to get through."""
    return pd.concat([table[table["split"] == part].head(count) for part, count in (("train", 8), ("val", 4))])


@contextmanager
def no_pictures() -> Iterator[None]:
    """Let a training draw one pixel instead of its pictures, which take longer than an epoch of a small network."""

    def draw(path: Path) -> Path:
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (1, 1)).save(path)
        return path

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(NetworkInputSheet, "run", lambda sheet: draw(sheet.path))
        patched.setattr("cxr_monai.training.runs.training_curves", lambda history, out: draw(out))
        yield


def train(bundle: Path, manifest: Path, **settings: Any) -> None:
    """One tiny epoch into ``OUT`` of the working directory; the packaged bundle gets a small network."""
    small = {"network_def": SMALL_NETWORK} if bundle == SHIPPED else {}
    with no_pictures():
        run(
            bundle,
            "train",
            manifest=str(manifest),
            **{**TINY, **small, "output_dir": "OUT", "epochs": 1, "batch_size": 4, **settings},
        )
