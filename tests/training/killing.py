"""Trains in children of one process that has imported everything, kills some of them, and tells what they left.

    python killing.py BUNDLE MANIFEST FOLDER SEED COUNT

FOLDER holds ``empty.db``, an MLflow store without a run.

Importing MONAI costs ten seconds; a fork costs none. This process computes nothing itself: OpenMP's threads do not
survive a fork. Prints one JSON object: the uninterrupted training, then each that was killed and started again.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

# what the children need is imported here, once: each of them would spend a fifth of its time on it
import matplotlib.backends.backend_agg  # noqa: F401
import monai.bundle
import pandas as pd
import torch._dynamo  # noqa: F401  by the first optimiser
from mlflow import MlflowClient

from cxr_monai.networks.weight_loading import load_state_dict
from cxr_monai.training import checkpoints
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
}


POINTS = ("training.lock", "cache", "pictures/network_input.png", "bundle/models/model.pt", "predictions_val.csv")
"""A kill falls up to half a second after one of these is there (on a slow machine longer); the cache sooner."""


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
        time.sleep(0.002)
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
        "checkpoint": checkpoints.digest(content),
        "metrics": json.loads((out / "metrics.json").read_text()),
        "predictions": pd.read_csv(out / "predictions_val.csv").to_csv(),
        "runs": [run.info.status for run in runs],
        "tracked": tracked,
        "locked": (out / "training.lock.json").exists(),
    }


def killed(
    arguments: tuple[str, str], folder: Path, number: int, point: str, after: float, workers: int, minutes: float
) -> dict[str, Any]:
    """Train, kill some seconds after a point, start the same again; return what is left and when it was killed."""
    out = folder / f"killed-{number}"
    cold = point == "cache" or number % 3 == 1
    alone = number % 8 in (0, 3, 5)  # as when memory runs out; else with its workers, as a job ends
    cache = folder / f"cache-{number}" if cold else folder / "cache"
    shutil.copy(folder / "empty.db", out.with_suffix(".db"))
    child = start(*arguments, out, cache, workers, minutes)
    reached = wait_for(child, *((cache, "*/pixels.bin") if point == "cache" else (out, point)))
    time.sleep(after)
    with contextlib.suppress(ProcessLookupError):
        (os.kill if alone else os.killpg)(child, signal.SIGKILL)
    first = os.waitpid(child, 0)[1]
    at = "nothing"
    if (out / "checkpoints" / "last.pt").exists():
        with ALONE:
            at = checkpoints.read_checkpoint(out / "checkpoints" / "last.pt")["progress"]["iteration"]
    status = wait(start(*arguments, out, cache, workers, minutes))
    about = {"point": point, "after": after, "reached": reached, "cold": cold, "alone": alone, "workers": workers}
    about |= {"was_killed": os.WIFSIGNALED(first), "at": at, "status": status, "orphans": orphans(child)}
    return about | ({"left": left(out)} if status == 0 else {"log": out.with_suffix(".log").read_text()[-3000:]})


def main(bundle: str, manifest: str, folder: Path, seed: int, count: int) -> dict[str, Any]:
    """Train once without a kill, then ``count`` times with one."""
    draw = random.Random(seed)
    whole = folder / "whole"
    shutil.copy(folder / "empty.db", whole.with_suffix(".db"))
    began = time.monotonic()
    status = wait(start(bundle, manifest, whole, folder / "cache", 0, 10))
    taken = time.monotonic() - began
    if status:
        return {"status": status, "log": whole.with_suffix(".log").read_text()[-5000:]}
    cases = []
    for number in range(count):
        point = POINTS[number % 5]
        after = draw.uniform(0, 0.02 if point == "cache" else 0.2) * taken  # alone it takes about three seconds
        cases.append((number, point, after, (0, 0, 0, 2)[number % 4], (0, 10)[number // 4 % 2]))
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda case: killed((bundle, manifest), folder, *case), cases))
    return {"status": 0, "seconds": taken, "whole": left(whole), "killed": results}


if __name__ == "__main__":
    monai.bundle  # noqa: B018  what the children need is imported
    print(json.dumps(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))))
