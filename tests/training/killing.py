"""Trains in children of one process that has imported everything, kills some of them, and tells what they left.

    python killing.py BUNDLE MANIFEST FOLDER

FOLDER holds ``empty.db``, an MLflow store without a run.

Importing MONAI costs ten seconds; a fork costs none. This process computes nothing itself: OpenMP's threads do not
survive a fork. Prints one JSON object: the uninterrupted training, then each that was killed and started again.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

# what the children need is imported here, once: each of them would spend a fifth of its time on it
import matplotlib.backends.backend_agg  # noqa: F401
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
import monai.bundle
import numpy as np
import pandas as pd
import torch._dynamo  # noqa: F401  by the first optimiser
from mlflow import MlflowClient

import cxr_monai.components
import cxr_monai.training.runs  # noqa: F401
from cxr_monai.bundle.carried_gate import GATE, GATE_TENSORS
from cxr_monai.bundle.digest import file_digest
from cxr_monai.gate.fitted_gate import FittedGate
from cxr_monai.gate.picture_statistics import STATISTICS
from cxr_monai.inference.model import Model
from cxr_monai.networks.weight_loading import load_state_dict
from cxr_monai.training import checkpoints, gate_fitter
from tests.support.bundle_runs import SMALL_NETWORK, no_pictures, run

# a DenseNet of thousands of weights instead of millions, with all that is particular to a long training switched on
SETTINGS: dict[str, Any] = {
    "labels": ["Effusion", "Infiltration", "Atelectasis"],
    "image_size": 32,
    "batch_size": 4,
    "epochs": 3,
    "learning_rate": 0.01,
    "ema_decay": 0.9,
    "clip_norm": 1.0,
    "mixup": 0.2,
    "warmup_epochs": 1,
    "horizontal_flip": 0.5,
    "network_def": {**SMALL_NETWORK, "out_channels": 3, "dropout_prob": 0.2},
    "gate_promise": 0.05,
}


def gate_of(model: Model, manifest: Any, promise: float, seed: int) -> FittedGate:
    """Return a gate of the weights in use, at once: fitting one on films takes longer than these trainings."""
    weight = float(next(model.network.parameters()).detach().flatten()[0])
    limits = np.full((len(STATISTICS), 2), weight)
    return FittedGate({}, {}, {}, {"refuse": 1.0}, promise, (), limits, {"films": 37, "refused_share": 0.0})


class Kill(NamedTuple):
    """One kill of a training.

    Attributes:
        point: it falls after this file of the training's folder is there, or the first pixels of the cache.
        after: so long after, as a part of the time that a whole training takes.
        cold: whether the training has a cache of its own, which is empty.
        alone: whether its workers are left, as when memory runs out; else all are killed, as a job ends.
        workers: how many processes read images.
        minutes: between checkpoints; 0 writes one after every step.
    """

    point: str
    after: float
    cold: bool
    alone: bool
    workers: int
    minutes: float


KILLS = (
    Kill("training.lock", 0.05, cold=False, alone=True, workers=0, minutes=10),
    Kill("cache", 0.01, cold=True, alone=False, workers=0, minutes=0),
    Kill("pictures/network_input.png", 0.15, cold=False, alone=False, workers=2, minutes=0),
    Kill("bundle/models/model.pt", 0.05, cold=False, alone=True, workers=2, minutes=10),
    Kill("bundle/models/model.pt", 0.15, cold=True, alone=False, workers=0, minutes=0),
    Kill("predictions_val.csv", 0.02, cold=False, alone=True, workers=0, minutes=0),
)


ALONE = threading.Lock()
"""A fork copies the locks of MLflow and SQLAlchemy as they are: nobody may hold them meanwhile."""


def train(bundle: str, manifest: str, out: Path, cache: Path, workers: int, minutes: float) -> None:
    """Train to the end, in this process."""
    log = os.open(out.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{out.with_suffix('.db')}"
    with no_pictures():
        run(
            Path(bundle),
            "train",
            manifest=manifest,
            output_dir=str(out),
            num_workers=workers,
            checkpoint_minutes=minutes,
            cache_dir=str(cache),
            **SETTINGS,
        )


def start(*arguments: Any) -> int:
    """Train in a child and return its process id."""
    with ALONE:
        child = os.fork()
        if child:
            return child
    status = 1
    with contextlib.suppress(BaseException):
        os.setpgid(0, 0)  # so that a kill takes its workers as well, as the end of a job does
        try:
            train(*arguments)
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        sys.stderr.flush()
    os._exit(status)


def wait(child: int, seconds: float = 120) -> int:
    """Return a child's status; one that hangs is killed."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def wait_for(child: int, folder: Path, pattern: str, seconds: float = 120) -> bool:
    """Return once a file is there; False if the child ended, or time ran out, before."""
    until = time.monotonic() + seconds
    while not any(folder.glob(pattern)):
        if time.monotonic() > until or os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return False
        time.sleep(0.005)
    return True


def orphans(child: int, seconds: float = 20) -> bool:
    """Return whether workers of a training that was killed are still there some seconds later (they are ended then)."""
    until = time.monotonic() + seconds
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < until:
            os.killpg(child, 0)
            time.sleep(0.05)
        os.killpg(child, signal.SIGKILL)
        return True
    return False


def left(out: Path) -> dict[str, Any]:
    """Return what a training left, without what depends on the clock."""
    with ALONE:
        return _left(out)


def _left(out: Path) -> dict[str, Any]:
    content = checkpoints.read_checkpoint(out / "checkpoints" / "last.pt")
    client = MlflowClient(tracking_uri=f"sqlite:///{out.with_suffix('.db')}")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    tracked = {}
    for name in sorted(runs[0].data.metrics if runs else {}):
        history = client.get_metric_history(runs[0].info.run_id, name)
        if name != "images_per_second":
            tracked[name] = [(metric.step, metric.value) for metric in sorted(history, key=lambda m: m.step)]
        else:
            tracked[name] = [metric.step for metric in sorted(history, key=lambda m: m.step)]
    return {
        "weights": checkpoints.digest(load_state_dict(out / "bundle" / "models" / "model.pt")),
        "gate": [file_digest(out / "bundle" / name) for name in (GATE, GATE_TENSORS)],
        "checkpoint": checkpoints.digest(content),
        "metrics": json.loads((out / "metrics.json").read_text()),
        "predictions": pd.read_csv(out / "predictions_val.csv").to_csv(),
        "runs": [run.info.status for run in runs],
        "tracked": tracked,
        "locked": (out / "training.lock.json").exists(),
    }


def killed(arguments: tuple[str, str], folder: Path, number: int, taken: float) -> dict[str, Any]:
    """Train, kill, start the same again; return what is left and when it was killed."""
    kill = KILLS[number]
    out, cache = folder / f"killed-{number}", folder / (f"cache-{number}" if kill.cold else "cache")
    shutil.copy(folder / "empty.db", out.with_suffix(".db"))
    child = start(*arguments, out, cache, kill.workers, kill.minutes)
    reached = wait_for(child, *((cache, "*/pixels.bin") if kill.point == "cache" else (out, kill.point)))
    time.sleep(kill.after * taken)
    with contextlib.suppress(ProcessLookupError):
        (os.kill if kill.alone else os.killpg)(child, signal.SIGKILL)
    first = os.waitpid(child, 0)[1]
    at = "nothing"
    if (out / "checkpoints" / "last.pt").exists():
        with ALONE:
            at = checkpoints.read_checkpoint(out / "checkpoints" / "last.pt")["progress"]["iteration"]
    status = wait(start(*arguments, out, cache, kill.workers, kill.minutes))
    about = {**kill._asdict(), "reached": reached, "was_killed": os.WIFSIGNALED(first), "at": at}
    about |= {"status": status, "orphans": orphans(child)}
    return about | ({"left": left(out)} if status == 0 else {"log": out.with_suffix(".log").read_text()[-3000:]})


def main(bundle: str, manifest: str, folder: Path) -> dict[str, Any]:
    """Train once without a kill, then with each of `KILLS`."""
    whole = folder / "whole"
    shutil.copy(folder / "empty.db", whole.with_suffix(".db"))
    began = time.monotonic()
    status = wait(start(bundle, manifest, whole, folder / "cache", 0, 10))
    taken = time.monotonic() - began
    if status:
        return {"status": status, "log": whole.with_suffix(".log").read_text()[-5000:]}
    uninterrupted = left(whole)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda number: killed((bundle, manifest), folder, number, taken), range(len(KILLS))))
    return {"status": 0, "seconds": taken, "whole": uninterrupted, "killed": results}


if __name__ == "__main__":
    gate_fitter.fit_gate_of = gate_of  # here alone: other tests import this module's settings
    monai.bundle  # noqa: B018  what the children need is imported
    print(json.dumps(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
