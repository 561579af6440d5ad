"""Ctrl-C and a plain kill: one line, a checkpoint, a run that says KILLED, a command that goes on to the same bits."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from cxr_monai.stopping import Interrupted, interruptible
from cxr_monai.training import checkpoints
from cxr_monai.training.checkpoints import digest, read_checkpoint
from cxr_monai.training.ignite_metrics import FindingMetrics
from cxr_monai.training.journal import Journal
from cxr_monai.training.step import TrainingStep
from tests.support.bundle_runs import SHIPPED, Phantoms, few, plain_environment, rewrite, train
from tests.training.killing import SETTINGS


@pytest.fixture
def manifest(phantoms: Phantoms, elsewhere: Path) -> Path:
    return rewrite(phantoms.manifest, elsewhere / "few.csv", few)


def run(manifest: Path, out: str, **settings: Any) -> dict[str, Any]:
    """Train four steps an epoch and return the last checkpoint."""
    train(SHIPPED, manifest, **{**SETTINGS, "output_dir": out, "batch_size": 2, "patience": 500, **settings})
    return read_checkpoint(Path(out) / "checkpoints" / "last.pt")


def statuses(out: str) -> list[str]:
    """Return what MLflow was told of the run, in order."""
    events = Journal(Path(out) / "tracking" / "training.jsonl").events
    return [event["status"] for event in events if event["kind"] == "status"]


@pytest.fixture(scope="module")
def whole(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory, tracking_store: str) -> str:
    """The digest of the last checkpoint of two epochs that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    manifest = rewrite(phantoms.manifest, folder / "few.csv", few)
    return digest(run(manifest, str(folder / "OUT"), epochs=2, tracking_uri=tracking_store))


@pytest.mark.parametrize(
    ("place", "call", "kept", "words", "workers"),
    [
        (TrainingStep, 4, 3, "keeps 0 epochs and 3 of 4 batches of the next", 0),  # an epoch's last step
        (TrainingStep, 5, 5, "keeps 1 epoch and 1 of 4 batches of the next", 2),
        (FindingMetrics, 3, 7, "keeps 1 epoch and 3 of 4 batches of the next", 0),  # within the second validation
    ],
)
def test_where_an_interruption_falls(
    place: type,
    call: int,
    kept: int,
    words: str,
    workers: int,
    manifest: Path,
    whole: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a step: it is ended and saved. In a validation: at once, and the checkpoint before the last step is there."""
    monkeypatch.setattr(checkpoints, "VALIDATION_RISK", 0.0)  # as if an epoch took longer than a minute
    name, calls = ("__call__" if place is TrainingStep else "update"), []
    original = getattr(place, name)

    def interrupted(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == call:
            signal.raise_signal(signal.SIGTERM)
        return original(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(place, name, interrupted)
        said = rf"^interrupted \(SIGTERM\); OUT/checkpoints/last.pt {words}"
        with pytest.raises(Interrupted, match=said) as caught, interruptible():
            run(manifest, "OUT", epochs=2, num_workers=workers)
    assert caught.value.status == 143
    assert len(calls) == call  # nothing after it
    assert read_checkpoint(Path("OUT/checkpoints/last.pt"))["progress"]["iteration"] == kept
    assert statuses("OUT") == ["KILLED"]
    assert not Path("OUT/training.lock.json").exists()
    assert digest(run(manifest, "OUT", epochs=2)) == whole
    assert statuses("OUT") == ["KILLED", "RUNNING", "FINISHED"]


def wait_until(process: subprocess.Popen[str], path: Path, content: str) -> None:
    """Return once a file holds something; fail if the process ended before."""
    while not (path.exists() and content in path.read_text()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def wait_for_the_end_of_group(group: int) -> None:
    """Return once the readers of a training are gone, too; the test's own limit of time ends those that stay."""
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.killpg(group, 0)
            time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "status", "name", "everybody"),
    [(signal.SIGTERM, 143, "SIGTERM", False), (signal.SIGINT, 130, "Ctrl-C", True)],
)
def test_the_command_of_the_readme_is_told_to_end(
    number: signal.Signals, status: int, name: str, everybody: bool, manifest: Path, elsewhere: Path
) -> None:
    """By ``kill``, the training alone; by Ctrl-C in a terminal, its readers as well. No reader outlives it."""
    settings = {**SETTINGS, "manifest": str(manifest), "output_dir": "OUT", "batch_size": 2, "patience": 500}
    settings |= {"epochs": 100_000, "num_workers": 2}
    (elsewhere / "own.json").write_text(json.dumps(settings))
    words = [sys.executable, "-m", "monai.bundle", "run"]
    words += ["--config_file", json.dumps([str(SHIPPED / "configs/train.json"), "own.json"])]
    words += ["--meta_file", str(SHIPPED / "configs/metadata.json"), "--bundle_root", str(SHIPPED)]
    environment = plain_environment() | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    environment |= {"MLFLOW_TRACKING_URI": os.environ["MLFLOW_TRACKING_URI"]}
    process = subprocess.Popen(
        [*words, "--restart", "True"], env=environment, start_new_session=True, text=True, stdout=-1, stderr=-1
    )
    wait_until(process, elsewhere / "OUT/tracking/training.jsonl", '"epoch 2"')
    (os.killpg if everybody else os.kill)(process.pid, number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == status, err
    wait_for_the_end_of_group(process.pid)
    assert "Traceback" not in out + err
    last = err.splitlines()[-1]
    assert last.startswith(f"interrupted ({name}); OUT/checkpoints/last.pt keeps ")
    assert last.split("Go on with: ")[1] == shlex.join([sys.executable, *words[1:]])
    assert statuses("OUT") == ["KILLED"]
    done = read_checkpoint(elsewhere / "OUT/checkpoints/last.pt")["progress"]
    assert not done["ended"]
    if not everybody:
        return  # that it goes on to the same bits is the same for both
    epochs = done["iteration"] // done["epoch_length"] + 1
    assert epochs >= 2
    assert digest(run(manifest, "OUT", epochs=epochs)) == digest(run(manifest, "whole", epochs=epochs))
