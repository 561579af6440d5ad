"""A bundle's configuration, run in this process for a program: its results come back, and the process stays as it was.

results = run_configuration(root, ["train", "one_cycle"], {"manifest": "M.csv", "output_dir": "OUT"})

Only MLflow's usage reporting stays off.
"""

import logging
import random
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import set_track_meta
from monai.data.meta_obj import get_track_meta
from monai.utils import set_determinism

from cxr_monai.bundle.named_network import written_out
from cxr_monai.bundle.running import CheckedWorkflow
from cxr_monai.environment import MONAI_WARNING


def run_configuration(
    root: str | Path, configurations: Sequence[str], settings: Mapping[str, Any], kind: str = "train"
) -> list[Any]:
    """Run configurations of a bundle as ``python -m monai.bundle run`` does.

    Args:
        root: the bundle's folder.
        configurations: names below ``configs``, the overlays last: ``["train", "one_cycle"]``.
        settings: overrides by name, such as ``{"epochs": 5, "train#trainer#max_epochs": 5}``.
        kind: ``train`` or ``infer``, whose properties MONAI checks.

    Returns:
        what each item of the configuration's ``run`` returned.

    Raises:
        CxrError: of whatever is wrong, without the errors that MONAI wraps around it.
    """
    configs = Path(root).resolve() / "configs"
    files = [configs / f"{name}.json" for name in configurations]
    if kind == "train":
        settings = written_out(settings, files)
    with process_as_it_was(), log_shown(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=MONAI_WARNING, category=UserWarning)
        workflow = CheckedWorkflow(
            config_file=[str(file) for file in files],
            meta_file=str(configs / "metadata.json"),
            logging_file=False,
            workflow_type=kind,
            **{"bundle_root": str(configs.parent), **settings},
        )
        workflow.initialize()
        results = workflow.run()
        workflow.finalize()
        return results


@contextmanager
def process_as_it_was() -> Iterator[None]:
    """Put back, at the end, what a run changes for the whole process.

    That is the random states, MONAI's tracking of metadata, the search path, the number of threads and cuDNN's
    ``benchmark`` and ``deterministic``. MLflow's usage reporting stays off (``MLFLOW_DISABLE_TELEMETRY`` and
    ``DO_NOT_TRACK`` in the environment): what was switched off is not switched on behind a user's back.
    """
    states = random.getstate(), np.random.get_state()  # noqa: NPY002  what MONAI seeds
    tracked, path = get_track_meta(), list(sys.path)
    threads, cudnn = torch.get_num_threads(), torch.backends.cudnn
    flags = cudnn.benchmark, cudnn.deterministic
    with torch.random.fork_rng():
        try:
            yield
        finally:
            set_determinism(None)
            cudnn.benchmark, cudnn.deterministic = flags
            torch.set_num_threads(threads)
            set_track_meta(tracked)
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
            sys.path[:] = path


@contextmanager
def log_shown() -> Iterator[None]:
    """Show this package's messages on standard error for the time being, unless the program has a log of its own."""
    package, monai = logging.getLogger("cxr_monai"), logging.getLogger("monai.bundle.workflows")
    level, others = package.level, monai.level
    monai.setLevel(logging.ERROR)  # MONAI warns that there is no logging_file, which is intended here
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    is_silent = not package.hasHandlers()
    if is_silent:
        package.addHandler(handler)
        package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        monai.setLevel(others)
