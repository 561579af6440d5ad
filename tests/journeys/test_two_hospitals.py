"""The journey of a bundle: hospital A trains and signs, B checks, uses, fine-tunes and signs, A checks what came back.

Each hospital has a home and an environment of its own; nothing passes between them but the files that are sent. The
command by which B runs A's bundle is a process of its own; the rest runs in this one, which has imported everything.
The network is a small one: its size changes nothing on the way. It is the tutorial of ``docs/sharing.md``.
"""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.cli import main
from cxr_monai.networks.weight_loading import load_weights
from tests.interop.exported import assert_near, opened, through, through_onnx
from tests.support.bundle_runs import SHIPPED, Phantoms, process_as_it_was, train

REPOSITORY = Path(__file__).resolve().parents[2]


class Hospital:
    """A home and what its people type."""

    def __init__(self, home: Path, empty_store: Path) -> None:
        home.mkdir()
        self.home = home
        kept = {name: os.environ[name] for name in ("PATH", "OMP_NUM_THREADS", "GOMP_SPINCOUNT")}
        own = {"HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "CXR_MONAI_CACHE": str(home / "cache")}
        store = shutil.copy(empty_store, home / "mlflow.db")
        tracking = {"MLFLOW_TRACKING_URI": f"sqlite:///{store}", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self.environment = kept | own | tracking | {"PYTHONPATH": str(REPOSITORY), "MPLBACKEND": "Agg"}

    def types(self, line: str, fails: bool = False) -> str:
        """Run ``cxr-monai`` with the words of a line in the hospital's home; return what it said."""
        console = io.StringIO()
        with (
            process_as_it_was(),
            patch.dict(os.environ, self.environment, clear=True),
            contextlib.chdir(self.home),
            contextlib.redirect_stdout(console),
            contextlib.redirect_stderr(console),
        ):
            status = main(line.split())
        assert (status != 0) == fails, f"{line}\n{console.getvalue()}"
        return console.getvalue()

    def starts(self, line: str) -> str:
        """Do the same in a process of its own."""
        command = [sys.executable, "-m", "cxr_monai.cli", *line.split()]
        done = subprocess.run(command, cwd=self.home, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def receives(self, *files: Path) -> None:
        for file in files:
            shutil.copy(file, self.home)

    def digest_of(self, archive: str) -> str:
        return re.search(r"digest: +([0-9a-f]{64})", self.types(f"bundle verify {archive}"))[1]  # type: ignore[index]


@pytest.fixture
def a(tmp_path: Path, elsewhere: Path, phantoms: Phantoms, empty_store: Path) -> Hospital:
    """It has trained a bundle on its own radiographs."""
    made = Hospital(tmp_path / "a", empty_store)
    train(SHIPPED, phantoms.manifest)
    shutil.move(elsewhere / "OUT" / "bundle", made.home / "mine")
    shutil.move(elsewhere / "OUT" / "bundle.patients.json", made.home / "mine.patients.json")
    shutil.copytree(phantoms.root, made.home / phantoms.root.name)
    for name in ("manifest.csv", "manifest.csv.json"):
        shutil.copy(phantoms.manifest.with_name(name), made.home)
    return made


@pytest.fixture
def b(tmp_path: Path, empty_store: Path) -> Hospital:
    """Other radiographs of other patients, and no bundle."""
    made = Hospital(tmp_path / "b", empty_store)
    made.types("phantom nih --count 200 --size 48 --seed 9 --workers 1 --no-masks")
    made.types("manifest nih nih --out manifest.csv")
    made.types("split manifest.csv --scheme random --fractions 0.5,0.2,0.3")
    return made


def test_there_and_back(a: Hospital, b: Hospital) -> None:
    # A judges its bundle on patients whom it has not seen, packs and signs it
    a.types("predict mine manifest.csv --raw --float32 --out p.csv")
    a.types("evaluate --predictions p.csv --manifest manifest.csv --split test --out evaluation --replicates 50")
    a.types("bundle pack mine --metrics evaluation --manifest manifest.csv --name cxr-a --version 1.0.0 --out share")
    a.types("bundle keys hospital-a --out keys")
    a.types("bundle sign share/cxr-a-1.0.0.zip --key keys/hospital-a.pem")

    # B has never heard of A; then compares the key's fingerprint by telephone
    b.receives(a.home / "share" / "cxr-a-1.0.0.zip", a.home / "keys" / "hospital-a.pub")
    assert "signer-unknown" in b.types("bundle install cxr-a-1.0.0.zip", fails=True)
    assert not (b.home / "data" / "cxr-monai" / "bundles" / "cxr-a").exists()
    b.types("bundle trust hospital-a.pub --name hospital-a")
    assert "signed by: hospital-a" in b.types("bundle verify cxr-a-1.0.0.zip")
    assert "signed by hospital-a" in b.types("bundle install cxr-a-1.0.0.zip")
    installed = b.home / "data" / "cxr-monai" / "bundles" / "cxr-a" / "1.0.0" / "bundle"
    assert " 0 refused" in b.types(f"bundle inspect {installed}")

    # the same images give B what they gave A: in float32, since their processors may differ
    images = a.home / "nih-secret-folder" / "images"
    sent = sorted(images.glob("*.png"))[:6]
    (b.home / "sent").mkdir()
    for file in sent:
        shutil.copy(file, b.home / "sent")
    b.types("predict cxr-a sent --raw --float32 --out sent.csv")
    ours = pd.read_csv(a.home / "p.csv").assign(image=lambda t: t["image"].map(lambda name: Path(name).name))
    theirs = pd.read_csv(b.home / "sent.csv").set_index("image")
    expected = ours.set_index("image").loc[theirs.index]
    np.testing.assert_allclose(theirs.to_numpy(), expected[theirs.columns].to_numpy(), atol=1e-6)

    # any configuration of it runs as it was signed
    told = b.starts("run cxr-a inference --dataset_dir sent --raw True --amp False --output_dir ran")
    assert "cxr-a 1.0.0: as hospital-a signed it, inspected" in told
    ran = pd.read_csv(b.home / "ran" / "predictions.csv").set_index("image")
    assert list(ran.index) == [file.name for file in sent]
    expected = ours.set_index("image").loc[ran.index]
    assert list(ran.columns) == list(expected.columns)
    np.testing.assert_allclose(ran.to_numpy(), expected.to_numpy(), rtol=0, atol=1e-6)

    # and what B exports of it gives A's probabilities by its own configuration (other heads: tests/interop)
    b.types("bundle export cxr-a --out exported --format all")
    b.types("bundle export cxr-a --out zoo --format zoo --url https://hospital.example/weights")
    (zoo,) = (folder for folder in (b.home / "zoo").iterdir() if folder.name != "upload")
    for file in (b.home / "zoo" / "upload").iterdir():  # large files are fetched by whoever runs it
        shutil.copy(file, zoo / "models")
    right = {str(label): values.to_numpy() for label, values in expected.items()}
    network, _, inside, _ = opened(b.home / "exported" / "model.ts")
    beside = json.loads((zoo / "configs" / "inference.json").read_text())
    definition = Bundle.open(zoo).parser().get_parsed_content("network_def")
    assert_near(through(inside, network, sent, raw=True), right)
    assert_near(through(beside, torch.jit.load(str(zoo / "models" / "model.ts")), sent, raw=True), right)
    assert_near(through(beside, load_weights(definition, zoo / "models" / "model.pt").eval(), sent, raw=True), right)
    assert_near(through_onnx(b.home / "exported" / "model.onnx", zoo, sent), right)

    # B calibrates for its own patients, and fine-tunes for one disease
    b.types("predict cxr-a manifest.csv --raw --float32 --out raw.csv")
    b.types("calibrate cxr-a --predictions raw.csv --manifest manifest.csv --split val --out recalibrated")
    b.types("finetune --parent cxr-a --disease Infiltration --against others --manifest manifest.csv --out child "
            "--head-only --set epochs=2")  # fmt: skip
    child = b.home / "child" / "Infiltration" / "bundle"
    b.types("evaluate --predictions raw.csv --manifest manifest.csv --split test --bundle cxr-a --out parent "
            "--replicates 50")  # fmt: skip
    b.types(f"predict {child} manifest.csv --raw --out child.csv")
    b.types("evaluate --predictions child.csv --manifest manifest.csv --split test --out judged --replicates 50")
    b.types(f"bundle pack {child} --metrics judged --manifest manifest.csv --name cxr-b --version 1.0.0 --out share")
    b.types("bundle keys hospital-b --out keys")
    b.types("bundle sign share/cxr-b-1.0.0.zip --key keys/hospital-b.pem")

    # A takes it back and sees that it comes from its own
    a.receives(b.home / "share" / "cxr-b-1.0.0.zip", b.home / "keys" / "hospital-b.pub")
    a.types("bundle trust hospital-b.pub --name hospital-b")
    a.types("bundle trust keys/hospital-a.pub --name hospital-a")
    a.types("bundle install cxr-b-1.0.0.zip")
    a.types("bundle install share/cxr-a-1.0.0.zip")
    lineage = a.types("bundle lineage cxr-b --strict")
    assert "links: 1 verified" in lineage
    assert a.digest_of("share/cxr-a-1.0.0.zip")[:12] in lineage

    # and compares both on its own patients
    a.types("predict cxr-b manifest.csv --raw --out theirs.csv")
    predicted = pd.read_csv(a.home / "theirs.csv")
    assert list(predicted.columns) == ["image", "Infiltration"]
    a.types("evaluate --predictions theirs.csv --compare p.csv --manifest manifest.csv --split test --out compared "
            "--replicates 50")  # fmt: skip
    compared = pd.read_csv(a.home / "compared" / "comparison.csv")
    assert list(compared["finding"]) == ["Infiltration", "mean"]
